/* amx.h: products on AMX tiles. C[rows][columns] fp32 = sum of A B over terms, A row-major bf16, B in tiles of pairs (VNNI), with the
 * physical tiles in a fixed scheme: 0-3 a block of 2 x 2 accumulators, 4-5 rows of A, 6-7 columns of B. */
#ifndef GEN_CPU_AMX_H
#define GEN_CPU_AMX_H

#include "gen/cpu/ir.h"

enum {
    AMX_TILE = 16,        /* rows of a tile; fp32 columns of an accumulator */
    AMX_INNER = 32,       /* bf16 a row of a tile: a step of the inner dimension */
    AMX_TILE_BYTES = 1024,
    AMX_PARTS_MAX = 3,
    AMX_BLOCK = 32,       /* rows and columns of 2 x 2 accumulators */
    AMX_GROUP_ROWS = 64,  /* of a left operand, which stay in the first-level cache while columns of the right one go by */
    AMX_CHUNK_ROWS = 256  /* more rows of scores than that leave the second-level cache */
};

/* Left operand: element (row, i) of part p is bf16 number i at at + row * lda + p * part. Rows: a multiple of AMX_TILE. */
typedef struct amx_left {
    int64_t at; /* byte offset in scratch */
    int lda;    /* bytes */
    int parts;  /* the value is the sum of so many bf16, AMX_PARTS_MAX at most */
    int part;   /* bytes */
    bool nearest; /* parts but the last are rounded to nearest, else truncated: see amx_row_parts */
} amx_left;

/* Right operand [inner * 32][columns * 16]: tile (s, c) of part p at at + ((p * inner + s) * columns + c) * 1024, its row r holds the
 * pairs (b[32 s + 2 r][j], b[32 s + 2 r + 1][j]), j = 16 c .. 16 c + 15. */
typedef struct amx_right {
    int64_t at; /* byte offset in scratch, or from a base of its own */
    int inner, columns, parts;
    bool nearest;
} amx_right;
int64_t amx_right_bytes(const amx_right *right);

/* A times B. Of two by two parts low times low is left out; of more all products whose orders (0: high) add up to more than the largest
 * number of parts allows: 6 of the 9 of three by three. Small ones are added first. */
typedef struct amx_product {
    val a; /* part 0: row 0, inner 0 */
    amx_left left;
    val b; /* part 0: tile (0, 0) */
    amx_right right;
} amx_product;

/* A block of accumulators: mr x nr tiles, each 1 or 2, or 4 x 1, from row and column of tiles (i64) on. */
typedef struct amx_block {
    val row, column;
    int mr, nr;
    val second; /* the second column of the right operand, part 0, inner 0; NULL: behind the first */
} amx_block;
/* Accumulators += A B */
void amx_accumulate(ir *b, const amx_product *p, const amx_block *at);
/* Step s of right.inner alone; or of a step its first half, and later the second, between which no tile but the accumulators may be
 * touched: the operands are on their way meanwhile. Of more than one part all is in the second half. */
typedef enum amx_half { AMX_LOADS = 1, AMX_PRODUCTS = 2, AMX_WHOLE = 3 } amx_half;
void amx_accumulate_step(ir *b, const amx_product *p, const amx_block *at, int s, amx_half half);
void amx_zero(ir *b, const amx_block *at);
/* Accumulators from and to fp32 memory: `memory` is (row, column) itself, ld in bytes. */
void amx_load(ir *b, const amx_block *at, val memory, int ld);
void amx_store(ir *b, const amx_block *at, val memory, int ld);
/* Column 0 or 1 alone; `memory` is its first row. */
void amx_store_column(ir *b, const amx_block *at, int column, val memory, int ld);

/* Calls `visit` for the blocks of rows (a multiple of 16) x columns (of tiles), rows inside, in groups of AMX_GROUP_ROWS. */
typedef void (*amx_visit)(ir *b, void *context, const amx_block *at);
void amx_blocks(ir *b, int rows, int columns, void *context, amx_visit visit);

/* All tiles 16 rows of 64 bytes; and none configured, which keeps context switches cheap. */
void amx_configure(ir *b);
void amx_release(ir *b);
/* A product for nothing, of whatever tiles hold; the accumulators are lost. */
void amx_keep_awake(ir *b);

/* ---- fp32 vectors of 16 to bf16, to nearest even; 64 bytes as <16 x i32> ---- */

/* x, then y: 32 elements of a row of a left operand. */
val amx_row(ir *b, val x, val y);
/* The same where x and y are bf16. */
val amx_row_exact(ir *b, val x, val y);
/* The same in `parts` parts, high ones first, whose sum is x: each but the last is cut off, and the last is what is left, rounded: 2^-16
 * of x for two, 2^-24 for three. Cutting is an instruction cheaper than rounding (`nearest`), but leaves rests of one sign, whose products,
 * where they are left out, add up to 1.5e-5 of the result. */
void amx_row_parts(ir *b, val x, val y, int parts, bool nearest, val *out);
/* (x0, y0, x1, y1, ...): a row of a right tile, in parts. */
void amx_pairs_parts(ir *b, val x, val y, int parts, bool nearest, val *out);
/* 16 elements, 32 bytes, as <16 x i16>, in parts. */
void amx_half_parts(ir *b, val x, int parts, bool nearest, val *out);

#endif
