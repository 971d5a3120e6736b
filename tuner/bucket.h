/* bucket.h: shape buckets. A kernel is tuned on one shape and serves the shapes around it; its range of validity is
 * recorded in the library (nha_kernel.min_tasks ...). Elsewhere the defaults serve. */
#ifndef TUNER_BUCKET_H
#define TUNER_BUCKET_H

#include "gen/spec.h"

typedef struct tune_bucket {
    gen_shape shape;                /* the shape it is tuned on */
    int64_t min_tasks, max_tasks;   /* sequences * kv heads, inclusive */
    int64_t min_length, max_length; /* tokens of the longest sequence of a call, inclusive; decode: 1 */
} tune_bucket;

/* The buckets of one op: at most one for each shape of it (equal shapes share one), disjoint, in the order of the
 * shapes. Lengths divide first, at geometric means between neighbours, then the tasks among the shapes of one length.
 * The outermost reach 8 times below and above their shape, lengths 64 times above: the cost per token hardly depends on
 * a length far above the window. `out` has room for `count`; returns how many there are. */
int tune_buckets(const gen_problem *problem, const gen_shape *shapes, int count, nha_op op, tune_bucket *out);
/* Whether the bucket holds a call of `sequences` sequences of at most `length` tokens. */
bool tune_bucket_holds(const tune_bucket *bucket, const gen_problem *problem, int64_t sequences, int64_t length);

#endif
