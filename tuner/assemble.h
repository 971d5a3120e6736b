/* assemble.h: gathers the kernels of a library: the winners of the buckets, and a verified default for each ISA that
 * runs here. */
#ifndef TUNER_ASSEMBLE_H
#define TUNER_ASSEMBLE_H

#include "tuner/library.h"
#include "tuner/prepare.h"
#include "tuner/search.h"

enum { TUNE_RANK_TUNED = 0, TUNE_RANK_DEFAULT = 100, TUNE_ASSEMBLY_MAX = 128 };

typedef struct tune_assembly {
    const gen_problem *problem;
    tune_candidate *owned[TUNE_ASSEMBLY_MAX]; /* loaded candidates the rows point into */
    char *sources[TUNE_ASSEMBLY_MAX];         /* of owned[i] */
    int owned_count;
    tune_library_kernel *kernels; /* rows; at most kernel_capacity */
    int kernel_count, kernel_capacity;
} tune_assembly;

void tune_assembly_init(tune_assembly *a, const gen_problem *problem);
void tune_assembly_free(tune_assembly *a);
/* A verified default of the op, covering every shape: for each ISA of a CPU, best first; for a CUDA device that of
 * `arch`. Errors: ERR_MISMATCH or ERR_COMPILE where one is wrong. */
bool tune_assemble_defaults(tune_assembly *a, nha_op op, const tune_arch *arch, const tune_prepare_options *options,
                            err *e);
/* The kernel that wins a bucket of a search that was run, verified again in this process, with the bucket's range. One
 * that does not hold is lost (tune_search_lose), and the next best is taken, until one holds or `deadline` by the
 * clock: then the default. *winner: its place in the search's space. The default's own tile is not added: its row of
 * tune_assemble_defaults serves the bucket. */
bool tune_assemble_winner(tune_assembly *a, tune_search *search, int bucket, const tune_prepare_options *options,
                          double deadline, int *winner, err *e);

#endif
