/* test_amx.c: the verbs of AMX tiles against products in fp64: operands of one and two parts, blocks at the edges of a product, and what goes
 * with them: conversion to bf16 and the softmax's exponential. Skipped, loudly, where the machine grants no AMX. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"
#include "runtime/nha_library.h"
#include "tests/gen/help_gen.h"
#include "tests/shared/help_bits.h"

static const gen_isa *amx_or_skip(void) {
    const gen_isa *isa = gen_isa_find("amx");
    assert_non_null(isa);
    if (!help_gen_runs(isa)) {
        print_message("SKIPPED: this machine grants no AMX-BF16\n");
        skip();
    }
    return isa;
}

/* ---- C[rows][columns] = A[rows][inner] B[inner][columns] ---- */

enum { ROWS = 48, INNER = 64, COLUMNS = 48 }; /* one and a half blocks each way, two steps */

typedef struct shape {
    int left_parts, right_parts;
    int inner;   /* of the operands; at most INNER */
    int passes;  /* the product is added so many times, through memory */
} shape;

static amx_left left_of(const shape *s) {
    amx_left left = {.at = 0, .lda = s->left_parts * s->inner * 2 + 64, .parts = s->left_parts, .part = s->inner * 2};
    return left;
}

static amx_right right_of(const shape *s) {
    amx_right right = {.at = 64 << 10, .inner = s->inner / AMX_INNER, .columns = COLUMNS / AMX_TILE, .parts = s->right_parts};
    return right;
}

typedef struct visit_context {
    amx_product product;
    val out;
    int passes;
} visit_context;

static void visit(ir *b, void *context, const amx_block *at) {
    const visit_context *c = context;
    val to = ir_at(b, ir_at(b, c->out, ir_mulc(b, at->row, COLUMNS * 4)), ir_mulc(b, at->column, AMX_TILE * 4));
    for (int pass = 0; pass < c->passes; pass++) {
        if (pass)
            amx_load(b, at, to, COLUMNS * 4);
        else
            amx_zero(b, at);
        amx_accumulate(b, &c->product, at);
        amx_store(b, at, to, COLUMNS * 4);
    }
}

/* in: A, then B, fp32; out: C; out2: room for operands */
static void product_body(ir *b, const void *context, int width, val in, val out, val room, val index) {
    const shape *s = context;
    const amx_left left = left_of(s);
    const amx_right right = right_of(s);
    (void)width, (void)index;
    for (int r = 0; r < ROWS; r++)
        pack_row(b, &left, s->inner, ir_atc(b, in, (int64_t)r * s->inner * 4), ir_atc(b, room, (int64_t)r * left.lda));
    pack_rows(b, &right, ir_atc(b, room, right.at), ir_atc(b, in, (int64_t)ROWS * s->inner * 4), COLUMNS, s->inner);
    visit_context c = {{room, left, ir_atc(b, room, right.at), right}, out, s->passes};
    amx_configure(b);
    amx_blocks(b, ROWS, COLUMNS / AMX_TILE, &c, visit);
    amx_release(b);
}

static float spread(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return ldexpf((float)(int32_t)*state / 2147483648.0f, (int)(*state >> 9 & 7) - 4);
}

static void check_product(const gen_isa *isa, const shape *s) {
    int count = (ROWS + COLUMNS) * s->inner;
    float *in = aligned_alloc(64, (size_t)count * 4), *out = calloc(ROWS * COLUMNS, 4);
    char *room = aligned_alloc(64, 128 << 10);
    uint32_t state = 5;
    assert_true(in && out && room);
    for (int i = 0; i < count; i++)
        in[i] = spread(&state);
    memset(room, 0x7f, 128 << 10); /* NaN, wherever an operand was not written */
    help_gen_code code = help_gen_load(isa, 1, product_body, s);
    code.fn(in, out, room, 1);
    const float *a = in, *x = in + ROWS * s->inner;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            double sum = 0, size = 0;
            for (int i = 0; i < s->inner; i++) {
                float left = a[r * s->inner + i], right = x[i * COLUMNS + c];
                left = s->left_parts == 1 ? help_bf16_value(help_bf16_of(left)) : left;
                right = s->right_parts == 1 ? help_bf16_value(help_bf16_of(right)) : right;
                sum += (double)left * right * s->passes;
                size += fabs((double)left * right) * s->passes;
            }
            /* 2^-16 of each operand in two parts and their low product, or the sum's own rounding alone */
            double bound = (s->left_parts + s->right_parts > 2 ? 0x1p-14 : 0x1p-20) * size;
            if (!(fabs(out[r * COLUMNS + c] - sum) <= bound))
                fail_msg("parts %d x %d, inner %d, row %d, column %d: %.9g, not %.9g", s->left_parts, s->right_parts, s->inner,
                         r, c, (double)out[r * COLUMNS + c], sum);
        }
    help_gen_unload(&code);
    free(in);
    free(out);
    free(room);
}

static void test_products(void **state) {
    (void)state;
    const gen_isa *isa = amx_or_skip();
    static const shape shapes[] = {{1, 1, INNER, 1}, {2, 1, INNER, 1}, {1, 2, INNER, 1}, {2, 2, INNER, 1}, {1, 1, 32, 3}, {2, 2, 32, 2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_product(isa, &shapes[i]);
}

/* ---- 2^x as the softmax takes it ---- */

static void exp2_body(ir *b, const void *context, int width, val in, val out, val out2, val index) {
    (void)width, (void)out2;
    ir_store_v(b, ir_exp2_scale(b, ir_load_v(b, help_gen_at(b, in, index, 4)), *(const int *)context), help_gen_at(b, out, index, 4));
}

static void test_exp2_scale(void **state) {
    (void)state;
    enum { COUNT = 1 << 15 };
    static const double bound[] = {2.7e-6, 2.4e-7, 1e-7};
    static float in[COUNT], out[COUNT];
    const gen_isa *isa = amx_or_skip();
    for (int degree = 4; degree <= 6; degree++) {
        help_gen_code code = help_gen_load(isa, 16, exp2_body, &degree);
        for (int i = 0; i < COUNT; i++)
            in[i] = -125.9f * (float)i / COUNT + 1e-4f;
        in[0] = 0;
        code.fn(in, out, NULL, COUNT);
        assert_true(out[0] == 1.0f || fabs(out[0] - 1) <= bound[degree - 4]);
        for (int i = 0; i < COUNT; i++)
            if (!(fabs(out[i] / exp2(in[i]) - 1) <= bound[degree - 4]))
                fail_msg("degree %d: 2^%.9g = %.9g", degree, (double)in[i], (double)out[i]);
        static const float far[16] = {-160, -1e3f, -1e6f, -3e38f, -150, -151, -152, -153, -200, -300, -400, -500, -600, -700, -800, -1e30f};
        code.fn(far, out, NULL, 16);
        for (int i = 0; i < 16; i++)
            assert_true(out[i] >= 0 && out[i] < 0x1p-126f);
        help_gen_unload(&code);
    }
}

/* ---- which kernels run on tiles ---- */

static void test_serves(void **state) {
    (void)state;
    const gen_isa *amx = gen_isa_find("amx"), *avx512 = gen_isa_find("avx512");
    gen_problem problem;
    help_gen_problem(&problem, 64, 32, 64, 1, 4);
    assert_true(gen_cpu_serves(&problem, NHA_PREFILL, amx) == amx); /* f32 */
    problem.nha.head_dim_v = 56;
    assert_true(gen_cpu_serves(&problem, NHA_PREFILL, amx) == avx512);
    problem.nha.dtype = NHA_F16;
    assert_true(gen_cpu_serves(&problem, NHA_PREFILL, amx) == amx);
    problem.nha.dtype = NHA_BF16;
    assert_true(gen_cpu_serves(&problem, NHA_PREFILL, amx) == amx);
    assert_true(gen_cpu_serves(&problem, NHA_DECODE, amx) == avx512);
    assert_true(gen_cpu_serves(&problem, NHA_PREFILL, avx512) == avx512);
    int count;
    const gen_isa *table = gen_isa_table(&count);
    for (int i = 0; i < count; i++)
        assert_true(table[i].amx == (strstr(table[i].features, "+amx-bf16") != NULL) &&
                    table[i].amx == ((table[i].needs & NHA_CPU_AMX_BF16) != 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_exp2_scale),
                                       cmocka_unit_test(test_serves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
