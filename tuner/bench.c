/* bench.c: see bench.h. Subjects in turn: the kernel, and the limits it is compared with. */
#include "tuner/bench.h"

#include <string.h>

#include "runtime/nha_library.h"
#include "tuner/machine.h"

/* Limits by their place among the subjects. */
enum { ROUNDS = 15, PRODUCTS = 1, READ, UPDATE, EXPONENTIALS, L2, SUBJECTS };
static const double SAMPLE = 20e-3, LONGEST = 10; /* seconds: of a sample, of all rounds */
static const size_t COLD_BYTES = 128u << 20, SET_MAX = 256u << 20, L2_UNKNOWN = 512u << 10;

static double rate(const tune_limit *limit, const tune_samples *samples) { /* per microsecond */
    double us = limit ? tune_median(samples) : 0;
    return us > 0 ? limit->work / us : 0;
}

/* What the kernel of that name was made for. */
static bool find_arch(const nha_library *library, const char *kernel, const tune_device *d, tune_arch *arch,
                      const char **isa) {
    *arch = d->arch;
    *isa = tune_arch_name(arch);
    for (int i = 0; i < library->kernel_count; i++)
        if (strcmp(library->kernels[i].name, kernel) == 0) {
            *isa = library->kernels[i].isa;
            if (library->kernels[i].kind == NHA_CPU)
                arch->isa = gen_isa_find(*isa);
            return arch->cuda || arch->isa;
        }
    return false;
}

/* The limits of a kernel: products, reading and updating the working set; on a CPU exponentials, and reading half of
 * L2. */
static bool open_limits(const tune_device *d, const tune_arch *arch, int dtype, size_t set, int threads,
                        tune_limit **limits, int *count, err *e) {
    static const tune_limit_kind kinds[] = {[PRODUCTS] = TUNE_LIMIT_FMA,
                                            [READ] = TUNE_LIMIT_READ,
                                            [UPDATE] = TUNE_LIMIT_UPDATE,
                                            [EXPONENTIALS] = TUNE_LIMIT_EXP,
                                            [L2] = TUNE_LIMIT_READ};
    size_t cache = tune_machine_cache(2), half = (cache ? cache : L2_UNKNOWN) / 2 * (size_t)threads;
    *count = arch->cuda ? UPDATE + 1 : SUBJECTS;
    for (int k = PRODUCTS; k < *count; k++)
        if (!d->open_limit(d, kinds[k], arch, dtype, k == L2 ? half : set, threads, &limits[k], e))
            return false;
    return true;
}

static void fill_row(tune_bench_row *row, const gen_problem *problem, const gen_shape *shape, tune_limit *const *limits,
                     const tune_samples *samples) {
    tune_work work = tune_work_of(problem, shape, row->context);
    const tune_rates rates = {.flops = rate(limits[PRODUCTS], &samples[PRODUCTS]),
                              .exponentials = rate(limits[EXPONENTIALS], &samples[EXPONENTIALS]),
                              .l2_bytes = rate(limits[L2], &samples[L2]),
                              .read_bytes = rate(limits[READ], &samples[READ]),
                              .update_bytes = rate(limits[UPDATE], &samples[UPDATE])};
    row->us = tune_median(&samples[0]);
    row->us_min = tune_min(&samples[0]);
    row->us_max = tune_max(&samples[0]);
    row->noise = tune_noise(&samples[0]);
    row->flops = work.flops;
    row->bytes = work.read_bytes + work.update_bytes;
    row->limit_gflops = rates.flops * 1e-3;
    row->limit_read_gbps = rates.read_bytes * 1e-3;
    row->limit_update_gbps = rates.update_bytes * 1e-3;
    row->limit_gexps = rates.exponentials * 1e-3;
    row->limit_l2_gbps = rates.l2_bytes * 1e-3;
    row->bound = tune_bound_of(problem, shape, &work, &rates);
    if (row->us <= 0)
        return;
    row->tokens_per_s = 1e6 * (double)row->batch * (double)row->tokens / row->us;
    row->tflops = work.flops / row->us * 1e-6;
    row->gbps = row->bytes / row->us * 1e-3;
    row->pct_compute = 100 * row->bound.products_us / row->us;
    row->pct_memory = 100 * row->bound.memory_us / row->us;
    row->pct_bound = 100 * row->bound.us / row->us;
}

bool tune_bench(const nha_library *library, const gen_problem *problem, const tune_bench_options *o,
                tune_bench_row *row, err *e) {
    const tune_device *d = o->device;
    bool ok = false;
    tune_workload *workload = NULL;
    tune_runner *runner = NULL;
    tune_arch arch;
    tune_limit *limits[SUBJECTS] = {NULL};
    tune_samples samples[SUBJECTS];
    tune_subject subjects[SUBJECTS];
    int count = 0;
    memset(row, 0, sizeof *row);
    row->op = (nha_op)o->shape.op;
    row->batch = o->shape.batch;
    row->tokens = o->shape.tokens;
    row->threads = o->threads > 0 ? o->threads : d->threads(d);
    if (!d->open_workload(d, problem, &o->shape, library, o->hot ? 0 : COLD_BYTES, &workload, e))
        goto done;
    if (!d->open_runner(d, workload, library, o->kernel, o->isa, row->threads, &runner, e))
        goto done;
    if (!d->open_limit) {
        err_set(e, ERR_MISSING, "bench", "the limits of %s cannot be measured by this nhac, built without LLVM", d->name);
        goto done;
    }
    if (!find_arch(library, runner->kernel, d, &arch, &row->isa)) {
        err_set(e, ERR_INPUT, "bench", "this nhac does not know what kernel %s was made for", runner->kernel);
        goto done;
    }
    size_t set = workload->bytes < SET_MAX ? workload->bytes : SET_MAX;
    if (!open_limits(d, &arch, problem->nha.dtype, set, row->threads, limits, &count, e))
        goto done;
    subjects[0] = runner->subject;
    for (int k = PRODUCTS; k < count; k++)
        subjects[k] = limits[k]->subject;
    tune_measure_options m = {.clock = o->clock,
                              .sample_seconds = SAMPLE,
                              .rounds = ROUNDS,
                              .max_iterations = runner->max_iterations,
                              .deadline = o->clock.now(o->clock.context) + LONGEST};
    if (!tune_measure(subjects, count, &m, samples, e))
        goto done;

    row->context = workload->context;
    row->hot = o->hot;
    row->megabytes = 1e-6 * (double)workload->bytes;
    snprintf(row->kernel, sizeof row->kernel, "%s", runner->kernel);
    row->units = arch.cuda ? "products" : arch.isa->amx ? "tiles" : arch.isa->fma ? "FMA" : "mul and add";
    fill_row(row, problem, &o->shape, limits, samples);
    ok = true;
done:
    for (int k = PRODUCTS; k < count; k++)
        d->close_limit(d, limits[k]);
    d->close_runner(d, runner);
    d->close_workload(d, workload);
    return ok;
}
