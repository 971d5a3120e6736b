/* limits_cuda.c: the limits of a GPU: loops of templates/limits.cu, compiled for it when they are first wanted. */
#include <stdlib.h>
#include <string.h>

#include "gen/templates.h"
#include "tuner/device.h"

enum { THREADS = 256, BLOCKS_SM = 8, CHAINS = 8, WARP = 32, STEPS = 4096 };
static const double MMA_FLOPS = 2.0 * 16 * 8 * 16;

typedef struct cuda_limit {
    tune_limit head;
    const tune_place *place;
    tune_limit_kind kind;
    bool matrix;
    nha_cu_handle module, function;
    unsigned blocks;
    void *data, *out;
    uint64_t count; /* of 16-byte elements */
} cuda_limit;

static bool failed(const cuda_limit *l, const char *what, int result, err *e) {
    return tune_driver_error(l->place->device.driver, "limits", what, result, e);
}

static bool launch(const cuda_limit *l, err *e) {
    const nha_cuda_driver *driver = l->place->device.driver;
    uint64_t data = (uint64_t)(uintptr_t)l->data, out = (uint64_t)(uintptr_t)l->out, count = l->count;
    float x = 0.999f, y = 0.001f, keep = 1.0f;
    uint32_t a = 0x3c003c00, b = 0x3c003c00; /* small bf16 numbers */
    int steps = STEPS;
    void *fma[] = {&out, &x, &y, &steps}, *mma[] = {&out, &a, &b, &steps}, *read[] = {&out, &data, &count},
         *update[] = {&data, &count, &keep};
    void **parameters = l->kind == TUNE_LIMIT_FMA ? (l->matrix ? mma : fma) : l->kind == TUNE_LIMIT_READ ? read : update;
    int result = driver->cuLaunchKernel(l->function, l->blocks, 1, 1, THREADS, 1, 1, 0, NULL, parameters, NULL);
    return !result || failed(l, "launch", result, e);
}

static bool run(void *context, int64_t iterations, err *e) {
    const cuda_limit *l = context;
    if (!tune_place_enter(l->place, e))
        return false;
    bool ok = true;
    for (int64_t i = 0; ok && i < iterations; i++)
        ok = launch(l, e);
    tune_place_leave(l->place);
    return ok && tune_place_wait(l->place, e);
}

static bool compile(const tune_place *place, jit_cuda_image *image, err *e) {
    char arch[16];
    const jit_nvrtc *nvrtc = tune_nvrtc(e);
    const gen_embedded *files = nvrtc ? gen_templates(e) : NULL;
    if (!files)
        return false;
    while (files->name && strcmp(files->name, "limits.cu") != 0)
        files++;
    if (!files->name)
        return err_set(e, ERR_INTERNAL, "limits", "the template limits.cu is not there");
    snprintf(arch, sizeof arch, "sm_%d", place->arch);
    const jit_cuda_request request = {.source = files->text, .name = files->name, .arch = arch};
    return jit_nvrtc_compile(nvrtc, &request, image, e);
}

static bool load(cuda_limit *l, const jit_cuda_image *image, err *e) {
    const nha_cuda_driver *driver = l->place->device.driver;
    const char *entry = l->kind == TUNE_LIMIT_READ     ? "limit_read"
                        : l->kind == TUNE_LIMIT_UPDATE ? "limit_update"
                        : l->matrix                    ? "limit_mma"
                                                       : "limit_fma";
    int device = 0, multiprocessors = 1;
    /* The PTX and not the cubin: an emulator has no other, and this is no kernel of a library. */
    int result = driver->cuModuleLoadDataEx(&l->module, image->ptx, 0, NULL, NULL);
    if (!result)
        result = driver->cuModuleGetFunction(&l->function, l->module, entry);
    if (!result)
        result = driver->cuCtxGetDevice(&device);
    if (!result)
        result = driver->cuDeviceGetAttribute(&multiprocessors, NHA_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    l->blocks = (unsigned)multiprocessors * BLOCKS_SM;
    return !result || failed(l, entry, result, e);
}

static bool make_data(cuda_limit *l, size_t bytes, err *e) {
    l->out = tune_place_alloc(l->place, sizeof(float), e);
    if (!l->out || l->kind == TUNE_LIMIT_FMA)
        return l->out != NULL;
    l->count = bytes / 16 + 1;
    l->data = tune_place_alloc(l->place, (int64_t)(16 * l->count), e);
    if (!l->data || !tune_place_enter(l->place, e))
        return false;
    int result =
        l->place->device.driver->cuMemsetD8Async((uint64_t)(uintptr_t)l->data, 0, (size_t)(16 * l->count), NULL);
    tune_place_leave(l->place);
    return !result || failed(l, "memset", result, e);
}

bool tune_limit_open_cuda(const tune_place *place, tune_limit_kind kind, int dtype, size_t bytes, tune_limit **limit,
                          err *e) {
    jit_cuda_image image;
    cuda_limit *l = calloc(1, sizeof *l);
    *limit = NULL;
    if (!l)
        return err_memory(e, "limits");
    l->place = place;
    l->kind = kind;
    l->matrix = dtype != NHA_F32;
    if (!compile(place, &image, e)) {
        free(l);
        return false;
    }
    bool ok = tune_place_enter(place, e);
    if (ok) {
        ok = load(l, &image, e);
        tune_place_leave(place);
    }
    jit_cuda_image_destroy(&image);
    if (!ok || !make_data(l, bytes, e)) {
        tune_limit_close_cuda(&l->head);
        return false;
    }
    double threads = (double)l->blocks * THREADS;
    l->head.subject = (tune_subject){.run = run, .context = l};
    l->head.work = kind == TUNE_LIMIT_UPDATE ? 32.0 * (double)l->count
                   : kind == TUNE_LIMIT_READ ? 16.0 * (double)l->count
                   : l->matrix               ? MMA_FLOPS * CHAINS * STEPS * threads / WARP
                                             : 2.0 * CHAINS * STEPS * threads;
    *limit = &l->head;
    return true;
}

void tune_limit_close_cuda(tune_limit *head) {
    cuda_limit *l = (cuda_limit *)head;
    if (!l)
        return;
    tune_place_free(l->place, l->data);
    tune_place_free(l->place, l->out);
    if (l->module && tune_place_enter(l->place, NULL)) {
        l->place->device.driver->cuModuleUnload(l->module);
        tune_place_leave(l->place);
    }
    free(l);
}
