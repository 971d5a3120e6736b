/* test_ir_math.c: the transcendental functions of gen/cpu/ir_math.h on every ISA of this machine, at every width that kernels use,
 * in both floating-point modes, against double precision. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/cpu/ir_math.h"
#include "runtime/fpmode.h"
#include "tests/gen/help_gen.h"

enum { POINTS_MAX = 1 << 18 };

/* Arguments, and the two results of a function of one ISA, width and mode. */
static float in[POINTS_MAX], out[POINTS_MAX], out2[POINTS_MAX];
static float first[POINTS_MAX], first2[POINTS_MAX];
static int64_t points;

typedef enum which { EXP2_4, EXP2_5, EXP2_6, EXP_EXPM1, LOGSIGMOID, SILU, LOG, COS_SIN } which;

static void body(ir *b, const void *context, int width, val from, val to, val to2, val index) {
    which w = *(const which *)context;
    LLVMTypeRef type = ir_vec(b, w == COS_SIN ? b->i32 : b->f32, width);
    val x = ir_load(b, type, help_gen_at(b, from, index, 4), 4), y = NULL, y2 = NULL;
    switch (w) {
    case EXP2_4:
    case EXP2_5:
    case EXP2_6: y = ir_exp2(b, x, 4 + (int)w); break;
    case EXP_EXPM1: ir_exp_expm1(b, x, &y, &y2); break;
    case LOGSIGMOID: y = ir_logsigmoid(b, x); break;
    case SILU: y = ir_silu(b, x); break;
    case LOG: y = ir_log(b, x); break;
    case COS_SIN: ir_cos_sin(b, x, &y, &y2); break;
    }
    ir_store(b, y, help_gen_at(b, to, index, 4), 4);
    if (y2)
        ir_store(b, y2, help_gen_at(b, to2, index, 4), 4);
}

static int start(void **state) {
    (void)state;
    points = 0;
    return 0;
}

static void add(float x) {
    assert_true(points < POINTS_MAX);
    in[points++] = x;
}

/* `count` points evenly over [low, high], both included. */
static void add_even(double low, double high, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        add((float)(low + (high - low) * (double)i / (double)(count - 1)));
}

/* The same in the logarithm of the size; low, high of one sign. */
static void add_geometric(double low, double high, int64_t count) {
    double sign = low < 0 ? -1 : 1, from = log(fabs(low)), to = log(fabs(high));
    for (int64_t i = 0; i < count; i++)
        add((float)(sign * exp(from + (to - from) * (double)i / (double)(count - 1))));
}

/* A multiple of every width; the padding repeats the last point. */
static void pad(void) {
    while (points % 16)
        add(in[points - 1]);
}

typedef void (*checker)(const gen_isa *isa);

/* Runs the function everywhere on in[0..points) and calls `check` on the results of each ISA and mode. Results of all widths of an
 * ISA must be the same bits: rows are done in vectors and their tails in narrower ones. */
static void everywhere(which w, checker check) {
    int count, ran = 0;
    const gen_isa *table = gen_isa_table(&count);
    pad();
    for (int i = 0; i < count; i++) {
        if (!help_gen_runs(&table[i]))
            continue;
        for (int flush = 1; flush >= 0; flush--)
            for (int width = table[i].vector; width >= 1; width /= 2) {
                help_gen_code c = help_gen_load(&table[i], width, body, &w);
                memset(out, 0xff, sizeof out);
                memset(out2, 0xff, sizeof out2);
                uint64_t mode = flush ? nhr_fpmode_enter() : 0;
                c.fn(in, out, out2, points);
                if (flush)
                    nhr_fpmode_leave(mode);
                help_gen_unload(&c);
                if (width == table[i].vector) {
                    memcpy(first, out, sizeof out);
                    memcpy(first2, out2, sizeof out2);
                    check(&table[i]);
                } else if (memcmp(first, out, (size_t)points * 4) || memcmp(first2, out2, (size_t)points * 4)) {
                    fail_msg("%s: width %d gives other bits than width %d", table[i].name, width, table[i].vector);
                }
                ran++;
            }
    }
    assert_true(ran >= 2);
}

/* Largest error so far, and where. */
typedef struct worst {
    double error, at;
} worst;

static void note(worst *w, double error, double at) {
    if (!(error <= w->error) && !isnan(w->error)) {
        w->error = error;
        w->at = at;
    }
}

static void report(const gen_isa *isa, const char *what, const worst *w, double bound) {
    print_message("%-8s %-24s %.3g at %.9g (bound %.3g)\n", isa->name, what, w->error, w->at, bound);
    if (!(w->error <= bound))
        fail_msg("%s: %s: error %g at %.9g, above %g", isa->name, what, w->error, w->at, bound);
}

/* Relative error beyond what flushing may take away: a term below the smallest normal number (times `scale`). */
static double relative(double x, double exact, double scale) {
    double beyond = fabs(x - exact) - scale * FLT_MIN; /* NaN stays NaN */
    return beyond <= 0 ? 0 : beyond / fabs(exact);
}

/* ---- exp2 ---- */

static double exp2_bound;

static void check_exp2(const gen_isa *isa) {
    worst w = {0};
    for (int64_t i = 0; i < points; i++)
        if (in[i] < -126) { /* no normal number: zero, or the smallest of them where the bound allows it */
            if ((out[i] != 0 && relative(out[i], exp2(in[i]), 1) > exp2_bound) || signbit(out[i]))
                fail_msg("%s: exp2(%.9g) = %g, not 0", isa->name, in[i], out[i]);
        } else {
            note(&w, relative(out[i], exp2(in[i]), 1), in[i]);
        }
    report(isa, "exp2", &w, exp2_bound);
}

static void test_exp2(void **state) {
    (void)state;
    static const double bound[] = {2.7e-6, 2.4e-7, 1e-7};
    for (int degree = 4; degree <= 6; degree++) {
        points = 0;
        add_even(-1, 1, 100000);
        add_even(-126, 0, 100000);
        add_even(0, 127, 10000);
        add_geometric(-1e-30, -1, 1000);
        const float special[] = {0,      -0.0f,  1,      -1,          -126,      -125.99999f, -126.00001f, -127,
                                 -149.5f, -150,  -1000,  -1e4f,       -3.4e38f,  -INFINITY,   127,         126.99999f};
        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            add(special[i]);
        for (int n = -252; n <= 252; n++) { /* where rounding changes its mind */
            add(nextafterf((float)n / 2, -1000));
            add((float)n / 2);
            add(nextafterf((float)n / 2, 1000));
        }
        exp2_bound = bound[degree - 4];
        everywhere((which)(EXP2_4 + degree - 4), check_exp2);
    }
}

/* ---- exp and expm1 ---- */

static void check_exp(const gen_isa *isa) {
    worst e = {0}, m = {0};
    for (int64_t i = 0; i < points; i++) {
        double x = in[i];
        if (x < -87) { /* e^x is below 1.2e-38 soon after: all but forgotten */
            if ((out[i] != 0 && relative(out[i], exp(x), 1) > 1.5e-7) || out2[i] != -1)
                fail_msg("%s: exp(%.9g) = %g, expm1 = %g, not 0 and -1", isa->name, x, out[i], out2[i]);
            continue;
        }
        note(&e, relative(out[i], exp(x), 1), x);
        if (x == 0) {
            if (out2[i] != 0)
                fail_msg("%s: expm1(%g) = %g", isa->name, x, out2[i]);
        } else {
            note(&m, relative(out2[i], expm1(x), 1), x);
        }
        if (!(out[i] >= 0 && out[i] <= 1 && out2[i] <= 0 && out2[i] >= -1))
            fail_msg("%s: exp(%.9g) = %.9g, expm1 = %.9g: outside of [0,1] and [-1,0]", isa->name, x, out[i], out2[i]);
    }
    report(isa, "exp", &e, 1.5e-7);
    report(isa, "expm1", &m, 1.5e-7);
}

static void test_exp_expm1(void **state) {
    (void)state;
    add_even(-87, 0, 120000);
    add_even(-1, 0, 60000);
    add_geometric(-1e-37, -87, 60000); /* slow gates: relative to -x, not to 1 */
    const float special[] = {0, -0.0f, -87, -87.000008f, -87.5f, -88, -100, -1e4f, -3e38f, -INFINITY, -1e-30f, -1.2e-38f};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        add(special[i]);
    for (int n = 0; n <= 250; n++)
        for (int side = -1; side <= 1; side++) {
            float x = (float)(-0.5 * n * 0.69314718055994530942);
            add(side < 0 ? nextafterf(x, -1000) : side ? nextafterf(x, 0) : x);
        }
    everywhere(EXP_EXPM1, check_exp);
}

/* ---- bias of decays: what is left after T steps is the product of T of them, so that a mean relative error b of one becomes T b.
 * Slow decays are taken as h + expm1(g) h, fast ones (expm1 < -1/2) as exp(g) h. ---- */

static void check_bias(const gen_isa *isa) {
    enum { DECADES = 8 };
    double sum[DECADES] = {0}, fast = 0, largest = 0;
    int64_t count[DECADES] = {0}, fast_count = 0;
    for (int64_t i = 0; i < points; i++) {
        double x = in[i];
        if (out2[i] < -0.5f) {
            fast += out[i] / exp(x) - 1;
            fast_count++;
            continue;
        }
        int decade = (int)floor(-log10(-x));
        decade = decade < 0 ? 0 : decade >= DECADES ? DECADES - 1 : decade;
        sum[decade] += ((double)out2[i] - expm1(x)) / exp(x);
        count[decade]++;
    }
    for (int d = 0; d < DECADES; d++) {
        assert_true(count[d] > 1000);
        double mean = sum[d] / (double)count[d];
        largest = fmax(largest, fabs(mean));
        if (!(fabs(mean) < 1e-8))
            fail_msg("%s: decays about exp(-1e-%d) have a bias of %g", isa->name, d, mean);
    }
    assert_true(fast_count > 1000);
    print_message("%-8s bias of slow decays %.2g, of fast ones %.2g\n", isa->name, largest, fast / (double)fast_count);
    assert_true(fabs(fast / (double)fast_count) < 1e-8);
}

static void test_bias(void **state) {
    (void)state;
    add_geometric(-1e-8, -0.69, 200000);
    add_even(-20, -0.70, 50000);
    everywhere(EXP_EXPM1, check_bias);
}

/* ---- logsigmoid, silu, log ---- */

static void check_logsigmoid(const gen_isa *isa) {
    worst w = {0};
    for (int64_t i = 0; i < points; i++) {
        double x = in[i], exact = x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
        if (isinf(x)) {
            if (x > 0 ? out[i] != 0 : out[i] != -INFINITY)
                fail_msg("%s: logsigmoid(%g) = %g", isa->name, x, out[i]);
        } else {
            note(&w, relative(out[i], exact, 2), x); /* e^-87, where it becomes 0 */
        }
        if (!(out[i] <= 0))
            fail_msg("%s: logsigmoid(%g) = %g, above 0", isa->name, x, out[i]);
    }
    report(isa, "logsigmoid", &w, 3e-7);
}

static void test_logsigmoid(void **state) {
    (void)state;
    add_even(-30, 30, 100000);
    add_even(-100, 87, 100000);
    add_geometric(1e-30, 87, 10000);
    add_geometric(-1e-30, -3e38, 10000);
    add_geometric(87.01, 3e38, 1000);
    const float special[] = {0, -0.0f, 65504, -65504, 30000, -60000, INFINITY, -INFINITY, 87.5f, -87.5f};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        add(special[i]);
    everywhere(LOGSIGMOID, check_logsigmoid);
}

static void check_silu(const gen_isa *isa) {
    worst w = {0};
    for (int64_t i = 0; i < points; i++) {
        double x = in[i], exact = x / (1 + exp(-x));
        if (x == 0) {
            if (out[i] != 0)
                fail_msg("%s: silu(0) = %g", isa->name, out[i]);
        } else {
            note(&w, relative(out[i], exact, 130), x); /* 87 e^-87, where it becomes 0 */
        }
    }
    report(isa, "silu", &w, 3e-7);
}

static void test_silu(void **state) {
    (void)state;
    add_even(-87, 90, 150000);
    add_even(-2, 2, 50000);
    add_geometric(1e-30, 3e38, 10000);
    add_geometric(-1e-30, -87, 10000);
    add_geometric(-87.01, -3e38, 1000);
    const float special[] = {0, -0.0f, 65504, -65504};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        add(special[i]);
    everywhere(SILU, check_silu);
}

static void check_log(const gen_isa *isa) {
    worst w = {0};
    for (int64_t i = 0; i < points; i++)
        note(&w, fabs(out[i] - log(in[i])) / fmax(fabs(log(in[i])), 0.5), in[i]);
    report(isa, "log", &w, 2e-7);
}

static void test_log(void **state) {
    (void)state;
    add_even(0.5, 2, 100000);
    add_even(1, 400, 50000); /* sums of a softmax */
    add_geometric(1.1755e-38, 3.4e38, 50000);
    const float special[] = {1, FLT_MIN, FLT_MAX, 0x1.555554p-1f, 0x1.555556p-1f, 0x1.555558p-1f, 0x1.555554p0f, 0x1.555556p0f};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        add(special[i]);
    add(nextafterf(1, 0));
    add(nextafterf(1, 2));
    everywhere(LOG, check_log);
}

/* ---- cosine and sine of a fraction of a turn ---- */

static void add_turn(uint32_t turn) {
    float x;
    memcpy(&x, &turn, sizeof x);
    add(x);
}

static void check_cos_sin(const gen_isa *isa) {
    worst w = {0}, circle = {0};
    for (int64_t i = 0; i < points; i++) {
        uint32_t turn;
        memcpy(&turn, &in[i], sizeof turn);
        double angle = (double)turn * (2 * 3.14159265358979323846 / 4294967296.0);
        note(&w, fabs(out[i] - cos(angle)), turn);
        note(&w, fabs(out2[i] - sin(angle)), turn);
        note(&circle, fabs((double)out[i] * out[i] + (double)out2[i] * out2[i] - 1), turn);
    }
    report(isa, "cos, sin", &w, 1.5e-7);
    report(isa, "cos^2 + sin^2", &circle, 3e-7);
    const float exact[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}}; /* the first four points: whole quarters */
    for (int i = 0; i < 4; i++)
        if (out[i] != exact[i][0] || out2[i] != exact[i][1])
            fail_msg("%s: %d quarter turns: %g, %g", isa->name, i, out[i], out2[i]);
}

static void test_cos_sin(void **state) {
    (void)state;
    for (uint32_t quarter = 0; quarter < 4; quarter++)
        add_turn(quarter << 30);
    for (uint32_t i = 0; i < 200000; i++)
        add_turn(i * 21475u); /* all around */
    for (uint32_t eighth = 0; eighth < 8; eighth++)
        for (int32_t near = -500; near <= 500; near++)
            add_turn((eighth << 29) + (uint32_t)near);
    everywhere(COS_SIN, check_cos_sin);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_exp2, start),       cmocka_unit_test_setup(test_exp_expm1, start),
                                       cmocka_unit_test_setup(test_bias, start),       cmocka_unit_test_setup(test_logsigmoid, start),
                                       cmocka_unit_test_setup(test_silu, start),       cmocka_unit_test_setup(test_log, start),
                                       cmocka_unit_test_setup(test_cos_sin, start)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
