/* test_emit.c: CPU kernels as code: the same inputs give the same bytes, nothing is called that no library provides, AArch64 compiles
 * as the host's ISAs do, and the products of default tiles keep their accumulators in registers. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/cpu/cpu.h"
#include "jit/elf.h"
#include "jit/emit.h"
#include "tests/gen/help_asm.h"
#include "tests/gen/help_gen.h"
#include "tuner/case.h"

typedef struct emitted {
    LLVMContextRef context;
    gen_cpu_unit unit;
} emitted;

static emitted emit(const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile) {
    emitted m = {.context = LLVMContextCreate()};
    err e = {0};
    if (!gen_cpu_emit(m.context, problem, op, isa, tile, &m.unit, &e))
        fail_msg("%s", e.text);
    return m;
}

static void drop(emitted *m) {
    gen_cpu_unit_destroy(&m->unit);
    LLVMContextDispose(m->context);
}

static jit_emitted object_of(const emitted *m, const gen_isa *isa) {
    jit_emitted out;
    err e = {0};
    if (!jit_verify(m->unit.module, &e) || !jit_emit(m->unit.module, isa, LLVMObjectFile, &out, &e))
        fail_msg("%s: %s\n%s", m->unit.name, e.text, e.log ? e.log : "");
    return out;
}

/* One legal tile of all, each as likely. */
typedef struct pick {
    tune_random random;
    int64_t seen;
    gen_tile tile;
} pick;

static bool pick_visit(void *context, const gen_tile *tile, const char *reason) {
    pick *p = context;
    if (!reason && tune_random_between(&p->random, 0, p->seen++) == 0)
        p->tile = *tile;
    return true;
}

static void random_tile(const gen_problem *problem, nha_op op, const gen_isa *isa, uint64_t seed, gen_tile *tile) {
    pick p = {.random = {seed}};
    err e = {0};
    assert_true(gen_cpu_space(problem, op, isa, pick_visit, &p, &e));
    assert_true(p.seen > 0);
    *tile = p.tile;
}

/* ---- the same inputs, the same bytes ---- */

static void test_deterministic(void **state) {
    (void)state;
    int isas;
    const gen_isa *table = gen_isa_table(&isas);
    for (uint64_t seed = 0; seed < 8; seed++) {
        gen_problem problem, other;
        tune_random_problem(seed, &problem);
        gen_problem_copy(&other, &problem);
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            const gen_isa *isa = &table[seed % (uint64_t)isas];
            gen_tile tile;
            random_tile(&problem, op, isa, seed, &tile);
            emitted a = emit(&problem, op, isa, &tile), b = emit(&other, op, isa, &tile);
            char *text_a = LLVMPrintModuleToString(a.unit.module), *text_b = LLVMPrintModuleToString(b.unit.module);
            assert_string_equal(text_a, text_b);
            assert_memory_equal(&a.unit.code, &b.unit.code, sizeof a.unit.code);
            assert_string_equal(a.unit.name, b.unit.name);
            assert_string_equal(a.unit.symbol_main, b.unit.symbol_main);
            jit_emitted x = object_of(&a, isa), y = object_of(&b, isa);
            assert_int_equal(x.size, y.size);
            assert_memory_equal(x.bytes, y.bytes, x.size);
            char *after = LLVMPrintModuleToString(a.unit.module); /* compiling changes nothing */
            assert_string_equal(text_a, after);
            LLVMDisposeMessage(text_a);
            LLVMDisposeMessage(text_b);
            LLVMDisposeMessage(after);
            free(x.bytes);
            free(y.bytes);
            drop(&a);
            drop(&b);
        }
    }
}

/* Kernels of problems that differ in one number have symbols of their own: libraries of one program may be linked together. */
static void test_names(void **state) {
    (void)state;
    const gen_isa *isa = gen_isa_find("avx2");
    char symbols[6][256];
    int count = 0;
    for (int which = 0; which < 6; which++) {
        gen_problem problem;
        gen_tile tile;
        help_gen_problem(&problem, 32, 16, 24, 2, 2);
        problem.nha.scale = which == 1 ? 0.25 : problem.nha.scale;
        problem.nha.slot_lag = which == 2 ? 7 : problem.nha.slot_lag;
        problem.nha.gate_normalizer = which == 3 ? 4 : 8;
        problem.nha.rope = which >= 4 ? NHA_ROPE_NEOX : NHA_ROPE_NONE;
        help_gen_ready(&problem);
        if (which == 5) {
            problem.inv_freq[3] *= 2;
            gen_problem_derive(&problem);
        }
        gen_tile_default(&problem, NHA_PREFILL, isa, &tile);
        emitted m = emit(&problem, NHA_PREFILL, isa, &tile);
        for (int i = 0; i < count; i++)
            assert_string_not_equal(symbols[i], m.unit.symbol_main);
        strcpy(symbols[count++], m.unit.symbol_main);
        for (const char *c = m.unit.symbol_main; *c; c++)
            assert_true((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_');
        drop(&m);
    }
}

static void test_backward(void **state) {
    (void)state;
    gen_problem problem;
    gen_tile tile = {{0}};
    gen_cpu_unit unit;
    err e = {0};
    LLVMContextRef context = LLVMContextCreate();
    help_gen_problem(&problem, 32, 16, 24, 2, 2);
    assert_false(gen_cpu_emit(context, &problem, NHA_BACKWARD, gen_isa_find("avx2"), &tile, &unit, &e));
    assert_string_equal(e.text, "backward is not available in this version");
    LLVMContextDispose(context);
}

/* ---- objects stand alone ---- */

static void check_object(const emitted *m, const gen_isa *isa) {
    jit_emitted object = object_of(m, isa);
    jit_elf elf;
    err e = {0};
    assert_true(jit_elf_open(object.bytes, object.size, &elf, &e));
    assert_int_equal(elf.machine, strncmp(isa->triple, "aarch64", 7) == 0 ? EM_AARCH64 : EM_X86_64);
    assert_true(jit_elf_plain_stack(&elf));
    const char *undefined = jit_elf_undefined(&elf);
    if (undefined)
        fail_msg("%s calls %s", m->unit.name, undefined);
    /* what is visible outside: the entry points, hidden and weak, once each */
    int found = 0, wanted = m->unit.symbol_delta[0] ? 3 : 1;
    for (size_t i = 1; i < elf.symbols; i++) {
        jit_elf_symbol s;
        assert_true(jit_elf_symbol_at(&elf, i, &s, &e));
        if (s.local || !s.defined)
            continue;
        if (strcmp(s.name, m->unit.symbol_main) && strcmp(s.name, m->unit.symbol_delta) && strcmp(s.name, m->unit.symbol_scan))
            fail_msg("%s: symbol %s", m->unit.name, s.name);
        assert_true(s.hidden && s.weak && s.function);
        found++;
    }
    assert_int_equal(found, wanted);
    free(object.bytes);
}

static void test_random_objects(void **state) {
    (void)state;
    int isas;
    const gen_isa *table = gen_isa_table(&isas);
    for (uint64_t seed = 1000; seed < 1032; seed++) {
        gen_problem problem;
        tune_random_problem(seed, &problem);
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            const gen_isa *isa = &table[(seed + op) % (uint64_t)isas];
            gen_tile tile;
            random_tile(&problem, op, isa, seed, &tile);
            emitted m = emit(&problem, op, isa, &tile);
            check_object(&m, isa);
            drop(&m);
        }
    }
}

/* ---- default tiles keep their accumulators in registers ---- */

/* Every dtype, rope style, gate and map; odd sizes; the smallest and the largest. */
static const struct sizes {
    int k, v, m;
    int64_t w, l;
    int h, g, dtype, gate_input, rope, slot_map, value_map;
} sizes[] = {
    {128, 128, 64, 64, 64, 2, 4, NHA_BF16, NHA_GATE_LOGIT, NHA_ROPE_NEOX, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {128, 128, 64, 64, 64, 2, 4, NHA_F32, NHA_GATE_LOGIT, NHA_ROPE_GPTJ, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {256, 256, 64, 32, 32, 4, 1, NHA_BF16, NHA_GATE_LOGIT, NHA_ROPE_GIVEN, NHA_MAP_SILU, NHA_MAP_IDENTITY},
    {64, 64, 128, 256, 256, 1, 8, NHA_F16, NHA_GATE_LOG, NHA_ROPE_NONE, NHA_MAP_RELU, NHA_MAP_SILU},
    {8, 8, 1, 1, 1, 1, 1, NHA_F32, NHA_GATE_LOG, NHA_ROPE_NEOX, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {72, 40, 17, 33, 5, 3, 3, NHA_F16, NHA_GATE_LOGIT, NHA_ROPE_GPTJ, NHA_MAP_SILU, NHA_MAP_SILU},
    {24, 56, 80, 0, 0, 2, 2, NHA_F32, NHA_GATE_LOG, NHA_ROPE_NONE, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {80, 80, 0, 1000, 0, 1, 7, NHA_BF16, NHA_GATE_LOGIT, NHA_ROPE_NEOX, NHA_MAP_IDENTITY, NHA_MAP_SILU},
    {40, 8, 256, 15, 90, 1, 5, NHA_F32, NHA_GATE_LOGIT, NHA_ROPE_GIVEN, NHA_MAP_RELU, NHA_MAP_IDENTITY},
    {32, 32, 32, (int64_t)1 << 40, 0, 1, 2, NHA_F16, NHA_GATE_LOG, NHA_ROPE_NEOX, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {96, 96, 48, 48, 48, 2, 16, NHA_BF16, NHA_GATE_LOGIT, NHA_ROPE_GPTJ, NHA_MAP_IDENTITY, NHA_MAP_IDENTITY},
    {48, 120, 33, 17, 1, 1, 6, NHA_F32, NHA_GATE_LOGIT, NHA_ROPE_NONE, NHA_MAP_SILU, NHA_MAP_RELU},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void sized_problem(int i, gen_problem *problem) {
    const struct sizes *s = &sizes[i];
    help_gen_problem(problem, s->k, s->m, s->w, s->h, s->g);
    nha_problem *p = &problem->nha;
    p->head_dim_v = s->v;
    p->slot_lag = s->l;
    p->dtype = p->gate_dtype = s->dtype;
    p->gate_input = s->gate_input;
    p->rope = s->rope;
    p->slot_map = s->slot_map;
    p->value_map = s->value_map;
    help_gen_ready(problem);
}

/* Functions in which an accumulator on the stack costs: products of prefill, passes over the memory of decode. */
static bool is_product(nha_op op, bool computed, const char *function) {
    static const char *const prefill[] = {"score_slots", "score_panels_", "read_first", "read_next",
                                          "update_keys", "update_values", "decay_scores"};
    static const char *const decode[] = {"score_slots", "read_values"};
    const char *const *names = op == NHA_PREFILL ? prefill : decode;
    size_t count = op == NHA_PREFILL ? sizeof prefill / sizeof *prefill : sizeof decode / sizeof *decode;
    count -= op == NHA_DECODE && computed; /* then a map or conversion stands between the accumulations */
    for (size_t i = 0; i < count; i++)
        if (strncmp(function, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Spills and reloads of vectors in products; *functions of them were looked at. */
static int product_spills(const emitted *m, nha_op op, bool computed, const gen_isa *isa, bool print, int *functions) {
    static help_asm lines;
    err e = {0};
    int sum = 0;
    char *text = jit_assembly(m->unit.module, isa, &e);
    if (!text)
        fail_msg("%s: %s", m->unit.name, e.text);
    help_asm_read(text, &lines);
    free(text);
    for (int i = 0; i < lines.functions; i++)
        if (is_product(op, computed, lines.function[i].name)) {
            if (print && lines.function[i].vector_spills)
                print_error("%s: %d spills and reloads in %s\n", m->unit.name, lines.function[i].vector_spills, lines.function[i].name);
            sum += lines.function[i].vector_spills;
            ++*functions;
        }
    return sum;
}

static void check_defaults(const char *name) {
    const gen_isa *isa = gen_isa_find(name);
    int spills = 0, functions = 0;
    for (int i = 0; i < SIZES; i++)
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            gen_problem problem;
            gen_tile tile;
            sized_problem(i, &problem);
            gen_tile_default(&problem, op, isa, &tile);
            emitted m = emit(&problem, op, isa, &tile);
            check_object(&m, isa);
            const nha_problem *p = &problem.nha;
            bool computed = p->value_map != NHA_MAP_IDENTITY || (p->dtype == NHA_F16 && !isa->f16);
            int here = product_spills(&m, op, computed, isa, true, &functions);
            if (here)
                print_error("^ problem %d of the table, %s\n", i, gen_op_name(op));
            spills += here;
            drop(&m);
        }
    print_message("%s: %d functions looked at\n", name, functions);
    assert_true(functions > 5 * SIZES);
    assert_int_equal(spills, 0);
}

static void test_neon(void **state) {
    (void)state;
    check_defaults("neon");
}

static void test_avx512(void **state) {
    (void)state;
    check_defaults("avx512");
}

static void test_avx2(void **state) {
    (void)state;
    check_defaults("avx2");
}

static void test_baseline(void **state) {
    (void)state;
    check_defaults("baseline");
}

/* The check sees what it is for: a tile that the constraints forbid spills. */
static void test_spills_are_seen(void **state) {
    (void)state;
    static const char *const names[] = {"neon", "avx2", "avx512", "baseline"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const gen_isa *isa = gen_isa_find(names[i]);
        gen_problem problem;
        gen_tile tile;
        int functions = 0;
        sized_problem(0, &problem);
        gen_tile_default(&problem, NHA_PREFILL, isa, &tile);
        tile.knob[GEN_SCORE_ROWS] = tile.knob[GEN_READ_ROWS] = 12;
        tile.knob[GEN_SCORE_VECTORS] = tile.knob[GEN_READ_VECTORS] = isa->registers >= 32 ? 4 : 2;
        assert_non_null(gen_cpu_reject(&problem, NHA_PREFILL, isa, &tile));
        emitted m = emit(&problem, NHA_PREFILL, isa, &tile);
        assert_true(product_spills(&m, NHA_PREFILL, false, isa, false, &functions) > 20);
        drop(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_names),           cmocka_unit_test(test_backward),
        cmocka_unit_test(test_random_objects), cmocka_unit_test(test_neon),           cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_avx2),          cmocka_unit_test(test_baseline),        cmocka_unit_test(test_spills_are_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
