/* cache.h: the part of the object cache that tests and maintenance need besides jit.h. */
#ifndef JIT_CACHE_H
#define JIT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of objects the cache may hold before the oldest go. */
#define JIT_CACHE_BYTES_MAX ((int64_t)2 << 30)

/* Path of an entry, DIR/objects/ab/abcdef...; false if the key is not 64 lower-case hex digits or the path is too long.
 */
bool jit_cache_path(const char *key, char *path, size_t size);
/* If the entries exceed `most` bytes, removes the oldest until three quarters of it are left; and temporary files that
 * a killed process left an hour ago. Returns the bytes that remain. jit_cache_put calls it now and then. */
int64_t jit_cache_trim(int64_t most);

#endif
