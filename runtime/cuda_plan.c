/* cuda_plan.c: the CUDA part of a plan: device, kernel, code loaded and ready to be launched, workspace. After it
 * nothing is left that an execution would have to load. */
#include <stdio.h>
#include <string.h>

#include "runtime/cuda_internal.h"

enum {
    SHARED_BYTES_ALWAYS = 48 << 10, /* dynamic shared memory that a launch may have without asking */
    LOG_BYTES = 512,
};

/* ---- Device ---- */

static nha_status check_version(const nha_library *library, const nha_cuda_driver *driver, nha_error *error) {
    int version = 0, need = library->min_driver_version; /* 1000 * major + 10 * minor */
    int result = driver->cuDriverGetVersion(&version);
    if (result) return nhr_cuda_fail(driver, result, error, "the driver does not say its version");
    if (version >= need) return NHA_OK;
    return nhr_fail(error, NHA_OLD_DRIVER,
                    "the driver is for CUDA %d.%d, library %.80s needs one for CUDA %d.%d or later", version / 1000,
                    version % 1000 / 10, library->name, need / 1000, need % 1000 / 10);
}

static nha_status describe_gpu(const nhr_cuda_context *c, nhr_gpu *gpu, nha_error *error) {
    int shared = 0;
    const struct {
        int attribute;
        int *value;
    } wanted[] = {
        {NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &gpu->major},
        {NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &gpu->minor},
        {NHA_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &shared},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        int result = c->driver->cuDeviceGetAttribute(wanted[i].value, wanted[i].attribute, c->device);
        if (result)
            return nhr_cuda_fail(c->driver, result, error, "the driver does not say attribute %d of the device",
                                 wanted[i].attribute);
    }
    gpu->shared_bytes = shared;
    return NHA_OK;
}

/* ---- Code ---- */

/* The status of an error that is there already, if there is a better one than the driver's. */
static nha_status failed(nha_status better, nha_status status, nha_error *error) {
    if (better && error) error->status = better;
    return better ? better : status;
}

/* The driver's log on one line, at most what an error has room for. */
static void flatten(char *log) {
    size_t to = 0;
    for (size_t from = 0; log[from]; from++) {
        bool space = (unsigned char)log[from] <= ' ';
        if (!space || (to && log[to - 1] != ' ')) log[to++] = space ? ' ' : log[from];
    }
    log[to] = 0;
}

static nha_status load_failed(const nha_plan *plan, int result, char *log, bool ptx, nha_error *error) {
    const nha_cuda_driver *driver = plan->cuda->context.driver;
    flatten(log);
    nha_status better = NHA_OK;
    if (result == NHA_CU_INVALID_IMAGE || result == NHA_CU_NO_BINARY_FOR_GPU || result == NHA_CU_INVALID_PTX)
        better = NHA_BAD_LIBRARY;
    if (result == NHA_CU_UNSUPPORTED_PTX_VERSION) better = NHA_OLD_DRIVER;
    return failed(better,
                  nhr_cuda_fail(driver, result, error, "the driver refuses the %s of %.90s for %s%s%.90s",
                                ptx ? "PTX" : "cubin", plan->kernel->name, plan->kernel->isa, *log ? ": " : "", log),
                  error);
}

/* Attributes of a function force it to be loaded where modules are loaded lazily. */
static nha_status load_function(nha_plan *plan, int32_t i, nha_error *error) {
    struct nhr_cuda_part *part = plan->cuda;
    const nha_cuda_driver *driver = part->context.driver;
    const nha_cuda_launch *launch = &part->code->launch[i];
    int value, result = driver->cuModuleGetFunction(&part->function[i], part->module, launch->entry);
    if (result)
        return failed(
            result == NHA_CU_NOT_FOUND ? NHA_BAD_LIBRARY : NHA_OK,
            nhr_cuda_fail(driver, result, error, "kernel %.90s: its function %.90s", plan->kernel->name, launch->entry),
            error);
    if ((result = driver->cuFuncGetAttribute(&value, NHA_CU_FUNC_REGISTERS, part->function[i])))
        return nhr_cuda_fail(driver, result, error, "function %.90s cannot be loaded", launch->entry);
    if (launch->shared_bytes > SHARED_BYTES_ALWAYS &&
        (result = driver->cuFuncSetAttribute(part->function[i], NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES,
                                             launch->shared_bytes)))
        return nhr_cuda_fail(driver, result, error, "function %.90s cannot have %d bytes of shared memory",
                             launch->entry, launch->shared_bytes);
    return NHA_OK;
}

/* The context is current. */
static nha_status load(nha_plan *plan, bool ptx, nha_error *error) {
    struct nhr_cuda_part *part = plan->cuda;
    char log[LOG_BYTES] = "";
    int option[] = {NHA_CU_JIT_ERROR_LOG, NHA_CU_JIT_ERROR_LOG_BYTES};
    void *value[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    const void *image = ptx ? plan->kernel->ptx : plan->kernel->cubin;
    int result = part->context.driver->cuModuleLoadDataEx(&part->module, image, 2, option, value);
    if (result) {
        part->module = NULL;
        return load_failed(plan, result, log, ptx, error);
    }
    nha_status status = NHA_OK;
    for (int32_t i = 0; i < part->code->launch_count && !status; i++) status = load_function(plan, i, error);
    return status;
}

/* ---- Workspace: block_bytes for each block of the grid, max_sequences * H of them ---- */

static nha_status lay_out_workspace(nha_plan *plan, nha_error *error) {
    const nha_problem *p = plan->problem;
    const nha_cuda_code *code = plan->cuda->code;
    int64_t reach = plan->max_length + (plan->cached ? plan->cache.ring_tokens : 0), window, bytes, at = 0;
    int64_t blocks = plan->max_sequences * p->heads_kv; /* at most 2^31 * 2^20 */
    if (blocks > INT32_MAX)
        return nhr_fail(error, NHA_INVALID_ARGUMENT,
                        "max_sequences is %lld, with %d kv heads more blocks than a grid has",
                        (long long)plan->max_sequences, p->heads_kv);
    if (!nhr_mul(code->workspace_window_bytes, nhr_min(p->window, reach), &window) ||
        __builtin_add_overflow(window, code->workspace_bytes, &bytes) ||
        !nhr_add_bytes(&plan->cuda->block_bytes, bytes, 1, NHA_WORKSPACE_ALIGN) ||
        !nhr_add_bytes(&at, plan->cuda->block_bytes, blocks, NHA_WORKSPACE_ALIGN) || (uint64_t)at > SIZE_MAX / 2)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "the bounds are too large: the workspace would not fit in memory");
    plan->workspace_bytes = at;
    return NHA_OK;
}

/* ---- All of it ---- */

nha_status nhr_cuda_plan(const nha_library *library, const nha_plan_options *o, nha_plan *plan, nha_error *error) {
    /* Said without a driver, so that it is said everywhere. */
    if (!nha_library_has(library, o->problem, (nha_op)o->op, NHA_CUDA))
        return nhr_fail(error, NHA_NO_KERNEL, "library %.80s has no CUDA %s kernel", library->name, nhr_op_name(o->op));
    struct nhr_cuda_part *part = plan->cuda = nhr_alloc(sizeof *part);
    if (!part) return nhr_fail(error, NHA_OUT_OF_MEMORY, "no memory for a plan");
    nhr_gpu gpu;
    nhr_choice choice;
    nha_status status = nhr_cuda_open(o->device, &part->context, error);
    if (status || (status = check_version(library, part->context.driver, error)) ||
        (status = describe_gpu(&part->context, &gpu, error)) ||
        (status = nhr_cuda_choose(library, o, plan, &gpu, &choice, error)))
        return status;
    plan->kernel = choice.kernel;
    part->code = choice.kernel->cuda;
    if ((status = lay_out_workspace(plan, error))) return status;
    if ((plan->flags & NHA_PLAN_DEBUG) && !(part->debug = nhr_cuda_debug_create(plan)))
        return nhr_fail(error, NHA_OUT_OF_MEMORY, "no memory to stage the values that a debugging plan checks");
    if ((status = nhr_cuda_enter(&part->context, error))) return status;
    status = load(plan, choice.fit == NHR_FIT_PTX, error);
    nhr_cuda_leave(&part->context);
    return status;
}

void nhr_cuda_plan_free(nha_plan *plan) {
    struct nhr_cuda_part *part = plan->cuda;
    if (!part) return;
    /* Where the caller has destroyed the context, its modules went with it. */
    if (part->module && !nhr_cuda_enter(&part->context, NULL)) {
        part->context.driver->cuModuleUnload(part->module);
        nhr_cuda_leave(&part->context);
    }
    nhr_cuda_close(&part->context);
    nhr_cuda_debug_destroy(part->debug);
    nhr_free(part);
}
