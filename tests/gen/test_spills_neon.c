/* test_spills_neon.c: default tiles for AArch64 compile to ELF objects of that machine, on any host, and keep the accumulators of their
 * products in registers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/gen/help_emit.h"

static void test_neon(void **state) {
    (void)state;
    help_emit_check_defaults("neon", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neon)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
