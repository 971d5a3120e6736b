/* help_kernels.h: random legal problems of odd sizes, each with the default kernel of both ops and a random one, held
 * against the oracle on random cases: what tests of the CPU's instruction sets and of CUDA targets have in common. */
#ifndef TESTS_SHARED_HELP_KERNELS_H
#define TESTS_SHARED_HELP_KERNELS_H

#include "tuner/device.h"
#include "tuner/verify.h"

/* What one problem runs on. */
typedef struct help_kernels {
    const tune_device *device;
    tune_arch arch[2]; /* by nha_op */
    nha_op other;      /* the op that has a random legal tile beside the default one */
    tune_verify_options options;
} help_kernels;
/* The kernels in one library, on options.cases random cases of each. */
bool help_kernels_run(const gen_problem *problem, const help_kernels *kernels, tune_verify_report *report, err *e);

/* A run of seeds of tune_random_problem: `first`, first + step, ... */
typedef struct help_problems {
    int64_t first, step, count;
    bool (*serves)(uint64_t seed); /* seeds of which this is false are passed over and not counted; NULL: none */
    const char *(*where)(uint64_t seed);
    bool (*run)(uint64_t seed, tune_verify_report *report, err *e);
} help_problems;
/* Body of a cmocka test: runs them all (NHAC_PROBLEM=SEED: that one alone), prints the worst errors, and fails if any
 * failed. */
void help_problems_run(const help_problems *problems);
/* `few`, or `many` with NHAC_LONG. */
int64_t help_problems_count(int64_t few, int64_t many);

#endif
