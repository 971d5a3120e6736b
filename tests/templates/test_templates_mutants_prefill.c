/* test_templates_mutants_prefill.c: ways to break the prefill template and its parts, each of which must be noticed:
 * products by the matrix unit on a bf16 problem, products by FMAs on one in f32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/templates/help_mutants.h"

#define PREFILL "prefill_generic.cu"
#define MMA     "product_mma.cuh"
#define FMA     "product_fma.cuh"
#define TASK    "task.cuh"
#define ROPE    "rope.cuh"

static const help_mutant mma_mutants[] = {
    {"mask: a window one token too long", PREFILL, "j > t - WINDOW ?", "j >= t - WINDOW ?"},
    {"mask: the token after this one", PREFILL, "j <= t && j", "j <= t + 1 && j"},
    {"mask: masked scores are 0", PREFILL, "j > t - WINDOW ? s.x[i][c] * SCORE_FACTOR : -infinity()",
     "j > t - WINDOW ? s.x[i][c] * SCORE_FACTOR : 0.0f"},
    {"mask: a slot that does not exist", PREFILL, "first + lane_column(c) < SLOTS ?",
     "first + lane_column(c) <= SLOTS ?"},
    {"mask: the newest key is missing", PREFILL, "bool exists = first + row <= newest;\n        u64 key",
     "bool exists = first + row < newest;\n        u64 key"},
    {"mask: a row past the sequence's end", PREFILL, "+ row) / GROUP < at.task.length;",
     "+ row) / GROUP <= at.task.length;"},
    {"decay: scores of the memory as it was before the chunk", MMA,
     "s.x[i][c] *= ((const float *)(shared + REMAIN_AT))[token[i] * COLUMNS + lane_column(c)];", "s.x[i][c] *= 1.0f;"},
    {"decay: values of the memory as they were before the chunk", PREFILL,
     "s.x[i][c] *= ((const float *)(shared + REMAIN_AT))[at.token[i] * COLUMNS + lane_column(c)];",
     "s.x[i][c] *= 1.0f;"},
    {"decay: a token is decayed by its own gate", PREFILL,
     "((const float *)(shared + GIVE_AT))[j * COLUMNS + column] : weight",
     "((const float *)(shared + GIVE_AT))[j * COLUMNS + column] * factor[t * COLUMNS] : weight"},
    {"decay: of the memory, by the chunk's first gate alone", PREFILL, "sum += ((const float *)(shared + GATE_AT))[i];",
     "sum = ((const float *)(shared + GATE_AT))[i];"},
    {"decay: tokens are absorbed as if none came after them", PREFILL,
     "after *= ((const float *)(shared + FACTOR_AT))[i];", ""},
    {"lag: the token after the one to be absorbed", PREFILL,
     "u64 key = exists ? token_at(keys, at.chunk + row - SLOT_LAG)",
     "u64 key = exists ? token_at(keys, at.chunk + row - SLOT_LAG + 1)"},
    {"lag: the first token is never absorbed", PREFILL, "at.chunk + j - SLOT_LAG >= -at.task.available",
     "at.chunk + j - SLOT_LAG > -at.task.available"},
    {"lag: what a warp's last token absorbs is left out", PREFILL, "(at.warp_row + 1) * ROWS_PER_WARP - 1) / GROUP",
     "(at.warp_row + 1) * ROWS_PER_WARP - 1) / GROUP - 1"},
    {"wait: values are read while they are copied", PREFILL, "    wait_copies();\n", ""},
    {"barrier: the task is read before it is there", PREFILL, "    pad_queries();\n    __syncthreads();",
     "    pad_queries();"},
    {"barrier: keys of the window are read before they are there", PREFILL,
     "load_window_keys(args, at, first, newest);\n        __syncthreads();",
     "load_window_keys(args, at, first, newest);"},
    {"barrier: weights are read before they are there", PREFILL,
     "load_slot_values(at, first);\n#endif\n        __syncthreads();\n        scores s",
     "load_slot_values(at, first);\n#endif\n        scores s"},
    {"barrier: the next slots over these", PREFILL,
     "read_block<TERMS>(state.o, s, at.warp, at.warp_column);\n        __syncthreads();",
     "read_block<TERMS>(state.o, s, at.warp, at.warp_column);"},
    {"barrier: the memory is copied before the last chunk is in it", PREFILL,
     "__syncthreads(); // the last chunk has been absorbed", ""},
    {"softmax: outputs of earlier blocks are not rescaled", PREFILL, "state.o.x[i][c] *= shrink;", ";"},
    {"softmax: the sum of earlier blocks is not rescaled", PREFILL, "state.sum[i] *= shrink;", ""},
    {"softmax: coefficients of earlier blocks are not rescaled", MMA, "sum.x[i][j] *= factor;", ";"},
    {"lse: without the maximum", PREFILL, "LN_2 * (state.maximum[i] + log2f(sum))", "LN_2 * log2f(sum)"},
    {"scale: natural for powers of two", PREFILL, "j > t - WINDOW ? s.x[i][c] * SCORE_FACTOR",
     "j > t - WINDOW ? s.x[i][c] * SCALE"},
    {"rotation: the sign", ROPE, "x * cosine - y * sine", "x * cosine + y * sine"},
    {"rotation: keys at positions within the call", PREFILL, "load_window8(key, at.task.position + first + row, pair)",
     "load_window8(key, first + row, pair)"},
    {"index: the head of the tile's row", PREFILL, "(at.first_row + row) % GROUP)", "row % GROUP)"},
    {"index: the other column of a pair in the memory", PREFILL, "fmaf(weight[j], x[j].y, sum.y)",
     "fmaf(weight[j], x[j].x, sum.y)"},
    {"padding: of the first term alone", PREFILL, "row < COLUMNS * TERMS; row", "row < COLUMNS; row"},
    {"fragment: rows and columns of p change places", MMA, "a[term][c / 4][c / 2 % 2 * 2 + i]",
     "a[term][c / 4][c / 2 % 2 + 2 * i]"},
    {"fragment: neighbouring rows in one lane", MMA, "threadIdx.x % LANES / 4 + 8 * i",
     "threadIdx.x % LANES / 4 * 2 + i"},
    {"fragment: rows of keys in the order of queries", MMA,
     "(lane % 8 + lane / 16 * 8) * OPERAND_ROW_BYTES + lane / 8 % 2 * 16",
     "lane % 16 * OPERAND_ROW_BYTES + lane / 16 * 16"},
    {"sum: lanes keep what they should give", MMA, "(upper ? high : low)", "(upper ? low : high)"},
    {"ring: the tail goes where a new sequence's would", PREFILL, "(task.position + i) % cache.ring_tokens",
     "i % cache.ring_tokens"},
    {"ring: its beginning does not follow its end", TASK, "(entry < 0 ? entry + stream.tokens : entry)", "entry"},
    {"position: that of a new sequence", PREFILL, "task.position + task.length", "task.length"},
    {"varlen: all sequences begin at token 0", TASK, "task.first = bounds[0];", "task.first = 0;"},
};

static const help_mutant fma_mutants[] = {
    {"index: an element of the keys", FMA, "fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, s.x",
     "fmaf(a.w, b.w, fmaf(a.z, b.w, fmaf(a.y, b.y, fmaf(a.x, b.x, s.x"},
    {"index: columns of V behind V", FMA, "if (column < HEAD_DIM_V) {\n                const",
     "{\n                const"},
    {"index: the lower slots for both halves of a warp", FMA, "half = threadIdx.x % LANES / 16 * 16;", "half = 0;"},
    {"sum: one half of the slots", FMA, "sum.x[i] + __shfl_xor_sync(0xffffffffu, sum.x[i], 16)", "sum.x[i]"},
    {"softmax: coefficients of earlier blocks are not rescaled", FMA, "sum.x[i] *= factor;", ""},
    {"decay: steps after a row's token", FMA, "token[i] * WEIGHT_TOKEN + j * WEIGHT_STRIDE;\n                s.x",
     "(CHUNK - 1) * WEIGHT_TOKEN + j * WEIGHT_STRIDE;\n                s.x"},
    {"s: the gate's in place of the given", PREFILL,
     "s = load_gate(token_at(gives, at.chunk + j - SLOT_LAG) + m * GATE_BYTES);", "s = -expm1f(g);"},
};

static void finish(gen_problem *problem) {
    nha_problem *p = &problem->nha;
    strcpy(problem->name, "mutant");
    p->name = problem->name;
    problem->group = p->heads_q / p->heads_kv;
    for (int i = 0; i < p->head_dim_qk / 2; i++)
        problem->inv_freq[i] = 1.0 / (i + 1);
    gen_problem_derive(problem);
}

/* Several tiles of rows a chunk, two blocks of slots, K that the matrix unit must have padded, V copied
 * asynchronously. */
static void test_mutants_mma(void **state) {
    (void)state;
    gen_problem problem = {.nha = {.head_dim_qk = 24,
                                   .head_dim_v = 16,
                                   .heads_q = 10,
                                   .heads_kv = 2,
                                   .slots = 40,
                                   .window = 21,
                                   .slot_lag = 5,
                                   .dtype = NHA_BF16,
                                   .gate_dtype = NHA_BF16,
                                   .gate_input = NHA_GATE_LOGIT,
                                   .gate_normalizer = 2,
                                   .rope = NHA_ROPE_NEOX,
                                   .scale = 0.3}};
    finish(&problem);
    help_mutants_run(NHA_PREFILL, &problem, mma_mutants, sizeof mma_mutants / sizeof *mma_mutants);
}

static void test_mutants_fma(void **state) {
    (void)state;
    gen_problem problem = {.nha = {.head_dim_qk = 16,
                                   .head_dim_v = 24,
                                   .heads_q = 2,
                                   .heads_kv = 1,
                                   .slots = 34,
                                   .window = 9,
                                   .slot_lag = 9,
                                   .dtype = NHA_F32,
                                   .gate_dtype = NHA_F32,
                                   .gate_input = NHA_GATE_LOG,
                                   .gate_normalizer = 1,
                                   .gate_s_given = 1,
                                   .rope = NHA_ROPE_NONE,
                                   .scale = 0.3}};
    finish(&problem);
    help_mutants_run(NHA_PREFILL, &problem, fma_mutants, sizeof fma_mutants / sizeof *fma_mutants);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants_mma), cmocka_unit_test(test_mutants_fma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
