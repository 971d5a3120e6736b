/* device_cpu.c: the CPU behind the device interface. */
#include <stdlib.h>
#include <string.h>

#include "tuner/device_shared.h"
#include "tuner/machine.h"

static const gen_isa *best_isa(void) {
    return gen_isa_best(nha_cpu_features());
}

static bool runs(const tune_device *d, const tune_arch *arch) {
    (void)d;
    const gen_isa *best = best_isa();
    return arch->isa && best && strcmp(best->triple, arch->isa->triple) == 0 &&
           (arch->isa->needs & ~nha_cpu_features()) == 0;
}

static void describe(const tune_device *d, char *out, size_t size) {
    char model[128];
    (void)d;
    tune_machine_model(model, sizeof model);
    snprintf(out, size, "cpu: %s, %s", model, nha_cpu_isa());
}

static int threads(const tune_device *d) {
    (void)d;
    return tune_machine_threads();
}

static bool prepare(const tune_device *d, tune_candidate *candidate, err *e) {
    (void)d;
    return tune_candidate_load(candidate, NULL, e);
}

static void release(const tune_device *d, tune_candidate *candidate) {
    (void)d;
    tune_candidate_unload(candidate);
}

static bool verify(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e) {
    return tune_verify_kernel(&d->place, &candidate->library, 0, reference, NULL, NULL, e);
}

#ifdef NHAC_LLVM
static bool open_limit(const tune_device *d, tune_limit_kind kind, const tune_arch *arch, int dtype, size_t bytes,
                       int threads, tune_limit **limit, err *e) {
    (void)d;
    (void)dtype; /* vectors multiply fp32, tiles bf16 */
    return tune_limit_open(kind, arch->isa, bytes, threads, limit, e);
}

static void close_limit(const tune_device *d, tune_limit *limit) {
    (void)d;
    tune_limit_close(limit);
}
#endif

static void close_device(tune_device *d) {
    free(d);
}

bool tune_device_open_cpu(tune_device **device, err *e) {
    tune_device *d = calloc(1, sizeof *d);
    *device = d;
    if (!d)
        return err_memory(e, "device");
    *d = (tune_device){.name = "cpu",
                       .verified_by = "cpu",
                       .timed_by = "cpu",
                       .place = tune_place_host,
                       .arch = {.isa = best_isa()},
                       .describe = describe,
                       .runs = runs,
                       .threads = threads,
                       .prepare = prepare,
                       .release = release,
                       .verify = verify,
                       .open_workload = device_open_workload,
                       .close_workload = device_close_workload,
                       .open_runner = device_open_runner,
                       .close_runner = device_close_runner,
#ifdef NHAC_LLVM /* their loops are made by LLVM */
                       .open_limit = open_limit,
                       .close_limit = close_limit,
#endif
                       .close = close_device};
    return true;
}
