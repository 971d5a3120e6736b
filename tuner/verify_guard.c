/* verify_guard.c: see verify_guard.h.
 */
#include "tuner/verify_guard.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ZONE_VALUE = 0xa5 };

bool guard_create(guard_buffer *buffer, size_t bytes, size_t offset, size_t align, bool fence, int poison) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), need = GUARD_ZONE + 64 + bytes + 64 + GUARD_ZONE;
    memset(buffer, 0, sizeof *buffer);
    if (bytes > (size_t)1 << 40)
        return false;
    size_t pages = (need + page - 1) / page * page;
    char *map = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    buffer->map = map;
    buffer->map_bytes = pages + page;
    buffer->bytes = bytes;
    buffer->fenced = fence && bytes % align == 0;
    if (buffer->fenced && mprotect(map + pages, page, PROT_NONE)) {
        guard_destroy(buffer);
        return false;
    }
    buffer->data =
        buffer->fenced ? map + pages - bytes : map + GUARD_ZONE + offset; /* the map and the zone are multiples of 64 */
    buffer->zone = buffer->data - GUARD_ZONE;
    memset(buffer->zone, ZONE_VALUE, GUARD_ZONE + bytes + (buffer->fenced ? 0 : GUARD_ZONE));
    memset(buffer->data, poison, bytes);
    return true;
}

void guard_destroy(guard_buffer *buffer) {
    if (buffer->map)
        munmap(buffer->map, buffer->map_bytes);
    memset(buffer, 0, sizeof *buffer);
}

void guard_fill(guard_buffer *buffer, int poison) {
    memset(buffer->data, poison, buffer->bytes);
}

bool guard_all(const void *p, size_t bytes, int value) {
    const unsigned char *at = p;
    /* The first byte is right and every byte equals the one before it. */
    return !bytes || (at[0] == value && !memcmp(at, at + 1, bytes - 1));
}

bool guard_intact(const guard_buffer *buffer) {
    return guard_all(buffer->zone, GUARD_ZONE, ZONE_VALUE) &&
           (buffer->fenced || guard_all(buffer->data + buffer->bytes, GUARD_ZONE, ZONE_VALUE));
}
