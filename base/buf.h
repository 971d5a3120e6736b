/* buf.h: a growing byte buffer. A failed growth is sticky: the calls that follow do nothing, and the failure is looked
 * at once, at the end (base_buf_ok or base_buf_take). Start from a zeroed struct: base_buf b = {0}. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

typedef struct base_buf {
    char *data;      /* owned; a NUL follows the last byte; NULL while empty */
    size_t size;     /* bytes, without that NUL */
    size_t capacity;
    bool failed;     /* memory ran out, or a format was wrong; the contents are incomplete */
} base_buf;

void base_buf_add(base_buf *b, const void *bytes, size_t size);
void base_buf_text(base_buf *b, const char *text);
void base_buf_char(base_buf *b, char c);
void base_buf_printf(base_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for `size` more bytes, appended as they are (uninitialised); NULL on failure. */
char *base_buf_room(base_buf *b, size_t size);
/* Keeps the memory, forgets contents and failure. */
void base_buf_reset(base_buf *b);
void base_buf_free(base_buf *b);
/* Contents as a C string, "" if empty; borrowed until the next change. */
const char *base_buf_string(const base_buf *b);
/* True if nothing failed, else sets ERR_MEMORY. */
bool base_buf_ok(const base_buf *b, const char *stage, err *e);
/* Hands over the memory (the caller frees it; NUL-terminated; never NULL on success) and empties b. NULL and ERR_MEMORY
 * if anything failed. `size` may be NULL. */
char *base_buf_take(base_buf *b, size_t *size, const char *stage, err *e);

#endif
