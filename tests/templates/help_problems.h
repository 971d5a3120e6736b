/* help_problems.h: random problems, each rendered, compiled and run on random cases in the emulator. */
#ifndef TESTS_TEMPLATES_HELP_PROBLEMS_H
#define TESTS_TEMPLATES_HELP_PROBLEMS_H

#include "runtime/nha.h"

/* A test program: 30 problems of tune_random_problem (300 with NHAC_LONG), every `shards`-th of them; one alone with
 * NHAC_PROBLEM=SEED. */
int help_problems_run(nha_op op, int shard, int shards);

#endif
