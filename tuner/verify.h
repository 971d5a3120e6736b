/* verify.h: holds kernels against the fp64 oracle, through libnha, on poisoned buffers with guard zones.
 * What passes here may be timed, shipped and used; nothing else may. */
#ifndef TUNER_VERIFY_H
#define TUNER_VERIFY_H

#include "runtime/nha_library.h"
#include "tuner/case.h"
#include "tuner/oracle.h"
#include "tuner/place.h"

/* Relative L2 over a tensor against fp64 on the same rounded inputs (docs/testing.md): 1e-5 for f32, 4e-3 for f16 and
 * bf16. */
double tune_tolerance(int dtype);
/* The same where a memory went through rows of a pool. With state_dtype bf16 it is rounded there at every step, to one of its
 * neighbours at random, which is off by 2^-8 / sqrt(6) / 1.44 (the mean of 1 / mantissa) rms or so, 1.1e-3, at most 2^-7 / sqrt(6),
 * 3.2e-3; errors of the n steps that a slot remembers add up as their root: 3e-2 is a hundred steps at the most, or seven hundred
 * at the mean. */
double tune_cached_tolerance(const nha_problem *problem);
/* Whether `held`, an element of a row, is what rounding `exact` may leave there. */
bool tune_state_holds(const nha_problem *problem, float exact, float held);
/* ||x - y|| / max(||y||, floor * sqrt(count)); 0 / 0 is 0. Infinite where an element of x is not finite or all of y is
 * 0 and x is not. The floor is 0 but for lse, where it is 1: an error of a logarithm is the relative error of what it
 * stands for, also where the logarithm happens to be near 0. */
double tune_relative_error(const void *x, int dtype, const double *y, int64_t count, double floor);

typedef enum tune_checked { TUNE_CHECK_O, TUNE_CHECK_LSE, TUNE_CHECK_HK, TUNE_CHECK_HV, TUNE_CHECKED } tune_checked;

typedef struct tune_verify_report {
    int64_t cases, executions;
    double worst[TUNE_CHECKED]; /* largest relative error, by tune_checked */
    uint64_t worst_seed[TUNE_CHECKED];
} tune_verify_report;

/* ---- one candidate ---- */

/* Cases and their oracle results, made once for a problem and op and held against any number of candidates. */
typedef struct tune_reference tune_reference;
/* `threads` for the oracle. Takes about a second for models' sizes. Errors: ERR_MEMORY. */
bool tune_reference_create(const gen_problem *problem, int op, uint64_t seed, int threads, tune_reference **reference,
                           err *e);
void tune_reference_destroy(tune_reference *reference);

/* Everything at once about kernel `kernel` (NULL: the library's choice) of problem `index`: results; guard zones, gaps
 * between strided rows, inputs and unused cache rows untouched; bits the same again, with other poison, in other
 * company and without optional outputs; division into runs and pieces; rings exact. Thread-safe: the reference is not
 * changed. report may be NULL. Errors: ERR_MISMATCH with kernel, case, tensor, error and tolerance; what libnha says.
 */
bool tune_verify_kernel(const tune_place *place, const nha_library *library, int index, const tune_reference *reference, const char *kernel,
                        tune_verify_report *report, err *e);

/* ---- a library ---- */

typedef struct tune_verify_options {
    bool ops[2];   /* by nha_op; none set: every op the library has */
    int64_t cases; /* random cases per op and kernel */
    uint64_t seed;
    int threads;        /* most to be tried, 0: 2 */
    const tune_place *place; /* NULL: the CPU */
    const char *kernel; /* only this kernel, or NULL: all that run there */
    const char *isa;    /* nothing above this ISA, or NULL */
    bool fence;         /* reads past a tensor stop the program: for tests */
    double flops;       /* bound of the oracle's work per case; 0: 2e8 */
} tune_verify_options;

/* Random B, T, lengths, cuts into prefill pieces and decode steps, gates, memories, caches and layouts within the
 * library's problem. The problem's inverse frequencies come with `problem`: nha_problem has none. */
bool tune_verify_library(const nha_library *library, int index, const gen_problem *problem,
                         const tune_verify_options *options, tune_verify_report *report, err *e);

/* One long sequence with slow gates against the oracle, N = 1: rounding that adds up with the length, positions,
 * divisions. */
bool tune_verify_long(const tune_place *place, const nha_library *library, int index, int op, const gen_problem *problem, int64_t tokens,
                      int threads, uint64_t seed, tune_verify_report *report, err *e);

#endif
