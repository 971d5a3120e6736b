/* device.h: where candidates run. One table of functions a kind of device; the tuner and bench know nothing else of it.
 * The CPU, a CUDA device and the emulator are three; the replay of a journal fits behind the same slots. */
#ifndef TUNER_DEVICE_H
#define TUNER_DEVICE_H

#include "tuner/candidate.h"
#include "tuner/limits.h"
#include "tuner/place.h"
#include "tuner/verify.h"
#include "tuner/workload.h"

typedef struct tune_device tune_device;
struct tune_device {
    char name[32];           /* as given with --device: "cpu", "cuda:0", "emu:sm_90" */
    const char *verified_by; /* for records: what a passed verification was run on: "cpu", "gpu", "emulator" */
    const char *timed_by;    /* and what its times come from: "cpu", "gpu", "model" */
    tune_place place;        /* where plans run */
    tune_arch arch;          /* what kernels are tuned for, unless best() says otherwise; zero: none here */
    void *state;             /* the device's own */

    /* One line that tells this device from others of its kind (model, ISA, driver): part of a journal's key and shown
     * to people. */
    void (*describe)(const tune_device *d, char *out, size_t size);
    /* The arch kernels of this problem are tuned for; NULL: `arch`. */
    tune_arch (*best)(const tune_device *d, const gen_problem *problem);
    /* Whether kernels for this arch run here. */
    bool (*runs)(const tune_device *d, const tune_arch *arch);
    /* Threads (or 1) an execution uses by default. */
    int (*threads)(const tune_device *d);
    /* Renders, compiles and loads. Thread-safe for distinct candidates. Errors: ERR_COMPILE and others; the candidate
     * stays unloaded. */
    bool (*prepare)(const tune_device *d, tune_candidate *candidate, err *e);
    void (*release)(const tune_device *d, tune_candidate *candidate);
    /* Holds a prepared candidate against the oracle. Thread-safe for distinct candidates. Errors: ERR_MISMATCH where it
     * is wrong. */
    bool (*verify)(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e);
    /* Takes up the kernels of a library that was opened, so that they can run here; NULL: nothing to do. `library`
     * outlives the device or is given back by forget(). */
    bool (*adopt)(const tune_device *d, const nha_library *library, err *e);
    void (*forget)(const tune_device *d, const nha_library *library);
    /* Tensors of a shape on this device: see workload.h. */
    bool (*open_workload)(const tune_device *d, const gen_problem *problem, const gen_shape *shape,
                          const nha_library *library, size_t cold_bytes, tune_workload **workload, err *e);
    void (*close_workload)(const tune_device *d, tune_workload *workload);
    /* A kernel bound to them, to be measured. */
    bool (*open_runner)(const tune_device *d, tune_workload *workload, const nha_library *library, const char *kernel,
                        const char *isa, int threads, tune_runner **runner, err *e);
    void (*close_runner)(const tune_device *d, tune_runner *runner);
    /* Where times come from a model and not from a clock: microseconds of one iteration of a runner; NULL: measure. */
    bool (*model)(const tune_device *d, tune_runner *runner, double *us, err *e);
    /* The device's own limits, to be measured beside the kernels (limits.h); of arithmetic, for products of `dtype` by
     * kernels for `arch`, which run here. NULL: it has none to measure. */
    bool (*open_limit)(const tune_device *d, tune_limit_kind kind, const tune_arch *arch, int dtype, size_t bytes,
                       int threads, tune_limit **limit, err *e);
    void (*close_limit)(const tune_device *d, tune_limit *limit);
    void (*close)(tune_device *d);
};

/* Opens "cpu", "cuda:N", "emu" or "emu:TARGET". NULL stands for the best that is there: for a `target` of a spec (or a
 * library's kernel) "cpu" or "sm_90": the CPU; else the first GPU that runs it, else the emulator of that target.
 * `target` NULL: a CPU for the name NULL, sm_90 for "emu". Errors: ERR_USAGE for a name that is none, ERR_MISSING for a
 * device or compiler that this machine does not have. On failure *device is NULL. */
bool tune_device_open(const char *name, const char *target, tune_device **device, err *e);
/* NULL is allowed. Nothing of it may be in use. */
void tune_device_close(tune_device *device);
/* Whether a word can be given with --device. Error: ERR_USAGE with the nearest. */
bool tune_device_known(const char *name, err *e);

/* Whether kernels for a target of a spec can be made here; else a one-line reason in *why, valid until the next call. */
bool tune_target_available(const char *target, const char **why);

/* The first GPU whose place is `wanted`; NULL where there is none. */
tune_device *tune_device_find_gpu(bool (*wanted)(const void *context, const tune_place *place), const void *context);

/* device_cpu.c, device_cuda.c, device_emu.c: errors as above. */
bool tune_device_open_cpu(tune_device **device, err *e);
bool tune_device_open_cuda(int ordinal, tune_device **device, err *e);
bool tune_device_open_emu(const gen_cuda_target *target, tune_device **device, err *e);

/* NVRTC of this process, opened at the first call (before threads are started: it forks its helper). NULL with *e set
 * (ERR_MISSING) where there is none. Borrowed; it lives as long as the process. */
const jit_nvrtc *tune_nvrtc(err *e);

#endif
