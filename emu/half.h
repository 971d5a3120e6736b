/* half.h: f16 and bf16 as bits, converted by integer arithmetic that vectorises. Rounding is to nearest even unless
 * named. Widening is exact; float and double hold every sum and product of two halves well enough for one correct
 * rounding. */
#ifndef EMU_HALF_H
#define EMU_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_f32(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static inline float f32_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}
static inline uint64_t bits_f64(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static inline double f64_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static inline float f32_of_bf16(uint32_t h) {
    return f32_bits(h << 16);
}

/* sign | exponent + 112 | mantissa << 13; subnormals by subtracting 2^-14 from a number of exponent -14. */
static inline float f32_of_f16(uint32_t h) {
    uint32_t sign = (h & 0x8000) << 16, body = (h & 0x7fff) << 13, exponent = body & 0x0f800000;
    uint32_t normal = body + 0x38000000, top = body + 0x70000000;
    uint32_t subnormal = bits_f32(f32_bits(body + 0x38800000) - f32_bits(0x38800000));
    uint32_t r = exponent == 0x0f800000 ? top : exponent == 0 ? subnormal : normal;
    return f32_bits(sign | r);
}

static inline uint32_t bf16_of_f32(float x) {
    uint32_t u = bits_f32(x);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded;
}

static inline uint32_t f16_of_f32(float x) {
    uint32_t u = bits_f32(x), sign = u >> 16 & 0x8000, body = u & 0x7fffffff;
    /* Adding 0.5 aligns a subnormal's last bit (2^-24) with the last bit of the float sum, which rounds it. */
    uint32_t small = bits_f32(f32_bits(body) + 0.5f) - 0x3f000000;
    uint32_t normal = (body + 0xfff + (body >> 13 & 1) - 0x38000000) >> 13;
    uint32_t r = body < 0x38800000 ? small : normal;
    r = body >= 0x477ff000 ? 0x7c00 : r; /* 65520 and above */
    r = body > 0x7f800000 ? 0x7fff : r;
    return body > 0x7f800000 ? 0x7fff : sign | r;
}

/* Round to odd: a double that any narrower format then rounds correctly. */
static inline double odd_of_sum(double a, double b) {
    double s = a + b, t = s - a, lost = (a - (s - t)) + (b - t);
    uint64_t u = bits_f64(s);
    if (lost != 0 && !(u & 1) && s - s == 0)
        u += (lost > 0) == (s > 0) ? 1 : UINT64_MAX; /* s is not 0: such a sum is exact */
    return f64_bits(u);
}
/* A double that is not exact in float, rounded to odd in float: safe for a second rounding to 16 bits. */
static inline float odd_f32_of_f64(double x) {
    float f = (float)x;
    uint32_t u = bits_f32(f);
    if (f - f == 0 && (double)f != x && !(u & 1))
        u += fabs(x) > fabs((double)f) ? 1 : UINT32_MAX;
    else if (f - f != 0 && x - x == 0) /* overflow of a finite number */
        u = (u & 0x80000000) | 0x7f7fffff;
    return f32_bits(u);
}
static inline uint32_t f16_fma(uint32_t a, uint32_t b, uint32_t c) {
    return f16_of_f32(odd_f32_of_f64(odd_of_sum((double)f32_of_f16(a) * f32_of_f16(b), f32_of_f16(c))));
}
static inline uint32_t bf16_fma(uint32_t a, uint32_t b, uint32_t c) {
    return bf16_of_f32(odd_f32_of_f64(odd_of_sum((double)f32_of_bf16(a) * f32_of_bf16(b), f32_of_bf16(c))));
}

/* PTX min and max: a NaN operand loses, -0 < +0; the .NaN forms return NaN for any NaN operand. */
static inline float f32_min(float a, float b) {
    float r = a < b ? a : b;
    r = a == b ? f32_bits(bits_f32(a) | bits_f32(b)) : r;
    r = b != b ? a : r;
    return a != a ? b : r;
}
static inline float f32_max(float a, float b) {
    float r = a > b ? a : b;
    r = a == b ? f32_bits(bits_f32(a) & bits_f32(b)) : r;
    r = b != b ? a : r;
    return a != a ? b : r;
}
static inline float f32_min_nan(float a, float b) {
    return a != a || b != b ? f32_bits(0x7fffffff) : f32_min(a, b);
}
static inline float f32_max_nan(float a, float b) {
    return a != a || b != b ? f32_bits(0x7fffffff) : f32_max(a, b);
}
static inline double f64_min(double a, double b) {
    double r = a < b ? a : b;
    r = a == b ? f64_bits(bits_f64(a) | bits_f64(b)) : r;
    r = b != b ? a : r;
    return a != a ? b : r;
}
static inline double f64_max(double a, double b) {
    double r = a > b ? a : b;
    r = a == b ? f64_bits(bits_f64(a) & bits_f64(b)) : r;
    r = b != b ? a : r;
    return a != a ? b : r;
}

#endif
