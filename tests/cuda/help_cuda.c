/* help_cuda.c: random legal problems, each on a target of its own, on the emulator. See help_cuda.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/cuda/help_cuda.h"
#include "tests/shared/help_compiler.h"
#include "tests/shared/help_kernels.h"

static const gen_cuda_target *target_of(uint64_t seed) {
    int targets;
    const gen_cuda_target *table = gen_cuda_target_table(&targets);
    return &table[seed / HELP_CUDA_SHARDS % (uint64_t)targets];
}

static const char *where(uint64_t seed) {
    return target_of(seed)->name;
}

static bool run_problem(uint64_t seed, tune_verify_report *report, err *e) {
    gen_problem problem;
    tune_device *d;
    tune_random_problem(seed, &problem);
    problem.nha.state_dtype = NHA_F32; /* the one there is on CUDA */
    if (!tune_device_open_emu(target_of(seed), &d, e))
        return false;
    help_kernels k = {.device = d, .arch = {d->arch, d->arch}, .other = (nha_op)(seed / HELP_CUDA_SHARDS % 2)};
    k.options = (tune_verify_options){.cases = 2, .seed = seed, .flops = 3e6, .place = &d->place};
    bool ok = help_kernels_run(&problem, &k, report, e);
    tune_device_close(d);
    return ok;
}

static int64_t the_shard;

/* 60 problems in all, 300 with NHAC_LONG. */
static void test_random_problems(void **state) {
    (void)state;
    if (help_has_nvrtc())
        help_problems_run(&(help_problems){.first = the_shard,
                                           .step = HELP_CUDA_SHARDS,
                                           .count = help_problems_count(60, 300) / HELP_CUDA_SHARDS,
                                           .where = where,
                                           .run = run_problem});
}

int help_cuda_random(int shard) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_problems)};
    the_shard = shard;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
