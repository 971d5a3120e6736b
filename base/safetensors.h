/* safetensors.h: reads and writes tensors in the safetensors format: u64 header size, JSON header, data (little
 * endian). A file is hostile until read: everything in it is checked before a byte of data is taken. Format:
 * https://github.com/huggingface/safetensors ("Format"). Errors: `FILE: error: TENSOR: what`, code ERR_INPUT. */
#ifndef BASE_SAFETENSORS_H
#define BASE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* X(enumerator, name in the file, bytes) */
#define ST_DTYPE_LIST(X)                                                                                               \
    X(ST_F64, "F64", 8)                                                                                                \
    X(ST_F32, "F32", 4)                                                                                                \
    X(ST_F16, "F16", 2)                                                                                                \
    X(ST_BF16, "BF16", 2)                                                                                              \
    X(ST_I64, "I64", 8)                                                                                                \
    X(ST_I32, "I32", 4)

typedef enum st_dtype {
#define ST_DTYPE_ENUM_(name, text, bytes) name,
    ST_DTYPE_LIST(ST_DTYPE_ENUM_)
#undef ST_DTYPE_ENUM_
        ST_DTYPE_COUNT
} st_dtype;

enum { ST_RANK_MAX = 8, ST_ALIGN = 64, ST_HEADER_MAX = 100000000 /* the limit of the reference implementation */ };

/* Row-major, contiguous. */
typedef struct st_tensor {
    const char *name;
    st_dtype dtype;
    int rank; /* 0: a scalar */
    int64_t shape[ST_RANK_MAX];
    size_t bytes;     /* product of the shape times the dtype's size */
    const void *data; /* after st_read: aligned to ST_ALIGN, never NULL */
} st_tensor;

/* One string of __metadata__. */
typedef struct st_text {
    const char *key, *value;
} st_text;

typedef struct st_file {
    st_tensor *tensors; /* in the order of their data */
    size_t count;
    st_text *metadata;
    size_t metadata_count;
    char path[512]; /* as given, for messages; truncated if longer */
    void *memory;   /* the data of all tensors */
    void *arena;
} st_file;

const char *st_dtype_name(st_dtype dtype);
size_t st_dtype_bytes(st_dtype dtype);

/* Reads a whole file. Refused, as the reference implementation refuses them: a truncated or oversized header, names
 * that appear twice, dtypes not listed above, offsets that overlap, leave holes, leave the file or do not fit shape and
 * dtype. Errors: ERR_INPUT, ERR_SYSTEM (not readable), ERR_MEMORY. On failure *file needs no close. */
bool st_read(const char *path, st_file *file, err *e);
void st_close(st_file *file);
/* NULL if there is none of that name. */
const st_tensor *st_find(const st_file *file, const char *name);
/* `FILE: error: TENSOR: TEXT`, code ERR_INPUT; returns false. For callers' own checks of a tensor. */
bool st_error(const st_file *file, const char *tensor, err *e, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "[1,100,4,64]"; returns out. */
const char *st_shape_text(int rank, const int64_t *shape, char *out, size_t size);

/* Writes a file whole (temporary, fsync, rename). Tensors are laid out by falling dtype size, then by name, as the
 * reference implementation does, so that the same tensors give the same bytes in any order, each aligned to its type.
 * Of each tensor name, dtype, rank, shape and data are used. Errors: ERR_SYSTEM, ERR_MEMORY; ERR_INTERNAL for a name
 * twice or a bad shape. */
bool st_write(const char *path, const st_tensor *tensors, size_t count, const st_text *metadata, size_t metadata_count,
              err *e);

#endif
