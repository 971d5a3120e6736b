/* isa.h: the instruction sets CPU kernels are made for, as a table. The vector length is a property of the ISA, never a constant
 * of a kernel. Adding an ISA is one row here. */
#ifndef GEN_CPU_ISA_H
#define GEN_CPU_ISA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct gen_isa {
    const char *name;     /* as in nha_kernel.isa and nha_cpu_isa() */
    const char *triple;   /* LLVM target triple */
    const char *cpu;      /* LLVM CPU name */
    const char *features; /* LLVM feature string */
    int vector;           /* floats in a vector register */
    int registers;        /* vector registers */
    bool fma;             /* fused multiply-add */
    bool f16;             /* vector conversions between f16 and f32 */
    bool bf16;            /* AVX512-BF16: vector conversions from f32 to bf16 */
    bool amx;             /* AMX-BF16: tiles of 16 rows of 64 bytes, eight of them */
    uint64_t needs;       /* NHA_CPU_* bits a CPU must have */
} gen_isa;

/* The table, worst first within an architecture; *count rows. Static. */
const gen_isa *gen_isa_table(int *count);
/* NULL if there is none of that name. */
const gen_isa *gen_isa_find(const char *name);
/* The best row of this architecture that `features` (nha_cpu_features()) allow. */
const gen_isa *gen_isa_best(uint64_t features);

#endif
