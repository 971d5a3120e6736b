/* decode_load.c: phases that bring a step's queries and the token it absorbs into scratch, and its own token into the rings. */
#include "gen/cpu/decode.h"
#include "gen/cpu/tile.h"

/* ---- load: qs = map(q) * scale * log2e, qw = q or rq, scaled likewise ---- */

void decode_emit_load(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t head = offsetof(nha_cpu_tensor, head);
    x->load = phase_begin(k, "load_queries", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    bool given = k->p->rope == NHA_ROPE_GIVEN;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val stride = frame_arg(k, f, offsetof(nha_cpu_args, q) + head);
    row_copy c = {.from = ir_at(b, frame_ptr(k, f, FRAME_Q), ir_mul(b, loop.index, stride)), .dtype = k->p->dtype};
    c.scale = k->q_scale;
    c.to = frame_at(k, f, k->qs, loop.index, 0);
    c.to_raw = given ? NULL : frame_at(k, f, k->qw, loop.index, 0);
    c.map = k->p->slot_map;
    row_load(b, k->K, &c);
    if (given) {
        stride = frame_arg(k, f, offsetof(nha_cpu_args, rq) + head);
        c.from = ir_at(b, frame_ptr(k, f, FRAME_RQ), ir_mul(b, loop.index, stride));
        c.to = frame_at(k, f, k->qw, loop.index, 0);
        c.map = NHA_MAP_IDENTITY;
        row_load(b, k->K, &c);
    }
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* ---- absorb: gates, mapped key and value of token pos - lag; nothing there: the memory stays ---- */

typedef struct gate_context {
    kernel *k;
    val f, gate, given_s;
} gate_context;

static void gate_piece(ir *b, void *context, val offset, int width) {
    gate_context *c = context;
    kernel *k = c->k;
    val at = ir_mulc(b, offset, 4), keep, scaled;
    gate_values v = row_gate(k, c->gate, c->given_s, offset, width);
    row_decay(b, v.e, v.m1, &keep, &scaled);
    ir_store(b, v.s, ir_at(b, frame_at(k, c->f, k->s, NULL, 0), at), 4);
    ir_store(b, keep, ir_at(b, frame_at(k, c->f, k->keep, NULL, 0), at), 4);
    ir_store(b, scaled, ir_at(b, frame_at(k, c->f, k->scaled, NULL, 0), at), 4);
}

void decode_load_absorbed(kernel *k, val f, val key, val value) {
    int esize = row_element_bytes(k->p->dtype);
    val j = ir_int(&k->b, -k->L);
    row_copy c = {.dtype = k->p->dtype, .map = k->p->slot_map, .scale = 1, .to = key};
    c.from = frame_token(k, f, FRAME_K, FRAME_RING_K, offsetof(nha_cpu_args, k), (int64_t)k->K * esize, j);
    row_load(&k->b, k->K, &c);
    c = (row_copy){.dtype = k->p->dtype, .map = k->p->value_map, .scale = 1, .to = value};
    c.from = frame_token(k, f, FRAME_V, FRAME_RING_V, offsetof(nha_cpu_args, v), (int64_t)k->V * esize, j);
    row_load(&k->b, k->V, &c);
}

void decode_absorbed_gates(kernel *k, val f, val *gate, val *given_s) {
    int64_t bytes = (int64_t)k->M * row_element_bytes(k->p->gate_dtype);
    val j = ir_int(&k->b, -k->L);
    *gate = frame_token(k, f, FRAME_GATE, FRAME_RING_GATE, offsetof(nha_cpu_args, gate), bytes, j);
    *given_s = NULL;
    if (k->p->gate_s_given)
        *given_s = frame_token(k, f, FRAME_S, FRAME_RING_S, offsetof(nha_cpu_args, s), bytes, j);
}

void decode_emit_absorb(decode *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->absorb = phase_begin(k, "absorb", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    ir_loop pad;
    ir_loop_begin(b, &pad, ir_int(b, 0), ir_int(b, k->mp * 4), ir_int(b, b->vl * 4), NULL, 0);
    ir_store_v(b, ir_zero(b), ir_at(b, frame_at(k, f, k->s, NULL, 0), pad.index));
    ir_store_v(b, ir_vfloat(b, 1), ir_at(b, frame_at(k, f, k->keep, NULL, 0), pad.index));
    ir_store_v(b, ir_zero(b), ir_at(b, frame_at(k, f, k->scaled, NULL, 0), pad.index));
    ir_loop_end(b, &pad, NULL);
    tile_zero(b, frame_at(k, f, k->d_k, NULL, 0), k->d_k.ld);
    tile_zero(b, frame_at(k, f, k->d_v, NULL, 0), k->vp);
    ir_if exists;
    ir_if_begin(b, &exists, ir_cmp(b, ">=", frame_i64(k, f, FRAME_POSITION), ir_int(b, k->L)));
    decode_load_absorbed(k, f, frame_at(k, f, k->d_k, NULL, 0), frame_at(k, f, k->d_v, NULL, 0));
    gate_context gate = {.k = k, .f = f};
    decode_absorbed_gates(k, f, &gate.gate, &gate.given_s);
    tile_pieces_woven(b, k->M, &gate, gate_piece);
    ir_if_end(b, &exists);
    phase_end(k);
}

/* ---- store_token: the step's own token into the rings, bit for bit, at entry pos mod ring ---- */

static void copy_raw(kernel *k, val f, frame_slot input, frame_slot ring, int64_t bytes) {
    ir *b = &k->b;
    val entry = ir_urem(b, frame_i64(k, f, FRAME_POSITION), frame_i64(k, f, FRAME_RING));
    val to = ir_at(b, frame_ptr(k, f, ring), ir_mulc(b, entry, bytes)), from = frame_ptr(k, f, input);
    LLVMTypeRef wide = LLVMVectorType(b->i32, 4);
    ir_loop loop;
    int64_t whole = bytes / 16 * 16;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, whole), ir_int(b, 16), NULL, 0);
    ir_store(b, ir_load(b, wide, ir_at(b, from, loop.index), 2), ir_at(b, to, loop.index), 2);
    ir_loop_end(b, &loop, NULL);
    for (int64_t i = whole; i < bytes; i += 2)
        ir_store(b, ir_load(b, b->i16, ir_atc(b, from, i), 2), ir_atc(b, to, i), 2);
}

void decode_emit_store_token(decode *x) {
    kernel *k = x->k;
    int esize = row_element_bytes(k->p->dtype), gsize = row_element_bytes(k->p->gate_dtype);
    x->store_token = phase_begin(k, "store_token", "p", (const char *const[]){"scratch"});
    val f = ir_param(&k->b, 0);
    copy_raw(k, f, FRAME_K, FRAME_RING_K, (int64_t)k->K * esize);
    copy_raw(k, f, FRAME_V, FRAME_RING_V, (int64_t)k->V * esize);
    if (k->M)
        copy_raw(k, f, FRAME_GATE, FRAME_RING_GATE, (int64_t)k->M * gsize);
    if (k->M && k->p->gate_s_given)
        copy_raw(k, f, FRAME_S, FRAME_RING_S, (int64_t)k->M * gsize);
    if (k->p->rope == NHA_ROPE_GIVEN)
        copy_raw(k, f, FRAME_RK, FRAME_RING_RK, (int64_t)k->K * esize);
    phase_end(k);
}
