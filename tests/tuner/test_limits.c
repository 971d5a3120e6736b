/* test_limits.c: the loops that measure the machine do the work they claim, on every ISA that runs here, and wrong
 * products and exponentials are seen; no time is asserted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/nha.h"
#include "tuner/limits_code.h"

static void test_all(void **state) {
    (void)state;
    int count;
    const gen_isa *table = gen_isa_table(&count), *best = gen_isa_best(nha_cpu_features());
    assert_non_null(best);
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].triple, best->triple) != 0 || (table[i].needs & ~nha_cpu_features()))
            continue;
        for (int kind = TUNE_LIMIT_FMA; kind <= TUNE_LIMIT_EXP; kind++) {
            for (int threads = 1; threads <= 3; threads += 2) {
                err e = {0};
                tune_limit *limit = NULL;
                assert_true(tune_limit_open((tune_limit_kind)kind, &table[i], 100000, threads, &limit, &e));
                double work = limit->work;
                if (kind == TUNE_LIMIT_READ)
                    assert_true(work >= 99000 && work < 110000);
                if (kind == TUNE_LIMIT_UPDATE)
                    assert_true(work >= 198000 && work < 220000);
                if (kind == TUNE_LIMIT_EXP)
                    assert_true(work == (double)LIMIT_EXP_FLOATS * threads);
                if (kind == TUNE_LIMIT_FMA && table[i].amx)
                    assert_true(work == 2.0 * 64 * 64 * 128 * threads);
                tune_measure_options o = {.clock = tune_clock_monotonic(), .sample_seconds = 1e-3, .rounds = 3};
                tune_samples samples;
                assert_true(tune_measure(&limit->subject, 1, &o, &samples, &e));
                double rate = work / tune_median(&samples) * 1e-3; /* G/s */
                /* Beyond any machine, or hardly anything: the loop was folded away, or the work is miscounted. */
                assert_true(isfinite(rate) && rate < 100000 && rate > 0.001);
                tune_limit_close(limit);
            }
        }
    }
    tune_limit_close(NULL);
}

/* What is timed computes what it should; a single wrong number is not overlooked. */
static void check_results(tune_limit_kind kind, const gen_isa *isa) {
    err e = {0};
    jit_code *code = NULL;
    limit_fn fn;
    float constants[64] = {0.5f, 1.0f};
    int64_t floats = limit_part(kind, isa);
    float *part = aligned_alloc(64, (size_t)floats * sizeof *part);
    assert_non_null(part);
    if (!limit_compile(kind, isa, &code, &fn, &e))
        fail_msg("%s", e.text);
    memset(part, 0, (size_t)floats * sizeof *part);
    limit_fill(kind, part);
    assert_false(limit_right(kind, part)); /* nothing has been computed */
    fn(part, 3, constants);
    assert_true(limit_right(kind, part));
    const int64_t results = kind == TUNE_LIMIT_EXP ? LIMIT_EXP_FLOATS : LIMIT_PRODUCT_ROWS * LIMIT_PRODUCT_COLUMNS;
    for (int64_t at = 1; at <= results; at *= 2) {
        float *one = part + floats - at, kept = *one;
        *one = kept * 1.00001f + 1e-3f;
        assert_false(limit_right(kind, part));
        *one = kept;
    }
    assert_true(limit_right(kind, part));
    jit_unload(code);
    free(part);
}

static void test_results(void **state) {
    (void)state;
    int count;
    const gen_isa *table = gen_isa_table(&count), *best = gen_isa_best(nha_cpu_features());
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].triple, best->triple) != 0 || (table[i].needs & ~nha_cpu_features()))
            continue;
        assert_true(limit_checked(TUNE_LIMIT_EXP, &table[i]) && !limit_checked(TUNE_LIMIT_READ, &table[i]));
        assert_true(limit_checked(TUNE_LIMIT_FMA, &table[i]) == table[i].amx);
        check_results(TUNE_LIMIT_EXP, &table[i]);
        if (table[i].amx)
            check_results(TUNE_LIMIT_FMA, &table[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_results)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
