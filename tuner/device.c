/* device.c: the names that --device takes, and which device stands for none. */
#include "tuner/device.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static jit_nvrtc *nvrtc;
static err nvrtc_failure;

const jit_nvrtc *tune_nvrtc(err *e) {
    pthread_mutex_lock(&lock);
    if (!nvrtc && nvrtc_failure.code == ERR_NONE)
        jit_nvrtc_open(&nvrtc, &nvrtc_failure);
    if (!nvrtc)
        err_set(e, nvrtc_failure.code, nvrtc_failure.stage, "%s", nvrtc_failure.text);
    const jit_nvrtc *found = nvrtc;
    pthread_mutex_unlock(&lock);
    return found;
}

/* "cuda:N" -> N, -1: not that. */
static int ordinal_of(const char *name) {
    if (strncmp(name, "cuda:", 5) || !name[5] || strspn(name + 5, "0123456789") != strlen(name + 5) || strlen(name) > 9)
        return -1;
    return atoi(name + 5);
}

bool tune_device_known(const char *name, err *e) {
    static const char *const names[] = {"cpu", "cuda:0", "emu"};
    if (!strcmp(name, "cpu") || !strcmp(name, "emu") || ordinal_of(name) >= 0)
        return true;
    if (!strncmp(name, "emu:", 4)) {
        const char *targets[32];
        int count;
        const gen_cuda_target *table = gen_cuda_target_table(&count);
        for (int i = 0; i < count && i < 32; i++)
            targets[i] = table[i].name;
        if (gen_cuda_target_find(name + 4))
            return true;
        return err_set(e, ERR_USAGE, "device", "there is no target %s to emulate; did you mean emu:%s?", name + 4,
                       base_nearest(name + 4, targets, (size_t)count));
    }
    return err_set(e, ERR_USAGE, "device", "there is no device %s; did you mean %s?", name, base_nearest(name, names, 3));
}

tune_device *tune_device_find_gpu(bool (*wanted)(const void *context, const tune_place *place), const void *context) {
    for (int ordinal = 0;; ordinal++) {
        tune_device *device;
        err e = {0};
        if (!tune_device_open_cuda(ordinal, &device, &e)) {
            err_clear(&e);
            return NULL;
        }
        if (wanted(context, &device->place))
            return device;
        tune_device_close(device);
    }
}

/* Whose own code the target is. */
static bool runs_target(const void *target, const tune_place *place) {
    return tune_place_runs(place, target);
}

bool tune_device_open(const char *name, const char *target, tune_device **device, err *e) {
    const gen_cuda_target *cuda = target ? gen_cuda_target_find(target) : NULL;
    *device = NULL;
    if (!name) {
        if (!cuda)
            return tune_device_open_cpu(device, e);
        *device = tune_device_find_gpu(runs_target, target);
        return *device || tune_device_open_emu(cuda, device, e);
    }
    if (!tune_device_known(name, e))
        return false;
    if (!strcmp(name, "cpu"))
        return tune_device_open_cpu(device, e);
    if (ordinal_of(name) >= 0)
        return tune_device_open_cuda(ordinal_of(name), device, e);
    if (name[3] == ':')
        cuda = gen_cuda_target_find(name + 4);
    return tune_device_open_emu(cuda ? cuda : gen_cuda_target_find("sm_90"), device, e);
}

void tune_device_close(tune_device *device) {
    if (device)
        device->close(device);
}

bool tune_target_available(const char *target, const char **why) {
    static char text[1024];
    err e = {0};
    *why = NULL;
    if (strcmp(target, "cpu") == 0) {
#ifdef NHAC_LLVM
        return true;
#else
        *why = "this nhac was built without LLVM and makes no CPU kernels";
        return false;
#endif
    }
    const jit_nvrtc *compiler = tune_nvrtc(&e);
    if (compiler && jit_nvrtc_knows(compiler, target))
        return true;
    if (compiler)
        snprintf(text, sizeof text, "NVRTC %s cannot compile for it", jit_nvrtc_version(compiler));
    else
        snprintf(text, sizeof text, "%s", e.text);
    err_clear(&e);
    *why = text;
    return false;
}
