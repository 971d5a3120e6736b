/* buf.c: the growing byte buffer. Capacity doubles; one byte is kept for the closing NUL. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes capacity >= size + more + 1. */
static bool grow(base_buf *b, size_t more) {
    if (b->failed) return false;
    if (more > SIZE_MAX / 2 || b->size > SIZE_MAX / 2 - more - 1) {
        b->failed = true;
        return false;
    }
    size_t need = b->size + more + 1;
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < need) capacity *= 2;
    char *data = realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

char *base_buf_room(base_buf *b, size_t size) {
    if (!grow(b, size)) return NULL;
    char *room = b->data + b->size;
    b->size += size;
    b->data[b->size] = 0;
    return room;
}

void base_buf_add(base_buf *b, const void *bytes, size_t size) {
    char *room = base_buf_room(b, size);
    if (room && size) memcpy(room, bytes, size);
}

void base_buf_text(base_buf *b, const char *text) {
    base_buf_add(b, text, strlen(text));
}

void base_buf_char(base_buf *b, char c) {
    base_buf_add(b, &c, 1);
}

void base_buf_printf(base_buf *b, const char *format, ...) {
    if (!grow(b, 0)) return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t free_bytes = b->capacity - b->size;
    int length = vsnprintf(b->data + b->size, free_bytes, format, args);
    if (length < 0) {
        b->failed = true;
    } else if ((size_t)length < free_bytes) {
        b->size += (size_t)length;
    } else if (grow(b, (size_t)length)) {
        vsnprintf(b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    if (b->data) b->data[b->size] = 0; /* also after a failure: what is there stays a string */
    va_end(again);
    va_end(args);
}

void base_buf_reset(base_buf *b) {
    b->size = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void base_buf_free(base_buf *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

const char *base_buf_string(const base_buf *b) {
    return b->data ? b->data : "";
}

bool base_buf_ok(const base_buf *b, const char *stage, err *e) {
    return b->failed ? err_memory(e, stage) : true;
}

char *base_buf_take(base_buf *b, size_t *size, const char *stage, err *e) {
    if (!grow(b, 0)) {
        err_memory(e, stage);
        return NULL;
    }
    b->data[b->size] = 0;
    char *data = b->data;
    if (size) *size = b->size;
    memset(b, 0, sizeof *b);
    return data;
}
