/* test_runtime_plan.c: which kernel a plan chooses, how it divides the work, what it asks of the workspace, and that a
 * failed allocation is an error without a leak. This file supplies libnha's allocator (runtime/alloc.c is not linked).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_alloc.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_reference.h"

/* ---- Allocations ---- */

static void test_allocations(void **state) {
    (void)state;
    nha_plan_options options = case_options(0, NHA_PREFILL, 1, 1000, 4);
    nha_error error;
    nha_plan *plan;
    int failures = 0;
    for (;; failures++) {
        help_allocations_left = failures;
        nha_status status = nha_plan_create(&reference_library, &options, &plan, &error);
        if (status == NHA_OK) break;
        assert_int_equal(status, NHA_OUT_OF_MEMORY);
        assert_int_equal(error.status, NHA_OUT_OF_MEMORY);
        assert_null(plan);
        assert_int_equal(help_allocations_live, 0);
    }
    assert_int_equal(failures, 4); /* the plan and three workers */
    help_allocations_left = 0;          /* an execution allocates nothing */
    struct sequence *s = sequence_make(nha_library_problem(&reference_library, 0), 200, false, 1);
    struct span span = {s, 0, 200};
    struct batch b;
    batch_make(&b, &span, 1, LAYOUT_BATCH);
    int live = help_allocations_live;
    assert_int_equal(batch_execute(plan, &b, &error), NHA_OK);
    assert_int_equal(help_allocations_live, live);
    help_allocations_left = -1;
    batch_free(&b);
    sequence_free(s);
    nha_plan_destroy(plan);
    assert_int_equal(help_allocations_live, 0);
}

/* ---- Choice ---- */

static void nothing(const nha_cpu_args *args, int64_t begin, int64_t end, void *scratch) {
    (void)args, (void)begin, (void)end, (void)scratch;
}

static const nha_cpu_code code = {nothing, nothing, nothing, 16, 1000, 100, 0.1};

enum { SOME = 6 };

#define KERNEL(text, where, cost, needs, tasks0, tasks1, length0, length1)                                             \
    {                                                                                                                  \
        .name = text, .op = NHA_PREFILL, .isa = where, .rank = cost, .cpu_features = needs, .min_tasks = tasks0,       \
        .max_tasks = tasks1, .min_length = length0, .max_length = length1, .cpu = &code                                \
    }
static const nha_kernel kernels[SOME] = {
    KERNEL("tuned.long", "avx2", 0, 0, 0, INT64_MAX, 1000, INT64_MAX),
    KERNEL("tuned.many", "baseline", 1, 0, 64, 100, 0, INT64_MAX),
    KERNEL("default.future", "avx512", 100, (uint64_t)1 << 63, 0, INT64_MAX, 0, INT64_MAX),
    KERNEL("default.avx512", "avx512", 101, 0, 0, INT64_MAX, 0, INT64_MAX),
    KERNEL("default.avx2", "avx2", 102, 0, 0, INT64_MAX, 0, INT64_MAX),
    KERNEL("default.baseline", "baseline", 103, 0, 0, INT64_MAX, 0, INT64_MAX),
};

static nha_library library_of(const nha_kernel *table, int32_t count) {
    nha_library library = reference_library;
    library.problem_count = 1;
    library.kernels = table;
    library.kernel_count = count;
    return library;
}

/* Name of the kernel chosen, or the status as text. */
static const char *chosen(int64_t sequences, int64_t length, const char *isa, const char *kernel) {
    static char name[64];
    nha_library library = library_of(kernels, SOME);
    nha_plan_options options = case_options(0, NHA_PREFILL, sequences, length, 1);
    options.isa = isa;
    options.kernel = kernel;
    nha_plan *plan;
    nha_status status = nha_plan_create(&library, &options, &plan, NULL);
    snprintf(name, sizeof name, "%s", status ? nha_status_text(status) : nha_plan_kernel(plan));
    nha_plan_destroy(plan);
    return name;
}

static void test_choice(void **state) {
    (void)state;
    const char *none = nha_status_text(NHA_NO_KERNEL);
    assert_string_equal(chosen(1, 1000, NULL, NULL), "tuned.long");
    assert_string_equal(chosen(1, 999, NULL, NULL), "default.avx512");
    assert_string_equal(chosen(32, 999, NULL, NULL), "tuned.many"); /* H = 2: 64 tasks */
    assert_string_equal(chosen(51, 999, NULL, NULL), "default.avx512");
    assert_string_equal(chosen(1, 1000, "baseline", NULL), "default.baseline");
    assert_string_equal(chosen(1, 1000, "avx2", NULL), "tuned.long");
    assert_string_equal(chosen(1, 10, "avx2", NULL), "default.avx2");
    assert_string_equal(chosen(1, 10, "avx512", NULL), "default.avx512");
    assert_string_equal(chosen(1, 10, NULL, "default.avx2"), "default.avx2");
    assert_string_equal(chosen(1, 10, NULL, "tuned.long"), "tuned.long"); /* forced past its range */
    assert_string_equal(chosen(1, 10, NULL, "default.future"), none);
    assert_string_equal(chosen(1, 10, "baseline", "default.avx2"), none);
    assert_string_equal(chosen(1, 10, NULL, ""), none);
}

static void test_isa(void **state) {
    (void)state;
    int family;
    assert_true(nhr_isa_level(nha_cpu_isa(), &family) >= 0);
    assert_int_equal(nhr_isa_level("", &family), -1);
    uint64_t features = nha_cpu_features();
#if defined(__x86_64__)
    assert_int_equal(!!(features & NHA_CPU_AVX2), !!__builtin_cpu_supports("avx2"));
    assert_int_equal(!!(features & NHA_CPU_FMA), !!__builtin_cpu_supports("fma"));
    assert_int_equal(!!(features & NHA_CPU_AVX512F), !!__builtin_cpu_supports("avx512f"));
    assert_int_equal(!!(features & NHA_CPU_AVX512BF16), !!__builtin_cpu_supports("avx512bf16"));
    assert_int_equal(!!(features & NHA_CPU_AVX512VL), !!__builtin_cpu_supports("avx512vl"));
    assert_int_equal(!!(features & NHA_CPU_BMI2), !!__builtin_cpu_supports("bmi2"));
    assert_false(features & NHA_CPU_NEON);
#else
    (void)features;
#endif
}

/* ---- Division ---- */

static nhr_work work_of(int64_t sequences, int64_t length, int32_t threads) {
    return (nhr_work){sequences, length, 16, 64, 64, true, 0.1, 64 * 257 * 4, threads};
}

/* What nha_library.h demands of every division. */
static void check_division(const nhr_work *w, const nhr_division *d) {
    assert_true(d->runs >= 1 && d->run_tokens >= 1 && d->run_tokens % w->block_tokens == 0);
    assert_true(d->runs * d->run_tokens >= w->max_length && (d->runs - 1) * d->run_tokens < w->max_length);
    assert_true(d->piece_tokens % w->block_tokens == 0 && d->run_tokens % d->piece_tokens == 0);
    assert_int_equal(d->pieces, w->slots ? (d->runs - 1) * (d->run_tokens / d->piece_tokens) : 0);
}

static void test_division(void **state) {
    (void)state;
    nhr_work w = work_of(1, 16384, 2); /* the case of the speed goal: two threads, one sequence, one head */
    nhr_division d = nhr_divide(&w);
    check_division(&w, &d);
    assert_int_equal(d.runs, 2);
    assert_int_equal(d.run_tokens, 8192);
    assert_int_equal(d.pieces, 2);

    w = work_of(1, 16384, 1);
    assert_int_equal(nhr_divide(&w).runs, 1);
    w = work_of(1, 16 * 31, 2); /* too short for two runs */
    assert_int_equal(nhr_divide(&w).runs, 1);
    w = work_of(2, 16384, 2); /* two heads for two threads */
    assert_int_equal(nhr_divide(&w).runs, 1);
    w = work_of(3, 16384, 2);
    assert_true(nhr_divide(&w).runs > 1);
    w = work_of(1, 16384, 2);
    w.divisible = false;
    assert_int_equal(nhr_divide(&w).runs, 1);
    w = work_of(1, 16384, 2);
    w.delta_cost = 4; /* more than the whole */
    assert_int_equal(nhr_divide(&w).runs, 1);
    w = work_of(1, 16384, 2);
    w.state_bytes = (int64_t)1 << 40;
    assert_int_equal(nhr_divide(&w).runs, 1);

    w = work_of(1, 16384, 2); /* causal attention: later runs cost more, so more of them */
    w.slots = 0, w.delta_cost = 0, w.window = INT64_MAX;
    d = nhr_divide(&w);
    check_division(&w, &d);
    assert_true(d.runs > 2);

    for (int32_t threads = 1; threads <= 64; threads = threads * 2 + (threads == 4))
        for (int64_t sequences = 1; sequences <= 300; sequences = sequences * 3 + 1)
            for (int64_t length = 1; length < 200000; length = length * 5 + 3)
                for (int slots = 0; slots <= 64; slots += 64) {
                    w = work_of(sequences, length, threads);
                    w.slots = slots;
                    w.delta_cost = slots ? 0.15 : 0;
                    d = nhr_divide(&w);
                    check_division(&w, &d);
                }
}

/* ---- Workspace ---- */

static size_t workspace(int32_t op, uint32_t flags, int64_t window, int64_t length, int64_t cache_tokens,
                        int32_t threads) {
    nha_kernel table[2] = {kernels[5], kernels[5]};
    nha_cpu_code decode = code;
    decode.block_tokens = 1;
    table[1].op = NHA_DECODE;
    table[1].cpu = &decode;
    nha_problem p = *nha_library_problem(&reference_library, 0);
    p.window = p.slot_lag = window;
    p.heads_q = p.heads_kv = 1;
    nha_library library = library_of(table, 2);
    library.problems = &p;
    nha_plan_options options = case_options(0, op, 1, length, threads);
    options.flags = flags;
    options.cache_tokens = cache_tokens;
    nha_plan *plan;
    nha_error error;
    if (nha_plan_create(&library, &options, &plan, &error)) fail_msg("%s", error.text);
    size_t bytes = nha_plan_workspace(plan);
    nha_plan_destroy(plan);
    return bytes;
}

/* One worker: 1000 bytes and 100 for each panel, rounded up to 256. */
static size_t scratch(int64_t panels) {
    return (size_t)(1000 + 100 * panels + 255) / 256 * 256;
}

static void test_workspace(void **state) {
    (void)state;
    assert_int_equal(workspace(NHA_PREFILL, 0, 0, 100, 0, 1), scratch(0));
    assert_int_equal(workspace(NHA_PREFILL, 0, 1, 100, 0, 1), scratch(1));
    assert_int_equal(workspace(NHA_PREFILL, 0, 17, 1000, 0, 1), scratch(2));
    assert_int_equal(workspace(NHA_PREFILL, 0, 18, 1000, 0, 1), scratch(3));
    assert_int_equal(workspace(NHA_PREFILL, 0, 1 << 20, 100, 0, 1), scratch(8)); /* ceil(100 / 16) + 1 */
    assert_int_equal(workspace(NHA_PREFILL, 0, INT64_MAX, 100, 0, 1), scratch(8));
    assert_int_equal(workspace(NHA_PREFILL, NHA_PLAN_CACHE, INT64_MAX, 100, 60, 1), scratch(11));
    assert_int_equal(workspace(NHA_PREFILL, NHA_PLAN_CACHE, 40, 100, 0, 1), scratch(4));
    assert_int_equal(workspace(NHA_PREFILL, 0, 17, 100, 0, 3), 3 * scratch(2));
    assert_int_equal(workspace(NHA_DECODE, 0, 21, 100, 0, 1), scratch(21));
    assert_int_equal(workspace(NHA_DECODE, 0, INT64_MAX, 1, 60, 1), scratch(60));
    /* Split: states of two pieces and two runs, K = 16, V = 8, M = 5: 16 + 16 * 16 + 5 * 16 floats. */
    assert_int_equal(workspace(NHA_PREFILL, 0, 17, 10000, 0, 2),
                     2 * scratch(2) + 2 * ((2 * 352 * 4 + 255) / 256 * 256));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations), cmocka_unit_test(test_choice),    cmocka_unit_test(test_isa),
        cmocka_unit_test(test_division),    cmocka_unit_test(test_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
