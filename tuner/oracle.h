/* oracle.h: the definition of docs/spec.md, step by step in fp64. What every kernel is held against.
 * Plain loops in the order of the definition: to be read, not to be fast. */
#ifndef TUNER_ORACLE_H
#define TUNER_ORACLE_H

#include "tuner/batch.h"

/* Outputs, contiguous, owned. */
typedef struct tune_oracle {
    double *o;   /* [B,T,HQ,V] */
    double *lse; /* [B,T,HQ], natural log */
    double *hk;  /* [N,H,M,K] memory after the last step; NULL if M = 0 */
    double *hv;  /* [N,H,M,V] */
} tune_oracle;

/* Inputs are the stored (rounded) values. The batch may start from hk0, hv0, from caches, or from nothing. Kv heads of
 * sequences are independent tasks, done by `threads` threads (1 and up). Errors: ERR_MEMORY. */
bool tune_oracle_run(const gen_problem *problem, const tune_batch *batch, int threads, tune_oracle *out, err *e);
/* Frees the arrays and zeroes the struct. A zeroed struct is allowed. */
void tune_oracle_destroy(tune_oracle *oracle);

/* Floating-point operations of tune_oracle_run on this batch, about: to choose sizes by. */
double tune_oracle_cost(const gen_problem *problem, const tune_batch *batch);

/* g = logsigmoid(f) / normalizer, or g itself, as the problem says; exact at 0, -1e4, infinities. */
double tune_log_gate(const nha_problem *problem, double gate);

#endif
