/* test_runtime_cuda_cache.c: pools on a GPU: the layout of nha_cuda.h, images to and from the CPU's pools without loss,
 * reset and copy, and what these functions do to contexts. Device memory is the recording driver's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_driver.h"
#include "tests/runtime/help_math.h"
#include "tests/runtime/help_reference.h"

enum { LENGTH = 30, ROWS = 3 };

static const nha_library *const library = &reference_library;
static const nha_device cpu = {.kind = NHA_CPU};

static int setup(void **state) {
    (void)state;
    recorder_reset(9, 0);
    return 0;
}

/* Whatever happened: nothing stays retained or pushed, and nothing was called that a driver refuses. */
static int teardown(void **state) {
    (void)state;
    int wrong = recorded.misused + recorded.illegal_in_capture + recorded.retained[0] + recorded.retained[1] +
                (recorder_current() != NULL);
    recorder_reset(9, 0);
    return wrong;
}

struct pool {
    int32_t problem;
    nha_device device;
    nha_cache_format format;
    char *memory;
};

static struct pool pool_make(int32_t problem, nha_device device, int64_t max_tokens) {
    struct pool pool = {.problem = problem, .device = device};
    nha_error error;
    NHA_INIT(pool.format);
    if (nha_cache_describe(library, problem, device, max_tokens, &pool.format, &error)) fail_msg("%s", error.text);
    size_t bytes = (size_t)(ROWS * pool.format.row_bytes);
    pool.memory = device.kind == NHA_CUDA ? recorder_memory(bytes) : aligned_memory(bytes);
    if (nha_cache_reset(library, problem, device, &pool.format, pool.memory, NULL, ROWS, NULL, &error))
        fail_msg("%s", error.text);
    return pool;
}

static nha_status export(const struct pool *pool, int32_t row, nha_cache_image *image, nha_error *error) {
    return nha_cache_export(library, pool->problem, pool->device, &pool->format, pool->memory, row, image, NULL, error);
}

static nha_status import(const struct pool *pool, int32_t row, const nha_cache_image *image, nha_error *error) {
    return nha_cache_import(library, pool->problem, pool->device, &pool->format, pool->memory, row, image, NULL, error);
}

static int64_t position(const struct pool *pool, int32_t row) {
    int64_t pos = -1;
    nha_error error;
    if (nha_cache_position(library, pool->problem, pool->device, &pool->format, pool->memory, row, &pos, NULL, &error))
        fail_msg("%s", error.text);
    return pos;
}

/* ---- Images ---- */

enum { PARTS = 7 };

/* Arrays of an image and their bytes, hk, hv, k, v, gate, s, rk. */
static void list_parts(const nha_problem *p, nha_cache_image *image, void **part[PARTS], size_t bytes[PARTS]) {
    int64_t H = p->heads_kv, M = p->slots, rows = image->tokens * H;
    int64_t element = math_bytes(p->dtype), gate = M * math_bytes(p->gate_dtype);
    void **parts[PARTS] = {(void **)&image->hk, (void **)&image->hv, &image->k, &image->v,
                           &image->gate,        &image->s,           &image->rk};
    int64_t sizes[PARTS] = {H * M * p->head_dim_qk * 4,
                            H * M * p->head_dim_v * 4,
                            rows * p->head_dim_qk * element,
                            rows * p->head_dim_v * element,
                            rows * gate,
                            p->gate_s_given ? rows * gate : 0,
                            p->rope == NHA_ROPE_GIVEN ? rows * p->head_dim_qk * element : 0};
    for (int i = 0; i < PARTS; i++) part[i] = parts[i], bytes[i] = (size_t)sizes[i];
}

static nha_cache_image image_make(const nha_problem *p, int64_t tokens) {
    nha_cache_image image;
    void **part[PARTS];
    size_t bytes[PARTS];
    NHA_INIT(image);
    image.tokens = tokens;
    list_parts(p, &image, part, bytes);
    for (int i = 0; i < PARTS; i++)
        if (bytes[i] || i == 2 || i == 3) *part[i] = aligned_memory(bytes[i]);
    return image;
}

static void image_free(const nha_problem *p, nha_cache_image *image) {
    void **part[PARTS];
    size_t bytes[PARTS];
    list_parts(p, image, part, bytes);
    for (int i = 0; i < PARTS; i++) free(*part[i]);
}

static void assert_same(const nha_problem *p, nha_cache_image *a, nha_cache_image *b) {
    void **part_a[PARTS], **part_b[PARTS];
    size_t bytes[PARTS];
    list_parts(p, a, part_a, bytes);
    list_parts(p, b, part_b, bytes);
    assert_int_equal(a->pos, b->pos);
    for (int i = 0; i < PARTS; i++)
        if (bytes[i]) assert_memory_equal(*part_a[i], *part_b[i], bytes[i]);
}

/* A row of a CPU pool that has seen `length` tokens of a random sequence. */
static void prefill(struct pool *pool, int32_t row, int64_t length) {
    const nha_problem *p = nha_library_problem(library, pool->problem);
    nha_plan_options o = case_options(pool->problem, NHA_PREFILL, 1, LENGTH, 1);
    o.flags = NHA_PLAN_CACHE;
    o.cache_tokens = pool->format.tokens;
    nha_plan *plan = case_plan(&o);
    struct sequence *s = sequence_make(p, length, false, 7);
    struct span span = {s, 0, length};
    struct batch b;
    nha_error error;
    batch_make(&b, &span, 1, LAYOUT_BATCH);
    b.args.cache = pool->memory;
    b.args.cache_index = &row;
    if (batch_execute(plan, &b, &error)) fail_msg("%s", error.text);
    batch_free(&b);
    sequence_free(s);
    nha_plan_destroy(plan);
}

/* ---- Layout ---- */

static char *take(char **at, int64_t bytes, int64_t align) {
    char *here = *at;
    *at += (bytes + align - 1) / align * align;
    return here;
}

/* The row as nha_cuda.h draws it holds what the image says. */
static void check_row(const nha_problem *p, const struct pool *pool, int32_t row, const nha_cache_image *image) {
    int64_t H = p->heads_kv, M = p->slots, K = p->head_dim_qk, V = p->head_dim_v, R = pool->format.tokens;
    char *begin = pool->memory + row * pool->format.row_bytes, *at = begin;
    const int64_t *pos = (int64_t *)(void *)take(&at, 8 * H, 64);
    const float *memory = (float *)(void *)take(&at, H * M * (K + V) * 4, 64);
    for (int64_t h = 0; h < H; h++) {
        assert_int_equal(pos[h], image->pos);
        if (!M) continue;
        const float *hk = memory + h * M * (K + V);
        assert_memory_equal(hk, image->hk + h * M * K, (size_t)(M * K) * 4);
        assert_memory_equal(hk + M * K, image->hv + h * M * V, (size_t)(M * V) * 4);
    }
    int64_t element = math_bytes(p->dtype), gate = math_bytes(p->gate_dtype);
    const struct {
        const char *data;
        int64_t bytes;
    } rings[] = {{image->k, K * element},
                 {image->v, V * element},
                 {image->gate, M * gate},
                 {image->s, p->gate_s_given ? M * gate : 0},
                 {image->rk, p->rope == NHA_ROPE_GIVEN ? K * element : 0}};
    int64_t held = nhr_min(nhr_min(nhr_ring(p), R), image->pos);
    for (int i = 0; i < 5; i++) {
        const char *ring = take(&at, H * R * rings[i].bytes, 64);
        for (int64_t j = image->pos - held; rings[i].bytes && j < image->pos; j++)
            for (int64_t h = 0; h < H; h++)
                assert_memory_equal(ring + (h * R + j % R) * rings[i].bytes,
                                    rings[i].data + ((image->tokens - (image->pos - j)) * H + h) * rings[i].bytes,
                                    (size_t)rings[i].bytes);
    }
    assert_int_equal(pool->format.row_bytes, ((at - begin) + 255) / 256 * 256);
}

/* ---- Tests ---- */

/* A cache made on the CPU goes to the GPU and comes back, for every problem and for rings that have wrapped or not. */
static void test_round_trip(void **state) {
    (void)state;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++)
        for (int64_t length = 0; length <= LENGTH; length += length ? 23 : 7) {
            const nha_problem *p = nha_library_problem(library, i);
            struct pool host = pool_make(i, cpu, LENGTH), gpu = pool_make(i, recorder_device(0), LENGTH);
            nha_cache_image first = image_make(p, LENGTH + 2), second = image_make(p, LENGTH + 2);
            nha_error error;
            prefill(&host, 1, length);
            assert_int_equal(export(&host, 1, &first, &error), NHA_OK);
            if (import(&gpu, 2, &first, &error)) fail_msg("%s: %s", p->name, error.text);
            check_row(p, &gpu, 2, &first);
            assert_int_equal(position(&gpu, 2), length);
            assert_int_equal(position(&gpu, 1), 0);
            if (export(&gpu, 2, &second, &error)) fail_msg("%s: %s", p->name, error.text);
            assert_same(p, &first, &second);

            const int32_t to[] = {0}, from[] = {2};
            assert_int_equal(nha_cache_copy(library, i, gpu.device, &gpu.format, gpu.memory, to, gpu.memory, from, 1,
                                            NULL, &error),
                             NHA_OK);
            assert_memory_equal(gpu.memory, gpu.memory + 2 * gpu.format.row_bytes, (size_t)gpu.format.row_bytes);
            assert_int_equal(position(&gpu, 0), length);

            assert_int_equal(import(&host, 0, &second, &error), NHA_OK); /* and back: the same bits as there were */
            if (nhr_ring(p)) /* else the one entry of the ring holds what is never read */
                assert_memory_equal(host.memory, host.memory + host.format.row_bytes, (size_t)host.format.row_bytes);
            image_free(p, &first);
            image_free(p, &second);
            free(host.memory);
        }
}

static void test_reset(void **state) {
    (void)state;
    struct pool gpu = pool_make(0, recorder_device(0), 0);
    const nha_problem *p = nha_library_problem(library, 0);
    nha_error error;
    size_t bytes = (size_t)gpu.format.row_bytes;
    char *was = malloc(ROWS * bytes);
    assert_int_equal(position(&gpu, 0) + position(&gpu, 1) + position(&gpu, 2), 0);
    memset(gpu.memory, 0x11, ROWS * bytes);
    memcpy(was, gpu.memory, ROWS * bytes);
    const int32_t rows[] = {2, 0};
    assert_int_equal(nha_cache_reset(library, 0, gpu.device, &gpu.format, gpu.memory, rows, 2, NULL, &error), NHA_OK);
    assert_int_equal(position(&gpu, 0) + position(&gpu, 2), 0);
    assert_memory_equal(gpu.memory + bytes, was + bytes, bytes);
    nha_cache_image image = image_make(p, 3), zero = image_make(p, 3);
    struct pool host = pool_make(0, cpu, 0);
    assert_int_equal(export(&host, 0, &zero, &error), NHA_OK);
    assert_int_equal(export(&gpu, 2, &image, &error), NHA_OK);
    assert_same(p, &image, &zero);
    assert_int_equal(nha_cache_reset(library, 0, gpu.device, &gpu.format, gpu.memory, NULL, 0, NULL, &error), NHA_OK);
    assert_memory_equal(gpu.memory + bytes, was + bytes, bytes);
    image_free(p, &image);
    image_free(p, &zero);
    free(host.memory);
    free(was);
}

/* Copies of several rows between pools, with and without lists. */
static void test_copy(void **state) {
    (void)state;
    struct pool a = pool_make(6, recorder_device(0), 0), b = pool_make(6, recorder_device(0), 0);
    size_t bytes = (size_t)a.format.row_bytes;
    nha_error error;
    for (size_t i = 0; i < ROWS * bytes; i++) a.memory[i] = (char)(i * 31 + i / 251);
    const int32_t to[] = {2, 0}, from[] = {1, 2};
    assert_int_equal(nha_cache_copy(library, 6, a.device, &a.format, b.memory, to, a.memory, from, 2, NULL, &error), 0);
    assert_memory_equal(b.memory + 2 * bytes, a.memory + bytes, bytes);
    assert_memory_equal(b.memory, a.memory + 2 * bytes, bytes);
    for (size_t i = bytes; i < 2 * bytes; i++) assert_int_equal(b.memory[i], 0);
    assert_int_equal(
        nha_cache_copy(library, 6, a.device, &a.format, b.memory, NULL, a.memory, NULL, ROWS, NULL, &error), NHA_OK);
    assert_memory_equal(b.memory, a.memory, ROWS * bytes);
    assert_int_equal(nha_cache_copy(library, 6, a.device, &a.format, a.memory, from, a.memory, from, 2, NULL, &error),
                     NHA_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "copy 0"));
}

/* Each call pushes its context and pops it; a primary context is retained for the call alone. */
static void test_contexts(void **state) {
    (void)state;
    nha_device given = recorder_device(0);
    given.context = recorder_context(1);
    recorder_set_current(recorder_context(0));
    struct pool pool = pool_make(0, given, 0);
    assert_int_equal(position(&pool, 0), 0);
    assert_ptr_equal(recorder_current(), recorder_context(0));
    assert_int_equal(recorder_calls("cuDevicePrimaryCtxRetain"), 0);
    pool.device = recorder_device(1);
    assert_int_equal(position(&pool, 0), 0);
    assert_int_equal(recorder_calls("cuDevicePrimaryCtxRetain"), 1);
    assert_int_equal(recorder_calls("cuDevicePrimaryCtxRelease_v2"), 1);
    assert_ptr_equal(recorder_current(), recorder_context(0));
    recorder_set_current(NULL);
}

static void test_describe_needs_no_driver(void **state) {
    (void)state;
    nha_cache_format format, on_cpu;
    const nha_device cuda = {.kind = NHA_CUDA};
    NHA_INIT(format);
    NHA_INIT(on_cpu);
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        assert_int_equal(nha_cache_describe(library, i, cuda, 40, &format, NULL), NHA_OK);
        assert_int_equal(nha_cache_describe(library, i, cpu, 40, &on_cpu, NULL), NHA_OK);
        assert_int_equal(format.ring, on_cpu.ring);
        assert_int_equal(format.tokens, on_cpu.tokens);
        assert_int_equal(format.row_bytes % NHA_WORKSPACE_ALIGN, 0);
    }
    /* K = 16, V = 8, M = 5, H = 2: 64 + 960 of memory, rings of 7 tokens: 896 + 448 + 320 (280) */
    assert_int_equal(nha_cache_describe(library, 0, cuda, 0, &format, NULL), NHA_OK);
    assert_int_equal(format.row_bytes, 2816);
    /* H = 9: positions take 128 bytes; 4352 (4320) of memory, rings 4032 + 2048 (2016) + 1280 (1260) */
    nha_problem many = *nha_library_problem(library, 0);
    nha_library other = *library;
    many.heads_q = many.heads_kv = 9;
    other.problems = &many;
    other.problem_count = 1;
    other.kernel_count = 0;
    assert_int_equal(nha_cache_describe(&other, 0, cuda, 0, &format, NULL), NHA_OK);
    assert_int_equal(format.row_bytes, 12032);
}

static void test_faults(void **state) {
    (void)state;
    struct pool pool = pool_make(0, recorder_device(0), 0);
    const nha_problem *p = nha_library_problem(library, 0);
    nha_cache_image image = image_make(p, 9);
    nha_error error;
    int64_t pos = 77;
    const int32_t past[] = {0, ROWS}, rows[] = {0, 1}, most[] = {INT32_MAX};
#define EXPECT(call, want, word)                                                                                       \
    {                                                                                                                  \
        nha_status got = (call);                                                                                       \
        if (got != want || error.status != want || !strstr(error.text, word))                                          \
            fail_msg("%s: %d, %s", #call, got, error.text);                                                            \
    }
#define FAIL(function, result) (recorded.fail = function, recorded.fail_after = 0, recorded.fail_result = result)
#define POOL library, 0, pool.device, &pool.format, pool.memory
    EXPECT(nha_cache_reset(POOL, past, 2, NULL, &error), NHA_DEVICE_ERROR, "CUDA_ERROR_INVALID_VALUE")
    EXPECT(nha_cache_reset(POOL, NULL, ROWS + 1, NULL, &error), NHA_DEVICE_ERROR, "reset")
    EXPECT(nha_cache_reset(POOL, NULL, INT64_MAX, NULL, &error), NHA_INVALID_ARGUMENT, "count")
    EXPECT(nha_cache_reset(POOL, past, -1, NULL, &error), NHA_INVALID_ARGUMENT, "count")
    EXPECT(nha_cache_copy(POOL, past, pool.memory, rows, 2, NULL, &error), NHA_INVALID_ARGUMENT, "copy 0")
    EXPECT(nha_cache_copy(POOL, past + 1, pool.memory, rows, 1, NULL, &error), NHA_DEVICE_ERROR, "copied")
    EXPECT(nha_cache_position(POOL, ROWS, &pos, NULL, &error), NHA_DEVICE_ERROR, "row 3 cannot be read")
    EXPECT(nha_cache_position(POOL, -1, &pos, NULL, &error), NHA_INVALID_ARGUMENT, "row")
    FAIL("cuStreamSynchronize", NHA_CU_ILLEGAL_ADDRESS);
    EXPECT(nha_cache_position(POOL, 0, &pos, NULL, &error), NHA_DEVICE_ERROR, "CUDA_ERROR_ILLEGAL_ADDRESS")
    FAIL("cuCtxPushCurrent_v2", NHA_CU_INVALID_CONTEXT);
    EXPECT(nha_cache_position(POOL, 0, &pos, NULL, &error), NHA_DEVICE_ERROR, "current")
    FAIL("cuMemcpyHtoDAsync_v2", NHA_CU_ILLEGAL_ADDRESS);
    image.pos = 0;
    EXPECT(import(&pool, 0, &image, &error), NHA_DEVICE_ERROR, "row 0 cannot be written")
    FAIL("cuMemcpyDtoHAsync_v2", NHA_CU_ILLEGAL_ADDRESS);
    EXPECT(export(&pool, 0, &image, &error), NHA_DEVICE_ERROR, "row 0 cannot be read")
    image.pos = -1;
    EXPECT(import(&pool, 0, &image, &error), NHA_INVALID_ARGUMENT, "image.pos")
    ((int64_t *)(void *)pool.memory)[1] = 5; /* the second head is elsewhere */
    EXPECT(export(&pool, 0, &image, &error), NHA_BAD_DATA, "reset")
    pool.device.ordinal = 5;
    EXPECT(nha_cache_position(POOL, 0, &pos, NULL, &error), NHA_NO_DEVICE, "cuda:5")
    pool.device.ordinal = 0;

    recorded.capturing = 1; /* reset and copy may be captured, what waits may not */
    EXPECT(nha_cache_position(POOL, 1, &pos, NULL, &error), NHA_INVALID_ARGUMENT, "captured")
    EXPECT(export(&pool, 1, &image, &error), NHA_INVALID_ARGUMENT, "captured")
    image.pos = 0;
    EXPECT(import(&pool, 1, &image, &error), NHA_INVALID_ARGUMENT, "captured")
    EXPECT(nha_cache_reset(POOL, rows, 2, NULL, &error), NHA_OK, "")
    EXPECT(nha_cache_copy(POOL, rows, pool.memory, rows + 1, 1, NULL, &error), NHA_OK, "")
    recorded.capturing = 0;
    assert_int_equal(pos, 77);

    nha_problem huge = *nha_library_problem(library, 8); /* rows of 2^53 bytes: addresses are checked */
    nha_library other = *library;
    nha_cache_format format;
    huge.window = huge.slot_lag = (int64_t)1 << 47;
    other.problems = &huge;
    other.problem_count = 1;
    other.kernel_count = 0;
    NHA_INIT(format);
    EXPECT(nha_cache_describe(&other, 0, pool.device, 0, &format, &error), NHA_OK, "")
    EXPECT(nha_cache_reset(&other, 0, pool.device, &format, pool.memory, most, 1, NULL, &error), NHA_INVALID_ARGUMENT,
           "rows[0]")
#undef POOL
#undef FAIL
#undef EXPECT
    image_free(p, &image);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip), TEST(test_reset),  TEST(test_copy),
        TEST(test_contexts),   TEST(test_faults), TEST(test_describe_needs_no_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
