/* memory.c: the memory of one kv head: hk transposed [K,mp] so that lanes are slots, hv [M,vp]. */
#include "gen/cpu/memory.h"

#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

val memory_in_row(kernel *k, val f) {
    ir *b = &k->b;
    val at = frame_arg(k, f, offsetof(nha_cpu_args, cache) + offsetof(nha_cpu_cache, memory_offset));
    at = ir_add(b, at, ir_mulc(b, frame_i64(k, f, FRAME_HEAD), k->memory_floats * k->state_bytes));
    return ir_at(b, frame_ptr(k, f, FRAME_ROW), at);
}

/* ---- elements: fp32, or bf16 rounded by a hash (memory.h) ---- */

/* Odd constants with bits all over (xxHash's primes), and a multiplier that mixes well in one step (Ettinger's search). */
enum { POSITION = (int32_t)0x9e3779b1, HEAD = (int32_t)0x85ebca77, PLACE = (int32_t)0xc2b2ae3d, LANE = (int32_t)0x27d4eb2f, MIX = 0x2c1b3c6d };

memory_store memory_of_row(kernel *k, val f, val tokens) {
    ir *b = &k->b;
    memory_store m = {k, memory_in_row(k, f), NULL};
    if (k->state_bytes == 4)
        return m;
    val position = frame_i64(k, f, FRAME_POSITION);
    if (tokens)
        position = ir_add(b, position, tokens);
    val seed = ir_add(b, ir_mulc(b, position, POSITION), ir_mulc(b, frame_i64(k, f, FRAME_HEAD), HEAD));
    seed = ir_splat(b, LLVMBuildTrunc(b->builder, seed, b->i32, ""));
    m.seed = ir_add(b, seed, ir_mul(b, b->lanes, ir_vint(b, LANE)));
    return m;
}

memory_store memory_in_scratch(kernel *k, val base) {
    return (memory_store){k, base, NULL};
}

int memory_bytes(const memory_store *m) {
    return m->seed ? 2 : 4;
}

val memory_ask(kernel *k, val at) {
    int ahead = k->tile.knob[GEN_PREFETCH];
    return ahead ? ir_atc(&k->b, at, ahead) : NULL;
}

val memory_load(const memory_store *m, int width, val at) {
    return ir_load_dtype(&m->k->b, m->seed ? NHA_BF16 : NHA_F32, width, at);
}

/* 16 bits for each of `width` elements at `at`. */
static val noise_at(const memory_store *m, int width, val at) {
    ir *b = &m->k->b;
    val place = ir_sub(b, LLVMBuildPtrToInt(b->builder, at, b->i64, ""), LLVMBuildPtrToInt(b->builder, m->base, b->i64, ""));
    place = LLVMBuildTrunc(b->builder, ir_mulc(b, place, PLACE), b->i32, "");
    val x = ir_add(b, m->seed, ir_splat(b, place));
    x = LLVMBuildXor(b->builder, x, LLVMBuildLShr(b->builder, x, ir_vint(b, 15), ""), "");
    x = ir_mul(b, x, ir_vint(b, MIX));
    x = LLVMBuildLShr(b->builder, x, ir_vint(b, 16), "");
    int lanes[IR_VECTOR_MAX];
    for (int i = 0; i < width; i++)
        lanes[i] = i;
    return width < b->vl ? ir_shuffle(b, x, NULL, lanes, width) : x;
}

void memory_put(const memory_store *m, val x, val at) {
    ir *b = &m->k->b;
    if (!m->seed) {
        ir_store(b, x, at, 4);
        return;
    }
    int width = ir_width(x);
    val bits = ir_add(b, ir_bitcast(b, x, ir_vec(b, b->i32, width)), noise_at(m, width, at));
    bits = LLVMBuildLShr(b->builder, bits, ir_like_int(b, bits, 16), "");
    ir_store(b, LLVMBuildTrunc(b->builder, bits, ir_vec(b, b->i16, width), ""), at, 2);
}

/* to = from, memory_floats elements. */
static void copy(const memory_store *to, const memory_store *from) {
    kernel *k = to->k;
    ir *b = &k->b;
    if (!to->seed && !from->seed) {
        tile_copy(b, to->base, from->base, k->memory_floats);
        return;
    }
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->memory_floats), ir_int(b, b->vl), NULL, 0);
    val x = memory_load(from, b->vl, ir_at(b, from->base, ir_mulc(b, loop.index, memory_bytes(from))));
    memory_put(to, x, ir_at(b, to->base, ir_mulc(b, loop.index, memory_bytes(to))));
    ir_loop_end(b, &loop, NULL);
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
    memory_store row = memory_of_row(k, f, NULL), scratch = memory_in_scratch(k, to);
    copy(&scratch, &row);
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
    memory_store row = memory_of_row(k, f, frame_i64(k, f, FRAME_LENGTH)), scratch = memory_in_scratch(k, from);
    copy(&row, &scratch);
    pending_store_count(k, f, ir_int(b, 0));
    ir_if_end(b, &cached);
    val hk = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hk)), hv = frame_arg_ptr(k, f, offsetof(nha_cpu_args, hv));
    ir_if_begin(b, &wanted, not_null(b, hk));
    convert(k, from, ir_atc(b, from, (int64_t)k->K * k->mp * 4), user_memory(k, f, hk, k->K), user_memory(k, f, hv, k->V), false);
    ir_if_end(b, &wanted);
}
