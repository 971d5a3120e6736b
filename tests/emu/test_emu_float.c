/* test_emu_float.c: floating-point, 16-bit and conversion instructions against their meaning in C. A new form: a row.
 */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/emu/help_rows.h"

#define F(x) help_bits_f(x)
#define D(x) help_bits_d(x)

static float flush(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}
static float sat(float x) {
    return x > 0 ? (x < 1 ? x : 1) : 0;
}
/* PTX: NaN loses, -0 is below +0. */
static float least(float a, float b) {
    return isnan(a) ? b : isnan(b) ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b;
}
static float most(float a, float b) {
    return isnan(a) ? b : isnan(b) ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b;
}
static double least_d(double a, double b) {
    return isnan(a) ? b : isnan(b) ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b;
}

/* 16-bit formats decoded by value and encoded by search: slow and plain. e: exponent bits, m: mantissa bits. */
static double decode(uint32_t h, int e, int m) {
    int exponent = (int)(h >> m & ((1u << e) - 1)), bias = (1 << (e - 1)) - 1, mantissa = (int)(h & ((1u << m) - 1));
    double v = exponent == (1 << e) - 1 ? (mantissa ? (double)NAN : (double)INFINITY)
               : exponent               ? ldexp((1 << m) + mantissa, exponent - bias - m)
                                        : ldexp(mantissa, 1 - bias - m);
    return h >> (e + m) & 1 ? -v : v;
}
/* The nearest number to x + y, where |y| is far below an ulp of x or 0; ties to even. */
static uint32_t encode2(double x, double y, int e, int m) {
    uint32_t sign = signbit(x) ? 1u << (e + m) : 0, low = 0,
             high = ((1u << e) - 1) << m; /* of the magnitude; high is infinity */
    double a = fabs(x), t = signbit(x) ? -y : y;
    if (isnan(x))
        return 0x7fff;
    if (isinf(x))
        return sign | high;
    while (high - low > 1) { /* low <= a < high */
        uint32_t middle = (low + high) / 2;
        if (decode(middle, e, m) <= a)
            low = middle;
        else
            high = middle;
    }
    double below = decode(low, e, m),
           above = isinf(decode(high, e, m)) ? 2 * below - decode(low - 1, e, m) : decode(high, e, m);
    double half = (below + above) / 2;
    bool up = a > half || (a == half && (t > 0 || (t == 0 && (low & 1))));
    if (a == below && t == 0)
        up = false;
    return sign | (up ? high : low);
}
static uint32_t f16(double x) {
    return encode2(x, 0, 5, 10);
}
static uint32_t bf16(double x) {
    return encode2(x, 0, 8, 7);
}
static double of_f16(uint32_t h) {
    return decode(h & 0xffff, 5, 10);
}
static double of_bf16(uint32_t h) {
    return decode(h & 0xffff, 8, 7);
}
/* a b + c rounded once: the sum in double and what it lost. */
static uint32_t fused(double a, double b, double c, int e, int m) {
    double p = a * b, s = p + c, t = s - p, lost = (p - (s - t)) + (c - t);
    return encode2(s, isfinite(s) && isfinite(lost) ? lost : 0, e, m);
}
#define PAIR_OF(low, high) ((low) | (high) << 16)
#define LO(x)              ((x)&0xffff)
#define HI(x)              ((x) >> 16)

static float rounded_f(int mode, char what, float a, float b, float c) {
    volatile float x = a, y = b, z = c, r;
    int old = fegetround();
    fesetround(mode);
    r = what == '+' ? x + y : what == '*' ? x * y : what == '/' ? x / y : what == 'f' ? fmaf(x, y, z) : sqrtf(x);
    fesetround(old);
    return r;
}
static double rounded_d(int mode, char what, double a, double b) {
    volatile double x = a, y = b, r;
    int old = fegetround();
    fesetround(mode);
    r = what == '+' ? x + y : x * y;
    fesetround(old);
    return r;
}
/* Float to integer: rounded, saturated; NaN is 0, or the top bit where one side has 64 bits. */
static uint64_t to_int(double x, int mode, int bits, bool is_signed, bool wide) {
    if (isnan(x))
        return wide ? UINT64_C(1) << (bits - 1) : 0;
    int old = fegetround();
    fesetround(mode);
    x = nearbyint(x);
    fesetround(old);
    if (is_signed)
        return x >= ldexp(1, bits - 1)   ? (UINT64_C(1) << (bits - 1)) - 1
               : x < -ldexp(1, bits - 1) ? UINT64_C(1) << (bits - 1)
                                         : (uint64_t)(int64_t)x & (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1);
    return x >= ldexp(1, bits) ? (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) : x < 0 ? 0 : (uint64_t)x;
}
static float nearest_of(uint64_t q, int mode) { /* u64 to float */
    volatile uint64_t x = q;
    int old = fegetround();
    fesetround(mode);
    volatile float r = (float)x;
    fesetround(old);
    return r;
}
static uint32_t tf32(float x) { /* nearest, ties away, 10 bits of mantissa */
    uint32_t u = (uint32_t)F(x);
    return isnan(x) ? 0x7fffffff : isinf(x) ? u : (u + 0x1000) & 0xffffe000;
}

/* clang-format off */
#define ROWS(X, N) \
    X('f', "add.f32 %fx, %fa, %fb;", F(fa + fb)) \
    X('f', "sub.rn.f32 %fx, %fa, %fb;", F(fa - fb)) \
    X('f', "mul.f32 %fx, %fa, %fb;", F(fa *fb)) \
    X('f', "mul.f32 %fx, %fa, 0f40490FDB;", F(fa * 3.14159274f)) \
    X('f', "fma.rn.f32 %fx, %fa, %fb, %fc;", F(fmaf(fa, fb, fc))) \
    X('f', "mad.rn.f32 %fx, %fa, %fb, %fc;", F(fmaf(fa, fb, fc))) \
    X('f', "div.rn.f32 %fx, %fa, %fb;", F(fa / fb)) \
    X('f', "sqrt.rn.f32 %fx, %fa;", F(sqrtf(fa))) \
    X('f', "rcp.rn.f32 %fx, %fa;", F(1 / fa)) \
    X('f', "add.ftz.f32 %fx, %fa, %fb;", F(flush(flush(fa) + flush(fb)))) \
    X('f', "mul.ftz.f32 %fx, %fa, %fb;", F(flush(flush(fa) * flush(fb)))) \
    X('f', "fma.rn.ftz.f32 %fx, %fa, %fb, %fc;", F(flush(fmaf(flush(fa), flush(fb), flush(fc))))) \
    X('f', "add.sat.f32 %fx, %fa, %fb;", F(sat(fa + fb))) \
    X('f', "fma.rn.sat.f32 %fx, %fa, %fb, %fc;", F(sat(fmaf(fa, fb, fc)))) \
    X('f', "add.rz.f32 %fx, %fa, %fb;", F(rounded_f(FE_TOWARDZERO, '+', fa, fb, 0))) \
    X('f', "add.rm.f32 %fx, %fa, %fb;", F(rounded_f(FE_DOWNWARD, '+', fa, fb, 0))) \
    X('f', "mul.rp.f32 %fx, %fa, %fb;", F(rounded_f(FE_UPWARD, '*', fa, fb, 0))) \
    X('f', "fma.rm.f32 %fx, %fa, %fb, %fc;", F(rounded_f(FE_DOWNWARD, 'f', fa, fb, fc))) \
    X('f', "div.rz.f32 %fx, %fa, %fb;", F(rounded_f(FE_TOWARDZERO, '/', fa, fb, 0))) \
    X('f', "sqrt.rp.f32 %fx, %fa;", F(rounded_f(FE_UPWARD, 's', fa, 0, 0))) \
    X('d', "add.rp.f64 %dx, %da, %db;", D(rounded_d(FE_UPWARD, '+', da, db))) \
    X('d', "mul.rz.f64 %dx, %da, %db;", D(rounded_d(FE_TOWARDZERO, '*', da, db))) \
    X('f', "neg.f32 %fx, %fa;", F(fa) ^ 0x80000000) \
    X('f', "abs.f32 %fx, %fa;", F(fa) & 0x7fffffff) \
    X('f', "copysign.f32 %fx, %fa, %fb;", (F(fb) & 0x7fffffff) | (F(fa) & 0x80000000)) \
    X('f', "min.f32 %fx, %fa, %fb;", F(least(fa, fb))) \
    X('f', "max.f32 %fx, %fa, %fb;", F(most(fa, fb))) \
    X('f', "max.NaN.f32 %fx, %fa, %fb;", isnan(fa) || isnan(fb) ? 0x7fffffff : F(most(fa, fb))) \
    X('f', "max.f32 %fx, %fa, %fb, %fc;", F(most(most(fa, fb), fc))) \
    X('f', "max.ftz.f32 %fx, %fa, %fb;", F(most(flush(fa), flush(fb)))) \
    X('d', "add.f64 %dx, %da, %db;", D(da + db)) \
    X('d', "mul.f64 %dx, %da, %db;", D(da *db)) \
    X('d', "fma.rn.f64 %dx, %da, %db, %dc;", D(fma(da, db, dc))) \
    X('d', "div.rn.f64 %dx, %da, %db;", D(da / db)) \
    X('d', "sqrt.rn.f64 %dx, %da;", D(sqrt(da))) \
    X('d', "rcp.rn.f64 %dx, %da;", D(1 / da)) \
    X('d', "neg.f64 %dx, %da;", D(-da)) \
    X('d', "min.f64 %dx, %da, %db;", D(least_d(da, db))) \
    N('d', "rcp.approx.ftz.f64 %dx, %da;", isfinite(1 / da) && fabs(da) > 1e-290 && fabs(da) < 1e290 ? D(1 / da) : \
        D(help_d(D(1 / da) & ~UINT64_C(0xffffffff))), 1e-6) \
    N('f', "ex2.approx.f32 %fx, %fa;", F((float)exp2((double)fa)), 3e-7) \
    N('f', "ex2.approx.ftz.f32 %fx, %fa;", F(flush((float)exp2((double)flush(fa)))), 3e-7) \
    N('f', "lg2.approx.f32 %fx, %fa;", F((float)log2((double)fa)), 3e-7) \
    N('f', "sin.approx.f32 %fx, %fa;", F((float)sin((double)fa)), 3e-7) \
    N('f', "cos.approx.ftz.f32 %fx, %fa;", F(flush((float)cos((double)flush(fa)))), 3e-7) \
    N('f', "tanh.approx.f32 %fx, %fa;", F((float)tanh((double)fa)), 3e-7) \
    N('f', "rsqrt.approx.f32 %fx, %fa;", F((float)(1 / sqrt((double)fa))), 3e-7) \
    N('f', "sqrt.approx.f32 %fx, %fa;", F(sqrtf(fa)), 3e-7) \
    N('f', "rcp.approx.ftz.f32 %fx, %fa;", F(flush(1 / flush(fa))), 3e-7) \
    N('f', "div.full.f32 %fx, %fa, %fb;", F(fa / fb), 3e-7) \
    N('f', "div.approx.ftz.f32 %fx, %fa, %fb;", F(flush(flush(fa) / flush(fb))), 3e-7) \
    X('p', "setp.lt.f32 %px, %fa, %fb;", fa < fb) \
    X('p', "setp.ne.f32 %px, %fa, %fb;", fa<fb || fa> fb) \
    X('p', "setp.eq.f32 %px, %fa, %fb;", fa == fb) \
    X('p', "setp.neu.f32 %px, %fa, %fb;", !(fa == fb)) \
    X('p', "setp.gtu.f32 %px, %fa, %fb;", !(fa <= fb)) \
    X('p', "setp.leu.f64 %px, %da, %db;", !(da > db)) \
    X('p', "setp.equ.f32 %px, %fa, %fb;", fa == fb || isnan(fa) || isnan(fb)) \
    X('p', "setp.num.f32 %px, %fa, %fb;", !isnan(fa) && !isnan(fb)) \
    X('p', "setp.nan.f64 %px, %da, %db;", isnan(da) || isnan(db)) \
    X('p', "setp.gt.ftz.f32 %px, %fa, %fb;", flush(fa) > flush(fb)) \
    X('p', "setp.lt.f16 %px, %ha, %hb;", of_f16(ha) < of_f16(hb)) \
    X('p', "setp.geu.bf16 %px, %ha, %hb;", !(of_bf16(ha) < of_bf16(hb))) \
    X('p', "testp.finite.f32 %px, %fa;", isfinite(fa) != 0) \
    X('p', "testp.infinite.f64 %px, %da;", isinf(da) != 0) \
    X('p', "testp.subnormal.f32 %px, %fa;", fpclassify(fa) == FP_SUBNORMAL) \
    X('p', "testp.notanumber.f32 %px, %fa;", isnan(fa)) \
    X('h', "add.f16 %hx, %ha, %hb;", f16(of_f16(ha) + of_f16(hb))) \
    X('h', "mul.rn.f16 %hx, %ha, %hb;", f16(of_f16(ha) * of_f16(hb))) \
    X('h', "fma.rn.f16 %hx, %ha, %hb, %hc;", fused(of_f16(ha), of_f16(hb), of_f16(hc), 5, 10)) \
    X('h', "fma.rn.bf16 %hx, %ha, %hb, %hc;", fused(of_bf16(ha), of_bf16(hb), of_bf16(hc), 8, 7)) \
    X('h', "sub.bf16 %hx, %ha, %hb;", bf16((double)(float)(of_bf16(ha) - of_bf16(hb)))) \
    X('w', "add.rn.f16x2 %rx, %ra, %rb;", PAIR_OF(f16(of_f16(LO(ra)) + of_f16(LO(rb))), f16(of_f16(HI(ra)) + \
        of_f16(HI(rb))))) \
    X('w', "fma.rn.bf16x2 %rx, %ra, %rb, %rc;", PAIR_OF(fused(of_bf16(LO(ra)), of_bf16(LO(rb)), of_bf16(LO(rc)), 8, \
        7), fused(of_bf16(HI(ra)), of_bf16(HI(rb)), of_bf16(HI(rc)), 8, 7))) \
    X('w', "neg.f16x2 %rx, %ra;", ra ^ 0x80008000) \
    X('w', "abs.bf16x2 %rx, %ra;", ra & 0x7fff7fff) \
    X('w', "max.f16x2 %rx, %ra, %rb;", PAIR_OF(f16((double)most((float)of_f16(LO(ra)), (float)of_f16(LO(rb)))), \
        f16((double)most((float)of_f16(HI(ra)), (float) of_f16(HI(rb)))))) \
    X('f', "add.rn.f32x2 %qx, %qa, %qb; mov.b64 {%rx, %ry}, %qx; mov.b32 %fx, %rx;", F(fa + fb)) \
    X('f', "fma.rn.f32x2 %qx, %qa, %qb, %qc; mov.b64 {%rx, %ry}, %qx; mov.b32 %fx, %ry;", F(fmaf(help_f(qa >> 32), \
        help_f(qb >> 32), help_f(qc >> 32)))) \
    X('f', "cvt.f32.f16 %fx, %ha;", F((float)of_f16(ha))) \
    X('f', "cvt.f32.bf16 %fx, %ha;", F((float)of_bf16(ha))) \
    X('h', "cvt.rn.f16.f32 %hx, %fa;", f16((double)fa)) \
    X('h', "cvt.rn.bf16.f32 %hx, %fa;", bf16((double)fa)) \
    X('w', "cvt.rn.bf16x2.f32 %rx, %fa, %fb;", PAIR_OF(bf16((double)fb), bf16((double)fa))) \
    X('w', "cvt.rn.f16x2.f32 %rx, %fa, %fb;", PAIR_OF(f16((double)fb), f16((double)fa))) \
    X('w', "cvt.rn.relu.bf16x2.f32 %rx, %fa, %fb;", PAIR_OF(bf16((double)(fb > 0 || isnan(fb) ? fb : 0)), \
        bf16((double)(fa > 0 || isnan(fa) ? fa : 0)))) \
    X('w', "cvt.rna.tf32.f32 %rx, %fa;", tf32(fa)) \
    X('f', "cvt.rn.f32.f64 %fx, %da;", F((float) da)) \
    X('d', "cvt.f64.f32 %dx, %fa;", D((double)fa)) \
    X('d', "cvt.f64.f16 %dx, %ha;", D(of_f16(ha))) \
    X('h', "cvt.rn.f16.f64 %hx, %da;", f16(da)) \
    X('f', "cvt.rn.f32.s32 %fx, %ra;", F((float)sa)) \
    X('f', "cvt.rn.f32.u64 %fx, %qa;", F((float)qa)) \
    X('f', "cvt.rz.f32.u64 %fx, %qa;", F(nearest_of(qa, FE_TOWARDZERO))) \
    X('f', "cvt.rp.f32.u64 %fx, %qa;", F(nearest_of(qa, FE_UPWARD))) \
    X('d', "cvt.rn.f64.s64 %dx, %qa;", D((double)sqa)) \
    X('d', "cvt.rn.f64.u32 %dx, %ra;", D((double)ra)) \
    X('h', "cvt.rn.f16.s32 %hx, %ra;", f16((double)sa)) \
    X('h', "cvt.rn.bf16.u16 %hx, %ha;", bf16((double)ha)) \
    X('w', "cvt.rzi.s32.f32 %rx, %fa;", to_int((double)fa, FE_TOWARDZERO, 32, true, false)) \
    X('w', "cvt.rni.s32.f32 %rx, %fa;", to_int((double)fa, FE_TONEAREST, 32, true, false)) \
    X('w', "cvt.rmi.u32.f32 %rx, %fa;", to_int((double)fa, FE_DOWNWARD, 32, false, false)) \
    X('q', "cvt.rpi.s64.f32 %qx, %fa;", to_int((double)fa, FE_UPWARD, 64, true, true)) \
    X('q', "cvt.rzi.u64.f64 %qx, %da;", to_int(da, FE_TOWARDZERO, 64, false, true)) \
    X('w', "cvt.rni.s32.f64 %rx, %da;", to_int(da, FE_TONEAREST, 32, true, true)) \
    X('w', "cvt.rzi.s32.f16 %rx, %ha;", to_int(of_f16(ha), FE_TOWARDZERO, 32, true, false)) \
    X('f', "cvt.rni.f32.f32 %fx, %fa;", F(rintf(fa))) \
    X('f', "cvt.rzi.f32.f32 %fx, %fa;", F(truncf(fa))) \
    X('f', "cvt.rmi.ftz.f32.f32 %fx, %fa;", F(floorf(flush(fa)))) \
    X('d', "cvt.rpi.f64.f64 %dx, %da;", D(ceil(da))) \
    X('f', "cvt.sat.f32.f32 %fx, %fa;", F(sat(fa))) \
    X('q', "cvt.s64.s32 %qx, %ra;", (uint64_t)(int64_t)sa) \
    X('q', "cvt.u64.u32 %qx, %ra;", ra) \
    X('w', "cvt.u32.u64 %rx, %qa;", ra) \
    X('w', "cvt.s32.s8 %rx, %ra;", (uint32_t)(int32_t)(int8_t)ra) \
    X('w', "cvt.u32.u8 %rx, %ra;", ra & 255) \
    X('w', "cvt.u32.u16 %rx, %ha;", ha) \
    X('w', "cvt.s32.s16 %rx, %ha;", (uint32_t)(int32_t)za) \
    X('h', "cvt.u16.u32 %hx, %ra;", ha) \
    X('w', "cvt.sat.u8.s32 %rx, %ra;", sa<0 ? 0 : sa> 255 ? 255 : ra) \
    X('w', "cvt.s8.s32 %rx, %ra;", (uint32_t)(int32_t)(int8_t) ra) \
    X('w', "cvt.sat.s32.s64 %rx, %qa;", (uint32_t)(sqa > INT32_MAX ? INT32_MAX : sqa < INT32_MIN ? INT32_MIN : sqa)) \
    X('q', "cvt.s64.s8 %qx, %ra;", (uint64_t)(int64_t)(int8_t) ra)
/* clang-format on */

static void meanings(const help_operands *v, uint64_t *out) {
    HELP_OPERANDS
    ROWS(HELP_MEANING, HELP_MEANING_NEAR)
}

static const help_row rows[] = {ROWS(HELP_ROW, HELP_ROW_NEAR)};

static void floats(void **state) {
    (void)state;
    help_check_rows(rows, sizeof rows / sizeof *rows, meanings);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(floats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
