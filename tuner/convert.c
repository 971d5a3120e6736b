/* convert.c: see convert.h. The narrow formats are IEEE 754 binary16 (5 exponent bits, 10 of mantissa) and bfloat16 (8,
 * 7).
 */
#include "tuner/convert.h"

#include <math.h>
#include <string.h>

float tune_bf16_to_f32(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

float tune_f16_to_f32(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 1023u;
    uint32_t wide;
    if (exponent == 31)
        wide = sign | 0x7f800000u | mantissa << 13;
    else if (exponent)
        wide = sign | (exponent + 127 - 15) << 23 | mantissa << 13;
    else { /* zero or subnormal: mantissa * 2^-24 */
        float x = (float)mantissa * 0x1p-24f;
        return sign ? -x : x;
    }
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

/* x to a format with `exponent_bits` and `mantissa_bits` (16 bits in all, with the sign). */
static uint16_t narrow(double x, int exponent_bits, int mantissa_bits) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int bias = (1 << (exponent_bits - 1)) - 1;
    uint16_t sign = (uint16_t)(bits >> 63 << 15);
    uint16_t infinity = (uint16_t)(((1u << exponent_bits) - 1) << mantissa_bits);
    int exponent = (int)(bits >> 52 & 2047) - 1023;
    uint64_t mantissa = bits & ((UINT64_C(1) << 52) - 1);
    if (exponent == 1024)
        return (uint16_t)(sign | infinity | (mantissa ? 1u << (mantissa_bits - 1) : 0));
    if (exponent == -1023)
        return sign; /* a zero, or a subnormal double: far below both formats */

    /* value = mantissa * 2^(exponent-52) with the leading one explicit; drop bits so that one unit is the target's ulp.
     */
    mantissa |= UINT64_C(1) << 52;
    int drop = 52 - mantissa_bits;
    if (exponent < 1 - bias)
        drop += 1 - bias - exponent; /* subnormal: the ulp stays that of the lowest exponent */
    if (drop > 54)
        return sign; /* below half of the least subnormal */
    uint64_t kept = mantissa >> drop, rest = mantissa & ((UINT64_C(1) << drop) - 1), half = UINT64_C(1) << (drop - 1);
    kept += rest > half || (rest == half && (kept & 1));
    /* With the leading one in place, adding (biased exponent - 1) << mantissa_bits assembles normal numbers, and a
     * carry out of the mantissa moves to the next exponent by itself. */
    uint64_t out = exponent < 1 - bias ? kept : kept + ((uint64_t)(exponent + bias - 1) << mantissa_bits);
    return (uint16_t)(sign | (out > infinity ? infinity : (uint16_t)out));
}

uint16_t tune_f64_to_f16(double x) {
    return narrow(x, 5, 10);
}

uint16_t tune_f64_to_bf16(double x) {
    return narrow(x, 8, 7);
}

double tune_load(const void *array, int dtype, int64_t i) {
    switch (dtype) {
    case NHA_F16:
        return tune_f16_to_f32(((const uint16_t *)array)[i]);
    case NHA_BF16:
        return tune_bf16_to_f32(((const uint16_t *)array)[i]);
    default:
        return ((const float *)array)[i];
    }
}

void tune_store(void *array, int dtype, int64_t i, double x) {
    switch (dtype) {
    case NHA_F16:
        ((uint16_t *)array)[i] = tune_f64_to_f16(x);
        break;
    case NHA_BF16:
        ((uint16_t *)array)[i] = tune_f64_to_bf16(x);
        break;
    default:
        ((float *)array)[i] = (float)x;
        break;
    }
}

void tune_widen(const void *array, int dtype, int64_t count, double *out) {
    const uint16_t *half = array;
    const float *single = array;
    if (dtype == NHA_F16)
        for (int64_t i = 0; i < count; i++)
            out[i] = tune_f16_to_f32(half[i]);
    else if (dtype == NHA_BF16)
        for (int64_t i = 0; i < count; i++)
            out[i] = tune_bf16_to_f32(half[i]);
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = single[i];
}

void tune_narrow(const double *x, int64_t count, int dtype, void *out) {
    for (int64_t i = 0; i < count; i++)
        tune_store(out, dtype, i, x[i]);
}
