/* limits.h: what a device can do at best, measured with generated loops in the same run as the kernels: the
 * rate of fused multiply-adds, and the bandwidth of reading, and of updating in place, a working set of a given size.
 */
#ifndef TUNER_LIMITS_H
#define TUNER_LIMITS_H

#include "gen/cpu/isa.h"
#include "tuner/measure.h"
#include "tuner/place.h"

typedef enum tune_limit_kind {
    TUNE_LIMIT_FMA,   /* independent accumulators in registers; the work is flops: 2 a multiply-add */
    TUNE_LIMIT_READ,  /* every byte of the working set read once an iteration */
    TUNE_LIMIT_UPDATE /* every byte read and written back once an iteration: 2 bytes moved for each byte of the set */
} tune_limit_kind;

/* What every device's limits begin with. */
typedef struct tune_limit {
    tune_subject subject; /* to be measured beside the kernels */
    double work;          /* flops or bytes of one iteration */
} tune_limit;

/* `bytes`: the working set over all threads (rounded up to whole loop steps; ignored by FMA); `threads`: 1 and up, each
 * on its own part. Errors: those of jit_compile and jit_load, ERR_MEMORY. */
bool tune_limit_open(tune_limit_kind kind, const gen_isa *isa, size_t bytes, int threads, tune_limit **limit, err *e);
void tune_limit_close(tune_limit *limit);

/* The same of a GPU; all of it. FMA: of the units that multiply this dtype: mma.sync for f16 and bf16. Errors: those of
 * jit_nvrtc_compile, ERR_DEVICE, ERR_MEMORY. */
bool tune_limit_open_cuda(const tune_place *place, tune_limit_kind kind, int dtype, size_t bytes, tune_limit **limit,
                          err *e);
void tune_limit_close_cuda(tune_limit *limit);

#endif
