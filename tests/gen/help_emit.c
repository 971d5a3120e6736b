/* help_emit.c: see help_emit.h. */
#include "tests/gen/help_emit.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jit/elf.h"
#include "jit/jit.h"
#include "tests/gen/help_asm.h"
#include "tests/gen/help_gen.h"

help_unit help_emit(const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile) {
    help_unit m = {.context = LLVMContextCreate()};
    err e = {0};
    if (!gen_cpu_emit(m.context, problem, op, isa, tile, &m.unit, &e))
        fail_msg("%s", e.text);
    return m;
}

void help_emit_drop(help_unit *m) {
    gen_cpu_unit_destroy(&m->unit);
    LLVMContextDispose(m->context);
}

jit_emitted help_emit_object(const help_unit *m, const gen_isa *isa) {
    jit_emitted out = {0};
    err e = {0};
    if (!jit_verify(m->unit.module, &e) || !jit_emit(m->unit.module, isa, LLVMObjectFile, &out, &e))
        fail_msg("%s: %s\n%s", m->unit.name, e.text, e.log ? e.log : "");
    return out;
}

void help_emit_check_object(const help_unit *m, const gen_isa *isa) {
    jit_emitted object = help_emit_object(m, isa);
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
_Static_assert(sizeof sizes / sizeof *sizes == HELP_EMIT_PROBLEMS, "the table and its header");

void help_emit_problem(int i, gen_problem *problem) {
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

int help_emit_spills(const help_unit *m, const gen_problem *problem, nha_op op, const gen_isa *isa, bool print, int *functions) {
    static help_asm lines;
    const nha_problem *p = &problem->nha;
    bool computed = p->value_map != NHA_MAP_IDENTITY || (p->dtype == NHA_F16 && !isa->f16);
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

/* Deferred, with the widest blocks that its constraints allow, of all heads and of two. */
static int deferred_spills(const gen_problem *problem, const gen_isa *isa, gen_tile tile) {
    static const int wide[] = {8, 4, 3, 2, 1};
    int spills = 0, functions = 0;
    tile.knob[GEN_DEFER] = 8;
    for (int heads = tile.knob[GEN_HEADS]; heads >= 2; heads = heads > 2 ? 2 : 0) {
        tile.knob[GEN_HEADS] = heads;
        for (int knob = GEN_SCORE_VECTORS; knob <= GEN_READ_VECTORS; knob += GEN_READ_VECTORS - GEN_SCORE_VECTORS)
            for (int i = 0; i < 5; i++) {
                tile.knob[knob] = wide[i];
                if (!gen_cpu_reject(problem, NHA_DECODE, isa, &tile))
                    break;
            }
        assert_null(gen_cpu_reject(problem, NHA_DECODE, isa, &tile));
        help_unit m = help_emit(problem, NHA_DECODE, isa, &tile);
        spills += help_emit_spills(&m, problem, NHA_DECODE, isa, true, &functions);
        help_emit_drop(&m);
    }
    return spills;
}

void help_emit_check_defaults(const char *name, bool objects) {
    const gen_isa *isa = gen_isa_find(name);
    int spills = 0, functions = 0;
    for (int i = 0; i < HELP_EMIT_PROBLEMS; i++)
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            gen_problem problem;
            gen_tile tile;
            help_emit_problem(i, &problem);
            gen_tile_default(&problem, op, isa, &tile);
            help_unit m = help_emit(&problem, op, isa, &tile);
            if (objects)
                help_emit_check_object(&m, isa);
            int here = help_emit_spills(&m, &problem, op, isa, true, &functions);
            if (here)
                print_error("^ problem %d of the table, %s\n", i, gen_op_name(op));
            spills += here;
            help_emit_drop(&m);
            if (op == NHA_DECODE && problem.nha.slots)
                spills += deferred_spills(&problem, isa, tile);
        }
    print_message("%s: %d functions looked at\n", name, functions);
    assert_true(functions > 5 * HELP_EMIT_PROBLEMS);
    assert_int_equal(spills, 0);
}
