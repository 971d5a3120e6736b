/* help_case.c: see help_case.h. The definition here knows nothing of blocks, caches or layouts. */
#include "tests/runtime/help_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/runtime/help_math.h"
#include "tests/runtime/help_reference.h"

bool field_shape(const nha_problem *p, enum field f, int64_t *heads, int64_t *dim, int *dtype) {
    bool query = f == F_Q || f == F_RQ || f == F_O || f == F_LSE;
    *heads = query ? p->heads_q : p->heads_kv;
    *dtype = p->dtype;
    *dim = p->head_dim_qk;
    switch (f) {
    case F_Q:
    case F_K:
        return true;
    case F_V:
    case F_O:
        *dim = p->head_dim_v;
        return true;
    case F_GATE:
    case F_S:
        *dim = p->slots;
        *dtype = p->gate_dtype;
        return p->slots && (f == F_GATE || p->gate_s_given);
    case F_RQ:
    case F_RK:
        return p->rope == NHA_ROPE_GIVEN;
    case F_LSE:
        *dim = 1;
        *dtype = NHA_F32;
        return true;
    default:
        return false;
    }
}

/* Uniform in (-1, 1), splitmix64. */
static double uniform(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

static double random_value(const nha_problem *p, enum field f, uint64_t *state) {
    double u = uniform(state), kind = uniform(state);
    if (f == F_S) return fabs(u);
    if (f != F_GATE) return 1.5 * u;
    if (p->gate_input == NHA_GATE_LOGIT) return 6 * u;
    return kind > 0.97 ? 0 : kind > 0.94 ? -1e4 : -fabs(u) * 0.2;
}

/* ---- The definition (docs/spec.md) ---- */

/* Row t, head h of a field as doubles. */
static void row(const struct sequence *s, enum field f, int64_t t, int64_t h, double *out) {
    int64_t heads, dim;
    int dtype;
    field_shape(s->p, f, &heads, &dim, &dtype);
    for (int64_t i = 0; i < dim; i++) out[i] = math_load(dtype, s->field[f], (t * heads + h) * dim + i);
}

static void define_absorb(struct sequence *s, int64_t h, int64_t j) {
    const nha_problem *p = s->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    double k[DIM_MAX], v[DIM_MAX], gate[DIM_MAX], given[DIM_MAX];
    row(s, F_K, j, h, k);
    row(s, F_V, j, h, v);
    row(s, F_GATE, j, h, gate);
    if (p->gate_s_given) row(s, F_S, j, h, given);
    math_map(p->slot_map, k, K);
    math_map(p->value_map, v, V);
    for (int64_t m = 0; m < M; m++) {
        double e = exp(math_gate(p, gate[m])), sm = p->gate_s_given ? given[m] : math_s(p, gate[m]);
        double *hk = s->hk + (h * M + m) * K, *hv = s->hv + (h * M + m) * V;
        for (int64_t d = 0; d < K; d++) hk[d] = e * hk[d] + sm * k[d];
        for (int64_t d = 0; d < V; d++) hv[d] = e * hv[d] + sm * v[d];
    }
}

static void define_read(struct sequence *s, int64_t t, int64_t n, double *score) {
    const nha_problem *p = s->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, h = n / (p->heads_q / p->heads_kv);
    int64_t oldest = t - p->window + 1 > 0 ? t - p->window + 1 : 0;
    double q[DIM_MAX], rq[DIM_MAX], x[DIM_MAX], top = -INFINITY, sum = 0;
    row(s, F_Q, t, n, q);
    row(s, p->rope == NHA_ROPE_GIVEN ? F_RQ : F_Q, t, n, rq);
    math_map(p->slot_map, q, K);
    math_rotate(p, rq, t);
    for (int64_t m = 0; m < M; m++) {
        score[m] = 0;
        for (int64_t d = 0; d < K; d++) score[m] += p->scale * q[d] * s->hk[(h * M + m) * K + d];
    }
    for (int64_t j = oldest; j <= t && p->window; j++) {
        row(s, p->rope == NHA_ROPE_GIVEN ? F_RK : F_K, j, h, x);
        math_rotate(p, x, j);
        score[M + j - oldest] = 0;
        for (int64_t d = 0; d < K; d++) score[M + j - oldest] += p->scale * rq[d] * x[d];
    }
    int64_t keys = M + (p->window ? t - oldest + 1 : 0);
    for (int64_t i = 0; i < keys; i++) top = fmax(top, score[i]);
    for (int64_t i = 0; i < keys; i++) sum += exp(score[i] - top);
    double *o = s->o + (t * p->heads_q + n) * V;
    for (int64_t i = 0; i < keys; i++) {
        if (i >= M) {
            row(s, F_V, oldest + i - M, h, x);
            math_map(p->value_map, x, V);
        }
        for (int64_t d = 0; d < V; d++) o[d] += exp(score[i] - top) / sum * (i < M ? s->hv[(h * M + i) * V + d] : x[d]);
    }
    s->lse[t * p->heads_q + n] = top + log(sum);
}

static void define(struct sequence *s) {
    const nha_problem *p = s->p;
    int64_t H = p->heads_kv, K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    double *score = calloc((size_t)(M + s->length + 1), sizeof *score);
    for (int64_t i = 0; s->hk0 && i < H * M * K; i++) s->hk[i] = (double)s->hk0[i];
    for (int64_t i = 0; s->hv0 && i < H * M * V; i++) s->hv[i] = (double)s->hv0[i];
    for (int64_t t = 0; t < s->length; t++) {
        for (int64_t h = 0; M && t >= p->slot_lag && h < H; h++) define_absorb(s, h, t - p->slot_lag);
        for (int64_t n = 0; n < p->heads_q; n++) define_read(s, t, n, score);
    }
    free(score);
}

struct sequence *sequence_make(const nha_problem *p, int64_t length, bool memory, unsigned seed) {
    struct sequence *s = calloc(1, sizeof *s);
    uint64_t state = seed * (uint64_t)7919 + 1;
    int64_t H = p->heads_kv, M = p->slots;
    size_t hk = (size_t)(H * M * p->head_dim_qk), hv = (size_t)(H * M * p->head_dim_v);
    s->p = p;
    s->length = length;
    for (enum field f = 0; f < FIELDS; f++) {
        int64_t heads, dim;
        int dtype;
        if (!field_shape(p, f, &heads, &dim, &dtype)) continue;
        int64_t n = length * heads * dim;
        s->field[f] = calloc((size_t)(n + 1), (size_t)math_bytes(dtype));
        for (int64_t i = 0; i < n && f < F_O; i++) math_store(dtype, s->field[f], i, random_value(p, f, &state));
    }
    if (memory && M) {
        s->hk0 = calloc(hk, sizeof *s->hk0);
        s->hv0 = calloc(hv, sizeof *s->hv0);
        for (size_t i = 0; i < hk; i++) s->hk0[i] = (float)uniform(&state);
        for (size_t i = 0; i < hv; i++) s->hv0[i] = (float)uniform(&state);
    }
    s->o = calloc((size_t)(length * p->heads_q * p->head_dim_v + 1), sizeof *s->o);
    s->lse = calloc((size_t)(length * p->heads_q + 1), sizeof *s->lse);
    s->hk = calloc(hk + 1, sizeof *s->hk);
    s->hv = calloc(hv + 1, sizeof *s->hv);
    define(s);
    return s;
}

void sequence_free(struct sequence *s) {
    if (!s) return;
    for (int f = 0; f < FIELDS; f++) free(s->field[f]);
    free(s->hk0);
    free(s->hv0);
    free(s->o);
    free(s->lse);
    free(s->hk);
    free(s->hv);
    free(s);
}

/* ---- Errors ---- */

static double distance(int dtype, const void *got, const double *want, int64_t first, int64_t n) {
    double difference = 0, norm = 0;
    for (int64_t i = first; i < first + n; i++) {
        double d = math_load(dtype, got, i) - want[i];
        difference += d * d;
        norm += want[i] * want[i];
    }
    if (difference == 0) return 0;
    return isfinite(difference) ? sqrt(difference / fmax(norm, 1e-30)) : INFINITY;
}

double sequence_error(const struct sequence *s, int64_t first, int64_t count) {
    int64_t HQ = s->p->heads_q, V = s->p->head_dim_v;
    return fmax(distance(s->p->dtype, s->field[F_O], s->o, first * HQ * V, count * HQ * V),
                distance(NHA_F32, s->field[F_LSE], s->lse, first * HQ, count * HQ));
}

double relative_error(const float *got, const double *want, int64_t n) {
    return distance(NHA_F32, got, want, 0, n);
}

double tolerance(const nha_problem *p) {
    return p->dtype == NHA_F32 ? 1e-5 : 4e-3;
}

/* ---- Calls ---- */

void *aligned_memory(size_t bytes) {
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, NHA_WORKSPACE_ALIGN, bytes ? bytes : 1), 0);
    memset(memory, 0xa5, bytes);
    return memory;
}

static nha_tensor *tensor_of(struct batch *b, enum field f) {
    nha_args *a = &b->args;
    nha_tensor *tensors[FIELDS] = {&a->q, &a->k, &a->v, &a->gate, &a->s, &a->rq, &a->rk, &a->o, &a->lse};
    return tensors[f];
}

/* Start of a row of span n in the tensor of a field. */
static char *row_at(const struct batch *b, enum field f, int64_t n, int64_t t, int64_t h, int64_t bytes) {
    const nha_tensor *x = tensor_of((struct batch *)(uintptr_t)b, f);
    int64_t offset =
        b->args.cu_seqlens ? (b->cu_seqlens[n] + t) * x->stride_token : n * x->stride_batch + t * x->stride_token;
    return (char *)x->data + (offset + h * x->stride_head) * bytes;
}

void batch_make(struct batch *b, const struct span *spans, int64_t count, enum layout layout) {
    const nha_problem *p = spans[0].s->p;
    bool packed = layout == LAYOUT_PACKED || layout == LAYOUT_STRANGE_PACKED;
    bool strange = layout == LAYOUT_STRANGE || layout == LAYOUT_STRANGE_PACKED;
    memset(b, 0, sizeof *b);
    NHA_INIT(b->args);
    b->count = b->args.sequences = count;
    for (int64_t n = 0; n < count; n++) {
        b->spans[n] = spans[n];
        b->cu_seqlens[n + 1] = b->cu_seqlens[n] + (int32_t)spans[n].count;
        if (!packed) assert_int_equal(spans[n].count, spans[0].count);
    }
    int64_t total = b->cu_seqlens[count];
    b->args.tokens = packed ? total : spans[0].count;
    b->args.cu_seqlens = packed ? b->cu_seqlens : NULL;
    for (enum field f = 0; f < FIELDS; f++) {
        int64_t heads, dim;
        int dtype;
        if (!field_shape(p, f, &heads, &dim, &dtype)) continue;
        int64_t bytes = math_bytes(dtype), width = strange ? dim + 16 : dim;
        nha_tensor *x = tensor_of(b, f);
        b->buffer_bytes[f] = total * heads * width * bytes;
        b->buffer[f] = aligned_memory((size_t)b->buffer_bytes[f]);
        x->data = b->buffer[f];
        x->stride_head = strange ? total * width : width;
        x->stride_token = strange ? -width : heads * width;
        x->stride_batch = strange ? -width * spans[0].count : x->stride_token * spans[0].count;
        if (packed) x->stride_batch = 12345; /* ignored */
        if (strange && total) x->data = b->buffer[f] + (total - 1) * width * bytes;
        for (int64_t n = 0; f < F_O && n < count; n++)
            for (int64_t t = 0; t < spans[n].count; t++)
                for (int64_t h = 0; h < heads; h++)
                    memcpy(row_at(b, f, n, t, h, bytes),
                           (char *)spans[n].s->field[f] + ((spans[n].first + t) * heads + h) * dim * bytes,
                           (size_t)(dim * bytes));
    }
}

void batch_scatter(const struct batch *b, int64_t n) {
    const struct span *span = &b->spans[n];
    for (enum field f = F_O; f <= F_LSE; f++) {
        int64_t heads, dim;
        int dtype;
        field_shape(span->s->p, f, &heads, &dim, &dtype);
        int64_t bytes = math_bytes(dtype);
        for (int64_t t = 0; t < span->count; t++)
            for (int64_t h = 0; h < heads; h++)
                memcpy((char *)span->s->field[f] + ((span->first + t) * heads + h) * dim * bytes,
                       row_at(b, f, n, t, h, bytes), (size_t)(dim * bytes));
    }
}

void batch_free(struct batch *b) {
    for (int f = 0; f < FIELDS; f++) free(b->buffer[f]);
    memset(b, 0, sizeof *b);
}

nha_status batch_execute(const nha_plan *plan, struct batch *b, nha_error *error) {
    void *workspace = aligned_memory(nha_plan_workspace(plan));
    nha_status status = nha_execute(plan, &b->args, workspace, nha_plan_workspace(plan), NULL, error);
    free(workspace);
    return status;
}

nha_plan_options case_options(int32_t problem, int32_t op, int64_t sequences, int64_t length, int32_t threads) {
    nha_plan_options options;
    NHA_INIT(options);
    options.problem = problem;
    options.op = op;
    options.max_sequences = sequences;
    options.max_length = length;
    options.threads = threads;
    return options;
}

nha_plan *case_plan(const nha_plan_options *options) {
    nha_plan *plan;
    nha_error error;
    nha_status status = nha_plan_create(&reference_library, options, &plan, &error);
    if (status) fail_msg("plan: %s", error.text);
    return plan;
}
