/* ir.c: the tile layer: values, memory and control over the LLVM C API. No allocas: values are SSA, loops carry phis, so that the
 * code generator needs no IR pass before it. */
#include "gen/cpu/ir.h"

#include <stdio.h>
#include <string.h>

void ir_init(ir *b, LLVMContextRef context, const char *module, const gen_isa *isa) {
    memset(b, 0, sizeof *b);
    b->context = context;
    b->module = LLVMModuleCreateWithNameInContext(module, context);
    b->builder = LLVMCreateBuilderInContext(context);
    b->isa = isa;
    b->vl = isa->vector;
    b->void_type = LLVMVoidTypeInContext(context);
    b->i1 = LLVMInt1TypeInContext(context);
    b->i8 = LLVMInt8TypeInContext(context);
    b->i16 = LLVMInt16TypeInContext(context);
    b->i32 = LLVMInt32TypeInContext(context);
    b->i64 = LLVMInt64TypeInContext(context);
    b->f32 = LLVMFloatTypeInContext(context);
    b->f16 = LLVMHalfTypeInContext(context);
    b->ptr = LLVMPointerTypeInContext(context, 0);
    b->vf = LLVMVectorType(b->f32, (unsigned)b->vl);
    b->vi = LLVMVectorType(b->i32, (unsigned)b->vl);
    val lane[IR_VECTOR_MAX];
    for (int i = 0; i < b->vl; i++)
        lane[i] = ir_i32(b, i);
    b->lanes = LLVMConstVector(lane, (unsigned)b->vl);
    LLVMSetTarget(b->module, isa->triple);
}

void ir_finish(ir *b) {
    LLVMDisposeBuilder(b->builder);
    b->builder = NULL;
}

/* ---- functions ---- */

static void add_attribute(ir *b, val fn, const char *key, const char *value) {
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(b->context, key, (unsigned)strlen(key), value,
                                                      (unsigned)strlen(value)));
}

static void add_enum_attribute(ir *b, val fn, unsigned index, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, index, LLVMCreateEnumAttribute(b->context, kind, 0));
}

val ir_function(ir *b, const char *name, const char *types, const char *const *names, bool exported) {
    LLVMTypeRef params[16];
    unsigned count = (unsigned)strlen(types);
    for (unsigned i = 0; i < count; i++)
        params[i] = types[i] == 'p' ? b->ptr : b->i64;
    val fn = LLVMAddFunction(b->module, name, LLVMFunctionType(b->void_type, params, count, 0));
    if (!exported)
        LLVMSetLinkage(fn, LLVMInternalLinkage);
    for (unsigned i = 0; i < count; i++)
        LLVMSetValueName2(LLVMGetParam(fn, i), names[i], strlen(names[i]));
    add_attribute(b, fn, "target-cpu", b->isa->cpu);
    add_attribute(b, fn, "target-features", b->isa->features);
    if (b->vl == 16) { /* the tuning of some CPUs would halve 512-bit vectors */
        add_attribute(b, fn, "min-legal-vector-width", "512");
        add_attribute(b, fn, "prefer-vector-width", "512");
    }
    add_enum_attribute(b, fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
    LLVMPositionBuilderAtEnd(b->builder, LLVMAppendBasicBlockInContext(b->context, fn, "entry"));
    b->fn = fn;
    return fn;
}

val ir_param(ir *b, int i) {
    return LLVMGetParam(b->fn, (unsigned)i);
}

void ir_call(ir *b, val function, const val *args, int count) {
    LLVMBuildCall2(b->builder, LLVMGlobalGetValueType(function), function, (val *)args, (unsigned)count, "");
}

void ir_return(ir *b) {
    LLVMBuildRetVoid(b->builder);
}

/* ---- constants ---- */

val ir_int(ir *b, int64_t v) {
    return LLVMConstInt(b->i64, (unsigned long long)v, 1);
}

val ir_i32(ir *b, int32_t v) {
    return LLVMConstInt(b->i32, (unsigned long long)(int64_t)v, 1);
}

val ir_float(ir *b, double v) {
    return LLVMConstReal(b->f32, v);
}

static val const_splat(val scalar, int width) {
    val lane[IR_VECTOR_MAX];
    for (int i = 0; i < width; i++)
        lane[i] = scalar;
    return width == 1 ? scalar : LLVMConstVector(lane, (unsigned)width);
}

val ir_splat(ir *b, val scalar) {
    if (LLVMIsConstant(scalar))
        return const_splat(scalar, b->vl);
    val v = LLVMBuildInsertElement(b->builder, LLVMGetPoison(LLVMVectorType(LLVMTypeOf(scalar), (unsigned)b->vl)), scalar,
                                   ir_i32(b, 0), "");
    return LLVMBuildShuffleVector(b->builder, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstNull(b->vi), "");
}

val ir_vfloat(ir *b, double v) {
    return const_splat(ir_float(b, v), b->vl);
}

val ir_vint(ir *b, int32_t v) {
    return const_splat(ir_i32(b, v), b->vl);
}

val ir_zero(ir *b) {
    return LLVMConstNull(b->vf);
}

static val const_array(ir *b, const char *name, LLVMTypeRef type, val *elements, int count) {
    val init = LLVMConstArray(type, elements, (unsigned)count);
    val global = LLVMAddGlobal(b->module, LLVMTypeOf(init), name);
    LLVMSetInitializer(global, init);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

enum { CONST_ARRAY_MAX = 64 * 256 };

val ir_const_f32(ir *b, const char *name, const float *data, int count) {
    static _Thread_local val elements[CONST_ARRAY_MAX];
    for (int i = 0; i < count; i++)
        elements[i] = ir_float(b, data[i]);
    return const_array(b, name, b->f32, elements, count);
}

val ir_const_i64(ir *b, const char *name, const uint64_t *data, int count) {
    static _Thread_local val elements[CONST_ARRAY_MAX];
    for (int i = 0; i < count; i++)
        elements[i] = LLVMConstInt(b->i64, data[i], 0);
    return const_array(b, name, b->i64, elements, count);
}

/* ---- integers ---- */

val ir_add(ir *b, val x, val y) {
    return LLVMBuildAdd(b->builder, x, y, "");
}

val ir_sub(ir *b, val x, val y) {
    return LLVMBuildSub(b->builder, x, y, "");
}

val ir_mul(ir *b, val x, val y) {
    return LLVMBuildMul(b->builder, x, y, "");
}

val ir_addc(ir *b, val x, int64_t c) {
    return c == 0 ? x : ir_add(b, x, ir_int(b, c));
}

val ir_mulc(ir *b, val x, int64_t c) {
    return c == 1 ? x : ir_mul(b, x, ir_int(b, c));
}

val ir_min(ir *b, val x, val y) {
    return ir_select(b, ir_cmp(b, "<", x, y), x, y);
}

val ir_max(ir *b, val x, val y) {
    return ir_select(b, ir_cmp(b, ">", x, y), x, y);
}

val ir_floor_div(ir *b, val x, int64_t c) {
    if ((c & (c - 1)) == 0)
        return LLVMBuildAShr(b->builder, x, ir_int(b, __builtin_ctzll((unsigned long long)c)), "");
    val q = LLVMBuildSDiv(b->builder, x, ir_int(b, c), "");
    val down = LLVMBuildSExt(b->builder, ir_cmp(b, "<", LLVMBuildSRem(b->builder, x, ir_int(b, c), ""), ir_int(b, 0)),
                             b->i64, "");
    return ir_add(b, q, down);
}

val ir_ceil_div(ir *b, val x, int64_t c) {
    return ir_floor_div(b, ir_addc(b, x, c - 1), c);
}

val ir_urem(ir *b, val x, val y) {
    return LLVMBuildURem(b->builder, x, y, "");
}

val ir_udiv(ir *b, val x, val y) {
    return LLVMBuildUDiv(b->builder, x, y, "");
}

val ir_cmp(ir *b, const char *op, val x, val y) {
    static const struct {
        char text[3];
        LLVMIntPredicate predicate;
    } row[] = {{"<", LLVMIntSLT},  {"<=", LLVMIntSLE}, {">", LLVMIntSGT}, {">=", LLVMIntSGE},
               {"==", LLVMIntEQ},  {"!=", LLVMIntNE},  {"u<", LLVMIntULT}};
    LLVMIntPredicate predicate = LLVMIntEQ;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (strcmp(row[i].text, op) == 0)
            predicate = row[i].predicate;
    return LLVMBuildICmp(b->builder, predicate, x, y, "");
}

val ir_and(ir *b, val x, val y) {
    return LLVMBuildAnd(b->builder, x, y, "");
}

val ir_select(ir *b, val c, val x, val y) {
    return LLVMBuildSelect(b->builder, c, x, y, "");
}

/* ---- memory ---- */

val ir_at(ir *b, val base, val bytes) {
    return LLVMBuildGEP2(b->builder, LLVMInt8TypeInContext(b->context), base, &bytes, 1, "");
}

val ir_atc(ir *b, val base, int64_t bytes) {
    return bytes == 0 ? base : ir_at(b, base, ir_int(b, bytes));
}

val ir_load(ir *b, LLVMTypeRef type, val p, int align) {
    val v = LLVMBuildLoad2(b->builder, type, p, "");
    LLVMSetAlignment(v, (unsigned)align);
    return v;
}

void ir_store(ir *b, val v, val p, int align) {
    LLVMSetAlignment(LLVMBuildStore(b->builder, v, p), (unsigned)align);
}

val ir_load_i64(ir *b, val base, int64_t offset) {
    return ir_load(b, b->i64, ir_atc(b, base, offset), 8);
}

val ir_load_ptr(ir *b, val base, int64_t offset) {
    return ir_load(b, b->ptr, ir_atc(b, base, offset), 8);
}

void ir_store_at(ir *b, val v, val base, int64_t offset) {
    ir_store(b, v, ir_atc(b, base, offset), 8);
}

val ir_load_f32(ir *b, val p) {
    return ir_load(b, b->f32, p, 4);
}

val ir_load_v(ir *b, val p) {
    return ir_load(b, b->vf, p, 4);
}

void ir_store_v(ir *b, val v, val p) {
    ir_store(b, v, p, 4);
}

val ir_is_null(ir *b, val p) {
    return LLVMBuildICmp(b->builder, LLVMIntEQ, p, LLVMConstNull(b->ptr), "");
}

static val intrinsic(ir *b, const char *name, LLVMTypeRef *types, int type_count, val *args, int count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    val fn = LLVMGetIntrinsicDeclaration(b->module, id, types, (size_t)type_count);
    return LLVMBuildCall2(b->builder, LLVMGlobalGetValueType(fn), fn, args, (unsigned)count, "");
}

/* bits of f16 -> f32 where the ISA has no conversion. Normal: shift into place and add 112 to the exponent; subnormal: the value
 * 0.5 + m * 2^-24 minus 0.5 is exact and needs no subnormal f32; inf and NaN keep a full exponent. */
static val half_to_float_bits(ir *b, val h32) {
    val magnitude = ir_and(b, h32, ir_like_int(b, h32, 0x7fff));
    val sign = LLVMBuildShl(b->builder, ir_and(b, h32, ir_like_int(b, h32, 0x8000)), ir_like_int(b, h32, 16), "");
    val shifted = LLVMBuildShl(b->builder, magnitude, ir_like_int(b, h32, 13), "");
    val normal = ir_add(b, shifted, ir_like_int(b, h32, 112 << 23));
    val special = ir_add(b, shifted, ir_like_int(b, h32, 224 << 23));
    LLVMTypeRef ftype = ir_vec(b, b->f32, ir_width(h32));
    val half = ir_like_int(b, h32, 0x3f000000); /* 0.5: one unit in the last place is 2^-24 */
    val tiny = ir_fsub(b, ir_bitcast(b, LLVMBuildOr(b->builder, half, magnitude, ""), ftype), ir_bitcast(b, half, ftype));
    val bits = ir_select(b, ir_cmp(b, "<", magnitude, ir_like_int(b, h32, 0x400)),
                         ir_bitcast(b, tiny, LLVMTypeOf(h32)), normal);
    bits = ir_select(b, ir_cmp(b, ">", magnitude, ir_like_int(b, h32, 0x7bff)), special, bits);
    return LLVMBuildOr(b->builder, bits, sign, "");
}

/* f32 bits -> f16, round to nearest even. Normal: rebias and round by integer addition; below 2^-14: adding 0.5 rounds at 2^-24;
 * 65520 and above: infinity; NaN stays one. */
static val float_to_half_bits(ir *b, val bits) {
    LLVMTypeRef ftype = ir_vec(b, b->f32, ir_width(bits));
    val magnitude = ir_and(b, bits, ir_like_int(b, bits, 0x7fffffff));
    val sign = ir_and(b, LLVMBuildLShr(b->builder, bits, ir_like_int(b, bits, 16), ""), ir_like_int(b, bits, 0x8000));
    val odd = ir_and(b, LLVMBuildLShr(b->builder, magnitude, ir_like_int(b, bits, 13), ""), ir_like_int(b, bits, 1));
    val rounded = ir_add(b, ir_add(b, magnitude, odd), ir_like_int(b, bits, 0xfff - (112 << 23)));
    val normal = LLVMBuildLShr(b->builder, rounded, ir_like_int(b, bits, 13), "");
    val half = ir_like_int(b, bits, 0x3f000000);
    val tiny = ir_fadd(b, ir_bitcast(b, magnitude, ftype), ir_bitcast(b, half, ftype));
    val subnormal = ir_sub(b, ir_bitcast(b, tiny, LLVMTypeOf(bits)), half);
    val out = ir_select(b, ir_cmp(b, "<", magnitude, ir_like_int(b, bits, 113 << 23)), subnormal, normal);
    out = ir_select(b, ir_cmp(b, ">", magnitude, ir_like_int(b, bits, 0x477fefff)), ir_like_int(b, bits, 0x7c00), out);
    out = ir_select(b, ir_cmp(b, ">", magnitude, ir_like_int(b, bits, 0x7f800000)), ir_like_int(b, bits, 0x7e00), out);
    return LLVMBuildOr(b->builder, out, sign, "");
}

/* f32 bits -> bf16, round to nearest even, by integers: the truncating conversion would become a call on most CPUs. */
static val float_to_bf16_bits(ir *b, val bits) {
    val odd = ir_and(b, LLVMBuildLShr(b->builder, bits, ir_like_int(b, bits, 16), ""), ir_like_int(b, bits, 1));
    val rounded = ir_add(b, ir_add(b, bits, odd), ir_like_int(b, bits, 0x7fff));
    val magnitude = ir_and(b, bits, ir_like_int(b, bits, 0x7fffffff));
    val nan = ir_cmp(b, ">", magnitude, ir_like_int(b, bits, 0x7f800000));
    val quiet = LLVMBuildOr(b->builder, bits, ir_like_int(b, bits, 0x400000), "");
    return LLVMBuildLShr(b->builder, ir_select(b, nan, quiet, rounded), ir_like_int(b, bits, 16), "");
}

val ir_load_dtype(ir *b, int dtype, int width, val p) {
    LLVMTypeRef ftype = ir_vec(b, b->f32, width);
    if (dtype == NHA_F32)
        return ir_load(b, ftype, p, 4);
    if (dtype == NHA_F16 && b->isa->f16)
        return LLVMBuildFPExt(b->builder, ir_load(b, ir_vec(b, b->f16, width), p, 2), ftype, "");
    LLVMTypeRef itype = ir_vec(b, b->i32, width);
    val raw = LLVMBuildZExt(b->builder, ir_load(b, ir_vec(b, b->i16, width), p, 2), itype, "");
    if (dtype == NHA_BF16)
        return ir_bitcast(b, LLVMBuildShl(b->builder, raw, ir_like_int(b, raw, 16), ""), ftype);
    return ir_bitcast(b, half_to_float_bits(b, raw), ftype);
}

void ir_store_dtype(ir *b, int dtype, int width, val v, val p) {
    if (dtype == NHA_F32) {
        ir_store(b, v, p, 4);
        return;
    }
    if (dtype == NHA_F16 && b->isa->f16) {
        ir_store(b, LLVMBuildFPTrunc(b->builder, v, ir_vec(b, b->f16, width), ""), p, 2);
        return;
    }
    if (dtype == NHA_BF16 && b->isa->bf16 && width == 16) {
        ir_store(b, intrinsic(b, "llvm.x86.avx512bf16.cvtneps2bf16.512", NULL, 0, &v, 1), p, 2);
        return;
    }
    val bits = ir_bitcast(b, v, ir_vec(b, b->i32, width));
    bits = dtype == NHA_BF16 ? float_to_bf16_bits(b, bits) : float_to_half_bits(b, bits);
    ir_store(b, LLVMBuildTrunc(b->builder, bits, ir_vec(b, b->i16, width), ""), p, 2);
}

void ir_prefetch(ir *b, val p, bool write) {
    val args[] = {p, ir_i32(b, write), ir_i32(b, 2), ir_i32(b, 1)};
    intrinsic(b, "llvm.prefetch", &b->ptr, 1, args, 4);
}

void ir_prefetch_lines(ir *b, val row, int64_t from, int64_t bytes, bool write) {
    for (int64_t line = (from + 63) / 64 * 64; row && line < from + bytes; line += 64)
        ir_prefetch(b, ir_atc(b, row, line), write);
}

/* As many instructions as a core takes in a cycle (x86 and ARM have the same name for one that does nothing). */
static void next_cycle(ir *b) {
    char nothing[] = "nop; nop; nop; nop; nop; nop";
    LLVMTypeRef type = LLVMFunctionType(b->void_type, NULL, 0, false);
    val code = LLVMGetInlineAsm(type, nothing, sizeof nothing - 1, "~{memory}", 9, true, false, LLVMInlineAsmDialectATT, false);
    LLVMBuildCall2(b->builder, type, code, NULL, 0, "");
}

void ir_prefetch_row(ir *b, val p, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) {
        ir_prefetch(b, ir_atc(b, p, at), false);
        next_cycle(b);
    }
}

void ir_barrier(ir *b) {
    LLVMBuildFence(b->builder, LLVMAtomicOrderingAcquireRelease, 1, ""); /* within this thread: for the compiler alone */
}

/* ---- arithmetic ---- */

val ir_fadd(ir *b, val x, val y) {
    return LLVMBuildFAdd(b->builder, x, y, "");
}

val ir_fsub(ir *b, val x, val y) {
    return LLVMBuildFSub(b->builder, x, y, "");
}

val ir_fmul(ir *b, val x, val y) {
    return LLVMBuildFMul(b->builder, x, y, "");
}

val ir_fdiv(ir *b, val x, val y) {
    return LLVMBuildFDiv(b->builder, x, y, "");
}

val ir_fneg(ir *b, val x) {
    return LLVMBuildFNeg(b->builder, x, "");
}

val ir_fma(ir *b, val x, val y, val z) {
    if (!b->isa->fma) /* llvm.fma would call libm here */
        return ir_fadd(b, ir_fmul(b, x, y), z);
    LLVMTypeRef type = LLVMTypeOf(z);
    val args[] = {x, y, z};
    return intrinsic(b, "llvm.fma", &type, 1, args, 3);
}

val ir_fmax(ir *b, val x, val y) {
    return ir_select(b, LLVMBuildFCmp(b->builder, LLVMRealOGT, x, y, ""), x, y);
}

val ir_fmin(ir *b, val x, val y) {
    return ir_select(b, ir_flt(b, x, y), x, y);
}

val ir_round(ir *b, val x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    return intrinsic(b, "llvm.rint", &type, 1, &x, 1);
}

val ir_fraction(ir *b, val x) {
    enum { DOWN_AND_EXACT = 9, ROUND_AS_SET = 4 };
    const val all = LLVMConstAllOnes(b->i16);
    val args[] = {x, ir_i32(b, DOWN_AND_EXACT), ir_zero(b), all, ir_i32(b, ROUND_AS_SET)};
    return intrinsic(b, "llvm.x86.avx512.mask.reduce.ps.512", NULL, 0, args, 5);
}

val ir_scale(ir *b, val x, val n) {
    enum { ROUND_AS_SET = 4 };
    val all = LLVMConstAllOnes(b->i16);
    val args[] = {x, n, ir_zero(b), all, ir_i32(b, ROUND_AS_SET)};
    return intrinsic(b, "llvm.x86.avx512.mask.scalef.ps.512", NULL, 0, args, 5);
}

val ir_inverse(ir *b, val x) {
    /* 14 bits, then one step of Newton: a division takes as long as sixteen multiplications */
    val all = LLVMConstAllOnes(b->i16), args[] = {x, ir_zero(b), all};
    val r = intrinsic(b, "llvm.x86.avx512.rcp14.ps.512", NULL, 0, args, 3);
    return ir_fma(b, r, ir_fma(b, ir_fneg(b, x), r, ir_vfloat(b, 1)), r);
}

val ir_flt(ir *b, val x, val y) {
    return LLVMBuildFCmp(b->builder, LLVMRealOLT, x, y, "");
}

val ir_shuffle(ir *b, val x, val y, const int *mask, int count) {
    val m[2 * IR_VECTOR_MAX];
    for (int i = 0; i < count; i++)
        m[i] = ir_i32(b, mask[i]);
    return LLVMBuildShuffleVector(b->builder, x, y ? y : LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(m, (unsigned)count),
                                  "");
}

val ir_reduce(ir *b, val v, val (*op)(ir *, val, val)) {
    for (int width = ir_width(v); width > 1; width /= 2) {
        int lo[IR_VECTOR_MAX], hi[IR_VECTOR_MAX];
        for (int i = 0; i < width / 2; i++) {
            lo[i] = i;
            hi[i] = i + width / 2;
        }
        v = op(b, ir_shuffle(b, v, NULL, lo, width / 2), ir_shuffle(b, v, NULL, hi, width / 2));
    }
    return LLVMBuildExtractElement(b->builder, v, ir_i32(b, 0), "");
}

val ir_reduce_four(ir *b, const val *v, val (*op)(ir *, val, val)) {
    enum { LANES = 16, QUARTER = 4 };
    int low[LANES], high[LANES], even[LANES], odd[LANES], by_two[LANES], by_one[LANES];
    for (int i = 0; i < LANES; i++) {
        low[i] = i < LANES / 2 ? i : i + LANES / 2;
        high[i] = low[i] + LANES / 2;
        even[i] = i / QUARTER * 2 * QUARTER + i % QUARTER;
        odd[i] = even[i] + QUARTER;
        by_two[i] = i ^ 2;
        by_one[i] = i ^ 1;
    }
    val half[2];
    for (int i = 0; i < 2; i++)
        half[i] = op(b, ir_shuffle(b, v[2 * i], v[2 * i + 1], low, LANES), ir_shuffle(b, v[2 * i], v[2 * i + 1], high, LANES));
    val x = op(b, ir_shuffle(b, half[0], half[1], even, LANES), ir_shuffle(b, half[0], half[1], odd, LANES));
    x = op(b, x, ir_shuffle(b, x, NULL, by_two, LANES));
    return op(b, x, ir_shuffle(b, x, NULL, by_one, LANES));
}

val ir_bitcast(ir *b, val v, LLVMTypeRef type) {
    return LLVMBuildBitCast(b->builder, v, type, "");
}

LLVMTypeRef ir_vec(ir *b, LLVMTypeRef element, int width) {
    (void)b;
    return width == 1 ? element : LLVMVectorType(element, (unsigned)width);
}

int ir_width(val v) {
    LLVMTypeRef type = LLVMTypeOf(v);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 1;
}

val ir_like(ir *b, val like, double v) {
    return const_splat(ir_float(b, v), ir_width(like));
}

val ir_like_int(ir *b, val like, int64_t v) {
    LLVMTypeRef type = LLVMTypeOf(like);
    if (LLVMGetTypeKind(type) == LLVMVectorTypeKind)
        type = LLVMGetElementType(type);
    (void)b;
    return const_splat(LLVMConstInt(type, (unsigned long long)v, 1), ir_width(like));
}

/* ---- control ---- */

static LLVMBasicBlockRef block(ir *b, const char *name) {
    return LLVMAppendBasicBlockInContext(b->context, b->fn, name);
}

void ir_loop_begin(ir *b, ir_loop *loop, val from, val to, val step, val *carried, int count) {
    LLVMBasicBlockRef before = LLVMGetInsertBlock(b->builder), body;
    loop->head = block(b, "loop");
    body = block(b, "body");
    loop->exit = block(b, "done");
    loop->step = step;
    loop->count = count;
    LLVMBuildBr(b->builder, loop->head);
    LLVMPositionBuilderAtEnd(b->builder, loop->head);
    loop->index = LLVMBuildPhi(b->builder, b->i64, "");
    LLVMAddIncoming(loop->index, &from, &before, 1);
    for (int i = 0; i < count; i++) {
        loop->phi[i] = LLVMBuildPhi(b->builder, LLVMTypeOf(carried[i]), "");
        LLVMAddIncoming(loop->phi[i], &carried[i], &before, 1);
        carried[i] = loop->phi[i];
    }
    LLVMBuildCondBr(b->builder, ir_cmp(b, "<", loop->index, to), body, loop->exit);
    LLVMPositionBuilderAtEnd(b->builder, body);
}

void ir_loop_end(ir *b, ir_loop *loop, val *carried) {
    val next = ir_add(b, loop->index, loop->step);
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(b->builder);
    LLVMBuildBr(b->builder, loop->head);
    LLVMAddIncoming(loop->index, &next, &latch, 1);
    for (int i = 0; i < loop->count; i++) {
        LLVMAddIncoming(loop->phi[i], &carried[i], &latch, 1);
        carried[i] = loop->phi[i];
    }
    LLVMPositionBuilderAtEnd(b->builder, loop->exit);
}

void ir_if_begin(ir *b, ir_if *s, val condition) {
    LLVMBasicBlockRef then = block(b, "then");
    s->otherwise = block(b, "else");
    s->after = block(b, "endif");
    s->has_else = false;
    LLVMBuildCondBr(b->builder, condition, then, s->otherwise);
    LLVMPositionBuilderAtEnd(b->builder, then);
}

void ir_if_else(ir *b, ir_if *s) {
    LLVMBuildBr(b->builder, s->after);
    LLVMPositionBuilderAtEnd(b->builder, s->otherwise);
    s->has_else = true;
}

void ir_if_end(ir *b, ir_if *s) {
    LLVMBuildBr(b->builder, s->after);
    if (!s->has_else) {
        LLVMPositionBuilderAtEnd(b->builder, s->otherwise);
        LLVMBuildBr(b->builder, s->after);
    }
    LLVMPositionBuilderAtEnd(b->builder, s->after);
}

/* ---- strands ---- */

void ir_strand_begin(ir *b, ir_strands *strands) {
    strands->block = LLVMGetInsertBlock(b->builder);
    strands->before[strands->count++] = LLVMGetLastInstruction(strands->block);
}

/* The instruction after `before`; NULL past the last. */
static val after(const ir_strands *strands, val before) {
    return before ? LLVMGetNextInstruction(before) : LLVMGetFirstInstruction(strands->block);
}

void ir_strands_weave(ir *b, ir_strands *strands) {
    int count = strands->count;
    val next[IR_STRANDS_MAX], last[IR_STRANDS_MAX];
    for (int i = 0; i < count; i++) {
        next[i] = after(strands, strands->before[i]);
        last[i] = i + 1 < count ? strands->before[i + 1] : LLVMGetLastInstruction(strands->block);
        if (last[i] == strands->before[i]) /* nothing was emitted */
            next[i] = NULL;
    }
    if (count == 0)
        return;
    LLVMPositionBuilderAtEnd(b->builder, strands->block);
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < count; i++) {
            val instruction = next[i];
            if (!instruction)
                continue;
            next[i] = instruction == last[i] ? NULL : LLVMGetNextInstruction(instruction);
            LLVMInstructionRemoveFromParent(instruction);
            LLVMInsertIntoBuilder(b->builder, instruction);
            any = true;
        }
    }
    strands->count = 0;
}
