/* limits_code.c: see limits_code.h. */
#include "tuner/limits_code.h"

#include <math.h>
#include <string.h>

#include "gen/cpu/amx.h"
#include "gen/cpu/ir_math.h"

static const char *const parameters[] = {"data", "steps", "constants"};
enum {
    LEFT_LD = 2 * LIMIT_PRODUCT_INNER, /* bytes a row */
    RESULT_LD = 4 * LIMIT_PRODUCT_COLUMNS,
    LEFT_BYTES = LIMIT_PRODUCT_ROWS * LEFT_LD,
    RIGHT_BYTES = 2 * LIMIT_PRODUCT_INNER * LIMIT_PRODUCT_COLUMNS,
    RESULT_BYTES = LIMIT_PRODUCT_ROWS * RESULT_LD
};

/* As many as registers allow beside two constants and a product. */
int limit_accumulators(const gen_isa *isa) {
    return isa->registers >= 32 ? 24 : 12;
}

static val begin(ir *b, ir_loop *loop, val *carried, int count) {
    ir_loop_begin(b, loop, ir_int(b, 0), ir_param(b, 1), ir_int(b, 1), carried, count);
    return loop->index;
}

/* The sums must be of use to someone. */
static void store_sums(ir *b, const val *sum, int count) {
    val total = sum[0];
    for (int k = 1; k < count; k++)
        total = ir_fadd(b, total, sum[k]);
    ir_store_v(b, total, ir_atc(b, ir_param(b, 2), 8));
}

static void build_sums(ir *b, tune_limit_kind kind) {
    val x = ir_splat(b, ir_load_f32(b, ir_param(b, 2))), y = ir_splat(b, ir_load_f32(b, ir_atc(b, ir_param(b, 2), 4)));
    val sum[IR_CARRIED_MAX];
    int count = kind == TUNE_LIMIT_FMA ? limit_accumulators(b->isa) : LIMIT_STREAMS,
        carried = kind == TUNE_LIMIT_UPDATE ? 0 : count;
    ir_loop loop;
    for (int k = 0; k < count; k++)
        sum[k] = y;
    val step = begin(b, &loop, sum, carried),
        at = ir_at(b, ir_param(b, 0), ir_mulc(b, step, (int64_t)count * b->vl * 4));
    for (int k = 0; k < count; k++) {
        val place = ir_atc(b, at, (int64_t)k * b->vl * 4);
        if (kind == TUNE_LIMIT_FMA)
            sum[k] = ir_fma(b, sum[k], x, y);
        else if (kind == TUNE_LIMIT_READ)
            sum[k] = ir_fadd(b, sum[k], ir_load_v(b, place));
        else
            ir_store_v(b, ir_fmul(b, ir_load_v(b, place), x), place);
    }
    ir_loop_end(b, &loop, sum);
    if (carried)
        store_sums(b, sum, carried);
}

/* One pass over the arguments, four vectors at a time (two where registers are few), with the instructions that softmax
 * has on this ISA. */
static void build_exp(ir *b) {
    int vectors = b->isa->registers >= 32 ? 4 : 2;
    ir_loop steps, loop;
    begin(b, &steps, NULL, 0);
    ir_loop_begin(b, &loop, ir_int(b, 0), ir_int(b, 4 * LIMIT_EXP_FLOATS), ir_int(b, 4 * vectors * b->vl), NULL, 0);
    val at = ir_at(b, ir_param(b, 0), loop.index), x[4];
    for (int k = 0; k < vectors; k++)
        x[k] = ir_load_v(b, ir_atc(b, at, 4 * k * b->vl));
    for (int k = 0; k < vectors; k++)
        x[k] = b->isa->amx ? ir_exp2_scale(b, x[k], LIMIT_EXP_DEGREE) : ir_exp2(b, x[k], LIMIT_EXP_DEGREE);
    for (int k = 0; k < vectors; k++)
        ir_store_v(b, x[k], ir_atc(b, at, 4 * (LIMIT_EXP_FLOATS + k * b->vl)));
    ir_loop_end(b, &loop, NULL);
    ir_loop_end(b, &steps, NULL);
}

static void product_block(ir *b, void *context, const amx_block *at) {
    const amx_product *p = context;
    val c = ir_at(b, ir_atc(b, ir_param(b, 0), LEFT_BYTES + RIGHT_BYTES),
                  ir_add(b, ir_mulc(b, at->row, RESULT_LD), ir_mulc(b, at->column, 4 * AMX_TILE)));
    amx_zero(b, at);
    amx_accumulate(b, p, at);
    amx_store(b, at, c, RESULT_LD);
}

static void build_product(ir *b) {
    amx_product p = {
        .left = {.lda = LEFT_LD, .parts = 1},
        .right = {.inner = LIMIT_PRODUCT_INNER / AMX_INNER, .columns = LIMIT_PRODUCT_COLUMNS / AMX_TILE, .parts = 1}};
    ir_loop steps;
    amx_configure(b);
    begin(b, &steps, NULL, 0);
    p.a = ir_param(b, 0);
    p.b = ir_atc(b, p.a, LEFT_BYTES);
    amx_blocks(b, LIMIT_PRODUCT_ROWS, p.right.columns, &p, product_block);
    ir_loop_end(b, &steps, NULL);
    amx_release(b);
}

/* ---- Data and results ---- */

int64_t limit_part(tune_limit_kind kind, const gen_isa *isa) {
    if (kind == TUNE_LIMIT_EXP)
        return 2 * LIMIT_EXP_FLOATS;
    if (kind == TUNE_LIMIT_FMA)
        return isa->amx ? (LEFT_BYTES + RIGHT_BYTES + RESULT_BYTES) / 4 : 16;
    return 0;
}

bool limit_checked(tune_limit_kind kind, const gen_isa *isa) {
    return kind == TUNE_LIMIT_EXP || (kind == TUNE_LIMIT_FMA && isa->amx);
}

/* Integers from -2 to 2 and from -3 to 3: sums of 128 products are exact in fp32. */
static int left_at(int row, int inner) {
    return (row * 3 + inner) % 5 - 2;
}

static int right_at(int inner, int column) {
    return (inner * 5 + column * 2) % 7 - 3;
}

static uint16_t bf16_of(int integer) {
    float f = (float)integer;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static float argument(int index) { /* of 2^x: 0 down to -16 */
    return -16.0f * (float)index / LIMIT_EXP_FLOATS;
}

void limit_fill(tune_limit_kind kind, float *part) {
    uint16_t *left = (uint16_t *)(void *)part, *right = left + LEFT_BYTES / 2;
    for (int i = 0; kind == TUNE_LIMIT_EXP && i < LIMIT_EXP_FLOATS; i++)
        part[i] = argument(i);
    for (int i = 0; kind == TUNE_LIMIT_FMA && i < LIMIT_PRODUCT_INNER; i++) {
        int tiles = LIMIT_PRODUCT_COLUMNS / AMX_TILE;
        for (int r = 0; r < LIMIT_PRODUCT_ROWS; r++)
            left[r * LIMIT_PRODUCT_INNER + i] = bf16_of(left_at(r, i));
        for (int c = 0; c < LIMIT_PRODUCT_COLUMNS;
             c++) { /* tile (i / 32, c / 16), its row of pairs, the pair, its half */
            int tile = i / AMX_INNER * tiles + c / AMX_TILE, row = i % AMX_INNER / 2;
            right[tile * AMX_TILE_BYTES / 2 + row * AMX_INNER + c % AMX_TILE * 2 + i % 2] = bf16_of(right_at(i, c));
        }
    }
}

bool limit_right(tune_limit_kind kind, const float *part) {
    const float *result = part + (kind == TUNE_LIMIT_EXP ? LIMIT_EXP_FLOATS : (LEFT_BYTES + RIGHT_BYTES) / 4);
    for (int i = 0; kind == TUNE_LIMIT_EXP && i < LIMIT_EXP_FLOATS; i++)
        if (!(fabs(result[i] / exp2((double)argument(i)) - 1) < 1e-6))
            return false;
    for (int r = 0; kind == TUNE_LIMIT_FMA && r < LIMIT_PRODUCT_ROWS; r++)
        for (int c = 0; c < LIMIT_PRODUCT_COLUMNS; c++) {
            int sum = 0;
            for (int i = 0; i < LIMIT_PRODUCT_INNER; i++)
                sum += left_at(r, i) * right_at(i, c);
            if (result[r * LIMIT_PRODUCT_COLUMNS + c] != (float)sum)
                return false;
        }
    return true;
}

bool limit_compile(tune_limit_kind kind, const gen_isa *isa, jit_code **code, limit_fn *fn, err *e) {
    static const char *const names[] = {"nhac_limit_fma", "nhac_limit_read", "nhac_limit_update", "nhac_limit_exp"};
    bool ok = false;
    jit_object object = {0};
    LLVMContextRef context = LLVMContextCreate();
    ir b;
    ir_init(&b, context, "limits", isa);
    ir_function(&b, names[kind], "pip", parameters, true);
    if (kind == TUNE_LIMIT_EXP)
        build_exp(&b);
    else if (kind == TUNE_LIMIT_FMA && isa->amx)
        build_product(&b);
    else
        build_sums(&b, kind);
    ir_return(&b);
    ir_finish(&b);
    if (!jit_compile(b.module, isa, &object, e) || !jit_load(object.bytes, object.size, code, e))
        goto done;
    void *address = jit_symbol(*code, names[kind], e);
    if (!address)
        goto done;
    memcpy(fn, &address, sizeof address);
    ok = true;
done:
    jit_object_destroy(&object);
    LLVMDisposeModule(b.module);
    LLVMContextDispose(context);
    return ok;
}
