/* prefill_tiles.c: which tiles of the listed panels a group of 16 tokens can see. On AMX a panel's columns are tiles of 16 tokens; those
 * that lie past the group's last token, or before the window of its first, are neither scored nor put through the softmax. */
#include "gen/cpu/prefill.h"

/* A list for each group of the chunk: counts, then entries. Tiles that are seen stand at its front, the others at its back, where only
 * their probabilities, zero, are still written. */
enum { SEEN = 0, ALL = 8, FIRST_ENTRY = 16, COLUMN = 0, TOKEN = 8, KEYS = 16, ENTRY_BYTES = 24 };

int64_t window_list_floats(int tiles) {
    return (FIRST_ENTRY + (int64_t)ENTRY_BYTES * tiles) / 4;
}

static val list_of(kernel *k, val f, val group) {
    return frame_at(k, f, k->tile_list, group, 0);
}

/* Appends tile `half` of the panel that begins with local token `start` to the group's list: at its front, if `seen`. */
static void append(kernel *k, val list, val panel, val start, val column, int half, val seen) {
    ir *b = &k->b;
    val count = ir_load_i64(b, list, SEEN), rest = ir_load_i64(b, list, ALL);
    val place = ir_select(b, seen, count, ir_addc(b, rest, -1)), one = ir_select(b, seen, ir_int(b, 1), ir_int(b, 0));
    val entry = ir_at(b, ir_atc(b, list, FIRST_ENTRY), ir_mulc(b, place, ENTRY_BYTES));
    ir_store_at(b, ir_addc(b, column, (int64_t)half * AMX_TILE * 4), entry, COLUMN);
    ir_store_at(b, ir_addc(b, start, (int64_t)half * AMX_TILE), entry, TOKEN);
    ir_store_at(b, ir_atc(b, panel, k->panel_keys.at + (int64_t)half * AMX_TILE_BYTES), entry, KEYS);
    ir_store_at(b, ir_add(b, count, one), list, SEEN);
    ir_store_at(b, ir_sub(b, rest, ir_sub(b, ir_int(b, 1), one)), list, ALL);
}

/* list_tiles(scratch, newest, count, token): for the groups from local token `token` on, the tiles of panels newest, newest - 1, ... */
void emit_list_tiles(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->list_tiles = phase_begin(k, "list_tiles", "piii", (const char *const[]){"scratch", "newest", "count", "token"});
    val f = ir_param(b, 0), count = ir_param(b, 2);
    ir_loop groups, panels;
    ir_loop_begin(b, &groups, ir_int(b, 0), ir_int(b, k->chunk / AMX_TILE), ir_int(b, 1), NULL, 0);
    val list = list_of(k, f, groups.index), own = ir_add(b, ir_param(b, 3), ir_mulc(b, groups.index, AMX_TILE));
    val all = ir_mulc(b, count, k->block / AMX_TILE), lowest = ir_addc(b, own, 1 - k->W - (AMX_TILE - 1));
    ir_store_at(b, ir_int(b, 0), list, SEEN);
    ir_store_at(b, all, list, ALL);
    ir_loop_begin(b, &panels, ir_int(b, 0), count, ir_int(b, 1), NULL, 0);
    val start = ir_mulc(b, ir_sub(b, ir_param(b, 1), panels.index), k->block);
    val panel = listed_panel(k, f, panels.index), column = ir_mulc(b, panels.index, k->block * 4);
    for (int half = 0; half < k->block / AMX_TILE; half++) {
        val token = ir_addc(b, start, (int64_t)half * AMX_TILE);
        val seen = ir_and(b, ir_cmp(b, "<=", token, own), ir_cmp(b, ">=", token, lowest));
        append(k, list, panel, start, column, half, seen);
    }
    ir_loop_end(b, &panels, NULL);
    ir_store_at(b, all, list, ALL);
    ir_loop_end(b, &groups, NULL);
    phase_end(k);
}

val window_tiles_seen(kernel *k, val f, val group) {
    return ir_load_i64(&k->b, list_of(k, f, group), SEEN);
}

void window_tile_at(kernel *k, val f, val group, val index, window_tiles *t) {
    ir *b = &k->b;
    t->list = list_of(k, f, group);
    val entry = ir_at(b, ir_atc(b, t->list, FIRST_ENTRY), ir_mulc(b, index, ENTRY_BYTES));
    t->column = ir_load_i64(b, entry, COLUMN);
    t->token = ir_load_i64(b, entry, TOKEN);
    t->keys = ir_load_ptr(b, entry, KEYS);
}

void window_tiles_begin(kernel *k, val f, val group, bool seen, window_tiles *t, val *carried, int count) {
    ir *b = &k->b;
    val limit = window_tiles_seen(k, f, group);
    val end = seen ? limit : ir_load_i64(b, list_of(k, f, group), ALL);
    ir_loop_begin(b, &t->loop, seen ? ir_int(b, 0) : limit, end, ir_int(b, 1), carried, count);
    window_tile_at(k, f, group, t->loop.index, t);
}

void window_tiles_end(kernel *k, window_tiles *t, val *carried) {
    ir_loop_end(&k->b, &t->loop, carried);
}

/* ---- scores: two by two tiles for each two tiles of keys that a group sees, which load four operands for four products; a column of
 * four rows of tiles, which loads five, for the one that is left ---- */

static int blocks(const kernel *k) {
    return AMX_TILE * k->G / AMX_BLOCK;
}

val score_items(kernel *k, val f, val group) {
    return ir_mulc(&k->b, window_tiles_seen(k, f, group), blocks(k) / 2);
}

/* Where the scores of a row of the group stand. */
static val score_at(kernel *k, val f, val group, val row, const window_tiles *t) {
    ir *b = &k->b;
    row = ir_add(b, row, ir_mulc(b, group, (int64_t)AMX_TILE * k->G));
    return ir_at(b, frame_at(k, f, k->scores, row, k->mp), t->column);
}

/* Rows of two tiles go to and fro from pair to pair, so that those that the last item read come first. */
static score_item block_item(kernel *k, val f, val group, val item) {
    ir *b = &k->b;
    window_tiles t[2];
    val pair = ir_floor_div(b, item, blocks(k)), row = ir_sub(b, item, ir_mulc(b, pair, blocks(k)));
    val back = ir_cmp(b, "!=", ir_and(b, pair, ir_int(b, 1)), ir_int(b, 0));
    row = ir_select(b, back, ir_sub(b, ir_int(b, blocks(k) - 1), row), row);
    row = ir_mulc(b, row, AMX_BLOCK);
    for (int i = 0; i < 2; i++)
        window_tile_at(k, f, group, ir_addc(b, ir_mulc(b, pair, 2), i), &t[i]);
    return (score_item){.block = {row, ir_int(b, 0), 2, 2, t[1].keys},
                        .product = {NULL, k->left_window, t[0].keys, k->panel_keys},
                        .to = {score_at(k, f, group, row, &t[0]), score_at(k, f, group, row, &t[1])}};
}

static score_item column_item(kernel *k, val f, val group, val tile, val column) {
    ir *b = &k->b;
    window_tiles t;
    val row = ir_mulc(b, column, 4 * AMX_TILE);
    window_tile_at(k, f, group, tile, &t);
    return (score_item){.block = {row, ir_int(b, 0), 4, 1, NULL},
                        .product = {NULL, k->left_window, t.keys, k->panel_keys},
                        .to = {score_at(k, f, group, row, &t)}};
}

void score_item_visit(kernel *k, val f, val q, val group, val item, score_visit visit, void *context) {
    ir *b = &k->b;
    val even = ir_and(b, window_tiles_seen(k, f, group), ir_int(b, -2)), whole = ir_mulc(b, even, blocks(k) / 2);
    ir_if paired;
    ir_if_begin(b, &paired, ir_cmp(b, "<", item, whole));
    score_item s = block_item(k, f, group, item);
    s.product.a = q;
    visit(k, &s, context);
    ir_if_else(b, &paired);
    s = column_item(k, f, group, even, ir_sub(b, item, whole));
    s.product.a = q;
    visit(k, &s, context);
    ir_if_end(b, &paired);
}

void score_item_store(kernel *k, const score_item *s, void *context) {
    (void)context;
    for (int c = 0; c < s->block.nr; c++)
        amx_store_column(&k->b, &s->block, c, s->to[c], k->scores.ld * 4);
}

void score_item_whole(kernel *k, const score_item *s, void *context) {
    amx_zero(&k->b, &s->block);
    amx_accumulate(&k->b, &s->product, &s->block);
    score_item_store(k, s, context);
}
