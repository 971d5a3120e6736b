/* plan.c: from a library and bounds to everything an execution needs. Here: what plans for every kind of device share,
 * options, bounds and the layout of caches. Whatever can fail later for lack of something is made or refused now. */
#include "runtime/internal.h"
#include "runtime/pool.h"

const char *nhr_op_name(int32_t op) {
    static const char *const names[] = {"prefill", "decode", "backward"};
    return names[op];
}

bool nhr_in_range(const nha_plan *plan, const nha_kernel *k) {
    int64_t tasks = plan->max_sequences * plan->problem->heads_kv, length = plan->max_length;
    return tasks >= k->min_tasks && tasks <= k->max_tasks && length >= k->min_length && length <= k->max_length;
}

/* ---- Options ---- */

static nha_status check_bounds(const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    plan->max_sequences = o->max_sequences;
    if (o->max_sequences < 1 || o->max_sequences > INT32_MAX)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "max_sequences is %lld, expected 1 to %d",
                        (long long)o->max_sequences, INT32_MAX);
    /* A decode has one token a sequence, whatever else the caller's options say. */
    plan->max_length = o->op == NHA_DECODE ? 1 : o->max_length;
    if (plan->max_length < 1 || plan->max_length > (int64_t)1 << 48)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "max_length is %lld, expected 1 to 2^48",
                        (long long)o->max_length);
    if (!nhr_mul(plan->max_sequences, plan->max_length, &plan->max_tokens)) plan->max_tokens = INT64_MAX;
    if (o->max_tokens < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "max_tokens is %lld, expected 0 or more",
                        (long long)o->max_tokens);
    if (o->max_tokens && o->op != NHA_DECODE) plan->max_tokens = nhr_min(plan->max_tokens, o->max_tokens);
    if (o->flags & NHA_PLAN_VARLEN) plan->max_tokens = nhr_min(plan->max_tokens, INT32_MAX); /* cu_seqlens is int32 */
    if (o->threads < 0 || o->threads > NHR_THREADS_MAX)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "threads is %d, expected 0 to %d", o->threads, NHR_THREADS_MAX);
    return NHA_OK;
}

static nha_status check_options(const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    const uint32_t known = NHA_PLAN_DEBUG | NHA_PLAN_ALLOW_PTX | NHA_PLAN_CACHE | NHA_PLAN_VARLEN;
    if (o->op < NHA_PREFILL || o->op > NHA_BACKWARD)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "op is %d, expected NHA_PREFILL, NHA_DECODE or NHA_BACKWARD",
                        o->op);
    if (o->op == NHA_BACKWARD) return nhr_fail(error, NHA_UNSUPPORTED, "backward is not available in this version");
    if (o->flags & ~known)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "flags has unknown bits: 0x%x", o->flags & ~known);
    if (o->op == NHA_DECODE && (o->flags & NHA_PLAN_VARLEN))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "NHA_PLAN_VARLEN: a decode takes no cu_seqlens");
    plan->kind = o->device.kind;
    plan->op = o->op;
    plan->flags = o->flags;
    plan->cached = o->op == NHA_DECODE || (o->flags & NHA_PLAN_CACHE);
    return check_bounds(o, plan, error);
}

/* ---- Caches ---- */

static nha_status lay_out_cache(const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    if (!plan->cached) return NHA_OK;
    int64_t ring = nhr_max(nhr_ring(plan->problem), 1), tokens = o->cache_tokens ? o->cache_tokens : ring;
    if (tokens < 1 || tokens > ring)
        return nhr_fail(error, NHA_INVALID_ARGUMENT,
                        "cache_tokens is %lld, expected what nha_cache_describe said, at most %lld", (long long)tokens,
                        (long long)ring);
    if (!nhr_cache_layout(plan->problem, plan->kind, tokens, &plan->cache))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "a ring of %lld tokens is too large: bound it by cache_tokens",
                        (long long)tokens);
    return NHA_OK;
}

/* ---- Public ---- */

nha_status nha_plan_create(const nha_library *library, const nha_plan_options *options, nha_plan **out,
                           nha_error *error) {
    if (!out) return nhr_fail(error, NHA_INVALID_ARGUMENT, "plan is NULL");
    *out = NULL;
    if (!options) return nhr_fail(error, NHA_INVALID_ARGUMENT, "options is NULL");
    nha_status status = nhr_check_struct("options", options, options->struct_size, sizeof *options, error);
    if (status) return status;
    nha_plan *plan = nhr_alloc(sizeof *plan);
    if (!plan) return nhr_fail(error, NHA_OUT_OF_MEMORY, "no memory for a plan");

    if ((status = nhr_problem_find(library, options->problem, &plan->problem, error)) ||
        (status = nhr_check_device(options->device, error)) || (status = check_options(options, plan, error)) ||
        (status = lay_out_cache(options, plan, error)))
        goto done;
    status = plan->kind == NHA_CUDA ? nhr_cuda_plan(library, options, plan, error)
                                    : nhr_cpu_plan(library, options, plan, error);
    if (status) goto done;
    *out = plan;
    plan = NULL;
    status = nhr_ok(error);
done:
    nha_plan_destroy(plan);
    return status;
}

void nha_plan_destroy(nha_plan *plan) {
    if (!plan) return;
    nhr_cpu_plan_free(plan);
    nhr_cuda_plan_free(plan);
    nhr_free(plan);
}

size_t nha_plan_workspace(const nha_plan *plan) {
    return plan ? (size_t)plan->workspace_bytes : 0;
}

const char *nha_plan_kernel(const nha_plan *plan) {
    return plan ? plan->kernel->name : NULL;
}
