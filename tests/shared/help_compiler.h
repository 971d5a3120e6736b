/* help_compiler.h: NVRTC for tests, or a loud skip. */
#ifndef TESTS_SHARED_HELP_COMPILER_H
#define TESTS_SHARED_HELP_COMPILER_H

#include "jit/nvrtc.h"

/* Opens NVRTC, for the caller to close. Where there is none, says so loudly and skips the running test (cmocka's skip).
 */
jit_nvrtc *help_nvrtc(void);
/* Whether this process has one (tune_nvrtc); where there is none, the same, and false. */
bool help_has_nvrtc(void);

#endif
