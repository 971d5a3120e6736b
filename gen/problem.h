/* problem.h: what is asked. Derived from a spec, never searched; all later structs derive from it. */
#ifndef GEN_PROBLEM_H
#define GEN_PROBLEM_H

#include <stdio.h>

#include "runtime/nha.h"

enum { GEN_NAME_MAX = 64, GEN_HEAD_DIM_MAX = 256, GEN_SLOTS_MAX = 256 };

typedef struct gen_problem {
    nha_problem nha;               /* nha.name points to `name` below: fix it up after copying (gen_problem_copy) */
    char name[GEN_NAME_MAX + 1];   /* [A-Za-z0-9][A-Za-z0-9._-]* */
    char c_name[GEN_NAME_MAX + 1]; /* . and - become _ */
    int32_t group;                 /* G = HQ / H */
    int64_t ring;                  /* R = max(L, W), or W if M = 0 */
    /* Rotation in turns per token, as 64-bit fixed point: round(inv_freq / 2pi * 2^64); K/2 entries for neox and gptj. Exact at any
     * position: angle(pos) = pos * turns mod 2^64. */
    double inv_freq[GEN_HEAD_DIM_MAX / 2];
    uint64_t turns[GEN_HEAD_DIM_MAX / 2];
} gen_problem;

/* Copies, keeping nha.name inside the copy. */
void gen_problem_copy(gen_problem *to, const gen_problem *from);
/* Fills the derived members (c_name, group, ring, turns from inv_freq) from the others. */
void gen_problem_derive(gen_problem *problem);
/* String form used in names, logs, tests and journals: prefill.k128.v128.m64.w64.l64.h8.g4.bf16.neox... : everything that decides
 * the kernel. Returns the length as snprintf does. */
int gen_problem_string(const gen_problem *problem, nha_op op, char *out, size_t size);
/* The problem in words, one `key: value` a line. */
void gen_problem_print(FILE *out, const gen_problem *problem);

const char *gen_dtype_name(int dtype); /* "f32", "f16", "bf16" */
int gen_dtype_bytes(int dtype);
const char *gen_op_name(int op); /* "prefill", "decode", "backward" */

#endif
