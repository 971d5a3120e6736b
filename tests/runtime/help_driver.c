/* help_driver.c: see help_driver.h. */
#include "tests/runtime/help_driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

recorder recorded;

enum { FUNCTIONS = 0
#define ONE(name, arguments) +1
       NHA_CUDA_DRIVER_LIST(ONE)
#undef ONE
};

enum index {
#define INDEX(name, arguments) INDEX_##name,
    NHA_CUDA_DRIVER_LIST(INDEX)
#undef INDEX
};

static const char *const names[FUNCTIONS] = {
#define NAME(name, arguments) #name,
    NHA_CUDA_DRIVER_LIST(NAME)
#undef NAME
};

struct context {
    int device;
    bool primary, alive;
};

struct function {
    struct module *module;
    char entry[64];
    bool loaded;
    int shared_bytes;
    struct function *next;
};

struct module {
    struct context *context;
    const void *image;
    struct function *functions;
    struct module *next;
};

struct memory {
    char *data;
    size_t bytes;
    struct memory *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct context primary[RECORDER_DEVICES], made[RECORDER_DEVICES];
static struct module *modules;
static struct memory *memories;
static int calls[FUNCTIONS];

enum { DEPTH = 8 };
static _Thread_local struct {
    nha_cu_handle context[DEPTH];
    int depth; /* context[depth - 1] is current */
} stack;

/* ---- Every call ---- */

/* Counts the call; the result it must have, 0: to be worked out. Leaves with the lock held. */
static int enter(enum index function) {
    static const enum index legal[] = {
        INDEX_cuInit, INDEX_cuDriverGetVersion, INDEX_cuGetErrorName, INDEX_cuGetErrorString, INDEX_cuDeviceGetCount,
        INDEX_cuDeviceGet, INDEX_cuDevicePrimaryCtxRetain, INDEX_cuDevicePrimaryCtxRelease_v2, INDEX_cuCtxGetCurrent,
        INDEX_cuCtxPushCurrent_v2, INDEX_cuCtxPopCurrent_v2, INDEX_cuCtxGetDevice, INDEX_cuLaunchKernel,
        INDEX_cuMemcpyDtoDAsync_v2, INDEX_cuMemsetD8Async, INDEX_cuStreamIsCapturing,
    };
    pthread_mutex_lock(&lock);
    calls[function]++;
    bool found = false;
    for (size_t i = 0; i < sizeof legal / sizeof *legal; i++) found = found || legal[i] == function;
    if (recorded.capturing && !found) recorded.illegal_in_capture++;
    if (recorded.fail && !strcmp(recorded.fail, names[function]) && recorded.fail_after-- == 0) {
        recorded.fail = NULL;
        return recorded.fail_result;
    }
    return 0;
}

static int leave(int result) {
    pthread_mutex_unlock(&lock);
    return result;
}

static struct context *current(void) {
    struct context *c = stack.depth ? stack.context[stack.depth - 1] : NULL;
    return c && c->alive ? c : NULL;
}

/* Functions that libnha has no need of. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define UNUSED(name, arguments)                                                                                        \
    static int unused_##name arguments {                                                                               \
        enter(INDEX_##name);                                                                                           \
        recorded.misused++;                                                                                            \
        return leave(NHA_CU_INVALID_VALUE);                                                                            \
    }
NHA_CUDA_DRIVER_LIST(UNUSED)
#undef UNUSED
#pragma GCC diagnostic pop

/* ---- Driver and devices ---- */

static int init(unsigned flags) {
    int result = enter(INDEX_cuInit);
    recorded.initialised++;
    return leave(flags ? NHA_CU_INVALID_VALUE : result);
}

static int driver_version(int *version) {
    int result = enter(INDEX_cuDriverGetVersion);
    *version = recorded.version;
    return leave(result);
}

static int error_name(int result, const char **text) {
    enter(INDEX_cuGetErrorName);
    static const struct {
        int result;
        const char *name;
    } known[] = {{NHA_CU_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                 {NHA_CU_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                 {NHA_CU_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                 {NHA_CU_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                 {NHA_CU_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                 {NHA_CU_INVALID_PTX, "CUDA_ERROR_INVALID_PTX"},
                 {NHA_CU_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
                 {NHA_CU_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                 {NHA_CU_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                 {NHA_CU_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
    *text = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].result == result) *text = known[i].name;
    return leave(*text ? 0 : NHA_CU_INVALID_VALUE);
}

static int error_string(int result, const char **text) {
    enter(INDEX_cuGetErrorString);
    *text = result == NHA_CU_LAUNCH_FAILED ? "unspecified launch failure" : NULL;
    return leave(*text ? 0 : NHA_CU_INVALID_VALUE);
}

static int device_count(int *count) {
    int result = enter(INDEX_cuDeviceGetCount);
    *count = recorded.device_count;
    return leave(result);
}

static int device_get(int *device, int ordinal) {
    int result = enter(INDEX_cuDeviceGet);
    *device = 100 + ordinal; /* a handle is not an ordinal */
    return leave(ordinal < 0 || ordinal >= recorded.device_count ? NHA_CU_INVALID_DEVICE : result);
}

static int device_attribute(int *value, int attribute, int device) {
    int result = enter(INDEX_cuDeviceGetAttribute);
    if (device < 100 || device >= 100 + recorded.device_count) recorded.misused++;
    *value = attribute == NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? recorded.major
             : attribute == NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? recorded.minor
                                                                      : recorded.shared_bytes;
    return leave(result);
}

/* ---- Contexts ---- */

static int primary_retain(nha_cu_handle *context, int device) {
    int result = enter(INDEX_cuDevicePrimaryCtxRetain);
    if (result) return leave(result);
    recorded.retained[device - 100]++;
    primary[device - 100].alive = true;
    *context = &primary[device - 100];
    return leave(0);
}

static int primary_release(int device) {
    int result = enter(INDEX_cuDevicePrimaryCtxRelease_v2);
    if (recorded.retained[device - 100]-- == 0) recorded.misused++;
    if (!recorded.retained[device - 100]) primary[device - 100].alive = false;
    return leave(result);
}

static int get_current(nha_cu_handle *context) {
    int result = enter(INDEX_cuCtxGetCurrent);
    *context = stack.depth ? stack.context[stack.depth - 1] : NULL;
    return leave(result);
}

static int push(nha_cu_handle context) {
    int result = enter(INDEX_cuCtxPushCurrent_v2);
    struct context *c = NULL;
    for (int i = 0; i < RECORDER_DEVICES; i++)
        c = context == &primary[i] ? &primary[i] : context == &made[i] ? &made[i] : c;
    if (result || !c || !c->alive || stack.depth == DEPTH) return leave(result ? result : NHA_CU_INVALID_CONTEXT);
    stack.context[stack.depth++] = c;
    recorded.pushed++;
    return leave(0);
}

static int pop(nha_cu_handle *context) {
    int result = enter(INDEX_cuCtxPopCurrent_v2);
    if (!stack.depth) {
        recorded.misused++;
        return leave(NHA_CU_INVALID_CONTEXT);
    }
    *context = stack.context[--stack.depth];
    return leave(result);
}

static int get_device(int *device) {
    int result = enter(INDEX_cuCtxGetDevice);
    if (!current()) return leave(NHA_CU_INVALID_CONTEXT);
    *device = 100 + current()->device;
    return leave(result);
}

/* ---- Modules ---- */

static int module_load(nha_cu_handle *module, const void *image, unsigned count, int *option, void **value) {
    int result = enter(INDEX_cuModuleLoadDataEx);
    char *log = NULL;
    recorded.log_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (option[i] == NHA_CU_JIT_ERROR_LOG) log = value[i];
        if (option[i] == NHA_CU_JIT_ERROR_LOG_BYTES) recorded.log_bytes = (int64_t)(uintptr_t)value[i];
    }
    if (result && log && recorded.log) snprintf(log, (size_t)recorded.log_bytes, "%s", recorded.log);
    if (!current()) recorded.misused++;
    if (result || !current()) return leave(result ? result : NHA_CU_INVALID_CONTEXT);
    struct module *m = calloc(1, sizeof *m);
    *m = (struct module){current(), image, NULL, modules};
    modules = m;
    *module = m;
    recorded.modules++;
    recorded.loads++;
    return leave(0);
}

static void free_module(struct module *m) {
    for (struct function *f = m->functions, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    free(m);
}

static int module_unload(nha_cu_handle module) {
    int result = enter(INDEX_cuModuleUnload);
    for (struct module **at = &modules; *at; at = &(*at)->next)
        if (*at == module) {
            if ((*at)->context != current()) recorded.misused++;
            struct module *gone = *at;
            *at = gone->next;
            free_module(gone);
            recorded.modules--;
            return leave(result);
        }
    recorded.misused++;
    return leave(NHA_CU_INVALID_HANDLE);
}

static int module_function(nha_cu_handle *function, nha_cu_handle module, const char *name) {
    int result = enter(INDEX_cuModuleGetFunction);
    struct module *m = module;
    if (m->context != current()) recorded.misused++;
    if (result) return leave(result);
    struct function *f = calloc(1, sizeof *f);
    *f = (struct function){.module = m, .shared_bytes = 48 << 10, .next = m->functions};
    snprintf(f->entry, sizeof f->entry, "%s", name);
    m->functions = f;
    *function = f;
    return leave(0);
}

static int function_attribute(int *value, int attribute, nha_cu_handle function) {
    int result = enter(INDEX_cuFuncGetAttribute);
    struct function *f = function;
    if (f->module->context != current()) recorded.misused++;
    f->loaded = true;
    *value = attribute == NHA_CU_FUNC_REGISTERS ? 32 : 0;
    return leave(result);
}

static int set_function_attribute(nha_cu_handle function, int attribute, int value) {
    int result = enter(INDEX_cuFuncSetAttribute);
    struct function *f = function;
    if (attribute != NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES || value > recorded.shared_bytes) recorded.misused++;
    f->shared_bytes = value;
    return leave(result);
}

static int launch(nha_cu_handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                  unsigned block_y, unsigned block_z, unsigned shared_bytes, nha_cu_handle stream, void **parameters,
                  void **extra) {
    int result = enter(INDEX_cuLaunchKernel);
    struct function *f = function;
    if (result) return leave(result);
    if (!f->loaded) recorded.not_loaded++;
    if (f->module->context != current() || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || extra ||
        !grid_x || !block_x || shared_bytes > (unsigned)f->shared_bytes)
        recorded.misused++;
    recorded_launch *l = &recorded.launch[recorded.launch_count++ % RECORDER_LAUNCHES];
    *l = (recorded_launch){.image = f->module->image, .blocks = grid_x, .threads = block_x,
                           .shared_bytes = shared_bytes, .stream = stream};
    memcpy(l->entry, f->entry, sizeof l->entry);
    memcpy(&l->args, parameters[0], sizeof l->args);
    return leave(0);
}

/* ---- Memory and streams ---- */

static bool inside(uint64_t address, size_t bytes) {
    for (struct memory *m = memories; m; m = m->next) {
        uint64_t begin = (uintptr_t)m->data;
        if (address >= begin && address <= begin + m->bytes && bytes <= begin + m->bytes - address) return true;
    }
    return false;
}

/* NULL addresses are the host's. */
static int transfer(enum index function, void *to, const void *from, uint64_t a, uint64_t b, size_t bytes) {
    int result = enter(function);
    if (!current()) recorded.misused++;
    if (result) return leave(result);
    if (!current()) return leave(NHA_CU_INVALID_CONTEXT);
    if ((a && !inside(a, bytes)) || (b && !inside(b, bytes))) return leave(NHA_CU_INVALID_VALUE);
    memcpy(to, from, bytes);
    return leave(0);
}

static int copy_in(uint64_t to, const void *from, size_t bytes, nha_cu_handle stream) {
    (void)stream;
    return transfer(INDEX_cuMemcpyHtoDAsync_v2, (void *)(uintptr_t)to, from, to, 0, bytes);
}

static int copy_out(void *to, uint64_t from, size_t bytes, nha_cu_handle stream) {
    (void)stream;
    return transfer(INDEX_cuMemcpyDtoHAsync_v2, to, (const void *)(uintptr_t)from, from, 0, bytes);
}

static int copy_inside(uint64_t to, uint64_t from, size_t bytes, nha_cu_handle stream) {
    (void)stream;
    return transfer(INDEX_cuMemcpyDtoDAsync_v2, (void *)(uintptr_t)to, (const void *)(uintptr_t)from, to, from, bytes);
}

static int set_bytes(uint64_t to, unsigned char value, size_t bytes, nha_cu_handle stream) {
    (void)stream;
    int result = enter(INDEX_cuMemsetD8Async);
    if (!current()) recorded.misused++;
    if (result) return leave(result);
    if (!inside(to, bytes)) return leave(NHA_CU_INVALID_VALUE);
    memset((void *)(uintptr_t)to, value, bytes);
    return leave(0);
}

static int stream_wait(nha_cu_handle stream) {
    (void)stream;
    int result = enter(INDEX_cuStreamSynchronize);
    if (!current()) recorded.misused++;
    unsigned wait_us = (unsigned)recorded.wait_us;
    leave(result);
    if (wait_us) usleep(wait_us);
    return result;
}

static int stream_capturing(nha_cu_handle stream, int *status) {
    (void)stream;
    int result = enter(INDEX_cuStreamIsCapturing);
    *status = recorded.capturing;
    return leave(result);
}

/* ---- For tests ---- */

const nha_cuda_driver *recorder_driver(void) {
    static nha_cuda_driver table;
    pthread_mutex_lock(&lock);
    table.struct_size = sizeof table;
#define FILL(name, arguments) table.name = unused_##name;
    NHA_CUDA_DRIVER_LIST(FILL)
#undef FILL
    table.cuInit = init;
    table.cuDriverGetVersion = driver_version;
    table.cuGetErrorName = error_name;
    table.cuGetErrorString = error_string;
    table.cuDeviceGetCount = device_count;
    table.cuDeviceGet = device_get;
    table.cuDeviceGetAttribute = device_attribute;
    table.cuDevicePrimaryCtxRetain = primary_retain;
    table.cuDevicePrimaryCtxRelease_v2 = primary_release;
    table.cuCtxGetCurrent = get_current;
    table.cuCtxPushCurrent_v2 = push;
    table.cuCtxPopCurrent_v2 = pop;
    table.cuCtxGetDevice = get_device;
    table.cuModuleLoadDataEx = module_load;
    table.cuModuleUnload = module_unload;
    table.cuModuleGetFunction = module_function;
    table.cuFuncGetAttribute = function_attribute;
    table.cuFuncSetAttribute = set_function_attribute;
    table.cuLaunchKernel = launch;
    table.cuMemcpyHtoDAsync_v2 = copy_in;
    table.cuMemcpyDtoHAsync_v2 = copy_out;
    table.cuMemcpyDtoDAsync_v2 = copy_inside;
    table.cuMemsetD8Async = set_bytes;
    table.cuStreamSynchronize = stream_wait;
    table.cuStreamIsCapturing = stream_capturing;
    pthread_mutex_unlock(&lock);
    return &table;
}

void recorder_reset(int major, int minor) {
    while (modules) {
        struct module *next = modules->next;
        free_module(modules);
        modules = next;
    }
    while (memories) {
        struct memory *next = memories->next;
        free(memories->data);
        free(memories);
        memories = next;
    }
    recorded = (recorder){.device_count = RECORDER_DEVICES, .major = major, .minor = minor, .shared_bytes = 227 << 10,
                          .version = 13000};
    memset(calls, 0, sizeof calls);
    stack.depth = 0;
    for (int i = 0; i < RECORDER_DEVICES; i++) {
        primary[i] = (struct context){i, true, false};
        made[i] = (struct context){i, false, true};
    }
}

int recorder_calls(const char *function) {
    int sum = 0, found = 0;
    for (int i = 0; i < FUNCTIONS; i++)
        if (!function || !strcmp(names[i], function)) sum += calls[i], found++;
    if (!found) abort(); /* a name that the list does not have */
    return sum;
}

nha_cu_handle recorder_context(int device) {
    return &made[device];
}

nha_cu_handle recorder_primary(int device) {
    return &primary[device];
}

void recorder_set_current(nha_cu_handle context) {
    stack.depth = context ? 1 : 0;
    stack.context[0] = context;
}

nha_cu_handle recorder_current(void) {
    return stack.depth ? stack.context[stack.depth - 1] : NULL;
}

void *recorder_memory(size_t bytes) {
    struct memory *m = calloc(1, sizeof *m);
    void *data = NULL;
    if (!m || posix_memalign(&data, NHA_WORKSPACE_ALIGN, bytes ? bytes : 1)) abort();
    memset(data, 0xa5, bytes);
    *m = (struct memory){data, bytes, memories};
    memories = m;
    return data;
}

nha_device recorder_device(int ordinal) {
    return (nha_device){NHA_CUDA, ordinal, NULL, recorder_driver()};
}
