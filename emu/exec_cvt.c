/* exec_cvt.c: conversions of any type to any, one lane at a time. Every source is exact in long double (64 bits of
 * mantissa or more); the result is rounded once, by a rule that serves all formats: digits, least exponent, mode. */
#include "emu/exec.h"

#include <math.h>

#include "emu/half.h"

_Static_assert(sizeof(long double) > 8, "u64 is exact in long double");

static long double round_integral(long double q, int mode) {
    switch (mode) {
    case ROUND_ZERO:
        return truncl(q);
    case ROUND_DOWN:
        return floorl(q);
    case ROUND_UP:
        return ceill(q);
    case ROUND_AWAY:
        return roundl(q);
    default:
        return rintl(q); /* the process rounds to nearest even */
    }
}

/* x to `digits` bits of mantissa, and to multiples of 2^(least - digits + 1) below 2^least. Overflow is the caller's.
 */
static long double round_long(long double x, int digits, int least, int mode) {
    if (x == 0 || !isfinite(x))
        return x;
    int e;
    frexpl(x, &e); /* |x| in [2^(e-1), 2^e) */
    int unit = (e - 1 < least ? least : e - 1) - digits + 1;
    return ldexpl(round_integral(ldexpl(x, -unit), mode), unit);
}

double emu_round_to(double x, int digits, int least_exponent, int mode) {
    return (double)round_long((long double)x, digits, least_exponent, mode);
}

static long double decode(ptx_type t, uint64_t raw) {
    switch (t) {
    case T_U8:
        return (long double)(uint8_t)raw;
    case T_S8:
        return (long double)(int8_t)raw;
    case T_U16:
        return (long double)(uint16_t)raw;
    case T_S16:
        return (long double)(int16_t)raw;
    case T_U32:
        return (long double)(uint32_t)raw;
    case T_S32:
        return (long double)(int32_t)raw;
    case T_U64:
        return (long double)raw;
    case T_S64:
        return (long double)(int64_t)raw;
    case T_F16:
        return (long double)f32_of_f16((uint32_t)raw & 0xffff);
    case T_BF16:
        return (long double)f32_of_bf16((uint32_t)raw & 0xffff);
    case T_F64:
        return (long double)f64_bits(raw);
    default:
        return (long double)f32_bits((uint32_t)raw);
    }
}

/* e4m3 has no infinity and one NaN (0x7f); e5m2 is the upper byte of f16. */
static long double decode_f8(ptx_type t, uint32_t raw) {
    if (t == T_E5M2X2)
        return (long double)f32_of_f16(raw << 8);
    int e = (int)(raw >> 3 & 15), m = (int)(raw & 7);
    long double v = e == 15 && m == 7 ? (long double)NAN : e ? ldexpl(8 + m, e - 10) : ldexpl(m, -9);
    return raw & 128 ? -v : v;
}

typedef struct format {
    int digits, least, top; /* top: largest exponent */
    bool infinite;          /* overflow may give infinity */
} format;

static format format_of(ptx_type t) {
    switch (t) {
    case T_F16:
    case T_F16X2:
        return (format){11, -14, 15, true};
    case T_BF16:
    case T_BF16X2:
        return (format){8, -126, 127, true};
    case T_TF32:
        return (format){11, -126, 127, true};
    case T_E4M3X2:
        return (format){4, -6, 8, false};
    case T_E5M2X2:
        return (format){3, -14, 15, true};
    case T_F64:
        return (format){53, -1022, 1023, true};
    default:
        return (format){24, -126, 127, true};
    }
}

static long double largest(ptx_type t, format f) {
    return t == T_E4M3X2 ? 448 : ldexpl(2 - ldexpl(1, 1 - f.digits), f.top);
}

/* Rounds to a floating type and treats overflow: infinity, or the largest number if the mode points inward or
 * .satfinite says so. */
static long double to_format(long double x, ptx_type t, int mode, unsigned flags) {
    format f = format_of(t);
    if (flags & CVT_RELU)
        x = x > 0 || isnan(x) ? x : 0;
    if (flags & CVT_SAT)
        x = x > 0 ? (x < 1 ? x : 1) : 0;
    if (isnan(x))
        return x;
    long double r = round_long(x, f.digits, f.least, mode), most = largest(t, f);
    if (fabsl(r) > most) {
        bool inward = mode == ROUND_ZERO || (mode == ROUND_DOWN && x > 0) || (mode == ROUND_UP && x < 0);
        bool finite = (flags & CVT_FINITE) || !f.infinite || (inward && isfinite(x));
        r = copysignl(finite ? most : (long double)INFINITY, x);
    }
    return r;
}

static uint32_t encode_f8(ptx_type t, long double x) {
    if (t == T_E5M2X2)
        return isnan(x) ? 0x7f : f16_of_f32((float)x) >> 8; /* already a number of 3 digits */
    if (isnan(x))
        return 0x7f;
    uint32_t sign = signbit(x) ? 128 : 0;
    long double a = fabsl(x);
    if (a < 0x1p-6L)
        return sign | (uint32_t)ldexpl(a, 9);
    int e;
    frexpl(a, &e);
    return sign | (uint32_t)(e - 1 + 7) << 3 | ((uint32_t)ldexpl(a, 3 - (e - 1)) & 7);
}

static uint64_t encode(ptx_type t, long double x) {
    switch (t) {
    case T_F16:
        return f16_of_f32((float)x);
    case T_BF16:
        return bf16_of_f32((float)x);
    case T_F64:
        return bits_f64((double)x);
    default:
        return isnan(x) ? 0x7fffffff : bits_f32((float)x);
    }
}

/* Integers saturate when they come from floats; NaN is 0, or 2^(width-1) where one side has 64 bits. */
static uint64_t to_integer(long double x, ptx_type t, ptx_type from, int mode) {
    int bits = 8 * emu_type_bytes[t];
    bool negative = t >= T_S8 && t <= T_S64;
    if (isnan(x))
        return emu_type_bytes[t] == 8 || from == T_F64 ? UINT64_C(1) << (bits - 1) : 0;
    x = round_integral(x, mode);
    long double high = ldexpl(1, bits - negative) - 1, low = negative ? -ldexpl(1, bits - 1) : 0;
    x = x > high ? high : x < low ? low : x;
    return negative ? (uint64_t)(int64_t)x : (uint64_t)x;
}

static uint64_t integer_to_integer(uint64_t raw, ptx_type t, ptx_type from, bool sat) {
    long double x = decode(from, raw);
    if (sat)
        return to_integer(x, t, from, ROUND_ZERO);
    uint64_t v = from >= T_S8 && from <= T_S64 ? (uint64_t)(int64_t)x : (uint64_t)x;
    int shift = 64 - 8 * emu_type_bytes[t];
    return t >= T_S8 && t <= T_S64 ? (uint64_t)((int64_t)(v << shift) >> shift) : v << shift >> shift;
}

static bool is_integer(ptx_type t) {
    return t >= T_U8 && t <= T_S64;
}
static float flushed(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

static uint64_t convert(const op *o, uint64_t raw, uint64_t second) {
    ptx_type d = (ptx_type)o->type, s = (ptx_type)o->type2;
    unsigned flags = o->flags;
    if (is_integer(d) && is_integer(s))
        return integer_to_integer(raw, d, s, flags & CVT_SAT);
    if (s == T_E4M3X2 || s == T_E5M2X2) {
        uint64_t r = 0;
        for (int k = 0; k < 2; k++)
            r |= encode(T_F16, to_format(decode_f8(s, (uint32_t)raw >> 8 * k & 255), T_F16, o->mode, flags)) << 16 * k;
        return r;
    }
    if (s == T_F16X2) {
        uint64_t r = 0;
        for (int k = 0; k < 2; k++)
            r |= (uint64_t)encode_f8(d, to_format(decode(T_F16, raw >> 16 * k), d, o->mode, flags)) << 8 * k;
        return r;
    }
    long double x = decode(s, raw);
    if ((flags & CVT_FTZ) && s == T_F32)
        x = flushed((float)x);
    if (is_integer(d))
        return to_integer(x, d, s, o->mode);
    if (d == T_E4M3X2 || d == T_E5M2X2) { /* the first source is the upper one */
        uint32_t high = encode_f8(d, to_format(x, d, o->mode, flags));
        return high << 8 | encode_f8(d, to_format(decode(T_F32, second), d, o->mode, flags));
    }
    if (d == T_F16X2 || d == T_BF16X2) {
        ptx_type one = d == T_F16X2 ? T_F16 : T_BF16;
        return encode(one, to_format(x, d, o->mode, flags)) << 16 |
               encode(one, to_format(decode(T_F32, second), d, o->mode, flags));
    }
    if (flags & CVT_INTEGRAL) /* a float of integral value; the sign of a zero is kept */
        x = isfinite(x) ? copysignl(round_integral(x, o->mode), x) : x;
    long double r = to_format(x, d, (flags & CVT_INTEGRAL) ? ROUND_NEAREST : o->mode, flags);
    if ((flags & CVT_FTZ) && d == T_F32)
        r = flushed((float)r);
    return encode(d, r);
}

void emu_exec_cvt(warp *w, const op *o, uint32_t mask) {
    FOR_LANES(i, mask) {
        uint64_t raw = o->wide & 2 ? REG(w, const reg64, o->r[1])[i] : REG(w, const reg32, o->r[1])[i];
        if (emu_type_bytes[o->type2] == 8 && !(o->wide & 2))
            raw = REG(w, const reg64, o->r[1])[i];
        uint64_t r = convert(o, raw, o->r[2] >= 0 ? REG(w, const reg32, o->r[2])[i] : 0);
        if (o->wide & 1 || emu_type_bytes[o->type] == 8)
            REG(w, reg64, o->r[0])[i] = r;
        else
            REG(w, reg32, o->r[0])[i] = (uint32_t)r;
    }
}
