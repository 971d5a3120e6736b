/* verify_divided.c: calls the phases of a prefill kernel (nha_library.h) itself, to divide short sequences as libnha
 * would only divide long ones. See verify_internal.h.
 */
#include <stdlib.h>
#include <string.h>

#include "tuner/verify_guard.h"
#include "tuner/verify_internal.h"
#include "tuner/verify_pool.h"

typedef struct divided {
    const nha_cpu_code *code;
    nha_cpu_args args;
    guard_buffer states, states_run, scratch, o, lse, hk, hv;
    verify_pool pool;
} divided;

static nha_cpu_tensor tensor(const void *data, const tune_batch *batch, int64_t heads, int64_t dim, int64_t element) {
    int64_t token = heads * dim * element;
    return (nha_cpu_tensor){(char *)(uintptr_t)data, batch->tokens * token, token, dim * element};
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void set_arguments(divided *d, const tune_case *test, int64_t blocks) {
    const tune_batch *batch = &test->batch;
    const nha_problem *p = &test->problem.nha;
    nha_cpu_args *a = &d->args;
    nha_cpu_tensor *slot[TUNE_INPUTS] = {&a->q, &a->k, &a->v, &a->gate, &a->s, &a->rq, &a->rk};
    a->sequences = batch->sequences;
    a->tokens = batch->tokens;
    a->cu_seqlens = batch->cu_seqlens;
    a->max_length = tune_batch_longest(batch);
    if (a->max_length < 1)
        a->max_length = 1;
    a->run_tokens = blocks * d->code->block_tokens;
    a->runs = ceil_div(a->max_length, a->run_tokens);
    a->piece_tokens = d->code->block_tokens;
    a->pieces = p->slots ? (a->runs - 1) * blocks : 0;
    int64_t reach = ceil_div(a->max_length + a->cache.ring_tokens, d->code->block_tokens);
    if (p->window)
        a->window_panels = smaller(ceil_div(p->window - 1, d->code->block_tokens), reach) + 1;
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(&test->problem, id);
        if (info.present)
            *slot[id] = tensor(test->data[id], batch, info.heads, info.dim, gen_dtype_bytes(info.dtype));
    }
    a->hk0 = batch->hk0;
    a->hv0 = batch->hv0;
}

static bool make_buffers(divided *d, const tune_case *test) {
    const tune_batch *batch = &test->batch;
    const nha_problem *p = &test->problem.nha;
    nha_cpu_args *a = &d->args;
    size_t state =
        (size_t)NHA_CPU_PADDED(NHA_CPU_STATE_FLOATS(p->head_dim_qk, p->head_dim_v, p->slots)) * sizeof(float);
    size_t tasks = (size_t)(batch->sequences * p->heads_kv),
           total = (size_t)tune_batch_total(batch) * (size_t)p->heads_q;
    size_t element = (size_t)gen_dtype_bytes(p->dtype), row = (size_t)p->slots * sizeof(float);
    if (!guard_create(&d->states, tasks * (size_t)a->pieces * state, 0, 64, false, GUARD_NAN) ||
        !guard_create(&d->states_run, tasks * (size_t)a->runs * state, 0, 64, false, GUARD_NAN) ||
        !guard_create(&d->scratch, (size_t)(d->code->scratch_bytes + d->code->scratch_panel_bytes * a->window_panels),
                      0, 64, false, GUARD_NAN) ||
        !guard_create(&d->o, total * (size_t)p->head_dim_v * element, 0, 16, false, GUARD_NAN) ||
        !guard_create(&d->lse, total * sizeof(float), 0, 4, false, GUARD_NAN) ||
        !guard_create(&d->hk, tasks * row * (size_t)p->head_dim_qk, 0, 4, false, GUARD_NAN) ||
        !guard_create(&d->hv, tasks * row * (size_t)p->head_dim_v, 0, 4, false, GUARD_NAN))
        return false;
    a->states = (float *)d->states.data;
    a->states_run = (float *)d->states_run.data;
    a->o = tensor(d->o.data, batch, p->heads_q, p->head_dim_v, (int64_t)element);
    a->lse = tensor(d->lse.data, batch, p->heads_q, 1, sizeof(float));
    if (p->slots) {
        a->hk = (float *)d->hk.data;
        a->hv = (float *)d->hv.data;
    }
    return true;
}

/* All tasks of a phase, the last first, each on scratch that holds nothing. */
static void run_phase(divided *d, nha_cpu_fn phase, int64_t tasks) {
    for (int64_t task = tasks - 1; phase && task >= 0; task--) {
        guard_fill(&d->scratch, GUARD_NAN);
        phase(&d->args, task, task + 1, d->scratch.data);
    }
}

bool verify_divided(const nha_cpu_code *code, const tune_case *test, int64_t blocks, tune_result *result, err *e) {
    const nha_problem *p = &test->problem.nha;
    divided d = {.code = code};
    memset(result, 0, sizeof *result);
    bool ok = !test->batch.cache || verify_pool_create(test, GUARD_NAN, &d.pool) || err_memory(e, "verify");
    d.args.cache = d.pool.cache;
    set_arguments(&d, test, blocks);
    int64_t tasks = d.args.sequences * p->heads_kv;
    ok = ok && (make_buffers(&d, test) || err_memory(e, "verify"));
    if (ok && d.args.pieces) {
        run_phase(&d, code->segment_delta, tasks * d.args.pieces);
        run_phase(&d, code->segment_scan, tasks);
    }
    if (ok)
        run_phase(&d, code->main, tasks * d.args.runs);
    guard_buffer *all[] = {&d.states, &d.states_run, &d.scratch, &d.o, &d.lse, &d.hk, &d.hv};
    for (size_t i = 0; ok && i < sizeof all / sizeof *all; i++)
        if (!guard_intact(all[i]))
            ok = err_set(e, ERR_MISMATCH, "verify", "divided into runs of %lld blocks: written outside of its buffers",
                         (long long)blocks);
    const char *wrong =
        ok && test->batch.cache ? verify_pool_check(&d.pool, (float *)d.hk.data, (float *)d.hv.data) : NULL;
    if (wrong)
        ok = err_set(e, ERR_MISMATCH, "verify", "divided into runs of %lld blocks: %s", (long long)blocks, wrong);
    void **to[] = {&result->o, (void **)&result->lse, (void **)&result->hk, (void **)&result->hv};
    for (size_t i = 0; ok && i < sizeof to / sizeof *to; i++) {
        guard_buffer *from = all[3 + i];
        if ((ok = (*to[i] = tune_aligned((int64_t)from->bytes)) || err_memory(e, "verify")))
            memcpy(*to[i], from->data, from->bytes);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        guard_destroy(all[i]);
    verify_pool_destroy(&d.pool);
    if (!ok)
        tune_result_destroy(result);
    return ok;
}
