/* model.h: what a kernel would take on a GPU, from what the emulator counted of it. A guess for ordering candidates, never a figure. */
#ifndef TUNER_MODEL_H
#define TUNER_MODEL_H

#include "emu/emu.h"
#include "gen/cuda/target.h"

/* Microseconds between two readings of the counters, for `blocks` blocks of equal work:
 *
 *     waves  = ceil(blocks / SMs)
 *     cycles = waves / blocks * max(warp instructions / 4 schedulers, mma flops / mma rate, shared wavefronts)      a multiprocessor
 *     time   = max(cycles / clock, sectors * 32 bytes / bandwidth) + launch
 */
double tune_model_us(const gen_cuda_target *target, const emu_counters *before, const emu_counters *after,
                     int64_t blocks);

#endif
