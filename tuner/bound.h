/* bound.h: the least time a call could take on a machine whose rates were measured: the largest of three terms. */
#ifndef TUNER_BOUND_H
#define TUNER_BOUND_H

#include "gen/spec.h"
#include "tuner/work.h"

/* Measured, a microsecond, over all threads; 0: not measured, the term is then 0. */
typedef struct tune_rates {
    double flops;                    /* of products, on the units that the kernel's ISA has */
    double exponentials;             /* vector exp2 of degree 5 */
    double l2_bytes;                 /* reading half of the second-level cache */
    double read_bytes, update_bytes; /* the working set itself: read, and updated in place */
} tune_rates;

typedef struct tune_bound {
    double products_us; /* flops / flops rate */
    double exp_us;      /* exponentials / their rate */
    double l2_us;       /* prefill: tune_l2_bytes / reading rate of L2; decode streams, and has none: 0 */
    double memory_us;   /* read bytes / reading rate + updated bytes / updating rate, of the working set: pct_memory */
    double us;          /* prefill: max(products, exp, l2); decode: max(products, exp, memory) */
    const char *by;     /* the term that is the largest: "products", "exponentials", "L2", "memory" */
} tune_bound;

enum { TUNE_BOUND_BLOCK = 64 };
/* Bytes that a prefill in blocks of TUNE_BOUND_BLOCK tokens, the largest of the space files, moves through L2 if each
 * operand of its products moves once a block: what is read and written once (tune_work.read_bytes), and of each
 * sequence, kv head and block
 *
 *     8 M (K+V)                                  the memory in fp32, read and written
 *     element (K+V) min(W - 1, first token)      keys and values of the window before the block
 *     element (K+V) absorbed                     those of the tokens that the block absorbs
 */
double tune_l2_bytes(const gen_problem *problem, const gen_shape *shape, const tune_work *work);

/* The bound of a call whose work is tune_work_of(problem, shape, context). */
tune_bound tune_bound_of(const gen_problem *problem, const gen_shape *shape, const tune_work *work,
                         const tune_rates *rates);

#endif
