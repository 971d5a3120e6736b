/* help_bits.c: see help_bits.h. */
#include "tests/shared/help_bits.h"

#include <math.h>
#include <string.h>

uint32_t help_bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float help_float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float help_bf16_value(uint16_t bits) {
    return help_float_of((uint32_t)bits << 16);
}

uint16_t help_bf16_of(float x) {
    const uint16_t below = (uint16_t)(help_bits_of(x) >> 16), above = (uint16_t)(below + 1); /* in magnitude */
    if (isnan(x))
        return below | 0x40;
    if (isinf(x))
        return below;
    const double low = fabs((double)help_bf16_value(below)), at = fabs((double)x);
    const double high = (above & 0x7fff) == 0x7f80 ? ldexp(1, 128) : fabs((double)help_bf16_value(above));
    if (at - low == high - at)
        return below & 1 ? above : below;
    return at - low < high - at ? below : above;
}
