/* cpu_features.c: what this CPU and its operating system offer, in the bits that kernels name.
 * Sources: Intel SDM volume 1, 14.3 (AVX), 15.2 (AVX-512), 18.3 (AMX); Linux Documentation/arch/x86/xstate.rst
 * (permission for AMX). */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "runtime/internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

enum { EAX, EBX, ECX, EDX };

/* X(feature, leaf, subleaf, register, bit, bits of XCR0 that the system must have enabled) */
#define STATE_AVX    0x6u     /* XMM, upper YMM */
#define STATE_AVX512 0xe6u    /* and opmask, upper ZMM, ZMM16-31 */
#define STATE_AMX    0x60000u /* tile configuration and data */
#define FEATURE_BITS(X)                                                                                                \
    X(NHA_CPU_AVX, 1, 0, ECX, 28, STATE_AVX)                                                                           \
    X(NHA_CPU_FMA, 1, 0, ECX, 12, STATE_AVX)                                                                           \
    X(NHA_CPU_F16C, 1, 0, ECX, 29, STATE_AVX)                                                                          \
    X(NHA_CPU_AVX2, 7, 0, EBX, 5, STATE_AVX)                                                                           \
    X(NHA_CPU_BMI2, 7, 0, EBX, 8, 0)                                                                                   \
    X(NHA_CPU_AVX512F, 7, 0, EBX, 16, STATE_AVX512)                                                                    \
    X(NHA_CPU_AVX512DQ, 7, 0, EBX, 17, STATE_AVX512)                                                                   \
    X(NHA_CPU_AVX512BW, 7, 0, EBX, 30, STATE_AVX512)                                                                   \
    X(NHA_CPU_AVX512VL, 7, 0, EBX, 31, STATE_AVX512)                                                                   \
    X(NHA_CPU_AVX512FP16, 7, 0, EDX, 23, STATE_AVX512)                                                                 \
    X(NHA_CPU_AVX512BF16, 7, 1, EAX, 5, STATE_AVX512)                                                                  \
    X(NHA_CPU_AMX_TILE, 7, 0, EDX, 24, STATE_AMX)                                                                      \
    X(NHA_CPU_AMX_BF16, 7, 0, EDX, 22, STATE_AMX)

static const struct feature_bit {
    uint64_t feature;
    unsigned leaf, subleaf, reg, bit, state;
} feature_bits[] = {
#define ROW(feature, leaf, subleaf, reg, bit, state) {feature, leaf, subleaf, reg, bit, state},
    FEATURE_BITS(ROW)
#undef ROW
};

/* XCR0: register state that the operating system saves and restores. 0 if it uses no XSAVE. AMX counts only where Linux
 * gives this process the tile data, for which it is asked once (amx.c). */
static uint64_t enabled_state(void) {
    unsigned r[4];
    if (!__get_cpuid(1, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) || !(r[ECX] & (1u << 27))) return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    uint64_t state = low | (uint64_t)high << 32;
    uint64_t permitted = 0;
#if defined(__linux__)
    enum { ARCH_GET_XCOMP_PERM = 0x1022 };
    if (state & STATE_AMX) nhr_amx_request();
    if ((state & STATE_AMX) && syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted) != 0) permitted = 0;
#endif
    return (state & ~(uint64_t)STATE_AMX) | (state & permitted & STATE_AMX);
}

uint64_t nha_cpu_features(void) {
    uint64_t state = enabled_state(), features = 0;
    for (size_t i = 0; i < sizeof feature_bits / sizeof *feature_bits; i++) {
        const struct feature_bit *f = &feature_bits[i];
        unsigned r[4];
        if (__get_cpuid_count(f->leaf, f->subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) && (r[f->reg] >> f->bit & 1) &&
            (state & f->state) == f->state)
            features |= f->feature;
    }
    return features;
}

#elif defined(__aarch64__)

/* Advanced SIMD with f32 and its conversions from f16 is part of the architecture's base (ARMv8-A). */
uint64_t nha_cpu_features(void) {
    return NHA_CPU_NEON;
}

#else

uint64_t nha_cpu_features(void) {
    return 0;
}

#endif

enum { FAMILY_X86, FAMILY_ARM };

#define NEEDS_AVX2   (NHA_CPU_AVX | NHA_CPU_AVX2 | NHA_CPU_FMA | NHA_CPU_F16C | NHA_CPU_BMI2)
#define NEEDS_AVX512 (NEEDS_AVX2 | NHA_CPU_AVX512F | NHA_CPU_AVX512BW | NHA_CPU_AVX512DQ | NHA_CPU_AVX512VL)
#define NEEDS_AMX    (NEEDS_AVX512 | NHA_CPU_AVX512BF16 | NHA_CPU_AMX_TILE | NHA_CPU_AMX_BF16)

/* ISA names, ascending within a family. */
static const struct isa {
    const char *name;
    int family, level;
    uint64_t needs;
} isas[] = {
    {"baseline", FAMILY_X86, 0, 0},
    {"avx2", FAMILY_X86, 1, NEEDS_AVX2},
    {"avx512", FAMILY_X86, 2, NEEDS_AVX512},
    {"amx", FAMILY_X86, 3, NEEDS_AMX},
    {"neon", FAMILY_ARM, 0, NHA_CPU_NEON},
};

int nhr_isa_level(const char *name, int *family) {
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (strcmp(isas[i].name, name) == 0) {
            *family = isas[i].family;
            return isas[i].level;
        }
    return -1;
}

const char *nha_cpu_isa(void) {
    uint64_t features = nha_cpu_features();
    const char *best = isas[0].name;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if ((features & isas[i].needs) == isas[i].needs) best = isas[i].name;
    return best;
}

int32_t nhr_cpu_count(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 1024 ? 1024 : (int32_t)n;
}
