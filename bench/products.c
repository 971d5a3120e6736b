/* products.c: two facts that docs/cpu-kernels.md rests on. What AVX-512's instructions for 16-bit products give beside its FMA of fp32,
 * the reason why no kernel is made of them: GFLOP/s of twelve independent accumulators in registers (a product of bf16 counts four operations
 * a lane, one of f16 two for each of 32 lanes). And how many FMAs go beside a product on AMX tiles, the reason why overlapping the
 * two gains no more: nanoseconds of a tile product with so many FMAs after it. build/nha_products; one thread, medians of 9 interleaved
 * rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__clang__) && __GNUC__ >= 12
#include <immintrin.h>

enum { CHAINS = 12, TURNS = 400000, ROUNDS = 9 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of `step`, which has the accumulator `a`; `flops` of each. The empty asm keeps steps from being hoisted or merged. */
#define MEASURE(name, features, type, zero, step, flops)                                                               \
    __attribute__((noinline, target(features))) static double name(void) {                                             \
        __m512 x = _mm512_set1_ps(1e-3f);                                                                              \
        type acc[CHAINS];                                                                                              \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) acc[i] = zero;                                       \
        double begin = now();                                                                                          \
        for (int n = 0; n < TURNS; n++) {                                                                              \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) {                                                \
                type a = acc[i];                                                                                       \
                __asm__ volatile("" : "+v"(x));                                                                        \
                acc[i] = step;                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        double seconds = now() - begin;                                                                                \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) __asm__ volatile("" ::"v"(acc[i]));                  \
        return (double)(flops) * TURNS * CHAINS / seconds * 1e-9;                                                      \
    }
MEASURE(fma_f32, "avx512f", __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(x, x, a), 32)
MEASURE(dot_bf16, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(a, (__m512bh)x, (__m512bh)x), 64)
MEASURE(fma_f16, "avx512f,avx512bw,avx512vl,avx512fp16", __m512h, _mm512_setzero_ph(),
        _mm512_fmadd_ph((__m512h)x, (__m512h)x, a), 64)

#define FMA(i) "vfmadd231ps %%zmm31, %%zmm30, %%zmm" #i "\n"
#define FMA8 FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7)
#define FMA16 FMA8 FMA(8) FMA(9) FMA(10) FMA(11) FMA(12) FMA(13) FMA(14) FMA(15)
#define TILES(beside)                                                                                                  \
    "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n" beside "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n" beside                            \
    "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n" beside "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n" beside

/* Nanoseconds of a quarter of `code`. */
#define QUARTER(name, code)                                                                                            \
    __attribute__((noinline, target("amx-tile,amx-bf16,avx512f"))) static double name(void) {                          \
        double begin = now();                                                                                          \
        for (int n = 0; n < TURNS / 4; n++)                                                                            \
            __asm__ volatile(code ::: "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",  \
                             "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15");                                    \
        return (now() - begin) / TURNS * 1e9;                                                                          \
    }
QUARTER(tiles_alone, TILES(""))
QUARTER(tiles_16, TILES(FMA16))
QUARTER(tiles_32, TILES(FMA16 FMA16))
QUARTER(alone_32, FMA16 FMA16 FMA16 FMA16 FMA16 FMA16 FMA16 FMA16)

__attribute__((target("amx-tile"))) static void configure_tiles(void) {
    unsigned char config[64] = {1}; /* palette; bytes a row at 16 + 2 i, rows at 48 + i (Intel SDM, LDTILECFG) */
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    __asm__ volatile("" ::"r"(config) : "memory"); /* GCC 12 does not know that the next instruction reads it */
    _tile_loadconfig(config);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct row {
    const char *name, *unit;
    int runs;
    double (*measure)(void);
} row;

int main(void) {
    enum { XTILEDATA = 18, ARCH_REQ_XCOMP_PERM = 0x1023 };
    int tiles = __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
    const row rows[] = {{"fma f32 (VFMADD231PS)", "GFLOP/s", __builtin_cpu_supports("avx512f"), fma_f32},
                        {"pairs of bf16 (VDPBF16PS)", "GFLOP/s", __builtin_cpu_supports("avx512bf16"), dot_bf16},
                        {"fma f16 (VFMADD231PH)", "GFLOP/s", __builtin_cpu_supports("avx512fp16"), fma_f16},
                        {"tile product (TDPBF16PS)", "ns", tiles, tiles_alone},
                        {"  and 16 fma f32", "ns", tiles, tiles_16},
                        {"  and 32 fma f32", "ns", tiles, tiles_32},
                        {"32 fma f32 alone", "ns", tiles, alone_32}};
    enum { COUNT = sizeof rows / sizeof rows[0] };
    double value[COUNT][ROUNDS];
    if (tiles)
        configure_tiles();
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < COUNT; i++)
            value[i][r] = rows[i].runs ? rows[i].measure() : 0;
    for (int i = 0; i < COUNT; i++) {
        qsort(value[i], ROUNDS, sizeof value[i][0], ascending);
        if (rows[i].runs)
            printf("%-26s %8.2f %s (%.2f to %.2f)\n", rows[i].name, value[i][ROUNDS / 2], rows[i].unit, value[i][0],
                   value[i][ROUNDS - 1]);
        else
            printf("%-26s not on this CPU\n", rows[i].name);
    }
    return 0;
}
#else
int main(void) {
    fprintf(stderr, "nha_products: needs x86-64 and GCC 12\n");
    return 1;
}
#endif
