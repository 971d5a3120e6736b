/* knobs.h: the values that a problem and a target give to the knobs of a template. A template declares those it uses;
 * the meanings stand in the tables of knobs.c. Private to gen/cuda. */
#ifndef GEN_CUDA_KNOBS_H
#define GEN_CUDA_KNOBS_H

#include "gen/cuda/cuda.h"
#include "gen/render.h"

enum { GEN_CUDA_GIVEN_MAX = 64 };

typedef struct gen_cuda_given {
    gen_given item[GEN_CUDA_GIVEN_MAX];
    int count;
    base_arena arena; /* holds their texts */
} gen_cuda_given;

/* Knobs of problem, target, tile, and the entries' names. Errors: ERR_MEMORY. Ends with base_arena_free. */
bool gen_cuda_give(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                   const gen_cuda_tile *tile, char entry[][GEN_CUDA_ENTRY_MAX + 1], gen_cuda_given *given, err *e);

#endif
