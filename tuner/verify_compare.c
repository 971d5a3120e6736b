/* verify_compare.c: results against the oracle, and against each other bit by bit. See verify.h, verify_internal.h.
 */
#include <math.h>
#include <string.h>

#include "tuner/convert.h"
#include "tuner/verify_internal.h"

/* A row may be off by this many tolerances, relative to the larger of its own norm and that of an average row: an error
 * that sits in one token of a long tensor does not hide behind the others. */
static const double ROW_FACTOR = 8;

double tune_tolerance(int dtype) {
    return dtype == NHA_F32 ? 1e-5 : 4e-3;
}

double tune_cached_tolerance(const nha_problem *p) {
    return p->state_dtype == NHA_BF16 && p->slots ? 3e-2 : tune_tolerance(p->dtype);
}

bool tune_state_holds(const nha_problem *p, float exact, float held) {
    uint32_t from, to;
    memcpy(&from, &exact, sizeof from);
    memcpy(&to, &held, sizeof to);
    if (p->state_dtype == NHA_F32)
        return from == to;
    return !(to & 0xffff) && (to >> 16 == from >> 16 || (from & 0xffff && to >> 16 == (from >> 16) + 1));
}

/* Squares of the norms of x - y and y, over count elements. */
typedef struct squares {
    double difference, norm;
} squares;

static squares compare(const void *x, int dtype, const double *y, int64_t count) {
    enum { PART = 256, LANES = 4 }; /* partial sums, so that one addition need not wait for the other */
    double wide[PART], difference[LANES] = {0}, norm[LANES] = {0};
    for (int64_t first = 0; first < count; first += PART) {
        int64_t part = count - first < PART ? count - first : PART;
        tune_widen((const char *)x + first * gen_dtype_bytes(dtype), dtype, part, wide);
        for (int64_t i = 0; i < part; i++) {
            double d = wide[i] - y[first + i];
            difference[i % LANES] += d * d;
            norm[i % LANES] += y[first + i] * y[first + i];
        }
    }
    return (squares){(difference[0] + difference[1]) + (difference[2] + difference[3]),
                     (norm[0] + norm[1]) + (norm[2] + norm[3])};
}

/* ||x - y|| / max(||y||, floor * sqrt(count)) */
static double relative(squares sum, int64_t count, double floor) {
    double norm = fmax(sqrt(sum.norm), floor * sqrt((double)count));
    if (!isfinite(sum.difference))
        return INFINITY;
    if (sum.difference == 0)
        return 0;
    return norm > 0 ? sqrt(sum.difference) / norm : INFINITY;
}

double tune_relative_error(const void *x, int dtype, const double *y, int64_t count, double floor) {
    return relative(compare(x, dtype, y, count), count, floor);
}

bool verify_truth_create(const gen_problem *problem, const tune_case_spec *spec, int threads, verify_truth *truth,
                         err *e) {
    memset(truth, 0, sizeof *truth);
    if (tune_case_create(problem, spec, &truth->test, e) &&
        tune_oracle_run(problem, &truth->test.batch, threads, &truth->oracle, e) &&
        tune_cache_after(problem, &truth->test.batch, &truth->after, e))
        return true;
    verify_truth_destroy(truth);
    return false;
}

void verify_truth_destroy(verify_truth *truth) {
    tune_case_destroy(&truth->test);
    tune_oracle_destroy(&truth->oracle);
    tune_cache_destroy(&truth->after);
}

typedef struct tensor_error {
    double all;  /* relative error over the tensor */
    int64_t row; /* one that is off by more than the limit of rows, or -1 */
} tensor_error;

static tensor_error measure(const void *x, int dtype, const double *y, int64_t rows, int64_t dim, double floor,
                            double limit) {
    squares all = {0};
    double worst = 0;
    int64_t row_bytes = dim * gen_dtype_bytes(dtype);
    for (int64_t row = 0; row < rows; row++) {
        squares sum = compare((const char *)x + row * row_bytes, dtype, y + row * dim, dim);
        all.difference += sum.difference;
        all.norm += sum.norm;
        worst = fmax(worst, sum.difference);
    }
    double average = rows ? fmax(all.norm / (double)rows, floor * floor) : 0;
    tensor_error error = {relative(all, rows * dim, floor), -1};
    /* Rarely is the worst row past what is allowed to an average one; only then are the rows looked at one by one. */
    for (int64_t row = 0; worst > limit * limit * average && row < rows && error.row < 0; row++) {
        squares sum = compare((const char *)x + row * row_bytes, dtype, y + row * dim, dim);
        if (sum.difference > limit * limit * fmax(sum.norm, average))
            error.row = row;
    }
    return error;
}

static bool check_tensor(const verify_truth *truth, int which, const void *x, int dtype, const double *y, int64_t rows,
                         int64_t dim, double tolerance, const char *what, tune_verify_report *report, err *e) {
    static const char *const names[TUNE_CHECKED] = {"o", "lse", "hk", "hv"};
    double floor = which == TUNE_CHECK_LSE ? 1 : 0;
    tensor_error found = measure(x, dtype, y, rows, dim, floor, ROW_FACTOR * tolerance);
    double error = found.all;
    char shape[400];
    if (report && error > report->worst[which]) {
        report->worst[which] = error;
        report->worst_seed[which] = truth->test.spec.seed;
    }
    tune_case_string(&truth->test.spec, shape, sizeof shape);
    if (isinf(error))
        return err_set(e, ERR_MISMATCH, "verify", "%s: %s: not finite, or not written (%s)", what, names[which], shape);
    if (!(error <= tolerance))
        return err_set(e, ERR_MISMATCH, "verify", "%s: %s: relative error %.3g, tolerance %.3g (%s)", what,
                       names[which], error, tolerance, shape);
    if (found.row >= 0)
        return err_set(e, ERR_MISMATCH, "verify", "%s: %s: row %lld of %lld is off by more than %.3g (%s)", what,
                       names[which], (long long)found.row, (long long)rows, ROW_FACTOR * tolerance, shape);
    return true;
}

/* Whether the raw tokens of sequence n are the same in both caches; they may hold different numbers of tokens. */
static bool same_ring(const gen_problem *problem, const tune_cache *a, const tune_cache *b, int64_t n) {
    int64_t tokens = a->tokens < b->tokens ? a->tokens : b->tokens;
    if (a->pos[n] != b->pos[n])
        return false;
    if (tokens > a->pos[n])
        tokens = a->pos[n];
    for (int id = 0; id < TUNE_INPUTS; id++) {
        size_t row = tune_tensor(problem, id).row_bytes;
        const char *x = tune_cache_tensor(a, id), *y = tune_cache_tensor(b, id);
        if (!x || !row)
            continue;
        x += (size_t)((n + 1) * a->tokens - tokens) * row;
        y += (size_t)((n + 1) * b->tokens - tokens) * row;
        if (memcmp(x, y, (size_t)tokens * row))
            return false;
    }
    return true;
}

bool verify_against_oracle(const verify_truth *truth, const tune_result *result, const char *what,
                           tune_verify_report *report, err *e) {
    const nha_problem *p = &truth->test.problem.nha;
    const tune_batch *batch = &truth->test.batch;
    int64_t rows = tune_batch_total(batch) * p->heads_q, slots = batch->sequences * p->heads_kv * p->slots;
    double tolerance = result->has_cache ? tune_cached_tolerance(p) : tune_tolerance(p->dtype);
    if (report)
        report->executions++;
    if (!check_tensor(truth, TUNE_CHECK_O, result->o, p->dtype, truth->oracle.o, rows, p->head_dim_v, tolerance,
                      what, report, e) ||
        !check_tensor(truth, TUNE_CHECK_LSE, result->lse, NHA_F32, truth->oracle.lse, rows, 1, tolerance, what, report,
                      e))
        return false;
    if (slots && (!check_tensor(truth, TUNE_CHECK_HK, result->hk, NHA_F32, truth->oracle.hk, slots, p->head_dim_qk,
                                tolerance, what, report, e) ||
                  !check_tensor(truth, TUNE_CHECK_HV, result->hv, NHA_F32, truth->oracle.hv, slots, p->head_dim_v,
                                tolerance, what, report, e)))
        return false;
    for (int64_t n = 0; result->has_cache && n < batch->sequences; n++)
        if (!same_ring(&truth->test.problem, &result->cache, &truth->after, n)) {
            char shape[400];
            tune_case_string(&truth->test.spec, shape, sizeof shape);
            return err_set(e, ERR_MISMATCH, "verify",
                           "%s: cache %lld: its tokens or position are not those that were run (%s)", what,
                           (long long)n, shape);
        }
    return true;
}

/* memcmp of sequence rows [from, to) of `row` bytes; two NULLs are the same. */
static bool same(const void *a, const void *b, int64_t from, int64_t to, size_t row) {
    if (!a || !b || to <= from)
        return true;
    return !memcmp((const char *)a + (size_t)from * row, (const char *)b + (size_t)from * row,
                   (size_t)(to - from) * row);
}

bool verify_same_bits(const verify_truth *truth, const tune_result *result, const tune_result *other, int64_t first,
                      int64_t count, int64_t skip, bool lse, const char *what, err *e) {
    const nha_problem *p = &truth->test.problem.nha;
    const tune_batch *batch = &truth->test.batch;
    size_t o = (size_t)p->heads_q * (size_t)p->head_dim_v * (size_t)gen_dtype_bytes(p->dtype);
    size_t memory = (size_t)p->heads_kv * (size_t)p->slots * sizeof(float);
    const char *tensor = NULL;
    int64_t n = first;
    for (; !tensor && n < first + count; n++) {
        int64_t begin = tune_batch_begin(batch, n), end = begin + tune_batch_length(batch, n);
        if (n == skip) { /* its outputs are known to be untouched; its cache must be what it was */
            if (other->has_cache && batch->cache &&
                (!same_ring(&truth->test.problem, &other->cache, batch->cache, n) ||
                 !same(other->cache.hk, batch->cache->hk, n, n + 1, memory * (size_t)p->head_dim_qk) ||
                 !same(other->cache.hv, batch->cache->hv, n, n + 1, memory * (size_t)p->head_dim_v)))
                tensor = "the cache of a skipped sequence";
            continue;
        }
        if (!same(result->o, other->o, begin, end, o))
            tensor = "o";
        else if (lse && !same(result->lse, other->lse, begin, end, (size_t)p->heads_q * sizeof(float)))
            tensor = "lse";
        else if (!same(result->hk, other->hk, n, n + 1, memory * (size_t)p->head_dim_qk))
            tensor = "hk";
        else if (!same(result->hv, other->hv, n, n + 1, memory * (size_t)p->head_dim_v))
            tensor = "hv";
        else if (result->has_cache && !same_ring(&truth->test.problem, &result->cache, &other->cache, n))
            tensor = "cache";
    }
    if (!tensor)
        return true;
    char shape[400];
    tune_case_string(&truth->test.spec, shape, sizeof shape);
    return err_set(e, ERR_MISMATCH, "verify", "%s: %s: other bits for sequence %lld (%s)", what, tensor,
                   (long long)n - 1, shape);
}
