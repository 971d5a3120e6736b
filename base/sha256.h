/* sha256.h: SHA-256 (FIPS 180-4), for keys and checksums. It shows that bytes are intact, not who wrote them. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { BASE_SHA256_BYTES = 32, BASE_SHA256_HEX = 65 /* with the NUL */ };

typedef struct base_sha256 {
    uint32_t state[8];
    uint64_t bytes; /* hashed so far */
    unsigned char block[64];
} base_sha256;

void base_sha256_init(base_sha256 *h);
void base_sha256_add(base_sha256 *h, const void *bytes, size_t size);
/* Adds a string with its closing NUL, so that ("ab", "c") and ("a", "bc") differ. */
void base_sha256_add_text(base_sha256 *h, const char *text);
void base_sha256_end(base_sha256 *h, unsigned char out[BASE_SHA256_BYTES]);
/* 64 lower-case digits and a NUL. */
void base_sha256_end_hex(base_sha256 *h, char out[BASE_SHA256_HEX]);
/* All in one call. */
void base_sha256_hex(const void *bytes, size_t size, char out[BASE_SHA256_HEX]);
void base_sha256_raw(const void *bytes, size_t size, unsigned char out[BASE_SHA256_BYTES]);

#endif
