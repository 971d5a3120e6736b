/* test_emu_correct.c: correct kernels of kernels/correct.cu give the results of plain C, with no report, under several
 * seeds and both ways of delivering cp.async. Runs on the committed PTX, and where nvcc exists on fresh PTX of several
 * targets. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/emu/help_emu.h"
#include "tests/shared/help_bits.h"

typedef struct setting {
    emu_module *module;
    uint64_t seed;
    emu_async async;
} setting;

static help_launch make(const setting *s, emu_machine *m, const char *kernel, uint32_t grid, uint32_t block) {
    help_launch l = help_launch_of(m, s->module, kernel, grid, block);
    l.options.seed = s->seed;
    l.options.async = s->async;
    return l;
}

static void *buffer(emu_machine *m, const void *data, size_t bytes) {
    void *p = emu_alloc(m, bytes, data ? EMU_ZERO : EMU_UNDEFINED);
    assert_non_null(p);
    if (data)
        memcpy(p, data, bytes);
    return p;
}

static void vector_add(const setting *s) {
    enum { N = 1000 };
    emu_machine *m = emu_machine_create();
    float a[N], b[N];
    for (int i = 0; i < N; i++)
        a[i] = (float)i, b[i] = 0.25f * (float)i;
    float *c = buffer(m, NULL, sizeof a);
    help_launch l = make(s, m, "vector_add", 8, 128);
    help_pointer(&l, buffer(m, a, sizeof a)), help_pointer(&l, buffer(m, b, sizeof b)), help_pointer(&l, c),
        help_int(&l, N);
    help_run_clean(&l);
    assert_int_equal(emu_unwritten(m, c, sizeof a, NULL), 0);
    for (int i = 0; i < N; i++)
        assert_true(c[i] == a[i] + b[i]);
    assert_true(l.result.counters.global_sectors_read == 2 * (N * 4 / 32) &&
                l.result.counters.global_sectors_written == N * 4 / 32);
    help_end(&l);
    emu_machine_destroy(m);
}

static void reduce(const setting *s) {
    enum { N = 5000 };
    emu_machine *m = emu_machine_create();
    float x[N], *out = buffer(m, NULL, 16);
    double sum = 0, got = 0;
    for (int i = 0; i < N; i++)
        sum += x[i] = sinf((float)i);
    help_launch l = make(s, m, "reduce", 4, 256);
    help_pointer(&l, buffer(m, x, sizeof x)), help_pointer(&l, out), help_int(&l, N);
    help_run_clean(&l);
    for (int i = 0; i < 4; i++)
        got += (double)out[i];
    assert_true(fabs(got - sum) < 1e-3);
    help_end(&l);
    emu_machine_destroy(m);
}

static void scan(const setting *s) {
    emu_machine *m = emu_machine_create();
    int32_t x[2048], *y = buffer(m, NULL, sizeof x), sum = 0;
    for (int i = 0; i < 2048; i++)
        x[i] = i * 7 % 31 - 9;
    help_launch l = make(s, m, "scan", 2, 1024);
    help_pointer(&l, buffer(m, x, sizeof x)), help_pointer(&l, y);
    help_run_clean(&l);
    for (int i = 0; i < 2048; i++) {
        sum = (i % 1024 ? sum : 0) + x[i];
        assert_int_equal(y[i], sum);
    }
    help_end(&l);
    emu_machine_destroy(m);
}

static void histogram(const setting *s) {
    enum { N = 10000 };
    emu_machine *m = emu_machine_create();
    static uint8_t x[N];
    uint32_t want[256] = {0}, zero[256] = {0};
    uint64_t state = 5;
    for (int i = 0; i < N; i++)
        want[x[i] = (uint8_t)(help_random(&state) % 200)]++;
    uint32_t *out = buffer(m, zero, sizeof zero);
    help_launch l = make(s, m, "histogram", 6, 256);
    help_pointer(&l, buffer(m, x, N)), help_pointer(&l, out), help_int(&l, N);
    help_run_clean(&l);
    assert_memory_equal(out, want, sizeof want);
    help_end(&l);
    emu_machine_destroy(m);
}

static void matmul(const setting *s) {
    enum { M = 128, N = 64, K = 160 };
    emu_machine *m = emu_machine_create();
    static uint16_t a[M * K], b[K * N];
    uint64_t state = 9;
    for (int i = 0; i < M * K; i++)
        a[i] = help_bf16_of(help_random_float(&state));
    for (int i = 0; i < K * N; i++)
        b[i] = help_bf16_of(help_random_float(&state));
    float *c = buffer(m, NULL, M * N * 4);
    help_launch l = make(s, m, "matmul", 1, 128);
    l.grid[0] = N / 32, l.grid[1] = M / 64;
    help_pointer(&l, buffer(m, a, sizeof a)), help_pointer(&l, buffer(m, b, sizeof b)), help_pointer(&l, c),
        help_int(&l, N), help_int(&l, K);
    help_run_clean(&l);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                double p = (double)help_bf16_value(a[i * K + k]) * (double)help_bf16_value(b[k * N + j]);
                sum += p, size += fabs(p);
            }
            assert_true(fabs((double)c[i * N + j] - sum) < 1e-6 * size);
        }
    assert_int_equal(l.result.counters.mma, (uint64_t)M / 16 * N / 8 * K / 16);
    help_end(&l);
    emu_machine_destroy(m);
}

static double function_of(int i, double v, int n, double wide, uint64_t big) {
    switch (i & 15) {
    case 0:
        return exp(v);
    case 1:
        return log1p(v * v);
    case 2:
        return sin((double)(float)(v * 1000));
    case 3:
        return expm1(v);
    case 4:
        return v / (v * v + 1);
    case 5:
        return sqrt(fabs(v));
    case 6:
        return pow(fabs(v) + 1, 2.5);
    case 7:
        return i % (n / 2 + 1);
    case 8:
        return (double)(big / (uint64_t)(i + 1));
    case 9:
        return wide * i;
    case 10:
        return tanh(v);
    case 11:
        return exp2(v) + log2(fabs(v) + 1);
    case 12:
        return 1 / sqrt(fabs(v) + 1) + round(v) + floor(v) + rint(v);
    case 13:
        return sin(wide * v) + exp(wide * v);
    case 14: {
        uint32_t x = (uint32_t)i, reversed = 0;
        for (int k = 0; k < 32; k++)
            reversed |= (x >> k & 1) << (31 - k);
        return __builtin_popcount(x) + (x ? __builtin_clz(x) : 32) + __builtin_ffs(i) + (reversed >> 20);
    }
    default:
        return fmax(v, 0.5) + copysign(3, v) + erf(v) + cos(v) + log(fabs(v) + 1);
    }
}

static void functions(const setting *s) {
    enum { N = 500, SHIFT = 3 };
    emu_machine *m = emu_machine_create();
    float x[N], *y = buffer(m, NULL, sizeof x);
    double wide = 1.25;
    uint64_t big = 0x123456789abcdef0u, state = 3;
    for (int i = 0; i < N; i++)
        x[i] = 2 * help_random_float(&state);
    help_launch l = make(s, m, "functions", 4, 128);
    help_pointer(&l, buffer(m, x, sizeof x)), help_pointer(&l, y), help_int(&l, N), help_int(&l, SHIFT);
    help_param(&l, &wide, 8), help_param(&l, &big, 8);
    help_run_clean(&l);
    for (int i = 0; i < N; i++) {
        int read = (i + 2 * SHIFT) & 7, doubled = (i + SHIFT) & 7;
        float local = (x[i] + (float)read) * (read == doubled ? 2 : 1);
        double want = function_of(i, (double)x[i], N, wide, big) + (double)local;
        if (!(fabs((double)y[i] - want) <= 4e-6 * (1 + fabs(want))))
            fail_msg("functions, i = %d: %.9g, not %.9g", i, (double)y[i], want);
    }
    help_end(&l);
    emu_machine_destroy(m);
}

static void ring(const setting *s) {
    enum { ROUNDS = 9 };
    emu_machine *m = emu_machine_create();
    int32_t x[ROUNDS * 32], *y = buffer(m, NULL, sizeof x);
    for (int i = 0; i < ROUNDS * 32; i++)
        x[i] = i * i;
    help_launch l = make(s, m, "ring", 1, 64);
    help_pointer(&l, buffer(m, x, sizeof x)), help_pointer(&l, y), help_int(&l, ROUNDS);
    help_run_clean(&l);
    for (int i = 0; i < ROUNDS * 32; i++)
        assert_int_equal(y[i], 2 * x[i / 32 * 32 + 31 - i % 32]);
    help_end(&l);
    emu_machine_destroy(m);
}

static void collectives(const setting *s) {
    enum { N = 96 };
    emu_machine *m = emu_machine_create();
    int32_t x[N], *y = buffer(m, NULL, sizeof x);
    uint64_t state = 77;
    for (int i = 0; i < N; i++)
        x[i] = (int32_t)(help_random(&state) % 300) - 100;
    help_launch l = make(s, m, "collectives", 1, N);
    help_pointer(&l, buffer(m, x, sizeof x)), help_pointer(&l, y);
    help_run_clean(&l);
    int over = 0, three = 0;
    for (int i = 0; i < N; i++)
        over += x[i] > 50, three |= x[i] == 3;
    for (int i = 0; i < N; i++) {
        const int32_t *v = &x[i / 32 * 32];
        int lane = i % 32, positive = 0, any = 0, all = 1, sum = 0, most = v[0], xored = 0, same = 0;
        for (int k = 0; k < 32; k++) {
            positive += !(k & 1) && v[k] > 0;
            any |= v[k] > 100, all &= v[k] < 1000;
            sum += v[k], most = v[k] > most ? v[k] : most, xored ^= v[k];
            same += (v[k] & 3) == (v[lane] & 3);
        }
        int r = lane & 1 ? v[lane ^ 2] + 16 : v[lane ^ 4] - positive;
        r += any * 1000 + all * 2000 + sum + most + xored + same + over * 7 + three + 1;
        assert_int_equal(y[i], r);
    }
    help_end(&l);
    emu_machine_destroy(m);
}

static void calls(const setting *s) {
    enum { N = 4 };
    emu_machine *m = emu_machine_create();
    float *y = buffer(m, NULL, 64 * 4);
    help_launch l = make(s, m, "calls", 1, 64);
    help_pointer(&l, y), help_int(&l, N);
    help_run_clean(&l);
    for (int i = 0; i < 64; i++) {
        float a = (float)i;
        double b = 0.5 * i;
        int c[3] = {i, i + 1, i + 2};
        for (int k = 0; k <= i % 3; k++) {
            int f = k + N, d[3];
            b += c[f % 3];
            a *= (float)f;
            for (int j = 0; j < 3; j++)
                d[j] = c[(j + f) % 3] * f;
            memcpy(c, d, sizeof c);
        }
        assert_true(y[i] == a + (float)b + (float)c[0] + (float)(10 * c[1]) + (float)(100 * c[2]));
    }
    help_end(&l);
    emu_machine_destroy(m);
}

static void all_kernels(emu_module *module, int seeds) {
    for (int seed = 0; seed < seeds; seed++)
        for (int async = 0; async < 2; async++) {
            setting s = {module, (uint64_t)seed, async ? EMU_ASYNC_EAGER : EMU_ASYNC_LATE};
            vector_add(&s), reduce(&s), scan(&s), histogram(&s), matmul(&s), functions(&s), ring(&s), collectives(&s),
                calls(&s);
        }
    emu_module_destroy(module);
}

static void committed(void **state) {
    (void)state;
    all_kernels(help_parse_file("tests/emu/ptx/correct_sm_80.ptx"), 4);
    all_kernels(help_parse_file("tests/emu/ptx/correct_sm_120f.ptx"), 3);
}

/* kernels/half.cu: the two compilers' code agrees bit by bit, and with what needs no arithmetic. */
static void halves(void **state) {
    (void)state;
    enum { N = 300, FORMS = 12 };
    static uint32_t in[3][N], got[2][N * FORMS];
    static const char *const paths[] = {"tests/emu/ptx/half_sm_80.ptx", "tests/emu/ptx/half_sm_120f.ptx"};
    uint64_t seed = 41;
    for (int k = 0; k < 3 * N; k++)
        in[k / N][k % N] = (uint32_t)help_random(&seed);
    for (int k = 0; k < 2; k++) {
        emu_machine *m = emu_machine_create();
        uint32_t *y = buffer(m, NULL, sizeof got[0]);
        help_launch l = help_launch_of(m, help_parse_file(paths[k]), "half_ops", 3, 128);
        for (int i = 0; i < 3; i++)
            help_pointer(&l, buffer(m, in[i], sizeof in[i]));
        help_pointer(&l, y), help_int(&l, N);
        help_run_clean(&l);
        memcpy(got[k], y, sizeof got[0]);
        emu_module_destroy(l.module);
        help_end(&l);
        emu_machine_destroy(m);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    for (int i = 0; i < N; i++) {
        assert_int_equal(got[0][i * FORMS + 8], in[0][i] ^ 0x80008000);
        assert_int_equal(got[0][i * FORMS + 9], in[0][i] & 0x7fff7fff);
    }
}

static void compiled(void **state) {
    (void)state;
    static const char *const targets[] = {"86", "90a", "100f"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char path[256];
        if (!help_compile("tests/emu/kernels/correct.cu", targets[i], path, sizeof path))
            skip();
        emu_module *m = help_parse_file(path);
        unlink(path);
        all_kernels(m, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(committed), cmocka_unit_test(halves),
                                       cmocka_unit_test(compiled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
