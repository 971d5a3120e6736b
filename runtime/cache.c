/* cache.c: pools of caches: their layout, and reset, copy, position, export and import of rows.
 * A row (nha_library.h): pos, memory of each kv head, rings. Host memory here; a CUDA pool is refused. */
#include <string.h>

#include "runtime/internal.h"

enum { ROW_ALIGN = NHA_WORKSPACE_ALIGN, PART_ALIGN = 64 };

int64_t nhr_ring(const nha_problem *p) {
    return p->slots ? nhr_max(p->slot_lag, p->window) : p->window;
}

bool nhr_cache_layout(const nha_problem *p, int64_t ring_tokens, nha_cpu_cache *c) {
    int64_t h = p->heads_kv, element = nhr_dtype_bytes(p->dtype), gate = nhr_dtype_bytes(p->gate_dtype);
    int64_t at = PART_ALIGN, rows; /* rows = H * ring_tokens of each ring */
    memset(c, 0, sizeof *c);
    c->ring_tokens = ring_tokens;
    c->memory_offset = at;
    if (!nhr_add_bytes(&at, h, NHA_CPU_MEMORY_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots) * 4, PART_ALIGN) ||
        !nhr_mul(h, ring_tokens, &rows))
        return false;
    c->k_offset = at;
    if (!nhr_add_bytes(&at, rows, p->head_dim_qk * element, PART_ALIGN)) return false;
    c->v_offset = at;
    if (!nhr_add_bytes(&at, rows, p->head_dim_v * element, PART_ALIGN)) return false;
    c->gate_offset = at;
    if (!nhr_add_bytes(&at, rows, p->slots * gate, PART_ALIGN)) return false;
    c->s_offset = at;
    if (p->gate_s_given && !nhr_add_bytes(&at, rows, p->slots * gate, PART_ALIGN)) return false;
    c->rk_offset = at;
    if (p->rope == NHA_ROPE_GIVEN && !nhr_add_bytes(&at, rows, p->head_dim_qk * element, PART_ALIGN)) return false;
    if (at > INT64_MAX / 2) return false;
    c->row_bytes = (at + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
    return true;
}

nha_status nha_cache_describe(const nha_library *library, int32_t i, nha_device device, int64_t max_tokens,
                              nha_cache_format *format, nha_error *error) {
    const nha_problem *problem;
    nha_status status = nhr_problem_find(library, i, &problem, error);
    if (status || (status = nhr_check_device(device, error))) return status;
    if (!format) return nhr_fail(error, NHA_INVALID_ARGUMENT, "format is NULL");
    if ((status = nhr_check_struct("format", format, format->struct_size, sizeof *format, error))) return status;
    if (max_tokens < 0) return nhr_fail(error, NHA_INVALID_ARGUMENT, "max_tokens is negative");
    int64_t ring = nhr_ring(problem);
    int64_t tokens = nhr_max(max_tokens ? nhr_min(ring, max_tokens) : ring, 1);
    nha_cpu_cache layout;
    if (!nhr_cache_layout(problem, tokens, &layout))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "a ring of %lld tokens is too large: bound it by max_tokens",
                        (long long)tokens);
    format->row_bytes = layout.row_bytes;
    format->tokens = tokens;
    format->ring = ring;
    return nhr_ok(error);
}

/* What every function on a pool begins with; fills the layout with its pool. */
static nha_status open_pool(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                            const void *pool, const nha_problem **problem, nha_cpu_cache *layout, nha_error *error) {
    nha_status status = nhr_problem_find(library, i, problem, error);
    if (status || (status = nhr_check_device(device, error))) return status;
    if (!format) return nhr_fail(error, NHA_INVALID_ARGUMENT, "format is NULL");
    if ((status = nhr_check_struct("format", format, format->struct_size, sizeof *format, error))) return status;
    int64_t ring = nhr_ring(*problem);
    if (format->ring != ring || format->tokens < 1 || format->tokens > nhr_max(ring, 1) ||
        !nhr_cache_layout(*problem, format->tokens, layout) || layout->row_bytes != format->row_bytes)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "format is not what nha_cache_describe fills for this problem");
    if (!pool) return nhr_fail(error, NHA_INVALID_ARGUMENT, "pool is NULL");
    if ((uintptr_t)pool % NHA_WORKSPACE_ALIGN)
        return nhr_fail(error, NHA_MISALIGNED, "pool is not aligned to %d bytes", NHA_WORKSPACE_ALIGN);
    layout->pool = (char *)(uintptr_t)pool; /* const sources are only read */
    return NHA_OK;
}

static nha_status check_rows(const char *name, const int32_t *rows, int64_t count, nha_error *error) {
    if (count < 0) return nhr_fail(error, NHA_INVALID_ARGUMENT, "count is negative");
    for (int64_t c = 0; rows && c < count; c++)
        if (rows[c] < 0)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s[%lld] is %d, a row is 0 or more", name, (long long)c,
                            rows[c]);
    return NHA_OK;
}

nha_status nha_cache_reset(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                           void *pool, const int32_t *rows, int64_t count, void *stream, nha_error *error) {
    (void)stream;
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("rows", rows, count, error))) return status;
    for (int64_t j = 0; j < count; j++) memset(c.pool + (rows ? rows[j] : j) * c.row_bytes, 0, (size_t)c.row_bytes);
    return nhr_ok(error);
}

nha_status nha_cache_copy(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                          void *to_pool, const int32_t *to, const void *from_pool, const int32_t *from, int64_t count,
                          void *stream, nha_error *error) {
    (void)stream;
    const nha_problem *problem;
    nha_cpu_cache target, source;
    nha_status status = open_pool(library, i, device, format, to_pool, &problem, &target, error);
    if (status || (status = open_pool(library, i, device, format, from_pool, &problem, &source, error)) ||
        (status = check_rows("to", to, count, error)) || (status = check_rows("from", from, count, error)))
        return status;
    for (int64_t c = 0; c < count; c++)
        if (to_pool == from_pool && (to ? to[c] : c) == (from ? from[c] : c))
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "copy %lld has the same row as source and target",
                            (long long)c);
    for (int64_t c = 0; c < count; c++)
        memcpy(target.pool + (to ? to[c] : c) * target.row_bytes, source.pool + (from ? from[c] : c) * source.row_bytes,
               (size_t)target.row_bytes);
    return nhr_ok(error);
}

/* ---- A row in the open ---- */

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
static char *in_ring(const nha_cpu_cache *c, int64_t row, const struct stream *s, int64_t h, int64_t j) {
    return c->pool + row * c->row_bytes + s->offset + (h * c->ring_tokens + j % c->ring_tokens) * s->bytes;
}

static char *in_array(const nha_problem *p, const nha_cache_image *image, int64_t pos, const struct stream *s,
                      int64_t h, int64_t j) {
    return s->array + ((image->tokens - (pos - j)) * p->heads_kv + h) * s->bytes;
}

/* Memory of head h in a row: hk [K,Mp], hv [M,Vp]. */
static float *row_memory(const nha_problem *p, const nha_cpu_cache *c, int64_t row, int64_t h) {
    char *memory = c->pool + row * c->row_bytes + c->memory_offset;
    return (float *)(void *)memory + h * NHA_CPU_MEMORY_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots);
}

nha_status nha_cache_position(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                              const void *pool, int32_t row, int64_t *pos, void *stream, nha_error *error) {
    (void)stream;
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("row", &row, 1, error))) return status;
    if (!pos) return nhr_fail(error, NHA_INVALID_ARGUMENT, "pos is NULL");
    *pos = *nhr_row_pos(&c, row);
    return nhr_ok(error);
}

nha_status nha_cache_export(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                            const void *pool, int32_t row, nha_cache_image *image, void *stream, nha_error *error) {
    (void)stream;
    const nha_problem *p;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &p, &c, error);
    if (status || (status = check_rows("row", &row, 1, error))) return status;
    if (!image) return nhr_fail(error, NHA_INVALID_ARGUMENT, "image is NULL");
    if ((status = nhr_check_struct("image", image, image->struct_size, sizeof *image, error))) return status;
    int64_t pos = *nhr_row_pos(&c, row);
    if (pos < 0 || pos > NHR_POS_MAX) return nhr_fail(error, NHA_BAD_DATA, "row %d holds no cache: was it reset?", row);
    struct stream streams[STREAMS];
    int count = list_streams(p, &c, image, streams);
    if ((status = check_image(p, image, pos, streams, count, error))) return status;

    int64_t h_count = p->heads_kv, held = nhr_min(nhr_min(nhr_ring(p), pos), c.ring_tokens);
    for (int s = 0; s < count; s++) {
        if (image->tokens) memset(streams[s].array, 0, (size_t)((image->tokens - held) * h_count * streams[s].bytes));
        for (int64_t j = pos - held; j < pos; j++)
            for (int64_t h = 0; h < h_count; h++)
                memcpy(in_array(p, image, pos, &streams[s], h, j), in_ring(&c, row, &streams[s], h, j),
                       (size_t)streams[s].bytes);
    }
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    for (int64_t h = 0; M && h < h_count; h++) {
        const float *hk = row_memory(p, &c, row, h), *hv = hk + K * Mp;
        for (int64_t m = 0; m < M; m++) {
            for (int64_t d = 0; d < K; d++) image->hk[(h * M + m) * K + d] = hk[d * Mp + m];
            memcpy(image->hv + (h * M + m) * V, hv + m * Vp, (size_t)V * sizeof(float));
        }
    }
    image->pos = pos;
    return nhr_ok(error);
}

nha_status nha_cache_import(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                            void *pool, int32_t row, const nha_cache_image *image, void *stream, nha_error *error) {
    (void)stream;
    const nha_problem *p;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &p, &c, error);
    if (status || (status = check_rows("row", &row, 1, error))) return status;
    if (!image) return nhr_fail(error, NHA_INVALID_ARGUMENT, "image is NULL");
    if ((status = nhr_check_struct("image", image, image->struct_size, sizeof *image, error))) return status;
    int64_t pos = image->pos, ring = nhr_ring(p);
    if (pos < 0)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "image.pos is %lld, a position is 0 or more", (long long)pos);
    if (pos > NHR_POS_MAX || (c.ring_tokens < ring && pos > c.ring_tokens))
        return nhr_fail(error, NHA_OUT_OF_BOUNDS, "image.pos is %lld, this pool holds positions up to %lld",
                        (long long)pos, (long long)(c.ring_tokens < ring ? c.ring_tokens : NHR_POS_MAX));
    struct stream streams[STREAMS];
    int count = list_streams(p, &c, image, streams);
    if ((status = check_image(p, image, pos, streams, count, error))) return status;

    memset(c.pool + row * c.row_bytes, 0, (size_t)c.row_bytes);
    int64_t h_count = p->heads_kv, held = nhr_min(ring, pos);
    for (int s = 0; s < count; s++)
        for (int64_t j = pos - held; j < pos; j++)
            for (int64_t h = 0; h < h_count; h++)
                memcpy(in_ring(&c, row, &streams[s], h, j), in_array(p, image, pos, &streams[s], h, j),
                       (size_t)streams[s].bytes);
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    for (int64_t h = 0; M && h < h_count; h++) {
        float *hk = row_memory(p, &c, row, h), *hv = hk + K * Mp;
        for (int64_t m = 0; m < M; m++) {
            for (int64_t d = 0; d < K; d++) hk[d * Mp + m] = image->hk[(h * M + m) * K + d];
            memcpy(hv + m * Vp, image->hv + (h * M + m) * V, (size_t)V * sizeof(float));
        }
    }
    *nhr_row_pos(&c, row) = pos;
    return nhr_ok(error);
}
