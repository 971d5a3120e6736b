/* pending.c: weights of pending tokens, and folding them into a memory:
 *     h' = keep h + (scaled h + sum_j c_j x_j),    c_j = s_j prod_{i>j} e_i,    (keep, scaled): row_decay of E = prod e_j */
#include "gen/cpu/pending.h"

#include "gen/cpu/memory.h"
#include "gen/cpu/rows.h"
#include "gen/cpu/tile.h"

enum { FOLD_ROWS = 2, FOLD_VECTORS_MAX = 8 };

val pending_at(kernel *k, val f, val j, int64_t floats) {
    val token = ir_at(&k->b, frame_ptr(k, f, FRAME_PENDING), ir_mulc(&k->b, j, k->pending_floats * 4));
    return ir_atc(&k->b, token, floats * 4);
}

void pending_store_count(kernel *k, val f, val count) {
    ir *b = &k->b;
    val at = frame_pending_count(k, frame_ptr(k, f, FRAME_ROW), frame_i64(k, f, FRAME_HEAD));
    ir_store(b, LLVMBuildTrunc(b->builder, count, b->i8, ""), at, 1);
    frame_set(k, f, FRAME_PENDING_COUNT, count);
}

/* ---- weigh: newest token first, so that all factors are in [0,1]; E - 1 = sum_j expm1(g_j) prod_{i>j} e_i ---- */

static void emit_weigh(kernel *k) {
    ir *b = &k->b;
    k->weigh_pending = phase_begin(k, "weigh_pending", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0), count = frame_i64(k, f, FRAME_PENDING_COUNT);
    ir_loop columns, tokens;
    ir_loop_begin(b, &columns, ir_int(b, 0), ir_int(b, k->mp * 4), ir_int(b, b->vl * 4), NULL, 0);
    val state[2] = {ir_vfloat(b, 1), ir_zero(b)}; /* prod e, E - 1 */
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), state, 2);
    val j = ir_addc(b, ir_sub(b, count, tokens.index), -1), token = ir_at(b, pending_at(k, f, j, 0), columns.index);
    val e = ir_load_v(b, token), m1 = ir_load_v(b, ir_atc(b, token, k->mp * 4));
    val s = k->p->gate_s_given ? ir_load_v(b, ir_atc(b, token, 2 * k->mp * 4)) : ir_fneg(b, m1);
    ir_store_v(b, ir_fmul(b, s, state[0]), ir_at(b, frame_at(k, f, k->pending_c, j, 0), columns.index));
    state[1] = ir_fma(b, m1, state[0], state[1]);
    state[0] = ir_fmul(b, e, state[0]);
    ir_loop_end(b, &tokens, state);
    val keep, scaled;
    row_decay(b, state[0], state[1], &keep, &scaled);
    ir_store_v(b, state[0], ir_at(b, frame_at(k, f, k->pending_e, NULL, 0), columns.index));
    ir_store_v(b, keep, ir_at(b, frame_at(k, f, k->keep, NULL, 0), columns.index));
    ir_store_v(b, scaled, ir_at(b, frame_at(k, f, k->scaled, NULL, 0), columns.index));
    ir_loop_end(b, &columns, NULL);
    phase_end(k);
}

void pending_weigh(kernel *k, val f) {
    ir_call(&k->b, k->weigh_pending, &f, 1);
}

/* ---- fold ---- */

/* h' of nv vectors at `row`, given the sums of new. */
static void renew(const memory_store *m, val row, const val *new, const val *keep, const val *scaled, int nv) {
    ir *b = &m->k->b;
    const int64_t bytes = (int64_t)b->vl * memory_bytes(m);
    val ask = memory_ask(m->k, row);
    for (int c = 0; c < nv; c++) {
        ir_prefetch_lines(b, ask, c * bytes, bytes, true);
        val at = ir_atc(b, row, c * bytes), h = memory_load(m, b->vl, at);
        val sum = ir_fma(b, scaled[c], h, new[c]);
        memory_put(m, ir_select(b, keep[c], ir_fadd(b, h, sum), sum), at);
        ir_barrier(b);
    }
}

static val is_kept(ir *b, val keep) { /* 0 or 1, as a mask */
    return ir_flt(b, LLVMConstNull(LLVMTypeOf(keep)), keep);
}

/* hk: lanes are slots, a row a dimension; `nv` vectors of slots from `col` on. */
static void fold_keys(kernel *k, val f, const memory_store *m, int col, int nv) {
    ir *b = &k->b;
    val count = frame_i64(k, f, FRAME_PENDING_COUNT), keep[FOLD_VECTORS_MAX], scaled[FOLD_VECTORS_MAX];
    for (int c = 0; c < nv; c++) {
        keep[c] = is_kept(b, ir_load_v(b, frame_at(k, f, k->keep, NULL, (col + c) * b->vl)));
        scaled[c] = ir_load_v(b, frame_at(k, f, k->scaled, NULL, (col + c) * b->vl));
    }
    ir_loop rows, tokens;
    ir_loop_begin(b, &rows, ir_int(b, 0), ir_int(b, k->K), ir_int(b, FOLD_ROWS), NULL, 0);
    val row = ir_at(b, ir_atc(b, m->base, (int64_t)col * b->vl * memory_bytes(m)), ir_mulc(b, rows.index, k->mp * memory_bytes(m)));
    val new[FOLD_ROWS * FOLD_VECTORS_MAX];
    for (int i = 0; i < FOLD_ROWS * nv; i++)
        new[i] = ir_zero(b);
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), new, FOLD_ROWS * nv);
    val x = ir_at(b, pending_at(k, f, tokens.index, k->pending_k), ir_mulc(b, rows.index, 4)), key[FOLD_ROWS];
    for (int r = 0; r < FOLD_ROWS; r++)
        key[r] = ir_splat(b, ir_load_f32(b, ir_atc(b, x, r * 4)));
    for (int c = 0; c < nv; c++) {
        val weight = ir_load_v(b, frame_at(k, f, k->pending_c, tokens.index, (col + c) * b->vl));
        for (int r = 0; r < FOLD_ROWS; r++)
            new[r * nv + c] = ir_fma(b, weight, key[r], new[r * nv + c]);
    }
    ir_loop_end(b, &tokens, new);
    for (int r = 0; r < FOLD_ROWS; r++) {
        val at = ir_atc(b, row, (int64_t)r * k->mp * memory_bytes(m));
        renew(m, at, new + r * nv, keep, scaled, nv);
    }
    ir_loop_end(b, &rows, NULL);
}

/* hv: a row a slot; `nv` vectors of values from `col` on. */
static void fold_values(kernel *k, val f, const memory_store *m, int col, int nv) {
    ir *b = &k->b;
    val hv = ir_atc(b, m->base, (int64_t)k->K * k->mp * memory_bytes(m));
    val count = frame_i64(k, f, FRAME_PENDING_COUNT), keep[FOLD_VECTORS_MAX], scaled[FOLD_VECTORS_MAX],
        new[FOLD_VECTORS_MAX];
    ir_loop slots, tokens;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), NULL, 0);
    val row = ir_at(b, ir_atc(b, hv, (int64_t)col * b->vl * memory_bytes(m)), ir_mulc(b, slots.index, k->vp * memory_bytes(m)));
    val slot = ir_mulc(b, slots.index, 4);
    for (int c = 0; c < nv; c++)
        new[c] = ir_zero(b);
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), new, nv);
    val weight = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->pending_c, tokens.index, 0), slot)));
    val x = pending_at(k, f, tokens.index, k->pending_v + (int64_t)col * b->vl);
    for (int c = 0; c < nv; c++)
        new[c] = ir_fma(b, weight, ir_load_v(b, ir_atc(b, x, (int64_t)c * b->vl * 4)), new[c]);
    ir_loop_end(b, &tokens, new);
    keep[0] = is_kept(b, ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->keep, NULL, 0), slot))));
    scaled[0] = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->scaled, NULL, 0), slot)));
    for (int c = 1; c < nv; c++) {
        keep[c] = keep[0];
        scaled[c] = scaled[0];
    }
    renew(m, row, new, keep, scaled, nv);
    ir_loop_end(b, &slots, NULL);
}

static void emit_fold(kernel *k) {
    ir *b = &k->b;
    k->fold_pending = phase_begin(k, "fold_pending", "pp", (const char *const[]){"scratch", "memory"});
    val f = ir_param(b, 0);
    /* decode folds in the row, prefill in its own copy */
    memory_store m = k->op == NHA_DECODE ? memory_of_row(k, f, NULL) : memory_in_scratch(k, ir_param(b, 1));
    m.base = ir_param(b, 1);
    bool many = b->isa->registers >= 32;
    int keys = tile_even(k->mv, many ? 4 : 2), values = tile_even(k->vv, many ? 8 : 4);
    pending_weigh(k, f);
    for (int col = 0; col < k->mv; col += keys)
        fold_keys(k, f, &m, col, k->mv - col < keys ? k->mv - col : keys);
    for (int col = 0; col < k->vv; col += values)
        fold_values(k, f, &m, col, k->vv - col < values ? k->vv - col : values);
    phase_end(k);
}

void pending_fold(kernel *k, val f, val to) {
    ir *b = &k->b;
    ir_if waiting;
    ir_if_begin(b, &waiting, ir_cmp(b, ">", frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 0)));
    ir_call(b, k->fold_pending, (val[]){f, to}, 2);
    ir_if_end(b, &waiting);
}

void pending_emit(kernel *k) {
    emit_weigh(k);
    emit_fold(k);
}
