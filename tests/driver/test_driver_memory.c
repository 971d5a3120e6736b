/* test_driver_memory.c: memory of the emulated driver: ranges, limits, and which bytes count as written. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

static void test_allocation(void **state) {
    (void)state;
    emu_driver_options o = emu_driver_options_default();
    emu_driver_device device;
    assert_true(emu_driver_device_of(8, 0, &device));
    device.total_memory = 1 << 20;
    o.devices = &device;
    o.device_count = 1;
    help_begin(&o, 0);
    size_t free_bytes = 0, total = 0;
    uint64_t p = 0, q = 0;
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, 0), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemAlloc_v2(NULL, 4), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, (1 << 20) + 1), NHA_CU_OUT_OF_MEMORY);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&p, SIZE_MAX), NHA_CU_OUT_OF_MEMORY);
    p = help_alloc(1 << 19);
    assert_int_equal(p % 256, 0);
    q = help_alloc((1 << 19) - 511);
    help_ok(help_cuda.cuMemGetInfo_v2(&free_bytes, &total));
    assert_int_equal(free_bytes, 0);
    assert_int_equal(total, 1 << 20);
    uint64_t more;
    assert_int_equal(help_cuda.cuMemAlloc_v2(&more, 1), NHA_CU_OUT_OF_MEMORY);
    assert_int_equal(help_cuda.cuMemFree_v2(p + 256), NHA_CU_INVALID_VALUE);
    help_ok(help_cuda.cuMemFree_v2(p));
    assert_int_equal(help_cuda.cuMemFree_v2(p), NHA_CU_INVALID_VALUE);
    help_ok(help_cuda.cuMemFree_v2(0));
    help_ok(help_cuda.cuMemGetInfo_v2(&free_bytes, &total));
    assert_int_equal(free_bytes, 1 << 19);
    help_ok(help_cuda.cuMemFree_v2(q));
    help_end(0);
}

static void test_copies(void **state) {
    (void)state;
    help_begin(NULL, 0);
    uint64_t p = help_alloc(64), q = help_alloc(100);
    uint8_t in[64], out[64];
    for (int i = 0; i < 64; i++)
        in[i] = (uint8_t)(3 * i + 1);
    help_ok(help_cuda.cuMemcpyHtoDAsync_v2(p, in, 64, NULL));
    help_ok(help_cuda.cuMemcpyDtoDAsync_v2(q + 36, p, 64, NULL));
    help_ok(help_cuda.cuMemsetD8Async(q + 36, 9, 4, NULL));
    help_ok(help_cuda.cuMemcpyDtoHAsync_v2(out, q + 36, 64, NULL));
    assert_memory_equal(out + 4, in + 4, 60);
    assert_memory_equal(out, "\11\11\11\11", 4);
    help_ok(help_cuda.cuMemcpyDtoDAsync_v2(p, p + 8, 56, NULL)); /* overlap */
    help_ok(help_cuda.cuMemcpyDtoHAsync_v2(out, p, 56, NULL));
    assert_memory_equal(out, in + 8, 56);

    assert_int_equal(help_cuda.cuMemcpyHtoDAsync_v2(p + 1, in, 64, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyHtoDAsync_v2(p, in, SIZE_MAX, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyHtoDAsync_v2(p, NULL, 4, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyDtoHAsync_v2(out, p - 1, 2, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyDtoHAsync_v2(NULL, p, 2, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyDtoDAsync_v2(q, p, 65, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyDtoDAsync_v2(p, q, 65, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemsetD8Async(q, 0, 101, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemsetD8Async(4096, 0, 1, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemcpyHtoDAsync_v2(p, in, 4, (void *)0x98765), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuMemcpyHtoDAsync_v2(0, NULL, 0, NULL));

    void *other; /* the memory of another context is none of this one's */
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&other, 1));
    help_ok(help_cuda.cuCtxPushCurrent_v2(other));
    assert_int_equal(help_cuda.cuMemcpyHtoDAsync_v2(p, in, 4, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuMemFree_v2(p), NHA_CU_INVALID_VALUE);
    help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(1));
    help_end(0);
}

/* A kernel reads one word at p + offset: does it complain? The context is retained anew after a fault. */
static int reads(uint64_t to, uint64_t p, void *copy) {
    return help_launch(copy, 1, 1, NULL, (void *[]){&to, &p});
}

static void test_defined_bytes(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *copy = help_function(help_module(help_ptx), "copy");
    uint64_t to = help_alloc(4), p = help_alloc(64), q = help_alloc(64);
    uint32_t word = 77;
    size_t first = 0;
    assert_int_equal(emu_driver_unwritten(p, 64, NULL), 64);
    help_ok(help_cuda.cuMemcpyDtoHAsync_v2(&word, p, 4, NULL)); /* the host may look */
    help_ok(help_cuda.cuMemcpyHtoDAsync_v2(p + 4, &word, 4, NULL));
    help_ok(reads(to, p + 4, copy));
    help_ok(help_cuda.cuMemsetD8Async(p + 8, 0, 4, NULL));
    help_ok(reads(to, p + 8, copy));
    help_ok(help_cuda.cuMemcpyDtoDAsync_v2(q, p, 16, NULL)); /* bytes 4..11 of it are defined */
    assert_int_equal(emu_driver_unwritten(q, 16, &first), 8);
    assert_int_equal(first, 0);
    assert_int_equal(emu_driver_unwritten(q + 4, 16, &first), 8);
    assert_int_equal(first, 8);
    help_ok(reads(to, q + 8, copy));
    help_ok(help_cuda.cuMemcpyDtoDAsync_v2(p + 4, q + 32, 4, NULL)); /* undefined over defined */
    assert_int_equal(emu_driver_unwritten(p + 4, 4, NULL), 4);
    assert_true(emu_driver_poison(p + 8, 2));
    assert_int_equal(emu_driver_unwritten(p + 8, 4, &first), 2);
    assert_int_equal(emu_driver_unwritten(p, 65, NULL), SIZE_MAX);
    assert_false(emu_driver_poison(p + 60, 5));
    assert_int_equal(reads(to, p + 8, copy), NHA_CU_LAUNCH_FAILED);
    assert_true(help_reported("read of memory never written"));
    help_end(0);
    assert_int_equal(emu_driver_unwritten(p, 4, NULL), SIZE_MAX); /* no context */
    assert_false(emu_driver_poison(p, 4));

    emu_driver_options o = emu_driver_options_default();
    o.launch.checks = EMU_CHECK_RACES;
    help_begin(&o, 0);
    copy = help_function(help_module(help_ptx), "copy");
    to = help_alloc(4), p = help_alloc(64);
    help_ok(reads(to, p, copy)); /* nobody asked */
    emu_options launch = emu_options_default();
    emu_driver_launch_options(&launch);
    assert_int_equal(reads(to, p, copy), NHA_CU_LAUNCH_FAILED);
    help_end(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_defined_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
