/* products.c: what AVX-512's instructions for 16-bit products give beside its FMA of fp32, the reason why no kernel is made of them:
 * build/nha_products prints GFLOP/s of twelve independent accumulators in registers, one thread, median of 9 interleaved rounds. A product
 * of bf16 counts four operations for two pairs a lane, one of f16 two for each of 32 lanes. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void) {
    const struct {
        const char *name;
        int runs;
        double (*measure)(void);
    } rows[] = {{"fma f32 (VFMADD231PS)", __builtin_cpu_supports("avx512f"), fma_f32},
                {"pairs of bf16 (VDPBF16PS)", __builtin_cpu_supports("avx512bf16"), dot_bf16},
                {"fma f16 (VFMADD231PH)", __builtin_cpu_supports("avx512fp16"), fma_f16}};
    double rate[3][ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 3; i++)
            rate[i][r] = rows[i].runs ? rows[i].measure() : 0;
    for (int i = 0; i < 3; i++) {
        qsort(rate[i], ROUNDS, sizeof rate[i][0], ascending);
        if (rows[i].runs)
            printf("%-26s %7.1f GFLOP/s (%.1f to %.1f)\n", rows[i].name, rate[i][ROUNDS / 2], rate[i][0], rate[i][ROUNDS - 1]);
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
