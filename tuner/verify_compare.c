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

double tune_relative_error(const void *x, int dtype, const double *y, int64_t count, double floor) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double a = tune_load(x, dtype, i);
        if (!isfinite(a))
            return INFINITY;
        difference += (a - y[i]) * (a - y[i]);
        norm += y[i] * y[i];
    }
    norm = fmax(sqrt(norm), floor * sqrt((double)count));
    if (difference == 0)
        return 0;
    return norm > 0 ? sqrt(difference) / norm : INFINITY;
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

/* The worst row against its tolerance; returns the row, or -1. */
static int64_t bad_row(const void *x, int dtype, const double *y, int64_t rows, int64_t dim, double floor,
                       double limit) {
    double all = 0;
    for (int64_t i = 0; i < rows * dim; i++)
        all += y[i] * y[i];
    double average = rows ? sqrt(all / (double)rows) : 0;
    for (int64_t row = 0; row < rows; row++) {
        double difference = 0, norm = 0;
        for (int64_t i = row * dim; i < (row + 1) * dim; i++) {
            double d = tune_load(x, dtype, i) - y[i];
            difference += d * d;
            norm += y[i] * y[i];
        }
        norm = fmax(fmax(sqrt(norm), average), floor);
        if (!(sqrt(difference) <= limit * norm))
            return row;
    }
    return -1;
}

static bool check_tensor(const verify_truth *truth, int which, const void *x, int dtype, const double *y, int64_t rows,
                         int64_t dim, const char *what, tune_verify_report *report, err *e) {
    static const char *const names[TUNE_CHECKED] = {"o", "lse", "hk", "hv"};
    double tolerance = tune_tolerance(truth->test.problem.nha.dtype), floor = which == TUNE_CHECK_LSE ? 1 : 0;
    double error = tune_relative_error(x, dtype, y, rows * dim, floor);
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
    int64_t row = bad_row(x, dtype, y, rows, dim, floor, ROW_FACTOR * tolerance);
    if (row >= 0)
        return err_set(e, ERR_MISMATCH, "verify", "%s: %s: row %lld of %lld is off by more than %.3g (%s)", what,
                       names[which], (long long)row, (long long)rows, ROW_FACTOR * tolerance, shape);
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
    if (report)
        report->executions++;
    if (!check_tensor(truth, TUNE_CHECK_O, result->o, p->dtype, truth->oracle.o, rows, p->head_dim_v, what, report,
                      e) ||
        !check_tensor(truth, TUNE_CHECK_LSE, result->lse, NHA_F32, truth->oracle.lse, rows, 1, what, report, e))
        return false;
    if (slots && (!check_tensor(truth, TUNE_CHECK_HK, result->hk, NHA_F32, truth->oracle.hk, slots, p->head_dim_qk,
                                what, report, e) ||
                  !check_tensor(truth, TUNE_CHECK_HV, result->hv, NHA_F32, truth->oracle.hv, slots, p->head_dim_v, what,
                                report, e)))
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
