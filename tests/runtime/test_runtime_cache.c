/* test_runtime_cache.c: a sequence cut anywhere into prefill calls and decode steps equals one prefill; pools keep,
 * move and open their rows without loss. */
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

enum { LENGTH = 150, ROWS = 4 };

static const nha_device cpu = {.kind = NHA_CPU};

static const nha_problem *problem(int32_t i) {
    return nha_library_problem(&reference_library, i);
}

struct pool {
    int32_t problem;
    nha_cache_format format;
    char *memory;
};

static struct pool pool_make(int32_t i, int64_t max_tokens) {
    struct pool pool = {.problem = i};
    NHA_INIT(pool.format);
    assert_int_equal(nha_cache_describe(&reference_library, i, cpu, max_tokens, &pool.format, NULL), NHA_OK);
    pool.memory = aligned_memory((size_t)(ROWS * pool.format.row_bytes));
    assert_int_equal(nha_cache_reset(&reference_library, i, cpu, &pool.format, pool.memory, NULL, ROWS, NULL, NULL),
                     NHA_OK);
    return pool;
}

static int64_t position(const struct pool *pool, int32_t row) {
    int64_t pos = -1;
    assert_int_equal(
        nha_cache_position(&reference_library, pool->problem, cpu, &pool->format, pool->memory, row, &pos, NULL, NULL),
        NHA_OK);
    return pos;
}

/* Bound of a pool for tests: unbounded unless the window is huge. */
static int64_t bound(const nha_problem *p) {
    return p->window > 1000 ? LENGTH : 0;
}

/* ---- Images ---- */

static nha_cache_image image_make(const nha_problem *p, int64_t tokens) {
    nha_cache_image image;
    NHA_INIT(image);
    int64_t H = p->heads_kv, M = p->slots, rows = tokens * H;
    int64_t element = math_bytes(p->dtype), gate = math_bytes(p->gate_dtype);
    image.tokens = tokens;
    if (M) {
        image.hk = aligned_memory((size_t)(H * M * p->head_dim_qk) * 4);
        image.hv = aligned_memory((size_t)(H * M * p->head_dim_v) * 4);
        image.gate = aligned_memory((size_t)(rows * M * gate));
    }
    image.k = aligned_memory((size_t)(rows * p->head_dim_qk * element));
    image.v = aligned_memory((size_t)(rows * p->head_dim_v * element));
    if (M && p->gate_s_given) image.s = aligned_memory((size_t)(rows * M * gate));
    if (p->rope == NHA_ROPE_GIVEN) image.rk = aligned_memory((size_t)(rows * p->head_dim_qk * element));
    return image;
}

static void image_free(nha_cache_image *image) {
    free(image->hk);
    free(image->hv);
    free(image->k);
    free(image->v);
    free(image->gate);
    free(image->s);
    free(image->rk);
}

static void export(const struct pool *pool, int32_t row, nha_cache_image *image) {
    nha_error error;
    if (nha_cache_export(&reference_library, pool->problem, cpu, &pool->format, pool->memory, row, image, NULL, &error))
        fail_msg("export: %s", error.text);
}

static void import(struct pool *pool, int32_t row, const nha_cache_image *image) {
    nha_error error;
    if (nha_cache_import(&reference_library, pool->problem, cpu, &pool->format, pool->memory, row, image, NULL, &error))
        fail_msg("import: %s", error.text);
}

/* The image of a sequence that has been seen to its end: memory of the definition, last tokens as they were given,
 * zeros before. */
static void check_image(const struct sequence *s, const nha_cache_image *image) {
    const nha_problem *p = s->p;
    int64_t H = p->heads_kv, held = nhr_ring(p) < s->length ? nhr_ring(p) : s->length;
    assert_int_equal(image->pos, s->length);
    if (p->slots) {
        assert_true(relative_error(image->hk, s->hk, H * p->slots * p->head_dim_qk) <= 1e-5);
        assert_true(relative_error(image->hv, s->hv, H * p->slots * p->head_dim_v) <= 1e-5);
    }
    const struct {
        enum field f;
        const char *data;
    } streams[] = {{F_K, image->k}, {F_V, image->v}, {F_GATE, image->gate}, {F_S, image->s}, {F_RK, image->rk}};
    for (int i = 0; i < 5; i++) {
        int64_t heads, dim;
        int dtype;
        if (!field_shape(p, streams[i].f, &heads, &dim, &dtype)) continue;
        int64_t bytes = heads * dim * math_bytes(dtype), zero = (image->tokens - held) * bytes;
        for (int64_t b = 0; b < zero; b++) assert_int_equal(streams[i].data[b], 0);
        assert_memory_equal(streams[i].data + zero, (char *)s->field[streams[i].f] + (s->length - held) * bytes,
                            (size_t)(held * bytes));
    }
}

/* ---- Calls on a pool ---- */

static nha_plan *plan_on(const struct pool *pool, int32_t op, int64_t sequences, int32_t threads, uint32_t flags) {
    nha_plan_options options = case_options(pool->problem, op, sequences, LENGTH, threads);
    options.flags = flags | (op == NHA_PREFILL ? NHA_PLAN_CACHE : 0);
    options.cache_tokens = pool->format.tokens;
    return case_plan(&options);
}

static void call(const nha_plan *plan, struct pool *pool, const int32_t *index, const struct span *spans, int64_t count,
                 enum layout layout) {
    struct batch b;
    nha_error error;
    batch_make(&b, spans, count, layout);
    b.args.cache = pool->memory;
    b.args.cache_index = index;
    if (batch_execute(plan, &b, &error)) fail_msg("execute: %s", error.text);
    for (int64_t n = 0; n < count; n++)
        if (!index || index[n] >= 0) batch_scatter(&b, n);
    if (index && count > 1 && index[1] < 0 && spans[1].count) { /* a skipped sequence is not written */
        int64_t heads, dim;
        int dtype;
        for (enum field f = F_O; f <= F_LSE; f++) {
            field_shape(spans[1].s->p, f, &heads, &dim, &dtype);
            int64_t per_token = heads * dim * math_bytes(dtype),
                    from = layout == LAYOUT_BATCH || layout == LAYOUT_PACKED ? spans[0].count * per_token : -1;
            for (int64_t i = 0; from >= 0 && i < spans[1].count * per_token; i++)
                assert_int_equal((unsigned char)b.buffer[f][from + i], 0xa5);
        }
    }
    batch_free(&b);
}

static void check_all(const struct sequence *s, const char *what) {
    double e = sequence_error(s, 0, s->length);
    if (e > tolerance(s->p)) fail_msg("%s: %s: error %g", s->p->name, what, e);
}

/* ---- Tests ---- */

static void test_cuts(void **state) {
    (void)state;
    const int32_t index[] = {2, -1, 0};
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++)
        for (int32_t threads = 1; threads <= 4; threads *= 2) {
            struct pool pool = pool_make(i, bound(problem(i)));
            nha_plan *prefill = plan_on(&pool, NHA_PREFILL, 3, threads, NHA_PLAN_DEBUG);
            nha_plan *packed = plan_on(&pool, NHA_PREFILL, 3, threads, NHA_PLAN_VARLEN | NHA_PLAN_DEBUG);
            nha_plan *decode = plan_on(&pool, NHA_DECODE, 3, threads, NHA_PLAN_DEBUG);
            struct span spans[3];
            for (int n = 0; n < 3; n++) spans[n].s = sequence_make(problem(i), LENGTH, false, (unsigned)(n + i));
            const int64_t cuts[] = {0, 1, -1, 3, 0, 80, -1, -1, -1, -1, 2, 40, 13, -1}; /* -1: a decode step */
            int64_t at = 0;
            for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
                bool step = cuts[c] < 0;
                for (int n = 0; n < 3; n++) spans[n].first = at, spans[n].count = step ? 1 : cuts[c];
                call(step    ? decode
                     : c % 2 ? packed
                             : prefill,
                     &pool, index, spans, 3,
                     step    ? LAYOUT_STRANGE
                     : c % 2 ? LAYOUT_PACKED
                             : LAYOUT_BATCH);
                at += spans[0].count;
            }
            while (at < LENGTH) {
                for (int n = 0; n < 3; n++) spans[n].first = at, spans[n].count = 1;
                call(decode, &pool, index, spans, 3, LAYOUT_BATCH);
                at++;
            }
            check_all(spans[0].s, "cuts");
            check_all(spans[2].s, "cuts");
            assert_int_equal(position(&pool, 0), LENGTH);
            assert_int_equal(position(&pool, 1), 0);
            assert_int_equal(position(&pool, 2), LENGTH);
            nha_cache_image image = image_make(problem(i), LENGTH + 3);
            export(&pool, 2, &image);
            check_image(spans[0].s, &image);
            export(&pool, 0, &image);
            check_image(spans[2].s, &image);
            image_free(&image);
            for (int n = 0; n < 3; n++) sequence_free(spans[n].s);
            nha_plan_destroy(prefill);
            nha_plan_destroy(packed);
            nha_plan_destroy(decode);
            free(pool.memory);
        }
    assert_int_equal(reference_faults(), 0);
}

/* Export, import into a row of another pool, copy that row: all three go on with the same bits. */
static void test_moves(void **state) {
    (void)state;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++)
        for (int64_t cut = 2; cut < 100; cut += 45) {
            const nha_problem *p = problem(i);
            struct pool from = pool_make(i, bound(p)), to = pool_make(i, LENGTH);
            struct sequence *s = sequence_make(p, LENGTH, false, (unsigned)i);
            struct span span = {s, 0, cut};
            const int32_t row[] = {3};
            nha_plan *prefill = plan_on(&from, NHA_PREFILL, 1, 2, 0);
            call(prefill, &from, row, &span, 1, LAYOUT_BATCH);
            nha_plan_destroy(prefill);

            int64_t need = nhr_ring(p) < cut ? nhr_ring(p) : cut;
            nha_cache_image image = image_make(p, need);
            export(&from, 3, &image);
            if (nhr_ring(p) <= to.format.tokens || cut <= to.format.tokens) import(&to, 1, &image);
            image_free(&image);
            const int32_t copy_to[] = {2}, copy_from[] = {1};
            assert_int_equal(nha_cache_copy(&reference_library, i, cpu, &to.format, to.memory, copy_to, to.memory,
                                            copy_from, 1, NULL, NULL),
                             NHA_OK);

            nha_plan *decode[2] = {plan_on(&from, NHA_DECODE, 1, 1, 0), plan_on(&to, NHA_DECODE, 1, 1, 0)};
            for (span.first = cut, span.count = 1; span.first < LENGTH; span.first++) {
                float bits[3][256] = {{0}};
                size_t o_bytes = (size_t)(p->heads_q * p->head_dim_v * math_bytes(p->dtype));
                for (int32_t k = 0; k < 3; k++) {
                    call(decode[k > 0], k ? &to : &from, k ? &k : row, &span, 1, LAYOUT_BATCH);
                    memcpy(bits[k], (char *)s->field[F_O] + span.first * (int64_t)o_bytes, o_bytes);
                }
                assert_memory_equal(bits[0], bits[1], o_bytes);
                assert_memory_equal(bits[0], bits[2], o_bytes);
            }
            assert_true(sequence_error(s, cut, LENGTH - cut) <= tolerance(p));
            assert_int_equal(position(&to, 2), LENGTH);
            assert_int_equal(position(&to, 0), 0);
            nha_plan_destroy(decode[0]);
            nha_plan_destroy(decode[1]);
            sequence_free(s);
            free(from.memory);
            free(to.memory);
        }
}

/* Reset forgets a row and leaves the others alone. */
static void test_reset(void **state) {
    (void)state;
    struct pool pool = pool_make(0, 0);
    struct sequence *s = sequence_make(problem(0), 60, false, 1);
    struct span spans[2] = {{s, 0, 60}, {s, 0, 60}};
    nha_plan *plan = plan_on(&pool, NHA_PREFILL, 2, 1, 0);
    call(plan, &pool, NULL, spans, 2, LAYOUT_BATCH);
    assert_int_equal(position(&pool, 0), 60);
    assert_int_equal(position(&pool, 1), 60);
    const int32_t zero[] = {0}, index[] = {0};
    assert_int_equal(nha_cache_reset(&reference_library, 0, cpu, &pool.format, pool.memory, zero, 1, NULL, NULL),
                     NHA_OK);
    assert_int_equal(position(&pool, 0), 0);
    assert_int_equal(position(&pool, 1), 60);
    memset(s->field[F_O], 0, (size_t)(60 * 4 * 8) * 4);
    call(plan, &pool, index, spans, 1, LAYOUT_BATCH);
    check_all(s, "after a reset");
    nha_plan_destroy(plan);
    sequence_free(s);
    free(pool.memory);
}

/* hk and hv may be asked for beside a cache. */
static void test_memory_beside_cache(void **state) {
    (void)state;
    const nha_problem *p = problem(1);
    struct pool pool = pool_make(1, 0);
    struct sequence *s = sequence_make(p, 40, false, 1);
    struct span span = {s, 0, 40};
    nha_plan *plan = plan_on(&pool, NHA_PREFILL, 1, 1, 0);
    struct batch b;
    float hk[3 * 8], hv[3 * 16];
    batch_make(&b, &span, 1, LAYOUT_BATCH);
    b.args.cache = pool.memory;
    b.args.hk = hk;
    b.args.hv = hv;
    assert_int_equal(batch_execute(plan, &b, NULL), NHA_OK);
    assert_true(relative_error(hk, s->hk, 3 * 8) <= 1e-5);
    assert_true(relative_error(hv, s->hv, 3 * 16) <= 1e-5);
    batch_free(&b);
    nha_plan_destroy(plan);
    sequence_free(s);
    free(pool.memory);
}

static void test_formats(void **state) {
    (void)state;
    nha_cache_format format;
    NHA_INIT(format);
    assert_int_equal(nha_cache_describe(&reference_library, 2, cpu, 0, &format, NULL), NHA_OK); /* L = 9 > W = 4 */
    assert_int_equal(format.ring, 9);
    assert_int_equal(format.tokens, 9);
    assert_int_equal(format.row_bytes % NHA_WORKSPACE_ALIGN, 0);
    assert_int_equal(nha_cache_describe(&reference_library, 8, cpu, 100, &format, NULL), NHA_OK);
    assert_int_equal(format.ring, 1 << 20);
    assert_int_equal(format.tokens, 100);
    assert_int_equal(nha_cache_describe(&reference_library, 4, cpu, 100, &format, NULL), NHA_OK); /* M = 0: R = W */
    assert_int_equal(format.tokens, 6);
    assert_int_equal(nha_cache_describe(&reference_library, 9, cpu, 100, &format, NULL), NHA_OK); /* R = 0 */
    assert_int_equal(format.ring, 0);
    assert_int_equal(format.tokens, 1);

    nha_problem p = *problem(8);
    nha_library library = reference_library;
    p.window = INT64_MAX;
    library.problems = &p;
    library.problem_count = 1;
    library.kernel_count = 0;
    assert_int_equal(nha_cache_describe(&library, 0, cpu, 0, &format, NULL), NHA_INVALID_ARGUMENT);
    assert_int_equal(nha_cache_describe(&library, 0, cpu, 1000, &format, NULL), NHA_OK);
    assert_int_equal(format.tokens, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),    cmocka_unit_test(test_moves),
        cmocka_unit_test(test_reset),   cmocka_unit_test(test_memory_beside_cache),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
