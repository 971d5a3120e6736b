/* test_convert.c: every f16 and bf16 value there and back, rounding to nearest even, overflow, subnormals.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/convert.h"

static void test_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = tune_f16_to_f32((uint16_t)bits), brain = tune_bf16_to_f32((uint16_t)bits);
        if (isnan(half))
            assert_true(isnan(tune_f16_to_f32(tune_f64_to_f16(half))));
        else
            assert_int_equal(tune_f64_to_f16(half), bits);
        if (isnan(brain))
            assert_true(isnan(tune_bf16_to_f32(tune_f64_to_bf16(brain))));
        /* bf16 subnormals are f32 subnormals, still normal as doubles: exact as well */
        else
            assert_int_equal(tune_f64_to_bf16(brain), bits);
    }
}

/* Halfway between two neighbours goes to the even one, a hair to either side to the nearer one. */
static void between(uint16_t (*narrow)(double), float (*widen)(uint16_t), uint16_t most) {
    for (uint16_t bits = 0; bits < most; bits++) {
        double low = widen(bits), high = widen((uint16_t)(bits + 1)), middle = (low + high) / 2;
        assert_int_equal(narrow(middle), bits % 2 ? bits + 1 : bits);
        assert_int_equal(narrow(nextafter(middle, 0)), bits);
        assert_int_equal(narrow(nextafter(middle, INFINITY)), bits + 1);
        assert_int_equal(narrow(-middle), 0x8000 | (bits % 2 ? bits + 1 : bits));
    }
}

static void test_rounding(void **state) {
    (void)state;
    between(tune_f64_to_f16, tune_f16_to_f32, 0x7bff);
    between(tune_f64_to_bf16, tune_bf16_to_f32, 0x7f7f);
}

static void test_edges(void **state) {
    (void)state;
    assert_int_equal(tune_f64_to_f16(65504), 0x7bff);
    assert_int_equal(tune_f64_to_f16(65519.99), 0x7bff);
    assert_int_equal(tune_f64_to_f16(65520), 0x7c00);
    assert_int_equal(tune_f64_to_f16(1e300), 0x7c00);
    assert_int_equal(tune_f64_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(tune_f64_to_f16(0x1p-24), 1);
    assert_int_equal(tune_f64_to_f16(0x1p-25), 0);
    assert_int_equal(tune_f64_to_f16(0x1.000002p-25), 1);
    assert_int_equal(tune_f64_to_f16(-1e-320), 0x8000);
    assert_int_equal(tune_f64_to_bf16(1), 0x3f80);
    assert_int_equal(tune_f64_to_bf16(3.4e38), 0x7f80);
    assert_true(isnan(tune_f16_to_f32(tune_f64_to_f16(NAN))));
    float out[3] = {0};
    double in[3] = {1, -2.5, 1e-3}, back[3];
    tune_narrow(in, 3, NHA_F32, out);
    tune_widen(out, NHA_F32, 3, back);
    assert_true(back[1] == -2.5 && back[2] == (double)1e-3f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_rounding),
                                       cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
