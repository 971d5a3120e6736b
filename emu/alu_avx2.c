/* alu_avx2.c: the lane loops again for x86-64 with AVX2 and FMA, chosen at run time; the same table in the same order.
 */
#if defined(__x86_64__)
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "emu/alu.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi,bmi2,lzcnt,popcnt")
#endif
#define ALU_ROWS emu_alu_rows_avx2
#include "emu/alu_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
