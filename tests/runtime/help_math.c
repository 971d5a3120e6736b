/* help_math.c: see help_math.h. */
#include "tests/runtime/help_math.h"

#include <math.h>

#include "tests/shared/help_bits.h"

int64_t math_bytes(int dtype) {
    return dtype == NHA_F32 ? 4 : 2;
}

/* binary16: 1 sign, 5 exponent (bias 15), 10 fraction. */
static double load_f16(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    double fraction = bits & 1023;
    double value = exponent == 31 ? INFINITY
                   : exponent     ? ldexp(1 + fraction / 1024, exponent - 15)
                                  : ldexp(fraction, -24);
    return bits & 0x8000 ? -value : value;
}

static uint16_t store_f16(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double x = fabs(value);
    if (x >= 65520) return sign | 31 << 10;
    int exponent;
    frexp(x, &exponent); /* x = f * 2^exponent, f in [0.5, 1) */
    int scale = exponent - 1 < -14 ? -24 : exponent - 11;
    uint32_t units = (uint32_t)nearbyint(ldexp(x, -scale)); /* of 2^scale */
    uint32_t biased = scale == -24 ? units : ((uint32_t)(scale + 25) << 10) + (units - 1024) + 0;
    return (uint16_t)(sign | biased);
}

double math_load(int dtype, const void *data, int64_t i) {
    if (dtype == NHA_F32) return (double)((const float *)data)[i];
    uint16_t bits = ((const uint16_t *)data)[i];
    return dtype == NHA_BF16 ? (double)help_bf16_value(bits) : load_f16(bits);
}

void math_store(int dtype, void *data, int64_t i, double value) {
    if (dtype == NHA_F32)
        ((float *)data)[i] = (float)value;
    else
        ((uint16_t *)data)[i] = dtype == NHA_BF16 ? help_bf16_of((float)value) : store_f16(value);
}

double math_round(int dtype, double value) {
    float slot;
    math_store(dtype, &slot, 0, value);
    return math_load(dtype, &slot, 0);
}

double math_gate(const nha_problem *p, double raw) {
    if (p->gate_input == NHA_GATE_LOG) return raw;
    return (fmin(raw, 0) - log1p(exp(-fabs(raw)))) / p->gate_normalizer;
}

double math_s(const nha_problem *p, double raw) {
    return -expm1(math_gate(p, raw));
}

void math_map(int map, double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (map == NHA_MAP_SILU) x[i] = x[i] / (1 + exp(-x[i]));
        if (map == NHA_MAP_RELU) x[i] = fmax(x[i], 0);
    }
}

void math_rotate(const nha_problem *p, double *x, int64_t pos) {
    if (p->rope != NHA_ROPE_NEOX && p->rope != NHA_ROPE_GPTJ) return;
    int64_t half = p->head_dim_qk / 2;
    for (int64_t i = 0; i < half; i++) {
        double angle = (double)pos * pow(10000, -(double)i / (double)half), c = cos(angle), s = sin(angle);
        double *a = p->rope == NHA_ROPE_NEOX ? &x[i] : &x[2 * i];
        double *b = p->rope == NHA_ROPE_NEOX ? &x[i + half] : &x[2 * i + 1];
        double rotated = *a * c - *b * s;
        *b = *b * c + *a * s;
        *a = rotated;
    }
}
