/* test_recover.c: a kernel that faults breaks its context and nothing more: the place is sound again in a new one, of
 * the next generation; a place that works, and one that needs no recovery, stay as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/device.h"

static const char ptx[] = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry crash()\n{\ntrap;\n}\n";

static void crash(const tune_place *place) {
    const nha_cuda_driver *driver = place->device.driver;
    nha_cu_handle module, function;
    assert_true(tune_place_enter(place, NULL));
    assert_int_equal(driver->cuModuleLoadDataEx(&module, ptx, 0, NULL, NULL), 0);
    assert_int_equal(driver->cuModuleGetFunction(&function, module, "crash"), 0);
    driver->cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL); /* now, or when it is waited for */
    tune_place_leave(place);
}

/* Memory there can be had, written and read. */
static void use(const tune_place *place) {
    char text[8] = {0};
    err e = {0};
    void *memory = tune_place_alloc(place, sizeof text, &e);
    assert_non_null(memory);
    assert_true(tune_place_write(place, memory, "sound", 6, &e) && tune_place_read(place, text, memory, 6, &e));
    assert_string_equal(text, "sound");
    tune_place_free(place, memory);
}

static void test_faults(void **state) {
    (void)state;
    tune_device *d;
    err e = {0};
    if (!tune_device_open_emu(gen_cuda_target_find("sm_80"), &d, &e))
        fail_msg("%s", e.text);
    use(&d->place);
    assert_true(tune_place_recover(&d->place, &e)); /* nothing is broken: the same context goes on */
    assert_int_equal(d->place.generation, 0);
    for (uint64_t fault = 1; fault <= 3; fault++) {
        crash(&d->place);
        assert_false(tune_place_wait(&d->place, &e));
        assert_int_equal(e.code, ERR_DEVICE);
        err_clear(&e);
        assert_true(tune_place_recover(&d->place, &e));
        assert_int_equal(d->place.generation, fault);
        use(&d->place);
    }
    tune_device_close(d);
}

static void test_host(void **state) {
    (void)state;
    assert_true(tune_place_recover(&tune_place_host, NULL));
    use(&tune_place_host);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_host)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
