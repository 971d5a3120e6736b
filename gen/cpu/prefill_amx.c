/* prefill_amx.c: the products of prefill on AMX tiles: scores of slots and window, reads, updates of the memory.
 * Operands are made by prefill_pack.c; sums are fp32, the memory is updated in fp32 outside the tiles. */
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

/* ---- C[rows][columns] = A B, stored to a buffer ---- */

typedef struct stored_product {
    const amx_product *product; /* their sum */
    int count;
    val to; /* row 0, column 0 */
    int ld; /* bytes */
} stored_product;

static void store_block(ir *b, void *context, const amx_block *at) {
    const stored_product *p = context;
    amx_zero(b, at);
    for (int i = 0; i < p->count; i++)
        amx_accumulate(b, &p->product[i], at);
    amx_store(b, at, ir_at(b, ir_at(b, p->to, ir_mulc(b, at->row, p->ld)), ir_mulc(b, at->column, 64)), p->ld);
}

void amx_multiply(kernel *k, const amx_product *product, int count, int rows, val to, int ld) {
    stored_product p = {product, count, to, ld * 4};
    amx_blocks(&k->b, rows, product->right.columns, &p, store_block);
}

void amx_awake(kernel *k, val index, int every) {
    ir *b = &k->b;
    ir_if now;
    if (!k->amx)
        return;
    ir_if_begin(b, &now, ir_cmp(b, "==", ir_and(b, index, ir_int(b, every - 1)), ir_int(b, 0)));
    amx_keep_awake(b);
    ir_if_end(b, &now);
}

val amx_chunk(kernel *k, val f, const amx_left *left, val from) {
    val at = ir_atc(&k->b, f, left->at);
    return k->beside ? at : ir_at(&k->b, at, ir_mulc(&k->b, from, (int64_t)k->G * left->lda));
}

amx_product amx_slot_scores(kernel *k, val f, val from) {
    return (amx_product){amx_chunk(k, f, &k->left_slots, from), k->left_slots, ir_atc(&k->b, f, k->right_hk.at), k->right_hk};
}

/* score_slots(scratch, from, first), of the group that begins with token `first` of the chunk: within[r][j] = q_r . k_j, and
 * scores[r][m] = q_r . h_m, unless decay_scores makes these with what the block's tokens give */
void emit_amx_score_slots(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_slots = phase_begin(k, "score_slots", "pii", (const char *const[]){"scratch", "from", "first"});
    val f = ir_param(b, 0);
    amx_product slots = amx_slot_scores(k, f, ir_param(b, 1));
    val keys = ir_atc(b, frame_ptr(k, f, FRAME_ABSORBED_K), k->right_keys.at);
    amx_product tokens = {slots.a, k->left_slots, keys, k->right_keys};
    if (k->chunk < k->block)
        amx_multiply(k, &slots, 1, k->group_rows, frame_at(k, f, k->scores, ir_mulc(b, ir_param(b, 2), k->G), 0), k->scores.ld);
    amx_multiply(k, &tokens, 1, k->group_rows, frame_at(k, f, k->within, NULL, 0), k->within.ld);
    phase_end(k);
}

/* Of groups 0 .. groups - 1 of 16 tokens of the chunk, the tiles that they see. */
static void score_tiles(kernel *k, val f, val q, int groups) {
    ir *b = &k->b;
    ir_loop group, items;
    ir_loop_begin(b, &group, ir_int(b, 0), ir_int(b, groups), ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &items, ir_int(b, 0), score_items(k, f, group.index), ir_int(b, 1), NULL, 0);
    val rows = ir_at(b, q, ir_mulc(b, group.index, (int64_t)AMX_TILE * k->G * k->left_window.lda));
    score_item_visit(k, f, rows, group.index, items.index, score_item_whole, NULL);
    ir_loop_end(b, &items, NULL);
    ir_loop_end(b, &group, NULL);
}

/* score_window(scratch, count, from): scores[r][j] = rot(q_r) . rot(k_j) over the listed panels, or what of them is seen */
val emit_amx_score_window(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, "score_window", "pii", (const char *const[]){"scratch", "count", "from"});
    val f = ir_param(b, 0), q = amx_chunk(k, f, &k->left_window, ir_param(b, 2));
    if (k->tiles_listed) {
        score_tiles(k, f, q, k->chunk / AMX_TILE);
        phase_end(k);
        return fn;
    }
    ir_loop panels;
    ir_loop_begin(b, &panels, ir_int(b, 0), ir_param(b, 1), ir_int(b, 1), NULL, 0);
    val keys = ir_atc(b, listed_panel(k, f, panels.index), k->panel_keys.at);
    val to = ir_at(b, frame_at(k, f, k->scores, NULL, k->mp), ir_mulc(b, panels.index, k->block * 4));
    amx_multiply(k, &(amx_product){q, k->left_window, keys, k->panel_keys}, 1, k->chunk_rows, to, k->scores.ld);
    ir_loop_end(b, &panels, NULL);
    phase_end(k);
    return fn;
}

/* ---- reads ---- */

typedef struct read_product {
    kernel *k;
    val f, count;
    bool first;
} read_product;

/* What the memory gives, and what the block's own tokens give through it. */
static void read_slots(kernel *k, val f, const amx_block *at) {
    ir *b = &k->b;
    val p = ir_atc(b, f, k->left_read.at), hv = ir_atc(b, f, k->right_hv.at);
    amx_accumulate(b, &(amx_product){p, k->left_read, hv, k->right_hv}, at);
}

static void read_within(kernel *k, val f, const amx_block *at) {
    ir *b = &k->b;
    val within = ir_atc(b, f, k->left_read.at + k->read_within), values = frame_ptr(k, f, FRAME_ABSORBED_V);
    amx_accumulate(b, &(amx_product){within, k->left_read, values, k->right_values}, at);
}

static void read_window(kernel *k, val f, val count, const amx_block *at) {
    ir *b = &k->b;
    ir_loop panels;
    ir_loop_begin(b, &panels, ir_int(b, 0), count, ir_int(b, 1), NULL, 0);
    val values = ir_atc(b, listed_panel(k, f, panels.index), k->panel_values.at);
    val left = ir_at(b, ir_atc(b, f, k->left_read.at + k->read_window), ir_mulc(b, panels.index, k->block * 2));
    amx_accumulate(b, &(amx_product){left, k->left_read, values, k->panel_values}, at);
    ir_loop_end(b, &panels, NULL);
}

static void read_block(ir *b, void *context, const amx_block *at) {
    read_product *c = context;
    kernel *k = c->k;
    val out = k->direct_out ? NULL : ir_at(b, frame_at(k, c->f, k->out, at->row, 0), ir_mulc(b, at->column, 64));
    if (c->first)
        amx_zero(b, at);
    else
        amx_load(b, at, out, k->out.ld * 4);
    if (c->first && k->M) {
        read_slots(k, c->f, at);
        read_within(k, c->f, at);
    }
    if (k->W)
        read_window(k, c->f, c->count, at);
    if (!k->direct_out) {
        amx_store(b, at, out, k->out.ld * 4);
        return;
    }
    store_output_tiles(k, c->f, at);
    store_output_rows(k, c->f, at);
}

int amx_read_steps(const kernel *k) {
    int own = k->M ? k->right_hv.inner + k->right_values.inner : 0;
    return own + k->key_panels * k->panel_values.inner;
}

void amx_read_step(kernel *k, val f, const amx_block *at, int index, amx_half half) {
    ir *b = &k->b;
    val p = ir_atc(b, f, k->left_read.at);
    const int slots = k->M ? k->right_hv.inner : 0, own = k->M ? slots + k->right_values.inner : 0;
    if (index == 0 && half & AMX_LOADS)
        amx_zero(b, at);
    if (index < slots) {
        amx_accumulate_step(b, &(amx_product){p, k->left_read, ir_atc(b, f, k->right_hv.at), k->right_hv}, at, index, half);
        return;
    }
    if (index < own) {
        p = ir_atc(b, p, k->read_within);
        val values = frame_ptr(k, f, FRAME_ABSORBED_V);
        amx_accumulate_step(b, &(amx_product){p, k->left_read, values, k->right_values}, at, index - slots, half);
        return;
    }
    const int panel = (index - own) / k->panel_values.inner;
    ir_if listed;
    ir_if_begin(b, &listed, ir_cmp(b, "<", ir_int(b, panel), frame_i64(k, f, FRAME_LISTED)));
    val values = ir_atc(b, listed_panel(k, f, ir_int(b, panel)), k->panel_values.at);
    p = ir_atc(b, p, k->read_window + (int64_t)panel * k->block * 2);
    const int s = (index - own) % k->panel_values.inner;
    amx_accumulate_step(b, &(amx_product){p, k->left_read, values, k->panel_values}, at, s, half);
    ir_if_end(b, &listed);
}

/* out_r *= row_fix_r: what earlier steps of an online softmax left */
static void rescale(kernel *k, val f) {
    ir *b = &k->b;
    ir_loop rows;
    ir_loop_begin(b, &rows, ir_int(b, 0), ir_int(b, k->chunk_rows), ir_int(b, 1), NULL, 0);
    val fix = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_fix, NULL, 0), ir_mulc(b, rows.index, 4))));
    for (int v = 0; v < k->vv; v++) {
        val at = frame_at(k, f, k->out, rows.index, v * b->vl);
        ir_store_v(b, ir_fmul(b, fix, ir_load_v(b, at)), at);
    }
    ir_loop_end(b, &rows, NULL);
}

/* read_*(scratch, count, from): adds to `out`, or writes to o, what slots (first step) and the listed panels give */
val emit_amx_read_step(prefill *x, bool first) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, first ? "read_first" : "read_next", "pii", (const char *const[]){"scratch", "count", "from"});
    read_product c = {.k = k, .f = ir_param(b, 0), .count = ir_param(b, 1), .first = first};
    if (!first)
        rescale(k, c.f);
    amx_blocks(b, k->chunk_rows, k->panel_values.columns, &c, read_block);
    phase_end(k);
    return fn;
}

/* ---- halves of a chunk: prefill_beside.c does the others ---- */

static void read_second(ir *b, void *context, const amx_block *at) {
    const read_product *c = context;
    amx_block lower = *at;
    lower.row = ir_addc(b, at->row, (int64_t)AMX_TILE * c->k->G);
    for (int i = 0; i < amx_read_steps(c->k); i++)
        amx_read_step(c->k, c->f, &lower, i, AMX_WHOLE);
    store_output_tiles(c->k, c->f, &lower);
    store_output_rows(c->k, c->f, &lower);
}

void emit_amx_groups(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->score_group = phase_begin(k, "score_group", "pi", (const char *const[]){"scratch", "from"});
    val f = ir_param(b, 0);
    score_tiles(k, f, amx_chunk(k, f, &k->left_window, ir_param(b, 1)), 1);
    phase_end(k);
    x->read_group = phase_begin(k, "read_group", "p", (const char *const[]){"scratch"});
    read_product c = {.k = k, .f = ir_param(b, 0)};
    amx_blocks(b, AMX_TILE * k->G, k->panel_values.columns, &c, read_second);
    phase_end(k);
}

/* ---- h' = keep*h + (scaled*h + sum_j w_j x_j), and its copy in bf16 ---- */

typedef struct update_product {
    kernel *k;
    val f;
    amx_product product;
    buffer memory;
    amx_right right;
    int rows; /* even */
    bool values; /* slots are rows, else lanes */
} update_product;

/* slot: byte offset into keep and scaled */
static val updated(const update_product *p, val slot, val sum, val at) {
    ir *b = &p->k->b;
    val keep = ir_at(b, frame_at(p->k, p->f, p->k->keep, NULL, 0), slot);
    val scaled = ir_at(b, frame_at(p->k, p->f, p->k->scaled, NULL, 0), slot);
    keep = p->values ? ir_splat(b, ir_load_f32(b, keep)) : ir_load_v(b, keep);
    scaled = p->values ? ir_splat(b, ir_load_f32(b, scaled)) : ir_load_v(b, scaled);
    val h = ir_load_v(b, at);
    return ir_fma(b, keep, h, ir_fma(b, scaled, h, sum));
}

static void update_block(ir *b, void *context, const amx_block *block) {
    update_product *p = context;
    kernel *k = p->k;
    val row = block->row, column = block->column;
    amx_zero(b, block);
    amx_accumulate(b, &p->product, block);
    amx_store(b, block, frame_at(k, p->f, k->tile_out, NULL, 0), AMX_BLOCK * 4);
    val count = ir_min(b, ir_sub(b, ir_int(b, p->rows), row), ir_int(b, AMX_BLOCK));
    ir_loop pairs;
    ir_loop_begin(b, &pairs, ir_int(b, 0), count, ir_int(b, 2), NULL, 0);
    val r = ir_add(b, row, pairs.index), pair = LLVMBuildLShr(b->builder, r, ir_int(b, 1), "");
    for (int c = 0; c < block->nr; c++) {
        val h[2], tile = ir_addc(b, column, c), lanes = ir_mulc(b, tile, 64);
        for (int i = 0; i < 2; i++) {
            val at = ir_at(b, frame_at(k, p->f, p->memory, ir_addc(b, r, i), 0), lanes);
            val sum = ir_load_v(b, frame_at(k, p->f, k->tile_out, ir_addc(b, pairs.index, i), c * AMX_TILE));
            val slot = p->values ? ir_mulc(b, ir_addc(b, r, i), 4) : lanes;
            h[i] = updated(p, slot, sum, at);
            ir_store_v(b, h[i], at);
        }
        pack_pair(b, &p->right, ir_atc(b, p->f, p->right.at), pair, tile, h[0], h[1]);
    }
    ir_loop_end(b, &pairs, NULL);
}

static val emit_update_of(kernel *k, bool values) {
    ir *b = &k->b;
    val fn = phase_begin(k, values ? "update_values" : "update_keys", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    update_product p = {.k = k, .f = f, .values = values};
    const amx_left *left = values ? &k->left_weights : &k->left_keys;
    const amx_right *right = values ? &k->right_values : &k->right_weights;
    val rows = values ? f : frame_ptr(k, f, FRAME_ABSORBED_K), columns = values ? frame_ptr(k, f, FRAME_ABSORBED_V) : f;
    p.product = (amx_product){ir_atc(b, rows, left->at), *left, ir_atc(b, columns, right->at), *right};
    p.memory = values ? k->memory_v : k->memory_k;
    p.right = values ? k->right_hv : k->right_hk;
    p.rows = values ? k->M + k->M % 2 : k->K;
    amx_blocks(b, (p.rows + AMX_BLOCK - 1) / AMX_BLOCK * AMX_BLOCK, right->columns, &p, update_block);
    phase_end(k);
    return fn;
}

/* update_keys(scratch), update_values(scratch) */
void emit_amx_update(prefill *x) {
    x->update_keys = emit_update_of(x->k, false);
    x->update_values = emit_update_of(x->k, true);
}
