/* knobs.h: the candidates of CPU kernels: knobs, tiles, search space. Free of LLVM, which only emitting needs. */
#ifndef GEN_CPU_KNOBS_H
#define GEN_CPU_KNOBS_H

#include "base/err.h"
#include "gen/cpu/isa.h"
#include "gen/problem.h"

/* The same spelling everywhere: space files, names, journal, report. X(enumerator, spelling in YAML and journal, letter in names) */
#define GEN_CPU_KNOB_LIST(X)                                                                                           \
    X(GEN_BLOCK_TOKENS, "BLOCK_TOKENS", "t")   /* prefill: tokens a block; panels are this wide */                     \
    X(GEN_SCORE_ROWS, "SCORE_ROWS", "sr")      /* products with K inside (scores): rows of accumulators */              \
    X(GEN_SCORE_VECTORS, "SCORE_VECTORS", "sv") /* ... and vectors of accumulators a row */                             \
    X(GEN_READ_ROWS, "READ_ROWS", "rr")        /* products with slots or tokens inside (reads): rows */                 \
    X(GEN_READ_VECTORS, "READ_VECTORS", "rv")                                                                          \
    X(GEN_UNROLL, "UNROLL", "u")               /* steps of the inner dimension per iteration */                        \
    X(GEN_KEY_PANELS, "KEY_PANELS", "p")       /* prefill: window panels under one softmax step; more are online */   \
    X(GEN_EXP_DEGREE, "EXP_DEGREE", "e")       /* degree of the polynomial of exp2 in the softmax */                    \
    X(GEN_STATE_ROWS, "STATE_ROWS", "m")       /* decode: rows of the memory a step of the streaming loop */           \
    X(GEN_PREFETCH, "PREFETCH", "f")           /* decode: bytes the memory is prefetched ahead; 0: none */               \
    X(GEN_HEADS, "HEADS", "h")                 /* decode: query heads that share a pass over the memory */               \
    X(GEN_DEFER, "DEFER", "d")                 /* decode: steps from one update of the memory to the next */           \
    X(GEN_PASS_ROWS, "PASS_ROWS", "r")         /* decode: rows that all passes go through before the next; a multiple of 8 */

typedef enum gen_cpu_knob {
#define GEN_KNOB_ENUM_(name, text, letter) name,
    GEN_CPU_KNOB_LIST(GEN_KNOB_ENUM_)
#undef GEN_KNOB_ENUM_
        GEN_CPU_KNOB_COUNT
} gen_cpu_knob;

typedef struct gen_tile {
    int32_t knob[GEN_CPU_KNOB_COUNT]; /* 0 where the op does not use the knob */
} gen_tile;

const char *gen_knob_name(int knob);
/* avx512.t16.sr12.sv2... : canonical, unique per op and isa. Returns the length as snprintf does. */
int gen_tile_string(const gen_isa *isa, nha_op op, const gen_tile *tile, char *out, size_t size);

/* Whether the products of prefill run on AMX tiles: on that ISA, for bf16 and f16, and for f32 with head dims of 64 and up. */
bool gen_cpu_on_amx(const gen_problem *problem, const gen_isa *isa);
/* The ISA that serves this operation of the problem best among those no better than `isa`: where AMX has nothing to give, the row
 * below it has the same code and asks for less. */
const gen_isa *gen_cpu_serves(const gen_problem *problem, nha_op op, const gen_isa *isa);

/* Deferred decode: head h of a row at position pos folds its pending tokens in that step if (pos + h * apart) % period is
 * period - 1, so that before it (pos + h * apart) % period tokens wait. This is apart: heads take turns, evenly. */
int gen_cpu_turn_apart(int heads_kv, int period);

/* The untuned default: legal for every legal problem, and always races. */
void gen_tile_default(const gen_problem *problem, nha_op op, const gen_isa *isa, gen_tile *tile);

/* Search space of (problem, op, isa): every combination of the values in the op's space file (templates/cpu_OP.yaml, built in), each either legal or
 * rejected with a reason. `visit` is called for each; reason NULL: legal. It returns false to stop. The order is fixed. */
typedef bool (*gen_space_visit)(void *context, const gen_tile *tile, const char *reason);
bool gen_cpu_space(const gen_problem *problem, nha_op op, const gen_isa *isa, gen_space_visit visit, void *context,
                   err *e);
/* NULL if the tile is legal, else a static one-line reason. */
const char *gen_cpu_reject(const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile);

#endif
