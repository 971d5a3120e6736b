/* decode.c: one step of every sequence. A task is one (sequence, kv head): its memory streams through once, updated and used by all G
 * query heads in the same pass: hk [K,mp] with slots as lanes, so that scores need no horizontal sums; then hv [M,vp].
 * With DEFER it is only read but for one step in so many, which folds the tokens that wait (decode_pending.c). */
#include "gen/cpu/decode.h"

#include "gen/cpu/memory.h"
#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

pieces pieces_of(int n, int vl) {
    pieces p = {0};
    int offset = 0;
    for (int width = vl; width >= 4; width /= 2)
        for (; n - offset >= width; offset += width) {
            p.offset[p.count] = offset;
            p.width[p.count++] = width;
        }
    return p;
}

val f32_at(ir *b, val base, int64_t floats, int width) {
    return ir_load(b, ir_vec(b, b->f32, width), ir_atc(b, base, floats * 4), 4);
}

int decode_pass(const kernel *k) {
    return tile_even(k->G, k->tile.knob[GEN_HEADS]);
}

/* ---- score_slots: hk' = keep*hk + (scaled*hk + s*k), or hk if deferred; slots_p[g][m] = qs_g . hk'_m, in one pass ---- */

static void score_slots_block(kernel *k, val f, const memory_store *memory, int col, int nv, int g0, int heads, val from, val to) {
    ir *b = &k->b;
    bool first = g0 == 0, update = first && decode_defer(k) == 1;
    int rows = k->tile.knob[GEN_STATE_ROWS], element = memory_bytes(memory);
    val acc[TILE_ACC_MAX], s[8], keep[8], scaled[8];
    for (int i = 0; i < heads * nv; i++)
        acc[i] = ir_load_v(b, frame_at(k, f, k->slots_p, ir_int(b, g0 + i / nv), (col + i % nv) * b->vl));
    /* s, scaled, keep (a mask on AVX-512), accumulators, a row, a key, a query and a product: where registers are too few, the first
     * three stay in scratch */
    bool resident = (heads + (b->vl == 16 ? 3 : 4)) * nv + 3 <= b->isa->registers;
    for (int j = 0; update && resident && j < nv; j++) {
        s[j] = ir_load_v(b, frame_at(k, f, k->s, NULL, (col + j) * b->vl));
        keep[j] = ir_flt(b, ir_zero(b), ir_load_v(b, frame_at(k, f, k->keep, NULL, (col + j) * b->vl)));
        scaled[j] = ir_load_v(b, frame_at(k, f, k->scaled, NULL, (col + j) * b->vl));
    }
    ir_loop loop;
    ir_loop_begin(b, &loop, from, to, ir_int(b, rows), acc, heads * nv);
    val base = ir_at(b, memory->base, ir_mulc(b, loop.index, k->mp * element)), column = ir_mulc(b, loop.index, 4);
    for (int r = 0; r < rows; r++) {
        val key = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->d_k, NULL, r), column)));
        val row = ir_atc(b, base, ((int64_t)r * k->mp + col * b->vl) * element), h[8];
        val ask = first ? memory_ask(k, row) : NULL;
        for (int j = 0; j < nv; j++) {
            val at = ir_atc(b, row, (int64_t)j * b->vl * element);
            ir_prefetch_lines(b, ask, (int64_t)j * b->vl * element, (int64_t)b->vl * element, update);
            h[j] = memory_load(memory, b->vl, at);
            if (update && !resident) {
                val new = ir_fmul(b, ir_load_v(b, frame_at(k, f, k->s, NULL, (col + j) * b->vl)), key);
                new = ir_fma(b, ir_load_v(b, frame_at(k, f, k->scaled, NULL, (col + j) * b->vl)), h[j], new);
                h[j] = ir_fma(b, ir_load_v(b, frame_at(k, f, k->keep, NULL, (col + j) * b->vl)), h[j], new);
                memory_put(memory, h[j], at);
            } else if (update) { /* keep is 0 or 1: as a mask it costs no vector register where the ISA has masks */
                val new = ir_fma(b, scaled[j], h[j], ir_fmul(b, s[j], key));
                h[j] = ir_select(b, keep[j], ir_fadd(b, h[j], new), new);
                memory_put(memory, h[j], at);
            }
            ir_barrier(b); /* one line is asked for with each that is read: see ir_prefetch_lines */
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
    val f = ir_param(b, 0);
    memory_store memory = memory_of_row(k, f, NULL);
    int nv = tile_even(k->mv, k->tile.knob[GEN_SCORE_VECTORS]);
    for (int g = 0; g < k->G; g++)
        tile_zero(b, frame_at(k, f, k->slots_p, ir_int(b, g), 0), k->mv * b->vl);
    val pass_rows = ir_int(b, k->tile.knob[GEN_PASS_ROWS]), end = ir_int(b, k->K); /* multiples of 8, and of STATE_ROWS */
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), end, pass_rows, NULL, 0);
    val to = ir_min(b, ir_add(b, loop.index, pass_rows), end);
    for (int col = 0; col < k->mv; col += nv)
        for (int g = 0, pass = decode_pass(k); g < k->G; g += pass) {
            int heads = k->G - g < pass ? k->G - g : pass;
            score_slots_block(k, f, &memory, col, k->mv - col < nv ? k->mv - col : nv, g, heads, loop.index, to);
        }
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* What a deferred kernel has left in the row. */
static void fold_waiting(kernel *k, val f) {
    ir *b = &k->b;
    ir_if waiting;
    ir_if_begin(b, &waiting, ir_cmp(b, ">", frame_i64(k, f, FRAME_PENDING_COUNT), ir_int(b, 0)));
    pending_fold(k, f, memory_in_row(k, f));
    pending_store_count(k, f, ir_int(b, 0));
    ir_if_end(b, &waiting);
}

void emit_decode(kernel *k, const gen_cpu_unit *unit) {
    ir *b = &k->b;
    decode x = {.k = k};
    if (k->rotate)
        x.table = row_rotation_table(k, DECODE_ANGLES + 1);
    decode_emit_load(&x);
    bool deferred = decode_defer(k) > 1;
    if (k->M) {
        pending_emit(k);
        if (deferred) {
            decode_emit_absorb_pending(&x);
            decode_emit_score_pending(&x);
            decode_emit_share_pending(&x);
        } else {
            decode_emit_absorb(&x);
        }
        emit_score_slots(&x);
    }
    decode_emit_store_token(&x);
    if (k->W)
        decode_emit_score_window(&x);
    decode_emit_softmax(&x);
    decode_emit_read(&x);
    decode_emit_store_out(&x);

    ir_function(b, unit->symbol_main, "piip", (const char *const[]){"args", "task_begin", "task_end", "scratch"}, true);
    val f = ir_param(b, 3), H = ir_int(b, k->p->heads_kv);
    ir_loop tasks;
    ir_if here;
    ir_loop_begin(b, &tasks, ir_param(b, 1), ir_param(b, 2), ir_int(b, 1), NULL, 0);
    frame_task(k, f, ir_param(b, 0), ir_udiv(b, tasks.index, H), ir_urem(b, tasks.index, H));
    ir_if_begin(b, &here, ir_cmp(b, ">", frame_i64(k, f, FRAME_LENGTH), ir_int(b, 0)));
    if (deferred)
        decode_ask_pending(k, f);
    ir_call(b, x.load, &f, 1);
    if (k->M && !deferred)
        fold_waiting(k, f);
    if (k->M)
        ir_call(b, x.absorb, &f, 1); /* before store_token: with R = L its ring entry is the one to be overwritten */
    ir_call(b, x.store_token, &f, 1);
    if (deferred)
        decode_fold_in_turn(k, f, memory_in_row(k, f));
    if (k->M)
        ir_call(b, x.score_slots, &f, 1);
    if (deferred)
        ir_call(b, x.score_pending, &f, 1);
    if (k->W)
        ir_call(b, x.score_window, &f, 1);
    ir_call(b, x.softmax, &f, 1);
    if (deferred)
        ir_call(b, x.share_pending, &f, 1);
    ir_call(b, x.read, &f, 1);
    ir_call(b, x.store_out, &f, 1);
    ir_if_end(b, &here);
    ir_loop_end(b, &tasks, NULL);
    ir_return(b);
}
