/* test_limits.c: the loops that measure the machine do the work they claim, on every ISA that runs here; no time is
 * asserted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/nha.h"
#include "tuner/limits.h"

static void test_all(void **state) {
    (void)state;
    int count;
    const gen_isa *table = gen_isa_table(&count), *best = gen_isa_best(nha_cpu_features());
    assert_non_null(best);
    for (int i = 0; i < count; i++) {
        if (strcmp(table[i].triple, best->triple) != 0 || (table[i].needs & ~nha_cpu_features()))
            continue;
        for (int kind = TUNE_LIMIT_FMA; kind <= TUNE_LIMIT_UPDATE; kind++) {
            for (int threads = 1; threads <= 3; threads += 2) {
                err e = {0};
                tune_limit *limit = NULL;
                assert_true(tune_limit_open((tune_limit_kind)kind, &table[i], 100000, threads, &limit, &e));
                double work = limit->work;
                if (kind == TUNE_LIMIT_READ)
                    assert_true(work >= 99000 && work < 110000);
                if (kind == TUNE_LIMIT_UPDATE)
                    assert_true(work >= 198000 && work < 220000);
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
