/* workload.h: a shape's tensors in memory, and kernels bound to them, to be timed through libnha's public interface.
 * Shared by tuning and bench, so that both measure the same thing. */
#ifndef TUNER_WORKLOAD_H
#define TUNER_WORKLOAD_H

#include "gen/spec.h"
#include "runtime/nha.h"
#include "tuner/measure.h"
#include "tuner/place.h"

/* What every device's workloads and runners begin with; the rest is the device's own. Not to be changed by users. */
typedef struct tune_workload {
    size_t bytes;    /* touched before an iteration meets the same ones again */
    int64_t tasks;   /* sequences times kv heads */
    int64_t context; /* tokens seen before a decode step, 0 for prefill */
} tune_workload;

typedef struct tune_runner {
    tune_subject subject;   /* to be measured. An iteration is one prefill, or shape->tokens decode steps */
    int64_t max_iterations; /* of a sample (caches with a bounded ring fill up), 0: no limit */
    const char *kernel;     /* name of the kernel that runs */
    const tune_workload *workload;
} tune_runner;

/* Fills random tensors (seeded; the same for each call) for a shape, in memory of the place, which outlives them. Decode: caches with a full ring (bounded to what
 * fits in memory) in as many sets as make cold_bytes together, at least 4 where memory allows, used in turn, all of them in every sample; their
 * positions differ, so that kernels with deferred updates fold in each step what they fold on average. cold_bytes 0: one set, which stays in
 * the caches that it fits into. `library` gives the format of the caches. Errors: ERR_INPUT where the shape does not fit in memory, ERR_MEMORY. */
bool tune_workload_open(const tune_place *place, const gen_problem *problem, const gen_shape *shape, const nha_library *library,
                        size_t cold_bytes, tune_workload **workload, err *e);
void tune_workload_close(tune_workload *workload);
/* Plans `library` for the shape. kernel, isa: as in nha_plan_options; threads 0: the machine's. The library outlives
 * the runner, the workload too; any number of runners may share a workload, one running at a time. Errors: ERR_INPUT
 * for a kernel or ISA that is not there, ERR_DEVICE. */
bool tune_runner_open(tune_workload *workload, const nha_library *library, const char *kernel, const char *isa,
                      int threads, tune_runner **runner, err *e);
void tune_runner_close(tune_runner *runner);

#endif
