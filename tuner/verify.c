/* verify.c: one case on one kernel in every way that a user could run it, and a candidate on its reference. See
 * verify.h.
 */
#include "tuner/verify.h"

#include <stdio.h>
#include <string.h>

#include "tuner/verify_guard.h"
#include "tuner/verify_internal.h"

const nha_kernel *verify_find_kernel(const nha_library *library, int index, int op, int kind, const char *name) {
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *kernel = &library->kernels[i];
        if (kernel->problem == index && kernel->op == op && kernel->kind == kind && !strcmp(kernel->name, name))
            return kernel;
    }
    return NULL;
}

/* A caller's parallel_for that does the tasks in reverse order, on workers in turn: no task may rely on another one of
 * its phase, nor on the scratch of the one before. context: the number of workers. */
static void reversed(void *context, int64_t tasks, nha_task_fn fn, void *arg) {
    int64_t workers = *(const int *)context;
    for (int64_t task = tasks - 1; task >= 0; task--)
        fn(arg, task, (int32_t)(task % workers));
}

typedef struct case_run {
    const tune_place *place;
    const nha_library *library;
    int index, op;
    const char *kernel, *isa;
    const verify_truth *truth;
    const verify_effort *effort;
    tune_verify_report *report;
    char what[320]; /* kernel and way of running, for messages */
} case_run;

static const char *say(case_run *run, const char *kernel, const char *way) {
    snprintf(run->what, sizeof run->what, "kernel %s, %s", kernel, way);
    return run->what;
}

/* Errors of verify_execute name the tensor; this adds the kernel and the case. */
static bool execute(case_run *run, const verify_plan *plan, const verify_exec *how, const char *way,
                    tune_result *result, err *e) {
    err own = {0};
    if (verify_execute(plan, &run->truth->test, how, result, &own))
        return true;
    char shape[400];
    tune_case_string(&run->truth->test.spec, shape, sizeof shape);
    err_set(e, own.code, own.stage, "kernel %s, %s: %.300s (%s)", nha_plan_kernel(plan->plan), way, own.text, shape);
    err_clear(&own);
    return false;
}

/* Runs as `how` says and wants the bits of `first` from sequences [how->first, + count). */
static bool again(case_run *run, const verify_plan *plan, const verify_exec *how, const tune_result *first,
                  const char *way, err *e) {
    tune_result result;
    int64_t count = how->count ? how->count : run->truth->test.batch.sequences;
    if (!execute(run, plan, how, way, &result, e))
        return false;
    if (run->report)
        run->report->executions++;
    bool ok = verify_same_bits(run->truth, first, &result, how->count ? how->first : 0, count, how->skip, !how->bare,
                               say(run, nha_plan_kernel(plan->plan), way), e);
    tune_result_destroy(&result);
    return ok;
}

/* Against the oracle once, then the same bits: with other poison and layout, alone, beside a skipped sequence. */
static bool one_plan(case_run *run, err *e) {
    const verify_effort *effort = run->effort;
    const tune_batch *batch = &run->truth->test.batch;
    verify_plan plan;
    verify_plan_options options = {
        .threads = 1, .kernel = run->kernel, .isa = run->isa, .pooled = batch->cache != NULL};
    verify_exec how = {.skip = -1, .layout = effort->layout, .poison = GUARD_NAN, .fence = effort->fence};
    tune_result first = {0};
    bool ok = verify_plan_create(run->place, run->library, run->index, run->op, &run->truth->test, &options, &plan, e);
    ok = ok && execute(run, &plan, &how, "one thread", &first, e);
    ok = ok &&
         verify_against_oracle(run->truth, &first, say(run, nha_plan_kernel(plan.plan), "one thread"), run->report, e);

    /* What an emulator watches needs no second look, but in the cases that ask for company. */
    const bool twice = !run->place->watched || effort->company;
    how.poison = GUARD_FINITE;
    how.layout = (effort->layout + 1) % VERIFY_LAYOUTS;
    how.in_place = true;
    ok = ok && (!twice || again(run, &plan, &how, &first, "a second time, in other memory", e));

    how.in_place = false;
    int64_t alone = batch->sequences < 2 ? 0 : effort->company < batch->sequences ? effort->company : batch->sequences;
    for (int64_t i = 0; ok && i < alone; i++) {
        int64_t n = alone > 1 ? i * (batch->sequences - 1) / (alone - 1) : 0; /* the first and the last among them */
        how.first = n, how.count = 1;
        how.layout = (int)(n % VERIFY_LAYOUTS);
        how.bare = n == batch->sequences - 1;
        ok = again(run, &plan, &how, &first, "a sequence alone", e);
    }
    how.first = how.count = 0;
    how.bare = false;
    how.skip = batch->sequences / 2;
    if (ok && effort->company && batch->sequences > 1 && plan.pooled)
        ok = again(run, &plan, &how, &first, "with a sequence skipped", e);
    tune_result_destroy(&first);
    verify_plan_destroy(&plan);
    return ok;
}

/* More threads: libnha's own, or (workers > 0) tasks in reverse order on that many workers. */
static bool with_threads(case_run *run, int threads, int workers, const char *way, err *e) {
    verify_plan plan;
    verify_plan_options options = {.threads = workers ? workers : threads,
                                   .kernel = run->kernel,
                                   .isa = run->isa,
                                   .pooled = run->truth->test.batch.cache != NULL};
    verify_exec how = {.skip = -1, .layout = VERIFY_CONTIGUOUS, .poison = GUARD_NAN, .fence = run->effort->fence};
    tune_result result = {0};
    if (workers) {
        options.parallel_for = reversed;
        options.parallel_context = &workers;
    }
    bool ok = verify_plan_create(run->place, run->library, run->index, run->op, &run->truth->test, &options, &plan, e);
    ok = ok && execute(run, &plan, &how, way, &result, e);
    ok = ok && verify_against_oracle(run->truth, &result, say(run, nha_plan_kernel(plan.plan), way), run->report, e);
    tune_result_destroy(&result);
    verify_plan_destroy(&plan);
    return ok;
}

/* The kernel that a one-thread plan of this case would take. */
static const nha_kernel *chosen_kernel(case_run *run, err *e) {
    verify_plan plan;
    verify_plan_options options = {
        .threads = 1, .kernel = run->kernel, .isa = run->isa, .pooled = run->truth->test.batch.cache != NULL};
    const nha_kernel *kernel = NULL;
    if (verify_plan_create(run->place, run->library, run->index, run->op, &run->truth->test, &options, &plan, e)) {
        kernel = verify_find_kernel(run->library, run->index, run->op, run->place->device.kind, nha_plan_kernel(plan.plan));
        if (!kernel)
            err_set(e, ERR_INTERNAL, "verify", "a plan chose %s, which the library does not list",
                    nha_plan_kernel(plan.plan));
    }
    verify_plan_destroy(&plan);
    return kernel;
}

static bool divided(case_run *run, const nha_kernel *kernel, int64_t blocks, err *e) {
    tune_result result = {0};
    char way[64];
    if (run->truth->test.problem.nha.slots && !kernel->cpu->segment_delta)
        return true; /* made for whole sequences */
    if (!verify_divided(kernel->cpu, &run->truth->test, blocks, &result, e))
        return false;
    snprintf(way, sizeof way, "divided into runs of %lld blocks", (long long)blocks);
    bool ok = verify_against_oracle(run->truth, &result, say(run, kernel->name, way), run->report, e);
    tune_result_destroy(&result);
    return ok;
}

static tune_cut piece(int op, int64_t tokens) {
    return (tune_cut){.op = op, .tokens = tokens};
}

static bool with_cuts(case_run *run, const nha_kernel *kernel, err *e) {
    enum { CHUNK = 64 }; /* about what a CUDA kernel takes at once */
    const int64_t block = kernel->cpu ? kernel->cpu->block_tokens : CHUNK;
    const tune_cut pieces[] = {
        piece(NHA_PREFILL, 1), piece(NHA_PREFILL, block + 3), piece(NHA_PREFILL, 7), piece(NHA_PREFILL, 29)};
    const tune_cut steps[] = {piece(NHA_DECODE, 1)};
    tune_run_options options = {.problem = run->index, .threads = 1, .isa = run->isa, .place = run->place};
    tune_result result = {0};
    bool prefill = run->op == NHA_PREFILL;
    options.cuts = prefill ? pieces : steps;
    options.cut_count = prefill ? (int)(sizeof pieces / sizeof *pieces) : 1;
    options.kernel[run->op] = kernel->name;
    if (!tune_host_run(run->library, &run->truth->test.problem, &run->truth->test.batch, &options, &result, e))
        return false;
    bool ok = verify_against_oracle(
        run->truth, &result, say(run, kernel->name, prefill ? "cut into pieces" : "step by step"), run->report, e);
    tune_result_destroy(&result);
    return ok;
}

bool verify_case(const tune_place *place, const nha_library *library, int index, int op, const char *kernel, const char *isa,
                 const verify_truth *truth, const verify_effort *effort, tune_verify_report *report, err *e) {
    case_run run = {place, library, index, op, kernel, isa, truth, effort, report, ""};
    const nha_kernel *chosen = chosen_kernel(&run, e);
    if (!chosen)
        return false;
    if (report)
        report->cases++;
    if (op == NHA_DECODE && truth->test.batch.cu_seqlens)
        return with_cuts(&run, chosen, e); /* lengths differ: no plain batch */
    if (!one_plan(&run, e))
        return false;
    if (!chosen->cpu)
        return !effort->cuts || with_cuts(&run, chosen, e); /* threads and divisions of work are the CPU's */
    if (effort->threads > 1 && (!with_threads(&run, effort->threads, 0, "several threads", e) ||
                                !with_threads(&run, 0, effort->threads + 1, "tasks in reverse order", e)))
        return false;
    if (effort->divided && op == NHA_PREFILL && (!divided(&run, chosen, 1, e) || !divided(&run, chosen, 2, e)))
        return false;
    return !effort->cuts || with_cuts(&run, chosen, e);
}
