/* host_run.h: runs a library through libnha's public interface on host tensors: one prefill, decode steps, or any cut
 * of a sequence into both. `nhac run`, `nhac verify` and the tests share it. */
#ifndef TUNER_HOST_RUN_H
#define TUNER_HOST_RUN_H

#include "runtime/nha.h"
#include "tuner/batch.h"
#include "tuner/place.h"

/* A piece of every sequence: the next `tokens` tokens (fewer where a sequence ends), by prefill or by decode steps. */
typedef struct tune_cut {
    int op;         /* NHA_PREFILL or NHA_DECODE */
    int64_t tokens; /* 1 and up */
    const char *kernel; /* by name; NULL: that of the options for this op */
    bool moved;         /* afterwards every cache leaves the pool and comes back, by export and import */
} tune_cut;

enum { TUNE_RUN_PLANS = 8 }; /* different pairs of op and kernel in a run */

typedef struct tune_run_options {
    int problem;           /* index in the library */
    int threads;           /* 0: as many as the machine has */
    const char *isa;       /* highest ISA to use, or NULL */
    const char *kernel[2]; /* by op: a kernel by name, or NULL */
    const tune_place *place; /* where it runs; NULL: on the CPU */
    bool cache;            /* go through a cache, and return one, even where the batch has none and there are no cuts */
    const tune_cut
        *cuts; /* pieces, in order; the last one repeats until all is done. NULL: one prefill of everything */
    int cut_count;
} tune_run_options;

/* Outputs, contiguous, owned. */
typedef struct tune_result {
    void *o;        /* [B,T,HQ,V] in the problem's dtype */
    float *lse;     /* [B,T,HQ] */
    float *hk, *hv; /* [N,H,M,K], [N,H,M,V]; NULL if M = 0 */
    bool has_cache;
    tune_cache cache;    /* R' = min(R, max pos), if has_cache */
    char kernel[2][192]; /* by op: the kernel that ran; empty: none */
} tune_result;

/* One prefill needs no cache; cuts, decode steps and a batch that starts from caches go through a pool. `problem` is
 * that of the library. Shapes and cu_seqlens of the batch must be right; values of caches are checked by libnha.
 * Errors: what libnha says, as ERR_INPUT (a value), ERR_MISSING (no kernel), ERR_MEMORY or ERR_DEVICE. */
bool tune_host_run(const nha_library *library, const gen_problem *problem, const tune_batch *batch,
                   const tune_run_options *options, tune_result *result, err *e);
/* Frees the arrays and zeroes the struct. A zeroed struct is allowed. */
void tune_result_destroy(tune_result *result);

/* Between cache n of `cache` and a row of a pool of that format, which is memory of the place. Save needs cache->tokens >= min(R, pos) and sets
 * pos[n]. */
bool tune_cache_load(const tune_place *place, const nha_library *library, const gen_problem *problem, int index, const nha_cache_format *format,
                     void *pool, int32_t row, const tune_cache *cache, int64_t n, err *e);
bool tune_cache_save(const tune_place *place, const nha_library *library, const gen_problem *problem, int index, const nha_cache_format *format,
                     const void *pool, int32_t row, tune_cache *cache, int64_t n, err *e);

#endif
