/* internal.h: what the files of libnha share and users do not see. Prefix nhr_.
 * Everything here is written once at plan time and only read afterwards, so none of it is locked (but for the staging
 * memory of debugging CUDA plans: cuda_internal.h). */
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

/* Bytes of an element of the memory in a row. */
static inline int64_t nhr_state_bytes(const nha_problem *p, int32_t kind) {
    return kind == NHA_CUDA ? 4 : nhr_dtype_bytes(p->state_dtype);
}

/* ---- Libraries (library.c) ---- */

/* nha_library_check, then that problem `i` exists; *problem receives it. */
nha_status nhr_problem_find(const nha_library *library, int32_t i, const nha_problem **problem, nha_error *error);
/* The kind is known. */
nha_status nhr_check_device(nha_device device, nha_error *error);

/* ---- CPU (cpu_features.c, amx.c) ---- */

/* Place of an ISA name among those of its architecture, worst = 0; -1: not a name that libnha knows. `family` tells the
 * architectures apart: only levels of one family compare. */
int nhr_isa_level(const char *name, int *family);
/* CPUs this thread may run on, at least 1. */
int32_t nhr_cpu_count(void);
/* Asks the system for AMX tiles, once in a process; a refusal leaves AMX out of nha_cpu_features. Thread-safe. */
void nhr_amx_request(void);

/* ---- Caches (cache.c, cache_row.c, commit.c) ---- */

/* A row of a pool, on either kind of device, is described by nha_cpu_cache: nha_cuda_cache has the same members, but for
 * pending tokens, which the CPU alone has. The kinds differ in the header (one position and the number of pending tokens
 * of each head on the CPU, H positions on CUDA) and in the memory (nha_library.h, nha_cuda.h). */

/* R of the problem: tokens a cache must remember. */
int64_t nhr_ring(const nha_problem *problem);
/* Fills the sizes and offsets of a row of a device of `kind` whose rings hold `ring_tokens` tokens; pool and index are
 * NULL. false: too large. */
bool nhr_cache_layout(const nha_problem *problem, int32_t kind, int64_t ring_tokens, nha_cpu_cache *layout);

/* Positions at the start of a row. */
static inline int64_t nhr_row_positions(const nha_problem *problem, int32_t kind) {
    return kind == NHA_CUDA ? problem->heads_kv : 1;
}

/* One row, in host memory, to and from an image; the row has the layout of a device of `kind`. Arguments but the image
 * are right. Errors: nha_cache_export, nha_cache_import. */
nha_status nhr_row_export(const nha_problem *problem, int32_t kind, const nha_cpu_cache *layout, const char *row,
                          nha_cache_image *image, nha_error *error);
/* What import asks of an image, before the row is touched. */
nha_status nhr_row_import_check(const nha_problem *problem, const nha_cpu_cache *layout, const nha_cache_image *image,
                                nha_error *error);
/* Into a row of zeros. */
void nhr_row_import(const nha_problem *problem, int32_t kind, const nha_cpu_cache *layout, char *row,
                    const nha_cache_image *image);
/* The position of a row in host memory. Errors: NHA_BAD_DATA (never reset, or its positions differ). */
nha_status nhr_row_position(const nha_problem *problem, int32_t kind, const char *row, int64_t *pos, nha_error *error);

/* The header of a row on the CPU: its position and, [H], the pending tokens of each head. */
static inline int64_t *nhr_row_pos(const nha_cpu_cache *cache, int64_t row) {
    return (int64_t *)(void *)(cache->pool + row * cache->row_bytes);
}

_Static_assert((NHA_CPU_PENDING & (NHA_CPU_PENDING - 1)) == 0 && NHA_CPU_PENDING <= 128, "a mask tells right counts");

/* The pending tokens of all (kv) heads of a row on the CPU, or-ed together, eight heads at a time; the bytes behind the last
 * one are zero. Those of several rows may be or-ed again. */
static inline uint64_t nhr_row_pending(int32_t heads, const char *row) {
    uint64_t counts, seen;
    __builtin_memcpy(&seen, row + NHA_CPU_ROW_PENDING, sizeof seen); /* there is a head */
    for (int32_t h = 8; h < heads; h += 8) {
        __builtin_memcpy(&counts, row + NHA_CPU_ROW_PENDING + h, sizeof counts);
        seen |= counts;
    }
    return seen;
}

/* Whether no head has more of them than there can be: else the row was never reset. */
static inline bool nhr_pending_right(const nha_problem *problem, uint64_t seen) {
    const uint64_t every = UINT64_MAX / 255, most = problem->slots ? NHA_CPU_PENDING - 1 : 0;
    return !(seen & ~(every * most));
}

/* Element i of a head's memory in a row on the CPU; bf16 rounds to nearest even. */
static inline float nhr_state_at(const nha_problem *problem, const char *memory, int64_t i) {
    uint32_t bits;
    float x;
    if (problem->state_dtype == NHA_F32) return ((const float *)(const void *)memory)[i];
    bits = (uint32_t)((const uint16_t *)(const void *)memory)[i] << 16;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

static inline void nhr_state_set(const nha_problem *problem, char *memory, int64_t i, float x) {
    uint32_t bits;
    if (problem->state_dtype == NHA_F32) {
        ((float *)(void *)memory)[i] = x;
        return;
    }
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits = x == x ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
    ((uint16_t *)(void *)memory)[i] = (uint16_t)(bits >> 16);
}

/* hk [M,K] and hv [M,V] of one head = its memory, `memory` (hk [K,Mp], hv [M,Vp]), after `count` pending tokens (fold.c). */
void nhr_fold(const nha_problem *problem, const char *memory, const float *pending, int64_t count, float *hk,
              float *hv);

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

/* ---- Plans (plan.c, cpu_plan.c, cuda_plan.c) and their execution (check.c, execute.c, cuda_execute.c) ---- */

struct nha_plan {
    const nha_problem *problem;
    const nha_kernel *kernel;
    int32_t kind; /* nha_device_kind */
    int32_t op;   /* nha_op */
    uint32_t flags;
    bool cached; /* executions pass a cache */
    int64_t max_sequences, max_tokens, max_length;
    nha_cpu_cache cache; /* layout of its rows, if cached */
    int64_t workspace_bytes;
    /* CPU */
    const nha_cpu_code *code;
    int32_t threads;
    bool pooled; /* holds a reference to libnha's own pool */
    nha_parallel_for parallel_for;
    void *parallel_context;
    nhr_division division;
    int64_t window_panels;
    int64_t scratch_bytes; /* of one worker; workspace = scratch of each of the threads, states, states_run */
    int64_t states_offset, states_run_offset;
    struct nhr_cuda_part *cuda; /* CUDA, else NULL: cuda_internal.h */
};

/* "prefill", "decode", "backward". */
const char *nhr_op_name(int32_t op);

/* Whether the bounds of the plan are in the kernel's range of validity. */
bool nhr_in_range(const nha_plan *plan, const nha_kernel *kernel);

/* What a plan for one kind of device has beyond the options, the bounds and the layout of the cache, which stand in
 * `plan`: kernel, code, workspace_bytes and the members of that kind. What they make is freed by nhr_*_plan_free, also
 * after an error. */
nha_status nhr_cpu_plan(const nha_library *library, const nha_plan_options *options, nha_plan *plan, nha_error *error);
void nhr_cpu_plan_free(nha_plan *plan);
nha_status nhr_cuda_plan(const nha_library *library, const nha_plan_options *options, nha_plan *plan, nha_error *error);
void nhr_cuda_plan_free(nha_plan *plan);

/* Checks everything about a call that can be wrong but for values in memory, on either kind of device, and fills the
 * kernel's arguments, all but the states. On a GPU the addresses in them are the device's: nothing follows them. */
nha_status nhr_check_args(const nha_plan *plan, const nha_args *args, nha_cpu_args *out, nha_error *error);

/* The same for values, in host memory. cu_seqlens [N+1], N = sequences. */
nha_status nhr_check_lengths(const nha_plan *plan, const int32_t *cu_seqlens, int64_t sequences, int64_t tokens,
                             nha_error *error);
/* cache_index [N] or NULL; a row that appears twice is looked for by debugging plans alone (quadratic). */
nha_status nhr_check_index(const nha_plan *plan, const int32_t *index, int64_t sequences, nha_error *error);
/* One row at position `pos` that gets `length` tokens more. */
nha_status nhr_check_position(const nha_plan *plan, int64_t row, int64_t pos, int64_t length, nha_error *error);

/* One execution on CUDA: `args` and the workspace have been checked. */
nha_status nhr_cuda_execute(const nha_plan *plan, const nha_cpu_args *args, void *workspace, void *stream,
                            nha_error *error);

/* The functions of a pool that touch its memory, on CUDA (cuda_cache.c). Arguments have been checked; `layout` has the
 * pool. */
nha_status nhr_cuda_reset(nha_device device, const nha_cpu_cache *layout, const int32_t *rows, int64_t count,
                          void *stream, nha_error *error);
nha_status nhr_cuda_copy(nha_device device, const nha_cpu_cache *target, const int32_t *to,
                         const nha_cpu_cache *source, const int32_t *from, int64_t count, void *stream,
                         nha_error *error);
/* The first `bytes` of a row from, or a whole row to, the device; waits for the stream. */
nha_status nhr_cuda_read_row(nha_device device, const nha_cpu_cache *layout, int32_t row, void *to, int64_t bytes,
                             void *stream, nha_error *error);
nha_status nhr_cuda_write_row(nha_device device, const nha_cpu_cache *layout, int32_t row, const void *from,
                              void *stream, nha_error *error);

#endif
