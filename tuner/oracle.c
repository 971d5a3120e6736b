/* oracle.c: per sequence and kv head, token by token: absorb, score, mix, read (docs/spec.md), all in fp64. */
#include "tuner/oracle.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/convert.h"

typedef struct oracle_job {
    const gen_problem *problem;
    const tune_batch *batch;
    tune_oracle *out;
    atomic_llong next; /* task n * H + h */
    atomic_bool failed;
} oracle_job;

/* One kv head of one sequence. Token arrays begin `cached` tokens before the call's first one: entry i is token origin
 * + i. */
typedef struct oracle_head {
    int64_t origin, cached, length;
    double *k, *v;         /* [cached + length, K], [.., V]: mapped for the slot path; v mapped */
    double *rk;            /* [cached + length, K] rotated, unmapped */
    double *e, *s;         /* [cached + length, M] decay and input weight */
    double *hk, *hv;       /* [M,K], [M,V], in the outputs */
    double *scores;        /* [M + W'] a, then b */
    double *q, *rq, *o;    /* [K], [K], [V] of one query head */
    double *cosine, *sine; /* [K/2] of one position */
} oracle_head;

static double silu(double x) {
    return x / (1 + exp(-x));
}

static void map(int kind, double *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (kind == NHA_MAP_SILU)
            x[i] = silu(x[i]);
        if (kind == NHA_MAP_RELU)
            x[i] = x[i] > 0 ? x[i] : 0;
    }
}

double tune_log_gate(const nha_problem *problem, double gate) {
    if (problem->gate_input == NHA_GATE_LOG)
        return gate;
    /* log(1 / (1 + exp(-f))) without cancellation on either side */
    double logsigmoid = gate < 0 ? gate - log1p(exp(gate)) : -log1p(exp(-gate));
    return logsigmoid / problem->gate_normalizer;
}

/* Four partial sums: shorter dependence, and less rounding than one. */
static double dot(const double *a, const double *b, int64_t count) {
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int lane = 0; lane < 4; lane++)
            sum[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Whether the rotation is ours to compute. */
static bool rotated(const nha_problem *p) {
    return p->rope == NHA_ROPE_NEOX || p->rope == NHA_ROPE_GPTJ;
}

/* cos and sin of position * inv_freq. The product is kept as high + low (exact), so that the angle is as good at any
 * position. */
static void angles(const gen_problem *problem, int64_t position, double *cosine, double *sine) {
    for (int i = 0; i < problem->nha.head_dim_qk / 2; i++) {
        double high = (double)position * problem->inv_freq[i];
        double low = fma((double)position, problem->inv_freq[i], -high);
        double c = cos(high), s = sin(high);
        cosine[i] = c - low * s;
        sine[i] = s + low * c;
    }
}

/* to = rot(from) with the angles of one position; neox pairs i with i + K/2, gptj 2i with 2i + 1. */
static void rotate(const nha_problem *p, const double *cosine, const double *sine, const double *from, double *to) {
    int half = p->head_dim_qk / 2;
    for (int i = 0; i < half; i++) {
        int x = p->rope == NHA_ROPE_NEOX ? i : 2 * i, y = p->rope == NHA_ROPE_NEOX ? i + half : 2 * i + 1;
        double a = from[x], b = from[y];
        to[x] = a * cosine[i] - b * sine[i];
        to[y] = a * sine[i] + b * cosine[i];
    }
}

/* Row of tensor `id`, head `head`, of entry i of the sequence (see oracle_head), as doubles. */
static void load_row(const oracle_job *job, const oracle_head *state, int64_t n, int id, int64_t head, int64_t i,
                     double *out) {
    tune_tensor_info info = tune_tensor(job->problem, id);
    const void *array = tune_batch_tensor(job->batch, id);
    int64_t token = tune_batch_begin(job->batch, n) + i - state->cached;
    if (i < state->cached) {
        array = tune_cache_tensor(job->batch->cache, id);
        token = (n + 1) * job->batch->cache->tokens - state->cached + i;
    }
    int64_t first = token * info.row + head * info.dim;
    for (int64_t d = 0; d < info.dim; d++)
        out[d] = tune_load(array, info.dtype, first + d);
}

/* Everything per token that does not depend on the query: k, v, rot(k), e, s. */
static void load_tokens(const oracle_job *job, oracle_head *state, int64_t n, int64_t head) {
    const nha_problem *p = &job->problem->nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    for (int64_t i = 0; i < state->cached + state->length; i++) {
        double *k = state->k + i * K, *v = state->v + i * V, *rk = state->rk + i * K;
        load_row(job, state, n, TUNE_K, head, i, k);
        load_row(job, state, n, TUNE_V, head, i, v);
        if (p->rope == NHA_ROPE_GIVEN)
            load_row(job, state, n, TUNE_RK, head, i, rk);
        else if (rotated(p)) {
            angles(job->problem, state->origin + i, state->cosine, state->sine);
            rotate(p, state->cosine, state->sine, k, rk);
        } else
            memcpy(rk, k, (size_t)K * sizeof *k);
        map(p->slot_map, k, K);
        map(p->value_map, v, V);
        if (!M)
            continue;
        double *e = state->e + i * M, *s = state->s + i * M;
        load_row(job, state, n, TUNE_GATE, head, i, e);
        if (p->gate_s_given)
            load_row(job, state, n, TUNE_S, head, i, s);
        for (int64_t m = 0; m < M; m++) {
            double g = tune_log_gate(p, e[m]);
            e[m] = exp(g);
            if (!p->gate_s_given)
                s[m] = -expm1(g);
        }
    }
}

/* absorb entry j: h[m,:] = e[m] h[m,:] + s[m] x_j */
static void absorb(const nha_problem *p, oracle_head *state, int64_t j) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    const double *e = state->e + j * M, *s = state->s + j * M, *k = state->k + j * K, *v = state->v + j * V;
    for (int64_t m = 0; m < M; m++) {
        for (int64_t d = 0; d < K; d++)
            state->hk[m * K + d] = e[m] * state->hk[m * K + d] + s[m] * k[d];
        for (int64_t d = 0; d < V; d++)
            state->hv[m * V + d] = e[m] * state->hv[m * V + d] + s[m] * v[d];
    }
}

/* score, mix, read for one query head at entry i. state->q and rq hold the mapped and the rotated query. Returns lse.
 */
static double attend(const nha_problem *p, oracle_head *state, int64_t i) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    int64_t first = p->window < i + 1 ? i + 1 - p->window
                                      : 0; /* max(0, t - W + 1): entries before the first are out of the window */
    double *a = state->scores, *b = a + M, largest = -INFINITY, sum = 0;
    for (int64_t m = 0; m < M; m++)
        a[m] = p->scale * dot(state->q, state->hk + m * K, K);
    for (int64_t j = first; j <= i; j++)
        b[j - first] = p->scale * dot(state->rq, state->rk + j * K, K);

    int64_t count = M + i + 1 - first;
    for (int64_t c = 0; c < count; c++)
        largest = fmax(largest, a[c]);
    for (int64_t c = 0; c < count; c++)
        sum += a[c] = exp(a[c] - largest);

    memset(state->o, 0, (size_t)V * sizeof *state->o);
    for (int64_t c = 0; c < count; c++) {
        const double *value = c < M ? state->hv + c * V : state->v + (first + c - M) * V;
        for (int64_t d = 0; d < V; d++)
            state->o[d] += a[c] / sum * value[d];
    }
    return largest + log(sum);
}

/* The token loop of sequence n and kv head `head`. */
static void run_head(const oracle_job *job, oracle_head *state, int64_t n, int64_t head) {
    const nha_problem *p = &job->problem->nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, G = job->problem->group, begin = tune_batch_begin(job->batch, n);
    load_tokens(job, state, n, head);
    for (int64_t t = 0; t < state->length; t++) {
        int64_t i = state->cached + t, j = i - p->slot_lag;
        if (p->slots && j >= 0)
            absorb(p, state, j); /* a token before the first entry has been absorbed already */
        if (rotated(p))
            angles(job->problem, state->origin + i, state->cosine, state->sine);
        for (int64_t g = 0; g < G; g++) {
            int64_t row = (begin + t) * p->heads_q + head * G + g;
            load_row(job, state, n, TUNE_Q, head * G + g, i, state->q);
            if (p->rope == NHA_ROPE_GIVEN)
                load_row(job, state, n, TUNE_RQ, head * G + g, i, state->rq);
            else if (rotated(p))
                rotate(p, state->cosine, state->sine, state->q, state->rq);
            else
                memcpy(state->rq, state->q, (size_t)K * sizeof *state->q);
            map(p->slot_map, state->q, K);
            job->out->lse[row] = attend(p, state, i);
            memcpy(job->out->o + row * V, state->o, (size_t)V * sizeof *state->o);
        }
    }
}

/* Fills hk, hv of the outputs with the memory before the call. */
static void start_memory(const oracle_job *job, oracle_head *state, int64_t n, int64_t head) {
    const nha_problem *p = &job->problem->nha;
    int64_t task = n * p->heads_kv + head, K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    const float *hk = job->batch->cache ? job->batch->cache->hk : job->batch->hk0;
    const float *hv = job->batch->cache ? job->batch->cache->hv : job->batch->hv0;
    if (!M)
        return;
    state->hk = job->out->hk + task * M * K;
    state->hv = job->out->hv + task * M * V;
    for (int64_t i = 0; i < M * K; i++)
        state->hk[i] = hk ? hk[task * M * K + i] : 0;
    for (int64_t i = 0; i < M * V; i++)
        state->hv[i] = hv ? hv[task * M * V + i] : 0;
}

static bool do_task(const oracle_job *job, int64_t n, int64_t head) {
    const nha_problem *p = &job->problem->nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, pos = tune_batch_position(job->batch, n);
    oracle_head state = {.length = tune_batch_length(job->batch, n)};
    if (job->batch->cache)
        state.cached = job->batch->cache->tokens < pos ? job->batch->cache->tokens : pos;
    state.origin = pos - state.cached;
    int64_t entries = state.cached + state.length, per_entry = 2 * K + V + 2 * M, count, once = M + entries + 3 * K + V;
    start_memory(job, &state, n, head);
    if (!tune_size_mul(entries, per_entry + 1, &count) || !tune_size_mul(count + once, 1, &count))
        return false;
    double *all = calloc((size_t)(entries * per_entry + once), sizeof *all), *at = all;
    if (!all)
        return false;
    state.k = at, at += entries * K;
    state.rk = at, at += entries * K;
    state.v = at, at += entries * V;
    state.e = at, at += entries * M;
    state.s = at, at += entries * M;
    state.scores = at, at += M + entries;
    state.q = at, at += K;
    state.rq = at, at += K;
    state.cosine = at, at += K / 2;
    state.sine = at, at += K / 2;
    state.o = at;
    run_head(job, &state, n, head);
    free(all);
    return true;
}

static void *worker(void *argument) {
    oracle_job *job = argument;
    int64_t heads = job->problem->nha.heads_kv, tasks = job->batch->sequences * heads;
    for (int64_t task; (task = atomic_fetch_add(&job->next, 1)) < tasks;)
        if (!do_task(job, task / heads, task % heads))
            atomic_store(&job->failed, true);
    return NULL;
}

/* [count, row] doubles; one at least. */
static double *doubles(int64_t count, int64_t row) {
    int64_t size;
    if (!tune_size_mul(count, row, &size) || !tune_size_mul(size, sizeof(double), &size))
        return NULL;
    return calloc(size ? (size_t)size : 1, 1);
}

bool tune_oracle_run(const gen_problem *problem, const tune_batch *batch, int threads, tune_oracle *out, err *e) {
    enum { MOST = 16 };
    const nha_problem *p = &problem->nha;
    int64_t total = tune_batch_total(batch), memories = batch->sequences * p->heads_kv * p->slots;
    oracle_job job = {.problem = problem, .batch = batch, .out = out};
    pthread_t helper[MOST];
    int helpers = 0;
    *out = (tune_oracle){.o = doubles(total, (int64_t)p->heads_q * p->head_dim_v), .lse = doubles(total, p->heads_q)};
    if (p->slots) {
        out->hk = doubles(memories, p->head_dim_qk);
        out->hv = doubles(memories, p->head_dim_v);
    }
    bool ok = out->o && out->lse && (!p->slots || (out->hk && out->hv));
    if (ok) {
        /* A thread that cannot be started leaves its share to the others. */
        while (helpers < threads - 1 && helpers < MOST && !pthread_create(&helper[helpers], NULL, worker, &job))
            helpers++;
        worker(&job);
        for (int i = 0; i < helpers; i++)
            pthread_join(helper[i], NULL);
        ok = !atomic_load(&job.failed);
    }
    if (ok)
        return true;
    tune_oracle_destroy(out);
    return err_memory(e, "oracle");
}

void tune_oracle_destroy(tune_oracle *oracle) {
    free(oracle->o);
    free(oracle->lse);
    free(oracle->hk);
    free(oracle->hv);
    *oracle = (tune_oracle){0};
}

double tune_oracle_cost(const gen_problem *problem, const tune_batch *batch) {
    const nha_problem *p = &problem->nha;
    double flops = 0, dims = p->head_dim_qk + p->head_dim_v;
    for (int64_t n = 0; n < batch->sequences; n++) {
        double length = (double)tune_batch_length(batch, n), context = length + (double)tune_batch_position(batch, n);
        double columns = p->slots + fmin((double)p->window, context);
        flops += length * dims * (2 * columns * p->heads_q + 4.0 * p->slots * p->heads_kv);
    }
    return flops;
}
