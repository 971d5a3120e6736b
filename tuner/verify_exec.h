/* verify_exec.h: executes a case on a plan with guarded, poisoned, strided buffers, and checks that nothing was touched
 * that is not an output. What it returns is contiguous, to be compared with the oracle or with another execution. */
#ifndef TUNER_VERIFY_EXEC_H
#define TUNER_VERIFY_EXEC_H

#include "tuner/case.h"
#include "tuner/host_run.h"

/* How tensors lie in memory. */
typedef enum verify_layout {
    VERIFY_CONTIGUOUS, /* token-major, bases multiples of 64 */
    VERIFY_PADDED,     /* gaps after each head, token and sequence; bases only as aligned as nha.h asks */
    VERIFY_HEAD_MAJOR, /* [B,H,T,dim] with gaps: strides in another order */
    VERIFY_LAYOUTS
} verify_layout;

typedef struct verify_plan {
    const tune_place *place;
    const nha_library *library;
    int index; /* of the problem */
    int op;
    nha_plan *plan;
    nha_cache_format format; /* for op decode and for cases that start from a cache */
    bool pooled;
} verify_plan;

typedef struct verify_plan_options {
    int threads;
    const char *kernel, *isa;
    bool pooled;                   /* prefill through a cache (decode always is) */
    nha_parallel_for parallel_for; /* or NULL */
    void *parallel_context;
} verify_plan_options;

/* A plan with the bounds of the case, on a place that outlives it. */
bool verify_plan_create(const tune_place *place, const nha_library *library, int index, int op, const tune_case *test,
                        const verify_plan_options *options, verify_plan *plan, err *e);
void verify_plan_destroy(verify_plan *plan);

typedef struct verify_exec {
    int64_t first, count; /* sequences of the case to run, alone; count 0: all */
    int64_t skip;         /* pooled: this sequence has cache_index -1; below 0: none */
    int layout;           /* verify_layout */
    int poison;           /* GUARD_NAN or GUARD_FINITE: outputs, workspace, gaps, pool */
    bool bare;            /* without lse, and without hk, hv where there is a cache */
    bool in_place;        /* hk, hv are hk0, hv0 */
    bool fence;
} verify_exec;

/* Runs prefill of all tokens, or T decode steps (the case is not packed then), and fills *result as tune_host_run does:
 * tensors for all sequences, poisoned where they did not run. lse is poison if bare; hk, hv and the cache are those
 * after the last step. Errors: ERR_MISMATCH where something was touched, what libnha says, ERR_MEMORY. */
bool verify_execute(const verify_plan *plan, const tune_case *test, const verify_exec *how, tune_result *result,
                    err *e);

#endif
