/* prefill_decay.c: on AMX, what the tokens of a block give one another through the slots. In the chunk (32 tokens, or 16) from f on, with
 * P_i = prod_{f<=l<=i} e_l, row i sees of token j of the block
 *     j < f:   u_j P_i,  u_j = s_j prod_{j<l<f} e_l      both factors are in [0,1]: a product of the chunk
 *     j >= f:  s_j P_i / P_j                             the same, as long as no slot's P falls below 2^-90 within the chunk;
 *                                                        else one by one, each factor in [0,1], as in prefill_slots.c
 * Between chunks pairs and pairs_t hold u_j, and zero for tokens to come. decay_scores comes first, then decay_reads. */
#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

enum { TOKENS = 2, HEADS = 4, VECTORS = 2 }; /* sums of a group; beside them a weight and decays of each vector, and a broadcast */

static val at_slot(kernel *k, val f, buffer buf, val row, int vector) {
    return frame_at(k, f, buf, row, vector * k->b.vl);
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
static void score_group(kernel *k, val f, val from, val i, val row, int heads, int v0, int nv, bool store) {
    ir *b = &k->b;
    val acc[TOKENS * HEADS * VECTORS], e[TOKENS * VECTORS], within = frame_at(k, f, k->within, row, 0);
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
                val early = ir_atc(b, at_slot(k, f, k->earlier, row, v0 + v), r * k->earlier.ld * 4);
                val h = ir_fma(b, start, ir_load_v(b, at), ir_load_v(b, early));
                ir_store_v(b, ir_fma(b, decay, h, acc[(t * heads + g) * nv + v]), at);
            }
        }
    }
}

/* Whether all P of the chunk are far from underflow. */
static val mild(kernel *k, val f, val from) {
    ir *b = &k->b;
    val least = ir_vfloat(b, 1), last = ir_addc(b, from, k->chunk - 1);
    for (int v = 0; v < k->mv; v++)
        least = ir_fmin(b, ir_load_v(b, at_slot(k, f, k->decay_chunk, last, v)), least);
    return LLVMBuildNot(b->builder, ir_flt(b, ir_reduce(b, least, ir_fmin), ir_float(b, 0x1p-90)), "");
}

/* 32 columns of a row of within from `at` on, column j0 of the chunk: what stands for tokens past its own, `own`, becomes zero. */
static void masked_pair(kernel *k, val at, int j0, val own, val *x) {
    ir *b = &k->b;
    for (int i = 0; i < 2; i++) {
        val later = ir_cmp(b, ">", ir_add(b, b->lanes, ir_vint(b, j0 + i * b->vl)), own);
        x[i] = ir_select(b, later, ir_zero(b), ir_load_v(b, ir_atc(b, at, (int64_t)i * b->vl * 4)));
    }
}

/* Rows of within of `count` tokens of the chunk from `first` on as a left operand at `column` bytes of a row, without tokens to come. */
static void pack_within(kernel *k, val f, val from, val first, int count, const amx_left *left, int column) {
    ir *b = &k->b;
    ir_loop tokens, heads;
    ir_loop_begin(b, &tokens, first, ir_addc(b, first, count), ir_int(b, 1), NULL, 0);
    val own = ir_splat(b, LLVMBuildTrunc(b->builder, ir_add(b, from, tokens.index), b->i32, ""));
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_add(b, ir_mulc(b, tokens.index, k->G), heads.index), to = ir_atc(b, left_row(k, f, left, row), column);
    for (int j = 0; j < k->block; j += AMX_INNER) {
        val x[2];
        masked_pair(k, frame_at(k, f, k->within, row, j), j, own, x);
        pack_vectors(b, left, x, ir_atc(b, to, j * 2));
    }
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* earlier = within u, over what pairs holds; if `with_slots`, added to the scores of the slots instead */
static void score_earlier(kernel *k, val f, val from, bool with_slots) {
    ir *b = &k->b;
    val left = ir_atc(b, f, k->left_within.at), right = ir_atc(b, f, k->right_weights.at);
    amx_product product[2] = {{left, k->left_within, right, k->right_weights}};
    buffer to = with_slots ? k->scores : k->earlier;
    pack_rows(b, &k->right_weights, right, frame_at(k, f, k->pairs, NULL, 0), k->mp, k->block);
    pack_within(k, f, from, ir_int(b, 0), k->chunk, &k->left_within, 0);
    if (with_slots)
        product[1] = amx_slot_scores(k, f, from);
    amx_multiply(k, product, with_slots ? 2 : 1, k->chunk_rows, frame_at(k, f, to, NULL, 0), to.ld);
}

/* pairs[j] = s_j / P_j for the chunk's tokens */
static void divide_pairs(kernel *k, val f, val from) {
    ir *b = &k->b;
    ir_loop tokens;
    ir_loop_begin(b, &tokens, from, ir_addc(b, from, k->chunk), ir_int(b, 1), NULL, 0);
    for (int v = 0; v < k->mv; v++) {
        val s = ir_load_v(b, at_slot(k, f, k->s, tokens.index, v)), p = ir_load_v(b, at_slot(k, f, k->decay_chunk, tokens.index, v));
        ir_store_v(b, ir_fmul(b, s, ir_inverse(b, p)), at_slot(k, f, k->pairs, tokens.index, v));
    }
    ir_loop_end(b, &tokens, NULL);
}

/* scores_i[m] = P_i (E_f scores_i + earlier_i); in a chunk that is the block, E_f is 1 and scores hold both */
static void add_earlier(kernel *k, val f, val from) {
    ir *b = &k->b;
    bool apart = k->chunk < k->block;
    ir_loop tokens, heads, slots;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->chunk), ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl * 4), ir_int(b, b->vl * 4), NULL, 0);
    val start = apart ? ir_load_v(b, ir_at(b, frame_at(k, f, k->decay, ir_addc(b, from, -1), 0), slots.index)) : NULL;
    val decay = ir_load_v(b, ir_at(b, frame_at(k, f, k->decay_chunk, ir_add(b, from, tokens.index), 0), slots.index));
    val first = ir_mulc(b, tokens.index, k->G);
    int together = k->G % 4 == 0 ? 4 : k->G % 2 == 0 ? 2 : 1;
    ir_loop_begin(b, &heads, first, ir_addc(b, first, k->G), ir_int(b, together), NULL, 0);
    for (int g = 0; g < together; g++) {
        val row = ir_addc(b, heads.index, g), at = ir_at(b, frame_at(k, f, k->scores, row, 0), slots.index);
        val x = ir_load_v(b, at);
        if (apart)
            x = ir_fma(b, start, x, ir_load_v(b, ir_at(b, frame_at(k, f, k->earlier, row, 0), slots.index)));
        ir_store_v(b, ir_fmul(b, decay, x), at);
    }
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &slots, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* pairs of tokens up to `to`, on to the end of the chunk */
static void advance_pairs(kernel *k, val f, val from, val to) {
    ir *b = &k->b;
    val last = ir_addc(b, from, k->chunk - 1);
    for (int v0 = 0; v0 < k->mv; v0 += VECTORS) {
        int nv = k->mv - v0 < VECTORS ? k->mv - v0 : VECTORS;
        val e[VECTORS];
        ir_loop tokens;
        for (int v = 0; v < nv; v++)
            e[v] = ir_load_v(b, at_slot(k, f, k->decay_chunk, last, v0 + v));
        ir_loop_begin(b, &tokens, ir_int(b, 0), to, ir_int(b, 1), NULL, 0);
        for (int v = 0; v < nv; v++) {
            val at = at_slot(k, f, k->pairs, tokens.index, v0 + v);
            ir_store_v(b, ir_fmul(b, ir_load_v(b, at), e[v]), at);
        }
        ir_loop_end(b, &tokens, NULL);
    }
}

/* decay_scores(scratch, from) */
void emit_amx_decay_scores(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->decay_scores = phase_begin(k, "decay_scores", "pi", (const char *const[]){"scratch", "from"});
    val f = ir_param(b, 0), from = ir_param(b, 1);
    bool whole = k->chunk == k->block; /* nothing is earlier than the chunk */
    ir_if start, product, earlier;
    if (!whole) {
        ir_if_begin(b, &start, ir_cmp(b, "==", from, ir_int(b, 0)));
        tile_zero(b, frame_at(k, f, k->pairs, NULL, 0), (int64_t)k->block * k->mp);
        ir_if_end(b, &start);
    }
    ir_if_begin(b, &product, mild(k, f, from));
    divide_pairs(k, f, from);
    score_earlier(k, f, from, whole);
    add_earlier(k, f, from); /* pairs stay as they are: decay_reads takes them */
    ir_if_else(b, &product);
    if (whole) {
        amx_product slots = amx_slot_scores(k, f, from);
        amx_multiply(k, &slots, 1, k->chunk_rows, frame_at(k, f, k->scores, NULL, 0), k->scores.ld);
        tile_zero(b, frame_at(k, f, k->pairs, NULL, 0), (int64_t)k->block * k->mp);
        tile_zero(b, frame_at(k, f, k->earlier, NULL, 0), (int64_t)k->chunk_rows * k->mp);
    } else {
        ir_if_begin(b, &earlier, ir_cmp(b, ">", from, ir_int(b, 0)));
        score_earlier(k, f, from, false);
        ir_if_else(b, &earlier);
        tile_zero(b, frame_at(k, f, k->earlier, NULL, 0), (int64_t)k->chunk_rows * k->mp);
        ir_if_end(b, &earlier);
    }
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->chunk), ir_int(b, TOKENS), NULL, 0);
    val token = ir_add(b, from, loop.index), row = ir_mulc(b, loop.index, k->G);
    for (int v = 0; v < k->mv; v += VECTORS)
        for (int g = 0; g < k->G; g += HEADS)
            score_group(k, f, from, token, ir_addc(b, row, g), k->G - g < HEADS ? k->G - g : HEADS, v,
                        k->mv - v < VECTORS ? k->mv - v : VECTORS, g + HEADS >= k->G);
    ir_loop_end(b, &loop, NULL);
    advance_pairs(k, f, from, from);
    ir_if_end(b, &product);
    phase_end(k);
}

/* ---- p.weights: within[i,g][j] = sum_m p[i,g][m] w_ij[m], lanes are the tokens j ---- */

enum { READ_HEADS = 8, READ_SUMS = 16 };

/* Heads `row` .. row + heads of each of `tokens` tokens from i on, and the tokens j of a vector that begins with `from`. Weights go
 * through registers from token to token; the last group of heads stores them. */
static void read_group(kernel *k, val f, val from, val i, val row, int heads, int tokens, bool store) {
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
    val to = ir_at(b, frame_at(k, f, k->within, row, 0), lanes);
    for (int t = 0; t < tokens; t++)
        for (int g = 0; g < heads; g++)
            ir_store_v(b, acc[t * heads + g], ir_atc(b, to, (int64_t)(t * k->G + g) * k->within.ld * 4));
}

/* Tokens `first` (i64, in the chunk) .. first + count of a chunk whose reads are prepared: all of them, or a group of 16. */
typedef struct reading {
    val from, first;
    int count;
} reading;

static val first_row(kernel *k, const reading *r) {
    return ir_mulc(&k->b, r->first, k->G);
}

/* What is done once a chunk: with its first tokens, or with its last. */
static void once_begin(kernel *k, const reading *r, bool last, ir_if *once) {
    if (r->count < k->chunk)
        ir_if_begin(&k->b, once, ir_cmp(&k->b, "==", r->first, ir_int(&k->b, last ? k->chunk - r->count : 0)));
}

static void once_end(kernel *k, const reading *r, ir_if *once) {
    if (r->count < k->chunk)
        ir_if_end(&k->b, once);
}

/* Probabilities in place of the scores of slots, as the softmax computed them. */
static void restore_probabilities(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_loop rows;
    val row = first_row(k, r);
    ir_loop_begin(b, &rows, row, ir_addc(b, row, (int64_t)r->count * k->G), ir_int(b, 1), NULL, 0);
    val m = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_max, NULL, 0), ir_mulc(b, rows.index, 4))));
    for (int v = 0; v < k->mv; v++) {
        val at = frame_at(k, f, k->scores, rows.index, v * b->vl);
        val x = ir_fma(b, ir_load_v(b, at), ir_vfloat(b, k->q_scale), ir_fneg(b, m));
        ir_store_v(b, ir_exp2_scale(b, x, k->tile.knob[GEN_EXP_DEGREE]), at);
    }
    ir_loop_end(b, &rows, NULL);
}

/* pairs_t[m][j] = s_j / P_j for the chunk's tokens, as pairs has them */
static void transpose_pairs(kernel *k, val f, val from) {
    ir *b = &k->b;
    ir_loop slots, tokens;
    ir_loop_begin(b, &tokens, from, ir_addc(b, from, k->chunk), ir_int(b, AMX_TILE), NULL, 0);
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl), ir_int(b, b->vl), NULL, 0);
    val r[IR_VECTOR_MAX], at = ir_at(b, frame_at(k, f, k->pairs, tokens.index, 0), ir_mulc(b, slots.index, 4));
    for (int i = 0; i < AMX_TILE; i++)
        r[i] = ir_load_v(b, ir_atc(b, at, (int64_t)i * k->pairs.ld * 4));
    tile_transpose(b, r);
    for (int i = 0; i < AMX_TILE; i++) /* rows past M: room behind pairs_t */
        ir_store_v(b, r[i], ir_at(b, frame_at(k, f, k->pairs_t, ir_addc(b, slots.index, i), 0), ir_mulc(b, tokens.index, 4)));
    ir_loop_end(b, &slots, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* within = (p P) u, over what pairs_t holds */
static void read_earlier(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_if once;
    val right = ir_atc(b, f, k->right_pairs_t.at), row = first_row(k, r);
    once_begin(k, r, false, &once);
    pack_rows(b, &k->right_pairs_t, right, frame_at(k, f, k->pairs_t, NULL, 0), k->block, k->M + k->M % 2);
    once_end(k, r, &once);
    amx_product product = {left_row(k, f, &k->left_earlier, row), k->left_earlier, right, k->right_pairs_t};
    amx_multiply(k, &product, 1, r->count * k->G, frame_at(k, f, k->within, row, 0), k->within.ld);
}

static void clear_within(kernel *k, val f, const reading *r) {
    tile_zero(&k->b, frame_at(k, f, k->within, first_row(k, r), 0), (int64_t)r->count * k->G * k->within.ld);
}

/* As advance_pairs. */
static void advance_pairs_t(kernel *k, val f, val from, val to) {
    ir *b = &k->b;
    ir_loop slots, lanes;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), NULL, 0);
    val e = ir_at(b, frame_at(k, f, k->decay_chunk, ir_addc(b, from, k->chunk - 1), 0), ir_mulc(b, slots.index, 4));
    e = ir_splat(b, ir_load_f32(b, e));
    ir_loop_begin(b, &lanes, ir_int(b, 0), ir_mulc(b, to, 4), ir_int(b, b->vl * 4), NULL, 0);
    val at = ir_at(b, frame_at(k, f, k->pairs_t, slots.index, 0), lanes.index);
    ir_store_v(b, ir_fmul(b, ir_load_v(b, at), e), at);
    ir_loop_end(b, &lanes, NULL);
    ir_loop_end(b, &slots, NULL);
}

/* The loop of factors in [0,1]: what the chunk's tokens themselves give. */
static void read_tokens(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_loop loop;
    int heads = k->G < READ_HEADS ? k->G : READ_HEADS, tokens = heads <= 2 ? 8 : heads <= 4 ? 4 : 2;
    ir_loop_begin(b, &loop, r->first, ir_addc(b, r->first, r->count), ir_int(b, tokens), NULL, 0);
    val token = ir_add(b, r->from, loop.index), row = ir_mulc(b, loop.index, k->G);
    for (int j = 0; j < k->chunk; j += b->vl)
        for (int g = 0; g < k->G; g += heads)
            read_group(k, f, ir_addc(b, r->from, j), token, ir_addc(b, row, g), k->G - g < heads ? k->G - g : heads, tokens,
                       g + heads >= k->G);
    ir_loop_end(b, &loop, NULL);
}

/* decay_reads(scratch, from, first): the second part of left_read, of 16 tokens of the chunk where k->beside, else of all; those before
 * them come first. */
void emit_amx_decay_reads(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->decay_reads = phase_begin(k, "decay_reads", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0), from = ir_param(b, 1);
    const reading r = {from, k->beside ? ir_param(b, 2) : ir_int(b, 0), k->beside ? AMX_TILE : k->chunk};
    int64_t held = (int64_t)(k->M + k->M % 2) * k->block;
    bool whole = k->chunk == k->block;
    ir_if start, product, earlier, once;
    if (!whole) {
        once_begin(k, &r, false, &once);
        ir_if_begin(b, &start, ir_cmp(b, "==", from, ir_int(b, 0)));
        tile_zero(b, frame_at(k, f, k->pairs_t, NULL, 0), held);
        ir_if_end(b, &start);
        once_end(k, &r, &once);
    }
    ir_if_begin(b, &product, mild(k, f, from));
    once_begin(k, &r, false, &once);
    transpose_pairs(k, f, from);
    once_end(k, &r, &once);
    read_earlier(k, f, &r);
    once_begin(k, &r, true, &once);
    advance_pairs(k, f, from, ir_addc(b, from, k->chunk));
    advance_pairs_t(k, f, from, ir_addc(b, from, k->chunk));
    once_end(k, &r, &once);
    ir_if_else(b, &product);
    restore_probabilities(k, f, &r);
    if (whole) {
        once_begin(k, &r, false, &once);
        tile_zero(b, frame_at(k, f, k->pairs_t, NULL, 0), held);
        once_end(k, &r, &once);
        clear_within(k, f, &r);
    } else {
        ir_if_begin(b, &earlier, ir_cmp(b, ">", from, ir_int(b, 0)));
        read_earlier(k, f, &r);
        ir_if_else(b, &earlier);
        clear_within(k, f, &r);
        ir_if_end(b, &earlier);
    }
    read_tokens(k, f, &r);
    once_begin(k, &r, true, &once);
    advance_pairs_t(k, f, from, from);
    once_end(k, &r, &once);
    ir_if_end(b, &product);
    pack_within(k, f, from, r.first, r.count, &k->left_read, k->read_within);
    phase_end(k);
}
