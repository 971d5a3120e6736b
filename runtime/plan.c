/* plan.c: from a library and bounds to everything an execution needs: the kernel, the division of work, the workspace.
 * Whatever can fail later for lack of something is made or refused here. */
#include <string.h>

#include "runtime/internal.h"
#include "runtime/pool.h"

static const char *const op_names[] = {"prefill", "decode", "backward"};

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
    plan->threads = o->threads ? o->threads : (int32_t)nhr_min(nhr_cpu_count(), NHR_THREADS_MAX);
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
    plan->op = o->op;
    plan->flags = o->flags;
    plan->cached = o->op == NHA_DECODE || (o->flags & NHA_PLAN_CACHE);
    plan->parallel_for = o->parallel_for;
    plan->parallel_context = o->parallel_context;
    return check_bounds(o, plan, error);
}

/* ---- The kernel ---- */

/* NULL, or why the kernel cannot run here. */
static const char *misfit(const nha_kernel *k, uint64_t features, const char *cap) {
    if (k->cpu_features & ~features) return "this CPU lacks instructions it needs";
    if (cap) {
        int family, cap_family = -1;
        int level = nhr_isa_level(k->isa, &family), cap_level = nhr_isa_level(cap, &cap_family);
        if (level < 0 || family != cap_family || level > cap_level) return "it is above the ISA that the plan allows";
    }
    return NULL;
}

static bool in_range(const nha_kernel *k, int64_t tasks, int64_t length) {
    return tasks >= k->min_tasks && tasks <= k->max_tasks && length >= k->min_length && length <= k->max_length;
}

static nha_status choose_kernel(const nha_library *library, const nha_plan_options *o, nha_plan *plan,
                                nha_error *error) {
    int family;
    if (o->isa && nhr_isa_level(o->isa, &family) < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "isa is \"%s\", expected baseline, avx2, avx512 or neon", o->isa);
    uint64_t features = nha_cpu_features();
    int64_t tasks = plan->max_sequences * plan->problem->heads_kv;
    const char *why = o->kernel ? "there is none of that name" : "there is none at all";
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *k = &library->kernels[i];
        if (k->problem != o->problem || k->op != o->op || k->kind != NHA_CPU) continue;
        if (o->kernel && strcmp(o->kernel, k->name)) continue;
        const char *fault = misfit(k, features, o->isa);
        if (fault)
            why = fault;
        else if (!o->kernel && !in_range(k, tasks, plan->max_length))
            why = "none is valid for these bounds";
        else if (!plan->kernel || k->rank < plan->kernel->rank)
            plan->kernel = k;
    }
    if (!plan->kernel)
        return nhr_fail(error, NHA_NO_KERNEL, "library %s has no %s kernel%s%s for this CPU: %s", library->name,
                        op_names[o->op], o->kernel ? " " : "", o->kernel ? o->kernel : "", why);
    plan->code = plan->kernel->cpu;
    return NHA_OK;
}

/* ---- Division and workspace ---- */

static void divide(nha_plan *plan) {
    const nha_problem *p = plan->problem;
    const nha_cpu_code *code = plan->code;
    nhr_work work = {
        .sequences = plan->max_sequences * p->heads_kv,
        .max_length = plan->max_length,
        .block_tokens = code->block_tokens,
        .slots = p->slots,
        .window = p->window,
        .divisible = plan->op == NHA_PREFILL && (!p->slots || code->segment_delta),
        .delta_cost = p->slots ? code->delta_cost : 0,
        .state_bytes = NHA_CPU_STATE_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots) * (int64_t)sizeof(float),
        .threads = plan->threads,
    };
    plan->division = nhr_divide(&work);
}

/* Entries of the panel ring (prefill) or of the window (decode) that scratch has room for: nha_cpu_code. */
static int64_t count_panels(const nha_plan *plan) {
    const nha_problem *p = plan->problem;
    if (plan->op == NHA_DECODE) return nhr_min(p->window, plan->cache.ring_tokens);
    if (!p->window) return 0;
    int64_t block = plan->code->block_tokens;
    int64_t reach = plan->max_length + (plan->cached ? nhr_min(nhr_ring(p), plan->cache.ring_tokens) : 0);
    return nhr_min(nhr_ceil_div(p->window - 1, block), nhr_ceil_div(reach, block)) + 1;
}

/* scratch of each worker, then states, then states_run. */
static bool lay_out_workspace(nha_plan *plan) {
    const nha_problem *p = plan->problem;
    const nha_cpu_code *code = plan->code;
    const nhr_division *d = &plan->division;
    int64_t tasks = plan->max_sequences * p->heads_kv, at = 0, panels, count;
    int64_t state =
        d->pieces ? NHA_CPU_STATE_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots) * (int64_t)sizeof(float) : 0;
    if (!nhr_mul(code->scratch_panel_bytes, plan->window_panels, &panels) ||
        __builtin_add_overflow(panels, code->scratch_bytes, &panels) ||
        !nhr_add_bytes(&plan->scratch_bytes, panels, 1, NHA_WORKSPACE_ALIGN) ||
        !nhr_add_bytes(&at, plan->scratch_bytes, plan->threads, NHA_WORKSPACE_ALIGN))
        return false;
    plan->states_offset = at;
    if (!nhr_mul(tasks, d->pieces, &count) || !nhr_add_bytes(&at, count, state, NHA_WORKSPACE_ALIGN)) return false;
    plan->states_run_offset = at;
    if (!nhr_mul(tasks, d->runs, &count) || !nhr_add_bytes(&at, count, state, NHA_WORKSPACE_ALIGN)) return false;
    plan->workspace_bytes = at;
    return (uint64_t)at <= SIZE_MAX / 2;
}

static nha_status lay_out_cache(const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    if (!plan->cached) return NHA_OK;
    int64_t ring = nhr_max(nhr_ring(plan->problem), 1), tokens = o->cache_tokens ? o->cache_tokens : ring;
    if (tokens < 1 || tokens > ring)
        return nhr_fail(error, NHA_INVALID_ARGUMENT,
                        "cache_tokens is %lld, expected what nha_cache_describe said, at most %lld", (long long)tokens,
                        (long long)ring);
    if (!nhr_cache_layout(plan->problem, tokens, &plan->cache))
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
        (status = check_options(options, plan, error)))
        goto done;
    if (options->device.kind == NHA_CUDA && !nha_library_has(library, options->problem, options->op, NHA_CUDA)) {
        status = nhr_fail(error, NHA_NO_KERNEL, "library %s: CUDA kernels are not available in this version of libnha",
                          library->name);
        goto done;
    }
    if ((status = nhr_check_device(options->device, error)) ||
        (status = choose_kernel(library, options, plan, error)) || (status = lay_out_cache(options, plan, error)))
        goto done;
    divide(plan);
    plan->window_panels = count_panels(plan);
    if (!lay_out_workspace(plan)) {
        status =
            nhr_fail(error, NHA_INVALID_ARGUMENT, "the bounds are too large: the workspace would not fit in memory");
        goto done;
    }
    if (plan->threads > 1 && !plan->parallel_for) {
        int code = nhr_pool_acquire(plan->threads);
        if (code) {
            status = nhr_fail(error, NHA_OUT_OF_MEMORY, "cannot start %d threads: %s", plan->threads, strerror(code));
            goto done;
        }
        plan->pooled = true;
    }
    *out = plan;
    plan = NULL;
    status = nhr_ok(error);
done:
    nha_plan_destroy(plan);
    return status;
}

void nha_plan_destroy(nha_plan *plan) {
    if (!plan) return;
    if (plan->pooled) nhr_pool_release();
    nhr_free(plan);
}

size_t nha_plan_workspace(const nha_plan *plan) {
    return plan ? (size_t)plan->workspace_bytes : 0;
}

const char *nha_plan_kernel(const nha_plan *plan) {
    return plan ? plan->kernel->name : NULL;
}
