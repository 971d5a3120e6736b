/* limits.h: what a device can do at best, measured with generated loops in the same run as the kernels: the rate of
 * products on the units that the kernels have, of exponentials, and the bandwidth of reading, and of updating in place,
 * a working set. */
#ifndef TUNER_LIMITS_H
#define TUNER_LIMITS_H

#include "gen/cpu/isa.h"
#include "tuner/measure.h"
#include "tuner/place.h"

typedef enum tune_limit_kind {
    /* The work is flops, 2 a multiply-add. Vectors: independent accumulators in registers (mul and add where the ISA
     * has no FMA). AMX: bf16 products of 64 x 64 x 128 on tiles, operands and result in the first two cache levels. */
    TUNE_LIMIT_FMA,
    TUNE_LIMIT_READ,   /* every byte of the working set read once an iteration */
    TUNE_LIMIT_UPDATE, /* every byte read and written back once an iteration: 2 bytes moved for each byte of the set */
    TUNE_LIMIT_EXP     /* CPU only: 2^x by the softmax's polynomial of degree 5, within L1; the work is numbers */
} tune_limit_kind;

/* What every device's limits begin with. */
typedef struct tune_limit {
    tune_subject subject; /* to be measured beside the kernels */
    double work;          /* flops, bytes or numbers of one iteration */
} tune_limit;

/* `isa`: of the kernels to be compared; it has to run here. `bytes`: the working set over all threads (rounded up to
 * whole loop steps; ignored by FMA and EXP); `threads`: 1 and up, each on its own part. Products on tiles and
 * exponentials are checked once before they can be timed. Errors: those of jit_compile and jit_load, ERR_MEMORY,
 * ERR_MISMATCH. */
bool tune_limit_open(tune_limit_kind kind, const gen_isa *isa, size_t bytes, int threads, tune_limit **limit, err *e);
void tune_limit_close(tune_limit *limit);

/* The same of a GPU; all of it. FMA: of the units that multiply this dtype: mma.sync for f16 and bf16. Errors: those of
 * jit_nvrtc_compile, ERR_DEVICE, ERR_MEMORY. */
bool tune_limit_open_cuda(const tune_place *place, tune_limit_kind kind, int dtype, size_t bytes, tune_limit **limit,
                          err *e);
void tune_limit_close_cuda(tune_limit *limit);

#endif
