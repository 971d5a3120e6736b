/* test_planted.c: the right scalar kernel passes verification; every planted wrong one fails it, for each op and dtype
 * it concerns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/help_scalar_kernel.h"
#include "tuner/verify.h"

/* Every option that a mistake could be made with. W > L: the ring is longer than the lag, and both differ. */
static void make_problem(gen_problem *problem, int dtype) {
    memset(problem, 0, sizeof *problem);
    strcpy(problem->name, "planted");
    problem->nha = (nha_problem){.head_dim_qk = 24,
                                 .head_dim_v = 16,
                                 .heads_q = 6,
                                 .heads_kv = 2,
                                 .slots = 11,
                                 .dtype = dtype,
                                 .gate_dtype = dtype,
                                 .gate_input = NHA_GATE_LOGIT,
                                 .gate_normalizer = 8,
                                 .rope = NHA_ROPE_NEOX,
                                 .slot_map = NHA_MAP_SILU,
                                 .value_map = NHA_MAP_SILU,
                                 .window = 19,
                                 .slot_lag = 19,
                                 .scale = 0.21};
    problem->nha.name = problem->name;
    for (int i = 0; i < 12; i++)
        problem->inv_freq[i] = 1.0 / (1 + i * i * i);
    gen_problem_derive(problem);
}

static int failures_of(int op, int dtype, int *missed) {
    gen_problem problem;
    tune_reference *reference;
    err e = {0};
    int failed = 0;
    const char *const kernels[] = {"prefill.scalar", "decode.scalar"};
    make_problem(&problem, dtype);
    assert_true(tune_reference_create(&problem, op, 1, 2, &reference, &e));
    for (int bug = BUG_NONE; bug < BUG_COUNT; bug++) {
        int where = help_bug_where(bug);
        if (bug && !(where & (op == NHA_PREFILL ? IN_PREFILL : IN_DECODE)))
            continue;
        if (where & ONLY_F32 && dtype != NHA_F32)
            continue;
        bool small = op == NHA_DECODE || where & ONLY_SMALL_BLOCKS; /* below the window: a larger one hides it */
        for (int block = 8; block <= (small ? 8 : 64); block *= 8) {
            tune_verify_report report = {0};
            const nha_library *library = help_scalar_library(&problem, bug, block);
            bool passed = tune_verify_kernel(&tune_place_host, library, 0, reference, kernels[op], &report, &e);
            if (!bug && !passed)
                fail_msg("the right kernel failed: %s", e.text);
            if (!bug)
                assert_true(report.executions >= 8 && report.worst[TUNE_CHECK_O] > 0);
            if (bug && !passed) {
                failed++;
                assert_int_equal(e.code, ERR_MISMATCH);
                if (getenv("SHOW"))
                    print_message("%s\n    %s\n", help_bug_text(bug), e.text);
            }
            if (bug && passed) {
                print_error("passed although wrong (%s, %s, block %d): %s\n", gen_op_name(op), gen_dtype_name(dtype),
                            block, help_bug_text(bug));
                ++*missed;
            }
            err_clear(&e);
        }
    }
    tune_reference_destroy(reference);
    return failed;
}

static void test_planted(void **state) {
    (void)state;
    int missed = 0, failed = 0;
    for (int dtype = NHA_F32; dtype <= NHA_BF16; dtype++)
        for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
            failed += failures_of(op, dtype, &missed);
    assert_int_equal(missed, 0);
    assert_true(BUG_COUNT - 1 >= 20 && failed >= 4 * 20);
}

/* `nhac verify` finds the mistakes too, with random cases. */
static void test_library(void **state) {
    (void)state;
    gen_problem problem;
    err e = {0};
    tune_verify_options options = {.cases = 12, .seed = 3, .flops = 1e7};
    make_problem(&problem, NHA_F32);
    for (int bug = BUG_NONE; bug < BUG_COUNT; bug++) {
        tune_verify_report report = {0};
        options.fence = !bug; /* where a stray access would stop the program */
        bool passed = tune_verify_library(help_scalar_library(&problem, bug, 16), 0, &problem, &options, &report, &e);
        if (passed != !bug)
            fail_msg("%s: %s", help_bug_text(bug), passed ? "passed" : e.text);
        err_clear(&e);
    }
}

/* The right kernel on random problems: the oracle, the cases and a second implementation agree on what the words mean.
 */
static void test_random_problems(void **state) {
    (void)state;
    err e = {0};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        gen_problem problem;
        tune_verify_report report = {0};
        tune_verify_options options = {.cases = 1, .seed = seed, .flops = 3e6, .fence = true};
        tune_random_problem(seed, &problem);
        problem.nha.state_dtype = NHA_F32; /* the scalar kernel has no other */
        if (!tune_verify_library(help_scalar_library(&problem, BUG_NONE, 16), 0, &problem, &options, &report, &e))
            fail_msg("problem %llu: %s", (unsigned long long)seed, e.text);
    }
}

static void test_long(void **state) {
    (void)state;
    err e = {0};
    gen_problem problem;
    tune_verify_report report = {0};
    make_problem(&problem, NHA_F32);
    problem.nha.heads_q = problem.nha.heads_kv = 1;
    gen_problem_derive(&problem);
    if (!tune_verify_long(&tune_place_host, help_scalar_library(&problem, BUG_NONE, 16), 0, NHA_PREFILL, &problem, 8192, 2, 1, &report,
                          &e))
        fail_msg("%s", e.text);
    assert_true(report.worst[TUNE_CHECK_HK] > 0);
    assert_false(tune_verify_long(&tune_place_host, help_scalar_library(&problem, BUG_S_NAIVE, 16), 0, NHA_PREFILL, &problem, 2048, 2, 1,
                                  &report, &e));
    err_clear(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_planted), cmocka_unit_test(test_library),
                                       cmocka_unit_test(test_random_problems), cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
