/* test_spec_bad.c: specs that are refused: each with its exact place, what is wrong, and what would be right.
 * '@' marks where the error must point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "help_spec.h"

/* A whole spec around one bad piece: NAME, DIMS and SIZES are what a good one has. */
#define NAME "name: x\n"
#define DIMS "head_dim: 64\nheads: {query: 4, kv: 2}\n"
#define SIZES "slots: 16\nwindow: 32\ndtype: f32\n"
#define GOOD NAME DIMS SIZES

typedef struct row {
    const char *text, *message;
} row;

static void expect_rows(const row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) expect_bad(rows[i].text, rows[i].message);
}
#define EXPECT(rows) expect_rows(rows, sizeof(rows) / sizeof *(rows))

static void test_keys(void **state) {
    (void)state;
    static const row rows[] = {
        {GOOD "@slot: 3\n", "unknown key slot; the nearest is slots"},
        {"@windwo: 32\n" GOOD, "unknown key windwo; the nearest is window"},
        {GOOD "gate: {input: log, @normaliser: 8}\n", "unknown key gate.normaliser; the nearest is gate.normalizer"},
        {GOOD "rope: {style: neox, @thet: 8}\n", "unknown key rope.thet; the nearest is rope.theta"},
        {NAME "head_dim: {qk: 64, @vv: 64}\nheads: {query: 4, kv: 2}\n" SIZES,
         "unknown key head_dim.vv; the nearest is head_dim.v"},
        {GOOD "tune:\n  @shape: []\n", "unknown key tune.shape; the nearest is tune.shapes"},
        {GOOD "tune: {shapes: [{batch: 1, @token: 5}]}\n",
         "unknown key tune.shapes.token; the nearest is tune.shapes.tokens"},
        {GOOD "@<<: {}\n", "unknown key <<; the nearest is"},
        {GOOD "@slots: 16\n", "duplicate key slots: it stands in line 4 already"},
        {GOOD "gate: {s: given,\n  @s: given}\n", "duplicate key gate.s: it stands in line 7 already"},
        {"@" NAME DIMS "slots: 16\nwindow: 32\n", "the key dtype is missing: it is f32, f16 or bf16"},
        {"@" DIMS SIZES, "the key name is missing: it is letters, digits"},
        {"@" NAME SIZES, "the key head_dim is missing: it is a multiple of 8"},
        {NAME "head_dim: 64\nheads: @{query: 4}\n" SIZES,
         "the key heads.kv is missing: it is a whole number that divides"},
        {NAME "head_dim: @{qk: 8}\n" SIZES "heads: {query: 1, kv: 1}\n", "the key head_dim.v is missing"},
        {GOOD "tune: {shapes: [@{batch: 1}]}\n", "the key tokens is missing"},
        {"? @[a, b]\n: 1\n", "a key is one plain word"},
    };
    EXPECT(rows);
}

static void test_types(void **state) {
    (void)state;
    static const row rows[] = {
        {NAME DIMS "slots: @many\nwindow: 1\ndtype: f32\n", "slots: many is not a whole number from 0 to 256"},
        {NAME DIMS "slots: @[1]\nwindow: 1\ndtype: f32\n", "slots: a list is not a whole number from 0 to 256"},
        {NAME DIMS "slots: @{a: 1}\nwindow: 1\ndtype: f32\n", "slots: a map is not a whole number from 0 to 256"},
        {NAME DIMS "slots: @\"16\"\nwindow: 1\ndtype: f32\n",
         "slots: \"16\" is a text: write the number without quotes"},
        {NAME DIMS "slots:@\nwindow: 1\ndtype: f32\n",
         "slots: the value is missing: it is a whole number from 0 to 256"},
        {NAME DIMS "slots: @~\nwindow: 1\ndtype: f32\n", "slots: ~ is not a whole number"},
        {NAME DIMS "slots: @true\nwindow: 1\ndtype: f32\n", "slots: true is not a whole number"},
        {NAME DIMS "slots: @16 slots\nwindow: 1\ndtype: f32\n", "slots: 16 slots is not a whole number"},
        {NAME DIMS "slots: 1\nwindow: @\"32\"\ndtype: f32\n",
         "window: \"32\" is not a whole number of tokens, 0 or more"},
        {NAME "head_dim: @[64]\nheads: {query: 4, kv: 2}\n" SIZES,
         "head_dim: a list is not a multiple of 8 from 8 to 256"},
        {NAME "head_dim: 64\nheads: @4\n" SIZES, "heads: 4 is not {query: HQ, kv: H}"},
        {NAME "head_dim: 64\nheads: @[4, 2]\n" SIZES, "heads: a list is not {query: HQ, kv: H}"},
        {"name: @[x]\n" DIMS SIZES, "name: a list is not letters"},
        {NAME DIMS "slots: 1\nwindow: 1\ndtype: @[f32]\n", "dtype: a list is not one of f32, f16, bf16"},
        {GOOD "gate: @log\n", "gate: log is not {input: logit"},
        {GOOD "rope: @neox\n", "rope: neox is not {style: neox"},
        {GOOD "ops: @prefill\n", "ops: prefill is not a list such as [prefill, decode]"},
        {GOOD "ops: @{prefill: 1}\n", "ops: a map is not a list"},
        {GOOD "targets: @cpu\n", "targets: cpu is not a list such as [cpu, sm_90]"},
        {GOOD "targets: [@[cpu]]\n", "targets: a list is not one of cpu"},
        {GOOD "tune: @60\n", "tune: 60 is not {shapes:"},
        {GOOD "tune: {shapes: @{batch: 1}}\n", "tune.shapes: a map is not a list such as"},
        {GOOD "tune: {shapes: [@7]}\n", "7 is not a map such as {batch: 1"},
        {GOOD "scale: @fast\n", "scale: fast is not a number from 1e-09 to 1e+09"},
        {"@just a text\n", "just a text is not a spec, a map with at least name"},
        {"@[1, 2]\n", "a list is not a spec"},
    };
    EXPECT(rows);
}

static void test_numbers(void **state) {
    (void)state;
    static const row rows[] = {
        {NAME "head_dim: @63\n" SIZES "heads: {query: 1, kv: 1}\n",
         "head_dim: 63 is not a multiple of 8 from 8 to 256; the nearest is 64"},
        {NAME "head_dim: @0\n" SIZES "heads: {query: 1, kv: 1}\n",
         "head_dim: 0 is not a multiple of 8 from 8 to 256; the nearest is 8"},
        {NAME "head_dim: @-8\n" SIZES "heads: {query: 1, kv: 1}\n", "head_dim: -8 is not"},
        {NAME "head_dim: @264\n" SIZES "heads: {query: 1, kv: 1}\n",
         "head_dim: 264 is not a multiple of 8 from 8 to 256; the nearest is 256"},
        {NAME "head_dim: {qk: 64, v: @65}\n" SIZES "heads: {query: 1, kv: 1}\n",
         "head_dim.v: 65 is not a multiple of 8 from 8 to 256; the nearest is 64"},
        {NAME DIMS "slots: @257\nwindow: 1\ndtype: f32\n",
         "slots: 257 is not a whole number from 0 to 256; the nearest is 256"},
        {NAME DIMS "slots: @-1\nwindow: 1\ndtype: f32\n",
         "slots: -1 is not a whole number from 0 to 256; the nearest is 0"},
        {NAME DIMS "slots: @1.5\nwindow: 1\ndtype: f32\n",
         "slots: 1.5 is not a whole number from 0 to 256; the nearest is 2"},
        {NAME DIMS "slots: @nan\nwindow: 1\ndtype: f32\n", "slots: nan is not a whole number from 0 to 256"},
        {NAME DIMS "slots: @inf\nwindow: 1\ndtype: f32\n",
         "slots: inf is not a whole number from 0 to 256; the nearest is 256"},
        {NAME DIMS "slots: @1e999\nwindow: 1\ndtype: f32\n", "slots: 1e999 is not"},
        {NAME DIMS "slots: 1\nwindow: @-3\ndtype: f32\n",
         "window: -3 is not a whole number of tokens, 0 or more; the nearest is 0"},
        {NAME DIMS "slots: 1\nwindow: @.5\ndtype: f32\n",
         "window: .5 is not a whole number of tokens, 0 or more; the nearest is 1"},
        {NAME DIMS "slots: 1\nwindow: @nan\ndtype: f32\n", "window: nan is not a whole number of tokens"},
        {NAME DIMS "slots: 1\nwindow: @-inf\ndtype: f32\n", "window: -inf is not a whole number of tokens"},
        {NAME DIMS "slots: 1\nwindow: @1e999\ndtype: f32\n", "window: 1e999 is not a whole number of tokens"},
        {GOOD "slot_lag: @-1\n",
         "slot_lag: -1 is not window, or a whole number of tokens, 0 or more; the nearest is 0"},
        {GOOD "slot_lag: @windwo\n",
         "slot_lag: windwo is not window, or a whole number of tokens, 0 or more; the nearest is window"},
        {GOOD "slot_lag: @\"window\"\n", "slot_lag: \"window\" is not window, or"},
        {GOOD "scale: @0\n", "scale: 0 is not a number from"},
        {GOOD "scale: @-0.5\n", "scale: -0.5 is not a number from"},
        {GOOD "scale: @nan\n", "scale: nan is not a number from"},
        {GOOD "gate: {normalizer: @0}\n", "gate.normalizer: 0 is not a number from"},
        {GOOD "gate: {normalizer: @-8}\n", "gate.normalizer: -8 is not a number from"},
        {GOOD "rope: {style: neox, theta: @0}\n",
         "rope.theta: 0 is not a number from 0.001 to 1e+15; the nearest is 0.001"},
        {GOOD "rope: {style: neox, theta: @-1}\n", "rope.theta: -1 is not"},
        {GOOD "rope: {style: neox, theta: @inf}\n", "rope.theta: inf is not"},
        {GOOD "tune: {budget: @0}\n", "tune.budget: 0 is not a number from 0.001"},
        {GOOD "tune: {budget: @-5}\n", "tune.budget: -5 is not"},
        {GOOD "tune: {shapes: [{batch: @0, tokens: 5}]}\n", "tune.shapes.batch: 0 is not a whole number from 1"},
        {GOOD "tune: {shapes: [{batch: 1, tokens: @0}]}\n", "tune.shapes.tokens: 0 is not a whole number from 1"},
        {GOOD "tune: {shapes: [{batch: 1000, tokens: @2147483647}]}\n", "tune.shapes.tokens: batch * tokens is above"},
        {NAME "head_dim: 64\nheads: {query: @0, kv: 1}\n" SIZES,
         "heads.query: 0 is not a whole number from 1 to 4096; the nearest is 1"},
        {NAME "head_dim: 64\nheads: {query: 12, kv: @5}\n" SIZES,
         "heads.kv: 5 does not divide heads.query, which is 12; the nearest that does is 4"},
        {NAME "head_dim: 64\nheads: {query: 4, kv: @8}\n" SIZES,
         "heads.kv: 8 does not divide heads.query, which is 4; the nearest that does is 4"},
    };
    EXPECT(rows);
}

static void test_words(void **state) {
    (void)state;
    static const row rows[] = {
        {NAME DIMS "slots: 1\nwindow: 1\ndtype: @f64\n", "dtype: f64 is not one of f32, f16, bf16; the nearest is f32"},
        {NAME DIMS "slots: 1\nwindow: 1\ndtype: @BF16\n",
         "dtype: BF16 is not one of f32, f16, bf16; the nearest is bf16"},
        {GOOD "state_dtype: @bf16\ntargets: [cpu, sm_90]\n",
         "state_dtype: bf16 is for the CPU alone in this version, and sm_90 is among the targets; the nearest is f32"},
        {GOOD "state_dtype: @f16\n", "state_dtype: f16 is not available in this version; the nearest is f32"},
        {GOOD "state_dtype: @f23\n", "state_dtype: f23 is not one of f32, bf16; the nearest is f32"},
        {GOOD "gate: {input: @logits}\n", "gate.input: logits is not one of logit, log; the nearest is logit"},
        {GOOD "gate: {s: @give}\n", "gate.s: give is not one of derived, given; the nearest is given"},
        {GOOD "gate: {dtype: @fp32}\n", "gate.dtype: fp32 is not one of f32, f16, bf16; the nearest is f32"},
        {GOOD "rope: {style: @llama}\n", "rope.style: llama is not one of none, given, neox, gptj; the nearest is"},
        {GOOD "slot_map: @siluu\n", "slot_map: siluu is not one of identity, silu, relu; the nearest is silu"},
        {GOOD "value_map: @relu\n", "value_map: relu is not one of identity, silu; the nearest is silu"},
        {GOOD "ops: [prefill, @backward]\n", "ops: backward is not available in this version; the nearest is prefill"},
        {GOOD "ops: [@prefil]\n", "ops: prefil is not one of prefill, decode; the nearest is prefill"},
        {GOOD "ops: [prefill, @prefill]\n", "ops: prefill stands in the list twice"},
        {GOOD "ops: @[]\n", "ops: a list is not a list such as"},
        {GOOD "targets: [cpu, @sm90]\n",
         "targets: sm90 is not one of cpu, sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100f, sm_120f; the nearest is sm_90"},
        {GOOD "targets: [cpu, @cpu]\n", "targets: cpu stands in the list twice"},
        {GOOD "ops: [prefill]\ntune: {shapes: [{tokens: 1, op: @decode}]}\n",
         "tune.shapes.op: decode is not among the spec's ops"},
        {GOOD "tune: {shapes: [{tokens: @2, op: decode}]}\n",
         "tune.shapes.tokens: a decode step has one token; the nearest is 1"},
    };
    EXPECT(rows);
}

static void test_names(void **state) {
    (void)state;
    char text[2000], message[64];
    static const row rows[] = {
        {"name: @../../etc/passwd\n" DIMS SIZES, "name: ../../etc/passwd is a path: a name is letters"},
        {"name: @/x\n" DIMS SIZES, "name: /x is a path"},
        {"name: @x/\n" DIMS SIZES, "name: x/ is a path"},
        {"name: @.hidden\n" DIMS SIZES, "name: .hidden is not letters, digits, '.', '_' and '-', a letter or digit "
                                        "first, at most 64; the nearest is hidden"},
        {"name: @-x\n" DIMS SIZES, "name: -x is not"},
        {"name: @a b\n" DIMS SIZES,
         "name: a b is not letters, digits, '.', '_' and '-', a letter or digit first, at most 64; the nearest is a-b"},
        {"name: @\"a\\nb\"\n" DIMS SIZES, "name: \"a b\" is not"},
        {"name: @\"a\\0b\"\n" DIMS SIZES, "a NUL character in a text"},
        {"name: @\xc3\xa9t\xc3\xa9\n" DIMS SIZES, "name: \xc3\xa9t\xc3\xa9 is not"},
        {"name:@\n" DIMS SIZES, "name: the value is missing"},
        {"name: @\"\"\n" DIMS SIZES, "name: the value is missing"},
        {"name: @..\n" DIMS SIZES, "name: .. is not"},
    };
    EXPECT(rows);
    snprintf(text, sizeof text, "name: @%065d\n" DIMS SIZES, 7);
    snprintf(message, sizeof message, "name: %040d... is not", 0);
    expect_bad(text, message);
}

static void test_between_keys(void **state) {
    (void)state;
    static const row rows[] = {
        {NAME DIMS "slots: 0\nwindow: @0\ndtype: f32\n",
         "window: slots and window are both 0, so there is nothing to attend to; the nearest is 1"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {style: neox, inv_freq: @[1, 2, 3]}\n",
         "rope.inv_freq: the list has 3 numbers; head_dim 8 needs 4"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {style: gptj, inv_freq: [1, 2, @nan, 4]}\n",
         "rope.inv_freq: nan is not a number from -10000 to 10000"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {style: gptj, inv_freq: [1, 2, @x, 4]}\n",
         "rope.inv_freq: x is not a number"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {style: given, @inv_freq: [1, 2, 3, 4]}\n",
         "rope.inv_freq: needs style neox or gptj; the style is given"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {@inv_freq: [1, 2, 3, 4]}\n",
         "rope.inv_freq: needs style neox or gptj; the style is none"},
        {NAME "head_dim: 8\nheads: {query: 1, kv: 1}\n" SIZES "rope: {style: neox, inv_freq: @5}\n",
         "rope.inv_freq: 5 is not a list of head_dim / 2 numbers"},
    };
    EXPECT(rows);
}

static void test_yaml(void **state) {
    (void)state;
    static const row rows[] = {
        {"@", "the file is empty: expected a spec, a map with at least name"},
        {"@# a comment alone\n\n", "the file is empty"},
        {"name: @&a x\n", "anchors are not available in a spec"},
        {"name: @*a\n", "aliases are not available in a spec"},
        {"name: @!!str x\n", "tags are not available in a spec"},
        {GOOD "gate: @&g {input: log}\n", "anchors are not available in a spec"},
        {GOOD "ops: @&o [prefill]\n", "anchors are not available in a spec"},
        {"name: x\n@\thead_dim: 64\n", "not YAML: "},
        {"name: 'x\n@", "not YAML: found unexpected end of stream"},
        {"name: [x\n@", "not YAML: "},
        {GOOD "@---\n" GOOD, "a second document: a spec is one"},
        {NAME "caf\xc3\xa9: @&a x\n", "anchors are not available in a spec"},
        {"name: x\nhe\xc3\xa9@\xff: 1\n", "not YAML: "},
        {"name: x@\x01\n", "not YAML: control characters are not allowed"},
    };
    EXPECT(rows);
}

static void refuse_quickly(const char *text, size_t size, const char *part) {
    gen_spec spec;
    err e = {0};
    assert_false(gen_spec_parse("bad.yaml", text, size, &spec, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_true(e.line > 0 && e.column > 0);
    if (!strstr(e.text, part)) fail_msg("%s lacks %s", e.text, part);
    err_clear(&e);
}

/* Nine lines that would be 10^9 values; the first anchor ends it. */
static void test_alias_bomb(void **state) {
    (void)state;
    static const char bomb[] =
        "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n";
    refuse_quickly(bomb, strlen(bomb), "anchors");
}

static void test_large_and_deep(void **state) {
    (void)state;
    size_t size = GEN_SPEC_BYTES_MAX;
    char *text = malloc(size + 1);
    memset(text, '[', size);
    refuse_quickly(text, size, "deep");
    memset(text, '{', size);
    refuse_quickly(text, size, "");
    for (size_t i = 1; i + 2 <= size; i += 2) memcpy(text + i, "a,", 2);
    text[0] = '[';
    refuse_quickly(text, size, "too many values");
    for (size_t i = 0; i + 4 <= size; i += 4) memcpy(text + i, "- a\n", 4);
    refuse_quickly(text, size, "too many values");
    memset(text, 'x', size);
    refuse_quickly(text, size, "is not a spec");
    memset(text, 0, size);
    refuse_quickly(text, size, "not YAML");
    memset(text, ' ', size + 1);
    refuse_quickly(text, size, "empty");
    refuse_quickly(text, size + 1, "the file has 1048577 bytes; a spec has at most 1048576");
    free(text);
}

static void expect_file(const char *path, err_code code, int line, const char *part) {
    gen_spec spec;
    err e = {0};
    assert_false(gen_spec_read(path, &spec, &e));
    assert_int_equal(e.code, code);
    assert_int_equal(e.line, line);
    assert_string_equal(e.file, path);
    if (!strstr(e.text, part)) fail_msg("%s lacks %s", e.text, part);
    err_clear(&e);
}

/* A gigabyte of garbage is refused by its size, unread. */
static void test_files(void **state) {
    (void)state;
    char path[] = "/tmp/nhac-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    expect_file(path, ERR_INPUT, 1, "the file is empty");
    assert_int_equal(ftruncate(fd, (off_t)1 << 30), 0);
    expect_file(path, ERR_INPUT, 1, "the file has 1073741824 bytes; a spec has at most 1048576");
    close(fd);
    unlink(path);
    expect_file(path, ERR_INPUT, 0, "cannot be read: No such file or directory");
    expect_file("/dev/zero", ERR_INPUT, 0, "more than 1048576 bytes");
    expect_file("specs", ERR_INPUT, 0, "is a folder");
}

/* Mutated specs parse or fail with a place; neither reads outside the text nor leaks. */
static void test_fuzz(void **state) {
    (void)state;
    static const char base[] =
        "name: a.b\nhead_dim: {qk: 8, v: 24}\nheads: {query: 4, kv: 2}\nslots: 16\nwindow: 1e2\nslot_lag: "
        "window\ndtype: bf16\n"
        "gate: {input: log, s: given}\nrope: {style: neox, inv_freq: [1, 0.5, 2e-1, 0]}\nops: [prefill, decode]\n"
        "targets: [cpu, sm_90]\ntune:\n  shapes:\n    - {batch: 1, tokens: 5}\n  budget: 5\n";
    static const char bytes[] = "{}[]:,-&*!|>'\"%@#?~ \n\t0189.eEnax";
    uint64_t seed = 5;
    int good = 0;
    for (int i = 0; i < 6000; i++) {
        size_t size = strlen(base);
        char *text = malloc(size);
        memcpy(text, base, size);
        for (int n = 0; n < 1 + i % 4; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[(seed >> 33) % size] = seed >> 60 ? bytes[(seed >> 20) % (sizeof bytes - 1)] : (char)(seed >> 24);
        }
        if (i % 7 == 0) size = (seed >> 35) % size;
        char *exact = malloc(size ? size : 1);
        memcpy(exact, text, size);
        gen_spec spec;
        err e = {0};
        if (gen_spec_parse("fuzz.yaml", exact, size, &spec, &e)) {
            good++;
            gen_spec_destroy(&spec);
        } else {
            if (e.code != ERR_INPUT || e.line < 1 || e.column < 1)
                fail_msg("%d: %d:%d %s", e.code, e.line, e.column, e.text);
            for (const char *c = e.text; *c; c++) assert_true((unsigned char)*c >= 0x20);
        }
        err_clear(&e);
        free(exact);
        free(text);
    }
    assert_in_range(good, 1, 5999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),  cmocka_unit_test(test_types),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_words), cmocka_unit_test(test_names),      cmocka_unit_test(test_between_keys),
        cmocka_unit_test(test_yaml),  cmocka_unit_test(test_alias_bomb), cmocka_unit_test(test_large_and_deep),
        cmocka_unit_test(test_files), cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
