/* prefill_window.c: phases that score the window, and that read values: the products around the softmax. */
#include "gen/cpu/prefill.h"
#include "gen/cpu/product.h"

/* list_panels(scratch, newest, count): addresses of panels newest, newest-1, ... */
static void emit_list_panels(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->list_panels = phase_begin(k, "list_panels", "pii", (const char *const[]){"scratch", "newest", "count"});
    val f = ir_param(b, 0);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_param(b, 2), ir_int(b, 1), NULL, 0);
    val at = panel_at(k, f, ir_sub(b, ir_param(b, 1), loop.index));
    ir_store_at(b, at, ir_at(b, frame_at(k, f, k->panel_list, NULL, 0), ir_mulc(b, loop.index, 8)), 0);
    ir_loop_end(b, &loop, NULL);
    phase_end(k);
}

val listed_panel(kernel *k, val f, val p) {
    ir *b = &k->b;
    return ir_load_ptr(b, ir_at(b, frame_at(k, f, k->panel_list, NULL, 0), ir_mulc(b, p, 8)), 0);
}

/* score_panels_N(scratch, p): scores of the listed panels p .. p+N-1 */
static val emit_score_panels(prefill *x, int n) {
    kernel *k = x->k;
    ir *b = &k->b;
    char name[32];
    snprintf(name, sizeof name, "score_panels_%d", n);
    val fn = phase_begin(k, name, "pi", (const char *const[]){"scratch", "panel"});
    val f = ir_param(b, 0), first = ir_param(b, 1);
    product p = {.a = frame_at(k, f, k->qw, NULL, 0), .lda = k->K, .inner = k->K, .unroll = k->tile.knob[GEN_UNROLL]};
    val to = ir_at(b, frame_at(k, f, k->scores, NULL, k->mp), ir_mulc(b, first, k->block * 4));
    for (int i = 0; i < n; i++)
        product_columns(b, &p, k->bv, listed_panel(k, f, ir_addc(b, first, i)), k->block, ir_atc(b, to, (int64_t)i * k->block * 4),
                        k->scores.ld);
    tile_product(b, k->rows, p.columns, k->tile.knob[GEN_SCORE_ROWS], k->tile.knob[GEN_SCORE_VECTORS], &p, product_accumulate,
                 product_store);
    phase_end(k);
    return fn;
}

/* score_window(scratch, count): scores[r][j] = qw_r . k_j over the listed panels, as many at a time as fill the accumulators */
void emit_score_window(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    emit_list_panels(x);
    if (k->tiles_listed)
        emit_list_tiles(x);
    if (k->beside) {
        emit_amx_groups(x);
        return;
    }
    if (k->amx) {
        x->score_window = emit_amx_score_window(x);
        return;
    }
    int group = k->tile.knob[GEN_SCORE_VECTORS] / k->bv;
    group = group < 1 ? 1 : group > 8 ? 8 : group;
    group = group > k->key_panels ? k->key_panels : tile_even(k->key_panels, group);
    int odd = k->key_panels % group; /* what a full step leaves over; fewer panels come one by one */
    val whole = emit_score_panels(x, group), single = group == 1 ? whole : emit_score_panels(x, 1);
    val remainder = odd > 1 ? emit_score_panels(x, odd) : NULL;
    x->score_window = phase_begin(k, "score_window", "pii", (const char *const[]){"scratch", "count", "from"});
    val f = ir_param(b, 0), count = ir_param(b, 1);
    val wholes = ir_mulc(b, ir_floor_div(b, count, group), group);
    ir_loop loop;
    ir_if full;
    ir_loop_begin(b, &loop, ir_int(b, 0), wholes, ir_int(b, group), NULL, 0);
    ir_call(b, whole, (val[]){f, loop.index}, 2);
    ir_loop_end(b, &loop, NULL);
    if (remainder) {
        ir_if_begin(b, &full, ir_cmp(b, "==", ir_sub(b, count, wholes), ir_int(b, odd)));
        ir_call(b, remainder, (val[]){f, wholes}, 2);
        ir_if_else(b, &full);
    }
    if (group > 1) {
        ir_loop_begin(b, &loop, wholes, count, ir_int(b, 1), NULL, 0);
        ir_call(b, single, (val[]){f, loop.index}, 2);
        ir_loop_end(b, &loop, NULL);
    }
    if (remainder)
        ir_if_end(b, &full);
    phase_end(k);
}

/* ---- o_r = sum_m slots_p[r][m] hv[m] + sum_j within[r][j] v_j + sum_j scores[r][j] v_j: one chain of accumulations ---- */

typedef struct read_context {
    product slots, block; /* A and B of the first two sums */
    kernel *k;
    val f, count;
    bool first;
} read_context;

static val out_at(read_context *c, val row, int r, int col) {
    ir *b = &c->k->b;
    return ir_atc(b, frame_at(c->k, c->f, c->k->out, row, col * b->vl), (int64_t)r * c->k->vp * 4);
}

/* While sums of rows row .. row + mr are made: a share of the same rows of the next block's queries. Lines that no hardware prefetcher
 * foresees, as heads of other kv heads lie between them; all at once, as in the softmax, they would wait for each other. */
static void ask_ahead_of_read(read_context *c, int mr, int nv, val row, int col) {
    kernel *k = c->k;
    ir *b = &k->b;
    int bytes = k->K * row_element_bytes(k->p->dtype), lines = (bytes + 63) / 64;
    int from = col * lines / k->vv, to = (col + nv) * lines / k->vv;
    val first = ir_addc(b, frame_i64(k, c->f, FRAME_BLOCK), k->block);
    for (int r = 0; r < mr; r++) {
        val i = ir_addc(b, row, r), token = ir_add(b, first, ir_floor_div(b, i, k->G));
        val at = strided(k, c->f, FRAME_Q, offsetof(nha_cpu_args, q), token, ir_urem(b, i, ir_int(b, k->G)));
        ir_prefetch_row(b, ir_atc(b, at, (int64_t)from * 64), (int64_t)(to - from) * 64);
    }
}

static void read_accumulate(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    read_context *c = context;
    kernel *k = c->k;
    if (!c->first)
        for (int r = 0; r < mr; r++) {
            val fix = ir_at(b, frame_at(k, c->f, k->row_fix, NULL, 0), ir_mulc(b, ir_addc(b, row, r), 4));
            fix = ir_splat(b, ir_load_f32(b, fix));
            for (int j = 0; j < nv; j++)
                acc[r * nv + j] = ir_fmul(b, fix, ir_load_v(b, out_at(c, row, r, col + j)));
        }
    if (c->first)
        ask_ahead_of_read(c, mr, nv, row, col);
    if (c->first && k->M) {
        product_accumulate(b, &c->slots, acc, mr, nv, row, col);
        product_accumulate(b, &c->block, acc, mr, nv, row, col);
    }
    if (!k->W)
        return;
    ir_loop panels;
    val a = frame_at(k, c->f, k->scores, row, k->mp);
    ir_loop_begin(b, &panels, ir_int(b, 0), c->count, ir_int(b, 1), acc, mr * nv);
    val values = ir_atc(b, listed_panel(k, c->f, panels.index), ((int64_t)k->K * k->block + (int64_t)col * b->vl) * 4);
    tile_chain chain = {.a = ir_at(b, a, ir_mulc(b, panels.index, k->block * 4)), .lda = k->scores.ld, .inner = k->block};
    chain.unroll = k->tile.knob[GEN_UNROLL];
    for (int j = 0; j < nv; j++) {
        chain.b_col[j] = ir_atc(b, values, (int64_t)j * b->vl * 4);
        chain.ldb[j] = k->vp;
    }
    tile_accumulate(b, acc, mr, nv, &chain);
    ir_loop_end(b, &panels, acc);
}

static void read_finish(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    for (int r = 0; r < mr; r++)
        for (int j = 0; j < nv; j++)
            ir_store_v(b, acc[r * nv + j], out_at(context, row, r, col + j));
}

/* read_*(scratch, count, from): adds to `out` what slots (first step) and the listed panels give */
static val emit_read_step(prefill *x, bool first) {
    kernel *k = x->k;
    ir *b = &k->b;
    val fn = phase_begin(k, first ? "read_first" : "read_next", "pii", (const char *const[]){"scratch", "count", "from"});
    read_context c = {.k = k, .f = ir_param(b, 0), .count = ir_param(b, 1), .first = first};
    if (first && k->M) {
        c.slots = (product){.a = frame_at(k, c.f, k->slots_p, NULL, 0), .lda = k->mp, .inner = k->M};
        c.block = (product){.a = frame_at(k, c.f, k->within, NULL, 0), .lda = k->block, .inner = k->block};
        c.slots.unroll = c.block.unroll = k->tile.knob[GEN_UNROLL];
        val none = ir_param(b, 0); /* finish stores to `out`, not through the products */
        product_columns(b, &c.slots, k->vv, frame_at(k, c.f, k->memory_v, NULL, 0), k->vp, none, 0);
        product_columns(b, &c.block, k->vv, frame_ptr(k, c.f, FRAME_ABSORBED_V), k->vp, none, 0);
    }
    tile_product(b, k->rows, k->vv, k->tile.knob[GEN_READ_ROWS], k->tile.knob[GEN_READ_VECTORS], &c, read_accumulate, read_finish);
    phase_end(k);
    return fn;
}

void emit_read(prefill *x) {
    if (x->k->beside)
        return;
    x->read_first = x->k->amx ? emit_amx_read_step(x, true) : emit_read_step(x, true);
    if (x->k->online)
        x->read_next = x->k->amx ? emit_amx_read_step(x, false) : emit_read_step(x, false);
}
