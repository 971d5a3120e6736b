/* place.c: memory of a place. See place.h. */
#include "tuner/place.h"

#include <stdlib.h>
#include <string.h>

#include "gen/cuda/target.h"

const tune_place tune_place_host = {.device = {.kind = NHA_CPU}};

bool tune_nha_error(err *e, const char *what, const nha_error *error) {
    err_code code = ERR_DEVICE;
    switch (error->status) {
    case NHA_INVALID_ARGUMENT:
    case NHA_OUT_OF_BOUNDS:
    case NHA_BAD_DATA:
        code = ERR_INPUT;
        break;
    case NHA_NO_KERNEL:
    case NHA_NO_DEVICE:
    case NHA_OLD_DRIVER:
    case NHA_UNSUPPORTED:
        code = ERR_MISSING;
        break;
    case NHA_OUT_OF_MEMORY:
        code = ERR_MEMORY;
        break;
    default:
        break;
    }
    return err_set(e, code, "run", "%s: %s", what, error->text[0] ? error->text : nha_status_text(error->status));
}

void *tune_aligned(int64_t bytes) {
    void *p = NULL;
    if (bytes < 0 || posix_memalign(&p, NHA_WORKSPACE_ALIGN, bytes ? (size_t)bytes : 1))
        return NULL;
    return p;
}

bool tune_place_runs(const tune_place *place, const char *target) {
    const gen_cuda_target *t = gen_cuda_target_find(target);
    if (!t || place->device.kind != NHA_CUDA)
        return false;
    if (t->specific)
        return t->arch == place->arch;
    return t->arch / 10 == place->arch / 10 && t->arch <= place->arch;
}

/* ---- CUDA ---- */

static const nha_cuda_driver *driver_of(const tune_place *place) {
    return place->device.driver;
}

static uint64_t address(const void *memory) {
    return (uint64_t)(uintptr_t)memory;
}

bool tune_driver_error(const nha_cuda_driver *driver, const char *stage, const char *what, int result, err *e) {
    const char *name = NULL;
    if (driver->cuGetErrorName(result, &name) || !name)
        name = "an unknown error";
    return err_set(e, result == NHA_CU_OUT_OF_MEMORY ? ERR_MEMORY : ERR_DEVICE, stage, "%s: the driver says %s (%d)", what, name,
                   result);
}

static bool failed(const tune_place *place, const char *what, int result, err *e) {
    return tune_driver_error(driver_of(place), "run", what, result, e);
}

bool tune_place_enter(const tune_place *place, err *e) {
    if (place->device.kind == NHA_CPU)
        return true;
    int result = driver_of(place)->cuCtxPushCurrent_v2(place->device.context);
    return !result || failed(place, "cannot make the context current", result, e);
}

void tune_place_leave(const tune_place *place) {
    nha_cu_handle context;
    if (place->device.kind != NHA_CPU)
        driver_of(place)->cuCtxPopCurrent_v2(&context);
}

void *tune_place_alloc(const tune_place *place, int64_t bytes, err *e) {
    uint64_t device = 0;
    if (place->device.kind == NHA_CPU) {
        void *memory = tune_aligned(bytes);
        if (!memory)
            err_memory(e, "run");
        return memory;
    }
    if (!tune_place_enter(place, e))
        return NULL;
    int result = driver_of(place)->cuMemAlloc_v2(&device, bytes > 0 ? (size_t)bytes : 1);
    tune_place_leave(place);
    if (result) {
        failed(place, "cannot allocate on the device", result, e);
        return NULL;
    }
    return (void *)(uintptr_t)device;
}

void tune_place_free(const tune_place *place, void *memory) {
    if (place->device.kind == NHA_CPU) {
        free(memory);
    } else if (memory && tune_place_enter(place, NULL)) {
        driver_of(place)->cuMemFree_v2(address(memory));
        tune_place_leave(place);
    }
}

bool tune_place_wait(const tune_place *place, err *e) {
    if (place->device.kind == NHA_CPU)
        return true;
    if (!tune_place_enter(place, e))
        return false;
    int result = driver_of(place)->cuStreamSynchronize(NULL);
    tune_place_leave(place);
    return !result || failed(place, "the device", result, e);
}

bool tune_place_recover(const tune_place *place, err *e) {
    return !place->recover || place->recover(place->owner, e);
}

bool tune_place_write(const tune_place *place, void *to, const void *host, size_t bytes, err *e) {
    if (place->device.kind == NHA_CPU) {
        memcpy(to, host, bytes);
        return true;
    }
    if (!tune_place_enter(place, e))
        return false;
    int result = bytes ? driver_of(place)->cuMemcpyHtoDAsync_v2(address(to), host, bytes, NULL) : 0;
    if (!result)
        result = driver_of(place)->cuStreamSynchronize(NULL);
    tune_place_leave(place);
    return !result || failed(place, "cannot copy to the device", result, e);
}

bool tune_place_read(const tune_place *place, void *host, const void *from, size_t bytes, err *e) {
    if (place->device.kind == NHA_CPU) {
        memcpy(host, from, bytes);
        return true;
    }
    if (!tune_place_enter(place, e))
        return false;
    int result = bytes ? driver_of(place)->cuMemcpyDtoHAsync_v2(host, address(from), bytes, NULL) : 0;
    if (!result)
        result = driver_of(place)->cuStreamSynchronize(NULL);
    tune_place_leave(place);
    return !result || failed(place, "cannot copy from the device", result, e);
}
