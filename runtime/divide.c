/* divide.c: chooses the number of runs that finishes first, by a small model of the phases.
 * Times are in units of one whole sequence on one thread, so a batch of BH sequences on P threads need BH / P. */
#include "runtime/internal.h"

enum {
    RUN_BLOCKS_MIN = 16, /* a shorter run is not worth its start */
    PIECE_BLOCKS_MIN = 4,
    TOKEN_COST = 32,   /* of a token beside its scores, in keys scored */
    PACK_COST = 2,     /* of a key that a run must pack again because it lies before its start, in keys scored */
    PHASE_TOKENS = 16, /* of one more parallel phase, in tokens */
    STATE_TOKENS = 2,  /* of one piece in segment_scan, in tokens */
};
/* Of workspace for states; a division that needs more is not considered. */
#define STATES_BYTES_MAX ((int64_t)256 << 20)

/* Keys scored for the first t tokens of a sequence: sum over i < t of TOKEN_COST + M + min(W, i + 1). */
static double keys(const nhr_work *work, int64_t t) {
    double n = (double)t, w = (double)nhr_min(work->window, t);
    return n * (double)(TOKEN_COST + work->slots) + w * (w + 1) / 2 + (n - w) * w;
}

/* Cost of run r in keys: its tokens, and the window before it once more. */
static double run_cost(const nhr_work *work, const nhr_division *d, int64_t r) {
    int64_t begin = nhr_min(r * d->run_tokens, work->max_length);
    int64_t end = nhr_min(begin + d->run_tokens, work->max_length);
    return keys(work, end) - keys(work, begin) + (double)PACK_COST * (double)nhr_min(work->window, begin);
}

/* What the thread that is given `task` has done in the end, if every threads-th task before it was its own too. */
static double share(const nhr_work *work, const nhr_division *d, int64_t task) {
    double sum = 0;
    for (; task >= 0; task -= work->threads) sum += run_cost(work, d, task % d->runs);
    return sum;
}

/* Time of the phase main. Threads take the BH * runs tasks in order. Later runs of a sequence cost no less than earlier
 * ones, but for the last, which may be shorter: so the last thread to finish has the last task or the one before. */
static double main_time(const nhr_work *work, const nhr_division *d) {
    int64_t last = work->sequences * d->runs - 1;
    double a = share(work, d, last), b = share(work, d, last - 1);
    return (a > b ? a : b) / keys(work, work->max_length);
}

/* Time of segment_delta with its pieces shared out, in whole sequences. */
static double delta_time(const nhr_work *work, const nhr_division *d) {
    int64_t rounds = nhr_ceil_div(d->pieces * work->sequences, work->threads);
    return work->delta_cost * (double)rounds * (double)d->piece_tokens / (double)work->max_length;
}

static double total_time(const nhr_work *work, const nhr_division *d) {
    double time = main_time(work, d);
    if (d->pieces)
        time += delta_time(work, d) +
                (double)(2 * PHASE_TOKENS + STATE_TOKENS * d->pieces * nhr_ceil_div(work->sequences, work->threads)) /
                    (double)work->max_length;
    return time;
}

/* About `runs` runs, each of them `cut` pieces if there are states. */
static nhr_division make(const nhr_work *work, int64_t runs, int64_t cut) {
    nhr_division d;
    int64_t unit = work->block_tokens * cut;
    d.run_tokens = nhr_ceil_div(nhr_ceil_div(work->max_length, runs), unit) * unit;
    d.runs = nhr_ceil_div(work->max_length, d.run_tokens);
    bool states = work->slots && d.runs > 1;
    d.piece_tokens = states ? d.run_tokens / cut : d.run_tokens;
    d.pieces = states ? (d.runs - 1) * cut : 0;
    return d;
}

/* The best cut of the runs into pieces: enough of them for all threads, and spread evenly. */
static nhr_division with_pieces(const nhr_work *work, int64_t runs) {
    nhr_division best = make(work, runs, 1);
    if (!best.pieces) return best;
    int64_t most = nhr_min(best.run_tokens / work->block_tokens / PIECE_BLOCKS_MIN,
                           4 * nhr_ceil_div(work->threads, (runs - 1) * work->sequences));
    for (int64_t cut = 2; cut <= most; cut++) {
        nhr_division d = make(work, runs, cut);
        if (d.runs == best.runs && total_time(work, &d) < 0.99 * total_time(work, &best)) best = d;
    }
    return best;
}

static bool states_fit(const nhr_work *work, const nhr_division *d) {
    int64_t bytes;
    return !d->pieces || (nhr_mul(work->sequences, d->pieces + d->runs, &bytes) &&
                          nhr_mul(bytes, work->state_bytes, &bytes) && bytes <= STATES_BYTES_MAX);
}

nhr_division nhr_divide(const nhr_work *work) {
    nhr_division best = make(work, 1, 1);
    if (!work->divisible || work->threads == 1 || work->sequences >= 8 * (int64_t)work->threads) return best;
    double best_time = total_time(work, &best);
    int64_t most = nhr_min(4 * (int64_t)work->threads, 16 * (int64_t)work->threads / work->sequences);
    for (int64_t runs = 2; runs <= most; runs++) {
        if (work->max_length / runs < RUN_BLOCKS_MIN * work->block_tokens) break;
        nhr_division d = with_pieces(work, runs);
        if (d.runs < 2 || !states_fit(work, &d)) continue;
        double time = total_time(work, &d);
        if (time < 0.98 * best_time) {
            best = d;
            best_time = time;
        }
    }
    return best;
}
