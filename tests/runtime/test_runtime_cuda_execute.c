/* test_runtime_cuda_execute.c: what a call launches on a GPU and with which parameter; that it does nothing else, so
 * that it can be captured; wrong contexts, failing launches, and the values that debugging plans look at.
 * This file supplies libnha's allocator (runtime/alloc.c is not linked). */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_alloc.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_cuda.h"
#include "tests/runtime/help_driver.h"
#include "tests/runtime/help_math.h"
#include "tests/runtime/help_reference.h"

static nha_library library;
static nha_kernel kernels[2 * REFERENCE_PROBLEMS];

static nha_plan *plan_of(nha_plan_options o) {
    nha_plan *plan;
    nha_error error;
    o.device = recorder_device(0);
    if (nha_plan_create(&library, &o, &plan, &error)) fail_msg("plan: %s", error.text);
    return plan;
}

static int setup(void **state) {
    (void)state;
    recorder_reset(9, 0);
    cuda_library_all(&library, kernels, REFERENCE_PROBLEMS);
    recorder_set_current(recorder_primary(0));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    int wrong = recorded.misused + recorded.not_loaded + recorded.illegal_in_capture + recorded.modules +
                recorded.retained[0] + help_allocations_live;
    recorder_reset(9, 0);
    return wrong;
}

/* ---- The parameter ---- */

static void check_tensor(const nha_cuda_tensor *got, const nha_tensor *want, int dtype, bool packed) {
    int64_t bytes = math_bytes(dtype);
    assert_int_equal(got->data, (uintptr_t)want->data);
    assert_int_equal(got->batch, packed || !want->data ? 0 : want->stride_batch * bytes);
    assert_int_equal(got->token, want->data ? want->stride_token * bytes : 0);
    assert_int_equal(got->head, want->data ? want->stride_head * bytes : 0);
}

static void check_args(const nha_problem *p, const nha_cuda_args *got, const nha_args *want) {
    bool packed = want->cu_seqlens != NULL;
    assert_int_equal(got->sequences, want->sequences);
    assert_int_equal(got->tokens, want->tokens);
    assert_int_equal(got->cu_seqlens, (uintptr_t)want->cu_seqlens);
    check_tensor(&got->q, &want->q, p->dtype, packed);
    check_tensor(&got->k, &want->k, p->dtype, packed);
    check_tensor(&got->v, &want->v, p->dtype, packed);
    check_tensor(&got->gate, &want->gate, p->gate_dtype, packed);
    check_tensor(&got->s, &want->s, p->gate_dtype, packed);
    check_tensor(&got->rq, &want->rq, p->dtype, packed);
    check_tensor(&got->rk, &want->rk, p->dtype, packed);
    check_tensor(&got->o, &want->o, p->dtype, packed);
    check_tensor(&got->lse, &want->lse, NHA_F32, packed);
    assert_int_equal(got->hk0, (uintptr_t)want->hk0);
    assert_int_equal(got->hv0, (uintptr_t)want->hv0);
    assert_int_equal(got->hk, (uintptr_t)want->hk);
    assert_int_equal(got->hv, (uintptr_t)want->hv);
    assert_int_equal(got->cache.pool, (uintptr_t)want->cache);
    assert_int_equal(got->cache.index, (uintptr_t)want->cache_index);
}

/* nha_cuda.h, computed once more. */
static void check_cache(const nha_problem *p, const nha_cuda_cache *c, int64_t tokens) {
#define UP(bytes, to) (((bytes) + (to)-1) / (to) * (to))
    int64_t H = p->heads_kv, M = p->slots, K = p->head_dim_qk, V = p->head_dim_v, element = math_bytes(p->dtype);
    int64_t rows = H * tokens, gate = UP(rows * M * math_bytes(p->gate_dtype), 64), at = UP(8 * H, 64);
    assert_int_equal(c->ring_tokens, tokens);
    assert_int_equal(c->memory_offset, at);
    assert_int_equal(c->k_offset, at += UP(H * M * (K + V) * 4, 64));
    assert_int_equal(c->v_offset, at += UP(rows * K * element, 64));
    assert_int_equal(c->gate_offset, at += UP(rows * V * element, 64));
    assert_int_equal(c->s_offset, at += gate);
    assert_int_equal(c->rk_offset, at += p->gate_s_given ? gate : 0);
    at += p->rope == NHA_ROPE_GIVEN ? UP(rows * K * element, 64) : 0;
    assert_int_equal(c->row_bytes, UP(at, 256));
#undef UP
}

enum { TOKENS = 12, SEQUENCES = 3 };

/* Runs one call on a plan with these flags, workspace and stream given, and checks all launches. */
static void check_call(int32_t problem, int32_t op, uint32_t flags, enum layout layout, bool memory, bool lse) {
    const nha_problem *p = nha_library_problem(&library, problem);
    bool decode = op == NHA_DECODE, cached = decode || (flags & NHA_PLAN_CACHE);
    nha_plan_options o = case_options(problem, op, SEQUENCES, TOKENS, 0);
    o.flags = flags;
    o.cache_tokens = cached && nhr_ring(p) > 40 ? 40 : 0;
    nha_plan *plan = plan_of(o);
    struct sequence *s = sequence_make(p, TOKENS, false, 1);
    struct span spans[SEQUENCES] = {{s, 0, decode ? 1 : TOKENS}, {s, 0, decode ? 1 : TOKENS}};
    struct batch b;
    float *given = aligned_memory(64);
    char *workspace = aligned_memory(64), *pool = aligned_memory(64); /* addresses alone: nothing may follow them */
    int32_t index[2] = {0};
    nha_error error;
    int stream;
    batch_make(&b, spans, 2, layout);
    if (cached) b.args.cache = pool, b.args.cache_index = index;
    if (memory) b.args.hk = given, b.args.hv = given + 8;
    if (memory && !cached) b.args.hk0 = given + 4, b.args.hv0 = given + 12;
    if (!lse) memset(&b.args.lse, 0, sizeof b.args.lse);
    memset(workspace, 0x5a, 64);
    help_allocations_left = 0;
    int before = help_allocations_live;
    recorded.launch_count = 0;
    nha_status status = nha_execute(plan, &b.args, workspace, nha_plan_workspace(plan), &stream, &error);
    if (status) fail_msg("%s: %s", p->name, error.text);
    assert_int_equal(help_allocations_live, before);
    help_allocations_left = -1;

    const nha_cuda_code *code = decode ? &cuda_decode_code : &cuda_prefill_code;
    int64_t ring = nhr_ring(p) > 40 ? 40 : nhr_max(nhr_ring(p), 1), reach = (decode ? 1 : TOKENS) + (cached ? ring : 0);
    int64_t block = code->workspace_bytes + code->workspace_window_bytes * nhr_min(p->window, reach);
    assert_int_equal(recorded.launch_count, decode || !cached ? 1 : 2);
    for (int i = 0; i < recorded.launch_count; i++) {
        const recorded_launch *l = &recorded.launch[i];
        assert_string_equal(l->entry, code->launch[i].entry);
        assert_int_equal(l->blocks, 2 * p->heads_kv);
        assert_int_equal(l->threads, code->launch[i].threads);
        assert_int_equal(l->shared_bytes, code->launch[i].shared_bytes);
        assert_ptr_equal(l->stream, &stream);
        check_args(p, &l->args, &b.args);
        if (cached) check_cache(p, &l->args.cache, ring);
        assert_int_equal(l->args.workspace, (uintptr_t)workspace);
        assert_int_equal(l->args.workspace_block_bytes, (block + 255) / 256 * 256);
    }
    assert_true(nha_plan_workspace(plan) >= (size_t)(recorded.launch[0].args.workspace_block_bytes * 2 * p->heads_kv));
    for (int i = 0; i < 64; i++) assert_int_equal(workspace[i], 0x5a);
    batch_free(&b);
    sequence_free(s);
    free(given);
    free(workspace);
    free(pool);
    nha_plan_destroy(plan);
}

static void test_launches(void **state) {
    (void)state;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        bool slots = nha_library_problem(&library, i)->slots > 0;
        check_call(i, NHA_PREFILL, 0, LAYOUT_BATCH, slots, true);
        check_call(i, NHA_PREFILL, 0, LAYOUT_STRANGE, false, false);
        check_call(i, NHA_PREFILL, NHA_PLAN_VARLEN, LAYOUT_PACKED, slots, true);
        check_call(i, NHA_PREFILL, NHA_PLAN_CACHE, LAYOUT_BATCH, false, true);
        check_call(i, NHA_PREFILL, NHA_PLAN_CACHE | NHA_PLAN_VARLEN, LAYOUT_STRANGE_PACKED, slots, false);
        check_call(i, NHA_DECODE, 0, LAYOUT_BATCH, false, true);
        check_call(i, NHA_DECODE, 0, LAYOUT_STRANGE, false, true);
    }
}

/* ---- Calls that are refused, and those that launch nothing ---- */

struct fixture {
    struct sequence *s;
    struct batch b;
    nha_plan *plan;
    char *pool, *workspace;
    int64_t row_bytes;
    int32_t *index, *cu;
    size_t workspace_bytes;
};

/* Problem 0, two sequences; device memory is the recorder's, the pool has been reset. */
static void fixture_make(struct fixture *f, int32_t problem, int32_t op, uint32_t flags, int64_t cache_tokens) {
    const nha_problem *p = nha_library_problem(&library, problem);
    nha_cache_format format;
    memset(f, 0, sizeof *f);
    NHA_INIT(format);
    nha_plan_options o = case_options(problem, op, SEQUENCES, TOKENS, 0);
    o.flags = flags;
    o.cache_tokens = cache_tokens;
    f->plan = plan_of(o);
    f->s = sequence_make(p, TOKENS, false, 1);
    int64_t count = op == NHA_DECODE ? 1 : TOKENS;
    struct span spans[2] = {{f->s, 0, count}, {f->s, 0, count}};
    batch_make(&f->b, spans, 2, flags & NHA_PLAN_VARLEN ? LAYOUT_PACKED : LAYOUT_BATCH);
    if (flags & NHA_PLAN_VARLEN) {
        f->cu = recorder_memory(3 * sizeof *f->cu);
        memcpy(f->cu, f->b.cu_seqlens, 3 * sizeof *f->cu);
        f->b.args.cu_seqlens = f->cu;
    }
    if (op == NHA_DECODE || (flags & NHA_PLAN_CACHE)) {
        nha_error error;
        assert_int_equal(nha_cache_describe(&library, problem, recorder_device(0), cache_tokens, &format, &error), 0);
        f->row_bytes = format.row_bytes;
        f->pool = recorder_memory((size_t)(2 * format.row_bytes));
        memset(f->pool, 0, (size_t)(2 * format.row_bytes));
        f->index = recorder_memory(2 * sizeof *f->index);
        f->index[0] = 1;
        f->index[1] = 0;
        f->b.args.cache = f->pool;
        f->b.args.cache_index = f->index;
    }
    f->workspace_bytes = nha_plan_workspace(f->plan);
    f->workspace = recorder_memory(f->workspace_bytes);
}

static nha_status execute(struct fixture *f, nha_error *error) {
    return nha_execute(f->plan, &f->b.args, f->workspace, f->workspace_bytes, NULL, error);
}

static void refused(struct fixture *f, const char *what, nha_status want, const char *word) {
    nha_error error;
    int launched = recorded.launch_count;
    nha_status got = execute(f, &error);
    if (got != want || error.status != want || !strstr(error.text, word))
        fail_msg("%s: status %d, expected %d with \"%s\"; text: %s", what, got, want, word, error.text);
    assert_int_equal(recorded.launch_count, launched);
}

static void fixture_free(struct fixture *f) {
    batch_free(&f->b);
    sequence_free(f->s);
    nha_plan_destroy(f->plan);
}

/* X(name, flags of the plan, change, status, word): what the call itself says is checked as on the CPU. */
#define CALL_CASES(X)                                                                                                  \
    X(sequences, 0, a->sequences = 4, NHA_OUT_OF_BOUNDS, "sequences")                                                  \
    X(tokens, 0, a->tokens = TOKENS + 1, NHA_OUT_OF_BOUNDS, "max_length")                                              \
    X(no_q, 0, a->q.data = NULL, NHA_INVALID_ARGUMENT, "q is NULL")                                                    \
    X(base_o, 0, a->o.data = (char *)a->o.data + 8, NHA_MISALIGNED, "o: the base")                                     \
    X(token_v, 0, a->v.stride_token += 2, NHA_MISALIGNED, "v: stride_token")                                           \
    X(cu_unplanned, 0, a->cu_seqlens = f.b.cu_seqlens, NHA_INVALID_ARGUMENT, "NHA_PLAN_VARLEN")                        \
    X(cu_misaligned, NHA_PLAN_VARLEN, a->cu_seqlens = (void *)((char *)f.cu + 2), NHA_MISALIGNED, "cu_seqlens")        \
    X(cache_missing, NHA_PLAN_CACHE, a->cache = NULL, NHA_INVALID_ARGUMENT, "cache is NULL")                           \
    X(cache_misaligned, NHA_PLAN_CACHE, a->cache = f.pool + 128, NHA_MISALIGNED, "cache")                              \
    X(hk_misaligned, 0, a->hk = a->hv = (float *)(void *)(f.workspace + 8), NHA_MISALIGNED, "hk is not aligned to 16") \
    X(hv0_misaligned, 0, (a->hk0 = (float *)(void *)f.workspace, a->hv0 = a->hk0 + 1), NHA_MISALIGNED, "hv0")          \
    X(workspace_small, 0, f.workspace_bytes--, NHA_WORKSPACE_TOO_SMALL, "workspace")                                   \
    X(workspace_misaligned, 0, f.workspace += 128, NHA_MISALIGNED, "workspace")

static void test_refused(void **state) {
    (void)state;
#define CASE(name, flags, change, want, word)                                                                          \
    {                                                                                                                  \
        struct fixture f;                                                                                              \
        fixture_make(&f, 0, NHA_PREFILL, flags, 0);                                                                    \
        nha_args *a = &f.b.args;                                                                                       \
        (void)(change);                                                                                                \
        (void)a;                                                                                                       \
        refused(&f, #name, want, word);                                                                                \
        fixture_free(&f);                                                                                              \
    }
    CALL_CASES(CASE)
#undef CASE
}

static void test_wrong_context(void **state) {
    (void)state;
    struct fixture f;
    nha_error error;
    fixture_make(&f, 0, NHA_PREFILL, 0, 0);
    recorder_set_current(NULL);
    refused(&f, "none", NHA_WRONG_CONTEXT, "none is");
    recorder_set_current(recorder_context(0)); /* of the same device */
    refused(&f, "another", NHA_WRONG_CONTEXT, "another one is");
    int pushed = recorded.pushed;
    recorder_set_current(recorder_primary(0));
    assert_int_equal(execute(&f, &error), NHA_OK);
    assert_int_equal(recorded.pushed, pushed);
    recorded.fail = "cuCtxGetCurrent";
    recorded.fail_result = NHA_CU_ILLEGAL_ADDRESS;
    refused(&f, "lost", NHA_DEVICE_ERROR, "CUDA_ERROR_ILLEGAL_ADDRESS");
    fixture_free(&f);
}

static void test_launch_fails(void **state) {
    (void)state;
    struct fixture f;
    nha_error error;
    fixture_make(&f, 0, NHA_PREFILL, NHA_PLAN_CACHE, 0);
    for (int launch = 0; launch < 2; launch++) {
        recorded.fail = "cuLaunchKernel";
        recorded.fail_after = launch;
        recorded.fail_result = NHA_CU_LAUNCH_FAILED;
        recorded.launch_count = 0;
        assert_int_equal(execute(&f, &error), NHA_DEVICE_ERROR);
        assert_non_null(strstr(error.text, launch ? "launch 2 of 2, commit, failed: CUDA_ERROR_LAUNCH_FAILED"
                                                  : "launch 1 of 2, main, failed: CUDA_ERROR_LAUNCH_FAILED"));
        assert_non_null(strstr(error.text, "(unspecified launch failure)"));
        assert_int_equal(recorded.launch_count, launch); /* nothing after the one that failed */
    }
    fixture_free(&f);
}

static void test_nothing(void **state) {
    (void)state;
    struct fixture f;
    nha_error error;
    fixture_make(&f, 0, NHA_PREFILL, 0, 0);
    f.b.args.sequences = 0;
    assert_int_equal(execute(&f, &error), NHA_OK);
    assert_int_equal(recorded.launch_count, 0);
    f.b.args.sequences = 2; /* sequences of no tokens: their memory is still to be written */
    f.b.args.tokens = 0;
    assert_int_equal(execute(&f, &error), NHA_OK);
    assert_int_equal(recorded.launch_count, 1);
    fixture_free(&f);
}

/* In a capture: only calls that it allows, and no more of them than one look and the launches. */
static void test_capture(void **state) {
    (void)state;
    for (int decode = 0; decode < 2; decode++) {
        struct fixture f;
        nha_error error;
        fixture_make(&f, 0, decode ? NHA_DECODE : NHA_PREFILL, decode ? 0 : NHA_PLAN_CACHE, 0);
        recorded.capturing = 1;
        int before = recorder_calls(NULL);
        assert_int_equal(execute(&f, &error), NHA_OK);
        assert_int_equal(recorder_calls(NULL) - before, decode ? 2 : 3);
        assert_int_equal(recorded.illegal_in_capture, 0);
        recorded.capturing = 0;
        fixture_free(&f);
    }
}

/* ---- Values ---- */

static int64_t *positions(struct fixture *f, int64_t row) {
    return (int64_t *)(void *)(f->pool + row * f->row_bytes);
}

#define VARLEN (NHA_PLAN_VARLEN | NHA_PLAN_DEBUG)
#define CACHED (NHA_PLAN_CACHE | NHA_PLAN_DEBUG)

/* X(name, problem, flags, cache_tokens, change, status, word) */
#define VALUE_CASES(X)                                                                                                 \
    X(cu_first, 0, VARLEN, 0, f.cu[0] = 1, NHA_BAD_DATA, "cu_seqlens[0]")                                              \
    X(cu_back, 0, VARLEN, 0, (f.cu[1] = 5, f.cu[2] = 4), NHA_BAD_DATA, "cu_seqlens[2]")                                \
    X(cu_long, 0, VARLEN, 0, f.cu[1] = 13, NHA_OUT_OF_BOUNDS, "max_length")                                            \
    X(cu_last, 0, VARLEN, 0, f.b.args.tokens = 23, NHA_BAD_DATA, "cu_seqlens[2]")                                      \
    X(cu_elsewhere, 0, VARLEN, 0, f.b.args.cu_seqlens = f.b.cu_seqlens, NHA_BAD_DATA, "cu_seqlens cannot be read")     \
    X(index_low, 0, CACHED, 0, f.index[1] = -2, NHA_BAD_DATA, "cache_index[1]")                                        \
    X(index_twice, 0, CACHED, 0, f.index[1] = 1, NHA_BAD_DATA, "cache_index: row 1")                                   \
    X(index_past, 0, CACHED, 0, f.index[1] = 2, NHA_BAD_DATA, "the row of a cache_index cannot be read")               \
    X(never_reset, 0, CACHED, 0, memset(f.pool, 0xff, 16), NHA_BAD_DATA, "cache row 0 holds no cache")                 \
    X(negative, 0, CACHED, 0, (positions(&f, 1)[0] = -1, positions(&f, 1)[1] = -1), NHA_BAD_DATA, "cache row 1")       \
    X(torn, 0, CACHED, 0, positions(&f, 1)[1] = 3, NHA_BAD_DATA, "cache row 1 holds no cache")                         \
    X(past_pool, 8, CACHED, TOKENS + 1, positions(&f, 0)[0] = 2, NHA_OUT_OF_BOUNDS, "cache row 0")

static void test_values(void **state) {
    (void)state;
    nha_error error;
#define CASE(name, problem, flags, cache_tokens, change, want, word)                                                   \
    {                                                                                                                  \
        struct fixture f;                                                                                              \
        fixture_make(&f, problem, NHA_PREFILL, flags, cache_tokens);                                                   \
        help_allocations_left = 0;                                                                                          \
        assert_int_equal(execute(&f, &error), NHA_OK); /* as it is, it is right */                                     \
        (void)(change);                                                                                                \
        refused(&f, #name, want, word);                                                                                \
        help_allocations_left = -1;                                                                                         \
        fixture_free(&f);                                                                                              \
        fixture_make(&f, problem, NHA_PREFILL, (flags) & ~NHA_PLAN_DEBUG, cache_tokens);                               \
        (void)(change); /* which only a debugging plan sees */                                                         \
        assert_int_equal(execute(&f, &error), NHA_OK);                                                                 \
        fixture_free(&f);                                                                                              \
    }
    VALUE_CASES(CASE)
#undef CASE
    struct fixture f; /* skipped sequences have no row, and no index is row n */
    fixture_make(&f, 0, NHA_DECODE, NHA_PLAN_DEBUG, 0);
    f.index[0] = f.index[1] = -1;
    memset(f.pool, 0xff, (size_t)(2 * f.row_bytes));
    assert_int_equal(execute(&f, &error), NHA_OK);
    f.b.args.cache_index = NULL;
    refused(&f, "rows", NHA_BAD_DATA, "cache row 0");
    f.b.args.cache_index = f.index; /* what was staged before is not looked at again */
    assert_int_equal(execute(&f, &error), NHA_OK);
    f.b.args.cache_index = NULL;
    memset(f.pool, 0, (size_t)(2 * f.row_bytes));
    assert_int_equal(execute(&f, &error), NHA_OK);
    fixture_free(&f);
}

static void test_debug_faults(void **state) {
    (void)state;
    struct fixture f;
    fixture_make(&f, 0, NHA_PREFILL, CACHED, 0);
    recorded.capturing = 1;
    refused(&f, "capture", NHA_INVALID_ARGUMENT, "being captured");
    assert_int_equal(recorded.illegal_in_capture, 0);
    recorded.capturing = 0;
    const char *const functions[] = {"cuStreamIsCapturing", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"};
    for (int i = 0; i < 3; i++) {
        recorded.fail = functions[i];
        recorded.fail_after = 0;
        recorded.fail_result = NHA_CU_ILLEGAL_ADDRESS;
        refused(&f, functions[i], NHA_DEVICE_ERROR, "CUDA_ERROR_ILLEGAL_ADDRESS");
    }
    assert_int_equal(execute(&f, NULL), NHA_OK);
    fixture_free(&f);
}

static void test_allocations(void **state) {
    (void)state;
    nha_plan_options o = case_options(0, NHA_PREFILL, SEQUENCES, TOKENS, 0);
    o.device = recorder_device(0);
    o.flags = CACHED;
    nha_error error;
    nha_plan *plan;
    int failures = 0;
    for (;; failures++) {
        help_allocations_left = failures;
        nha_status status = nha_plan_create(&library, &o, &plan, &error);
        if (status == NHA_OK) break;
        assert_int_equal(status, NHA_OUT_OF_MEMORY);
        assert_int_equal(error.status, NHA_OUT_OF_MEMORY);
        assert_null(plan);
        assert_int_equal(help_allocations_live, 0);
        assert_int_equal(recorded.retained[0], 0);
    }
    assert_int_equal(failures, 3); /* the plan, its CUDA part, where values are staged */
    help_allocations_left = -1;
    nha_plan_destroy(plan);
}

/* ---- Threads: one debugging plan, whose staging memory they share, each with a pool of its own ---- */

enum { THREADS = 2, CALLS = 300 };

struct worker {
    struct fixture *f;
    nha_args args;
    nha_status want;
    int wrong;
};

static void *work(void *arg) {
    struct worker *w = arg;
    recorder_set_current(recorder_primary(0));
    for (int i = 0; i < CALLS; i++) {
        nha_error error;
        nha_status status = nha_execute(w->f->plan, &w->args, w->f->workspace, w->f->workspace_bytes, NULL, &error);
        w->wrong += status != w->want || error.status != w->want;
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    struct fixture f;
    fixture_make(&f, 0, NHA_PREFILL, CACHED, 0);
    int32_t *bad = recorder_memory(2 * sizeof *bad);
    bad[0] = 0;
    bad[1] = -7;
    struct worker workers[THREADS] = {{&f, f.b.args, NHA_OK, 0}, {&f, f.b.args, NHA_BAD_DATA, 0}};
    workers[1].args.cache_index = bad;
    recorded.wait_us = 20; /* between the copy of values and their use */
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(workers[0].wrong, 0);
    assert_int_equal(workers[1].wrong, 0);
    assert_int_equal(recorded.launch_count, 2 * CALLS);
    fixture_free(&f);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_launches), TEST(test_refused), TEST(test_wrong_context), TEST(test_launch_fails), TEST(test_nothing),
        TEST(test_capture),  TEST(test_values),  TEST(test_debug_faults),  TEST(test_allocations),  TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
