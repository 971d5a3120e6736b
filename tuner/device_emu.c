/* device_emu.c: the PTX emulator as a CUDA device: libnha drives it through the same table as a GPU. It says what is
 * right; what it says of time is a model (model.c). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "emu/driver.h"
#include "tuner/device_cuda.h"
#include "tuner/model.h"

/* Launches of this thread: each has another order of warps, and cp.async that delivers late and at once by turns. */
static _Thread_local uint64_t turn;

static int launch(nha_cu_handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                  unsigned block_y, unsigned block_z, unsigned shared_bytes, nha_cu_handle stream, void **parameters,
                  void **extra) {
    emu_options options = emu_options_default();
    options.seed = ++turn;
    options.async = turn % 2 ? EMU_ASYNC_LATE : EMU_ASYNC_EAGER;
    emu_driver_launch_options(&options);
    return emu_cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream,
                              parameters, extra);
}

static nha_cuda_driver driver;
static pthread_once_t driver_once = PTHREAD_ONCE_INIT;

static void fill_driver(void) {
    driver.struct_size = sizeof driver;
#define MEMBER_(name, arguments) driver.name = emu_##name;
    NHA_CUDA_DRIVER_LIST(MEMBER_)
#undef MEMBER_
    driver.cuLaunchKernel = launch;
}

/* The emulator cannot run machine code: it is told which PTX a cubin was made from. */
static bool adopt(const tune_device *d, const nha_library *library, err *e) {
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *k = &library->kernels[i];
        if (k->kind == NHA_CUDA && k->cubin && k->ptx &&
            !emu_driver_register(k->cubin, k->cubin_bytes, k->ptx, k->ptx_bytes)) {
            if (d->forget)
                d->forget(d, library);
            return err_memory(e, "device");
        }
    }
    return true;
}

static void forget(const tune_device *d, const nha_library *library) {
    (void)d;
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (library->kernels[i].kind == NHA_CUDA && library->kernels[i].cubin)
            emu_driver_forget(library->kernels[i].cubin, library->kernels[i].cubin_bytes);
}

static void describe(const tune_device *d, char *out, size_t size) {
    snprintf(out, size, "the emulator of nhac " NHA_VERSION ", as %s; times by its model", d->arch.cuda->name);
}

static int threads(const tune_device *d) {
    (void)d;
    return 1;
}

/* The same launches whichever thread it is done in. */
static bool verify(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e) {
    turn = 0;
    return device_cuda_verify(d, candidate, reference, e);
}

/* What one iteration counts, through the model. */
static bool model(const tune_device *d, tune_runner *runner, double *us, err *e) {
    emu_counters before, after;
    emu_driver_counters(&before);
    if (!runner->subject.run(runner->subject.context, 1, e))
        return false;
    emu_driver_counters(&after);
    *us = tune_model_us(d->arch.cuda, &before, &after, runner->workload->tasks);
    return true;
}

static void close_emulator(tune_device *d) {
    device_cuda_end(d);
    free(d);
}

/* The emulated GPU of that architecture; -1: there is none. */
static int find_ordinal(int arch) {
    int count = 0;
    for (int ordinal = 0; !driver.cuDeviceGetCount(&count) && ordinal < count; ordinal++) {
        int device, major = 0, minor = 0;
        if (!driver.cuDeviceGet(&device, ordinal) &&
            !driver.cuDeviceGetAttribute(&major, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) &&
            !driver.cuDeviceGetAttribute(&minor, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device) &&
            10 * major + minor == arch)
            return ordinal;
    }
    return -1;
}

bool tune_device_open_emu(const gen_cuda_target *target, tune_device **device, err *e) {
    *device = NULL;
    pthread_once(&driver_once, fill_driver);
    int result = driver.cuInit(0), ordinal = result ? -1 : find_ordinal(target->arch);
    if (ordinal < 0)
        return err_set(e, ERR_MISSING, "device", "the emulator has no GPU for %s", target->name);
    tune_device *d = calloc(1, sizeof *d);
    if (!d)
        return err_memory(e, "device");
    if (!device_cuda_begin(d, &driver, ordinal, e)) {
        free(d);
        return false;
    }
    snprintf(d->name, sizeof d->name, "emu:%s", target->name);
    d->verified_by = "emulator";
    d->timed_by = "model";
    d->arch.cuda = target;
    d->place.target = target->name;
    d->place.watched = true;
    d->place.explain = emu_driver_report;
    d->describe = describe;
    d->threads = threads;
    d->verify = verify;
    d->adopt = adopt;
    d->forget = forget;
    d->model = model;
    d->close = close_emulator;
    *device = d;
    return true;
}
