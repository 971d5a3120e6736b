/* test_driver_launch.c: launches of the emulated driver: parameters, refusals, faults at once and late, reports,
 * counters, two threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

static int launch(void *f, unsigned grid[3], unsigned block[3], unsigned shared, void *stream, void **parameters,
                  void **extra) {
    return help_cuda.cuLaunchKernel(f, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, stream,
                                    parameters, extra);
}

static void test_parameters(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *set = help_function(help_module(help_ptx), "set");
    uint64_t p = help_alloc(400);
    help_ok(help_set(set, p, 7, 100, NULL));
    assert_int_equal(help_word(p), 7);
    assert_int_equal(help_word(p + 396), 7);
    struct {
        uint64_t p;
        uint32_t v, n;
    } block = {p, 8, 100};
    size_t size = sizeof block, short_size = 12;
    void *extra[] = {(void *)1, &block, (void *)2, &size, NULL},
         *shorter[] = {(void *)1, &block, (void *)2, &short_size, NULL};
    void *unknown[] = {(void *)9, &block, NULL};
    unsigned grid[3] = {4, 1, 1}, threads[3] = {32, 1, 1};
    help_ok(launch(set, grid, threads, 0, NULL, NULL, extra));
    assert_int_equal(help_word(p + 396), 8);
    void *parameters[] = {&p, &block.v, NULL};
    assert_int_equal(launch(set, grid, threads, 0, NULL, parameters, NULL), NHA_CU_INVALID_VALUE);
    assert_true(help_reported("parameter 2 is null"));
    assert_int_equal(launch(set, grid, threads, 0, NULL, NULL, shorter), NHA_CU_INVALID_VALUE);
    assert_int_equal(launch(set, grid, threads, 0, NULL, NULL, unknown), NHA_CU_INVALID_VALUE);
    assert_int_equal(launch(set, grid, threads, 0, NULL, NULL, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(launch(set, grid, threads, 0, NULL, parameters, extra), NHA_CU_INVALID_VALUE);
    assert_int_equal(launch(set, grid, threads, 0, (void *)0x77777, NULL, extra), NHA_CU_INVALID_HANDLE);
    assert_int_equal(launch(NULL, grid, threads, 0, NULL, NULL, extra), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuCtxSynchronize()); /* a refusal is no fault */
    help_end(0);
}

static void test_sizes(void **state) {
    (void)state;
    help_begin(NULL, 1);
    void *steady = help_function(help_module(help_ptx), "steady"),
         *narrow = help_function(help_module(help_ptx), "narrow");
    static const struct {
        unsigned grid[3], block[3];
        int steady, narrow;
    } rows[] = {
        {{1, 1, 1}, {1024, 1, 1}, 0, 1},      {{1, 1, 1}, {64, 1, 1}, 0, 0},
        {{1, 1, 1}, {65, 1, 1}, 0, 1},        {{1, 1, 1}, {8, 8, 1}, 0, 0},
        {{1, 1, 1}, {8, 8, 2}, 0, 1},         {{1, 1, 1}, {4, 4, 64}, 0, 1},
        {{1, 1, 1}, {1, 1, 65}, 1, 1},        {{1, 1, 1}, {1025, 1, 1}, 1, 1},
        {{1, 1, 1}, {32, 33, 1}, 1, 1},       {{1, 1, 1}, {0, 1, 1}, 1, 1},
        {{0, 1, 1}, {1, 1, 1}, 1, 1},         {{1, 65536, 1}, {1, 1, 1}, 1, 1},
        {{1, 1, 65536}, {1, 1, 1}, 1, 1},     {{0x80000000u, 1, 1}, {1, 1, 1}, 1, 1},
        {{1, 1, 1}, {65536, 65536, 1}, 1, 1}, {{1, 1, 1}, {1, 1, 0x80000000u}, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned grid[3], block[3];
        memcpy(grid, rows[i].grid, sizeof grid);
        memcpy(block, rows[i].block, sizeof block);
        assert_int_equal(launch(steady, grid, block, 0, NULL, NULL, NULL), rows[i].steady);
        assert_int_equal(launch(narrow, grid, block, 0, NULL, NULL, NULL), rows[i].narrow);
    }
    help_end(1);
}

static void test_shared_memory(void **state) {
    (void)state;
    static const int optin_kib[] = {163, 99, 99, 227, 227, 99};
    for (int device = 0; device < 6; device++) {
        help_begin(NULL, device);
        void *last = help_function(help_module(help_ptx), "last");
        uint64_t p = help_alloc(4);
        unsigned one[3] = {1, 1, 1}, most = (unsigned)optin_kib[device] * 1024;
        void *parameters[] = {&p};
        help_ok(launch(last, one, one, 48 * 1024, NULL, parameters, NULL));
        assert_int_equal(help_word(p), 5);
        assert_int_equal(launch(last, one, one, 48 * 1024 + 4, NULL, parameters, NULL), NHA_CU_INVALID_VALUE);
        assert_true(help_reported("cuFuncSetAttribute"));
        help_ok(help_cuda.cuFuncSetAttribute(last, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, (int)most));
        help_ok(launch(last, one, one, most, NULL, parameters, NULL));
        assert_int_equal(launch(last, one, one, most + 4, NULL, parameters, NULL), NHA_CU_INVALID_VALUE);
        assert_int_equal(help_cuda.cuFuncSetAttribute(last, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, (int)most + 1),
                         NHA_CU_INVALID_VALUE);
        assert_int_equal(launch(last, one, one, 0xffffffffu, NULL, parameters, NULL), NHA_CU_INVALID_VALUE);
        help_end(device);
    }
}

/* Every call in a context with a sticky error returns it. */
static void assert_sticky(void *f, void *module, uint64_t p, int result) {
    uint64_t address;
    void *out = NULL;
    int value;
    size_t a, b;
    uint32_t word = 0;
    assert_int_equal(help_set(f, p, 1, 1, NULL), result);
    assert_int_equal(help_cuda.cuCtxSynchronize(), result);
    assert_int_equal(help_cuda.cuStreamSynchronize(NULL), result);
    assert_int_equal(help_cuda.cuMemAlloc_v2(&address, 4), result);
    assert_int_equal(help_cuda.cuMemFree_v2(p), result);
    assert_int_equal(help_cuda.cuMemGetInfo_v2(&a, &b), result);
    assert_int_equal(help_cuda.cuMemcpyDtoHAsync_v2(&word, p, 4, NULL), result);
    assert_int_equal(help_cuda.cuMemsetD8Async(p, 0, 4, NULL), result);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&out, help_ptx, 0, NULL, NULL), result);
    assert_int_equal(help_cuda.cuModuleGetFunction(&out, module, "set"), result);
    assert_int_equal(help_cuda.cuFuncGetAttribute(&value, 0, f), result);
    assert_int_equal(help_cuda.cuModuleUnload(module), result);
    assert_int_equal(help_cuda.cuStreamCreate(&out, 0), result);
    assert_int_equal(help_cuda.cuEventCreate(&out, 0), result);
    help_ok(help_cuda.cuCtxGetCurrent(&out));
    help_ok(help_cuda.cuCtxGetDevice(&value));
}

static void test_faults(void **state) {
    (void)state;
    static const struct {
        const char *kernel, *report;
        int result;
    } rows[] = {{"set", "out-of-bounds access", NHA_CU_ILLEGAL_ADDRESS},
                {"odd", "misaligned access", MISALIGNED_ADDRESS},
                {"crash", "trap", NHA_CU_LAUNCH_FAILED},
                {"constant", "write to read-only memory", NHA_CU_ILLEGAL_ADDRESS},
                {"increment", "read of memory never written", NHA_CU_LAUNCH_FAILED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        help_begin(NULL, 0);
        void *module = help_module(help_ptx), *f = help_function(module, rows[i].kernel),
             *set = help_function(module, "set");
        uint64_t p = help_alloc(16), count = emu_driver_report_count();
        uint32_t v = 1, n = 5; /* a word past the end */
        assert_int_equal(help_launch(f, 1, 32, NULL, (void *[]){&p, &v, &n}), rows[i].result);
        assert_true(help_reported(rows[i].report));
        assert_true(help_reported(rows[i].kernel));
        assert_int_equal(emu_driver_report_count(), count + 1);
        assert_sticky(set, module, p, rows[i].result);

        void *other; /* another device is not concerned */
        help_ok(help_cuda.cuDevicePrimaryCtxRetain(&other, 1));
        help_ok(help_cuda.cuCtxPushCurrent_v2(other));
        help_ok(help_cuda.cuCtxSynchronize());
        help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
        help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(1));

        help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(0)); /* to zero: a new context of the device is sound */
        void *again;
        help_ok(help_cuda.cuDevicePrimaryCtxRetain(&again, 0));
        help_ok(help_cuda.cuCtxSynchronize());
        p = help_alloc(16);
        help_ok(help_set(help_function(help_module(help_ptx), "set"), p, 3, 4, NULL));
        assert_int_equal(help_word(p), 3);
        help_end(0);
    }
}

static void test_late_faults(void **state) {
    (void)state;
    emu_driver_options o = emu_driver_options_default();
    o.late_faults = true;
    for (int way = 0; way < 5; way++) {
        help_begin(&o, 0);
        void *set = help_function(help_module(help_ptx), "set"), *event = NULL;
        uint64_t p = help_alloc(16);
        uint32_t word = 0;
        help_ok(help_cuda.cuEventCreate(&event, 0));
        help_ok(help_set(set, p, 1, 5, NULL));
        assert_true(help_reported("out-of-bounds access"));
        emu_counters before, after;
        emu_driver_counters(&before);
        help_ok(help_set(set, p, 2, 4, NULL)); /* accepted, does not run */
        emu_driver_counters(&after);
        assert_memory_equal(&before, &after, sizeof before);
        help_ok(help_cuda.cuEventRecord(event, NULL));
        int result = way == 0   ? help_cuda.cuCtxSynchronize()
                     : way == 1 ? help_cuda.cuStreamSynchronize(NULL)
                     : way == 2 ? help_cuda.cuEventSynchronize(event)
                     : way == 3 ? help_cuda.cuMemcpyDtoHAsync_v2(&word, p, 4, NULL)
                                : help_cuda.cuMemFree_v2(p);
        assert_int_equal(result, NHA_CU_ILLEGAL_ADDRESS);
        assert_int_equal(help_set(set, p, 1, 1, NULL), NHA_CU_ILLEGAL_ADDRESS);
        assert_int_equal(word, 0);
        help_end(0);
    }
}

static void test_counters_and_report(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *set = help_function(help_module(help_ptx), "set");
    uint64_t p = help_alloc(256);
    emu_counters before, after;
    emu_driver_counters(&before);
    assert_int_equal(before.global_sectors_written, 0);
    help_ok(help_set(set, p, 1, 64, NULL));
    help_ok(help_set(set, p, 2, 32, NULL));
    emu_driver_counters(&after);
    assert_int_equal(after.global_sectors_written, 12); /* 384 bytes */
    assert_int_equal(after.thread_instructions[EMU_CLASS_GLOBAL], 96);
    char text[16] = "unchanged";
    assert_int_equal(emu_driver_report(text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_not_equal(help_set(set, p, 1, 65, NULL), 0);
    size_t length = emu_driver_report(NULL, 0);
    assert_true(length > sizeof text);
    assert_int_equal(emu_driver_report(text, sizeof text), length);
    assert_int_equal(strlen(text), sizeof text - 1);
    assert_int_not_equal(help_cuda.cuCtxSynchronize(), 0); /* the same fault: the text stays */
    assert_int_equal(emu_driver_report(NULL, 0), length);
    assert_int_equal(help_cuda.cuDeviceGet(NULL, 0), NHA_CU_INVALID_VALUE); /* another one, with no more to say */
    assert_int_equal(emu_driver_report(NULL, 0), 0);
    help_end(0);
    emu_driver_counters(&after);
    assert_int_equal(after.global_sectors_written, 0); /* configured anew */
}

typedef struct task {
    void *context, *increment;
    uint64_t p;
    int device, failures;
} task;

/* Each thread on a stream of its own, with the context made current there. */
static void *many_launches(void *argument) {
    task *t = argument;
    void *stream = NULL;
    t->failures += help_cuda.cuCtxPushCurrent_v2(t->context) != 0;
    t->failures += help_cuda.cuStreamCreate(&stream, 1) != 0;
    for (int i = 0; i < 50; i++) {
        uint64_t q = 0;
        t->failures += help_launch(t->increment, 1, 1, stream, (void *[]){&t->p}) != 0;
        t->failures += help_cuda.cuMemAlloc_v2(&q, 64) != 0;
        t->failures += help_launch(t->increment, 1, 1, (void *)2, (void *[]){&t->p}) != 0;
        t->failures += help_cuda.cuMemFree_v2(q) != 0;
        t->failures += help_cuda.cuStreamSynchronize(stream) != 0;
    }
    t->failures += help_cuda.cuStreamDestroy_v2(stream) != 0;
    t->failures += help_cuda.cuCtxPopCurrent_v2(NULL) != 0;
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    assert_true(emu_driver_configure(NULL));
    help_ok(help_cuda.cuInit(0));
    enum { THREADS = 4 };
    task tasks[THREADS] = {0};
    pthread_t threads[THREADS];
    uint64_t p = 0;
    for (int i = 0; i < THREADS; i++) { /* 0 and 1 share a context and a word, 2 and 3 another */
        task *t = &tasks[i];
        t->device = i / 2;
        help_ok(help_cuda.cuDevicePrimaryCtxRetain(&t->context, t->device));
        help_ok(help_cuda.cuCtxSetCurrent(t->context));
        t->increment = help_function(help_module(help_ptx), "increment");
        if (i % 2 == 0) {
            p = help_alloc(4);
            help_ok(help_cuda.cuMemsetD8Async(p, 0, 4, NULL));
        }
        t->p = p;
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_launches, &tasks[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(tasks[i].failures, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        help_ok(help_cuda.cuCtxSetCurrent(tasks[i].context));
        assert_int_equal(help_word(tasks[i].p), 200);
    }
    help_ok(help_cuda.cuCtxSetCurrent(NULL));
    for (int i = 0; i < THREADS; i++)
        help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(tasks[i].device));
    assert_true(emu_driver_configure(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),    cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_shared_memory), cmocka_unit_test(test_faults),
        cmocka_unit_test(test_late_faults),   cmocka_unit_test(test_counters_and_report),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
