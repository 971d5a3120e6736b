/* ir_math.h: transcendental functions as vector IR; never a call into libm. Inputs scalar or vector. Bounds are relative unless
 * said otherwise, in f32; beside them a term below 2^-126 may be flushed to 0. */
#ifndef GEN_CPU_IR_MATH_H
#define GEN_CPU_IR_MATH_H

#include "gen/cpu/ir.h"

/* 2^x for x <= 128; below -126 exactly 0, or the smallest normal where the bound allows it; 0 for -inf. degree 4: 2.7e-6, 5: 2.4e-7, 6: 1e-7. */
val ir_exp2(ir *b, val x, int degree);
/* The same in fewer instructions where the ISA has AMX, thus AVX-512: x finite, a vector; 0 where 2^x is below 2^-126. */
val ir_exp2_scale(ir *b, val x, int degree);
/* e^x and e^x - 1 for x <= 0, together; both 1.5e-7; below -87 e^x is 0, or right. Either pointer may be NULL. */
void ir_exp_expm1(ir *b, val x, val *exp, val *expm1);
/* log(sigmoid(x)): -(max(-x, 0) + log1p(e^-|x|)); 3e-7, also for large x, where it is -e^-x. */
val ir_logsigmoid(ir *b, val x);
/* x / (1 + e^-x); 3e-7. */
val ir_silu(ir *b, val x);
/* Natural logarithm of x > 0, normal; 2e-7 of max(|ln x|, 1/2). */
val ir_log(ir *b, val x);
/* Cosine and sine of 2 pi t / 2^32, t an i32 (scalar or vector) read as a fraction of a turn; absolute 1.5e-7. */
void ir_cos_sin(ir *b, val turns, val *cosine, val *sine);

#endif
