/* verify_exec.c: see verify_exec.h.
 */
#include "tuner/verify_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/verify.h"
#include "tuner/verify_guard.h"

/* A tensor [B,T,heads,dim] in a guarded buffer. Strides in elements. */
typedef struct strided {
    const char *name;
    guard_buffer buffer;
    nha_tensor view;
    int64_t tokens; /* T, or all with cu_seqlens */
    int64_t batch, heads, dim;
    size_t element;
} strided;

enum { OUT_O = TUNE_INPUTS, OUT_LSE, TENSORS };

typedef struct exec_state {
    const verify_plan *plan;
    const tune_case *test;
    const verify_exec *how;
    int64_t first, count; /* sequences that run */
    strided tensor[TENSORS];
    guard_buffer hk0, hv0, hk, hv, pool, workspace, cu, index;
    void *device_pool, *device_workspace; /* pool and workspace themselves: of the place; on the host those above */
    int64_t rows; /* of the pool: row 0 and the last belong to no sequence */
} exec_state;

bool verify_plan_create(const tune_place *place, const nha_library *library, int index, int op, const tune_case *test,
                        const verify_plan_options *options, verify_plan *plan, err *e) {
    const tune_batch *batch = &test->batch;
    nha_plan_options o;
    nha_error error = {0};
    int64_t last = 1, longest = tune_batch_longest(batch), total = tune_batch_total(batch);
    *plan = (verify_plan){.place = place, .library = library, .index = index, .op = op, .pooled = options->pooled || op == NHA_DECODE};
    for (int64_t n = 0; n < batch->sequences; n++) {
        int64_t pos = tune_batch_position(batch, n) + tune_batch_length(batch, n);
        if (pos > last)
            last = pos;
    }
    if (plan->pooled) {
        NHA_INIT(plan->format);
        if (nha_cache_describe(library, index, place->device, last, &plan->format, &error))
            return tune_nha_error(e, "cache", &error);
    }
    NHA_INIT(o);
    o.problem = index;
    o.op = op;
    o.device = place->device;
    o.threads = options->threads;
    o.max_sequences = batch->sequences;
    o.max_length = op == NHA_DECODE ? 1 : longest > 0 ? longest : 1;
    o.max_tokens = op == NHA_DECODE ? 0 : total > 0 ? total : 1;
    o.cache_tokens = plan->pooled ? plan->format.tokens : 0;
    o.kernel = options->kernel;
    o.isa = tune_place_isa(place, options->isa);
    o.parallel_for = options->parallel_for;
    o.parallel_context = options->parallel_context;
    if (op == NHA_PREFILL)
        o.flags = (plan->pooled ? NHA_PLAN_CACHE : 0) | (batch->cu_seqlens ? NHA_PLAN_VARLEN : 0);
    if (nha_plan_create(library, &o, &plan->plan, &error))
        return tune_nha_error(e, "plan", &error);
    return true;
}

void verify_plan_destroy(verify_plan *plan) {
    nha_plan_destroy(plan->plan);
    memset(plan, 0, sizeof *plan);
}

/* ---- tensors ---- */

/* Chooses the strides and makes the buffer, poisoned. `unit`: elements of the alignment that nha.h asks of base and
 * strides. */
static bool make_strided(const exec_state *state, strided *t, const char *name, int64_t heads, int64_t dim,
                         size_t element, int64_t unit, int salt) {
    const tune_batch *batch = &state->test->batch;
    int64_t pad_head = 0, pad_token = 0, pad_batch = 0;
    size_t offset = 0;
    t->name = name;
    t->batch = batch->cu_seqlens ? 1 : batch->sequences;
    t->tokens = batch->tokens;
    t->heads = heads, t->dim = dim, t->element = element;
    if (state->how->layout != VERIFY_CONTIGUOUS) {
        pad_head = unit * (1 + salt % 3);
        pad_token = unit * (salt % 4);
        pad_batch = unit * (2 + salt % 5);
        offset = element * (size_t)unit * (size_t)(1 + salt % 3);
        while (offset >= 64)
            offset -= 16;
    }
    nha_tensor *v = &t->view;
    if (state->how->layout == VERIFY_HEAD_MAJOR) {
        v->stride_token = dim + pad_head;
        v->stride_head = t->tokens * v->stride_token + pad_token;
        v->stride_batch = heads * v->stride_head + pad_batch;
    } else {
        v->stride_head = dim + pad_head;
        v->stride_token = heads * v->stride_head + pad_token;
        v->stride_batch = t->tokens * v->stride_token + pad_batch;
    }
    int64_t extent = 0; /* up to the last element that belongs to the tensor: not one byte more may be touched */
    if (t->batch && t->tokens && dim)
        extent =
            (t->batch - 1) * v->stride_batch + (t->tokens - 1) * v->stride_token + (heads - 1) * v->stride_head + dim;
    if (batch->cu_seqlens)
        v->stride_batch = unit * INT64_C(0x123456789abc); /* is to be ignored */
    if (!guard_create(&t->buffer, (size_t)extent * element, offset, (size_t)unit * element, state->how->fence,
                      state->how->poison))
        return false;
    v->data = t->buffer.data;
    return true;
}

/* Row (dim elements) of token t of batch entry b, head h. */
static char *row_of(const strided *t, int64_t b, int64_t token, int64_t head) {
    int64_t at =
        token * t->view.stride_token + head * t->view.stride_head + (t->batch > 1 ? b * t->view.stride_batch : 0);
    return t->buffer.data + (size_t)at * t->element;
}

/* Between a contiguous array [B,T,heads,dim] and the strided rows, all tokens. */
static void copy_rows(const strided *t, char *contiguous, bool out_of) {
    size_t bytes = (size_t)t->dim * t->element;
    for (int64_t b = 0; b < t->batch; b++)
        for (int64_t token = 0; token < t->tokens; token++)
            for (int64_t head = 0; head < t->heads; head++, contiguous += bytes) {
                char *row = row_of(t, b, token, head);
                if (out_of)
                    memcpy(contiguous, row, bytes);
                else
                    memcpy(row, contiguous, bytes);
            }
}

static bool make_tensors(exec_state *state) {
    const nha_problem *p = &state->test->problem.nha;
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(&state->test->problem, id);
        size_t element = (size_t)gen_dtype_bytes(info.dtype);
        if (!info.present)
            continue;
        int64_t unit = id == TUNE_GATE || id == TUNE_S ? 1 : (int64_t)(16 / element);
        if (!make_strided(state, &state->tensor[id], info.name, info.heads, info.dim, element, unit, id + 1))
            return false;
        copy_rows(&state->tensor[id], state->test->data[id], false);
    }
    size_t element = (size_t)gen_dtype_bytes(p->dtype);
    return make_strided(state, &state->tensor[OUT_O], "o", p->heads_q, p->head_dim_v, element, (int64_t)(16 / element),
                        9) &&
           make_strided(state, &state->tensor[OUT_LSE], "lse", p->heads_q, 1, sizeof(float), 1, 10);
}

static bool make_memory(guard_buffer *buffer, const exec_state *state, const float *from, int64_t dim) {
    const nha_problem *p = &state->test->problem.nha;
    size_t bytes = (size_t)(state->test->batch.sequences * p->heads_kv * p->slots * dim) * sizeof(float);
    if (!guard_create(buffer, bytes, 16, 4, state->how->fence, state->how->poison))
        return false;
    if (from)
        memcpy(buffer->data, from, bytes);
    return true;
}

static bool make_buffers(exec_state *state) {
    const tune_batch *batch = &state->test->batch;
    const nha_problem *p = &state->test->problem.nha;
    int poison = state->how->poison;
    bool fence = state->how->fence, ok = make_tensors(state);
    if (batch->hk0) {
        ok = ok && make_memory(&state->hk0, state, batch->hk0, p->head_dim_qk);
        ok = ok && make_memory(&state->hv0, state, batch->hv0, p->head_dim_v);
    }
    if (p->slots) {
        ok = ok && make_memory(&state->hk, state, NULL, p->head_dim_qk);
        ok = ok && make_memory(&state->hv, state, NULL, p->head_dim_v);
    }
    if (batch->cu_seqlens) { /* of the sequences that run, from 0 */
        ok = ok && guard_create(&state->cu, (size_t)(state->count + 1) * sizeof(int32_t), 4, 4, fence, poison);
        for (int64_t n = 0; ok && n <= state->count; n++)
            ((int32_t *)state->cu.data)[n] = batch->cu_seqlens[state->first + n] - batch->cu_seqlens[state->first];
    }
    if (state->plan->pooled) {
        state->rows = batch->sequences + 2;
        ok = ok && guard_create(&state->index, (size_t)state->count * sizeof(int32_t), 4, 4, fence, poison);
        for (int64_t n = 0; ok && n < state->count; n++) /* in reverse, from the last row but one */
            ((int32_t *)state->index.data)[n] =
                state->first + n == state->how->skip ? -1 : (int32_t)(state->rows - 2 - (state->first + n));
        ok = ok &&
             guard_create(&state->pool, (size_t)(state->rows * state->plan->format.row_bytes), 0, 256, false, poison);
        if (ok &&
            (uintptr_t)state->pool.data % NHA_WORKSPACE_ALIGN) /* the zone before it is a multiple of the alignment */
            ok = false;
    }
    return ok && guard_create(&state->workspace, nha_plan_workspace(state->plan->plan), 0, 256, false, poison);
}

/* Pool and workspace on the device, poisoned. A watched workspace stays undefined: reads of it are seen. */
static bool make_device_memory(exec_state *state, err *e) {
    const tune_place *place = state->plan->place;
    const guard_buffer *pool = &state->pool, *workspace = &state->workspace;
    if (place->device.kind == NHA_CPU) {
        state->device_pool = pool->data;
        state->device_workspace = workspace->data;
        return true;
    }
    if (state->plan->pooled && (!(state->device_pool = tune_place_alloc(place, (int64_t)pool->bytes, e)) ||
                                !tune_place_write(place, state->device_pool, pool->data, pool->bytes, e)))
        return false;
    state->device_workspace = tune_place_alloc(place, (int64_t)workspace->bytes, e);
    return state->device_workspace &&
           (place->watched || tune_place_write(place, state->device_workspace, workspace->data, workspace->bytes, e));
}

static void free_device_memory(exec_state *state) {
    const tune_place *place = state->plan->place;
    if (place->device.kind == NHA_CPU)
        return;
    tune_place_free(place, state->device_pool);
    tune_place_free(place, state->device_workspace);
}

/* ---- caches ---- */

static int32_t row_of_sequence(const exec_state *state, int64_t n) {
    return (int32_t)(state->rows - 2 - n);
}

/* The rows of all sequences as they start; the other rows stay poison. */
static bool fill_pool(exec_state *state, err *e) {
    const tune_batch *batch = &state->test->batch;
    nha_error error = {0};
    for (int64_t n = 0; n < batch->sequences; n++) {
        int32_t row = row_of_sequence(state, n);
        if (nha_cache_reset(state->plan->library, state->plan->index, state->plan->place->device, &state->plan->format, state->device_pool, &row,
                            1, NULL, &error))
            return tune_nha_error(e, "cache reset", &error);
        if (batch->cache && !tune_cache_load(state->plan->place, state->plan->library, &state->test->problem, state->plan->index,
                                             &state->plan->format, state->device_pool, row, batch->cache, n, e))
            return false;
    }
    return true;
}

/* ---- checks ---- */

static bool touched(err *e, const char *name, const char *what) {
    return err_set(e, ERR_MISMATCH, "verify", "%s: %s", name, what);
}

/* Whether sequence n of the case was to be computed. */
static bool runs(const exec_state *state, int64_t n) {
    return n >= state->first && n < state->first + state->count && n != state->how->skip;
}

/* An output's rows of sequences that ran go to `out`, contiguous; everything else must still be poison. */
static bool take_output(exec_state *state, strided *t, char *out, bool written, err *e) {
    const tune_batch *batch = &state->test->batch;
    if (!guard_intact(&t->buffer))
        return touched(e, t->name, "written outside of the tensor");
    copy_rows(t, out, true);
    for (int64_t n = 0; written && n < batch->sequences; n++) {
        if (!runs(state, n))
            continue;
        int64_t begin = batch->cu_seqlens ? batch->cu_seqlens[n] : 0, b = batch->cu_seqlens ? 0 : n;
        for (int64_t i = begin; i < begin + tune_batch_length(batch, n); i++)
            for (int64_t head = 0; head < t->heads; head++)
                memset(row_of(t, b, i, head), state->how->poison, (size_t)t->dim * t->element);
    }
    if (!guard_all(t->buffer.data, t->buffer.bytes, state->how->poison))
        return touched(e, t->name, "written between the rows of the tensor, or for a sequence that was not to run");
    return true;
}

static bool inputs_unchanged(exec_state *state, err *e) {
    for (int id = 0; id < TUNE_INPUTS; id++) {
        strided *t = &state->tensor[id];
        if (!t->buffer.memory)
            continue;
        const char *want = state->test->data[id];
        size_t bytes = (size_t)t->dim * t->element;
        for (int64_t b = 0; b < t->batch; b++)
            for (int64_t token = 0; token < t->tokens; token++)
                for (int64_t head = 0; head < t->heads; head++, want += bytes) {
                    char *row = row_of(t, b, token, head);
                    if (memcmp(row, want, bytes))
                        return touched(e, t->name, "an input was written");
                    memset(row, state->how->poison, bytes);
                }
        if (!guard_intact(&t->buffer) || !guard_all(t->buffer.data, t->buffer.bytes, state->how->poison))
            return touched(e, t->name, "written about an input");
    }
    return true;
}

/* Memory outputs: the sequences that ran are copied to `out`, the rest must be poison (or, in place, what it was). */
static bool take_memory(exec_state *state, const char *name, guard_buffer *buffer, const float *before, int64_t dim,
                        float *out, bool written, err *e) {
    const nha_problem *p = &state->test->problem.nha;
    size_t bytes = (size_t)(p->heads_kv * (int64_t)p->slots * dim) * sizeof(float);
    if (!guard_intact(buffer))
        return touched(e, name, "written outside of the tensor");
    for (int64_t n = 0; n < state->test->batch.sequences; n++) {
        const char *at = buffer->data + (size_t)n * bytes;
        if (written && runs(state, n))
            memcpy((char *)out + (size_t)n * bytes, at, bytes);
        else if (before ? memcmp(at, (const char *)before + (size_t)n * bytes, bytes) != 0
                        : !guard_all(at, bytes, state->how->poison))
            return touched(e, name, "written for a sequence that was not to run");
    }
    return true;
}

static bool take_pool(exec_state *state, tune_result *result, err *e) {
    const tune_case *test = state->test;
    const nha_problem *p = &test->problem.nha;
    size_t row_bytes = (size_t)state->plan->format.row_bytes;
    if (state->device_pool != state->pool.data &&
        !tune_place_read(state->plan->place, state->pool.data, state->device_pool, state->pool.bytes, e))
        return false;
    if (!guard_intact(&state->pool) || !guard_all(state->pool.data, row_bytes, state->how->poison) ||
        !guard_all(state->pool.data + (size_t)(state->rows - 1) * row_bytes, row_bytes, state->how->poison))
        return touched(e, "cache", "a row of the pool was written that no sequence has");
    if (!tune_cache_after(&test->problem, &test->batch, &result->cache, e))
        return false; /* for its sizes */
    result->has_cache = true;
    for (int64_t n = 0; n < test->batch.sequences; n++)
        if (!tune_cache_save(state->plan->place, state->plan->library, &test->problem, state->plan->index, &state->plan->format,
                             state->device_pool, row_of_sequence(state, n), &result->cache, n, e))
            return false;
    size_t rows = (size_t)(test->batch.sequences * p->heads_kv * p->slots);
    if (rows) {
        memcpy(result->hk, result->cache.hk, rows * (size_t)p->head_dim_qk * sizeof(float));
        memcpy(result->hv, result->cache.hv, rows * (size_t)p->head_dim_v * sizeof(float));
    }
    return true;
}

/* ---- execution ---- */

static nha_tensor view_at(const exec_state *state, int id, int64_t token) {
    const strided *t = &state->tensor[id];
    nha_tensor view = t->view;
    int64_t skip = token * view.stride_token;
    if (!view.data)
        return view;
    if (state->test->batch.cu_seqlens)
        skip += state->test->batch.cu_seqlens[state->first] * view.stride_token;
    else if (t->batch > 1)
        skip += state->first * view.stride_batch;
    if (t->tokens)
        view.data = (char *)view.data + skip * (int64_t)t->element;
    return view;
}

/* One execution: the tokens [token, token + tokens) of each sequence. */
static bool execute(exec_state *state, int64_t token, int64_t tokens, err *e) {
    const verify_exec *how = state->how;
    const tune_batch *batch = &state->test->batch;
    const nha_problem *p = &state->test->problem.nha;
    int64_t rows = (int64_t)p->heads_kv * p->slots * state->first;
    nha_args args;
    NHA_INIT(args);
    args.sequences = state->count;
    args.tokens = tokens;
    if (batch->cu_seqlens) {
        args.cu_seqlens = (const int32_t *)state->cu.data;
        args.tokens = args.cu_seqlens[state->count];
    }
    nha_tensor *slot[TENSORS] = {&args.q,  &args.k,  &args.v, &args.gate, &args.s,
                                 &args.rq, &args.rk, &args.o, &args.lse};
    for (int id = 0; id < TENSORS; id++)
        *slot[id] = view_at(state, id, token);
    if (how->bare)
        memset(&args.lse, 0, sizeof args.lse);
    if (state->plan->pooled) {
        args.cache = state->device_pool;
        args.cache_index = (const int32_t *)state->index.data;
    }
    if (batch->hk0) {
        args.hk0 = (const float *)state->hk0.data + rows * p->head_dim_qk;
        args.hv0 = (const float *)state->hv0.data + rows * p->head_dim_v;
    }
    if (p->slots && state->plan->op == NHA_PREFILL && !(how->bare && state->plan->pooled)) {
        guard_buffer *hk = how->in_place && batch->hk0 ? &state->hk0 : &state->hk;
        guard_buffer *hv = how->in_place && batch->hk0 ? &state->hv0 : &state->hv;
        args.hk = (float *)hk->data + rows * p->head_dim_qk;
        args.hv = (float *)hv->data + rows * p->head_dim_v;
    }
    return tune_place_execute(state->plan->place, state->plan->plan, &state->test->problem, state->plan->op, &args,
                              state->device_workspace, nha_plan_workspace(state->plan->plan), e);
}

static bool same_memory(const nha_problem *p, const float *exact, const float *held, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!tune_state_holds(p, exact[i], held[i]))
            return false;
    return true;
}

static bool take_results(exec_state *state, tune_result *result, err *e) {
    const verify_exec *how = state->how;
    const tune_batch *batch = &state->test->batch;
    const nha_problem *p = &state->test->problem.nha;
    bool in_place = how->in_place && batch->hk0,
         memory = state->plan->op == NHA_PREFILL && !(how->bare && state->plan->pooled);
    if (!take_output(state, &state->tensor[OUT_O], result->o, true, e) ||
        !take_output(state, &state->tensor[OUT_LSE], (char *)result->lse, !how->bare, e) || !inputs_unchanged(state, e))
        return false;
    if (batch->hk0 && (!take_memory(state, "hk0", &state->hk0, batch->hk0, p->head_dim_qk, result->hk, in_place, e) ||
                       !take_memory(state, "hv0", &state->hv0, batch->hv0, p->head_dim_v, result->hv, in_place, e)))
        return false;
    if (p->slots && (!take_memory(state, "hk", &state->hk, NULL, p->head_dim_qk, result->hk, memory && !in_place, e) ||
                     !take_memory(state, "hv", &state->hv, NULL, p->head_dim_v, result->hv, memory && !in_place, e)))
        return false;
    if (!guard_intact(&state->workspace))
        return touched(e, "workspace", "written outside of it");
    if ((state->cu.memory && !guard_intact(&state->cu)) || (state->index.memory && !guard_intact(&state->index)))
        return touched(e, "cu_seqlens or cache_index", "written about an input");
    if (!state->plan->pooled)
        return true;
    /* Where the pool and hk, hv both hold the memory, they are the same bits, or rounded there. */
    int64_t slots = batch->sequences * p->heads_kv * p->slots;
    if (!take_pool(state, result, e))
        return false;
    bool all = state->count == batch->sequences && how->skip < 0;
    if (memory && p->slots && all &&
        !(same_memory(p, (const float *)state->hk.data, result->hk, slots * p->head_dim_qk) &&
          same_memory(p, (const float *)state->hv.data, result->hv, slots * p->head_dim_v)))
        return touched(e, "hk, hv", "not the memory that the cache holds");
    return true;
}

static bool make_result(const exec_state *state, tune_result *result) {
    const nha_problem *p = &state->test->problem.nha;
    int64_t total = tune_batch_total(&state->test->batch), rows = state->test->batch.sequences * p->heads_kv * p->slots;
    memset(result, 0, sizeof *result);
    if (!(result->o = tune_aligned(total * p->heads_q * p->head_dim_v * gen_dtype_bytes(p->dtype))) ||
        !(result->lse = tune_aligned(total * p->heads_q * (int64_t)sizeof(float))))
        return false;
    if (!p->slots)
        return true;
    int64_t bytes_k = rows * p->head_dim_qk * (int64_t)sizeof(float),
            bytes_v = rows * p->head_dim_v * (int64_t)sizeof(float);
    if (!(result->hk = tune_aligned(bytes_k)) || !(result->hv = tune_aligned(bytes_v)))
        return false;
    memset(result->hk, state->how->poison, (size_t)bytes_k);
    memset(result->hv, state->how->poison, (size_t)bytes_v);
    return true;
}

bool verify_execute(const verify_plan *plan, const tune_case *test, const verify_exec *how, tune_result *result,
                    err *e) {
    exec_state state = {.plan = plan, .test = test, .how = how, .first = how->first, .count = how->count};
    if (!how->count)
        state.first = 0, state.count = test->batch.sequences;
    bool ok = (make_result(&state, result) && make_buffers(&state)) || err_memory(e, "verify");
    ok = ok && make_device_memory(&state, e);
    if (ok && plan->pooled)
        ok = fill_pool(&state, e);
    if (ok && plan->op == NHA_PREFILL)
        ok = execute(&state, 0, test->batch.tokens, e);
    for (int64_t t = 0; ok && plan->op == NHA_DECODE && t < test->batch.tokens; t++) {
        if (t && plan->place->device.kind == NHA_CPU)
            guard_fill(&state.workspace, how->poison); /* nothing may be kept there from step to step */
        ok = execute(&state, t, 1, e);
    }
    ok = ok && take_results(&state, result, e);
    if (ok)
        snprintf(result->kernel[plan->op], sizeof result->kernel[plan->op], "%s", nha_plan_kernel(plan->plan));
    free_device_memory(&state);
    guard_buffer *all[] = {&state.hk0,  &state.hv0,       &state.hk, &state.hv,
                           &state.pool, &state.workspace, &state.cu, &state.index};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        guard_destroy(all[i]);
    for (int i = 0; i < TENSORS; i++)
        guard_destroy(&state.tensor[i].buffer);
    if (!ok)
        tune_result_destroy(result);
    return ok;
}
