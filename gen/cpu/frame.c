/* frame.c: the layout of a kernel's scratch memory, and the frame of a task. */
#include "gen/cpu/frame.h"

#include <string.h>

#include "gen/cpu/prefill.h"
#include "gen/cpu/split.h"
#include "gen/cpu/tile.h"

static int round_up(int n, int to) {
    return (n + to - 1) / to * to;
}

/* ---- layout ---- */

/* Takes the next rows*ld floats of scratch, 64-byte aligned. */
static buffer take(int64_t *at, int64_t rows, int ld) {
    buffer buf = {*at, ld};
    *at += (rows * ld * 4 + 63) / 64 * 64;
    return buf;
}

/* [rows][columns] bf16 in so many parts, side by side; rows are spread over the sets of the first-level cache. */
static amx_left take_left(int64_t *at, int rows, int columns, int parts, bool nearest) {
    amx_left left = {.parts = parts, .part = columns * 2, .nearest = nearest};
    left.lda = round_up(parts * left.part, 64) + 64;
    left.at = take(at, rows, left.lda / 4).at;
    return left;
}

static amx_right take_right(int64_t *at, int rows, int columns, int parts, bool nearest) {
    amx_right right = {*at, rows / AMX_INNER, columns / AMX_TILE, parts, nearest};
    *at += amx_right_bytes(&right);
    return right;
}

static void amx_layout(kernel *k, int64_t *at) {
    int C = k->block, Kt = round_up(k->K, AMX_INNER), Mt = round_up(k->M, AMX_INNER);
    gen_cpu_parts parts = gen_cpu_parts_of(k->p);
    bool n = k->p->dtype == NHA_F32;
    /* where the window reads the first part of shared values alone, it must be the nearest */
    bool nearest = n || (k->share_values && parts.values < parts.absorbed);
    int mapped = parts.mapped, rotated = parts.rotated;
    k->left_slots = take_left(at, k->query_rows, Kt, k->M ? mapped : rotated, n);
    k->left_window = k->own_window_q ? take_left(at, k->query_rows, Kt, rotated, n) : k->left_slots;
    k->read_within = Mt * 2;
    k->read_window = k->read_within + (k->M ? C * 2 : 0);
    k->left_read = take_left(at, k->chunk_rows, Mt + (k->M ? C : 0) + k->key_panels * C, parts.read, n);
    if (k->M) {
        int64_t keys = 0, values = 0;
        k->right_keys = take_right(&keys, Kt, C, mapped, n);
        k->left_keys = take_left(&keys, Kt, C, mapped, n);
        k->right_values = take_right(&values, C, k->vp, parts.absorbed, nearest);
        k->own_keys = take(at, 1, (int)(keys / 4)).at;
        k->own_values = take(at, 1, (int)(values / 4)).at;
        k->left_weights = take_left(at, Mt, C, parts.weight, n);
        k->right_hk = take_right(at, Kt, k->mp, parts.score, n);
        k->right_hv = take_right(at, Mt, k->vp, parts.read, n);
        k->right_weights = take_right(at, C, k->mp, parts.score, n);
        k->decay_chunk = k->chunk < C ? take(at, C, k->mp) : k->decay;
        k->earlier = take(at, k->group_rows, k->mp);
        k->left_within = take_left(at, k->group_rows, C, parts.score, n);
        k->left_earlier = k->chunk < C ? take_left(at, k->chunk_rows, Mt, parts.read, n) : k->left_read;
        k->right_pairs_t = take_right(at, Mt, C, parts.weight, n);
    }
    k->tile_out = take(at, AMX_BLOCK, AMX_BLOCK);
    int64_t panel = 0;
    k->panel_values = take_right(&panel, C, k->vp, k->share_values ? parts.absorbed : parts.values, nearest);
    k->panel_values.parts = parts.values;
    k->panel_values_at = k->panel_values.at;
    k->panel_keys = take_right(&panel, Kt, C, rotated, n);
    k->panel_absorbed_keys = k->panel_keys.at;
    if (k->share_keys) { /* right_keys, unless panel_keys are the same, and left_keys */
        if (k->own_window_q)
            k->panel_absorbed_keys = take_right(&panel, Kt, C, mapped, n).at;
        take_left(&panel, Kt, C, mapped, n);
    }
    k->panel_floats = k->W ? panel / 4 : 0;
}

static void vector_layout(kernel *k, int64_t *at) {
    int C = k->block;
    k->qs = take(at, k->rows, k->K);
    k->qw = k->own_window_q ? take(at, k->rows, k->K) : k->qs;
    if (k->M) {
        k->own_keys = take(at, k->K, C).at;
        k->own_values = take(at, C, k->vp).at;
        k->slots_p = take(at, k->chunk_rows, k->mp);
    }
    k->panel_values_at = (int64_t)k->K * C * 4;
    k->panel_floats = k->W ? (int64_t)k->K * C + (int64_t)C * k->vp : 0;
    if (k->share_keys && k->own_window_q) {
        k->panel_absorbed_keys = k->panel_floats * 4;
        k->panel_floats += (int64_t)k->K * C;
    }
}

/* What a fold of pending tokens needs beside keep and scaled. */
static void pending_layout(kernel *k, int64_t *at) {
    k->pending_floats = NHA_CPU_PENDING_FLOATS(k->K, k->V, k->M, k->p->gate_s_given);
    k->pending_k = (k->p->gate_s_given ? 3 : 2) * k->mp;
    k->pending_v = k->pending_k + NHA_CPU_PADDED(k->K);
    k->pending_c = take(at, NHA_CPU_PENDING, k->mp);
    k->pending_e = take(at, 1, k->mp);
}

static void prefill_layout(kernel *k, int64_t *at) {
    int C = k->block, rows = k->chunk_rows;
    k->stage = take(at, C + 1, k->stage_ld);
    k->rotated = take(at, C + 1, k->stage_ld);
    if (k->M) {
        k->e = take(at, C, k->mp);
        k->s = take(at, C, k->mp);
        k->decay = take(at, C + k->amx, k->mp);
        k->decay.at += k->amx * k->mp * 4;
        k->gamma = take(at, 1, k->mp);
        k->keep = take(at, 1, k->mp);
        k->scaled = take(at, 1, k->mp);
        k->pairs = take(at, C, k->mp);
        k->pairs_t = take(at, k->M + k->b.vl, C);
        k->within = take(at, k->amx ? k->group_rows : rows, C);
        pending_layout(k, at);
    }
    k->scores = take(at, rows, k->mp + k->key_panels * C);
    if (k->direct_out)
        k->out_rows = take(at, 1, 2 * rows);
    else
        k->out = take(at, rows, k->vp);
    k->row_max = take(at, 1, round_up(rows, 16));
    k->row_sum = take(at, 1, round_up(rows, 16));
    k->row_fix = take(at, 1, round_up(rows, 16));
    if (k->rotate) {
        k->cosine = take(at, C, k->hp);
        k->sine = take(at, C, k->hp);
    }
    k->panel_list = take(at, 1, 2 * k->key_panels);
    if (k->tiles_listed)
        k->tile_list = take(at, k->chunk / AMX_TILE, (int)window_list_floats(k->key_panels * C / AMX_TILE));
    if (k->amx)
        amx_layout(k, at);
    else
        vector_layout(k, at);
}

static void decode_layout(kernel *k, int64_t *at) {
    int kl = round_up(k->K, 16) + 16;
    k->qs = take(at, k->G, kl);
    k->qw = take(at, k->G, kl);
    k->rotated = take(at, k->G, kl);
    k->stage = take(at, 2, k->stage_ld);
    k->d_k = take(at, 1, kl);
    k->d_v = take(at, 1, k->vp);
    if (k->M) {
        k->e = take(at, 1, k->mp);
        k->s = take(at, 1, k->mp);
        k->keep = take(at, 1, k->mp);
        k->scaled = take(at, 1, k->mp);
        k->slots_p = take(at, k->G, k->mp);
        pending_layout(k, at);
        k->pending_p = take(at, k->G, NHA_CPU_PENDING);
    }
    k->out = take(at, k->G, k->vp);
    k->row_max = take(at, 1, round_up(k->G, 16));
    k->row_sum = take(at, 1, round_up(k->G, 16));
    if (k->rotate) {
        k->cosine = take(at, 1, k->hp);
        k->sine = take(at, 1, k->hp);
    }
}

void kernel_layout(kernel *k, const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile) {
    memset(k, 0, sizeof *k);
    const nha_problem *p = &problem->nha;
    k->problem = problem;
    k->p = p;
    k->tile = *tile;
    k->op = op;
    k->b.isa = isa;
    k->b.vl = isa->vector;
    k->K = p->head_dim_qk;
    k->V = p->head_dim_v;
    k->M = p->slots;
    k->G = problem->group;
    k->W = p->window;
    k->L = p->slot_lag;
    k->block = op == NHA_PREFILL ? tile->knob[GEN_BLOCK_TOKENS] : 1;
    k->amx = op == NHA_PREFILL && gen_cpu_on_amx(problem, isa);
    k->rows = k->block * k->G;
    k->chunk = !k->amx ? k->block : AMX_INNER * k->G <= AMX_CHUNK_ROWS ? AMX_INNER : AMX_TILE;
    k->chunk_rows = k->chunk * k->G;
    k->bv = k->block / isa->vector;
    k->mp = (int)NHA_CPU_PADDED(k->M);
    k->vp = (int)NHA_CPU_PADDED(k->V);
    k->mv = (k->M + isa->vector - 1) / isa->vector;
    k->vv = (k->V + isa->vector - 1) / isa->vector;
    k->hp = round_up(k->K / 2, isa->vector);
    k->stage_ld = round_up(k->K > k->V ? k->K : k->V, 16) + 32;
    k->rotate = k->W > 0 && (p->rope == NHA_ROPE_NEOX || p->rope == NHA_ROPE_GPTJ);
    k->own_window_q = k->M > 0 && k->W > 0 && (p->rope != NHA_ROPE_NONE || p->slot_map != NHA_MAP_IDENTITY);
    k->state_bytes = p->state_dtype == NHA_BF16 ? 2 : 4;
    k->memory_floats = NHA_CPU_MEMORY_FLOATS(k->K, k->V, k->M);
    k->q_scale = p->scale * 1.4426950408889634074;
    int64_t panels = k->W ? (k->W - 1 + k->block - 1) / k->block + 1 : 0;
    k->key_panels = tile->knob[GEN_KEY_PANELS] < panels ? tile->knob[GEN_KEY_PANELS] : (int)panels;
    k->online = k->key_panels < panels;
    k->direct_out = k->amx && !k->online;
    k->panel_lag = (int)(k->L / k->block < panels ? k->L / k->block : 0);
    k->share_values = op == NHA_PREFILL && k->M && k->W && k->L % k->block == 0 && k->panel_lag > 0;
    k->share_keys = k->share_values && p->rope != NHA_ROPE_GIVEN; /* whose window has keys of its own */
    k->tiles_listed = k->amx && k->W > 0 && k->G % 4 == 0;
    k->beside = k->tiles_listed && k->direct_out && k->chunk == 2 * AMX_TILE && k->vp % AMX_BLOCK == 0;
    k->group = k->beside ? AMX_TILE : k->chunk;
    k->group_rows = k->group * k->G;
    k->query_rows = k->beside ? k->group_rows : k->rows;

    int64_t at = FRAME_BYTES;
    if (k->M && op == NHA_PREFILL) {
        k->memory_k = take(&at, k->K, k->mp);
        k->memory_v = take(&at, k->M + (k->amx ? k->M % 2 : 0), k->vp);
    }
    if (op == NHA_PREFILL)
        prefill_layout(k, &at);
    else
        decode_layout(k, &at);
    k->ring_at = k->window_scores_at = (at + 255) / 256 * 256;
}

void kernel_scratch(const kernel *k, int64_t *fixed, int64_t *per_panel) {
    if (k->op == NHA_PREFILL) {
        *fixed = k->ring_at;
        *per_panel = k->panel_floats * 4;
    } else { /* [G][P rounded up to vectors] */
        *fixed = k->window_scores_at + (int64_t)k->G * 16 * 4;
        *per_panel = (int64_t)k->G * 4;
    }
}

void kernel_print(FILE *out, const kernel *k) {
    int64_t fixed, per_panel;
    kernel_scratch(k, &fixed, &per_panel);
    fprintf(out, "layout: %s, vectors of %d floats, block %d tokens x %d heads = %d rows\n", k->b.isa->name, k->b.vl, k->block,
            k->G, k->rows);
    if (k->amx)
        fprintf(out, "layout: bf16 products on AMX tiles, %d tokens (%d rows) at a time\n", k->chunk, k->chunk_rows);
    fprintf(out, "layout: memory hk [%d,%d] and hv [%d,%d] fp32\n", k->K, k->mp, k->M, k->vp);
    fprintf(out, "layout: %d window panels a softmax step%s; scratch %lld bytes + %lld a panel\n", k->key_panels,
            k->online ? " (online beyond)" : "", (long long)fixed, (long long)per_panel);
}

/* ---- frame ---- */

val frame_i64(kernel *k, val f, frame_slot slot) {
    return ir_load_i64(&k->b, f, slot * 8);
}

val frame_ptr(kernel *k, val f, frame_slot slot) {
    return ir_load_ptr(&k->b, f, slot * 8);
}

void frame_set(kernel *k, val f, frame_slot slot, val v) {
    ir_store_at(&k->b, v, f, slot * 8);
}

val frame_arg(kernel *k, val f, size_t offset) {
    return ir_load_i64(&k->b, frame_ptr(k, f, FRAME_ARGS), (int64_t)offset);
}

val frame_arg_ptr(kernel *k, val f, size_t offset) {
    return ir_load_ptr(&k->b, frame_ptr(k, f, FRAME_ARGS), (int64_t)offset);
}

val frame_at(kernel *k, val f, buffer buf, val row, int column) {
    val p = ir_atc(&k->b, f, buf.at + (int64_t)column * 4);
    return row ? ir_at(&k->b, p, ir_mulc(&k->b, row, (int64_t)buf.ld * 4)) : p;
}

/* Base of an input tensor for this sequence and head. */
static void set_input(kernel *k, val f, frame_slot slot, size_t member, val batch, val token, val head) {
    ir *b = &k->b;
    val base = frame_arg_ptr(k, f, member + offsetof(nha_cpu_tensor, data));
    val offset = ir_mul(b, batch, frame_arg(k, f, member + offsetof(nha_cpu_tensor, batch)));
    offset = ir_add(b, offset, ir_mul(b, token, frame_arg(k, f, member + offsetof(nha_cpu_tensor, token))));
    offset = ir_add(b, offset, ir_mul(b, head, frame_arg(k, f, member + offsetof(nha_cpu_tensor, head))));
    frame_set(k, f, slot, ir_at(b, base, offset));
}

static void set_ring(kernel *k, val f, frame_slot slot, size_t member, val row, val head, val ring, int64_t bytes) {
    ir *b = &k->b;
    val offset = ir_mul(b, head, ir_mulc(b, ring, bytes));
    offset = ir_add(b, offset, frame_arg(k, f, offsetof(nha_cpu_args, cache) + member));
    frame_set(k, f, slot, ir_at(b, row, offset));
}

val frame_pending_count(kernel *k, val row, val h) {
    return ir_atc(&k->b, ir_at(&k->b, row, h), NHA_CPU_ROW_PENDING);
}

/* Position, available tokens and rings from the cache row, if there is a cache. */
static void set_cache(kernel *k, val f, val n, val h) {
    ir *b = &k->b;
    const size_t cache = offsetof(nha_cpu_args, cache);
    int64_t esize = k->p->dtype == NHA_F32 ? 4 : 2, gsize = k->p->gate_dtype == NHA_F32 ? 4 : 2;
    frame_set(k, f, FRAME_POSITION, ir_int(b, 0));
    frame_set(k, f, FRAME_AVAILABLE, ir_int(b, 0));
    frame_set(k, f, FRAME_RING, ir_int(b, 1));
    val pool = frame_arg_ptr(k, f, cache + offsetof(nha_cpu_cache, pool));
    frame_set(k, f, FRAME_ROW, LLVMConstNull(b->ptr));
    ir_if has, indexed, skipped;
    ir_if_begin(b, &has, LLVMBuildNot(b->builder, ir_is_null(b, pool), ""));
    /* row = index ? index[n] : n, kept in FRAME_ROW's place meanwhile */
    val index = frame_arg_ptr(k, f, cache + offsetof(nha_cpu_cache, index));
    frame_set(k, f, FRAME_POSITION, n);
    ir_if_begin(b, &indexed, LLVMBuildNot(b->builder, ir_is_null(b, index), ""));
    val i32 = ir_load(b, b->i32, ir_at(b, index, ir_mulc(b, n, 4)), 4);
    frame_set(k, f, FRAME_POSITION, LLVMBuildSExt(b->builder, i32, b->i64, ""));
    ir_if_end(b, &indexed);
    val number = frame_i64(k, f, FRAME_POSITION);
    ir_if_begin(b, &skipped, ir_cmp(b, "<", number, ir_int(b, 0)));
    frame_set(k, f, FRAME_LENGTH, ir_int(b, -1));
    ir_if_else(b, &skipped);
    val row = ir_at(b, pool, ir_mul(b, number, frame_arg(k, f, cache + offsetof(nha_cpu_cache, row_bytes))));
    val ring = frame_arg(k, f, cache + offsetof(nha_cpu_cache, ring_tokens));
    val pos = ir_load_i64(b, row, 0);
    frame_set(k, f, FRAME_ROW, row);
    frame_set(k, f, FRAME_RING, ring);
    frame_set(k, f, FRAME_POSITION, pos);
    frame_set(k, f, FRAME_AVAILABLE, ir_min(b, pos, ring));
    set_ring(k, f, FRAME_RING_K, offsetof(nha_cpu_cache, k_offset), row, h, ring, k->K * esize);
    set_ring(k, f, FRAME_RING_V, offsetof(nha_cpu_cache, v_offset), row, h, ring, k->V * esize);
    if (k->M)
        set_ring(k, f, FRAME_RING_GATE, offsetof(nha_cpu_cache, gate_offset), row, h, ring, k->M * gsize);
    if (k->M) {
        val area = ir_mulc(b, h, k->pending_floats * NHA_CPU_PENDING * 4);
        area = ir_add(b, area, frame_arg(k, f, cache + offsetof(nha_cpu_cache, pending_offset)));
        frame_set(k, f, FRAME_PENDING, ir_at(b, row, area));
        val count = ir_load(b, b->i8, frame_pending_count(k, row, h), 1);
        frame_set(k, f, FRAME_PENDING_COUNT, LLVMBuildZExt(b->builder, count, b->i64, ""));
    }
    if (k->M && k->p->gate_s_given)
        set_ring(k, f, FRAME_RING_S, offsetof(nha_cpu_cache, s_offset), row, h, ring, k->M * gsize);
    if (k->p->rope == NHA_ROPE_GIVEN)
        set_ring(k, f, FRAME_RING_RK, offsetof(nha_cpu_cache, rk_offset), row, h, ring, k->K * esize);
    ir_if_end(b, &skipped);
    ir_if_end(b, &has);
}

void frame_task(kernel *k, val f, val args, val n, val h) {
    ir *b = &k->b;
    frame_set(k, f, FRAME_ARGS, args);
    frame_set(k, f, FRAME_SEQUENCE, n);
    frame_set(k, f, FRAME_HEAD, h);
    /* without cu_seqlens: batch n, token 0; with it: batch 0, token cu[n]. FRAME_K and FRAME_V hold them for a moment. */
    frame_set(k, f, FRAME_LENGTH, frame_arg(k, f, offsetof(nha_cpu_args, tokens)));
    frame_set(k, f, FRAME_K, n);
    frame_set(k, f, FRAME_V, ir_int(b, 0));
    val cu = frame_arg_ptr(k, f, offsetof(nha_cpu_args, cu_seqlens));
    ir_if varlen;
    ir_if_begin(b, &varlen, LLVMBuildNot(b->builder, ir_is_null(b, cu), ""));
    val first = LLVMBuildSExt(b->builder, ir_load(b, b->i32, ir_at(b, cu, ir_mulc(b, n, 4)), 4), b->i64, "");
    val last = LLVMBuildSExt(b->builder, ir_load(b, b->i32, ir_at(b, cu, ir_addc(b, ir_mulc(b, n, 4), 4)), 4), b->i64, "");
    frame_set(k, f, FRAME_LENGTH, ir_sub(b, last, first));
    frame_set(k, f, FRAME_K, ir_int(b, 0));
    frame_set(k, f, FRAME_V, first);
    ir_if_end(b, &varlen);
    val batch = frame_i64(k, f, FRAME_K), token = frame_i64(k, f, FRAME_V);
    val head_q = ir_mulc(b, h, k->G);
    set_input(k, f, FRAME_Q, offsetof(nha_cpu_args, q), batch, token, head_q);
    set_input(k, f, FRAME_O, offsetof(nha_cpu_args, o), batch, token, head_q);
    set_input(k, f, FRAME_LSE, offsetof(nha_cpu_args, lse), batch, token, head_q);
    set_input(k, f, FRAME_K, offsetof(nha_cpu_args, k), batch, token, h);
    set_input(k, f, FRAME_V, offsetof(nha_cpu_args, v), batch, token, h);
    if (k->M)
        set_input(k, f, FRAME_GATE, offsetof(nha_cpu_args, gate), batch, token, h);
    if (k->M && k->p->gate_s_given)
        set_input(k, f, FRAME_S, offsetof(nha_cpu_args, s), batch, token, h);
    if (k->p->rope == NHA_ROPE_GIVEN) {
        set_input(k, f, FRAME_RQ, offsetof(nha_cpu_args, rq), batch, token, head_q);
        set_input(k, f, FRAME_RK, offsetof(nha_cpu_args, rk), batch, token, h);
    }
    set_cache(k, f, n, h);
}

val frame_token(kernel *k, val f, frame_slot input, frame_slot ring, size_t member, int64_t ring_row_bytes, val j) {
    ir *b = &k->b;
    val stride = frame_arg(k, f, member + offsetof(nha_cpu_tensor, token));
    val in_input = ir_at(b, frame_ptr(k, f, input), ir_mul(b, j, stride));
    val entry = ir_urem(b, ir_add(b, frame_i64(k, f, FRAME_POSITION), j), frame_i64(k, f, FRAME_RING));
    val in_ring = ir_at(b, frame_ptr(k, f, ring), ir_mulc(b, entry, ring_row_bytes));
    return ir_select(b, ir_cmp(b, ">=", j, ir_int(b, 0)), in_input, in_ring);
}

val phase_begin(kernel *k, const char *name, const char *types, const char *const *params) {
    return ir_function(&k->b, name, types, params, false);
}

void phase_end(kernel *k) {
    ir_return(&k->b);
}
