/* test_case.c: random problems are legal and cover every option, cases are what their specs say, and the same again
 * from the same seed.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/case.h"
#include "tuner/convert.h"
#include "tuner/host_run.h"
#include "tuner/oracle.h"
#include "tuner/verify.h"

static bool legal(const nha_problem *p) {
    return p->head_dim_qk % 8 == 0 && p->head_dim_qk >= 8 && p->head_dim_qk <= 256 && p->head_dim_v % 8 == 0 &&
           p->head_dim_v >= 8 && p->head_dim_v <= 256 && p->heads_kv > 0 && p->heads_q % p->heads_kv == 0 &&
           p->slots >= 0 && p->slots <= 256 && p->window >= 0 && p->slot_lag >= 0 && (p->slots || p->window) &&
           p->scale > 0 && p->gate_normalizer > 0;
}

static void test_problems(void **state) {
    (void)state;
    enum { PROBLEMS = 2000 };
    int dtype[3] = {0}, gate[2] = {0}, rope[4] = {0}, maps[3] = {0}, no_slots = 0, no_window = 0, no_lag = 0, late = 0,
        wide = 0, given = 0;
    int most_group = 0, most_slots = 0, mixed = 0;
    for (uint64_t seed = 0; seed < PROBLEMS; seed++) {
        gen_problem problem, same;
        tune_random_problem(seed, &problem);
        tune_random_problem(seed, &same);
        const nha_problem *p = &problem.nha;
        if (!legal(p))
            fail_msg("seed %llu: not legal", (unsigned long long)seed);
        same.nha.name = problem.nha.name;
        assert_memory_equal(&same, &problem, sizeof same);
        assert_int_equal(problem.group, p->heads_q / p->heads_kv);
        dtype[p->dtype]++, gate[p->gate_input]++, rope[p->rope]++, maps[p->slot_map]++;
        no_slots += !p->slots, no_window += !p->window, no_lag += !p->slot_lag, late += p->slot_lag > p->window;
        wide += p->window > 100000, given += p->gate_s_given, mixed += p->gate_dtype != p->dtype;
        if (problem.group > most_group)
            most_group = problem.group;
        if (p->slots > most_slots)
            most_slots = p->slots;
    }
    for (int i = 0; i < 3; i++)
        assert_true(dtype[i] > PROBLEMS / 10 && maps[i] > PROBLEMS / 10);
    for (int i = 0; i < 4; i++)
        assert_true(rope[i] > PROBLEMS / 8);
    assert_true(gate[0] > PROBLEMS / 3 && gate[1] > PROBLEMS / 3);
    assert_true(no_slots > 50 && no_window > 50 && no_lag > 50 && late > 100 && wide > 20 && given > 100 &&
                mixed > 100);
    assert_true(most_group == 8 && most_slots > 200);
}

static void test_shapes(void **state) {
    (void)state;
    int empty = 0, one = 0, packed = 0, cached = 0, memory = 0, far = 0, gates[TUNE_GATES_COUNT] = {0};
    for (uint64_t seed = 0; seed < 400; seed++) {
        gen_problem problem;
        tune_case_spec spec;
        tune_case c, same;
        err e = {0};
        tune_random_problem(seed % 100, &problem);
        tune_case_random(&problem, seed, 16, 3e6, &spec);
        assert_in_range(spec.sequences, 1, TUNE_CASE_SEQUENCES);
        assert_true(tune_case_create(&problem, &spec, &c, &e));
        assert_true(tune_case_create(&problem, &spec, &same, &e));
        assert_true(tune_oracle_cost(&problem, &c.batch) < 1.2e8);
        int64_t total = 0;
        for (int64_t n = 0; n < spec.sequences; n++) {
            if (!spec.packed)
                assert_true(spec.length[n] == spec.length[0] && spec.length[n] > 0);
            assert_int_equal(tune_batch_length(&c.batch, n), spec.length[n]);
            assert_int_equal(tune_batch_position(&c.batch, n), spec.cached ? spec.pos[n] : 0);
            total += spec.length[n];
            empty += !spec.length[n], one += spec.length[n] == 1, far += spec.pos[n] > 10000;
        }
        assert_int_equal(tune_batch_total(&c.batch), total);
        for (int id = 0; id < TUNE_INPUTS; id++) {
            tune_tensor_info info = tune_tensor(&problem, id);
            assert_int_equal(info.present, c.data[id] != NULL);
            if (info.present)
                assert_memory_equal(c.data[id], same.data[id], (size_t)total * info.row_bytes);
        }
        for (int64_t i = 0; c.data[TUNE_GATE] && i < total * tune_tensor(&problem, TUNE_GATE).row; i++) {
            double g = tune_log_gate(&problem.nha, tune_load(c.data[TUNE_GATE], problem.nha.gate_dtype, i));
            assert_true(g <= 0);
            double s = c.data[TUNE_S] ? tune_load(c.data[TUNE_S], problem.nha.gate_dtype, i) : 0;
            assert_true(s >= 0 && s <= 1);
        }
        packed += spec.packed, cached += spec.cached, memory += c.hk0 != NULL;
        gates[spec.gates]++;
        tune_case_destroy(&c);
        tune_case_destroy(&same);
    }
    assert_true(empty > 20 && one > 20 && packed > 50 && cached > 50 && memory > 50 && far > 10);
    for (int i = 0; i < TUNE_GATES_COUNT; i++)
        assert_true(gates[i] > 40);
}

/* Rings after a call: the last R tokens, those of the start's cache before those of the call. */
static void test_cache_after(void **state) {
    (void)state;
    err e = {0};
    gen_problem problem = {0};
    problem.nha = (nha_problem){
        .head_dim_qk = 8, .head_dim_v = 8, .heads_q = 1, .heads_kv = 1, .window = 5, .slots = 1, .slot_lag = 3};
    gen_problem_derive(&problem);
    tune_case_spec spec = {.seed = 1, .sequences = 2, .cached = true, .pos = {1, 9}, .length = {2, 2}};
    tune_case c;
    tune_cache after;
    assert_true(tune_case_create(&problem, &spec, &c, &e));
    assert_true(tune_cache_after(&problem, &c.batch, &after, &e));
    assert_int_equal(problem.ring, 5);
    assert_int_equal(after.tokens, 5);
    const float *ring = after.k, *before = c.cache.k, *k = c.data[TUNE_K];
    for (int i = 0; i < 2 * 8; i++)
        assert_true(ring[i] == 0); /* before token 0 */
    assert_memory_equal(ring + 2 * 8, before + 4 * 8, 8 * sizeof *k);
    assert_memory_equal(ring + 3 * 8, k, 2 * 8 * sizeof *k);
    assert_memory_equal(ring + 5 * 8, before + (5 + 2) * 8, 3 * 8 * sizeof *k);
    assert_memory_equal(ring + 8 * 8, k + 2 * 8, 2 * 8 * sizeof *k);
    assert_true(after.pos[0] == 3 && after.pos[1] == 11);
    tune_cache_destroy(&after);
    tune_case_destroy(&c);
}

static void test_errors(void **state) {
    (void)state;
    float x[3] = {1, 2, 3}, zero[3] = {0};
    double y[3] = {1, 2, 3}, nothing[3] = {0};
    assert_true(tune_relative_error(x, NHA_F32, y, 3, 0) == 0);
    assert_true(tune_relative_error(zero, NHA_F32, nothing, 3, 0) == 0);
    assert_true(isinf(tune_relative_error(x, NHA_F32, nothing, 3, 0)));
    y[2] = 3.5;
    assert_true(fabs(tune_relative_error(x, NHA_F32, y, 3, 0) - 0.5 / sqrt(1 + 4 + 12.25)) < 1e-15);
    assert_true(fabs(tune_relative_error(x, NHA_F32, y, 3, 10) - 0.5 / (10 * sqrt(3))) < 1e-15);
    x[1] = NAN;
    assert_true(isinf(tune_relative_error(x, NHA_F32, y, 3, 0)));
    assert_true(tune_tolerance(NHA_F32) == 1e-5 && tune_tolerance(NHA_F16) == 4e-3 && tune_tolerance(NHA_BF16) == 4e-3);
    assert_null(tune_aligned(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_problems), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_cache_after), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
