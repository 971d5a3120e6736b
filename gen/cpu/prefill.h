/* prefill.h: the phases of the prefill kernels. Each emit_* adds one internal function to the module and returns it; its first
 * parameter is the scratch pointer. A block is BLOCK_TOKENS consecutive steps of one sequence and kv head, all G query heads. */
#ifndef GEN_CPU_PREFILL_H
#define GEN_CPU_PREFILL_H

#include "gen/cpu/frame.h"
#include "gen/cpu/rows.h"

typedef struct prefill {
    kernel *k;
    rotation_table table;         /* rotation by 0 .. block-1 tokens */
    val angles, rotate;           /* functions */
    val stage_values, stage_absorbed;
    val load_queries, load_gates, load_absorbed, load_absorbed_keys, load_panel;
    val pack_weights;             /* AMX: pairs and pairs_t as operands of the update */
    val block_decay;              /* keep and scaled from gamma */
    val weights_last;             /* pairs of the block's last row alone */
    val list_tiles;               /* where k->tiles_listed */
    val list_panels, score_slots, score_panels[9], score_window;
    val decay_scores, decay_reads;
    val softmax_first, softmax_next;
    val score_group, softmax_score, softmax_read, read_group; /* instead of score_window, softmax_first and read_first, where k->beside */
    val read_first, read_next, store_out;
    val list_outputs;             /* instead of store_out, before the read, where k->direct_out */
    val update_keys, update_values;
    val memory_operands;          /* AMX: bf16 copies of the memory */
} prefill;

/* Where rows of keys or values come from. */
typedef struct prefill_source {
    const char *name; /* of the function that stages them */
    frame_slot input, ring;
    size_t member; /* offsetof the tensor in nha_cpu_args */
    int dim, map;
    int pad; /* zeroes behind the row */
} prefill_source;
prefill_source source_absorbed_keys(const kernel *k);
prefill_source source_window_keys(const kernel *k);
prefill_source source_values(const kernel *k);
/* NAME(scratch, to, first, end): rows first .. first+block-1 of a tensor to [block][ld] f32; local tokens outside [-available, end)
 * become zero. */
val emit_stage(prefill *x, const prefill_source *s, int ld);
/* Begins a phase (scratch, first) about the tokens that steps first .. absorb; returns its scratch. Calls a stage function for them. */
val absorbed_begin(prefill *x, const char *name, val *phase);
void absorbed_rows(prefill *x, val stage, val f, val to);
/* Rotates the block's staged keys; returns where they are then. */
val rotate_staged(prefill *x, val f, val first);

/* prefill_load.c */
void emit_rotation(prefill *x);
void emit_load_queries(prefill *x);
void emit_load_absorbed(prefill *x);
void emit_load_panel(prefill *x);
/* prefill_gates.c */
void emit_load_gates(prefill *x);
/* prefill_slots.c */
void emit_weights_last(prefill *x);
void emit_score_slots(prefill *x);
void emit_decay_scores(prefill *x);
void emit_decay_reads(prefill *x);
void emit_update(prefill *x);
/* prefill_window.c */
void emit_score_window(prefill *x);
void emit_softmax(prefill *x);
void emit_read(prefill *x);
/* prefill_ahead.c */
/* Address of (token, head) of a tensor of q's shape; member: offsetof the tensor in nha_cpu_args. */
val strided(kernel *k, val f, frame_slot slot, size_t member, val token, val head);
/* Asks for what local token t + block needs: queries of so many heads from `head` on; its row of keys, values and gates */
void ask_ahead(kernel *k, val f, val t, val head, int heads);
void ask_ahead_rows(kernel *k, val f, val t);
/* prefill_beside.c */
/* Products on tiles that are dealt out to the steps of a loop over vectors: slots 0 .. slots - 1 of turns 0 .. turns - 1. */
typedef struct tile_work tile_work;
struct tile_work {
    void (*step)(const tile_work *w, val turn, int slot);
    void (*finish)(const tile_work *w); /* after the last turn */
    kernel *k; /* these five are set by who calls */
    val f, from;
    int turns, slots;
    int group;     /* of 16 tokens in the chunk, whose rows it is about */
    int64_t items; /* products, at most */
};
tile_work tile_work_score(prefill *x, int group);
tile_work tile_work_read(prefill *x, int group);
/* prefill_tiles.c: a loop over the tiles of the window that group `group` (i64) of the chunk sees, or over the others. */
typedef struct window_tiles {
    ir_loop loop;
    val list;
    val column; /* bytes from the first column of the window in a row of scores */
    val token;  /* local number of the tile's first token */
    val keys;   /* its tile in panel_keys */
} window_tiles;
/* Floats of the list of one group. */
int64_t window_list_floats(int tiles);
void emit_list_tiles(prefill *x);
/* How many tiles a group (i64) sees; entry `index` of its list. */
val window_tiles_seen(kernel *k, val f, val group);
void window_tile_at(kernel *k, val f, val group, val index, window_tiles *t);
void window_tiles_begin(kernel *k, val f, val group, bool seen, window_tiles *t, val *carried, int count);
void window_tiles_end(kernel *k, window_tiles *t, val *carried);
/* Four tiles of scores of the window, numbered 0 .. score_items - 1 for a group; `visit` is called twice, for items of either shape.
 * q: the group's rows of left_window. */
typedef struct score_item {
    amx_block block;
    amx_product product;
    val to[2]; /* of its columns of tiles, in scores */
} score_item;
val score_items(kernel *k, val f, val group);
typedef void (*score_visit)(kernel *k, const score_item *item, void *context);
void score_item_visit(kernel *k, val f, val q, val group, val item, score_visit visit, void *context);
void score_item_store(kernel *k, const score_item *s, void *context);
/* All of it: products and store. */
void score_item_whole(kernel *k, const score_item *s, void *context);
/* prefill_out.c */
void emit_store_out(prefill *x);
/* A block of finished sums, rows of the chunk, times row_fix to the addresses of list_outputs: from tiles to tile_out, and from there. */
void store_output_tiles(kernel *k, val f, const amx_block *at);
void store_output_rows(kernel *k, val f, const amx_block *at);
/* prefill_pack.c: on AMX, instead of those above that load */
void emit_pack_queries(prefill *x);
void emit_pack_absorbed(prefill *x);
void emit_pack_panel(prefill *x);
/* Rows (2 pair, 2 pair + 1) of tile column `column` of a right operand at `at`; pair, column: i64. */
void pack_pair(ir *b, const amx_right *right, val at, val pair, val column, val x, val y);
/* 32 floats, two vectors, as so many elements of a row of a left operand at `to`. */
void pack_vectors(ir *b, const amx_left *left, const val *x, val to);
/* 16 floats, likewise; and twice 16 to two rows. */
void pack_half(ir *b, const amx_left *left, val x, val to);
void pack_halves(ir *b, const amx_left *left, const val *x, val to_0, val to_1);
/* A row of dim floats, zero behind it, as a row of a left operand at `to`. */
void pack_row(ir *b, const amx_left *left, int dim, val from, val to);
/* Right operand at `at` from `rows` (even) rows of floats of stride ld. */
void pack_rows(ir *b, const amx_right *right, val at, val from, int ld, int rows);
val left_row(kernel *k, val f, const amx_left *left, val row);
/* prefill_pack_memory.c */
void emit_pack_memory(prefill *x);
void emit_pack_weights(prefill *x);
/* prefill_decay.c */
/* Tokens `first` (i64, in the chunk) .. first + count of a chunk that are scored, or whose reads are prepared: all of them, or a group of
 * 16. Rows of within, left_within and earlier are the group's; rows of scores, and of what is read, are the chunk's. */
typedef struct reading {
    val from, first;
    int count;
} reading;

/* The chunk's row that is the first one's of these tokens. */
val reading_row(kernel *k, const reading *r);
void emit_amx_decay_scores(prefill *x);
void emit_amx_decay_reads(prefill *x);
/* prefill_resets.c: adds to scores, or puts to within, what the tokens give one another; pairs, or pairs_t, go on to the last of them. */
void score_resets(kernel *k, val f, const reading *r);
void read_resets(kernel *k, val f, const reading *r);
/* prefill_amx.c: on AMX, instead of those above that multiply */
/* rows x columns fp32 at `to`, row stride ld floats: the sum of `count` products. */
void amx_multiply(kernel *k, const amx_product *product, int count, int rows, val to, int ld);
/* In loops without products, where no accumulators are in use: keeps the tiles' unit from falling asleep, as waking it takes a thousand
 * cycles. A product at every index that is a multiple of `every`, a power of two; nothing on other ISAs. */
void amx_awake(kernel *k, val index, int every);
/* Rows of a left operand of the block's queries, from the chunk that begins with token `from` on. */
val amx_chunk(kernel *k, val f, const amx_left *left, val from);
/* Steps of the inner dimension of a block of outputs; the accumulators after step `index` of them. Where k->direct_out. */
int amx_read_steps(const kernel *k);
void amx_read_step(kernel *k, val f, const amx_block *at, int index, amx_half half);
/* Queries of the chunk from token `from` on, times slot keys. */
amx_product amx_slot_scores(kernel *k, val f, val from);
void emit_amx_score_slots(prefill *x);
/* Where k->beside: score_group(scratch, from) of the first group, read_group(scratch) of the second. */
void emit_amx_groups(prefill *x);
val emit_amx_score_window(prefill *x);
val emit_amx_read_step(prefill *x, bool first);
void emit_amx_update(prefill *x);
/* Address of entry p (i64) of the list of this softmax step's panels. */
val listed_panel(kernel *k, val f, val p);
/* Address in scratch of panel number P (i64, any sign above -PANELS): entry P mod PANELS of the ring. */
val panel_at(kernel *k, val f, val P);

#endif
