/* cuda_context.c: the context that a plan or a pool lives in, and the driver's errors as ours. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cuda_internal.h"

nha_status nhr_cuda_fail(const nha_cuda_driver *driver, int result, nha_error *error, const char *format, ...) {
    const char *name = NULL, *text = NULL;
    char what[160];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    nha_status status = result == NHA_CU_OUT_OF_MEMORY ? NHA_OUT_OF_MEMORY : NHA_DEVICE_ERROR;
    if (driver->cuGetErrorName(result, &name) || !name)
        return nhr_fail(error, status, "%s: CUDA error %d", what, result);
    if (driver->cuGetErrorString(result, &text) || !text) return nhr_fail(error, status, "%s: %s", what, name);
    return nhr_fail(error, status, "%s: %s (%s)", what, name, text);
}

/* A table that the caller made. */
static nha_status check_driver(const nha_cuda_driver *driver, nha_error *error) {
    if (driver->struct_size < sizeof *driver)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "device.driver.struct_size is %zu, expected %zu",
                        driver->struct_size, sizeof *driver);
#define CHECK(name, arguments)                                                                                         \
    if (!driver->name) return nhr_fail(error, NHA_INVALID_ARGUMENT, "device.driver." #name " is NULL");
    NHA_CUDA_DRIVER_LIST(CHECK)
#undef CHECK
    int result = driver->cuInit(0);
    if (!result) return NHA_OK;
    nhr_cuda_fail(driver, result, error, "device.driver does not start");
    if (error) error->status = NHA_NO_DEVICE;
    return NHA_NO_DEVICE;
}

static nha_status open_given(nha_cu_handle handle, nhr_cuda_context *c, nha_error *error) {
    c->handle = handle;
    int result = c->driver->cuCtxPushCurrent_v2(handle);
    if (result == NHA_CU_INVALID_CONTEXT || result == NHA_CU_INVALID_VALUE) {
        nhr_cuda_fail(c->driver, result, error, "device.context is not a CUDA context");
        if (error) error->status = NHA_INVALID_ARGUMENT;
        return NHA_INVALID_ARGUMENT;
    }
    if (result) return nhr_cuda_fail(c->driver, result, error, "device.context cannot be made current");
    result = c->driver->cuCtxGetDevice(&c->device);
    nhr_cuda_leave(c);
    return result ? nhr_cuda_fail(c->driver, result, error, "the device of device.context cannot be found") : NHA_OK;
}

static nha_status open_primary(int32_t ordinal, nhr_cuda_context *c, nha_error *error) {
    int count = 0, result = c->driver->cuDeviceGetCount(&count);
    if (result) return nhr_cuda_fail(c->driver, result, error, "the CUDA devices cannot be counted");
    if (ordinal < 0 || ordinal >= count)
        return nhr_fail(error, NHA_NO_DEVICE, "there is no device cuda:%d: the driver sees %d", ordinal, count);
    if ((result = c->driver->cuDeviceGet(&c->device, ordinal)))
        return nhr_cuda_fail(c->driver, result, error, "device cuda:%d cannot be opened", ordinal);
    if ((result = c->driver->cuDevicePrimaryCtxRetain(&c->handle, c->device)))
        return nhr_cuda_fail(c->driver, result, error, "the primary context of cuda:%d cannot be made", ordinal);
    c->retained = true;
    return NHA_OK;
}

nha_status nhr_cuda_open(nha_device device, nhr_cuda_context *c, nha_error *error) {
    memset(c, 0, sizeof *c);
    c->driver = device.driver;
    nha_status status = c->driver ? check_driver(c->driver, error) : nha_cuda_driver_open(&c->driver, error);
    if (status) return status;
    return device.context ? open_given(device.context, c, error) : open_primary(device.ordinal, c, error);
}

void nhr_cuda_close(nhr_cuda_context *c) {
    if (c->retained) c->driver->cuDevicePrimaryCtxRelease_v2(c->device);
    c->retained = false;
}

nha_status nhr_cuda_enter(const nhr_cuda_context *c, nha_error *error) {
    int result = c->driver->cuCtxPushCurrent_v2(c->handle);
    return result ? nhr_cuda_fail(c->driver, result, error, "the CUDA context cannot be made current") : NHA_OK;
}

void nhr_cuda_leave(const nhr_cuda_context *c) {
    nha_cu_handle popped;
    c->driver->cuCtxPopCurrent_v2(&popped);
}

nha_status nhr_cuda_not_capturing(const nha_cuda_driver *driver, void *stream, const char *what, nha_error *error) {
    int capturing = 0, result = driver->cuStreamIsCapturing(stream, &capturing);
    if (result) return nhr_cuda_fail(driver, result, error, "the stream cannot be asked whether it is captured");
    if (capturing)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s waits for the stream, which is being captured in a graph",
                        what);
    return NHA_OK;
}
