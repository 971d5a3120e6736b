/* streams.c: what memory gives one core, by how lines are asked for; docs/cpu-kernels.md ("Decode") rests on it. GB/s of reading and of
 * updating 512 MB in place (written bytes counted), 8 KiB asked for ahead: not at all, each line beside the load of another, several lines
 * at once, and several with a cycle's worth of no-ops between. And what the four streams of a decoding head (hk and hv updated, keys and
 * values read, 32 KiB each: the shape of specs/decode-f32.yaml) take without any arithmetic. build/nha_streams; one thread, medians of 9
 * interleaved rounds. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

enum { LINE = 16, AHEAD = 8192, ROUNDS = 9, HEADS = 8, STREAM = 8192 /* floats of a stream of a head */ };
static const size_t floats = (size_t)128 << 20;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define AVX512 __attribute__((target("avx512f")))
#define INLINE static inline __attribute__((always_inline)) AVX512
#define IN_ORDER __asm__ volatile("" ::: "memory")

typedef enum asking { PLAIN, BESIDE, TWO, FOUR, EIGHT, FOUR_APART, ASKINGS } asking;
static const char *const names[ASKINGS] = {"not asked for", "each beside a load", "two at once", "four at once", "eight at once", "four, a cycle apart"};

INLINE void touch(float *at, bool update, __m512 one, __m512 *sum) {
    __m512 x = _mm512_loadu_ps(at);
    if (update)
        _mm512_storeu_ps(at, _mm512_mul_ps(x, one));
    else
        *sum = _mm512_add_ps(*sum, x);
}

/* `count` floats from p on, a multiple of 128 */
INLINE void stream(float *p, size_t count, bool update, asking how, __m512 one, __m512 *sum) {
    const int group = how == BESIDE || how == PLAIN ? 1 : how == TWO ? 2 : how == EIGHT ? 8 : 4;
    for (float *end = p + count; p < end; p += group * LINE) {
        for (int i = 0; i < group && how != PLAIN; i++) {
            _mm_prefetch((const char *)(p + i * LINE) + AHEAD, _MM_HINT_T1);
            if (how == FOUR_APART)
                __asm__ volatile("nop; nop; nop; nop; nop; nop" ::: "memory");
        }
        IN_ORDER;
        for (int i = 0; i < group; i++)
            touch(p + i * LINE, update, one, sum);
        IN_ORDER;
    }
}

/* A row of a pool: memories of all heads, keys of all, values of all. */
INLINE void step(float *row, asking how, __m512 one, __m512 *sum) {
    float *keys = row + 2 * HEADS * STREAM, *values = keys + HEADS * STREAM;
    for (int h = 0; h < HEADS; h++) {
        stream(row + 2 * h * STREAM, STREAM, true, how, one, sum);
        stream(keys + h * STREAM, STREAM, false, how, one, sum);
        stream(row + (2 * h + 1) * STREAM, STREAM, true, how, one, sum);
        stream(values + h * STREAM, STREAM, false, how, one, sum);
    }
}

typedef enum what { READ, UPDATE, STEP, WHATS } what;

INLINE void pass(float *data, what w, asking how, __m512 one, __m512 *sum) {
    if (w == STEP)
        for (size_t row = 0; row < floats; row += 4 * HEADS * STREAM)
            step(data + row, how, one, sum);
    else
        stream(data, floats, w == UPDATE, how, one, sum);
}

/* Seconds of a pass; a function for each way of asking, as the loops are made for one. */
#define PASS(how)                                                                                                      \
    __attribute__((noinline)) AVX512 static double seconds_##how(float *data, what w) {                                \
        float one = 1, sum[LINE] = {0};                                                                                \
        __asm__ volatile("" : "+m"(one)); /* or the compiler would leave out the update */                             \
        __m512 factor = _mm512_set1_ps(one), total = _mm512_setzero_ps();                                              \
        double begin = now();                                                                                          \
        if (w == READ)                                                                                                 \
            pass(data, READ, how, factor, &total);                                                                     \
        else if (w == UPDATE)                                                                                          \
            pass(data, UPDATE, how, factor, &total);                                                                   \
        else                                                                                                           \
            pass(data, STEP, how, factor, &total);                                                                     \
        double seconds = now() - begin;                                                                                \
        _mm512_storeu_ps(sum, total);                                                                                  \
        __asm__ volatile("" ::"m"(sum));                                                                               \
        return seconds;                                                                                                \
    }
PASS(PLAIN) PASS(BESIDE) PASS(TWO) PASS(FOUR) PASS(EIGHT) PASS(FOUR_APART)
static double (*const passes[ASKINGS])(float *, what) = {seconds_PLAIN, seconds_BESIDE,     seconds_TWO,
                                                         seconds_FOUR,  seconds_EIGHT, seconds_FOUR_APART};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void) {
    if (!__builtin_cpu_supports("avx512f"))
        return puts("needs AVX-512"), 1;
    const size_t huge = (size_t)2 << 20, bytes = floats * sizeof(float);
    float *data = aligned_alloc(huge, bytes + huge); /* what is asked for past the end stays inside */
    if (!data)
        return puts("out of memory"), 1;
    madvise(data, bytes + huge, MADV_HUGEPAGE);
    for (size_t i = 0; i < (bytes + huge) / sizeof(float); i++)
        data[i] = 1;
    static double seconds[ASKINGS][WHATS][ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        for (int how = 0; how < ASKINGS; how++)
            for (int w = 0; w < WHATS; w++)
                seconds[how][w][r] = passes[how](data, (what)w);
    printf("%-20s %10s %10s %22s\n", "", "read GB/s", "update GB/s", "a head's streams, us");
    for (int how = 0; how < ASKINGS; how++) {
        double median[WHATS];
        for (int w = 0; w < WHATS; w++) {
            qsort(seconds[how][w], ROUNDS, sizeof(double), ascending);
            median[w] = seconds[how][w][ROUNDS / 2];
        }
        double heads = (double)floats / (4 * STREAM);
        printf("%-20s %10.1f %10.1f %22.2f\n", names[how], (double)bytes / median[READ] * 1e-9, 2 * (double)bytes / median[UPDATE] * 1e-9,
               median[STEP] / heads * 1e6);
    }
    free(data);
    return 0;
}
#else
int main(void) {
    puts("measures AVX-512, by gcc or clang");
    return 0;
}
#endif
