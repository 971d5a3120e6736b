/* device.h: where candidates run. One table of functions a kind of device; the tuner and bench know nothing else of it.
 * The CPU is the one that exists; a GPU, the emulator and the replay of a journal fit behind the same slots. */
#ifndef TUNER_DEVICE_H
#define TUNER_DEVICE_H

#include "tuner/candidate.h"
#include "tuner/limits.h"
#include "tuner/verify.h"
#include "tuner/workload.h"

typedef struct tune_device {
    const char *name;        /* as given with --device: "cpu" */
    const char *target;      /* as in a spec's targets: "cpu" */
    const char *verified_by; /* for records: what a passed verification was run on */
    const char *timed_by;    /* and what its times come from */

    /* One line that tells this device from others of its kind (model, ISA): part of a journal's key and shown to
     * people. */
    void (*describe)(char *out, size_t size);
    /* The best ISA kernels are tuned for. Static. */
    const gen_isa *(*isa)(void);
    /* Whether kernels of this ISA run here. */
    bool (*runs)(const gen_isa *isa);
    /* Threads (or 1) an execution uses by default. */
    int (*threads)(void);
    /* Renders, compiles and loads. Thread-safe for distinct candidates. Errors: ERR_COMPILE and others; the candidate
     * stays unloaded. */
    bool (*prepare)(tune_candidate *candidate, err *e);
    void (*release)(tune_candidate *candidate);
    /* Holds a prepared candidate against the oracle. Thread-safe for distinct candidates. Errors: ERR_MISMATCH where it
     * is wrong. */
    bool (*verify)(const tune_candidate *candidate, const tune_reference *reference, err *e);
    /* Tensors of a shape on this device: see workload.h. */
    bool (*open_workload)(const gen_problem *problem, const gen_shape *shape, const nha_library *library,
                          size_t cold_bytes, tune_workload **workload, err *e);
    void (*close_workload)(tune_workload *workload);
    /* A kernel bound to them, to be measured. */
    bool (*open_runner)(tune_workload *workload, const nha_library *library, const char *kernel, const char *isa,
                        int threads, tune_runner **runner, err *e);
    void (*close_runner)(tune_runner *runner);
    /* The device's own limits, to be measured beside the kernels: see limits.h. */
    bool (*open_limit)(tune_limit_kind kind, const gen_isa *isa, size_t bytes, int threads, tune_limit **limit, err *e);
    void (*close_limit)(tune_limit *limit);
} tune_device;

/* "cpu"; NULL is the default device. Errors: ERR_USAGE for a name that is none, ERR_MISSING for one that this version
 * or machine does not have ("cuda:0", "emu"). */
const tune_device *tune_device_find(const char *name, err *e);
/* Whether kernels for a target of a spec can be made here; else a one-line reason in *why. */
bool tune_target_available(const char *target, const char **why);

extern const tune_device tune_device_cpu;

#endif
