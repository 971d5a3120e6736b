/* help_problems.c: see help_problems.h. Targets, tiles, layouts, order of warps and delivery of cp.async vary with the
 * seed. */
#include "tests/templates/help_problems.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/templates/help_templates.h"

static struct {
    nha_op op;
    int shard, shards;
} the_run;

/* Best so far of a reservoir of one: every legal tile is taken with the same probability. */
typedef struct pick {
    tune_random random;
    int64_t seen;
    gen_cuda_tile tile;
} pick;

static bool visit(void *context, const gen_cuda_tile *tile, const char *reason) {
    pick *p = context;
    if (!reason && tune_random_between(&p->random, 0, p->seen++) == 0)
        p->tile = *tile;
    return true;
}

static bool run_cases(const help_kernel *kernel, uint64_t seed, tune_verify_report *report, err *e) {
    enum { CASES = 3 };
    bool ok = true;
    for (uint64_t i = 0; ok && i < CASES; i++) {
        tune_random r = {seed * CASES + i};
        tune_case_spec spec;
        verify_truth truth;
        tune_case_random(&kernel->problem, seed * CASES + i, 16, 1.5e6, &spec);
        if (kernel->op == NHA_DECODE) { /* steps of sequences of one length */
            spec.packed = false;
            spec.memory = false;
            for (int64_t n = 0; n < spec.sequences; n++)
                spec.length[n] = 1 + (int64_t)i;
        }
        help_run_options options = {.seed = seed * CASES + i, .skip = -1};
        options.async = tune_random_between(&r, 0, 1) ? EMU_ASYNC_LATE : EMU_ASYNC_EAGER;
        if ((spec.cached || kernel->op == NHA_DECODE) && spec.sequences > 1 && tune_random_between(&r, 0, 1))
            options.skip = tune_random_between(&r, 0, spec.sequences - 1);
        ok = verify_truth_create(&kernel->problem, &spec, 1, &truth, e);
        if (!ok)
            break;
        ok = help_kernel_run(kernel, &truth, &options, report, NULL, e);
        verify_truth_destroy(&truth);
    }
    return ok;
}

static bool run_problem(const jit_nvrtc *nvrtc, uint64_t seed, tune_verify_report *report, err *e) {
    static const char *const targets[] = {"sm_80", "sm_90", "sm_90a", "sm_100f", "sm_86", "sm_120f"};
    const gen_cuda_kernel *row = gen_cuda_kernel_find(the_run.op, "generic");
    const char *target = targets[seed % (sizeof targets / sizeof *targets)];
    gen_problem problem;
    help_kernel kernel;
    pick p = {.random = {seed}};
    tune_random_problem(seed, &problem);
    bool standard = seed % 2 == 0;
    if (!standard && !gen_cuda_space(gen_embedded_files, row, &problem, gen_cuda_target_find(target), visit, &p, e))
        return false;
    if (!help_kernel_create(nvrtc, gen_embedded_files, &problem, the_run.op, target, standard ? NULL : &p.tile, &kernel,
                            e))
        return false;
    bool ok = run_cases(&kernel, seed, report, e);
    if (!ok && e->text[0]) {
        char *at = strrchr(e->text, 0);
        snprintf(at, (size_t)(e->text + sizeof e->text - at), " [%s]", kernel.unit.name);
    }
    help_kernel_destroy(&kernel);
    return ok;
}

static void test_random_problems(void **state) {
    (void)state;
    const char *one = getenv("NHAC_PROBLEM"), *full = getenv("NHAC_LONG");
    int64_t count = full && *full && strcmp(full, "0") ? 300 : 30;
    int64_t first = one ? atoll(one) : the_run.shard, end = one ? first + 1 : count, failed = 0;
    tune_verify_report report = {0};
    jit_nvrtc *nvrtc = help_open_nvrtc();
    for (int64_t seed = first; seed < end; seed += the_run.shards) {
        err e = {0};
        char text[256];
        gen_problem problem;
        if (run_problem(nvrtc, (uint64_t)seed, &report, &e))
            continue;
        tune_random_problem((uint64_t)seed, &problem);
        gen_problem_string(&problem, the_run.op, text, sizeof text);
        print_error("NHAC_PROBLEM=%lld (%s): %s\n%s", (long long)seed, text, e.text, e.log ? e.log : "");
        failed++;
        err_clear(&e);
    }
    jit_nvrtc_close(nvrtc);
    print_message("%lld executions; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", (long long)report.executions,
                  report.worst[TUNE_CHECK_O], report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK],
                  report.worst[TUNE_CHECK_HV]);
    assert_true(report.executions > 0);
    assert_int_equal(failed, 0);
}

int help_problems_run(nha_op op, int shard, int shards) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_problems)};
    the_run.op = op;
    the_run.shard = shard;
    the_run.shards = shards;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
