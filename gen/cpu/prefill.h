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
    val stage_values;
    val load_queries, load_gates, load_absorbed, load_panel;
    val block_decay;              /* keep and scaled from gamma */
    val weights_last;             /* pairs of the block's last row alone */
    val list_panels, score_slots, score_panels[9], score_window;
    val decay_scores, decay_reads;
    val softmax_first, softmax_next;
    val read_first, read_next, store_out;
    val update_keys, update_values;
} prefill;

/* prefill_load.c */
void emit_rotation(prefill *x);
void emit_load_queries(prefill *x);
void emit_load_gates(prefill *x);
void emit_load_absorbed(prefill *x);
void emit_load_panel(prefill *x);
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
void emit_store_out(prefill *x);
/* Address in scratch of panel number P (i64, any sign above -PANELS): entry P mod PANELS of the ring. */
val panel_at(kernel *k, val f, val P);

#endif
