/* test_runtime_pending.c: tokens that wait in a row of a pool: export has them in the memory, copies keep them, reset
 * and import leave none, and a number of them that no kernel leaves is an error before anything follows it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_math.h"
#include "tests/runtime/help_reference.h"

static const nha_device cpu = {.kind = NHA_CPU};
static const nha_library *const library = &reference_library;

enum { ROWS = 3, FLOATS = 1 << 14 };

struct pool {
    int32_t i;
    const nha_problem *p;
    nha_cache_format format;
    nha_cpu_cache layout;
    char *memory;
};

static struct pool pool_make(int32_t i) {
    struct pool pool = {.i = i, .p = nha_library_problem(library, i)};
    NHA_INIT(pool.format);
    assert_int_equal(nha_cache_describe(library, i, cpu, 10, &pool.format, NULL), NHA_OK);
    assert_true(nhr_cache_layout(pool.p, NHA_CPU, pool.format.tokens, &pool.layout));
    pool.memory = aligned_memory((size_t)(ROWS * pool.format.row_bytes));
    pool.layout.pool = pool.memory;
    assert_int_equal(nha_cache_reset(library, i, cpu, &pool.format, pool.memory, NULL, ROWS, NULL, NULL), NHA_OK);
    return pool;
}

static char *row_of(const struct pool *pool, int32_t row) {
    return pool->memory + row * pool->format.row_bytes;
}

static double uniform(uint64_t *state) { /* [-1, 1) */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)*state / 9223372036854775808.0;
}

/* Gates of any kind by turns: ordinary, slow, fast, none, a reset. */
static double gate(uint64_t *state, int64_t turn) {
    double u = fabs(uniform(state));
    return turn % 11 == 3 ? -INFINITY : turn % 7 == 2 ? 0 : turn % 5 == 1 ? -1e-6 * u : turn % 3 ? -0.1 * u : -3 * u;
}

/* A random memory and `count` tokens waiting in each head of row 0; hk, hv: what export has to say, in double. */
static void fill(const struct pool *pool, int64_t count, uint64_t seed, double *hk, double *hv) {
    const nha_problem *p = pool->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    int64_t per_token = NHA_CPU_PENDING_FLOATS(K, V, M, p->gate_s_given);
    uint64_t state = seed;
    char *row = row_of(pool, 0);
    for (int64_t h = 0; h < p->heads_kv; h++) {
        float *memory = (float *)(void *)(row + pool->layout.memory_offset) + h * NHA_CPU_MEMORY_FLOATS(K, V, M);
        float *pending = (float *)(void *)(row + pool->layout.pending_offset) + h * NHA_CPU_PENDING * per_token;
        for (int64_t m = 0; m < M; m++) {
            for (int64_t d = 0; d < K; d++) hk[(h * M + m) * K + d] = memory[d * Mp + m] = (float)uniform(&state);
            for (int64_t d = 0; d < V; d++)
                hv[(h * M + m) * V + d] = memory[K * Mp + m * Vp + d] = (float)uniform(&state);
        }
        for (int64_t j = 0; j < count; j++, pending += per_token) {
            float *s = pending + 2 * Mp, *k = pending + (p->gate_s_given ? 3 : 2) * Mp, *v = k + NHA_CPU_PADDED(K);
            for (int64_t d = 0; d < K; d++) k[d] = (float)uniform(&state);
            for (int64_t d = 0; d < V; d++) v[d] = (float)uniform(&state);
            for (int64_t m = 0; m < M; m++) {
                double g = gate(&state, j * 3 + m), given = fabs(uniform(&state));
                pending[m] = (float)exp(g);
                pending[Mp + m] = (float)expm1(g);
                if (p->gate_s_given) s[m] = (float)given;
                double weight = p->gate_s_given ? (double)s[m] : -expm1(g);
                for (int64_t d = 0; d < K; d++) {
                    double *at = &hk[(h * M + m) * K + d];
                    *at = exp(g) * *at + weight * (double)k[d];
                }
                for (int64_t d = 0; d < V; d++) {
                    double *at = &hv[(h * M + m) * V + d];
                    *at = exp(g) * *at + weight * (double)v[d];
                }
            }
        }
        row[NHA_CPU_ROW_PENDING + h] = (char)count;
    }
}

static nha_status export(const struct pool *pool, int32_t row, float *hk, float *hv, nha_error *error) {
    nha_cache_image image;
    NHA_INIT(image);
    image.hk = hk;
    image.hv = hv;
    return nha_cache_export(library, pool->i, cpu, &pool->format, pool->memory, row, &image, NULL, error);
}

static double worst(const float *x, const double *want, int64_t count) {
    double sum = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += want[i] * want[i];
        error += ((double)x[i] - want[i]) * ((double)x[i] - want[i]);
    }
    return sqrt(error / sum);
}

static void test_moves(void **state) {
    (void)state;
    static double want_k[FLOATS], want_v[FLOATS];
    static float hk[FLOATS], hv[FLOATS], again_k[FLOATS], again_v[FLOATS];
    int tried = 0, given = 0;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++)
        for (int64_t count = 0; nha_library_problem(library, i)->slots && count < NHA_CPU_PENDING; count++, tried++) {
            struct pool pool = pool_make(i);
            const nha_problem *p = pool.p;
            int64_t slots = (int64_t)p->heads_kv * p->slots, keys = slots * p->head_dim_qk,
                    values = slots * p->head_dim_v;
            assert_true(keys <= FLOATS && values <= FLOATS);
            given += p->gate_s_given;
            fill(&pool, count, (uint64_t)(i * 100 + count), want_k, want_v);
            char *before = malloc((size_t)pool.format.row_bytes);
            assert_non_null(before);
            memcpy(before, row_of(&pool, 0), (size_t)pool.format.row_bytes);
            assert_int_equal(export(&pool, 0, hk, hv, NULL), NHA_OK);
            assert_memory_equal(before, row_of(&pool, 0), (size_t)pool.format.row_bytes); /* export only reads */
            free(before);
            assert_true(worst(hk, want_k, keys) < 3e-7 && worst(hv, want_v, values) < 3e-7);

            const int32_t to[] = {2}, from[] = {0};
            assert_int_equal(
                nha_cache_copy(library, i, cpu, &pool.format, pool.memory, to, pool.memory, from, 1, NULL, NULL),
                NHA_OK);
            assert_int_equal(export(&pool, 2, again_k, again_v, NULL), NHA_OK);
            assert_memory_equal(hk, again_k, (size_t)keys * sizeof *hk);
            assert_memory_equal(hv, again_v, (size_t)values * sizeof *hv);

            nha_cache_image image;
            NHA_INIT(image);
            image.hk = hk;
            image.hv = hv;
            assert_int_equal(nha_cache_import(library, i, cpu, &pool.format, pool.memory, 0, &image, NULL, NULL),
                             NHA_OK);
            for (int64_t h = 0; h < p->heads_kv; h++) assert_int_equal(row_of(&pool, 0)[NHA_CPU_ROW_PENDING + h], 0);
            assert_int_equal(export(&pool, 0, again_k, again_v, NULL), NHA_OK);
            assert_memory_equal(hk, again_k, (size_t)keys * sizeof *hk);
            assert_int_equal(nha_cache_reset(library, i, cpu, &pool.format, pool.memory, to, 1, NULL, NULL), NHA_OK);
            assert_int_equal(export(&pool, 2, again_k, again_v, NULL), NHA_OK);
            for (int64_t at = 0; at < keys; at++) assert_true(again_k[at] == 0);
            free(pool.memory);
        }
    assert_true(tried > NHA_CPU_PENDING && given > 0);
}

/* expm1 of slow gates is added up: a difference of numbers near 1 would be wrong in the fourth digit. */
static void test_slow(void **state) {
    (void)state;
    const nha_problem p = {.head_dim_qk = 8, .head_dim_v = 8, .heads_q = 1, .heads_kv = 1, .slots = 1};
    float memory[8 * 16 + 16] = {0}, pending[NHA_CPU_PENDING * 64] = {0}, hk[8], hv[8];
    const int64_t token = NHA_CPU_PENDING_FLOATS(8, 8, 1, 0);
    assert_int_equal(token, 64);
    for (int64_t j = 0; j < 7; j++) {
        pending[j * token] = (float)exp(-1e-5);
        pending[j * token + 16] = (float)expm1(-1e-5);
        pending[j * token + 32] = 1; /* k[0] */
    }
    nhr_fold(&p, (const char *)memory, pending, 7, hk, hv);
    assert_true(fabs((double)hk[0] / -expm1(-7e-5) - 1) < 3e-7);
    memory[0] = 1e6f; /* hk[0][0]; a reset leaves nothing of it */
    pending[3 * token] = 0;
    pending[3 * token + 16] = -1;
    nhr_fold(&p, (const char *)memory, pending, 7, hk, hv);
    assert_true(fabs((double)hk[0] - 1) < 1e-6);
    uint16_t half[8 * 16 + 16] = {0x3f80, [16] = 0xbf81}; /* the same of bf16: 1, -1.0078125 */
    const nha_problem narrow = {.head_dim_qk = 8, .head_dim_v = 8, .heads_q = 1, .heads_kv = 1, .slots = 1, .state_dtype = NHA_BF16};
    nhr_fold(&narrow, (const char *)half, pending, 1, hk, hv);
    assert_true(fabs(hk[0] - 1) < 1e-6 && fabs(hk[1] + 1.0078125) < 2e-5);
    nhr_state_set(&narrow, (char *)half, 3, 1.00390625f); /* a tie: to even */
    nhr_state_set(&narrow, (char *)half, 4, 1.01171875f);
    assert_true(nhr_state_at(&narrow, (char *)half, 3) == 1 && nhr_state_at(&narrow, (char *)half, 4) == 1.015625f);
}

static void test_impossible(void **state) {
    (void)state;
    static float hk[FLOATS], hv[FLOATS];
    int refused = 0;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        struct pool pool = pool_make(i);
        const nha_problem *p = pool.p;
        nha_plan_options options = case_options(i, NHA_DECODE, 1, 1, 1);
        options.cache_tokens = pool.format.tokens;
        nha_plan *plan = case_plan(&options);
        struct sequence *s = sequence_make(p, 2, false, 1);
        struct span span = {s, 0, 1};
        struct batch b;
        nha_error error;
        const int counts[] = {p->slots ? NHA_CPU_PENDING : 1, 127, 128, 255};
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (int64_t h = 0; h < p->heads_kv; h += p->heads_kv > 1 ? p->heads_kv - 1 : 1, refused++) {
                row_of(&pool, 0)[NHA_CPU_ROW_PENDING + h] = (char)counts[c];
                batch_make(&b, &span, 1, LAYOUT_BATCH);
                b.args.cache = pool.memory;
                assert_int_equal(batch_execute(plan, &b, &error), NHA_BAD_DATA);
                assert_non_null(strstr(error.text, "cache row 0"));
                batch_free(&b);
                assert_int_equal(export(&pool, 0, hk, hv, &error), NHA_BAD_DATA);
                row_of(&pool, 0)[NHA_CPU_ROW_PENDING + h] = 0;
            }
        sequence_free(s);
        nha_plan_destroy(plan);
        free(pool.memory);
    }
    assert_true(refused >= 4 * REFERENCE_PROBLEMS);
}

/* Rows of a GPU have none; on the CPU they follow the rings, and the counts fit into the header of any number of heads.
 */
static void test_layout(void **state) {
    (void)state;
    nha_problem p = *nha_library_problem(library, 0);
    nha_cpu_cache a, b;
    for (int32_t heads = 1; heads <= 256; heads *= 4) {
        p.heads_kv = p.heads_q = heads;
        assert_true(nhr_cache_layout(&p, NHA_CPU, 7, &a) && nhr_cache_layout(&p, NHA_CUDA, 7, &b));
        assert_true(a.memory_offset >= NHA_CPU_ROW_PENDING + heads && a.memory_offset % 64 == 0 &&
                    a.pending_offset % 64 == 0);
        int64_t token = NHA_CPU_PENDING_FLOATS(p.head_dim_qk, p.head_dim_v, p.slots, p.gate_s_given);
        assert_true(a.row_bytes - a.pending_offset >= heads * NHA_CPU_PENDING * token * 4);
        assert_true(b.row_bytes - b.pending_offset < NHA_WORKSPACE_ALIGN);
    }
    p.slots = 0;
    assert_true(nhr_cache_layout(&p, NHA_CPU, 7, &a));
    assert_true(a.row_bytes - a.pending_offset < NHA_WORKSPACE_ALIGN);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves), cmocka_unit_test(test_slow),
                                       cmocka_unit_test(test_impossible), cmocka_unit_test(test_layout)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
