/* test_driver_device.c: the emulated driver before a context and around it: cuInit, devices, contexts, configuration,
 * injected failures. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

static void test_not_initialized(void **state) {
    (void)state;
    assert_true(emu_driver_configure(NULL));
    int value = 0;
    void *p = NULL;
    uint64_t address;
    assert_int_equal(help_cuda.cuDeviceGetCount(&value), NHA_CU_NOT_INITIALIZED);
    assert_int_equal(help_cuda.cuDevicePrimaryCtxRetain(&p, 0), NHA_CU_NOT_INITIALIZED);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&address, 4), NHA_CU_NOT_INITIALIZED);
    assert_int_equal(help_cuda.cuCtxGetCurrent(&p), NHA_CU_NOT_INITIALIZED);
    help_ok(help_cuda.cuDriverGetVersion(&value)); /* needs no cuInit */
    assert_int_equal(value, 13000);
    assert_int_equal(help_cuda.cuInit(1), NHA_CU_INVALID_VALUE);
    help_ok(help_cuda.cuInit(0));
    help_ok(help_cuda.cuInit(0));
    help_ok(help_cuda.cuDeviceGetCount(&value));
    assert_int_equal(value, 6);
}

static int attribute(int which, int device) {
    int value = -1;
    help_ok(help_cuda.cuDeviceGetAttribute(&value, which, device));
    return value;
}

static void test_devices(void **state) {
    (void)state;
    static const struct {
        int major, minor, optin_kib;
    } want[] = {{8, 0, 163}, {8, 6, 99}, {8, 9, 99}, {9, 0, 227}, {10, 0, 227}, {12, 0, 99}};
    assert_true(emu_driver_configure(NULL));
    help_ok(help_cuda.cuInit(0));
    int device = -1;
    char name[64], expected[64];
    for (int i = 0; i < 6; i++) {
        help_ok(help_cuda.cuDeviceGet(&device, i));
        assert_int_equal(attribute(NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device), want[i].major);
        assert_int_equal(attribute(NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device), want[i].minor);
        assert_int_equal(attribute(NHA_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device),
                         want[i].optin_kib * 1024);
        assert_int_equal(attribute(NHA_CU_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, device), 49152);
        static const int positive[] = {NHA_CU_ATTRIBUTE_CLOCK_RATE, NHA_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                                       NHA_CU_ATTRIBUTE_MEMORY_CLOCK_RATE, NHA_CU_ATTRIBUTE_MEMORY_BUS_WIDTH,
                                       NHA_CU_ATTRIBUTE_L2_CACHE_SIZE};
        for (size_t k = 0; k < sizeof positive / sizeof *positive; k++)
            assert_true(attribute(positive[k], device) > 0);
        help_ok(help_cuda.cuDeviceGetName(name, sizeof name, device));
        snprintf(expected, sizeof expected, "Emulated GPU %d.%d", want[i].major, want[i].minor);
        assert_string_equal(name, expected);
        size_t total = 0;
        help_ok(help_cuda.cuDeviceTotalMem_v2(&total, device));
        assert_true(total >= (size_t)24 << 30);
    }
    help_ok(help_cuda.cuDeviceGetName(name, 4, 0));
    assert_string_equal(name, "Emu");
    int value;
    size_t bytes;
    assert_int_equal(help_cuda.cuDeviceGet(&device, 6), NHA_CU_INVALID_DEVICE);
    assert_int_equal(help_cuda.cuDeviceGet(&device, -1), NHA_CU_INVALID_DEVICE);
    assert_int_equal(help_cuda.cuDeviceGetAttribute(&value, 8, 6), NHA_CU_INVALID_DEVICE);
    assert_int_equal(help_cuda.cuDeviceGetAttribute(&value, 9999, 0), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuDeviceTotalMem_v2(&bytes, -1), NHA_CU_INVALID_DEVICE);
    assert_int_equal(help_cuda.cuDeviceGetName(name, 0, 0), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuDeviceGetName(NULL, 64, 0), NHA_CU_INVALID_VALUE);
}

static void test_error_texts(void **state) {
    (void)state;
    const char *text = NULL;
    help_ok(help_cuda.cuGetErrorName(0, &text));
    assert_string_equal(text, "CUDA_SUCCESS");
    help_ok(help_cuda.cuGetErrorName(700, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    help_ok(help_cuda.cuGetErrorString(700, &text));
    assert_string_equal(text, "an illegal memory access was encountered");
    assert_int_equal(help_cuda.cuGetErrorName(12345, &text), NHA_CU_INVALID_VALUE);
    assert_null(text);
}

static void test_contexts(void **state) {
    (void)state;
    assert_true(emu_driver_configure(NULL));
    help_ok(help_cuda.cuInit(0));
    void *a = NULL, *b = NULL, *again = NULL, *now = &a;
    int device = -1;
    help_ok(help_cuda.cuCtxGetCurrent(&now));
    assert_null(now);
    assert_int_equal(help_cuda.cuCtxGetDevice(&device), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuCtxSynchronize(), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuCtxPopCurrent_v2(&now), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuDevicePrimaryCtxRelease_v2(0), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuDevicePrimaryCtxRetain(&a, 6), NHA_CU_INVALID_DEVICE);
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&a, 0));
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&again, 0));
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&b, 3));
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    help_ok(help_cuda.cuCtxGetCurrent(&now)); /* retaining makes nothing current */
    assert_null(now);
    assert_false(emu_driver_configure(NULL)); /* contexts are in use */

    help_ok(help_cuda.cuCtxSetCurrent(a));
    help_ok(help_cuda.cuCtxPushCurrent_v2(b));
    help_ok(help_cuda.cuCtxGetDevice(&device));
    assert_int_equal(device, 3);
    help_ok(help_cuda.cuCtxPopCurrent_v2(&now));
    assert_ptr_equal(now, b);
    help_ok(help_cuda.cuCtxGetDevice(&device));
    assert_int_equal(device, 0);
    help_ok(help_cuda.cuCtxSetCurrent(b)); /* replaces the top */
    help_ok(help_cuda.cuCtxPopCurrent_v2(&now));
    help_ok(help_cuda.cuCtxGetCurrent(&now));
    assert_null(now);
    assert_int_equal(help_cuda.cuCtxSetCurrent((void *)0x1234), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuCtxPushCurrent_v2(NULL), NHA_CU_INVALID_CONTEXT);

    help_ok(help_cuda.cuCtxSetCurrent(a));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(0)); /* one of two */
    help_ok(help_cuda.cuCtxSynchronize());
    uint64_t address = help_alloc(64);
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(help_cuda.cuCtxSynchronize(), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuMemFree_v2(address), NHA_CU_INVALID_CONTEXT);
    assert_int_equal(help_cuda.cuCtxSetCurrent(a), NHA_CU_INVALID_CONTEXT);
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&again, 0)); /* the same handle, with nothing left in it */
    help_ok(help_cuda.cuCtxSynchronize());
    assert_int_equal(help_cuda.cuMemFree_v2(address), NHA_CU_INVALID_VALUE);
    help_ok(help_cuda.cuCtxSetCurrent(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(0));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(3));
    assert_true(emu_driver_configure(NULL));
}

static void *other_thread(void *argument) {
    void *now = argument;
    help_ok(help_cuda.cuCtxGetCurrent(&now));
    return now;
}

static void test_current_is_per_thread(void **state) {
    (void)state;
    void *now = &now, *context = help_begin(NULL, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, context), 0);
    pthread_join(thread, &now);
    assert_null(now);
    help_end(1);
}

static void test_configure(void **state) {
    (void)state;
    emu_driver_device device;
    assert_true(emu_driver_device_of(8, 7, &device)); /* by the row of 8.6 */
    assert_int_equal(device.shared_optin, 99 * 1024);
    assert_int_equal(device.minor, 7);
    assert_string_equal(device.name, "Emulated GPU 8.7");
    assert_false(emu_driver_device_of(7, 5, &device));
    assert_false(emu_driver_device_of(8, 10, &device));
    emu_driver_options o = emu_driver_options_default();
    o.device_count = 0;
    assert_true(emu_driver_configure(&o));
    assert_int_equal(help_cuda.cuInit(0), NHA_CU_NO_DEVICE);
    assert_true(emu_driver_device_of(9, 0, &device));
    device.multiprocessors = 7;
    o.devices = &device;
    o.device_count = 1;
    o.driver_version = 12040;
    assert_true(emu_driver_configure(&o));
    help_ok(help_cuda.cuInit(0));
    assert_int_equal(attribute(NHA_CU_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), 7);
    int version = 0;
    help_ok(help_cuda.cuDriverGetVersion(&version));
    assert_int_equal(version, 12040);
    device.shared_optin = 1 << 20; /* more than the emulator has */
    assert_false(emu_driver_configure(&o));
    o.device_count = EMU_DRIVER_DEVICES_MAX + 1;
    assert_false(emu_driver_configure(&o));
    assert_true(emu_driver_configure(NULL));
}

static void test_injected_failures(void **state) {
    (void)state;
    help_begin(NULL, 0);
    uint64_t p = 0;
    assert_false(emu_driver_fail("cuNothing", 1, 2, false));
    assert_false(emu_driver_fail("cuMem", 1, 2, false)); /* no prefix but a whole name */
    assert_false(emu_driver_fail("cuMemAlloc", 0, 2, false));
    assert_false(emu_driver_fail("cuMemAlloc", 1, 0, false));
    assert_true(emu_driver_fail("cuMemAlloc", 2, NHA_CU_OUT_OF_MEMORY, false));
    assert_true(emu_driver_fail("cuMemAlloc_v2", 3, NHA_CU_DEVICE_LOST, false));
    help_ok(help_cuda.cuMemAlloc_v2(&p, 16));
    help_ok(help_cuda.cuMemFree_v2(p));
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, 16), NHA_CU_OUT_OF_MEMORY);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, 16), NHA_CU_DEVICE_LOST);
    help_ok(help_cuda.cuMemAlloc_v2(&p, 16));
    assert_true(emu_driver_fail("cuCtxSynchronize", 1, NHA_CU_LAUNCH_FAILED, false));
    assert_true(emu_driver_fail(NULL, 0, 0, false)); /* forgotten */
    help_ok(help_cuda.cuCtxSynchronize());
    for (int i = 0; i < 64; i++)
        assert_true(emu_driver_fail("cuEventCreate", 1, 2, false));
    assert_false(emu_driver_fail("cuEventCreate", 1, 2, false));
    assert_true(emu_driver_fail(NULL, 0, 0, false));

    assert_true(emu_driver_fail("cuStreamSynchronize", 1, NHA_CU_DEVICE_LOST, true));
    assert_int_equal(help_cuda.cuStreamSynchronize(NULL), NHA_CU_DEVICE_LOST);
    assert_int_equal(help_cuda.cuStreamSynchronize(NULL), NHA_CU_DEVICE_LOST);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, 16), NHA_CU_DEVICE_LOST);
    int count = 0;
    help_ok(help_cuda.cuDeviceGetCount(&count)); /* needs no context */
    help_end(0);
    help_begin(NULL, 0); /* released and retained: sound again */
    help_ok(help_cuda.cuCtxSynchronize());
    help_end(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_initialized),       cmocka_unit_test(test_devices),
        cmocka_unit_test(test_error_texts),           cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_current_is_per_thread), cmocka_unit_test(test_configure),
        cmocka_unit_test(test_injected_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
