/* help_reference.c: prefill (segment_delta, segment_scan, main) and decode as nha_library.h describes them, a scalar
 * loop over tokens. Arithmetic is double; only what crosses a call, a state or a pool row is fp32. */
#include "tests/runtime/help_reference.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "tests/runtime/help_math.h"

enum { SCRATCH_BYTES = 192, SCRATCH_PANEL_BYTES = 72 };

static atomic_int faults;

int reference_faults(void) {
    return atomic_load(&faults);
}

static void check(bool kept) {
    if (!kept) atomic_fetch_add(&faults, 1);
}

/* ---- One sequence and kv head of a call ---- */

struct view {
    const nha_problem *p;
    const nha_cpu_args *a;
    int64_t n, h, first, length; /* first: token offset of the sequence in its tensors */
    int64_t row, pos;            /* row -1: no cache */
    bool skip;
};

static struct view view_of(const nha_problem *p, const nha_cpu_args *a, int64_t n, int64_t h) {
    struct view v = {.p = p, .a = a, .n = n, .h = h, .length = a->tokens, .row = -1};
    if (a->cu_seqlens) {
        v.first = a->cu_seqlens[n];
        v.length = a->cu_seqlens[n + 1] - v.first;
        v.n = 0;
    }
    if (a->cache.pool) {
        v.row = a->cache.index ? a->cache.index[n] : n;
        v.skip = v.row < 0;
        if (!v.skip) memcpy(&v.pos, a->cache.pool + v.row * a->cache.row_bytes, sizeof v.pos);
    }
    v.n = a->cu_seqlens ? 0 : n;
    return v;
}

enum stream { STREAM_K, STREAM_V, STREAM_GATE, STREAM_S, STREAM_RK };

/* Entry of token t (relative to this call, may be negative) in the rings. */
static char *ring_entry(const struct view *v, int64_t offset, int64_t bytes, int64_t t) {
    const nha_cpu_cache *c = &v->a->cache;
    return c->pool + v->row * c->row_bytes + offset + (v->h * c->ring_tokens + (v->pos + t) % c->ring_tokens) * bytes;
}

static const struct stream_info {
    size_t tensor, offset;
} stream_info[] = {
    {offsetof(nha_cpu_args, k), offsetof(nha_cpu_cache, k_offset)},
    {offsetof(nha_cpu_args, v), offsetof(nha_cpu_cache, v_offset)},
    {offsetof(nha_cpu_args, gate), offsetof(nha_cpu_cache, gate_offset)},
    {offsetof(nha_cpu_args, s), offsetof(nha_cpu_cache, s_offset)},
    {offsetof(nha_cpu_args, rk), offsetof(nha_cpu_cache, rk_offset)},
};

static void stream_shape(const nha_problem *p, enum stream s, int64_t *dim, int *dtype) {
    *dim = s == STREAM_V ? p->head_dim_v : s == STREAM_GATE || s == STREAM_S ? p->slots : p->head_dim_qk;
    *dtype = s == STREAM_GATE || s == STREAM_S ? p->gate_dtype : p->dtype;
}

static char *element(const nha_cpu_tensor *t, const struct view *v, int64_t token, int64_t head) {
    return t->data + v->n * t->batch + (v->first + token) * t->token + head * t->head;
}

/* Token t of this call, or of the cache if t < 0, as raw values. */
static void load(const struct view *v, enum stream s, int64_t t, double *out) {
    int64_t dim, offset;
    int dtype;
    stream_shape(v->p, s, &dim, &dtype);
    memcpy(&offset, (const char *)&v->a->cache + stream_info[s].offset, sizeof offset);
    const nha_cpu_tensor *tensor = (const void *)((const char *)v->a + stream_info[s].tensor);
    const char *from = t >= 0 ? element(tensor, v, t, v->h) : ring_entry(v, offset, dim * math_bytes(dtype), t);
    for (int64_t i = 0; i < dim; i++) out[i] = math_load(dtype, from, i);
}

/* ---- The definition, step by step; memory hk [M][K], hv [M][V] ---- */

struct memory {
    double hk[DIM_MAX * DIM_MAX / 8], hv[DIM_MAX * DIM_MAX / 8], gamma[DIM_MAX]; /* problems here have M <= 32 */
};

/* Absorbs token j into the memory; gamma gathers the log decay. */
static void absorb(const struct view *v, int64_t j, struct memory *memory) {
    const nha_problem *p = v->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots;
    double k[DIM_MAX], x[DIM_MAX], gate[DIM_MAX], s[DIM_MAX];
    if (!M || v->pos + j < 0) return;
    load(v, STREAM_K, j, k);
    load(v, STREAM_V, j, x);
    load(v, STREAM_GATE, j, gate);
    if (p->gate_s_given) load(v, STREAM_S, j, s);
    math_map(p->slot_map, k, K);
    math_map(p->value_map, x, V);
    for (int64_t m = 0; m < M; m++) {
        double g = math_gate(p, gate[m]), e = exp(g), sm = p->gate_s_given ? s[m] : math_s(p, gate[m]);
        for (int64_t d = 0; d < K; d++) memory->hk[m * K + d] = e * memory->hk[m * K + d] + sm * k[d];
        for (int64_t d = 0; d < V; d++) memory->hv[m * V + d] = e * memory->hv[m * V + d] + sm * x[d];
        memory->gamma[m] += g;
    }
}

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Adds one key of score a and value x to a running softmax {top, sum, o[V]}. */
static void mix(double a, const double *x, int64_t V, double *top, double *sum, double *o) {
    double next = fmax(*top, a), keep = exp(*top - next), p = exp(a - next);
    *sum = *sum * keep + p;
    for (int64_t d = 0; d < V; d++) o[d] = o[d] * keep + p * x[d];
    *top = next;
}

/* Output of token t for every query head of this kv head. */
static void attend(const struct view *v, int64_t t, const struct memory *memory) {
    const nha_problem *p = v->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, G = p->heads_q / p->heads_kv;
    for (int64_t head = v->h * G; head < (v->h + 1) * G; head++) {
        double q[DIM_MAX], rq[DIM_MAX], o[DIM_MAX] = {0}, top = -INFINITY, sum = 0;
        const nha_cpu_tensor *rotated = p->rope == NHA_ROPE_GIVEN ? &v->a->rq : &v->a->q;
        for (int64_t d = 0; d < K; d++) {
            q[d] = math_load(p->dtype, element(&v->a->q, v, t, head), d);
            rq[d] = math_load(p->dtype, element(rotated, v, t, head), d);
        }
        math_map(p->slot_map, q, K);
        math_rotate(p, rq, v->pos + t);
        for (int64_t m = 0; m < M; m++)
            mix(p->scale * dot(q, memory->hk + m * K, K), memory->hv + m * V, V, &top, &sum, o);
        int64_t oldest = v->pos + t - p->window + 1;
        for (int64_t j = (oldest < 0 ? 0 : oldest) - v->pos; j <= t; j++) {
            double k[DIM_MAX], x[DIM_MAX];
            load(v, p->rope == NHA_ROPE_GIVEN ? STREAM_RK : STREAM_K, j, k);
            load(v, STREAM_V, j, x);
            math_rotate(p, k, v->pos + j);
            math_map(p->value_map, x, V);
            mix(p->scale * dot(rq, k, K), x, V, &top, &sum, o);
        }
        for (int64_t d = 0; d < V; d++) math_store(p->dtype, element(&v->a->o, v, t, head), d, o[d] / sum);
        if (v->a->lse.data) math_store(NHA_F32, element(&v->a->lse, v, t, head), 0, top + log(sum));
    }
}

/* ---- Memory where the interface keeps it ---- */

/* hk [K,Mp], hv [M,Vp] of a state or pool row. */
static void from_padded(const nha_problem *p, const float *data, struct memory *memory) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t d = 0; d < K; d++) memory->hk[m * K + d] = (double)data[d * Mp + m];
        for (int64_t d = 0; d < V; d++) memory->hv[m * V + d] = (double)data[K * Mp + m * Vp + d];
    }
}

static void to_padded(const nha_problem *p, const struct memory *memory, float *data) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    for (int64_t m = 0; m < Mp; m++)
        for (int64_t d = 0; d < K; d++) data[d * Mp + m] = m < M ? (float)memory->hk[m * K + d] : 0;
    for (int64_t m = 0; m < M; m++)
        for (int64_t d = 0; d < Vp; d++) data[K * Mp + m * Vp + d] = d < V ? (float)memory->hv[m * V + d] : 0;
}

static float *row_memory(const struct view *v) {
    const nha_cpu_cache *c = &v->a->cache;
    return (float *)(void *)(c->pool + v->row * c->row_bytes + c->memory_offset) +
           v->h * NHA_CPU_MEMORY_FLOATS(v->p->head_dim_qk, v->p->head_dim_v, v->p->slots);
}

static int64_t state_floats(const nha_problem *p) {
    return NHA_CPU_PADDED(NHA_CPU_STATE_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots));
}

/* Memory before the first token of the call. */
static void initial(const struct view *v, int64_t n, struct memory *memory) {
    const nha_problem *p = v->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, at = n * p->heads_kv + v->h;
    memset(memory, 0, sizeof *memory);
    if (v->row >= 0) from_padded(p, row_memory(v), memory);
    if (!v->a->hk0) return;
    for (int64_t i = 0; i < M * K; i++) memory->hk[i] = (double)v->a->hk0[at * M * K + i];
    for (int64_t i = 0; i < M * V; i++) memory->hv[i] = (double)v->a->hv0[at * M * V + i];
}

static void final(const struct view *v, int64_t n, const struct memory *memory) {
    const nha_problem *p = v->p;
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, at = n * p->heads_kv + v->h;
    if (v->row >= 0) to_padded(p, memory, row_memory(v));
    if (!v->a->hk) return;
    for (int64_t i = 0; i < M * K; i++) v->a->hk[at * M * K + i] = (float)memory->hk[i];
    for (int64_t i = 0; i < M * V; i++) v->a->hv[at * M * V + i] = (float)memory->hv[i];
}

/* ---- Tasks ---- */

typedef void (*task_fn)(const nha_problem *p, const nha_cpu_args *a, int64_t task, struct memory *memory);

static void delta_task(const nha_problem *p, const nha_cpu_args *a, int64_t task, struct memory *memory) {
    int64_t piece = task % a->pieces, row = task / a->pieces, begin = piece * a->piece_tokens;
    struct view v = view_of(p, a, row / p->heads_kv, row % p->heads_kv);
    float *state = a->states + task * state_floats(p);
    if (v.skip || begin >= v.length) return;
    memset(memory, 0, sizeof *memory);
    for (int64_t t = begin; t < begin + a->piece_tokens && t < v.length; t++) absorb(&v, t - p->slot_lag, memory);
    for (int64_t m = 0; m < NHA_CPU_PADDED(p->slots); m++) state[m] = m < p->slots ? (float)memory->gamma[m] : 0;
    to_padded(p, memory, state + NHA_CPU_PADDED(p->slots));
}

static void scan_task(const nha_problem *p, const nha_cpu_args *a, int64_t task, struct memory *memory) {
    int64_t n = task / p->heads_kv, size = state_floats(p), Mp = NHA_CPU_PADDED(p->slots);
    int64_t K = p->head_dim_qk, V = p->head_dim_v, per_run = a->run_tokens / a->piece_tokens;
    struct view v = view_of(p, a, n, task % p->heads_kv);
    if (v.skip) return;
    initial(&v, n, memory);
    for (int64_t r = 0; r < a->runs; r++) {
        if (r && r * a->run_tokens >= v.length) return;
        to_padded(p, memory, a->states_run + (task * a->runs + r) * size + Mp);
        for (int64_t piece = r * per_run; r < a->runs - 1 && piece < (r + 1) * per_run; piece++) {
            if (piece * a->piece_tokens >= v.length) return;
            const float *state = a->states + (task * a->pieces + piece) * size;
            static _Thread_local struct memory delta;
            from_padded(p, state + Mp, &delta);
            for (int64_t m = 0; m < p->slots; m++) {
                double decay = exp((double)state[m]);
                for (int64_t d = 0; d < K; d++)
                    memory->hk[m * K + d] = decay * memory->hk[m * K + d] + delta.hk[m * K + d];
                for (int64_t d = 0; d < V; d++)
                    memory->hv[m * V + d] = decay * memory->hv[m * V + d] + delta.hv[m * V + d];
            }
        }
    }
}

static void prefill_task(const nha_problem *p, const nha_cpu_args *a, int64_t task, struct memory *memory) {
    int64_t r = task % a->runs, row = task / a->runs, n = row / p->heads_kv, begin = r * a->run_tokens;
    struct view v = view_of(p, a, n, row % p->heads_kv);
    if (v.skip || (r && begin >= v.length)) return;
    int64_t before =
        v.pos + v.length < p->window - 1 ? v.pos + v.length : p->window - 1; /* keys a block may look back to */
    check(!p->window || a->window_panels >= (before + REFERENCE_BLOCK - 1) / REFERENCE_BLOCK + 1);
    int64_t end = begin + a->run_tokens < v.length ? begin + a->run_tokens : v.length;
    if (a->runs > 1 && p->slots)
        from_padded(p, a->states_run + task * state_floats(p) + NHA_CPU_PADDED(p->slots), memory);
    else
        initial(&v, n, memory);
    for (int64_t t = begin; t < end; t++) {
        absorb(&v, t - p->slot_lag, memory);
        attend(&v, t, memory);
    }
    if (end == v.length && p->slots) final(&v, n, memory);
}

static void decode_task(const nha_problem *p, const nha_cpu_args *a, int64_t task, struct memory *memory) {
    struct view v = view_of(p, a, task / p->heads_kv, task % p->heads_kv);
    if (v.skip) return;
    initial(&v, task / p->heads_kv, memory);
    absorb(&v, -p->slot_lag, memory);
    attend(&v, 0, memory);
    if (p->slots) to_padded(p, memory, row_memory(&v));
    for (enum stream s = STREAM_K; s <= STREAM_RK; s++) {
        int64_t dim, offset;
        int dtype;
        stream_shape(p, s, &dim, &dtype);
        memcpy(&offset, (const char *)&a->cache + stream_info[s].offset, sizeof offset);
        const nha_cpu_tensor *tensor = (const void *)((const char *)a + stream_info[s].tensor);
        if (tensor->data)
            memcpy(ring_entry(&v, offset, dim * math_bytes(dtype), 0), element(tensor, &v, 0, v.h),
                   (size_t)(dim * math_bytes(dtype)));
    }
}

/* ---- What every kernel promises and is promised ---- */

static void run(const nha_problem *p, const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch, task_fn fn,
                bool decode) {
    int64_t panels = a->window_panels;
    if (decode) panels = p->window < a->cache.ring_tokens ? p->window : a->cache.ring_tokens;
    char *bytes = scratch;
    int64_t last = SCRATCH_BYTES + SCRATCH_PANEL_BYTES * panels - (int64_t)sizeof(int64_t);
    check((uintptr_t)scratch % 64 == 0 && (uintptr_t)a->states % 64 == 0 && (uintptr_t)a->states_run % 64 == 0);
#if defined(__x86_64__)
    check((_mm_getcsr() & 0xffc0) == 0x9fc0); /* FTZ, DAZ, nearest, all exceptions masked */
#endif
    struct memory *memory = malloc(sizeof *memory);
    for (int64_t task = begin; memory && task < end; task++) {
        int64_t seen[2];
        memcpy(bytes, &task, sizeof task);
        memcpy(bytes + last, &task, sizeof task);
        fn(p, a, task, memory);
        if (task % 3 == 0) sched_yield();
        memcpy(&seen[0], bytes, sizeof task);
        memcpy(&seen[1], bytes + last, sizeof task);
        check(seen[0] == task && seen[1] == task);
    }
    check(memory != NULL);
    free(memory);
}

/* ---- Tables ---- */

static const nha_problem problems[] = {
#define PROBLEM(i, name, K, V, HQ, H, M, W, L, dtype, gate, input, s, rope, slot, value)                               \
    {name, K, V, HQ, H, M, dtype, gate, NHA_F32, input, s, rope, slot, value, W, L, 1.0 / K + 0.2, 8},
    REFERENCE_LIST(PROBLEM)
#undef PROBLEM
};

#define FUNCTIONS(i, ...)                                                                                              \
    static void delta_##i(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {                          \
        run(&problems[i], a, begin, end, scratch, delta_task, false);                                                  \
    }                                                                                                                  \
    static void scan_##i(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {                           \
        run(&problems[i], a, begin, end, scratch, scan_task, false);                                                   \
    }                                                                                                                  \
    static void prefill_##i(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {                        \
        run(&problems[i], a, begin, end, scratch, prefill_task, false);                                                \
    }                                                                                                                  \
    static void decode_##i(const nha_cpu_args *a, int64_t begin, int64_t end, void *scratch) {                         \
        run(&problems[i], a, begin, end, scratch, decode_task, true);                                                  \
    }
REFERENCE_LIST(FUNCTIONS)

static const nha_cpu_code prefill_code[] = {
#define CODE(i, name, K, V, HQ, H, M, ...)                                                                             \
    {prefill_##i, M ? delta_##i : NULL, M ? scan_##i : NULL, REFERENCE_BLOCK, SCRATCH_BYTES, SCRATCH_PANEL_BYTES, 0.1},
    REFERENCE_LIST(CODE)
#undef CODE
};
static const nha_cpu_code decode_code[] = {
#define CODE(i, ...) {decode_##i, NULL, NULL, 1, SCRATCH_BYTES, SCRATCH_PANEL_BYTES, 0},
    REFERENCE_LIST(CODE)
#undef CODE
};

static const nha_kernel kernels[] = {
#define KERNELS(i, ...)                                                                                                \
    {.name = "prefill.reference",                                                                                      \
     .problem = i,                                                                                                     \
     .op = NHA_PREFILL,                                                                                                \
     .rank = 100,                                                                                                      \
     .isa = "baseline",                                                                                                \
     .max_tasks = INT64_MAX,                                                                                           \
     .max_length = INT64_MAX,                                                                                          \
     .cpu = &prefill_code[i]},                                                                                         \
        {.name = "decode.reference",                                                                                   \
         .problem = i,                                                                                                 \
         .op = NHA_DECODE,                                                                                             \
         .rank = 100,                                                                                                  \
         .isa = "baseline",                                                                                            \
         .max_tasks = INT64_MAX,                                                                                       \
         .max_length = INT64_MAX,                                                                                      \
         .cpu = &decode_code[i]},
    REFERENCE_LIST(KERNELS)
#undef KERNELS
};

const nha_library reference_library = {
    .magic = NHA_LIBRARY_MAGIC,
    .abi_version = NHA_ABI_VERSION,
    .struct_size = sizeof(nha_library),
    .name = "reference",
    .generator = "tests",
    .problem_count = REFERENCE_PROBLEMS,
    .kernel_count = 2 * REFERENCE_PROBLEMS,
    .problems = problems,
    .kernels = kernels,
};
