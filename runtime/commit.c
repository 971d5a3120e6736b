/* commit.c: what a prefill leaves to libnha: the rings and positions of the caches. Kernels read the rings of a call's
 * beginning until their last task is done, so this is a phase of its own. */
#include <string.h>

#include "runtime/internal.h"

/* Tokens [first, first + count) of one sequence and head into its ring, from entry (pos + first) % ring_tokens on. */
static void store(const nha_cpu_cache *c, char *ring, int64_t bytes, const char *source, int64_t stride, int64_t pos,
                  int64_t first, int64_t count) {
    int64_t entry = (pos + first) % c->ring_tokens;
    for (int64_t t = first; t < first + count; t++) {
        memcpy(ring + entry * bytes, source + t * stride, (size_t)bytes);
        if (++entry == c->ring_tokens) entry = 0;
    }
}

void nhr_commit(const nha_problem *p, const nha_cpu_args *args, int64_t task) {
    const nha_cpu_cache *c = &args->cache;
    int64_t n = task / p->heads_kv, h = task % p->heads_kv;
    int64_t row = nhr_row_of(c, n), length = nhr_length(args, n);
    if (row < 0 || !length) return;
    int64_t pos = *nhr_row_pos(c, row), element = nhr_dtype_bytes(p->dtype), gate = nhr_dtype_bytes(p->gate_dtype);
    int64_t count = nhr_min(length, c->ring_tokens);
    /* clang-format off */
    const struct {
        const nha_cpu_tensor *tensor;
        int64_t offset, bytes;
    } streams[] = {
        {&args->k, c->k_offset, p->head_dim_qk * element},
        {&args->v, c->v_offset, p->head_dim_v * element},
        {&args->gate, c->gate_offset, p->slots * gate},
        {&args->s, c->s_offset, p->slots * gate},
        {&args->rk, c->rk_offset, p->head_dim_qk * element},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const nha_cpu_tensor *t = streams[i].tensor;
        if (!t->data) continue;
        const char *source = t->data + h * t->head + (args->cu_seqlens ? args->cu_seqlens[n] * t->token : n * t->batch);
        char *ring = c->pool + row * c->row_bytes + streams[i].offset + h * c->ring_tokens * streams[i].bytes;
        store(c, ring, streams[i].bytes, source, t->token, pos, length - count, count);
    }
}

void nhr_advance(const nha_cpu_args *args) {
    const nha_cpu_cache cache = args->cache; /* copies: a position that is written could as well lie in *args */
    const int32_t *cu = args->cu_seqlens;
    const int64_t sequences = args->sequences, tokens = args->tokens;
    for (int64_t n = 0; n < sequences; n++) {
        int64_t row = nhr_row_of(&cache, n);
        if (row >= 0) *nhr_row_pos(&cache, row) += cu ? (int64_t)cu[n + 1] - cu[n] : tokens;
    }
}
