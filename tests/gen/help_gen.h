/* help_gen.h: what the tests of gen/cpu share: which ISAs run here, problems to start from, and small functions of vector IR
 * compiled and loaded. */
#ifndef HELP_GEN_H
#define HELP_GEN_H

#include <stddef.h>

#include "gen/cpu/ir.h"
#include "gen/problem.h"
#include "jit/jit.h"

/* Whether code for this ISA can run on this machine. */
bool help_gen_runs(const gen_isa *isa);

/* K = V = dim, M slots, W = L = window, f32, logit gates, no rope, H kv heads of G query heads. Change members of `nha` and call
 * help_gen_ready. */
void help_gen_problem(gen_problem *problem, int dim, int slots, int64_t window, int heads_kv, int group);
/* Scale, inverse frequencies (theta 10000) and all that is derived. */
void help_gen_ready(gen_problem *problem);

/* void f(in, out, out2, count): count elements, a multiple of the width it was built for. */
typedef void (*help_gen_fn)(const void *in, void *out, void *out2, int64_t count);
/* What stands in the loop: `in`, `out`, `out2` are the pointers, index i64 the first element of this step. */
typedef void (*help_gen_body)(ir *b, const void *context, int width, val in, val out, val out2, val index);

typedef struct help_gen_code {
    jit_code *code;
    help_gen_fn fn;
} help_gen_code;

/* A loop over `width` elements a step around the body; fails the test where it does not compile. */
help_gen_code help_gen_load(const gen_isa *isa, int width, help_gen_body body, const void *context);
void help_gen_unload(help_gen_code *c);

/* base + index * bytes */
val help_gen_at(ir *b, val base, val index, int64_t bytes);

#endif
