/* test_runtime_cuda_choose.c: which code a plan takes on which GPU, and what it says where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cuda_internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_cuda.h"
#include "tests/runtime/help_driver.h"
#include "tests/runtime/help_reference.h"

/* ---- Targets ---- */

static void test_targets(void **state) {
    (void)state;
    nhr_target t;
    const struct {
        const char *text;
        int major, minor;
        char suffix;
    } good[] = {{"sm_80", 8, 0, 0},      {"sm_86", 8, 6, 0},     {"sm_90a", 9, 0, 'a'},
                {"sm_100f", 10, 0, 'f'}, {"sm_103", 10, 3, 0},   {"sm_121f", 12, 1, 'f'}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(nhr_target_parse(good[i].text, &t));
        assert_int_equal(t.major, good[i].major);
        assert_int_equal(t.minor, good[i].minor);
        assert_int_equal(t.suffix, good[i].suffix);
    }
    const char *const bad[] = {"",        "sm_",        "sm_9",  "sm_90b", "sm_90aa",
                               "sm_1000", "compute_90", "SM_90", "sm_090", "sm_a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(nhr_target_parse(bad[i], &t));
}

/* ---- Choice ---- */

#define PTX NHA_PLAN_ALLOW_PTX

/* X(major, minor, flags, isa, forced name, kernels, the one chosen or words of the error) */
#define CHOICES(X)                                                                                                     \
    X(8, 0, 0, NULL, NULL, "sm_80", "sm_80")                                                                           \
    X(8, 6, 0, NULL, NULL, "sm_80", "sm_80")                                                                           \
    X(8, 6, 0, NULL, NULL, "sm_80 sm_86", "sm_86")                                                                     \
    X(8, 6, 0, NULL, NULL, "sm_80:0 sm_86:100", "sm_86:100")     /* exact code comes before rank */                    \
    X(8, 9, 0, NULL, NULL, "sm_80 sm_86", "sm_86")               /* the nearest, at the same rank */                   \
    X(8, 9, 0, NULL, NULL, "sm_80:0 sm_86:1", "sm_80:0")         /* of compatible code, rank decides */                \
    X(8, 9, 0, NULL, NULL, "sm_80 sm_90", "sm_80")                                                                     \
    X(8, 0, 0, NULL, NULL, "sm_86", "!sm_86")                    /* minor above the device */                          \
    X(9, 0, 0, NULL, NULL, "sm_80 sm_89", "!capability 9.0: it has sm_80, sm_89")                                      \
    X(9, 0, 0, NULL, NULL, "sm_90 sm_90a", "sm_90a")                                                                   \
    X(9, 0, 0, NULL, NULL, "sm_90:0 sm_90a:100", "sm_90:0")                                                            \
    X(9, 0, 0, NULL, NULL, "sm_90a:3 sm_90:3", "sm_90a:3")                                                             \
    X(9, 3, 0, NULL, NULL, "sm_90a", "!sm_90a")                  /* `a` is for its own capability */                   \
    X(9, 3, 0, NULL, NULL, "sm_90a sm_90", "sm_90")                                                                    \
    X(10, 0, 0, NULL, NULL, "sm_100 sm_100f sm_100a", "sm_100a")                                                       \
    X(10, 0, 0, NULL, NULL, "sm_100 sm_100f", "sm_100f")                                                               \
    X(10, 3, 0, NULL, NULL, "sm_100a sm_100f sm_100", "sm_100f")                                                       \
    X(10, 3, 0, NULL, NULL, "sm_100a", "!sm_100a")                                                                     \
    X(10, 3, 0, NULL, NULL, "sm_100f:0 sm_103:9", "sm_103:9")                                                          \
    X(10, 1, 0, NULL, NULL, "sm_100f", "!sm_100f")               /* a family of its own */                             \
    X(10, 3, 0, NULL, NULL, "sm_101f", "!sm_101f")                                                                     \
    X(10, 0, 0, NULL, NULL, "sm_103f", "!sm_103f")                                                                     \
    X(12, 0, 0, NULL, NULL, "sm_100f", "!sm_100f")                                                                     \
    X(12, 0, 0, NULL, NULL, "sm_120f", "sm_120f")                                                                      \
    X(12, 1, 0, NULL, NULL, "sm_120f", "sm_120f")                                                                      \
    X(12, 0, 0, NULL, NULL, "sm_121", "!sm_121")                                                                       \
    X(9, 0, 0, NULL, NULL, "sm_80p", "!NHA_PLAN_ALLOW_PTX")      /* it would help, and is not assumed */               \
    X(9, 0, PTX, NULL, NULL, "sm_80p", "sm_80p")                                                                       \
    X(7, 5, PTX, NULL, NULL, "sm_80p", "!sm_80")                                                                       \
    X(8, 6, PTX, NULL, NULL, "sm_86:0p sm_80:100", "sm_80:100")  /* any cubin comes before PTX */                      \
    X(12, 0, PTX, NULL, NULL, "sm_80p sm_90b", "sm_90b")                                                               \
    X(10, 0, PTX, NULL, NULL, "sm_90ap", "!it has sm_90a")                                                             \
    X(9, 3, PTX, NULL, NULL, "sm_90ap", "!it has sm_90a")                                                              \
    X(9, 0, PTX, NULL, NULL, "sm_90ap", "sm_90ap")                                                                     \
    X(10, 3, PTX, NULL, NULL, "sm_100fp", "sm_100fp")                                                                  \
    X(12, 0, PTX, NULL, NULL, "sm_100fp", "!it has sm_100f")                                                           \
    X(9, 0, 0, "sm_90", NULL, "sm_90 sm_90a", "sm_90")                                                                 \
    X(8, 6, 0, "sm_80", NULL, "sm_80 sm_86", "sm_80")                                                                  \
    X(9, 0, 0, "sm_80", NULL, "sm_90", "!none for sm_80")                                                              \
    X(9, 0, 0, "sm_80", NULL, "sm_80", "!it has sm_80")                                                                \
    X(9, 0, 0, NULL, "sm_90", "sm_90 sm_90a", "sm_90")                                                                 \
    X(9, 0, 0, NULL, "nobody", "sm_90", "!nobody")                                                                     \
    X(9, 0, 0, NULL, "sm_80", "sm_90 sm_80", "!it has sm_80")

static void test_choice(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
#define CASE(cc_major, cc_minor, more, target, forced, words, want)                                                    \
    {                                                                                                                  \
        recorder_reset(cc_major, cc_minor);                                                                            \
        cuda_library_make(&l, NHA_PREFILL, words);                                                                     \
        nha_plan_options o = cuda_options(NHA_PREFILL);                                                                \
        const char *wanted = want;                                                                                     \
        o.flags = more;                                                                                                \
        o.isa = target;                                                                                                \
        o.kernel = forced;                                                                                             \
        nha_status status = cuda_create(&l, &o, &plan, &error);                                                        \
        if (*wanted == '!' ? status != NHA_NO_KERNEL || !strstr(error.text, wanted + 1)                                \
                           : status || strcmp(nha_plan_kernel(plan), wanted))                                          \
            fail_msg("%d.%d, %s: %s, expected %s", cc_major, cc_minor, words,                                          \
                     status ? error.text : nha_plan_kernel(plan), wanted);                                             \
        nha_plan_destroy(plan);                                                                                        \
        cuda_check_clean();                                                                                            \
    }
    CHOICES(CASE)
#undef CASE
    /* Where PTX would not help either, it is not recommended. */
    recorder_reset(8, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90b");
    nha_plan_options o = cuda_options(NHA_PREFILL);
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_NO_KERNEL);
    assert_null(strstr(error.text, "ALLOW_PTX"));
    o.isa = "avx2";
    cuda_refused(&l, &o, NHA_INVALID_ARGUMENT, "avx2");
}

/* The cubin where it fits, the PTX where it does not. */
static void test_image(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    for (int cc = 9; cc <= 10; cc++) {
        recorder_reset(cc, 0);
        cuda_library_make(&l, NHA_PREFILL, "sm_90b");
        nha_plan_options o = cuda_options(NHA_PREFILL);
        o.flags = PTX;
        assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
        struct batch b;
        struct sequence *s = sequence_make(nha_library_problem(&l.library, 0), 4, false, 1);
        struct span span = {s, 0, 4};
        batch_make(&b, &span, 1, LAYOUT_BATCH);
        recorder_set_current(recorder_primary(0));
        assert_int_equal(batch_execute(plan, &b, &error), NHA_OK);
        assert_ptr_equal(recorded.launch[0].image, cc == 9 ? cuda_cubin : cuda_ptx);
        recorder_set_current(NULL);
        batch_free(&b);
        sequence_free(s);
        nha_plan_destroy(plan);
        cuda_check_clean();
    }
}

static void test_range_and_shared(void **state) {
    (void)state;
    cuda_library l;
    nha_error error;
    nha_plan *plan;
    recorder_reset(9, 0);
    cuda_library_make(&l, NHA_PREFILL, "sm_90:0 sm_90:1 sm_80:2");
    nha_plan_options o = cuda_options(NHA_PREFILL); /* 2 sequences of 2 heads, 100 tokens */
    l.kernels[0].min_length = 101;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_string_equal(nha_plan_kernel(plan), "sm_90:1");
    nha_plan_destroy(plan);
    l.kernels[1].max_tasks = 3;
    cuda_refused(&l, &o, NHA_NO_KERNEL, "bounds");
    o.kernel = "sm_90:1"; /* forced past its range */
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    nha_plan_destroy(plan);

    recorder_reset(9, 0);
    recorded.shared_bytes = 64 << 10;
    nha_cuda_code large = cuda_prefill_code;
    large.launch[1].shared_bytes = (64 << 10) + 1;
    cuda_library_make(&l, NHA_PREFILL, "sm_90:0 sm_90:1");
    o.kernel = NULL;
    l.kernels[0].cuda = &large; /* passed over */
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_string_equal(nha_plan_kernel(plan), "sm_90:1");
    nha_plan_destroy(plan);
    l.kernels[1].cuda = &large;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_NO_KERNEL);
    assert_non_null(strstr(error.text, "65537 bytes of shared memory"));
    assert_non_null(strstr(error.text, "65536"));
    large.launch[1].shared_bytes--;
    assert_int_equal(cuda_create(&l, &o, &plan, &error), NHA_OK);
    assert_int_equal(recorder_calls("cuFuncSetAttribute"), 1); /* only where a launch has more than 48 KiB */
    nha_plan_destroy(plan);
    cuda_check_clean();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_range_and_shared),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    recorder_reset(0, 0);
    return failed;
}
