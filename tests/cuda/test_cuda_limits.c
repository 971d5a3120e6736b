/* test_cuda_limits.c: the loops that measure a GPU's limits do the work they are credited with, as the emulator counts it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "emu/driver.h"
#include "tests/shared/help_compiler.h"
#include "tuner/device.h"

enum { BYTES = 1 << 20, SECTOR = 32 };

/* One iteration of a limit on an emulated GPU of one multiprocessor; what it counted goes to *after - *before. */
static double run(const tune_device *d, tune_limit_kind kind, int dtype, emu_counters *before, emu_counters *after) {
    tune_limit *limit;
    err e = {0};
    if (!tune_limit_open_cuda(&d->place, kind, dtype, BYTES, &limit, &e))
        fail_msg("%s", e.text);
    emu_driver_counters(before);
    if (!limit->subject.run(limit->subject.context, 1, &e))
        fail_msg("%s", e.text);
    emu_driver_counters(after);
    double work = limit->work;
    tune_limit_close_cuda(limit);
    return work;
}

static void test_work(void **state) {
    (void)state;
    emu_driver_options options = emu_driver_options_default();
    emu_driver_device device;
    emu_counters before, after;
    tune_device *d;
    err e = {0};
    if (!help_has_nvrtc())
        return;
    assert_true(emu_driver_device_of(9, 0, &device));
    device.multiprocessors = 1;
    options.devices = &device;
    options.device_count = 1;
    assert_true(emu_driver_configure(&options));
    if (!tune_device_open_emu(gen_cuda_target_find("sm_90"), &d, &e))
        fail_msg("%s", e.text);

    double flops = run(d, TUNE_LIMIT_FMA, NHA_BF16, &before, &after);
    assert_true(flops > 0 && flops == (double)(after.mma_flops - before.mma_flops));

    flops = run(d, TUNE_LIMIT_FMA, NHA_F32, &before, &after);
    double f32 = 2.0 * (double)(after.thread_instructions[EMU_CLASS_F32] - before.thread_instructions[EMU_CLASS_F32]);
    assert_true(fabs(flops / f32 - 1) < 0.01); /* the sums at the end come on top */

    double bytes = run(d, TUNE_LIMIT_READ, NHA_F32, &before, &after);
    double sectors = (double)(after.global_sectors_read - before.global_sectors_read);
    assert_true(bytes >= BYTES && fabs(bytes / SECTOR - sectors) < 1); /* the last one is not full */

    bytes = run(d, TUNE_LIMIT_UPDATE, NHA_F32, &before, &after);
    sectors = (double)(after.global_sectors_written - before.global_sectors_written);
    assert_true(fabs(bytes / 2 / SECTOR - sectors) < 1);
    sectors = (double)(after.global_sectors_read - before.global_sectors_read);
    assert_true(fabs(bytes / 2 / SECTOR - sectors) < 1);
    tune_device_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
