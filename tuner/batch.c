/* batch.c: sizes of the tensors of a call, and caches in the open. See batch.h.
 */
#include "tuner/batch.h"

#include <stdlib.h>
#include <string.h>

bool tune_size_mul(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

int64_t tune_batch_begin(const tune_batch *batch, int64_t n) {
    return batch->cu_seqlens ? batch->cu_seqlens[n] : n * batch->tokens;
}

int64_t tune_batch_length(const tune_batch *batch, int64_t n) {
    return batch->cu_seqlens ? (int64_t)batch->cu_seqlens[n + 1] - batch->cu_seqlens[n] : batch->tokens;
}

int64_t tune_batch_total(const tune_batch *batch) {
    return batch->cu_seqlens ? batch->tokens : batch->sequences * batch->tokens;
}

int64_t tune_batch_longest(const tune_batch *batch) {
    int64_t longest = 0;
    for (int64_t n = 0; n < batch->sequences; n++)
        if (tune_batch_length(batch, n) > longest)
            longest = tune_batch_length(batch, n);
    return longest;
}

int64_t tune_batch_position(const tune_batch *batch, int64_t n) {
    return batch->cache ? batch->cache->pos[n] : 0;
}

tune_tensor_info tune_tensor(const gen_problem *problem, int id) {
    const nha_problem *p = &problem->nha;
    bool slots = p->slots > 0, given = p->rope == NHA_ROPE_GIVEN;
    tune_tensor_info info = {.present = true, .dtype = p->dtype, .heads = p->heads_kv};
    switch (id) {
    case TUNE_Q:
        info.name = "q", info.heads = p->heads_q, info.dim = p->head_dim_qk;
        break;
    case TUNE_K:
        info.name = "k", info.dim = p->head_dim_qk;
        break;
    case TUNE_V:
        info.name = "v", info.dim = p->head_dim_v;
        break;
    case TUNE_GATE:
        info.name = p->gate_input == NHA_GATE_LOG ? "g" : "f";
        info.dim = p->slots, info.dtype = p->gate_dtype, info.present = slots;
        break;
    case TUNE_S:
        info.name = "s", info.dim = p->slots, info.dtype = p->gate_dtype, info.present = slots && p->gate_s_given;
        break;
    case TUNE_RQ:
        info.name = "rq", info.heads = p->heads_q, info.dim = p->head_dim_qk, info.present = given;
        break;
    default:
        info.name = "rk", info.dim = p->head_dim_qk, info.present = given;
        break;
    }
    info.row = info.present ? info.heads * info.dim : 0;
    info.row_bytes = (size_t)info.row * (size_t)gen_dtype_bytes(info.dtype);
    return info;
}

const void *tune_batch_tensor(const tune_batch *batch, int id) {
    const void *data[TUNE_INPUTS] = {batch->q, batch->k, batch->v, batch->gate, batch->s, batch->rq, batch->rk};
    return data[id];
}

void tune_batch_set_tensor(tune_batch *batch, int id, const void *data) {
    const void **slot[TUNE_INPUTS] = {&batch->q, &batch->k, &batch->v, &batch->gate, &batch->s, &batch->rq, &batch->rk};
    *slot[id] = data;
}

static void **cache_slot(tune_cache *cache, int id) {
    void **slot[TUNE_INPUTS] = {NULL, &cache->k, &cache->v, &cache->gate, &cache->s, NULL, &cache->rk};
    return slot[id];
}

void *tune_cache_tensor(const tune_cache *cache, int id) {
    void *data[TUNE_INPUTS] = {NULL, cache->k, cache->v, cache->gate, cache->s, NULL, cache->rk};
    return data[id];
}

/* Zeroed array of a * b * c bytes; one byte at least, so that NULL always means failure. */
static void *zeroes(int64_t a, int64_t b, int64_t c) {
    int64_t size;
    if (!tune_size_mul(a, b, &size) || !tune_size_mul(size, c, &size))
        return NULL;
    return calloc(size ? (size_t)size : 1, 1);
}

bool tune_cache_create(const gen_problem *problem, int64_t sequences, int64_t tokens, tune_cache *cache, err *e) {
    const nha_problem *p = &problem->nha;
    *cache = (tune_cache){.sequences = sequences, .tokens = tokens};
    bool ok = (cache->pos = zeroes(sequences, sizeof *cache->pos, 1)) != NULL;
    if (p->slots) {
        int64_t rows = (int64_t)p->heads_kv * p->slots;
        ok = ok && (cache->hk = zeroes(sequences, rows * p->head_dim_qk, sizeof *cache->hk));
        ok = ok && (cache->hv = zeroes(sequences, rows * p->head_dim_v, sizeof *cache->hv));
    }
    for (int id = 0; ok && id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(problem, id);
        if (info.present && cache_slot(cache, id))
            ok = (*cache_slot(cache, id) = zeroes(sequences, tokens, (int64_t)info.row_bytes)) != NULL;
    }
    if (ok)
        return true;
    tune_cache_destroy(cache);
    return err_memory(e, "cache");
}

void tune_cache_destroy(tune_cache *cache) {
    free(cache->pos);
    free(cache->hk);
    free(cache->hv);
    for (int id = 0; id < TUNE_INPUTS; id++)
        if (cache_slot(cache, id))
            free(*cache_slot(cache, id));
    *cache = (tune_cache){0};
}

bool tune_cache_after(const gen_problem *problem, const tune_batch *batch, tune_cache *after, err *e) {
    int64_t longest = 0;
    for (int64_t n = 0; n < batch->sequences; n++) {
        int64_t pos = tune_batch_position(batch, n) + tune_batch_length(batch, n);
        if (pos > longest)
            longest = pos;
    }
    int64_t tokens = longest < problem->ring ? longest : problem->ring;
    if (!tune_cache_create(problem, batch->sequences, tokens, after, e))
        return false;
    for (int64_t n = 0; n < batch->sequences; n++) {
        int64_t begin = tune_batch_begin(batch, n), length = tune_batch_length(batch, n);
        int64_t start = tune_batch_position(batch, n), pos = start + length;
        after->pos[n] = pos;
        for (int id = 0; id < TUNE_INPUTS; id++) {
            size_t row = tune_tensor(problem, id).row_bytes;
            char *to = tune_cache_tensor(after, id);
            if (!to || !row)
                continue;
            for (int64_t i = 0; i < tokens; i++) {
                int64_t token = pos - tokens + i; /* absolute */
                if (token < 0)
                    continue;
                const char *from = NULL;
                if (token >= start)
                    from = (const char *)tune_batch_tensor(batch, id) + (size_t)(begin + token - start) * row;
                else if (batch->cache && token >= start - batch->cache->tokens) {
                    int64_t entry = n * batch->cache->tokens + batch->cache->tokens - (start - token);
                    from = (const char *)tune_cache_tensor(batch->cache, id) + (size_t)entry * row;
                }
                if (from)
                    memcpy(to + (size_t)(n * tokens + i) * row, from, row);
            }
        }
    }
    return true;
}
