/* test_state.c: state_dtype bf16: the memory in the rows of a pool is rounded at every step, up or down by a hash, so that slow slots go
 * on where rounding to nearest would hold them for ever; and the cases that every kernel meets, against the oracle. */
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

enum { DIM = 24, SLOTS = 21, WINDOW = 4, HEADS = 2, ROWS = 2, MEMORY = ROWS * HEADS * SLOTS * DIM };

static int32_t the_period;

static void defer(nha_op op, gen_tile *tile) {
    if (op == NHA_DECODE)
        tile->knob[GEN_DEFER] = the_period;
}

static void test_cases(void **state) {
    (void)state;
    static const int dtypes[] = {NHA_F32, NHA_BF16, NHA_F16};
    for (int i = 0; i < 6; i++) {
        help_edge edge = {.name = "bf16 memory", .tile = defer};
        edge.spec = (tune_case_spec){
            .seed = 5 + (uint64_t)i, .sequences = 2, .length = {50, 50}, .cached = i % 2, .pos = {300, 3}, .gates = i % TUNE_GATES_COUNT};
        the_period = i < 3 ? 1 : 8;
        help_gen_problem(&edge.problem, DIM, SLOTS + 20 * (i % 2), 9, 2, 2);
        edge.problem.nha.dtype = dtypes[i % 3];
        edge.problem.nha.gate_dtype = dtypes[i % 3];
        edge.problem.nha.state_dtype = NHA_BF16;
        help_gen_ready(&edge.problem);
        help_edge_run(&edge, i % 3 == 0);
    }
}

/* ---- thousands of steps of one token, over and over ---- */

typedef struct stream {
    gen_problem problem;
    tune_candidate candidate;
    nha_plan *plan;
    nha_cache_format format;
    char *pool, *workspace;
    _Alignas(64) float o[ROWS * HEADS * DIM];
    float hk[MEMORY], hv[MEMORY];
} stream;

static void stream_open(stream *x, const gen_isa *isa, int32_t period) {
    const tune_arch arch = {.isa = isa};
    tune_tile tile = {0};
    nha_plan_options o;
    err e = {0};
    memset(x, 0, sizeof *x);
    help_gen_problem(&x->problem, DIM, SLOTS, WINDOW, HEADS, 1);
    x->problem.nha.gate_input = NHA_GATE_LOG;
    x->problem.nha.state_dtype = NHA_BF16;
    help_gen_ready(&x->problem);
    gen_tile_default(&x->problem, NHA_DECODE, isa, &tile.cpu);
    tile.cpu.knob[GEN_DEFER] = period;
    tune_candidate_init(&x->candidate, &x->problem, NHA_DECODE, &arch, &tile, 0);
    if (!tune_candidate_load(&x->candidate, NULL, &e))
        fail_msg("%s", e.text);
    NHA_INIT(o);
    NHA_INIT(x->format);
    o.op = NHA_DECODE;
    o.max_sequences = ROWS;
    o.threads = 1;
    assert_int_equal(nha_cache_describe(&x->candidate.library, 0, o.device, 0, &x->format, NULL), NHA_OK);
    o.cache_tokens = x->format.tokens;
    assert_int_equal(nha_plan_create(&x->candidate.library, &o, &x->plan, NULL), NHA_OK);
    x->pool = tune_aligned(ROWS * x->format.row_bytes);
    x->workspace = tune_aligned((int64_t)nha_plan_workspace(x->plan) + 1);
    assert_true(x->pool && x->workspace);
    assert_int_equal(nha_cache_reset(&x->candidate.library, 0, o.device, &x->format, x->pool, NULL, ROWS, NULL, NULL), NHA_OK);
}

static void stream_close(stream *x) {
    free(x->pool);
    free(x->workspace);
    nha_plan_destroy(x->plan);
    tune_candidate_unload(&x->candidate);
}

/* `steps` steps of every row with keys and values of `value` and log gates of `gate`. */
static void stream_run(stream *x, int steps, float value, float gate) {
    _Alignas(16) float values[DIM];
    float gates[SLOTS];
    nha_args args;
    nha_error error;
    for (int i = 0; i < DIM; i++)
        values[i] = value;
    for (int i = 0; i < SLOTS; i++)
        gates[i] = gate;
    NHA_INIT(args);
    args.sequences = ROWS;
    args.tokens = 1;
    args.cache = x->pool;
    args.q = args.k = args.v = (nha_tensor){values, 0, 0, 0};
    args.gate = (nha_tensor){gates, 0, 0, 0};
    args.o = (nha_tensor){x->o, HEADS * DIM, 0, DIM};
    for (int i = 0; i < steps; i++)
        if (nha_execute(x->plan, &args, x->workspace, nha_plan_workspace(x->plan), NULL, &error))
            fail_msg("%s", error.text);
}

static void stream_export(stream *x) {
    static char ring[3][ROWS][WINDOW * HEADS * DIM * sizeof(float)];
    nha_cache_image image;
    nha_error error;
    for (int row = 0; row < ROWS; row++) {
        NHA_INIT(image);
        image.hk = x->hk + row * (MEMORY / ROWS);
        image.hv = x->hv + row * (MEMORY / ROWS);
        image.k = ring[0][row];
        image.v = ring[1][row];
        image.gate = ring[2][row];
        image.tokens = WINDOW;
        if (nha_cache_export(&x->candidate.library, 0, (nha_device){0}, &x->format, x->pool, row, &image, NULL, &error))
            fail_msg("%s", error.text);
    }
}

static double relative_to(const float *x, double want) {
    double sum = 0;
    for (int i = 0; i < MEMORY; i++)
        sum += (x[i] - want) * (x[i] - want);
    return sqrt(sum / MEMORY) / want;
}

/* What rounding to nearest would make of the same steps. */
static double nearest(int steps, double value, double gate) {
    double h = 0;
    for (int i = 0; i < steps; i++)
        h = tune_bf16_to_f32(tune_f64_to_bf16(exp(gate) * h - expm1(gate) * value));
    return h;
}

static void check_slow(const gen_isa *isa, int32_t period) {
    enum { STEPS = 1500 };
    static const double gates[] = {-0.002, -0.004, -0.02};
    const double value = 0.75;
    stream *x = tune_aligned((int64_t)sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < 3; i++) {
        stream_open(x, isa, period);
        stream_run(x, STEPS + WINDOW, (float)value, (float)gates[i]);
        stream_export(x);
        double want = -expm1(gates[i] * STEPS) * value, stalled = nearest(STEPS, value, gates[i]);
        double worst = fmax(relative_to(x->hk, want), relative_to(x->hv, want)), mean = 0;
        for (int j = 0; j < MEMORY; j++)
            mean += x->hk[j] / MEMORY / want - 1. / MEMORY;
        print_message("%-8s period %d, g = %g: off by %.2g, in the mean %.2g (rounded to nearest: %.2g)\n", isa->name, (int)period,
                      gates[i], worst, mean, fabs(stalled / want - 1));
        assert_true(worst < tune_cached_tolerance(&x->problem.nha));
        assert_true(fabs(mean) < 5e-3);
        if (i < 2) /* else the test would not notice the other rounding */
            assert_true(fabs(stalled / want - 1) > 5 * tune_cached_tolerance(&x->problem.nha));
        /* the same sequence in another row: the same bits */
        assert_memory_equal(x->hk, x->hk + MEMORY / ROWS, MEMORY / ROWS * sizeof(float));
        assert_memory_equal(x->hv, x->hv + MEMORY / ROWS, MEMORY / ROWS * sizeof(float));
        stream_close(x);
    }
    free(x);
}

static void test_slow_slots(void **state) {
    (void)state;
    int rows;
    const gen_isa *table = gen_isa_table(&rows), *best = gen_isa_best(nha_cpu_features());
    for (int i = 0; i < rows; i++)
        if (!strcmp(table[i].triple, best->triple) && !(table[i].needs & ~nha_cpu_features()))
            for (int32_t period = 1; period <= 8; period += 7)
                check_slow(&table[i], period);
}

/* A gate of 0 forgets and absorbs nothing: what is there stays, bit for bit. */
static void test_untouched(void **state) {
    (void)state;
    static float before[MEMORY];
    stream *x = tune_aligned((int64_t)sizeof *x);
    assert_non_null(x);
    stream_open(x, gen_isa_best(nha_cpu_features()), 1);
    stream_run(x, 40, 0.3f, -0.05f);
    stream_run(x, WINDOW, 0.3f, 0); /* those before leave the window */
    stream_export(x);
    memcpy(before, x->hk, sizeof before);
    assert_true(before[0] > 0.1f && before[0] < 0.3f);
    stream_run(x, 100, -5, 0);
    stream_export(x);
    assert_memory_equal(before, x->hk, sizeof before);
    stream_close(x);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_slow_slots), cmocka_unit_test(test_untouched)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
