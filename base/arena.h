/* arena.h: many small allocations, freed at once. Start from a zeroed struct. Every allocation is zeroed and aligned
 * for any type. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

typedef struct base_arena {
    struct base_arena_block *blocks; /* newest first */
    size_t used, size;               /* of the newest block */
} base_arena;

/* NULL where memory ran out; the arena stays usable. */
void *base_arena_alloc(base_arena *a, size_t size);
/* Copy of `size` bytes with a NUL after them. */
char *base_arena_copy(base_arena *a, const char *bytes, size_t size);
void base_arena_free(base_arena *a);

#endif
