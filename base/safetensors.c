/* safetensors.c: reading. The header is checked whole (shape against offsets, offsets against each other and the file)
 * before any data is read; then each tensor is read into its own aligned place. */
#include "base/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are read as they lie in the file: little endian");

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
#define ST_DTYPE_ROW_(name, text, bytes) [name] = {text, bytes},
    ST_DTYPE_LIST(ST_DTYPE_ROW_)
#undef ST_DTYPE_ROW_
};

/* A tensor while its file is being checked. */
typedef struct entry {
    st_tensor tensor;
    uint64_t begin, end; /* in the data section */
} entry;

typedef struct reader {
    const char *path;
    int fd;
    uint64_t header_size, data_size;
    json header;
    entry *entries;
    size_t count;
    err *e;
} reader;

const char *st_dtype_name(st_dtype dtype) {
    return (size_t)dtype < ST_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t st_dtype_bytes(st_dtype dtype) {
    return (size_t)dtype < ST_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

const char *st_shape_text(int rank, const int64_t *shape, char *out, size_t size) {
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (used < size) snprintf(out + used, size - used, "]");
    return out;
}

static bool tensor_error(const char *path, const char *tensor, err *e, const char *format, va_list args) {
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    return err_at(e, ERR_INPUT, "safetensors", path, 0, 0, "%.100s: %s", tensor[0] ? tensor : "\"\"", text);
}

bool st_error(const st_file *file, const char *tensor, err *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tensor_error(file->path, tensor, e, format, args);
    va_end(args);
    return false;
}

/* The part before the colon is a tensor's name, or "header". */
static bool fail(reader *r, const char *tensor, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail(reader *r, const char *tensor, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tensor_error(r->path, tensor, r->e, format, args);
    va_end(args);
    return false;
}

static bool fail_system(reader *r) {
    bool named_wrong = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP;
    return err_at(r->e, named_wrong ? ERR_INPUT : ERR_SYSTEM, "safetensors", r->path, 0, 0, "cannot be read: %s",
                  strerror(errno));
}

static bool read_bytes(reader *r, void *to, size_t size, uint64_t offset) {
    char *bytes = to;
    while (size) {
        ssize_t n = pread(r->fd, bytes, size < (size_t)1 << 30 ? size : (size_t)1 << 30, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_system(r);
        if (n == 0) return fail(r, "header", "the file became shorter while it was read");
        bytes += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

static bool read_dtype(reader *r, entry *t, const json_value *v) {
    if (!v || v->type != JSON_STRING) return fail(r, t->tensor.name, "it has no dtype, a string such as \"F32\"");
    for (size_t i = 0; i < ST_DTYPE_COUNT; i++) {
        if (strcmp(v->text, dtypes[i].name) != 0) continue;
        t->tensor.dtype = (st_dtype)i;
        return true;
    }
    return fail(r, t->tensor.name, "its dtype is %.40s; F64, F32, F16, BF16, I64 and I32 are read", v->text);
}

static bool read_shape(reader *r, entry *t, const json_value *v) {
    uint64_t bytes = st_dtype_bytes(t->tensor.dtype);
    bool empty = false;
    if (!v || v->type != JSON_ARRAY) return fail(r, t->tensor.name, "it has no shape, a list of numbers");
    if (v->size > ST_RANK_MAX)
        return fail(r, t->tensor.name, "its shape has %zu dimensions; at most %d are read", v->size, ST_RANK_MAX);
    for (const json_value *d = v->first; d; d = d->next) {
        if (d->type != JSON_NUMBER || !d->integral || d->integer < 0)
            return fail(r, t->tensor.name, "its shape must be whole numbers, 0 or more");
        t->tensor.shape[t->tensor.rank++] = d->integer;
        empty = empty || d->integer == 0;
        if (d->integer && bytes > (uint64_t)INT64_MAX / (uint64_t)d->integer)
            return fail(r, t->tensor.name, "its shape is too large: the number of bytes overflows");
        if (d->integer) bytes *= (uint64_t)d->integer;
    }
    t->tensor.bytes = empty ? 0 : bytes;
    return true;
}

static bool read_offsets(reader *r, entry *t, const json_value *v) {
    char shape[128];
    const json_value *begin = v && v->type == JSON_ARRAY && v->size == 2 ? v->first : NULL;
    const json_value *end = begin ? begin->next : NULL;
    if (!begin || begin->type != JSON_NUMBER || !begin->integral || begin->integer < 0 || end->type != JSON_NUMBER ||
        !end->integral || end->integer < 0)
        return fail(r, t->tensor.name, "its data_offsets must be two whole numbers, [BEGIN, END]");
    t->begin = (uint64_t)begin->integer;
    t->end = (uint64_t)end->integer;
    if (t->begin > t->end)
        return fail(r, t->tensor.name, "its data_offsets begin at %llu, after their end, %llu",
                    (unsigned long long)t->begin, (unsigned long long)t->end);
    if (t->end > r->data_size)
        return fail(r, t->tensor.name, "its data ends at byte %llu; the file has %llu bytes of data",
                    (unsigned long long)t->end, (unsigned long long)r->data_size);
    if (t->end - t->begin != t->tensor.bytes)
        return fail(r, t->tensor.name, "its data_offsets hold %llu bytes; %s %s needs %zu",
                    (unsigned long long)(t->end - t->begin), st_dtype_name(t->tensor.dtype),
                    st_shape_text(t->tensor.rank, t->tensor.shape, shape, sizeof shape), t->tensor.bytes);
    return true;
}

static bool read_entry(reader *r, const json_value *v, entry *t) {
    t->tensor.name = v->key;
    if (v->type != JSON_OBJECT) return fail(r, v->key, "it is not described by an object");
    if (!read_dtype(r, t, json_get(v, "dtype")) || !read_shape(r, t, json_get(v, "shape")) ||
        !read_offsets(r, t, json_get(v, "data_offsets")))
        return false;
    /* The three are there, so a fourth key is unknown or one of them again. */
    if (v->size != 3) return fail(r, v->key, "it has keys besides dtype, shape and data_offsets, or one of them twice");
    return true;
}

static bool read_metadata(reader *r, st_file *file, const json_value *v) {
    if (file->metadata) return fail(r, "__metadata__", "it appears twice");
    if (v->type != JSON_OBJECT) return fail(r, "__metadata__", "it must be an object of strings");
    file->metadata = base_arena_alloc(&r->header.arena, (v->size + 1) * sizeof *file->metadata);
    if (!file->metadata) return err_memory(r->e, "safetensors");
    for (const json_value *m = v->first; m; m = m->next) {
        if (m->type != JSON_STRING) return fail(r, "__metadata__", "%.60s is not a string", m->key);
        file->metadata[file->metadata_count++] = (st_text){m->key, m->text};
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->tensor.name, ((const entry *)b)->tensor.name);
}

static int by_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

/* Names once each; data without overlaps, holes or a rest. Leaves the entries in the order of their data. */
static bool check_entries(reader *r) {
    uint64_t end = 0;
    const char *last = "header";
    if (r->count) qsort(r->entries, r->count, sizeof *r->entries, by_name);
    for (size_t i = 1; i < r->count; i++)
        if (strcmp(r->entries[i - 1].tensor.name, r->entries[i].tensor.name) == 0)
            return fail(r, r->entries[i].tensor.name, "the name appears twice");
    if (r->count) qsort(r->entries, r->count, sizeof *r->entries, by_place);
    for (size_t i = 0; i < r->count; i++) {
        const entry *t = &r->entries[i];
        if (t->begin < end) return fail(r, t->tensor.name, "its data overlaps that of %.60s", last);
        if (t->begin > end)
            return fail(r, t->tensor.name, "its data leaves a hole of %llu bytes before it",
                        (unsigned long long)(t->begin - end));
        end = t->end;
        last = t->tensor.name;
    }
    if (end != r->data_size)
        return fail(r, last, "%llu bytes follow the last tensor's data", (unsigned long long)(r->data_size - end));
    return true;
}

static bool read_header(reader *r, st_file *file) {
    unsigned char prefix[8];
    struct stat info;
    bool ok = false;
    char *text = NULL;
    if (fstat(r->fd, &info) < 0) return fail_system(r);
    if (!S_ISREG(info.st_mode)) return err_at(r->e, ERR_INPUT, "safetensors", r->path, 0, 0, "is not a regular file");
    uint64_t size = (uint64_t)info.st_size;
    if (size < sizeof prefix)
        return fail(r, "header", "the file has %llu bytes; a safetensors file has at least 8",
                    (unsigned long long)size);
    if (!read_bytes(r, prefix, sizeof prefix, 0)) return false;
    for (int i = 7; i >= 0; i--) r->header_size = r->header_size << 8 | prefix[i];
    if (r->header_size > ST_HEADER_MAX)
        return fail(r, "header", "it claims %llu bytes; the limit is %d (is this a safetensors file?)",
                    (unsigned long long)r->header_size, ST_HEADER_MAX);
    if (r->header_size > size - sizeof prefix)
        return fail(r, "header", "truncated: it claims %llu bytes, and %llu follow", (unsigned long long)r->header_size,
                    (unsigned long long)(size - sizeof prefix));
    r->data_size = size - sizeof prefix - r->header_size;
    text = malloc((size_t)r->header_size + 1);
    if (!text) return err_memory(r->e, "safetensors");
    if (!read_bytes(r, text, (size_t)r->header_size, sizeof prefix)) goto done;
    err json_error = {0};
    if (!json_parse(text, (size_t)r->header_size, JSON_DUPLICATES, NULL, "safetensors", &r->header, &json_error)) {
        if (json_error.code == ERR_MEMORY)
            err_memory(r->e, "safetensors");
        else
            fail(r, "header", "not valid JSON at its byte %zu: %s", r->header.error_offset, json_error.text);
        goto done;
    }
    const json_value *root = r->header.root;
    if (root->type != JSON_OBJECT) {
        fail(r, "header", "it must be a JSON object");
        goto done;
    }
    r->entries = calloc(root->size + 1, sizeof *r->entries);
    if (!r->entries) {
        err_memory(r->e, "safetensors");
        goto done;
    }
    for (const json_value *v = root->first; v; v = v->next) {
        bool metadata = strcmp(v->key, "__metadata__") == 0;
        if (!(metadata ? read_metadata(r, file, v) : read_entry(r, v, &r->entries[r->count]))) goto done;
        r->count += !metadata;
    }
    ok = check_entries(r);
done:
    free(text);
    return ok;
}

/* All data in one allocation of at most data_size + ST_ALIGN bytes a tensor, each tensor at a multiple of ST_ALIGN. */
static bool read_data(reader *r, st_file *file) {
    size_t total = ST_ALIGN, used = 0;
    for (size_t i = 0; i < r->count; i++) total += (r->entries[i].tensor.bytes + ST_ALIGN - 1) / ST_ALIGN * ST_ALIGN;
    file->memory = aligned_alloc(ST_ALIGN, total);
    file->tensors = base_arena_alloc(&r->header.arena, (r->count + 1) * sizeof *file->tensors);
    if (!file->memory || !file->tensors) return err_memory(r->e, "safetensors");
    for (size_t i = 0; i < r->count; i++) {
        st_tensor *t = &file->tensors[file->count++];
        char *place = (char *)file->memory + used;
        *t = r->entries[i].tensor;
        t->data = place;
        used += (t->bytes + ST_ALIGN - 1) / ST_ALIGN * ST_ALIGN;
        if (!read_bytes(r, place, t->bytes, 8 + r->header_size + r->entries[i].begin)) return false;
    }
    return true;
}

bool st_read(const char *path, st_file *file, err *e) {
    reader r = {.path = path, .e = e};
    memset(file, 0, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    r.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool ok = r.fd >= 0 ? read_header(&r, file) && read_data(&r, file) : fail_system(&r);
    if (r.fd >= 0) close(r.fd);
    free(r.entries);
    if (ok) ok = (file->arena = malloc(sizeof r.header.arena)) ? true : err_memory(e, "safetensors");
    if (ok) {
        memcpy(file->arena, &r.header.arena, sizeof r.header.arena);
    } else {
        base_arena_free(&r.header.arena);
        free(file->memory);
        memset(file, 0, sizeof *file);
    }
    return ok;
}

void st_close(st_file *file) {
    if (file->arena) base_arena_free(file->arena);
    free(file->arena);
    free(file->memory);
    memset(file, 0, sizeof *file);
}

const st_tensor *st_find(const st_file *file, const char *name) {
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}
