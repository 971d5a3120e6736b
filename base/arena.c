/* arena.c: a list of blocks of growing size; an allocation takes the next bytes of the newest. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

typedef struct base_arena_block {
    struct base_arena_block *older;
    alignas(max_align_t) char bytes[];
} base_arena_block;

void *base_arena_alloc(base_arena *a, size_t size) {
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 4) return NULL;
    size = (size + align - 1) / align * align;
    if (!a->blocks || a->size - a->used < size) {
        size_t capacity = !a->blocks ? FIRST_BLOCK : a->size < LARGEST_BLOCK / 2 ? a->size * 2 : LARGEST_BLOCK;
        if (capacity < size) capacity = size;
        base_arena_block *block = malloc(sizeof *block + capacity);
        if (!block) return NULL;
        block->older = a->blocks;
        a->blocks = block;
        a->used = 0;
        a->size = capacity;
    }
    void *memory = a->blocks->bytes + a->used;
    a->used += size;
    return memset(memory, 0, size);
}

char *base_arena_copy(base_arena *a, const char *bytes, size_t size) {
    char *copy = size < SIZE_MAX ? base_arena_alloc(a, size + 1) : NULL;
    if (copy && size) memcpy(copy, bytes, size);
    return copy;
}

void base_arena_free(base_arena *a) {
    while (a->blocks) {
        base_arena_block *older = a->blocks->older;
        free(a->blocks);
        a->blocks = older;
    }
    memset(a, 0, sizeof *a);
}
