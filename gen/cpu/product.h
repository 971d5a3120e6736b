/* product.h: products whose operands are buffers: C_c[r] (op) sum_k A[r][k] B_c[k], column c one vector wide, each with its own place. */
#ifndef GEN_CPU_PRODUCT_H
#define GEN_CPU_PRODUCT_H

#include "gen/cpu/tile.h"

enum { PRODUCT_COLUMNS_MAX = 96 };

typedef struct product {
    val a; /* row 0 */
    int lda, inner, unroll;
    val inner_value; /* i64, instead of inner; or NULL */
    val b[PRODUCT_COLUMNS_MAX];
    int ldb[PRODUCT_COLUMNS_MAX];
    val c[PRODUCT_COLUMNS_MAX]; /* where finish stores: row 0 */
    int ldc[PRODUCT_COLUMNS_MAX];
    int columns;
} product;

/* Appends `count` adjacent vectors. */
void product_columns(ir *b, product *p, int count, val from, int ldb, val to, int ldc);
/* tile_step functions; context is a product (or a struct that begins with one). */
void product_accumulate(ir *b, void *context, val *acc, int mr, int nv, val row, int col);
void product_store(ir *b, void *context, val *acc, int mr, int nv, val row, int col);
/* C_c + (row + r) * ldc */
val product_c(ir *b, const product *p, val row, int r, int col);

#endif
