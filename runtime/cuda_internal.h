/* cuda_internal.h: what the CUDA files of libnha share: a context to work in, targets of code, and the CUDA part of a
 * plan. */
#ifndef NHR_CUDA_INTERNAL_H
#define NHR_CUDA_INTERNAL_H

#include <pthread.h>

#include "runtime/internal.h"
#include "runtime/nha_cuda.h"
#include "runtime/nha_cuda_driver.h"

/* ---- Driver and context (cuda_driver.c, cuda_context.c) ---- */

typedef struct nhr_cuda_context {
    const nha_cuda_driver *driver;
    nha_cu_handle handle;
    int device;
    bool retained; /* the primary context of the device, to be released */
} nhr_cuda_context;

/* Finds the driver and the context of a device; a primary context is retained. Nothing stays pushed.
 * Errors: NHA_NO_DEVICE, NHA_INVALID_ARGUMENT (a table of functions that is not whole, a context that is none),
 * NHA_DEVICE_ERROR. */
nha_status nhr_cuda_open(nha_device device, nhr_cuda_context *context, nha_error *error);
/* Releases what open retained; all zero is allowed. */
void nhr_cuda_close(nhr_cuda_context *context);
/* Makes the context current on this thread, and the one before it again. Never during nha_execute. */
nha_status nhr_cuda_enter(const nhr_cuda_context *context, nha_error *error);
void nhr_cuda_leave(const nhr_cuda_context *context);

/* Fills *error with what was tried (printf), the driver's name of `result` and its text; returns NHA_DEVICE_ERROR, or
 * NHA_OUT_OF_MEMORY where that is the result. */
nha_status nhr_cuda_fail(const nha_cuda_driver *driver, int result, nha_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Refuses a stream that is being captured, for `what`, which waits for it. */
nha_status nhr_cuda_not_capturing(const nha_cuda_driver *driver, void *stream, const char *what, nha_error *error);

/* ---- Targets (cuda_target.c) ---- */

/* "sm_90a": compute capability 9.0, suffix 'a'. */
typedef struct nhr_target {
    int major, minor;
    char suffix; /* 'a': that capability alone; 'f': its family; 0: plain */
} nhr_target;

bool nhr_target_parse(const char *text, nhr_target *target);

/* How code suits a device, better ones last. */
typedef enum nhr_fit { NHR_FIT_NONE, NHR_FIT_PTX, NHR_FIT_COMPATIBLE, NHR_FIT_EXACT } nhr_fit;

/* Of machine code for `target` on a device of capability major.minor: NONE, COMPATIBLE (same major, minor not above;
 * `f`: in its family) or EXACT. */
nhr_fit nhr_target_fit(const nhr_target *target, int major, int minor);
/* Whether the driver can compile PTX for `target` for such a device: plain PTX for any at or above it, `f` in its
 * family, `a` there alone. */
bool nhr_target_compiles(const nhr_target *target, int major, int minor);

/* ---- Choice (cuda_choose.c) ---- */

typedef struct nhr_gpu {
    int major, minor;
    int32_t shared_bytes; /* most that a block may ask for */
} nhr_gpu;

typedef struct nhr_choice {
    const nha_kernel *kernel;
    nhr_fit fit; /* PTX: take the kernel's ptx, else its cubin */
} nhr_choice;

/* Of the plan's kernels that are valid for its bounds (or have the forced name) and that the device can run: the best
 * fit, then the lowest rank, then the nearest target, `a` before `f` before plain. Errors: NHA_NO_KERNEL,
 * NHA_INVALID_ARGUMENT (options.isa). */
nha_status nhr_cuda_choose(const nha_library *library, const nha_plan_options *options, const nha_plan *plan,
                           const nhr_gpu *gpu, nhr_choice *choice, nha_error *error);

/* ---- Plan and execution (cuda_plan.c, cuda_execute.c, cuda_debug.c) ---- */

struct nhr_cuda_debug;

struct nhr_cuda_part {
    nhr_cuda_context context;
    const nha_cuda_code *code;
    nha_cu_handle module; /* this plan's own: plans of one kernel load it once each */
    nha_cu_handle function[NHA_CUDA_LAUNCHES_MAX];
    int64_t block_bytes; /* of workspace */
    struct nhr_cuda_debug *debug; /* NULL: not a debugging plan */
};

/* Host memory for one look at the values of a call, with its lock: debugging executions of a plan wait for each other.
 * NULL: no memory. */
struct nhr_cuda_debug *nhr_cuda_debug_create(const nha_plan *plan);
void nhr_cuda_debug_destroy(struct nhr_cuda_debug *debug);
/* Copies cu_seqlens, cache_index and positions of a call to the host, waits for the stream, and checks them. */
nha_status nhr_cuda_debug_check(const nha_plan *plan, const nha_cpu_args *args, void *stream, nha_error *error);

#endif
