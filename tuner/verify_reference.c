/* verify_reference.c: the few cases that every candidate of a problem and op is held against, and doing so. See
 * verify.h. They are short, and placed where kernels go wrong: below and above W and L, about block boundaries, at the
 * end of a ring, at large positions, with empty sequences, with every kind of gate.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/verify_internal.h"

enum { CASES_MOST = 5, LARGE_BLOCK = 32 };

typedef struct reference_case {
    verify_truth truth;
    verify_effort effort;
    bool large_only; /* for kernels of more than LARGE_BLOCK tokens a block */
    bool small_only; /* for the others */
} reference_case;

struct tune_reference {
    int op, count;
    reference_case cases[CASES_MOST];
};

typedef struct reference_sizes {
    int64_t window, lag, base; /* W and L as far as they matter for short cases; the larger of them */
    int64_t full;              /* a ring that is as full as memory allows */
    bool wraps;                /* `full` is the whole ring, so positions may pass it */
} reference_sizes;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static reference_sizes sizes_of(const gen_problem *problem) {
    enum { FAR = 300 };
    const nha_problem *p = &problem->nha;
    int64_t row = (int64_t)p->heads_kv * (p->head_dim_qk + p->head_dim_v + p->slots);
    reference_sizes s = {.window = smaller(p->window, FAR), .lag = smaller(p->slot_lag, FAR)};
    s.base = p->slots ? larger(s.window, s.lag) : s.window;
    s.wraps = problem->ring <= ((int64_t)1 << 22) / row;
    s.full = s.wraps ? problem->ring : smaller(problem->ring, FAR);
    return s;
}

/* At most as many tokens as `flops` pay for, `least` at least. `context`: tokens before them. */
static int64_t cap(const gen_problem *problem, int64_t tokens, int64_t context, double flops, int64_t least) {
    const nha_problem *p = &problem->nha;
    double columns = p->slots + fmin((double)p->window, (double)(context + tokens));
    double token = (p->head_dim_qk + p->head_dim_v) * (2 * columns * p->heads_q + 4.0 * p->slots * p->heads_kv);
    return larger(smaller(tokens, (int64_t)(flops / token)), least);
}

static bool add(tune_reference *r, const gen_problem *problem, const tune_case_spec *spec, const verify_effort *effort,
                int threads, err *e) {
    reference_case *c = &r->cases[r->count];
    c->effort = *effort;
    if (!verify_truth_create(problem, spec, threads, &c->truth, e))
        return false;
    r->count++;
    return true;
}

static bool add_prefill(tune_reference *r, const gen_problem *p, uint64_t seed, int threads, err *e) {
    reference_sizes s = sizes_of(p);
    const double most = 5e8;

    /* One sequence from nothing: slots that hardly forget, whose input weights must not be 1 - exp(g) in low precision.
     */
    tune_case_spec one = {.seed = seed, .sequences = 1, .gates = TUNE_GATES_SLOW};
    one.length[0] = cap(p, s.base + 2 * LARGE_BLOCK + 5, 0, most, 40);
    if (!add(r, p, &one, &(verify_effort){.threads = 2, .layout = VERIFY_PADDED}, threads, e))
        return false;

    /* Several lengths with initial memories, every gate its own regime; alone, and divided. */
    tune_case_spec packed = {
        .seed = seed + 1, .sequences = 5, .packed = true, .memory = true, .gates = TUNE_GATES_MIXED};
    packed.length[0] = cap(p, s.base + 9, 0, most / 2, 24);
    packed.length[2] = 1;
    packed.length[3] = 35;
    packed.length[4] = cap(p, s.base / 2 + 3, 0, most / 4, 5);
    if (!add(r, p, &packed, &(verify_effort){.threads = 1, .company = 2, .divided = true, .layout = VERIFY_HEAD_MAJOR},
             threads, e))
        return false;

    /* From caches: one whose ring fills up meanwhile, one far along. */
    tune_case_spec cached = {.seed = seed + 2, .sequences = 2, .cached = true, .gates = TUNE_GATES_STRONG};
    cached.pos[0] = larger(s.full - 3, 0);
    cached.pos[1] = s.wraps ? s.full + 70001 : s.full;
    cached.length[0] = cached.length[1] = cap(p, 21, s.full, most / 2, 3);
    if (!add(r, p, &cached,
             &(verify_effort){.threads = 1, .company = 2, .divided = true, .cuts = true, .layout = VERIFY_PADDED},
             threads, e))
        return false;

    /* More blocks of the larger sizes. */
    tune_case_spec blocks = {.seed = seed + 3, .sequences = 1, .gates = TUNE_GATES_RESETS};
    blocks.length[0] = cap(p, s.base + 2 * 128 + 37, 0, 2 * most, 2 * 128 + 37);
    if (!add(r, p, &blocks, &(verify_effort){.threads = 1, .divided = true, .layout = VERIFY_PADDED}, threads, e))
        return false;
    r->cases[r->count - 1].large_only = true;

    blocks.length[0] = cap(p, 2 * LARGE_BLOCK + 19, 0, most, LARGE_BLOCK + 19);
    if (!add(r, p, &blocks, &(verify_effort){.threads = 1, .divided = true, .layout = VERIFY_PADDED}, threads, e))
        return false;
    r->cases[r->count - 1].small_only = true;
    return true;
}

static bool add_decode(tune_reference *r, const gen_problem *p, uint64_t seed, int threads, err *e) {
    reference_sizes s = sizes_of(p);
    const double most = 3e8;

    /* From nothing until tokens leave the window and enter the slots. */
    tune_case_spec first = {.seed = seed, .sequences = 2, .gates = TUNE_GATES_ORDINARY};
    first.length[0] = first.length[1] = cap(p, smaller(s.base, 90) + 6, 0, most / 2, 12);
    if (!add(r, p, &first, &(verify_effort){.threads = 1, .layout = VERIFY_PADDED}, threads, e))
        return false;

    /* At every kind of position, in company; every gate its own regime. */
    tune_case_spec cached = {.seed = seed + 1, .sequences = 5, .cached = true, .gates = TUNE_GATES_MIXED};
    cached.pos[1] = 1;
    cached.pos[2] = larger(s.full - 2, 0);
    cached.pos[3] = s.full / 2;
    cached.pos[4] = s.wraps ? s.full + 70001 : s.full;
    for (int n = 0; n < 5; n++)
        cached.length[n] = cap(p, 5, s.full, most / 5, 2);
    if (!add(r, p, &cached, &(verify_effort){.threads = 2, .company = 2, .cuts = true, .layout = VERIFY_HEAD_MAJOR},
             threads, e))
        return false;

    /* Slow slots from nothing: input weights of 1e-6, seen in the memory alone. */
    tune_case_spec slow = {.seed = seed + 2, .sequences = 1, .gates = TUNE_GATES_SLOW};
    slow.length[0] = cap(p, smaller(s.lag, 90) + 4, 0, most / 2, 8);
    if (!add(r, p, &slow, &(verify_effort){.threads = 1, .layout = VERIFY_PADDED}, threads, e))
        return false;

    /* A sequence that goes round the end of its ring, with resets. */
    tune_case_spec wrap = {.seed = seed + 3, .sequences = 1, .cached = true, .gates = TUNE_GATES_RESETS};
    wrap.pos[0] = s.wraps ? 3 * s.full - larger(s.full - 1, 0) % 4 : larger(s.full - 4, 0);
    wrap.length[0] = cap(p, 9, s.full, most / 4, 4);
    return add(r, p, &wrap, &(verify_effort){.threads = 1, .layout = VERIFY_PADDED}, threads, e);
}

bool tune_reference_create(const gen_problem *problem, int op, uint64_t seed, int threads, tune_reference **reference,
                           err *e) {
    tune_reference *r = calloc(1, sizeof *r);
    *reference = NULL;
    if (!r)
        return err_memory(e, "verify");
    r->op = op;
    if (!(op == NHA_DECODE ? add_decode : add_prefill)(r, problem, seed, threads, e)) {
        tune_reference_destroy(r);
        return false;
    }
    *reference = r;
    return true;
}

void tune_reference_destroy(tune_reference *r) {
    for (int i = 0; r && i < r->count; i++)
        verify_truth_destroy(&r->cases[i].truth);
    free(r);
}

bool tune_verify_kernel(const tune_place *place, const nha_library *library, int index, const tune_reference *r, const char *kernel,
                        tune_verify_report *report, err *e) {
    /* Which sizes of case to take; where the plan has a choice, both. */
    const nha_kernel *known = kernel ? verify_find_kernel(library, index, r->op, place->device.kind, kernel) : NULL;
    if (!kernel && library->kernel_count == 1 && library->kernels[0].kind == place->device.kind)
        known = &library->kernels[0];
    if (kernel && !known)
        return err_set(e, ERR_INPUT, "verify", "the library has no kernel %s for %s", kernel, gen_op_name(r->op));
    for (int i = 0; i < r->count; i++) {
        const reference_case *c = &r->cases[i];
        /* 0: both. An emulator takes long: its kernels' chunks are small ones. */
        const int64_t block = known && known->cpu ? known->cpu->block_tokens : place->watched ? 1 : 0;
        if (block && c->large_only && block <= LARGE_BLOCK)
            continue;
        if (block && c->small_only && block > LARGE_BLOCK)
            continue;
        if (!verify_case(place, library, index, r->op, kernel, NULL, &c->truth, &c->effort, report, e))
            return false;
    }
    return true;
}
