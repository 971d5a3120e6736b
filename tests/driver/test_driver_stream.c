/* test_driver_stream.c: streams, capture, graphs and events of the emulated driver. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

enum { GLOBAL, THREAD_LOCAL, RELAXED };
enum { NONE, ACTIVE, INVALIDATED };
#define LEGACY     ((void *)1)
#define PER_THREAD ((void *)2)

static void *stream_of(unsigned flags) {
    void *stream = NULL;
    help_ok(help_cuda.cuStreamCreate(&stream, flags));
    return stream;
}

static int status_of(void *stream) {
    int status = -1;
    help_ok(help_cuda.cuStreamIsCapturing(stream, &status));
    return status;
}

static void test_streams(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *set = help_function(help_module(help_ptx), "set"), *stream = stream_of(0), *none = NULL;
    uint64_t p = help_alloc(16);
    void *const all[] = {NULL, LEGACY, PER_THREAD, stream, stream_of(1)};
    for (uint32_t i = 0; i < 5; i++) {
        help_ok(help_set(set, p, i + 1, 4, all[i]));
        help_ok(help_cuda.cuStreamSynchronize(all[i]));
        assert_int_equal(help_word(p), i + 1);
        assert_int_equal(status_of(all[i]), NONE);
    }
    assert_int_equal(help_cuda.cuStreamCreate(&none, 2), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuStreamDestroy_v2(NULL), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuStreamDestroy_v2(PER_THREAD), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuStreamDestroy_v2(stream));
    assert_int_equal(help_cuda.cuStreamDestroy_v2(stream), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_set(set, p, 1, 1, stream), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuStreamSynchronize(stream), NHA_CU_INVALID_HANDLE);
    void *other; /* a stream of another context */
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&other, 1));
    help_ok(help_cuda.cuCtxPushCurrent_v2(other));
    assert_int_equal(help_cuda.cuStreamSynchronize(all[4]), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(1));
    help_end(0);
}

/* All kinds of nodes, captured once, replayed several times with what memory holds then. */
static void capture_and_replay(void *stream) {
    void *module = help_module(help_ptx), *set = help_function(module, "set"), *copy = help_function(module, "copy");
    void *increment = help_function(module, "increment"), *graph = NULL, *executable = NULL;
    uint64_t p = help_alloc(16), q = help_alloc(16);
    uint32_t in = 10, out = 0, value = 3, n = 1;
    help_ok(help_cuda.cuStreamBeginCapture_v2(stream, GLOBAL));
    assert_int_equal(status_of(stream), ACTIVE);
    assert_int_equal(help_cuda.cuStreamBeginCapture_v2(stream, GLOBAL), ILLEGAL_STATE);
    help_ok(help_cuda.cuMemcpyHtoDAsync_v2(p, &in, 4, stream));
    help_ok(help_launch(increment, 1, 1, stream, (void *[]){&p}));
    help_ok(help_launch(copy, 1, 1, stream, (void *[]){&q, &p}));
    help_ok(help_launch(set, 1, 1, stream, (void *[]){&p, &value, &n}));
    value = 99; /* parameters were copied */
    help_ok(help_cuda.cuMemcpyDtoDAsync_v2(q + 4, p, 4, stream));
    help_ok(help_cuda.cuMemsetD8Async(q + 8, 7, 4, stream));
    help_ok(help_cuda.cuMemcpyDtoHAsync_v2(&out, q, 4, stream));
    help_ok(help_cuda.cuStreamEndCapture(stream, &graph));
    assert_int_equal(status_of(stream), NONE);
    assert_int_equal(emu_driver_unwritten(p, 16, NULL), 16); /* nothing has run */
    help_ok(help_cuda.cuGraphInstantiateWithFlags(&executable, graph, 0));
    help_ok(help_cuda.cuGraphDestroy(graph)); /* the executable has copies */
    for (int i = 0; i < 3; i++) {
        in = 20 + (uint32_t)i;
        help_ok(help_cuda.cuGraphLaunch(executable, stream));
        help_ok(help_cuda.cuStreamSynchronize(stream));
        assert_int_equal(out, in + 1);
        assert_int_equal(help_word(q), in + 1);
        assert_int_equal(help_word(q + 4), 3);
        assert_int_equal(help_word(q + 8), 0x07070707);
    }
    void *outer = NULL, *outer_executable = NULL; /* a graph within a graph */
    help_ok(help_cuda.cuStreamBeginCapture_v2(stream, RELAXED));
    help_ok(help_cuda.cuGraphLaunch(executable, stream));
    help_ok(help_launch(increment, 1, 1, stream, (void *[]){&q}));
    help_ok(help_cuda.cuStreamEndCapture(stream, &outer));
    help_ok(help_cuda.cuGraphInstantiateWithFlags(&outer_executable, outer, 0));
    help_ok(help_cuda.cuGraphExecDestroy(executable));
    in = 50;
    help_ok(help_cuda.cuGraphLaunch(outer_executable, NULL));
    assert_int_equal(help_word(q), 52);
    assert_int_equal(help_cuda.cuGraphInstantiateWithFlags(&executable, outer, 1 << 10), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuGraphInstantiateWithFlags(&executable, outer_executable, 0), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuGraphLaunch(outer, stream), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuGraphDestroy(graph), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuGraphExecDestroy(outer_executable));
    assert_int_equal(help_cuda.cuGraphExecDestroy(outer_executable), NHA_CU_INVALID_HANDLE);
}

static void test_capture(void **state) {
    (void)state;
    help_begin(NULL, 0);
    capture_and_replay(stream_of(0));
    capture_and_replay(stream_of(1));
    capture_and_replay(PER_THREAD);
    void *graph = &graph;
    assert_int_equal(help_cuda.cuStreamBeginCapture_v2(NULL, GLOBAL), NHA_CU_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(help_cuda.cuStreamBeginCapture_v2(LEGACY, RELAXED), NHA_CU_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(help_cuda.cuStreamBeginCapture_v2(PER_THREAD, 3), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuStreamEndCapture(PER_THREAD, &graph), ILLEGAL_STATE);
    assert_null(graph);
    help_end(0);
}

/* What each mode of capture allows: a call, and whether it may be made during a capture of that mode in the same
 * thread. */
typedef int call_fn(uint64_t p);
static int call_alloc(uint64_t p) {
    uint64_t q;
    (void)p;
    return help_cuda.cuMemAlloc_v2(&q, 16);
}
static int call_free(uint64_t p) {
    return help_cuda.cuMemFree_v2(p);
}
static int call_load(uint64_t p) {
    void *module;
    (void)p;
    return help_cuda.cuModuleLoadDataEx(&module, help_ptx, 0, NULL, NULL);
}
static int call_synchronize(uint64_t p) {
    (void)p;
    return help_cuda.cuCtxSynchronize();
}
static int call_info(uint64_t p) {
    size_t a, b;
    (void)p;
    return help_cuda.cuMemGetInfo_v2(&a, &b);
}

static void test_capture_modes(void **state) {
    (void)state;
    static const struct {
        call_fn *call;
        bool legal[3]; /* by mode */
    } rows[] = {{call_alloc, {false, false, true}},
                {call_free, {false, false, true}},
                {call_load, {false, false, true}},
                {call_synchronize, {false, false, false}},
                {call_info, {true, true, true}}};
    help_begin(NULL, 0);
    void *increment = help_function(help_module(help_ptx), "increment"), *stream = stream_of(1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int mode = GLOBAL; mode <= RELAXED; mode++) {
            uint64_t p = help_alloc(16), word = help_alloc(4);
            void *graph = NULL;
            help_ok(help_cuda.cuStreamBeginCapture_v2(stream, mode));
            help_ok(help_launch(increment, 1, 1, stream, (void *[]){&word}));
            bool legal = rows[i].legal[mode];
            assert_int_equal(rows[i].call(p), legal ? 0 : NHA_CU_STREAM_CAPTURE_UNSUPPORTED);
            assert_int_equal(status_of(stream), legal ? ACTIVE : INVALIDATED);
            if (!legal) {
                assert_int_equal(help_launch(increment, 1, 1, stream, (void *[]){&word}),
                                 NHA_CU_STREAM_CAPTURE_INVALIDATED);
                assert_int_equal(help_cuda.cuStreamSynchronize(stream), NHA_CU_STREAM_CAPTURE_INVALIDATED);
            }
            assert_int_equal(help_cuda.cuStreamEndCapture(stream, &graph),
                             legal ? 0 : NHA_CU_STREAM_CAPTURE_INVALIDATED);
            assert_int_equal(graph != NULL, legal);
            assert_int_equal(status_of(stream), NONE); /* usable again */
            help_ok(help_cuda.cuStreamSynchronize(stream));
        }
    help_end(0);
}

static void test_capture_and_others(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *set = help_function(help_module(help_ptx), "set"), *graph = NULL;
    void *blocking = stream_of(0), *free_stream = stream_of(1), *third = stream_of(0);
    uint64_t p = help_alloc(16);
    int status;
    help_ok(help_cuda.cuStreamBeginCapture_v2(blocking, RELAXED));
    assert_int_equal(help_cuda.cuStreamIsCapturing(NULL, &status), CAPTURE_IMPLICIT); /* asking does no harm */
    assert_int_equal(status_of(blocking), ACTIVE);
    help_ok(help_set(set, p, 1, 1, free_stream)); /* other streams go on, and run */
    help_ok(help_set(set, p, 2, 1, third));
    assert_int_equal(status_of(blocking), ACTIVE);
    assert_int_equal(help_set(set, p, 1, 1, NULL), CAPTURE_IMPLICIT); /* the legacy stream would wait for it */
    assert_int_equal(status_of(blocking), INVALIDATED);
    assert_int_equal(help_cuda.cuStreamEndCapture(blocking, &graph), NHA_CU_STREAM_CAPTURE_INVALIDATED);

    help_ok(help_cuda.cuStreamBeginCapture_v2(free_stream, GLOBAL));
    help_ok(help_set(set, p, 3, 1, NULL));
    help_ok(help_cuda.cuStreamSynchronize(third));
    assert_int_equal(status_of(free_stream), ACTIVE);
    assert_int_equal(help_cuda.cuStreamSynchronize(free_stream), NHA_CU_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(status_of(free_stream), INVALIDATED);
    assert_int_equal(help_cuda.cuStreamEndCapture(free_stream, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuStreamEndCapture(free_stream, &graph), NHA_CU_STREAM_CAPTURE_INVALIDATED);

    help_ok(help_cuda.cuStreamBeginCapture_v2(free_stream, GLOBAL)); /* ended by the stream's end */
    help_ok(help_set(set, p, 4, 1, free_stream));
    help_ok(help_cuda.cuStreamDestroy_v2(free_stream));
    uint64_t q = help_alloc(4);
    help_ok(help_cuda.cuMemFree_v2(q));
    help_end(0);
}

typedef struct across {
    void *context, *stream, *graph;
    int end, alloc, status;
} across;

static void *end_elsewhere(void *argument) {
    across *a = argument;
    uint64_t p = 0;
    help_cuda.cuCtxPushCurrent_v2(a->context);
    a->end = help_cuda.cuStreamEndCapture(a->stream, &a->graph);
    a->alloc = help_cuda.cuMemAlloc_v2(&p, 4);
    help_cuda.cuStreamIsCapturing(PER_THREAD, &a->status);
    help_cuda.cuCtxPopCurrent_v2(NULL);
    return NULL;
}

static void test_capture_across_threads(void **state) {
    (void)state;
    across a = {.context = help_begin(NULL, 0)};
    static const int end[] = {CAPTURE_WRONG_THREAD, CAPTURE_WRONG_THREAD, 0},
                     alloc[] = {NHA_CU_STREAM_CAPTURE_UNSUPPORTED, 0, 0};
    for (int mode = GLOBAL; mode <= RELAXED; mode++) {
        pthread_t thread;
        a.stream = stream_of(1);
        help_ok(help_cuda.cuStreamBeginCapture_v2(a.stream, mode));
        assert_int_equal(pthread_create(&thread, NULL, end_elsewhere, &a), 0);
        pthread_join(thread, NULL);
        assert_int_equal(a.end, end[mode]);
        assert_int_equal(a.alloc, alloc[mode]);
        help_ok(help_cuda.cuStreamDestroy_v2(a.stream));
    }
    help_ok(help_cuda.cuStreamBeginCapture_v2(PER_THREAD, RELAXED)); /* each thread has its own */
    pthread_t thread;
    a.stream = PER_THREAD;
    assert_int_equal(pthread_create(&thread, NULL, end_elsewhere, &a), 0);
    pthread_join(thread, NULL);
    assert_int_equal(a.end, ILLEGAL_STATE);
    assert_int_equal(a.status, NONE);
    assert_int_equal(status_of(PER_THREAD), ACTIVE);
    help_ok(help_cuda.cuStreamEndCapture(PER_THREAD, &a.graph));
    help_end(0);
}

/* Graphs that outlive what they use, and graphs with a fault. */
static void test_stale_graphs(void **state) {
    (void)state;
    void *context = help_begin(NULL, 0);
    void *stream = stream_of(0), *module = help_module(help_ptx), *set = help_function(module, "set"), *graph,
         *executables[3];
    uint64_t p = help_alloc(16);
    for (int i = 0; i < 3; i++) { /* a launch; a copy; a launch out of bounds */
        uint32_t word = 1;
        help_ok(help_cuda.cuStreamBeginCapture_v2(stream, RELAXED));
        if (i == 1)
            help_ok(help_cuda.cuMemcpyHtoDAsync_v2(p, &word, 4, stream));
        else
            help_ok(help_set(set, p, 1, i ? 5 : 4, stream));
        help_ok(help_cuda.cuStreamEndCapture(stream, &graph));
        help_ok(help_cuda.cuGraphInstantiateWithFlags(&executables[i], graph, 0));
    }
    void *other;
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&other, 1));
    help_ok(help_cuda.cuCtxPushCurrent_v2(other));
    assert_int_equal(help_cuda.cuGraphLaunch(executables[0], NULL), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(1));
    help_ok(help_cuda.cuGraphLaunch(executables[0], stream));
    help_ok(help_cuda.cuMemFree_v2(p));
    assert_int_equal(help_cuda.cuGraphLaunch(executables[1], stream), NHA_CU_ILLEGAL_ADDRESS);
    assert_true(help_reported("freed"));
    assert_int_equal(help_cuda.cuCtxSynchronize(), NHA_CU_ILLEGAL_ADDRESS);
    help_end(0);
    assert_int_equal(help_cuda.cuGraphExecDestroy(executables[0]), NHA_CU_NOT_INITIALIZED);

    assert_ptr_equal(help_begin(NULL, 0), context);
    assert_int_equal(help_cuda.cuGraphLaunch(executables[0], NULL), NHA_CU_INVALID_HANDLE); /* ended with its context */
    stream = stream_of(0), module = help_module(help_ptx), set = help_function(module, "set"), p = help_alloc(16);
    help_ok(help_cuda.cuStreamBeginCapture_v2(stream, RELAXED));
    help_ok(help_set(set, p, 1, 5, stream));
    help_ok(help_cuda.cuStreamEndCapture(stream, &graph));
    help_ok(help_cuda.cuGraphInstantiateWithFlags(&executables[0], graph, 0));
    help_ok(help_cuda.cuModuleUnload(module));
    assert_int_equal(help_cuda.cuGraphLaunch(executables[0], stream), NHA_CU_INVALID_HANDLE);
    help_end(0);
}

static void test_events(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *a = NULL, *b = NULL, *mute = NULL, *stream = stream_of(0), *graph = NULL;
    float ms = -1;
    assert_int_equal(help_cuda.cuEventCreate(&a, 8), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuEventCreate(&a, 4), NHA_CU_INVALID_VALUE); /* between processes needs no timing */
    help_ok(help_cuda.cuEventCreate(&a, 0));
    help_ok(help_cuda.cuEventCreate(&b, 1));
    help_ok(help_cuda.cuEventCreate(&mute, 2));
    help_ok(help_cuda.cuEventSynchronize(a)); /* not recorded: nothing to wait for */
    assert_int_equal(help_cuda.cuEventElapsedTime(&ms, a, b), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuEventRecord(a, stream));
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    help_ok(help_cuda.cuEventRecord(b, stream));
    help_ok(help_cuda.cuEventRecord(mute, stream));
    help_ok(help_cuda.cuEventSynchronize(b));
    help_ok(help_cuda.cuEventElapsedTime(&ms, a, b));
    assert_true(ms >= 5 && ms < 60000);
    float back = 0;
    help_ok(help_cuda.cuEventElapsedTime(&back, b, a));
    assert_true(back == -ms);
    assert_int_equal(help_cuda.cuEventElapsedTime(&ms, a, mute), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuStreamBeginCapture_v2(stream, RELAXED));
    help_ok(help_cuda.cuEventRecord(b, stream));
    assert_int_equal(help_cuda.cuEventSynchronize(b), CAPTURED_EVENT);
    assert_int_equal(help_cuda.cuEventElapsedTime(&ms, a, b), CAPTURED_EVENT);
    help_ok(help_cuda.cuStreamEndCapture(stream, &graph));
    assert_int_equal(help_cuda.cuEventRecord(a, (void *)0x1230), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuEventDestroy_v2(a));
    assert_int_equal(help_cuda.cuEventDestroy_v2(a), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuEventRecord(a, stream), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuEventSynchronize(stream), NHA_CU_INVALID_HANDLE);
    help_end(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_capture),
        cmocka_unit_test(test_capture_modes),
        cmocka_unit_test(test_capture_and_others),
        cmocka_unit_test(test_capture_across_threads),
        cmocka_unit_test(test_stale_graphs),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
