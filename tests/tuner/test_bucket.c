/* test_bucket.c: buckets are disjoint, hold the shape they were made for, and cover what lies between shapes. And the
 * work of a shape, against sums made token by token. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/bucket.h"
#include "tuner/work.h"

static gen_problem problem_of(int64_t window, int64_t lag, int slots) {
    gen_problem p = {.nha = {.head_dim_qk = 64,
                             .head_dim_v = 32,
                             .heads_q = 8,
                             .heads_kv = 2,
                             .slots = slots,
                             .window = window,
                             .slot_lag = lag,
                             .scale = 0.125,
                             .gate_normalizer = 8,
                             .dtype = NHA_BF16,
                             .gate_dtype = NHA_F32},
                     .name = "test"};
    gen_problem_derive(&p);
    return p;
}

static void test_one(void **state) {
    (void)state;
    gen_problem p = problem_of(16, 16, 8);
    gen_shape shape = {NHA_PREFILL, 1, 2048};
    tune_bucket b[4];
    assert_int_equal(tune_buckets(&p, &shape, 1, NHA_PREFILL, b), 1);
    assert_true(tune_bucket_holds(&b[0], &p, 1, 2048));
    assert_true(tune_bucket_holds(&b[0], &p, 2, 65536));
    assert_false(tune_bucket_holds(&b[0], &p, 1000, 2048));
    assert_false(tune_bucket_holds(&b[0], &p, 1, 16));
    assert_int_equal(tune_buckets(&p, &shape, 1, NHA_DECODE, b), 0);
}

static void test_disjoint(void **state) {
    (void)state;
    gen_problem p = problem_of(16, 16, 8);
    gen_shape shapes[] = {{NHA_PREFILL, 1, 2048},  {NHA_PREFILL, 8, 2048}, {NHA_DECODE, 64, 1},
                          {NHA_PREFILL, 1, 16384}, {NHA_PREFILL, 1, 2048}, {NHA_DECODE, 1, 1},
                          {NHA_PREFILL, 1, 2049}};
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        tune_bucket b[8];
        int count = tune_buckets(&p, shapes, 7, (nha_op)op, b);
        assert_int_equal(count, op == NHA_PREFILL ? 4 : 2);
        for (int i = 0; i < count; i++)
            assert_true(tune_bucket_holds(&b[i], &p, b[i].shape.batch, op == NHA_DECODE ? 1 : b[i].shape.tokens));
        for (int64_t n = 1; n <= 1024; n = n * 5 / 4 + 1) {
            for (int64_t length = 1; length <= 1 << 20; length = length * 5 / 4 + 1) {
                int holders = 0;
                for (int i = 0; i < count; i++)
                    holders += tune_bucket_holds(&b[i], &p, n, length);
                assert_true(holders <= 1);
                if (op == NHA_PREFILL && n == 1 && length >= 2048 && length <= 16384)
                    assert_int_equal(holders, 1);
                if (op == NHA_DECODE && length == 1 && n <= 64)
                    assert_int_equal(holders, 1);
            }
        }
    }
}

static void test_extremes(void **state) {
    (void)state;
    gen_problem p = problem_of(16, 16, 8);
    gen_shape shapes[] = {
        {NHA_PREFILL, INT64_MAX / 2, 1}, {NHA_PREFILL, 1, INT64_MAX}, {NHA_PREFILL, 1, 1}, {NHA_PREFILL, 1, 2}};
    tune_bucket b[4];
    int count = tune_buckets(&p, shapes, 4, NHA_PREFILL, b);
    assert_int_equal(count, 4);
    for (int i = 0; i < count; i++) {
        assert_true(b[i].min_tasks <= b[i].max_tasks && b[i].min_length <= b[i].max_length);
        assert_true(tune_bucket_holds(&b[i], &p, b[i].shape.batch, b[i].shape.tokens));
    }
}

/* flops of one sequence by the words of the definition. */
static double flops_by_token(const gen_problem *p, int64_t tokens) {
    double flops = 0, dims = p->nha.head_dim_qk + p->nha.head_dim_v;
    for (int64_t t = 0; t < tokens; t++) {
        double pairs = (double)(t + 1 < p->nha.window ? t + 1 : p->nha.window);
        flops += p->nha.heads_q * (2 * p->nha.slots * dims + 2 * pairs * dims);
        if (t - p->nha.slot_lag >= 0 && p->nha.slots)
            flops += p->nha.heads_kv * 2 * p->nha.slots * dims;
    }
    return flops;
}

static void test_flops(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 1, 5, 16, 100, 1000}, lags[] = {0, 1, 16, 200};
    static const int slots[] = {0, 1, 8};
    for (size_t w = 0; w < 6; w++)
        for (size_t l = 0; l < 4; l++)
            for (size_t m = 0; m < 3; m++)
                for (int64_t tokens = 1; tokens < 300; tokens = tokens * 3 + 1) {
                    gen_problem p = problem_of(windows[w], lags[l], slots[m]);
                    gen_shape shape = {NHA_PREFILL, 3, tokens};
                    double flops = tune_work_of(&p, &shape, 0).flops, expected = 3 * flops_by_token(&p, tokens);
                    assert_true(fabs(flops - expected) <= 1e-9 * expected);
                    /* A decode step is the token that follows: the difference of two prefills. */
                    gen_shape step = {NHA_DECODE, 1, 1};
                    expected = flops_by_token(&p, tokens + 1) - flops_by_token(&p, tokens);
                    assert_true(fabs(tune_work_of(&p, &step, tokens).flops - expected) <= 1e-9 * (expected + 1));
                }
}

static void test_bytes(void **state) {
    (void)state;
    gen_problem p = problem_of(16, 16, 8);
    gen_shape prefill = {NHA_PREFILL, 2, 10}, decode = {NHA_DECODE, 4, 1};
    tune_work w = tune_work_of(&p, &prefill, 0);
    /* q, k, v, o in bf16; gate and lse in f32; the memory once. */
    double token = 8 * 64 * 2 + 2 * 64 * 2 + 2 * 32 * 2 + 2 * 8 * 4 + 8 * 32 * 2 + 8 * 4,
           memory = 2 * 8 * (64 + 32) * 4;
    assert_true(w.read_bytes == 2 * (10 * token + memory));
    assert_true(w.update_bytes == 0);
    w = tune_work_of(&p, &decode, 16);
    double pair = 2 * (64 + 32) * 2, gates = 2 * 8 * 4;
    /* 15 tokens of the window, the one that is absorbed (it has just left the window) with its gates, and the new one
     * stored. */
    assert_true(w.read_bytes == 4 * (token + 15 * pair + pair + gates + pair + gates));
    assert_true(w.update_bytes == 4 * 2 * memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one), cmocka_unit_test(test_disjoint),
                                       cmocka_unit_test(test_extremes), cmocka_unit_test(test_flops),
                                       cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
