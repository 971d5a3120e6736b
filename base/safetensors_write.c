/* safetensors_write.c: writing: the header in a fixed order, padded with spaces to 8 bytes, then the data; all or
 * nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"

/* Larger types first, so that each is aligned to its size; then by name. */
static int by_layout(const void *a, const void *b) {
    const st_tensor *x = a, *y = b;
    size_t wide = st_dtype_bytes(x->dtype), other = st_dtype_bytes(y->dtype);
    if (wide != other) return wide > other ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const st_tensor *const *)a)->name, (*(const st_tensor *const *)b)->name);
}

/* Sets bytes of each from its shape; names must differ. */
static bool measure(const char *path, st_tensor *tensors, size_t count, err *e) {
    const st_tensor **names = malloc((count + 1) * sizeof *names);
    bool ok = names ? true : err_memory(e, "safetensors");
    for (size_t i = 0; i < count && ok; i++) {
        st_tensor *t = &tensors[i];
        size_t bytes = st_dtype_bytes(t->dtype);
        ok = bytes && t->rank >= 0 && t->rank <= ST_RANK_MAX;
        for (int d = 0; ok && d < t->rank; d++) {
            ok = t->shape[d] >= 0 && !__builtin_mul_overflow(bytes, (size_t)t->shape[d], &bytes);
        }
        if (!ok) err_at(e, ERR_INTERNAL, "safetensors", path, 0, 0, "%.100s: a bad dtype or shape", t->name);
        t->bytes = bytes;
        names[i] = t;
    }
    if (ok && count) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 1; i < count && ok; i++)
        if (strcmp(names[i - 1]->name, names[i]->name) == 0)
            ok = err_at(e, ERR_INTERNAL, "safetensors", path, 0, 0, "%.100s: the name appears twice", names[i]->name);
    free(names);
    return ok;
}

static void write_header(base_buf *out, const st_tensor *tensors, size_t count, const st_text *metadata,
                         size_t metadata_count) {
    json_writer w = {.out = out};
    size_t offset = 0;
    json_begin_object(&w, NULL);
    if (metadata_count) {
        json_begin_object(&w, "__metadata__");
        for (size_t i = 0; i < metadata_count; i++) json_put_text(&w, metadata[i].key, metadata[i].value);
        json_end_object(&w);
    }
    for (size_t i = 0; i < count; i++) {
        const st_tensor *t = &tensors[i];
        json_begin_object(&w, t->name);
        json_put_text(&w, "dtype", st_dtype_name(t->dtype));
        json_begin_array(&w, "shape");
        for (int d = 0; d < t->rank; d++) json_put_integer(&w, NULL, t->shape[d]);
        json_end_array(&w);
        json_begin_array(&w, "data_offsets");
        json_put_integer(&w, NULL, (int64_t)offset);
        json_put_integer(&w, NULL, (int64_t)(offset + t->bytes));
        json_end_array(&w);
        json_end_object(&w);
        offset += t->bytes;
    }
    json_end_object(&w);
    while (out->size % 8 && !out->failed) base_buf_char(out, ' ');
}

bool st_write(const char *path, const st_tensor *tensors, size_t count, const st_text *metadata, size_t metadata_count,
              err *e) {
    base_buf header = {0};
    base_writer w = {.fd = -1};
    bool ok = false;
    st_tensor *sorted = malloc((count + 1) * sizeof *sorted);
    if (!sorted) {
        err_memory(e, "safetensors");
        goto done;
    }
    if (count) memcpy(sorted, tensors, count * sizeof *sorted);
    if (!measure(path, sorted, count, e)) goto done;
    if (count) qsort(sorted, count, sizeof *sorted, by_layout);
    write_header(&header, sorted, count, metadata, metadata_count);
    if (!base_buf_ok(&header, "safetensors", e)) goto done;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)header.size >> 8 * i);
    if (!base_writer_open(&w, path, "safetensors", e) || !base_writer_add(&w, prefix, sizeof prefix, e) ||
        !base_writer_add(&w, header.data, header.size, e))
        goto done;
    for (size_t i = 0; i < count; i++)
        if (!base_writer_add(&w, sorted[i].data, sorted[i].bytes, e)) goto done;
    ok = base_writer_commit(&w, e);
done:
    base_writer_abort(&w);
    base_buf_free(&header);
    free(sorted);
    return ok;
}
