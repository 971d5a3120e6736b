/* prefill_softmax.c: phases that mix slots and window in one softmax. Scores are in log2 units. A softmax step covers up to KEY_PANELS
 * panels, the newest first; with more, later steps are online:
 *     m' = max(m, new) ;  l' = l 2^(m-m') + sum 2^(b-m') ;  o' = o 2^(m-m') + sum 2^(b-m') v */
#include <math.h>

#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"

val strided(kernel *k, val f, frame_slot slot, size_t member, val token, val head) {
    ir *b = &k->b;
    val p = ir_at(b, frame_ptr(k, f, slot), ir_mul(b, token, frame_arg(k, f, member + offsetof(nha_cpu_tensor, token))));
    return ir_at(b, p, ir_mul(b, head, frame_arg(k, f, member + offsetof(nha_cpu_tensor, head))));
}

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

typedef void (*score_visit)(const softmax_rows *s, val *carried, val column_bytes, val valid);

/* Visits each vector of slots, then of panels: carried[] are loop-carried; valid is a mask or NULL where all lanes count. */
static void visit_slots(const softmax_rows *s, val *carried, int count, score_visit visit) {
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

static void visit_tiles(const softmax_rows *s, val *carried, int count, score_visit visit) {
    kernel *k = s->k;
    window_tiles t;
    window_tiles_begin(k, s->f, s->group, true, &t, carried, count);
    visit(s, carried, ir_addc(&k->b, t.column, (int64_t)k->mp * 4), window_mask(s, t.token, 0));
    window_tiles_end(k, &t, carried);
}

static void visit_panels(const softmax_rows *s, val *carried, int count, score_visit visit) {
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
    for (int h = 0; h < s->heads; h++)
        carried[h] = ir_fmax(&s->k->b, carried[h], masked_score(s, h, column, valid));
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

static void softmax_heads(softmax_rows *s, bool first) {
    kernel *k = s->k;
    ir *b = &k->b;
    val top[HEADS_MAX], carried[2 * HEADS_MAX], row_max[HEADS_MAX], zero[HEADS_MAX];
    if (s->beside)
        s->beside->step(s->beside, s->turn, s->slot);
    for (int h = 0; h < s->heads; h++) {
        top[h] = ir_vfloat(b, -INFINITY);
        zero[h] = ir_zero(b);
        row_max[h] = ir_atc(b, ir_at(b, frame_at(k, s->f, k->row_max, NULL, 0), ir_mulc(b, s->row, 4)), h * 4);
    }
    if (first && k->M)
        visit_slots(s, top, s->heads, visit_max);
    if (k->W)
        visit_panels(s, top, s->heads, visit_max);
    for (int h = 0; h < s->heads; h++) {
        val m = ir_reduce(b, top[h], ir_fmax);
        if (k->amx)
            m = ir_fmul(b, m, ir_float(b, k->q_scale));
        if (!first) { /* online: rescale what is there */
            val old = ir_load_f32(b, row_max[h]);
            m = ir_fmax(b, old, m);
            ir_store(b, ir_exp2(b, ir_fsub(b, old, m), 6), ir_atc(b, row_max[h], k->row_fix.at - k->row_max.at), 4);
        }
        ir_store(b, m, row_max[h], 4);
        carried[h] = ir_zero(b);
        carried[s->heads + h] = ir_splat(b, m);
    }
    if (s->beside)
        s->beside->step(s->beside, s->turn, s->slot + 1);
    if (first && k->M)
        visit_slots(s, carried, 2 * s->heads, visit_exp_slots);
    if (s->beside)
        s->beside->step(s->beside, s->turn, s->slot + 2);
    if (first && k->amx && k->read_within > k->mp * 2) { /* slots that only fill a step of the inner dimension */
        store_left(s, &k->left_read, ir_int(b, k->mp * 2), zero);
        if (k->chunk < k->block)
            store_left(s, &k->left_earlier, ir_int(b, k->mp * 2), zero);
    }
    if (k->W)
        visit_panels(s, carried, 2 * s->heads, visit_exp_panels);
    if (k->tiles_listed)
        clear_unseen(s, zero);
    for (int h = 0; h < s->heads; h++) {
        val sum = ir_reduce(b, carried[h], ir_fadd), at = ir_atc(b, row_max[h], k->row_sum.at - k->row_max.at);
        if (!first)
            sum = ir_fma(b, ir_load_f32(b, at), ir_load_f32(b, ir_atc(b, row_max[h], k->row_fix.at - k->row_max.at)), sum);
        ir_store(b, sum, at, 4);
    }
}

/* Where the arithmetic of the softmax hides it: the queries of the next block, lines that no
 * hardware prefetcher foresees, as heads of other kv heads lie between them. */
static void ask_ahead(const softmax_rows *s, val t, val head) {
    kernel *k = s->k;
    ir *b = &k->b;
    const size_t q = offsetof(nha_cpu_args, q);
    for (int h = 0; h < s->heads; h++) {
        val g = ir_addc(b, head, h);
        ir_prefetch_row(b, strided(k, s->f, FRAME_Q, q, ir_addc(b, t, k->block), g), (int64_t)k->K * row_element_bytes(k->p->dtype));
    }
}

/* And rows of the next block's keys, values and gates. */
static void ask_ahead_rows(const softmax_rows *s, val t) {
    kernel *k = s->k;
    ir *b = &k->b;
    const int64_t element = row_element_bytes(k->p->dtype);
    const struct {
        frame_slot slot;
        size_t member;
        int64_t bytes;
        int64_t lag;
        bool read;
    } rows[] = {
        {FRAME_K, offsetof(nha_cpu_args, k), k->K * element, 0, k->W > 0 && k->p->rope != NHA_ROPE_GIVEN},
        {FRAME_RK, offsetof(nha_cpu_args, rk), k->K * element, 0, k->W > 0 && k->p->rope == NHA_ROPE_GIVEN},
        {FRAME_V, offsetof(nha_cpu_args, v), k->V * element, 0, k->W > 0},
        {FRAME_GATE, offsetof(nha_cpu_args, gate), (int64_t)k->M * row_element_bytes(k->p->gate_dtype), k->L, k->M > 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].read)
            continue;
        val stride = frame_arg(k, s->f, rows[i].member + offsetof(nha_cpu_tensor, token));
        val at = ir_mul(b, ir_addc(b, t, k->block - rows[i].lag), stride);
        ir_prefetch_row(b, ir_at(b, frame_ptr(k, s->f, rows[i].slot), at), rows[i].bytes);
    }
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
        ask_ahead_rows(&s, t);
    ir_loop_begin(b, &groups, ir_int(b, 0), ir_int(b, k->G), ir_int(b, heads), NULL, 0);
    s.row = ir_add(b, ir_mulc(b, tokens.index, k->G), groups.index);
    if (first && k->amx)
        ask_ahead(&s, t, groups.index);
    softmax_heads(&s, first);
    ir_loop_end(b, &groups, NULL);
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
    return fn;
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
    ir_loop turns;
    ir_loop_begin(b, &turns, ir_int(b, 0), ir_int(b, beside->turns), ir_int(b, 1), NULL, 0);
    s.turn = turns.index;
    for (int i = 0; i < 2; i++) {
        val row = ir_addc(b, ir_mulc(b, turns.index, 2 * HEADS_MAX), ((int64_t)group * AMX_TILE * k->G) + i * HEADS_MAX);
        val token = ir_floor_div(b, row, k->G), head = ir_sub(b, row, ir_mulc(b, token, k->G));
        s.row = row;
        s.token = ir_add(b, ir_param(b, 2), token);
        s.slot = SLOTS * i;
        val t = ir_add(b, ir_param(b, 1), s.token);
        enter_token(&s, t);
        ir_if once;
        ir_if_begin(b, &once, ir_cmp(b, "==", head, ir_int(b, 0)));
        ask_ahead_rows(&s, t);
        ir_if_end(b, &once);
        ask_ahead(&s, t, head);
        softmax_heads(&s, true);
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
