/* help_nvrtc.h: compilations that must succeed, and a cache folder of the test's own. */
#ifndef HELP_NVRTC_H
#define HELP_NVRTC_H

#include "tests/shared/help_compiler.h"

/* A fresh cache folder below $NHAC_CACHE_DIR, so that nothing is taken from earlier runs. Call first in main. */
void help_fresh_cache(void);
/* Compiles; prints the error and fails the test where it fails. */
void help_compile(const jit_nvrtc *nvrtc, const jit_cuda_request *request, jit_cuda_image *image);

#endif
