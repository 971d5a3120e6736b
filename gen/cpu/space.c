/* space.c: the search space of CPU kernels: values from the embedded space files, constraints as a table with reasons, defaults. */
#include <string.h>

#include "base/nearest.h"
#include "gen/cpu/knobs.h"
#include "gen/space_file.h"

static const char *const knob_names[] = {
#define KNOB_NAME_(name, text, letter) text,
    GEN_CPU_KNOB_LIST(KNOB_NAME_)
#undef KNOB_NAME_
};

static const char *const knob_letters[] = {
#define KNOB_LETTER_(name, text, letter) letter,
    GEN_CPU_KNOB_LIST(KNOB_LETTER_)
#undef KNOB_LETTER_
};

const char *gen_knob_name(int knob) {
    return knob >= 0 && knob < GEN_CPU_KNOB_COUNT ? knob_names[knob] : "?";
}

int gen_tile_string(const gen_isa *isa, nha_op op, const gen_tile *tile, char *out, size_t size) {
    int length = snprintf(out, size, "%s", isa->name);
    (void)op;
    for (int i = 0; i < GEN_CPU_KNOB_COUNT; i++) {
        if (tile->knob[i] == 0 && i != GEN_PREFETCH)
            continue; /* not a knob of this op */
        if (i == GEN_PREFETCH && op != NHA_DECODE)
            continue;
        size_t used = (size_t)length < size ? (size_t)length : size;
        length += snprintf(out ? out + used : NULL, size - used, ".%s%d", knob_letters[i], tile->knob[i]);
    }
    return length;
}

/* ---- AMX or vectors ---- */

enum { AMX_STEP = 32 }; /* bf16 in a row of a tile */
enum { AMX_F32_DIM = 64 }; /* below it an f32 product in six is slower on tiles than on AVX-512: 0.7x to 0.9x at 16 and 32, 1.0x to 1.6x from here on */

bool gen_cpu_on_amx(const gen_problem *problem, const gen_isa *isa) {
    const nha_problem *p = &problem->nha;
    return isa->amx && (p->dtype != NHA_F32 || (p->head_dim_qk >= AMX_F32_DIM && p->head_dim_v >= AMX_F32_DIM));
}

const gen_isa *gen_cpu_serves(const gen_problem *problem, nha_op op, const gen_isa *isa) {
    return isa->amx && (op != NHA_PREFILL || !gen_cpu_on_amx(problem, isa)) ? gen_isa_find("avx512") : isa;
}

int gen_cpu_turn_apart(int heads_kv, int period) {
    return period / heads_kv > 1 ? period / heads_kv : 1;
}

/* ---- constraints ---- */

typedef struct question {
    const gen_problem *problem;
    const gen_isa *isa;
    const int32_t *knob;
    bool amx;
    int rows;       /* BLOCK_TOKENS * G; on AMX those of a chunk */
    int64_t panels; /* the window's, from a block's point of view */
} question;

static int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

/* Registers of a product block: accumulators, a row of B, one broadcast; one more stays free, without which LLVM spills. Three more
 * are on their way where there is no FMA, as products overwrite an operand, and with one vector a row, as each FMA is the last use of
 * its broadcast and takes over that register. */
static bool fits(const question *q, int rows, int vectors) {
    return rows * vectors + vectors + (q->isa->fma && vectors > 1 ? 1 : 4) < q->isa->registers;
}

static bool block_vectors(const question *q) {
    return q->knob[GEN_BLOCK_TOKENS] % q->isa->vector == 0;
}

static bool score_registers(const question *q) {
    return fits(q, q->knob[GEN_SCORE_ROWS], q->knob[GEN_SCORE_VECTORS]);
}

static bool read_registers(const question *q) {
    return fits(q, q->knob[GEN_READ_ROWS], q->knob[GEN_READ_VECTORS]);
}

/* Two FMA units, four cycles each: fewer than eight independent accumulators leave them idle. */
static bool score_latency(const question *q) {
    return q->knob[GEN_SCORE_ROWS] * q->knob[GEN_SCORE_VECTORS] >= 8;
}

static bool read_latency(const question *q) {
    return q->knob[GEN_READ_ROWS] * q->knob[GEN_READ_VECTORS] >= 8;
}

static bool score_rows(const question *q) {
    return q->knob[GEN_SCORE_ROWS] <= q->rows;
}

static bool read_rows(const question *q) {
    return q->knob[GEN_READ_ROWS] <= q->rows;
}

static bool read_vectors(const question *q) {
    return q->knob[GEN_READ_VECTORS] <= ceil_div(q->problem->nha.head_dim_v, q->isa->vector);
}

/* More than the window spans is the same kernel as just enough; the smallest value that covers it stays. */
static bool panels_useful(const question *q) {
    static const int smaller[] = {1, 2, 3, 5, 9, 17, 33};
    int below = 0, panels = q->knob[GEN_KEY_PANELS];
    for (size_t i = 0; i < sizeof smaller / sizeof smaller[0] && smaller[i] < panels; i++)
        below = smaller[i];
    return below < (q->panels ? q->panels : 1);
}

/* Scores of a softmax step, [rows][panels * block] fp32, must stay in half of a 1 MiB second-level cache. */
static bool panels_cache(const question *q) {
    int64_t floats = (int64_t)q->rows * q->knob[GEN_KEY_PANELS] * q->knob[GEN_BLOCK_TOKENS];
    return q->knob[GEN_KEY_PANELS] == 1 || floats * 4 <= 512 << 10;
}

static bool block_cache(const question *q) {
    int smallest = q->isa->vector < 8 ? 8 : q->isa->vector;
    return q->knob[GEN_BLOCK_TOKENS] == smallest || (int64_t)q->rows * q->problem->nha.head_dim_qk * 4 <= 512 << 10;
}

static bool exp_precise(const question *q) {
    return q->knob[GEN_EXP_DEGREE] >= 5 || q->problem->nha.dtype != NHA_F32;
}

/* Query heads of a pass: HEADS of them, evened out. */
static int decode_heads(const question *q) {
    int group = q->problem->group, most = q->knob[GEN_HEADS] > 0 ? q->knob[GEN_HEADS] : 1;
    return ceil_div(group, ceil_div(group, most));
}

/* More than there are, or a number that evens out to that of a smaller value, is the same kernel. */
static bool decode_heads_differ(const question *q) {
    int group = q->problem->group, most = q->knob[GEN_HEADS];
    return most <= 1 || ceil_div(group, most) < ceil_div(group, most / 2);
}

/* Accumulators in half of the registers. The other operands of FMA come from the first-level cache as well as from registers; with
 * more accumulators LLVM spills some, which measured 3% to 12% slower, with fewer there are more passes. */
static bool decode_fits(const question *q, int vectors) {
    return vectors == 1 || decode_heads(q) * vectors <= q->isa->registers / 2;
}

/* A row of memory is there at once, with a key, a query and a product. */
static bool decode_score_fits(const question *q, int vectors) {
    return vectors == 1 || (decode_fits(q, vectors) && (decode_heads(q) + 1) * vectors + 3 <= q->isa->registers);
}

static bool decode_score_registers(const question *q) {
    return decode_score_fits(q, q->knob[GEN_SCORE_VECTORS]);
}

static bool decode_read_registers(const question *q) {
    return decode_fits(q, q->knob[GEN_READ_VECTORS]);
}

/* With a quarter of the vectors that there are, and that fit, there are four times the passes. */
static bool decode_wide(const question *q, int vectors, int there) {
    int fit = q->isa->registers / 2 / decode_heads(q);
    return 4 * vectors > (there < fit ? there : fit);
}

static bool decode_score_wide(const question *q) {
    return decode_wide(q, q->knob[GEN_SCORE_VECTORS], ceil_div(q->problem->nha.slots, q->isa->vector));
}

static bool decode_read_wide(const question *q) {
    return decode_wide(q, q->knob[GEN_READ_VECTORS], ceil_div(q->problem->nha.head_dim_v, q->isa->vector));
}

static bool decode_score_vectors(const question *q) {
    int vectors = ceil_div(q->problem->nha.slots, q->isa->vector);
    return q->knob[GEN_SCORE_VECTORS] <= (vectors ? vectors : 1);
}

static bool decode_slots(const question *q) {
    bool first = q->knob[GEN_SCORE_VECTORS] == 1 && q->knob[GEN_STATE_ROWS] == 1 && q->knob[GEN_DEFER] == 1;
    return q->problem->nha.slots > 0 || first;
}

/* ---- AMX ---- */

static bool amx_block(const question *q) {
    return q->knob[GEN_BLOCK_TOKENS] % AMX_STEP == 0;
}

static bool amx_block_cache(const question *q) {
    int block = q->knob[GEN_BLOCK_TOKENS];
    return block == AMX_STEP || (int64_t)block * q->problem->group * q->problem->nha.head_dim_qk * 4 <= 512 << 10;
}

enum constrained { VECTOR_PREFILL, AMX_PREFILL, ANY_DECODE };

static const struct constraint {
    enum constrained kind;
    const char *name;
    bool (*holds)(const question *q);
    const char *reason;
} constraints[] = {
    {VECTOR_PREFILL, "block_vectors", block_vectors, "BLOCK_TOKENS is not a multiple of the vector length"},
    {VECTOR_PREFILL, "score_registers", score_registers, "SCORE_ROWS x SCORE_VECTORS needs more registers than the ISA has"},
    {VECTOR_PREFILL, "read_registers", read_registers, "READ_ROWS x READ_VECTORS needs more registers than the ISA has"},
    {VECTOR_PREFILL, "score_latency", score_latency, "SCORE_ROWS x SCORE_VECTORS has too few chains to hide the latency of FMA"},
    {VECTOR_PREFILL, "read_latency", read_latency, "READ_ROWS x READ_VECTORS has too few chains to hide the latency of FMA"},
    {VECTOR_PREFILL, "score_rows", score_rows, "SCORE_ROWS exceeds the rows of a block"},
    {VECTOR_PREFILL, "read_rows", read_rows, "READ_ROWS exceeds the rows of a block"},
    {VECTOR_PREFILL, "read_vectors", read_vectors, "READ_VECTORS exceeds the vectors of V"},
    {VECTOR_PREFILL, "panels_useful", panels_useful, "KEY_PANELS spans more than the window"},
    {VECTOR_PREFILL, "panels_cache", panels_cache, "the scores of KEY_PANELS would not fit into the second-level cache"},
    {VECTOR_PREFILL, "block_cache", block_cache, "the queries of BLOCK_TOKENS would not fit into the second-level cache"},
    {VECTOR_PREFILL, "exp_precise", exp_precise, "EXP_DEGREE is too coarse for f32"},
    {AMX_PREFILL, "exp_precise", exp_precise, "EXP_DEGREE is too coarse for f32"},
    {AMX_PREFILL, "block_tiles", amx_block, "BLOCK_TOKENS is not a multiple of the 32 tokens that a tile's row holds"},
    {AMX_PREFILL, "panels_useful", panels_useful, "KEY_PANELS spans more than the window"},
    {AMX_PREFILL, "panels_cache", panels_cache, "the scores of KEY_PANELS would not fit into the second-level cache"},
    {AMX_PREFILL, "block_cache", amx_block_cache, "the queries of BLOCK_TOKENS would not fit into the second-level cache"},
    {ANY_DECODE, "score_registers", decode_score_registers, "HEADS x SCORE_VECTORS accumulators and a row leave too few registers"},
    {ANY_DECODE, "read_registers", decode_read_registers, "HEADS x READ_VECTORS accumulators fill more than half of the registers"},
    {ANY_DECODE, "score_vectors", decode_score_vectors, "SCORE_VECTORS exceeds the vectors of M"},
    {ANY_DECODE, "read_vectors", read_vectors, "READ_VECTORS exceeds the vectors of V"},
    {ANY_DECODE, "score_wide", decode_score_wide, "SCORE_VECTORS is a quarter of what fits"},
    {ANY_DECODE, "read_wide", decode_read_wide, "READ_VECTORS is a quarter of what fits"},
    {ANY_DECODE, "heads_differ", decode_heads_differ, "HEADS passes as many times as a smaller value"},
    {ANY_DECODE, "slots", decode_slots, "without slots the knobs of the memory change nothing"},
    {ANY_DECODE, "exp_precise", exp_precise, "EXP_DEGREE is too coarse for f32"},
};

const char *gen_cpu_reject(const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile) {
    question q = {.problem = problem, .isa = isa, .knob = tile->knob};
    int block = op == NHA_PREFILL && tile->knob[GEN_BLOCK_TOKENS] > 0 ? tile->knob[GEN_BLOCK_TOKENS] : 1;
    q.amx = op == NHA_PREFILL && gen_cpu_on_amx(problem, isa);
    q.rows = (q.amx ? AMX_STEP / 2 : block) * problem->group;
    enum constrained kind = op == NHA_DECODE ? ANY_DECODE : q.amx ? AMX_PREFILL : VECTOR_PREFILL;
    q.panels = problem->nha.window ? (problem->nha.window - 1 + block - 1) / block + 1 : 0;
    for (size_t i = 0; i < sizeof constraints / sizeof constraints[0]; i++)
        if (constraints[i].kind == kind && !constraints[i].holds(&q))
            return constraints[i].reason;
    return NULL;
}

/* ---- defaults: legal for every problem ---- */

static int largest_legal(const gen_problem *problem, nha_op op, const gen_isa *isa, gen_tile *tile, int knob,
                         const int *values, int count) {
    for (int i = 0; i < count; i++) {
        tile->knob[knob] = values[i];
        if (!gen_cpu_reject(problem, op, isa, tile))
            return values[i];
    }
    return values[count - 1];
}

/* The widest block of so many floats a row that fits. */
static int decode_vectors(const question *q, int floats, bool (*fits)(const question *, int)) {
    int there = ceil_div(floats, q->isa->vector), vectors = 8;
    while (vectors > 1 && (vectors > there || !fits(q, vectors)))
        vectors /= 2;
    return vectors;
}

void gen_tile_default(const gen_problem *problem, nha_op op, const gen_isa *isa, gen_tile *tile) {
    memset(tile, 0, sizeof *tile);
    int32_t *knob = tile->knob;
    knob[GEN_EXP_DEGREE] = 6;
    if (op == NHA_PREFILL && gen_cpu_on_amx(problem, isa)) {
        static const int panels[] = {17, 9, 5, 3, 2, 1};
        knob[GEN_BLOCK_TOKENS] = AMX_STEP;
        knob[GEN_KEY_PANELS] = 1;
        knob[GEN_EXP_DEGREE] = problem->nha.dtype == NHA_F32 ? 6 : 4;
        largest_legal(problem, op, isa, tile, GEN_KEY_PANELS, panels, 6);
        return;
    }
    if (op == NHA_DECODE) {
        const question q = {.problem = problem, .isa = isa, .knob = knob};
        knob[GEN_STATE_ROWS] = knob[GEN_DEFER] = 1;
        knob[GEN_HEADS] = isa->registers >= 32 ? 4 : 2;
        while (!decode_heads_differ(&q))
            knob[GEN_HEADS] /= 2;
        knob[GEN_SCORE_VECTORS] = decode_vectors(&q, problem->nha.slots, decode_score_fits);
        knob[GEN_READ_VECTORS] = decode_vectors(&q, problem->nha.head_dim_v, decode_fits);
        knob[GEN_PREFETCH] = 8192;
        knob[GEN_PASS_ROWS] = 16;
        knob[GEN_EXP_DEGREE] = 5;
        return;
    }
    static const int panels[] = {17, 9, 5, 3, 2, 1}, wide[] = {3, 2, 1}, blocks[] = {16, 8};
    knob[GEN_BLOCK_TOKENS] = 16;
    knob[GEN_KEY_PANELS] = 1;
    knob[GEN_UNROLL] = 4;
    knob[GEN_SCORE_ROWS] = knob[GEN_READ_ROWS] = isa->registers >= 32 ? 8 : isa->fma ? 6 : 4;
    knob[GEN_SCORE_VECTORS] = isa->registers >= 32 ? 3 : 2;
    knob[GEN_READ_VECTORS] = knob[GEN_SCORE_VECTORS];
    knob[GEN_READ_VECTORS] = largest_legal(problem, op, isa, tile, GEN_READ_VECTORS, wide, 3);
    if (knob[GEN_READ_VECTORS] == 1) /* V is one vector: rows alone must hide the latency of FMA */
        knob[GEN_READ_ROWS] = 8;
    knob[GEN_BLOCK_TOKENS] = largest_legal(problem, op, isa, tile, GEN_BLOCK_TOKENS, blocks, 2);
    knob[GEN_KEY_PANELS] = largest_legal(problem, op, isa, tile, GEN_KEY_PANELS, panels, 6);
}

/* ---- enumeration ---- */

typedef struct space {
    int count[GEN_CPU_KNOB_COUNT];
    int32_t value[GEN_CPU_KNOB_COUNT][GEN_SPACE_VALUES_MAX];
} space;

static bool take_knob(const char *file, const gen_space_knob *from, space *s, err *e) {
    int knob = -1;
    for (int i = 0; i < GEN_CPU_KNOB_COUNT; i++)
        if (strcmp(from->name, knob_names[i]) == 0)
            knob = i;
    if (knob < 0)
        return err_at(e, ERR_INPUT, "space", file, from->line, from->column, "unknown knob \"%s\"; nearest: %s", from->name,
                      base_nearest(from->name, knob_names, GEN_CPU_KNOB_COUNT));
    s->count[knob] = from->count;
    memcpy(s->value[knob], from->value, sizeof from->value);
    return true;
}

static bool read_space(nha_op op, bool amx, space *s, err *e) {
    const char *file = op == NHA_DECODE ? "cpu_decode.yaml" : amx ? "cpu_prefill_amx.yaml" : "cpu_prefill.yaml";
    base_arena arena = {0};
    gen_space_file knobs;
    bool ok = gen_space_read(gen_embedded_files, file, &arena, &knobs, e);
    memset(s, 0, sizeof *s);
    for (int i = 0; i < GEN_CPU_KNOB_COUNT; i++)
        s->count[i] = 1; /* unused knobs: the one value 0 */
    for (int i = 0; ok && i < knobs.count; i++)
        ok = take_knob(file, &knobs.knob[i], s, e);
    base_arena_free(&arena);
    return ok;
}

bool gen_cpu_space(const gen_problem *problem, nha_op op, const gen_isa *isa, gen_space_visit visit, void *context, err *e) {
    space s;
    if (!read_space(op, gen_cpu_on_amx(problem, isa), &s, e))
        return false;
    int at[GEN_CPU_KNOB_COUNT] = {0};
    for (;;) {
        gen_tile tile;
        for (int i = 0; i < GEN_CPU_KNOB_COUNT; i++)
            tile.knob[i] = s.value[i][at[i]];
        if (!visit(context, &tile, gen_cpu_reject(problem, op, isa, &tile)))
            return true;
        int i = GEN_CPU_KNOB_COUNT - 1; /* odometer, last knob fastest */
        while (i >= 0 && ++at[i] == s.count[i])
            at[i--] = 0;
        if (i < 0)
            return true;
    }
}
