/* help_case.h: random sequences, the definition applied to them, and calls of libnha on any
 * part of them in any layout. */
#ifndef HELP_CASE_H
#define HELP_CASE_H

#include "runtime/nha_library.h"

enum field { F_Q, F_K, F_V, F_GATE, F_S, F_RQ, F_RK, F_O, F_LSE, FIELDS };

/* One sequence: arrays [length, heads, dim], contiguous, in the problem's dtypes; NULL where the problem has none. */
struct sequence {
    const nha_problem *p;
    int64_t length;
    void *field[FIELDS];
    float *hk0, *hv0;          /* [H,M,K], [H,M,V] or NULL: zero */
    double *o, *lse, *hk, *hv; /* what the definition says: [T,HQ,V], [T,HQ], [H,M,K], [H,M,V] */
};

/* Shape of a field of a problem; false: the problem has none. */
bool field_shape(const nha_problem *p, enum field f, int64_t *heads, int64_t *dim, int *dtype);

/* A random sequence with gates of all kinds (0, -1e4 and between); with an initial memory if `memory`. The definition
 * has been applied. */
struct sequence *sequence_make(const nha_problem *p, int64_t length, bool memory, unsigned seed);
void sequence_free(struct sequence *s);

/* Relative L2 distance of what is in field[F_O] and field[F_LSE] from the definition, over tokens [first, first +
 * count). */
double sequence_error(const struct sequence *s, int64_t first, int64_t count);
double relative_error(const float *got, const double *want, int64_t n);
/* The tolerance for outputs of the problem (its dtype decides). */
double tolerance(const nha_problem *p);

/* Part of a sequence as one sequence of a call. */
struct span {
    struct sequence *s;
    int64_t first, count;
};

enum layout {
    LAYOUT_BATCH,   /* contiguous [N,T,heads,dim]; all counts equal */
    LAYOUT_PACKED,  /* contiguous, cu_seqlens */
    LAYOUT_STRANGE, /* heads outermost, rows wider than they must be, tokens backwards; counts equal */
    LAYOUT_STRANGE_PACKED,
};

/* Memory for a call: tensors filled from the spans, outputs poisoned. args.cache and all else are the caller's. */
struct batch {
    nha_args args;
    int64_t count;
    struct span spans[16];
    int32_t cu_seqlens[17];
    char *buffer[FIELDS];
    int64_t buffer_bytes[FIELDS];
};

void batch_make(struct batch *b, const struct span *spans, int64_t count, enum layout layout);
/* Copies o and lse of span n into its sequence. */
void batch_scatter(const struct batch *b, int64_t n);
void batch_free(struct batch *b);

/* Executes with a workspace of exactly the plan's size; returns the status. */
nha_status batch_execute(const nha_plan *plan, struct batch *b, nha_error *error);

/* Plan options for a problem of the reference library. */
nha_plan_options case_options(int32_t problem, int32_t op, int64_t sequences, int64_t length, int32_t threads);
/* nha_plan_create that must succeed. */
nha_plan *case_plan(const nha_plan_options *options);

/* Memory aligned to 256 bytes, poisoned; free() it. */
void *aligned_memory(size_t bytes);

#endif
