/* rows.c: rows between user memory and scratch, gates, constants of rotation. */
#include "gen/cpu/rows.h"

#include <math.h>

#include "gen/cpu/ir_math.h"
#include "gen/cpu/tile.h"

enum { ROTATION_TOKENS_MAX = 64, PAIRS_MAX = GEN_HEAD_DIM_MAX / 2 };

int row_element_bytes(int dtype) {
    return dtype == NHA_F32 ? 4 : 2;
}

static val element(ir *b, val base, val offset, int64_t bytes) {
    return ir_at(b, base, ir_mulc(b, offset, bytes));
}

static void copy_piece(ir *b, void *context, val offset, int width) {
    const row_copy *c = context;
    val x = ir_load_dtype(b, c->dtype, width, element(b, c->from, offset, row_element_bytes(c->dtype)));
    val raw = c->scale == 1 ? x : ir_fmul(b, x, ir_like(b, x, c->scale));
    val mapped = tile_map(b, c->map, x);
    if (c->scale != 1)
        mapped = c->map == NHA_MAP_IDENTITY ? raw : ir_fmul(b, mapped, ir_like(b, x, c->scale));
    ir_store(b, mapped, element(b, c->to, offset, 4), 4);
    if (c->to_raw)
        ir_store(b, raw, element(b, c->to_raw, offset, 4), 4);
}

void row_load(ir *b, int n, const row_copy *copy) {
    tile_pieces(b, n, (void *)copy, copy_piece);
}

static void zero_piece(ir *b, void *context, val offset, int width) {
    ir_store(b, LLVMConstNull(ir_vec(b, b->f32, width)), element(b, *(val *)context, offset, 4), 4);
}

void row_zero(ir *b, int n, val to) {
    tile_pieces(b, n, &to, zero_piece);
}

typedef struct row_out {
    int dtype;
    val from, to, factor;
} row_out;

static void out_piece(ir *b, void *context, val offset, int width) {
    const row_out *c = context;
    val x = ir_load(b, ir_vec(b, b->f32, width), element(b, c->from, offset, 4), 4), factor = c->factor;
    int zero[IR_VECTOR_MAX] = {0};
    if (width > 1)
        factor = ir_shuffle(b, ir_splat(b, factor), NULL, zero, width);
    ir_store_dtype(b, c->dtype, width, ir_fmul(b, x, factor), element(b, c->to, offset, row_element_bytes(c->dtype)));
}

void row_store(ir *b, int n, int dtype, val from, val to, val factor) {
    row_out c = {dtype, from, to, factor};
    tile_pieces(b, n, &c, out_piece);
}

gate_values row_gate(kernel *k, val gate, val given_s, val offset, int width) {
    ir *b = &k->b;
    int64_t bytes = row_element_bytes(k->p->gate_dtype);
    gate_values v;
    v.g = ir_load_dtype(b, k->p->gate_dtype, width, element(b, gate, offset, bytes));
    if (k->p->gate_input == NHA_GATE_LOGIT)
        v.g = ir_fmul(b, ir_logsigmoid(b, v.g), ir_like(b, v.g, 1.0 / k->p->gate_normalizer));
    ir_exp_expm1(b, v.g, &v.e, &v.m1);
    v.s = k->p->gate_s_given ? ir_load_dtype(b, k->p->gate_dtype, width, element(b, given_s, offset, bytes)) : ir_fneg(b, v.m1);
    return v;
}

void row_decay(ir *b, val exp, val expm1, val *keep, val *scaled) {
    val fast = ir_flt(b, expm1, ir_like(b, expm1, -0.5));
    *keep = ir_select(b, fast, ir_like(b, exp, 0), ir_like(b, exp, 1));
    *scaled = ir_select(b, fast, exp, expm1);
}

rotation_table row_rotation_table(kernel *k, int tokens) {
    float cosine[ROTATION_TOKENS_MAX * PAIRS_MAX] = {0}, sine[ROTATION_TOKENS_MAX * PAIRS_MAX] = {0};
    uint64_t turns[PAIRS_MAX] = {0};
    for (int i = 0; i < k->K / 2; i++) {
        turns[i] = k->problem->turns[i];
        for (int t = 0; t < tokens; t++) {
            uint64_t angle = turns[i] * (uint64_t)t;
            double radians = (double)(int64_t)angle * (6.283185307179586476925 / 18446744073709551616.0);
            cosine[t * k->hp + i] = (float)cos(radians);
            sine[t * k->hp + i] = (float)sin(radians);
        }
    }
    return (rotation_table){.turns = ir_const_i64(&k->b, "turns", turns, k->hp),
                            .cosine = ir_const_f32(&k->b, "cosine_of_token", cosine, tokens * k->hp),
                            .sine = ir_const_f32(&k->b, "sine_of_token", sine, tokens * k->hp)};
}
