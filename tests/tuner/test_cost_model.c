/* test_cost_model.c: the model learns what is there to be learnt: effects that add up from a few measurements, less
 * certainty elsewhere, nothing from what was only assumed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/cpu/split.h"
#include "tuner/cost_model.h"
#include "tuner/cost_prior.h"

static gen_problem problem;
static tune_arch arch;
static tune_space space;
static tune_cost_places places;

static int enter(void **state) {
    (void)state;
    err e = {0};
    problem = (gen_problem){.nha = {.head_dim_qk = 64,
                                    .head_dim_v = 64,
                                    .heads_q = 2,
                                    .heads_kv = 1,
                                    .slots = 32,
                                    .window = 16,
                                    .slot_lag = 16,
                                    .scale = 0.125,
                                    .gate_normalizer = 8,
                                    .dtype = NHA_F16},
                            .name = "made-up"};
    gen_problem_derive(&problem);
    arch = (tune_arch){.isa = gen_isa_find("avx512")};
    return tune_space_open(&problem, NHA_DECODE, &arch, &space, &e) && tune_cost_places_open(&space, &places, &e) ? 0
                                                                                                                  : -1;
}

static int leave(void **state) {
    (void)state;
    tune_cost_places_close(&places);
    tune_space_close(&space);
    return 0;
}

static double truth(int candidate) { /* log ratio, made of effects that add up */
    const int32_t *k = space.candidates[candidate].tile.cpu.knob, *d = space.candidates[0].tile.cpu.knob;
    return 0.1 * (abs(k[GEN_STATE_ROWS] - 4) - abs(d[GEN_STATE_ROWS] - 4)) / 4.0 +
           0.2 * (k[GEN_READ_VECTORS] - d[GEN_READ_VECTORS]) / 4.0 +
           0.15 * (k[GEN_EXP_DEGREE] - d[GEN_EXP_DEGREE]) / 2.0;
}

static double error_of(const tune_cost_model *m) {
    double sum = 0;
    for (int i = 0; i < space.count; i++)
        sum += fabs(m->mean[i] - truth(i));
    return sum / space.count;
}

static tune_cost_model open_flat(void) {
    tune_cost_model m;
    err e = {0};
    double *prior = calloc((size_t)space.count, sizeof *prior);
    assert_non_null(prior);
    assert_true(tune_cost_model_open(&places, prior, 8 << 20, &m, &e));
    free(prior);
    return m;
}

static void test_learns(void **state) {
    (void)state;
    err e = {0};
    tune_cost_model m = open_flat();
    assert_true(space.count > 100);
    assert_true(fabs(tune_cost_model_ratio(&m, 0) - 1) < 1e-3);
    double before = error_of(&m);
    for (int i = 1; i <= 40; i++)
        assert_true(tune_cost_model_observe(&m, i, exp(truth(i)), 0.005, &e));
    assert_true(error_of(&m) < before / 10);
    for (int i = 0; i <= 40; i++) {
        assert_true(fabs(m.mean[i] - truth(i)) < 0.01);
        assert_true(m.variance[i] > -1e-6 && m.variance[i] < 1e-3);
    }
    tune_cost_model_close(&m);
}

/* A candidate that was measured promises less than one that might be anything. */
static void test_gain(void **state) {
    (void)state;
    err e = {0};
    tune_cost_model m = open_flat();
    int far = 1;
    for (int i = 1; i < space.count; i++)
        if (tune_tile_distance(&space.candidates[0].tile, &space.candidates[i].tile) >
            tune_tile_distance(&space.candidates[0].tile, &space.candidates[far].tile))
            far = i;
    double unknown = tune_cost_model_gain(&m, far, 0);
    assert_true(unknown > 0);
    assert_true(tune_cost_model_observe(&m, far, 1.2, 0.01, &e));
    assert_true(tune_cost_model_gain(&m, far, 0) < unknown / 10);
    assert_true(tune_cost_model_gain(&m, far, 1) > 0.7); /* log 1.2 is 0.82 better than 1 */
    tune_cost_model_close(&m);
}

static void test_assumed(void **state) {
    (void)state;
    tune_cost_model m = open_flat();
    double *mean = malloc((size_t)space.count * sizeof *mean),
           *variance = malloc((size_t)space.count * sizeof *variance);
    assert_true(mean && variance);
    memcpy(mean, m.mean, (size_t)space.count * sizeof *mean);
    memcpy(variance, m.variance, (size_t)space.count * sizeof *variance);
    for (int i = 1; i < 6; i++) {
        assert_true(tune_cost_model_assume(&m, i));
        assert_true(m.variance[i] < variance[i] / 10);
    }
    for (int i = 1; i < 6; i++)
        tune_cost_model_retract(&m);
    for (int i = 0; i < space.count; i++) {
        assert_true(m.mean[i] == mean[i]);
        assert_true(fabs(m.variance[i] - variance[i]) < 1e-5);
    }
    free(mean);
    free(variance);
    tune_cost_model_close(&m);
}

/* More measurements than there is room for change nothing and break nothing. */
static void test_full(void **state) {
    (void)state;
    err e = {0};
    double *prior = calloc((size_t)space.count, sizeof *prior);
    tune_cost_model m;
    assert_non_null(prior);
    assert_true(tune_cost_model_open(&places, prior, 1, &m, &e));
    for (int i = 1; i < space.count; i++)
        assert_true(tune_cost_model_observe(&m, i, 1.1, 0.01, &e));
    assert_int_equal(m.row_count, m.row_max);
    assert_false(tune_cost_model_assume(&m, 1));
    free(prior);
    tune_cost_model_close(&m);
}

/* The estimate: finite for every tile of both ops, and of an opinion. */
static void test_prior(void **state) {
    (void)state;
    err e = {0};
    static const char *const isas[] = {"avx2", "avx512"};
    for (int i = 0; i < 2; i++)
        for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            const tune_arch a = {.isa = gen_isa_find(isas[i])};
            tune_space all;
            assert_true(tune_space_open(&problem, (nha_op)op, &a, &all, &e));
            double low = INFINITY, high = -INFINITY;
            for (int c = 0; c < all.count; c++) {
                double p = tune_cost_prior(&problem, (nha_op)op, &a, &all.candidates[c].tile);
                assert_true(isfinite(p) && p > 0 && p < 20);
                low = fmin(low, p);
                high = fmax(high, p);
            }
            assert_true(high > low + 0.05);
            tune_space_close(&all);
        }
}

/* On tiles the estimate counts the products of parts: with all else the same, f32 takes more than f16, which takes more
 * than bf16; and bf16 with a rotation more than without. */
static void test_prior_on_tiles(void **state) {
    (void)state;
    static const int dtypes[] = {NHA_BF16, NHA_F16, NHA_F32};
    const tune_arch amx = {.isa = gen_isa_find("amx")};
    gen_problem p = {.nha = {.head_dim_qk = 128,
                             .head_dim_v = 128,
                             .heads_q = 8,
                             .heads_kv = 2,
                             .slots = 64,
                             .window = 64,
                             .slot_lag = 64,
                             .scale = 0.1,
                             .gate_normalizer = 8,
                             .rope = NHA_ROPE_NEOX},
                     .name = "tiles"};
    tune_tile tile = {0};
    double cost[3], still;
    for (int i = 0; i < 3; i++) {
        p.nha.dtype = p.nha.gate_dtype = dtypes[i];
        gen_problem_derive(&p);
        assert_true(gen_cpu_on_amx(&p, amx.isa));
        gen_tile_default(&p, NHA_PREFILL, amx.isa, &tile.cpu);
        tile.cpu.knob[GEN_EXP_DEGREE] = 5;
        cost[i] = exp(tune_cost_prior(&p, NHA_PREFILL, &amx, &tile));
    }
    print_message("bf16, f16, f32: %g, %g, %g cycles a token\n", cost[0], cost[1], cost[2]);
    assert_true(cost[1] > 1.03 * cost[0] && cost[2] > 1.3 * cost[1] && cost[2] < 6 * cost[0]);
    p.nha.dtype = NHA_BF16;
    p.nha.rope = NHA_ROPE_NONE;
    still = exp(tune_cost_prior(&p, NHA_PREFILL, &amx, &tile));
    assert_true(still < 0.95 * cost[0]);

    static const int products[][3] = {{1, 1, 1}, {1, 2, 2}, {2, 1, 2}, {2, 2, 3}, {2, 3, 5}, {3, 2, 5}, {3, 3, 6}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        assert_int_equal(gen_cpu_part_products(products[i][0], products[i][1]), products[i][2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns), cmocka_unit_test(test_gain),
                                       cmocka_unit_test(test_assumed), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_prior), cmocka_unit_test(test_prior_on_tiles)};
    return cmocka_run_group_tests(tests, enter, leave);
}
