/* floor.h: the least time a call can take on any machine of a kind. A time below it is a measuring error. */
#ifndef TUNER_FLOOR_H
#define TUNER_FLOOR_H

#include "gen/spec.h"
#include "tuner/arch.h"

/* Microseconds: the work by the definition (work.h) at rates that no such machine reaches:
 *
 *     CPU    2 units x vector x 2 flops at 6 GHz a thread (AMX: 1024 flops a cycle); 128 bytes a cycle a thread
 *     CUDA   5 Pflop/s, 20 TB/s: above any GPU of today, its caches included
 *
 * `context`: as in tune_work_of. */
double tune_floor_us(const gen_problem *problem, const tune_arch *arch, const gen_shape *shape, int threads,
                     int64_t context);

#endif
