/* prefill_load.c: phases that bring queries, keys and values into scratch: converted to f32, mapped, rotated, transposed. */
#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

/* ---- rotation: angle(pos, i) = pos * turns[i] mod 2^64, exact; a block's rows are the first row's angle plus constants ---- */

/* angles(scratch, position): cosine and sine [block][hp] of positions position .. position + block - 1 */
static void emit_angles(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->angles = phase_begin(k, "angles", "pi", (const char *const[]){"scratch", "position"});
    val f = ir_param(b, 0);
    LLVMTypeRef wide = LLVMVectorType(b->i64, (unsigned)b->vl);
    val position = ir_splat(b, ir_param(b, 1));
    for (int i = 0; i < k->hp; i += b->vl) {
        val angle = ir_mul(b, position, ir_load(b, wide, ir_atc(b, x->table.turns, i * 8), 8));
        angle = LLVMBuildLShr(b->builder, angle, ir_like_int(b, angle, 32), "");
        val c0, s0;
        ir_cos_sin(b, LLVMBuildTrunc(b->builder, angle, b->vi, ""), &c0, &s0);
        amx_awake(k, ir_int(b, i), 2 * b->vl);
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
        val row = ir_mulc(b, loop.index, k->hp * 4);
        val c = ir_load_v(b, ir_atc(b, ir_at(b, x->table.cosine, row), i * 4));
        val s = ir_load_v(b, ir_atc(b, ir_at(b, x->table.sine, row), i * 4));
        ir_store_v(b, ir_fsub(b, ir_fmul(b, c0, c), ir_fmul(b, s0, s)), frame_at(k, f, k->cosine, loop.index, i));
        ir_store_v(b, ir_fma(b, s0, c, ir_fmul(b, c0, s)), frame_at(k, f, k->sine, loop.index, i));
        ir_loop_end(b, &loop, NULL);
    }
    phase_end(k);
}

/* rotate(from, to, cosine, sine): one row of K; whole vectors, so both rows have slack behind them. neox pairs (i, i + K/2): the
 * first halves are stored before the second ones, which overwrite their slack; gptj pairs (2i, 2i+1). */
static void emit_rotate(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    int half = k->K / 2, vl = b->vl;
    x->rotate = phase_begin(k, "rotate", "pppp", (const char *const[]){"from", "to", "cosine", "sine"});
    val from = ir_param(b, 0), to = ir_param(b, 1), cosine = ir_param(b, 2), sine = ir_param(b, 3);
    bool neox = k->p->rope == NHA_ROPE_NEOX;
    int even[IR_VECTOR_MAX], odd[IR_VECTOR_MAX], lo[IR_VECTOR_MAX], hi[IR_VECTOR_MAX];
    for (int i = 0; i < vl; i++) {
        even[i] = 2 * i;
        odd[i] = 2 * i + 1;
        lo[i] = i / 2 + (i % 2) * vl;
        hi[i] = vl / 2 + i / 2 + (i % 2) * vl;
    }
    for (int pass = 0; pass < (neox ? 2 : 1); pass++)
        for (int i = 0; i < half; i += vl) {
            val c = ir_load_v(b, ir_atc(b, cosine, i * 4)), s = ir_load_v(b, ir_atc(b, sine, i * 4)), x1, x2;
            if (neox) {
                x1 = ir_load_v(b, ir_atc(b, from, i * 4));
                x2 = ir_load_v(b, ir_atc(b, from, (half + i) * 4));
            } else {
                val u = ir_load_v(b, ir_atc(b, from, 2 * i * 4)), w = ir_load_v(b, ir_atc(b, from, (2 * i + vl) * 4));
                x1 = ir_shuffle(b, u, w, even, vl);
                x2 = ir_shuffle(b, u, w, odd, vl);
            }
            val y1 = ir_fsub(b, ir_fmul(b, x1, c), ir_fmul(b, x2, s)), y2 = ir_fma(b, x2, c, ir_fmul(b, x1, s));
            if (neox) {
                ir_store_v(b, pass == 0 ? y1 : y2, ir_atc(b, to, (pass * half + i) * 4));
            } else {
                ir_store_v(b, ir_shuffle(b, y1, y2, lo, vl), ir_atc(b, to, 2 * i * 4));
                ir_store_v(b, ir_shuffle(b, y1, y2, hi, vl), ir_atc(b, to, (2 * i + vl) * 4));
            }
        }
    phase_end(k);
}

void emit_rotation(prefill *x) {
    if (!x->k->rotate)
        return;
    x->table = row_rotation_table(x->k, x->k->block);
    emit_angles(x);
    emit_rotate(x);
}

/* ---- queries: qs = map(q) * scale * log2e ; qw = rot(q) * scale * log2e; rows past the end are zero ---- */

static void query_row(prefill *x, val f, val token, val g) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t q = offsetof(nha_cpu_args, q), rq = offsetof(nha_cpu_args, rq);
    val local = ir_add(b, ir_param(b, 1), token), row = ir_add(b, ir_mulc(b, token, k->G), g);
    val from = ir_at(b, frame_ptr(k, f, FRAME_Q), ir_mul(b, local, frame_arg(k, f, q + offsetof(nha_cpu_tensor, token))));
    from = ir_at(b, from, ir_mul(b, g, frame_arg(k, f, q + offsetof(nha_cpu_tensor, head))));
    row_copy copy = {.from = from, .to = frame_at(k, f, k->qs, row, 0), .dtype = k->p->dtype, .scale = k->q_scale};
    copy.map = k->M ? k->p->slot_map : NHA_MAP_IDENTITY;
    if (k->rotate)
        copy.to_raw = frame_at(k, f, k->stage, NULL, 0);
    else if (k->own_window_q && k->p->rope == NHA_ROPE_NONE)
        copy.to_raw = frame_at(k, f, k->qw, row, 0);
    row_load(b, k->K, &copy);
    if (k->rotate) { /* through a row with slack, then K floats into the packed queries */
        val to = frame_at(k, f, k->rotated, NULL, 0);
        val args[] = {copy.to_raw, to, frame_at(k, f, k->cosine, token, 0), frame_at(k, f, k->sine, token, 0)};
        ir_call(b, x->rotate, args, 4);
        row_copy packed = {.from = to, .to = frame_at(k, f, k->qw, row, 0), .dtype = NHA_F32, .scale = 1};
        row_load(b, k->K, &packed);
    } else if (k->p->rope == NHA_ROPE_GIVEN && k->W) {
        copy.from = ir_at(b, frame_ptr(k, f, FRAME_RQ),
                          ir_mul(b, local, frame_arg(k, f, rq + offsetof(nha_cpu_tensor, token))));
        copy.from = ir_at(b, copy.from, ir_mul(b, g, frame_arg(k, f, rq + offsetof(nha_cpu_tensor, head))));
        copy.to = frame_at(k, f, k->qw, row, 0);
        copy.map = NHA_MAP_IDENTITY;
        row_load(b, k->K, &copy);
    }
}

void emit_load_queries(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_pack_queries(x);
        return;
    }
    x->load_queries = phase_begin(k, "load_queries", "pi", (const char *const[]){"scratch", "first"});
    val f = ir_param(b, 0), first = ir_param(b, 1);
    ir_loop tokens, heads;
    val rest = ir_sub(b, frame_i64(k, f, FRAME_LENGTH), first);
    val count = ir_min(b, rest, ir_int(b, k->block));
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    query_row(x, f, tokens.index, heads.index);
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
    ir_loop_begin(b, &tokens, ir_mulc(b, count, k->G), ir_int(b, k->rows), ir_int(b, 1), NULL, 0);
    val to = frame_at(k, f, k->qs, tokens.index, 0);
    row_zero(b, k->K, to);
    if (k->own_window_q) {
        to = frame_at(k, f, k->qw, tokens.index, 0);
        row_zero(b, k->K, to);
    }
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
}

/* ---- keys and values of a block of tokens ---- */

val emit_stage(prefill *x, const prefill_source *s, int ld) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, s->name, "ppii", (const char *const[]){"scratch", "to", "first", "end"});
    val f = ir_param(b, 0), lowest = ir_sub(b, ir_int(b, 0), frame_i64(k, f, FRAME_AVAILABLE));
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
    amx_awake(k, loop.index, 16);
    val j = ir_add(b, ir_param(b, 2), loop.index), to = ir_at(b, ir_param(b, 1), ir_mulc(b, loop.index, ld * 4));
    ir_if exists;
    ir_if_begin(b, &exists, ir_and(b, ir_cmp(b, ">=", j, lowest), ir_cmp(b, "<", j, ir_param(b, 3))));
    int64_t row_bytes = (int64_t)s->dim * row_element_bytes(k->p->dtype);
    row_copy copy = {.from = frame_token(k, f, s->input, s->ring, s->member, row_bytes, j), .to = to, .dtype = k->p->dtype};
    copy.map = s->map;
    copy.scale = 1;
    row_load(b, s->dim, &copy);
    ir_if_else(b, &exists);
    row_zero(b, s->dim, to);
    ir_if_end(b, &exists);
    if (s->pad) {
        val behind = ir_atc(b, to, (int64_t)s->dim * 4);
        row_zero(b, s->pad, behind);
    }
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
    return fn;
}

/* to [K][block] = transpose of from [block][stage_ld] */
static void transpose_keys(kernel *k, val from, val to) {
    ir *b = &k->b;
    int vl = b->vl, whole = k->K / vl * vl;
    for (int t = 0; t < k->block; t += vl) {
        val r[IR_VECTOR_MAX];
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, whole), ir_int(b, vl), NULL, 0);
        for (int i = 0; i < vl; i++)
            r[i] = ir_load_v(b, ir_atc(b, ir_at(b, from, ir_mulc(b, loop.index, 4)), (int64_t)(t + i) * k->stage_ld * 4));
        tile_transpose(b, r);
        for (int i = 0; i < vl; i++)
            ir_store_v(b, r[i], ir_atc(b, ir_at(b, to, ir_mulc(b, loop.index, k->block * 4)), ((int64_t)i * k->block + t) * 4));
        ir_loop_end(b, &loop, NULL);
        if (whole < k->K) {
            for (int i = 0; i < vl; i++)
                r[i] = ir_load_v(b, ir_atc(b, from, ((int64_t)(t + i) * k->stage_ld + whole) * 4));
            tile_transpose(b, r);
            for (int i = 0; whole + i < k->K; i++)
                ir_store_v(b, r[i], ir_atc(b, to, ((int64_t)(whole + i) * k->block + t) * 4));
        }
    }
}

prefill_source source_values(const kernel *k) {
    prefill_source s = {"stage_values", FRAME_V, FRAME_RING_V, offsetof(nha_cpu_args, v), k->V, k->p->value_map, 0};
    s.pad = k->vv * k->b.vl - k->V;
    return s;
}

prefill_source source_absorbed_keys(const kernel *k) {
    prefill_source s = {"stage_absorbed_keys", FRAME_K, FRAME_RING_K, offsetof(nha_cpu_args, k), k->K, k->p->slot_map, 0};
    return s;
}

prefill_source source_window_keys(const kernel *k) {
    bool given = k->p->rope == NHA_ROPE_GIVEN;
    prefill_source s = {"stage_window_keys", FRAME_K, FRAME_RING_K, offsetof(nha_cpu_args, k), k->K, NHA_MAP_IDENTITY, 0};
    if (given) {
        s.input = FRAME_RK;
        s.ring = FRAME_RING_RK;
        s.member = offsetof(nha_cpu_args, rk);
    }
    return s;
}

val absorbed_begin(prefill *x, const char *name, val *phase) {
    *phase = phase_begin(x->k, name, "pi", (const char *const[]){"scratch", "first"});
    return ir_param(&x->k->b, 0);
}

void absorbed_rows(prefill *x, val stage, val f, val to) {
    kernel *k = x->k;
    ir *b = &k->b;
    val end = ir_addc(b, frame_i64(k, f, FRAME_LENGTH), -k->L);
    ir_call(b, stage, (val[]){f, to, ir_addc(b, ir_param(b, 1), -k->L), end}, 4);
}

/* load_absorbed_keys(scratch, first): keys [K][block] of the tokens that steps first .. absorb; load_absorbed: and values [block][vp] */
void emit_load_absorbed(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_pack_absorbed(x);
        return;
    }
    prefill_source keys = source_absorbed_keys(k), values = source_values(k);
    x->stage_absorbed = emit_stage(x, &keys, k->stage_ld);
    x->stage_values = emit_stage(x, &values, k->vp);
    val f = absorbed_begin(x, "load_absorbed_keys", &x->load_absorbed_keys);
    val stage = frame_at(k, f, k->stage, NULL, 0), own = ir_atc(b, f, k->own_keys);
    absorbed_rows(x, x->stage_absorbed, f, stage);
    transpose_keys(k, stage, own);
    frame_set(k, f, FRAME_ABSORBED_K, own);
    phase_end(k);
    f = absorbed_begin(x, "load_absorbed", &x->load_absorbed);
    own = ir_atc(b, f, k->own_values);
    ir_call(b, x->load_absorbed_keys, (val[]){f, ir_param(b, 1)}, 2);
    absorbed_rows(x, x->stage_values, f, own);
    frame_set(k, f, FRAME_ABSORBED_V, own);
    phase_end(k);
}

val panel_at(kernel *k, val f, val P) {
    ir *b = &k->b;
    val panels = frame_i64(k, f, FRAME_PANELS);
    val entry = ir_urem(b, ir_add(b, P, panels), panels);
    return ir_atc(b, ir_at(b, f, ir_mulc(b, entry, k->panel_floats * 4)), k->ring_at);
}

val rotate_staged(prefill *x, val f, val first) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (!k->rotate)
        return frame_at(k, f, k->stage, NULL, 0);
    ir_call(b, x->angles, (val[]){f, ir_add(b, frame_i64(k, f, FRAME_POSITION), first)}, 2);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
    amx_awake(k, loop.index, 16);
    val args[] = {frame_at(k, f, k->stage, loop.index, 0), frame_at(k, f, k->rotated, loop.index, 0),
                  frame_at(k, f, k->cosine, loop.index, 0), frame_at(k, f, k->sine, loop.index, 0)};
    ir_call(b, x->rotate, args, 4);
    ir_loop_end(b, &loop, NULL);
    return frame_at(k, f, k->rotated, NULL, 0);
}

/* load_panel(scratch, P): window keys [K][block] (rotated) and values [block][vp] of tokens P*block .. into the ring */
void emit_load_panel(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->amx) {
        emit_pack_panel(x);
        return;
    }
    prefill_source keys = source_window_keys(k), values = source_values(k);
    val stage_k = emit_stage(x, &keys, k->stage_ld);
    if (!x->stage_values)
        x->stage_values = emit_stage(x, &values, k->vp);
    x->load_panel = phase_begin(k, "load_panel", "pi", (const char *const[]){"scratch", "panel"});
    val f = ir_param(b, 0), first = ir_mulc(b, ir_param(b, 1), k->block), end = frame_i64(k, f, FRAME_LENGTH);
    val at = panel_at(k, f, ir_param(b, 1)), stage = frame_at(k, f, k->stage, NULL, 0);
    ir_call(b, stage_k, (val[]){f, stage, first, end}, 4);
    transpose_keys(k, rotate_staged(x, f, first), at);
    if (k->share_keys && k->own_window_q) {
        if (k->p->slot_map != NHA_MAP_IDENTITY) /* rows that are in the first-level cache by now */
            ir_call(b, x->stage_absorbed, (val[]){f, stage, first, end}, 4);
        transpose_keys(k, stage, ir_atc(b, at, k->panel_absorbed_keys));
    }
    ir_call(b, x->stage_values, (val[]){f, ir_atc(b, at, k->panel_values_at), first, end}, 4);
    phase_end(k);
}
