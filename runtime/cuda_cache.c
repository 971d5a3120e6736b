/* cuda_cache.c: pools in device memory. These functions are not executions: they push the context they work in and pop
 * it again. */
#include "runtime/cuda_internal.h"

static uint64_t row_at(const nha_cpu_cache *c, int64_t row) {
    return (uintptr_t)c->pool + (uint64_t)(row * c->row_bytes);
}

/* Opens the device and makes its context current. */
static nha_status begin(nha_device device, nhr_cuda_context *context, nha_error *error) {
    nha_status status = nhr_cuda_open(device, context, error);
    if (!status) status = nhr_cuda_enter(context, error);
    if (status) nhr_cuda_close(context);
    return status;
}

static void end(nhr_cuda_context *context) {
    nhr_cuda_leave(context);
    nhr_cuda_close(context);
}

nha_status nhr_cuda_reset(nha_device device, const nha_cpu_cache *c, const int32_t *rows, int64_t count, void *stream,
                          nha_error *error) {
    nhr_cuda_context context;
    nha_status status = begin(device, &context, error);
    if (status) return status;
    const nha_cuda_driver *driver = context.driver;
    int result = 0;
    if (!rows && count) result = driver->cuMemsetD8Async(row_at(c, 0), 0, (size_t)(count * c->row_bytes), stream);
    for (int64_t j = 0; rows && j < count && !result; j++) /* what a ring holds is said by the position */
        result = driver->cuMemsetD8Async(row_at(c, rows[j]), 0, (size_t)c->k_offset, stream);
    status = result ? nhr_cuda_fail(driver, result, error, "the rows cannot be reset") : nhr_ok(error);
    end(&context);
    return status;
}

nha_status nhr_cuda_copy(nha_device device, const nha_cpu_cache *target, const int32_t *to,
                         const nha_cpu_cache *source, const int32_t *from, int64_t count, void *stream,
                         nha_error *error) {
    nhr_cuda_context context;
    nha_status status = begin(device, &context, error);
    if (status) return status;
    int result = 0;
    for (int64_t j = 0; j < count && !result; j++)
        result = context.driver->cuMemcpyDtoDAsync_v2(row_at(target, to ? to[j] : j),
                                                      row_at(source, from ? from[j] : j), (size_t)target->row_bytes,
                                                      stream);
    status = result ? nhr_cuda_fail(context.driver, result, error, "the rows cannot be copied") : nhr_ok(error);
    end(&context);
    return status;
}

/* A copy between the host and a row, `to` or `from` NULL; all of it is done when this returns. */
static nha_status move(nha_device device, const nha_cpu_cache *c, int32_t row, void *to, const void *from,
                       int64_t bytes, void *stream, nha_error *error) {
    nhr_cuda_context context;
    nha_status status = begin(device, &context, error);
    if (status) return status;
    const nha_cuda_driver *driver = context.driver;
    if ((status = nhr_cuda_not_capturing(driver, stream, "opening a cache", error))) goto done;
    int result = to ? driver->cuMemcpyDtoHAsync_v2(to, row_at(c, row), (size_t)bytes, stream)
                    : driver->cuMemcpyHtoDAsync_v2(row_at(c, row), from, (size_t)bytes, stream);
    if (!result) result = driver->cuStreamSynchronize(stream);
    if (result) status = nhr_cuda_fail(driver, result, error, "row %d cannot be %s", row, to ? "read" : "written");
done:
    end(&context);
    return status;
}

nha_status nhr_cuda_read_row(nha_device device, const nha_cpu_cache *c, int32_t row, void *to, int64_t bytes,
                             void *stream, nha_error *error) {
    return move(device, c, row, to, NULL, bytes, stream, error);
}

nha_status nhr_cuda_write_row(nha_device device, const nha_cpu_cache *c, int32_t row, const void *from, void *stream,
                              nha_error *error) {
    return move(device, c, row, NULL, from, c->row_bytes, stream, error);
}
