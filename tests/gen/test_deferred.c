/* test_deferred.c: decode kernels that fold several tokens at a time into the memory (DEFER), against the oracle: at
 * the edges of what docs/spec.md allows, and mixed with plain decode, other periods, prefill, and caches that leave
 * their pool. */
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
#include "tuner/verify_internal.h"

static int32_t the_period;

static void defer(nha_op op, gen_tile *tile) {
    if (op == NHA_DECODE)
        tile->knob[GEN_DEFER] = the_period;
}

static help_edge edge_of(const char *name, int dim, int slots, int64_t window, int heads_kv, int group,
                         int64_t tokens) {
    help_edge edge = {.name = name, .spec = {.seed = 7, .sequences = 1, .length = {tokens}}, .tile = defer};
    help_gen_problem(&edge.problem, dim, slots, window, heads_kv, group);
    return edge;
}

/* Every ISA with a period in turn, so that each meets each period somewhere. */
static void run(help_edge *edge, bool all) {
    static const int32_t periods[] = {4, 8};
    static int turn;
    the_period = periods[turn++ % 2];
    help_gen_ready(&edge->problem);
    help_edge_run(edge, all);
}

static void test_sizes(void **state) {
    (void)state;
    help_edge edge = edge_of("M = 5, L < W", 16, 5, 20, 2, 2, 60);
    edge.problem.nha.slot_lag = 7;
    edge.problem.nha.rope = NHA_ROPE_NEOX;
    run(&edge, true);
    edge = edge_of("M = 80, L > W", 24, 80, 3, 1, 3, 60);
    edge.problem.nha.slot_lag = 11;
    edge.problem.nha.head_dim_v = 40;
    run(&edge, true);
    edge = edge_of("L = 0", 16, 33, 9, 3, 1, 60);
    edge.problem.nha.slot_lag = 0;
    run(&edge, true);
    edge = edge_of("W = 0, L = 0, maps", 16, 9, 0, 2, 1, 50);
    edge.problem.nha.slot_map = NHA_MAP_SILU;
    edge.problem.nha.value_map = NHA_MAP_SILU;
    run(&edge, true);
    edge = edge_of("M = 256, K = V = 256", 256, 256, 20, 1, 1, 40);
    run(&edge, false);
    edge = edge_of("G = 12: two groups of heads", 24, 20, 12, 1, 12, 50);
    edge.problem.nha.gate_s_given = 1;
    run(&edge, true);
    edge = edge_of("T < L", 16, 7, 8, 1, 2, 30);
    edge.problem.nha.slot_lag = 1000;
    run(&edge, false);
    edge = edge_of("f16, K = 8", 8, 16, 5, 9, 2, 40);
    edge.problem.nha.dtype = edge.problem.nha.gate_dtype = NHA_F16;
    run(&edge, true);
}

/* Three sequences of a batch at positions apart, from caches: a full ring, part of one, an empty one. */
static void test_caches(void **state) {
    (void)state;
    for (int gates = 0; gates < TUNE_GATES_COUNT; gates++) {
        help_edge edge = edge_of("from caches", 16, 19, 10, 3, 2, 45);
        edge.spec = (tune_case_spec){.seed = 11 + (uint64_t)gates,
                                     .sequences = 3,
                                     .length = {45, 45, 45},
                                     .cached = true,
                                     .pos = {1000003, 4, 0},
                                     .gates = gates};
        edge.problem.nha.gate_input = gates % 2 ? NHA_GATE_LOG : NHA_GATE_LOGIT;
        edge.problem.nha.gate_s_given = gates == 2;
        run(&edge, gates < 2);
    }
}

/* ---- mixed ---- */

enum { PERIODS = 3, KERNELS = PERIODS + 1 };

typedef struct mixture {
    gen_problem problem;
    tune_candidate candidates[KERNELS];
    nha_kernel kernels[KERNELS];
    nha_library library;
} mixture;

/* One library of prefill and of decode kernels with every period, 1 too. */
static void open_mixture(mixture *x, const gen_isa *isa) {
    static const int32_t periods[PERIODS] = {1, 4, 8};
    const tune_arch arch = {.isa = isa};
    err e = {0};
    for (int i = 0; i < KERNELS; i++) {
        nha_op op = i ? NHA_DECODE : NHA_PREFILL;
        tune_tile tile = {0};
        gen_tile_default(&x->problem, op, isa, &tile.cpu);
        if (i)
            tile.cpu.knob[GEN_DEFER] = periods[i - 1];
        tune_candidate_init(&x->candidates[i], &x->problem, op, &arch, &tile, i);
        if (!tune_candidate_load(&x->candidates[i], NULL, &e))
            fail_msg("%s", e.text);
        x->kernels[i] = x->candidates[i].kernel;
        assert_int_equal(x->kernels[i].cpu->block_tokens, i ? periods[i - 1] : x->kernels[i].cpu->block_tokens);
    }
    x->library = x->candidates[0].library;
    x->library.kernel_count = KERNELS;
    x->library.kernels = x->kernels;
}

static void close_mixture(mixture *x) {
    for (int i = 0; i < KERNELS; i++)
        tune_candidate_unload(&x->candidates[i]);
}

/* Pieces of any length by any kernel, some followed by an export and an import: o, lse and the last cache are the
 * oracle's. */
static void run_mixture(mixture *x, uint64_t seed, tune_verify_report *report) {
    enum { CUTS = 24 };
    tune_random r = {seed};
    tune_case_spec spec = {.seed = seed,
                           .sequences = 3,
                           .length = {0},
                           .packed = seed % 2,
                           .cached = seed % 3 == 0,
                           .gates = (int)(seed % TUNE_GATES_COUNT)};
    int64_t tokens = tune_random_between(&r, 40, 110);
    for (int n = 0; n < 3; n++) {
        spec.length[n] = spec.packed ? tune_random_between(&r, 0, 110) : tokens;
        spec.pos[n] = spec.cached ? tune_random_between(&r, 0, 40) : 0;
    }
    tune_cut cuts[CUTS];
    for (int i = 0; i < CUTS; i++) {
        int kernel = (int)tune_random_between(&r, 0, 3) ? (int)tune_random_between(&r, 1, PERIODS) : 0;
        cuts[i] = (tune_cut){.op = kernel ? NHA_DECODE : NHA_PREFILL,
                             .tokens = tune_random_between(&r, 1, 19),
                             .kernel = x->kernels[kernel].name,
                             .moved = tune_random_between(&r, 0, 2) == 0};
    }
    tune_run_options options = {.threads = 1 + (int)(seed % 2), .cuts = cuts, .cut_count = CUTS};
    verify_truth truth;
    tune_result result;
    char what[64];
    err e = {0};
    if (!verify_truth_create(&x->problem, &spec, 2, &truth, &e))
        fail_msg("%s", e.text);
    snprintf(what, sizeof what, "mixture %d", (int)seed);
    if (!tune_host_run(&x->library, &x->problem, &truth.test.batch, &options, &result, &e) ||
        !verify_against_oracle(&truth, &result, what, report, &e))
        fail_msg("%s: %s", what, e.text);
    tune_result_destroy(&result);
    verify_truth_destroy(&truth);
}

static void test_mixed(void **state) {
    (void)state;
    static const int64_t windows[] = {16, 0, 5, 30}, lags[] = {16, 3, 21, 0};
    tune_verify_report report = {0};
    uint64_t seed = 0;
    for (int i = 0; i < 4; i++) {
        mixture x = {0};
        help_gen_problem(&x.problem, 24, 21, windows[i], 2, 2);
        x.problem.nha.slot_lag = lags[i];
        x.problem.nha.rope = windows[i] ? NHA_ROPE_GPTJ : NHA_ROPE_NONE;
        x.problem.nha.gate_input = i % 2 ? NHA_GATE_LOG : NHA_GATE_LOGIT;
        x.problem.nha.gate_s_given = i == 2;
        help_gen_ready(&x.problem);
        open_mixture(&x, gen_isa_best(nha_cpu_features()));
        for (int round = 0; round < 12; round++)
            run_mixture(&x, seed++, &report);
        close_mixture(&x);
    }
    print_message("mixtures: worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", report.worst[TUNE_CHECK_O],
                  report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK], report.worst[TUNE_CHECK_HV]);
}

/* One step of every row with the kernel, on any values. */
static void step(const mixture *x, const nha_plan *plan, void *workspace, char *pool, int64_t rows) {
    const nha_problem *p = &x->problem.nha;
    static float values[1 << 12], o[1 << 12];
    nha_args args;
    nha_error error;
    NHA_INIT(args);
    args.sequences = rows;
    args.tokens = 1;
    args.cache = pool;
    args.q = (nha_tensor){values, 0, 0, p->head_dim_qk};
    args.k = args.v = args.gate = (nha_tensor){values, 0, 0, 0};
    args.o = (nha_tensor){o, p->heads_q * p->head_dim_v, 0, p->head_dim_v};
    if (nha_execute(plan, &args, workspace, nha_plan_workspace(plan), NULL, &error))
        fail_msg("%s", error.text);
}

/* After some steps every head has as many tokens waiting as its turn says, and over a period each folds once: no step
 * folds more than its share of the heads. */
static void test_turns(void **state) {
    (void)state;
    enum { ROWS = 2, STEPS = 40 };
    static const int heads[] = {1, 2, 3, 8, 60};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        mixture x = {0};
        help_gen_problem(&x.problem, 8, 4, 3, heads[i], 1);
        help_gen_ready(&x.problem);
        open_mixture(&x, gen_isa_best(nha_cpu_features()));
        for (int k = 2; k < KERNELS; k++) {
            int period = (int)x.kernels[k].cpu->block_tokens, apart = gen_cpu_turn_apart(heads[i], period);
            nha_plan_options o;
            nha_cache_format format;
            nha_plan *plan;
            NHA_INIT(o);
            NHA_INIT(format);
            o.op = NHA_DECODE;
            o.max_sequences = ROWS;
            o.threads = 1;
            o.kernel = x.kernels[k].name;
            assert_int_equal(nha_cache_describe(&x.library, 0, o.device, 0, &format, NULL), NHA_OK);
            o.cache_tokens = format.tokens;
            assert_int_equal(nha_plan_create(&x.library, &o, &plan, NULL), NHA_OK);
            char *pool = tune_aligned(ROWS * format.row_bytes),
                 *workspace = tune_aligned((int64_t)nha_plan_workspace(plan) + 1);
            assert_true(pool && workspace);
            assert_int_equal(nha_cache_reset(&x.library, 0, o.device, &format, pool, NULL, ROWS, NULL, NULL), NHA_OK);
            int most = 0, share = (heads[i] + period - 1) / period;
            for (int64_t pos = 1; pos <= STEPS; pos++) {
                step(&x, plan, workspace, pool, ROWS);
                int folded = 0;
                for (int h = 0; pos > period + x.problem.nha.slot_lag && h < heads[i]; h++)
                    for (int row = 0; row < ROWS; row++) {
                        int waiting = pool[row * format.row_bytes + NHA_CPU_ROW_PENDING + h];
                        assert_int_equal(waiting, (pos + h * apart) % period);
                        folded += row == 0 && waiting == 0;
                    }
                most = folded > most ? folded : most;
            }
            assert_int_equal(most, share);
            free(pool);
            free(workspace);
            nha_plan_destroy(plan);
        }
        close_mixture(&x);
    }
}

/* Slow gates, for thousands of steps, add up no rounding. */
static void test_long(void **state) {
    (void)state;
    const char *full = getenv("NHAC_LONG");
    int64_t tokens = full && *full && strcmp(full, "0") ? 65536 : 8192;
    mixture x = {0};
    help_gen_problem(&x.problem, 32, 16, 24, 1, 1);
    x.problem.nha.gate_input = NHA_GATE_LOG;
    help_gen_ready(&x.problem);
    open_mixture(&x, gen_isa_best(nha_cpu_features()));
    for (int i = 1; i < KERNELS; i++) {
        tune_verify_report report = {0};
        err e = {0};
        if (!tune_verify_long(&tune_place_host, &x.candidates[i].library, 0, NHA_DECODE, &x.problem, tokens, 1, 3,
                              &report, &e))
            fail_msg("%s", e.text);
        print_message("%s, %lld steps: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", x.kernels[i].name, (long long)tokens,
                      report.worst[TUNE_CHECK_O], report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK],
                      report.worst[TUNE_CHECK_HV]);
    }
    close_mixture(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_caches),
                                       cmocka_unit_test(test_mixed), cmocka_unit_test(test_turns),
                                       cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
