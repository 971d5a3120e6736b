/* check.c: everything about a call that can be wrong, found before any work. Fills the kernel's arguments on the way.
 * First what the call itself says, the same for every device; then values, which need host memory. */
#include <string.h>

#include "runtime/internal.h"

/* One tensor [batch, token, heads, dim] of a call and what is asked of it. */
struct spec {
    const char *name;
    int64_t heads, dim, element; /* element in bytes */
    int64_t align;               /* of base and strides, in bytes: a power of two, so that no check divides */
};

struct call {
    const nha_plan *plan;
    int64_t batch, tokens; /* extents of every tensor */
    bool packed;           /* cu_seqlens: the batch stride is ignored */
    nha_error *error;
};

/* bytes = stride * element and *span += (extent - 1) * |bytes|, where int64 has room. */
static nha_status check_stride(const struct call *call, const struct spec *spec, const char *name, int64_t stride,
                               int64_t extent, int64_t *bytes, int64_t *span) {
    int64_t reach;
    if (__builtin_mul_overflow(stride, spec->element, bytes) || *bytes == INT64_MIN ||
        __builtin_mul_overflow(*bytes < 0 ? -*bytes : *bytes, extent > 0 ? extent - 1 : 0, &reach) ||
        __builtin_add_overflow(*span, reach, span))
        return nhr_fail(call->error, NHA_INVALID_ARGUMENT, "%s: %s is %lld elements, out of range", spec->name, name,
                        (long long)stride);
    if (*bytes & (spec->align - 1))
        return nhr_fail(call->error, NHA_MISALIGNED,
                        "%s: %s is %lld elements = %lld bytes, not a multiple of %lld bytes", spec->name, name,
                        (long long)stride, (long long)*bytes, (long long)spec->align);
    return NHA_OK;
}

static nha_status check_tensor(const struct call *call, const struct spec *spec, const nha_tensor *t,
                               nha_cpu_tensor *out) {
    int64_t span = spec->dim * spec->element;
    nha_status status;
    if (!t->data && call->batch && call->tokens)
        return nhr_fail(call->error, NHA_INVALID_ARGUMENT, "%s is NULL", spec->name);
    if ((uintptr_t)t->data & (uintptr_t)(spec->align - 1))
        return nhr_fail(call->error, NHA_MISALIGNED, "%s: the base address %p is not a multiple of %lld bytes",
                        spec->name, t->data, (long long)spec->align);
    out->data = t->data;
    if (!call->packed &&
        (status = check_stride(call, spec, "stride_batch", t->stride_batch, call->batch, &out->batch, &span)))
        return status;
    if ((status = check_stride(call, spec, "stride_token", t->stride_token, call->tokens, &out->token, &span)))
        return status;
    return check_stride(call, spec, "stride_head", t->stride_head, spec->heads, &out->head, &span);
}

static nha_status check_tensors(const struct call *call, const nha_args *a, nha_cpu_args *out) {
    const nha_problem *p = call->plan->problem;
    int64_t HQ = p->heads_q, H = p->heads_kv, K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    int64_t element = nhr_dtype_bytes(p->dtype), gate = nhr_dtype_bytes(p->gate_dtype);
    bool s = M && p->gate_s_given, given = p->rope == NHA_ROPE_GIVEN;
    nha_status status;
    /* clang-format off */
    if ((status = check_tensor(call, &(struct spec){"q", HQ, K, element, 16}, &a->q, &out->q)) ||
        (status = check_tensor(call, &(struct spec){"k", H, K, element, 16}, &a->k, &out->k)) ||
        (status = check_tensor(call, &(struct spec){"v", H, V, element, 16}, &a->v, &out->v)) ||
        (M && (status = check_tensor(call, &(struct spec){"gate", H, M, gate, gate}, &a->gate, &out->gate))) ||
        (s && (status = check_tensor(call, &(struct spec){"s", H, M, gate, gate}, &a->s, &out->s))) ||
        (given && ((status = check_tensor(call, &(struct spec){"rq", HQ, K, element, 16}, &a->rq, &out->rq)) ||
                   (status = check_tensor(call, &(struct spec){"rk", H, K, element, 16}, &a->rk, &out->rk)))) ||
        (status = check_tensor(call, &(struct spec){"o", HQ, V, element, 16}, &a->o, &out->o)))
        return status;
    /* clang-format on */
    if (!a->lse.data) return NHA_OK;
    return check_tensor(call, &(struct spec){"lse", HQ, 1, sizeof(float), sizeof(float)}, &a->lse, &out->lse);
}

/* ---- Extents ---- */

static nha_status check_extents(const nha_plan *plan, const nha_args *a, nha_error *error) {
    int64_t total;
    if (a->sequences < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "sequences is %lld, expected 0 or more", (long long)a->sequences);
    if (a->tokens < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "tokens is %lld, expected 0 or more", (long long)a->tokens);
    if (a->sequences > plan->max_sequences)
        return nhr_fail(error, NHA_OUT_OF_BOUNDS, "sequences is %lld, the plan's bound is %lld",
                        (long long)a->sequences, (long long)plan->max_sequences);
    if (plan->op == NHA_DECODE) {
        if (a->cu_seqlens) return nhr_fail(error, NHA_INVALID_ARGUMENT, "cu_seqlens: a decode takes none");
        if (a->tokens != 1)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "tokens is %lld, a decode takes 1", (long long)a->tokens);
        return NHA_OK;
    }
    if (!a->cu_seqlens != !(plan->flags & NHA_PLAN_VARLEN))
        return nhr_fail(error, NHA_INVALID_ARGUMENT,
                        a->cu_seqlens ? "cu_seqlens: the plan was made without NHA_PLAN_VARLEN"
                                      : "cu_seqlens is NULL, the plan has NHA_PLAN_VARLEN");
    if ((uintptr_t)a->cu_seqlens % sizeof *a->cu_seqlens)
        return nhr_fail(error, NHA_MISALIGNED, "cu_seqlens is not aligned to 4 bytes");
    if (!a->cu_seqlens && a->tokens > plan->max_length)
        return nhr_fail(error, NHA_OUT_OF_BOUNDS, "tokens is %lld, the plan's max_length is %lld", (long long)a->tokens,
                        (long long)plan->max_length);
    if (!nhr_mul(a->cu_seqlens ? 1 : a->sequences, a->tokens, &total) || total > plan->max_tokens)
        return nhr_fail(
            error, NHA_OUT_OF_BOUNDS, "the call has %lld sequences of %lld tokens, the plan's max_tokens is %lld",
            (long long)(a->cu_seqlens ? 1 : a->sequences), (long long)a->tokens, (long long)plan->max_tokens);
    return NHA_OK;
}

/* ---- Memory and cache ---- */

static nha_status check_memory(const nha_plan *plan, const nha_args *a, nha_error *error) {
    const struct {
        const char *name;
        const float *data;
    } memory[] = {{"hk0", a->hk0}, {"hv0", a->hv0}, {"hk", a->hk}, {"hv", a->hv}};
    uintptr_t align = plan->kind == NHA_CUDA ? 16 : sizeof(float); /* GPU kernels take four floats at a time */
    for (int i = 0; i < 4; i++) {
        const char *name = memory[i].name;
        if (!memory[i].data) continue;
        if (plan->op == NHA_DECODE)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s: a decode has its memory in the cache", name);
        if (!plan->problem->slots)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s: there is no memory without slots", name);
        if (plan->cached && i < 2)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s: the memory starts from the cache", name);
        if ((uintptr_t)memory[i].data % align)
            return nhr_fail(error, NHA_MISALIGNED, "%s is not aligned to %d bytes", name, (int)align);
    }
    for (int i = 0; i < 4; i += 2)
        if (!memory[i].data != !memory[i + 1].data)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s and %s are given together or not at all", memory[i].name,
                            memory[i + 1].name);
    return NHA_OK;
}

static nha_status check_cache(const nha_plan *plan, const nha_args *a, nha_cpu_args *out, nha_error *error) {
    if (!plan->cached) {
        if (a->cache) return nhr_fail(error, NHA_INVALID_ARGUMENT, "cache: the plan was made without NHA_PLAN_CACHE");
        if (a->cache_index) return nhr_fail(error, NHA_INVALID_ARGUMENT, "cache_index: there is no cache");
        return NHA_OK;
    }
    if (!a->cache) return nhr_fail(error, NHA_INVALID_ARGUMENT, "cache is NULL, the plan needs one");
    if ((uintptr_t)a->cache % NHA_WORKSPACE_ALIGN)
        return nhr_fail(error, NHA_MISALIGNED, "cache is not aligned to %d bytes", NHA_WORKSPACE_ALIGN);
    if ((uintptr_t)a->cache_index % sizeof *a->cache_index)
        return nhr_fail(error, NHA_MISALIGNED, "cache_index is not aligned to 4 bytes");
    out->cache = plan->cache;
    out->cache.pool = a->cache;
    out->cache.index = a->cache_index;
    return NHA_OK;
}

nha_status nhr_check_args(const nha_plan *plan, const nha_args *a, nha_cpu_args *out, nha_error *error) {
    if (!plan) return nhr_fail(error, NHA_INVALID_ARGUMENT, "plan is NULL");
    if (!a) return nhr_fail(error, NHA_INVALID_ARGUMENT, "args is NULL");
    nha_status status = nhr_check_struct("args", a, a->struct_size, sizeof *a, error);
    if (status || (status = check_extents(plan, a, error))) return status;
    memset(out, 0, sizeof *out);
    out->sequences = a->sequences;
    out->tokens = a->tokens;
    out->cu_seqlens = a->cu_seqlens;
    out->max_length = plan->max_length;
    out->window_panels = plan->window_panels;
    out->runs = plan->division.runs;
    out->run_tokens = plan->division.run_tokens;
    out->pieces = plan->division.pieces;
    out->piece_tokens = plan->division.piece_tokens;
    out->hk0 = a->hk0;
    out->hv0 = a->hv0;
    out->hk = a->hk;
    out->hv = a->hv;
    struct call call = {plan, a->cu_seqlens ? 1 : a->sequences, a->tokens, a->cu_seqlens != NULL, error};
    if ((status = check_tensors(&call, a, out)) || (status = check_memory(plan, a, error))) return status;
    return check_cache(plan, a, out, error);
}

/* ---- Values ---- */

nha_status nhr_check_lengths(const nha_plan *plan, const int32_t *cu, int64_t sequences, int64_t tokens,
                             nha_error *error) {
    if (cu[0] != 0) return nhr_fail(error, NHA_BAD_DATA, "cu_seqlens[0] is %d, expected 0", cu[0]);
    for (int64_t n = 0; n < sequences; n++) {
        if (cu[n + 1] < cu[n])
            return nhr_fail(error, NHA_BAD_DATA, "cu_seqlens[%lld] is %d, less than the one before, %d",
                            (long long)n + 1, cu[n + 1], cu[n]);
        if (cu[n + 1] - cu[n] > plan->max_length)
            return nhr_fail(error, NHA_OUT_OF_BOUNDS, "sequence %lld has %d tokens, the plan's max_length is %lld",
                            (long long)n, cu[n + 1] - cu[n], (long long)plan->max_length);
    }
    if (cu[sequences] != tokens)
        return nhr_fail(error, NHA_BAD_DATA, "cu_seqlens[%lld] is %d, expected tokens = %lld", (long long)sequences,
                        cu[sequences], (long long)tokens);
    return NHA_OK;
}

nha_status nhr_check_index(const nha_plan *plan, const int32_t *index, int64_t sequences, nha_error *error) {
    for (int64_t n = 0; index && n < sequences; n++)
        if (index[n] < -1)
            return nhr_fail(error, NHA_BAD_DATA, "cache_index[%lld] is %d, expected a row or -1", (long long)n,
                            index[n]);
    for (int64_t n = 0; index && (plan->flags & NHA_PLAN_DEBUG) && n < sequences; n++)
        for (int64_t i = 0; i < n; i++)
            if (index[i] == index[n] && index[n] >= 0)
                return nhr_fail(error, NHA_BAD_DATA, "cache_index: row %d stands at %lld and at %lld", index[n],
                                (long long)i, (long long)n);
    return NHA_OK;
}

nha_status nhr_check_position(const nha_plan *plan, int64_t row, int64_t pos, int64_t length, nha_error *error) {
    if (pos < 0 || pos > NHR_POS_MAX)
        return nhr_fail(error, NHA_BAD_DATA, "cache row %lld holds no cache: was it reset?", (long long)row);
    /* A ring that is smaller than R must never wrap. */
    if (plan->cache.ring_tokens < nhr_ring(plan->problem) && length > plan->cache.ring_tokens - pos)
        return nhr_fail(error, NHA_OUT_OF_BOUNDS,
                        "cache row %lld is at position %lld and would pass the pool's %lld tokens", (long long)row,
                        (long long)pos, (long long)plan->cache.ring_tokens);
    return NHA_OK;
}
