/* internal.h: what the files of libnha share and users do not see. Prefix nhr_.
 * Everything here is written once at plan time and only read afterwards, so none of it is locked. */
#ifndef NHR_INTERNAL_H
#define NHR_INTERNAL_H

#include "runtime/divide.h"
#include "runtime/nha_library.h"

/* ---- Errors (status.c) ---- */

/* Fills *error (may be NULL) and returns `status`. */
nha_status nhr_fail(nha_error *error, nha_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Fills *error (may be NULL) with NHA_OK. */
nha_status nhr_ok(nha_error *error);
/* A struct that the caller filled: `size` is its struct_size, `known` the size libnha was built with. Smaller means
 * that NHA_INIT was forgotten; larger means a newer nha.h, which is fine as long as the members libnha does not know
 * are zero. */
nha_status nhr_check_struct(const char *name, const void *object, size_t size, size_t known, nha_error *error);

/* ---- Memory (alloc.c) ---- */

/* Every allocation of libnha, zeroed; NULL if there is none. Alone in their file so that a test can supply its own. */
void *nhr_alloc(size_t bytes);
void nhr_free(void *memory);

/* ---- Sizes ---- */

static inline int64_t nhr_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t nhr_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* ceil(a / b) for a >= 0, b > 0, without overflow. */
static inline int64_t nhr_ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* *out = a * b, and *out += a * b rounded up to a multiple of `align`: false if int64 is too small. Arguments >= 0. */
static inline bool nhr_mul(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool nhr_add_bytes(int64_t *out, int64_t a, int64_t b, int64_t align) {
    int64_t bytes;
    return nhr_mul(a, b, &bytes) && !__builtin_add_overflow(bytes, align - 1, &bytes) &&
           !__builtin_add_overflow(*out, bytes / align * align, out);
}

static inline int64_t nhr_dtype_bytes(int32_t dtype) {
    return dtype == NHA_F32 ? 4 : 2;
}

/* ---- Libraries (library.c) ---- */

/* nha_library_check, then that problem `i` exists; *problem receives it. */
nha_status nhr_problem_find(const nha_library *library, int32_t i, const nha_problem **problem, nha_error *error);
/* NHA_OK for the CPU; the clear refusal of a CUDA device or an unknown kind. */
nha_status nhr_check_device(nha_device device, nha_error *error);

/* ---- CPU (cpu_features.c) ---- */

/* Place of an ISA name among those of its architecture, worst = 0; -1: not a name that libnha knows. `family` tells the
 * architectures apart: only levels of one family compare. */
int nhr_isa_level(const char *name, int *family);
/* CPUs this thread may run on, at least 1. */
int32_t nhr_cpu_count(void);

/* ---- Caches (cache.c, commit.c) ---- */

/* R of the problem: tokens a cache must remember. */
int64_t nhr_ring(const nha_problem *problem);
/* Fills the sizes and offsets of a row whose rings hold `ring_tokens` tokens; pool and index NULL. false: too large. */
bool nhr_cache_layout(const nha_problem *problem, int64_t ring_tokens, nha_cpu_cache *layout);

/* The header of a row. */
static inline int64_t *nhr_row_pos(const nha_cpu_cache *cache, int64_t row) {
    return (int64_t *)(void *)(cache->pool + row * cache->row_bytes);
}

/* Row of sequence n, -1: skipped. */
static inline int64_t nhr_row_of(const nha_cpu_cache *cache, int64_t n) {
    return cache->index ? cache->index[n] : n;
}

/* No cache reaches this position: pos + length never overflows. */
#define NHR_POS_MAX ((int64_t)1 << 62)

/* After the kernel of a prefill: task n * H + h stores the last ring_tokens tokens of sequence n, kv head h in the
 * rings. */
void nhr_commit(const nha_problem *problem, const nha_cpu_args *args, int64_t task);
/* After every nhr_commit (or a decode): moves the positions of all rows. */
void nhr_advance(const nha_cpu_args *args);

/* Length of sequence n of this call. */
static inline int64_t nhr_length(const nha_cpu_args *args, int64_t n) {
    return args->cu_seqlens ? (int64_t)args->cu_seqlens[n + 1] - args->cu_seqlens[n] : args->tokens;
}

/* ---- Plans (plan.c) and their execution (check.c, execute.c) ---- */

struct nha_plan {
    const nha_problem *problem;
    const nha_kernel *kernel;
    const nha_cpu_code *code;
    int32_t op; /* nha_op */
    uint32_t flags;
    int32_t threads;
    bool pooled; /* holds a reference to libnha's own pool */
    nha_parallel_for parallel_for;
    void *parallel_context;
    int64_t max_sequences, max_tokens, max_length;
    nhr_division division;
    bool cached;         /* executions pass a cache */
    nha_cpu_cache cache; /* layout of its rows, if cached */
    int64_t window_panels;
    int64_t scratch_bytes; /* of one worker; workspace = scratch of each of the threads, states, states_run */
    int64_t states_offset, states_run_offset;
    int64_t workspace_bytes;
};

/* Checks everything that a call can get wrong and fills the kernel's arguments, all but the states. */
nha_status nhr_check_args(const nha_plan *plan, const nha_args *args, nha_cpu_args *out, nha_error *error);

#endif
