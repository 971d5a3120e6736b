/* help_nvrtc.c: see help_nvrtc.h. */
#include "help_nvrtc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

void help_fresh_cache(void) {
    static char folder[4096];
    const char *base = getenv("NHAC_CACHE_DIR");
    snprintf(folder, sizeof folder, "%s/nvrtc-test-XXXXXX", base && base[0] ? base : "/tmp");
    if (mkdtemp(folder) || (snprintf(folder, sizeof folder, "/tmp/nvrtc-test-XXXXXX") > 0 && mkdtemp(folder)))
        setenv("NHAC_CACHE_DIR", folder, 1);
}

void help_compile(const jit_nvrtc *nvrtc, const jit_cuda_request *request, jit_cuda_image *image) {
    err e = {0};
    if (jit_nvrtc_compile(nvrtc, request, image, &e))
        return;
    err_print(stderr, &e);
    err_clear(&e);
    fail();
}
