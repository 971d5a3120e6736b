/* driver_event.c: events. Work is done when the call that started it returns, so that an event's time is that of the
 * host then. */
#include <time.h>

#include "emu/driver_inner.h"

enum { EVENT_DISABLE_TIMING = 2, EVENT_INTERPROCESS = 4, EVENT_FLAGS = 7 }; /* CUevent_flags */

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int emu_cuEventCreate(void **event, unsigned flags) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuEventCreate, NEED_CONTEXT, &c);
    if (!result &&
        (!event || flags & ~(unsigned)EVENT_FLAGS || (flags & EVENT_INTERPROCESS && !(flags & EVENT_DISABLE_TIMING))))
        result = CU_INVALID_VALUE;
    driver_event *e = result ? NULL : emu_driver_make(KIND_EVENT, c->ordinal, sizeof *e);
    if (!result && !e)
        result = CU_OUT_OF_MEMORY;
    if (e) {
        e->flags = flags;
        *event = (void *)e->object.handle;
    }
    return emu_driver_leave(result);
}

int emu_cuEventRecord(void *event, void *stream) {
    driver_context *c;
    driver_stream *s = NULL;
    int result = emu_driver_enter(DRIVER_cuEventRecord, NEED_CONTEXT, &c);
    driver_event *e = result ? NULL : emu_driver_find(event, KIND_EVENT, c);
    if (!result && !e)
        result = CU_INVALID_HANDLE;
    if (!result)
        result = emu_driver_submit(c, stream, NULL, 0); /* the state of the stream alone */
    if (!result)
        result = emu_driver_stream(c, stream, &s);
    if (!result) {
        e->recorded = true;
        e->captured = s && s->status == CAPTURE_ACTIVE;
        e->time_ms = now_ms();
    }
    return emu_driver_leave(result);
}

int emu_cuEventSynchronize(void *event) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuEventSynchronize, NEED_WAIT, &c);
    const driver_event *e = result ? NULL : emu_driver_find(event, KIND_EVENT, c);
    if (!result && !e)
        result = CU_INVALID_HANDLE;
    if (!result && e->captured)
        result = CU_CAPTURED_EVENT;
    return emu_driver_leave(result);
}

int emu_cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuEventElapsedTime, NEED_CONTEXT, &c);
    const driver_event *a = result ? NULL : emu_driver_find(start, KIND_EVENT, c);
    const driver_event *b = result ? NULL : emu_driver_find(end, KIND_EVENT, c);
    if (!result && !milliseconds)
        result = CU_INVALID_VALUE;
    if (!result && (!a || !b || !a->recorded || !b->recorded || (a->flags | b->flags) & EVENT_DISABLE_TIMING))
        result = CU_INVALID_HANDLE;
    if (!result && (a->captured || b->captured))
        result = CU_CAPTURED_EVENT;
    if (!result)
        *milliseconds = (float)(b->time_ms - a->time_ms);
    return emu_driver_leave(result);
}

int emu_cuEventDestroy_v2(void *event) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuEventDestroy_v2, NEED_CONTEXT, &c);
    driver_event *e = result ? NULL : emu_driver_find(event, KIND_EVENT, c);
    if (!result && !e)
        result = CU_INVALID_HANDLE;
    if (!result)
        emu_driver_drop(&e->object);
    return emu_driver_leave(result);
}
