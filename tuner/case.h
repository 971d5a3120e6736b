/* case.h: test cases: a problem, shapes, and all host tensors, made from a seed. The same seed gives the same case
 * anywhere. Used by verification, `nhac verify` and the tests. */
#ifndef TUNER_CASE_H
#define TUNER_CASE_H

#include "tuner/batch.h"

enum { TUNE_CASE_SEQUENCES = 8 };

/* What the gates of a case look like; g is the natural-log gate. */
typedef enum tune_gates {
    TUNE_GATES_ORDINARY, /* g around -0.1 with a wide spread */
    TUNE_GATES_SLOW,     /* logits +6..+12: slots that hardly forget */
    TUNE_GATES_STRONG,   /* sums of g over a few tokens pass -88, where exp underflows in fp32 */
    TUNE_GATES_MIXED,    /* every element from its own regime: the above, 0, -1e4, infinities */
    TUNE_GATES_RESETS,   /* ordinary, but some tokens reset all slots with -1e4 or -inf, some hold all with 0 */
    TUNE_GATES_COUNT
} tune_gates;

typedef struct tune_case_spec {
    uint64_t seed;
    int64_t sequences;                   /* 1..TUNE_CASE_SEQUENCES */
    int64_t length[TUNE_CASE_SEQUENCES]; /* tokens of each; all the same unless packed */
    bool packed;                         /* with cu_seqlens */
    bool memory;                         /* with hk0, hv0; ignored where cached or M = 0 */
    bool cached;                         /* starts from caches ... */
    int64_t pos[TUNE_CASE_SEQUENCES];    /* ... at these positions */
    int gates;                           /* tune_gates */
} tune_case_spec;

typedef struct tune_case {
    gen_problem problem;
    tune_case_spec spec;
    tune_batch batch;        /* points into the case */
    tune_cache cache;        /* owned; empty unless spec.cached */
    int32_t *cu_seqlens;     /* owned */
    void *data[TUNE_INPUTS]; /* owned, by tune_tensor_id; 64-byte aligned */
    float *hk0, *hv0;        /* owned */
} tune_case;

/* Errors: ERR_MEMORY. On failure nothing is left to destroy. The case may not be moved afterwards (batch points into
 * it). */
bool tune_case_create(const gen_problem *problem, const tune_case_spec *spec, tune_case *out, err *e);
void tune_case_destroy(tune_case *test);

/* A random spec of shapes for this problem: lengths about the window, the lag and `block` tokens (the kernel's
 * granularity), empty and one-token sequences, caches at small and large positions. The oracle's cost stays about below
 * `flops`. */
void tune_case_random(const gen_problem *problem, uint64_t seed, int64_t block, double flops, tune_case_spec *spec);
/* One line: seed, lengths, options; for messages. Returns the length as snprintf does. */
int tune_case_string(const tune_case_spec *spec, char *out, size_t size);

/* A random legal problem of odd sizes: K, V multiples of 8, mostly small; any M, W, L, G, dtypes, rope, maps, gates. A
 * case of it of about 100 tokens costs some 20 ms in the oracle at most. */
void tune_random_problem(uint64_t seed, gen_problem *problem);

/* The generator behind all of this: splitmix64. */
typedef struct tune_random {
    uint64_t state;
} tune_random;
uint64_t tune_random_bits(tune_random *r);
/* Uniform in [low, high], both included. */
int64_t tune_random_between(tune_random *r, int64_t low, int64_t high);
/* Uniform in [0, 1). */
double tune_random_unit(tune_random *r);
/* Mean 0, variance 1. */
double tune_random_normal(tune_random *r);

#endif
