/* open.c: see open.h. */
#include "cli/open.h"

#include <string.h>

#include "base/nearest.h"

static bool has(const nha_library *library, int kind) {
    return nha_library_has(library, 0, NHA_PREFILL, kind) || nha_library_has(library, 0, NHA_DECODE, kind);
}

/* Target of the first CUDA kernel that some device here runs by itself, else of the first; NULL: there is none. */
static const char *first_target(const nha_library *library) {
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (library->kernels[i].kind == NHA_CUDA)
            return library->kernels[i].isa;
    return NULL;
}

/* Whether a GPU runs a kernel of the library. */
static bool runs_library(const void *context, const tune_place *place) {
    const nha_library *library = context;
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (library->kernels[i].kind == NHA_CUDA && tune_place_runs(place, library->kernels[i].isa))
            return true;
    return false;
}

static bool open_device(const nha_library *library, const char *name, bool compiles, tune_device **device, err *e) {
    const char *target = first_target(library);
    if (!name && has(library, NHA_CPU))
        return tune_device_open("cpu", NULL, device, e);
    if (compiles && target)
        tune_nvrtc(NULL); /* forks: not after a driver has started threads and taken hold of a GPU */
    if (!name && target) {
        *device = tune_device_find_gpu(runs_library, library);
        return *device || tune_device_open("emu", target, device, e);
    }
    if (!tune_device_open(name, target, device, e))
        return false;
    if (has(library, (*device)->place.device.kind))
        return true;
    err_set(e, ERR_MISSING, "run", "library %s has no kernels for %s; name a target with --target when it is built",
            nha_library_name(library), (*device)->name);
    tune_device_close(*device);
    return false;
}

bool cli_open(const char *folder, const char *device, bool compiles, cli_opened *o, err *e) {
    memset(o, 0, sizeof *o);
    if ((device && !tune_device_known(device, e)) || !tune_library_open(folder, 0, &o->library, e))
        return false;
    if (!open_device(o->library.library, device, compiles, &o->device, e)) {
        o->device = NULL;
        cli_close(o);
        return false;
    }
    o->adopted = !o->device->adopt || o->device->adopt(o->device, o->library.library, e);
    if (!o->adopted)
        cli_close(o);
    return o->adopted;
}

void cli_close(cli_opened *o) {
    if (o->adopted && o->device->forget)
        o->device->forget(o->device, o->library.library);
    tune_device_close(o->device);
    tune_library_close(&o->library);
    memset(o, 0, sizeof *o);
}

bool cli_isa_known(const char *isa, err *e) {
    enum { NAMES_MAX = 32 };
    const char *names[NAMES_MAX];
    int count;
    const gen_isa *table = gen_isa_table(&count);
    if (!isa || gen_isa_find(isa))
        return true;
    if (count > NAMES_MAX)
        count = NAMES_MAX;
    for (int i = 0; i < count; i++)
        names[i] = table[i].name;
    return err_set(e, ERR_USAGE, "usage", "there is no ISA %s; did you mean %s?", isa,
                   base_nearest(isa, names, (size_t)count));
}

bool cli_isa_there(const cli_opened *o, const char *isa, err *e) {
    const nha_library *library = o->library.library;
    if (!isa)
        return true;
    if (o->device->place.device.kind != NHA_CPU)
        return err_set(e, ERR_USAGE, "usage", "--isa names an instruction set of the CPU, and the device is %s",
                       o->device->name);
    if (!o->device->runs(o->device, &(tune_arch){.isa = gen_isa_find(isa)}))
        return err_set(e, ERR_MISSING, "isa", "this CPU has no %s; the best it has is %s", isa, nha_cpu_isa());
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (library->kernels[i].kind == NHA_CPU && !strcmp(library->kernels[i].isa, isa))
            return true;
    return err_set(e, ERR_MISSING, "isa", "library %s has no kernel for %s; nhac show lists what it has",
                   nha_library_name(library), isa);
}
