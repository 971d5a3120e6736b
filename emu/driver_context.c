/* driver_context.c: primary contexts and the stack of current ones that each thread has. */
#include <stdatomic.h>

#include "emu/driver_inner.h"

enum { STACK_MAX = 64, CONTEXT_HANDLES = 0x1000, CONTEXT_STEP = 16 }; /* below the handles of objects */

/* Handles, not pointers: a context may be released while it is on the stack of another thread. */
static _Thread_local uintptr_t stack[STACK_MAX];
static _Thread_local int depth;
static _Thread_local uint64_t thread_number;
static _Atomic uint64_t threads;

uint64_t emu_driver_thread(void) {
    if (!thread_number)
        thread_number = atomic_fetch_add(&threads, 1) + 1;
    return thread_number;
}

static void *handle_of(const driver_context *c) {
    return (void *)(uintptr_t)(CONTEXT_HANDLES + CONTEXT_STEP * c->ordinal);
}

/* The context of a handle, if it is retained. */
static driver_context *context_of(uintptr_t handle) {
    for (int i = 0; i < emu_driver.device_count; i++)
        if ((uintptr_t)handle_of(&emu_driver.contexts[i]) == handle)
            return emu_driver.contexts[i].retained ? &emu_driver.contexts[i] : NULL;
    return NULL;
}

driver_context *emu_driver_current(void) {
    return depth ? context_of(stack[depth - 1]) : NULL;
}

static driver_context *device_at(int device) {
    return device >= 0 && device < emu_driver.device_count ? &emu_driver.contexts[device] : NULL;
}

int emu_cuDevicePrimaryCtxRetain(void **context, int device) {
    int result = emu_driver_enter(DRIVER_cuDevicePrimaryCtxRetain, NEED_INIT, NULL);
    driver_context *c = device_at(device);
    if (!result && !context)
        result = CU_INVALID_VALUE;
    if (!result && !c)
        result = CU_INVALID_DEVICE;
    if (!result && c->retained == 0) {
        c->machine = emu_machine_create();
        if (!c->machine)
            result = CU_OUT_OF_MEMORY;
    }
    if (!result) {
        c->retained++;
        *context = handle_of(c);
    }
    return emu_driver_leave(result);
}

int emu_cuDevicePrimaryCtxRelease_v2(int device) {
    int result = emu_driver_enter(DRIVER_cuDevicePrimaryCtxRelease_v2, NEED_INIT, NULL);
    driver_context *c = device_at(device);
    if (!result && !c)
        result = CU_INVALID_DEVICE;
    if (!result && c->retained == 0)
        result = CU_INVALID_CONTEXT;
    if (!result && --c->retained == 0)
        emu_driver_drop_all(c);
    return emu_driver_leave(result);
}

int emu_cuCtxGetCurrent(void **context) {
    int result = emu_driver_enter(DRIVER_cuCtxGetCurrent, NEED_INIT, NULL);
    if (!result && !context)
        result = CU_INVALID_VALUE;
    if (!result)
        *context = depth ? (void *)stack[depth - 1] : NULL;
    return emu_driver_leave(result);
}

int emu_cuCtxSetCurrent(void *context) {
    int result = emu_driver_enter(DRIVER_cuCtxSetCurrent, NEED_INIT, NULL);
    if (!result && context && !context_of((uintptr_t)context))
        result = CU_INVALID_CONTEXT;
    if (!result && context)
        stack[depth ? depth - 1 : depth++] = (uintptr_t)context;
    else if (!result && depth)
        depth--;
    return emu_driver_leave(result);
}

int emu_cuCtxPushCurrent_v2(void *context) {
    int result = emu_driver_enter(DRIVER_cuCtxPushCurrent_v2, NEED_INIT, NULL);
    if (!result && !context_of((uintptr_t)context))
        result = CU_INVALID_CONTEXT;
    if (!result && depth == STACK_MAX)
        result = CU_OUT_OF_MEMORY;
    if (!result)
        stack[depth++] = (uintptr_t)context;
    return emu_driver_leave(result);
}

int emu_cuCtxPopCurrent_v2(void **context) {
    int result = emu_driver_enter(DRIVER_cuCtxPopCurrent_v2, NEED_INIT, NULL);
    if (!result && !depth)
        result = CU_INVALID_CONTEXT;
    if (!result) {
        depth--;
        if (context)
            *context = (void *)stack[depth];
    }
    return emu_driver_leave(result);
}

int emu_cuCtxGetDevice(int *device) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuCtxGetDevice, NEED_INIT, &c);
    if (!result && !device)
        result = CU_INVALID_VALUE;
    if (!result && !c)
        result = CU_INVALID_CONTEXT;
    if (!result)
        *device = c->ordinal;
    return emu_driver_leave(result);
}

int emu_cuCtxSynchronize(void) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuCtxSynchronize, NEED_WAIT, &c);
    if (!result)
        result = emu_driver_unsafe(c, true);
    return emu_driver_leave(result);
}
