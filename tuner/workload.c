/* workload.c: see workload.h. A workload holds `sets` copies of everything a call touches; iteration i of any runner
 * uses set i mod sets, so that small problems are not timed from a cache that no real decode would find warm. A sample goes through all
 * sets: in shorter ones that shared a set in a round the first paid for loads that the next ones found in a cache. */
#include "tuner/pages.h"
#include "tuner/workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/cpu/knobs.h"
#include "runtime/nha_library.h"
#include "tuner/case.h"
#include "tuner/convert.h"
#include "tuner/host_run.h"

enum { PATTERN = 1 << 16, SETS_MIN = 4, SETS_MAX = 64, ALIGN = 256 };
/* Bytes after which a set is met as if it had never been in a cache: more than third-level caches keep of a stream. */
static const size_t FORGOTTEN = 512u << 20;
/* Steps a decode may take before a bounded ring is full and the caches are set back. */
enum { BOUNDED_STEPS = 1024 };

typedef enum field { Q, K, V, GATE, S, RQ, RK, O, LSE, FIELDS } field;

typedef struct tensor_shape {
    bool used;
    int64_t heads, dim;
    int dtype;
} tensor_shape;

typedef struct workload {
    tune_workload head;
    const tune_place *place;
    const gen_problem *problem;
    gen_shape shape;
    int sets;
    size_t set_bytes;
    tensor_shape tensors[FIELDS];
    char *data[FIELDS];         /* sets * batch * tokens * heads * dim elements */
    size_t field_bytes[FIELDS]; /* of one set */
    float *hk, *hv;             /* prefill: memory after the last step, one for all sets */
    char *pools;                /* decode: sets * pool_bytes */
    size_t pool_bytes;
    nha_cache_format format;
    bool bounded;  /* the ring is smaller than R */
    int64_t *used; /* decode: steps taken by each set */
} workload;

typedef struct runner {
    tune_runner head;
    workload *workload;
    const nha_library *library;
    nha_plan *plan;
    void *workspace;
    size_t workspace_bytes;
    int64_t next;   /* iterations run so far: picks the set */
    int64_t period; /* decode on the CPU with slots: steps from one update of the memory to the next, else 0 */
} runner;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void describe(const gen_problem *problem, tensor_shape t[FIELDS]) {
    const nha_problem *p = &problem->nha;
    bool rope = p->rope == NHA_ROPE_GIVEN, gate = p->slots > 0;
    t[Q] = (tensor_shape){true, p->heads_q, p->head_dim_qk, p->dtype};
    t[K] = (tensor_shape){true, p->heads_kv, p->head_dim_qk, p->dtype};
    t[V] = (tensor_shape){true, p->heads_kv, p->head_dim_v, p->dtype};
    t[GATE] = (tensor_shape){gate, p->heads_kv, p->slots, p->gate_dtype};
    t[S] = (tensor_shape){gate && p->gate_s_given, p->heads_kv, p->slots, p->gate_dtype};
    t[RQ] = (tensor_shape){rope, p->heads_q, p->head_dim_qk, p->dtype};
    t[RK] = (tensor_shape){rope, p->heads_kv, p->head_dim_qk, p->dtype};
    t[O] = (tensor_shape){true, p->heads_q, p->head_dim_v, p->dtype};
    t[LSE] = (tensor_shape){true, p->heads_q, 1, NHA_F32};
}

/* Values as models have them: q, k, v normal; gate logits around 2, so that a slot forgets 1-2% a token at normalizer
 * 8; log gates alike; s in (0, 1). A pattern of 65536 values is repeated: timing does not depend on more. */
static bool fill(void *data, size_t bytes, field which, const nha_problem *p, int dtype) {
    size_t element = (size_t)gen_dtype_bytes(dtype), block = PATTERN * element;
    char *pattern = malloc(block);
    if (!pattern)
        return false;
    tune_random random = {77 + (uint64_t)which};
    for (int64_t i = 0; i < PATTERN; i++) {
        double normal = tune_random_normal(&random), value = normal;
        if (which == S)
            value = tune_random_unit(&random);
        if (which == GATE)
            value = p->gate_input == NHA_GATE_LOGIT ? 2 + normal : -0.02 * fabs(normal);
        tune_store(pattern, dtype, i, value);
    }
    for (size_t at = 0; at < bytes; at += block)
        memcpy((char *)data + at, pattern, bytes - at < block ? bytes - at : block);
    free(pattern);
    return true;
}

static size_t rounded(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Position of a row at the start: `context` for the first; rows and sets are NHA_CPU_PENDING positions apart by turns, so
 * that every step meets its share of deferred updates. A bounded ring has no token beyond the context. */
static int64_t start_of(const workload *w, int set, int64_t row) {
    int64_t turn = (set + row) % NHA_CPU_PENDING;
    return !w->bounded ? w->head.context + turn : w->head.context > turn ? w->head.context - turn : w->head.context;
}

/* Sets every row of a set's pool to the starting cache: random memory and ring, position start_of. */
static bool reset_pool(workload *w, const nha_library *library, int set, err *e) {
    const nha_problem *p = &w->problem->nha;
    nha_error error;
    bool ok = false;
    nha_cache_image image;
    NHA_INIT(image);
    image.pos = start_of(w, set, 0);
    image.tokens = smaller(w->head.context, w->format.ring);
    size_t tokens = (size_t)image.tokens * (size_t)p->heads_kv;
    size_t memory_k = (size_t)p->heads_kv * (size_t)p->slots * (size_t)p->head_dim_qk * 4;
    size_t memory_v = (size_t)p->heads_kv * (size_t)p->slots * (size_t)p->head_dim_v * 4;
    struct {
        void **place;
        size_t bytes;
        field as;
        int dtype;
        bool used;
    } parts[] = {{(void **)&image.hk, memory_k, V, NHA_F32, p->slots > 0},
                 {(void **)&image.hv, memory_v, V, NHA_F32, p->slots > 0},
                 {&image.k, tokens * (size_t)p->head_dim_qk * (size_t)gen_dtype_bytes(p->dtype), K, p->dtype, true},
                 {&image.v, tokens * (size_t)p->head_dim_v * (size_t)gen_dtype_bytes(p->dtype), V, p->dtype, true},
                 {&image.gate, tokens * (size_t)p->slots * (size_t)gen_dtype_bytes(p->gate_dtype), GATE, p->gate_dtype,
                  p->slots > 0},
                 {&image.s, tokens * (size_t)p->slots * (size_t)gen_dtype_bytes(p->gate_dtype), S, p->gate_dtype,
                  w->tensors[S].used},
                 {&image.rk, tokens * (size_t)p->head_dim_qk * (size_t)gen_dtype_bytes(p->dtype), K, p->dtype,
                  w->tensors[RK].used}};
    size_t count = sizeof parts / sizeof *parts;
    int32_t *rows = malloc((size_t)w->shape.batch * 2 * sizeof *rows);
    if (!rows)
        goto done;
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].used)
            continue;
        *parts[i].place = malloc(parts[i].bytes + 1);
        if (!*parts[i].place || !fill(*parts[i].place, parts[i].bytes, parts[i].as, p, parts[i].dtype))
            goto done;
    }
    char *pool = w->pools + (size_t)set * w->pool_bytes;
    for (int32_t r = 0; r < (int32_t)w->shape.batch; r++) {
        rows[r] = r % NHA_CPU_PENDING;
        rows[w->shape.batch + r] = r;
    }
    int64_t different = smaller(NHA_CPU_PENDING, w->shape.batch), others = w->shape.batch - different;
    for (int64_t r = 0; r < different; r++) {
        image.pos = start_of(w, set, r);
        if (nha_cache_import(library, 0, w->place->device, &w->format, pool, (int32_t)r, &image, NULL, &error) != NHA_OK) {
            tune_nha_error(e, "run", &error);
            goto done;
        }
    }
    if (others > 0 && nha_cache_copy(library, 0, w->place->device, &w->format, pool, rows + w->shape.batch + different, pool, rows,
                                     others, NULL, &error) != NHA_OK) {
        tune_nha_error(e, "run", &error);
        goto done;
    }
    w->used[set] = 0;
    ok = true;
done:
    for (size_t i = 0; i < count; i++)
        free(*parts[i].place);
    free(rows);
    return ok ? true : err_memory(e, "run");
}

/* Position to decode at, and with it the format of the caches: R tokens if the pool then fits into `room` bytes, else
 * as many as do. */
static bool choose_context(workload *w, const nha_library *library, double room, err *e) {
    nha_error error;
    w->format.struct_size = sizeof w->format;
    int64_t bound = 0;
    for (int attempt = 0; attempt < 64; attempt++) {
        NHA_INIT(w->format);
        if (nha_cache_describe(library, 0, w->place->device, bound, &w->format, &error) != NHA_OK) {
            if (error.status != NHA_OUT_OF_MEMORY && error.status != NHA_INVALID_ARGUMENT)
                return tune_nha_error(e, "run", &error);
        } else if ((double)w->format.row_bytes * (double)w->shape.batch <= room) {
            w->bounded = bound > 0 && w->format.tokens < w->format.ring;
            w->head.context = w->bounded ? bound - BOUNDED_STEPS * w->shape.tokens : w->format.ring;
            return true;
        }
        int64_t most = BOUNDED_STEPS * w->shape.tokens;
        int64_t context = bound == 0 ? smaller(w->problem->ring, (int64_t)1 << 24) : (bound - most) / 2;
        if (context < 1)
            break;
        bound = context + most;
    }
    return err_set(e, ERR_INPUT, "run", "the caches of a batch of %lld do not fit in memory; take a smaller batch",
                   (long long)w->shape.batch);
}

/* Half of the memory of the place. */
static double memory_room(const tune_place *place) {
    size_t unused = 0, total = 0;
    if (place->device.kind == NHA_CPU)
        return 0.5 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (tune_place_enter(place, NULL)) {
        if (place->device.driver->cuMemGetInfo_v2(&unused, &total))
            total = 0;
        tune_place_leave(place);
    }
    return 0.5 * (double)total;
}

/* Memory of the place: of the host on huge pages. NULL: none. */
static char *make_room(const tune_place *place, size_t bytes) {
    return place->device.kind == NHA_CPU ? tune_pages(bytes) : tune_place_alloc(place, (int64_t)bytes, NULL);
}

/* The same, filled: see fill(). */
static char *make_field(const tune_place *place, size_t bytes, field which, const nha_problem *p, int dtype) {
    char *data = make_room(place, bytes), *staged = data;
    if (!data)
        return NULL;
    if (place->device.kind == NHA_CUDA)
        staged = malloc(bytes);
    bool ok = staged && fill(staged, bytes, which, p, dtype);
    if (staged != data) {
        ok = ok && tune_place_write(place, data, staged, bytes, NULL);
        free(staged);
    }
    if (ok)
        return data;
    tune_place_free(place, data);
    return NULL;
}

/* The same, zero. */
static void *make_zero(const tune_place *place, size_t bytes) {
    void *zeros = calloc(1, bytes ? bytes : 1);
    if (place->device.kind == NHA_CPU || !zeros)
        return zeros;
    void *data = tune_place_alloc(place, (int64_t)bytes, NULL);
    if (data && !tune_place_write(place, data, zeros, bytes, NULL)) {
        tune_place_free(place, data);
        data = NULL;
    }
    free(zeros);
    return data;
}

bool tune_workload_open(const tune_place *place, const gen_problem *problem, const gen_shape *shape, const nha_library *library,
                        size_t cold_bytes, tune_workload **out, err *e) {
    *out = NULL;
    workload *w = calloc(1, sizeof *w);
    if (!w)
        return err_memory(e, "run");
    w->place = place;
    w->problem = problem;
    w->shape = *shape;
    bool decode = shape->op == NHA_DECODE;
    describe(problem, w->tensors);
    double room = memory_room(place), total = 0;
    for (int f = 0; f < FIELDS; f++) {
        if (!w->tensors[f].used)
            continue;
        double bytes = (double)shape->batch * (double)shape->tokens * (double)w->tensors[f].heads *
                       (double)w->tensors[f].dim * gen_dtype_bytes(w->tensors[f].dtype);
        total += bytes + ALIGN;
        if (total <= room)
            w->field_bytes[f] = rounded((size_t)bytes);
    }
    if (shape->batch > INT32_MAX / 4 || total > room) {
        err_set(e, ERR_INPUT, "run",
                "batch %lld x %lld tokens needs %.1f GB of memory, more than the %.1f GB that may be used",
                (long long)shape->batch, (long long)shape->tokens, total / 1e9, room / 1e9);
        goto failed;
    }
    if (decode) {
        if (!choose_context(w, library, room - total, e))
            goto failed;
        w->pool_bytes = rounded((size_t)w->format.row_bytes * (size_t)shape->batch);
    }
    w->set_bytes = w->pool_bytes + (size_t)total;
    w->sets = 1;
    if (decode) {
        size_t cold = (cold_bytes + w->set_bytes - 1) / w->set_bytes, fit = (size_t)(room / (double)w->set_bytes);
        size_t sets = cold < SETS_MIN ? SETS_MIN : cold > SETS_MAX ? SETS_MAX : cold;
        w->sets = (int)(cold_bytes == 0 || fit < 1 ? 1 : sets <= fit ? sets : fit);
    }
    w->used = calloc((size_t)w->sets, sizeof *w->used);
    if (!w->used)
        goto memory;
    for (int f = 0; f < FIELDS; f++) {
        if (!w->tensors[f].used)
            continue;
        size_t bytes = w->field_bytes[f] * (size_t)w->sets;
        w->data[f] = make_field(place, bytes, (field)f, &problem->nha, w->tensors[f].dtype);
        if (!w->data[f])
            goto memory;
    }
    if (!decode && problem->nha.slots > 0) {
        size_t rows = (size_t)shape->batch * (size_t)problem->nha.heads_kv * (size_t)problem->nha.slots;
        w->hk = make_zero(place, rows * (size_t)problem->nha.head_dim_qk * sizeof *w->hk);
        w->hv = make_zero(place, rows * (size_t)problem->nha.head_dim_v * sizeof *w->hv);
        if (!w->hk || !w->hv)
            goto memory;
    }
    if (decode) {
        w->pools = make_room(place, w->pool_bytes * (size_t)w->sets);
        if (!w->pools)
            goto memory;
        if (place->device.kind == NHA_CPU)
            memset(w->pools, 0, w->pool_bytes * (size_t)w->sets); /* pages are there before the clock runs */
        for (int s = 0; s < w->sets; s++)
            if (!reset_pool(w, library, s, e))
                goto failed;
    }
    w->head.bytes = w->set_bytes * (size_t)w->sets;
    w->head.tasks = shape->batch * problem->nha.heads_kv;
    *out = &w->head;
    return true;
memory:
    err_memory(e, "run");
failed:
    tune_workload_close(&w->head);
    return false;
}

void tune_workload_close(tune_workload *head) {
    workload *w = (workload *)head;
    if (!w)
        return;
    for (int f = 0; f < FIELDS; f++)
        tune_place_free(w->place, w->data[f]);
    tune_place_free(w->place, w->hk);
    tune_place_free(w->place, w->hv);
    tune_place_free(w->place, w->pools);
    free(w->used);
    free(w);
}

/* ---- Runners ---- */

static nha_tensor view(const workload *w, field f, int set, int64_t token) {
    if (!w->tensors[f].used)
        return (nha_tensor){0};
    int64_t head = w->tensors[f].dim, step = w->tensors[f].heads * head;
    char *base = w->data[f] + (size_t)set * w->field_bytes[f];
    return (nha_tensor){.data = base + token * step * gen_dtype_bytes(w->tensors[f].dtype),
                        .stride_batch = w->shape.tokens * step,
                        .stride_token = step,
                        .stride_head = head};
}

static void fill_args(const workload *w, int set, int64_t token, nha_args *a) {
    bool decode = w->shape.op == NHA_DECODE;
    *a = (nha_args){.struct_size = sizeof *a, .sequences = w->shape.batch, .tokens = decode ? 1 : w->shape.tokens};
    nha_tensor *to[FIELDS] = {&a->q, &a->k, &a->v, &a->gate, &a->s, &a->rq, &a->rk, &a->o, &a->lse};
    for (int f = 0; f < FIELDS; f++)
        *to[f] = view(w, (field)f, set, token);
    a->hk = w->hk;
    a->hv = w->hv;
    a->cache = decode ? w->pools + (size_t)set * w->pool_bytes : NULL;
}

static bool run(void *context, int64_t iterations, err *e) {
    runner *r = context;
    workload *w = r->workload;
    int64_t steps = w->shape.op == NHA_DECODE ? w->shape.tokens : 1;
    if (!tune_place_enter(w->place, e))
        return false;
    bool ok = true;
    for (int64_t i = 0; ok && i < iterations; i++) {
        int set = (int)(r->next++ % w->sets);
        for (int64_t t = 0; ok && t < steps; t++) {
            nha_args args;
            nha_error error;
            fill_args(w, set, t, &args);
            if (nha_execute(r->plan, &args, r->workspace, r->workspace_bytes, NULL, &error) != NHA_OK)
                ok = tune_nha_error(e, "run", &error);
        }
        w->used[set] += steps;
    }
    tune_place_leave(w->place);
    return ok && tune_place_wait(w->place, e);
}

/* Gives every head of the rows as many pending tokens as this runner's kernel would have left there, had it run all steps so
 * far: else the first step of a sample would fold what another kernel left, or a deferred one find next to nothing. What
 * they hold does not matter: old tokens, or zeros. */
static void set_pending(const runner *r) {
    const workload *w = r->workload;
    const nha_problem *p = &w->problem->nha;
    int64_t period = r->period, apart = gen_cpu_turn_apart(p->heads_kv, (int)period);
    for (int set = 0; set < w->sets; set++)
        for (int64_t row = 0; row < w->shape.batch; row++) {
            char *at = w->pools + (size_t)set * w->pool_bytes + row * w->format.row_bytes;
            int64_t pos;
            memcpy(&pos, at, sizeof pos);
            int64_t absorbed = pos > p->slot_lag ? pos - p->slot_lag : 0;
            for (int64_t h = 0; h < p->heads_kv; h++)
                at[NHA_CPU_ROW_PENDING + h] = (char)smaller((pos + h * apart) % period, absorbed);
        }
}

/* Sets a bounded ring back before it overflows. */
static bool ready(void *context, int64_t iterations, err *e) {
    runner *r = context;
    workload *w = r->workload;
    if (r->period)
        set_pending(r);
    if (!w->bounded)
        return true;
    int64_t more = (iterations / w->sets + 1) * w->shape.tokens;
    bool reset = false;
    for (int s = 0; s < w->sets; s++)
        if (w->used[s] + more > BOUNDED_STEPS * w->shape.tokens) {
            if (!reset_pool(w, r->library, s, e))
                return false;
            reset = true;
        }
    if (reset && r->period)
        set_pending(r);
    return true;
}

/* Steps from one update of the memory to the next of a decode kernel on the CPU, else 0. */
static int64_t period_of(const nha_library *library, const char *name, const gen_problem *problem) {
    for (int32_t i = 0; problem->nha.slots && i < library->kernel_count; i++) {
        const nha_kernel *k = &library->kernels[i];
        if (k->op == NHA_DECODE && k->kind == NHA_CPU && strcmp(k->name, name) == 0)
            return k->cpu->block_tokens;
    }
    return 0;
}

bool tune_runner_open(tune_workload *head, const nha_library *library, const char *kernel, const char *isa, int threads,
                      tune_runner **out, err *e) {
    *out = NULL;
    workload *w = (workload *)head;
    runner *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "run");
    r->workload = w;
    r->library = library;
    bool decode = w->shape.op == NHA_DECODE;
    nha_error error;
    nha_plan_options o;
    NHA_INIT(o);
    o.op = w->shape.op;
    o.device = w->place->device;
    o.threads = threads;
    o.max_sequences = w->shape.batch;
    o.max_length = decode ? 1 : w->shape.tokens;
    o.cache_tokens = decode ? w->format.tokens : 0;
    o.kernel = kernel;
    o.isa = tune_place_isa(w->place, isa);
    if (nha_plan_create(library, &o, &r->plan, &error) != NHA_OK) {
        tune_nha_error(e, "run", &error);
        goto failed;
    }
    r->period = period_of(library, nha_plan_kernel(r->plan), w->problem);
    r->workspace_bytes = rounded(nha_plan_workspace(r->plan) + 1);
    r->workspace = tune_place_alloc(w->place, (int64_t)r->workspace_bytes, e);
    if (!r->workspace)
        goto failed;
    if (w->place->device.kind == NHA_CPU)
        memset(r->workspace, 0, r->workspace_bytes); /* pages are there before the clock runs */
    const int64_t apart = (int64_t)((FORGOTTEN + w->set_bytes - 1) / w->set_bytes), turn = smaller(apart, w->sets);
    r->head = (tune_runner){.subject = {.run = run, .ready = ready, .context = r, .turn = turn},
                            .max_iterations = w->bounded ? (int64_t)BOUNDED_STEPS * w->sets : 0,
                            .kernel = nha_plan_kernel(r->plan),
                            .workload = head};
    *out = &r->head;
    return true;
failed:
    tune_runner_close(&r->head);
    return false;
}

void tune_runner_close(tune_runner *head) {
    runner *r = (runner *)head;
    if (!r)
        return;
    nha_plan_destroy(r->plan);
    tune_place_free(r->workload->place, r->workspace);
    free(r);
}
