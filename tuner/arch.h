/* arch.h: what a kernel is made for: an instruction set of CPUs or a CUDA target. Exactly one of the two is set. */
#ifndef TUNER_ARCH_H
#define TUNER_ARCH_H

#include "gen/cpu/isa.h"
#include "gen/cuda/target.h"
#include "runtime/nha.h"

typedef struct tune_arch {
    const gen_isa *isa; /* a row of gen_isa_table */
    const gen_cuda_target *cuda; /* a row of gen_cuda_target_table, or a device's own description */
} tune_arch;

static inline nha_device_kind tune_arch_kind(const tune_arch *arch) {
    return arch->cuda ? NHA_CUDA : NHA_CPU;
}

/* "avx512", "sm_90a": as in nha_kernel.isa and in names of kernels. */
static inline const char *tune_arch_name(const tune_arch *arch) {
    return arch->cuda ? arch->cuda->name : arch->isa->name;
}

static inline bool tune_arch_same(const tune_arch *a, const tune_arch *b) {
    return a->isa == b->isa && a->cuda == b->cuda;
}

#endif
