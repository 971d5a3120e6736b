/* isa.c: the table of instruction sets. */
#include "gen/cpu/isa.h"

#include <string.h>

#include "runtime/nha_library.h"

#define X86_TRIPLE "x86_64-unknown-linux-gnu"
#define AVX2_NEEDS ((uint64_t)(NHA_CPU_AVX | NHA_CPU_AVX2 | NHA_CPU_FMA | NHA_CPU_F16C | NHA_CPU_BMI2))
#define AVX2_FEATURES "+avx2,+fma,+f16c,+bmi2"
#define AVX512_NEEDS                                                                                                   \
    (AVX2_NEEDS | (uint64_t)(NHA_CPU_AVX512F | NHA_CPU_AVX512BW | NHA_CPU_AVX512DQ | NHA_CPU_AVX512VL))
#define AVX512_FEATURES AVX2_FEATURES ",+avx512f,+avx512bw,+avx512dq,+avx512vl"
#define AMX_NEEDS (AVX512_NEEDS | (uint64_t)(NHA_CPU_AVX512BF16 | NHA_CPU_AMX_TILE | NHA_CPU_AMX_BF16))

/* LLVM's features are named one by one, so that `needs` says exactly what the code may use. */
static const gen_isa table[] = {
    {"baseline", X86_TRIPLE, "x86-64", "", 4, 16, .needs = 0},
    {"avx2", X86_TRIPLE, "x86-64", AVX2_FEATURES, 8, 16, .fma = true, .f16 = true, .needs = AVX2_NEEDS},
    {"avx512", X86_TRIPLE, "x86-64", AVX512_FEATURES, 16, 32, .fma = true, .f16 = true, .needs = AVX512_NEEDS},
    {"amx", X86_TRIPLE, "x86-64", AVX512_FEATURES ",+avx512bf16,+amx-tile,+amx-bf16", 16, 32, .fma = true, .f16 = true,
     .bf16 = true, .amx = true, .needs = AMX_NEEDS},
    {"neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 4, 32, .fma = true, .f16 = true, .needs = NHA_CPU_NEON},
};

const gen_isa *gen_isa_table(int *count) {
    *count = (int)(sizeof table / sizeof table[0]);
    return table;
}

const gen_isa *gen_isa_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

const gen_isa *gen_isa_best(uint64_t features) {
#if defined(__aarch64__)
    const char *triple = "aarch64-unknown-linux-gnu";
#else
    const char *triple = X86_TRIPLE;
#endif
    const gen_isa *best = NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].triple, triple) == 0 && (table[i].needs & ~features) == 0)
            best = &table[i];
    return best;
}
