/* test_templates_edges.c: what random problems do not reach: tensors of more than 2^31 elements, long sequences with
 * slow gates, the same bits whatever the order of warps, largest sizes, every target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/spec.h"
#include "tests/templates/help_templates.h"

static void make_problem(gen_problem *problem, nha_problem p) {
    memset(problem, 0, sizeof *problem);
    problem->nha = p;
    strcpy(problem->name, "edge");
    problem->nha.name = problem->name;
    problem->group = p.heads_q / p.heads_kv;
    problem->nha.gate_normalizer = 8;
    problem->nha.scale = 0.3;
    for (int i = 0; i < p.head_dim_qk / 2; i++)
        problem->inv_freq[i] = 1.0 / (1 << i % 12);
    gen_problem_derive(problem);
}

static void check(const char *what, bool ok, err *e) {
    if (!ok)
        print_error("%s: %s\n%s", what, e->text, e->log ? e->log : "");
    err_clear(e);
    assert_true(ok);
}

/* One case on the default kernel. */
static void run(const gen_problem *problem, nha_op op, const tune_case_spec *spec, const help_run_options *options,
                tune_verify_report *report) {
    jit_nvrtc *nvrtc = help_nvrtc();
    help_kernel kernel;
    verify_truth truth;
    err e = {0};
    check("build", help_kernel_create(nvrtc, gen_embedded_files, problem, op, "sm_80", NULL, &kernel, &e), &e);
    check("oracle", verify_truth_create(problem, spec, 1, &truth, &e), &e);
    check("run", help_kernel_run(&kernel, &truth, options, report, NULL, &e), &e);
    verify_truth_destroy(&truth);
    help_kernel_destroy(&kernel);
    jit_nvrtc_close(nvrtc);
}

/* Every tensor there is, and every ring of a cache. */
static void make_far_problem(gen_problem *problem) {
    make_problem(problem, (nha_problem){.head_dim_qk = 32,
                                        .head_dim_v = 16,
                                        .heads_q = 4,
                                        .heads_kv = 2,
                                        .slots = 9,
                                        .window = 6,
                                        .slot_lag = 6,
                                        .dtype = NHA_BF16,
                                        .gate_dtype = NHA_BF16,
                                        .gate_s_given = 1,
                                        .rope = NHA_ROPE_GIVEN});
}

enum { ELEMENT_MOST = 4 }; /* bytes: those of lse; the other tensors have more elements between the same addresses */
static const int64_t far_elements = INT64_C(1) << 31;

static void test_batches_over_2_to_31_elements_apart(void **state) {
    (void)state;
    gen_problem problem;
    make_far_problem(&problem);
    help_run_options options = {.seed = 4, .skip = -1, .apart_batch = ELEMENT_MOST * far_elements + 4096};
    tune_case_spec spec = {.seed = 5, .sequences = 2, .length = {18, 18}, .gates = TUNE_GATES_ORDINARY};
    run(&problem, NHA_PREFILL, &spec, &options, NULL);
    spec.length[0] = spec.length[1] = 2;
    run(&problem, NHA_DECODE, &spec, &options, NULL);
}

static void test_heads_over_2_to_31_elements_apart(void **state) {
    (void)state;
    gen_problem problem;
    make_far_problem(&problem);
    help_run_options options = {.seed = 5, .skip = -1, .apart_head = ELEMENT_MOST * far_elements + 4096};
    tune_case_spec spec = {.seed = 6, .sequences = 1, .length = {18}, .gates = TUNE_GATES_ORDINARY};
    run(&problem, NHA_PREFILL, &spec, &options, NULL);
    spec.length[0] = 2;
    run(&problem, NHA_DECODE, &spec, &options, NULL);
}

/* Tokens of one sequence, and packed ones: their first and last token are that far apart. */
static void test_tokens_over_2_to_31_elements_apart(void **state) {
    (void)state;
    gen_problem problem;
    make_far_problem(&problem);
    help_run_options options = {.seed = 6, .skip = -1, .apart_token = ELEMENT_MOST * far_elements / 16};
    tune_case_spec spec = {.seed = 7, .sequences = 1, .length = {18}, .gates = TUNE_GATES_ORDINARY};
    run(&problem, NHA_PREFILL, &spec, &options, NULL);
    spec = (tune_case_spec){.seed = 8, .sequences = 3, .length = {9, 8, 7}, .packed = true, .gates = TUNE_GATES_MIXED};
    run(&problem, NHA_PREFILL, &spec, &options, NULL);
}

/* Rings of 2^27 tokens, 18 bytes (of gate and s) to 64: each head's is more than 2^31 bytes. Sequences stand shortly
 * before the ring's end and shortly after it. */
static void test_cache_over_2_to_31_bytes(void **state) {
    (void)state;
    gen_problem problem;
    make_far_problem(&problem);
    const int64_t ring = INT64_C(1) << 27;
    assert_true(ring * problem.nha.slots * 2 > far_elements);
    help_run_options options = {.seed = 7, .skip = -1, .ring_tokens = ring};
    tune_case_spec spec = {.seed = 9,
                           .sequences = 2,
                           .length = {18, 18},
                           .cached = true,
                           .pos = {ring - 5, 3 * ring + 2},
                           .gates = TUNE_GATES_ORDINARY};
    run(&problem, NHA_PREFILL, &spec, &options, NULL);
    spec.length[0] = spec.length[1] = 7;
    run(&problem, NHA_DECODE, &spec, &options, NULL);
}

/* Rounding that adds up with the length; 65,536 tokens with NHAC_LONG. */
static void test_long_sequence(void **state) {
    (void)state;
    const char *full = getenv("NHAC_LONG");
    int64_t tokens = full && *full && strcmp(full, "0") ? 65536 : 2048;
    gen_problem problem;
    make_problem(&problem, (nha_problem){.head_dim_qk = 8,
                                         .head_dim_v = 8,
                                         .heads_q = 1,
                                         .heads_kv = 1,
                                         .slots = 6,
                                         .window = 8,
                                         .slot_lag = 8,
                                         .dtype = NHA_F32,
                                         .gate_dtype = NHA_F32,
                                         .rope = NHA_ROPE_NEOX});
    help_run_options options = {.seed = 6, .skip = -1, .unchecked = true};
    tune_case_spec spec = {.seed = 7, .sequences = 1, .length = {tokens}, .gates = TUNE_GATES_SLOW};
    tune_verify_report report = {0};
    run(&problem, NHA_PREFILL, &spec, &options, &report);
    print_message("%lld tokens: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", (long long)tokens, report.worst[TUNE_CHECK_O],
                  report.worst[TUNE_CHECK_LSE], report.worst[TUNE_CHECK_HK], report.worst[TUNE_CHECK_HV]);
}

static bool count_legal(void *context, const gen_cuda_tile *tile, const char *reason) {
    (void)tile;
    *(int *)context += !reason;
    return true;
}

/* Every problem has a default tile on every target, the largest too; specs that need none of the memory's or window's
 * code as well. What the default needs fits the target. */
static void test_every_target(void **state) {
    (void)state;
    int kernel_count, target_count;
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&kernel_count);
    const gen_cuda_target *targets = gen_cuda_target_table(&target_count);
    assert_true(kernel_count >= 2 && target_count >= 7);
    for (int size = 0; size < 8; size++)
        for (int dtype = NHA_F32; dtype <= NHA_BF16; dtype++)
            for (int k = 0; k < kernel_count; k++)
                for (int t = 0; t < target_count; t++) {
                    int big = size & 1 ? 256 : 8, slots = size & 2 ? 256 : 0, group = size & 4 ? 71 : 1, legal = 0;
                    gen_problem problem;
                    gen_cuda_tile tile;
                    gen_cuda_unit unit;
                    err e = {0};
                    make_problem(&problem, (nha_problem){.head_dim_qk = big,
                                                         .head_dim_v = big,
                                                         .heads_q = group,
                                                         .heads_kv = 1,
                                                         .slots = slots,
                                                         .window = 5,
                                                         .slot_lag = 5,
                                                         .dtype = dtype,
                                                         .gate_dtype = dtype,
                                                         .rope = NHA_ROPE_NEOX,
                                                         .slot_map = NHA_MAP_SILU,
                                                         .value_map = NHA_MAP_SILU});
                    check(targets[t].name,
                          gen_cuda_tile_default(gen_embedded_files, &kernels[k], &problem, &targets[t], &tile, &e) &&
                              gen_cuda_emit(gen_embedded_files, &kernels[k], &problem, &targets[t], &tile, &unit, &e),
                          &e);
                    assert_string_equal(unit.reason, "");
                    assert_true(unit.layout.shared_bytes[0] <= targets[t].shared_block_bytes);
                    gen_cuda_unit_destroy(&unit);
                    if (t == 0 && size == 7 &&
                        gen_cuda_space(gen_embedded_files, &kernels[k], &problem, &targets[t], count_legal, &legal, &e))
                        assert_true(legal >= 2); /* a space to search even there */
                }
}

/* The kernels of a model, untuned, for every target: none spills or has a stack frame. (Prefill's is exempt from the
 * rule; this one need not be.) */
static void test_model_without_spills(void **state) {
    (void)state;
    int target_count, missing = 0;
    const gen_cuda_target *targets = gen_cuda_target_table(&target_count);
    jit_nvrtc *nvrtc = help_nvrtc();
    gen_spec spec;
    err e = {0};
    check("specs/llama3-8b.yaml", gen_spec_read("specs/llama3-8b.yaml", &spec, &e), &e);
    for (int t = 0; t < target_count; t++)
        for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            help_kernel kernel;
            char reason[256] = "";
            if (!jit_nvrtc_knows(nvrtc, targets[t].name)) {
                print_message("NOT CHECKED: %s, which NVRTC %s does not know\n", targets[t].name,
                              jit_nvrtc_version(nvrtc));
                missing++;
                continue;
            }
            check(targets[t].name,
                  help_kernel_create(nvrtc, gen_embedded_files, &spec.problem, (nha_op)op, targets[t].name, NULL,
                                     &kernel, &e),
                  &e);
            assert_int_equal(kernel.image.kernel_count, op == NHA_PREFILL ? 2 : 1);
            if (!jit_cuda_spill_free(&kernel.image, reason, sizeof reason))
                fail_msg("%s: %s", targets[t].name, reason);
            help_kernel_destroy(&kernel);
        }
    gen_spec_destroy(&spec);
    jit_nvrtc_close(nvrtc);
    assert_true(target_count >= 7 && missing < 2 * target_count);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches_over_2_to_31_elements_apart),
                                       cmocka_unit_test(test_heads_over_2_to_31_elements_apart),
                                       cmocka_unit_test(test_tokens_over_2_to_31_elements_apart),
                                       cmocka_unit_test(test_cache_over_2_to_31_bytes),
                                       cmocka_unit_test(test_long_sequence),
                                       cmocka_unit_test(test_every_target),
                                       cmocka_unit_test(test_model_without_spills)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
