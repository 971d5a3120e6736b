/* decode_read.c: phases that mix slots and window in one softmax, read values, and store the output. */
#include <math.h>
#include <string.h>

#include "gen/cpu/decode.h"
#include "gen/cpu/ir_math.h"
#include "gen/cpu/memory.h"
#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

static val broadcast(ir *b, val scalar, int width) {
    if (width == b->vl)
        return ir_splat(b, scalar);
    int zero[IR_VECTOR_MAX] = {0};
    return ir_shuffle(b, ir_splat(b, scalar), NULL, zero, width);
}

/* ---- softmax over slots_p[g][0..M) and window[g][0..count), both to probabilities; row_sum, row_max ---- */

typedef struct softmax_row {
    kernel *k;
    val slots, window, count;
} softmax_row;

typedef val (*row_visit)(kernel *k, val carried, val top, val at, val valid);

static val visit_row(const softmax_row *r, val carried, val top, row_visit visit) {
    kernel *k = r->k;
    ir *b = &k->b;
    for (int m = 0; k->M && m < k->mv; m++) {
        bool tail = (m + 1) * b->vl > k->M;
        val valid = tail ? ir_cmp(b, "u<", b->lanes, ir_vint(b, k->M - m * b->vl)) : NULL;
        carried = visit(k, carried, top, ir_atc(b, r->slots, (int64_t)m * b->vl * 4), valid);
    }
    if (!k->W)
        return carried;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), r->count, ir_int(b, b->vl), &carried, 1);
    val rest = LLVMBuildTrunc(b->builder, ir_sub(b, r->count, loop.index), b->i32, "");
    val valid = ir_cmp(b, "<", b->lanes, ir_splat(b, rest));
    carried = visit(k, carried, top, ir_at(b, r->window, ir_mulc(b, loop.index, 4)), valid);
    ir_loop_end(b, &loop, &carried);
    return carried;
}

static val row_score(kernel *k, val at, val valid) {
    val x = ir_load_v(&k->b, at);
    return valid ? ir_select(&k->b, valid, x, ir_vfloat(&k->b, -INFINITY)) : x;
}

static val visit_max(kernel *k, val carried, val top, val at, val valid) {
    (void)top;
    return ir_fmax(&k->b, carried, row_score(k, at, valid));
}

static val visit_exp(kernel *k, val carried, val top, val at, val valid) {
    ir *b = &k->b;
    val p = ir_exp2(b, ir_fsub(b, row_score(k, at, valid), top), k->tile.knob[GEN_EXP_DEGREE]);
    ir_store_v(b, p, at);
    return ir_fadd(b, carried, p);
}

void decode_emit_softmax(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->softmax = phase_begin(k, "softmax", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    window w = k->W ? window_of(k, f) : (window){0};
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    softmax_row r = {.k = k, .count = w.count};
    r.slots = k->M ? frame_at(k, f, k->slots_p, loop.index, 0) : NULL;
    r.window = k->W ? window_at(k, f, &w, loop.index) : NULL;
    val m = ir_reduce(b, visit_row(&r, ir_vfloat(b, -INFINITY), NULL, visit_max), ir_fmax);
    val sum = ir_reduce(b, visit_row(&r, ir_zero(b), ir_splat(b, m), visit_exp), ir_fadd);
    val head = ir_mulc(b, loop.index, 4);
    ir_store(b, m, ir_at(b, frame_at(k, f, k->row_max, NULL, 0), head), 4);
    ir_store(b, sum, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), head), 4);
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* ---- read: hv' = keep*hv + (scaled*hv + s*v), or hv if deferred; out_g = sum_m p hv' + sum_j p v_j, by blocks of V ---- */

static void read_slots(kernel *k, val f, const memory_store *memory, val *acc, const pieces *p, int first, int count, int g0, int heads, val from, val to) {
    ir *b = &k->b;
    bool update = g0 == 0 && decode_defer(k) == 1;
    val token[DECODE_PIECES_MAX];
    /* accumulators, weights, values of the token, s, scaled, keep, a row and what is on its way: where registers are too few, the token stays in scratch */
    bool resident = heads * (count + 1) + count + 9 < b->isa->registers;
    for (int j = 0; update && resident && j < count; j++)
        token[j] = f32_at(b, frame_at(k, f, k->d_v, NULL, 0), p->offset[first + j], p->width[first + j]);
    int element = memory_bytes(memory);
    ir_loop loop;
    ir_loop_begin(b, &loop, from, to, ir_int(b, 1), acc, heads * count);
    val row = ir_at(b, ir_atc(b, memory->base, (int64_t)k->K * k->mp * element), ir_mulc(b, loop.index, k->vp * element)), slot = ir_mulc(b, loop.index, 4);
    val s = NULL, keep = NULL, scaled = NULL;
    if (update) {
        s = ir_load_f32(b, ir_at(b, frame_at(k, f, k->s, NULL, 0), slot));
        keep = ir_load_f32(b, ir_at(b, frame_at(k, f, k->keep, NULL, 0), slot));
        scaled = ir_load_f32(b, ir_at(b, frame_at(k, f, k->scaled, NULL, 0), slot));
    }
    val weight[DECODE_HEADS_MAX], ask = g0 == 0 ? memory_ask(k, row) : NULL;
    for (int g = 0; g < heads; g++)
        weight[g] = ir_load_f32(b, ir_at(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + g), 0), slot));
    for (int j = 0; j < count; j++) {
        int width = p->width[first + j];
        int64_t byte = (int64_t)p->offset[first + j] * element;
        ir_prefetch_lines(b, ask, byte, (int64_t)width * element, update);
        val at = ir_atc(b, row, byte), h = memory_load(memory, width, at);
        if (update) {
            if (!resident)
                token[j] = f32_at(b, frame_at(k, f, k->d_v, NULL, 0), p->offset[first + j], width);
            val new = ir_fmul(b, broadcast(b, s, width), token[j]);
            h = ir_fma(b, broadcast(b, keep, width), h, ir_fma(b, broadcast(b, scaled, width), h, new));
            memory_put(memory, h, at);
        }
        for (int g = 0; g < heads; g++)
            acc[g * count + j] = ir_fma(b, broadcast(b, weight[g], width), h, acc[g * count + j]);
        ir_barrier(b);
    }
    ir_loop_end(b, &loop, acc);
}

/* acc[g] += pending_p[g][j] * v_j */
static void read_pending(kernel *k, val f, val *acc, const pieces *p, int first, int count, int g0, int heads) {
    ir *b = &k->b;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 1), acc, heads * count);
    val row = pending_at(k, f, loop.index, k->pending_v), token = ir_mulc(b, loop.index, 4);
    for (int g = 0; g < heads; g++) {
        val weight = ir_load_f32(b, ir_at(b, frame_at(k, f, k->pending_p, ir_int(b, g0 + g), 0), token));
        for (int j = 0; j < count; j++) {
            val v = f32_at(b, row, p->offset[first + j], p->width[first + j]);
            acc[g * count + j] = ir_fma(b, broadcast(b, weight, p->width[first + j]), v, acc[g * count + j]);
        }
    }
    ir_loop_end(b, &loop, acc);
}

static void read_window(kernel *k, val f, const window *w, val *acc, const pieces *p, int first, int count, int g0, int heads, val from, val to) {
    ir *b = &k->b;
    int esize = row_element_bytes(k->p->dtype);
    val carried[TILE_ACC_MAX], ring = frame_ptr(k, f, FRAME_RING_V);
    val entry = ir_add(b, w->entry, from);
    carried[0] = ir_select(b, ir_cmp(b, "<", entry, w->ring), entry, ir_sub(b, entry, w->ring));
    memcpy(carried + 1, acc, sizeof acc[0] * (size_t)(heads * count));
    ir_loop loop;
    ir_loop_begin(b, &loop, from, to, ir_int(b, 1), carried, heads * count + 1);
    val row = ir_at(b, ring, ir_mulc(b, carried[0], (int64_t)k->V * esize)), weight[DECODE_HEADS_MAX];
    val ask = g0 == 0 ? window_ask(k, f, w, loop.index, carried[0], true) : NULL;
    for (int g = 0; g < heads; g++)
        weight[g] = ir_load_f32(b, ir_at(b, window_at(k, f, w, ir_int(b, g0 + g)), ir_mulc(b, loop.index, 4)));
    for (int j = 0; j < count; j++) {
        int width = p->width[first + j];
        int64_t byte = (int64_t)p->offset[first + j] * esize;
        ir_prefetch_lines(b, ask, byte, (int64_t)width * esize, false);
        val v = ir_load_dtype(b, k->p->dtype, width, ir_atc(b, row, byte));
        v = tile_map(b, k->p->value_map, v);
        for (int g = 0; g < heads; g++)
            carried[1 + g * count + j] = ir_fma(b, broadcast(b, weight[g], width), v, carried[1 + g * count + j]);
        ir_barrier(b);
    }
    carried[0] = next_entry(b, carried[0], w->ring);
    ir_loop_end(b, &loop, carried);
    memcpy(acc, carried + 1, sizeof acc[0] * (size_t)(heads * count));
}

typedef enum read_what { SLOTS, PENDING, WINDOW } read_what;

/* Adds rows from .. to of one of the three to the sums of all heads in scratch: by blocks of V and of heads. */
static void read_rows(kernel *k, val f, read_what what, const memory_store *memory, const window *w, val from, val to) {
    ir *b = &k->b;
    pieces p = pieces_of(k->V, b->vl);
    int block = tile_even(p.count, k->tile.knob[GEN_READ_VECTORS]), pass = decode_pass(k);
    for (int first = 0; first < p.count; first += block)
        for (int g0 = 0; g0 < k->G; g0 += pass) {
            int count = p.count - first < block ? p.count - first : block, heads = k->G - g0 < pass ? k->G - g0 : pass;
            val acc[TILE_ACC_MAX], at[TILE_ACC_MAX];
            for (int i = 0; i < heads * count; i++) {
                int piece = first + i % count;
                at[i] = frame_at(k, f, k->out, ir_int(b, g0 + i / count), p.offset[piece]);
                acc[i] = ir_load(b, ir_vec(b, b->f32, p.width[piece]), at[i], 4);
            }
            if (what == SLOTS)
                read_slots(k, f, memory, acc, &p, first, count, g0, heads, from, to);
            if (what == PENDING)
                read_pending(k, f, acc, &p, first, count, g0, heads);
            if (what == WINDOW)
                read_window(k, f, w, acc, &p, first, count, g0, heads, from, to);
            for (int i = 0; i < heads * count; i++)
                ir_store(b, acc[i], at[i], 4);
        }
}

/* The same for rows 0 .. end, PASS_ROWS at a time: what the first of several blocks brings to the first-level cache the others find there. */
static void read_by_rows(kernel *k, val f, read_what what, const memory_store *memory, const window *w, val end) {
    ir *b = &k->b;
    val rows = ir_int(b, k->tile.knob[GEN_PASS_ROWS]);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), end, rows, NULL, 0);
    read_rows(k, f, what, memory, w, loop.index, ir_min(b, ir_add(b, loop.index, rows), end));
    ir_loop_end(b, &loop, NULL);
}

void decode_emit_read(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->read = phase_begin(k, "read_values", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    for (int g = 0; g < k->G; g++)
        tile_zero(b, frame_at(k, f, k->out, ir_int(b, g), 0), k->vp);
    if (k->M) {
        memory_store memory = memory_of_row(k, f, NULL);
        read_by_rows(k, f, SLOTS, &memory, NULL, ir_int(b, k->M));
    }
    if (k->M && decode_defer(k) > 1)
        read_rows(k, f, PENDING, NULL, NULL, NULL, NULL);
    if (k->W) {
        window w = window_of(k, f);
        read_by_rows(k, f, WINDOW, NULL, &w, w.count);
    }
    phase_end(k);
}

/* ---- store_out: o = out / l, lse = m ln2 + ln l ---- */

void decode_emit_store_out(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t head = offsetof(nha_cpu_tensor, head);
    x->store_out = phase_begin(k, "store_out", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    val lse = frame_arg_ptr(k, f, offsetof(nha_cpu_args, lse) + offsetof(nha_cpu_tensor, data));
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_mulc(b, loop.index, 4), sum = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), row));
    val stride_o = frame_arg(k, f, offsetof(nha_cpu_args, o) + head), inverse = ir_fdiv(b, ir_float(b, 1), sum);
    val to = ir_at(b, frame_ptr(k, f, FRAME_O), ir_mul(b, loop.index, stride_o));
    row_store(b, k->V, k->p->dtype, frame_at(k, f, k->out, loop.index, 0), to, inverse);
    ir_if wanted;
    ir_if_begin(b, &wanted, LLVMBuildNot(b->builder, ir_is_null(b, lse), ""));
    val m = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_max, NULL, 0), row));
    val value = ir_fma(b, m, ir_float(b, 0.69314718055994530942), ir_log(b, sum));
    val stride = frame_arg(k, f, offsetof(nha_cpu_args, lse) + head);
    ir_store(b, value, ir_at(b, frame_ptr(k, f, FRAME_LSE), ir_mul(b, loop.index, stride)), 4);
    ir_if_end(b, &wanted);
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}
