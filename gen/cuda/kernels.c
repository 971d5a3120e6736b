/* kernels.c: the table of CUDA kernel variants: one template, one space file and one row each. */
#include <string.h>

#include "gen/cuda/cuda.h"

/* mma.sync with bf16, cp.async and their kin begin with sm_80. */
static const char *needs_ampere(const gen_problem *problem, const gen_cuda_target *target) {
    if (problem->nha.state_dtype != NHA_F32)
        return "CUDA kernels keep the memory in f32: state_dtype bf16 is for the CPU alone in this version";
    return target->arch >= 80 ? NULL : "CUDA kernels need sm_80 or later";
}

static const gen_cuda_kernel kernels[] = {
    {.op = NHA_PREFILL,
     .name = "generic",
     .template_file = "prefill_generic.cu",
     .space_file = "cuda_prefill_generic.yaml",
     .generic = true,
     .refuses = needs_ampere,
     .launch_count = 2,
     .launch = {{.knob = "KERNEL_MAIN", .suffix = "", .threads = "THREADS", .shared = "SHARED_BYTES"},
                {.knob = "KERNEL_COMMIT", .suffix = "_commit", .threads = "COMMIT_THREADS", .needs_cache = true}}},
    {.op = NHA_DECODE,
     .name = "generic",
     .template_file = "decode.cu",
     .space_file = "cuda_decode.yaml",
     .generic = true,
     .refuses = needs_ampere,
     .launch_count = 1,
     .launch = {{.knob = "KERNEL_MAIN",
                 .suffix = "",
                 .threads = "THREADS",
                 .shared = "SHARED_BYTES"}}}, /* libnha decodes with a cache alone */
};
enum { KERNEL_COUNT = sizeof kernels / sizeof *kernels };

const gen_cuda_kernel *gen_cuda_kernels(int *count) {
    *count = KERNEL_COUNT;
    return kernels;
}

const gen_cuda_kernel *gen_cuda_kernel_find(nha_op op, const char *name) {
    for (int i = 0; i < KERNEL_COUNT; i++)
        if (kernels[i].op == op && strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    return NULL;
}

bool gen_cuda_has(nha_op op) {
    for (int i = 0; i < KERNEL_COUNT; i++)
        if (kernels[i].op == op)
            return true;
    return false;
}
