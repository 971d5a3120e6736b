/* prefill_slots.c: phases of the slot path. Within a block, row i sees the memory h before the block and the tokens j <= i that
 * the block has absorbed so far:
 *     hk_i[m] = E_i[m] h[m] + sum_{j<=i} w_ij[m] k_j      E_i = prod_{l<=i} e_l,  w_ij = s_j prod_{j<l<=i} e_l
 * The weights w are built by multiplication from row to row: every factor is in [0,1], so any gate is exact, -inf included; no
 * exponential of a difference of sums exists. Here a block is one chunk (`from` is 0); on AMX, see prefill_decay.c. */
#include "gen/cpu/prefill.h"
#include "gen/cpu/product.h"

/* score_slots(scratch, from, first): scores[r][m] = qs_r . h_m and within[r][j] = qs_r . k_j: one left operand, two right ones */
void emit_score_slots(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_amx_score_slots(x);
        return;
    }
    x->score_slots = phase_begin(k, "score_slots", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0);
    product p = {.a = frame_at(k, f, k->qs, NULL, 0), .lda = k->K, .inner = k->K, .unroll = k->tile.knob[GEN_UNROLL]};
    product_columns(b, &p, k->mv, frame_at(k, f, k->memory_k, NULL, 0), k->mp, frame_at(k, f, k->scores, NULL, 0), k->scores.ld);
    product_columns(b, &p, k->bv, frame_ptr(k, f, FRAME_ABSORBED_K), k->block, frame_at(k, f, k->within, NULL, 0), k->block);
    tile_product(b, k->rows, p.columns, k->tile.knob[GEN_SCORE_ROWS], k->tile.knob[GEN_SCORE_VECTORS], &p, product_accumulate,
                 product_store);
    phase_end(k);
}

/* ---- scores[i,g][m] = E_i[m] scores[i,g][m] + sum_{j<=i} within[i,g][j] w_ij[m] ---- */

typedef struct decay_product {
    product p; /* first: product_accumulate takes it */
    kernel *k;
    val f, token;
} decay_product;

static void finish_decayed(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    decay_product *d = context;
    for (int j = 0; j < nv; j++) {
        val decay = ir_load_v(b, frame_at(d->k, d->f, d->k->decay, d->token, (col + j) * b->vl));
        for (int r = 0; r < mr; r++) {
            val at = product_c(b, &d->p, row, r, col + j);
            ir_store_v(b, ir_fma(b, decay, ir_load_v(b, at), acc[r * nv + j]), at);
            ir_barrier(b);
        }
    }
}

/* pairs[j] *= e_i for j < i; pairs[i] = s_i */
static void next_weights(kernel *k, val f, val i) {
    ir *b = &k->b;
    ir_loop slots, tokens;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl * 4), ir_int(b, b->vl * 4), NULL, 0);
    val e = ir_load_v(b, ir_at(b, frame_at(k, f, k->e, i, 0), slots.index));
    ir_loop_begin(b, &tokens, ir_int(b, 0), i, ir_int(b, 1), NULL, 0);
    val at = ir_at(b, frame_at(k, f, k->pairs, tokens.index, 0), slots.index);
    ir_store_v(b, ir_fmul(b, ir_load_v(b, at), e), at);
    ir_loop_end(b, &tokens, NULL);
    val s = ir_load_v(b, ir_at(b, frame_at(k, f, k->s, i, 0), slots.index));
    ir_store_v(b, s, ir_at(b, frame_at(k, f, k->pairs, i, 0), slots.index));
    ir_loop_end(b, &slots, NULL);
}

void emit_decay_scores(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_amx_decay_scores(x);
        return;
    }
    x->decay_scores = phase_begin(k, "decay_scores", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
    next_weights(k, f, loop.index);
    val row = ir_mulc(b, loop.index, k->G);
    decay_product d = {.k = k, .f = f, .token = loop.index};
    d.p.a = frame_at(k, f, k->within, row, 0);
    d.p.lda = k->block;
    d.p.inner_value = ir_addc(b, loop.index, 1);
    product_columns(b, &d.p, k->mv, frame_at(k, f, k->pairs, NULL, 0), k->mp, frame_at(k, f, k->scores, row, 0), k->scores.ld);
    /* as many registers as a block of scores takes: accumulators and a row of B */
    int budget = (k->tile.knob[GEN_SCORE_ROWS] + 1) * k->tile.knob[GEN_SCORE_VECTORS], mr = k->G < 4 ? k->G : 4;
    int nv = budget / (mr + 1);
    tile_product(b, k->G, k->mv, mr, nv > 8 ? 8 : nv < 1 ? 1 : nv, &d, product_accumulate, finish_decayed);
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* ---- within[i,g][j] = sum_m p[i,g][m] w_ij[m], lanes are the tokens j ---- */

/* Heads g0 .. g0+heads of token i; the first group also advances the weights: w_i = w_{i-1} e_i, lane i = s_i. */
static void decay_reads_group(kernel *k, val f, val i, int g0, int heads, bool advance) {
    ir *b = &k->b;
    int bv = k->bv;
    val acc[TILE_ACC_MAX], row = ir_addc(b, ir_mulc(b, i, k->G), g0);
    for (int n = 0; n < heads * bv; n++)
        acc[n] = ir_zero(b);
    val lane = ir_splat(b, LLVMBuildTrunc(b->builder, i, b->i32, ""));
    ir_loop slots;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), acc, heads * bv);
    val column = ir_mulc(b, slots.index, 4), w[8];
    for (int v = 0; v < bv; v++) {
        val at = frame_at(k, f, k->pairs_t, slots.index, v * b->vl);
        w[v] = ir_load_v(b, at);
        if (!advance)
            continue;
        val e = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->e, i, 0), column)));
        val s = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->s, i, 0), column)));
        val here = ir_cmp(b, "==", ir_add(b, b->lanes, ir_vint(b, v * b->vl)), lane);
        w[v] = ir_select(b, here, s, ir_fmul(b, w[v], e));
        ir_store_v(b, w[v], at);
    }
    for (int g = 0; g < heads; g++) {
        val p = ir_at(b, ir_atc(b, frame_at(k, f, k->scores, row, 0), (int64_t)g * k->scores.ld * 4), column);
        p = ir_splat(b, ir_load_f32(b, p));
        for (int v = 0; v < bv; v++)
            acc[g * bv + v] = ir_fma(b, p, w[v], acc[g * bv + v]);
    }
    ir_loop_end(b, &slots, acc);
    for (int g = 0; g < heads; g++)
        for (int v = 0; v < bv; v++)
            ir_store_v(b, acc[g * bv + v],
                       ir_atc(b, frame_at(k, f, k->within, row, v * b->vl), (int64_t)g * k->block * 4));
}

void emit_decay_reads(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_amx_decay_reads(x);
        return;
    }
    x->decay_reads = phase_begin(k, "decay_reads", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0);
    tile_zero(b, frame_at(k, f, k->pairs_t, NULL, 0), (int64_t)k->M * k->block);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
    int most = (b->isa->registers / 2) / k->bv > 0 ? (b->isa->registers / 2) / k->bv : 1;
    for (int g = 0; g < k->G; g += most)
        decay_reads_group(k, f, loop.index, g, k->G - g < most ? k->G - g : most, g == 0);
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* ---- the block's own weights without queries, for segment deltas: w_j = s_j prod_{l>j} e_l and its transpose ---- */

void emit_weights_last(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->weights_last = phase_begin(k, "weights_last", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    ir_loop slots, tokens;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl * 4), ir_int(b, b->vl * 4), NULL, 0);
    val product = ir_vfloat(b, 1);
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), &product, 1);
    val j = ir_sub(b, ir_int(b, k->block - 1), tokens.index);
    val s = ir_load_v(b, ir_at(b, frame_at(k, f, k->s, j, 0), slots.index));
    ir_store_v(b, ir_fmul(b, s, product), ir_at(b, frame_at(k, f, k->pairs, j, 0), slots.index));
    product = ir_fmul(b, product, ir_load_v(b, ir_at(b, frame_at(k, f, k->e, j, 0), slots.index)));
    ir_loop_end(b, &tokens, &product);
    ir_loop_end(b, &slots, NULL);
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mv * b->vl), ir_int(b, b->vl), NULL, 0);
    for (int v = 0; v < k->bv; v++) {
        val r[IR_VECTOR_MAX];
        for (int i = 0; i < b->vl; i++) {
            val row = frame_at(k, f, k->pairs, ir_int(b, v * b->vl + i), 0);
            r[i] = ir_load_v(b, ir_at(b, row, ir_mulc(b, slots.index, 4)));
        }
        tile_transpose(b, r);
        for (int i = 0; i < b->vl; i++)
            ir_store_v(b, r[i], frame_at(k, f, k->pairs_t, ir_addc(b, slots.index, i), v * b->vl));
    }
    ir_loop_end(b, &slots, NULL);
    phase_end(k);
}

/* ---- h' = keep*h + (scaled*h + sum_j w_j x_j) ---- */

static val updated(ir *b, val keep, val scaled, val h, val new) {
    return ir_fma(b, keep, h, ir_fma(b, scaled, h, new));
}

static void finish_keys(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    decay_product *d = context;
    for (int j = 0; j < nv; j++) {
        val keep = ir_load_v(b, frame_at(d->k, d->f, d->k->keep, NULL, (col + j) * b->vl));
        val scaled = ir_load_v(b, frame_at(d->k, d->f, d->k->scaled, NULL, (col + j) * b->vl));
        for (int r = 0; r < mr; r++) {
            val at = product_c(b, &d->p, row, r, col + j);
            ir_store_v(b, updated(b, keep, scaled, ir_load_v(b, at), acc[r * nv + j]), at);
            ir_barrier(b);
        }
    }
}

static void finish_values(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    decay_product *d = context;
    for (int r = 0; r < mr; r++) {
        val slot = ir_mulc(b, ir_addc(b, row, r), 4);
        val keep = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(d->k, d->f, d->k->keep, NULL, 0), slot)));
        val scaled = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(d->k, d->f, d->k->scaled, NULL, 0), slot)));
        for (int j = 0; j < nv; j++) {
            val at = product_c(b, &d->p, row, r, col + j);
            ir_store_v(b, updated(b, keep, scaled, ir_load_v(b, at), acc[r * nv + j]), at);
            ir_barrier(b);
        }
    }
}

void emit_update(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    int mr = k->tile.knob[GEN_READ_ROWS], nv = k->tile.knob[GEN_READ_VECTORS];
    if (k->amx) {
        emit_amx_update(x);
        return;
    }
    x->update_keys = phase_begin(k, "update_keys", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    decay_product keys = {.k = k, .f = f};
    keys.p.a = frame_ptr(k, f, FRAME_ABSORBED_K);
    keys.p.lda = keys.p.inner = k->block;
    keys.p.unroll = k->tile.knob[GEN_UNROLL];
    val to = frame_at(k, f, k->memory_k, NULL, 0);
    product_columns(b, &keys.p, k->mv, frame_at(k, f, k->pairs, NULL, 0), k->mp, to, k->mp);
    tile_product(b, k->K, k->mv, mr, nv, &keys, product_accumulate, finish_keys);
    phase_end(k);

    x->update_values = phase_begin(k, "update_values", "p", (const char *const[]){"scratch"});
    f = ir_param(b, 0);
    decay_product values = {.k = k, .f = f};
    values.p.a = frame_at(k, f, k->pairs_t, NULL, 0);
    values.p.lda = values.p.inner = k->block;
    values.p.unroll = k->tile.knob[GEN_UNROLL];
    to = frame_at(k, f, k->memory_v, NULL, 0);
    product_columns(b, &values.p, k->vv, frame_ptr(k, f, FRAME_ABSORBED_V), k->vp, to, k->vp);
    tile_product(b, k->M, k->vv, mr, nv, &values, product_accumulate, finish_values);
    phase_end(k);
}
