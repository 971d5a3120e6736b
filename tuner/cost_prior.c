/* cost_prior.c: see cost_prior.h. Cycles of one core for a block of prefill tokens, or for a decode step of one head.
 * The rates are those of the CPUs measured in docs/cpu-kernels.md; only their proportions matter here. */
#include "tuner/cost_prior.h"

#include <math.h>
#include <string.h>

#include "gen/cpu/split.h"

/* Knobs by their spelling, so that this file need not know which there are: 0 where a tile has none of that name. */
typedef struct wanted {
    const char *name;
    int32_t value;
} wanted;

static void take(void *context, const char *knob, int32_t value) {
    wanted *w = context;
    if (strcmp(knob, w->name) == 0)
        w->value = value;
}

static double knob(const tune_tile *tile, const char *name) {
    wanted w = {name, 0};
    tune_tile_visit(tile, take, &w);
    return w.value;
}

static double most(double a, double b) {
    return a > b ? a : b;
}

static double steps(double of, double size) {
    return ceil(of / size);
}

/* Multiply-adds of vectors a cycle, of two that the ports could start: a block of rows x vectors accumulators does
 * rows * vectors of them on vectors loads and rows broadcasts (two loads a cycle), and needs eight chains to cover the
 * latency of four cycles. */
static double fma_rate(double rows, double vectors) {
    double products = rows * vectors;
    return products / most(products / 2, most((rows + vectors) / 2, 4));
}

/* Cycles of an [m,k] x [k,n] product: edges of the blocks are done as whole blocks. */
static double product(double m, double n, double k, double lanes, double rows, double vectors) {
    double row_steps = steps(m, rows), column_steps = steps(steps(n, lanes), vectors);
    double fmas = row_steps * rows * column_steps * vectors * k;
    return fmas / fma_rate(rows, vectors) + row_steps * column_steps * (rows * vectors + 8);
}

/* Multiply-adds of a row of a block on tiles, of which 512 are done a cycle and half of that is reached: scores and
 * reads of the slots and of `columns` of the window, padded to blocks of 32, each as often as parts of its operands meet. */
static double tile_products(const nha_problem *p, double columns) {
    const gen_cpu_parts parts = gen_cpu_parts_of(p);
    double slots = steps(p->slots, 32) * 32, window = steps(columns, 32) * 32, k = p->head_dim_qk, v = p->head_dim_v;
    return slots * k * gen_cpu_part_products(parts.mapped, parts.score) +
           slots * v * gen_cpu_part_products(parts.read, parts.read) +
           window * k * gen_cpu_part_products(parts.rotated, parts.rotated) +
           window * v * gen_cpu_part_products(parts.read, parts.values);
}

static double prefill(const gen_problem *problem, const gen_isa *isa, const tune_tile *tile) {
    const nha_problem *p = &problem->nha;
    bool amx = gen_cpu_on_amx(problem, isa);
    double block = most(1, knob(tile, "BLOCK_TOKENS")), lanes = isa->vector, rows = block * problem->group;
    double k = p->head_dim_qk, v = p->head_dim_v, m = p->slots;
    double panels = p->window ? steps((double)p->window - 1, block) + 1 : 0;
    double seen = panels * block + m; /* columns of scores, masked ones too */
    double cycles = 0;
    if (amx) {
        cycles += steps(rows, 32) * 32 * tile_products(p, panels * block) / 256 + 400;
        if (rows * seen * 4 > (1 << 15)) /* the scores leave the first-level cache */
            cycles += rows * seen * 4 / 40;
    } else {
        double u = most(1, knob(tile, "UNROLL"));
        cycles += product(rows, seen, k, lanes, knob(tile, "SCORE_ROWS"), knob(tile, "SCORE_VECTORS")) * (1 + 0.06 / u);
        cycles += product(rows, v, seen, lanes, knob(tile, "READ_ROWS"), knob(tile, "READ_VECTORS")) * (1 + 0.06 / u);
    }
    /* exponentials: a polynomial and about eight more instructions; each softmax step rescales the sums */
    double softmax = most(1, steps(panels, most(1, knob(tile, "KEY_PANELS"))));
    cycles += rows * seen / lanes * (knob(tile, "EXP_DEGREE") + 8) / 2;
    cycles += softmax * rows * (v / lanes + 12);
    /* memory of the head: read and written once a block, [M,K] and [M,V] fp32 from the second-level cache, and one
     * multiply-add an element and token */
    cycles += m * (k + v) * 4 * 2 / 48 + block * m * (k + v) / lanes / 2;
    return cycles / block;
}

/* What a byte costs that is written where it was just read, next to one that is read: one and two cores of a Sapphire Rapids read 15.5 and 35
 * GB/s and update in place 29 and 61, written bytes counted. Where cores together use up the bandwidth it is nearer 1; measurements say so. */
static const double WRITTEN = 0.15;

static double decode(const gen_problem *problem, const gen_isa *isa, const tune_tile *tile) {
    const nha_problem *p = &problem->nha;
    double lanes = isa->vector, heads = problem->group, k = p->head_dim_qk, v = p->head_dim_v, m = p->slots;
    double score_vectors = most(1, knob(tile, "SCORE_VECTORS")), read_vectors = most(1, knob(tile, "READ_VECTORS"));
    /* both halves of the memory, streamed: each row of each pass costs its loads, products and a loop's overhead */
    double score_passes = steps(steps(most(m, 1), lanes), score_vectors),
           read_passes = steps(steps(v, lanes), read_vectors);
    double rows = most(1, knob(tile, "STATE_ROWS"));
    double passes = steps(heads, most(1, knob(tile, "HEADS"))), each = heads / passes;
    double score = passes * score_passes * k * (score_vectors * (3 + each) / 2 + each / 2 + 2 / rows);
    double read = passes * read_passes * m * (read_vectors * (3 + each) / 2 + each / 2 + 2 / rows);
    /* deferred: the memory is written in one step of so many; of the tokens that wait half are read, one is written */
    double period = most(1, knob(tile, "DEFER")), waiting = (k + v + 2 * m) * 4;
    double memory = m * (k + v) * gen_dtype_bytes(p->state_dtype), written = WRITTEN * memory / period;
    if (period > 1)
        written += ((period - 1) / 2 + 1 + WRITTEN) * waiting;
    double bytes = memory + written, window = (double)p->window * (k + v) * gen_dtype_bytes(p->dtype);
    double exponentials = heads * (m + (double)p->window) / lanes * (knob(tile, "EXP_DEGREE") + 8) / 2;
    /* rows in parts are streams with gaps, unless all parts are read of a few rows before the next */
    double pass_rows = knob(tile, "PASS_ROWS"), whole = pass_rows <= 0 || pass_rows > 64;
    double gaps = 1 + whole * (0.02 * (score_passes > 1) + 0.02 * (read_passes > 1));
    /* without prefetch the stream waits at each page; far too early is evicted again */
    double ahead = knob(tile, "PREFETCH"), stalls = ahead <= 0 ? 1.15 : 1 + 0.02 * fabs(log2(ahead / 4096));
    return most((bytes * stalls * gaps + window) / 5, score + read) + 0.3 * (score + read) + exponentials;
}

double tune_cost_prior(const gen_problem *problem, nha_op op, const tune_arch *arch, const tune_tile *tile) {
    if (arch->cuda)
        return 0;
    double cycles = op == NHA_PREFILL ? prefill(problem, arch->isa, tile) : decode(problem, arch->isa, tile);
    return log(most(cycles, 1));
}
