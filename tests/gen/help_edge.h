/* help_edge.h: one problem and one case, with tensors changed by hand, on generated kernels of the ISAs of this machine, against the
 * oracle in every way that verification runs a case. */
#ifndef HELP_EDGE_H
#define HELP_EDGE_H

#include "gen/cpu/cpu.h"
#include "tuner/case.h"

typedef struct help_edge {
    const char *name;
    gen_problem problem;
    tune_case_spec spec;
    void (*change)(tune_case *c);           /* after the tensors are drawn; or NULL */
    void (*tile)(nha_op op, gen_tile *tile); /* changes to the default tile; or NULL */
    bool prefill_only;                      /* as cases with initial memory are without being asked */
    bool f32_range;                         /* values that f16 does not have: not run in f16 */
    int64_t exact_from;                     /* if positive: o of the tokens from here on is also held alone to the tolerance */
} help_edge;

/* Fails the test where a kernel is wrong. `all`: every ISA that runs here, else the best one. */
void help_edge_run(const help_edge *edge, bool all);

/* Fills element i of every row of `dim` elements of an input with f(token, i); heads alike. */
void help_edge_fill(tune_case *c, int id, double (*f)(int64_t token, int64_t i));

#endif
