/* prefill.c: the three entry points of a prefill kernel. The whole algorithm reads in run_block: everything else is a phase. */
#include "gen/cpu/prefill.h"

#include "gen/cpu/memory.h"
#include "gen/cpu/pending.h"
#include "gen/cpu/tile.h"

static void call(prefill *x, val fn, val f) {
    ir_call(&x->k->b, fn, &f, 1);
}

static void call_i(prefill *x, val fn, val f, val i) {
    ir_call(&x->k->b, fn, (val[]){f, i}, 2);
}

/* hk and hv from the block's last weights. */
static void update_memory(prefill *x, val f) {
    if (x->k->amx)
        call(x, x->pack_weights, f);
    call(x, x->update_keys, f);
    call(x, x->update_values, f);
}

/* Further softmax steps over panels that did not fit into the first, newest to oldest. */
static void online_steps(prefill *x, val f, val first, val newest, val total, val from) {
    kernel *k = x->k;
    ir *b = &k->b;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, k->key_panels), total, ir_int(b, k->key_panels), NULL, 0);
    val top = ir_sub(b, newest, loop.index), count = ir_min(b, ir_sub(b, total, loop.index), ir_int(b, k->key_panels));
    ir_call(b, x->list_panels, (val[]){f, top, count}, 3);
    if (k->tiles_listed)
        ir_call(b, x->list_tiles, (val[]){f, top, count, ir_add(b, first, from)}, 4);
    ir_call(b, x->score_window, (val[]){f, count, from}, 3);
    ir_call(b, x->softmax_next, (val[]){f, first, top, count, from}, 5);
    ir_call(b, x->read_next, (val[]){f, count, from}, 3);
    ir_loop_end(b, &loop, NULL);
}

/* What a read wants of tokens `group` (in the chunk) and on, whose probabilities are known. */
static void prepare_read(prefill *x, val f, val first, val from, val group) {
    kernel *k = x->k;
    ir *b = &k->b;
    if (k->M)
        ir_call(b, x->decay_reads, (val[]){f, from, group}, 3);
    if (k->direct_out)
        ir_call(b, x->list_outputs, (val[]){f, ir_add(b, first, from), group}, 3);
}

/* The slots' scores of tokens `group` (in the chunk) and on. */
static void score_tokens(prefill *x, val f, val from, val group) {
    ir *b = &x->k->b;
    if (!x->k->M)
        return;
    ir_call(b, x->score_slots, (val[]){f, from, group}, 3);
    ir_call(b, x->decay_scores, (val[]){f, from, group}, 3);
}

/* A chunk in two groups of 16 tokens: beside the softmax of one, tiles work for the other. Each one's queries are packed, into the same
 * place, when they are wanted: fewer of them have left the first-level cache by then. */
static void run_groups(prefill *x, val f, val first, val from) {
    ir *b = &x->k->b;
    val start = ir_add(b, first, from);
    call_i(x, x->load_queries, f, start);
    score_tokens(x, f, from, ir_int(b, 0));
    call_i(x, x->score_group, f, from);
    call_i(x, x->load_queries, f, ir_addc(b, start, AMX_TILE));
    score_tokens(x, f, from, ir_int(b, AMX_TILE));
    ir_call(b, x->softmax_score, (val[]){f, first, from}, 3);
    prepare_read(x, f, first, from, ir_int(b, 0));
    ir_call(b, x->softmax_read, (val[]){f, first, from}, 3);
    prepare_read(x, f, first, from, ir_int(b, AMX_TILE));
    call(x, x->read_group, f);
}

/* The panels of the chunk's first softmax step, and which of their tiles are seen. */
static void list_window(prefill *x, val f, val first, val newest, val count, val from) {
    kernel *k = x->k;
    ir *b = &k->b;
    ir_call(b, x->list_panels, (val[]){f, newest, count}, 3);
    if (k->tiles_listed)
        ir_call(b, x->list_tiles, (val[]){f, newest, count, ir_add(b, first, from)}, 4);
    if (k->beside)
        frame_set(k, f, FRAME_LISTED, count);
}

/* Tokens from .. from + chunk - 1 of the block: their scores, one softmax, and what it reads. */
static void run_chunk(prefill *x, val f, val first, val newest, val total, val from) {
    kernel *k = x->k;
    ir *b = &k->b;
    val count = ir_min(b, total, ir_int(b, k->key_panels));
    if (!k->beside)
        score_tokens(x, f, from, ir_int(b, 0));
    if (k->W)
        list_window(x, f, first, newest, count, from);
    if (k->beside) {
        run_groups(x, f, first, from);
        return;
    }
    if (k->W)
        ir_call(b, x->score_window, (val[]){f, count, from}, 3);
    ir_call(b, x->softmax_first, (val[]){f, first, newest, count, from}, 5);
    prepare_read(x, f, first, from, ir_int(b, 0));
    ir_call(b, x->read_first, (val[]){f, count, from}, 3);
    if (k->online)
        online_steps(x, f, first, newest, total, from);
    if (!k->direct_out)
        call_i(x, x->store_out, f, ir_add(b, first, from));
}

/* Keys and values of the tokens that the block absorbs: where L is whole blocks and the ring reaches back to them, in the panel that
 * made them operands of the window; else, and at the ends of a sequence, they are loaded. In a last block that is not whole the panel holds
 * tokens that no step absorbs: their weights are zero, but zero times infinity is not. */
static void find_absorbed(prefill *x, val f, val first, val newest, val total) {
    kernel *k = x->k;
    ir *b = &k->b;
    ir_if ring;
    if (!k->share_values) {
        call_i(x, x->load_absorbed, f, first);
        return;
    }
    val whole = ir_cmp(b, "<=", ir_addc(b, first, k->block), frame_i64(k, f, FRAME_LENGTH));
    ir_if_begin(b, &ring, ir_and(b, whole, ir_cmp(b, ">", total, ir_int(b, k->panel_lag))));
    val panel = panel_at(k, f, ir_addc(b, newest, -k->panel_lag));
    if (k->share_keys)
        frame_set(k, f, FRAME_ABSORBED_K, ir_atc(b, panel, k->panel_absorbed_keys));
    else
        call_i(x, x->load_absorbed_keys, f, first);
    frame_set(k, f, FRAME_ABSORBED_V, ir_atc(b, panel, k->panel_values_at));
    ir_if_else(b, &ring);
    call_i(x, x->load_absorbed, f, first);
    ir_if_end(b, &ring);
}

/* One block: local tokens first .. first + block - 1. The memory is scored and read as it was before them, then updated. */
static void run_block(prefill *x, val f, val first) {
    kernel *k = x->k;
    ir *b = &k->b;
    val newest = ir_floor_div(b, first, k->block), total = ir_int(b, 0);
    frame_set(k, f, FRAME_BLOCK, first);
    if (k->W) {
        val held = ir_addc(b, ir_sub(b, newest, frame_i64(k, f, FRAME_FIRST_PANEL)), 1);
        total = ir_min(b, frame_i64(k, f, FRAME_PANELS), held);
        call_i(x, x->load_panel, f, newest);
    }
    if (!k->beside)
        call_i(x, x->load_queries, f, first);
    if (k->M) {
        find_absorbed(x, f, first, newest, total);
        call_i(x, x->load_gates, f, first);
    }
    if (k->chunk == k->block) {
        run_chunk(x, f, first, newest, total, ir_int(b, 0));
    } else {
        ir_loop chunks;
        ir_loop_begin(b, &chunks, ir_int(b, 0), ir_int(b, k->block), ir_int(b, k->chunk), NULL, 0);
        run_chunk(x, f, first, newest, total, chunks.index);
        ir_loop_end(b, &chunks, NULL);
    }
    if (k->M)
        update_memory(x, f);
}

static val entry(kernel *k, const char *name) {
    return ir_function(&k->b, name, "piip", (const char *const[]){"args", "task_begin", "task_end", "scratch"}, true);
}

/* Opens the loop over tasks; a task is (n * H + h) * parts + part. */
static val begin_tasks(kernel *k, ir_loop *loop, val parts) {
    ir *b = &k->b;
    val args = ir_param(b, 0), f = ir_param(b, 3);
    if (k->amx)
        amx_configure(b);
    ir_loop_begin(b, loop, ir_param(b, 1), ir_param(b, 2), ir_int(b, 1), NULL, 0);
    val sequence_head = parts ? ir_udiv(b, loop->index, parts) : loop->index, H = ir_int(b, k->p->heads_kv);
    frame_task(k, f, args, ir_udiv(b, sequence_head, H), ir_urem(b, sequence_head, H));
    return parts ? ir_urem(b, loop->index, parts) : ir_int(b, 0);
}

static void end_tasks(kernel *k, ir_loop *loop) {
    ir_loop_end(&k->b, loop, NULL);
    if (k->amx)
        amx_release(&k->b);
    ir_return(&k->b);
}

/* ---- main: task (n, h, run) ---- */

static void begin_memory(prefill *x, val f, val run, val runs) {
    kernel *k = x->k;
    ir *b = &k->b;
    val memory = frame_at(k, f, k->memory_k, NULL, 0);
    ir_if split;
    ir_if_begin(b, &split, ir_cmp(b, ">", runs, ir_int(b, 1)));
    val index = ir_add(b, ir_mul(b, memory_sequence_head(k, f), runs), run);
    val state = memory_state(k, frame_arg_ptr(k, f, offsetof(nha_cpu_args, states_run)), index);
    tile_copy(b, memory, memory_of_state(k, state), k->memory_floats);
    ir_if_else(b, &split);
    memory_initial(k, f, memory);
    ir_if_end(b, &split);
    if (k->amx)
        call(x, x->memory_operands, f);
}

/* Fills the ring with the panels that the first block's window reaches back to. */
static void begin_window(prefill *x, val f, val from) {
    kernel *k = x->k;
    ir *b = &k->b;
    val panels = frame_arg(k, f, offsetof(nha_cpu_args, window_panels));
    val oldest = ir_floor_div(b, ir_sub(b, ir_int(b, 0), frame_i64(k, f, FRAME_AVAILABLE)), k->block);
    val now = ir_floor_div(b, from, k->block);
    frame_set(k, f, FRAME_PANELS, panels);
    frame_set(k, f, FRAME_FIRST_PANEL, oldest);
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_max(b, ir_addc(b, ir_sub(b, now, panels), 1), oldest), now, ir_int(b, 1), NULL, 0);
    call_i(x, x->load_panel, f, loop.index);
    ir_loop_end(b, &loop, NULL);
}

static void emit_main(prefill *x, const char *name) {
    kernel *k = x->k;
    ir *b = &k->b;
    entry(k, name);
    val f = ir_param(b, 3), runs = ir_load_i64(b, ir_param(b, 0), offsetof(nha_cpu_args, runs));
    ir_loop tasks, blocks;
    ir_if here, last;
    val run = begin_tasks(k, &tasks, runs), length = frame_i64(k, f, FRAME_LENGTH);
    val run_tokens = frame_arg(k, f, offsetof(nha_cpu_args, run_tokens)), from = ir_mul(b, run, run_tokens);
    /* run 0 exists also for an empty sequence, but not for a skipped one (length -1) */
    val reached = LLVMBuildOr(b->builder, ir_cmp(b, "<", from, length),
                              ir_cmp(b, "==", LLVMBuildOr(b->builder, from, length, ""), ir_int(b, 0)), "");
    ir_if_begin(b, &here, reached);
    val to = ir_min(b, length, ir_add(b, from, run_tokens));
    if (k->M)
        begin_memory(x, f, run, runs);
    if (k->W)
        begin_window(x, f, from);
    ir_loop_begin(b, &blocks, from, to, ir_int(b, k->block), NULL, 0);
    run_block(x, f, blocks.index);
    ir_loop_end(b, &blocks, NULL);
    if (k->M) {
        ir_if_begin(b, &last, ir_cmp(b, "==", to, length));
        memory_final(k, f, frame_at(k, f, k->memory_k, NULL, 0));
        ir_if_end(b, &last);
    }
    ir_if_end(b, &here);
    end_tasks(k, &tasks);
}

/* ---- segment_delta: task (n, h, piece) ---- */

static void add_gamma(kernel *k, val f, val state) {
    ir *b = &k->b;
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->mp * 4), ir_int(b, b->vl * 4), NULL, 0);
    val at = ir_at(b, state, loop.index), gamma = ir_at(b, frame_at(k, f, k->gamma, NULL, 0), loop.index);
    ir_store_v(b, ir_fadd(b, ir_load_v(b, at), ir_load_v(b, gamma)), at);
    ir_loop_end(b, &loop, NULL);
}

static void emit_delta(prefill *x, const char *name) {
    kernel *k = x->k;
    ir *b = &k->b;
    entry(k, name);
    val f = ir_param(b, 3), args = ir_param(b, 0);
    ir_loop tasks, blocks;
    ir_if here;
    val piece = begin_tasks(k, &tasks, ir_load_i64(b, args, offsetof(nha_cpu_args, pieces)));
    val tokens = ir_load_i64(b, args, offsetof(nha_cpu_args, piece_tokens)), length = frame_i64(k, f, FRAME_LENGTH);
    val from = ir_mul(b, piece, tokens), to = ir_min(b, length, ir_add(b, from, tokens));
    ir_if_begin(b, &here, ir_cmp(b, "<", from, length));
    val state = memory_state(k, ir_load_ptr(b, args, offsetof(nha_cpu_args, states)), tasks.index);
    val memory = frame_at(k, f, k->memory_k, NULL, 0);
    tile_zero(b, memory, k->memory_floats);
    if (k->amx)
        call(x, x->memory_operands, f);
    tile_zero(b, state, k->mp);
    ir_loop_begin(b, &blocks, from, to, ir_int(b, k->block), NULL, 0);
    call_i(x, x->load_absorbed, f, blocks.index);
    call_i(x, x->load_gates, f, blocks.index);
    call(x, x->weights_last, f);
    update_memory(x, f);
    add_gamma(k, f, state);
    ir_loop_end(b, &blocks, NULL);
    tile_copy(b, memory_of_state(k, state), memory, k->memory_floats);
    ir_if_end(b, &here);
    end_tasks(k, &tasks);
}

/* ---- segment_scan: task (n, h) ---- */

/* memory = keep*memory + (scaled*memory + delta), decays from the piece's gamma */
static void add_piece(prefill *x, val f, val state) {
    kernel *k = x->k;
    ir *b = &k->b;
    tile_copy(b, frame_at(k, f, k->gamma, NULL, 0), state, k->mp);
    call(x, x->block_decay, f);
    val delta = memory_of_state(k, state);
    for (int which = 0; which < 2; which++) { /* hk: lanes are slots; hv: rows are */
        buffer memory = which ? k->memory_v : k->memory_k;
        ir_loop rows, columns;
        ir_loop_begin(b, &rows, ir_int(b, 0), ir_int(b, which ? k->M : k->K), ir_int(b, 1), NULL, 0);
        ir_loop_begin(b, &columns, ir_int(b, 0), ir_int(b, memory.ld * 4), ir_int(b, b->vl * 4), NULL, 0);
        val slot = which ? ir_mulc(b, rows.index, 4) : columns.index;
        val keep = ir_at(b, frame_at(k, f, k->keep, NULL, 0), slot), scaled = ir_at(b, frame_at(k, f, k->scaled, NULL, 0), slot);
        keep = which ? ir_splat(b, ir_load_f32(b, keep)) : ir_load_v(b, keep);
        scaled = which ? ir_splat(b, ir_load_f32(b, scaled)) : ir_load_v(b, scaled);
        val at = ir_at(b, frame_at(k, f, memory, rows.index, 0), columns.index);
        val from = ir_at(b, delta, ir_add(b, ir_mulc(b, rows.index, memory.ld * 4), columns.index));
        if (which)
            from = ir_atc(b, from, (int64_t)k->K * k->mp * 4);
        val h = ir_load_v(b, at);
        ir_store_v(b, ir_fma(b, keep, h, ir_fma(b, scaled, h, ir_load_v(b, from))), at);
        ir_loop_end(b, &columns, NULL);
        ir_loop_end(b, &rows, NULL);
    }
}

static void emit_scan(prefill *x, const char *name) {
    kernel *k = x->k;
    ir *b = &k->b;
    entry(k, name);
    val f = ir_param(b, 3), args = ir_param(b, 0);
    ir_loop tasks, runs, pieces;
    ir_if here;
    begin_tasks(k, &tasks, NULL);
    val length = frame_i64(k, f, FRAME_LENGTH), run_tokens = ir_load_i64(b, args, offsetof(nha_cpu_args, run_tokens));
    val run_count = ir_load_i64(b, args, offsetof(nha_cpu_args, runs));
    val piece_tokens = ir_load_i64(b, args, offsetof(nha_cpu_args, piece_tokens));
    val per_run = ir_udiv(b, run_tokens, piece_tokens), memory = frame_at(k, f, k->memory_k, NULL, 0);
    ir_if_begin(b, &here, ir_cmp(b, ">=", length, ir_int(b, 0)));
    memory_initial(k, f, memory);
    ir_loop_begin(b, &runs, ir_int(b, 0), run_count, ir_int(b, 1), NULL, 0);
    val index = ir_add(b, ir_mul(b, tasks.index, run_count), runs.index);
    val state = memory_state(k, ir_load_ptr(b, args, offsetof(nha_cpu_args, states_run)), index);
    tile_copy(b, memory_of_state(k, state), memory, k->memory_floats);
    /* pieces of this run that hold tokens; the last run has none */
    val first = ir_mul(b, runs.index, per_run), held = ir_udiv(b, ir_sub(b, ir_add(b, length, piece_tokens), ir_int(b, 1)), piece_tokens);
    val all = ir_load_i64(b, args, offsetof(nha_cpu_args, pieces));
    val end = ir_min(b, ir_min(b, ir_add(b, first, per_run), held), all);
    ir_loop_begin(b, &pieces, first, end, ir_int(b, 1), NULL, 0);
    index = ir_add(b, ir_mul(b, tasks.index, all), pieces.index);
    add_piece(x, f, memory_state(k, ir_load_ptr(b, args, offsetof(nha_cpu_args, states)), index));
    ir_loop_end(b, &pieces, NULL);
    ir_loop_end(b, &runs, NULL);
    ir_if_end(b, &here);
    end_tasks(k, &tasks);
}

void emit_prefill(kernel *k, const gen_cpu_unit *unit) {
    prefill x = {.k = k};
    emit_rotation(&x);
    if (k->M && k->amx) {
        emit_pack_memory(&x);
        emit_pack_weights(&x);
    }
    if (k->M) {
        pending_emit(k);
        emit_load_gates(&x);
        emit_load_absorbed(&x);
        emit_score_slots(&x);
        emit_decay_scores(&x);
        emit_decay_reads(&x);
        emit_weights_last(&x);
        emit_update(&x);
    }
    if (k->W) {
        emit_load_panel(&x);
        emit_score_window(&x);
    }
    emit_load_queries(&x);
    emit_softmax(&x);
    emit_store_out(&x);
    emit_read(&x);
    emit_main(&x, unit->symbol_main);
    if (k->M) {
        emit_delta(&x, unit->symbol_delta);
        emit_scan(&x, unit->symbol_scan);
    }
}
