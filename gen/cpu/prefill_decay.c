/* prefill_decay.c: on AMX, what the tokens of a block give one another through the slots. In the chunk (32 tokens, or 16) from f on, with
 * P_i = prod_{f<=l<=i} e_l, row i sees of token j of the block
 *     j < f:   u_j P_i,  u_j = s_j prod_{j<l<f} e_l      both factors are in [0,1]: a product of the chunk
 *     j >= f:  s_j P_i / P_j                             the same, as long as no slot's P falls below 2^-90 within the chunk;
 *                                                        else one by one, each factor in [0,1]: prefill_resets.c
 * Between chunks pairs and pairs_t hold u_j, and zero for tokens to come. decay_scores comes first, then decay_reads. */
#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

enum { VECTORS = 2 }; /* of slots that go on from token to token at once */

static val at_slot(kernel *k, val f, buffer buf, val row, int vector) {
    return frame_at(k, f, buf, row, vector * k->b.vl);
}

static reading reading_of(kernel *k) {
    ir *b = &k->b;
    return (reading){ir_param(b, 1), k->beside ? ir_param(b, 2) : ir_int(b, 0), k->group};
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

/* Rows of within as a left operand at `at`, without tokens to come. */
static void pack_within(kernel *k, val f, const reading *r, const amx_left *left, val at) {
    ir *b = &k->b;
    ir_loop tokens, heads;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, r->count), ir_int(b, 1), NULL, 0);
    val own = ir_add(b, ir_add(b, r->from, r->first), tokens.index);
    own = ir_splat(b, LLVMBuildTrunc(b->builder, own, b->i32, ""));
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_add(b, ir_mulc(b, tokens.index, k->G), heads.index), to = ir_at(b, at, ir_mulc(b, row, left->lda));
    for (int j = 0; j < k->block; j += AMX_INNER) {
        val x[2];
        masked_pair(k, frame_at(k, f, k->within, row, j), j, own, x);
        pack_vectors(b, left, x, ir_atc(b, to, j * 2));
    }
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* earlier = within u, over what pairs holds; if `with_slots`, added to the scores of the slots instead */
static void score_earlier(kernel *k, val f, const reading *r, bool with_slots) {
    ir *b = &k->b;
    ir_if once;
    val left = ir_atc(b, f, k->left_within.at), right = ir_atc(b, f, k->right_weights.at);
    amx_product product[2] = {{left, k->left_within, right, k->right_weights}};
    once_begin(k, r, false, &once);
    pack_rows(b, &k->right_weights, right, frame_at(k, f, k->pairs, NULL, 0), k->mp, k->block);
    once_end(k, r, &once);
    pack_within(k, f, r, &k->left_within, left);
    if (with_slots)
        product[1] = amx_slot_scores(k, f, r->from);
    buffer to = with_slots ? k->scores : k->earlier;
    val row = with_slots ? reading_row(k, r) : NULL;
    amx_multiply(k, product, with_slots ? 2 : 1, k->group_rows, frame_at(k, f, to, row, 0), to.ld);
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
static void add_earlier(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    bool apart = k->chunk < k->block;
    val from = r->from;
    ir_loop tokens, heads, slots;
    ir_loop_begin(b, &tokens, r->first, ir_addc(b, r->first, r->count), ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl * 4), ir_int(b, b->vl * 4), NULL, 0);
    val start = apart ? ir_load_v(b, ir_at(b, frame_at(k, f, k->decay, ir_addc(b, from, -1), 0), slots.index)) : NULL;
    val decay = ir_load_v(b, ir_at(b, frame_at(k, f, k->decay_chunk, ir_add(b, from, tokens.index), 0), slots.index));
    val first = ir_mulc(b, tokens.index, k->G);
    int together = k->G % 4 == 0 ? 4 : k->G % 2 == 0 ? 2 : 1;
    ir_loop_begin(b, &heads, first, ir_addc(b, first, k->G), ir_int(b, together), NULL, 0);
    for (int g = 0; g < together; g++) {
        val row = ir_addc(b, heads.index, g), at = ir_at(b, frame_at(k, f, k->scores, row, 0), slots.index);
        val x = ir_load_v(b, at), early = ir_at(b, frame_at(k, f, k->earlier, ir_sub(b, row, reading_row(k, r)), 0), slots.index);
        if (apart)
            x = ir_fma(b, start, x, ir_load_v(b, early));
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

/* decay_scores(scratch, from, first): of 16 tokens of the chunk where k->beside, else of all; those before them come first. */
void emit_amx_decay_scores(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->decay_scores = phase_begin(k, "decay_scores", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0), from = ir_param(b, 1);
    const reading r = reading_of(k);
    const int64_t held = (int64_t)k->block * k->mp, group = (int64_t)k->group_rows * k->mp;
    bool whole = k->chunk == k->block; /* nothing is earlier than the chunk */
    ir_if start, product, earlier, once;
    if (!whole) {
        once_begin(k, &r, false, &once);
        ir_if_begin(b, &start, ir_cmp(b, "==", from, ir_int(b, 0)));
        tile_zero(b, frame_at(k, f, k->pairs, NULL, 0), held);
        ir_if_end(b, &start);
        once_end(k, &r, &once);
    }
    ir_if_begin(b, &product, mild(k, f, from));
    once_begin(k, &r, false, &once);
    divide_pairs(k, f, from);
    once_end(k, &r, &once);
    score_earlier(k, f, &r, whole);
    add_earlier(k, f, &r); /* pairs stay as they are: decay_reads takes them */
    ir_if_else(b, &product);
    if (whole) {
        amx_product slots = amx_slot_scores(k, f, from);
        amx_multiply(k, &slots, 1, k->group_rows, frame_at(k, f, k->scores, reading_row(k, &r), 0), k->scores.ld);
        once_begin(k, &r, false, &once);
        tile_zero(b, frame_at(k, f, k->pairs, NULL, 0), held);
        once_end(k, &r, &once);
        tile_zero(b, frame_at(k, f, k->earlier, NULL, 0), group);
    } else {
        ir_if_begin(b, &earlier, ir_cmp(b, ">", from, ir_int(b, 0)));
        score_earlier(k, f, &r, false);
        ir_if_else(b, &earlier);
        tile_zero(b, frame_at(k, f, k->earlier, NULL, 0), group);
        ir_if_end(b, &earlier);
    }
    score_resets(k, f, &r);
    once_begin(k, &r, true, &once);
    advance_pairs(k, f, from, from);
    once_end(k, &r, &once);
    ir_if_end(b, &product);
    phase_end(k);
}

/* Probabilities in place of the scores of slots, as the softmax computed them. */
static void restore_probabilities(kernel *k, val f, const reading *r) {
    ir *b = &k->b;
    ir_loop rows;
    val row = reading_row(k, r);
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
    val right = ir_atc(b, f, k->right_pairs_t.at), row = reading_row(k, r);
    once_begin(k, r, false, &once);
    pack_rows(b, &k->right_pairs_t, right, frame_at(k, f, k->pairs_t, NULL, 0), k->block, k->M + k->M % 2);
    once_end(k, r, &once);
    amx_product product = {left_row(k, f, &k->left_earlier, row), k->left_earlier, right, k->right_pairs_t};
    amx_multiply(k, &product, 1, r->count * k->G, frame_at(k, f, k->within, NULL, 0), k->within.ld);
}

static void clear_within(kernel *k, val f, const reading *r) {
    tile_zero(&k->b, frame_at(k, f, k->within, NULL, 0), (int64_t)r->count * k->G * k->within.ld);
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

/* decay_reads(scratch, from, first): the second part of left_read, of 16 tokens of the chunk where k->beside, else of all; those before
 * them come first. */
void emit_amx_decay_reads(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->decay_reads = phase_begin(k, "decay_reads", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0), from = ir_param(b, 1);
    const reading r = reading_of(k);
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
    read_resets(k, f, &r);
    once_begin(k, &r, true, &once);
    advance_pairs_t(k, f, from, from);
    once_end(k, &r, &once);
    ir_if_end(b, &product);
    pack_within(k, f, &r, &k->left_read, ir_atc(b, left_row(k, f, &k->left_read, reading_row(k, &r)), k->read_within));
    phase_end(k);
}
