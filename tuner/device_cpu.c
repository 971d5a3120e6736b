/* device_cpu.c: the CPU behind the device interface, and the names that --device and a spec's targets may take. */
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "tuner/device.h"
#include "tuner/machine.h"

static const gen_isa *best_isa(void) {
    return gen_isa_best(nha_cpu_features());
}

static bool runs(const gen_isa *isa) {
    const gen_isa *best = best_isa();
    return best && strcmp(best->triple, isa->triple) == 0 && (isa->needs & ~nha_cpu_features()) == 0;
}

static void describe(char *out, size_t size) {
    char model[128];
    tune_machine_model(model, sizeof model);
    snprintf(out, size, "cpu: %s, %s", model, nha_cpu_isa());
}

static bool prepare(tune_candidate *candidate, err *e) {
    return tune_candidate_load(candidate, true, e);
}

static bool verify(const tune_candidate *candidate, const tune_reference *reference, err *e) {
    return tune_verify_kernel(&candidate->library, 0, reference, NULL, NULL, e);
}

const tune_device tune_device_cpu = {
    .name = "cpu",
    .target = "cpu",
    .verified_by = "cpu",
    .timed_by = "cpu",
    .describe = describe,
    .isa = best_isa,
    .runs = runs,
    .threads = tune_machine_threads,
    .prepare = prepare,
    .release = tune_candidate_unload,
    .verify = verify,
    .open_workload = tune_workload_open,
    .close_workload = tune_workload_close,
    .open_runner = tune_runner_open,
    .close_runner = tune_runner_close,
    .open_limit = tune_limit_open,
    .close_limit = tune_limit_close,
};

const tune_device *tune_device_find(const char *name, err *e) {
    if (!name || strcmp(name, "cpu") == 0)
        return &tune_device_cpu;
    if (strncmp(name, "cuda:", 5) == 0 && name[5] && strspn(name + 5, "0123456789") == strlen(name + 5)) {
        err_set(e, ERR_MISSING, "device", "device %s: CUDA devices are not available in this version", name);
        return NULL;
    }
    if (strcmp(name, "emu") == 0 || strncmp(name, "emu:sm_", 7) == 0) {
        err_set(e, ERR_MISSING, "device", "device %s: the emulator is not available in this version", name);
        return NULL;
    }
    static const char *const names[] = {"cpu", "cuda:0", "emu"};
    err_set(e, ERR_USAGE, "device", "there is no device %s; did you mean %s?", name, base_nearest(name, names, 3));
    return NULL;
}

bool tune_target_available(const char *target, const char **why) {
    *why = NULL;
    if (strcmp(target, "cpu") == 0)
        return true;
    *why = "CUDA kernels are not available in this version";
    return false;
}
