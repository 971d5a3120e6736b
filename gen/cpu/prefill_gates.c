/* prefill_gates.c: gates of a block: e = exp(g), s = -expm1(g) or given, decay = running product of e, gamma = sum of g. */
#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

static val element(ir *b, val base, val offset, int64_t bytes) {
    return ir_at(b, base, ir_mulc(b, offset, bytes));
}

typedef struct gate_row {
    kernel *k;
    val f, gate, given_s, row;
} gate_row;

static void gate_piece(ir *b, void *context, val offset, int width) {
    gate_row *c = context;
    kernel *k = c->k;
    gate_values v = row_gate(k, c->gate, c->given_s, offset, width);
    ir_store(b, v.e, element(b, frame_at(k, c->f, k->e, c->row, 0), offset, 4), 4);
    ir_store(b, v.s, element(b, frame_at(k, c->f, k->s, c->row, 0), offset, 4), 4);
    val gamma = element(b, frame_at(k, c->f, k->gamma, NULL, 0), offset, 4);
    ir_store(b, ir_fadd(b, ir_load(b, ir_vec(b, b->f32, width), gamma, 4), v.g), gamma, 4);
}

/* block_decay(scratch): keep and scaled of the whole block, from gamma */
static void emit_block_decay(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->block_decay = phase_begin(k, "block_decay", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->mp), ir_int(b, b->vl), NULL, 0);
    val e, m1;
    ir_exp_expm1(b, ir_load_v(b, element(b, frame_at(k, f, k->gamma, NULL, 0), loop.index, 4)), &e, &m1);
    val keep, scaled;
    row_decay(b, e, m1, &keep, &scaled);
    ir_store_v(b, keep, element(b, frame_at(k, f, k->keep, NULL, 0), loop.index, 4));
    ir_store_v(b, scaled, element(b, frame_at(k, f, k->scaled, NULL, 0), loop.index, 4));
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

/* decay_chunk of a vector of slots, and the row of ones before decay */
static void chunk_decay(kernel *k, val f, val slot) {
    ir *b = &k->b;
    ir_store_v(b, ir_vfloat(b, 1), element(b, frame_at(k, f, k->decay, ir_int(b, -1), 0), slot, 4));
    for (int from = 0; k->chunk < k->block && from < k->block; from += k->chunk) {
        ir_loop tokens;
        val product = ir_vfloat(b, 1);
        ir_loop_begin(b, &tokens, ir_int(b, from), ir_int(b, from + k->chunk), ir_int(b, 1), &product, 1);
        product = ir_fmul(b, product, ir_load_v(b, element(b, frame_at(k, f, k->e, tokens.index, 0), slot, 4)));
        ir_store_v(b, product, element(b, frame_at(k, f, k->decay_chunk, tokens.index, 0), slot, 4));
        ir_loop_end(b, &tokens, &product);
    }
}

/* e = 1 and s = 0 */
static void no_gate(kernel *k, val f, val i) {
    ir *b = &k->b;
    ir_loop slots;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mp), ir_int(b, b->vl), NULL, 0);
    ir_store_v(b, ir_vfloat(b, 1), element(b, frame_at(k, f, k->e, i, 0), slots.index, 4));
    ir_store_v(b, ir_zero(b), element(b, frame_at(k, f, k->s, i, 0), slots.index, 4));
    ir_loop_end(b, &slots, NULL);
}

/* Gates of the token that step `first` + i absorbs, if there is one. */
static void load_gate(kernel *k, val f, val first, val i) {
    ir *b = &k->b;
    const int64_t row_bytes = (int64_t)k->M * row_element_bytes(k->p->gate_dtype);
    val lowest = ir_sub(b, ir_int(b, 0), frame_i64(k, f, FRAME_AVAILABLE));
    val end = ir_addc(b, frame_i64(k, f, FRAME_LENGTH), -k->L), j = ir_add(b, ir_addc(b, first, -k->L), i);
    const bool filled = k->M == k->mp; /* nothing stands behind the gates */
    ir_if exists;
    if (!filled)
        no_gate(k, f, i);
    ir_if_begin(b, &exists, ir_and(b, ir_cmp(b, ">=", j, lowest), ir_cmp(b, "<", j, end)));
    gate_row row = {.k = k, .f = f, .row = i};
    row.gate = frame_token(k, f, FRAME_GATE, FRAME_RING_GATE, offsetof(nha_cpu_args, gate), row_bytes, j);
    if (k->p->gate_s_given)
        row.given_s = frame_token(k, f, FRAME_S, FRAME_RING_S, offsetof(nha_cpu_args, s), row_bytes, j);
    tile_pieces_woven(b, k->M, &row, gate_piece);
    if (filled) {
        ir_if_else(b, &exists);
        no_gate(k, f, i);
    }
    ir_if_end(b, &exists);
}

/* decay and the like, from e and gamma of the block */
static void finish_gates(prefill *x, val f) {
    kernel *k = x->k;
    ir *b = &k->b;
    enum { CHAINS = 4 }; /* side by side: each is products that wait for one another */
    const int chains = k->mp / b->vl % CHAINS ? 1 : CHAINS;
    ir_loop slots, tokens;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->mp), ir_int(b, (int64_t)chains * b->vl), NULL, 0);
    val product[CHAINS];
    for (int v = 0; v < chains; v++)
        product[v] = ir_vfloat(b, 1);
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), product, chains);
    for (int v = 0; v < chains; v++) {
        product[v] = ir_fmul(b, product[v], ir_load_v(b, element(b, frame_at(k, f, k->e, tokens.index, v * b->vl), slots.index, 4)));
        ir_store_v(b, product[v], element(b, frame_at(k, f, k->decay, tokens.index, v * b->vl), slots.index, 4));
    }
    ir_loop_end(b, &tokens, product);
    ir_loop_end(b, &slots, NULL);
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->amx ? k->mp : 0), ir_int(b, b->vl), NULL, 0);
    if (k->amx)
        chunk_decay(k, f, slots.index);
    ir_loop_end(b, &slots, NULL);
    ir_call(b, x->block_decay, &f, 1);
}

/* load_gates(scratch, first): gates of the tokens that steps first .. absorb */
void emit_load_gates(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    emit_block_decay(x);
    x->load_gates = phase_begin(k, "load_gates", "pi", (const char *const[]){"scratch", "first"});
    val f = ir_param(b, 0);
    tile_zero(b, frame_at(k, f, k->gamma, NULL, 0), k->mp);
    ir_loop tokens;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
    amx_awake(k, tokens.index, 4);
    load_gate(k, f, ir_param(b, 1), tokens.index);
    ir_loop_end(b, &tokens, NULL);
    finish_gates(x, f);
    phase_end(k);
}
