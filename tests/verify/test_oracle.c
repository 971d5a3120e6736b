/* test_oracle.c: the fp64 oracle against the golden cases, and against itself: cuts through caches, batches, lengths of
 * nothing.
 */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/safetensors.h"
#include "gen/spec.h"
#include "tuner/case.h"
#include "tuner/convert.h"
#include "tuner/oracle.h"

static double difference(const double *a, const double *b, int64_t count) {
    double d = 0, norm = 0;
    for (int64_t i = 0; i < count; i++)
        d += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
    return d == 0 ? 0 : sqrt(d / norm);
}

static const void *data_of(const st_file *file, const char *name) {
    const st_tensor *t = st_find(file, name);
    return t ? t->data : NULL;
}

static void assert_close(const st_file *want, const char *name, const double *got, const char *path) {
    const st_tensor *t = st_find(want, name);
    if (!t)
        return;
    assert_non_null(got);
    double error = difference(got, t->data, (int64_t)(t->bytes / 8));
    if (!(error < 1e-12))
        fail_msg("%s: %s: relative difference %g", path, name, error);
}

static void golden_case(const char *path) {
    char other[512];
    err e = {0};
    gen_spec spec;
    st_file in, want;
    tune_oracle out;
    size_t stem = strlen(path) - strlen(".yaml");
    if (!gen_spec_read(path, &spec, &e))
        fail_msg("%s: %s", path, e.text);
    snprintf(other, sizeof other, "%.*s.in.safetensors", (int)stem, path);
    if (!st_read(other, &in, &e))
        fail_msg("%s: %s", other, e.text);
    snprintf(other, sizeof other, "%.*s.expected.safetensors", (int)stem, path);
    if (!st_read(other, &want, &e))
        fail_msg("%s: %s", other, e.text);

    const st_tensor *q = st_find(&in, "q"), *cu = st_find(&in, "cu_seqlens");
    tune_batch batch = {
        .tokens = q->shape[1], .sequences = cu ? cu->shape[0] - 1 : q->shape[0], .cu_seqlens = cu ? cu->data : NULL};
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(&spec.problem, id);
        if (!info.present)
            continue;
        tune_batch_set_tensor(&batch, id, data_of(&in, info.name));
        assert_non_null(tune_batch_tensor(&batch, id));
    }
    batch.hk0 = data_of(&in, "hk0");
    batch.hv0 = data_of(&in, "hv0");
    assert_true(tune_oracle_run(&spec.problem, &batch, 2, &out, &e));
    assert_close(&want, "o", out.o, path);
    assert_close(&want, "lse", out.lse, path);
    assert_close(&want, "hk", out.hk, path);
    assert_close(&want, "hv", out.hv, path);
    tune_oracle_destroy(&out);
    st_close(&in);
    st_close(&want);
    gen_spec_destroy(&spec);
}

static void test_golden(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("tests/golden/*.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 16);
    for (size_t i = 0; i < found.gl_pathc; i++)
        golden_case(found.gl_pathv[i]);
    globfree(&found);
}

/* The oracle over tokens [first, first + count) of a batch of one sequence, from `cache` (NULL: nothing, with hk0 and
 * hv0). */
static void run_piece(const tune_case *c, int64_t first, int64_t count, const tune_cache *cache, tune_oracle *out,
                      tune_cache *after) {
    err e = {0};
    tune_batch piece = {.sequences = 1, .tokens = count, .cache = cache};
    for (int id = 0; id < TUNE_INPUTS; id++)
        if (c->data[id])
            tune_batch_set_tensor(&piece, id,
                                  (char *)c->data[id] + (size_t)first * tune_tensor(&c->problem, id).row_bytes);
    if (!cache)
        piece.hk0 = c->hk0, piece.hv0 = c->hv0;
    assert_true(tune_oracle_run(&c->problem, &piece, 1, out, &e));
    assert_true(tune_cache_after(&c->problem, &piece, after, &e));
    const nha_problem *p = &c->problem.nha;
    int64_t rows = (int64_t)p->heads_kv * p->slots;
    for (int64_t i = 0; i < rows * p->head_dim_qk; i++)
        after->hk[i] = (float)out->hk[i];
    for (int64_t i = 0; i < rows * p->head_dim_v; i++)
        after->hv[i] = (float)out->hv[i];
}

/* A sequence cut anywhere, carried by caches, gives what it gives whole (the memory passes through f32 at each cut). */
static void test_cuts(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        err e = {0};
        gen_problem problem;
        tune_random r = {seed};
        tune_random_problem(seed, &problem);
        const nha_problem *p = &problem.nha;
        tune_case_spec spec = {
            .seed = seed, .sequences = 1, .memory = seed % 2, .gates = (int)(seed % TUNE_GATES_COUNT)};
        spec.length[0] = tune_random_between(&r, 2, 60);
        tune_case c;
        tune_oracle whole, part;
        assert_true(tune_case_create(&problem, &spec, &c, &e));
        assert_true(tune_oracle_run(&problem, &c.batch, 1, &whole, &e));
        tune_cache cache = {0}, next;
        for (int64_t first = 0; first < spec.length[0];) {
            int64_t count = tune_random_between(&r, 1, 20);
            if (count > spec.length[0] - first)
                count = spec.length[0] - first;
            run_piece(&c, first, count, first ? &cache : NULL, &part, &next);
            tune_cache_destroy(&cache);
            cache = next;
            assert_int_equal(cache.pos[0], first + count);
            int64_t row = (int64_t)p->heads_q * p->head_dim_v;
            for (int64_t i = 0; i < count * row; i++)
                assert_true(isfinite(part.o[i]));
            assert_true(difference(part.o, whole.o + first * row, count * row) < 1e-6);
            first += count;
            if (first == spec.length[0] && p->slots)
                assert_true(difference(part.hk, whole.hk, (int64_t)p->heads_kv * p->slots * p->head_dim_qk) < 1e-6);
            tune_oracle_destroy(&part);
        }
        tune_cache_destroy(&cache);
        tune_oracle_destroy(&whole);
        tune_case_destroy(&c);
    }
}

/* Packed sequences are each what they are alone, bit by bit; an empty one keeps its memory. */
static void test_packed(void **state) {
    (void)state;
    err e = {0};
    gen_problem problem;
    tune_random_problem(5, &problem);
    tune_case_spec spec = {
        .seed = 9, .sequences = 3, .length = {17, 0, 5}, .packed = true, .memory = true, .gates = TUNE_GATES_MIXED};
    tune_case c;
    tune_oracle out, alone;
    tune_cache after;
    assert_true(tune_case_create(&problem, &spec, &c, &e));
    assert_true(problem.nha.slots > 0);
    assert_true(tune_oracle_run(&problem, &c.batch, 2, &out, &e));
    int64_t memory = (int64_t)problem.nha.heads_kv * problem.nha.slots * problem.nha.head_dim_qk;
    for (int64_t i = 0; i < memory; i++)
        assert_true(out.hk[memory + i] == c.hk0[memory + i]);
    run_piece(&c, 0, 17, NULL, &alone, &after);
    assert_memory_equal(alone.o, out.o,
                        17 * sizeof(double) * (size_t)problem.nha.heads_q * (size_t)problem.nha.head_dim_v);
    tune_cache_destroy(&after);
    tune_oracle_destroy(&alone);
    tune_oracle_destroy(&out);
    tune_case_destroy(&c);
}

/* Angles at large positions: a rotation by position p is the p-fold rotation, and scores depend on differences of
 * positions alone. */
static void test_positions(void **state) {
    (void)state;
    err e = {0};
    gen_problem problem;
    for (uint64_t seed = 1;;
         seed++) { /* the first problem that rotates and has a short ring without slots' influence */
        tune_random_problem(seed, &problem);
        if (problem.nha.rope == NHA_ROPE_NEOX && problem.nha.window > 3 && problem.ring < 100)
            break;
    }
    tune_case_spec spec = {
        .seed = 1, .sequences = 2, .cached = true, .pos = {200, 1000200}, .length = {3, 3}, .gates = TUNE_GATES_STRONG};
    tune_case c;
    tune_oracle out;
    assert_true(tune_case_create(&problem, &spec, &c, &e));
    /* Make both sequences the same but for the position. */
    for (int id = 0; id < TUNE_INPUTS; id++) {
        size_t row = tune_tensor(&problem, id).row_bytes;
        if (c.data[id])
            memcpy((char *)c.data[id] + 3 * row, c.data[id], 3 * row);
        char *ring = tune_cache_tensor(&c.cache, id);
        if (ring)
            memcpy(ring + (size_t)c.cache.tokens * row, ring, (size_t)c.cache.tokens * row);
    }
    size_t memory = (size_t)problem.nha.heads_kv * (size_t)problem.nha.slots;
    if (memory) {
        memcpy(c.cache.hk + memory * (size_t)problem.nha.head_dim_qk, c.cache.hk,
               memory * (size_t)problem.nha.head_dim_qk * sizeof(float));
        memcpy(c.cache.hv + memory * (size_t)problem.nha.head_dim_v, c.cache.hv,
               memory * (size_t)problem.nha.head_dim_v * sizeof(float));
    }
    assert_true(tune_oracle_run(&problem, &c.batch, 1, &out, &e));
    int64_t row = 3 * (int64_t)problem.nha.heads_q * problem.nha.head_dim_v;
    assert_true(difference(out.o + row, out.o, row) < 1e-9); /* 1e6 * 2^-53 of an angle, times a score */
    tune_oracle_destroy(&out);
    tune_case_destroy(&c);
}

static void test_gates(void **state) {
    (void)state;
    nha_problem p = {.gate_input = NHA_GATE_LOGIT, .gate_normalizer = 8};
    assert_true(tune_log_gate(&p, INFINITY) == 0);
    assert_true(tune_log_gate(&p, -INFINITY) == -INFINITY);
    assert_true(fabs(tune_log_gate(&p, -1e4) + 1250) < 1e-9);
    assert_true(fabs(tune_log_gate(&p, 40) / -exp(-40) * 8 - 1) < 1e-12);
    assert_true(fabs(tune_log_gate(&p, 0) + log(2) / 8) < 1e-15);
    p.gate_input = NHA_GATE_LOG;
    assert_true(tune_log_gate(&p, -3) == -3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_cuts),
                                       cmocka_unit_test(test_packed), cmocka_unit_test(test_positions),
                                       cmocka_unit_test(test_gates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
