/* target.c: see target.h. Limits: CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability".
 */
#include "gen/cuda/target.h"

#include <stdio.h>
#include <string.h>

enum { KIB = 1024, REGISTERS = 64 * 1024 };

static const gen_cuda_target targets[] = {
    /* name      arch  specific family  shared: block  multiprocessor  registers  threads */
    {"sm_80",    80,   false,   false,  163 * KIB,     164 * KIB,      REGISTERS, 2048},
    {"sm_86",    86,   false,   false,   99 * KIB,     100 * KIB,      REGISTERS, 1536},
    {"sm_89",    89,   false,   false,   99 * KIB,     100 * KIB,      REGISTERS, 1536},
    {"sm_90",    90,   false,   false,  227 * KIB,     228 * KIB,      REGISTERS, 2048},
    {"sm_90a",   90,   true,    false,  227 * KIB,     228 * KIB,      REGISTERS, 2048},
    {"sm_100f",  100,  false,   true,   227 * KIB,     228 * KIB,      REGISTERS, 2048},
    {"sm_120f",  120,  false,   true,    99 * KIB,     100 * KIB,      REGISTERS, 1536},
};
enum { TARGET_COUNT = sizeof targets / sizeof *targets };

const gen_cuda_target *gen_cuda_target_table(int *count) {
    *count = TARGET_COUNT;
    return targets;
}

const gen_cuda_target *gen_cuda_target_find(const char *name) {
    for (int i = 0; i < TARGET_COUNT; i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}

const gen_cuda_target *gen_cuda_target_of(int major, int minor) {
    const gen_cuda_target *best = NULL;
    for (int i = 0; i < TARGET_COUNT; i++) {
        const gen_cuda_target *t = &targets[i];
        if (t->arch == 10 * major + minor && (!best || 2 * t->specific + t->family > 2 * best->specific + best->family))
            best = t;
    }
    return best;
}

void gen_cuda_target_describe(int major, int minor, int32_t shared_block_bytes, int32_t shared_sm_bytes,
                              int32_t registers_sm, int32_t threads_sm, gen_cuda_target *target) {
    *target = (gen_cuda_target){.arch = 10 * major + minor,
                                .shared_block_bytes = shared_block_bytes,
                                .shared_sm_bytes = shared_sm_bytes,
                                .registers_sm = registers_sm,
                                .threads_sm = threads_sm};
    snprintf(target->name, sizeof target->name, "sm_%d", target->arch);
}
