/* test_panels.c: prefill where panels of the window serve the memory, too, and where tiles work beside the softmax: lags and windows on
 * both sides of each condition, maps and rotations that make keys of the two differ, gates that reset, ends of sequences, caches, cuts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/gen/help_edge.h"
#include "tests/gen/help_gen.h"

typedef struct row {
    const char *name;
    int dtype, group, dim_v;
    int64_t window, lag, tokens, pos; /* pos: tokens in a cache before; 0: none */
    int rope, slot_map, value_map, gates;
} row;

static void run(const row *r) {
    help_edge edge = {.name = r->name, .spec = {.seed = 11, .sequences = 1, .length = {r->tokens}, .gates = r->gates}};
    help_gen_problem(&edge.problem, 32, 20, r->window, 1, r->group);
    edge.problem.nha.head_dim_v = r->dim_v;
    edge.problem.nha.slot_lag = r->lag;
    edge.problem.nha.dtype = edge.problem.nha.gate_dtype = r->dtype;
    edge.problem.nha.rope = r->rope;
    edge.problem.nha.slot_map = r->slot_map;
    edge.problem.nha.value_map = r->value_map;
    edge.spec.cached = r->pos > 0;
    edge.spec.pos[0] = r->pos;
    help_gen_ready(&edge.problem);
    help_edge_run(&edge, true);
}

#define RUN(...)                                                                                                       \
    do {                                                                                                               \
        const row r = {__VA_ARGS__};                                                                                   \
        run(&r);                                                                                                       \
    } while (0)
enum { ID = NHA_MAP_IDENTITY, SILU = NHA_MAP_SILU, NEOX = NHA_ROPE_NEOX, NONE = NHA_ROPE_NONE, GIVEN = NHA_ROPE_GIVEN };

/* Blocks are 16 tokens on vectors and 32 on tiles by default: lags of 64 are whole blocks of both, and in the ring of W = 64 and 65. */
static void test_lags(void **state) {
    (void)state;
    RUN("L = W", NHA_BF16, 4, 32, 64, 64, 150, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L = W, whole blocks", NHA_F32, 4, 32, 64, 64, 160, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L < W", NHA_BF16, 4, 32, 80, 32, 150, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L just in the ring", NHA_F16, 4, 32, 65, 64, 150, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L just past the ring", NHA_BF16, 4, 32, 64, 96, 200, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L no whole block", NHA_BF16, 4, 32, 64, 40, 150, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("L = 0", NHA_BF16, 4, 32, 64, 0, 150, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
}

static void test_keys(void **state) {
    (void)state;
    RUN("keys of both alike", NHA_BF16, 4, 32, 64, 64, 150, 0, NONE, ID, ID, TUNE_GATES_ORDINARY);
    RUN("keys of both alike, three parts", NHA_F32, 4, 64, 64, 64, 150, 0, NONE, ID, ID, TUNE_GATES_ORDINARY);
    RUN("keys mapped for slots", NHA_BF16, 4, 32, 64, 64, 150, 0, NONE, SILU, ID, TUNE_GATES_ORDINARY);
    RUN("keys mapped and rotated", NHA_F16, 4, 32, 64, 64, 150, 0, NEOX, SILU, SILU, TUNE_GATES_ORDINARY);
    RUN("the window's keys given", NHA_BF16, 4, 32, 64, 64, 150, 0, GIVEN, ID, ID, TUNE_GATES_ORDINARY);
    RUN("values in more parts for the memory", NHA_F16, 4, 32, 64, 64, 150, 0, NEOX, ID, ID, TUNE_GATES_SLOW);
}

/* The panels of a cache are made from its rings. */
static void test_cached(void **state) {
    (void)state;
    RUN("from a full ring", NHA_BF16, 4, 32, 64, 64, 100, 200, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("from a ring half full", NHA_BF16, 4, 32, 64, 64, 100, 40, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("positions between blocks", NHA_F32, 4, 32, 64, 64, 97, 77, NEOX, SILU, ID, TUNE_GATES_ORDINARY);
}

static void test_groups(void **state) {
    (void)state;
    RUN("resets", NHA_BF16, 4, 32, 64, 64, 150, 0, NEOX, ID, ID, TUNE_GATES_RESETS);
    RUN("strong gates", NHA_F16, 4, 64, 64, 64, 150, 0, NEOX, ID, ID, TUNE_GATES_STRONG);
    RUN("eight heads", NHA_BF16, 8, 64, 64, 64, 130, 0, NEOX, ID, ID, TUNE_GATES_MIXED);
    RUN("twelve heads: chunks of 16", NHA_BF16, 12, 32, 64, 64, 100, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("two heads", NHA_BF16, 2, 32, 64, 64, 130, 0, NEOX, ID, ID, TUNE_GATES_RESETS);
    RUN("V = 48: no pairs of tiles", NHA_BF16, 4, 48, 64, 64, 130, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("V = 256: more blocks than turns", NHA_BF16, 4, 256, 64, 64, 130, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("W = 200: more tiles than turns", NHA_BF16, 4, 32, 200, 64, 330, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("one token", NHA_BF16, 4, 32, 64, 64, 1, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
    RUN("a token past a group", NHA_BF16, 4, 32, 64, 64, 17, 0, NEOX, ID, ID, TUNE_GATES_ORDINARY);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lags), cmocka_unit_test(test_keys), cmocka_unit_test(test_cached),
                                       cmocka_unit_test(test_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
