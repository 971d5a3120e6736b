/* split.h: in how many bf16 parts the operands of products on AMX tiles are (docs/cpu-kernels.md has the table with its
 * reasons), for the layout of a kernel and for whoever estimates what its products cost. Free of LLVM. */
#ifndef GEN_CPU_SPLIT_H
#define GEN_CPU_SPLIT_H

#include "gen/problem.h"

/* 1 to 3 each. */
typedef struct gen_cpu_parts {
    int mapped;           /* q and k on the slot path: as they are, or silu */
    int rotated;          /* q and k of the window: as they are, or rotated */
    int score;            /* slot keys, weights of tokens in scores and in slot keys */
    int read;             /* probabilities, slot values */
    int weight;           /* weights of tokens in reads and in slot values */
    int values, absorbed; /* v of the window, and of tokens that are absorbed */
} gen_cpu_parts;
gen_cpu_parts gen_cpu_parts_of(const nha_problem *problem);

/* Products of tiles that stand for one, of operands in so many parts: those of parts i and j (0: high) with i + j less
 * than the larger number of parts; the others are too small to count. 1 of 1 x 1, 2 of 1 x 2, 3 of 2 x 2, 5 of 2 x 3, 6
 * of 3 x 3. */
int gen_cpu_part_products(int left, int right);

#endif
