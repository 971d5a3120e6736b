/* target.h: the GPUs that CUDA kernels are made for, as a table. Limits are per block and per multiprocessor; whatever
 * depends on them is computed. Adding a target is one row here and one in the choices of a spec. */
#ifndef GEN_CUDA_TARGET_H
#define GEN_CUDA_TARGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct gen_cuda_target {
    char name[16];                /* "sm_90a": as in specs, nha_kernel.isa and NVRTC's --gpu-architecture */
    int32_t arch;                 /* 90: 10 * major + minor of the compute capability; the knob ARCH */
    bool specific;                /* `a`: instructions of this one architecture (wgmma) */
    bool family;                  /* `f`: instructions of its family */
    int32_t shared_block_bytes;   /* most a block can have, after opting in */
    int32_t shared_sm_bytes;      /* of a multiprocessor, for its blocks and 1 KiB that each of them costs */
    int32_t registers_sm;         /* 32-bit */
    int32_t threads_sm;
} gen_cuda_target;

/* The table, *count rows, by arch. Static. */
const gen_cuda_target *gen_cuda_target_table(int *count);
/* NULL if there is none of that name. */
const gen_cuda_target *gen_cuda_target_find(const char *name);
/* A GPU by its own attributes, where the table has none of its architecture: its plain target. */
void gen_cuda_target_describe(int major, int minor, int32_t shared_block_bytes, int32_t shared_sm_bytes,
                              int32_t registers_sm, int32_t threads_sm, gen_cuda_target *target);
/* The row of a GPU's own architecture, of several the one with the most instructions (`a`, then `f`, then plain); NULL
 * if the table has none. */
const gen_cuda_target *gen_cuda_target_of(int major, int minor);

#endif
