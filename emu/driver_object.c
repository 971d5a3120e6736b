/* driver_object.c: the table of handles: objects in the order of their handles, which are numbers that never come back.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/driver_inner.h"

enum {
    FIRST_HANDLE = 0x10000,
    HANDLE_STEP = 16
}; /* above the handles of the legacy and the per-thread stream, and of contexts */

void *emu_driver_make(driver_kind kind, int device, size_t bytes) {
    driver_state *s = &emu_driver;
    if (s->object_count == s->object_room) {
        size_t room = s->object_room ? 2 * s->object_room : 32;
        driver_object **grown = realloc(s->objects, room * sizeof *grown);
        if (!grown)
            return NULL;
        s->objects = grown;
        s->object_room = room;
    }
    driver_object *o = calloc(1, bytes);
    if (!o)
        return NULL;
    s->last_handle = s->last_handle ? s->last_handle + HANDLE_STEP : FIRST_HANDLE;
    *o = (driver_object){.handle = s->last_handle, .kind = kind, .device = device};
    s->objects[s->object_count++] = o;
    return o;
}

/* Index of the first object whose handle is not below. */
static size_t place(uintptr_t handle) {
    size_t low = 0, high = emu_driver.object_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (emu_driver.objects[middle]->handle < handle)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *emu_driver_find(const void *handle, driver_kind kind, const driver_context *c) {
    size_t at = place((uintptr_t)handle);
    if (at == emu_driver.object_count)
        return NULL;
    driver_object *o = emu_driver.objects[at];
    return o->handle == (uintptr_t)handle && o->kind == kind && (!c || o->device == c->ordinal) ? o : NULL;
}

void *emu_driver_next(driver_kind kind, const driver_context *c, size_t *at) {
    while (*at < emu_driver.object_count) {
        driver_object *o = emu_driver.objects[(*at)++];
        if (o->kind == kind && o->device == c->ordinal)
            return o;
    }
    return NULL;
}

/* Takes it out of the table and frees it. */
static void end(driver_object *o) {
    size_t at = place(o->handle);
    memmove(&emu_driver.objects[at], &emu_driver.objects[at + 1],
            (emu_driver.object_count - at - 1) * sizeof *emu_driver.objects);
    emu_driver.object_count--;
    if (o->kind == KIND_MODULE)
        emu_module_destroy(((driver_module *)o)->module);
    else if (o->kind == KIND_STREAM)
        emu_driver_list_free(&((driver_stream *)o)->captured);
    else if (o->kind == KIND_GRAPH || o->kind == KIND_EXECUTABLE)
        emu_driver_list_free(&((driver_graph *)o)->list);
    free(o);
}

void emu_driver_drop(driver_object *o) {
    if (o->kind == KIND_MODULE) /* functions come after their module */
        for (size_t i = emu_driver.object_count; i-- > 0;) {
            driver_object *other = emu_driver.objects[i];
            if (other->kind == KIND_FUNCTION && ((driver_fn *)other)->module == o->handle)
                end(other);
        }
    end(o);
}

void emu_driver_drop_all(driver_context *c) {
    for (size_t i = emu_driver.object_count; i-- > 0;) /* what depends on another was made after it */
        if (emu_driver.objects[i]->device == c->ordinal)
            end(emu_driver.objects[i]);
    emu_machine_destroy(c->machine);
    c->machine = NULL;
    c->used = 0;
    c->sticky = c->pending = CU_SUCCESS;
    if (emu_driver.object_count == 0) {
        free(emu_driver.objects);
        emu_driver.objects = NULL;
        emu_driver.object_room = 0;
    }
}
