/* tile.c: products by broadcasting A and streaming B, and the other verbs of the tile layer. */
#include "gen/cpu/tile.h"

#include "gen/cpu/ir_math.h"

int tile_even(int n, int block) {
    int blocks = (n + block - 1) / block;
    return (n + blocks - 1) / blocks;
}

/* One step k of the chain; kk: i64 index or NULL, plus the constant k. */
static void chain_step(ir *b, val *acc, int mr, int nv, const tile_chain *c, val kk, int k) {
    val bv[TILE_COLUMNS_MAX];
    for (int j = 0; j < nv; j++) {
        val p = kk ? ir_at(b, c->b_col[j], ir_mulc(b, kk, (int64_t)c->ldb[j] * 4)) : c->b_col[j];
        bv[j] = ir_load_v(b, ir_atc(b, p, (int64_t)k * c->ldb[j] * 4));
    }
    val a = kk ? ir_at(b, c->a, ir_mulc(b, kk, 4)) : c->a;
    for (int r = 0; r < mr; r++) {
        val av = ir_splat(b, ir_load_f32(b, ir_atc(b, a, ((int64_t)r * c->lda + k) * 4)));
        for (int j = 0; j < nv; j++)
            acc[r * nv + j] = ir_fma(b, av, bv[j], acc[r * nv + j]);
        ir_barrier(b); /* else LLVM loads rows and steps ahead, and spills */
    }
}

void tile_accumulate(ir *b, val *acc, int mr, int nv, const tile_chain *c) {
    ir_loop loop;
    if (c->inner_value) {
        ir_loop_begin(b, &loop, ir_int(b, 0), c->inner_value, ir_int(b, 1), acc, mr * nv);
        chain_step(b, acc, mr, nv, c, loop.index, 0);
        ir_loop_end(b, &loop, acc);
        return;
    }
    int looped = c->inner / c->unroll * c->unroll;
    if (looped <= c->unroll)
        looped = 0; /* short: straight-line */
    if (looped) {
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, looped), ir_int(b, c->unroll), acc, mr * nv);
        for (int u = 0; u < c->unroll; u++)
            chain_step(b, acc, mr, nv, c, loop.index, u);
        ir_loop_end(b, &loop, acc);
    }
    for (int k = looped; k < c->inner; k++)
        chain_step(b, acc, mr, nv, c, NULL, k);
}

static void product_block(ir *b, int mr, int nv, val row, int col, void *context, tile_step accumulate, tile_step finish) {
    val acc[TILE_ACC_MAX];
    for (int i = 0; i < mr * nv; i++)
        acc[i] = ir_zero(b);
    accumulate(b, context, acc, mr, nv, row, col);
    finish(b, context, acc, mr, nv, row, col);
}

void tile_product(ir *b, int rows, int vectors, int block_rows, int block_vectors, void *context, tile_step accumulate,
                  tile_step finish) {
    int nv_even = tile_even(vectors, block_vectors), mr = tile_even(rows, block_rows);
    int looped = rows / mr * mr;
    for (int col = 0; col < vectors; col += nv_even) {
        int nv = vectors - col < nv_even ? vectors - col : nv_even;
        if (looped == mr) {
            product_block(b, mr, nv, ir_int(b, 0), col, context, accumulate, finish);
        } else {
            ir_loop loop;
            ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, looped), ir_int(b, mr), NULL, 0);
            product_block(b, mr, nv, loop.index, col, context, accumulate, finish);
            ir_loop_end(b, &loop, NULL);
        }
        if (rows > looped)
            product_block(b, rows - looped, nv, ir_int(b, looped), col, context, accumulate, finish);
    }
}

void tile_transpose(ir *b, val *r) {
    int n = b->vl, lo[IR_VECTOR_MAX], hi[IR_VECTOR_MAX];
    for (int i = 0; i < n / 2; i++) {
        lo[2 * i] = i;
        lo[2 * i + 1] = i + n;
        hi[2 * i] = n / 2 + i;
        hi[2 * i + 1] = n / 2 + i + n;
    }
    for (int round = 1; round < n; round *= 2) {
        val next[IR_VECTOR_MAX];
        for (int i = 0; i < n / 2; i++) {
            next[2 * i] = ir_shuffle(b, r[i], r[i + n / 2], lo, n);
            next[2 * i + 1] = ir_shuffle(b, r[i], r[i + n / 2], hi, n);
        }
        for (int i = 0; i < n; i++)
            r[i] = next[i];
    }
}

void tile_pieces(ir *b, int n, void *context, tile_piece visit) {
    int offset = 0, whole = n / b->vl;
    if (whole > 4) {
        ir_loop loop;
        offset = whole * b->vl;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, offset), ir_int(b, b->vl), NULL, 0);
        visit(b, context, loop.index, b->vl);
        ir_loop_end(b, &loop, NULL);
    }
    for (int width = b->vl; width >= 1; width /= 2)
        for (; n - offset >= width; offset += width)
            visit(b, context, ir_int(b, offset), width);
}

void tile_pieces_woven(ir *b, int n, void *context, tile_piece visit) {
    const int side = b->isa->registers >= 32 ? 4 : 2, whole = n / b->vl;
    ir_strands strands = {0};
    int offset = 0;
    if (whole / side > 1) {
        ir_loop loop;
        offset = whole / side * side * b->vl;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, offset), ir_int(b, side * b->vl), NULL, 0);
        for (int i = 0; i < side; i++) {
            ir_strand_begin(b, &strands);
            visit(b, context, ir_addc(b, loop.index, i * b->vl), b->vl);
        }
        ir_strands_weave(b, &strands);
        ir_loop_end(b, &loop, NULL);
    }
    for (int width = b->vl; width >= 1; width /= 2)
        for (; n - offset >= width; offset += width) {
            if (strands.count == side)
                ir_strands_weave(b, &strands);
            ir_strand_begin(b, &strands);
            visit(b, context, ir_int(b, offset), width);
        }
    ir_strands_weave(b, &strands);
}

void tile_zero(ir *b, val to, int64_t floats) {
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, floats * 4), ir_int(b, b->vl * 4), NULL, 0);
    ir_store_v(b, ir_zero(b), ir_at(b, to, loop.index));
    ir_loop_end(b, &loop, NULL);
}

void tile_copy(ir *b, val to, val from, int64_t floats) {
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, floats * 4), ir_int(b, b->vl * 4), NULL, 0);
    ir_store_v(b, ir_load_v(b, ir_at(b, from, loop.index)), ir_at(b, to, loop.index));
    ir_loop_end(b, &loop, NULL);
}

val tile_map(ir *b, int map, val x) {
    if (map == NHA_MAP_SILU)
        return ir_silu(b, x);
    if (map == NHA_MAP_RELU)
        return ir_fmax(b, x, ir_like(b, x, 0));
    return x;
}
