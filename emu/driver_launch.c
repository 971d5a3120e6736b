/* driver_launch.c: kernel launches: what the driver refuses, the run in the emulator, and what its reports become. */
#include <stdlib.h>
#include <string.h>

#include "emu/driver_inner.h"

int emu_driver_fault(driver_context *c, int result) {
    if (emu_driver.options.late_faults) {
        c->pending = result;
        return CU_SUCCESS;
    }
    c->sticky = result;
    return result;
}

static void count(const emu_counters *from) {
    uint64_t *t = (uint64_t *)(void *)&emu_driver.counters;
    const uint64_t *f = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof *from / sizeof *f; i++)
        t[i] += f[i];
}

/* The CUresult of a kernel with these reports: of a memory fault if there is one, else that of any other. */
static int result_of(const emu_result *r) {
    int result = CU_LAUNCH_FAILED;
    for (size_t i = 0; i < r->report_count; i++)
        if (r->reports[i].kind == EMU_OUT_OF_BOUNDS || r->reports[i].kind == EMU_READ_ONLY)
            return CU_ILLEGAL_ADDRESS;
        else if (r->reports[i].kind == EMU_MISALIGNED)
            result = CU_MISALIGNED_ADDRESS;
    return result;
}

int emu_driver_run_kernel(driver_context *c, const driver_node *n) {
    const driver_fn *f = emu_driver_find((void *)n->function, KIND_FUNCTION, c);
    if (!f) { /* a graph that outlived its module */
        emu_driver_say("the graph launches a function whose module was unloaded");
        return CU_INVALID_HANDLE;
    }
    const driver_module *m = emu_driver_find((void *)f->module, KIND_MODULE, c);
    emu_result r;
    emu_error e;
    if (!emu_launch(c->machine, m->module, f->kernel, n->grid, n->block, n->shared, n->params, n->param_bytes,
                    &emu_driver.options.launch, &r, &e)) {
        emu_driver_say("%s: %s", f->kernel->name, e.text);
        return strcmp(e.text, "out of memory") == 0 ? CU_OUT_OF_MEMORY : CU_INVALID_VALUE;
    }
    count(&r.counters);
    int result = CU_SUCCESS;
    if (r.report_count) {
        emu_driver_keep(m->module, f->kernel->name, &r);
        result = emu_driver_fault(c, result_of(&r));
    }
    emu_result_free(&r);
    return result;
}

/* Grid, block and shared memory: the limits of the device and of the function. */
static int check(const driver_context *c, const driver_fn *f, const driver_node *n) {
    const uint32_t *g = n->grid, *b = n->block;
    const char *name = f->kernel->name;
    uint64_t threads = (uint64_t)b[0] * b[1] * (b[2] <= 64 ? b[2] : 0);
    if (!g[0] || !g[1] || !g[2] || g[0] > INT32_MAX || g[1] > 65535 || g[2] > 65535) {
        emu_driver_say("%s: a grid of %u x %u x %u is not possible", name, g[0], g[1], g[2]);
        return CU_INVALID_VALUE;
    }
    if (b[0] > 1024 || b[1] > 1024 || !threads || threads > 1024) {
        emu_driver_say("%s: a block of %u x %u x %u threads is not possible", name, b[0], b[1], b[2]);
        return CU_INVALID_VALUE;
    }
    if (f->kernel->max_threads && threads > (uint64_t)f->kernel->max_threads) {
        emu_driver_say("%s: is declared for at most %d threads a block, not %u", name, f->kernel->max_threads,
                       (unsigned)threads);
        return CU_INVALID_VALUE;
    }
    if (n->shared > (uint32_t)f->max_dynamic || f->kernel->shared_bytes + n->shared > c->device.shared_optin) {
        emu_driver_say("%s: %u bytes of dynamic shared memory, where the function may have %d (cuFuncSetAttribute)",
                       name, n->shared, f->max_dynamic);
        return CU_INVALID_VALUE;
    }
    return CU_SUCCESS;
}

/* CU_LAUNCH_PARAM_BUFFER_POINTER and _SIZE: the whole block; NULL: something is missing. */
static const void *whole_block(void **extra, size_t bytes) {
    const void *block = NULL;
    const size_t *size = NULL;
    for (; *extra; extra += 2)
        if (*extra == (void *)1)
            block = extra[1];
        else if (*extra == (void *)2)
            size = extra[1];
        else
            return NULL;
    return size && *size == bytes ? block : NULL;
}

/* Fills the parameter block (param_bytes, zeroed). */
static int gather(const emu_kernel *k, void **parameters, void **extra, uint8_t *block) {
    if (k->param_count == 0)
        return CU_SUCCESS;
    if (!parameters == !extra) {
        emu_driver_say("%s: takes %zu parameters, by `parameters` or by `extra`", k->name, k->param_count);
        return CU_INVALID_VALUE;
    }
    const void *whole = extra ? whole_block(extra, k->param_bytes) : NULL;
    if (extra && !whole) {
        emu_driver_say("%s: takes a parameter block of %zu bytes", k->name, k->param_bytes);
        return CU_INVALID_VALUE;
    }
    if (extra)
        memcpy(block, whole, k->param_bytes);
    for (size_t i = 0; !extra && i < k->param_count; i++) {
        if (!parameters[i]) {
            emu_driver_say("%s: parameter %zu is null", k->name, i);
            return CU_INVALID_VALUE;
        }
        memcpy(block + k->params[i].offset, parameters[i], k->params[i].size);
    }
    return CU_SUCCESS;
}

int emu_cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **parameters,
                       void **extra) {
    driver_context *c;
    int result = emu_driver_enter(DRIVER_cuLaunchKernel, NEED_CONTEXT, &c);
    const driver_fn *f = result ? NULL : emu_driver_find(function, KIND_FUNCTION, c);
    if (!result && !f)
        result = CU_INVALID_HANDLE;
    if (result)
        return emu_driver_leave(result);
    driver_node n = {.kind = NODE_KERNEL,
                     .function = f->object.handle,
                     .grid = {grid_x, grid_y, grid_z},
                     .block = {block_x, block_y, block_z},
                     .shared = shared_bytes,
                     .params = calloc(1, f->kernel->param_bytes + 1),
                     .param_bytes = f->kernel->param_bytes};
    result = n.params ? check(c, f, &n) : CU_OUT_OF_MEMORY;
    if (!result)
        result = gather(f->kernel, parameters, extra, n.params);
    if (!result)
        result = emu_driver_submit(c, stream, &n, 1);
    free(n.params);
    return emu_driver_leave(result);
}
