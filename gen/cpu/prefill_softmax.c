/* prefill_softmax.c: phases that mix slots and window in one softmax. Scores are in log2 units. A softmax step covers up to KEY_PANELS
 * panels, the newest first; with more, later steps are online:
 *     m' = max(m, new) ;  l' = l 2^(m-m') + sum 2^(b-m') ;  o' = o 2^(m-m') + sum 2^(b-m') v */
#include <math.h>

#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"

enum { HEADS_MAX = 4, SLOTS = 3 }; /* SLOTS: of a tile_work in a step of HEADS_MAX rows */

/* A group of heads of one token under way. */
typedef struct softmax_rows {
    kernel *k;
    val f, token, row; /* token in the block, row of the first head in the chunk */
    val group;         /* AMX: of 16 tokens in the chunk */
    int heads;
    val lowest, span;  /* window of the token: 0 <= (j - lowest) < span, lowest local, i32 vectors hold the rest */
    val newest, count; /* panels of this step */
    const tile_work *beside; /* or NULL: what tiles do meanwhile */
    val turn;                /* of that work, and which of its slots come here */
    int slot;
} softmax_rows;

static val score_at(const softmax_rows *s, int head, val column_bytes) {
    ir *b = &s->k->b;
    val p = frame_at(s->k, s->f, s->k->scores, s->row, 0);
    return ir_at(b, ir_atc(b, p, (int64_t)head * s->k->scores.ld * 4), column_bytes);
}

typedef void (*column_visit)(const softmax_rows *s, val *carried, val column_bytes, val valid);

/* Visits each vector of slots, then of panels: carried[] are loop-carried; valid is a mask or NULL where all lanes count. */
static void visit_slots(const softmax_rows *s, val *carried, int count, column_visit visit) {
    kernel *k = s->k;
    ir *b = &k->b;
    int whole = k->M / b->vl;
    if (whole) {
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, (int64_t)whole * b->vl * 4), ir_int(b, b->vl * 4), carried, count);
        visit(s, carried, loop.index, NULL);
        ir_loop_end(b, &loop, carried);
    }
    if (k->M % b->vl)
        visit(s, carried, ir_int(b, (int64_t)whole * b->vl * 4), ir_cmp(b, "u<", b->lanes, ir_vint(b, k->M % b->vl)));
}

static val window_mask(const softmax_rows *s, val first, int lane) {
    ir *b = &s->k->b;
    val relative = ir_splat(b, LLVMBuildTrunc(b->builder, ir_sub(b, first, s->lowest), b->i32, ""));
    return ir_cmp(b, "u<", ir_add(b, ir_add(b, relative, b->lanes), ir_vint(b, lane)), s->span);
}

static void visit_tiles(const softmax_rows *s, val *carried, int count, column_visit visit) {
    kernel *k = s->k;
    window_tiles t;
    window_tiles_begin(k, s->f, s->group, true, &t, carried, count);
    visit(s, carried, ir_addc(&k->b, t.column, (int64_t)k->mp * 4), window_mask(s, t.token, 0));
    window_tiles_end(k, &t, carried);
}

static void visit_panels(const softmax_rows *s, val *carried, int count, column_visit visit) {
    kernel *k = s->k;
    ir *b = &k->b;
    ir_loop loop;
    if (k->tiles_listed) {
        visit_tiles(s, carried, count, visit);
        return;
    }
    ir_loop_begin(b, &loop, ir_int(b, 0), s->count, ir_int(b, 1), carried, count);
    val first = ir_mulc(b, ir_sub(b, s->newest, loop.index), k->block);
    for (int v = 0; v < k->bv; v++) {
        val column = ir_addc(b, ir_mulc(b, loop.index, k->block * 4), ((int64_t)k->mp + v * b->vl) * 4);
        visit(s, carried, column, window_mask(s, first, v * b->vl));
    }
    ir_loop_end(b, &loop, carried);
}

static val masked_score(const softmax_rows *s, int head, val column, val valid) {
    ir *b = &s->k->b;
    val x = ir_load_v(b, score_at(s, head, column));
    return valid ? ir_select(b, valid, x, ir_vfloat(b, -INFINITY)) : x;
}

static void visit_max(const softmax_rows *s, val *carried, val column, val valid) {
    ir *b = &s->k->b;
    for (int h = 0; h < s->heads; h++) {
        if (s->beside && valid) /* one instruction under a mask */
            carried[h] = ir_select(b, valid, ir_fmax(b, carried[h], masked_score(s, h, column, NULL)), carried[h]);
        else
            carried[h] = ir_fmax(b, carried[h], masked_score(s, h, column, valid));
    }
}

/* 2^(score - m). On AMX queries are not scaled: scores are, here; maxima have been. */
static val probability(const softmax_rows *s, int head, val column, val valid, val m) {
    kernel *k = s->k;
    ir *b = &k->b;
    if (!k->amx)
        return ir_exp2(b, ir_fsub(b, masked_score(s, head, column, valid), m), k->tile.knob[GEN_EXP_DEGREE]);
    val x = ir_fma(b, ir_load_v(b, score_at(s, head, column)), ir_vfloat(b, k->q_scale), ir_fneg(b, m));
    val p = ir_exp2_scale(b, x, k->tile.knob[GEN_EXP_DEGREE]);
    return valid ? ir_select(b, valid, p, ir_zero(b)) : p;
}

/* Address of `bytes` (i64) of the head's row of a left operand. */
static val left_at(const softmax_rows *s, const amx_left *left, int head, val bytes) {
    ir *b = &s->k->b;
    val at = ir_atc(b, s->f, left->at + (int64_t)head * left->lda);
    return ir_at(b, ir_at(b, at, ir_mulc(b, s->row, left->lda)), bytes);
}

/* p[head] at `bytes` of each head's row. */
static void store_left(const softmax_rows *s, const amx_left *left, val bytes, const val *p) {
    ir *b = &s->k->b;
    int h = 0;
    for (; h + 1 < s->heads; h += 2) /* one conversion takes two vectors, in as long as one */
        pack_halves(b, left, &p[h], left_at(s, left, h, bytes), left_at(s, left, h + 1, bytes));
    if (h < s->heads)
        pack_half(b, left, p[h], left_at(s, left, h, bytes));
}

static val half(ir *b, val bytes) {
    return LLVMBuildLShr(b->builder, bytes, ir_int(b, 1), "");
}

/* Bytes of a row of left_read where the probabilities of a column of the window stand; column: bytes in a row of scores. */
static val window_left(const softmax_rows *s, val column) {
    return half(&s->k->b, ir_addc(&s->k->b, column, 2 * s->k->read_window - (int64_t)s->k->mp * 4));
}

/* p[head] of a column, side by side; carried: heads sums, to which they are added, then heads maxima. */
static void exponentials(const softmax_rows *s, val *carried, val column, val valid, val *p) {
    ir *b = &s->k->b;
    ir_strands strands = {0};
    for (int h = 0; h < s->heads; h++) {
        ir_strand_begin(b, &strands);
        p[h] = probability(s, h, column, valid, carried[s->heads + h]);
        carried[h] = ir_fadd(b, carried[h], p[h]);
    }
    ir_strands_weave(b, &strands);
}

static void store_scores(const softmax_rows *s, val column, const val *p) {
    for (int h = 0; h < s->heads; h++)
        ir_store_v(&s->k->b, p[h], score_at(s, h, column));
}

/* On AMX the probabilities of the window become bf16 at once. */
static void visit_exp_panels(const softmax_rows *s, val *carried, val column, val valid) {
    val p[HEADS_MAX];
    exponentials(s, carried, column, valid, p);
    if (s->k->amx)
        store_left(s, &s->k->left_read, window_left(s, column), p);
    else
        store_scores(s, column, p);
}

/* Probabilities of slots replace their scores; on AMX they become bf16 at once, and scores stay (restore_probabilities). */
static void visit_exp_slots(const softmax_rows *s, val *carried, val column, val valid) {
    kernel *k = s->k;
    ir *b = &k->b;
    val decay = ir_load_v(b, ir_at(b, frame_at(k, s->f, k->decay, s->token, 0), column)), p[HEADS_MAX], read[HEADS_MAX];
    exponentials(s, carried, column, valid, p);
    for (int h = 0; h < s->heads; h++)
        read[h] = ir_fmul(b, p[h], decay);
    if (!k->amx) {
        store_scores(s, column, p);
        for (int h = 0; h < s->heads; h++) {
            val to = ir_atc(b, frame_at(k, s->f, k->slots_p, s->row, 0), (int64_t)h * k->mp * 4);
            ir_store_v(b, read[h], ir_at(b, to, column));
        }
        return;
    }
    store_left(s, &k->left_read, half(b, column), read);
    if (k->chunk == k->block)
        return;
    val chunk = ir_load_v(b, ir_at(b, frame_at(k, s->f, k->decay_chunk, s->token, 0), column));
    for (int h = 0; h < s->heads; h++)
        read[h] = ir_fmul(b, p[h], chunk);
    store_left(s, &k->left_earlier, half(b, column), read);
}

/* Zero for tiles of the panels that no token of the group sees. */
static void clear_unseen(const softmax_rows *s, const val *zero) {
    kernel *k = s->k;
    window_tiles t;
    window_tiles_begin(k, s->f, s->group, false, &t, NULL, 0);
    store_left(s, &k->left_read, window_left(s, ir_addc(&k->b, t.column, (int64_t)k->mp * 4)), zero);
    window_tiles_end(k, &t, NULL);
}

static val row_at(const softmax_rows *s, buffer of, int head) {
    ir *b = &s->k->b;
    return ir_atc(b, ir_at(b, frame_at(s->k, s->f, of, NULL, 0), ir_mulc(b, s->row, 4)), (int64_t)head * 4);
}

/* top[head]: maxima of the lanes of a row's scores */
static void visit_maxima(const softmax_rows *s, bool first, val *top) {
    for (int h = 0; h < s->heads; h++)
        top[h] = ir_vfloat(&s->k->b, -INFINITY);
    if (first && s->k->M)
        visit_slots(s, top, s->heads, visit_max);
    if (s->k->W)
        visit_panels(s, top, s->heads, visit_max);
}

/* Slots that only fill a step of the inner dimension. */
static void clear_filling(const softmax_rows *s, const val *zero) {
    kernel *k = s->k;
    if (!k->amx || k->read_within <= k->mp * 2)
        return;
    store_left(s, &k->left_read, ir_int(&k->b, k->mp * 2), zero);
    if (k->chunk < k->block)
        store_left(s, &k->left_earlier, ir_int(&k->b, k->mp * 2), zero);
}

static void visit_exponentials(const softmax_rows *s, bool first, val *carried) {
    kernel *k = s->k;
    val zero[HEADS_MAX];
    for (int h = 0; h < s->heads; h++)
        zero[h] = ir_zero(&k->b);
    if (first && k->M)
        visit_slots(s, carried, 2 * s->heads, visit_exp_slots);
    if (s->beside)
        s->beside->step(s->beside, s->turn, s->slot + 2);
    if (first)
        clear_filling(s, zero);
    if (k->W)
        visit_panels(s, carried, 2 * s->heads, visit_exp_panels);
    if (k->tiles_listed)
        clear_unseen(s, zero);
}

static void softmax_heads(softmax_rows *s, bool first) {
    kernel *k = s->k;
    ir *b = &k->b;
    val top[HEADS_MAX], carried[2 * HEADS_MAX];
    visit_maxima(s, first, top);
    for (int h = 0; h < s->heads; h++) {
        val m = ir_reduce(b, top[h], ir_fmax), at = row_at(s, k->row_max, h);
        if (k->amx)
            m = ir_fmul(b, m, ir_float(b, k->q_scale));
        if (!first) { /* online: rescale what is there */
            val old = ir_load_f32(b, at);
            m = ir_fmax(b, old, m);
            ir_store(b, ir_exp2(b, ir_fsub(b, old, m), 6), row_at(s, k->row_fix, h), 4);
        }
        ir_store(b, m, at, 4);
        carried[h] = ir_zero(b);
        carried[s->heads + h] = ir_splat(b, m);
    }
    visit_exponentials(s, first, carried);
    for (int h = 0; h < s->heads; h++) {
        val sum = ir_reduce(b, carried[h], ir_fadd), at = row_at(s, k->row_sum, h);
        if (!first)
            sum = ir_fma(b, ir_load_f32(b, at), ir_load_f32(b, row_at(s, k->row_fix, h)), sum);
        ir_store(b, sum, at, 4);
    }
}

/* ---- four heads beside tiles, in two halves: the maxima of a step are made in the step before, whose exponentials go on while
 * they wait for one another ---- */

/* of[row + h] = the reduction of v[h], times `factor` unless it is 1 */
static void store_four(const softmax_rows *s, const val *v, val (*op)(ir *, val, val), double factor, buffer of) {
    ir *b = &s->k->b;
    static const int lanes[] = {0, 4, 8, 12};
    val x = ir_reduce_four(b, v, op);
    if (factor != 1)
        x = ir_fmul(b, x, ir_vfloat(b, factor));
    ir_store(b, ir_shuffle(b, x, NULL, lanes, HEADS_MAX), row_at(s, of, 0), 4);
}

static void maxima_beside(const softmax_rows *s) {
    val top[HEADS_MAX];
    visit_maxima(s, true, top);
    store_four(s, top, ir_fmax, s->k->q_scale, s->k->row_max);
}

static void exponentials_beside(const softmax_rows *s) {
    ir *b = &s->k->b;
    val carried[2 * HEADS_MAX];
    for (int h = 0; h < HEADS_MAX; h++) {
        carried[h] = ir_zero(b);
        carried[HEADS_MAX + h] = ir_splat(b, ir_load_f32(b, row_at(s, s->k->row_max, h)));
    }
    visit_exponentials(s, true, carried);
    store_four(s, carried, ir_fadd, 1, s->k->row_sum);
}

/* The token of s->row, local token `t`: its window is max(t-W+1, -available) .. t. */
static void enter_token(softmax_rows *s, val t) {
    kernel *k = s->k;
    ir *b = &k->b;
    s->lowest = ir_max(b, ir_addc(b, t, 1 - k->W), ir_sub(b, ir_int(b, 0), frame_i64(k, s->f, FRAME_AVAILABLE)));
    val span = ir_addc(b, ir_sub(b, t, s->lowest), 1);
    s->span = ir_splat(b, LLVMBuildTrunc(b->builder, span, b->i32, ""));
}

/* softmax_*(scratch, first token of the block, newest panel, count, first token of the chunk in the block) */
static val emit_softmax_step(prefill *x, bool first) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, first ? "softmax_first" : "softmax_next", "piiii",
                         (const char *const[]){"scratch", "first", "newest", "count", "from"});
    /* four only where the constants of exp2 are operands in memory: NEON would spill */
    int heads = k->G % 4 == 0 && b->vl == 16 ? 4 : k->G % 2 == 0 ? 2 : 1;
    softmax_rows s = {.k = k, .f = ir_param(b, 0), .heads = heads, .newest = ir_param(b, 2), .count = ir_param(b, 3)};
    ir_loop tokens, groups;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->chunk), ir_int(b, 1), NULL, 0);
    s.token = ir_add(b, ir_param(b, 4), tokens.index);
    s.group = ir_floor_div(b, tokens.index, AMX_TILE);
    val t = ir_add(b, ir_param(b, 1), s.token);
    enter_token(&s, t);
    if (first && k->amx)
        ask_ahead_rows(k, s.f, t);
    ir_loop_begin(b, &groups, ir_int(b, 0), ir_int(b, k->G), ir_int(b, heads), NULL, 0);
    s.row = ir_add(b, ir_mulc(b, tokens.index, k->G), groups.index);
    if (first && k->amx)
        ask_ahead(k, s.f, t, groups.index, heads);
    softmax_heads(&s, first);
    ir_loop_end(b, &groups, NULL);
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
    return fn;
}

/* Beside tiles: the first of four rows of a token; its token, and its window. The phase's parameters are (scratch, first, from). */
static void enter_row(softmax_rows *s, val row) {
    ir *b = &s->k->b;
    s->row = row;
    s->token = ir_add(b, ir_param(b, 2), ir_floor_div(b, row, s->k->G));
    enter_token(s, ir_add(b, ir_param(b, 1), s->token));
}

static void ask_ahead_beside(const softmax_rows *s) {
    kernel *k = s->k;
    ir *b = &k->b;
    val t = ir_add(b, ir_param(b, 1), s->token), head = ir_sub(b, s->row, ir_mulc(b, ir_floor_div(b, s->row, k->G), k->G));
    ir_if once;
    ir_if_begin(b, &once, ir_cmp(b, "==", head, ir_int(b, 0)));
    ask_ahead_rows(k, s->f, t);
    ir_if_end(b, &once);
    ask_ahead(k, s->f, t, head, HEADS_MAX);
}

/* softmax_NAME(scratch, first token of the block, first token of the chunk in the block): the softmax of group `group` of the chunk, and
 * beside it the steps of a tile_work: a turn is two steps of HEADS_MAX rows, four slots. */
static val emit_softmax_beside(prefill *x, const char *name, int group, tile_work *beside) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, name, "pii", (const char *const[]){"scratch", "first", "from"});
    val f = ir_param(b, 0);
    beside->k = k;
    beside->f = f;
    beside->from = ir_param(b, 2);
    beside->turns = AMX_TILE * k->G / (2 * HEADS_MAX);
    beside->slots = 2 * SLOTS;
    softmax_rows s = {.k = k, .f = f, .heads = HEADS_MAX, .group = ir_int(b, group), .beside = beside};
    const int64_t begin = (int64_t)group * AMX_TILE * k->G, last = begin + (int64_t)AMX_TILE * k->G - HEADS_MAX;
    enter_row(&s, ir_int(b, begin));
    maxima_beside(&s);
    ir_loop turns;
    ir_loop_begin(b, &turns, ir_int(b, 0), ir_int(b, beside->turns), ir_int(b, 1), NULL, 0);
    s.turn = turns.index;
    for (int i = 0; i < 2; i++) {
        val row = ir_addc(b, ir_mulc(b, turns.index, 2 * HEADS_MAX), begin + i * HEADS_MAX);
        softmax_rows ahead = s;
        s.slot = SLOTS * i;
        enter_row(&s, row);
        ask_ahead_beside(&s);
        beside->step(beside, s.turn, s.slot);
        enter_row(&ahead, ir_min(b, ir_addc(b, row, HEADS_MAX), ir_int(b, last)));
        maxima_beside(&ahead);
        beside->step(beside, s.turn, s.slot + 1);
        exponentials_beside(&s);
    }
    ir_loop_end(b, &turns, NULL);
    beside->finish(beside);
    phase_end(k);
    return fn;
}

void emit_softmax(prefill *x) {
    if (x->k->beside) {
        tile_work score = tile_work_score(x, 1), read = tile_work_read(x, 0);
        x->softmax_score = emit_softmax_beside(x, "softmax_score", 0, &score);
        x->softmax_read = emit_softmax_beside(x, "softmax_read", 1, &read);
        return;
    }
    x->softmax_first = emit_softmax_step(x, true);
    if (x->k->online)
        x->softmax_next = emit_softmax_step(x, false);
}
