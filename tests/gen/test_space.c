/* test_space.c: the search space of CPU kernels: every constraint rejects something and says why, the untuned default is legal for
 * every problem, names are unique, the order is fixed, and models have enough to choose from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/file.h"
#include "gen/cpu/cpu.h"
#include "gen/embedded.h"
#include "gen/spec.h"
#include "gen/spec_yaml.h"
#include "tests/gen/help_gen.h"
#include "tuner/case.h"

enum { STRING_MAX = 160 };

/* ---- constraints ---- */

typedef struct change {
    int knob; /* gen_cpu_knob */
    int value;
} change;

/* The default tile of a problem with these changes is rejected for this reason. Problem: K = V = dim, W = L = window. A constraint
 * has at least one row; a new one needs its own (see test_reasons_known). */
static const struct rejected {
    nha_op op;
    const char *isa;
    int dim, slots;
    int64_t window;
    int group, dtype;
    change changes[3];
    const char *reason;
} rejected[] = {
    {NHA_PREFILL, "avx512", 64, 32, 64, 4, NHA_F32, {{GEN_BLOCK_TOKENS, 8}}, "BLOCK_TOKENS is not a multiple of the vector length"},
    {NHA_PREFILL, "avx2", 64, 32, 64, 4, NHA_F32, {{GEN_SCORE_ROWS, 8}, {GEN_SCORE_VECTORS, 2}},
     "SCORE_ROWS x SCORE_VECTORS needs more registers than the ISA has"},
    {NHA_PREFILL, "avx512", 64, 32, 64, 4, NHA_F32, {{GEN_SCORE_ROWS, 14}, {GEN_SCORE_VECTORS, 3}},
     "SCORE_ROWS x SCORE_VECTORS needs more registers than the ISA has"},
    {NHA_PREFILL, "baseline", 64, 32, 64, 4, NHA_F32, {{GEN_READ_ROWS, 6}, {GEN_READ_VECTORS, 2}},
     "READ_ROWS x READ_VECTORS needs more registers than the ISA has"},
    {NHA_PREFILL, "neon", 64, 32, 64, 4, NHA_F32, {{GEN_READ_ROWS, 8}, {GEN_READ_VECTORS, 4}},
     "READ_ROWS x READ_VECTORS needs more registers than the ISA has"},
    {NHA_PREFILL, "avx2", 64, 32, 64, 4, NHA_F32, {{GEN_SCORE_ROWS, 4}, {GEN_SCORE_VECTORS, 1}},
     "SCORE_ROWS x SCORE_VECTORS has too few chains to hide the latency of FMA"},
    {NHA_PREFILL, "avx2", 64, 32, 64, 4, NHA_F32, {{GEN_READ_ROWS, 4}, {GEN_READ_VECTORS, 1}},
     "READ_ROWS x READ_VECTORS has too few chains to hide the latency of FMA"},
    {NHA_PREFILL, "neon", 64, 32, 64, 1, NHA_F32, {{GEN_BLOCK_TOKENS, 8}, {GEN_SCORE_ROWS, 11}, {GEN_SCORE_VECTORS, 1}},
     "SCORE_ROWS exceeds the rows of a block"},
    {NHA_PREFILL, "neon", 64, 32, 64, 1, NHA_F32, {{GEN_BLOCK_TOKENS, 8}, {GEN_READ_ROWS, 11}, {GEN_READ_VECTORS, 1}},
     "READ_ROWS exceeds the rows of a block"},
    {NHA_PREFILL, "avx512", 16, 32, 64, 4, NHA_F32, {{GEN_READ_ROWS, 8}, {GEN_READ_VECTORS, 2}},
     "READ_VECTORS exceeds the vectors of V"},
    {NHA_PREFILL, "avx512", 64, 32, 17, 4, NHA_F32, {{GEN_KEY_PANELS, 3}}, "KEY_PANELS spans more than the window"},
    {NHA_PREFILL, "avx512", 64, 32, 0, 4, NHA_F32, {{GEN_KEY_PANELS, 2}}, "KEY_PANELS spans more than the window"},
    {NHA_PREFILL, "avx512", 64, 32, 1000, 8, NHA_F32, {{GEN_BLOCK_TOKENS, 32}, {GEN_KEY_PANELS, 17}},
     "the scores of KEY_PANELS would not fit into the second-level cache"},
    {NHA_PREFILL, "avx512", 256, 32, 0, 32, NHA_F32, {{GEN_BLOCK_TOKENS, 32}},
     "the queries of BLOCK_TOKENS would not fit into the second-level cache"},
    {NHA_PREFILL, "avx512", 64, 32, 64, 4, NHA_F32, {{GEN_EXP_DEGREE, 4}}, "EXP_DEGREE is too coarse for f32"},
    {NHA_PREFILL, "amx", 64, 32, 20, 4, NHA_F32, {{GEN_EXP_DEGREE, 4}}, "EXP_DEGREE is too coarse for f32"},
    {NHA_PREFILL, "amx", 64, 32, 20, 4, NHA_BF16, {{GEN_KEY_PANELS, 3}}, "KEY_PANELS spans more than the window"},
    {NHA_PREFILL, "amx", 64, 32, 2000, 16, NHA_BF16, {{GEN_KEY_PANELS, 33}},
     "the scores of KEY_PANELS would not fit into the second-level cache"},
    {NHA_PREFILL, "amx", 256, 32, 0, 16, NHA_BF16, {{GEN_BLOCK_TOKENS, 64}},
     "the queries of BLOCK_TOKENS would not fit into the second-level cache"},
    {NHA_DECODE, "avx2", 64, 64, 64, 8, NHA_F32, {{GEN_HEADS, 8}, {GEN_SCORE_VECTORS, 2}},
     "HEADS x SCORE_VECTORS accumulators and a row leave too few registers"},
    {NHA_DECODE, "avx2", 64, 64, 64, 8, NHA_F32, {{GEN_HEADS, 4}, {GEN_SCORE_VECTORS, 2}, {GEN_READ_VECTORS, 4}},
     "HEADS x READ_VECTORS accumulators fill more than half of the registers"},
    {NHA_DECODE, "avx512", 64, 64, 64, 1, NHA_F32, {{GEN_SCORE_VECTORS, 1}}, "SCORE_VECTORS is a quarter of what fits"},
    {NHA_DECODE, "avx512", 64, 64, 64, 1, NHA_F32, {{GEN_READ_VECTORS, 1}}, "READ_VECTORS is a quarter of what fits"},
    {NHA_DECODE, "avx512", 64, 16, 64, 1, NHA_F32, {{GEN_SCORE_VECTORS, 2}}, "SCORE_VECTORS exceeds the vectors of M"},
    {NHA_DECODE, "avx512", 16, 64, 64, 1, NHA_F32, {{GEN_READ_VECTORS, 2}}, "READ_VECTORS exceeds the vectors of V"},
    {NHA_DECODE, "avx512", 64, 0, 64, 1, NHA_F32, {{GEN_STATE_ROWS, 4}}, "without slots the knobs of the memory change nothing"},
    {NHA_DECODE, "avx512", 64, 0, 64, 1, NHA_F32, {{GEN_DEFER, 8}}, "without slots the knobs of the memory change nothing"},
    {NHA_DECODE, "avx512", 64, 64, 64, 1, NHA_F32, {{GEN_EXP_DEGREE, 4}}, "EXP_DEGREE is too coarse for f32"},
    {NHA_DECODE, "avx512", 64, 64, 64, 4, NHA_F32, {{GEN_HEADS, 8}}, "HEADS passes as many times as a smaller value"},
};
enum { REJECTED = sizeof rejected / sizeof *rejected };

typedef struct wanted {
    const gen_tile *tile;
    const char *reason;
    change first; /* of the tile */
    int listed, same_reason, same_tile;
} wanted;

static bool look_for(void *context, const gen_tile *tile, const char *reason) {
    wanted *w = context;
    w->listed += tile->knob[w->first.knob] == w->first.value;
    w->same_reason += reason && strcmp(reason, w->reason) == 0;
    w->same_tile += reason && strcmp(reason, w->reason) == 0 && memcmp(tile, w->tile, sizeof *tile) == 0;
    return true;
}

static void test_constraints(void **state) {
    (void)state;
    for (int i = 0; i < REJECTED; i++) {
        const struct rejected *row = &rejected[i];
        const gen_isa *isa = gen_isa_find(row->isa);
        gen_problem problem;
        gen_tile tile;
        err e = {0};
        help_gen_problem(&problem, row->dim, row->slots, row->window, 1, row->group);
        problem.nha.dtype = problem.nha.gate_dtype = row->dtype;
        help_gen_ready(&problem);
        gen_tile_default(&problem, row->op, isa, &tile);
        assert_null(gen_cpu_reject(&problem, row->op, isa, &tile));
        for (int c = 0; c < 3; c++)
            if (row->changes[c].value)
                tile.knob[row->changes[c].knob] = row->changes[c].value;
        const char *reason = gen_cpu_reject(&problem, row->op, isa, &tile);
        if (!reason || strcmp(reason, row->reason))
            fail_msg("row %d: \"%s\" instead of \"%s\"", i, reason ? reason : "legal", row->reason);
        wanted w = {.tile = &tile, .reason = row->reason, .first = row->changes[0]};
        assert_true(gen_cpu_space(&problem, row->op, isa, look_for, &w, &e));
        bool files_only = row->op == NHA_DECODE && row->changes[0].knob == GEN_EXP_DEGREE; /* of who adds to the list */
        assert_true(files_only == !w.listed);
        if (!w.same_reason && !files_only)
            fail_msg("row %d: the space never says \"%s\"", i, row->reason);
    }
}

static bool known_reason(void *context, const gen_tile *tile, const char *reason) {
    const nha_op *op = context;
    (void)tile;
    bool known = !reason;
    for (int i = 0; i < REJECTED && !known; i++)
        known = rejected[i].op == *op && strcmp(rejected[i].reason, reason) == 0;
    if (!known)
        fail_msg("no row above tests \"%s\"", reason);
    return true;
}

static void test_reasons_known(void **state) {
    (void)state;
    int isas;
    const gen_isa *isa = gen_isa_table(&isas);
    for (uint64_t seed = 0; seed < 24; seed++)
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            gen_problem problem;
            err e = {0};
            tune_random_problem(seed, &problem);
            assert_true(gen_cpu_space(&problem, op, &isa[seed % (uint64_t)isas], known_reason, &op, &e));
        }
}

/* ---- defaults ---- */

static void check_default(const gen_problem *problem) {
    int isas;
    const gen_isa *table = gen_isa_table(&isas);
    for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++)
        for (const gen_isa *isa = table; isa < table + isas; isa++) {
            gen_tile tile, again;
            char text[256];
            gen_tile_default(problem, op, isa, &tile);
            gen_tile_default(problem, op, isa, &again);
            assert_memory_equal(&tile, &again, sizeof tile);
            const char *reason = gen_cpu_reject(problem, op, isa, &tile);
            gen_problem_string(problem, op, text, sizeof text);
            if (reason)
                fail_msg("%s on %s: the default is not legal: %s", text, isa->name, reason);
        }
}

static void test_defaults(void **state) {
    (void)state;
    gen_problem problem;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        tune_random_problem(seed, &problem);
        check_default(&problem);
    }
    /* the corners of what docs/spec.md allows */
    static const int dims[] = {8, 16, 24, 32, 64, 128, 248, 256}, slots[] = {0, 1, 4, 16, 17, 64, 255, 256};
    static const int groups[] = {1, 2, 3, 5, 8, 9, 16, 32, 71};
    static const int64_t windows[] = {0, 1, 2, 8, 9, 16, 17, 33, 64, 4096, INT64_C(1) << 40, INT64_MAX / 2};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t m = 0; m < sizeof slots / sizeof *slots; m++)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
                for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
                    for (int dtype = NHA_F32; dtype <= NHA_F16 && (slots[m] || windows[w]); dtype++) {
                        help_gen_problem(&problem, dims[d], slots[m], windows[w], 1, groups[g]);
                        problem.nha.dtype = dtype;
                        check_default(&problem);
                    }
}

/* ---- enumeration ---- */

typedef struct listing {
    gen_tile *tiles; /* legal ones */
    int count, room, rejections;
} listing;

static bool list(void *context, const gen_tile *tile, const char *reason) {
    listing *l = context;
    if (reason) {
        l->rejections++;
        return true;
    }
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 1024;
        l->tiles = realloc(l->tiles, (size_t)l->room * sizeof *l->tiles);
        assert_non_null(l->tiles);
    }
    l->tiles[l->count++] = *tile;
    return true;
}

static void list_space(const gen_problem *problem, nha_op op, const gen_isa *isa, listing *l) {
    err e = {0};
    *l = (listing){0};
    if (!gen_cpu_space(problem, op, isa, list, l, &e))
        fail_msg("%s", e.text);
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Legal tiles have distinct names, among them the default's; each once; the order is the same each time. Returns their number. */
static int check_listing(const gen_problem *problem, nha_op op, const gen_isa *isa) {
    listing l, again;
    list_space(problem, op, isa, &l);
    list_space(problem, op, isa, &again);
    assert_int_equal(l.count, again.count);
    assert_int_equal(l.rejections, again.rejections);
    assert_true(l.count > 0 && l.rejections > 0);
    assert_memory_equal(l.tiles, again.tiles, (size_t)l.count * sizeof *l.tiles);
    char(*names)[STRING_MAX] = malloc((size_t)l.count * sizeof *names);
    assert_non_null(names);
    for (int i = 0; i < l.count; i++) {
        int length = gen_tile_string(isa, op, &l.tiles[i], names[i], sizeof *names);
        assert_true(length > 0 && (size_t)length < sizeof *names && (size_t)length == strlen(names[i]));
        assert_int_equal(gen_tile_string(isa, op, &l.tiles[i], NULL, 0), length);
        assert_true(strncmp(names[i], isa->name, strlen(isa->name)) == 0 && names[i][strlen(isa->name)] == '.');
    }
    qsort(names, (size_t)l.count, sizeof *names, by_text);
    for (int i = 1; i < l.count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            fail_msg("two tiles are called %s", names[i]);
    free(names);
    free(l.tiles);
    free(again.tiles);
    return l.count;
}

static void test_enumeration(void **state) {
    (void)state;
    int isas;
    const gen_isa *table = gen_isa_table(&isas);
    for (uint64_t seed = 100; seed < 106; seed++) {
        gen_problem problem;
        tune_random_problem(seed, &problem);
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++)
            check_listing(&problem, op, &table[seed % (uint64_t)isas]);
    }
}

static bool stop_at_third(void *context, const gen_tile *tile, const char *reason) {
    (void)tile;
    (void)reason;
    return ++*(int *)context < 3;
}

static void test_stop(void **state) {
    (void)state;
    gen_problem problem;
    err e = {0};
    int visits = 0;
    help_gen_problem(&problem, 64, 32, 64, 1, 4);
    assert_true(gen_cpu_space(&problem, NHA_PREFILL, gen_isa_find("avx2"), stop_at_third, &visits, &e));
    assert_int_equal(visits, 3);
}

static void test_model(void **state) {
    (void)state;
    gen_spec spec;
    err e = {0};
    if (!gen_spec_read("specs/llama3-8b.yaml", &spec, &e))
        fail_msg("%s", e.text);
    static const char *const names[] = {"baseline", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (nha_op op = NHA_PREFILL; op <= NHA_DECODE; op++) {
            int count = check_listing(&spec.problem, op, gen_isa_find(names[i]));
            print_message("%s, %s on %s: %d legal tiles\n", spec.problem.name, gen_op_name(op), names[i], count);
            if (op == NHA_PREFILL && (strcmp(names[i], "avx2") == 0 || strcmp(names[i], "avx512") == 0))
                assert_true(count > 150);
        }
    gen_spec_destroy(&spec);
}

/* ---- space files ---- */

/* What is built in is what lies in templates/: a map of known knobs to lists of integers, each value used. */
static void test_files(void **state) {
    (void)state;
    static const char *const files[] = {"cpu_prefill.yaml", "cpu_decode.yaml"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const gen_embedded *entry = gen_embedded_files;
        while (entry->name && strcmp(entry->name, files[i]))
            entry++;
        assert_non_null(entry->name);
        char path[64];
        char *text;
        size_t size;
        err e = {0};
        snprintf(path, sizeof path, "templates/%s", files[i]);
        if (!base_file_read(path, 1 << 20, &text, &size, "test", &e))
            fail_msg("%s", e.text);
        assert_int_equal(size, entry->size);
        assert_memory_equal(text, entry->text, size);
        base_arena arena = {0};
        const gen_yaml *root;
        assert_true(gen_yaml_parse(files[i], text, size, "a map of knobs", &arena, &root, &e));
        assert_int_equal(root->kind, GEN_YAML_MAP);
        int knobs = 0;
        for (const gen_yaml *row = root->first; row; row = row->next, knobs++) {
            int knob = 0;
            while (knob < GEN_CPU_KNOB_COUNT && strcmp(gen_knob_name(knob), row->key->text))
                knob++;
            assert_in_range(knob, 0, GEN_CPU_KNOB_COUNT - 1);
            assert_int_equal(row->kind, GEN_YAML_LIST);
            assert_true(row->count >= 1);
        }
        assert_true(knobs >= 5);
        base_arena_free(&arena);
        free(text);
    }
    assert_string_equal(gen_knob_name(-1), "?");
    assert_string_equal(gen_knob_name(GEN_CPU_KNOB_COUNT), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_constraints),   cmocka_unit_test(test_reasons_known),
                                       cmocka_unit_test(test_defaults),      cmocka_unit_test(test_enumeration),
                                       cmocka_unit_test(test_stop),          cmocka_unit_test(test_model),
                                       cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
