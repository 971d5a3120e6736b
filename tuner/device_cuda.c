/* device_cuda.c: a CUDA GPU behind the device interface, by the driver's table; the emulator has one too. */
#include "tuner/device_cuda.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/device_shared.h"

static bool refused(const nha_cuda_driver *driver, const char *what, int result, err *e) {
    return tune_driver_error(driver, "device", what, result, e);
}

static int attribute(const tune_device *d, int which) {
    int value = 0, device = 0;
    const nha_cuda_driver *driver = d->place.device.driver;
    if (driver->cuDeviceGet(&device, d->place.device.ordinal) || driver->cuDeviceGetAttribute(&value, which, device))
        return 0;
    return value;
}

static void describe(const tune_device *d, char *out, size_t size) {
    const nha_cuda_driver *driver = d->place.device.driver;
    char name[128] = "a GPU";
    int device = 0, version = 0;
    if (!driver->cuDeviceGet(&device, d->place.device.ordinal))
        driver->cuDeviceGetName(name, (int)sizeof name, device);
    driver->cuDriverGetVersion(&version);
    snprintf(out, size, "%s, compute capability %d.%d, %d multiprocessors, driver for CUDA %d.%d, kernels for %s", name,
             d->place.arch / 10, d->place.arch % 10, attribute(d, NHA_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT), version / 1000,
             version % 1000 / 10, d->arch.cuda ? d->arch.cuda->name : "nothing");
}

static bool runs(const tune_device *d, const tune_arch *arch) {
    return arch->cuda && tune_place_runs(&d->place, arch->cuda->name);
}

static int threads(const tune_device *d) {
    (void)d;
    return 1;
}

static bool prepare(const tune_device *d, tune_candidate *candidate, err *e) {
    const jit_nvrtc *nvrtc = tune_nvrtc(e);
    if (!nvrtc || !tune_candidate_load(candidate, nvrtc, e))
        return false;
    if (!d->adopt || d->adopt(d, &candidate->library, e))
        return true;
    tune_candidate_unload(candidate);
    return false;
}

static void release(const tune_device *d, tune_candidate *candidate) {
    if (candidate->loaded && d->forget)
        d->forget(d, &candidate->library);
    tune_candidate_unload(candidate);
}

/* Once; a context that was broken is made anew. */
static bool verify_once(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e) {
    if (tune_verify_kernel(&d->place, &candidate->library, 0, reference, NULL, NULL, e))
        return true;
    err broken = {0};
    if (!tune_place_recover(&d->place, &broken)) {
        err_clear(e);
        err_set(e, ERR_SYSTEM, broken.stage, "%s", broken.text); /* nothing more can run */
    }
    err_clear(&broken);
    return false;
}

bool device_cuda_verify(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    err own = {0};
    pthread_mutex_lock(&lock);
    bool ok = verify_once(d, candidate, reference, &own);
    if (!ok && own.code == ERR_DEVICE) { /* the device's fault, perhaps: in a new context it has a second chance */
        err_clear(&own);
        ok = verify_once(d, candidate, reference, &own);
    }
    pthread_mutex_unlock(&lock);
    if (!ok)
        err_set(e, own.code, own.stage, "%s", own.text);
    err_clear(&own);
    return ok;
}

static bool open_limit(const tune_device *d, tune_limit_kind kind, const tune_arch *arch, int dtype, size_t bytes,
                       int threads, tune_limit **limit, err *e) {
    (void)threads;
    (void)arch; /* the device is what it is */
    if (kind > TUNE_LIMIT_UPDATE)
        return err_set(e, ERR_MISSING, "limits", "there is no such limit of a GPU");
    return tune_limit_open_cuda(&d->place, kind, dtype, bytes, limit, e);
}

static void close_limit(const tune_device *d, tune_limit *limit) {
    (void)d;
    tune_limit_close_cuda(limit);
}

/* Whether the context still works. */
static bool works(const tune_place *place) {
    err e = {0};
    bool ok = tune_place_wait(place, &e);
    err_clear(&e);
    return ok;
}

/* The primary context is destroyed when nobody holds it, and comes back whole. */
static bool recover(void *owner, err *e) {
    tune_place *place = &((tune_device *)owner)->place;
    const nha_cuda_driver *driver = place->device.driver;
    int device = 0;
    if (works(place))
        return true;
    int result = driver->cuDeviceGet(&device, place->device.ordinal);
    if (!result) {
        driver->cuDevicePrimaryCtxRelease_v2(device);
        place->generation++;
        result = driver->cuDevicePrimaryCtxRetain(&place->device.context, device);
    }
    if (result)
        return refused(driver, "the device is lost", result, e);
    return works(place) || err_set(e, ERR_DEVICE, "device", "the device does not work any more after a fault");
}

bool device_cuda_begin(tune_device *d, const nha_cuda_driver *driver, int ordinal, err *e) {
    int count = 0, device = 0, major = 0, minor = 0;
    int result = driver->cuDeviceGetCount(&count);
    if (result)
        return refused(driver, "cannot count the GPUs", result, e);
    if (ordinal >= count)
        return err_set(e, ERR_MISSING, "device", "there is no GPU %d: the driver has %d", ordinal, count);
    d->place = (tune_place){
        .device = {.kind = NHA_CUDA, .ordinal = ordinal, .driver = driver}, .recover = recover, .owner = d};
    if ((result = driver->cuDeviceGet(&device, ordinal)) ||
        (result = driver->cuDeviceGetAttribute(&major, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)) ||
        (result = driver->cuDeviceGetAttribute(&minor, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)) ||
        (result = driver->cuDevicePrimaryCtxRetain(&d->place.device.context, device)))
        return refused(driver, "cannot use the GPU", result, e);
    d->place.arch = 10 * major + minor;
    d->arch.cuda = gen_cuda_target_of(major, minor);
    d->describe = describe;
    d->runs = runs;
    d->threads = threads;
    d->prepare = prepare;
    d->release = release;
    d->verify = device_cuda_verify;
    d->open_workload = device_open_workload;
    d->close_workload = device_close_workload;
    d->open_runner = device_open_runner;
    d->close_runner = device_close_runner;
    d->open_limit = open_limit;
    d->close_limit = close_limit;
    return true;
}

void device_cuda_end(tune_device *d) {
    int device = 0;
    const nha_cuda_driver *driver = d->place.device.driver;
    if (!driver->cuDeviceGet(&device, d->place.device.ordinal))
        driver->cuDevicePrimaryCtxRelease_v2(device);
}

static void close_gpu(tune_device *d) {
    device_cuda_end(d);
    free(d);
}

bool tune_device_open_cuda(int ordinal, tune_device **device, err *e) {
    const nha_cuda_driver *driver;
    nha_error error = {0};
    *device = NULL;
    if (nha_cuda_driver_open(&driver, &error))
        return err_set(e, ERR_MISSING, "device", "device cuda:%d: %s", ordinal, error.text);
    tune_device *d = calloc(1, sizeof *d);
    if (!d)
        return err_memory(e, "device");
    if (!device_cuda_begin(d, driver, ordinal, e)) {
        free(d);
        return false;
    }
    snprintf(d->name, sizeof d->name, "cuda:%d", ordinal);
    d->verified_by = "gpu";
    d->timed_by = "gpu";
    d->close = close_gpu;
    *device = d;
    return true;
}
