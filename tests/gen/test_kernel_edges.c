/* test_kernel_edges.c: generated kernels at the edges of what docs/spec.md allows: sizes, lags, gates, magnitudes, positions.
 * Everything is held against the fp64 oracle at the tolerances of docs/testing.md, with guarded buffers, cuts and divisions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/nha_library.h"
#include "tests/gen/help_edge.h"
#include "tests/gen/help_gen.h"
#include "tuner/candidate.h"
#include "tuner/convert.h"
#include "tuner/verify.h"

/* A case of one sequence of `tokens` tokens on a problem of help_gen_problem. */
static help_edge edge_of(const char *name, int dim, int slots, int64_t window, int heads_kv, int group, int64_t tokens) {
    help_edge edge = {.name = name, .spec = {.seed = 7, .sequences = 1, .length = {tokens}}};
    help_gen_problem(&edge.problem, dim, slots, window, heads_kv, group);
    return edge;
}

static void set_dtype(help_edge *edge, int dtype) {
    edge->problem.nha.dtype = edge->problem.nha.gate_dtype = dtype;
}

static void run(help_edge *edge) {
    help_gen_ready(&edge->problem);
    help_edge_run(edge, true);
}

static void run_best(help_edge *edge) {
    help_gen_ready(&edge->problem);
    help_edge_run(edge, false);
}

/* ---- sizes ---- */

static void test_windows(void **state) {
    (void)state;
    help_edge edge = edge_of("W = 1", 16, 5, 1, 1, 2, 50);
    edge.problem.nha.rope = NHA_ROPE_GPTJ;
    run(&edge);
    edge = edge_of("W = 0, L = 0", 16, 9, 0, 2, 1, 50);
    run(&edge);
    edge = edge_of("W = 0, L = 5", 16, 9, 0, 2, 1, 50);
    edge.problem.nha.slot_lag = 5;
    edge.problem.nha.slot_map = NHA_MAP_RELU;
    run_best(&edge);
    edge = edge_of("L = 0, W = 300", 16, 7, 300, 1, 2, 420);
    edge.problem.nha.slot_lag = 0;
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    run(&edge);
    edge = edge_of("L = 1000, W = 8, T < L", 16, 7, 8, 1, 2, 90);
    edge.problem.nha.slot_lag = 1000;
    edge.spec.memory = true;
    run_best(&edge);
    edge = edge_of("L = 1000, W = 8, T > L", 8, 3, 8, 1, 1, 1090);
    edge.problem.nha.slot_lag = 1000;
    run_best(&edge);
    edge = edge_of("L = 1000, W = 8, far along", 8, 3, 8, 1, 1, 40);
    edge.problem.nha.slot_lag = 1000;
    edge.spec.cached = true;
    edge.spec.pos[0] = 990;
    run_best(&edge);
}

static void test_huge_window(void **state) {
    (void)state;
    help_edge edge = edge_of("W = 2^40, T = 100", 16, 6, (int64_t)1 << 40, 1, 3, 100);
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    run_best(&edge);
    edge = edge_of("W = 2^40, L = 4, from a cache", 16, 6, (int64_t)1 << 40, 1, 3, 30);
    edge.problem.nha.slot_lag = 4;
    edge.spec.cached = true;
    edge.spec.pos[0] = 70;
    run(&edge);
    edge = edge_of("W = 2^40, M = 0: causal attention", 16, 0, (int64_t)1 << 40, 1, 2, 170);
    edge.problem.nha.value_map = NHA_MAP_SILU;
    run_best(&edge);
}

static void test_slots_and_dims(void **state) {
    (void)state;
    static const int slots[] = {1, 255, 256};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        char name[32];
        snprintf(name, sizeof name, "M = %d", slots[i]);
        help_edge edge = edge_of(name, 16, slots[i], 20, 1, 2, 60);
        run_best(&edge);
    }
    help_edge edge = edge_of("K = V = 8", 8, 16, 16, 2, 2, 60);
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    run(&edge);
    edge = edge_of("K = V = 256", 256, 16, 20, 1, 2, 50);
    edge.problem.nha.rope = NHA_ROPE_GPTJ;
    run_best(&edge);
    edge = edge_of("K = 8, V = 256", 8, 16, 20, 1, 1, 50);
    edge.problem.nha.head_dim_v = 256;
    run_best(&edge);
    edge = edge_of("K = 256, V = 8", 256, 16, 20, 1, 1, 50);
    edge.problem.nha.head_dim_v = 8;
    run_best(&edge);
    edge = edge_of("G = 1", 24, 12, 20, 3, 1, 60);
    run_best(&edge);
    edge = edge_of("G = 32", 24, 12, 20, 1, 32, 40);
    run(&edge);
}

static void test_empty(void **state) {
    (void)state;
    help_edge edge = edge_of("T = 0 for all, packed", 16, 5, 9, 2, 2, 0);
    edge.spec.sequences = 3;
    edge.spec.packed = true;
    edge.spec.memory = true;
    run_best(&edge);
    edge.spec.memory = false;
    edge.spec.cached = true;
    edge.spec.pos[0] = 3;
    edge.spec.pos[1] = 50;
    edge.name = "T = 0 for all, from caches";
    run_best(&edge);
}

/* ---- gates ---- */

static double all_minus_infinity(int64_t token, int64_t i) {
    (void)token;
    (void)i;
    return -INFINITY;
}

static double all_zero(int64_t token, int64_t i) {
    (void)token;
    (void)i;
    return 0;
}

static double all_one(int64_t token, int64_t i) {
    (void)token;
    (void)i;
    return 1;
}

static void gates_reset(tune_case *c) {
    help_edge_fill(c, TUNE_GATE, all_minus_infinity);
}

static void gates_hold(tune_case *c) {
    help_edge_fill(c, TUNE_GATE, all_zero);
}

static void gates_hold_and_add(tune_case *c) {
    help_edge_fill(c, TUNE_GATE, all_zero);
    help_edge_fill(c, TUNE_S, all_one);
}

/* +infinity as a logit holds, -infinity resets; by turns. */
static double infinite_logits(int64_t token, int64_t i) {
    return (token / 3 + i) % 2 ? INFINITY : -INFINITY;
}

static void logits_infinite(tune_case *c) {
    help_edge_fill(c, TUNE_GATE, infinite_logits);
}

static void test_gates(void **state) {
    (void)state;
    help_edge edge = edge_of("gates all -inf", 16, 9, 10, 1, 2, 70);
    edge.problem.nha.gate_input = NHA_GATE_LOG;
    edge.spec.memory = true;
    edge.change = gates_reset;
    run(&edge);
    edge.spec.memory = false; /* through decode, too */
    run_best(&edge);
    edge.name = "gates all 0";
    edge.spec.memory = true;
    edge.change = gates_hold;
    run(&edge);
    edge.name = "gates all 0, s = 1";
    edge.problem.nha.gate_s_given = 1;
    edge.spec.memory = false;
    edge.change = gates_hold_and_add;
    run_best(&edge);
    edge = edge_of("logits of +-inf", 16, 9, 10, 1, 2, 70);
    edge.change = logits_infinite;
    run(&edge);
}

/* ---- magnitudes ---- */

static void million(tune_case *c) {
    int64_t rows = c->spec.sequences * c->problem.nha.heads_kv * c->problem.nha.slots;
    for (int64_t i = 0; i < rows * c->problem.nha.head_dim_v; i++)
        c->hv0[i] *= 1e6f;
}

/* The first token that is absorbed resets every slot: nothing of 1e6 may be left in what follows. */
static double reset_first(int64_t token, int64_t i) {
    return token == 0 ? (i % 2 ? -INFINITY : -1e4) : -0.05 * (double)(1 + (token * 7 + i * 3) % 9);
}

static void million_then_reset(tune_case *c) {
    million(c);
    help_edge_fill(c, TUNE_GATE, reset_first);
}

/* The same reset later: at token 37, in the middle of a block. */
static double reset_later(int64_t token, int64_t i) {
    return token == 37 ? (i % 2 ? -INFINITY : -200) : -0.02 * (double)(1 + (token * 7 + i * 3) % 9);
}

static void million_then_reset_later(tune_case *c) {
    million(c);
    help_edge_fill(c, TUNE_GATE, reset_later);
}

static void test_large_memory(void **state) {
    (void)state;
    help_edge edge = edge_of("memory of 1e6, reset at once", 16, 9, 10, 1, 2, 70);
    edge.problem.nha.gate_input = NHA_GATE_LOG;
    edge.problem.nha.slot_lag = 0;
    edge.spec.memory = true;
    edge.f32_range = true; /* o is about 1e6 before the reset */
    edge.change = million_then_reset;
    run(&edge);
    edge.name = "memory of 1e6, reset at token 37";
    edge.change = million_then_reset_later;
    edge.exact_from = 37;
    run(&edge);
}

/* k about 6e4, q about 1e-5, below the smallest normal f16 number of 6.1e-5: scores of ordinary size */
static double tiny(int64_t token, int64_t i) {
    return 0x1p-24 * (double)((token * 31 + i * 17) % 400 - 200);
}

static double large(int64_t token, int64_t i) {
    return 65504.0 * ((double)((token * 13 + i * 29) % 201 - 100) / 100);
}

static double largest(int64_t token, int64_t i) {
    return (token + i) % 3 ? 65504 : -65504;
}

static void f16_extremes(tune_case *c) {
    help_edge_fill(c, TUNE_Q, tiny);
    help_edge_fill(c, TUNE_K, large);
    help_edge_fill(c, TUNE_V, largest);
}

static double same_value(int64_t token, int64_t i) {
    (void)token;
    return i % 2 ? 65504 : -65504;
}

/* Every value the largest: each output is that, and must not round up to infinity. */
static void f16_all_largest(tune_case *c) {
    help_edge_fill(c, TUNE_V, same_value);
}

static void scale_values(tune_case *c, double factor) {
    for (int64_t i = 0; i < tune_batch_total(&c->batch) * tune_tensor(&c->problem, TUNE_V).row; i++)
        tune_store(c->data[TUNE_V], c->problem.nha.dtype, i, factor * tune_load(c->data[TUNE_V], c->problem.nha.dtype, i));
}

static void huge_values(tune_case *c) {
    scale_values(c, 1e35);
}

static void tiny_values(tune_case *c) {
    scale_values(c, 1e-25); /* times s of 1e-6 and rounding of 1e-7 still a normal number */
}

static void test_f32(void **state) {
    (void)state;
    help_edge edge = edge_of("f32: v about 1e35", 24, 9, 10, 1, 2, 70);
    edge.change = huge_values;
    edge.f32_range = true;
    run_best(&edge);
    edge.f32_range = true;
    edge.name = "f32: v about 1e-25";
    edge.change = tiny_values;
    edge.spec.gates = TUNE_GATES_SLOW;
    run_best(&edge);
}

static void test_f16(void **state) {
    (void)state;
    help_edge edge = edge_of("f16: q subnormal, k and v largest", 24, 9, 10, 1, 2, 70);
    set_dtype(&edge, NHA_F16);
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    edge.change = f16_extremes;
    run(&edge);
    edge = edge_of("f16: every v the largest", 24, 0, 40, 1, 2, 70);
    set_dtype(&edge, NHA_F16);
    edge.change = f16_all_largest;
    run(&edge);
}

static void zero_q(tune_case *c) {
    help_edge_fill(c, TUNE_Q, all_zero);
}

static void zero_k(tune_case *c) {
    help_edge_fill(c, TUNE_K, all_zero);
}

static void zero_v(tune_case *c) {
    help_edge_fill(c, TUNE_V, all_zero);
}

static void test_zeros(void **state) {
    (void)state;
    void (*const change[])(tune_case *) = {zero_q, zero_k, zero_v};
    const char *const names[] = {"q = 0", "k = 0", "v = 0: o is 0"};
    for (int i = 0; i < 3; i++) {
        help_edge edge = edge_of(names[i], 16, 9, 10, 1, 2, 50);
        edge.problem.nha.rope = NHA_ROPE_NEOX;
        edge.problem.nha.value_map = NHA_MAP_SILU;
        edge.problem.nha.slot_map = NHA_MAP_SILU;
        edge.change = change[i];
        run_best(&edge);
    }
}

/* ---- positions ---- */

static void test_positions(void **state) {
    (void)state;
    static const int64_t at[] = {((int64_t)1 << 31) - 9, ((int64_t)1 << 31) + 3, ((int64_t)1 << 40) + 5};
    static const char *const names[] = {"position 2^31 - 9", "position 2^31 + 3", "position 2^40 + 5"};
    for (int i = 0; i < 3; i++)
        for (int rope = NHA_ROPE_NEOX; rope <= NHA_ROPE_GPTJ; rope++) {
            help_edge edge = edge_of(names[i], 40, 9, 21, 1, 2, 40);
            edge.problem.nha.rope = rope;
            edge.spec.cached = true;
            edge.spec.pos[0] = at[i];
            if (rope == NHA_ROPE_NEOX)
                run(&edge);
            else
                run_best(&edge);
        }
}

/* ---- online softmax ---- */

static void one_panel(nha_op op, gen_tile *tile) {
    if (op == NHA_PREFILL)
        tile->knob[GEN_KEY_PANELS] = 1;
}

/* Scores of key j: 200 * ((37 j mod 101) - 50), up to +-1e4: any 101 in a row are apart by 200 at least, so that fp32 knows the largest
 * as fp64 does, wherever in the window it is. */
static double score_key(int64_t token, int64_t i) {
    return i == 0 ? 2.0 * (double)(token * 37 % 101 - 50) : 0;
}

static double score_query(int64_t token, int64_t i) {
    (void)token;
    return i == 0 ? 100 : 0;
}

static void scores_apart(tune_case *c) {
    help_edge_fill(c, TUNE_Q, score_query);
    help_edge_fill(c, TUNE_K, score_key);
}

static void scores_large(tune_case *c) {
    for (int64_t i = 0; i < tune_batch_total(&c->batch) * tune_tensor(&c->problem, TUNE_Q).row; i++)
        tune_store(c->data[TUNE_Q], c->problem.nha.dtype, i, 40 * tune_load(c->data[TUNE_Q], c->problem.nha.dtype, i));
}

static void test_online(void **state) {
    (void)state;
    help_edge edge = edge_of("online, scores of +-1e4", 16, 0, 90, 1, 2, 200);
    edge.problem.nha.scale = 1;
    edge.change = scores_apart;
    edge.tile = one_panel;
    run(&edge);
    edge = edge_of("online, scores of +-300, slots", 16, 9, 50, 1, 2, 150);
    set_dtype(&edge, NHA_BF16);
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    edge.change = scores_large;
    edge.tile = one_panel;
    run(&edge);
    edge = edge_of("online, ordinary scores, W = 300", 16, 9, 300, 1, 3, 400);
    edge.problem.nha.rope = NHA_ROPE_GPTJ;
    edge.tile = one_panel;
    run(&edge);
}

/* ---- long ---- */

/* T = 8,192 (65,536 with NHAC_LONG=1), slow gates, K = V = 32: rounding that adds up, on the ISAs below the best, which
 * tests/verify/test_generated.c has. */
static void test_long(void **state) {
    (void)state;
    const char *full = getenv("NHAC_LONG");
    int64_t tokens = full && *full && strcmp(full, "0") ? 65536 : 8192;
    int isas;
    const gen_isa *table = gen_isa_table(&isas), *best = gen_isa_best(nha_cpu_features());
    gen_problem problem;
    help_gen_problem(&problem, 32, 16, 24, 1, 1);
    problem.nha.rope = NHA_ROPE_NEOX;
    problem.nha.gate_input = NHA_GATE_LOG;
    help_gen_ready(&problem);
    int ran = 0;
    for (int i = 0; i < isas; i++) {
        if (!help_gen_runs(&table[i]) || (&table[i] == best && i > 0 && help_gen_runs(&table[i - 1])))
            continue;
        tune_candidate c;
        tune_verify_report report = {0};
        const tune_arch arch = {.isa = &table[i]};
        tune_tile tile;
        err e = {0};
        assert_true(tune_default_tile(&problem, NHA_PREFILL, &arch, &tile, &e));
        tune_candidate_init(&c, &problem, NHA_PREFILL, &arch, &tile, 0);
        assert_true(tune_candidate_load(&c, NULL, &e));
        if (!tune_verify_long(&tune_place_host, &c.library, 0, NHA_PREFILL, &problem, tokens, 2, 3, &report, &e))
            fail_msg("%s: %s", table[i].name, e.text);
        print_message("%s, %lld tokens: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", table[i].name, (long long)tokens,
                      report.worst[TUNE_CHECK_O], report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK],
                      report.worst[TUNE_CHECK_HV]);
        tune_candidate_unload(&c);
        ran++;
    }
    assert_true(ran > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_windows),        cmocka_unit_test(test_huge_window),
                                       cmocka_unit_test(test_slots_and_dims), cmocka_unit_test(test_empty),
                                       cmocka_unit_test(test_gates),          cmocka_unit_test(test_large_memory),
                                       cmocka_unit_test(test_f16),            cmocka_unit_test(test_f32),
                                       cmocka_unit_test(test_zeros),          cmocka_unit_test(test_positions),
                                       cmocka_unit_test(test_online),         cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
