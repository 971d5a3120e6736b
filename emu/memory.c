/* memory.c: global memory: allocations with red zones, their maps of written bytes, and the machine that owns them. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "emu/inner.h"

enum { RED_ZONE = 64 << 20, PAGE = 4096, FILL_MAX = 256 << 20 };

const allocation *emu_find_allocation(const allocation *list, size_t count, uint64_t address) {
    size_t low = 0, high = count;
    while (low < high) { /* the last that starts at or below the address */
        size_t middle = (low + high) / 2;
        if ((uint64_t)(uintptr_t)list[middle].data <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address - (uint64_t)(uintptr_t)list[low - 1].data >= list[low - 1].bytes)
        return NULL;
    return &list[low - 1];
}

static void *reserve(size_t bytes, int protection) {
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool make_map(allocation *a) {
    a->defined = a->defined_map = reserve(a->bytes, PROT_READ | PROT_WRITE);
    a->defined_map_bytes = a->bytes;
    return a->defined != NULL;
}

bool emu_allocation_make(allocation *a, size_t bytes, emu_init init) {
    *a = (allocation){.bytes = bytes};
    if (bytes == 0 || bytes > SIZE_MAX / 4)
        return false;
    size_t inner = (bytes + PAGE - 1) / PAGE * PAGE;
    a->map_bytes = inner + 2 * (size_t)RED_ZONE;
    a->map = reserve(a->map_bytes, PROT_NONE);
    if (!a->map)
        return false;
    a->data = (uint8_t *)a->map + RED_ZONE;
    if (mprotect(a->data, inner, PROT_READ | PROT_WRITE) != 0 || (init == EMU_UNDEFINED && !make_map(a))) {
        emu_allocation_free(a);
        return false;
    }
    if (init == EMU_UNDEFINED && bytes <= FILL_MAX) /* larger ones: reads are reported all the same */
        memset(a->data, 0xff, bytes);
    return true;
}

void emu_allocation_free(allocation *a) {
    if (a->map)
        munmap(a->map, a->map_bytes);
    if (a->defined_map)
        munmap(a->defined_map, a->defined_map_bytes);
    if (a->owner)
        munmap((void *)(uintptr_t)a->owner, a->owner_bytes);
    *a = (allocation){0};
}

bool emu_owner_make(allocation *a) {
    if (a->owner)
        return true;
    a->owner_bytes = (a->bytes / 4 + 2) * sizeof *a->owner;
    a->owner = reserve(a->owner_bytes, PROT_READ | PROT_WRITE);
    return a->owner != NULL;
}

emu_machine *emu_machine_create(void) {
    return calloc(1, sizeof(emu_machine));
}

void emu_machine_destroy(emu_machine *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++) {
        emu_allocation_free(m->sorted[i]);
        free(m->sorted[i]);
    }
    free(m->sorted);
    free(m);
}

/* Index of the first allocation that starts above the address. */
static size_t place_of(const emu_machine *m, const void *address) {
    size_t i = 0;
    while (i < m->count && (uintptr_t)m->sorted[i]->data <= (uintptr_t)address)
        i++;
    return i;
}

static bool insert(emu_machine *m, const allocation *a) {
    if (m->count == m->room) {
        size_t room = m->room ? 2 * m->room : 16;
        allocation **grown = realloc(m->sorted, room * sizeof *grown);
        if (!grown)
            return false;
        m->sorted = grown;
        m->room = room;
    }
    allocation *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = *a;
    size_t at = place_of(m, a->data);
    memmove(&m->sorted[at + 1], &m->sorted[at], (m->count - at) * sizeof *m->sorted);
    m->sorted[at] = copy;
    m->count++;
    return true;
}

void *emu_alloc(emu_machine *m, size_t bytes, emu_init init) {
    allocation a;
    if (!emu_allocation_make(&a, bytes ? bytes : 1, init))
        return NULL;
    if (!insert(m, &a)) {
        emu_allocation_free(&a);
        return NULL;
    }
    return a.data;
}

bool emu_adopt(emu_machine *m, void *address, size_t bytes, bool defined) {
    allocation a = {.data = address, .bytes = bytes};
    size_t at = place_of(m, address);
    uintptr_t start = (uintptr_t)address;
    if (!address || bytes == 0 || start + bytes < start)
        return false;
    if ((at > 0 && start - (uintptr_t)m->sorted[at - 1]->data < m->sorted[at - 1]->bytes) ||
        (at < m->count && (uintptr_t)m->sorted[at]->data - start < bytes))
        return false;
    if (!defined && !make_map(&a))
        return false;
    if (!insert(m, &a)) {
        emu_allocation_free(&a);
        return false;
    }
    return true;
}

bool emu_free(emu_machine *m, void *address) {
    for (size_t i = 0; i < m->count; i++)
        if (m->sorted[i]->data == address) {
            emu_allocation_free(m->sorted[i]);
            free(m->sorted[i]);
            memmove(&m->sorted[i], &m->sorted[i + 1], (m->count - i - 1) * sizeof *m->sorted);
            m->count--;
            return true;
        }
    return false;
}

/* The allocation that holds the whole range, or NULL. */
static allocation *holder(const emu_machine *m, const void *address, size_t bytes) {
    size_t at = place_of(m, address);
    if (at == 0)
        return NULL;
    allocation *a = m->sorted[at - 1];
    size_t offset = (size_t)((uintptr_t)address - (uintptr_t)a->data);
    return offset <= a->bytes && bytes <= a->bytes - offset ? a : NULL;
}

void emu_mark(emu_machine *m, void *address, size_t bytes, bool defined) {
    allocation *a = holder(m, address, bytes);
    if (!a || (!a->defined && defined))
        return;
    size_t offset = (size_t)((uint8_t *)address - a->data);
    if (!a->defined) { /* all of it was written before */
        if (!make_map(a))
            return;
        memset(a->defined, 1, a->bytes);
    }
    memset(a->defined + offset, defined, bytes);
    if (!defined)
        memset(address, 0xff, bytes);
}

size_t emu_unwritten(const emu_machine *m, const void *address, size_t bytes, size_t *first) {
    const allocation *a = holder(m, address, bytes);
    size_t n = 0;
    if (first)
        *first = 0;
    if (!a || !a->defined)
        return 0;
    size_t offset = (size_t)((const uint8_t *)address - a->data);
    for (size_t i = 0; i < bytes; i++) {
        uint64_t eight;
        while (bytes - i >= 8 && (memcpy(&eight, a->defined + offset + i, 8), eight == UINT64_C(0x0101010101010101)))
            i += 8;
        if (i < bytes && !a->defined[offset + i]) {
            if (n == 0 && first)
                *first = i;
            n++;
        }
    }
    return n;
}
