/* help_scalar_kernel.h: a kernel in plain C that follows nha_library.h, right or wrong on purpose, wrapped as a
 * library. Verification must pass the right one and fail every wrong one. To plant another mistake, add a row here and
 * an `if` in the .c. */
#ifndef HELP_SCALAR_KERNEL_H
#define HELP_SCALAR_KERNEL_H

#include "gen/problem.h"
#include "runtime/nha_library.h"

enum { IN_PREFILL = 1, IN_DECODE = 2, IN_BOTH = 3, ONLY_F32 = 4, ONLY_SMALL_BLOCKS = 8 };

/* X(enumerator, where it shows, what is wrong) */
#define HELP_BUG_LIST(X)                                                                                               \
    X(BUG_MASK_EARLY, IN_BOTH, "off-by-one mask: one token too many in the window")                                    \
    X(BUG_MASK_LATE, IN_BOTH, "off-by-one mask: the oldest token of the window missing")                               \
    X(BUG_MASK_FUTURE, IN_PREFILL, "off-by-one mask: the next token is seen")                                          \
    X(BUG_NO_DECAY, IN_BOTH, "missing decay")                                                                          \
    X(BUG_STALE_RING, IN_BOTH, "stale ring entry: the oldest token of the window read from its neighbour")             \
    X(BUG_STALE_ABSORB, IN_BOTH, "stale ring entry: the token to absorb read one entry off")                           \
    X(BUG_PARTIAL_WRITE, IN_BOTH, "partial write: the last columns of one row")                                        \
    X(BUG_LAST_ROW, IN_PREFILL, "partial write: the last token of a sequence")                                         \
    X(BUG_NAN, IN_BOTH, "NaN where a gate resets: 0 * inf")                                                            \
    X(BUG_SCALE, IN_BOTH, "wrong scale on the slots")                                                                  \
    X(BUG_PAIR, IN_BOTH, "wrong rope pair")                                                                            \
    X(BUG_GATE_TOKEN, IN_BOTH, "gate of the query's token instead of the absorbed one")                                \
    X(BUG_NO_RESCALE, IN_BOTH, "online softmax without rescaling what was summed before")                              \
    X(BUG_WRITE_PAST, IN_BOTH, "write past the end of a row of o")                                                     \
    X(BUG_WRITE_STATE, IN_PREFILL, "write past the end of hk")                                                         \
    X(BUG_NEIGHBOUR, IN_BOTH, "order of a sum depends on the number of sequences")                                     \
    X(BUG_TAIL, IN_BOTH, "unflushed tail: the last token of a call is not absorbed")                                   \
    X(BUG_LSE_BASE, IN_BOTH, "lse in base 2")                                                                          \
    X(BUG_S_IS_E, IN_BOTH, "s and e confused")                                                                         \
    X(BUG_POSITION, IN_BOTH, "position of the query off by one")                                                       \
    X(BUG_CU_IGNORED, IN_PREFILL, "cu_seqlens ignored for the gate")                                                   \
    X(BUG_CACHE_POSITION, IN_BOTH, "position of the cache ignored for new tokens")                                     \
    X(BUG_SCRATCH, IN_BOTH, "reads uninitialised scratch")                                                             \
    X(BUG_INPUT, IN_BOTH, "an input is overwritten")                                                                   \
    X(BUG_CALLS, IN_BOTH, "order of a sum differs from call to call")                                                  \
    X(BUG_TASK_ORDER, IN_PREFILL, "a run relies on the scratch of the task before it")                                 \
    X(BUG_RUN_RING, IN_PREFILL | ONLY_SMALL_BLOCKS, "a later run does not see the window's tokens in the cache")       \
    X(BUG_LAG, IN_BOTH, "absorbs one token too late")                                                                  \
    X(BUG_EMPTY_SLOTS, IN_BOTH, "empty slots left out of the softmax")                                                 \
    X(BUG_S_NAIVE, IN_BOTH | ONLY_F32, "s = 1 - exp(g) in single precision")                                           \
    X(BUG_STATE_ROUNDED, IN_BOTH | ONLY_F32, "memory kept in bf16")                                                    \
    X(BUG_RING_EARLY, IN_DECODE, "the new token is stored before the entry is read")                                   \
    X(BUG_RING_MISSING, IN_DECODE, "v is not stored in the ring")                                                      \
    X(BUG_SKIP, IN_BOTH, "cache_index -1 not skipped")                                                                 \
    X(BUG_INDEX, IN_BOTH, "cache_index ignored")                                                                       \
    X(BUG_GROUP, IN_BOTH, "query heads taken by n % H")                                                                \
    X(BUG_GAMMA, IN_PREFILL, "decay of a piece missing in the scan")                                                   \
    X(BUG_SLOT_MAP, IN_BOTH, "slot map applied to the rotated path too")                                               \
    X(BUG_VALUE_MAP, IN_BOTH, "value map forgotten in the window")                                                     \
    X(BUG_NORMALIZER, IN_BOTH, "normalizer of the gate ignored")                                                       \
    X(BUG_EMPTY, IN_PREFILL, "an empty sequence does not return its memory")                                           \
    X(BUG_NO_MEMORY, IN_BOTH, "the initial memory ignored")                                                            \
    X(BUG_STRIDE, IN_BOTH, "the stride of a head taken as the head's size")                                            \
    X(BUG_ONE_TOKEN, IN_PREFILL, "one row in a hundred and fifty is off by seven per cent")

typedef enum help_bug {
    BUG_NONE,
#define HELP_BUG_ENUM_(name, where, text) name,
    HELP_BUG_LIST(HELP_BUG_ENUM_)
#undef HELP_BUG_ENUM_
        BUG_COUNT
} help_bug;

const char *help_bug_text(int bug);
int help_bug_where(int bug);

/* The library of this problem with kernels "prefill.scalar" and "decode.scalar". There is one at a time: the problem
 * and the bug are what the last call said. block_tokens of prefill: `block`. */
const nha_library *help_scalar_library(const gen_problem *problem, int bug, int block);

#endif
