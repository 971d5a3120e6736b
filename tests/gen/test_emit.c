/* test_emit.c: CPU kernels as code: the same inputs give the same bytes, names tell kernels apart, and no object of a random problem and
 * tile, on any ISA, calls anything that no library provides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/gen/help_emit.h"
#include "tests/gen/help_gen.h"
#include "tuner/case.h"

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
    for (uint64_t seed = 0; seed < 6; seed++) {
        gen_problem problem, other;
        tune_random_problem(seed, &problem);
        gen_problem_copy(&other, &problem);
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            const gen_isa *isa = &table[seed % (uint64_t)isas];
            gen_tile tile;
            random_tile(&problem, op, isa, seed, &tile);
            help_unit a = help_emit(&problem, op, isa, &tile), b = help_emit(&other, op, isa, &tile);
            char *text_a = LLVMPrintModuleToString(a.unit.module), *text_b = LLVMPrintModuleToString(b.unit.module);
            assert_string_equal(text_a, text_b);
            assert_memory_equal(&a.unit.code, &b.unit.code, sizeof a.unit.code);
            assert_string_equal(a.unit.name, b.unit.name);
            assert_string_equal(a.unit.symbol_main, b.unit.symbol_main);
            jit_emitted x = help_emit_object(&a, isa), y = help_emit_object(&b, isa);
            assert_int_equal(x.size, y.size);
            assert_memory_equal(x.bytes, y.bytes, x.size);
            char *after = LLVMPrintModuleToString(a.unit.module); /* compiling changes nothing */
            assert_string_equal(text_a, after);
            LLVMDisposeMessage(text_a);
            LLVMDisposeMessage(text_b);
            LLVMDisposeMessage(after);
            free(x.bytes);
            free(y.bytes);
            help_emit_drop(&a);
            help_emit_drop(&b);
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
        help_unit m = help_emit(&problem, NHA_PREFILL, isa, &tile);
        for (int i = 0; i < count; i++)
            assert_string_not_equal(symbols[i], m.unit.symbol_main);
        strcpy(symbols[count++], m.unit.symbol_main);
        for (const char *c = m.unit.symbol_main; *c; c++)
            assert_true((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_');
        help_emit_drop(&m);
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

static void test_random_objects(void **state) {
    (void)state;
    int isas;
    const gen_isa *table = gen_isa_table(&isas);
    for (uint64_t seed = 1000; seed < 1016; seed++) {
        gen_problem problem;
        tune_random_problem(seed, &problem);
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            const gen_isa *isa = &table[(seed + op) % (uint64_t)isas];
            gen_tile tile;
            random_tile(&problem, op, isa, seed, &tile);
            help_unit m = help_emit(&problem, op, isa, &tile);
            help_emit_check_object(&m, isa);
            help_emit_drop(&m);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deterministic), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_backward), cmocka_unit_test(test_random_objects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
