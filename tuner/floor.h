/* floor.h: the least time a call can take on any machine of a kind. A time below it is a measuring error. */
#ifndef TUNER_FLOOR_H
#define TUNER_FLOOR_H

#include "gen/spec.h"
#include "tuner/arch.h"

/* Microseconds: the work by the definition (work.h) at rates that no such machine reaches, the largest of the terms:
 *
 *     CPU    at 6 GHz a thread, a cycle: 2 units x vector x 2 flops (AMX: 1024); half a vector of exponentials; 128 bytes
 *     CUDA   5 Pflop/s, 20 TB/s: above any GPU of today, its caches included
 *
 * A product counts once, also where tiles multiply bf16 and a kernel takes several of them for one product of f16 or f32
 * (gen/cpu/split.h): how many is the kernel's choice, and one that needs fewer, or tiles of another type, would be
 * honest and faster. So the floor of f32 on AMX is up to six times below what today's kernels could reach, never above.
 *
 * They are of the same units as the limits that are measured (limits.h), for the ISA of the candidates; measured ones
 * would not do for a refusal, as a shared machine may run twice as fast a minute later. `context`: as in tune_work_of.
 */
double tune_floor_us(const gen_problem *problem, const tune_arch *arch, const gen_shape *shape, int threads,
                     int64_t context);

#endif
