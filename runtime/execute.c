/* execute.c: one call: check, then on the CPU the phases of nha_cpu_args in order, each a parallel loop over
 * independent tasks. Allocates nothing, reads no file and no environment; between phases all tasks are done. */
#include "runtime/fpmode.h"
#include "runtime/internal.h"
#include "runtime/pool.h"

struct phase {
    const nha_plan *plan;
    const nha_cpu_args *args;
    nha_cpu_fn fn; /* NULL: commit */
    char *scratch; /* of worker 0 */
    int64_t tasks, group; /* all of them; those that a worker takes at a time */
};

static void run_group(void *arg, int64_t group, int32_t worker) {
    const struct phase *phase = arg;
    int64_t begin = group * phase->group, end = nhr_min(begin + phase->group, phase->tasks);
    if (!phase->fn) {
        for (int64_t task = begin; task < end; task++) nhr_commit(phase->plan->problem, phase->args, task);
        return;
    }
    uint64_t mode = nhr_fpmode_enter();
    phase->fn(phase->args, begin, end, phase->scratch + worker * phase->plan->scratch_bytes);
    nhr_fpmode_leave(mode);
}

/* A decode step's kernel asks for the memory of the next head while it reads that of one: neighbours stay together, all heads of a
 * sequence at most, as long as every thread has enough groups to finish with the others. The heads of a single sequence are dealt out
 * once: threads that are awake take the same ones in each step, and find them in their own caches. */
static int64_t group_of(const nha_plan *plan, int64_t tasks) {
    enum { GROUPS_A_THREAD = 16 };
    if (plan->op != NHA_DECODE) return 1;
    if (tasks <= plan->problem->heads_kv) return nhr_ceil_div(tasks, plan->threads);
    return nhr_max(1, nhr_min(plan->problem->heads_kv, tasks / (plan->threads * GROUPS_A_THREAD)));
}

static void run_phase(struct phase *phase, nha_cpu_fn fn, int64_t tasks) {
    const nha_plan *plan = phase->plan;
    phase->fn = fn;
    phase->tasks = tasks;
    phase->group = group_of(plan, tasks);
    int64_t groups = nhr_ceil_div(tasks, phase->group);
    if (plan->threads > 1 && tasks > 1) {
        if (plan->parallel_for)
            plan->parallel_for(plan->parallel_context, groups, run_group, phase);
        else
            nhr_pool_for(plan->threads, groups, run_group, phase);
    } else if (fn) {
        uint64_t mode = nhr_fpmode_enter();
        fn(phase->args, 0, tasks, phase->scratch);
        nhr_fpmode_leave(mode);
    } else {
        for (int64_t group = 0; group < groups; group++) run_group(phase, group, 0);
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

/* Whether every row of the call holds a cache that its tokens fit in: positions from 0 to `most` after it. Nothing is
 * decided on the way, so that the loads of all rows are in flight at once. */
static inline bool scan_rows(const nha_plan *plan, const nha_cpu_args *a, int64_t most, const int32_t *cu,
                             int32_t heads) {
    uint64_t pending = 0;
    bool wrong = false;
    for (int64_t n = 0; n < a->sequences; n++) {
        int64_t row = nhr_row_of(&a->cache, n), length = cu ? (int64_t)cu[n + 1] - cu[n] : a->tokens;
        if (row < 0) continue;
        const int64_t *header = nhr_row_pos(&a->cache, row);
        wrong |= (*header < 0) | (*header > most - length);
        pending |= nhr_row_pending(heads, (const char *)header);
    }
    return !wrong && nhr_pending_right(plan->problem, pending);
}

/* A decode of up to eight heads has a loop of its own: as many instructions for a row as there are in it. */
static bool are_rows_right(const nha_plan *plan, const nha_cpu_args *a, int64_t most) {
    int32_t heads = plan->problem->heads_kv;
    return !a->cu_seqlens && heads <= 8 ? scan_rows(plan, a, most, NULL, 8)
                                        : scan_rows(plan, a, most, a->cu_seqlens, heads);
}

/* On the CPU values are host memory and cheap to look at, so every plan checks them. */
static nha_status check_values(const nha_plan *plan, const nha_cpu_args *a, nha_error *error) {
    nha_status status;
    if (a->cu_seqlens && (status = nhr_check_lengths(plan, a->cu_seqlens, a->sequences, a->tokens, error)))
        return status;
    if (!plan->cached) return NHA_OK;
    if ((status = nhr_check_index(plan, a->cache.index, a->sequences, error))) return status;
    int64_t ring = a->cache.ring_tokens, most = ring < nhr_ring(plan->problem) ? ring : NHR_POS_MAX;
    if (are_rows_right(plan, a, most)) return NHA_OK;
    for (int64_t n = 0; n < a->sequences; n++) { /* which one, and what is wrong with it */
        int64_t row = nhr_row_of(&a->cache, n);
        if (row < 0) continue;
        int64_t pos = *nhr_row_pos(&a->cache, row);
        if ((status = nhr_check_position(plan, row, pos, nhr_length(a, n), error))) return status;
        if (!nhr_pending_right(plan->problem,
                               nhr_row_pending(plan->problem->heads_kv, a->cache.pool + row * a->cache.row_bytes)))
            return nhr_fail(error, NHA_BAD_DATA, "cache row %lld holds no cache: was it reset?", (long long)row);
    }
    return NHA_OK;
}

static nha_status execute(const nha_plan *plan, nha_cpu_args *a, void *workspace, nha_error *error) {
    nha_status status = check_values(plan, a, error);
    if (status) return status;
    if (!a->sequences) return nhr_ok(error);

    const nha_cpu_code *code = plan->code;
    struct phase phase = {.plan = plan, .args = a, .scratch = workspace};
    int64_t rows = a->sequences * plan->problem->heads_kv;
    if (a->pieces) {
        a->states = (float *)(void *)((char *)workspace + plan->states_offset);
        a->states_run = (float *)(void *)((char *)workspace + plan->states_run_offset);
        run_phase(&phase, code->segment_delta, rows * a->pieces);
        run_phase(&phase, code->segment_scan, rows);
    }
    run_phase(&phase, code->main, rows * a->runs);
    if (plan->cached) {
        if (plan->op == NHA_PREFILL) run_phase(&phase, NULL, rows);
        nhr_advance(a);
    }
    return nhr_ok(error);
}

nha_status nha_execute(const nha_plan *plan, const nha_args *args, void *workspace, size_t workspace_bytes,
                       void *stream, nha_error *error) {
    nha_cpu_args a;
    nha_status status = nhr_check_args(plan, args, &a, error);
    if (status || (status = check_workspace(plan, workspace, workspace_bytes, error))) return status;
    return plan->kind == NHA_CUDA ? nhr_cuda_execute(plan, &a, workspace, stream, error)
                                  : execute(plan, &a, workspace, error);
}
