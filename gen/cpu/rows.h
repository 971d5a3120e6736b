/* rows.h: what prefill and decode share at their edges: rows between user memory and scratch, gates, constants of rotation. */
#ifndef GEN_CPU_ROWS_H
#define GEN_CPU_ROWS_H

#include "gen/cpu/frame.h"

/* 4 for f32, else 2. */
int row_element_bytes(int dtype);

/* A row in user memory on its way into scratch, as f32. */
typedef struct row_copy {
    val from, to; /* first elements */
    int dtype, map;
    double scale;
    val to_raw;   /* if not NULL: scale * x, unmapped, is stored here too */
} row_copy;
/* to[0..n) = scale * map(from[0..n)) */
void row_load(ir *b, int n, const row_copy *copy);
/* to[0..n) = 0 */
void row_zero(ir *b, int n, val to);
/* to[0..n) = from[0..n) * factor, from f32 to dtype, rounded once. factor: scalar */
void row_store(ir *b, int n, int dtype, val from, val to, val factor);

/* Gates of `width` slots from `offset` (i64, slots) on, at gate and, where given, given_s: g natural and <= 0, e = exp(g),
 * m1 = expm1(g), s = -m1 or given. */
typedef struct gate_values {
    val g, e, m1, s;
} gate_values;
gate_values row_gate(kernel *k, val gate, val given_s, val offset, int width);
/* h' = keep*h + (scaled*h + new): (1, expm1) for slow decays, whose expm1 is exact to the last bit where 1 - x would drift; (0, exp) for
 * fast ones, where h + expm1*h would leave rounding errors of a forgotten h. */
void row_decay(ir *b, val exp, val expm1, val *keep, val *scaled);

/* Rotation: angle(pos, i) = pos * turns[i] mod 2^64, exact. Constants of the module: turns i64 [hp], and cosine and sine [tokens][hp] of the
 * angles of 0 .. tokens-1. */
typedef struct rotation_table {
    val turns, cosine, sine;
} rotation_table;
rotation_table row_rotation_table(kernel *k, int tokens);

#endif
