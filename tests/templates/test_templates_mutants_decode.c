/* test_templates_mutants_decode.c: ways to break the decode template, each of which must be noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/templates/help_mutants.h"

#define DECODE "decode.cu"

static const help_mutant mutants[] = {
    {"mask: columns past the newest token", DECODE, "j <= 0 ? sum * SCORE_FACTOR", "j <= 1 ? sum * SCORE_FACTOR"},
    {"mask: slots that do not exist", DECODE, "m < SLOTS ? sum * SCORE_FACTOR", "m <= SLOTS ? sum * SCORE_FACTOR"},
    {"mask: a window one token too long", DECODE, "i64 reach = WINDOW - 1 < at.task.available ? WINDOW - 1",
     "i64 reach = WINDOW < at.task.available ? WINDOW"},
    {"decay: the first token is absorbed a step late", DECODE, "SLOT_LAG <= at.task.available",
     "SLOT_LAG < at.task.available"},
    {"decay: absorbed again for every part of the group", DECODE, " && at.first_head == 0;", ";"},
    {"barrier: weights are read before they are there", DECODE,
     "            __syncthreads();\n            read_slots(args, at, first, o);",
     "            read_slots(args, at, first, o);"},
    {"barrier: the next tile's scores over this one's weights", DECODE,
     "            read_window(args, at, first, o);\n            __syncthreads();",
     "            read_window(args, at, first, o);"},
    {"index: the heads of the first part for every part", DECODE, "query_at(at.task, tensor, 0, at.first_head + head)",
     "query_at(at.task, tensor, 0, head)"},
    {"index: the position stays", DECODE, "task.position + 1;", "task.position;"},
    {"softmax: earlier tiles are not rescaled", DECODE,
     "            float factor = power_of_two(states[head].maximum - top);", "            float factor = 1.0f;"},
    {"sum: a lane's part of a score is missing", DECODE,
     "float sum = sum_over(score[head], KEY_LANES);\n            if (at.key_part == 0)\n                "
     "shared_floats(WEIGHT_AT)[head * TILE_COLUMNS + row] = j",
     "float sum = sum_over(score[head], KEY_LANES / 2);\n            if (at.key_part == 0)\n                "
     "shared_floats(WEIGHT_AT)[head * TILE_COLUMNS + row] = j"},
};

static void test_mutants(void **state) {
    (void)state;
    gen_problem problem = {.group = 10}; /* more than are taken at a time */
    nha_problem *p = &problem.nha;
    strcpy(problem.name, "mutant");
    *p = (nha_problem){
        .name = problem.name, .head_dim_qk = 40, .head_dim_v = 24, .heads_q = 20, .heads_kv = 2, .slots = 70};
    p->window = 90;
    p->slot_lag = 5;
    p->dtype = NHA_F16;
    p->gate_dtype = NHA_F16;
    p->gate_input = NHA_GATE_LOGIT;
    p->gate_normalizer = 2;
    p->rope = NHA_ROPE_GPTJ;
    p->scale = 0.3;
    for (int i = 0; i < p->head_dim_qk / 2; i++)
        problem.inv_freq[i] = 1.0 / (i + 1);
    gen_problem_derive(&problem);
    help_mutants_run(NHA_DECODE, &problem, mutants, sizeof mutants / sizeof *mutants);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
