/* decode_pending.c: phases of deferred decode: the memory h of the row stays as it is, tokens j wait beside it; slot m:
 *     score[m] = E[m] (q.h_k[m]) + sum_j c_j[m] (q.k_j)
 *     o += sum_m (p[m] E[m]) h_v[m] + sum_j (sum_m p[m] c_j[m]) v_j */
#include "gen/cpu/decode.h"
#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

int decode_defer(const kernel *k) {
    return k->tile.knob[GEN_DEFER] > 1 && k->M ? k->tile.knob[GEN_DEFER] : 1;
}

/* What waits, on its way while the queries are loaded. */
void decode_ask_pending(kernel *k, val f) {
    ir *b = &k->b;
    ir_loop tokens;
    ir_loop_begin(b, &tokens, ir_int(b, 0), frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 1), NULL, 0);
    val token = pending_at(k, f, tokens.index, 0);
    ir_prefetch_row(b, token, k->pending_floats * 4);
    ir_loop_end(b, &tokens, NULL);
}

/* ---- absorb_pending: token pos - lag, if it exists, waits behind the others ---- */

typedef struct gate_context {
    kernel *k;
    val gate, given_s, token;
} gate_context;

static void gate_piece(ir *b, void *context, val offset, int width) {
    gate_context *c = context;
    kernel *k = c->k;
    gate_values v = row_gate(k, c->gate, c->given_s, offset, width);
    val to = ir_at(b, c->token, ir_mulc(b, offset, 4));
    ir_store(b, v.e, to, 4);
    ir_store(b, v.m1, ir_atc(b, to, k->mp * 4), 4);
    if (k->p->gate_s_given)
        ir_store(b, v.s, ir_atc(b, to, 2 * k->mp * 4), 4);
}

void decode_emit_absorb_pending(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->absorb = phase_begin(k, "absorb_pending", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0), count = frame_i64(k, f, FRAME_PENDING_COUNT);
    ir_if exists;
    ir_if_begin(b, &exists, ir_cmp(b, ">=", frame_i64(k, f, FRAME_POSITION), ir_int(b, k->L)));
    decode_load_absorbed(k, f, pending_at(k, f, count, k->pending_k), pending_at(k, f, count, k->pending_v));
    gate_context gate = {.k = k, .token = pending_at(k, f, count, 0)};
    decode_absorbed_gates(k, f, &gate.gate, &gate.given_s);
    tile_pieces_woven(b, k->M, &gate, gate_piece);
    frame_set(k, f, FRAME_PENDING_COUNT, ir_addc(b, count, 1));
    ir_if_end(b, &exists);
    phase_end(k);
}

/* Which step of a head folds is up to its position alone (or to a full area, which a kernel of longer periods may have
 * left): sequences that differ in position, and the heads of one, take turns, so that steps take the same time. */
void decode_fold_in_turn(kernel *k, val f, val memory) {
    ir *b = &k->b;
    int period = decode_defer(k), apart = gen_cpu_turn_apart(k->p->heads_kv, period);
    val turn = ir_add(b, frame_i64(k, f, FRAME_POSITION), ir_mulc(b, frame_i64(k, f, FRAME_HEAD), apart));
    val now = ir_cmp(b, "==", ir_urem(b, turn, ir_int(b, period)), ir_int(b, period - 1));
    val full = ir_cmp(b, "==", frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, NHA_CPU_PENDING));
    ir_if folds;
    ir_if_begin(b, &folds, LLVMBuildOr(b->builder, now, full, ""));
    pending_fold(k, f, memory);
    frame_set(k, f, FRAME_PENDING_COUNT, ir_int(b, 0));
    ir_if_end(b, &folds);
    pending_store_count(k, f, frame_i64(k, f, FRAME_PENDING_COUNT));
}

/* ---- score_pending: slots_p[g][m] = E[m] slots_p[g][m] + sum_j c_j[m] (qs_g . k_j) ---- */

/* slots_p of heads g0 .. g0+heads-1 at a column, in bytes, *= E */
static void scale_slots(kernel *k, val f, int g0, int heads, val column) {
    ir *b = &k->b;
    val e = ir_load_v(b, ir_at(b, frame_at(k, f, k->pending_e, NULL, 0), column));
    for (int g = 0; g < heads; g++) {
        val at = ir_at(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + g), 0), column);
        ir_store_v(b, ir_fmul(b, e, ir_load_v(b, at)), at);
    }
}

static void each_column(kernel *k, ir_loop *columns) {
    ir *b = &k->b;
    ir_loop_begin(b, columns, ir_int(b, 0), ir_int(b, (int64_t)k->mv * b->vl * 4), ir_int(b, b->vl * 4), NULL, 0);
}

static void score_heads(kernel *k, val f, int g0, int heads) {
    ir *b = &k->b;
    pieces p = pieces_of(k->K, b->vl);
    ir_loop columns, tokens;
    each_column(k, &columns);
    scale_slots(k, f, g0, heads, columns.index);
    ir_loop_end(b, &columns, NULL);
    ir_loop_begin(b, &tokens, ir_int(b, 0), frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 1), NULL, 0);
    val key = pending_at(k, f, tokens.index, k->pending_k), acc[DECODE_HEADS_MAX];
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    for (int i = 0; i < p.count; i++) {
        val x = f32_at(b, key, p.offset[i], p.width[i]);
        for (int g = 0; g < heads; g++) {
            val q = f32_at(b, frame_at(k, f, k->qs, ir_int(b, g0 + g), 0), p.offset[i], p.width[i]);
            acc[g] = accumulate_dot(b, acc[g], q, x, p.width[i]);
        }
    }
    for (int g = 0; g < heads; g++)
        acc[g] = ir_splat(b, ir_reduce(b, acc[g], ir_fadd));
    each_column(k, &columns);
    val weight = ir_load_v(b, ir_at(b, frame_at(k, f, k->pending_c, tokens.index, 0), columns.index));
    for (int g = 0; g < heads; g++) {
        val at = ir_at(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + g), 0), columns.index);
        ir_store_v(b, ir_fma(b, acc[g], weight, ir_load_v(b, at)), at);
    }
    ir_loop_end(b, &columns, NULL);
    ir_loop_end(b, &tokens, NULL);
}

void decode_emit_score_pending(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_pending = phase_begin(k, "score_pending", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    pending_weigh(k, f);
    for (int g = 0; g < k->G; g += DECODE_HEADS_MAX)
        score_heads(k, f, g, k->G - g < DECODE_HEADS_MAX ? k->G - g : DECODE_HEADS_MAX);
    phase_end(k);
}

/* ---- share_pending: pending_p[g][j] = sum_m slots_p[g][m] c_j[m], then slots_p[g][m] *= E[m] ---- */

static void share_heads(kernel *k, val f, int g0, int heads) {
    ir *b = &k->b;
    ir_loop columns, tokens;
    ir_loop_begin(b, &tokens, ir_int(b, 0), frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 1), NULL, 0);
    val acc[DECODE_HEADS_MAX];
    for (int g = 0; g < heads; g++)
        acc[g] = ir_zero(b);
    ir_loop_begin(b, &columns, ir_int(b, 0), ir_int(b, (int64_t)k->mv * b->vl * 4), ir_int(b, b->vl * 4), acc, heads);
    val weight = ir_load_v(b, ir_at(b, frame_at(k, f, k->pending_c, tokens.index, 0), columns.index));
    for (int g = 0; g < heads; g++) {
        val p = ir_load_v(b, ir_at(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + g), 0), columns.index));
        acc[g] = ir_fma(b, p, weight, acc[g]);
    }
    ir_loop_end(b, &columns, acc);
    for (int g = 0; g < heads; g++) {
        val at = ir_at(b, frame_at(k, f, k->pending_p, ir_int(b, g0 + g), 0), ir_mulc(b, tokens.index, 4));
        ir_store(b, ir_reduce(b, acc[g], ir_fadd), at, 4);
    }
    ir_loop_end(b, &tokens, NULL);
    each_column(k, &columns);
    scale_slots(k, f, g0, heads, columns.index);
    ir_loop_end(b, &columns, NULL);
}

void decode_emit_share_pending(decode *x) {
    kernel *k = x->k;
    x->share_pending = phase_begin(k, "share_pending", "p", (const char *const[]){"scratch"});
    val f = ir_param(&k->b, 0);
    for (int g = 0; g < k->G; g += DECODE_HEADS_MAX)
        share_heads(k, f, g, k->G - g < DECODE_HEADS_MAX ? k->G - g : DECODE_HEADS_MAX);
    phase_end(k);
}
