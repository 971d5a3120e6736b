/* driver.h: the CUDA driver API over the emulator: the same functions with the prefix emu_, on devices that are a
 * table. Contexts, memory, modules, streams, capture, graphs and events follow the documented semantics; kernels run in
 * the emulator, at once, in the call. */
#ifndef EMU_DRIVER_H
#define EMU_DRIVER_H

#include "emu/emu.h"

/* ---- the API ----
 *
 * X(name, parameters, arguments). Every function is `int emu_NAME parameters` and returns a CUresult. Types are those
 * of the ABI of CUDA 12 and 13: handles are void *, CUdeviceptr is uint64_t, enumerations and CUdevice are int. All are
 * thread-safe: one lock for all, so that one launch runs at a time (on as many host threads as the options say). How
 * the semantics were modelled:
 *
 * - One context a device, the primary one. Its handle stays the same when it is released to zero and retained again;
 *   between, it is invalid. The release to zero frees whatever belongs to it, and ends a sticky error.
 * - Handles are looked up in a table and never dereferenced: a wrong, stale or foreign one is INVALID_HANDLE (400); a
 *   device address outside an allocation of the current context is INVALID_VALUE (1).
 * - Memory from cuMemAlloc is EMU_UNDEFINED: a kernel that reads what nobody wrote is reported. cuMemcpyHtoD and
 *   cuMemset define bytes, cuMemcpyDtoD copies which bytes are defined, cuMemcpyDtoH may read any.
 * - Modules are PTX, or cubins whose PTX is known (emu_driver_register). PTX above the device, a cubin for another one:
 *   NO_BINARY_FOR_GPU (209); PTX newer than the driver: 222; PTX that the emulator refuses: INVALID_PTX (218) with its
 *   line in the JIT error log; a cubin that is not registered, or an image that is none: INVALID_IMAGE (200).
 *   emu_driver_report says more.
 * - A kernel with any report fails: 700 (out of bounds, read-only), 716 (misaligned), else 719. The error is sticky.
 * - Registers of a kernel (cuFuncGetAttribute 4) are 0: an emulator allocates none. Local bytes are those that the PTX
 *   declares.
 * - Capture has one stream, there being no call that forks one. Calls that may synchronise (allocation, module loading,
 *   synchronising the context) during a capture of mode GLOBAL, or of THREAD_LOCAL in the same thread, fail with 900
 *   and invalidate it; synchronising the context does so in every mode. */
/* clang-format off */
#define EMU_DRIVER_LIST(X)                                                                                             \
    X(cuInit, (unsigned flags), (flags))                                                                               \
    X(cuDriverGetVersion, (int *version), (version))                                                                   \
    X(cuGetErrorName, (int result, const char **text), (result, text))                                                 \
    X(cuGetErrorString, (int result, const char **text), (result, text))                                               \
    X(cuDeviceGetCount, (int *count), (count))                                                                         \
    X(cuDeviceGet, (int *device, int ordinal), (device, ordinal))                                                      \
    X(cuDeviceGetName, (char *name, int size, int device), (name, size, device))                                       \
    X(cuDeviceGetAttribute, (int *value, int attribute, int device), (value, attribute, device))                       \
    X(cuDeviceTotalMem_v2, (size_t *bytes, int device), (bytes, device))                                               \
    X(cuDevicePrimaryCtxRetain, (void **context, int device), (context, device))                                       \
    X(cuDevicePrimaryCtxRelease_v2, (int device), (device))                                                            \
    X(cuCtxGetCurrent, (void **context), (context))                                                                    \
    X(cuCtxSetCurrent, (void *context), (context))                                                                     \
    X(cuCtxPushCurrent_v2, (void *context), (context))                                                                 \
    X(cuCtxPopCurrent_v2, (void **context), (context))                                                                 \
    X(cuCtxGetDevice, (int *device), (device))                                                                         \
    X(cuCtxSynchronize, (void), ())                                                                                    \
    X(cuModuleLoadDataEx, (void **module, const void *image, unsigned options, int *option, void **value),             \
      (module, image, options, option, value))                                                                         \
    X(cuModuleUnload, (void *module), (module))                                                                        \
    X(cuModuleGetFunction, (void **function, void *module, const char *name), (function, module, name))                \
    X(cuFuncGetAttribute, (int *value, int attribute, void *function), (value, attribute, function))                   \
    X(cuFuncSetAttribute, (void *function, int attribute, int value), (function, attribute, value))                    \
    X(cuLaunchKernel,                                                                                                  \
      (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,          \
       unsigned block_z, unsigned shared_bytes, void *stream, void **parameters, void **extra),                        \
      (function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, parameters, extra))          \
    X(cuMemGetInfo_v2, (size_t *free_bytes, size_t *total_bytes), (free_bytes, total_bytes))                           \
    X(cuMemAlloc_v2, (uint64_t *address, size_t bytes), (address, bytes))                                              \
    X(cuMemFree_v2, (uint64_t address), (address))                                                                     \
    X(cuMemcpyHtoDAsync_v2, (uint64_t to, const void *from, size_t bytes, void *stream), (to, from, bytes, stream))    \
    X(cuMemcpyDtoHAsync_v2, (void *to, uint64_t from, size_t bytes, void *stream), (to, from, bytes, stream))          \
    X(cuMemcpyDtoDAsync_v2, (uint64_t to, uint64_t from, size_t bytes, void *stream), (to, from, bytes, stream))       \
    X(cuMemsetD8Async, (uint64_t to, unsigned char value, size_t bytes, void *stream), (to, value, bytes, stream))     \
    X(cuStreamCreate, (void **stream, unsigned flags), (stream, flags))                                                \
    X(cuStreamDestroy_v2, (void *stream), (stream))                                                                    \
    X(cuStreamSynchronize, (void *stream), (stream))                                                                   \
    X(cuStreamIsCapturing, (void *stream, int *status), (stream, status))                                              \
    X(cuStreamBeginCapture_v2, (void *stream, int mode), (stream, mode))                                               \
    X(cuStreamEndCapture, (void *stream, void **graph), (stream, graph))                                               \
    X(cuGraphInstantiateWithFlags, (void **executable, void *graph, unsigned long long flags),                         \
      (executable, graph, flags))                                                                                      \
    X(cuGraphLaunch, (void *executable, void *stream), (executable, stream))                                           \
    X(cuGraphExecDestroy, (void *executable), (executable))                                                            \
    X(cuGraphDestroy, (void *graph), (graph))                                                                          \
    X(cuEventCreate, (void **event, unsigned flags), (event, flags))                                                   \
    X(cuEventRecord, (void *event, void *stream), (event, stream))                                                     \
    X(cuEventSynchronize, (void *event), (event))                                                                      \
    X(cuEventElapsedTime, (float *milliseconds, void *start, void *end), (milliseconds, start, end))                   \
    X(cuEventDestroy_v2, (void *event), (event))
/* clang-format on */

#define EMU_DECLARE_(name, parameters, arguments) int emu_##name parameters;
EMU_DRIVER_LIST(EMU_DECLARE_)
#undef EMU_DECLARE_

/* ---- devices and options ---- */

typedef struct emu_driver_device {
    char name[64];
    int major, minor; /* compute capability */
    int multiprocessors;
    int threads_per_multiprocessor;
    size_t shared_per_block; /* bytes of shared memory a block may have without asking */
    size_t shared_optin;     /* with cuFuncSetAttribute */
    size_t shared_per_multiprocessor;
    size_t total_memory; /* bytes; cuMemAlloc fails beyond */
    int clock_khz, memory_clock_khz, memory_bus_bits, l2_bytes;
} emu_driver_device;

typedef struct emu_driver_options {
    const emu_driver_device *devices; /* copied; by ordinal */
    size_t device_count;              /* at most EMU_DRIVER_DEVICES_MAX; 0: cuInit says NO_DEVICE (100) */
    int driver_version;               /* of cuDriverGetVersion: 1000 * major + 10 * minor */
    emu_options launch;               /* `blocks` is ignored */
    bool late_faults; /* faults of kernels show at the next call that waits, as on a device: cuLaunchKernel succeeds,
                       * and what follows in the context does not run */
} emu_driver_options;

enum { EMU_DRIVER_DEVICES_MAX = 16 };

/* Six devices, of compute capability 8.0, 8.6, 8.9, 9.0, 10.0 and 12.0; driver 13.0; emu_options_default; no late
 * faults. */
emu_driver_options emu_driver_options_default(void);
/* The default device of that capability: for one between the rows, the last row of its major not above it with its
 * capability put in. false: unknown major. */
bool emu_driver_device_of(int major, int minor, emu_driver_device *device);
/* Replaces devices and options (NULL: the defaults), forgets injected failures, the report, the counters, and that
 * cuInit was called. Without a call the defaults hold. false, changing nothing: a primary context is retained, or an
 * option is impossible. */
bool emu_driver_configure(const emu_driver_options *options);
/* Options of the launches from now on, at any time; `blocks` is ignored. */
void emu_driver_launch_options(const emu_options *options);

/* ---- what the emulator knows besides ---- */

/* Pairs the bytes of a cubin with the PTX it was made from; both are copied. Registering the same bytes again counts,
 * the PTX of the first stays. false: not a CUDA ELF file, or out of memory. */
bool emu_driver_register(const void *cubin, size_t bytes, const char *ptx, size_t ptx_bytes);
/* Undoes one emu_driver_register. false: not registered. Loaded modules stay. */
bool emu_driver_forget(const void *cubin, size_t bytes);
/* The architecture a cubin is for: 10 * major + minor, and whether it is of the architecture-specific kind (sm_90a),
 * which runs on that one alone. Family targets (sm_100f) look like plain ones: both run on the same major with no lower
 * minor. false: not a CUDA ELF. */
bool emu_driver_cubin_arch(const void *cubin, size_t bytes, int *arch, bool *specific);

/* Why the last call that failed did so: reports of a kernel, one a line, which stay for the sticky error that follows;
 * one sentence about an image or a launch; empty where the result says it all. Writes at most size - 1 bytes and a zero
 * (nothing where size is 0), returns the length of the whole text. */
size_t emu_driver_report(char *out, size_t size);
/* Number of such texts so far, to see whether there is a new one. */
uint64_t emu_driver_report_count(void);
/* Sum over all launches so far. */
void emu_driver_counters(emu_counters *counters);
/* emu_unwritten and emu_mark(false) on memory of the current context; SIZE_MAX, false: not inside an allocation, or no
 * context. */
size_t emu_driver_unwritten(uint64_t address, size_t bytes, size_t *first);
bool emu_driver_poison(uint64_t address, size_t bytes);

/* The after-th call from now (1: the next) of a function of the list fails with `result` without doing anything; once.
 * `function` is its name, with or without _v2. sticky: every later call in the context that is current then fails so
 * too. Several may wait. function NULL: forgets all. false: unknown function, after < 1, result < 1, or more than 64
 * wait. */
bool emu_driver_fail(const char *function, int after, int result, bool sticky);

#endif
