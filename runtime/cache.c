/* cache.c: pools of caches: their layout, and reset, copy, position, export and import of rows.
 * A row (nha_library.h, nha_cuda.h): positions, memory of each kv head, rings, pending tokens. */
#include <string.h>

#include "runtime/internal.h"

enum { ROW_ALIGN = NHA_WORKSPACE_ALIGN, PART_ALIGN = 64 };

int64_t nhr_ring(const nha_problem *p) {
    return p->slots ? nhr_max(p->slot_lag, p->window) : p->window;
}

/* Elements of one head's memory: hk [K,Mp], hv [M,Vp] on the CPU, hk [M,K], hv [M,V] on CUDA. */
static int64_t memory_elements(const nha_problem *p, int32_t kind) {
    return kind == NHA_CUDA ? (int64_t)p->slots * (p->head_dim_qk + p->head_dim_v)
                            : NHA_CPU_MEMORY_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots);
}

/* Positions, and on the CPU the number of pending tokens of each head. */
static int64_t header_bytes(const nha_problem *p, int32_t kind) {
    int64_t positions = nhr_row_positions(p, kind) * (int64_t)sizeof(int64_t);
    return kind == NHA_CUDA ? positions : positions + nhr_ceil_div(p->heads_kv, 8) * 8;
}

/* Floats of one head's pending tokens. */
static int64_t pending_floats(const nha_problem *p, int32_t kind) {
    int64_t token = NHA_CPU_PENDING_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots, p->gate_s_given);
    return kind == NHA_CUDA ? 0 : NHA_CPU_PENDING * token;
}

bool nhr_cache_layout(const nha_problem *p, int32_t kind, int64_t ring_tokens, nha_cpu_cache *c) {
    int64_t h = p->heads_kv, element = nhr_dtype_bytes(p->dtype), gate = nhr_dtype_bytes(p->gate_dtype);
    int64_t at = 0, rows; /* rows = H * ring_tokens of each ring */
    memset(c, 0, sizeof *c);
    c->ring_tokens = ring_tokens;
    if (!nhr_add_bytes(&at, header_bytes(p, kind), 1, PART_ALIGN)) return false;
    c->memory_offset = at;
    if (!nhr_add_bytes(&at, h, memory_elements(p, kind) * nhr_state_bytes(p, kind), PART_ALIGN) ||
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
    c->pending_offset = at;
    if (!nhr_add_bytes(&at, h, pending_floats(p, kind) * 4, PART_ALIGN)) return false;
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
    if (!nhr_cache_layout(problem, device.kind, tokens, &layout))
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
        !nhr_cache_layout(*problem, device.kind, format->tokens, layout) || layout->row_bytes != format->row_bytes)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "format is not what nha_cache_describe fills for this problem");
    if (!pool) return nhr_fail(error, NHA_INVALID_ARGUMENT, "pool is NULL");
    if ((uintptr_t)pool % NHA_WORKSPACE_ALIGN)
        return nhr_fail(error, NHA_MISALIGNED, "pool is not aligned to %d bytes", NHA_WORKSPACE_ALIGN);
    layout->pool = (char *)(uintptr_t)pool; /* const sources are only read */
    return NHA_OK;
}

/* No row has an address past the end of int64: `count` rows from 0 on where `rows` is NULL. */
static nha_status check_rows(const char *name, const nha_cpu_cache *layout, const int32_t *rows, int64_t count,
                             nha_error *error) {
    int64_t bytes;
    if (count < 0) return nhr_fail(error, NHA_INVALID_ARGUMENT, "count is negative");
    if (!rows && !nhr_mul(count, layout->row_bytes, &bytes))
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "count is %lld, no pool has so many rows", (long long)count);
    for (int64_t c = 0; rows && c < count; c++) {
        if (rows[c] < 0)
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s[%lld] is %d, a row is 0 or more", name, (long long)c,
                            rows[c]);
        if (!nhr_mul((int64_t)rows[c] + 1, layout->row_bytes, &bytes))
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s[%lld] is %d, no pool has so many rows", name,
                            (long long)c, rows[c]);
    }
    return NHA_OK;
}

nha_status nha_cache_reset(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                           void *pool, const int32_t *rows, int64_t count, void *stream, nha_error *error) {
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("rows", &c, rows, count, error))) return status;
    if (device.kind == NHA_CUDA) return nhr_cuda_reset(device, &c, rows, count, stream, error);
    for (int64_t j = 0; j < count; j++) memset(c.pool + (rows ? rows[j] : j) * c.row_bytes, 0, (size_t)c.row_bytes);
    return nhr_ok(error);
}

nha_status nha_cache_copy(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                          void *to_pool, const int32_t *to, const void *from_pool, const int32_t *from, int64_t count,
                          void *stream, nha_error *error) {
    const nha_problem *problem;
    nha_cpu_cache target, source;
    nha_status status = open_pool(library, i, device, format, to_pool, &problem, &target, error);
    if (status || (status = open_pool(library, i, device, format, from_pool, &problem, &source, error)) ||
        (status = check_rows("to", &target, to, count, error)) ||
        (status = check_rows("from", &source, from, count, error)))
        return status;
    for (int64_t c = 0; c < count; c++)
        if (to_pool == from_pool && (to ? to[c] : c) == (from ? from[c] : c))
            return nhr_fail(error, NHA_INVALID_ARGUMENT, "copy %lld has the same row as source and target",
                            (long long)c);
    if (device.kind == NHA_CUDA) return nhr_cuda_copy(device, &target, to, &source, from, count, stream, error);
    for (int64_t c = 0; c < count; c++)
        memcpy(target.pool + (to ? to[c] : c) * target.row_bytes, source.pool + (from ? from[c] : c) * source.row_bytes,
               (size_t)target.row_bytes);
    return nhr_ok(error);
}

/* ---- A row in the open ---- */

/* Memory for a row of a GPU, zeroed; the sizes of a layout fit int64. */
static char *stage(int64_t bytes, nha_error *error) {
    char *row = (uint64_t)bytes <= SIZE_MAX / 2 ? nhr_alloc((size_t)bytes) : NULL;
    if (!row) nhr_fail(error, NHA_OUT_OF_MEMORY, "no memory for a row of %lld bytes", (long long)bytes);
    return row;
}

nha_status nha_cache_position(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                              const void *pool, int32_t row, int64_t *pos, void *stream, nha_error *error) {
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("row", &c, &row, 1, error))) return status;
    if (!pos) return nhr_fail(error, NHA_INVALID_ARGUMENT, "pos is NULL");
    int64_t seen;
    if (device.kind == NHA_CPU)
        seen = *nhr_row_pos(&c, row);
    else if ((status = nhr_cuda_read_row(device, &c, row, &seen, (int64_t)sizeof seen, stream, error)))
        return status;
    *pos = seen;
    return nhr_ok(error);
}

nha_status nha_cache_export(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                            const void *pool, int32_t row, nha_cache_image *image, void *stream, nha_error *error) {
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("row", &c, &row, 1, error))) return status;
    if (!image) return nhr_fail(error, NHA_INVALID_ARGUMENT, "image is NULL");
    if ((status = nhr_check_struct("image", image, image->struct_size, sizeof *image, error))) return status;
    if (device.kind == NHA_CPU)
        return nhr_row_export(problem, NHA_CPU, &c, c.pool + row * c.row_bytes, image, error);
    char *staged = stage(c.row_bytes, error);
    if (!staged) return NHA_OUT_OF_MEMORY;
    if (!(status = nhr_cuda_read_row(device, &c, row, staged, c.row_bytes, stream, error)))
        status = nhr_row_export(problem, NHA_CUDA, &c, staged, image, error);
    nhr_free(staged);
    return status;
}

nha_status nha_cache_import(const nha_library *library, int32_t i, nha_device device, const nha_cache_format *format,
                            void *pool, int32_t row, const nha_cache_image *image, void *stream, nha_error *error) {
    const nha_problem *problem;
    nha_cpu_cache c;
    nha_status status = open_pool(library, i, device, format, pool, &problem, &c, error);
    if (status || (status = check_rows("row", &c, &row, 1, error))) return status;
    if (!image) return nhr_fail(error, NHA_INVALID_ARGUMENT, "image is NULL");
    if ((status = nhr_check_struct("image", image, image->struct_size, sizeof *image, error)) ||
        (status = nhr_row_import_check(problem, &c, image, error)))
        return status;
    if (device.kind == NHA_CPU) {
        char *to = c.pool + row * c.row_bytes;
        memset(to, 0, (size_t)c.row_bytes);
        nhr_row_import(problem, NHA_CPU, &c, to, image);
        return nhr_ok(error);
    }
    char *staged = stage(c.row_bytes, error);
    if (!staged) return NHA_OUT_OF_MEMORY;
    nhr_row_import(problem, NHA_CUDA, &c, staged, image);
    if (!(status = nhr_cuda_write_row(device, &c, row, staged, stream, error))) status = nhr_ok(error);
    nhr_free(staged);
    return status;
}
