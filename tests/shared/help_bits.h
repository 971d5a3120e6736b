/* help_bits.h: floats as bits, and the one reference of tests for rounding to bf16. It shares no formula with what it
 * judges: it compares distances instead of adding to bits. */
#ifndef TESTS_SHARED_HELP_BITS_H
#define TESTS_SHARED_HELP_BITS_H

#include <stdint.h>

uint32_t help_bits_of(float x);
float help_float_of(uint32_t bits);

/* Exact. */
float help_bf16_value(uint16_t bits);
/* The bf16 nearest to x, of two that are as near the even one. What is half a step past the largest is infinite; a NaN
 * is cut off and quiet. */
uint16_t help_bf16_of(float x);

#endif
