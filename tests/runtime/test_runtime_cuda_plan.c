/* test_runtime_cuda_plan.c: how a plan finds its device, loads its code and lays out its workspace on a GPU, what it
 * says where it cannot, and that nothing is kept after a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_cuda.h"
#include "tests/runtime/help_driver.h"
#include "tests/runtime/help_reference.h"

#define PTX NHA_PLAN_ALLOW_PTX

/* ---- Devices and contexts ---- */

static void test_contexts(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan, *second;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    nha_plan_options o = cuda_options(NHA_PREFILL);
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_int_equal(cuda_create(&l, &o, &second, &error), NHA_OK); /* one kernel, loaded by each plan */
    assert_int_equal(recorded.retained[0], 2);
    assert_int_equal(recorded.modules, 2);
    assert_null(recorder_current());
    assert_int_equal(recorder_calls("cuFuncGetAttribute"), 4); /* each function of each */
    nha_plan_destroy(plan);
    nha_plan_destroy(second);
    cuda_check_clean();

    o.device.ordinal = 1;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_int_equal(recorded.retained[1], 1);
    nha_plan_destroy(plan);
    cuda_check_clean();
    for (int32_t ordinal = -1; ordinal <= 2; ordinal += 3) {
        o.device.ordinal = ordinal;
        cuda_refused(&l, &o, NHA_NO_DEVICE, ordinal < 0 ? "cuda:-1: the driver sees 2" : "cuda:2");
    }

    o.device.ordinal = 77; /* a context says its device itself */
    o.device.context = recorder_context(1);
    recorder_set_current(recorder_primary(0));
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_int_equal(recorded.retained[0] + recorded.retained[1], 0);
    assert_ptr_equal(recorder_current(), recorder_primary(0));
    nha_plan_destroy(plan);
    assert_ptr_equal(recorder_current(), recorder_primary(0));
    recorder_set_current(NULL);
    cuda_check_clean();
    int no_context;
    o.device.context = &no_context;
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "device.context");
    cuda_check_clean();
}

static void test_driver_table(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    nha_plan_options o = cuda_options(NHA_PREFILL);
    nha_cuda_driver table = *recorder_driver();
    o.device.driver = &table;
    table.struct_size--;
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "driver.struct_size");
    table.struct_size += 9; /* a newer one */
    table.cuEventCreate = NULL;
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "cuEventCreate");
    table = *recorder_driver();
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    nha_plan_destroy(plan);
}

static void test_old_driver(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    nha_plan_options o = cuda_options(NHA_PREFILL);
    l.library.min_driver_version = 12080;
    recorded.version = 12040;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OLD_DRIVER);
    assert_non_null(strstr(error.text, "CUDA 12.4,"));
    assert_non_null(strstr(error.text, "CUDA 12.8 or"));
    recorded.version = 12080;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    nha_plan_destroy(plan);
    cuda_check_clean();
}

/* ---- Faults: X(function, call of it that fails, result, status, words) ---- */

#define FAULTS(X)                                                                                                      \
    X("cuInit", 0, 100, NHA_NO_DEVICE, "does not start")                                                               \
    X("cuDeviceGetCount", 0, NHA_CU_NO_DEVICE, NHA_DEVICE_ERROR, "CUDA error 100")                                     \
    X("cuDeviceGet", 0, NHA_CU_INVALID_DEVICE, NHA_DEVICE_ERROR, "cuda:0")                                             \
    X("cuDevicePrimaryCtxRetain", 0, NHA_CU_OUT_OF_MEMORY, NHA_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY")              \
    X("cuDriverGetVersion", 0, 999, NHA_DEVICE_ERROR, "version")                                                       \
    X("cuDeviceGetAttribute", 2, 999, NHA_DEVICE_ERROR, "attribute")                                                   \
    X("cuCtxPushCurrent_v2", 0, NHA_CU_ILLEGAL_ADDRESS, NHA_DEVICE_ERROR, "CUDA_ERROR_ILLEGAL_ADDRESS")                \
    X("cuModuleLoadDataEx", 0, NHA_CU_NO_BINARY_FOR_GPU, NHA_BAD_LIBRARY, "cubin of sm_90")                            \
    X("cuModuleLoadDataEx", 0, NHA_CU_INVALID_IMAGE, NHA_BAD_LIBRARY, "CUDA_ERROR_INVALID_IMAGE")                      \
    X("cuModuleLoadDataEx", 0, NHA_CU_UNSUPPORTED_PTX_VERSION, NHA_OLD_DRIVER, "UNSUPPORTED_PTX_VERSION")              \
    X("cuModuleLoadDataEx", 0, NHA_CU_OUT_OF_MEMORY, NHA_OUT_OF_MEMORY, "refuses")                                     \
    X("cuModuleLoadDataEx", 0, NHA_CU_ILLEGAL_ADDRESS, NHA_DEVICE_ERROR, "ILLEGAL_ADDRESS")                            \
    X("cuModuleGetFunction", 1, NHA_CU_NOT_FOUND, NHA_BAD_LIBRARY, "commit")                                           \
    X("cuModuleGetFunction", 0, NHA_CU_OUT_OF_MEMORY, NHA_OUT_OF_MEMORY, "main")                                       \
    X("cuFuncGetAttribute", 1, NHA_CU_OUT_OF_MEMORY, NHA_OUT_OF_MEMORY, "commit")

static void test_faults(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
#define CASE(function, after, result, want, word)                                                                      \
    {                                                                                                                  \
        recorder_reset(9, 0);                                                                                          \
        cuda_library_make(&l, NHA_PREFILL, "sm_90");                                                                   \
        nha_plan_options o = cuda_options(NHA_PREFILL);                                                                \
        o.flags = NHA_PLAN_DEBUG;                                                                                      \
        recorded.fail = function;                                                                                      \
        recorded.fail_after = after;                                                                                   \
        recorded.fail_result = result;                                                                                 \
        nha_status status = cuda_create(&l, &o, &plan, &error);                                                        \
        if (status != want || !strstr(error.text, word))                                                               \
            fail_msg("%s -> %d: status %d, %s", function, result, status, error.text);                                 \
        cuda_check_clean();                                                                                            \
        assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK); /* and it goes on when the fault has passed */   \
        nha_plan_destroy(plan);                                                                                        \
        cuda_check_clean();                                                                                            \
    }
    FAULTS(CASE)
#undef CASE
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_DECODE, "sm_90");
    nha_plan_options o = cuda_options(NHA_DECODE);
    recorded.fail = "cuFuncSetAttribute";
    recorded.fail_result = NHA_CU_INVALID_VALUE;
    cuda_refused(&l, &o, NHA_DEVICE_ERROR, "step cannot have 60000 bytes");
    cuda_check_clean();

    recorder_reset(10, 0); /* the log of the PTX compiler, on one line */
    cuda_library_make(&l, NHA_PREFILL, "sm_90p");
    o = cuda_options(NHA_PREFILL);
    o.flags = PTX;
    recorded.log = "ptxas line 3; error:\n\n   Unknown\tsymbol 'x'";
    recorded.fail = "cuModuleLoadDataEx";
    recorded.fail_result = NHA_CU_INVALID_PTX;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_BAD_LIBRARY);
    assert_non_null(strstr(error.text, "the PTX of sm_90p for sm_90: ptxas line 3; error: Unknown symbol 'x'"));
    assert_non_null(strstr(error.text, "CUDA_ERROR_INVALID_PTX"));
    assert_true(recorded.log_bytes > 100);
    cuda_check_clean();
}

/* A context that the program destroyed before the plan: its modules went with it. */
static void test_dead_context(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    nha_plan_options o = cuda_options(NHA_PREFILL);
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    recorded.fail = "cuCtxPushCurrent_v2";
    recorded.fail_result = NHA_CU_INVALID_CONTEXT;
    nha_plan_destroy(plan);
    assert_int_equal(recorded.misused, 0);
    assert_int_equal(recorded.retained[0], 0);
}

/* ---- Workspace ---- */

static int64_t blocks_of(int64_t bytes, int64_t blocks) {
    return (bytes + 255) / 256 * 256 * blocks;
}

static void test_workspace(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    nha_problem problem = *nha_library_problem(&reference_library, 0); /* H = 2 */
    l.library.problems = &problem;
    l.library.problem_count = 1;
    /* {sequences, length, window, lag, cache_tokens (-1: no cache), bytes of a block} */
    const struct {
        int64_t sequences, length, window, lag, cache_tokens, bytes;
    } cases[] = {
        {1, 100, 0, 0, -1, 5000},
        {3, 100, 7, 7, -1, 5000 + 700},
        {3, 100, 5000, 5000, -1, 5000 + 100 * 100},          /* no further than the call's tokens */
        {3, 100, 5000, 5000, 60, 5000 + 160 * 100},          /* and those of the cache */
        {3, 100, INT64_MAX, 7, 60, 5000 + 160 * 100},
        {3, 100, 40, 40, 0, 5000 + 40 * 100},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem.window = cases[i].window;
        problem.slot_lag = cases[i].lag;
        nha_plan_options o = cuda_options(NHA_PREFILL);
        o.max_sequences = cases[i].sequences;
        o.max_length = cases[i].length;
        if (cases[i].cache_tokens >= 0) {
            o.flags = NHA_PLAN_CACHE;
            o.cache_tokens = cases[i].cache_tokens;
        }
        if (cuda_create(&l, &o, &plan, &error)) fail_msg("case %zu: %s", i, error.text);
        assert_int_equal(nha_plan_workspace(plan), blocks_of(cases[i].bytes, cases[i].sequences * 2));
        nha_plan_destroy(plan);
    }
    nha_plan_options o = cuda_options(NHA_PREFILL);
    o.max_sequences = INT32_MAX / 2; /* 2^31 - 2 blocks */
    problem.window = problem.slot_lag = 1;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_int_equal(nha_plan_workspace(plan), blocks_of(5100, INT32_MAX - 1));
    nha_plan_destroy(plan);
    o.max_sequences++;
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "max_sequences");
    nha_cuda_code huge = cuda_prefill_code;
    huge.workspace_window_bytes = INT64_MAX / 2;
    l.kernels[0].cuda = &huge;
    o.max_sequences = 1;
    problem.window = 100;
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "workspace");
    cuda_check_clean();
}

/* ---- Libraries that are not whole ---- */

static void test_library(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_cuda_code code;
#define CASE(change, word)                                                                                             \
    {                                                                                                                  \
        cuda_library_make(&l, NHA_PREFILL, "sm_90b");                                                                  \
        code = cuda_prefill_code;                                                                                      \
        l.kernels[0].cuda = &code;                                                                                     \
        assert_int_equal(nha_library_check(&l.library, &error), NHA_OK);                                               \
        (void)(change);                                                                                                \
        assert_int_equal(nha_library_check(&l.library, &error), NHA_BAD_LIBRARY);                                      \
        if (!strstr(error.text, word)) fail_msg("%s: %s", #change, error.text);                                        \
    }
    CASE(l.kernels[0].isa = "avx2", "target")
    CASE(l.kernels[0].cuda = NULL, "code")
    CASE((l.kernels[0].cubin = NULL, l.kernels[0].ptx = NULL), "code")
    CASE(l.kernels[0].cubin_bytes = 0, "image")
    CASE(l.kernels[0].ptx_bytes = 3, "image")
    CASE(code.launch_count = 0, "launches")
    CASE(code.launch_count = NHA_CUDA_LAUNCHES_MAX + 1, "launches")
    CASE(code.launch[1].entry = NULL, "launch")
    CASE(code.launch[0].threads = 1025, "launch")
    CASE(code.launch[0].grid = 1, "launch")
    CASE(code.launch[0].shared_bytes = -1, "launch")
    CASE(code.workspace_bytes = -1, "sizes")
#undef CASE
}

/* Said without a driver, so that it is the same on every machine. */
static void test_no_cuda_kernels(void **state) {
    (void)state;
    nha_error error;
    nha_plan *plan;
    nha_plan_options o = case_options(0, NHA_DECODE, 2, 100, 0);
    o.device.kind = NHA_CUDA;
    assert_int_equal(nha_plan_create(&reference_library, &o, &plan, &error), NHA_NO_KERNEL);
    assert_non_null(strstr(error.text, "no CUDA decode kernel"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),     cmocka_unit_test(test_driver_table), cmocka_unit_test(test_old_driver),
        cmocka_unit_test(test_faults),       cmocka_unit_test(test_dead_context), cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_library),      cmocka_unit_test(test_no_cuda_kernels),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    recorder_reset(0, 0);
    return failed;
}
