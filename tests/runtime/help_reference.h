/* help_reference.h: a library whose kernels are plain C, so that libnha is tested without a compiler.
 * One problem for each corner of the definition; every kernel follows nha_library.h to the letter. */
#ifndef HELP_REFERENCE_H
#define HELP_REFERENCE_H

#include "runtime/nha_library.h"

/* X(index, name, K, V, HQ, H, M, W, L, dtype, gate dtype, gate input, s given, rope, slot map, value map) */
#define REFERENCE_LIST(X)                                                                                              \
    X(0, "neox", 16, 8, 4, 2, 5, 7, 7, NHA_F32, NHA_F32, NHA_GATE_LOGIT, 0, NHA_ROPE_NEOX, 0, 0)                       \
    X(1, "short-lag", 8, 16, 2, 1, 3, 10, 3, NHA_F32, NHA_F32, NHA_GATE_LOG, 1, NHA_ROPE_GPTJ, 0, 0)                   \
    X(2, "long-lag", 8, 8, 3, 3, 17, 4, 9, NHA_F32, NHA_F32, NHA_GATE_LOG, 0, NHA_ROPE_GIVEN, NHA_MAP_RELU,            \
      NHA_MAP_SILU)                                                                                                    \
    X(3, "no-window", 16, 8, 2, 1, 6, 0, 2, NHA_F32, NHA_F32, NHA_GATE_LOGIT, 0, NHA_ROPE_NONE, NHA_MAP_SILU, 0)       \
    X(4, "no-slots", 8, 8, 2, 2, 0, 6, 6, NHA_F32, NHA_F32, NHA_GATE_LOGIT, 0, NHA_ROPE_NEOX, 0, NHA_MAP_SILU)         \
    X(5, "no-lag", 8, 8, 2, 1, 4, 5, 0, NHA_F32, NHA_F32, NHA_GATE_LOG, 0, NHA_ROPE_NONE, 0, 0)                        \
    X(6, "half", 16, 16, 4, 2, 5, 7, 7, NHA_F16, NHA_F16, NHA_GATE_LOGIT, 1, NHA_ROPE_GIVEN, 0, 0)                     \
    X(7, "bf16", 8, 16, 2, 1, 16, 6, 8, NHA_BF16, NHA_F32, NHA_GATE_LOG, 0, NHA_ROPE_NEOX, 0, 0)                       \
    X(8, "causal", 8, 8, 2, 1, 0, 1 << 20, 1 << 20, NHA_F32, NHA_F32, NHA_GATE_LOGIT, 0, NHA_ROPE_NONE, 0, 0)          \
    X(9, "no-ring", 8, 8, 1, 1, 2, 0, 0, NHA_F32, NHA_F32, NHA_GATE_LOG, 0, NHA_ROPE_NONE, 0, 0)                       \
    X(10, "wide", 8, 8, 1, 1, 3, 1 << 20, 5, NHA_F32, NHA_F32, NHA_GATE_LOG, 0, NHA_ROPE_NEOX, 0, 0)

#define REFERENCE_COUNT_ONE_(...) +1
enum { REFERENCE_PROBLEMS = 0 REFERENCE_LIST(REFERENCE_COUNT_ONE_), REFERENCE_BLOCK = 4 };

/* Kernels of every problem and both ops; block_tokens = REFERENCE_BLOCK. Every kernel fills the ends of its scratch
 * with the number of its task and counts in reference_faults when they have changed at the end, when the floating-point
 * mode is not the promised one, or when memory it was given is misaligned. */
extern const nha_library reference_library;

/* Number of broken promises seen by kernels since the program began. */
int reference_faults(void);

#endif
