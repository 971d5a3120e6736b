/* test_spills_x86.c: default tiles of AVX-512, AVX2 and baseline x86-64 keep the accumulators of their products in registers, and the
 * check sees tiles that do not, in the assembly of both architectures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/gen/help_emit.h"

static void test_avx512(void **state) {
    (void)state;
    help_emit_check_defaults("avx512", false);
}

static void test_avx2(void **state) {
    (void)state;
    help_emit_check_defaults("avx2", false);
}

static void test_amx(void **state) {
    (void)state;
    help_emit_check_defaults("amx", true);
}

static void test_baseline(void **state) {
    (void)state;
    help_emit_check_defaults("baseline", false);
}

/* The check sees what it is for: a tile that the constraints forbid spills. */
static void test_spills_are_seen(void **state) {
    (void)state;
    static const char *const names[] = {"neon", "avx2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const gen_isa *isa = gen_isa_find(names[i]);
        gen_problem problem;
        gen_tile tile;
        int functions = 0;
        help_emit_problem(0, &problem);
        gen_tile_default(&problem, NHA_PREFILL, isa, &tile);
        tile.knob[GEN_SCORE_ROWS] = tile.knob[GEN_READ_ROWS] = 12;
        tile.knob[GEN_SCORE_VECTORS] = tile.knob[GEN_READ_VECTORS] = isa->registers >= 32 ? 4 : 2;
        assert_non_null(gen_cpu_reject(&problem, NHA_PREFILL, isa, &tile));
        help_unit m = help_emit(&problem, NHA_PREFILL, isa, &tile);
        assert_true(help_emit_spills(&m, &problem, NHA_PREFILL, isa, false, &functions) > 20);
        help_emit_drop(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_amx), cmocka_unit_test(test_avx512),
                                       cmocka_unit_test(test_avx2), cmocka_unit_test(test_baseline),
                                       cmocka_unit_test(test_spills_are_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
