/* execute.c: one call: check, then the phases of nha_cpu_args in order, each a parallel loop over independent tasks.
 * Allocates nothing, reads no file and no environment; between phases all tasks are done. */
#include "runtime/fpmode.h"
#include "runtime/internal.h"
#include "runtime/pool.h"

struct phase {
    const nha_plan *plan;
    const nha_cpu_args *args;
    nha_cpu_fn fn; /* NULL: commit */
    char *scratch; /* of worker 0 */
};

static void run_task(void *arg, int64_t task, int32_t worker) {
    const struct phase *phase = arg;
    if (!phase->fn) {
        nhr_commit(phase->plan->problem, phase->args, task);
        return;
    }
    uint64_t mode = nhr_fpmode_enter();
    phase->fn(phase->args, task, task + 1, phase->scratch + worker * phase->plan->scratch_bytes);
    nhr_fpmode_leave(mode);
}

static void run_phase(struct phase *phase, nha_cpu_fn fn, int64_t tasks) {
    const nha_plan *plan = phase->plan;
    phase->fn = fn;
    if (plan->threads > 1 && tasks > 1) {
        if (plan->parallel_for)
            plan->parallel_for(plan->parallel_context, tasks, run_task, phase);
        else
            nhr_pool_for(plan->threads, tasks, run_task, phase);
    } else if (fn) {
        uint64_t mode = nhr_fpmode_enter();
        fn(phase->args, 0, tasks, phase->scratch);
        nhr_fpmode_leave(mode);
    } else {
        for (int64_t task = 0; task < tasks; task++) run_task(phase, task, 0);
    }
}

static nha_status check_workspace(const nha_plan *plan, const void *workspace, size_t bytes, nha_error *error) {
    if (bytes < (size_t)plan->workspace_bytes)
        return nhr_fail(error, NHA_WORKSPACE_TOO_SMALL, "the workspace has %zu bytes, the plan needs %lld", bytes,
                        (long long)plan->workspace_bytes);
    if (!workspace && plan->workspace_bytes) return nhr_fail(error, NHA_INVALID_ARGUMENT, "workspace is NULL");
    if ((uintptr_t)workspace % NHA_WORKSPACE_ALIGN)
        return nhr_fail(error, NHA_MISALIGNED, "workspace is not aligned to %d bytes", NHA_WORKSPACE_ALIGN);
    return NHA_OK;
}

nha_status nha_execute(const nha_plan *plan, const nha_args *args, void *workspace, size_t workspace_bytes,
                       void *stream, nha_error *error) {
    (void)stream;
    nha_cpu_args a;
    nha_status status = nhr_check_args(plan, args, &a, error);
    if (status || (status = check_workspace(plan, workspace, workspace_bytes, error))) return status;
    if (!a.sequences) return nhr_ok(error);

    const nha_cpu_code *code = plan->code;
    struct phase phase = {plan, &a, NULL, workspace};
    int64_t rows = a.sequences * plan->problem->heads_kv;
    if (a.pieces) {
        a.states = (float *)(void *)((char *)workspace + plan->states_offset);
        a.states_run = (float *)(void *)((char *)workspace + plan->states_run_offset);
        run_phase(&phase, code->segment_delta, rows * a.pieces);
        run_phase(&phase, code->segment_scan, rows);
    }
    run_phase(&phase, code->main, rows * a.runs);
    if (plan->cached) {
        if (plan->op == NHA_PREFILL) run_phase(&phase, NULL, rows);
        nhr_advance(&a);
    }
    return nhr_ok(error);
}
