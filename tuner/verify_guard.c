/* verify_guard.c: see verify_guard.h.
 */
#include "tuner/verify_guard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/nha.h"

enum { ZONE_VALUE = 0xa5 };

/* Whole pages and a closed one after them; the data ends where they end. */
static bool map_fenced(guard_buffer *buffer, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (GUARD_ZONE + bytes + page - 1) / page * page;
    char *map = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    buffer->memory = map;
    buffer->mapped = pages + page;
    buffer->data = map + pages - bytes;
    if (!mprotect(map + pages, page, PROT_NONE))
        return true;
    guard_destroy(buffer);
    return false;
}

bool guard_create(guard_buffer *buffer, size_t bytes, size_t offset, size_t align, bool fence, int poison) {
    memset(buffer, 0, sizeof *buffer);
    if (bytes > (size_t)1 << 40)
        return false;
    buffer->fenced = fence && bytes % align == 0;
    if (buffer->fenced) {
        if (!map_fenced(buffer, bytes))
            return false;
    } else { /* from the heap, which has its pages ready after the first few */
        if (posix_memalign(&buffer->memory, NHA_WORKSPACE_ALIGN, GUARD_ZONE + offset + bytes + GUARD_ZONE))
            return false;
        buffer->data = (char *)buffer->memory + GUARD_ZONE + offset;
    }
    buffer->bytes = bytes;
    buffer->zone = buffer->data - GUARD_ZONE;
    memset(buffer->zone, ZONE_VALUE, GUARD_ZONE);
    if (!buffer->fenced)
        memset(buffer->data + bytes, ZONE_VALUE, GUARD_ZONE);
    memset(buffer->data, poison, bytes);
    return true;
}

void guard_destroy(guard_buffer *buffer) {
    if (buffer->mapped)
        munmap(buffer->memory, buffer->mapped);
    else
        free(buffer->memory);
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
