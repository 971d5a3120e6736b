/* driver_stream.c: streams, which run what they are given at once, in the call, and their capture into graphs. */
#include "emu/driver_inner.h"

enum {
    LEGACY = 1,
    PER_THREAD = 2,
    NON_BLOCKING = 1
}; /* handles of the two default streams (0 is legacy too); cuStreamCreate's flag */

/* The per-thread stream of the calling thread, made when it is first used. */
static driver_stream *thread_stream(driver_context *c) {
    uint64_t thread = emu_driver_thread();
    size_t at = 0;
    driver_stream *s;
    while ((s = emu_driver_next(KIND_STREAM, c, &at)) && s->thread != thread)
        ;
    if (!s && (s = emu_driver_make(KIND_STREAM, c->ordinal, sizeof *s))) {
        s->thread = thread;
        s->blocking = true;
    }
    return s;
}

int emu_driver_stream(driver_context *c, void *handle, driver_stream **s) {
    *s = NULL;
    if ((uintptr_t)handle <= LEGACY)
        return CU_SUCCESS;
    if ((uintptr_t)handle == PER_THREAD) {
        *s = thread_stream(c);
        return *s ? CU_SUCCESS : CU_OUT_OF_MEMORY;
    }
    *s = emu_driver_find(handle, KIND_STREAM, c);
    return *s && !(*s)->thread ? CU_SUCCESS : CU_INVALID_HANDLE;
}

static void invalidate(driver_stream *s) {
    s->status = CAPTURE_INVALIDATED;
    emu_driver_list_free(&s->captured);
}

int emu_driver_unsafe(const driver_context *c, bool everywhere) {
    int result = CU_SUCCESS;
    size_t at = 0;
    for (driver_stream *s; (s = emu_driver_next(KIND_STREAM, c, &at));)
        if (s->status == CAPTURE_ACTIVE &&
            (everywhere || s->mode == CAPTURE_GLOBAL ||
             (s->mode == CAPTURE_THREAD_LOCAL && s->capture_thread == emu_driver_thread()))) {
            invalidate(s);
            result = CU_STREAM_CAPTURE_UNSUPPORTED;
        }
    return result;
}

/* The legacy stream waits for the blocking ones, which one that captures cannot be waited for. */
static int use_legacy(const driver_context *c, bool harms) {
    int result = CU_SUCCESS;
    size_t at = 0;
    for (driver_stream *s; (s = emu_driver_next(KIND_STREAM, c, &at));)
        if (s->status == CAPTURE_ACTIVE && s->blocking) {
            if (harms)
                invalidate(s);
            result = CU_STREAM_CAPTURE_IMPLICIT;
        }
    return result;
}

int emu_driver_submit(driver_context *c, void *stream, const driver_node *nodes, size_t count) {
    driver_stream *s;
    int result = emu_driver_stream(c, stream, &s);
    if (!result && !s)
        result = use_legacy(c, true);
    if (result)
        return result;
    if (!s || s->status == CAPTURE_NONE)
        return emu_driver_run(c, nodes, count);
    if (s->status == CAPTURE_INVALIDATED)
        return CU_STREAM_CAPTURE_INVALIDATED;
    return emu_driver_list_append(&s->captured, nodes, count) ? CU_SUCCESS : CU_OUT_OF_MEMORY;
}

/* ---- calls ---- */

int emu_cuStreamCreate(void **stream, unsigned flags) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuStreamCreate, NEED_CONTEXT, &c);
    if (!result && (!stream || flags & ~(unsigned)NON_BLOCKING))
        result = CU_INVALID_VALUE;
    driver_stream *s = result ? NULL : emu_driver_make(KIND_STREAM, c->ordinal, sizeof *s);
    if (!result && !s)
        result = CU_OUT_OF_MEMORY;
    if (s) {
        s->blocking = !(flags & NON_BLOCKING);
        *stream = (void *)s->object.handle;
    }
    return emu_driver_leave(result);
}

int emu_cuStreamDestroy_v2(void *stream) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuStreamDestroy_v2, NEED_CONTEXT, &c);
    driver_stream *s = result ? NULL : emu_driver_find(stream, KIND_STREAM, c);
    if (!result && (!s || s->thread))
        result = CU_INVALID_HANDLE;
    if (!result)
        emu_driver_drop(&s->object);
    return emu_driver_leave(result);
}

int emu_cuStreamSynchronize(void *stream) {
    driver_context *c;
    driver_stream *s = NULL;
    int result = emu_driver_enter(DRIVER_cuStreamSynchronize, NEED_WAIT, &c);
    if (!result)
        result = emu_driver_stream(c, stream, &s);
    if (!result && !s)
        result = use_legacy(c, true);
    if (!result && s && s->status == CAPTURE_INVALIDATED)
        result = CU_STREAM_CAPTURE_INVALIDATED;
    if (!result && s && s->status == CAPTURE_ACTIVE) {
        invalidate(s);
        result = CU_STREAM_CAPTURE_UNSUPPORTED;
    }
    return emu_driver_leave(result);
}

int emu_cuStreamIsCapturing(void *stream, int *status) {
    driver_context *c;
    driver_stream *s = NULL;
    int result = emu_driver_enter(DRIVER_cuStreamIsCapturing, NEED_CONTEXT, &c);
    if (!result && !status)
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_stream(c, stream, &s);
    if (!result && !s)
        result = use_legacy(c, false);
    if (!result)
        *status = s ? (int)s->status : CAPTURE_NONE;
    return emu_driver_leave(result);
}

int emu_cuStreamBeginCapture_v2(void *stream, int mode) {
    driver_context *c;
    driver_stream *s = NULL;
    int result = emu_driver_enter(DRIVER_cuStreamBeginCapture_v2, NEED_CONTEXT, &c);
    if (!result && (mode < CAPTURE_GLOBAL || mode > CAPTURE_RELAXED))
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_stream(c, stream, &s);
    if (!result && !s)
        result = CU_STREAM_CAPTURE_UNSUPPORTED;
    if (!result && s->status != CAPTURE_NONE)
        result = CU_ILLEGAL_STATE;
    if (!result) {
        s->status = CAPTURE_ACTIVE;
        s->mode = mode;
        s->capture_thread = emu_driver_thread();
    }
    return emu_driver_leave(result);
}

/* Moves what was captured into a graph of its own. */
static int end_capture(driver_context *c, driver_stream *s, void **graph) {
    driver_graph *g = s->status == CAPTURE_ACTIVE ? emu_driver_make(KIND_GRAPH, c->ordinal, sizeof *g) : NULL;
    int result = g ? CU_SUCCESS : s->status == CAPTURE_ACTIVE ? CU_OUT_OF_MEMORY : CU_STREAM_CAPTURE_INVALIDATED;
    if (g) {
        g->list = s->captured;
        s->captured = (node_list){0};
        *graph = (void *)g->object.handle;
    }
    emu_driver_list_free(&s->captured);
    s->status = CAPTURE_NONE;
    return result;
}

int emu_cuStreamEndCapture(void *stream, void **graph) {
    driver_context *c;
    driver_stream *s = NULL;
    int result = emu_driver_enter(DRIVER_cuStreamEndCapture, NEED_CONTEXT, &c);
    if (graph)
        *graph = NULL;
    if (!result && !graph)
        result = CU_INVALID_VALUE;
    if (!result)
        result = emu_driver_stream(c, stream, &s);
    if (!result && (!s || s->status == CAPTURE_NONE))
        result = CU_ILLEGAL_STATE;
    if (!result && s->mode != CAPTURE_RELAXED && s->capture_thread != emu_driver_thread())
        result = CU_STREAM_CAPTURE_WRONG_THREAD;
    if (!result)
        result = end_capture(c, s, graph);
    return emu_driver_leave(result);
}
