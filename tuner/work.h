/* work.h: what a call moves and computes, by the definition (bench/README.md), not by what a kernel does. */
#ifndef TUNER_WORK_H
#define TUNER_WORK_H

#include "gen/spec.h"

typedef struct tune_work {
    double flops;
    double exponentials; /* of the softmax and, with their logarithms, of the gates */
    double read_bytes;   /* read, or written, once */
    double update_bytes; /* of what is read and written back in place: both directions counted */
} tune_work;

/* Work of one call. Prefill: from nothing, with lse and the memory as outputs. Decode: shape->tokens steps of every
 * sequence, each at `context` tokens seen. flops: per token and query head 2M(K+V) + 2 min(W,t+1)(K+V), per absorbed
 * token and kv head 2M(K+V). exponentials: per token and query head M + min(W,t+1); per absorbed token and kv head M,
 * or 2M from logits (exp and log). */
tune_work tune_work_of(const gen_problem *problem, const gen_shape *shape, int64_t context);

#endif
