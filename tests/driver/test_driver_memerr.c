/* test_driver_memerr.c: fails every allocation of the emulator and its driver in turn: each call says OUT_OF_MEMORY,
 * nothing crashes or leaks, and the same work succeeds afterwards. Linked with --wrap for malloc, calloc, realloc and
 * aligned_alloc (tests/extra.cmake). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

static _Atomic long left = -1; /* allocations until one fails; negative: none does */
static _Atomic bool failed;

static bool refuse(void) {
    if (left < 0)
        return false;
    bool now = atomic_fetch_sub(&left, 1) == 0;
    if (now)
        failed = true;
    return now;
}

#define WRAP(name, parameters, arguments)                                                                              \
    void *__real_##name parameters;                                                                                    \
    void *__wrap_##name parameters;                                                                                    \
    void *__wrap_##name parameters {                                                                                   \
        return refuse() ? NULL : __real_##name arguments;                                                              \
    }
WRAP(malloc, (size_t bytes), (bytes))
WRAP(calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(realloc, (void *p, size_t bytes), (p, bytes))
WRAP(aligned_alloc, (size_t align, size_t bytes), (align, bytes))

#define TRY(call)                                                                                                      \
    if ((result = (call)))                                                                                             \
    return result

/* Everything that allocates; the first result that is no success. */
static int work(void) {
    int result;
    void *module, *set, *increment, *stream, *graph, *executable, *event;
    uint64_t p, q;
    uint32_t v = 4, n = 4, word = 0;
    TRY(help_cuda.cuModuleLoadDataEx(&module, help_ptx, 0, NULL, NULL));
    TRY(help_cuda.cuModuleGetFunction(&set, module, "set"));
    TRY(help_cuda.cuModuleGetFunction(&increment, module, "increment"));
    TRY(help_cuda.cuMemAlloc_v2(&p, 64));
    TRY(help_cuda.cuMemAlloc_v2(&q, 64));
    TRY(help_cuda.cuEventCreate(&event, 0));
    TRY(help_cuda.cuStreamCreate(&stream, 0));
    TRY(help_cuda.cuStreamBeginCapture_v2(stream, 2));
    TRY(help_launch(set, 1, 32, stream, (void *[]){&p, &v, &n}));
    TRY(help_launch(increment, 1, 1, stream, (void *[]){&p}));
    TRY(help_cuda.cuMemcpyDtoDAsync_v2(q, p, 4, stream));
    TRY(help_cuda.cuStreamEndCapture(stream, &graph));
    TRY(help_cuda.cuGraphInstantiateWithFlags(&executable, graph, 0));
    TRY(help_cuda.cuGraphLaunch(executable, (void *)2));
    TRY(help_cuda.cuMemcpyDtoHAsync_v2(&word, q, 4, NULL));
    TRY(help_cuda.cuModuleUnload(module));
    return word == 5 ? 0 : -1;
}

/* One host thread: with more, which of them fails to allocate is left to chance. */
static void test_every_allocation(void **state) {
    (void)state;
    emu_driver_options o = emu_driver_options_default();
    o.launch.threads = 1;
    long count = 0;
    for (bool again = true; again; count++) {
        void *context;
        assert_true(emu_driver_configure(&o));
        help_ok(help_cuda.cuInit(0));
        failed = false;
        left = count;
        int result = help_cuda.cuDevicePrimaryCtxRetain(&context, 0);
        if (!result) {
            help_ok(help_cuda.cuCtxSetCurrent(context));
            result = work();
            left = -1;
            help_ok(help_cuda.cuCtxSetCurrent(NULL));
            help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(0));
        }
        left = -1;
        again = failed;
        if (result != (failed ? NHA_CU_OUT_OF_MEMORY : 0))
            fail_msg("allocation %ld: %d", count, result);
        assert_true(count < 100000);
    }
    assert_true(count > 50); /* there was something to fail */
    assert_true(emu_driver_configure(NULL));
}

static void test_registry(void **state) {
    (void)state;
    uint8_t cubin[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0x41, 8};
    cubin[18] = 190; /* e_machine */
    long count = 0;
    for (bool again = true; again; count++) {
        failed = false;
        left = count;
        bool ok = emu_driver_register(cubin, sizeof cubin, help_ptx, 10);
        left = -1;
        again = failed;
        assert_int_equal(ok, !failed);
        assert_int_equal(emu_driver_forget(cubin, sizeof cubin), ok);
    }
    assert_true(count > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation), cmocka_unit_test(test_registry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
