/* batch.h: the tensors of one call in host memory, contiguous, as safetensors hold them; and caches in the open.
 * Shared by the oracle, the cases, the host runs and `nhac run`. N, T, H, ... as in nha.h. */
#ifndef TUNER_BATCH_H
#define TUNER_BATCH_H

#include "base/err.h"
#include "gen/problem.h"

/* N caches (docs/library.md, cache.*): tokens right-aligned, oldest first, zero before token 0. Owned by whoever
 * created it. */
typedef struct tune_cache {
    int64_t sequences; /* N */
    int64_t tokens;    /* R' of the arrays below */
    int64_t *pos;      /* [N] tokens seen */
    float *hk, *hv;    /* [N,H,M,K], [N,H,M,V]; NULL if M = 0 */
    void *k, *v;       /* [N,R',H,K], [N,R',H,V] in the problem's dtype, unrotated and unmapped */
    void *gate, *s;    /* [N,R',H,M] in the gate's dtype; gate NULL if M = 0, s NULL unless given */
    void *rk;          /* [N,R',H,K]; NULL unless rope is given */
} tune_cache;

/* Inputs of one call. All pointers are borrowed; bases aligned to 16 bytes. */
typedef struct tune_batch {
    int64_t sequences;         /* N, 1 and up */
    int64_t tokens;            /* T of each sequence; with cu_seqlens the sum over the sequences */
    const int32_t *cu_seqlens; /* [N+1] or NULL */
    const void *q, *k, *v;     /* [B,T,HQ,K], [B,T,H,K], [B,T,H,V] */
    const void *gate, *s;      /* [B,T,H,M]; NULL if M = 0; s NULL unless given */
    const void *rq, *rk;       /* like q and k; NULL unless rope is given */
    const float *hk0, *hv0;    /* [N,H,M,K], [N,H,M,V], both or neither; NULL where `cache` is set */
    const tune_cache *cache;   /* where the sequences start, or NULL: at position 0 */
} tune_batch;

/* First token of sequence n in the arrays, its number of tokens, and all tokens of the batch (B * T). */
int64_t tune_batch_begin(const tune_batch *batch, int64_t n);
int64_t tune_batch_length(const tune_batch *batch, int64_t n);
int64_t tune_batch_total(const tune_batch *batch);
/* Longest sequence of the batch. */
int64_t tune_batch_longest(const tune_batch *batch);
/* Position before the first token of sequence n: 0 without a cache. */
int64_t tune_batch_position(const tune_batch *batch, int64_t n);

/* The per-token tensors of a problem, as a table, so that nobody lists them by hand. */
typedef enum tune_tensor_id { TUNE_Q, TUNE_K, TUNE_V, TUNE_GATE, TUNE_S, TUNE_RQ, TUNE_RK, TUNE_INPUTS } tune_tensor_id;
typedef struct tune_tensor_info {
    const char *name;   /* "q", ..., "f" or "g" for the gate */
    bool present;       /* the problem has it */
    int dtype;          /* nha_dtype */
    int64_t heads, dim; /* per token: heads * dim elements */
    int64_t row;        /* heads * dim, 0 if absent */
    size_t row_bytes;
} tune_tensor_info;
tune_tensor_info tune_tensor(const gen_problem *problem, int id);
const void *tune_batch_tensor(const tune_batch *batch, int id);
void tune_batch_set_tensor(tune_batch *batch, int id, const void *data);
/* The cache's array of that tensor (k, v, gate, s, rk); NULL for the others. */
void *tune_cache_tensor(const tune_cache *cache, int id);

/* Zeroed caches of N sequences and R' = tokens. Errors: ERR_MEMORY, ERR_INPUT where sizes overflow. */
bool tune_cache_create(const gen_problem *problem, int64_t sequences, int64_t tokens, tune_cache *cache, err *e);
/* Frees the arrays and zeroes the struct. A zeroed struct is allowed. */
void tune_cache_destroy(tune_cache *cache);

/* The rings and positions after a call, R' = min(R, max pos): exact copies of raw tokens. The memory (hk, hv) is zero:
 * it is the oracle's, or the library's, to give. Created here, to be destroyed by the caller. */
bool tune_cache_after(const gen_problem *problem, const tune_batch *batch, tune_cache *after, err *e);

/* a * b into *out; false where it overflows or a factor is negative. */
bool tune_size_mul(int64_t a, int64_t b, int64_t *out);

#endif
