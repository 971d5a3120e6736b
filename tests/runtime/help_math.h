/* help_math.h: the elementwise parts of the definition (docs/spec.md) in double, and the element types.
 * Shared by the definition and by the reference kernels; slow, plain, and the same for every layout. */
#ifndef HELP_MATH_H
#define HELP_MATH_H

#include "runtime/nha.h"

enum { DIM_MAX = 256 };

/* Element `i` of an array of the dtype; F16 and BF16 are rounded to nearest even. */
double math_load(int dtype, const void *data, int64_t i);
void math_store(int dtype, void *data, int64_t i, double value);
int64_t math_bytes(int dtype);
/* The value after a round trip through the dtype. */
double math_round(int dtype, double value);

/* Natural-log gate of a raw gate input. */
double math_gate(const nha_problem *p, double raw);
/* s of a raw gate input where it is not given. */
double math_s(const nha_problem *p, double raw);
/* A map, elementwise, in place. */
void math_map(int map, double *x, int64_t n);
/* Rotates x [K] to position pos (theta 10000), as p->rope says; NONE and GIVEN leave it. In place. */
void math_rotate(const nha_problem *p, double *x, int64_t pos);

#endif
