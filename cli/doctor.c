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
    printf("  %-16s %s, linked in\n", "LLVM", jit_llvm_version());
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

static void devices(void) {
    int version = 0;
    printf("devices\n");
    found("cpu", "kernels are compiled, verified, timed and run here");
    if (tune_find_library("libcuda.so.1", "cuDriverGetVersion", &version))
        printf("  %-16s driver for CUDA %d.%d; this version has no CUDA kernels and does not use it\n", "cuda",
               version / 1000, version % 1000 / 10);
    else
        missing("cuda", "no driver (libcuda.so.1); CUDA kernels are not available in this version anyway");
    found("emu", "PTX runs by `nhac emu`; as a device of run and verify it is not available in this version");
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
