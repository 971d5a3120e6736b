/* library_ar.h: static libraries in the format of System V and GNU ar, with the symbol index that linkers want.
 * Deterministic: no dates, owners or modes of the moment. */
#ifndef TUNER_LIBRARY_AR_H
#define TUNER_LIBRARY_AR_H

#include "base/buf.h"
#include "base/err.h"

typedef struct tune_ar_member {
    char name[64];     /* without a slash; at most 15 letters stand in the header, longer names in the name table */
    const void *bytes; /* borrowed; ELF relocatable object */
    size_t size;
} tune_ar_member;

/* Appends a whole archive. Its index lists every symbol that members define for others. Errors: ERR_INTERNAL for a
 * member that is no ELF object, ERR_MEMORY. */
bool tune_ar_write(base_buf *out, const tune_ar_member *members, size_t count, err *e);

/* The objects of an archive in memory, hostile: fills at most `most` members, which borrow from bytes. Errors:
 * ERR_INPUT. */
bool tune_ar_read(const void *bytes, size_t size, tune_ar_member *members, size_t most, size_t *count, err *e);

#endif
