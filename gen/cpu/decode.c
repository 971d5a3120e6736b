/* decode.c: one step of every sequence. A task is one (sequence, kv head): its memory streams through once, updated and used by all G
 * query heads in the same pass: hk [K,mp] with slots as lanes, so that scores need no horizontal sums; then hv [M,vp].
 * Window keys are kept raw. Rotation depends on distance alone: with jb = j & ~15, rot(q,t).rot(k,j) = rot(q,t-jb).rot(k,j-jb), where the
 * second angle is one of 16 constants and the first is computed once for 16 keys. */
#include <math.h>
#include <string.h>

#include "gen/cpu/ir_math.h"
#include "gen/cpu/memory.h"
#include "gen/cpu/tile.h"

enum { PIECES_MAX = 64, HEADS_MAX = 8, ANGLES = 16 };

/* n elements as vectors of vl, then 8, 4: n is a multiple of 4 */
typedef struct pieces {
    int count, offset[PIECES_MAX], width[PIECES_MAX];
} pieces;

static pieces pieces_of(int n, int vl) {
    pieces p = {0};
    int offset = 0;
    for (int width = vl; width >= 4; width /= 2)
        for (; n - offset >= width; offset += width) {
            p.offset[p.count] = offset;
            p.width[p.count++] = width;
        }
    return p;
}

typedef struct decode {
    kernel *k;
    val prefetch_next, load, absorb, store_token, score_slots, score_window, softmax, read, store_out;
    val turns, cosine_table, sine_table;
} decode;

static val f32_at(ir *b, val base, int64_t floats, int width) {
    return ir_load(b, ir_vec(b, b->f32, width), ir_atc(b, base, floats * 4), 4);
}

static int element_bytes(int dtype) {
    return dtype == NHA_F32 ? 4 : 2;
}

static val broadcast(ir *b, val scalar, int width) {
    if (width == b->vl)
        return ir_splat(b, scalar);
    int zero[IR_VECTOR_MAX] = {0};
    return ir_shuffle(b, ir_splat(b, scalar), NULL, zero, width);
}

/* Asks for the lines of `bytes` at p + PREFETCH. Memories and rings of neighbouring heads are adjacent, so that what is asked
 * for past the end of one is the beginning of the next. */
static void prefetch_ahead(kernel *k, val p, int64_t bytes, bool write) {
    int ahead = k->tile.knob[GEN_PREFETCH];
    for (int64_t line = 0; ahead && line < bytes; line += 64)
        ir_prefetch(&k->b, ir_atc(&k->b, p, ahead + line), write);
}

/* prefetch_next(scratch): what the next task (usually the next head, adjacent everywhere) will read in small pieces: its queries, its
 * token, and the ring entry it absorbs. Harmless where there is no such head: a prefetch never faults. */
static void prefetch_row(kernel *k, val f, frame_slot slot, val offset, int64_t bytes) {
    ir *b = &k->b;
    val p = ir_at(b, frame_ptr(k, f, slot), offset);
    for (int64_t line = 0; line < bytes; line += 64)
        ir_prefetch(b, ir_atc(b, p, line), false);
}

static void prefetch_ring(kernel *k, val f, frame_slot slot, val entry, int64_t bytes) {
    ir *b = &k->b;
    val next = ir_add(b, entry, frame_i64(k, f, FRAME_RING)); /* the same entry of the next head */
    prefetch_row(k, f, slot, ir_mulc(b, next, bytes), bytes);
}

static void emit_prefetch_next(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t head = offsetof(nha_cpu_tensor, head);
    int esize = element_bytes(k->p->dtype), gsize = element_bytes(k->p->gate_dtype);
    x->prefetch_next = phase_begin(k, "prefetch_next", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    val q = ir_mulc(b, frame_arg(k, f, offsetof(nha_cpu_args, q) + head), k->G);
    prefetch_row(k, f, FRAME_Q, q, (int64_t)k->G * k->K * esize);
    prefetch_row(k, f, FRAME_K, frame_arg(k, f, offsetof(nha_cpu_args, k) + head), (int64_t)k->K * esize);
    prefetch_row(k, f, FRAME_V, frame_arg(k, f, offsetof(nha_cpu_args, v) + head), (int64_t)k->V * esize);
    if (k->M) {
        prefetch_row(k, f, FRAME_GATE, frame_arg(k, f, offsetof(nha_cpu_args, gate) + head), (int64_t)k->M * gsize);
        val entry = ir_urem(b, ir_addc(b, frame_i64(k, f, FRAME_POSITION), -k->L), frame_i64(k, f, FRAME_RING));
        prefetch_ring(k, f, FRAME_RING_K, entry, (int64_t)k->K * esize);
        prefetch_ring(k, f, FRAME_RING_V, entry, (int64_t)k->V * esize);
        prefetch_ring(k, f, FRAME_RING_GATE, entry, (int64_t)k->M * gsize);
    }
    phase_end(k);
}

/* ---- load: qs = map(q) * scale * log2e, qw = q or rq, scaled likewise ---- */

typedef struct load_context {
    kernel *k;
    val from, to, raw;
    int map;
    double scale;
} load_context;

static void load_piece(ir *b, void *context, val offset, int width) {
    load_context *c = context;
    int dtype = c->k->p->dtype;
    val x = ir_load_dtype(b, dtype, width, ir_at(b, c->from, ir_mulc(b, offset, element_bytes(dtype))));
    val scale = ir_like(b, x, c->scale);
    ir_store(b, ir_fmul(b, tile_map(b, c->map, x), scale), ir_at(b, c->to, ir_mulc(b, offset, 4)), 4);
    if (c->raw)
        ir_store(b, ir_fmul(b, x, scale), ir_at(b, c->raw, ir_mulc(b, offset, 4)), 4);
}

static void emit_load(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t head = offsetof(nha_cpu_tensor, head);
    x->load = phase_begin(k, "load_queries", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    bool given = k->p->rope == NHA_ROPE_GIVEN;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val stride = frame_arg(k, f, offsetof(nha_cpu_args, q) + head);
    load_context c = {.k = k, .from = ir_at(b, frame_ptr(k, f, FRAME_Q), ir_mul(b, loop.index, stride)), .scale = k->q_scale};
    c.to = frame_at(k, f, k->qs, loop.index, 0);
    c.raw = given ? NULL : frame_at(k, f, k->qw, loop.index, 0);
    c.map = k->p->slot_map;
    tile_pieces(b, k->K, &c, load_piece);
    if (given) {
        stride = frame_arg(k, f, offsetof(nha_cpu_args, rq) + head);
        c.from = ir_at(b, frame_ptr(k, f, FRAME_RQ), ir_mul(b, loop.index, stride));
        c.to = frame_at(k, f, k->qw, loop.index, 0);
        c.map = NHA_MAP_IDENTITY;
        tile_pieces(b, k->K, &c, load_piece);
    }
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* ---- absorb: gates, mapped key and value of token pos - lag; nothing there: the memory stays ---- */

typedef struct gate_context {
    kernel *k;
    val f, gate, given_s;
} gate_context;

static void gate_piece(ir *b, void *context, val offset, int width) {
    gate_context *c = context;
    kernel *k = c->k;
    int64_t size = element_bytes(k->p->gate_dtype);
    val at = ir_mulc(b, offset, 4), raw = ir_mulc(b, offset, size);
    val g = ir_load_dtype(b, k->p->gate_dtype, width, ir_at(b, c->gate, raw)), e, m1;
    if (k->p->gate_input == NHA_GATE_LOGIT)
        g = ir_fmul(b, ir_logsigmoid(b, g), ir_like(b, g, 1.0 / k->p->gate_normalizer));
    ir_exp_expm1(b, g, &e, &m1);
    val s = ir_fneg(b, m1);
    if (k->p->gate_s_given)
        s = ir_load_dtype(b, k->p->gate_dtype, width, ir_at(b, c->given_s, raw));
    /* as in prefill: (1, expm1) for slow decays, (0, exp) for fast ones */
    val fast = ir_flt(b, m1, ir_like(b, m1, -0.5));
    val keep = ir_select(b, fast, ir_like(b, e, 0), ir_like(b, e, 1)), scaled = ir_select(b, fast, e, m1);
    ir_store(b, s, ir_at(b, frame_at(k, c->f, k->s, NULL, 0), at), 4);
    ir_store(b, keep, ir_at(b, frame_at(k, c->f, k->keep, NULL, 0), at), 4);
    ir_store(b, scaled, ir_at(b, frame_at(k, c->f, k->scaled, NULL, 0), at), 4);
}

static void emit_absorb(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->absorb = phase_begin(k, "absorb", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0), j = ir_int(b, -k->L);
    int esize = element_bytes(k->p->dtype), gsize = element_bytes(k->p->gate_dtype);
    ir_loop pad;
    ir_loop_begin(b, &pad, ir_int(b, 0), ir_int(b, k->mp * 4), ir_int(b, b->vl * 4), NULL, 0);
    ir_store_v(b, ir_zero(b), ir_at(b, frame_at(k, f, k->s, NULL, 0), pad.index));
    ir_store_v(b, ir_vfloat(b, 1), ir_at(b, frame_at(k, f, k->keep, NULL, 0), pad.index));
    ir_store_v(b, ir_zero(b), ir_at(b, frame_at(k, f, k->scaled, NULL, 0), pad.index));
    ir_loop_end(b, &pad, NULL);
    tile_zero(b, frame_at(k, f, k->d_k, NULL, 0), k->d_k.ld);
    tile_zero(b, frame_at(k, f, k->d_v, NULL, 0), k->vp);
    ir_if exists;
    ir_if_begin(b, &exists, ir_cmp(b, ">=", frame_i64(k, f, FRAME_POSITION), ir_int(b, k->L)));
    load_context key = {.k = k, .map = k->p->slot_map, .scale = 1, .to = frame_at(k, f, k->d_k, NULL, 0)};
    key.from = frame_token(k, f, FRAME_K, FRAME_RING_K, offsetof(nha_cpu_args, k), (int64_t)k->K * esize, j);
    tile_pieces(b, k->K, &key, load_piece);
    load_context value = {.k = k, .map = k->p->value_map, .scale = 1, .to = frame_at(k, f, k->d_v, NULL, 0)};
    value.from = frame_token(k, f, FRAME_V, FRAME_RING_V, offsetof(nha_cpu_args, v), (int64_t)k->V * esize, j);
    tile_pieces(b, k->V, &value, load_piece);
    gate_context gate = {.k = k, .f = f};
    gate.gate = frame_token(k, f, FRAME_GATE, FRAME_RING_GATE, offsetof(nha_cpu_args, gate), (int64_t)k->M * gsize, j);
    if (k->p->gate_s_given)
        gate.given_s = frame_token(k, f, FRAME_S, FRAME_RING_S, offsetof(nha_cpu_args, s), (int64_t)k->M * gsize, j);
    tile_pieces(b, k->M, &gate, gate_piece);
    ir_if_end(b, &exists);
    phase_end(k);
}

/* ---- store_token: the step's own token into the rings, bit for bit, at entry pos mod ring ---- */

static void copy_raw(kernel *k, val f, frame_slot input, frame_slot ring, int64_t bytes) {
    ir *b = &k->b;
    val entry = ir_urem(b, frame_i64(k, f, FRAME_POSITION), frame_i64(k, f, FRAME_RING));
    val to = ir_at(b, frame_ptr(k, f, ring), ir_mulc(b, entry, bytes)), from = frame_ptr(k, f, input);
    LLVMTypeRef wide = LLVMVectorType(b->i32, 4);
    ir_loop loop;
    int64_t whole = bytes / 16 * 16;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, whole), ir_int(b, 16), NULL, 0);
    ir_store(b, ir_load(b, wide, ir_at(b, from, loop.index), 2), ir_at(b, to, loop.index), 2);
    ir_loop_end(b, &loop, NULL);
    for (int64_t i = whole; i < bytes; i += 2)
        ir_store(b, ir_load(b, b->i16, ir_atc(b, from, i), 2), ir_atc(b, to, i), 2);
}

static void emit_store_token(decode *x) {
    kernel *k = x->k;
    int esize = element_bytes(k->p->dtype), gsize = element_bytes(k->p->gate_dtype);
    x->store_token = phase_begin(k, "store_token", "p", (const char *const[]){"scratch"});
    val f = ir_param(&k->b, 0);
    copy_raw(k, f, FRAME_K, FRAME_RING_K, (int64_t)k->K * esize);
    copy_raw(k, f, FRAME_V, FRAME_RING_V, (int64_t)k->V * esize);
    if (k->M)
        copy_raw(k, f, FRAME_GATE, FRAME_RING_GATE, (int64_t)k->M * gsize);
    if (k->M && k->p->gate_s_given)
        copy_raw(k, f, FRAME_S, FRAME_RING_S, (int64_t)k->M * gsize);
    if (k->p->rope == NHA_ROPE_GIVEN)
        copy_raw(k, f, FRAME_RK, FRAME_RING_RK, (int64_t)k->K * esize);
    phase_end(k);
}

/* ---- score_slots: hk' = keep*hk + (scaled*hk + s*k), slots_p[g][m] = qs_g . hk'_m, in one pass over hk ---- */

static void score_slots_block(kernel *k, val f, val memory, int col, int nv, int g0, int heads, bool update) {
    ir *b = &k->b;
    int rows = k->tile.knob[GEN_STATE_ROWS];
    val acc[TILE_ACC_MAX], s[8], keep[8], scaled[8];
    for (int i = 0; i < heads * nv; i++)
        acc[i] = ir_zero(b);
    for (int j = 0; update && j < nv; j++) {
        s[j] = ir_load_v(b, frame_at(k, f, k->s, NULL, (col + j) * b->vl));
        keep[j] = ir_flt(b, ir_zero(b), ir_load_v(b, frame_at(k, f, k->keep, NULL, (col + j) * b->vl)));
        scaled[j] = ir_load_v(b, frame_at(k, f, k->scaled, NULL, (col + j) * b->vl));
    }
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->K), ir_int(b, rows), acc, heads * nv);
    val base = ir_at(b, memory, ir_mulc(b, loop.index, k->mp * 4)), column = ir_mulc(b, loop.index, 4);
    for (int r = 0; r < rows; r++) {
        val key = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->d_k, NULL, r), column)));
        val row = ir_atc(b, base, ((int64_t)r * k->mp + col * b->vl) * 4), h[8];
        if (update)
            prefetch_ahead(k, row, (int64_t)nv * b->vl * 4, true);
        for (int j = 0; j < nv; j++) {
            val at = ir_atc(b, row, (int64_t)j * b->vl * 4);
            h[j] = ir_load_v(b, at);
            if (update) { /* keep is 0 or 1: as a mask it costs no vector register where the ISA has masks */
                val new = ir_fma(b, scaled[j], h[j], ir_fmul(b, s[j], key));
                h[j] = ir_select(b, keep[j], ir_fadd(b, h[j], new), new);
                ir_store_v(b, h[j], at);
            }
        }
        for (int g = 0; g < heads; g++) {
            val q = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->qs, ir_int(b, g0 + g), r), column)));
            for (int j = 0; j < nv; j++)
                acc[g * nv + j] = ir_fma(b, q, h[j], acc[g * nv + j]);
        }
    }
    ir_loop_end(b, &loop, acc);
    for (int g = 0; g < heads; g++)
        for (int j = 0; j < nv; j++)
            ir_store_v(b, acc[g * nv + j], frame_at(k, f, k->slots_p, ir_int(b, g0 + g), (col + j) * b->vl));
}

static void emit_score_slots(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_slots = phase_begin(k, "score_slots", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0), memory = memory_in_row(k, f);
    int nv = tile_even(k->mv, k->tile.knob[GEN_SCORE_VECTORS]);
    for (int col = 0; col < k->mv; col += nv)
        for (int g = 0; g < k->G; g += HEADS_MAX) {
            int heads = k->G - g < HEADS_MAX ? k->G - g : HEADS_MAX;
            score_slots_block(k, f, memory, col, k->mv - col < nv ? k->mv - col : nv, g, heads, g == 0);
        }
    phase_end(k);
}

/* ---- score_window: window[g][j - lowest] = qw_g . k_j ---- */

typedef struct window {
    val lowest, count;    /* first position, number of positions */
    val entry, ring;      /* ring entry of the first */
    val row_bytes;        /* of window[g] */
} window;

static window window_of(kernel *k, val f) {
    ir *b = &k->b;
    window w;
    val position = frame_i64(k, f, FRAME_POSITION);
    w.ring = frame_i64(k, f, FRAME_RING);
    /* positions max(pos-W+1, 0) .. pos; those before the ring's capacity are gone by definition of the capacity */
    w.lowest = ir_max(b, ir_addc(b, position, 1 - k->W), ir_int(b, 0));
    w.count = ir_addc(b, ir_sub(b, position, w.lowest), 1);
    w.entry = ir_urem(b, w.lowest, w.ring);
    val tokens = ir_min(b, ir_int(b, k->W), w.ring);
    w.row_bytes = ir_mulc(b, ir_floor_div(b, ir_addc(b, tokens, 15), 16), 64);
    return w;
}

static val window_at(kernel *k, val f, const window *w, val head) {
    return ir_at(&k->b, ir_atc(&k->b, f, k->window_scores_at), ir_mul(&k->b, head, w->row_bytes));
}

/* entry + 1, or 0 at the ring's end */
static val next_entry(ir *b, val entry, val ring) {
    val next = ir_addc(b, entry, 1);
    return ir_select(b, ir_cmp(b, "==", next, ring), ir_int(b, 0), next);
}

static void store_dots(kernel *k, val f, const window *w, val *acc, int g0, int heads, val index) {
    ir *b = &k->b;
    for (int g = 0; g < heads; g++) {
        val sum = ir_reduce(b, acc[g], ir_fadd);
        val at = ir_at(b, window_at(k, f, w, ir_int(b, g0 + g)), ir_mulc(b, index, 4));
        ir_store(b, sum, at, 4);
    }
}

/* acc[g] += q * x, whatever the width of x: narrow products are widened with zeros */
static val accumulate_dot(ir *b, val acc, val q, val x, int width) {
    if (width == b->vl)
        return ir_fma(b, q, x, acc);
    int widen[IR_VECTOR_MAX];
    for (int i = 0; i < b->vl; i++)
        widen[i] = i < width ? i : width;
    val product = ir_fmul(b, q, x);
    return ir_fadd(b, acc, ir_shuffle(b, product, LLVMConstNull(LLVMTypeOf(product)), widen, b->vl));
}

static void dot_plain(kernel *k, val f, const window *w, int g0, int heads) {
    ir *b = &k->b;
    bool given = k->p->rope == NHA_ROPE_GIVEN;
    int esize = element_bytes(k->p->dtype);
    pieces p = pieces_of(k->K, b->vl);
    val entry = w->entry, ring = frame_ptr(k, f, given ? FRAME_RING_RK : FRAME_RING_K);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), w->count, ir_int(b, 1), &entry, 1);
    val key = ir_at(b, ring, ir_mulc(b, entry, (int64_t)k->K * esize)), acc[HEADS_MAX];
    if (g0 == 0)
        prefetch_ahead(k, key, (int64_t)k->K * esize, false);
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    for (int i = 0; i < p.count; i++) {
        val x = ir_load_dtype(b, k->p->dtype, p.width[i], ir_atc(b, key, (int64_t)p.offset[i] * esize));
        for (int g = 0; g < heads; g++) {
            val q = f32_at(b, frame_at(k, f, k->qw, ir_int(b, g0 + g), 0), p.offset[i], p.width[i]);
            acc[g] = accumulate_dot(b, acc[g], q, x, p.width[i]);
        }
    }
    store_dots(k, f, w, acc, g0, heads, loop.index);
    entry = next_entry(b, entry, w->ring);
    ir_loop_end(b, &loop, &entry);
}

/* The two halves of `width` pairs from pair `offset` on: neox (i, i + K/2), gptj (2i, 2i+1). read(base, element, width) */
static void load_pairs(kernel *k, int dtype, val base, int offset, int width, val *x1, val *x2) {
    ir *b = &k->b;
    int size = element_bytes(dtype);
    if (k->p->rope == NHA_ROPE_NEOX) {
        *x1 = ir_load_dtype(b, dtype, width, ir_atc(b, base, (int64_t)offset * size));
        *x2 = ir_load_dtype(b, dtype, width, ir_atc(b, base, (int64_t)(k->K / 2 + offset) * size));
        return;
    }
    int even[IR_VECTOR_MAX], odd[IR_VECTOR_MAX];
    for (int i = 0; i < width; i++) {
        even[i] = 2 * i;
        odd[i] = 2 * i + 1;
    }
    val u = ir_load_dtype(b, dtype, width, ir_atc(b, base, (int64_t)2 * offset * size));
    val w = ir_load_dtype(b, dtype, width, ir_atc(b, base, (int64_t)(2 * offset + width) * size));
    *x1 = ir_shuffle(b, u, w, even, width);
    *x2 = ir_shuffle(b, u, w, odd, width);
}

static void rotation(ir *b, val x1, val x2, val c, val s, val *y1, val *y2) {
    *y1 = ir_fsub(b, ir_fmul(b, x1, c), ir_fmul(b, x2, s));
    *y2 = ir_fma(b, x2, c, ir_fmul(b, x1, s));
}

/* rotated[g] = rot(qw_g, distance) as halves [first | second] */
static void rotate_queries(decode *x, val f, val distance, int g0, int heads) {
    kernel *k = x->k;
    ir *b = &k->b;
    pieces p = pieces_of(k->K / 2, b->vl);
    for (int i = 0; i < p.count; i++) {
        int width = p.width[i];
        val turns = ir_load(b, ir_vec(b, b->i64, width), ir_atc(b, x->turns, p.offset[i] * 8), 8), lane[IR_VECTOR_MAX];
        for (int l = 0; l < width; l++)
            lane[l] = ir_i32(b, 0);
        val one = LLVMBuildInsertElement(b->builder, LLVMGetPoison(LLVMTypeOf(turns)), distance, ir_i32(b, 0), "");
        val all = LLVMBuildShuffleVector(b->builder, one, LLVMGetPoison(LLVMTypeOf(turns)), LLVMConstVector(lane, (unsigned)width), "");
        val angle = LLVMBuildLShr(b->builder, ir_mul(b, all, turns), ir_like_int(b, turns, 32), ""), c, s;
        ir_cos_sin(b, LLVMBuildTrunc(b->builder, angle, ir_vec(b, b->i32, width), ""), &c, &s);
        for (int g = 0; g < heads; g++) {
            val x1, x2, y1, y2;
            load_pairs(k, NHA_F32, frame_at(k, f, k->qw, ir_int(b, g0 + g), 0), p.offset[i], width, &x1, &x2);
            rotation(b, x1, x2, c, s, &y1, &y2);
            val to = frame_at(k, f, k->rotated, ir_int(b, g0 + g), p.offset[i]);
            ir_store(b, y1, to, 4);
            ir_store(b, y2, ir_atc(b, to, (int64_t)k->K / 2 * 4), 4);
        }
    }
}

static void dot_rotated(decode *x, val f, const window *w, int g0, int heads) {
    kernel *k = x->k;
    ir *b = &k->b;
    int esize = element_bytes(k->p->dtype);
    pieces p = pieces_of(k->K / 2, b->vl);
    val position = frame_i64(k, f, FRAME_POSITION), ring = frame_ptr(k, f, FRAME_RING_K), entry = w->entry;
    ir_loop groups, keys;
    val first_group = ir_mulc(b, ir_floor_div(b, w->lowest, ANGLES), ANGLES), end = ir_add(b, w->lowest, w->count);
    ir_loop_begin(b, &groups, first_group, end, ir_int(b, ANGLES), &entry, 1);
    rotate_queries(x, f, ir_sub(b, position, groups.index), g0, heads);
    val from = ir_max(b, w->lowest, groups.index), to = ir_min(b, end, ir_addc(b, groups.index, ANGLES));
    ir_loop_begin(b, &keys, from, to, ir_int(b, 1), &entry, 1);
    val key = ir_at(b, ring, ir_mulc(b, entry, (int64_t)k->K * esize)), acc[HEADS_MAX];
    if (g0 == 0)
        prefetch_ahead(k, key, (int64_t)k->K * esize, false);
    val table = ir_mulc(b, ir_sub(b, keys.index, groups.index), (int64_t)k->hp * 4);
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    for (int i = 0; i < p.count; i++) {
        int width = p.width[i];
        val x1, x2, y1, y2, c = f32_at(b, ir_at(b, x->cosine_table, table), p.offset[i], width);
        load_pairs(k, k->p->dtype, key, p.offset[i], width, &x1, &x2);
        rotation(b, x1, x2, c, f32_at(b, ir_at(b, x->sine_table, table), p.offset[i], width), &y1, &y2);
        for (int g = 0; g < heads; g++) {
            val q = frame_at(k, f, k->rotated, ir_int(b, g0 + g), 0);
            acc[g] = accumulate_dot(b, acc[g], f32_at(b, q, p.offset[i], width), y1, width);
            acc[g] = accumulate_dot(b, acc[g], f32_at(b, q, k->K / 2 + p.offset[i], width), y2, width);
        }
    }
    store_dots(k, f, w, acc, g0, heads, ir_sub(b, keys.index, w->lowest));
    entry = next_entry(b, entry, w->ring);
    ir_loop_end(b, &keys, &entry);
    ir_loop_end(b, &groups, &entry);
}

static void emit_score_window(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_window = phase_begin(k, "score_window", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    window w = window_of(k, f);
    for (int g = 0; g < k->G; g += HEADS_MAX) {
        int heads = k->G - g < HEADS_MAX ? k->G - g : HEADS_MAX;
        if (k->rotate)
            dot_rotated(x, f, &w, g, heads);
        else
            dot_plain(k, f, &w, g, heads);
    }
    phase_end(k);
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

static void emit_softmax_row(decode *x) {
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

/* ---- read: hv' = keep*hv + (scaled*hv + s*v); out_g = sum_m p hv' + sum_j p v_j, for a block of V's columns ---- */

static void read_slots(kernel *k, val f, val memory, val *acc, const pieces *p, int first, int count, int g0, int heads,
                       bool update) {
    ir *b = &k->b;
    val token[PIECES_MAX];
    for (int j = 0; update && j < count; j++)
        token[j] = f32_at(b, frame_at(k, f, k->d_v, NULL, 0), p->offset[first + j], p->width[first + j]);
    int64_t span = (int64_t)(p->offset[first + count - 1] + p->width[first + count - 1] - p->offset[first]) * 4;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), acc, heads * count);
    val row = ir_at(b, memory, ir_mulc(b, loop.index, k->vp * 4)), slot = ir_mulc(b, loop.index, 4);
    val s = ir_load_f32(b, ir_at(b, frame_at(k, f, k->s, NULL, 0), slot));
    val keep = ir_load_f32(b, ir_at(b, frame_at(k, f, k->keep, NULL, 0), slot));
    val scaled = ir_load_f32(b, ir_at(b, frame_at(k, f, k->scaled, NULL, 0), slot));
    val weight[HEADS_MAX];
    if (update)
        prefetch_ahead(k, ir_atc(b, row, (int64_t)p->offset[first] * 4), span, true);
    for (int g = 0; g < heads; g++)
        weight[g] = ir_load_f32(b, ir_at(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + g), 0), slot));
    for (int j = 0; j < count; j++) {
        int width = p->width[first + j];
        val at = ir_atc(b, row, (int64_t)p->offset[first + j] * 4), h = f32_at(b, at, 0, width);
        if (update) {
            val new = ir_fmul(b, broadcast(b, s, width), token[j]);
            h = ir_fma(b, broadcast(b, keep, width), h, ir_fma(b, broadcast(b, scaled, width), h, new));
            ir_store(b, h, at, 4);
        }
        for (int g = 0; g < heads; g++)
            acc[g * count + j] = ir_fma(b, broadcast(b, weight[g], width), h, acc[g * count + j]);
        ir_barrier(b);
    }
    ir_loop_end(b, &loop, acc);
}

static void read_window(kernel *k, val f, const window *w, val *acc, const pieces *p, int first, int count, int g0, int heads) {
    ir *b = &k->b;
    int esize = element_bytes(k->p->dtype);
    val carried[TILE_ACC_MAX], ring = frame_ptr(k, f, FRAME_RING_V);
    carried[0] = w->entry;
    memcpy(carried + 1, acc, sizeof acc[0] * (size_t)(heads * count));
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), w->count, ir_int(b, 1), carried, heads * count + 1);
    val row = ir_at(b, ring, ir_mulc(b, carried[0], (int64_t)k->V * esize)), weight[HEADS_MAX];
    int64_t span = (int64_t)(p->offset[first + count - 1] + p->width[first + count - 1] - p->offset[first]) * esize;
    if (g0 == 0)
        prefetch_ahead(k, ir_atc(b, row, (int64_t)p->offset[first] * esize), span, false);
    for (int g = 0; g < heads; g++)
        weight[g] = ir_load_f32(b, ir_at(b, window_at(k, f, w, ir_int(b, g0 + g)), ir_mulc(b, loop.index, 4)));
    for (int j = 0; j < count; j++) {
        int width = p->width[first + j];
        val v = ir_load_dtype(b, k->p->dtype, width, ir_atc(b, row, (int64_t)p->offset[first + j] * esize));
        v = tile_map(b, k->p->value_map, v);
        for (int g = 0; g < heads; g++)
            carried[1 + g * count + j] = ir_fma(b, broadcast(b, weight[g], width), v, carried[1 + g * count + j]);
        ir_barrier(b);
    }
    carried[0] = next_entry(b, carried[0], w->ring);
    ir_loop_end(b, &loop, carried);
    memcpy(acc, carried + 1, sizeof acc[0] * (size_t)(heads * count));
}

static void emit_read(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->read = phase_begin(k, "read_values", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0), memory = k->M ? ir_atc(b, memory_in_row(k, f), (int64_t)k->K * k->mp * 4) : NULL;
    window w = k->W ? window_of(k, f) : (window){0};
    pieces p = pieces_of(k->V, b->vl);
    int block = tile_even(p.count, k->tile.knob[GEN_READ_VECTORS]);
    for (int first = 0; first < p.count; first += block) {
        int count = p.count - first < block ? p.count - first : block;
        for (int g0 = 0; g0 < k->G; g0 += HEADS_MAX) {
            int heads = k->G - g0 < HEADS_MAX ? k->G - g0 : HEADS_MAX;
            val acc[TILE_ACC_MAX];
            for (int g = 0; g < heads; g++)
                for (int j = 0; j < count; j++)
                    acc[g * count + j] = LLVMConstNull(ir_vec(b, b->f32, p.width[first + j]));
            if (k->M)
                read_slots(k, f, memory, acc, &p, first, count, g0, heads, g0 == 0);
            if (k->W)
                read_window(k, f, &w, acc, &p, first, count, g0, heads);
            for (int g = 0; g < heads; g++)
                for (int j = 0; j < count; j++)
                    ir_store(b, acc[g * count + j], frame_at(k, f, k->out, ir_int(b, g0 + g), p.offset[first + j]), 4);
        }
    }
    phase_end(k);
}

/* ---- store_out: o = out / l, lse = m ln2 + ln l ---- */

typedef struct out_context {
    kernel *k;
    val from, to, inverse;
} out_context;

static void out_piece(ir *b, void *context, val offset, int width) {
    out_context *c = context;
    val x = ir_load(b, ir_vec(b, b->f32, width), ir_at(b, c->from, ir_mulc(b, offset, 4)), 4);
    val scale = width == 1 ? c->inverse : broadcast(b, c->inverse, width);
    int dtype = c->k->p->dtype;
    ir_store_dtype(b, dtype, width, ir_fmul(b, x, scale), ir_at(b, c->to, ir_mulc(b, offset, element_bytes(dtype))));
}

static void emit_store(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t head = offsetof(nha_cpu_tensor, head);
    x->store_out = phase_begin(k, "store_out", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    val lse = frame_arg_ptr(k, f, offsetof(nha_cpu_args, lse) + offsetof(nha_cpu_tensor, data));
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_mulc(b, loop.index, 4), sum = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), row));
    out_context c = {.k = k, .from = frame_at(k, f, k->out, loop.index, 0), .inverse = ir_fdiv(b, ir_float(b, 1), sum)};
    c.to = ir_at(b, frame_ptr(k, f, FRAME_O), ir_mul(b, loop.index, frame_arg(k, f, offsetof(nha_cpu_args, o) + head)));
    tile_pieces(b, k->V, &c, out_piece);
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

static void decode_constants(decode *x) {
    kernel *k = x->k;
    float cosine[ANGLES * 128] = {0}, sine[ANGLES * 128] = {0};
    uint64_t turns[128] = {0};
    for (int i = 0; i < k->K / 2; i++) {
        turns[i] = k->problem->turns[i];
        for (int t = 0; t < ANGLES; t++) {
            double radians = (double)(int64_t)(turns[i] * (uint64_t)t) * (6.283185307179586476925 / 18446744073709551616.0);
            cosine[t * k->hp + i] = (float)cos(radians);
            sine[t * k->hp + i] = (float)sin(radians);
        }
    }
    x->cosine_table = ir_const_f32(&k->b, "cosine_of_key", cosine, ANGLES * k->hp);
    x->sine_table = ir_const_f32(&k->b, "sine_of_key", sine, ANGLES * k->hp);
    x->turns = ir_const_i64(&k->b, "turns", turns, k->hp);
}

void emit_decode(kernel *k, const gen_cpu_unit *unit) {
    ir *b = &k->b;
    decode x = {.k = k};
    if (k->rotate)
        decode_constants(&x);
    bool ahead = k->tile.knob[GEN_PREFETCH] > 0;
    if (ahead)
        emit_prefetch_next(&x);
    emit_load(&x);
    if (k->M) {
        emit_absorb(&x);
        emit_score_slots(&x);
    }
    emit_store_token(&x);
    if (k->W)
        emit_score_window(&x);
    emit_softmax_row(&x);
    emit_read(&x);
    emit_store(&x);

    ir_function(b, unit->symbol_main, "piip", (const char *const[]){"args", "task_begin", "task_end", "scratch"}, true);
    val f = ir_param(b, 3), H = ir_int(b, k->p->heads_kv);
    ir_loop tasks;
    ir_if here;
    ir_loop_begin(b, &tasks, ir_param(b, 1), ir_param(b, 2), ir_int(b, 1), NULL, 0);
    frame_task(k, f, ir_param(b, 0), ir_udiv(b, tasks.index, H), ir_urem(b, tasks.index, H));
    ir_if_begin(b, &here, ir_cmp(b, ">", frame_i64(k, f, FRAME_LENGTH), ir_int(b, 0)));
    ir_call(b, x.load, &f, 1);
    if (ahead)
        ir_call(b, x.prefetch_next, &f, 1);
    if (k->M)
        ir_call(b, x.absorb, &f, 1); /* before store_token: with R = L its ring entry is the one to be overwritten */
    ir_call(b, x.store_token, &f, 1);
    if (k->M)
        ir_call(b, x.score_slots, &f, 1);
    if (k->W)
        ir_call(b, x.score_window, &f, 1);
    ir_call(b, x.softmax, &f, 1);
    ir_call(b, x.read, &f, 1);
    ir_call(b, x.store_out, &f, 1);
    ir_if_end(b, &here);
    ir_loop_end(b, &tasks, NULL);
    ir_return(b);
}
