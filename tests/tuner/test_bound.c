/* test_bound.c: the terms of the bound and the physical floor, on shapes worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/bound.h"
#include "tuner/floor.h"

/* HQ = 8, H = 2, K = V = 128, M = 64, W = 64 = L, bf16, gates as logits. */
static gen_problem problem_of(const char *more) {
    char text[400];
    gen_spec spec;
    err e = {0};
    snprintf(text, sizeof text,
             "name: x\nhead_dim: 128\nheads: {query: 8, kv: 2}\nslots: 64\nwindow: 64\ndtype: bf16\n%s", more);
    if (!gen_spec_parse("x", text, strlen(text), &spec, &e))
        fail_msg("%s", e.text);
    gen_problem problem = spec.problem;
    gen_spec_destroy(&spec);
    return problem;
}

static void test_work(void **state) {
    (void)state;
    const gen_shape shape = {.op = NHA_PREFILL, .batch = 3, .tokens = 256};
    gen_problem logits = problem_of(""), logs = problem_of("gate: {input: log}\n");
    /* A sequence: 8 heads x (256 x 64 slots + 64 x 65 / 2 + 192 x 64 of the window); 192 tokens are absorbed by 2
     * heads. */
    double softmax = 8 * (256 * 64 + 2080 + 192 * 64), gates = 2 * 192 * 64;
    assert_true(tune_work_of(&logits, &shape, 0).exponentials == 3 * (softmax + 2 * gates));
    assert_true(tune_work_of(&logs, &shape, 0).exponentials == 3 * (softmax + gates));
    const gen_shape step = {.op = NHA_DECODE, .batch = 3, .tokens = 2};
    assert_true(tune_work_of(&logits, &step, 1000).exponentials == 3 * 2 * (8 * 128 + 2 * 2 * 64));
}

static void test_l2(void **state) {
    (void)state;
    gen_problem p = problem_of("");
    const gen_shape shape = {.op = NHA_PREFILL, .batch = 2, .tokens = 200};
    tune_work work = {.read_bytes = 1000};
    /* Four blocks (64, 64, 64, 8): the memory 4 times in and out; before the blocks 0, 63, 63, 63 tokens of the window;
     * 136 absorbed. */
    double head = 4 * 8.0 * 64 * 256 + 2.0 * 256 * (3 * 63 + 136);
    assert_true(tune_l2_bytes(&p, &shape, &work) == 1000 + 2 * 2 * head);
    /* A window of 130: before the blocks 0, 64, 128, 129 tokens; 70 absorbed. */
    p.nha.window = p.nha.slot_lag = 130;
    head = 4 * 8.0 * 64 * 256 + 2.0 * 256 * (0 + 64 + 128 + 129 + 70);
    assert_true(tune_l2_bytes(&p, &shape, &work) == 1000 + 2 * 2 * head);
    /* No window; then a window alone that nothing leaves. */
    p.nha.window = 0;
    assert_true(tune_l2_bytes(&p, &shape, &work) == 1000 + 2 * 2 * (4 * 8.0 * 64 * 256 + 2.0 * 256 * 70));
    p.nha.window = 1 << 20;
    p.nha.slots = 0;
    assert_true(tune_l2_bytes(&p, &shape, &work) == 1000 + 2 * 2 * 2.0 * 256 * (0 + 64 + 128 + 192));
}

static void test_terms(void **state) {
    (void)state;
    gen_problem p = problem_of("");
    const gen_shape shape = {.op = NHA_PREFILL, .batch = 1, .tokens = 64},
                    step = {.op = NHA_DECODE, .batch = 1, .tokens = 1};
    tune_work work = {.flops = 1e6, .exponentials = 3e4, .read_bytes = 5e4, .update_bytes = 2e4};
    tune_rates rates = {.flops = 1e6, .exponentials = 5e3, .l2_bytes = 1e5, .read_bytes = 1e4, .update_bytes = 5e3};
    double l2 = (5e4 + 2 * 8.0 * 64 * 256) / 1e5;
    tune_bound b = tune_bound_of(&p, &shape, &work, &rates);
    assert_true(b.products_us == 1 && b.exp_us == 6 && fabs(b.l2_us - l2) < 1e-12 && b.memory_us == 9 && b.us == 6);
    assert_string_equal(b.by, "exponentials");
    rates.flops = 1e5;
    b = tune_bound_of(&p, &shape, &work, &rates);
    assert_true(b.products_us == 10 && b.us == 10);
    assert_string_equal(b.by, "products");
    rates.l2_bytes = 1e3;
    b = tune_bound_of(&p, &shape, &work, &rates);
    assert_true(b.us == b.l2_us && b.us > 10);
    assert_string_equal(b.by, "L2");
    rates.flops = 1e6;
    b = tune_bound_of(&p, &step, &work, &rates);
    assert_true(b.us == 9 && b.l2_us == 0);
    assert_string_equal(b.by, "memory");
    b = tune_bound_of(&p, &shape, &work, &(tune_rates){.flops = 2e6}); /* a GPU: no exponentials, no L2 */
    assert_true(b.us == 0.5 && b.exp_us == 0 && b.l2_us == 0 && b.memory_us == 0);
}

/* By the units of the candidates' ISA: tiles may take a fraction of the time that vectors need, and no less than tiles
 * can do. */
static void test_floor(void **state) {
    (void)state;
    gen_problem p = problem_of("");
    const gen_shape shape = {.op = NHA_PREFILL, .batch = 1, .tokens = 4096};
    tune_work w = tune_work_of(&p, &shape, 0);
    const tune_arch amx = {.isa = gen_isa_find("amx")}, avx2 = {.isa = gen_isa_find("avx2")};
    double tiles = w.flops / (6e3 * 1024), exponentials = w.exponentials / (6e3 * 0.5 * 16);
    assert_true(fabs(tune_floor_us(&p, &amx, &shape, 1, 0) / fmax(tiles, exponentials) - 1) < 1e-9);
    assert_true(fabs(tune_floor_us(&p, &avx2, &shape, 2, 0) / (w.flops / (2 * 6e3 * 32)) - 1) < 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_work), cmocka_unit_test(test_l2),
                                       cmocka_unit_test(test_terms), cmocka_unit_test(test_floor)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
