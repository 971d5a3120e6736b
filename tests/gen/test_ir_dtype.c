/* test_ir_dtype.c: loads and stores of f16, bf16 and f32 as vector IR, on every ISA of this machine, at every width, in both
 * floating-point modes, against the integer conversions of tuner/convert.h and, of bf16, the reference of tests: every f16
 * and bf16 there is, every tie, every NaN. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/fpmode.h"
#include "tests/gen/help_gen.h"
#include "tests/shared/help_bits.h"
#include "tuner/convert.h"

enum { PATTERNS = 1 << 16, NEAR = 8 };

typedef struct access {
    int dtype;
    bool store;
} access;

static void body(ir *b, const void *context, int width, val from, val to, val unused, val index) {
    const access *a = context;
    int bytes = gen_dtype_bytes(a->dtype);
    (void)unused;
    if (a->store) {
        val x = ir_load(b, ir_vec(b, b->f32, width), help_gen_at(b, from, index, 4), 4);
        ir_store_dtype(b, a->dtype, width, x, help_gen_at(b, to, index, bytes));
    } else {
        val x = ir_load_dtype(b, a->dtype, width, help_gen_at(b, from, index, bytes));
        ir_store(b, x, help_gen_at(b, to, index, 4), 4);
    }
}

typedef void (*checker)(const char *where, const access *a, const gen_isa *isa, const void *in, const void *out, int64_t count);

/* Every ISA, width and mode; `bytes` of out per element. */
static void everywhere(const access *a, const void *in, void *out, int64_t count, size_t bytes, checker check) {
    int isas, ran = 0;
    const gen_isa *table = gen_isa_table(&isas);
    for (int i = 0; i < isas; i++) {
        if (!help_gen_runs(&table[i]))
            continue;
        for (int width = 1; width <= 16; width *= 2)
            for (int flush = 0; flush <= 1; flush++) {
                char where[96];
                snprintf(where, sizeof where, "%s, width %d, %s, denormals %s", table[i].name, width, gen_dtype_name(a->dtype),
                         flush ? "flushed" : "kept");
                help_gen_code c = help_gen_load(&table[i], width, body, a);
                memset(out, 0x55, (size_t)count * bytes);
                uint64_t mode = flush ? nhr_fpmode_enter() : 0;
                c.fn(in, out, NULL, count);
                if (flush)
                    nhr_fpmode_leave(mode);
                help_gen_unload(&c);
                check(where, a, &table[i], in, out, count);
                ran++;
            }
    }
    assert_true(ran >= 10);
}

static float exact(int dtype, uint16_t bits) {
    return dtype == NHA_F16 ? tune_f16_to_f32(bits) : help_bf16_value(bits);
}

static void check_load(const char *where, const access *a, const gen_isa *isa, const void *in, const void *out,
                       int64_t count) {
    (void)isa;
    const uint16_t *from = in;
    const float *to = out;
    for (int64_t i = 0; i < count; i++) {
        float want = exact(a->dtype, from[i]);
        if (isnan(want) ? !isnan(to[i]) : help_bits_of(want) != help_bits_of(to[i]))
            fail_msg("%s: load of %04x gives %a, not %a", where, from[i], to[i], want);
    }
}

static void test_loads(void **state) {
    (void)state;
    static uint16_t in[PATTERNS];
    static float out[PATTERNS];
    for (int i = 0; i < PATTERNS; i++)
        in[i] = (uint16_t)i;
    for (int dtype = NHA_F16; dtype <= NHA_BF16; dtype++)
        everywhere(&(access){dtype, false}, in, out, PATTERNS, sizeof *out, check_load);
}

static void check_store(const char *where, const access *a, const gen_isa *isa, const void *in, const void *out,
                        int64_t count) {
    const float *from = in;
    const uint16_t *to = out;
    for (int64_t i = 0; i < count; i++) {
        uint16_t want = a->dtype == NHA_F16 ? tune_f64_to_f16(from[i]) : help_bf16_of(from[i]);
        if (a->dtype == NHA_BF16 && isa->bf16 && fpclassify(from[i]) == FP_SUBNORMAL && to[i] == (want & 0x8000))
            continue; /* the instruction takes denormals for zeros, whatever the mode */
        if (isnan(from[i]) ? !isnan(exact(a->dtype, to[i])) : want != to[i])
            fail_msg("%s: store of %a (%08x) gives %04x, not %04x", where, from[i], help_bits_of(from[i]), to[i], want);
    }
}

/* Around every value of the dtype: itself, its tie with the next one away from zero, and the f32 neighbours of both. */
static void test_stores(void **state) {
    (void)state;
    float *in = malloc(sizeof *in * PATTERNS * NEAR);
    uint16_t *out = malloc(sizeof *out * PATTERNS * NEAR);
    assert_true(in && out);
    for (int dtype = NHA_F16; dtype <= NHA_BF16; dtype++) {
        int64_t count = 0;
        for (uint32_t i = 0; i < PATTERNS; i++) {
            uint32_t magnitude = i & 0x7fff, sign = (i & 0x8000) << 16, at, half;
            if (dtype == NHA_BF16) {
                at = magnitude << 16;
                half = 0x8000;
            } else {
                float x = exact(NHA_F16, (uint16_t)magnitude);
                /* the tie, in f32 bits: half a unit of f16's last place further; above the largest, 65520, which rounds to infinity */
                float next = magnitude < 0x7bff ? exact(NHA_F16, (uint16_t)(magnitude + 1)) : 65536;
                at = help_bits_of(x);
                half = magnitude < 0x7c00 ? help_bits_of(x + (next - x) / 2) - at : 0x1000;
            }
            const uint32_t near[NEAR] = {at,        at + 1,        at + half - 1, at + half,
                                         at + half + 1, at + 2 * half - 1, at ? at - 1 : 0, at + half / 2};
            for (int n = 0; n < NEAR; n++)
                in[count++] = help_float_of((near[n] & 0x7fffffff) | sign);
        }
        everywhere(&(access){dtype, true}, in, out, count, sizeof *out, check_store);
    }
    free(in);
    free(out);
}

static void check_same(const char *where, const access *a, const gen_isa *isa, const void *in, const void *out,
                       int64_t count) {
    (void)isa;
    (void)a;
    if (memcmp(in, out, (size_t)count * sizeof(float)))
        fail_msg("%s: other bits", where);
}

/* f32 goes through untouched: denormals, NaN payloads, signed zeros. */
static void test_f32(void **state) {
    (void)state;
    static uint32_t in[PATTERNS], out[PATTERNS];
    for (uint32_t i = 0; i < PATTERNS; i++)
        in[i] = i * 65537u + (i >> 3);
    everywhere(&(access){NHA_F32, false}, in, out, PATTERNS, sizeof *out, check_same);
    everywhere(&(access){NHA_F32, true}, in, out, PATTERNS, sizeof *out, check_same);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loads), cmocka_unit_test(test_stores), cmocka_unit_test(test_f32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
