/* prefill_pack.c: phases that make the bf16 operands of AMX products from what the user gives: queries, keys and values.
 * What the user gives as bf16, unrotated and unmapped, stays exact; other operands have one to three bf16 parts (amx.h). */
#include "gen/cpu/prefill.h"
#include "gen/cpu/tile.h"

/* ---- queries ---- */

/* dim bf16 from user memory, then zeroes up to a multiple of AMX_INNER; dim is a multiple of 8. */
static void copy_row(ir *b, int dim, val from, val to) {
    int end = (dim + AMX_INNER - 1) / AMX_INNER * AMX_INNER;
    for (int at = 0, width = AMX_INNER; at < dim; at += width) {
        while (width > dim - at)
            width /= 2;
        LLVMTypeRef type = LLVMVectorType(b->i32, (unsigned)width / 2);
        ir_store(b, ir_load(b, type, ir_atc(b, from, at * 2), 2), ir_atc(b, to, at * 2), 2);
    }
    for (int at = dim; at < end; at += 8)
        ir_store(b, LLVMConstNull(LLVMVectorType(b->i32, 4)), ir_atc(b, to, at * 2), 2);
}

static void store_parts(ir *b, const amx_left *left, const val *part, val to, int align) {
    for (int i = 0; i < left->parts; i++)
        ir_store(b, part[i], ir_atc(b, to, (int64_t)i * left->part), align);
}

void pack_vectors(ir *b, const amx_left *left, const val *x, val to) {
    val part[AMX_PARTS_MAX];
    amx_row_parts(b, x[0], x[1], left->parts, left->nearest, part);
    store_parts(b, left, part, to, 4);
}

void pack_half(ir *b, const amx_left *left, val x, val to) {
    val part[AMX_PARTS_MAX];
    amx_half_parts(b, x, left->parts, left->nearest, part);
    store_parts(b, left, part, to, 2);
}

void pack_halves(ir *b, const amx_left *left, const val *x, val to_0, val to_1) {
    val part[AMX_PARTS_MAX];
    static const int halves[2][8] = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
    amx_row_parts(b, x[0], x[1], left->parts, left->nearest, part);
    for (int i = 0; i < left->parts; i++)
        for (int n = 0; n < 2; n++)
            ir_store(b, ir_shuffle(b, part[i], NULL, halves[n], 8), ir_atc(b, n ? to_1 : to_0, (int64_t)i * left->part), 2);
}

void pack_row(ir *b, const amx_left *left, int dim, val from, val to) {
    for (int at = 0; at < dim; at += AMX_INNER) {
        val x[] = {ir_load_v(b, ir_atc(b, from, at * 4)), ir_load_v(b, ir_atc(b, from, at * 4 + 64))};
        pack_vectors(b, left, x, ir_atc(b, to, at * 2));
    }
}

val left_row(kernel *k, val f, const amx_left *left, val row) {
    return ir_at(&k->b, ir_atc(&k->b, f, left->at), ir_mulc(&k->b, row, left->lda));
}

static val query_at(kernel *k, val f, frame_slot slot, size_t member, val local, val g) {
    ir *b = &k->b;
    val at = ir_at(b, frame_ptr(k, f, slot), ir_mul(b, local, frame_arg(k, f, member + offsetof(nha_cpu_tensor, token))));
    return ir_at(b, at, ir_mul(b, g, frame_arg(k, f, member + offsetof(nha_cpu_tensor, head))));
}

/* The row through fp32: mapped or raw, in the staging row, with zeroes behind. */
static val stage_query(kernel *k, val f, val from, int map) {
    ir *b = &k->b;
    val stage = frame_at(k, f, k->stage, NULL, 0), behind = ir_atc(b, stage, (int64_t)k->K * 4);
    row_copy copy = {.from = from, .to = stage, .dtype = k->p->dtype, .scale = 1, .map = map};
    row_load(b, k->K, &copy);
    row_zero(b, k->left_slots.part / 2 - k->K, behind);
    return stage;
}

/* Whether rows of bf16 in user memory are operands as they are. */
static bool copies(const kernel *k) {
    return k->p->dtype == NHA_BF16;
}

/* Whether a row can be rotated in registers, from whole vectors of 16 bits to whole rows of tiles. */
static bool rotates_whole(const kernel *k) {
    if (k->p->rope == NHA_ROPE_GPTJ && k->p->dtype != NHA_BF16)
        return false;
    return k->K % (k->p->rope == NHA_ROPE_NEOX ? 2 * AMX_INNER : AMX_INNER) == 0;
}

/* left_window's row from K elements: neox pairs (i, i + K/2), gptj pairs (2i, 2i + 1), which lie in one 32-bit word. */
static void rotate_row(kernel *k, val from, val to, val cosine, val sine) {
    ir *b = &k->b;
    const amx_left *left = &k->left_window;
    bool neox = k->p->rope == NHA_ROPE_NEOX;
    int half = k->K / 2, count = neox ? 2 : 1, element = row_element_bytes(k->p->dtype);
    for (int i = 0; i < half; i += count * AMX_TILE) {
        val y1[2], y2[2], part[AMX_PARTS_MAX];
        for (int n = 0; n < count; n++) {
            int at = i + n * AMX_TILE;
            val c = ir_load_v(b, ir_atc(b, cosine, at * 4)), s = ir_load_v(b, ir_atc(b, sine, at * 4)), x1, x2;
            if (neox) {
                x1 = ir_load_dtype(b, k->p->dtype, AMX_TILE, ir_atc(b, from, at * element));
                x2 = ir_load_dtype(b, k->p->dtype, AMX_TILE, ir_atc(b, from, (half + at) * element));
            } else {
                val words = ir_load(b, b->vi, ir_atc(b, from, at * 4), 2);
                x1 = ir_bitcast(b, LLVMBuildShl(b->builder, words, ir_vint(b, 16), ""), b->vf);
                x2 = ir_bitcast(b, ir_and(b, words, ir_vint(b, (int32_t)0xffff0000)), b->vf);
            }
            y1[n] = ir_fma(b, ir_fneg(b, x2), s, ir_fmul(b, x1, c));
            y2[n] = ir_fma(b, x2, c, ir_fmul(b, x1, s));
        }
        if (neox) {
            pack_vectors(b, left, y1, ir_atc(b, to, i * 2));
            pack_vectors(b, left, y2, ir_atc(b, to, (half + i) * 2));
        } else {
            amx_pairs_parts(b, y1[0], y2[0], left->parts, left->nearest, part);
            store_parts(b, left, part, ir_atc(b, to, 4 * i), 4);
        }
    }
}

/* A row of user memory, mapped, as a row of a left operand. */
static void operand_row(kernel *k, val f, const amx_left *left, val from, int map, val to) {
    if (copies(k) && map == NHA_MAP_IDENTITY)
        copy_row(&k->b, k->K, from, to);
    else
        pack_row(&k->b, left, k->K, stage_query(k, f, from, map), to);
}

static void query_row(prefill *x, val f, val token, val g) {
    kernel *k = x->k;
    ir *b = &k->b;
    val local = ir_add(b, ir_param(b, 1), token), row = ir_add(b, ir_mulc(b, token, k->G), g);
    val angle = k->beside ? ir_sub(b, local, frame_i64(k, f, FRAME_BLOCK)) : token;
    val from = query_at(k, f, FRAME_Q, offsetof(nha_cpu_args, q), local, g);
    if (k->M)
        operand_row(k, f, &k->left_slots, from, k->p->slot_map, left_row(k, f, &k->left_slots, row));
    if (k->M && !k->own_window_q)
        return;
    val to = left_row(k, f, &k->left_window, row);
    if (k->rotate && rotates_whole(k)) {
        rotate_row(k, from, to, frame_at(k, f, k->cosine, angle, 0), frame_at(k, f, k->sine, angle, 0));
    } else if (k->rotate) {
        val stage = stage_query(k, f, from, NHA_MAP_IDENTITY), rotated = frame_at(k, f, k->rotated, NULL, 0);
        val behind = ir_atc(b, rotated, (int64_t)k->K * 4);
        val args[] = {stage, rotated, frame_at(k, f, k->cosine, angle, 0), frame_at(k, f, k->sine, angle, 0)};
        ir_call(b, x->rotate, args, 4);
        row_zero(b, k->left_window.part / 2 - k->K, behind);
        pack_row(b, &k->left_window, k->K, rotated, to);
    } else if (k->p->rope == NHA_ROPE_GIVEN) {
        operand_row(k, f, &k->left_window, query_at(k, f, FRAME_RQ, offsetof(nha_cpu_args, rq), local, g), NHA_MAP_IDENTITY, to);
    } else {
        operand_row(k, f, &k->left_window, from, NHA_MAP_IDENTITY, to);
    }
}

/* pack_queries(scratch, first): left_slots and left_window of query_rows from token `first` on; rows past the end are zero */
void emit_pack_queries(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    x->load_queries = phase_begin(k, "pack_queries", "pi", (const char *const[]){"scratch", "first"});
    val f = ir_param(b, 0), first = ir_param(b, 1);
    ir_loop tokens, heads;
    val count = ir_min(b, ir_sub(b, frame_i64(k, f, FRAME_LENGTH), first), ir_int(b, k->query_rows / k->G));
    count = ir_max(b, count, ir_int(b, 0));
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), NULL, 0);
    amx_awake(k, tokens.index, 4);
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    query_row(x, f, tokens.index, heads.index);
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
    ir_loop_begin(b, &tokens, ir_mulc(b, count, k->G), ir_int(b, k->query_rows), ir_int(b, 1), NULL, 0);
    for (int which = 0; which <= k->own_window_q; which++) {
        const amx_left *left = which ? &k->left_window : &k->left_slots;
        tile_zero(b, left_row(k, f, left, tokens.index), left->lda / 4);
    }
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
}

/* ---- right operands from rows ---- */

/* Stores the pair of rows (2 pair, 2 pair + 1) of 16 columns, at column tile `column`. */
static void store_pair(ir *b, const amx_right *right, val at, val pair, int column, val x, val y) {
    val step = LLVMBuildLShr(b->builder, pair, ir_int(b, 4), ""), row = ir_and(b, pair, ir_int(b, 15));
    val to = ir_at(b, at, ir_mulc(b, step, (int64_t)right->columns * AMX_TILE_BYTES));
    to = ir_atc(b, ir_at(b, to, ir_mulc(b, row, 64)), (int64_t)column * AMX_TILE_BYTES);
    val part[AMX_PARTS_MAX];
    amx_pairs_parts(b, x, y, right->parts, right->nearest, part);
    for (int i = 0; i < right->parts; i++)
        ir_store(b, part[i], ir_atc(b, to, (int64_t)i * right->inner * right->columns * AMX_TILE_BYTES), 4);
}

void pack_pair(ir *b, const amx_right *right, val at, val pair, val column, val x, val y) {
    store_pair(b, right, ir_at(b, at, ir_mulc(b, column, AMX_TILE_BYTES)), pair, 0, x, y);
}

void pack_rows(ir *b, const amx_right *right, val at, val from, int ld, int rows) {
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, rows / 2), ir_int(b, 1), NULL, 0);
    val x = ir_at(b, from, ir_mulc(b, loop.index, (int64_t)ld * 8)), y = ir_atc(b, x, (int64_t)ld * 4);
    for (int c = 0; c < right->columns; c++)
        store_pair(b, right, at, loop.index, c, ir_load_v(b, ir_atc(b, x, c * 64)), ir_load_v(b, ir_atc(b, y, c * 64)));
    ir_loop_end(b, &loop, NULL);
}

/* 16 bf16, or the first 8 of them and zeroes, as <16 x i32>. */
static val load_words(ir *b, val from, int count) {
    LLVMTypeRef narrow = LLVMVectorType(b->i16, (unsigned)count);
    val x = ir_load(b, narrow, from, 2);
    if (count < 16) {
        int widen[16];
        for (int i = 0; i < 16; i++)
            widen[i] = i < count ? i : count;
        x = ir_shuffle(b, x, LLVMConstNull(narrow), widen, 16);
    }
    return LLVMBuildZExt(b->builder, x, b->vi, "");
}

/* pack_values(scratch, to, first, end): the right operand [block][vp] straight from bf16 in user memory: a pair of rows is two halves of
 * words. Local tokens outside [-available, end) are zero. */
static val emit_pack_values(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const amx_right *right = &k->panel_values;
    static const float zeroes[GEN_HEAD_DIM_MAX / 2];
    val fn = phase_begin(k, "pack_values", "ppii", (const char *const[]){"scratch", "to", "first", "end"});
    val f = ir_param(b, 0), lowest = ir_sub(b, ir_int(b, 0), frame_i64(k, f, FRAME_AVAILABLE)), row[2];
    val none = ir_const_f32(b, "no_value", zeroes, k->V / 2);
    ir_loop pairs;
    ir_loop_begin(b, &pairs, ir_int(b, 0), ir_int(b, k->block / 2), ir_int(b, 1), NULL, 0);
    for (int i = 0; i < 2; i++) {
        val j = ir_add(b, ir_param(b, 2), ir_addc(b, ir_mulc(b, pairs.index, 2), i));
        val exists = ir_and(b, ir_cmp(b, ">=", j, lowest), ir_cmp(b, "<", j, ir_param(b, 3)));
        val at = frame_token(k, f, FRAME_V, FRAME_RING_V, offsetof(nha_cpu_args, v), (int64_t)k->V * 2, j);
        row[i] = ir_select(b, exists, at, none);
    }
    val step = LLVMBuildLShr(b->builder, pairs.index, ir_int(b, 4), ""), in_tile = ir_and(b, pairs.index, ir_int(b, 15));
    val to = ir_at(b, ir_param(b, 1), ir_mulc(b, step, (int64_t)right->columns * AMX_TILE_BYTES));
    to = ir_at(b, to, ir_mulc(b, in_tile, 64));
    for (int c = 0; c < right->columns; c++) {
        int count = k->V - c * AMX_TILE < AMX_TILE ? k->V - c * AMX_TILE : AMX_TILE;
        val low = load_words(b, ir_atc(b, row[0], c * 32), count), high = load_words(b, ir_atc(b, row[1], c * 32), count);
        high = LLVMBuildShl(b->builder, high, ir_vint(b, 16), "");
        ir_store(b, LLVMBuildOr(b->builder, low, high, ""), ir_atc(b, to, (int64_t)c * AMX_TILE_BYTES), 4);
    }
    ir_loop_end(b, &pairs, NULL);
    phase_end(k);
    return fn;
}

/* Values of tokens first .. as a right operand at `at`. stage: room for [block][vp] */
static void values_operand(prefill *x, val f, const amx_right *right, val at, val stage, val first, val end) {
    kernel *k = x->k;
    if (copies(k) && k->p->value_map == NHA_MAP_IDENTITY) {
        ir_call(&k->b, x->stage_values, (val[]){f, at, first, end}, 4);
        return;
    }
    ir_call(&k->b, x->stage_values, (val[]){f, stage, first, end}, 4);
    pack_rows(&k->b, right, at, stage, k->vp, k->block);
}

static void emit_values(prefill *x) {
    prefill_source values = source_values(x->k);
    if (!x->stage_values)
        x->stage_values = copies(x->k) && x->k->p->value_map == NHA_MAP_IDENTITY ? emit_pack_values(x) : emit_stage(x, &values, x->k->vp);
}

/* pack_keys for keys that are bf16: pairs of dims are words, which are transposed as such. */
static void pack_exact_keys(kernel *k, val stage, const amx_right *right, val at, const amx_left *left, val left_at) {
    ir *b = &k->b;
    LLVMTypeRef half = LLVMVectorType(b->i16, AMX_TILE);
    ir_loop steps, tokens;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->block / AMX_TILE), ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &steps, ir_int(b, 0), ir_int(b, right->inner), ir_int(b, 1), NULL, 0);
    amx_awake(k, steps.index, 2);
    val r[IR_VECTOR_MAX];
    val from = ir_at(b, stage, ir_mulc(b, tokens.index, (int64_t)AMX_TILE * k->stage_ld * 4));
    from = ir_at(b, from, ir_mulc(b, steps.index, AMX_INNER * 4));
    for (int i = 0; i < AMX_TILE; i++) {
        val row = ir_atc(b, from, (int64_t)i * k->stage_ld * 4);
        r[i] = ir_bitcast(b, amx_row_exact(b, ir_load_v(b, row), ir_load_v(b, ir_atc(b, row, AMX_TILE * 4))), b->vf);
    }
    tile_transpose(b, r);
    val to = ir_at(b, at, ir_mulc(b, tokens.index, AMX_TILE_BYTES)), rows = ir_at(b, left_at, ir_mulc(b, tokens.index, AMX_TILE * 2));
    to = ir_at(b, to, ir_mulc(b, steps.index, (int64_t)right->columns * AMX_TILE_BYTES));
    rows = ir_at(b, rows, ir_mulc(b, steps.index, (int64_t)AMX_INNER * left->lda));
    for (int i = 0; i < AMX_TILE; i++) {
        val words = ir_bitcast(b, r[i], b->vi), odd = LLVMBuildLShr(b->builder, words, ir_vint(b, 16), "");
        ir_store(b, words, ir_atc(b, to, i * 64), 4);
        ir_store(b, LLVMBuildTrunc(b->builder, words, half, ""), ir_atc(b, rows, 2 * (int64_t)i * left->lda), 2);
        ir_store(b, LLVMBuildTrunc(b->builder, odd, half, ""), ir_atc(b, rows, (2 * (int64_t)i + 1) * left->lda), 2);
    }
    ir_loop_end(b, &steps, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* Right operand [K][block] from keys staged as [block][stage_ld], zero behind K; and, if left, the same as left operand. */
static void pack_keys(kernel *k, val stage, const amx_right *right, val at, const amx_left *left, val left_at) {
    ir *b = &k->b;
    ir_loop dims, tokens;
    ir_loop_begin(b, &tokens, ir_int(b, 0), ir_int(b, k->block / AMX_TILE), ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &dims, ir_int(b, 0), ir_int(b, right->inner * 2), ir_int(b, 1), NULL, 0);
    amx_awake(k, dims.index, 4);
    val r[IR_VECTOR_MAX];
    val from = ir_at(b, stage, ir_mulc(b, tokens.index, (int64_t)AMX_TILE * k->stage_ld * 4));
    from = ir_at(b, from, ir_mulc(b, dims.index, 64));
    for (int i = 0; i < AMX_TILE; i++)
        r[i] = ir_load_v(b, ir_atc(b, from, (int64_t)i * k->stage_ld * 4));
    tile_transpose(b, r);
    val column = ir_at(b, at, ir_mulc(b, tokens.index, AMX_TILE_BYTES));
    for (int i = 0; i < AMX_TILE; i += 2)
        store_pair(b, right, column, ir_addc(b, ir_mulc(b, dims.index, 8), i / 2), 0, r[i], r[i + 1]);
    for (int i = 0; left && i < AMX_TILE; i++) {
        val row = ir_addc(b, ir_mulc(b, dims.index, AMX_TILE), i);
        pack_half(b, left, r[i], ir_at(b, ir_at(b, left_at, ir_mulc(b, row, left->lda)), ir_mulc(b, tokens.index, AMX_TILE * 2)));
    }
    ir_loop_end(b, &dims, NULL);
    ir_loop_end(b, &tokens, NULL);
}

/* right_keys and left_keys at `to` from staged keys, which have been mapped */
static void pack_mapped_keys(kernel *k, val stage, val to) {
    ir *b = &k->b;
    const bool exact = copies(k) && k->p->slot_map == NHA_MAP_IDENTITY;
    val right = ir_atc(b, to, k->right_keys.at), left = ir_atc(b, to, k->left_keys.at);
    (exact ? pack_exact_keys : pack_keys)(k, stage, &k->right_keys, right, &k->left_keys, left);
}

/* pack_absorbed_keys(scratch, first): keys of the tokens that steps first .. absorb; pack_absorbed: and values */
void emit_pack_absorbed(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    prefill_source keys = source_absorbed_keys(k);
    keys.pad = k->right_keys.inner * AMX_INNER - k->K;
    x->stage_absorbed = emit_stage(x, &keys, k->stage_ld);
    emit_values(x);
    val f = absorbed_begin(x, "pack_absorbed_keys", &x->load_absorbed_keys);
    val stage = frame_at(k, f, k->stage, NULL, 0), own = ir_atc(b, f, k->own_keys);
    absorbed_rows(x, x->stage_absorbed, f, stage);
    pack_mapped_keys(k, stage, own);
    frame_set(k, f, FRAME_ABSORBED_K, own);
    phase_end(k);
    f = absorbed_begin(x, "pack_absorbed", &x->load_absorbed);
    val end = ir_addc(b, frame_i64(k, f, FRAME_LENGTH), -k->L), first = ir_addc(b, ir_param(b, 1), -k->L);
    own = ir_atc(b, f, k->own_values);
    ir_call(b, x->load_absorbed_keys, (val[]){f, ir_param(b, 1)}, 2);
    values_operand(x, f, &k->right_values, own, frame_at(k, f, k->stage, NULL, 0), first, end);
    frame_set(k, f, FRAME_ABSORBED_V, own);
    phase_end(k);
}

/* pack_panel(scratch, P): window keys, rotated, and values of tokens P*block .. into the ring */
void emit_pack_panel(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    prefill_source keys = source_window_keys(k);
    keys.pad = k->panel_keys.inner * AMX_INNER - k->K;
    val stage_k = emit_stage(x, &keys, k->stage_ld);
    emit_values(x);
    x->load_panel = phase_begin(k, "pack_panel", "pi", (const char *const[]){"scratch", "panel"});
    val f = ir_param(b, 0), first = ir_mulc(b, ir_param(b, 1), k->block), end = frame_i64(k, f, FRAME_LENGTH);
    val at = panel_at(k, f, ir_param(b, 1)), stage = frame_at(k, f, k->stage, NULL, 0);
    ir_call(b, stage_k, (val[]){f, stage, first, end}, 4);
    val rotated = rotate_staged(x, f, first);
    if (k->rotate && keys.pad) { /* rotation writes whole vectors: past K, too */
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, k->block), ir_int(b, 1), NULL, 0);
        val behind = frame_at(k, f, k->rotated, loop.index, k->K);
        row_zero(b, keys.pad, behind);
        ir_loop_end(b, &loop, NULL);
    }
    val absorbed = ir_atc(b, at, k->panel_absorbed_keys), left_at = ir_atc(b, absorbed, k->left_keys.at);
    const amx_left *left = k->share_keys && !k->own_window_q ? &k->left_keys : NULL;
    pack_keys(k, rotated, &k->panel_keys, ir_atc(b, at, k->panel_keys.at), left, left_at);
    if (k->share_keys && k->own_window_q) {
        if (k->p->slot_map != NHA_MAP_IDENTITY) /* rows that are in the first-level cache by now */
            ir_call(b, x->stage_absorbed, (val[]){f, stage, first, end}, 4);
        pack_mapped_keys(k, stage, absorbed);
    }
    const amx_right *values = k->share_values ? &k->right_values : &k->panel_values;
    values_operand(x, f, values, ir_atc(b, at, k->panel_values.at), stage, first, end);
    phase_end(k);
}
