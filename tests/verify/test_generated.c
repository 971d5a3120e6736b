/* test_generated.c: generated kernels where errors add up or sizes are a model's: a long sequence with slow gates (T =
 * 65,536), and the candidates' own verification at the size of a model.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/candidate.h"
#include "tuner/verify.h"

static void make_problem(gen_problem *problem, int dtype, int dim, int slots, int heads, int group) {
    memset(problem, 0, sizeof *problem);
    strcpy(problem->name, "generated");
    problem->nha = (nha_problem){.name = problem->name,
                                 .head_dim_qk = dim,
                                 .head_dim_v = dim,
                                 .heads_q = heads * group,
                                 .heads_kv = heads,
                                 .slots = slots,
                                 .window = slots,
                                 .slot_lag = slots,
                                 .dtype = dtype,
                                 .gate_dtype = dtype,
                                 .gate_normalizer = 8,
                                 .rope = NHA_ROPE_NEOX,
                                 .scale = 1 / sqrt(dim)};
    for (int i = 0; i < dim / 2; i++)
        problem->inv_freq[i] = pow(500000, -2.0 * i / dim);
    gen_problem_derive(problem);
}

static void load(tune_candidate *c, const gen_problem *problem, nha_op op) {
    const tune_arch arch = {.isa = gen_isa_best(nha_cpu_features())};
    tune_tile tile;
    err e = {0};
    assert_true(tune_default_tile(problem, op, &arch, &tile, &e));
    tune_candidate_init(c, problem, op, &arch, &tile, 0);
    if (!tune_candidate_load(c, NULL, &e))
        fail_msg("%s", e.text);
}

static void test_long(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    int64_t tokens = 4096; /* for the memory; the errors are the same without */
#else
    int64_t tokens = 65536;
#endif
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
        for (int dtype = NHA_F32; dtype <= NHA_BF16; dtype++) {
            gen_problem problem;
            tune_candidate c;
            tune_verify_report report = {0};
            err e = {0};
            make_problem(&problem, dtype, 32, 16, 1, 1);
            load(&c, &problem, op);
            for (int threads = 1; threads <= (op == NHA_PREFILL ? 2 : 1); threads++) {
                if (!tune_verify_long(&tune_place_host, &c.library, 0, op, &problem, tokens, threads, 1, &report, &e))
                    fail_msg("%s: %s", gen_dtype_name(dtype), e.text);
                assert_int_equal(report.cases, threads);
            }
            print_message("%s, %s, %lld tokens: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", gen_op_name(op),
                          gen_dtype_name(dtype), (long long)tokens, report.worst[TUNE_CHECK_O],
                          report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK], report.worst[TUNE_CHECK_HV]);
            tune_candidate_unload(&c);
        }
}

/* K = V = 128, M = W = 64, G = 4, two kv heads, as candidates are verified while tuning. */
static void test_model(void **state) {
    (void)state;
    gen_problem problem;
    make_problem(&problem, NHA_BF16, 128, 64, 2, 4);
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        tune_candidate c;
        tune_reference *reference;
        tune_verify_report report = {0};
        err e = {0};
        load(&c, &problem, op);
        assert_true(tune_reference_create(&problem, op, 1, 2, &reference, &e));
        if (!tune_verify_kernel(&tune_place_host, &c.library, 0, reference, c.name, &report, &e))
            fail_msg("%s", e.text);
        assert_true(report.cases >= 4 && report.executions >= 10);
        tune_reference_destroy(reference);
        tune_candidate_unload(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long), cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
