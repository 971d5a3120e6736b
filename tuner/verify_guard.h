/* verify_guard.h: buffers with guard zones, filled with a poison, so that a stray write is seen.
 * With a fence the end of the data is the end of a page and the next page is closed: a stray read stops the program. */
#ifndef TUNER_VERIFY_GUARD_H
#define TUNER_VERIFY_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GUARD_ZONE = 512,    /* bytes on either side */
    GUARD_NAN = 0xff,    /* a NaN in every dtype, whichever bytes are read */
    GUARD_FINITE = 0x4b, /* 1.3e7 in f32 and bf16, 14.6 in f16: wrong, but no NaN */
};

typedef struct guard_buffer {
    char *data; /* `bytes` bytes of the user */
    size_t bytes;
    char *zone;   /* GUARD_ZONE bytes before data; as many follow it, unless fenced */
    void *memory; /* what is freed, or unmapped (`mapped` bytes), in the end */
    size_t mapped;
    bool fenced;
} guard_buffer;

/* All bytes poisoned. data is at `offset` (below 64) past a multiple of 64; with a fence it ends where its page ends,
 * so its base is whatever its size makes it, but aligned to `align` as long as bytes is a multiple of that. False: no
 * memory. */
bool guard_create(guard_buffer *buffer, size_t bytes, size_t offset, size_t align, bool fence, int poison);
/* A zeroed struct is allowed. */
void guard_destroy(guard_buffer *buffer);
/* Fills the user's bytes. */
void guard_fill(guard_buffer *buffer, int poison);
/* Whether the zones are as they were. */
bool guard_intact(const guard_buffer *buffer);
/* Whether all of `bytes` bytes at p have this value. */
bool guard_all(const void *p, size_t bytes, int value);

#endif
