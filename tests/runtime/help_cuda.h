/* help_cuda.h: libraries with CUDA kernels for the reference problems, to be loaded and launched by the recording
 * driver. */
#ifndef HELP_CUDA_H
#define HELP_CUDA_H

#include "runtime/nha_cuda.h"
#include "runtime/nha_library.h"

enum { CUDA_KERNELS_MAX = 8 };

/* Prefill: "main" (128 threads, 1000 bytes of shared memory, 5000 bytes of workspace a block and 100 for each token of
 * reach) and "commit", which needs a cache. Decode: "step" (64 threads, 60000 bytes of shared memory). */
extern const nha_cuda_code cuda_prefill_code, cuda_decode_code;

/* What the images of all kernels point to. */
extern const char cuda_cubin[16], cuda_ptx[16];

typedef struct cuda_library {
    nha_library library;
    nha_kernel kernels[CUDA_KERNELS_MAX];
    char names[CUDA_KERNELS_MAX][32], targets[CUDA_KERNELS_MAX][16];
} cuda_library;

/* A library of the reference problems with one kernel of `op` for problem 0 a word of `words`: TARGET[:RANK][p|b],
 * which is also its name; p: PTX alone, b: both, else a cubin alone. "sm_90a:3 sm_80b". */
void cuda_library_make(cuda_library *l, int32_t op, const char *words);

/* Options for two sequences of up to 100 tokens on device 0 of the recording driver. */
nha_plan_options cuda_options(int32_t op);
/* nha_plan_create; status, text and plan are checked to agree. */
nha_status cuda_create(const cuda_library *l, const nha_plan_options *o, nha_plan **plan, nha_error *error);
/* cuda_create that must fail, with that status and a text that contains `word`. */
void cuda_refused(const cuda_library *l, const nha_plan_options *o, nha_status status, const char *word);
/* All contexts are released, all modules gone, nobody's context has changed, nothing was misused. */
void cuda_check_clean(void);

/* A prefill and a decode kernel for sm_90 of every problem. */
void cuda_library_all(nha_library *library, nha_kernel kernels[], int32_t problems);

#endif
