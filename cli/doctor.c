/* doctor.c: nhac doctor: what was found, and what each absence costs. */
#include <stdio.h>

#include "cli/options.h"
#include "jit/nvrtc.h"
#include "tuner/device.h"
#include "tuner/find.h"
#include "tuner/machine.h"

static void found(const char *what, const char *text) {
    printf("  %-16s %s\n", what, text);
}

static void missing(const char *what, const char *cost) {
    printf("  %-16s not found: %s\n", what, cost);
}

static void processor(void) {
    static const char *const names[] = {
#define FEATURE_(name, bit, text) text,
        NHA_CPU_FEATURE_LIST(FEATURE_)
#undef FEATURE_
    };
    char text[256];
    tune_machine_model(text, sizeof text);
    printf("processor\n");
    found("model", text);
    snprintf(text, sizeof text, "%d", tune_machine_threads());
    found("threads", text);
    printf("  %-16s", "features");
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (nha_cpu_features() >> i & 1)
            printf(" %s", names[i]);
    printf("\n");
    const gen_isa *isa = gen_isa_best(nha_cpu_features());
    if (isa)
        found("kernels for", isa->name);
    else
        missing("kernels", "no CPU kernels for this kind of processor; libraries cannot be tuned or run here");
    for (int level = 1; level <= 3; level++) {
        size_t bytes = tune_machine_cache(level);
        if (bytes)
            printf("  L%d cache         %zu KiB\n", level, bytes / 1024);
    }
}

static void compilers(void) {
    char path[4096];
    printf("compilers\n");
#ifdef NHAC_LLVM
    printf("  %-16s %s, linked in\n", "LLVM", jit_llvm_version());
#else
    missing("LLVM", "this nhac was built without it: the target cpu is missing, CUDA targets need none of it");
#endif
    if (tune_find_program("cc", path, sizeof path))
        found("cc", path);
    else
        missing("cc", "libraries are written without their .so; the .a and `nhac run` work");
    jit_nvrtc *nvrtc;
    err e = {0};
    if (jit_nvrtc_open(&nvrtc, &e)) {
        printf("  %-16s %s, %s\n", "NVRTC", jit_nvrtc_version(nvrtc), jit_nvrtc_path(nvrtc));
        jit_nvrtc_close(nvrtc);
    } else {
        printf("  %-16s not usable: CUDA sources are rendered (`nhac gen`) but not compiled. %s\n", "NVRTC", e.text);
    }
    err_clear(&e);
}

static void gpus(void) {
    int ordinal = 0;
    for (;; ordinal++) {
        tune_device *device;
        char text[256], name[32];
        err e = {0};
        if (!tune_device_open_cuda(ordinal, &device, &e)) {
            if (ordinal == 0) /* of the first only: after the last there is none, which is no news */
                printf("  %-16s not found: %s; CUDA kernels are compiled and verified by the emulator, not timed\n", "cuda",
                       e.text);
            err_clear(&e);
            return;
        }
        device->describe(device, text, sizeof text);
        snprintf(name, sizeof name, "cuda:%d", ordinal);
        found(name, text);
        tune_device_close(device);
    }
}

static void devices(void) {
    printf("devices\n");
#ifdef NHAC_LLVM
    found("cpu", "kernels are compiled, verified, timed and run here");
#else
    found("cpu", "libraries that hold CPU kernels are run here; none are made");
#endif
    gpus();
    found("emu", "CUDA kernels are verified and run here, on the CPU, for every target; their times come from a model");
}

static void folders(void) {
    printf("folders\n");
    const char *cache = jit_cache_dir();
    printf("  %-16s %s%s\n", "cache", cache,
           tune_find_writable(cache) ? "" : " (not writable: `nhac tune` cannot keep its journal; set NHAC_CACHE_DIR)");
    printf("  %-16s kernels_out, unless -o says otherwise\n", "libraries");
}

int cli_doctor(const cli_command *self, int argc, char **argv) {
    err e = {0};
    const char *none = NULL;
    if (!cli_parse(argc, argv, NULL, 0, &none, 0, 0, "", &e))
        return cli_fail(self, &e);
    printf("nhac %s\n", NHA_VERSION);
    processor();
    compilers();
    devices();
    folders();
    return 0;
}
