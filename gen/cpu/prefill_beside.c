/* prefill_beside.c: products on tiles that go on beside a softmax. Tiles and vectors are different units: a core that multiplies tiles
 * has its vector ports free, as long as the instructions of both lie close enough together to be under way at the same time, some
 * hundred instructions. So a chunk of 32 tokens goes in two groups of 16: while the first one's softmax is made the second one is scored,
 * and while the second one's is made the first one is read. */
#include "gen/cpu/prefill.h"

static int ceil_div(int64_t n, int64_t d) {
    return (int)((n + d - 1) / d);
}

/* Rows of a group of 16 tokens. */
static int group_rows(const kernel *k) {
    return AMX_TILE * k->G;
}

/* Where there are turns enough, each has one item, whose steps are spread over its slots, and which is stored in the first slots of the
 * next turn, when its sums have long been ready. Else each slot has some whole items. */
static bool one_a_turn(const tile_work *w) {
    return w->items <= w->turns;
}

/* Items of a slot of their own. */
static int items_a_slot(const tile_work *w) {
    return ceil_div(w->items, (int64_t)w->slots * w->turns);
}

static val slot_item(const tile_work *w, val turn, int slot, int i) {
    ir *b = &w->k->b;
    val number = ir_addc(b, ir_mulc(b, turn, w->slots), slot);
    return ir_addc(b, ir_mulc(b, number, items_a_slot(w)), i);
}

/* ---- scores of the window: an item is four tiles of them ---- */

static val score_count(const tile_work *w) {
    return score_items(w->k, w->f, ir_int(&w->k->b, w->group));
}

static void visit_score(const tile_work *w, val item, score_visit visit, void *context) {
    val q = amx_chunk(w->k, w->f, &w->k->left_window, w->from);
    score_item_visit(w->k, w->f, q, ir_int(&w->k->b, w->group), item, visit, context);
}

typedef struct score_steps {
    int from, to; /* of the inner dimension */
} score_steps;

static void score_some(kernel *k, const score_item *s, void *context) {
    const score_steps *steps = context;
    for (int i = steps->from; i < steps->to; i++)
        amx_accumulate_step(&k->b, &s->product, &s->block, i, AMX_WHOLE);
}

static void score_step(const tile_work *w, val turn, int slot) {
    kernel *k = w->k;
    ir *b = &k->b;
    const int inner = k->panel_keys.inner;
    val items = score_count(w);
    ir_if there;
    if (one_a_turn(w)) {
        if (slot == 0) {
            val before = ir_addc(b, turn, -1);
            ir_if_begin(b, &there, ir_cmp(b, "u<", before, items));
            visit_score(w, before, score_item_store, NULL);
            ir_if_end(b, &there);
            amx_zero(b, &(amx_block){.mr = 2, .nr = 2});
        }
        score_steps steps = {slot * inner / w->slots, (slot + 1) * inner / w->slots};
        if (steps.from == steps.to)
            return;
        ir_if_begin(b, &there, ir_cmp(b, "<", turn, items));
        visit_score(w, turn, score_some, &steps);
        ir_if_end(b, &there);
        return;
    }
    for (int i = 0; i < items_a_slot(w); i++) {
        val item = slot_item(w, turn, slot, i);
        ir_if_begin(b, &there, ir_cmp(b, "<", item, items));
        visit_score(w, item, score_item_whole, NULL);
        ir_if_end(b, &there);
    }
}

/* Of as many items as turns the last one is still in the tiles. */
static void score_finish(const tile_work *w) {
    kernel *k = w->k;
    ir *b = &k->b;
    if (w->items != w->turns)
        return;
    ir_if there;
    val last = ir_int(b, w->items - 1);
    ir_if_begin(b, &there, ir_cmp(b, "<", last, score_count(w)));
    visit_score(w, last, score_item_store, NULL);
    ir_if_end(b, &there);
}

/* Tiles of 16 tokens that 16 tokens can see. */
static int64_t tiles_seen(const kernel *k) {
    int64_t all = (int64_t)k->key_panels * k->block / AMX_TILE, seen = (k->W - 1 + AMX_TILE - 1) / AMX_TILE + 1;
    return seen < all ? seen : all;
}

tile_work tile_work_score(prefill *x, int group) {
    kernel *k = x->k;
    int64_t items = tiles_seen(k) * (group_rows(k) / (4 * AMX_TILE));
    return (tile_work){.step = score_step, .finish = score_finish, .group = group, .items = items};
}

/* ---- reads: an item is a block of two by two tiles of outputs ---- */

static amx_block read_item_at(const tile_work *w, val item) {
    kernel *k = w->k;
    ir *b = &k->b;
    const int rows = group_rows(k) / AMX_BLOCK;
    val column = ir_floor_div(b, item, rows), row = ir_sub(b, item, ir_mulc(b, column, rows));
    row = ir_addc(b, ir_mulc(b, row, AMX_BLOCK), (int64_t)w->group * group_rows(k));
    return (amx_block){row, ir_mulc(b, column, 2), 2, 2, NULL};
}

/* The products of the last step, whose operands have been loaded, and the sums out of the tiles. */
static void read_last(const tile_work *w, const amx_block *at) {
    amx_read_step(w->k, w->f, at, amx_read_steps(w->k) - 1, AMX_PRODUCTS);
    store_output_tiles(w->k, w->f, at);
}

static void read_step(const tile_work *w, val turn, int slot) {
    kernel *k = w->k;
    ir *b = &k->b;
    const int steps = amx_read_steps(k);
    ir_if there;
    if (one_a_turn(w)) {
        if (slot < 2) {
            val before = ir_addc(b, turn, -1);
            ir_if_begin(b, &there, ir_cmp(b, "u<", before, ir_int(b, w->items)));
            amx_block at = read_item_at(w, before);
            if (slot == 0)
                read_last(w, &at);
            else
                store_output_rows(k, w->f, &at);
            ir_if_end(b, &there);
        }
        ir_if_begin(b, &there, ir_cmp(b, "<", turn, ir_int(b, w->items)));
        amx_block at = read_item_at(w, turn);
        for (int i = slot * steps / w->slots; i < (slot + 1) * steps / w->slots; i++) {
            if (i > 0)
                amx_read_step(k, w->f, &at, i - 1, AMX_PRODUCTS);
            amx_read_step(k, w->f, &at, i, AMX_LOADS);
        }
        ir_if_end(b, &there);
        return;
    }
    for (int i = 0; i < items_a_slot(w); i++) {
        val item = slot_item(w, turn, slot, i);
        ir_if_begin(b, &there, ir_cmp(b, "<", item, ir_int(b, w->items)));
        amx_block at = read_item_at(w, item);
        for (int n = 0; n < steps; n++)
            amx_read_step(k, w->f, &at, n, AMX_WHOLE);
        store_output_tiles(k, w->f, &at);
        store_output_rows(k, w->f, &at);
        ir_if_end(b, &there);
    }
}

static void read_finish(const tile_work *w) {
    kernel *k = w->k;
    if (w->items != w->turns)
        return;
    amx_block at = read_item_at(w, ir_int(&k->b, w->items - 1));
    read_last(w, &at);
    store_output_rows(k, w->f, &at);
}

tile_work tile_work_read(prefill *x, int group) {
    kernel *k = x->k;
    int64_t items = (int64_t)(group_rows(k) / AMX_BLOCK) * (k->panel_values.columns / 2);
    return (tile_work){.step = read_step, .finish = read_finish, .group = group, .items = items};
}
