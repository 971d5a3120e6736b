/* help_scalar_kernel.c: see help_scalar_kernel.h. The definition step by step in f32, one token at a time, on the ABI
 * of CPU kernels.
 */
#include "tests/verify/help_scalar_kernel.h"

#include <math.h>
#include <string.h>

#include "tuner/convert.h"

static gen_problem the_problem;
static int the_bug;
static int64_t calls;

/* One kv head of one sequence. Entries of tokens: i >= 0 is token i of the call, below 0 it is in the ring. */
typedef struct head_state {
    const nha_cpu_args *a;
    int64_t n, h, length, begin, pos; /* begin: first token in packed tensors */
    bool later;                       /* not the first run of the sequence */
    char *row;                        /* of the pool, or NULL */
    float *hk, *hv, *q, *rq, *rk, *o, *v, *k, *gate, *s, *scores;
} head_state;

static float *take(char **at, int64_t count) {
    float *p = (float *)(void *)*at;
    *at += count * (int64_t)sizeof(float);
    return p;
}

static int64_t scratch_floats(const nha_problem *p) {
    return (int64_t)p->slots * (p->head_dim_qk + p->head_dim_v + 3) + 4L * p->head_dim_qk + 2L * p->head_dim_v + 16;
}

/* False: the sequence is skipped. */
static bool open_head(head_state *s, const nha_cpu_args *a, int64_t n, int64_t h, bool prefill, void *scratch) {
    const nha_problem *p = &the_problem.nha;
    char *at = scratch;
    memset(s, 0, sizeof *s);
    s->a = a, s->n = n, s->h = h;
    s->begin = prefill && a->cu_seqlens ? a->cu_seqlens[n] : 0;
    s->length = !prefill ? 1 : a->cu_seqlens ? (int64_t)a->cu_seqlens[n + 1] - s->begin : a->tokens;
    if (a->cache.pool) {
        int64_t row = a->cache.index ? a->cache.index[n] : n;
        if (the_bug == BUG_INDEX)
            row = n;
        if (row < 0 && the_bug == BUG_SKIP)
            row = 0;
        if (row < 0)
            return false;
        s->row = a->cache.pool + row * a->cache.row_bytes;
        memcpy(&s->pos, s->row, sizeof s->pos);
    }
    s->hk = take(&at, (int64_t)p->slots * p->head_dim_qk);
    s->hv = take(&at, (int64_t)p->slots * p->head_dim_v);
    s->q = take(&at, p->head_dim_qk), s->rq = take(&at, p->head_dim_qk), s->k = take(&at, p->head_dim_qk);
    s->rk = take(&at, p->head_dim_qk), s->o = take(&at, p->head_dim_v), s->v = take(&at, p->head_dim_v);
    s->gate = take(&at, p->slots), s->s = take(&at, p->slots), s->scores = take(&at, 0);
    return true;
}

static char *tensor_row(const head_state *s, const nha_cpu_tensor *t, int64_t i, int64_t head, int64_t head_bytes) {
    int64_t batch = s->a->cu_seqlens ? s->begin * t->token : s->n * t->batch;
    return t->data + batch + i * t->token + head * (the_bug == BUG_STRIDE ? head_bytes : t->head);
}

static char *ring_row(const head_state *s, int64_t offset, int64_t i, int64_t bytes) {
    int64_t ring = s->a->cache.ring_tokens;
    return s->row + offset + (s->h * ring + (s->pos + i) % ring) * bytes;
}

/* `dim` elements of a kv-head tensor at entry i. */
static void load(const head_state *s, const nha_cpu_tensor *t, int64_t offset, int64_t i, int64_t dim, int dtype,
                 float *out) {
    int64_t bytes = dim * gen_dtype_bytes(dtype);
    const char *from = i < 0 ? ring_row(s, offset, i, bytes) : tensor_row(s, t, i, s->h, bytes);
    for (int64_t d = 0; d < dim; d++)
        out[d] = (float)tune_load(from, dtype, d);
}

static void map(int kind, float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        x[i] = kind == NHA_MAP_SILU ? x[i] / (1 + expf(-x[i])) : kind == NHA_MAP_RELU ? fmaxf(x[i], 0) : x[i];
}

static void rotate(const nha_problem *p, int64_t position, const float *from, float *to) {
    bool neox = (p->rope == NHA_ROPE_NEOX) != (the_bug == BUG_PAIR);
    int half = p->head_dim_qk / 2;
    for (int i = 0; i < half; i++) {
        int x = neox ? i : 2 * i, y = neox ? i + half : 2 * i + 1;
        double angle = (double)position * the_problem.inv_freq[i];
        float c = (float)cos(angle), sn = (float)sin(angle), u = from[x], w = from[y];
        to[x] = u * c - w * sn;
        to[y] = u * sn + w * c;
    }
}

static float log_gate(const nha_problem *p, float x) {
    if (p->gate_input == NHA_GATE_LOG)
        return x;
    return (fminf(x, 0) - log1pf(expf(-fabsf(x)))) / (the_bug == BUG_NORMALIZER ? 1 : (float)p->gate_normalizer);
}

/* h = e h + s x for entry j, in hk [M,K] and hv [M,V]; gamma (or NULL) collects the logs. t: the step. */
static void absorb(head_state *s, int64_t j, int64_t t, float *gamma) {
    const nha_problem *p = &the_problem.nha;
    const nha_cpu_args *a = s->a;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    int64_t entry = the_bug == BUG_STALE_ABSORB && j < 0 ? j + 1 : j, gate = the_bug == BUG_GATE_TOKEN ? t : j;
    if (entry >= 0 && j < 0)
        entry = j - 1;
    load(s, &a->k, a->cache.k_offset, entry, K, p->dtype, s->k);
    load(s, &a->v, a->cache.v_offset, j, V, p->dtype, s->v);
    int64_t begin = s->begin;
    if (the_bug == BUG_CU_IGNORED && a->cu_seqlens)
        s->begin = 0;
    load(s, &a->gate, a->cache.gate_offset, gate, M, p->gate_dtype, s->gate);
    s->begin = begin;
    if (p->gate_s_given)
        load(s, &a->s, a->cache.s_offset, j, M, p->gate_dtype, s->s);
    map(p->slot_map, s->k, K);
    map(p->value_map, s->v, V);
    for (int64_t m = 0; m < M; m++) {
        float g = log_gate(p, s->gate[m]), change = expm1f(g), weight = p->gate_s_given ? s->s[m] : -change;
        if (the_bug == BUG_NO_DECAY)
            change = 0;
        if (the_bug == BUG_S_IS_E)
            weight = expf(g);
        if (the_bug == BUG_S_NAIVE)
            weight = 1 - expf(g);
        if (the_bug == BUG_NAN)
            change = expf(g) * (1 / expf(g)) * expf(g) - 1;
        if (gamma)
            gamma[m] += g;
        for (int64_t d = 0; d < K; d++)
            s->hk[m * K + d] += change * s->hk[m * K + d] + weight * s->k[d];
        for (int64_t d = 0; d < V; d++)
            s->hv[m * V + d] += change * s->hv[m * V + d] + weight * s->v[d];
        if (the_bug != BUG_STATE_ROUNDED)
            continue;
        for (int64_t d = 0; d < K; d++)
            s->hk[m * K + d] = tune_bf16_to_f32(tune_f64_to_bf16(s->hk[m * K + d]));
    }
}

static float dot(const float *a, const float *b, int64_t count) {
    float sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Key, value of entry j of the window, whose oldest entry is `first`. */
static void load_window(head_state *s, int64_t j, int64_t first) {
    const nha_problem *p = &the_problem.nha;
    const nha_cpu_args *a = s->a;
    int64_t K = p->head_dim_qk, from = the_bug == BUG_STALE_RING && j == first && j < -1 ? j + 1 : j;
    load(s, &a->k, a->cache.k_offset, from, K, p->dtype, s->k);
    load(s, &a->v, a->cache.v_offset, j, p->head_dim_v, p->dtype, s->v);
    if (the_bug != BUG_VALUE_MAP)
        map(p->value_map, s->v, p->head_dim_v);
    if (the_bug == BUG_SLOT_MAP)
        map(p->slot_map, s->k, K);
    if (p->rope == NHA_ROPE_GIVEN)
        load(s, &a->rk, a->cache.rk_offset, from, K, p->dtype, s->rk);
    else if (p->rope == NHA_ROPE_NONE)
        memcpy(s->rk, s->k, (size_t)K * sizeof(float));
    else
        rotate(p, (the_bug == BUG_CACHE_POSITION && j >= 0 ? 0 : s->pos) + j, s->k, s->rk);
}

static void load_query(head_state *s, int64_t t, int64_t head) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, bytes = K * gen_dtype_bytes(p->dtype);
    char *q = tensor_row(s, &s->a->q, t, head, bytes);
    for (int64_t d = 0; d < K; d++)
        s->q[d] = (float)tune_load(q, p->dtype, d);
    if (the_bug == BUG_INPUT)
        tune_store(q, p->dtype, K - 1, s->q[K - 1] * 0.5);
    int64_t position = s->pos + t;
    if (the_bug == BUG_CACHE_POSITION)
        position = t;
    if (the_bug == BUG_POSITION)
        position++;
    if (p->rope == NHA_ROPE_GIVEN) {
        char *rq = tensor_row(s, &s->a->rq, t, head, bytes);
        for (int64_t d = 0; d < K; d++)
            s->rq[d] = (float)tune_load(rq, p->dtype, d);
    } else if (p->rope == NHA_ROPE_NONE)
        memcpy(s->rq, s->q, (size_t)K * sizeof(float));
    else
        rotate(p, position, s->q, s->rq);
    map(p->slot_map, s->q, K);
}

/* Adds exp(score) * value to the online softmax {largest, sum, o}. */
static void mix(head_state *s, float score, const float *value, float *largest, float *sum) {
    int64_t V = the_problem.nha.head_dim_v;
    if (score > *largest) {
        float down = the_bug == BUG_NO_RESCALE && *sum > 0 ? 1 : expf(*largest - score);
        for (int64_t d = 0; d < V; d++)
            s->o[d] *= down;
        *sum *= down;
        *largest = score;
    }
    float weight = expf(score - *largest);
    *sum += weight;
    for (int64_t d = 0; d < V; d++)
        s->o[d] += weight * value[d];
}

static void attend(head_state *s, int64_t t, int64_t g) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, G = the_problem.group;
    int64_t head = the_bug == BUG_GROUP ? g * p->heads_kv + s->h : s->h * G + g;
    float largest = -INFINITY, sum = 0;
    load_query(s, t, head);
    if (the_bug != BUG_SCRATCH)
        memset(s->o, 0, (size_t)V * sizeof(float));
    bool backwards = (the_bug == BUG_NEIGHBOUR && s->a->sequences == 1) || (the_bug == BUG_CALLS && calls % 2);
    for (int64_t c = 0; c < M; c++) {
        int64_t m = backwards ? M - 1 - c : c;
        float score = (float)p->scale * (the_bug == BUG_SCALE ? 1.1f : 1) * dot(s->q, s->hk + m * K, K);
        if (the_bug == BUG_EMPTY_SLOTS && dot(s->hk + m * K, s->hk + m * K, K) == 0)
            continue;
        mix(s, score, s->hv + m * V, &largest, &sum);
    }
    int64_t first = p->window <= s->pos + t ? t - p->window + 1 : -s->pos;
    if (the_bug == BUG_MASK_EARLY && s->pos + first > 0)
        first--;
    if (the_bug == BUG_RUN_RING && s->later && first < 0)
        first = 0;
    if (the_bug == BUG_MASK_LATE && first < t)
        first++;
    int64_t last = the_bug == BUG_MASK_FUTURE && t + 1 < s->length ? t + 1 : t;
    for (int64_t j = first; j <= last; j++) {
        load_window(s, j, first);
        mix(s, (float)p->scale * dot(s->rq, s->rk, K), s->v, &largest, &sum);
    }
    char *o = tensor_row(s, &s->a->o, t, head, V * gen_dtype_bytes(p->dtype));
    bool last_row = t + 1 == s->length && head + 1 == p->heads_q;
    for (int64_t d = 0; d < V; d++) {
        if (the_bug == BUG_PARTIAL_WRITE && last_row && d >= V - 4)
            continue;
        if (the_bug == BUG_LAST_ROW && t + 1 == s->length && t > 4)
            continue;
        float off = the_bug == BUG_ONE_TOKEN && t % 25 == 4 && !head ? 1.07f : 1;
        tune_store(o, p->dtype, d, s->o[d] / sum * off);
    }
    if (the_bug == BUG_WRITE_PAST)
        tune_store(o, p->dtype, V, 0);
    if (!s->a->lse.data)
        return;
    float lse = largest + logf(sum);
    if (the_bug == BUG_LSE_BASE)
        lse *= 1.44269504f;
    memcpy(tensor_row(s, &s->a->lse, t, head, 4), &lse, sizeof lse);
}

/* ---- memory: hk [K,Mp], hv [M,Vp] in states and pool rows ---- */

static int64_t memory_floats(void) {
    const nha_problem *p = &the_problem.nha;
    return NHA_CPU_MEMORY_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots);
}

static int64_t state_floats(void) {
    const nha_problem *p = &the_problem.nha;
    return NHA_CPU_PADDED(NHA_CPU_STATE_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots));
}

static void copy_memory(head_state *s, float *packed, bool out) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    float *hv = packed + K * Mp;
    if (out)
        memset(packed, 0, (size_t)memory_floats() * sizeof *packed);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t d = 0; d < K; d++) {
            float *inside = &packed[d * Mp + m], *own = &s->hk[m * K + d];
            if (out)
                *inside = *own;
            else
                *own = *inside;
        }
        for (int64_t d = 0; d < V; d++) {
            float *inside = &hv[m * Vp + d], *own = &s->hv[m * V + d];
            if (out)
                *inside = *own;
            else
                *own = *inside;
        }
    }
}

static float *pool_memory(const head_state *s) {
    return (float *)(void *)(s->row + s->a->cache.memory_offset) + s->h * memory_floats();
}

static void start_memory(head_state *s) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, task = s->n * p->heads_kv + s->h;
    memset(s->hk, 0, (size_t)(M * K) * sizeof(float));
    memset(s->hv, 0, (size_t)(M * V) * sizeof(float));
    if (!M || the_bug == BUG_NO_MEMORY)
        return;
    if (s->row)
        copy_memory(s, pool_memory(s), false);
    else if (s->a->hk0) {
        memcpy(s->hk, s->a->hk0 + task * M * K, (size_t)(M * K) * sizeof(float));
        memcpy(s->hv, s->a->hv0 + task * M * V, (size_t)(M * V) * sizeof(float));
    }
}

static void finish_memory(head_state *s) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, task = s->n * p->heads_kv + s->h;
    if (!M || (the_bug == BUG_EMPTY && !s->length))
        return;
    if (s->row)
        copy_memory(s, pool_memory(s), true);
    if (!s->a->hk)
        return;
    memcpy(s->a->hk + task * M * K, s->hk, (size_t)(M * K) * sizeof(float));
    memcpy(s->a->hv + task * M * V, s->hv, (size_t)(M * V) * sizeof(float));
    if (the_bug == BUG_WRITE_STATE)
        s->a->hk[(task + 1) * M * K] = 0;
}

/* The step t: absorbs the token `lag` before it, if there is one. */
static void absorb_step(head_state *s, int64_t t, float *gamma) {
    const nha_problem *p = &the_problem.nha;
    int64_t lag = p->slot_lag + (the_bug == BUG_LAG && !(s->row && p->slot_lag >= the_problem.ring));
    if (the_bug == BUG_LAG && lag == p->slot_lag && lag > 0)
        lag--;
    if (the_bug == BUG_TAIL && t + 1 == s->length && s->length > 2)
        return;
    if (the_bug == BUG_TAIL && s->length == 1 && s->row && (s->pos & 3) == 3)
        return;
    if (p->slots && lag <= s->pos + t)
        absorb(s, t - lag, t, gamma);
}

/* ---- phases ---- */

static void prefill_delta(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {
    const nha_problem *p = &the_problem.nha;
    head_state s;
    for (int64_t task = begin; task < end; task++) {
        int64_t row = task / a->pieces, first = task % a->pieces * a->piece_tokens;
        float *gamma = a->states + task * state_floats();
        if (!open_head(&s, a, row / p->heads_kv, row % p->heads_kv, true, scratch) || first >= s.length)
            continue;
        memset(gamma, 0, (size_t)NHA_CPU_PADDED(p->slots) * sizeof *gamma);
        memset(s.hk, 0, (size_t)(p->slots * p->head_dim_qk) * sizeof(float));
        memset(s.hv, 0, (size_t)(p->slots * p->head_dim_v) * sizeof(float));
        for (int64_t t = first; t < first + a->piece_tokens && t < s.length; t++)
            absorb_step(&s, t, gamma);
        copy_memory(&s, gamma + NHA_CPU_PADDED(p->slots), true);
    }
}

static void prefill_scan(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {
    const nha_problem *p = &the_problem.nha;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    head_state s;
    for (int64_t task = begin; task < end; task++) {
        if (!open_head(&s, a, task / p->heads_kv, task % p->heads_kv, true, scratch))
            continue;
        start_memory(&s);
        for (int64_t piece = 0; piece <= a->pieces; piece++) {
            int64_t per_run = a->run_tokens / a->piece_tokens;
            if (piece % per_run == 0)
                copy_memory(&s, a->states_run + (task * a->runs + piece / per_run) * state_floats() + Mp, true);
            if (piece == a->pieces || piece * a->piece_tokens >= s.length)
                continue;
            const float *gamma = a->states + (task * a->pieces + piece) * state_floats(), *hk = gamma + Mp,
                        *hv = hk + K * Mp;
            for (int64_t m = 0; m < M; m++) {
                float decay = the_bug == BUG_GAMMA ? 1 : expf(gamma[m]);
                for (int64_t d = 0; d < K; d++)
                    s.hk[m * K + d] = decay * s.hk[m * K + d] + hk[d * Mp + m];
                for (int64_t d = 0; d < V; d++)
                    s.hv[m * V + d] = decay * s.hv[m * V + d] + hv[m * Vp + d];
            }
        }
    }
}

static void prefill_main(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {
    const nha_problem *p = &the_problem.nha;
    head_state s;
    calls++;
    for (int64_t task = begin; task < end; task++) {
        int64_t row = task / a->runs, run = task % a->runs, first = run * a->run_tokens, last = first + a->run_tokens;
        if (!open_head(&s, a, row / p->heads_kv, row % p->heads_kv, true, scratch) || (run && first >= s.length))
            continue;
        s.later = run > 0;
        if (a->runs == 1)
            last = s.length;
        if (a->runs > 1 && p->slots) {
            if (the_bug != BUG_TASK_ORDER || !run)
                copy_memory(&s, a->states_run + task * state_floats() + NHA_CPU_PADDED(p->slots), false);
        } else if (the_bug != BUG_TASK_ORDER || !s.h)
            start_memory(&s);
        for (int64_t t = first; t < last && t < s.length; t++) {
            absorb_step(&s, t, NULL);
            for (int64_t g = 0; g < the_problem.group; g++)
                attend(&s, t, g);
        }
        if (last >= s.length)
            finish_memory(&s);
    }
}

static void decode_main(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {
    const nha_problem *p = &the_problem.nha;
    head_state s;
    calls++;
    for (int64_t task = begin; task < end; task++) {
        if (!open_head(&s, a, task / p->heads_kv, task % p->heads_kv, false, scratch))
            continue;
        start_memory(&s);
        for (int pass = 0; pass < 2; pass++) {
            if (pass == (the_bug != BUG_RING_EARLY)) {
                const struct {
                    const nha_cpu_tensor *t;
                    int64_t offset, bytes;
                } streams[] = {{&a->k, a->cache.k_offset, (int64_t)p->head_dim_qk * gen_dtype_bytes(p->dtype)},
                               {&a->v, a->cache.v_offset, (int64_t)p->head_dim_v * gen_dtype_bytes(p->dtype)},
                               {&a->gate, a->cache.gate_offset, (int64_t)p->slots * gen_dtype_bytes(p->gate_dtype)},
                               {&a->s, a->cache.s_offset, (int64_t)p->slots * gen_dtype_bytes(p->gate_dtype)},
                               {&a->rk, a->cache.rk_offset, (int64_t)p->head_dim_qk * gen_dtype_bytes(p->dtype)}};
                for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
                    if (streams[i].t->data && !(i == 1 && the_bug == BUG_RING_MISSING))
                        memcpy(ring_row(&s, streams[i].offset, 0, streams[i].bytes),
                               tensor_row(&s, streams[i].t, 0, s.h, streams[i].bytes), (size_t)streams[i].bytes);
                continue;
            }
            absorb_step(&s, 0, NULL);
            for (int64_t g = 0; g < the_problem.group; g++)
                attend(&s, 0, g);
        }
        if (p->slots)
            copy_memory(&s, pool_memory(&s), true);
    }
}

/* ---- the library ---- */

static nha_cpu_code the_prefill = {
    .main = prefill_main, .segment_delta = prefill_delta, .segment_scan = prefill_scan, .delta_cost = 0.3};
static nha_cpu_code the_decode = {.main = decode_main, .block_tokens = 1};
static const nha_kernel the_kernels[] = {
    {.name = "prefill.scalar",
     .op = NHA_PREFILL,
     .kind = NHA_CPU,
     .rank = 100,
     .isa = "baseline",
     .max_tasks = INT64_MAX,
     .max_length = INT64_MAX,
     .cpu = &the_prefill},
    {.name = "decode.scalar",
     .op = NHA_DECODE,
     .kind = NHA_CPU,
     .rank = 100,
     .isa = "baseline",
     .max_tasks = INT64_MAX,
     .max_length = INT64_MAX,
     .cpu = &the_decode},
};
static const nha_library the_library = {.magic = NHA_LIBRARY_MAGIC,
                                        .abi_version = NHA_ABI_VERSION,
                                        .struct_size = sizeof(nha_library),
                                        .name = "scalar",
                                        .generator = "a test",
                                        .problem_count = 1,
                                        .kernel_count = 2,
                                        .problems = &the_problem.nha,
                                        .kernels = the_kernels};

const nha_library *help_scalar_library(const gen_problem *problem, int bug, int block) {
    gen_problem_copy(&the_problem, problem);
    the_bug = bug;
    the_prefill.block_tokens = block;
    the_prefill.scratch_bytes = the_decode.scratch_bytes = scratch_floats(&problem->nha) * (int64_t)sizeof(float);
    if (!problem->nha.slots)
        the_prefill.segment_delta = the_prefill.segment_scan = NULL;
    else
        the_prefill.segment_delta = prefill_delta, the_prefill.segment_scan = prefill_scan;
    return &the_library;
}

#define HELP_BUG_TEXT_(name, where, text)  text,
#define HELP_BUG_WHERE_(name, where, text) where,
const char *help_bug_text(int bug) {
    static const char *const texts[] = {"none", HELP_BUG_LIST(HELP_BUG_TEXT_)};
    return texts[bug];
}

int help_bug_where(int bug) {
    static const int where[] = {0, HELP_BUG_LIST(HELP_BUG_WHERE_)};
    return where[bug];
}
