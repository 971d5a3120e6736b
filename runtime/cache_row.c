/* cache_row.c: one row of a pool, in host memory, to and from an image. The rings are the same on every kind of device;
 * the memory is padded and its keys transposed on the CPU, plain on CUDA (nha_library.h, nha_cuda.h). */
#include <string.h>

#include "runtime/internal.h"

/* One ring of a row and its array in an image, [R',H,dim]. */
struct stream {
    const char *name;
    int64_t offset, bytes; /* of the ring in the row; of one token and head */
    char *array;
};

enum { STREAMS = 5 };

/* Fills the streams that the problem has; returns their number. */
static int list_streams(const nha_problem *p, const nha_cpu_cache *c, const nha_cache_image *image,
                        struct stream out[STREAMS]) {
    int64_t element = nhr_dtype_bytes(p->dtype), gate = nhr_dtype_bytes(p->gate_dtype);
    int n = 0;
    out[n++] = (struct stream){"k", c->k_offset, p->head_dim_qk * element, image->k};
    out[n++] = (struct stream){"v", c->v_offset, p->head_dim_v * element, image->v};
    if (p->slots) out[n++] = (struct stream){"gate", c->gate_offset, p->slots * gate, image->gate};
    if (p->slots && p->gate_s_given) out[n++] = (struct stream){"s", c->s_offset, p->slots * gate, image->s};
    if (p->rope == NHA_ROPE_GIVEN) out[n++] = (struct stream){"rk", c->rk_offset, p->head_dim_qk * element, image->rk};
    return n;
}

/* Checks an image against a cache of `pos` tokens. */
static nha_status check_image(const nha_problem *p, const nha_cache_image *image, int64_t pos,
                              const struct stream *streams, int count, nha_error *error) {
    int64_t need = nhr_min(nhr_ring(p), pos), bytes;
    if (image->tokens < need)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.tokens is %lld, the cache at position %lld needs %lld",
                        (long long)image->tokens, (long long)pos, (long long)need);
    if (p->slots && (!image->hk || !image->hv))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.%s is NULL", image->hk ? "hv" : "hk");
    for (int s = 0; s < count; s++) {
        if (image->tokens && !streams[s].array)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.%s is NULL", streams[s].name);
        if (!nhr_mul(image->tokens, p->heads_kv * streams[s].bytes, &bytes))
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.tokens is too large");
    }
    return NHA_OK;
}

/* Token j of kv head h: where it stands in a ring and in an array. */
static int64_t in_ring(const nha_cpu_cache *c, const struct stream *s, int64_t h, int64_t j) {
    return s->offset + (h * c->ring_tokens + j % c->ring_tokens) * s->bytes;
}

static char *in_array(const nha_problem *p, const nha_cache_image *image, int64_t pos, const struct stream *s,
                      int64_t h, int64_t j) {
    return s->array + ((image->tokens - (pos - j)) * p->heads_kv + h) * s->bytes;
}

/* ---- Memory of a head: hk [K,Mp], hv [M,Vp] on the CPU, with padding that is zero; hk [M,K], hv [M,V] on CUDA ---- */

static void export_memory(const nha_problem *p, int32_t kind, const nha_cpu_cache *c, const char *row,
                          nha_cache_image *image) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    int64_t token = NHA_CPU_PENDING_FLOATS(K, V, M, p->gate_s_given);
    const char *memory = row + c->memory_offset;
    int64_t head_bytes = NHA_CPU_MEMORY_FLOATS(K, V, M) * nhr_state_bytes(p, kind);
    const float *pending = (const float *)(const void *)(row + c->pending_offset);
    for (int64_t h = 0; h < p->heads_kv; h++) {
        float *to_k = image->hk + h * M * K, *to_v = image->hv + h * M * V;
        if (kind == NHA_CUDA) {
            const float *hk = (const float *)(const void *)memory + h * M * (K + V);
            memcpy(to_k, hk, (size_t)(M * K) * sizeof *hk);
            memcpy(to_v, hk + M * K, (size_t)(M * V) * sizeof *hk);
            continue;
        }
        const char *own = memory + h * head_bytes;
        int64_t count = (unsigned char)row[NHA_CPU_ROW_PENDING + h];
        if (count) {
            nhr_fold(p, own, pending + h * NHA_CPU_PENDING * token, count, to_k, to_v);
            continue;
        }
        for (int64_t m = 0; m < M; m++) {
            for (int64_t d = 0; d < K; d++) to_k[m * K + d] = nhr_state_at(p, own, d * Mp + m);
            for (int64_t d = 0; d < V; d++) to_v[m * V + d] = nhr_state_at(p, own, K * Mp + m * Vp + d);
        }
    }
}

static void import_memory(const nha_problem *p, int32_t kind, char *memory, const nha_cache_image *image) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    for (int64_t h = 0; h < p->heads_kv; h++) {
        const float *from_k = image->hk + h * M * K, *from_v = image->hv + h * M * V;
        if (kind == NHA_CUDA) {
            float *hk = (float *)(void *)memory + h * M * (K + V);
            memcpy(hk, from_k, (size_t)(M * K) * sizeof *hk);
            memcpy(hk + M * K, from_v, (size_t)(M * V) * sizeof *hk);
            continue;
        }
        char *own = memory + h * NHA_CPU_MEMORY_FLOATS(K, V, M) * nhr_state_bytes(p, kind);
        for (int64_t m = 0; m < M; m++) {
            for (int64_t d = 0; d < K; d++) nhr_state_set(p, own, d * Mp + m, from_k[m * K + d]);
            for (int64_t d = 0; d < V; d++) nhr_state_set(p, own, K * Mp + m * Vp + d, from_v[m * V + d]);
        }
    }
}

/* ---- The row ---- */

nha_status nhr_row_position(const nha_problem *p, int32_t kind, const char *row, int64_t *pos, nha_error *error) {
    const int64_t *positions = (const int64_t *)(const void *)row;
    bool right = positions[0] >= 0 && positions[0] <= NHR_POS_MAX;
    for (int64_t i = 1; i < nhr_row_positions(p, kind); i++) right = right && positions[i] == positions[0];
    right = right && (kind == NHA_CUDA || nhr_pending_right(p, nhr_row_pending(p->heads_kv, row)));
    if (!right) return nhr_fail(error, NHA_BAD_DATA, "the row holds no cache: was it reset?");
    *pos = positions[0];
    return NHA_OK;
}

nha_status nhr_row_export(const nha_problem *p, int32_t kind, const nha_cpu_cache *c, const char *row,
                          nha_cache_image *image, nha_error *error) {
    int64_t pos;
    struct stream streams[STREAMS];
    nha_status status = nhr_row_position(p, kind, row, &pos, error);
    if (status) return status;
    int count = list_streams(p, c, image, streams);
    if ((status = check_image(p, image, pos, streams, count, error))) return status;
    int64_t heads = p->heads_kv, held = nhr_min(nhr_min(nhr_ring(p), pos), c->ring_tokens);
    for (int s = 0; s < count; s++) {
        if (image->tokens) memset(streams[s].array, 0, (size_t)((image->tokens - held) * heads * streams[s].bytes));
        for (int64_t j = pos - held; j < pos; j++)
            for (int64_t h = 0; h < heads; h++)
                memcpy(in_array(p, image, pos, &streams[s], h, j), row + in_ring(c, &streams[s], h, j),
                       (size_t)streams[s].bytes);
    }
    if (p->slots) export_memory(p, kind, c, row, image);
    image->pos = pos;
    return nhr_ok(error);
}

nha_status nhr_row_import_check(const nha_problem *p, const nha_cpu_cache *c, const nha_cache_image *image,
                                nha_error *error) {
    int64_t pos = image->pos, ring = nhr_ring(p);
    if (pos < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.pos is %lld, a position is 0 or more", (long long)pos);
    if (pos > NHR_POS_MAX || (c->ring_tokens < ring && pos > c->ring_tokens))
        return nhr_fail(error, NHA_OUT_OF_BOUNDS, "image.pos is %lld, this pool holds positions up to %lld",
                        (long long)pos, (long long)(c->ring_tokens < ring ? c->ring_tokens : NHR_POS_MAX));
    struct stream streams[STREAMS];
    return check_image(p, image, pos, streams, list_streams(p, c, image, streams), error);
}

void nhr_row_import(const nha_problem *p, int32_t kind, const nha_cpu_cache *c, char *row,
                    const nha_cache_image *image) {
    struct stream streams[STREAMS];
    int count = list_streams(p, c, image, streams);
    int64_t pos = image->pos, held = nhr_min(nhr_ring(p), pos);
    for (int s = 0; s < count; s++)
        for (int64_t j = pos - held; j < pos; j++)
            for (int64_t h = 0; h < p->heads_kv; h++)
                memcpy(row + in_ring(c, &streams[s], h, j), in_array(p, image, pos, &streams[s], h, j),
                       (size_t)streams[s].bytes);
    if (p->slots) import_memory(p, kind, row + c->memory_offset, image);
    for (int64_t i = 0; i < nhr_row_positions(p, kind); i++) ((int64_t *)(void *)row)[i] = pos;
}
