/* nha_cuda_driver.h: the functions of the CUDA driver that nhac calls, as a table. libnha fills one from libcuda.so.1 at run time; whoever
 * has another driver (an emulator, a test double, an interposer) hands its own to nha_device.driver.
 * Declarations are ours, of the documented ABI: CUDA Driver API reference, version 12. Handles are pointers, device addresses 64-bit.
 */
#ifndef NHA_CUDA_DRIVER_H
#define NHA_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef void *nha_cu_handle; /* CUcontext, CUmodule, CUfunction, CUstream, CUevent, CUgraph, CUgraphExec */

/* CUresult: those that nhac tells apart. */
enum {
    NHA_CU_SUCCESS = 0,
    NHA_CU_INVALID_VALUE = 1,
    NHA_CU_OUT_OF_MEMORY = 2,
    NHA_CU_NOT_INITIALIZED = 3,
    NHA_CU_NO_DEVICE = 100,
    NHA_CU_INVALID_DEVICE = 101,
    NHA_CU_INVALID_IMAGE = 200,
    NHA_CU_INVALID_CONTEXT = 201,
    NHA_CU_NO_BINARY_FOR_GPU = 209,
    NHA_CU_INVALID_PTX = 218,
    NHA_CU_UNSUPPORTED_PTX_VERSION = 222,
    NHA_CU_INVALID_HANDLE = 400,
    NHA_CU_NOT_FOUND = 500,
    NHA_CU_ILLEGAL_ADDRESS = 700,
    NHA_CU_LAUNCH_OUT_OF_RESOURCES = 701,
    NHA_CU_LAUNCH_FAILED = 719,
    NHA_CU_DEVICE_LOST = 46, /* CUDA_ERROR_DEVICE_UNAVAILABLE */
    NHA_CU_STREAM_CAPTURE_UNSUPPORTED = 900,
    NHA_CU_STREAM_CAPTURE_INVALIDATED = 901,
};

/* CUdevice_attribute */
enum {
    NHA_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
    NHA_CU_ATTRIBUTE_CLOCK_RATE = 13,
    NHA_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    NHA_CU_ATTRIBUTE_MEMORY_CLOCK_RATE = 36,
    NHA_CU_ATTRIBUTE_MEMORY_BUS_WIDTH = 37,
    NHA_CU_ATTRIBUTE_L2_CACHE_SIZE = 38,
    NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    NHA_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
};

/* CUfunction_attribute */
enum { NHA_CU_FUNC_LOCAL_BYTES = 3, NHA_CU_FUNC_REGISTERS = 4, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES = 8 };

/* CUjit_option */
enum { NHA_CU_JIT_ERROR_LOG = 5, NHA_CU_JIT_ERROR_LOG_BYTES = 6 };

/* X(symbol exported by libcuda.so.1, arguments). Every one returns CUresult. Present in every driver since CUDA 11.4. */
#define NHA_CUDA_DRIVER_LIST(X)                                                                                        \
    X(cuInit, (unsigned flags))                                                                                        \
    X(cuDriverGetVersion, (int *version))                                                                              \
    X(cuGetErrorName, (int result, const char **text))                                                                 \
    X(cuGetErrorString, (int result, const char **text))                                                               \
    X(cuDeviceGetCount, (int *count))                                                                                  \
    X(cuDeviceGet, (int *device, int ordinal))                                                                         \
    X(cuDeviceGetName, (char *name, int size, int device))                                                             \
    X(cuDeviceGetAttribute, (int *value, int attribute, int device))                                                   \
    X(cuDeviceTotalMem_v2, (size_t *bytes, int device))                                                                \
    X(cuDevicePrimaryCtxRetain, (nha_cu_handle *context, int device))                                                  \
    X(cuDevicePrimaryCtxRelease_v2, (int device))                                                                      \
    X(cuCtxGetCurrent, (nha_cu_handle *context))                                                                       \
    X(cuCtxSetCurrent, (nha_cu_handle context))                                                                        \
    X(cuCtxPushCurrent_v2, (nha_cu_handle context))                                                                    \
    X(cuCtxPopCurrent_v2, (nha_cu_handle *context))                                                                    \
    X(cuCtxGetDevice, (int *device))                                                                                   \
    X(cuCtxSynchronize, (void))                                                                                        \
    X(cuModuleLoadDataEx, (nha_cu_handle *module, const void *image, unsigned options, int *option, void **value))     \
    X(cuModuleUnload, (nha_cu_handle module))                                                                          \
    X(cuModuleGetFunction, (nha_cu_handle *function, nha_cu_handle module, const char *name))                          \
    X(cuFuncGetAttribute, (int *value, int attribute, nha_cu_handle function))                                         \
    X(cuFuncSetAttribute, (nha_cu_handle function, int attribute, int value))                                          \
    X(cuLaunchKernel, (nha_cu_handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,    \
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, nha_cu_handle stream,                \
                       void **parameters, void **extra))                                                               \
    X(cuMemGetInfo_v2, (size_t *free_bytes, size_t *total_bytes))                                                      \
    X(cuMemAlloc_v2, (uint64_t *address, size_t bytes))                                                                \
    X(cuMemFree_v2, (uint64_t address))                                                                                \
    X(cuMemcpyHtoDAsync_v2, (uint64_t to, const void *from, size_t bytes, nha_cu_handle stream))                       \
    X(cuMemcpyDtoHAsync_v2, (void *to, uint64_t from, size_t bytes, nha_cu_handle stream))                             \
    X(cuMemcpyDtoDAsync_v2, (uint64_t to, uint64_t from, size_t bytes, nha_cu_handle stream))                          \
    X(cuMemsetD8Async, (uint64_t to, unsigned char value, size_t bytes, nha_cu_handle stream))                         \
    X(cuStreamCreate, (nha_cu_handle *stream, unsigned flags))                                                         \
    X(cuStreamDestroy_v2, (nha_cu_handle stream))                                                                      \
    X(cuStreamSynchronize, (nha_cu_handle stream))                                                                     \
    X(cuStreamIsCapturing, (nha_cu_handle stream, int *status))                                                        \
    X(cuStreamBeginCapture_v2, (nha_cu_handle stream, int mode))                                                       \
    X(cuStreamEndCapture, (nha_cu_handle stream, nha_cu_handle *graph))                                                \
    X(cuGraphInstantiateWithFlags, (nha_cu_handle *executable, nha_cu_handle graph, unsigned long long flags))         \
    X(cuGraphLaunch, (nha_cu_handle executable, nha_cu_handle stream))                                                 \
    X(cuGraphExecDestroy, (nha_cu_handle executable))                                                                  \
    X(cuGraphDestroy, (nha_cu_handle graph))                                                                           \
    X(cuEventCreate, (nha_cu_handle *event, unsigned flags))                                                           \
    X(cuEventRecord, (nha_cu_handle event, nha_cu_handle stream))                                                      \
    X(cuEventSynchronize, (nha_cu_handle event))                                                                       \
    X(cuEventElapsedTime, (float *milliseconds, nha_cu_handle start, nha_cu_handle end))                               \
    X(cuEventDestroy_v2, (nha_cu_handle event))

typedef struct nha_cuda_driver {
    size_t struct_size; /* sizeof(nha_cuda_driver) */
#define NHA_CUDA_DRIVER_MEMBER_(name, arguments) int(*name) arguments;
    NHA_CUDA_DRIVER_LIST(NHA_CUDA_DRIVER_MEMBER_)
#undef NHA_CUDA_DRIVER_MEMBER_
} nha_cuda_driver;

#endif
