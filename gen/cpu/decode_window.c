/* decode_window.c: scores of the window. Keys are kept raw in the ring. Rotation depends on distance alone: with jb = j & ~15,
 * rot(q,t).rot(k,j) = rot(q,t-jb).rot(k,j-jb), where the second angle is one of 16 constants; the first comes from a sine and a cosine once for
 * 64 keys, and from the queries of the 16 keys before, turned back by a constant angle, for the others. */
#include "gen/cpu/decode.h"
#include "gen/cpu/ir_math.h"
#include "gen/cpu/tile.h"

/* ---- score_window: window[g][j - lowest] = qw_g . k_j ---- */

window window_of(kernel *k, val f) {
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

val window_at(kernel *k, val f, const window *w, val head) {
    return ir_at(&k->b, ir_atc(&k->b, f, k->window_scores_at), ir_mul(&k->b, head, w->row_bytes));
}

val next_entry(ir *b, val entry, val ring) {
    val next = ir_addc(b, entry, 1);
    return ir_select(b, ir_cmp(b, "==", next, ring), ir_int(b, 0), next);
}

/* In each four lanes: the lanes `pick` of x (0, 1) and of y (4, 5), plus those two further on. Instructions within 128 bits. */
static val add_halves(ir *b, val x, val y, const int pick[4]) {
    int low[IR_VECTOR_MAX], high[IR_VECTOR_MAX];
    for (int i = 0; i < b->vl; i++) {
        low[i] = i / 4 * 4 + pick[i % 4] % 4 + (pick[i % 4] < 4 ? 0 : b->vl);
        high[i] = low[i] + 2;
    }
    return ir_fadd(b, ir_shuffle(b, x, y, low, b->vl), ir_shuffle(b, x, y, high, b->vl));
}

/* <sum of x[0], ..., sum of x[3]>, in half the instructions of one sum after another. */
static val sums_of_four(ir *b, const val x[4]) {
    static const int by_turns[4] = {0, 4, 1, 5}, in_pairs[4] = {0, 1, 4, 5};
    val sum = add_halves(b, add_halves(b, x[0], x[1], by_turns), add_halves(b, x[2], x[3], by_turns), in_pairs);
    for (int width = b->vl / 2; width >= 4; width /= 2) {
        int low[IR_VECTOR_MAX], high[IR_VECTOR_MAX];
        for (int i = 0; i < width; i++) {
            low[i] = i;
            high[i] = i + width;
        }
        sum = ir_fadd(b, ir_shuffle(b, sum, NULL, low, width), ir_shuffle(b, sum, NULL, high, width));
    }
    return sum;
}

static void store_dots(kernel *k, val f, const window *w, const val *acc, int g0, int heads, val index) {
    ir *b = &k->b;
    for (int first = 0; first < heads; first += 4) {
        int count = heads - first < 4 ? heads - first : 4;
        val four[4], sums = NULL;
        for (int i = 0; i < 4; i++)
            four[i] = acc[first + (i < count ? i : count - 1)];
        if (count > 1)
            sums = sums_of_four(b, four);
        for (int i = 0; i < count; i++) {
            val sum = sums ? LLVMBuildExtractElement(b->builder, sums, ir_i32(b, i), "") : ir_reduce(b, four[0], ir_fadd);
            ir_store(b, sum, ir_at(b, window_at(k, f, w, ir_int(b, g0 + first + i)), ir_mulc(b, index, 4)), 4);
        }
    }
}

/* Rings are read from the window's first entry on, round their end; so they are asked for, and past the window's last token
 * the first ones of the stream that comes next: after keys the values, after values the keys of the next head. */
val window_ask(kernel *k, val f, const window *w, val index, val entry, bool values) {
    ir *b = &k->b;
    int64_t esize = row_element_bytes(k->p->dtype), row[2] = {k->K * esize, k->V * esize};
    int64_t ahead = k->tile.knob[GEN_PREFETCH] / row[values];
    if (ahead == 0)
        return NULL;
    ahead = ahead < k->W ? ahead : k->W;
    val keys = frame_ptr(k, f, k->p->rope == NHA_ROPE_GIVEN ? FRAME_RING_RK : FRAME_RING_K);
    val here = values ? frame_ptr(k, f, FRAME_RING_V) : keys;
    val next = values ? ir_at(b, keys, ir_mulc(b, w->ring, row[0])) : frame_ptr(k, f, FRAME_RING_V);
    val past = ir_sub(b, ir_addc(b, index, ahead), w->count), inside = ir_cmp(b, "<", past, ir_int(b, 0));
    val to = ir_add(b, ir_select(b, inside, entry, w->entry), ir_select(b, inside, ir_int(b, ahead), past));
    to = ir_select(b, ir_cmp(b, "<", to, w->ring), to, ir_sub(b, to, w->ring));
    val in_next = ir_at(b, next, ir_mulc(b, to, row[!values]));
    return ir_select(b, inside, ir_at(b, here, ir_mulc(b, to, row[values])), in_next);
}

val accumulate_dot(ir *b, val acc, val q, val x, int width) {
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
    int esize = row_element_bytes(k->p->dtype);
    pieces p = pieces_of(k->K, b->vl);
    val entry = w->entry, ring = frame_ptr(k, f, given ? FRAME_RING_RK : FRAME_RING_K);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), w->count, ir_int(b, 1), &entry, 1);
    val key = ir_at(b, ring, ir_mulc(b, entry, (int64_t)k->K * esize)), acc[DECODE_HEADS_MAX];
    val ask = g0 == 0 ? window_ask(k, f, w, loop.index, entry, false) : NULL;
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    for (int i = 0; i < p.count; i++) {
        int64_t byte = (int64_t)p.offset[i] * esize;
        ir_prefetch_lines(b, ask, byte, (int64_t)p.width[i] * esize, false);
        val x = ir_load_dtype(b, k->p->dtype, p.width[i], ir_atc(b, key, byte));
        for (int g = 0; g < heads; g++) {
            val q = f32_at(b, frame_at(k, f, k->qw, ir_int(b, g0 + g), 0), p.offset[i], p.width[i]);
            acc[g] = accumulate_dot(b, acc[g], q, x, p.width[i]);
        }
        ir_barrier(b);
    }
    store_dots(k, f, w, acc, g0, heads, loop.index);
    entry = next_entry(b, entry, w->ring);
    ir_loop_end(b, &loop, &entry);
}

/* The two halves of `width` pairs from pair `offset` on: neox (i, i + K/2), gptj (2i, 2i+1). read(base, element, width) */
static void load_pairs(kernel *k, int dtype, val base, int offset, int width, val *x1, val *x2) {
    ir *b = &k->b;
    int size = row_element_bytes(dtype);
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
    *y1 = ir_fma(b, ir_fneg(b, x2), s, ir_fmul(b, x1, c));
    *y2 = ir_fma(b, x2, c, ir_fmul(b, x1, s));
}

/* cos and sin of `width` pairs' angles at `distance` tokens */
static void angle_at(decode *x, val distance, int offset, int width, val *c, val *s) {
    ir *b = &x->k->b;
    val turns = ir_load(b, ir_vec(b, b->i64, width), ir_atc(b, x->table.turns, offset * 8), 8), lane[IR_VECTOR_MAX];
    for (int l = 0; l < width; l++)
        lane[l] = ir_i32(b, 0);
    val one = LLVMBuildInsertElement(b->builder, LLVMGetPoison(LLVMTypeOf(turns)), distance, ir_i32(b, 0), "");
    val all = LLVMBuildShuffleVector(b->builder, one, LLVMGetPoison(LLVMTypeOf(turns)), LLVMConstVector(lane, (unsigned)width), "");
    val angle = LLVMBuildLShr(b->builder, ir_mul(b, all, turns), ir_like_int(b, turns, 32), "");
    ir_cos_sin(b, LLVMBuildTrunc(b->builder, angle, ir_vec(b, b->i32, width), ""), c, s);
}

/* rotated[g] = rot(qw_g, distance) as halves [first | second]; distance NULL: rotated[g] turned back by DECODE_ANGLES tokens */
static void rotate_queries(decode *x, val f, val distance, int g0, int heads) {
    kernel *k = x->k;
    ir *b = &k->b;
    pieces p = pieces_of(k->K / 2, b->vl);
    for (int i = 0; i < p.count; i++) {
        int width = p.width[i], back = DECODE_ANGLES * k->hp + p.offset[i];
        val c, s;
        if (distance) {
            angle_at(x, distance, p.offset[i], width, &c, &s);
        } else {
            c = f32_at(b, x->table.cosine, back, width);
            s = ir_fneg(b, f32_at(b, x->table.sine, back, width));
        }
        for (int g = 0; g < heads; g++) {
            val x1, x2, y1, y2, to = frame_at(k, f, k->rotated, ir_int(b, g0 + g), p.offset[i]), second = ir_atc(b, to, (int64_t)k->K / 2 * 4);
            if (distance) {
                load_pairs(k, NHA_F32, frame_at(k, f, k->qw, ir_int(b, g0 + g), 0), p.offset[i], width, &x1, &x2);
            } else {
                x1 = f32_at(b, to, 0, width);
                x2 = f32_at(b, second, 0, width);
            }
            rotation(b, x1, x2, c, s, &y1, &y2);
            ir_store(b, y1, to, 4);
            ir_store(b, y2, second, 4);
        }
    }
}

/* The same for the group of keys from `group` on, after those of the group before it, if group > first. Turning back rounds; three times in
 * a row add 1e-7 at most. */
static void rotate_to_group(decode *x, val f, val group, val first, int g0, int heads) {
    ir *b = &x->k->b;
    ir_if afresh;
    val in_turn = ir_urem(b, ir_sub(b, group, first), ir_int(b, DECODE_ANGLES * DECODE_TURNS));
    ir_if_begin(b, &afresh, ir_cmp(b, "==", in_turn, ir_int(b, 0)));
    rotate_queries(x, f, ir_sub(b, frame_i64(x->k, f, FRAME_POSITION), group), g0, heads);
    ir_if_else(b, &afresh);
    rotate_queries(x, f, NULL, g0, heads);
    ir_if_end(b, &afresh);
}

static void dot_rotated(decode *x, val f, const window *w, int g0, int heads) {
    kernel *k = x->k;
    ir *b = &k->b;
    int esize = row_element_bytes(k->p->dtype);
    pieces p = pieces_of(k->K / 2, b->vl);
    val ring = frame_ptr(k, f, FRAME_RING_K), entry = w->entry;
    ir_loop groups, keys;
    val first_group = ir_mulc(b, ir_floor_div(b, w->lowest, DECODE_ANGLES), DECODE_ANGLES), end = ir_add(b, w->lowest, w->count);
    ir_loop_begin(b, &groups, first_group, end, ir_int(b, DECODE_ANGLES), &entry, 1);
    rotate_to_group(x, f, groups.index, first_group, g0, heads);
    val from = ir_max(b, w->lowest, groups.index), to = ir_min(b, end, ir_addc(b, groups.index, DECODE_ANGLES));
    ir_loop_begin(b, &keys, from, to, ir_int(b, 1), &entry, 1);
    val key = ir_at(b, ring, ir_mulc(b, entry, (int64_t)k->K * esize)), acc[DECODE_HEADS_MAX];
    val ask = g0 == 0 ? window_ask(k, f, w, ir_sub(b, keys.index, w->lowest), entry, false) : NULL;
    val table = ir_mulc(b, ir_sub(b, keys.index, groups.index), (int64_t)k->hp * 4);
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    for (int i = 0; i < p.count; i++) {
        int width = p.width[i];
        val x1, x2, y1, y2, c = f32_at(b, ir_at(b, x->table.cosine, table), p.offset[i], width);
        load_pairs(k, k->p->dtype, key, p.offset[i], width, &x1, &x2);
        rotation(b, x1, x2, c, f32_at(b, ir_at(b, x->table.sine, table), p.offset[i], width), &y1, &y2);
        for (int half = 0; half < 2; half++) { /* the next lines to ask for have nothing to do with the element, but come at its pace */
            ir_prefetch_lines(b, ask, (int64_t)(2 * p.offset[i] + half * width) * esize, (int64_t)width * esize, false);
            for (int g = 0; g < heads; g++) {
                val q = f32_at(b, frame_at(k, f, k->rotated, ir_int(b, g0 + g), 0), half * (k->K / 2) + p.offset[i], width);
                acc[g] = accumulate_dot(b, acc[g], q, half ? y2 : y1, width);
            }
            ir_barrier(b);
        }
    }
    store_dots(k, f, w, acc, g0, heads, ir_sub(b, keys.index, w->lowest));
    entry = next_entry(b, entry, w->ring);
    ir_loop_end(b, &keys, &entry);
    ir_loop_end(b, &groups, &entry);
}

void decode_emit_score_window(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_window = phase_begin(k, "score_window", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    window w = window_of(k, f);
    for (int g = 0; g < k->G; g += DECODE_HEADS_MAX) {
        int heads = k->G - g < DECODE_HEADS_MAX ? k->G - g : DECODE_HEADS_MAX;
        if (k->rotate)
            dot_rotated(x, f, &w, g, heads);
        else
            dot_plain(k, f, &w, g, heads);
    }
    phase_end(k);
}
