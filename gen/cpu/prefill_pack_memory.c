/* prefill_pack_memory.c: phases that make bf16 operands of the memory and of the weights with which tokens enter it. */
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

/* memory_operands(scratch): right_hk and right_hv from the fp32 memory, zero past K and M */
void emit_pack_memory(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->memory_operands = phase_begin(k, "memory_operands", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    if (k->M % 2) /* the row that makes a pair */
        tile_zero(b, frame_at(k, f, k->memory_v, ir_int(b, k->M), 0), k->vp);
    tile_zero(b, ir_atc(b, f, k->right_hk.at), amx_right_bytes(&k->right_hk) / 4);
    tile_zero(b, ir_atc(b, f, k->right_hv.at), amx_right_bytes(&k->right_hv) / 4);
    tile_zero(b, ir_atc(b, f, k->right_pairs_t.at), amx_right_bytes(&k->right_pairs_t) / 4);
    pack_rows(b, &k->right_hk, ir_atc(b, f, k->right_hk.at), frame_at(k, f, k->memory_k, NULL, 0), k->mp, k->K);
    pack_rows(b, &k->right_hv, ir_atc(b, f, k->right_hv.at), frame_at(k, f, k->memory_v, NULL, 0), k->vp, k->M + k->M % 2);
    phase_end(k);
}

/* pack_weights(scratch): the block's last weights as right and as left operand of the updates */
void emit_pack_weights(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->pack_weights = phase_begin(k, "pack_weights", "p", (const char *const[]){"scratch"});
    val f = ir_param(b, 0);
    pack_rows(b, &k->right_weights, ir_atc(b, f, k->right_weights.at), frame_at(k, f, k->pairs, NULL, 0), k->mp, k->block);
    ir_loop slots;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M + k->M % 2), ir_int(b, 1), NULL, 0);
    pack_row(b, &k->left_weights, k->block, frame_at(k, f, k->pairs_t, slots.index, 0),
             left_row(k, f, &k->left_weights, slots.index));
    ir_loop_end(b, &slots, NULL);
    phase_end(k);
}
