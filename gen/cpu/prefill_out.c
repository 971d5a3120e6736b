/* prefill_out.c: phases that write the output and its log-sum-exp. Where a softmax has one step, products on AMX store each block of
 * sums as rows of o at once, and list_outputs says beforehand where to; else sums lie in `out`, and store_out divides them. */
#include "gen/cpu/ir_math.h"
#include "gen/cpu/prefill.h"

/* ---- list_outputs(scratch, first token of the chunk, of these tokens in the chunk): row_fix = 1 / l, out_rows = addresses in o,
 * lse = m ln2 + ln l; of 16 tokens where k->beside, else of the whole chunk ---- */

static void lse_and_inverse(kernel *k, val f, val first, int count) {
    ir *b = &k->b;
    ir_loop rows;
    val from = ir_mulc(b, first, (int64_t)k->G * 4);
    ir_loop_begin(b, &rows, from, ir_addc(b, from, (int64_t)count * k->G * 4), ir_int(b, b->vl * 4), NULL, 0);
    val max_at = ir_at(b, frame_at(k, f, k->row_max, NULL, 0), rows.index);
    val l = ir_load_v(b, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), rows.index));
    val lse = ir_fma(b, ir_load_v(b, max_at), ir_vfloat(b, 0.69314718055994530942), ir_log(b, l));
    ir_store_v(b, lse, max_at); /* the maximum has served */
    ir_store_v(b, ir_fdiv(b, ir_vfloat(b, 1), l), ir_at(b, frame_at(k, f, k->row_fix, NULL, 0), rows.index));
    ir_loop_end(b, &rows, NULL);
}

static void emit_list_outputs(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t o = offsetof(nha_cpu_args, o), lse = offsetof(nha_cpu_args, lse);
    x->list_outputs = phase_begin(k, "list_outputs", "pii", (const char *const[]){"scratch", "chunk", "first"});
    val f = ir_param(b, 0), chunk = ir_param(b, 1), first = ir_param(b, 2), nowhere = frame_at(k, f, k->stage, NULL, 0);
    const int count = k->beside ? AMX_TILE : k->chunk;
    lse_and_inverse(k, f, first, count);
    val wanted = LLVMBuildNot(b->builder, ir_is_null(b, frame_arg_ptr(k, f, lse + offsetof(nha_cpu_tensor, data))), "");
    ir_loop tokens, heads;
    ir_loop_begin(b, &tokens, first, ir_addc(b, first, count), ir_int(b, 1), NULL, 0);
    val token = ir_add(b, chunk, tokens.index), exists = ir_cmp(b, "<", token, frame_i64(k, f, FRAME_LENGTH));
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_add(b, ir_mulc(b, tokens.index, k->G), heads.index);
    val to = ir_select(b, exists, strided(k, f, FRAME_O, o, token, heads.index), nowhere);
    ir_store_at(b, to, ir_at(b, frame_at(k, f, k->out_rows, NULL, 0), ir_mulc(b, row, 8)), 0);
    ir_if write;
    ir_if_begin(b, &write, ir_and(b, wanted, exists));
    val value = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_max, NULL, 0), ir_mulc(b, row, 4)));
    ir_store(b, value, strided(k, f, FRAME_LSE, lse, token, heads.index), 4);
    ir_if_end(b, &write);
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
}

static val half_of(ir *b, val x, int first) {
    int lanes[8];
    for (int i = 0; i < 8; i++)
        lanes[i] = first + i;
    return ir_shuffle(b, x, NULL, lanes, 8);
}

/* Products of bf16 parts may take what should be the largest f16, 65504, past it, by less than 2^-8: there it is that number. What is larger
 * than that is an infinity by right. */
static val in_range(kernel *k, val x) {
    ir *b = &k->b;
    const double largest = 65504, reach = largest * (1 + 1. / 256);
    if (k->p->dtype != NHA_F16)
        return x;
    val limited = ir_fmax(b, ir_fmin(b, x, ir_vfloat(b, largest)), ir_vfloat(b, -largest));
    val near = ir_and(b, ir_flt(b, x, ir_vfloat(b, reach)), ir_flt(b, ir_vfloat(b, -reach), x));
    return ir_select(b, near, limited, x);
}

/* 16 of V values of a row at column tile `tile`; the last tile may hold 8. */
static void store_values(kernel *k, val x, val to, val tile) {
    ir *b = &k->b;
    x = in_range(k, x);
    int half = 8 * row_element_bytes(k->p->dtype);
    if (k->V % AMX_TILE == 0) {
        ir_store_dtype(b, k->p->dtype, AMX_TILE, x, to);
        return;
    }
    ir_if whole;
    ir_store_dtype(b, k->p->dtype, 8, half_of(b, x, 0), to);
    ir_if_begin(b, &whole, ir_cmp(b, "<", tile, ir_int(b, k->V / AMX_TILE)));
    ir_store_dtype(b, k->p->dtype, 8, half_of(b, x, 8), ir_atc(b, to, half));
    ir_if_end(b, &whole);
}

void store_output_tiles(kernel *k, val f, const amx_block *at) {
    amx_store(&k->b, at, frame_at(k, f, k->tile_out, NULL, 0), AMX_BLOCK * 4);
}

void store_output_rows(kernel *k, val f, const amx_block *at) {
    ir *b = &k->b;
    int element = row_element_bytes(k->p->dtype);
    val column = ir_mulc(b, at->column, (int64_t)AMX_TILE * element);
    ir_loop rows;
    ir_loop_begin(b, &rows, ir_int(b, 0), ir_int(b, (int64_t)at->mr * AMX_TILE), ir_int(b, 1), NULL, 0);
    val row = ir_add(b, at->row, rows.index), y[2];
    val factor = ir_splat(b, ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_fix, NULL, 0), ir_mulc(b, row, 4))));
    val to = ir_at(b, ir_load_ptr(b, ir_at(b, frame_at(k, f, k->out_rows, NULL, 0), ir_mulc(b, row, 8)), 0), column);
    for (int c = 0; c < at->nr; c++)
        y[c] = ir_fmul(b, factor, ir_load_v(b, frame_at(k, f, k->tile_out, rows.index, c * AMX_TILE)));
    if (at->nr == 2 && k->p->dtype == NHA_BF16 && k->V % AMX_TILE == 0)
        ir_store(b, amx_row(b, y[0], y[1]), to, 2);
    else
        for (int c = 0; c < at->nr; c++)
            store_values(k, y[c], ir_atc(b, to, (int64_t)c * AMX_TILE * element), ir_addc(b, at->column, c));
    ir_loop_end(b, &rows, NULL);
}

/* ---- store_out(scratch, first token of the chunk): o = out / l, lse = m ln2 + ln l ---- */

static void emit_divide_out(prefill *x) {
    kernel *k = x->k;
    ir *b = &k->b;
    const size_t o = offsetof(nha_cpu_args, o), lse = offsetof(nha_cpu_args, lse);
    x->store_out = phase_begin(k, "store_out", "pi", (const char *const[]){"scratch", "first"});
    val f = ir_param(b, 0), first = ir_param(b, 1);
    val count = ir_min(b, ir_sub(b, frame_i64(k, f, FRAME_LENGTH), first), ir_int(b, k->chunk));
    ir_loop rows, tokens, heads;
    ir_loop_begin(b, &rows, ir_int(b, 0), ir_int(b, (int64_t)k->chunk_rows * 4), ir_int(b, b->vl * 4), NULL, 0);
    val m = ir_load_v(b, ir_at(b, frame_at(k, f, k->row_max, NULL, 0), rows.index));
    val l = ir_load_v(b, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), rows.index));
    ir_store_v(b, ir_fma(b, m, ir_vfloat(b, 0.69314718055994530942), ir_log(b, l)),
               ir_at(b, frame_at(k, f, k->row_fix, NULL, 0), rows.index));
    ir_loop_end(b, &rows, NULL);
    val wanted = LLVMBuildNot(b->builder, ir_is_null(b, frame_arg_ptr(k, f, lse + offsetof(nha_cpu_tensor, data))), "");
    ir_loop_begin(b, &tokens, ir_int(b, 0), count, ir_int(b, 1), NULL, 0);
    ir_loop_begin(b, &heads, ir_int(b, 0), ir_int(b, k->G), ir_int(b, 1), NULL, 0);
    val row = ir_add(b, ir_mulc(b, tokens.index, k->G), heads.index), token = ir_add(b, first, tokens.index);
    val sum = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_sum, NULL, 0), ir_mulc(b, row, 4)));
    val inverse = ir_fdiv(b, ir_float(b, 1), sum), to = strided(k, f, FRAME_O, o, token, heads.index);
    if (k->amx && k->p->dtype == NHA_F16)
        for (int c = 0; c < k->vv; c++) {
            val x = ir_fmul(b, ir_splat(b, inverse), ir_load_v(b, frame_at(k, f, k->out, row, c * AMX_TILE)));
            store_values(k, x, ir_atc(b, to, (int64_t)c * AMX_TILE * 2), ir_int(b, c));
        }
    else
        row_store(b, k->V, k->p->dtype, frame_at(k, f, k->out, row, 0), to, inverse);
    ir_if write;
    ir_if_begin(b, &write, wanted);
    val value = ir_load_f32(b, ir_at(b, frame_at(k, f, k->row_fix, NULL, 0), ir_mulc(b, row, 4)));
    ir_store(b, value, strided(k, f, FRAME_LSE, lse, token, heads.index), 4);
    ir_if_end(b, &write);
    ir_loop_end(b, &heads, NULL);
    ir_loop_end(b, &tokens, NULL);
    phase_end(k);
}

void emit_store_out(prefill *x) {
    if (x->k->direct_out)
        emit_list_outputs(x);
    else
        emit_divide_out(x);
}
