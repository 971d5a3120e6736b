/* convert.h: f16, bf16 and f32 in memory <-> double, one rounding, to nearest with ties to even.
 * Plain integer arithmetic: the same bits on every machine, whatever its conversion instructions do. */
#ifndef TUNER_CONVERT_H
#define TUNER_CONVERT_H

#include <stdint.h>

#include "runtime/nha.h"

/* Exact. Infinities and NaN stay what they are. */
float tune_f16_to_f32(uint16_t bits);
float tune_bf16_to_f32(uint16_t bits);
/* Rounded once; overflow gives an infinity, underflow a subnormal or a zero of the same sign; NaN stays NaN. */
uint16_t tune_f64_to_f16(double x);
uint16_t tune_f64_to_bf16(double x);

/* Element i of an array of `dtype` (nha_dtype) as a double; exact. The array is aligned to its element. */
double tune_load(const void *array, int dtype, int64_t i);
/* Rounds x to `dtype` and stores it as element i. */
void tune_store(void *array, int dtype, int64_t i, double x);
/* count elements at once: to doubles (exact), and from them (rounded). */
void tune_widen(const void *array, int dtype, int64_t count, double *out);
void tune_narrow(const double *x, int64_t count, int dtype, void *out);

#endif
