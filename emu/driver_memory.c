/* driver_memory.c: device memory: allocation, copies and memset, with the maps of which bytes were ever written. */
#include <string.h>

#include "emu/driver_inner.h"
#include "emu/inner.h"

enum { GRAIN = 512 }; /* what an allocation is counted as a multiple of */

static void *at(uint64_t address) {
    return (void *)(uintptr_t)address;
}

/* The allocation that holds the range, or NULL. */
static allocation *holder(const driver_context *c, uint64_t address, size_t bytes) {
    size_t low = 0, high = c->machine->count;
    while (low < high) { /* the last that starts at or below the address */
        size_t middle = (low + high) / 2;
        if ((uint64_t)(uintptr_t)c->machine->sorted[middle]->data <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    allocation *a = c->machine->sorted[low - 1];
    uint64_t offset = address - (uint64_t)(uintptr_t)a->data;
    return offset <= a->bytes && bytes <= a->bytes - offset ? a : NULL;
}

bool emu_driver_inside(const driver_context *c, uint64_t address, size_t bytes) {
    return bytes == 0 || holder(c, address, bytes);
}

static size_t grains(size_t bytes) {
    return (bytes + GRAIN - 1) / GRAIN * GRAIN;
}

static int allocate(driver_context *c, uint64_t *address, size_t bytes) {
    size_t left = c->device.total_memory - c->used;
    if (bytes > left || grains(bytes) > left)
        return CU_OUT_OF_MEMORY;
    void *p = emu_alloc(c->machine, bytes, EMU_UNDEFINED);
    if (!p)
        return CU_OUT_OF_MEMORY;
    c->used += grains(bytes);
    *address = (uint64_t)(uintptr_t)p;
    return CU_SUCCESS;
}

int emu_cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuMemAlloc_v2, NEED_CONTEXT, &c);
    if (!result && (!address || !bytes))
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_unsafe(c, false);
    if (!result)
        result = allocate(c, address, bytes);
    return emu_driver_leave(result);
}

int emu_cuMemFree_v2(uint64_t address) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuMemFree_v2, NEED_WAIT, &c);
    const allocation *a = result || !address ? NULL : holder(c, address, 0);
    if (!result && address && (!a || (uint64_t)(uintptr_t)a->data != address))
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_unsafe(c, false);
    if (!result && a) {
        c->used -= grains(a->bytes);
        emu_free(c->machine, at(address));
    }
    return emu_driver_leave(result);
}

int emu_cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuMemGetInfo_v2, NEED_CONTEXT, &c);
    if (!result && (!free_bytes || !total_bytes))
        result = CU_INVALID_VALUE;
    if (!result) {
        *free_bytes = c->device.total_memory - c->used;
        *total_bytes = c->device.total_memory;
    }
    return emu_driver_leave(result);
}

/* ---- copies ---- */

static bool in_range(const driver_context *c, const driver_node *n) {
    bool to = n->kind == NODE_COPY_OUT || emu_driver_inside(c, n->to, n->bytes);
    bool from = n->kind == NODE_COPY_IN || n->kind == NODE_SET || emu_driver_inside(c, n->from, n->bytes);
    return to && from;
}

/* The bytes, and for each whether it was ever written. */
static void copy_device(const driver_context *c, const driver_node *n) {
    const allocation *from = holder(c, n->from, n->bytes);
    allocation *to = holder(c, n->to, n->bytes);
    memmove(at(n->to), at(n->from), n->bytes);
    if (!from->defined)
        emu_mark(c->machine, at(n->to), n->bytes, true);
    else if (to->defined)
        memmove(to->defined + (n->to - (uint64_t)(uintptr_t)to->data),
                from->defined + (n->from - (uint64_t)(uintptr_t)from->data), n->bytes);
}

int emu_driver_run_copy(driver_context *c, const driver_node *n) {
    if (n->bytes == 0)
        return CU_SUCCESS;
    if (!in_range(c, n)) { /* a graph that outlived its memory */
        emu_driver_say("a copy of %zu bytes reaches memory that was freed", n->bytes);
        return emu_driver_fault(c, CU_ILLEGAL_ADDRESS);
    }
    if (n->kind == NODE_COPY) {
        copy_device(c, n);
        return CU_SUCCESS;
    }
    if (n->kind == NODE_SET)
        memset(at(n->to), n->value, n->bytes);
    else
        memcpy(at(n->to), at(n->from), n->bytes);
    if (n->kind != NODE_COPY_OUT)
        emu_mark(c->machine, at(n->to), n->bytes, true);
    return CU_SUCCESS;
}

static int transfer(driver_function f, driver_need need, const driver_node *n, void *stream) {
    driver_context *c;
    int result = emu_driver_enter(f, need, &c);
    if (!result && n->bytes && (!n->to || (!n->from && n->kind != NODE_SET) || !in_range(c, n)))
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_submit(c, stream, n, 1);
    return emu_driver_leave(result);
}

int emu_cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    driver_node n = {.kind = NODE_COPY_IN, .to = to, .from = (uint64_t)(uintptr_t)from, .bytes = bytes};
    return transfer(DRIVER_cuMemcpyHtoDAsync_v2, NEED_WAIT, &n, stream);
}

int emu_cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    driver_node n = {.kind = NODE_COPY_OUT, .to = (uint64_t)(uintptr_t)to, .from = from, .bytes = bytes};
    return transfer(DRIVER_cuMemcpyDtoHAsync_v2, NEED_WAIT, &n, stream);
}

int emu_cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    driver_node n = {.kind = NODE_COPY, .to = to, .from = from, .bytes = bytes};
    return transfer(DRIVER_cuMemcpyDtoDAsync_v2, NEED_WAIT, &n, stream);
}

int emu_cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    driver_node n = {.kind = NODE_SET, .to = to, .bytes = bytes, .value = value};
    return transfer(DRIVER_cuMemsetD8Async, NEED_CONTEXT, &n, stream);
}

/* ---- what the emulator knows of the bytes ---- */

size_t emu_driver_unwritten(uint64_t address, size_t bytes, size_t *first) {
    emu_driver_lock();
    driver_context *c = emu_driver_current();
    size_t n = c && holder(c, address, bytes) ? emu_unwritten(c->machine, at(address), bytes, first) : SIZE_MAX;
    emu_driver_unlock();
    return n;
}

bool emu_driver_poison(uint64_t address, size_t bytes) {
    emu_driver_lock();
    driver_context *c = emu_driver_current();
    bool ok = c && holder(c, address, bytes);
    if (ok)
        emu_mark(c->machine, at(address), bytes, false);
    emu_driver_unlock();
    return ok;
}
