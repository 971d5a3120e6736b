/* bench.c: see bench.h. Four subjects in turn: the kernel, multiply-adds, reading, updating in place. */
#include "tuner/bench.h"

#include <string.h>

#include "tuner/work.h"

enum { ROUNDS = 15, SUBJECTS = 4 };
static const double SAMPLE = 20e-3, LONGEST = 10; /* seconds: of a sample, of all rounds */
static const size_t COLD_BYTES = 128u << 20, SET_MAX = 256u << 20;

static double rate(const tune_limit *limit, const tune_samples *samples) { /* per microsecond */
    double us = tune_median(samples);
    return us > 0 ? limit->work / us : 0;
}

bool tune_bench(const nha_library *library, const gen_problem *problem, const tune_bench_options *o,
                tune_bench_row *row, err *e) {
    const tune_device *d = o->device;
    bool ok = false;
    tune_workload *workload = NULL;
    tune_runner *runner = NULL;
    tune_limit *limits[3] = {NULL};
    tune_samples samples[SUBJECTS];
    memset(row, 0, sizeof *row);
    row->op = (nha_op)o->shape.op;
    row->batch = o->shape.batch;
    row->tokens = o->shape.tokens;
    row->threads = o->threads > 0 ? o->threads : d->threads(d);
    if (!d->open_workload(d, problem, &o->shape, library, COLD_BYTES, &workload, e))
        goto done;
    if (!d->open_runner(d, workload, library, o->kernel, o->isa, row->threads, &runner, e))
        goto done;
    if (!d->open_limit) {
        err_set(e, ERR_MISSING, "bench", "the limits of %s cannot be measured by this nhac, built without LLVM", d->name);
        goto done;
    }
    size_t set = workload->bytes < SET_MAX ? workload->bytes : SET_MAX;
    for (int k = 0; k < 3; k++)
        if (!d->open_limit(d, (tune_limit_kind)k, problem->nha.dtype, set, row->threads, &limits[k], e))
            goto done;
    tune_subject subjects[SUBJECTS] = {runner->subject, limits[0]->subject, limits[1]->subject, limits[2]->subject};
    tune_measure_options m = {.clock = o->clock,
                              .sample_seconds = SAMPLE,
                              .rounds = ROUNDS,
                              .max_iterations = runner->max_iterations,
                              .deadline = o->clock.now(o->clock.context) + LONGEST};
    if (!tune_measure(subjects, SUBJECTS, &m, samples, e))
        goto done;

    row->context = workload->context;
    snprintf(row->kernel, sizeof row->kernel, "%s", runner->kernel);
    row->us = tune_median(&samples[0]);
    row->us_min = tune_min(&samples[0]);
    row->us_max = tune_max(&samples[0]);
    row->noise = tune_noise(&samples[0]);
    tune_work work = tune_work_of(problem, &o->shape, row->context);
    double fma = rate(limits[0], &samples[1]), read = rate(limits[1], &samples[2]),
           update = rate(limits[2], &samples[3]);
    row->flops = work.flops;
    row->bytes = work.read_bytes + work.update_bytes;
    row->limit_gflops = fma * 1e-3;
    row->limit_read_gbps = read * 1e-3;
    row->limit_update_gbps = update * 1e-3;
    if (row->us > 0) {
        row->tokens_per_s = 1e6 * (double)row->batch * (double)row->tokens / row->us;
        row->tflops = work.flops / row->us * 1e-6;
        row->gbps = row->bytes / row->us * 1e-3;
        row->pct_compute = fma > 0 ? 100 * work.flops / row->us / fma : 0;
        row->pct_memory =
            read > 0 && update > 0 ? 100 * (work.read_bytes / read + work.update_bytes / update) / row->us : 0;
    }
    ok = true;
done:
    for (int k = 0; k < 3; k++)
        d->close_limit(d, limits[k]);
    d->close_runner(d, runner);
    d->close_workload(d, workload);
    return ok;
}
