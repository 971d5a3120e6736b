/* cpu_plan.c: the CPU's part of a plan: the kernel, the division of work, the workspace, the threads. */
#include <string.h>

#include "runtime/internal.h"
#include "runtime/pool.h"

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

static nha_status choose_kernel(const nha_library *library, const nha_plan_options *o, nha_plan *plan,
                                nha_error *error) {
    int family;
    if (o->isa && nhr_isa_level(o->isa, &family) < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "isa is \"%s\", expected baseline, avx2, avx512, amx or neon",
                        o->isa);
    uint64_t features = nha_cpu_features();
    const char *why = o->kernel ? "there is none of that name" : "there is none at all";
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *k = &library->kernels[i];
        if (k->problem != o->problem || k->op != o->op || k->kind != NHA_CPU) continue;
        if (o->kernel && strcmp(o->kernel, k->name)) continue;
        const char *fault = misfit(k, features, o->isa);
        if (fault)
            why = fault;
        else if (!o->kernel && !nhr_in_range(plan, k))
            why = "none is valid for these bounds";
        else if (!plan->kernel || k->rank < plan->kernel->rank)
            plan->kernel = k;
    }
    if (!plan->kernel)
        return nhr_fail(error, NHA_NO_KERNEL, "library %s has no %s kernel%s%s for this CPU: %s", library->name,
                        nhr_op_name(o->op), o->kernel ? " " : "", o->kernel ? o->kernel : "", why);
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

nha_status nhr_cpu_plan(const nha_library *library, const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    plan->threads = o->threads ? o->threads : (int32_t)nhr_min(nhr_cpu_count(), NHR_THREADS_MAX);
    plan->parallel_for = o->parallel_for;
    plan->parallel_context = o->parallel_context;
    nha_status status = choose_kernel(library, o, plan, error);
    if (status) return status;
    divide(plan);
    plan->window_panels = count_panels(plan);
    if (!lay_out_workspace(plan))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "the bounds are too large: the workspace would not fit in memory");
    if (plan->threads > 1 && !plan->parallel_for) {
        int code = nhr_pool_acquire(plan->threads);
        if (code)
            return nhr_fail(error, NHA_OUT_OF_MEMORY, "cannot start %d threads: %s", plan->threads, strerror(code));
        plan->pooled = true;
    }
    return NHA_OK;
}

void nhr_cpu_plan_free(nha_plan *plan) {
    if (plan->pooled) nhr_pool_release();
}
