/* help_random.c: generated kernels of one ISA on random legal problems of odd sizes, default and random tiles.
 * See help_random.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/help_kernels.h"
#include "tests/verify/help_random.h"

enum { SKIPPED = 77 };
enum { SEEDS = 4 }; /* ISAs of an architecture at most: what each takes of the seeds */

static const gen_isa *the_isa;
static tune_device *cpu;

static bool run_problem(uint64_t seed, tune_verify_report *report, err *e) {
    gen_problem problem;
    tune_random_problem(seed, &problem);
    help_kernels k = {.device = cpu, .other = (nha_op)(seed / SEEDS % 2)};
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
        k.arch[op].isa = gen_cpu_serves(&problem, op, the_isa); /* AMX has no decode */
    k.options = (tune_verify_options){.cases = 1, .seed = seed, .flops = 3e6, .fence = true, .isa = the_isa->name};
    return help_kernels_run(&problem, &k, report, e);
}

/* Row of the ISA in the table: its problems are the seeds that leave this remainder when divided by SEEDS. */
static int64_t first_seed(void) {
    int rows;
    return the_isa - gen_isa_table(&rows);
}

static bool serves(uint64_t seed) {
    gen_problem problem;
    tune_random_problem(seed, &problem);
    return gen_cpu_serves(&problem, NHA_PREFILL, the_isa) == the_isa;
}

static const char *where(uint64_t seed) {
    (void)seed;
    return the_isa->name;
}

/* With the sanitizers, which are there for the memory, a tenth. */
static void test_random_problems(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    const int64_t part = 10;
#else
    const int64_t part = 1;
#endif
    help_problems_run(&(help_problems){.first = first_seed(),
                                       .step = SEEDS,
                                       .count = help_problems_count(75, 500) / part,
                                       .serves = serves,
                                       .where = where,
                                       .run = run_problem});
}

int help_random_run(const char *name) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_problems)};
    const gen_isa *best = gen_isa_best(nha_cpu_features());
    the_isa = gen_isa_find(name);
    if (!the_isa)
        return 1;
    if (!best || strcmp(the_isa->triple, best->triple) || (the_isa->needs & ~nha_cpu_features())) {
        printf("skipped: the host has no %s\n", name);
        return SKIPPED;
    }
    if (!tune_device_open_cpu(&cpu, NULL))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tune_device_close(cpu);
    return failed;
}
