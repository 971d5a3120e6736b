/* test_host_run.c: running host tensors through libnha: whole, cut, step by step, from caches; and what is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/help_scalar_kernel.h"
#include "tuner/case.h"
#include "tuner/host_run.h"
#include "tuner/verify.h"

static void make(gen_problem *problem, tune_case *c, const tune_case_spec *spec, const nha_library **library) {
    err e = {0};
    memset(problem, 0, sizeof *problem);
    problem->nha = (nha_problem){.head_dim_qk = 16,
                                 .head_dim_v = 8,
                                 .heads_q = 4,
                                 .heads_kv = 2,
                                 .slots = 5,
                                 .window = 6,
                                 .slot_lag = 9,
                                 .gate_s_given = 1,
                                 .rope = NHA_ROPE_GIVEN,
                                 .scale = 0.25,
                                 .gate_normalizer = 8};
    strcpy(problem->name, "host");
    problem->nha.name = problem->name;
    gen_problem_derive(problem);
    *library = help_scalar_library(problem, BUG_NONE, 8);
    assert_true(tune_case_create(problem, spec, c, &e));
}

static double distance(const float *a, const float *b, size_t count) {
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* Sequences of different lengths, one empty, with initial memories: whole, and in three cuts with caches carried on. */
static void test_cuts(void **state) {
    (void)state;
    const tune_case_spec spec = {
        .seed = 4, .sequences = 4, .packed = true, .memory = true, .length = {31, 0, 1, 12}, .gates = TUNE_GATES_MIXED};
    const tune_cut steps[] = {{.op = NHA_DECODE, .tokens = 1}};
    const tune_cut mixed[] = {
        {.op = NHA_PREFILL, .tokens = 10}, {.op = NHA_DECODE, .tokens = 3, .moved = true}, {.op = NHA_PREFILL, .tokens = 5}};
    gen_problem problem;
    tune_case c;
    const nha_library *library;
    err e = {0};
    make(&problem, &c, &spec, &library);
    tune_result whole, cut;
    tune_run_options options = {.threads = 1};
    assert_true(tune_host_run(library, &problem, &c.batch, &options, &whole, &e));
    assert_false(whole.has_cache);
    assert_string_equal(whole.kernel[NHA_PREFILL], "prefill.scalar");
    assert_string_equal(whole.kernel[NHA_DECODE], "");
    size_t total = 44, memory = 4 * 2 * 5 * 16;
    for (int way = 0; way < 3; way++) {
        options.cache = way == 0; /* whole, but through a cache */
        options.cuts = way == 1 ? steps : way == 2 ? mixed : NULL;
        options.cut_count = way == 1 ? 1 : way == 2 ? 3 : 0;
        assert_true(tune_host_run(library, &problem, &c.batch, &options, &cut, &e));
        assert_true(cut.has_cache && cut.cache.tokens == 9 && cut.cache.pos[0] == 31 && cut.cache.pos[1] == 0);
        assert_true(distance(whole.o, cut.o, total * 4 * 8) < 1e-5);
        assert_true(distance(whole.lse, cut.lse, total * 4) < 1e-5);
        assert_true(distance(whole.hk, cut.hk, memory) < 1e-5);
        assert_memory_equal(cut.cache.hk, cut.hk, memory * sizeof(float));
        assert_memory_equal(cut.hk + memory / 4, c.hk0 + memory / 4, memory / 4 * sizeof(float)); /* the empty one */
        tune_result_destroy(&cut);
    }
    tune_result_destroy(&whole);
    tune_case_destroy(&c);
}

/* What one call leaves is where the next one starts, as `nhac run` does with files; more tokens than needed are fine.
 */
static void test_caches(void **state) {
    (void)state;
    const tune_case_spec spec = {.seed = 5, .sequences = 2, .length = {20, 20}, .gates = TUNE_GATES_RESETS};
    gen_problem problem;
    tune_case c;
    const nha_library *library;
    err e = {0};
    make(&problem, &c, &spec, &library);
    const tune_cut cuts[] = {{.op = NHA_PREFILL, .tokens = 7}, {.op = NHA_PREFILL, .tokens = 13}};
    tune_run_options options = {.threads = 1, .cuts = cuts, .cut_count = 2};
    tune_result want, got = {0};
    assert_true(tune_host_run(library, &problem, &c.batch, &options, &want, &e));
    tune_cache carried = {0};
    for (int64_t piece = 0, first = 0; piece < 2; first += cuts[piece++].tokens) {
        /* Rows [first, first + tokens) of both sequences, made contiguous. */
        tune_batch part = {.sequences = 2, .tokens = cuts[piece].tokens, .cache = piece ? &carried : NULL};
        void *data[TUNE_INPUTS] = {0};
        for (int id = 0; id < TUNE_INPUTS; id++) {
            size_t row = tune_tensor(&problem, id).row_bytes, bytes = (size_t)part.tokens * row;
            assert_non_null(data[id] = tune_aligned((int64_t)(2 * bytes)));
            for (size_t n = 0; n < 2; n++)
                memcpy((char *)data[id] + n * bytes, (char *)c.data[id] + (n * 20 + (size_t)first) * row, bytes);
            tune_batch_set_tensor(&part, id, data[id]);
        }
        tune_run_options once = {.threads = 1, .cache = true};
        assert_true(tune_host_run(library, &problem, &part, &once, &got, &e));
        for (size_t n = 0; n < 2; n++)
            assert_true(distance((float *)want.o + (n * 20 + (size_t)first) * 32,
                                 (float *)got.o + n * (size_t)part.tokens * 32, (size_t)part.tokens * 32) < 1e-5);
        tune_cache_destroy(&carried);
        carried = got.cache;
        memset(&got.cache, 0, sizeof got.cache);
        tune_result_destroy(&got);
        for (int id = 0; id < TUNE_INPUTS; id++)
            free(data[id]);
    }
    assert_int_equal(carried.pos[1], 20);
    assert_memory_equal(carried.k, want.cache.k, 2 * 9 * 2 * 16 * sizeof(float));
    tune_cache_destroy(&carried);
    tune_result_destroy(&want);
    tune_case_destroy(&c);
}

static void refuse(const nha_library *library, const tune_case *c, const tune_run_options *options, err_code code) {
    tune_result result;
    err e = {0};
    assert_false(tune_host_run(library, &c->problem, &c->batch, options, &result, &e));
    assert_int_equal(e.code, code);
    assert_true(e.text[0] && !strchr(e.text, '\n'));
    assert_null(result.o);
    err_clear(&e);
}

static void test_refused(void **state) {
    (void)state;
    const tune_case_spec spec = {.seed = 6, .sequences = 2, .cached = true, .pos = {30, 4}, .length = {3, 3}};
    gen_problem problem;
    tune_case c;
    const nha_library *library;
    make(&problem, &c, &spec, &library);
    tune_run_options options = {.threads = 1};
    c.cache.pos[0] = -1;
    refuse(library, &c, &options, ERR_INPUT);
    c.cache.pos[0] = INT64_MAX;
    refuse(library, &c, &options, ERR_INPUT);
    c.cache.pos[0] = 30;
    c.cache.tokens = 8; /* one too few for a ring of 9 */
    refuse(library, &c, &options, ERR_INPUT);
    c.cache.tokens = 9;
    options.kernel[NHA_PREFILL] = "prefill.other";
    refuse(library, &c, &options, ERR_MISSING);
    tune_case_destroy(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_caches),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
