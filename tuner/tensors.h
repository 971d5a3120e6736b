/* tensors.h: what `nhac run` reads and writes: safetensors <-> batches, results and caches (docs/library.md). */
#ifndef TUNER_TENSORS_H
#define TUNER_TENSORS_H

#include "base/safetensors.h"
#include "tuner/host_run.h"

typedef struct tune_tensors {
    st_file file;
    tune_batch batch; /* points into file and cache */
    tune_cache cache; /* points into file; batch.cache points here where the file has one */
    int64_t rows;     /* B of q: N, or 1 with cu_seqlens */
} tune_tensors;

/* Reads and checks everything a call of `op` needs. A tensor that is missing, unknown, of another dtype or shape, and
 * values that cannot be (cu_seqlens, cache.pos) are ERR_INPUT, as `FILE: error: TENSOR: what is wrong, and what would
 * be right`. With M = 0 a gate is allowed and not read. The struct may not be moved. On failure needs no close. */
bool tune_tensors_read(const char *path, const gen_problem *problem, nha_op op, tune_tensors *tensors, err *e);
void tune_tensors_close(tune_tensors *tensors);
/* Writes o, lse, hk, hv and the cache, whole or not at all. Errors: ERR_SYSTEM, ERR_MEMORY. */
bool tune_tensors_write(const char *path, const gen_problem *problem, const tune_tensors *inputs,
                        const tune_result *result, err *e);

#endif
