/* driver_module.c: modules and their functions. */
#include <string.h>

#include "emu/driver_inner.h"

enum { TEXT = 512, DEFAULT_SHARED = 48 << 10 };
enum { JIT_INFO_LOG = 3, JIT_INFO_BYTES, JIT_ERROR_LOG, JIT_ERROR_BYTES, JIT_OPTIONS = 40 }; /* CUjit_option */

/* Writes a log as the driver does: text cut to the buffer, its length back into the option's value. */
static void write_log(unsigned options, const int *option, void **value, int log, int size, const char *text) {
    char *out = NULL;
    void **length = NULL;
    for (unsigned i = 0; i < options; i++)
        if (option[i] == log)
            out = value[i];
        else if (option[i] == size)
            length = &value[i];
    if (!length)
        return;
    size_t room = (size_t)(uintptr_t)*length, n = strlen(text);
    if (!out || !room)
        n = 0;
    else
        n = n < room ? n : room - 1;
    if (out && room) {
        memcpy(out, text, n);
        out[n] = 0;
    }
    *length = (void *)(uintptr_t)n;
}

static int load(driver_context *c, void **module, const void *image, char *log) {
    emu_module *parsed = NULL;
    int arch = 0, result = emu_driver_unsafe(c, false);
    if (!result)
        result = emu_driver_image(c, image, &parsed, &arch, log);
    if (result)
        return result;
    driver_module *m = emu_driver_make(KIND_MODULE, c->ordinal, sizeof *m);
    if (!m) {
        emu_module_destroy(parsed);
        return CU_OUT_OF_MEMORY;
    }
    m->module = parsed;
    m->arch = arch;
    *module = (void *)m->object.handle;
    return CU_SUCCESS;
}

int emu_cuModuleLoadDataEx(void **module, const void *image, unsigned options, int *option, void **value) {
    driver_context *c;
    char log[TEXT] = "";
    int result = emu_driver_enter(DRIVER_cuModuleLoadDataEx, NEED_CONTEXT, &c);
    if (!result && (!module || !image || (options && (!option || !value))))
        result = CU_INVALID_VALUE;
    for (unsigned i = 0; !result && i < options; i++)
        if (option[i] < 0 || option[i] >= JIT_OPTIONS)
            result = CU_INVALID_VALUE;
    if (!result) {
        result = load(c, module, image, log);
        write_log(options, option, value, JIT_ERROR_LOG, JIT_ERROR_BYTES, log);
        write_log(options, option, value, JIT_INFO_LOG, JIT_INFO_BYTES, "");
        if (log[0])
            emu_driver_say("%s", log);
    }
    return emu_driver_leave(result);
}

int emu_cuModuleUnload(void *module) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuModuleUnload, NEED_CONTEXT, &c);
    driver_module *m = result ? NULL : emu_driver_find(module, KIND_MODULE, c);
    if (!result && !m)
        result = CU_INVALID_HANDLE;
    if (!result)
        result = emu_driver_unsafe(c, false);
    if (!result)
        emu_driver_drop(&m->object);
    return emu_driver_leave(result);
}

static int get_function(driver_context *c, void **function, void *module, const char *name) {
    const driver_module *m = emu_driver_find(module, KIND_MODULE, c);
    if (!m)
        return CU_INVALID_HANDLE;
    const emu_kernel *kernel = emu_module_find(m->module, name);
    if (!kernel)
        return CU_NOT_FOUND;
    size_t at = 0;
    driver_fn *f;
    while ((f = emu_driver_next(KIND_FUNCTION, c, &at)) && f->kernel != kernel)
        ;
    if (!f) {
        f = emu_driver_make(KIND_FUNCTION, c->ordinal, sizeof *f);
        if (!f)
            return CU_OUT_OF_MEMORY;
        f->module = m->object.handle;
        f->kernel = kernel;
        f->max_dynamic = kernel->shared_bytes < DEFAULT_SHARED ? DEFAULT_SHARED - (int)kernel->shared_bytes : 0;
    }
    *function = (void *)f->object.handle;
    return CU_SUCCESS;
}

int emu_cuModuleGetFunction(void **function, void *module, const char *name) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuModuleGetFunction, NEED_CONTEXT, &c);
    if (!result && (!function || !name))
        result = CU_INVALID_VALUE;
    if (!result)
        result = get_function(c, function, module, name);
    return emu_driver_leave(result);
}

/* CUfunction_attribute */
enum {
    FUNC_THREADS,
    FUNC_SHARED,
    FUNC_CONST,
    FUNC_LOCAL,
    FUNC_REGISTERS,
    FUNC_PTX,
    FUNC_BINARY,
    FUNC_CA,
    FUNC_DYNAMIC,
    FUNC_CARVEOUT
};

int emu_cuFuncGetAttribute(int *value, int attribute, void *function) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuFuncGetAttribute, NEED_CONTEXT, &c);
    const driver_fn *f = result ? NULL : emu_driver_find(function, KIND_FUNCTION, c);
    if (!result && !value)
        result = CU_INVALID_VALUE;
    if (!result && !f)
        result = CU_INVALID_HANDLE;
    if (result)
        return emu_driver_leave(result);
    const driver_module *m = emu_driver_find((void *)f->module, KIND_MODULE, c);
    switch (attribute) {
    case FUNC_THREADS:
        *value = f->kernel->max_threads && f->kernel->max_threads < 1024 ? f->kernel->max_threads : 1024;
        break;
    case FUNC_SHARED:
        *value = (int)f->kernel->shared_bytes;
        break;
    case FUNC_LOCAL:
        *value = (int)f->kernel->local_bytes;
        break;
    case FUNC_REGISTERS:
        *value = 0;
        break;
    case FUNC_PTX:
    case FUNC_BINARY:
        *value = m->arch;
        break;
    case FUNC_DYNAMIC:
        *value = f->max_dynamic;
        break;
    default:
        result = CU_INVALID_VALUE;
    }
    return emu_driver_leave(result);
}

int emu_cuFuncSetAttribute(void *function, int attribute, int value) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuFuncSetAttribute, NEED_CONTEXT, &c);
    driver_fn *f = result ? NULL : emu_driver_find(function, KIND_FUNCTION, c);
    if (!result && !f)
        result = CU_INVALID_HANDLE;
    if (!result && attribute == FUNC_DYNAMIC) {
        if (value < 0 || f->kernel->shared_bytes + (size_t)value > c->device.shared_optin)
            result = CU_INVALID_VALUE;
        else
            f->max_dynamic = value;
    } else if (!result && (attribute != FUNC_CARVEOUT || value < -1 || value > 100)) {
        result = CU_INVALID_VALUE;
    }
    return emu_driver_leave(result);
}
