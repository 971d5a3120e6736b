/* verify_pool.c: see verify_pool.h.
 */
#include "tuner/verify_pool.h"

#include <stdlib.h>
#include <string.h>

#include "tuner/convert.h"
#include "tuner/verify.h"

static int64_t round_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

static int64_t memory_floats(const nha_problem *p) {
    return NHA_CPU_MEMORY_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots);
}

/* Memory of a head (hk [K,Mp], then hv [M,Vp]) from or to [M,K], [M,V]; padding zero. */
static void pack(const nha_problem *p, const float *hk, const float *hv, float *packed) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    memset(packed, 0, (size_t)memory_floats(p) * sizeof *packed);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t d = 0; d < K; d++)
            packed[d * Mp + m] = hk[m * K + d];
        memcpy(packed + K * Mp + m * Vp, hv + m * V, (size_t)V * sizeof *hv);
    }
}

static char *row_of(const verify_pool *pool, int64_t n) {
    return pool->cache.pool + pool->index[n] * pool->cache.row_bytes;
}

static int64_t memory_bytes(const nha_problem *p) {
    return memory_floats(p) * gen_dtype_bytes(p->state_dtype);
}

static char *memory_of(const verify_pool *pool, int64_t n, int64_t h) {
    return row_of(pool, n) + pool->cache.memory_offset + h * memory_bytes(&pool->test->problem.nha);
}

/* Whether the head's memory is `want`, rounded where rows are. */
static bool holds(const nha_problem *p, const char *memory, const float *want) {
    for (int64_t i = 0; i < memory_floats(p); i++)
        if (!tune_state_holds(p, want[i], (float)tune_load(memory, p->state_dtype, i)))
            return false;
    return true;
}

static void lay_out(const tune_case *test, nha_cpu_cache *c) {
    const nha_problem *p = &test->problem.nha;
    int64_t *slot[TUNE_INPUTS] = {NULL, &c->k_offset, &c->v_offset, &c->gate_offset, &c->s_offset, NULL, &c->rk_offset};
    int64_t last = 1;
    for (int64_t n = 0; n < test->batch.sequences; n++)
        if (test->spec.pos[n] + tune_batch_length(&test->batch, n) > last)
            last = test->spec.pos[n] + tune_batch_length(&test->batch, n);
    c->ring_tokens = last < test->problem.ring ? last : test->problem.ring > 0 ? test->problem.ring : 1;
    c->memory_offset = round_up(NHA_CPU_ROW_PENDING + p->heads_kv, 64);
    int64_t at = c->memory_offset + p->heads_kv * memory_bytes(p);
    for (int id = 0; id < TUNE_INPUTS; id++) {
        if (!slot[id])
            continue;
        *slot[id] = at;
        at = round_up(at + c->ring_tokens * (int64_t)tune_tensor(&test->problem, id).row_bytes, 64);
    }
    c->pending_offset = at;
    at += p->heads_kv * NHA_CPU_PENDING *
          NHA_CPU_PENDING_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots, p->gate_s_given) * (int64_t)sizeof(float);
    c->row_bytes = round_up(at, 64);
}

/* Token `pos - i` of each stream into its entry, i = 1..cached tokens. */
static void fill_rings(verify_pool *pool, int64_t n) {
    const tune_cache *from = pool->test->batch.cache;
    const nha_cpu_cache *c = &pool->cache;
    const int64_t offset[TUNE_INPUTS] = {0, c->k_offset, c->v_offset, c->gate_offset, c->s_offset, 0, c->rk_offset};
    int64_t pos = from->pos[n], count = from->tokens < pos ? from->tokens : pos;
    for (int id = 0; id < TUNE_INPUTS; id++) {
        const char *source = tune_cache_tensor(from, id);
        tune_tensor_info info = tune_tensor(&pool->test->problem, id);
        if (!source || !info.row)
            continue;
        size_t bytes = info.row_bytes / (size_t)info.heads; /* of one head */
        for (int64_t i = 1; i <= count; i++)
            for (int64_t h = 0; h < info.heads; h++)
                memcpy(row_of(pool, n) + offset[id] + (size_t)(h * c->ring_tokens + (pos - i) % c->ring_tokens) * bytes,
                       source + (size_t)((n + 1) * from->tokens - i) * info.row_bytes + (size_t)h * bytes, bytes);
    }
}

bool verify_pool_create(const tune_case *test, int poison, verify_pool *pool) {
    const nha_problem *p = &test->problem.nha;
    const tune_cache *from = test->batch.cache;
    int64_t sequences = test->batch.sequences;
    memset(pool, 0, sizeof *pool);
    pool->test = test;
    lay_out(test, &pool->cache);
    size_t bytes = (size_t)(sequences * pool->cache.row_bytes);
    pool->index = calloc((size_t)sequences, sizeof *pool->index);
    pool->before = malloc(bytes);
    pool->packed = malloc((size_t)memory_floats(p) * sizeof *pool->packed + 1);
    if (!pool->index || !pool->before || !pool->packed || !guard_create(&pool->rows, bytes, 0, 64, false, poison)) {
        verify_pool_destroy(pool);
        return false;
    }
    pool->cache.pool = pool->rows.data;
    pool->cache.index = pool->index;
    for (int64_t n = 0; n < sequences; n++) {
        pool->index[n] = (int32_t)(sequences - 1 - n);
        memset(row_of(pool, n), 0, (size_t)pool->cache.memory_offset); /* nothing is pending */
        memcpy(row_of(pool, n), &from->pos[n], sizeof from->pos[n]);
        for (int64_t h = 0; p->slots && h < p->heads_kv; h++) {
            int64_t task = n * p->heads_kv + h;
            pack(p, from->hk + task * p->slots * p->head_dim_qk, from->hv + task * p->slots * p->head_dim_v,
                 pool->packed);
            for (int64_t i = 0; i < memory_floats(p); i++)
                tune_store(memory_of(pool, n, h), p->state_dtype, i, pool->packed[i]);
        }
        fill_rings(pool, n);
    }
    memcpy(pool->before, pool->rows.data, bytes);
    return true;
}

void verify_pool_destroy(verify_pool *pool) {
    guard_destroy(&pool->rows);
    free(pool->before);
    free(pool->index);
    free(pool->packed);
    memset(pool, 0, sizeof *pool);
}

const char *verify_pool_check(const verify_pool *pool, const float *hk, const float *hv) {
    const nha_problem *p = &pool->test->problem.nha;
    const nha_cpu_cache *c = &pool->cache;
    size_t memory = (size_t)(p->heads_kv * memory_bytes(p));
    const char *wrong = NULL;
    if (!guard_intact(&pool->rows))
        return "written outside of the pool";
    float *want = pool->packed;
    for (int64_t n = 0; !wrong && n < pool->test->batch.sequences; n++) {
        const char *row = row_of(pool, n), *before = pool->before + (row - c->pool);
        size_t rings = (size_t)c->memory_offset + memory;
        if (memcmp(row, before, (size_t)c->memory_offset) ||
            memcmp(row + rings, before + rings, (size_t)c->row_bytes - rings))
            wrong = "the position or a ring of a cache was written, which is libnha's to do";
        for (int64_t h = 0; !wrong && p->slots && h < p->heads_kv; h++) {
            int64_t task = n * p->heads_kv + h;
            pack(p, hk + task * p->slots * p->head_dim_qk, hv + task * p->slots * p->head_dim_v, want);
            if (!holds(p, memory_of(pool, n, h), want))
                wrong = "the memory in a cache is not that of hk, hv, or its padding is not zero";
        }
    }
    return wrong;
}
