/* tile.h: the verbs kernels are written in: register-blocked products, transposes, rows in and out of user memory. */
#ifndef GEN_CPU_TILE_H
#define GEN_CPU_TILE_H

#include "gen/cpu/ir.h"

enum { TILE_ACC_MAX = IR_CARRIED_MAX, TILE_COLUMNS_MAX = 32 };

/* acc[r * nv + c] += sum over k < inner of A[r][k] * B_c[k][0..vl):  A row-major, row stride lda floats, first row at a; B_c one vector wide,
 * row stride ldb[c] floats, at b_col[c]. inner_value (i64) if not NULL, else the constant inner. Broadcasts A, streams B. */
typedef struct tile_chain {
    val a;
    int lda;
    val b_col[TILE_COLUMNS_MAX];
    int ldb[TILE_COLUMNS_MAX];
    int inner;
    val inner_value;
    int unroll;
} tile_chain;
void tile_accumulate(ir *b, val *acc, int mr, int nv, const tile_chain *chain);

/* Walks rows x vectors of a product in blocks of at most block_rows x block_vectors accumulators, rows inside: for each block
 * `accumulate` gets zeroed accumulators acc[mr * nv] to add to, then `finish` stores them. row: i64, first row of the block;
 * col: first vector. Blocks are evened out (64 rows by 12: 5 of 11 and one of 9). */
typedef void (*tile_step)(ir *b, void *context, val *acc, int mr, int nv, val row, int col);
void tile_product(ir *b, int rows, int vectors, int block_rows, int block_vectors, void *context, tile_step accumulate,
                  tile_step finish);
/* ceil(n / ceil(n / block)): the evened-out block. */
int tile_even(int n, int block);

/* r[i][j] <-> r[j][i] of vl vectors in registers: log2(vl) rounds of interleaving. */
void tile_transpose(ir *b, val *r);

/* Calls visit for consecutive pieces of n elements: vectors of vl (in a loop if many), then halves of that down to 1. offset: i64, in
 * elements. */
typedef void (*tile_piece)(ir *b, void *context, val offset, int width);
void tile_pieces(ir *b, int n, void *context, tile_piece visit);
/* The same for long chains of arithmetic: as many vectors side by side as the registers hold (ir_strands). A piece must be straight-line code,
 * and may not write what another reads or writes. */
void tile_pieces_woven(ir *b, int n, void *context, tile_piece visit);

/* memory[0..floats) = 0, or = from[0..floats); floats is a multiple of 16. */
void tile_zero(ir *b, val to, int64_t floats);
void tile_copy(ir *b, val to, val from, int64_t floats);

/* map: nha_map */
val tile_map(ir *b, int map, val x);

#endif
