/* help_driver.h: a CUDA driver that only records. Its device memory is host memory, launches are written down with
 * their parameter, and any function fails on demand. What a real driver would refuse and libnha must never do is
 * counted. */
#ifndef HELP_DRIVER_H
#define HELP_DRIVER_H

#include "runtime/nha.h"
#include "runtime/nha_cuda.h"
#include "runtime/nha_cuda_driver.h"

enum { RECORDER_DEVICES = 2, RECORDER_LAUNCHES = 64 };

typedef struct recorded_launch {
    char entry[64];
    const void *image; /* of its module */
    unsigned blocks, threads, shared_bytes;
    nha_cu_handle stream;
    nha_cuda_args args;
} recorded_launch;

typedef struct recorder {
    /* what the devices are; recorder_reset sets them */
    int device_count, major, minor, shared_bytes, version;
    const char *log; /* what the compiler of PTX writes when cuModuleLoadDataEx fails */
    int capturing;   /* CUstreamCaptureStatus of every stream */
    int wait_us;     /* how long waiting for a stream takes */
    /* the next call of `fail`, after `fail_after` of them, returns `fail_result` */
    const char *fail;
    int fail_after, fail_result;
    /* what happened */
    int retained[RECORDER_DEVICES]; /* references to the primary context */
    int modules, loads;             /* modules alive, and ever loaded */
    int pushed;                     /* context pushes */
    int initialised;                /* calls of cuInit */
    int64_t log_bytes;              /* room that the last load offered for the log */
    int launch_count;
    recorded_launch launch[RECORDER_LAUNCHES];
    /* what must not happen: a call that a capture forbids; a launch of a function that may not be loaded yet; a call
     * without a context, with a wrong one, or with arguments that are none */
    int illegal_in_capture, not_loaded, misused;
} recorder;

extern recorder recorded;

/* Forgets everything; both devices have this compute capability. Memory of recorder_memory is freed. */
void recorder_reset(int major, int minor);
const nha_cuda_driver *recorder_driver(void);
/* Calls of a function since the last reset; NULL: of all. */
int recorder_calls(const char *function);
/* An own context of a device, not current. */
nha_cu_handle recorder_context(int device);
/* Makes a context current on this thread as the program would (NULL: none), uncounted. */
void recorder_set_current(nha_cu_handle context);
nha_cu_handle recorder_current(void);
/* The primary context of a device. */
nha_cu_handle recorder_primary(int device);
/* Device memory, 256-byte aligned and poisoned, freed by recorder_reset. Copies outside of such memory are refused. */
void *recorder_memory(size_t bytes);

/* { NHA_CUDA, ordinal, no context, the recording driver } */
nha_device recorder_device(int ordinal);

#endif
