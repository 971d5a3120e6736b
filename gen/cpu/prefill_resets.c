/* prefill_resets.c: on AMX, what the tokens of a chunk give one another through the slots where a slot forgets so much within it that no
 * product can tell (prefill_decay.c): one by one, each factor in [0,1], as in prefill_slots.c, and what earlier tokens give, in `earlier`. */
#include "gen/cpu/prefill.h"

enum { TOKENS = 2, HEADS = 4, VECTORS = 2 }; /* sums of a group; beside them a weight and decays of each vector, and a broadcast */

static val at_slot(kernel *k, val f, buffer buf, val row, int vector) {
    return frame_at(k, f, buf, row, vector * k->b.vl);
}

val reading_row(kernel *k, const reading *r) {
    return ir_mulc(&k->b, r->first, k->G);
}

/* ---- scores_i[m] = P_i (E_f scores_i + earlier_i) + sum_{f<=j<=i} within_ij w_ij ---- */

/* Adds token j to the sums of tokens t >= first - 1. w: its weights at token first - 1, or, if first is 0, before the first token; on return
 * after the last. within: column j of the first token's row. */
static void score_step(kernel *k, val *acc, val *w, const val *e, int first, int heads, int nv, val within) {
    ir *b = &k->b;
    for (int t = first ? first - 1 : 0; t < TOKENS; t++) {
        for (int v = 0; v < nv && t >= first; v++)
            w[v] = ir_fmul(b, w[v], e[t * nv + v]);
        for (int g = 0; g < heads; g++) {
            val a = ir_splat(b, ir_load_f32(b, ir_atc(b, within, (int64_t)(t * k->G + g) * k->within.ld * 4)));
            for (int v = 0; v < nv; v++) {
                val *sum = &acc[(t * heads + g) * nv + v];
                *sum = ir_fma(b, a, w[v], *sum);
            }
        }
    }
}

/* Heads `row` .. row + heads of each of TOKENS tokens from i on, and `nv` vectors of slots from `v0` on. Weights go through registers
 * from token to token; the last group of heads stores them. */
static void score_group(kernel *k, val f, const reading *of, val i, val row, int heads, int v0, int nv, bool store) {
    ir *b = &k->b;
    val from = of->from, own_row = ir_sub(b, row, reading_row(k, of));
    val acc[TOKENS * HEADS * VECTORS], e[TOKENS * VECTORS], within = frame_at(k, f, k->within, own_row, 0);
    for (int n = 0; n < TOKENS * heads * nv; n++)
        acc[n] = ir_zero(b);
    for (int n = 0; n < TOKENS * nv; n++)
        e[n] = ir_load_v(b, ir_atc(b, at_slot(k, f, k->e, i, v0 + n % nv), (int64_t)(n / nv) * k->e.ld * 4));
    ir_loop tokens;
    ir_loop_begin(b, &tokens, from, i, ir_int(b, 1), acc, TOKENS * heads * nv);
    val w[VECTORS], pairs = at_slot(k, f, k->pairs, tokens.index, v0);
    for (int v = 0; v < nv; v++)
        w[v] = ir_load_v(b, ir_atc(b, pairs, v * b->vl * 4));
    score_step(k, acc, w, e, 0, heads, nv, ir_at(b, within, ir_mulc(b, tokens.index, 4)));
    for (int v = 0; v < nv && store; v++)
        ir_store_v(b, w[v], ir_atc(b, pairs, v * b->vl * 4));
    ir_loop_end(b, &tokens, acc);
    for (int own = 0; own < TOKENS; own++) { /* tokens i, i + 1, ... themselves */
        pairs = at_slot(k, f, k->pairs, ir_addc(b, i, own), v0);
        for (int v = 0; v < nv; v++)
            w[v] = ir_load_v(b, ir_atc(b, at_slot(k, f, k->s, i, v0 + v), (int64_t)own * k->s.ld * 4));
        score_step(k, acc, w, e, own + 1, heads, nv, ir_at(b, within, ir_mulc(b, ir_addc(b, i, own), 4)));
        for (int v = 0; v < nv && store; v++)
            ir_store_v(b, w[v], ir_atc(b, pairs, v * b->vl * 4));
    }
    for (int v = 0; v < nv; v++) {
        val start = ir_load_v(b, at_slot(k, f, k->decay, ir_addc(b, from, -1), v0 + v));
        for (int t = 0; t < TOKENS; t++) {
            val decay = ir_load_v(b, ir_atc(b, at_slot(k, f, k->decay_chunk, i, v0 + v), (int64_t)t * k->decay_chunk.ld * 4));
            for (int g = 0; g < heads; g++) {
                int64_t r = t * k->G + g;
                val at = ir_atc(b, at_slot(k, f, k->scores, row, v0 + v), r * k->scores.ld * 4);
                val early = ir_atc(b, at_slot(k, f, k->earlier, own_row, v0 + v), r * k->earlier.ld * 4);
                val h = ir_fma(b, start, ir_load_v(b, at), ir_load_v(b, early));
                ir_store_v(b, ir_fma(b, decay, h, acc[(t * heads + g) * nv + v]), at);
            }
        }
    }
}

void score_resets(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_loop loop;
    ir_loop_begin(b, &loop, r->first, ir_addc(b, r->first, r->count), ir_int(b, TOKENS), NULL, 0);
    val token = ir_add(b, r->from, loop.index), row = ir_mulc(b, loop.index, k->G);
    for (int v = 0; v < k->mv; v += VECTORS)
        for (int g = 0; g < k->G; g += HEADS)
            score_group(k, f, r, token, ir_addc(b, row, g), k->G - g < HEADS ? k->G - g : HEADS, v,
                        k->mv - v < VECTORS ? k->mv - v : VECTORS, g + HEADS >= k->G);
    ir_loop_end(b, &loop, NULL);
}

/* ---- p.weights: within[i,g][j] = sum_m p[i,g][m] w_ij[m], lanes are the tokens j ---- */

enum { READ_HEADS = 8, READ_SUMS = 16 };

/* Heads `row` .. row + heads of each of `tokens` tokens from i on, and the tokens j of a vector that begins with `from`. Weights go
 * through registers from token to token; the last group of heads stores them. */
static void read_group(kernel *k, val f, const reading *of, val from, val i, val row, int heads, int tokens, bool store) {
    ir *b = &k->b;
    val acc[READ_SUMS], one[READ_SUMS], lanes = ir_mulc(b, from, 4);
    for (int n = 0; n < heads * tokens; n++)
        acc[n] = ir_zero(b);
    for (int t = 0; t < tokens; t++) {
        val lane = LLVMBuildTrunc(b->builder, ir_addc(b, ir_sub(b, i, from), t), b->i32, "");
        one[t] = ir_select(b, ir_cmp(b, "==", b->lanes, ir_splat(b, lane)), ir_vfloat(b, 1), ir_zero(b));
    }
    val e = frame_at(k, f, k->e, i, 0), s = frame_at(k, f, k->s, i, 0), p = frame_at(k, f, k->scores, row, 0);
    val pairs = ir_at(b, frame_at(k, f, k->pairs_t, NULL, 0), lanes);
    ir_loop slots;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), acc, heads * tokens);
    val column = ir_mulc(b, slots.index, 4), at = ir_at(b, pairs, ir_mulc(b, slots.index, (int64_t)k->pairs_t.ld * 4));
    val w = ir_load_v(b, at), e_at = ir_at(b, e, column), s_at = ir_at(b, s, column), p_at = ir_at(b, p, column);
    for (int t = 0; t < tokens; t++) { /* lane i + t is zero until then */
        val e_t = ir_splat(b, ir_load_f32(b, ir_atc(b, e_at, (int64_t)t * k->e.ld * 4)));
        val s_t = ir_splat(b, ir_load_f32(b, ir_atc(b, s_at, (int64_t)t * k->s.ld * 4)));
        w = ir_fma(b, one[t], s_t, ir_fmul(b, w, e_t));
        for (int g = 0; g < heads; g++) {
            val p_g = ir_load_f32(b, ir_atc(b, p_at, (int64_t)(t * k->G + g) * k->scores.ld * 4));
            acc[t * heads + g] = ir_fma(b, w, ir_splat(b, p_g), acc[t * heads + g]);
        }
    }
    if (store)
        ir_store_v(b, w, at);
    ir_loop_end(b, &slots, acc);
    val to = ir_at(b, frame_at(k, f, k->within, ir_sub(b, row, reading_row(k, of)), 0), lanes);
    for (int t = 0; t < tokens; t++)
        for (int g = 0; g < heads; g++)
            ir_store_v(b, acc[t * heads + g], ir_atc(b, to, (int64_t)(t * k->G + g) * k->within.ld * 4));
}

void read_resets(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_loop loop;
    int heads = k->G < READ_HEADS ? k->G : READ_HEADS, tokens = heads <= 2 ? 8 : heads <= 4 ? 4 : 2;
    ir_loop_begin(b, &loop, r->first, ir_addc(b, r->first, r->count), ir_int(b, tokens), NULL, 0);
    val token = ir_add(b, r->from, loop.index), row = ir_mulc(b, loop.index, k->G);
    for (int j = 0; j < k->chunk; j += b->vl)
        for (int g = 0; g < k->G; g += heads)
            read_group(k, f, r, ir_addc(b, r->from, j), token, ir_addc(b, row, g), k->G - g < heads ? k->G - g : heads, tokens,
                       g + heads >= k->G);
    ir_loop_end(b, &loop, NULL);
}
