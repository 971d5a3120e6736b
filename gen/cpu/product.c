/* product.c: products between buffers, on tile_product. */
#include "gen/cpu/product.h"

void product_columns(ir *b, product *p, int count, val from, int ldb, val to, int ldc) {
    for (int i = 0; i < count; i++, p->columns++) {
        p->b[p->columns] = ir_atc(b, from, (int64_t)i * b->vl * 4);
        p->ldb[p->columns] = ldb;
        p->c[p->columns] = ir_atc(b, to, (int64_t)i * b->vl * 4);
        p->ldc[p->columns] = ldc;
    }
}

void product_accumulate(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    const product *p = context;
    tile_chain chain = {.a = ir_at(b, p->a, ir_mulc(b, row, (int64_t)p->lda * 4)), .lda = p->lda, .inner = p->inner};
    chain.inner_value = p->inner_value;
    chain.unroll = p->unroll;
    for (int j = 0; j < nv; j++) {
        chain.b_col[j] = p->b[col + j];
        chain.ldb[j] = p->ldb[col + j];
    }
    tile_accumulate(b, acc, mr, nv, &chain);
}

val product_c(ir *b, const product *p, val row, int r, int col) {
    val at = ir_at(b, p->c[col], ir_mulc(b, row, (int64_t)p->ldc[col] * 4));
    return ir_atc(b, at, (int64_t)r * p->ldc[col] * 4);
}

void product_store(ir *b, void *context, val *acc, int mr, int nv, val row, int col) {
    for (int r = 0; r < mr; r++)
        for (int j = 0; j < nv; j++)
            ir_store_v(b, acc[r * nv + j], product_c(b, context, row, r, col + j));
}
