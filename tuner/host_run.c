/* host_run.c: plan, workspace, execute, on contiguous host tensors. See host_run.h.
 */
#include "tuner/host_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_plan {
    int op;
    const char *kernel; /* by name, or NULL */
    nha_plan *plan;
    void *workspace;
} run_plan;

typedef struct host_run {
    const nha_library *library;
    const gen_problem *problem;
    const tune_batch *batch;
    const tune_run_options *options;
    const tune_place *place;
    tune_result *result;
    run_plan plans[TUNE_RUN_PLANS]; /* made when first needed */
    int plan_count;
    bool cut;              /* into pieces, which are packed */
    int64_t longest_piece; /* most tokens of one sequence in one prefill */
    nha_cache_format format;
    void *pool;                /* N rows, or NULL */
    int64_t *done;             /* [N] tokens of each sequence that have been run */
    void *gather[TUNE_INPUTS]; /* a piece, packed; [total] tokens at most */
    void *piece_o;
    float *piece_lse;
    int32_t *piece_cu, *index; /* [N+1], [N] */
} host_run;

/* Contiguous [B,T,heads,dim]. */
static nha_tensor contiguous(const void *data, int64_t tokens, int64_t heads, int64_t dim) {
    return (nha_tensor){(void *)(uintptr_t)data, tokens * heads * dim, heads * dim, dim};
}

static run_plan *find_plan(host_run *run, int op, const char *kernel) {
    for (int i = 0; i < run->plan_count; i++) {
        run_plan *p = &run->plans[i];
        if (p->op == op && (p->kernel == kernel || (p->kernel && kernel && !strcmp(p->kernel, kernel))))
            return p;
    }
    return NULL;
}

static run_plan *make_plan(host_run *run, int op, const char *kernel, err *e) {
    nha_plan_options options;
    nha_error error = {0};
    run_plan *p = find_plan(run, op, kernel);
    if (p)
        return p;
    if (run->plan_count == TUNE_RUN_PLANS) {
        err_set(e, ERR_INTERNAL, "run", "cuts for more than %d kernels", TUNE_RUN_PLANS);
        return NULL;
    }
    p = &run->plans[run->plan_count++];
    *p = (run_plan){.op = op, .kernel = kernel};
    NHA_INIT(options);
    options.problem = run->options->problem;
    options.op = op;
    options.device = run->place->device;
    options.threads = run->options->threads;
    options.max_sequences = run->batch->sequences;
    options.max_length = op == NHA_DECODE ? 1 : run->longest_piece > 0 ? run->longest_piece : 1;
    options.cache_tokens = run->pool ? run->format.tokens : 0;
    options.kernel = kernel;
    options.isa = tune_place_isa(run->place, run->options->isa);
    if (op == NHA_PREFILL) {
        int64_t total = tune_batch_total(run->batch);
        options.max_tokens = total > 0 ? total : 1;
        options.flags = NHA_PLAN_DEBUG | (run->pool ? NHA_PLAN_CACHE : 0) |
                        (run->batch->cu_seqlens || run->cut ? NHA_PLAN_VARLEN : 0);
    }
    if (nha_plan_create(run->library, &options, &p->plan, &error)) {
        tune_nha_error(e, "plan", &error);
        return NULL;
    }
    snprintf(run->result->kernel[op], sizeof run->result->kernel[op], "%s", nha_plan_kernel(p->plan));
    p->workspace = tune_place_alloc(run->place, (int64_t)nha_plan_workspace(p->plan), e);
    return p->workspace ? p : NULL;
}

static bool execute(host_run *run, int op, const char *kernel, const nha_args *args, err *e) {
    const run_plan *p = make_plan(run, op, kernel ? kernel : run->options->kernel[op], e);
    return p && tune_place_execute(run->place, p->plan, run->problem, op, args, p->workspace,
                                   nha_plan_workspace(p->plan), e);
}

/* The arguments common to all executions: tensors of `tokens` tokens (per sequence) at `data`. */
static void set_tensors(const host_run *run, nha_args *args, int64_t tokens, const void *const data[TUNE_INPUTS],
                        void *o, float *lse) {
    const nha_problem *p = &run->problem->nha;
    nha_tensor *slot[TUNE_INPUTS] = {&args->q, &args->k, &args->v, &args->gate, &args->s, &args->rq, &args->rk};
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(run->problem, id);
        if (info.present)
            *slot[id] = contiguous(data[id], tokens, info.heads, info.dim);
    }
    args->o = contiguous(o, tokens, p->heads_q, p->head_dim_v);
    args->lse = contiguous(lse, tokens, p->heads_q, 1);
    args->cache = run->pool;
}

/* Everything in one prefill, straight from and to the caller's arrays. */
static bool run_whole(host_run *run, err *e) {
    const tune_batch *batch = run->batch;
    nha_args args;
    const void *data[TUNE_INPUTS];
    for (int id = 0; id < TUNE_INPUTS; id++)
        data[id] = tune_batch_tensor(batch, id);
    NHA_INIT(args);
    args.sequences = batch->sequences;
    args.tokens = batch->tokens;
    args.cu_seqlens = batch->cu_seqlens;
    set_tensors(run, &args, batch->tokens, data, run->result->o, run->result->lse);
    if (!run->pool) {
        args.hk0 = batch->hk0;
        args.hv0 = batch->hv0;
    }
    args.hk = run->result->hk;
    args.hv = run->result->hv;
    return execute(run, NHA_PREFILL, NULL, &args, e);
}

/* Copies between the caller's arrays and the packed piece: length[n] tokens of each sequence from done[n] on. */
static void gather(host_run *run, const int64_t *offset, const int64_t *length) {
    for (int id = 0; id < TUNE_INPUTS; id++) {
        size_t row = tune_tensor(run->problem, id).row_bytes;
        for (int64_t n = 0; row && n < run->batch->sequences; n++)
            memcpy((char *)run->gather[id] + (size_t)offset[n] * row,
                   (const char *)tune_batch_tensor(run->batch, id) +
                       (size_t)(tune_batch_begin(run->batch, n) + run->done[n]) * row,
                   (size_t)length[n] * row);
    }
}

static void scatter(host_run *run, const int64_t *offset, const int64_t *length) {
    const nha_problem *p = &run->problem->nha;
    size_t row_o = (size_t)p->heads_q * (size_t)p->head_dim_v * (size_t)gen_dtype_bytes(p->dtype);
    size_t row_lse = (size_t)p->heads_q * sizeof(float);
    for (int64_t n = 0; n < run->batch->sequences; n++) {
        size_t to = (size_t)(tune_batch_begin(run->batch, n) + run->done[n]), from = (size_t)offset[n];
        memcpy((char *)run->result->o + to * row_o, (char *)run->piece_o + from * row_o, (size_t)length[n] * row_o);
        memcpy((char *)run->result->lse + to * row_lse, (char *)run->piece_lse + from * row_lse,
               (size_t)length[n] * row_lse);
    }
}

/* The next `tokens` tokens of each sequence, with one execution. Decode: one token; sequences that have ended are
 * skipped. */
static bool run_piece(host_run *run, int op, int64_t tokens, const char *kernel, err *e) {
    int64_t sequences = run->batch->sequences, total = 0;
    int64_t *offset = calloc((size_t)sequences * 2, sizeof *offset), *length = offset + sequences;
    if (!offset)
        return err_memory(e, "run");
    for (int64_t n = 0; n < sequences; n++) {
        int64_t left = tune_batch_length(run->batch, n) - run->done[n];
        length[n] = left < tokens ? left : tokens;
        offset[n] = total;
        run->piece_cu[n] = (int32_t)total;
        run->index[n] = op == NHA_DECODE && !length[n] ? -1 : (int32_t)n;
        total += op == NHA_DECODE ? 1 : length[n];
    }
    run->piece_cu[sequences] = (int32_t)total;
    gather(run, offset, length);

    nha_args args;
    NHA_INIT(args);
    args.sequences = sequences;
    args.tokens = op == NHA_DECODE ? 1 : total;
    args.cu_seqlens = op == NHA_DECODE ? NULL : run->piece_cu;
    set_tensors(run, &args, op == NHA_DECODE ? 1 : total, (const void *const *)run->gather, run->piece_o,
                run->piece_lse);
    args.cache_index = run->index;
    bool ok = execute(run, op, kernel, &args, e);
    if (ok)
        scatter(run, offset, length);
    for (int64_t n = 0; ok && n < sequences; n++)
        run->done[n] += length[n];
    free(offset);
    return ok;
}

/* Every row out of the pool and back into it. */
static bool move_caches(host_run *run, err *e) {
    tune_cache cache = {0};
    bool ok = tune_cache_after(run->problem, run->batch, &cache, e); /* at the end of the run: large enough before it */
    for (int64_t n = 0; ok && n < run->batch->sequences; n++)
        ok = tune_cache_save(run->place, run->library, run->problem, run->options->problem, &run->format, run->pool,
                             (int32_t)n, &cache, n, e) &&
             tune_cache_load(run->place, run->library, run->problem, run->options->problem, &run->format, run->pool,
                             (int32_t)n, &cache, n, e);
    tune_cache_destroy(&cache);
    return ok;
}

static int64_t tokens_left(const host_run *run) {
    int64_t most = 0;
    for (int64_t n = 0; n < run->batch->sequences; n++) {
        int64_t left = tune_batch_length(run->batch, n) - run->done[n];
        if (left > most)
            most = left;
    }
    return most;
}

static bool run_cuts(host_run *run, err *e) {
    int64_t sequences = run->batch->sequences, total = tune_batch_total(run->batch), most = total;
    if (sequences > most)
        most = sequences; /* a decode step has a row for each sequence */
    const nha_problem *p = &run->problem->nha;
    bool ok = (run->piece_cu = calloc((size_t)sequences + 1, sizeof *run->piece_cu)) != NULL;
    ok = ok && (run->index = calloc((size_t)sequences, sizeof *run->index));
    ok = ok && (run->piece_o = tune_aligned(most * p->heads_q * p->head_dim_v * gen_dtype_bytes(p->dtype)));
    ok = ok && (run->piece_lse = tune_aligned(most * p->heads_q * (int64_t)sizeof(float)));
    for (int id = 0; ok && id < TUNE_INPUTS; id++) {
        int64_t bytes = most * (int64_t)tune_tensor(run->problem, id).row_bytes;
        if ((ok = (run->gather[id] = tune_aligned(bytes)) != NULL))
            memset(run->gather[id], 0, (size_t)bytes);
    }
    if (!ok)
        return err_memory(e, "run");
    for (int i = 0; tokens_left(run); i += i + 1 < run->options->cut_count) {
        const tune_cut *cut = &run->options->cuts[i];
        if (cut->tokens < 1)
            return err_set(e, ERR_INTERNAL, "run", "a cut of no tokens");
        int64_t left = tokens_left(run), tokens = cut->tokens < left ? cut->tokens : left;
        if (cut->op == NHA_PREFILL && !run_piece(run, NHA_PREFILL, tokens, cut->kernel, e))
            return false;
        for (int64_t t = 0; cut->op == NHA_DECODE && t < tokens; t++)
            if (!run_piece(run, NHA_DECODE, 1, cut->kernel, e))
                return false;
        if (cut->moved && !move_caches(run, e))
            return false;
    }
    return true;
}

/* Cache n as libnha's image, borrowed; position and memory alone if `tokens` is 0. */
static nha_cache_image image_of(const gen_problem *problem, const tune_cache *cache, int64_t n) {
    const nha_problem *p = &problem->nha;
    nha_cache_image image;
    NHA_INIT(image);
    image.pos = cache->pos[n];
    image.tokens = cache->tokens;
    int64_t rows = (int64_t)p->heads_kv * p->slots;
    if (p->slots) {
        image.hk = cache->hk + n * rows * p->head_dim_qk;
        image.hv = cache->hv + n * rows * p->head_dim_v;
    }
    void **slot[TUNE_INPUTS] = {NULL, &image.k, &image.v, &image.gate, &image.s, NULL, &image.rk};
    for (int id = 0; id < TUNE_INPUTS; id++) {
        char *array = tune_cache_tensor(cache, id);
        if (array)
            *slot[id] = array + (size_t)(n * cache->tokens) * tune_tensor(problem, id).row_bytes;
    }
    return image;
}

bool tune_cache_load(const tune_place *place, const nha_library *library, const gen_problem *problem, int index, const nha_cache_format *format,
                     void *pool, int32_t row, const tune_cache *cache, int64_t n, err *e) {
    nha_cache_image image = image_of(problem, cache, n);
    nha_error error = {0};
    return !nha_cache_import(library, index, place->device, format, pool, row, &image, NULL, &error) ||
           tune_nha_error(e, "cache import", &error);
}

bool tune_cache_save(const tune_place *place, const nha_library *library, const gen_problem *problem, int index, const nha_cache_format *format,
                     const void *pool, int32_t row, tune_cache *cache, int64_t n, err *e) {
    nha_cache_image image = image_of(problem, cache, n);
    nha_error error = {0};
    if (nha_cache_export(library, index, place->device, format, pool, row, &image, NULL, &error))
        return tune_nha_error(e, "cache export", &error);
    cache->pos[n] = image.pos;
    return true;
}

/* Pool of N rows, sequence n in row n, at the batch's start: its caches, else position 0 with hk0 and hv0. */
static bool open_pool(host_run *run, err *e) {
    const tune_batch *batch = run->batch;
    const nha_problem *p = &run->problem->nha;
    int64_t last = 1, bytes;
    nha_error error = {0};
    tune_cache fresh = {0};
    for (int64_t n = 0; n < batch->sequences; n++) {
        int64_t pos;
        if (__builtin_add_overflow(tune_batch_position(batch, n), tune_batch_length(batch, n), &pos))
            return err_set(e, ERR_INPUT, "run", "the position of sequence %lld overflows", (long long)n);
        int64_t seen = tune_batch_position(batch, n), need = seen < run->problem->ring ? seen : run->problem->ring;
        if (seen < 0 || (batch->cache && batch->cache->tokens < need)) /* before a pool is made by that position */
            return err_set(e, ERR_INPUT, "run", "cache %lld is at position %lld, but holds %lld tokens", (long long)n,
                           (long long)seen, (long long)batch->cache->tokens);
        if (pos > last)
            last = pos;
    }
    NHA_INIT(run->format);
    if (nha_cache_describe(run->library, run->options->problem, run->place->device, last, &run->format, &error))
        return tune_nha_error(e, "cache", &error);
    if (!tune_size_mul(batch->sequences, run->format.row_bytes, &bytes))
        return err_memory(e, "run");
    run->pool = tune_place_alloc(run->place, bytes, e);
    if (!run->pool)
        return false;
    if (nha_cache_reset(run->library, run->options->problem, run->place->device, &run->format, run->pool, NULL, batch->sequences, NULL,
                        &error))
        return tune_nha_error(e, "cache reset", &error);
    bool ok = true, memory = !batch->cache && batch->hk0 && p->slots;
    if (memory && (ok = tune_cache_create(run->problem, batch->sequences, 0, &fresh, e))) {
        size_t rows = (size_t)batch->sequences * (size_t)p->heads_kv * (size_t)p->slots;
        memcpy(fresh.hk, batch->hk0, rows * (size_t)p->head_dim_qk * sizeof *fresh.hk);
        memcpy(fresh.hv, batch->hv0, rows * (size_t)p->head_dim_v * sizeof *fresh.hv);
    }
    const tune_cache *from = memory ? &fresh : batch->cache;
    for (int64_t n = 0; ok && from && n < batch->sequences; n++)
        ok = tune_cache_load(run->place, run->library, run->problem, run->options->problem, &run->format, run->pool, (int32_t)n,
                             from, n, e);
    tune_cache_destroy(&fresh);
    return ok;
}

/* result.cache, and hk, hv from it. */
static bool save_pool(host_run *run, err *e) {
    const nha_problem *p = &run->problem->nha;
    tune_result *result = run->result;
    if (!tune_cache_after(run->problem, run->batch, &result->cache, e))
        return false; /* for its sizes */
    result->has_cache = true;
    for (int64_t n = 0; n < run->batch->sequences; n++)
        if (!tune_cache_save(run->place, run->library, run->problem, run->options->problem, &run->format, run->pool, (int32_t)n,
                             &result->cache, n, e))
            return false;
    if (p->slots) {
        size_t rows = (size_t)run->batch->sequences * (size_t)p->heads_kv * (size_t)p->slots;
        memcpy(result->hk, result->cache.hk, rows * (size_t)p->head_dim_qk * sizeof *result->hk);
        memcpy(result->hv, result->cache.hv, rows * (size_t)p->head_dim_v * sizeof *result->hv);
    }
    return true;
}

static bool create_result(const gen_problem *problem, const tune_batch *batch, tune_result *result, err *e) {
    const nha_problem *p = &problem->nha;
    int64_t total = tune_batch_total(batch), rows = (int64_t)p->heads_kv * p->slots, o, lse, hk = 0, hv = 0;
    memset(result, 0, sizeof *result);
    bool ok = tune_size_mul(total, (int64_t)p->heads_q * p->head_dim_v * gen_dtype_bytes(p->dtype), &o) &&
              tune_size_mul(total, p->heads_q * (int64_t)sizeof(float), &lse) &&
              tune_size_mul(batch->sequences, rows * p->head_dim_qk * (int64_t)sizeof(float), &hk) &&
              tune_size_mul(batch->sequences, rows * p->head_dim_v * (int64_t)sizeof(float), &hv);
    ok = ok && (result->o = tune_aligned(o)) && (result->lse = tune_aligned(lse));
    if (p->slots)
        ok = ok && (result->hk = tune_aligned(hk)) && (result->hv = tune_aligned(hv));
    return ok || err_memory(e, "run");
}

bool tune_host_run(const nha_library *library, const gen_problem *problem, const tune_batch *batch,
                   const tune_run_options *options, tune_result *result, err *e) {
    host_run run = {.library = library, .problem = problem, .batch = batch, .options = options, .place = options->place ? options->place : &tune_place_host, .result = result};
    bool ok = create_result(problem, batch, result, e);
    run.cut = options->cuts && options->cut_count > 0;
    ok = ok && ((run.done = calloc((size_t)batch->sequences, sizeof *run.done)) || err_memory(e, "run"));
    run.longest_piece = tune_batch_longest(batch);
    if (run.cut) { /* a plan for the pieces there are */
        int64_t most = 0;
        for (int i = 0; i < options->cut_count; i++)
            if (options->cuts[i].op == NHA_PREFILL && options->cuts[i].tokens > most)
                most = options->cuts[i].tokens;
        if (most < run.longest_piece)
            run.longest_piece = most;
    }
    if (ok && (run.cut || options->cache || batch->cache))
        ok = open_pool(&run, e);
    ok = ok && (run.cut ? run_cuts(&run, e) : run_whole(&run, e));
    if (ok && run.pool)
        ok = save_pool(&run, e);
    for (int i = 0; i < run.plan_count; i++) {
        nha_plan_destroy(run.plans[i].plan);
        tune_place_free(run.place, run.plans[i].workspace);
    }
    for (int id = 0; id < TUNE_INPUTS; id++)
        free(run.gather[id]);
    tune_place_free(run.place, run.pool);
    free(run.done);
    free(run.piece_o);
    free(run.piece_lse);
    free(run.piece_cu);
    free(run.index);
    if (!ok)
        tune_result_destroy(result);
    return ok;
}

void tune_result_destroy(tune_result *result) {
    free(result->o);
    free(result->lse);
    free(result->hk);
    free(result->hv);
    tune_cache_destroy(&result->cache);
    memset(result, 0, sizeof *result);
}
