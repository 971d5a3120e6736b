/* test_runtime_errors.c: every way to use libnha wrongly is answered by its status and a text that names what is wrong,
 * before any work: outputs and caches stay as they were. Add a case as a row of a table below. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/runtime/help_case.h"
#include "tests/runtime/help_reference.h"

static const nha_device cpu = {.kind = NHA_CPU};

/* The status, and a text of one line with `word` in it. */
static void check_error(const char *what, nha_status got, const nha_error *error, nha_status want, const char *word) {
    if (got != want || error->status != want || !strstr(error->text, word) || strchr(error->text, '\n'))
        fail_msg("%s: status %d, expected %d with \"%s\"; text: %s", what, got, want, word, error->text);
}

/* ---- Plans ---- */

#define PLAN_CASES(X)                                                                                                  \
    X(struct_size, o.struct_size = 8, NHA_INVALID_ARGUMENT, "NHA_INIT")                                                \
    X(struct_size_huge, o.struct_size = SIZE_MAX, NHA_INVALID_ARGUMENT, "NHA_INIT")                                    \
    X(problem, o.problem = 99, NHA_INVALID_ARGUMENT, "problem 99")                                                     \
    X(problem_negative, o.problem = -1, NHA_INVALID_ARGUMENT, "problem -1")                                            \
    X(op, o.op = 7, NHA_INVALID_ARGUMENT, "op")                                                                        \
    X(backward, o.op = NHA_BACKWARD, NHA_UNSUPPORTED, "backward")                                                      \
    X(cuda, o.device.kind = NHA_CUDA, NHA_NO_KERNEL, "CUDA")                                                           \
    X(device, o.device.kind = 9, NHA_INVALID_ARGUMENT, "device.kind")                                                  \
    X(flags, o.flags = 1u << 20, NHA_INVALID_ARGUMENT, "flags")                                                        \
    X(decode_varlen, (o.op = NHA_DECODE, o.flags = NHA_PLAN_VARLEN), NHA_INVALID_ARGUMENT, "cu_seqlens")               \
    X(threads, o.threads = -1, NHA_INVALID_ARGUMENT, "threads")                                                        \
    X(threads_many, o.threads = 1 << 20, NHA_INVALID_ARGUMENT, "threads")                                              \
    X(sequences, o.max_sequences = 0, NHA_INVALID_ARGUMENT, "max_sequences")                                           \
    X(sequences_many, o.max_sequences = INT64_MAX, NHA_INVALID_ARGUMENT, "max_sequences")                              \
    X(length, o.max_length = 0, NHA_INVALID_ARGUMENT, "max_length")                                                    \
    X(length_huge, o.max_length = INT64_MAX, NHA_INVALID_ARGUMENT, "max_length")                                       \
    X(tokens, o.max_tokens = -1, NHA_INVALID_ARGUMENT, "max_tokens")                                                   \
    X(cache_tokens, (o.op = NHA_DECODE, o.cache_tokens = 8), NHA_INVALID_ARGUMENT, "cache_tokens")                     \
    X(cache_tokens_negative, (o.op = NHA_DECODE, o.cache_tokens = -1), NHA_INVALID_ARGUMENT, "cache_tokens")           \
    X(kernel, o.kernel = "nobody", NHA_NO_KERNEL, "nobody")                                                            \
    X(isa, o.isa = "sse9", NHA_INVALID_ARGUMENT, "sse9")                                                               \
    X(isa_other, o.isa = "neon", NHA_NO_KERNEL, "ISA")

static void test_plans(void **state) {
    (void)state;
    nha_error error;
    nha_plan *plan;
#define CASE(name, change, status, word)                                                                               \
    {                                                                                                                  \
        nha_plan_options o = case_options(0, NHA_PREFILL, 2, 100, 1);                                                  \
        (void)(change);                                                                                                \
        plan = (nha_plan *)(uintptr_t)1;                                                                               \
        check_error(#name, nha_plan_create(&reference_library, &o, &plan, &error), &error, status, word);              \
        assert_null(plan);                                                                                             \
        assert_int_equal(nha_plan_create(&reference_library, &o, &plan, NULL), status);                                \
    }
    PLAN_CASES(CASE)
#undef CASE
    nha_plan_options o = case_options(0, NHA_PREFILL, 2, 100, 1);
    check_error("no library", nha_plan_create(NULL, &o, &plan, &error), &error, NHA_INVALID_ARGUMENT, "library");
    check_error("no options", nha_plan_create(&reference_library, NULL, &plan, &error), &error, NHA_INVALID_ARGUMENT,
                "options");
    check_error("no plan", nha_plan_create(&reference_library, &o, NULL, &error), &error, NHA_INVALID_ARGUMENT, "plan");

    /* A caller of a newer nha.h: fine as long as what is new to us is zero. */
    struct {
        nha_plan_options o;
        int64_t more;
    } newer = {o, 0};
    newer.o.struct_size = sizeof newer;
    assert_int_equal(nha_plan_create(&reference_library, &newer.o, &plan, &error), NHA_OK);
    assert_int_equal(error.status, NHA_OK);
    nha_plan_destroy(plan);
    newer.more = 1;
    check_error("newer", nha_plan_create(&reference_library, &newer.o, &plan, &error), &error, NHA_UNSUPPORTED,
                "does not know");

    nha_plan_destroy(NULL);
    assert_int_equal(nha_plan_workspace(NULL), 0);
    assert_null(nha_plan_kernel(NULL));
}

/* ---- Calls ---- */

enum { TOKENS = 12, SEQUENCES = 2 };

/* A call that is right, and all it needs. */
struct fixture {
    struct sequence *s;
    struct batch b;
    nha_plan *plan;
    char *cache, *workspace, *given; /* given: to the call */
    size_t workspace_bytes;
    int32_t index[SEQUENCES];
    float memory[4096];
    size_t row_bytes;
};

enum kind { PLAIN, VARLEN, CACHED, DECODE, BOUNDED };

static void fixture_make(struct fixture *f, int32_t problem, enum kind kind) {
    const nha_problem *p = nha_library_problem(&reference_library, problem);
    memset(f, 0, sizeof *f);
    bool cached = kind >= CACHED;
    int64_t count = kind == DECODE ? 1 : TOKENS;
    nha_plan_options o = case_options(problem, kind == DECODE ? NHA_DECODE : NHA_PREFILL, SEQUENCES, TOKENS, 1);
    o.flags = NHA_PLAN_DEBUG | (kind == VARLEN ? NHA_PLAN_VARLEN : 0) | (cached && kind != DECODE ? NHA_PLAN_CACHE : 0);
    f->s = sequence_make(p, count, false, 1);
    struct span spans[SEQUENCES] = {{f->s, 0, count}, {f->s, 0, count}};
    batch_make(&f->b, spans, SEQUENCES, kind == VARLEN ? LAYOUT_PACKED : LAYOUT_BATCH);
    if (cached) {
        nha_cache_format format;
        NHA_INIT(format);
        assert_int_equal(
            nha_cache_describe(&reference_library, problem, cpu, kind == BOUNDED ? TOKENS + 1 : 0, &format, NULL), 0);
        o.cache_tokens = format.tokens;
        f->row_bytes = (size_t)format.row_bytes;
        f->cache = aligned_memory((size_t)(SEQUENCES * format.row_bytes));
        nha_cache_reset(&reference_library, problem, cpu, &format, f->cache, NULL, SEQUENCES, NULL, NULL);
        f->b.args.cache = f->cache;
        f->b.args.cache_index = f->index;
        f->index[1] = 1;
    }
    f->plan = case_plan(&o);
    f->workspace_bytes = nha_plan_workspace(f->plan);
    f->workspace = f->given = aligned_memory(f->workspace_bytes + NHA_WORKSPACE_ALIGN);

    nha_error error;
    assert_int_equal(nha_execute(f->plan, &f->b.args, f->given, f->workspace_bytes, NULL, &error), NHA_OK);
    assert_int_equal(error.status, NHA_OK);
    if (f->cache) memset(f->cache, 0, SEQUENCES * f->row_bytes);
    memset(f->b.buffer[F_O], 0xa5, (size_t)f->b.buffer_bytes[F_O]);
}

/* The changed call is refused and nothing has been written. */
static void fixture_refused(struct fixture *f, const char *what, nha_status want, const char *word) {
    nha_error error;
    int64_t pos = 0;
    if (f->cache) memcpy(&pos, f->cache, sizeof pos);
    nha_status got = nha_execute(f->plan, &f->b.args, f->given, f->workspace_bytes, NULL, &error);
    check_error(what, got, &error, want, word);
    for (int64_t i = 0; i < f->b.buffer_bytes[F_O]; i++) assert_int_equal((unsigned char)f->b.buffer[F_O][i], 0xa5);
    if (f->cache) assert_memory_equal(&pos, f->cache, sizeof pos);
}

static void fixture_free(struct fixture *f) {
    batch_free(&f->b);
    sequence_free(f->s);
    nha_plan_destroy(f->plan);
    free(f->cache);
    free(f->workspace);
}

/* X(name, problem, kind, change of `f` or `a`, status, word): problem 0 has slots and rope inside, 2 rope given, 4 no
 * slots, 1 s given, 6 is F16. */
#define CALL_CASES(X)                                                                                                  \
    X(args_size, 0, PLAIN, a->struct_size = 4, NHA_INVALID_ARGUMENT, "args.struct_size")                               \
    X(sequences, 0, PLAIN, a->sequences = -1, NHA_INVALID_ARGUMENT, "sequences")                                       \
    X(sequences_many, 0, PLAIN, a->sequences = 3, NHA_OUT_OF_BOUNDS, "sequences")                                      \
    X(tokens, 0, PLAIN, a->tokens = -1, NHA_INVALID_ARGUMENT, "tokens")                                                \
    X(tokens_many, 0, PLAIN, a->tokens = TOKENS + 1, NHA_OUT_OF_BOUNDS, "max_length")                                  \
    X(tokens_huge, 0, VARLEN, a->tokens = INT64_MAX, NHA_OUT_OF_BOUNDS, "max_tokens")                                  \
    X(no_q, 0, PLAIN, a->q.data = NULL, NHA_INVALID_ARGUMENT, "q is NULL")                                             \
    X(no_k, 0, PLAIN, a->k.data = NULL, NHA_INVALID_ARGUMENT, "k is NULL")                                             \
    X(no_v, 0, PLAIN, a->v.data = NULL, NHA_INVALID_ARGUMENT, "v is NULL")                                             \
    X(no_gate, 0, PLAIN, a->gate.data = NULL, NHA_INVALID_ARGUMENT, "gate is NULL")                                    \
    X(no_s, 1, PLAIN, a->s.data = NULL, NHA_INVALID_ARGUMENT, "s is NULL")                                             \
    X(no_rq, 2, PLAIN, a->rq.data = NULL, NHA_INVALID_ARGUMENT, "rq is NULL")                                          \
    X(no_rk, 2, PLAIN, a->rk.data = NULL, NHA_INVALID_ARGUMENT, "rk is NULL")                                          \
    X(no_o, 0, PLAIN, a->o.data = NULL, NHA_INVALID_ARGUMENT, "o is NULL")                                             \
    X(base_q, 0, PLAIN, a->q.data = (char *)a->q.data + 8, NHA_MISALIGNED, "q: the base")                              \
    X(base_o, 6, PLAIN, a->o.data = (char *)a->o.data + 2, NHA_MISALIGNED, "o: the base")                              \
    X(base_gate, 0, PLAIN, a->gate.data = (char *)a->gate.data + 2, NHA_MISALIGNED, "gate: the base")                  \
    X(base_lse, 0, PLAIN, a->lse.data = (char *)a->lse.data + 1, NHA_MISALIGNED, "lse: the base")                      \
    X(batch_k, 0, PLAIN, a->k.stride_batch += 1, NHA_MISALIGNED, "k: stride_batch")                                    \
    X(token_v, 0, PLAIN, a->v.stride_token += 2, NHA_MISALIGNED, "v: stride_token")                                    \
    X(head_q, 6, PLAIN, a->q.stride_head += 4, NHA_MISALIGNED, "q: stride_head")                                       \
    X(head_rq, 2, PLAIN, a->rq.stride_head += 1, NHA_MISALIGNED, "rq: stride_head")                                    \
    X(stride_huge, 0, PLAIN, a->q.stride_token = INT64_MAX / 4, NHA_INVALID_ARGUMENT, "q: stride_token")               \
    X(stride_least, 0, PLAIN, a->q.stride_batch = INT64_MIN, NHA_INVALID_ARGUMENT, "q: stride_batch")                  \
    X(stride_least_bytes, 0, PLAIN, a->q.stride_batch = INT64_MIN / 4, NHA_INVALID_ARGUMENT, "q: stride_batch")        \
    X(cu_unplanned, 0, PLAIN, a->cu_seqlens = f.b.cu_seqlens, NHA_INVALID_ARGUMENT, "NHA_PLAN_VARLEN")                 \
    X(cu_missing, 0, VARLEN, a->cu_seqlens = NULL, NHA_INVALID_ARGUMENT, "cu_seqlens")                                 \
    X(cu_first, 0, VARLEN, f.b.cu_seqlens[0] = 1, NHA_BAD_DATA, "cu_seqlens[0]")                                       \
    X(cu_long, 0, VARLEN, f.b.cu_seqlens[1] = 25, NHA_OUT_OF_BOUNDS, "max_length")                                     \
    X(cu_negative, 0, VARLEN, f.b.cu_seqlens[1] = -1, NHA_BAD_DATA, "cu_seqlens[1]")                                   \
    X(cu_back, 0, VARLEN, (f.b.cu_seqlens[1] = 5, f.b.cu_seqlens[2] = 4), NHA_BAD_DATA, "cu_seqlens[2]")               \
    X(cu_last, 0, VARLEN, a->tokens = 23, NHA_BAD_DATA, "cu_seqlens[2]")                                               \
    X(hk_alone, 0, PLAIN, a->hk = f.memory, NHA_INVALID_ARGUMENT, "hk and hv")                                         \
    X(hv0_alone, 0, PLAIN, a->hv0 = f.memory, NHA_INVALID_ARGUMENT, "hk0 and hv0")                                     \
    X(hk_misaligned, 0, PLAIN, (a->hk = (void *)((char *)f.memory + 1), a->hv = f.memory), NHA_MISALIGNED, "hk")       \
    X(hk_no_slots, 4, PLAIN, a->hk = a->hv = f.memory, NHA_INVALID_ARGUMENT, "hk")                                     \
    X(hk0_cached, 0, CACHED, a->hk0 = a->hv0 = f.memory, NHA_INVALID_ARGUMENT, "hk0")                                  \
    X(hk_decode, 0, DECODE, a->hk = a->hv = f.memory, NHA_INVALID_ARGUMENT, "hk")                                      \
    X(cache_unplanned, 0, PLAIN, a->cache = f.memory, NHA_INVALID_ARGUMENT, "NHA_PLAN_CACHE")                          \
    X(index_unplanned, 0, PLAIN, a->cache_index = f.index, NHA_INVALID_ARGUMENT, "cache_index")                        \
    X(cache_missing, 0, CACHED, a->cache = NULL, NHA_INVALID_ARGUMENT, "cache is NULL")                                \
    X(cache_missing_decode, 0, DECODE, a->cache = NULL, NHA_INVALID_ARGUMENT, "cache is NULL")                         \
    X(cache_misaligned, 0, CACHED, a->cache = f.cache + 64, NHA_MISALIGNED, "cache")                                   \
    X(index_low, 0, CACHED, f.index[1] = -2, NHA_BAD_DATA, "cache_index[1]")                                           \
    X(index_twice, 0, CACHED, f.index[1] = 0, NHA_BAD_DATA, "cache_index: row 0")                                      \
    X(index_twice_decode, 0, DECODE, f.index[0] = 1, NHA_BAD_DATA, "cache_index: row 1")                               \
    X(never_reset, 0, CACHED, memset(f.cache, 0xff, 8), NHA_BAD_DATA, "reset")                                         \
    X(past_pool, 8, BOUNDED, f.cache[0] = 2, NHA_OUT_OF_BOUNDS, "cache row 0")                                         \
    X(never_reset_last, 0, CACHED, memset(f.cache + f.row_bytes, 0xff, 8), NHA_BAD_DATA, "cache row 1 holds")          \
    X(never_reset_decode, 0, DECODE, memset(f.cache + f.row_bytes, 0xff, 8), NHA_BAD_DATA, "cache row 1 holds")        \
    X(far_decode, 0, DECODE, f.cache[f.row_bytes + 7] = 0x7f, NHA_BAD_DATA, "cache row 1 holds")                       \
    X(pending_decode, 0, DECODE, f.cache[f.row_bytes + NHA_CPU_ROW_PENDING] = 127, NHA_BAD_DATA, "cache row 1 holds")  \
    X(past_pool_last, 8, BOUNDED, f.cache[f.row_bytes] = 2, NHA_OUT_OF_BOUNDS, "cache row 1")                          \
    X(decode_tokens, 0, DECODE, a->tokens = 2, NHA_INVALID_ARGUMENT, "tokens")                                         \
    X(decode_cu, 0, DECODE, a->cu_seqlens = f.b.cu_seqlens, NHA_INVALID_ARGUMENT, "cu_seqlens")                        \
    X(workspace_small, 0, PLAIN, f.workspace_bytes--, NHA_WORKSPACE_TOO_SMALL, "workspace")                            \
    X(workspace_misaligned, 0, PLAIN, f.given += 128, NHA_MISALIGNED, "workspace")

static void test_calls(void **state) {
    (void)state;
    nha_error error;
#define CASE(name, problem, kind, change, want, word)                                                                  \
    {                                                                                                                  \
        struct fixture f;                                                                                              \
        fixture_make(&f, problem, kind);                                                                               \
        nha_args *a = &f.b.args;                                                                                       \
        (void)a;                                                                                                       \
        (void)(change);                                                                                                \
        fixture_refused(&f, #name, want, word);                                                                        \
        fixture_free(&f);                                                                                              \
    }
    CALL_CASES(CASE)
#undef CASE
    struct fixture f;
    fixture_make(&f, 8, BOUNDED); /* of the same call, a plan whose rings are shorter than it */
    nha_plan_options o = case_options(8, NHA_PREFILL, SEQUENCES, TOKENS, 1);
    o.flags = NHA_PLAN_CACHE;
    o.cache_tokens = TOKENS - 1;
    nha_plan_destroy(f.plan);
    f.plan = case_plan(&o);
    f.workspace_bytes = nha_plan_workspace(f.plan);
    fixture_refused(&f, "longer_than_pool", NHA_OUT_OF_BOUNDS, "cache row 0");
    fixture_free(&f);
    fixture_make(&f, 0, PLAIN);
    check_error("no plan", nha_execute(NULL, &f.b.args, f.workspace, f.workspace_bytes, NULL, &error), &error,
                NHA_INVALID_ARGUMENT, "plan");
    check_error("no args", nha_execute(f.plan, NULL, f.workspace, f.workspace_bytes, NULL, &error), &error,
                NHA_INVALID_ARGUMENT, "args");
    check_error("no workspace", nha_execute(f.plan, &f.b.args, NULL, f.workspace_bytes, NULL, &error), &error,
                NHA_INVALID_ARGUMENT, "workspace");
    assert_int_equal(nha_execute(f.plan, NULL, f.workspace, f.workspace_bytes, NULL, NULL), NHA_INVALID_ARGUMENT);
    fixture_free(&f);
}

/* ---- Pools ---- */

static void test_pools(void **state) {
    (void)state;
    const nha_library *library = &reference_library;
    nha_error error;
    nha_cache_format format, other;
    nha_cache_image image;
    int64_t pos;
    float memory[4096];
    const int32_t negative[] = {0, -1}, rows[] = {0, 1};
    NHA_INIT(format);
    assert_int_equal(nha_cache_describe(library, 0, cpu, 0, &format, &error), NHA_OK);
    char *pool = aligned_memory((size_t)(2 * format.row_bytes));
    assert_int_equal(nha_cache_reset(library, 0, cpu, &format, pool, NULL, 2, NULL, &error), NHA_OK);
#define EXPECT(call, status, word) check_error(#call, (call), &error, status, word)
    const nha_device other_device = {.kind = 9};
    EXPECT(nha_cache_describe(NULL, 0, cpu, 0, &format, &error), NHA_INVALID_ARGUMENT, "library");
    EXPECT(nha_cache_describe(library, 77, cpu, 0, &format, &error), NHA_INVALID_ARGUMENT, "problem 77");
    EXPECT(nha_cache_describe(library, 0, other_device, 0, &format, &error), NHA_INVALID_ARGUMENT, "device.kind");
    EXPECT(nha_cache_describe(library, 0, cpu, -1, &format, &error), NHA_INVALID_ARGUMENT, "max_tokens");
    EXPECT(nha_cache_describe(library, 0, cpu, 0, NULL, &error), NHA_INVALID_ARGUMENT, "format");
    other = format;
    other.struct_size = 1;
    EXPECT(nha_cache_describe(library, 0, cpu, 0, &other, &error), NHA_INVALID_ARGUMENT, "format.struct_size");
    EXPECT(nha_cache_reset(library, 0, cpu, &other, pool, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "struct_size");
    EXPECT(nha_cache_reset(library, 0, cpu, NULL, pool, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "format");
    EXPECT(nha_cache_reset(library, 1, cpu, &format, pool, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "format");
    other = format;
    other.row_bytes++;
    EXPECT(nha_cache_reset(library, 0, cpu, &other, pool, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "format");
    other = format;
    other.tokens = INT64_MAX;
    EXPECT(nha_cache_reset(library, 0, cpu, &other, pool, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "format");
    EXPECT(nha_cache_reset(library, 0, cpu, &format, NULL, NULL, 1, NULL, &error), NHA_INVALID_ARGUMENT, "pool");
    EXPECT(nha_cache_reset(library, 0, cpu, &format, pool + 16, NULL, 1, NULL, &error), NHA_MISALIGNED, "pool");
    EXPECT(nha_cache_reset(library, 0, cpu, &format, pool, NULL, -1, NULL, &error), NHA_INVALID_ARGUMENT, "count");
    EXPECT(nha_cache_reset(library, 0, cpu, &format, pool, negative, 2, NULL, &error), NHA_INVALID_ARGUMENT, "rows[1]");
    EXPECT(nha_cache_copy(library, 0, cpu, &format, pool, negative, pool, rows, 2, NULL, &error), NHA_INVALID_ARGUMENT,
           "to[1]");
    EXPECT(nha_cache_copy(library, 0, cpu, &format, pool, rows, pool, negative, 2, NULL, &error), NHA_INVALID_ARGUMENT,
           "from[1]");
    EXPECT(nha_cache_copy(library, 0, cpu, &format, pool, rows, pool, NULL, 2, NULL, &error), NHA_INVALID_ARGUMENT,
           "copy 0");
    EXPECT(nha_cache_position(library, 0, cpu, &format, pool, -1, &pos, NULL, &error), NHA_INVALID_ARGUMENT, "row");
    EXPECT(nha_cache_position(library, 0, cpu, &format, pool, 0, NULL, NULL, &error), NHA_INVALID_ARGUMENT, "pos");

    NHA_INIT(image);
    EXPECT(nha_cache_export(library, 0, cpu, &format, pool, 0, NULL, NULL, &error), NHA_INVALID_ARGUMENT, "image");
    EXPECT(nha_cache_export(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT, "image.hk");
    image.hk = image.hv = memory;
    assert_int_equal(nha_cache_export(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_OK);
    image.tokens = 1;
    EXPECT(nha_cache_export(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT, "image.k");
    image.k = image.v = image.gate = memory;
    image.tokens = INT64_MAX;
    EXPECT(nha_cache_export(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT,
           "too large");
    image.tokens = 6;
    image.pos = -1;
    EXPECT(nha_cache_import(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT,
           "image.pos");
    image.pos = 7;
    EXPECT(nha_cache_import(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT,
           "image.tokens");
    image.pos = INT64_MAX;
    image.tokens = 7;
    EXPECT(nha_cache_import(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_OUT_OF_BOUNDS, "image.pos");
    image.struct_size = 0;
    EXPECT(nha_cache_import(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_INVALID_ARGUMENT,
           "struct_size");
    NHA_INIT(other);
    assert_int_equal(nha_cache_describe(library, 0, cpu, 3, &other, &error), NHA_OK);
    NHA_INIT(image);
    image.pos = image.tokens = 4;
    image.hk = image.hv = memory;
    image.k = image.v = image.gate = memory;
    EXPECT(nha_cache_import(library, 0, cpu, &other, pool, 0, &image, NULL, &error), NHA_OUT_OF_BOUNDS, "image.pos");
    memset(pool, 0xff, 8);
    EXPECT(nha_cache_export(library, 0, cpu, &format, pool, 0, &image, NULL, &error), NHA_BAD_DATA, "reset");
#undef EXPECT
    free(pool);
}

/* ---- Libraries ---- */

static void test_libraries(void **state) {
    (void)state;
    nha_error error;
    assert_int_equal(nha_library_check(&reference_library, &error), NHA_OK);
    assert_int_equal(nha_library_check(&reference_library, NULL), NHA_OK);
    check_error("null", nha_library_check(NULL, &error), &error, NHA_INVALID_ARGUMENT, "NULL");
    nha_library l;
    nha_problem p;
    nha_kernel k;
    nha_cpu_code c;
#define BROKEN(change, word)                                                                                           \
    l = reference_library;                                                                                             \
    p = l.problems[0];                                                                                                 \
    k = l.kernels[0];                                                                                                  \
    c = *k.cpu;                                                                                                        \
    l.problems = &p;                                                                                                   \
    l.kernels = &k;                                                                                                    \
    k.cpu = &c;                                                                                                        \
    l.problem_count = l.kernel_count = 1;                                                                              \
    assert_int_equal(nha_library_check(&l, &error), NHA_OK);                                                           \
    change;                                                                                                            \
    check_error(#change, nha_library_check(&l, &error), &error, NHA_BAD_LIBRARY, word)
    BROKEN(l.magic[0] = 'X', "magic");
    BROKEN(l.abi_version++, "ABI");
    BROKEN(l.struct_size--, "bytes");
    BROKEN(l.name = NULL, "incomplete");
    BROKEN(l.problem_count = 0, "incomplete");
    BROKEN(l.kernels = NULL, "incomplete");
    BROKEN(p.head_dim_qk = 12, "head_dim_qk");
    BROKEN(p.head_dim_v = 264, "head_dim_v");
    BROKEN(p.heads_kv = 3, "heads");
    BROKEN(p.heads_kv = 0, "heads");
    BROKEN(p.slots = 257, "slots");
    BROKEN(p.window = -1, "window");
    BROKEN(p.window = p.slots = 0, "neither");
    BROKEN(p.dtype = 3, "dtype");
    BROKEN(p.state_dtype = NHA_F16, "state_dtype");
    BROKEN(p.rope = 9, "rope");
    BROKEN(k.name = NULL, "name");
    BROKEN(k.problem = 1, "problem");
    BROKEN(k.kind = 5, "kind");
    BROKEN(k.cpu = NULL, "code");
    BROKEN(c.main = NULL, "code");
    BROKEN(c.block_tokens = 0, "sizes");
    BROKEN(c.scratch_bytes = -1, "sizes");
    BROKEN(c.segment_scan = NULL, "half");
#undef BROKEN
    assert_int_equal(nha_library_problem_count(NULL), 0);
    assert_null(nha_library_problem(&reference_library, REFERENCE_PROBLEMS));
    assert_null(nha_library_problem(&reference_library, -1));
    assert_null(nha_library_name(NULL));
    assert_string_equal(nha_library_name(&reference_library), "reference");
    assert_true(nha_library_has(&reference_library, 0, NHA_DECODE, NHA_CPU));
    assert_false(nha_library_has(&reference_library, 0, NHA_BACKWARD, NHA_CPU));
    assert_false(nha_library_has(&reference_library, 0, NHA_PREFILL, NHA_CUDA));
    assert_false(nha_library_has(&reference_library, REFERENCE_PROBLEMS, NHA_PREFILL, NHA_CPU));
    assert_false(nha_library_has(NULL, 0, NHA_PREFILL, NHA_CPU));
}

static void test_texts(void **state) {
    (void)state;
#define CASE(name, value, text) assert_string_equal(nha_status_text(name), text);
    NHA_STATUS_LIST(CASE)
#undef CASE
    assert_non_null(nha_status_text((nha_status)9999));
    assert_string_equal(nha_version(), NHA_VERSION);
    assert_int_equal(nha_abi_version(), NHA_ABI_VERSION);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),     cmocka_unit_test(test_calls), cmocka_unit_test(test_pools),
        cmocka_unit_test(test_libraries), cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
