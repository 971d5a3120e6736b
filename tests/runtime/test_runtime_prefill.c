/* test_runtime_prefill.c: prefill through libnha equals the definition, whatever the layout, the number of threads and
 * the cuts that libnha chooses; a sequence's bits depend on nothing but itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/internal.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_reference.h"

static const nha_problem *problem(int32_t i) {
    return nha_library_problem(&reference_library, i);
}

/* Caller's threads: tasks in reverse order, as workers that go round. */
static void reversed(void *context, int64_t tasks, nha_task_fn fn, void *arg) {
    int32_t threads = *(int32_t *)context;
    for (int64_t task = tasks - 1; task >= 0; task--) fn(arg, task, (int32_t)(task % threads));
}

/* Runs the spans as one call and checks outputs and memory against the definition. */
static void check_call(nha_plan_options options, struct span *spans, int64_t count, enum layout layout) {
    const nha_problem *p = problem(options.problem);
    int64_t hk_size = p->heads_kv * p->slots * p->head_dim_qk, hv_size = p->heads_kv * p->slots * p->head_dim_v;
    if (layout == LAYOUT_PACKED || layout == LAYOUT_STRANGE_PACKED) options.flags |= NHA_PLAN_VARLEN;
    nha_plan *plan = case_plan(&options);
    struct batch b;
    batch_make(&b, spans, count, layout);
    float *hk = aligned_memory((size_t)(count * hk_size) * 4), *hv = aligned_memory((size_t)(count * hv_size) * 4);
    if (p->slots) {
        for (int64_t n = 0; spans[0].s->hk0 && n < count; n++) {
            memcpy(hk + n * hk_size, spans[n].s->hk0, (size_t)hk_size * 4);
            memcpy(hv + n * hv_size, spans[n].s->hv0, (size_t)hv_size * 4);
        }
        b.args.hk0 = spans[0].s->hk0 ? hk : NULL; /* in place */
        b.args.hv0 = spans[0].s->hv0 ? hv : NULL;
        b.args.hk = hk;
        b.args.hv = hv;
    }
    nha_error error;
    nha_status status = batch_execute(plan, &b, &error);
    if (status) fail_msg("execute: %s", error.text);
    for (int64_t n = 0; n < count; n++) {
        struct sequence *s = spans[n].s;
        batch_scatter(&b, n);
        double e = sequence_error(s, 0, s->length), limit = tolerance(p);
        double ek = relative_error(hk + n * hk_size, s->hk, hk_size),
               ev = relative_error(hv + n * hv_size, s->hv, hv_size);
        if (e > limit || (p->slots && (ek > 1e-5 || ev > 1e-5)))
            fail_msg("%s, layout %d, %d threads, %lld runs, sequence %lld of %lld tokens: o %g, hk %g, hv %g", p->name,
                     layout, options.threads, (long long)plan->division.runs, (long long)n, (long long)s->length, e, ek,
                     ev);
    }
    free(hk);
    free(hv);
    batch_free(&b);
    nha_plan_destroy(plan);
}

static void free_spans(struct span *spans, int64_t count) {
    for (int64_t n = 0; n < count; n++) sequence_free(spans[n].s);
}

static void make_spans(struct span *spans, const int64_t *lengths, int64_t count, int32_t problem_index, bool memory) {
    for (int64_t n = 0; n < count; n++) {
        spans[n].s = sequence_make(problem(problem_index), lengths[n], memory, (unsigned)(n + 10 * problem_index));
        spans[n].first = 0;
        spans[n].count = lengths[n];
    }
}

static void test_all_problems(void **state) {
    (void)state;
    const int64_t equal[] = {150, 150}, mixed[] = {0, 1, 150, 33, 0, 64};
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++)
        for (int memory = 0; memory < 2; memory++) {
            struct span two[2], six[6];
            make_spans(two, equal, 2, i, memory);
            make_spans(six, mixed, 6, i, memory);
            for (int32_t threads = 1; threads <= 4; threads *= 2) {
                check_call(case_options(i, NHA_PREFILL, 2, 150, threads), two, 2,
                           threads == 2 ? LAYOUT_STRANGE : LAYOUT_BATCH);
                check_call(case_options(i, NHA_PREFILL, 1, 200, threads), two, 1, LAYOUT_STRANGE);
                check_call(case_options(i, NHA_PREFILL, 6, 150, threads), six, 6,
                           threads == 2 ? LAYOUT_STRANGE_PACKED : LAYOUT_PACKED);
            }
            free_spans(two, 2);
            free_spans(six, 6);
        }
    assert_int_equal(reference_faults(), 0);
}

static void test_callers_threads(void **state) {
    (void)state;
    const int64_t lengths[] = {300};
    int32_t threads = 5;
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        struct span one[1];
        make_spans(one, lengths, 1, i, true);
        nha_plan_options options = case_options(i, NHA_PREFILL, 1, 300, threads);
        options.parallel_for = reversed;
        options.parallel_context = &threads;
        nha_plan *plan = case_plan(&options);
        assert_true(plan->division.runs > 1);
        assert_true(!problem(i)->slots == !plan->division.pieces);
        nha_plan_destroy(plan);
        check_call(options, one, 1, LAYOUT_BATCH);
        free_spans(one, 1);
    }
    assert_int_equal(reference_faults(), 0);
}

/* o and lse of one sequence, byte for byte, alone and among others, whoever runs the tasks. */
static void test_bits(void **state) {
    (void)state;
    const int64_t lengths[] = {90, 140, 7, 120};
    for (int32_t i = 0; i < REFERENCE_PROBLEMS; i++) {
        const nha_problem *p = problem(i);
        size_t o_bytes = (size_t)(140 * p->heads_q * p->head_dim_v) * (p->dtype == NHA_F32 ? 4 : 2);
        size_t lse_bytes = (size_t)(140 * p->heads_q) * 4;
        struct span four[4];
        make_spans(four, lengths, 4, i, false);
        nha_plan_options options = case_options(i, NHA_PREFILL, 4, 140, 4);
        options.flags = NHA_PLAN_VARLEN;
        nha_plan *plan = case_plan(&options);
        char *first = aligned_memory(o_bytes), *first_lse = aligned_memory(lse_bytes);
        for (int round = 0; round < 3; round++) {
            struct batch b;
            batch_make(&b, round == 1 ? four + 1 : four, round == 1 ? 1 : 4, LAYOUT_PACKED);
            assert_int_equal(batch_execute(plan, &b, NULL), NHA_OK);
            batch_scatter(&b, round == 1 ? 0 : 1);
            if (!round) {
                memcpy(first, four[1].s->field[F_O], o_bytes);
                memcpy(first_lse, four[1].s->field[F_LSE], lse_bytes);
            }
            assert_memory_equal(first, four[1].s->field[F_O], o_bytes);
            assert_memory_equal(first_lse, four[1].s->field[F_LSE], lse_bytes);
            batch_free(&b);
        }
        free(first);
        free(first_lse);
        nha_plan_destroy(plan);
        free_spans(four, 4);
    }
}

/* No sequences, no tokens, no lse. */
static void test_nothing(void **state) {
    (void)state;
    const int64_t lengths[] = {0};
    struct span one[1];
    make_spans(one, lengths, 1, 0, true);
    const nha_problem *p = problem(0);
    nha_plan_options options = case_options(0, NHA_PREFILL, 3, 100, 2);
    nha_plan *plan = case_plan(&options);
    struct batch b;
    batch_make(&b, one, 1, LAYOUT_BATCH);
    size_t hk_bytes = (size_t)(p->heads_kv * p->slots * p->head_dim_qk) * 4;
    size_t hv_bytes = (size_t)(p->heads_kv * p->slots * p->head_dim_v) * 4;
    float *hk = aligned_memory(hk_bytes), *hv = aligned_memory(hv_bytes);
    b.args.hk0 = one[0].s->hk0;
    b.args.hv0 = one[0].s->hv0;
    b.args.hk = hk;
    b.args.hv = hv;
    b.args.q.data = b.args.k.data = b.args.v.data = b.args.o.data = NULL; /* tensors of no elements */
    assert_int_equal(batch_execute(plan, &b, NULL), NHA_OK);
    assert_memory_equal(hk, one[0].s->hk0, hk_bytes);
    assert_memory_equal(hv, one[0].s->hv0, hv_bytes);
    b.args.sequences = 0;
    assert_int_equal(batch_execute(plan, &b, NULL), NHA_OK);
    batch_free(&b);
    free(hk);
    free(hv);
    free_spans(one, 1);

    const int64_t ten[] = {10};
    make_spans(one, ten, 1, 0, false);
    batch_make(&b, one, 1, LAYOUT_BATCH);
    b.args.lse.data = NULL;
    assert_int_equal(batch_execute(plan, &b, NULL), NHA_OK);
    for (int64_t i = 0; i < b.buffer_bytes[F_LSE]; i++) assert_int_equal((unsigned char)b.buffer[F_LSE][i], 0xa5);
    batch_free(&b);
    free_spans(one, 1);
    nha_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_problems),
        cmocka_unit_test(test_callers_threads),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
