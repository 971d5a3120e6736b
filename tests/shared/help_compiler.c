/* help_compiler.c: see help_compiler.h. */
#include "tests/shared/help_compiler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tuner/device.h"

static void skip_loudly(err *e) {
    print_message("SKIPPED, NOTHING WAS CHECKED: %s\n", e->text);
    err_clear(e);
    skip();
}

jit_nvrtc *help_nvrtc(void) {
    jit_nvrtc *nvrtc;
    err e = {0};
    if (jit_nvrtc_open(&nvrtc, &e))
        return nvrtc;
    skip_loudly(&e);
    return NULL;
}

bool help_has_nvrtc(void) {
    err e = {0};
    if (tune_nvrtc(&e))
        return true;
    skip_loudly(&e);
    return false;
}
