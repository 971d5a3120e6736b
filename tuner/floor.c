/* floor.c: see floor.h. */
#include "tuner/floor.h"

#include "tuner/work.h"

static const double GHZ = 6, BYTES_A_CYCLE = 128, AMX_FLOPS = 1024, CUDA_FLOPS = 5e15, CUDA_BYTES = 20e12;
static const double EXP_VECTORS = 0.5; /* a cycle: two units, and four fused multiply-adds at least */

double tune_floor_us(const gen_problem *problem, const tune_arch *arch, const gen_shape *shape, int threads,
                     int64_t context) {
    tune_work work = tune_work_of(problem, shape, context);
    double flops = CUDA_FLOPS, bytes = CUDA_BYTES, exponentials = 0;
    if (arch->isa) {
        double vector = 2.0 * arch->isa->vector * 2;
        flops = GHZ * 1e9 * threads * (arch->isa->amx ? AMX_FLOPS : vector);
        bytes = GHZ * 1e9 * threads * BYTES_A_CYCLE;
        exponentials = work.exponentials / (GHZ * 1e9 * threads * EXP_VECTORS * arch->isa->vector);
    }
    double updated = arch->isa ? work.update_bytes / 2 : work.update_bytes; /* deferred, a memory is hardly ever written */
    double compute = work.flops / flops, memory = (work.read_bytes + updated) / bytes;
    compute = compute > exponentials ? compute : exponentials;
    return 1e6 * (compute > memory ? compute : memory);
}
