/* ir_math.c: polynomials and range reductions. Coefficients: gen/cpu/minimax.py (Remez in 60 digits, rounded to f32). */
#include "gen/cpu/ir_math.h"

static const double exp2_4[] = {0x1.ffffe8p-1, 0x1.62e0dcp-1, 0x1.ec06dap-3, 0x1.ca1440p-5, 0x1.3997d6p-7};
static const double exp2_5[] = {0x1.000002p+0, 0x1.62e428p-1, 0x1.ebf918p-3, 0x1.c6b6e4p-5, 0x1.3d0c52p-7, 0x1.5c08ecp-10};
static const double exp2_6[] = {0x1.000000p+0, 0x1.62e430p-1, 0x1.ebfbdap-3, 0x1.c6aed4p-5,
                                0x1.3b2dbcp-7, 0x1.5f456ap-10, 0x1.41d32ep-13};
/* The same on [0, 1], whose error is the same: where what is left of floor(x) is one instruction. */
static const double exp2_whole_4[] = {0x1.00002cp+0, 0x1.62d166p-1, 0x1.ee798ap-3, 0x1.aa13f0p-5, 0x1.bb7cd6p-7};
static const double exp2_whole_5[] = {0x1.fffffep-1, 0x1.62e4f6p-1, 0x1.ebd5a8p-3, 0x1.c95446p-5, 0x1.26900ap-7, 0x1.ec3212p-10};
static const double exp2_whole_6[] = {0x1.000000p+0, 0x1.62e42ap-1, 0x1.ebfd9ep-3, 0x1.c68500p-5,
                                      0x1.3d2800p-7, 0x1.461958p-10, 0x1.c72112p-13};
/* expm1(r) / r, |r| <= ln2/2 */
static const double expm1_6[] = {0x1.000000p+0, 0x1.000000p-1, 0x1.555554p-3, 0x1.5554aep-5,
                                 0x1.1111a6p-7, 0x1.6d74c2p-10, 0x1.a019ecp-13};
/* atanh(z) / z in z^2, |z| <= 1/3 */
static const double atanh_5[] = {0x1.000000p+0, 0x1.55555ap-2, 0x1.99962cp-3, 0x1.251382p-3, 0x1.b62240p-4, 0x1.f3fac2p-4};
static const double sin_3[] = {0x1.000000p+0, -0x1.555540p-3, 0x1.110606p-7, -0x1.98fb9cp-13};
static const double cos_4[] = {0x1.000000p+0, -0x1.000000p-1, 0x1.555538p-5, -0x1.6c06ecp-10, 0x1.98e7dcp-16};

static const double log2_e = 1.4426950408889634074;
/* ln2 = high + low, high with 12 trailing zero bits: n * high is exact for |n| < 4096 */
static const double ln2_high = 0x1.62e400p-1, ln2_low = 0x1.7f7d1cp-20;
/* adding and taking away 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits */
static const double round_magic = 12582912.0;

static val polynomial(ir *b, val x, const double *c, int degree) {
    val p = ir_like(b, x, c[degree]);
    for (int i = degree - 1; i >= 0; i--)
        p = ir_fma(b, p, x, ir_like(b, x, c[i]));
    return p;
}

/* Rounds x (|x| < 2^22) to the nearest integer: as f32 and as the bits of 2^integer (-126..127). */
static val round_to_power(ir *b, val x, val *power) {
    val magic = ir_like(b, x, round_magic);
    val shifted = ir_fadd(b, x, magic);
    LLVMTypeRef itype = ir_vec(b, b->i32, ir_width(x));
    val bits = ir_bitcast(b, shifted, itype); /* magic's bits + n; shifting by 23 drops all but n's low 9 bits */
    bits = LLVMBuildShl(b->builder, bits, ir_like_int(b, bits, 23), "");
    *power = ir_bitcast(b, ir_add(b, bits, ir_like_int(b, bits, 127 << 23)), LLVMTypeOf(x));
    return ir_fsub(b, shifted, magic);
}

/* Whether x is a vector that AVX-512 rounds and scales by one instruction each. */
static bool scales(const ir *b, val x) {
    return b->vl == 16 && ir_width(x) == 16;
}

/* Below the smallest power of two that is not zero, and finite: scaling makes zero of it. */
static const double vanishing = -200.0;

/* Narrow values take the way of whole vectors, so that a tail has the bits it would have in the middle. */
static bool widens(const ir *b, val x) {
    return b->vl == 16 && ir_width(x) < 16;
}

static val widened(ir *b, val x) {
    int width = ir_width(x), lanes[IR_VECTOR_MAX];
    if (width == 1)
        return ir_splat(b, x);
    for (int i = 0; i < b->vl; i++)
        lanes[i] = i % width;
    return ir_shuffle(b, x, NULL, lanes, b->vl);
}

static val narrowed(ir *b, val x, int width) {
    int lanes[IR_VECTOR_MAX];
    if (width == 1)
        return LLVMBuildExtractElement(b->builder, x, ir_i32(b, 0), "");
    for (int i = 0; i < width; i++)
        lanes[i] = i;
    return ir_shuffle(b, x, NULL, lanes, width);
}

val ir_exp2(ir *b, val x, int degree) {
    if (widens(b, x))
        return narrowed(b, ir_exp2(b, widened(b, x), degree), ir_width(x));
    if (scales(b, x))
        return ir_exp2_scale(b, ir_fmax(b, x, ir_like(b, x, vanishing)), degree);
    val lowest = ir_like(b, x, -126.0), power;
    val clamped = ir_fmax(b, x, lowest);
    val r = ir_fsub(b, clamped, round_to_power(b, clamped, &power));
    val p = polynomial(b, r, degree <= 4 ? exp2_4 : degree == 5 ? exp2_5 : exp2_6, degree <= 4 ? 4 : degree == 5 ? 5 : 6);
    return ir_select(b, ir_flt(b, x, lowest), ir_like(b, x, 0), ir_fmul(b, p, power));
}

val ir_exp2_scale(ir *b, val x, int degree) {
    const double *c = degree <= 4 ? exp2_whole_4 : degree == 5 ? exp2_whole_5 : exp2_whole_6;
    return ir_scale(b, polynomial(b, ir_fraction(b, x), c, degree), x);
}

/* exp(r) - 1 for r = x - n ln2, |r| <= ln2/2 */
static val expm1_rest(ir *b, val x, val n) {
    val r = ir_fma(b, n, ir_like(b, x, -ln2_high), x);
    r = ir_fma(b, n, ir_like(b, x, -ln2_low), r);
    return ir_fmul(b, r, polynomial(b, r, expm1_6, 6));
}

void ir_exp_expm1(ir *b, val x, val *exp, val *expm1) {
    if (widens(b, x)) {
        ir_exp_expm1(b, widened(b, x), exp, expm1);
        if (exp)
            *exp = narrowed(b, *exp, ir_width(x));
        if (expm1)
            *expm1 = narrowed(b, *expm1, ir_width(x));
        return;
    }
    if (scales(b, x)) {
        val above = ir_fmax(b, x, ir_like(b, x, vanishing)), one = ir_like(b, x, 1);
        val n = ir_round(b, ir_fmul(b, above, ir_like(b, x, log2_e))), q = expm1_rest(b, above, n);
        val power = ir_scale(b, one, n);
        if (exp)
            *exp = ir_fma(b, q, power, power);
        if (expm1)
            *expm1 = ir_fma(b, q, power, ir_fsub(b, power, one));
        return;
    }
    val lowest = ir_like(b, x, -87.0), power;
    val clamped = ir_fmax(b, x, lowest);
    val n = round_to_power(b, ir_fmul(b, clamped, ir_like(b, x, log2_e)), &power);
    val q = expm1_rest(b, clamped, n), below = ir_flt(b, x, lowest);
    if (exp)
        *exp = ir_select(b, below, ir_like(b, x, 0), ir_fma(b, q, power, power));
    if (expm1)
        *expm1 = ir_select(b, below, ir_like(b, x, -1), ir_fma(b, q, power, ir_fsub(b, power, ir_like(b, x, 1))));
}

/* x / y for y near 1 */
static val quotient(ir *b, val x, val y) {
    if (widens(b, x))
        return narrowed(b, quotient(b, widened(b, x), widened(b, y)), ir_width(x));
    return scales(b, x) ? ir_fmul(b, x, ir_inverse(b, y)) : ir_fdiv(b, x, y);
}

/* 2 atanh(z) = log((1+z)/(1-z)), |z| <= 1/3 */
static val two_atanh(ir *b, val z) {
    val p = polynomial(b, ir_fmul(b, z, z), atanh_5, 5);
    return ir_fmul(b, ir_fadd(b, z, z), p);
}

val ir_logsigmoid(ir *b, val x) {
    val zero = ir_like(b, x, 0), y;
    ir_exp_expm1(b, ir_fmin(b, x, ir_fneg(b, x)), &y, NULL);
    /* log1p(y) = 2 atanh(y / (2 + y)) */
    val log1p = two_atanh(b, quotient(b, y, ir_fadd(b, y, ir_like(b, x, 2))));
    return ir_fsub(b, ir_fmin(b, x, zero), log1p);
}

val ir_silu(ir *b, val x) {
    /* e^-|x| never overflows: x / (1 + e^-x) = x * (x < 0 ? e^-|x| : 1) / (1 + e^-|x|) */
    val one = ir_like(b, x, 1), y;
    ir_exp_expm1(b, ir_fmin(b, x, ir_fneg(b, x)), &y, NULL);
    val numerator = ir_fmul(b, x, ir_select(b, ir_flt(b, x, ir_like(b, x, 0)), y, one));
    return ir_fdiv(b, numerator, ir_fadd(b, one, y));
}

val ir_log(ir *b, val x) {
    /* x = m * 2^n with m in [2/3, 4/3): ln x = 2 atanh((m-1)/(m+1)) + n ln2, |z| <= 1/5 */
    LLVMTypeRef itype = ir_vec(b, b->i32, ir_width(x));
    val bits = ir_bitcast(b, x, itype);
    val n = LLVMBuildAShr(b->builder, ir_sub(b, bits, ir_like_int(b, bits, 0x3f2aaaab)), ir_like_int(b, bits, 23), "");
    val m = ir_bitcast(b, ir_sub(b, bits, LLVMBuildShl(b->builder, n, ir_like_int(b, bits, 23), "")), LLVMTypeOf(x));
    val one = ir_like(b, x, 1);
    val z = ir_fdiv(b, ir_fsub(b, m, one), ir_fadd(b, m, one));
    val nf = LLVMBuildSIToFP(b->builder, n, LLVMTypeOf(x), "");
    val low = ir_fma(b, nf, ir_like(b, x, ln2_low), two_atanh(b, z));
    return ir_fma(b, nf, ir_like(b, x, ln2_high), low);
}

void ir_cos_sin(ir *b, val turns, val *cosine, val *sine) {
    /* nearest quarter turn, remainder in [-1/8, 1/8) of a turn, exact in integers */
    val quadrant = LLVMBuildLShr(b->builder, ir_add(b, turns, ir_like_int(b, turns, 0x20000000)),
                                 ir_like_int(b, turns, 30), "");
    val rest = ir_sub(b, turns, LLVMBuildShl(b->builder, quadrant, ir_like_int(b, turns, 30), ""));
    LLVMTypeRef ftype = ir_vec(b, b->f32, ir_width(turns)), itype = LLVMTypeOf(turns);
    val x = LLVMBuildSIToFP(b->builder, rest, ftype, "");
    x = ir_fmul(b, x, ir_like(b, x, 6.283185307179586477 / 4294967296.0));
    val xx = ir_fmul(b, x, x);
    val s = ir_fmul(b, x, polynomial(b, xx, sin_3, 3)), c = polynomial(b, xx, cos_4, 4);
    val one = ir_like_int(b, turns, 1), two = ir_like_int(b, turns, 2), thirty = ir_like_int(b, turns, 30);
    val odd = ir_cmp(b, "!=", ir_and(b, quadrant, one), ir_like_int(b, turns, 0));
    /* quarter turns: (c,s) -> (-s,c) -> (-c,-s) -> (s,-c): signs into bit 31 */
    val cos_sign = LLVMBuildShl(b->builder, ir_and(b, ir_add(b, quadrant, one), two), thirty, "");
    val sin_sign = LLVMBuildShl(b->builder, ir_and(b, quadrant, two), thirty, "");
    val cos_bits = ir_bitcast(b, ir_select(b, odd, s, c), itype), sin_bits = ir_bitcast(b, ir_select(b, odd, c, s), itype);
    *cosine = ir_bitcast(b, LLVMBuildXor(b->builder, cos_bits, cos_sign, ""), ftype);
    *sine = ir_bitcast(b, LLVMBuildXor(b->builder, sin_bits, sin_sign, ""), ftype);
}
