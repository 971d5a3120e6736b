/* test_spec_good.c: specs that read: defaults, every key, the golden and ready specs, round trips, strings and
 * turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glob.h>
#include <math.h>

#include "gen/spec.h"

static void parse(const char *text, gen_spec *spec) {
    err e = {0};
    if (!gen_spec_parse("a.yaml", text, strlen(text), spec, &e)) fail_msg("%d:%d: %s", e.line, e.column, e.text);
}

#define LEAST "name: x\nhead_dim: 64\nheads: {query: 4, kv: 2}\nslots: 16\nwindow: 32\ndtype: bf16\n"

static void test_defaults(void **state) {
    (void)state;
    gen_spec s;
    parse(LEAST, &s);
    const nha_problem *p = &s.problem.nha;
    assert_string_equal(p->name, "x");
    assert_ptr_equal(p->name, s.problem.name);
    assert_int_equal(p->head_dim_qk, 64);
    assert_int_equal(p->head_dim_v, 64);
    assert_int_equal(p->heads_q, 4);
    assert_int_equal(p->heads_kv, 2);
    assert_int_equal(s.problem.group, 2);
    assert_int_equal(p->slots, 16);
    assert_int_equal(p->window, 32);
    assert_int_equal(p->slot_lag, 32);
    assert_int_equal(s.problem.ring, 32);
    assert_true(p->scale == 0.125);
    assert_int_equal(p->dtype, NHA_BF16);
    assert_int_equal(p->gate_dtype, NHA_BF16);
    assert_int_equal(p->state_dtype, NHA_F32);
    assert_int_equal(p->gate_input, NHA_GATE_LOGIT);
    assert_true(p->gate_normalizer == 8);
    assert_int_equal(p->gate_s_given, 0);
    assert_int_equal(p->rope, NHA_ROPE_NONE);
    assert_int_equal(p->slot_map, NHA_MAP_IDENTITY);
    assert_int_equal(p->value_map, NHA_MAP_IDENTITY);
    assert_true(s.ops[NHA_PREFILL] && s.ops[NHA_DECODE] && !s.ops[NHA_BACKWARD]);
    assert_int_equal(s.target_count, 1);
    assert_string_equal(s.targets[0], "cpu");
    assert_int_equal(s.shape_count, 2);
    assert_true(s.shapes[0].op == NHA_PREFILL && s.shapes[0].batch == 1 && s.shapes[0].tokens == 2048);
    assert_true(s.shapes[1].op == NHA_DECODE && s.shapes[1].batch == 64 && s.shapes[1].tokens == 1);
    assert_true(s.budget == 60);
    assert_string_equal(s.path, "a.yaml");
    assert_string_equal(s.text, LEAST);
    assert_int_equal(s.text_size, strlen(LEAST));
    gen_spec_destroy(&s);
}

static void test_every_key(void **state) {
    (void)state;
    gen_spec s;
    parse("# a comment\nname: Llama-3.1_8B\nhead_dim: {v: 24, qk: 16}\nheads: {kv: 3, query: 12}\nslots: 7\nwindow: "
          "5\nslot_lag: 40\n"
          "scale: 0.25\ndtype: f16\nstate_dtype: f32\ngate: {input: log, normalizer: 1.6e+01, dtype: f32, s: given}\n"
          "rope: {style: gptj, theta: 5e5}\nslot_map: relu\nvalue_map: silu\nops: [decode]\ntargets: [sm_90a, cpu]\n"
          "tune: {shapes: [{batch: 8, tokens: 1}, {op: decode}], budget: 0.5}\n",
          &s);
    const nha_problem *p = &s.problem.nha;
    assert_string_equal(s.problem.c_name, "Llama_3_1_8B");
    assert_true(p->head_dim_qk == 16 && p->head_dim_v == 24 && p->heads_q == 12 && p->heads_kv == 3);
    assert_true(p->slots == 7 && p->window == 5 && p->slot_lag == 40 && s.problem.ring == 40 && p->scale == 0.25);
    assert_true(p->dtype == NHA_F16 && p->gate_dtype == NHA_F32 && p->gate_input == NHA_GATE_LOG);
    assert_true(p->gate_normalizer == 16 && p->gate_s_given == 1 && p->rope == NHA_ROPE_GPTJ);
    assert_true(p->slot_map == NHA_MAP_RELU && p->value_map == NHA_MAP_SILU);
    assert_true(!s.ops[NHA_PREFILL] && s.ops[NHA_DECODE]);
    assert_int_equal(s.target_count, 2);
    assert_string_equal(s.targets[0], "sm_90a");
    assert_int_equal(s.shape_count, 2);
    assert_true(s.shapes[0].op == NHA_DECODE && s.shapes[0].batch == 8);
    assert_true(s.shapes[1].op == NHA_DECODE && s.shapes[1].batch == 1 && s.shapes[1].tokens == 1);
    assert_true(s.budget == 0.5);
    for (int i = 0; i < 8; i++) assert_true(s.problem.inv_freq[i] == pow(5e5, -2.0 * i / 16));
    assert_true(s.problem.inv_freq[8] == 0 && s.problem.turns[8] == 0);
    gen_spec_destroy(&s);
}

/* Numbers as strtod reads them; a window has no upper limit; M = 0 makes the ring the window. */
static void test_numbers(void **state) {
    (void)state;
    gen_spec s;
    parse("name: x\nhead_dim: 6.4e+01\nheads: {query: 4.0, kv: +2}\nslots: 0x10\nwindow: 1e+06\nslot_lag: 0\ndtype: "
          "f32\n",
          &s);
    assert_int_equal(s.problem.nha.head_dim_qk, 64);
    assert_int_equal(s.problem.nha.slots, 16);
    assert_int_equal(s.problem.nha.window, 1000000);
    assert_int_equal(s.problem.nha.slot_lag, 0);
    assert_int_equal(s.problem.ring, 1000000);
    gen_spec_destroy(&s);
    parse("name: x\nhead_dim: 8\nheads: {query: 1, kv: 1}\nslots: 0\nwindow: 1e30\nslot_lag: 70\ndtype: f32\n", &s);
    assert_true(s.problem.nha.window == (int64_t)1 << 40); /* longer than any sequence */
    assert_true(s.problem.ring == (int64_t)1 << 40);
    gen_spec_destroy(&s);
    parse("name: x\nhead_dim: 8\nheads: {query: 1, kv: 1}\nslots: 0\nwindow: 3\nslot_lag: 70\ndtype: f32\n", &s);
    assert_int_equal(s.problem.ring, 3);
    gen_spec_destroy(&s);
    parse("name: x\nhead_dim: 256\nheads: {query: 1, kv: 1}\nslots: 256\nwindow: 0\ndtype: f32\n", &s);
    assert_int_equal(s.problem.ring, 0);
    gen_spec_destroy(&s);
    parse("\xef\xbb\xbf" LEAST, &s); /* a byte order mark */
    gen_spec_destroy(&s);
    parse("%YAML 1.1\n---\n" LEAST "...\n", &s);
    gen_spec_destroy(&s);
}

static void test_inv_freq(void **state) {
    (void)state;
    gen_spec s;
    parse("name: x\nhead_dim: 8\nheads: {query: 1, kv: 1}\nslots: 1\nwindow: 1\ndtype: f32\n"
          "rope: {style: neox, theta: 5, inv_freq: [1, 0.5, 0, -0.25]}\n",
          &s);
    assert_true(s.problem.inv_freq[0] == 1 && s.problem.inv_freq[1] == 0.5);
    assert_true(s.problem.inv_freq[2] == 0 && s.problem.inv_freq[3] == -0.25);
    /* 1 / 2pi to 64 bits: 0.28BE60DB9391054A 7F09... in base 16. */
    assert_true(s.problem.turns[0] == 0x28BE60DB9391054Au);
    assert_true(s.problem.turns[1] == 0x145F306DC9C882A5u);
    assert_true(s.problem.turns[2] == 0);
    assert_true(s.problem.turns[3] == 0u - 0x0A2F9836E4E44153u);
    gen_spec_destroy(&s);
}

/* Turns against long double, where that has the digits. */
static void test_turns(void **state) {
    (void)state;
    gen_problem p = {.nha = {.head_dim_qk = 256, .heads_q = 1, .heads_kv = 1, .rope = NHA_ROPE_NEOX}};
    double theta[] = {10000, 500000, 1e6, 2, 1e15};
    strcpy(p.name, "x");
    for (size_t t = 0; t < sizeof theta / sizeof *theta; t++) {
        for (int i = 0; i < 128; i++) p.inv_freq[i] = pow(theta[t], -2.0 * i / 256);
        gen_problem_derive(&p);
        for (int i = 0; i < 128; i++) {
            long double exact =
                (long double)p.inv_freq[i] / 6.283185307179586476925286766559005768L * 18446744073709551616.0L;
            assert_true(fabsl((long double)p.turns[i] - exact) <= 2 + exact * 0x1p-62L);
        }
    }
    p.inv_freq[0] = 6.283185307179586; /* a little less than 2pi: all but a whole turn; 2pi - x = 2.449e-16 */
    p.inv_freq[1] = 1000;
    p.inv_freq[2] = 5e-324;
    p.inv_freq[3] = 1e300;
    p.inv_freq[4] = NAN;
    gen_problem_derive(&p);
    assert_in_range(0u - p.turns[0], 710, 730); /* 2.449e-16 / 2pi * 2^64 = 719.1 */
    assert_true(fabsl((long double)p.turns[1] / 18446744073709551616.0L - 0.154943091895335768883763372514L) < 1e-18L);
    assert_true(p.turns[2] == 0 && p.turns[3] == 0 && p.turns[4] == 0);
}

static void assert_same(const gen_spec *a, const gen_spec *b) {
    nha_problem x = a->problem.nha, y = b->problem.nha;
    assert_string_equal(x.name, y.name);
    x.name = y.name = NULL;
    assert_memory_equal(&x, &y, sizeof x);
    assert_string_equal(a->problem.c_name, b->problem.c_name);
    assert_int_equal(a->problem.group, b->problem.group);
    assert_int_equal(a->problem.ring, b->problem.ring);
    assert_memory_equal(a->problem.inv_freq, b->problem.inv_freq, sizeof a->problem.inv_freq);
    assert_memory_equal(a->problem.turns, b->problem.turns, sizeof a->problem.turns);
    assert_memory_equal(a->ops, b->ops, sizeof a->ops);
    assert_int_equal(a->target_count, b->target_count);
    for (int i = 0; i < a->target_count; i++) assert_string_equal(a->targets[i], b->targets[i]);
    assert_int_equal(a->shape_count, b->shape_count);
    for (int i = 0; i < a->shape_count; i++) {
        assert_int_equal(a->shapes[i].op, b->shapes[i].op);
        assert_int_equal(a->shapes[i].batch, b->shapes[i].batch);
        assert_int_equal(a->shapes[i].tokens, b->shapes[i].tokens);
    }
    assert_true(a->budget == b->budget);
}

/* What is written reads back the same, and is written the same again. */
static void round_trip(const gen_spec *spec) {
    char *texts[2];
    size_t size;
    gen_spec again;
    FILE *out = open_memstream(&texts[0], &size);
    gen_spec_write(out, spec);
    fclose(out);
    parse(texts[0], &again);
    assert_same(spec, &again);
    out = open_memstream(&texts[1], &size);
    gen_spec_write(out, &again);
    fclose(out);
    assert_string_equal(texts[0], texts[1]);
    gen_spec_destroy(&again);
    free(texts[0]);
    free(texts[1]);
}

static void test_round_trip(void **state) {
    (void)state;
    gen_spec s;
    parse(LEAST, &s);
    round_trip(&s);
    gen_spec_destroy(&s);
    parse("name: a.b-c_d\nhead_dim: {qk: 40, v: 24}\nheads: {query: 3, kv: 3}\nslots: 11\nwindow: 5\nslot_lag: "
          "9\nscale: 0.1\ndtype: bf16\n"
          "gate: {input: log, normalizer: 3.3, dtype: f32, s: given}\nrope: {style: neox, theta: 123456.7}\nslot_map: "
          "silu\n"
          "value_map: silu\nops: [decode, prefill]\ntargets: [cpu, sm_120f]\ntune: {shapes: [{tokens: 7}], budget: "
          "1.1}\n",
          &s);
    round_trip(&s);
    gen_spec_destroy(&s);
    parse(LEAST "state_dtype: bf16\n", &s);
    assert_int_equal(s.problem.nha.state_dtype, NHA_BF16);
    round_trip(&s);
    gen_spec_destroy(&s);
}

static void read_all(const char *pattern, size_t at_least) {
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= at_least);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        gen_spec s;
        err e = {0};
        if (!gen_spec_read(found.gl_pathv[i], &s, &e)) fail_msg("%s:%d:%d: %s", e.file, e.line, e.column, e.text);
        /* The file is named after the spec. */
        const char *base = strrchr(found.gl_pathv[i], '/') + 1;
        assert_int_equal(strlen(base), strlen(s.problem.name) + 5);
        assert_memory_equal(base, s.problem.name, strlen(s.problem.name));
        round_trip(&s);
        gen_spec_destroy(&s);
    }
    globfree(&found);
}

static void test_golden_specs(void **state) {
    (void)state;
    read_all("tests/golden/*.yaml", 16);
}

static void test_ready_specs(void **state) {
    (void)state;
    read_all("specs/*.yaml", 5);
}

static void string_of(const char *extra, nha_op op, char *out, size_t size) {
    char text[1024];
    gen_spec s;
    snprintf(text, sizeof text, "%s%s", LEAST, extra);
    parse(text, &s);
    int length = gen_problem_string(&s.problem, op, out, size);
    assert_int_equal(length, strlen(out));
    gen_spec_destroy(&s);
}

/* Everything that decides a kernel changes the string; the name does not. */
static void test_problem_string(void **state) {
    (void)state;
    static const char *const extras[] = {"slot_lag: 3\n",          "scale: 0.2\n",
                                         "gate: {input: log}\n",   "gate: {normalizer: 4}\n",
                                         "gate: {dtype: f32}\n",   "gate: {s: given}\n",
                                         "rope: {style: given}\n", "rope: {style: neox}\n",
                                         "rope: {style: gptj}\n",  "rope: {style: neox, theta: 20000}\n",
                                         "slot_map: silu\n",       "slot_map: relu\n",
                                         "value_map: silu\n",      "state_dtype: bf16\n"};
    enum { COUNT = sizeof extras / sizeof *extras };
    char strings[COUNT + 2][256], same[256];
    string_of("", NHA_PREFILL, strings[COUNT], sizeof strings[0]);
    string_of("", NHA_DECODE, strings[COUNT + 1], sizeof strings[0]);
    assert_string_equal(strings[COUNT], "prefill.k64.v64.m16.w32.l32.h2.g2.bf16.none.logit8");
    for (int i = 0; i < COUNT; i++) string_of(extras[i], NHA_PREFILL, strings[i], sizeof strings[0]);
    for (int i = 0; i < COUNT + 2; i++)
        for (int j = 0; j < i; j++) assert_string_not_equal(strings[i], strings[j]);
    string_of("ops: [prefill]\ntune: {budget: 5}\n", NHA_PREFILL, same, sizeof same);
    assert_string_equal(same, strings[COUNT]);
    /* A short buffer is cut, and the length is told. */
    gen_spec s;
    parse(LEAST, &s);
    char small[9];
    assert_int_equal(gen_problem_string(&s.problem, NHA_PREFILL, small, sizeof small), strlen(strings[COUNT]));
    assert_string_equal(small, "prefill.");
    assert_int_equal(gen_problem_string(&s.problem, NHA_PREFILL, NULL, 0), strlen(strings[COUNT]));
    gen_spec_destroy(&s);
}

static void test_copy_and_print(void **state) {
    (void)state;
    gen_spec s;
    gen_problem copy;
    char *text;
    size_t size;
    parse(LEAST, &s);
    gen_problem_copy(&copy, &s.problem);
    assert_ptr_equal(copy.nha.name, copy.name);
    gen_spec_destroy(&s);
    FILE *out = open_memstream(&text, &size);
    copy.nha.state_dtype = NHA_BF16;
    gen_problem_print(out, &copy);
    fclose(out);
    assert_non_null(strstr(text, "name: x\n"));
    assert_non_null(strstr(text, "kv heads: 2 (2 query heads each)\n"));
    assert_non_null(strstr(text, "state dtype: bf16\n"));
    free(text);
    assert_string_equal(gen_dtype_name(NHA_BF16), "bf16");
    assert_string_equal(gen_dtype_name(99), "?");
    assert_int_equal(gen_dtype_bytes(NHA_F32), 4);
    assert_int_equal(gen_dtype_bytes(-1), 0);
    assert_string_equal(gen_op_name(NHA_BACKWARD), "backward");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_inv_freq),
        cmocka_unit_test(test_turns),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_golden_specs),   cmocka_unit_test(test_ready_specs),
        cmocka_unit_test(test_problem_string), cmocka_unit_test(test_copy_and_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
