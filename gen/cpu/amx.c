/* amx.c: tile instructions as intrinsics with physical tile numbers, blocks of products, and conversion to bf16.
 * Physical numbers, not LLVM's tile values: a fixed scheme needs no allocation, and works at every level of code generation. */
#include "gen/cpu/amx.h"

#include <string.h>

enum { TILE_A = 4, TILE_B = 6, UNROLL_MAX = 8 };

static val intrinsic(ir *b, const char *name, val *args, int count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    val fn = LLVMGetIntrinsicDeclaration(b->module, id, NULL, 0);
    return LLVMBuildCall2(b->builder, LLVMGlobalGetValueType(fn), fn, args, (unsigned)count, "");
}

static val tile_number(ir *b, int tile) {
    return LLVMConstInt(LLVMInt8TypeInContext(b->context), (unsigned)tile, 0);
}

static void tile_memory(ir *b, const char *name, int tile, val at, int ld) {
    intrinsic(b, name, (val[]){tile_number(b, tile), at, ir_int(b, ld)}, 3);
}

int64_t amx_right_bytes(const amx_right *right) {
    return (int64_t)right->parts * right->inner * right->columns * AMX_TILE_BYTES;
}

static void load_left(ir *b, const amx_product *p, val a, const amx_block *at) {
    for (int r = 0; r < at->mr; r++)
        tile_memory(b, "llvm.x86.tileloadd64", TILE_A + r, ir_atc(b, a, (int64_t)r * AMX_TILE * p->left.lda), p->left.lda);
}

/* t: of each column */
static void load_right(ir *b, const val *t, int64_t part, const amx_block *at) {
    for (int c = 0; c < at->nr; c++)
        tile_memory(b, "llvm.x86.tileloadd64", TILE_B + c, ir_atc(b, t[c], part), 64);
}

static void multiply(ir *b, const amx_block *at) {
    for (int r = 0; r < at->mr; r++)
        for (int c = 0; c < at->nr; c++) {
            val args[] = {tile_number(b, r * 2 + c), tile_number(b, TILE_A + r), tile_number(b, TILE_B + c)};
            intrinsic(b, "llvm.x86.tdpbf16ps", args, 3);
        }
}

/* One step of 32 at a (of this row) and t (of these columns): low x high, high x high, high x low, so that each product needs one
 * new operand. */
static void step(ir *b, const amx_product *p, val a, const val *t, const amx_block *at) {
    int64_t part = (int64_t)p->right.inner * p->right.columns * AMX_TILE_BYTES;
    load_right(b, t, 0, at);
    for (int low = p->left.parts - 1; low >= 0; low--) {
        load_left(b, p, ir_atc(b, a, (int64_t)low * p->left.part), at);
        multiply(b, at);
    }
    if (p->right.parts > 1) {
        load_right(b, t, part, at);
        multiply(b, at);
    }
}

static int orders(const amx_product *p) {
    return p->left.parts > p->right.parts ? p->left.parts : p->right.parts;
}

/* With three parts, by falling order of the right one. */
static void step_parts(ir *b, const amx_product *p, val a, const val *t, const amx_block *at) {
    int64_t part = (int64_t)p->right.inner * p->right.columns * AMX_TILE_BYTES;
    for (int r = p->right.parts - 1; r >= 0; r--) {
        load_right(b, t, r * part, at);
        for (int l = p->left.parts - 1; l >= 0; l--) {
            if (l + r >= orders(p))
                continue;
            load_left(b, p, ir_atc(b, a, (int64_t)l * p->left.part), at);
            multiply(b, at);
        }
    }
}

static void multiply_column(ir *b, const amx_product *p, val a, const amx_block *at, int l, const int *right, int count) {
    for (int r = 0; r < at->mr; r++) {
        int tile = TILE_A + r % 2;
        tile_memory(b, "llvm.x86.tileloadd64", tile, ir_atc(b, a, (int64_t)r * AMX_TILE * p->left.lda + (int64_t)l * p->left.part),
                    p->left.lda);
        for (int n = 0; n < count; n++) {
            val args[] = {tile_number(b, r), tile_number(b, tile), tile_number(b, right[n])};
            intrinsic(b, "llvm.x86.tdpbf16ps", args, 3);
        }
    }
}

/* The same for a column of four accumulators: two tiles of A by turns; of B both parts at hand, or of three the one under way. */
static void step_column(ir *b, const amx_product *p, val a, val t, const amx_block *at) {
    int64_t part = (int64_t)p->right.inner * p->right.columns * AMX_TILE_BYTES;
    if (orders(p) > 2) {
        for (int r = p->right.parts - 1; r >= 0; r--) {
            int tile = TILE_B + r % 2;
            tile_memory(b, "llvm.x86.tileloadd64", tile, ir_atc(b, t, r * part), 64);
            for (int l = p->left.parts - 1; l >= 0; l--)
                if (l + r < orders(p))
                    multiply_column(b, p, a, at, l, &tile, 1);
        }
        return;
    }
    const int right[] = {TILE_B + 1, TILE_B};
    for (int n = 0; n < p->right.parts; n++)
        tile_memory(b, "llvm.x86.tileloadd64", TILE_B + n, ir_atc(b, t, n * part), 64);
    for (int l = p->left.parts - 1; l >= 0; l--) {
        bool both = l == 0 && p->right.parts > 1;
        multiply_column(b, p, a, at, l, right + !both, 1 + both);
    }
}

/* Step s (i64) of the inner dimension, by the shape of the block and the number of parts. */
static void any_step(ir *b, const amx_product *p, const amx_block *at, val s, amx_half half) {
    val a = ir_at(b, ir_at(b, p->a, ir_mulc(b, at->row, p->left.lda)), ir_mulc(b, s, AMX_INNER * 2));
    val behind = ir_mulc(b, s, (int64_t)p->right.columns * AMX_TILE_BYTES), right[2];
    right[0] = ir_at(b, ir_at(b, p->b, ir_mulc(b, at->column, AMX_TILE_BYTES)), behind);
    if (at->nr > 1)
        right[1] = at->second ? ir_at(b, at->second, behind) : ir_atc(b, right[0], AMX_TILE_BYTES);
    if (at->mr <= 2 && p->left.parts == 1 && p->right.parts == 1) {
        if (half & AMX_LOADS) {
            load_right(b, right, 0, at);
            load_left(b, p, a, at);
        }
        if (half & AMX_PRODUCTS)
            multiply(b, at);
        return;
    }
    if (!(half & AMX_PRODUCTS))
        return;
    if (at->mr > 2)
        step_column(b, p, a, right[0], at);
    else if (orders(p) > 2)
        step_parts(b, p, a, right, at);
    else
        step(b, p, a, right, at);
}

void amx_accumulate_step(ir *b, const amx_product *p, const amx_block *at, int s, amx_half half) {
    any_step(b, p, at, ir_int(b, s), half);
}

void amx_accumulate(ir *b, const amx_product *p, const amx_block *at) {
    if (p->right.inner <= UNROLL_MAX) {
        for (int s = 0; s < p->right.inner; s++)
            amx_accumulate_step(b, p, at, s, AMX_WHOLE);
        return;
    }
    ir_loop loop;
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, p->right.inner), ir_int(b, 1), NULL, 0);
    any_step(b, p, at, loop.index, AMX_WHOLE);
    ir_loop_end(b, &loop, NULL);
}

static int accumulator(const amx_block *at, int r, int c) {
    return at->mr > 2 ? r : r * 2 + c;
}

void amx_zero(ir *b, const amx_block *at) {
    for (int r = 0; r < at->mr; r++)
        for (int c = 0; c < at->nr; c++)
            intrinsic(b, "llvm.x86.tilezero", (val[]){tile_number(b, accumulator(at, r, c))}, 1);
}

static void move(ir *b, const char *name, const amx_block *at, val memory, int ld) {
    for (int r = 0; r < at->mr; r++)
        for (int c = 0; c < at->nr; c++)
            tile_memory(b, name, accumulator(at, r, c), ir_atc(b, memory, (int64_t)r * AMX_TILE * ld + c * 64), ld);
}

void amx_load(ir *b, const amx_block *at, val memory, int ld) {
    move(b, "llvm.x86.tileloadd64", at, memory, ld);
}

void amx_store(ir *b, const amx_block *at, val memory, int ld) {
    move(b, "llvm.x86.tilestored64", at, memory, ld);
}

void amx_store_column(ir *b, const amx_block *at, int column, val memory, int ld) {
    for (int r = 0; r < at->mr; r++)
        tile_memory(b, "llvm.x86.tilestored64", accumulator(at, r, column), ir_atc(b, memory, (int64_t)r * AMX_TILE * ld), ld);
}

/* Blocks of one or two tile columns and of rows `from` .. from + rows */
static void walk_rows(ir *b, val from, int rows, val column, int nr, void *context, amx_visit visit) {
    int whole = rows / AMX_BLOCK * AMX_BLOCK;
    if (whole) {
        ir_loop loop;
        ir_loop_begin(b, &loop, from, ir_addc(b, from, whole), ir_int(b, AMX_BLOCK), NULL, 0);
        visit(b, context, &(amx_block){loop.index, column, 2, nr, NULL});
        ir_loop_end(b, &loop, NULL);
    }
    if (rows > whole)
        visit(b, context, &(amx_block){ir_addc(b, from, whole), column, 1, nr, NULL});
}

static void walk_columns(ir *b, val from, int rows, int columns, void *context, amx_visit visit) {
    int pairs = columns / 2;
    if (pairs > 1) {
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, 2 * pairs), ir_int(b, 2), NULL, 0);
        walk_rows(b, from, rows, loop.index, 2, context, visit);
        ir_loop_end(b, &loop, NULL);
    } else if (pairs == 1) {
        walk_rows(b, from, rows, ir_int(b, 0), 2, context, visit);
    }
    if (columns % 2)
        walk_rows(b, from, rows, ir_int(b, columns - 1), 1, context, visit);
}

void amx_blocks(ir *b, int rows, int columns, void *context, amx_visit visit) {
    int whole = rows / AMX_GROUP_ROWS * AMX_GROUP_ROWS;
    if (whole == rows && whole > AMX_GROUP_ROWS) {
        ir_loop loop;
        ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, whole), ir_int(b, AMX_GROUP_ROWS), NULL, 0);
        walk_columns(b, loop.index, AMX_GROUP_ROWS, columns, context, visit);
        ir_loop_end(b, &loop, NULL);
    } else {
        walk_columns(b, ir_int(b, 0), rows, columns, context, visit);
    }
}

void amx_configure(ir *b) {
    /* palette 1; bytes a row of tile i at 16 + 2 i; rows at 48 + i. Intel SDM, LDTILECFG. */
    val byte[64];
    for (int i = 0; i < 64; i++) {
        int v = i == 0 ? 1 : i >= 16 && i < 32 && i % 2 == 0 ? 64 : i >= 48 && i < 56 ? AMX_TILE : 0;
        byte[i] = tile_number(b, v);
    }
    val global = LLVMGetNamedGlobal(b->module, "tile_configuration");
    if (!global) {
        val init = LLVMConstArray(LLVMInt8TypeInContext(b->context), byte, 64);
        global = LLVMAddGlobal(b->module, LLVMTypeOf(init), "tile_configuration");
        LLVMSetInitializer(global, init);
        LLVMSetGlobalConstant(global, 1);
        LLVMSetLinkage(global, LLVMPrivateLinkage);
        LLVMSetAlignment(global, 64);
    }
    intrinsic(b, "llvm.x86.ldtilecfg", &global, 1);
}

void amx_keep_awake(ir *b) {
    multiply(b, &(amx_block){.mr = 1, .nr = 1});
}

void amx_release(ir *b) {
    intrinsic(b, "llvm.x86.tilerelease", NULL, 0);
}

/* ---- conversion ---- */

/* x, then y, rounded: <32 x i16> */
static val rounded(ir *b, val x, val y) {
    val packed = intrinsic(b, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", (val[]){y, x}, 2);
    return ir_bitcast(b, packed, LLVMVectorType(b->i16, 32));
}

static val interleaved(ir *b, val words) {
    int mask[32];
    for (int i = 0; i < 32; i++)
        mask[i] = i / 2 + i % 2 * 16;
    return ir_bitcast(b, ir_shuffle(b, words, NULL, mask, 32), b->vi);
}

val amx_row(ir *b, val x, val y) {
    return ir_bitcast(b, rounded(b, x, y), b->vi);
}

/* The upper sixteen bits of x, cut off or rounded (ties away from zero): its bits, and x without them, exactly. */
static val upper(ir *b, bool nearest, val *x) {
    val bits = ir_bitcast(b, *x, b->vi);
    if (nearest)
        bits = ir_add(b, bits, ir_vint(b, 0x8000));
    bits = ir_and(b, bits, ir_vint(b, (int32_t)0xffff0000));
    *x = ir_fsub(b, *x, ir_bitcast(b, bits, b->vf));
    return bits;
}

/* The upper halves of words: of x below those of y. By name, as LLVM would make a shuffle of three slots of it. */
static val upper_pairs(ir *b, val x, val y) {
    enum { THIRD_CHOOSES_SECOND = 0xd8 };
    val low = LLVMBuildLShr(b->builder, x, ir_vint(b, 16), ""), mask = ir_vint(b, (int32_t)0xffff0000);
    val args[] = {low, y, mask, ir_i32(b, THIRD_CHOOSES_SECOND)};
    return intrinsic(b, "llvm.x86.avx512.pternlog.d.512", args, 4);
}

static val rounding(ir *b, val x) {
    return ir_add(b, ir_bitcast(b, x, b->vi), ir_vint(b, 0x8000));
}

void amx_pairs_parts(ir *b, val x, val y, int parts, bool nearest, val *out) {
    for (int i = 0; i + 1 < parts; i++) {
        val low = upper(b, nearest, &x), high = upper(b, nearest, &y);
        out[i] = upper_pairs(b, low, high);
    }
    if (parts > 1) /* a rest may be rounded in integers, which is quicker: what is not finite shows in the first part */
        out[parts - 1] = upper_pairs(b, rounding(b, x), rounding(b, y));
    else
        out[0] = interleaved(b, rounded(b, x, y));
}

val amx_row_exact(ir *b, val x, val y) {
    LLVMTypeRef words = LLVMVectorType(b->i16, 32);
    int odd[32];
    for (int i = 0; i < 32; i++)
        odd[i] = 2 * i + 1;
    return ir_bitcast(b, ir_shuffle(b, ir_bitcast(b, x, words), ir_bitcast(b, y, words), odd, 32), b->vi);
}

void amx_row_parts(ir *b, val x, val y, int parts, bool nearest, val *out) {
    for (int i = 0; i + 1 < parts; i++) {
        val first = upper(b, nearest, &x), second = upper(b, nearest, &y);
        out[i] = amx_row_exact(b, first, second);
    }
    out[parts - 1] = amx_row(b, x, y);
}

void amx_half_parts(ir *b, val x, int parts, bool nearest, val *out) {
    LLVMTypeRef half = LLVMVectorType(b->i16, 16);
    for (int i = 0; i + 1 < parts; i++)
        out[i] = LLVMBuildTrunc(b->builder, LLVMBuildLShr(b->builder, upper(b, nearest, &x), ir_vint(b, 16), ""), half, "");
    val packed = intrinsic(b, "llvm.x86.avx512bf16.cvtneps2bf16.512", &x, 1);
    out[parts - 1] = ir_bitcast(b, packed, half);
}
