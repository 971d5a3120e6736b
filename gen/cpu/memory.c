/* memory.c: the memory of one kv head: hk transposed [K,mp] so that lanes are slots, hv [M,vp]. */
#include "gen/cpu/memory.h"

#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

val memory_in_row(kernel *k, val f) {
    ir *b = &k->b;
    val at = frame_arg(k, f, offsetof(nha_cpu_args, cache) + offsetof(nha_cpu_cache, memory_offset));
    at = ir_add(b, at, ir_mulc(b, frame_i64(k, f, FRAME_HEAD), k->memory_floats * 4));
    return ir_at(b, frame_ptr(k, f, FRAME_ROW), at);
}

val memory_sequence_head(kernel *k, val f) {
    ir *b = &k->b;
    return ir_add(b, ir_mulc(b, frame_i64(k, f, FRAME_SEQUENCE), k->p->heads_kv), frame_i64(k, f, FRAME_HEAD));
}

val memory_state(kernel *k, val states, val index) {
    int64_t floats = NHA_CPU_PADDED(NHA_CPU_STATE_FLOATS(k->K, k->V, k->M));
    return ir_at(&k->b, states, ir_mulc(&k->b, index, floats * 4));
}

val memory_of_state(kernel *k, val state) {
    return ir_atc(&k->b, state, (int64_t)k->mp * 4);
}

/* Copies hk [M,K] <-> [K,mp] and hv [M,V] <-> [M,vp], element by element: once a task, 2 of 753 thousand operations a token. */
static void convert(kernel *k, val keys, val values, val user_keys, val user_values, bool in) {
    ir *b = &k->b;
    ir_loop slots, columns;
    ir_loop_begin(b, &slots, ir_int(b, 0), ir_int(b, k->M), ir_int(b, 1), NULL, 0);
    for (int which = 0; which < 2; which++) {
        int dim = which ? k->V : k->K;
        ir_loop_begin(b, &columns, ir_int(b, 0), ir_int(b, dim), ir_int(b, 1), NULL, 0);
        val user = ir_add(b, ir_mulc(b, slots.index, dim), columns.index);
        user = ir_at(b, which ? user_values : user_keys, ir_mulc(b, user, 4));
        val own = which ? ir_add(b, ir_mulc(b, slots.index, k->vp), columns.index)
                        : ir_add(b, ir_mulc(b, columns.index, k->mp), slots.index);
        own = ir_at(b, which ? values : keys, ir_mulc(b, own, 4));
        ir_store(b, ir_load_f32(b, in ? user : own), in ? own : user, 4);
        ir_loop_end(b, &columns, NULL);
    }
    ir_loop_end(b, &slots, NULL);
}

static val user_memory(kernel *k, val f, val base, int dim) {
    return ir_at(&k->b, base, ir_mulc(&k->b, memory_sequence_head(k, f), (int64_t)k->M * dim * 4));
}

static val not_null(ir *b, val p) {
    return LLVMBuildNot(b->builder, ir_is_null(b, p), "");
}

void memory_initial(kernel *k, val f, val to) {
    ir *b = &k->b;
    ir_if cached, given;
    ir_if_begin(b, &cached, not_null(b, frame_ptr(k, f, FRAME_ROW)));
    tile_copy(b, to, memory_in_row(k, f), k->memory_floats);
    pending_fold(k, f, to);
    ir_if_else(b, &cached);
    tile_zero(b, to, k->memory_floats);
    val hk0 = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hk0)), hv0 = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hv0));
    ir_if_begin(b, &given, not_null(b, hk0));
    convert(k, to, ir_atc(b, to, (int64_t)k->K * k->mp * 4), user_memory(k, f, hk0, k->K), user_memory(k, f, hv0, k->V), true);
    ir_if_end(b, &given);
    ir_if_end(b, &cached);
}

void memory_final(kernel *k, val f, val from) {
    ir *b = &k->b;
    ir_if cached, wanted;
    ir_if_begin(b, &cached, not_null(b, frame_ptr(k, f, FRAME_ROW)));
    tile_copy(b, memory_in_row(k, f), from, k->memory_floats);
    pending_store_count(k, f, ir_int(b, 0));
    ir_if_end(b, &cached);
    val hk = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hk)), hv = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hv));
    ir_if_begin(b, &wanted, not_null(b, hk));
    convert(k, from, ir_atc(b, from, (int64_t)k->K * k->mp * 4), user_memory(k, f, hk, k->K), user_memory(k, f, hv, k->V), false);
    ir_if_end(b, &wanted);
}
