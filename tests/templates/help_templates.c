/* help_templates.c: see help_templates.h. Device memory is the emulator's: everything is poisoned until it is written,
 * tensors have gaps between rows, pools have rows that are not in use. */
#include "tests/templates/help_templates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/convert.h"

static bool parse(help_kernel *kernel, err *e) {
    emu_error error = {0};
    kernel->module = emu_module_parse(kernel->image.ptx, kernel->image.ptx_size, &error);
    return kernel->module || err_set(e, ERR_COMPILE, "emulator", "line %d: %s", error.line, error.text);
}

bool help_kernel_create(const jit_nvrtc *nvrtc, const gen_embedded *files, const gen_problem *problem, nha_op op,
                        const char *target, const gen_cuda_tile *tile, help_kernel *kernel, err *e) {
    const gen_cuda_kernel *row = gen_cuda_kernel_find(op, "generic");
    const gen_cuda_target *arch = gen_cuda_target_find(target);
    gen_cuda_tile standard;
    memset(kernel, 0, sizeof *kernel);
    gen_problem_copy(&kernel->problem, problem);
    kernel->op = op;
    if (!tile && !gen_cuda_tile_default(files, row, problem, arch, &standard, e))
        return false;
    if (!gen_cuda_emit(files, row, problem, arch, tile ? tile : &standard, &kernel->unit, e))
        return false;
    gen_cuda_unit_fix(&kernel->unit);
    bool ok = kernel->unit.source || err_set(e, ERR_INPUT, "render", "%s", kernel->unit.reason);
    jit_cuda_request request = {.source = kernel->unit.source, .name = kernel->unit.name, .arch = target};
    ok = ok && jit_nvrtc_compile(nvrtc, &request, &kernel->image, e) && parse(kernel, e);
    if (!ok)
        help_kernel_destroy(kernel);
    return ok;
}

void help_kernel_destroy(help_kernel *kernel) {
    gen_cuda_unit_destroy(&kernel->unit);
    jit_cuda_image_destroy(&kernel->image);
    emu_module_destroy(kernel->module);
    memset(kernel, 0, sizeof *kernel);
}

/* ---- Device memory ---- */

enum { OUTPUTS = 2 }; /* o, lse */

typedef struct placed {
    char *data;
    int64_t batch, token, head; /* strides in bytes */
    int64_t heads, bytes;       /* of a row: heads, and bytes of one head */
    int64_t offset;             /* of the first row in the allocation */
    void *allocation;
    size_t size;
} placed;

typedef struct device {
    const help_kernel *kernel;
    const verify_truth *truth;
    const help_run_options *options;
    emu_machine *machine;
    tune_random random;
    placed input[TUNE_INPUTS], output[OUTPUTS];
    nha_cuda_args args;
    char *pool;
    int64_t rows;       /* of the pool */
    int32_t *index;     /* host copy of cache_index */
    bool cached, given; /* through a pool; hk and hv are asked for */
} device;

static void *allocate(device *d, size_t bytes, bool defined) {
    return emu_alloc(d->machine, bytes ? bytes : 1, defined ? EMU_ZERO : EMU_UNDEFINED);
}

/* Bytes known to the host into device memory. */
static void upload(device *d, void *to, const void *from, size_t bytes) {
    if (!bytes)
        return;
    memcpy(to, from, bytes);
    emu_mark(d->machine, to, bytes, true);
}

static bool is_far(const device *d) {
    const help_run_options *o = d->options;
    return o->apart_batch || o->apart_token || o->apart_head || o->ring_tokens;
}

/* A token-major tensor [B,T,heads,dim] with gaps behind heads, tokens and batches, and a first row that is aligned to
 * `align` and no more. */
static bool place(device *d, placed *p, int64_t heads, int64_t bytes, int64_t align) {
    const tune_batch *batch = &d->truth->test.batch;
    int64_t batches = batch->cu_seqlens ? 1 : batch->sequences;
    p->heads = heads;
    p->bytes = bytes;
    p->head =
        (bytes + align - 1) / align * align + align * tune_random_between(&d->random, 0, 1) + d->options->apart_head;
    p->token = heads * p->head + align * tune_random_between(&d->random, 0, 2) + d->options->apart_token;
    p->batch = batch->tokens * p->token + align * tune_random_between(&d->random, 0, 2) + d->options->apart_batch;
    p->offset = align * tune_random_between(&d->random, 0, 3);
    p->size = (size_t)(p->offset + batches * p->batch);
    p->allocation = allocate(d, p->size, false);
    p->data = p->allocation ? (char *)p->allocation + p->offset : NULL;
    return p->data != NULL;
}

static char *row_of(const device *d, const placed *p, int64_t token, int64_t head) {
    const tune_batch *batch = &d->truth->test.batch;
    int64_t b = batch->cu_seqlens ? 0 : token / batch->tokens, t = batch->cu_seqlens ? token : token % batch->tokens;
    return p->data + b * p->batch + t * p->token + head * p->head;
}

static nha_cuda_tensor tensor_of(const placed *p) {
    return (nha_cuda_tensor){(uint64_t)(uintptr_t)p->data, p->batch, p->token, p->head};
}

static bool place_tensors(device *d) {
    const gen_problem *problem = &d->kernel->problem;
    const nha_problem *p = &problem->nha;
    nha_cuda_tensor *slots[TUNE_INPUTS] = {&d->args.q, &d->args.k,  &d->args.v, &d->args.gate,
                                           &d->args.s, &d->args.rq, &d->args.rk};
    int64_t total = tune_batch_total(&d->truth->test.batch);
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(problem, id);
        const char *from = tune_batch_tensor(&d->truth->test.batch, id);
        int64_t element = gen_dtype_bytes(info.dtype), bytes = info.dim * element;
        bool gate = id == TUNE_GATE || id == TUNE_S;
        if (!info.present)
            continue;
        if (!place(d, &d->input[id], info.heads, bytes, gate ? element : 16))
            return false;
        for (int64_t row = 0; row < total * info.heads; row++)
            upload(d, row_of(d, &d->input[id], row / info.heads, row % info.heads), from + row * bytes, (size_t)bytes);
        *slots[id] = tensor_of(&d->input[id]);
    }
    if (!place(d, &d->output[0], p->heads_q, (int64_t)p->head_dim_v * gen_dtype_bytes(p->dtype), 16) ||
        !place(d, &d->output[1], p->heads_q, 4, 4))
        return false;
    d->args.o = tensor_of(&d->output[0]);
    d->args.lse = tensor_of(&d->output[1]);
    return true;
}

/* ---- Pool (runtime/nha_cuda.h) ---- */

static int64_t aligned(int64_t bytes, int64_t to) {
    return (bytes + to - 1) / to * to;
}

static int64_t *ring_offset(nha_cuda_cache *c, int id) {
    switch (id) {
    case TUNE_K:
        return &c->k_offset;
    case TUNE_V:
        return &c->v_offset;
    case TUNE_GATE:
        return &c->gate_offset;
    case TUNE_S:
        return &c->s_offset;
    case TUNE_RK:
        return &c->rk_offset;
    default:
        return NULL;
    }
}

static void lay_out_pool(device *d) {
    const nha_problem *p = &d->kernel->problem.nha;
    nha_cuda_cache *c = &d->args.cache;
    int64_t most = 1;
    for (int64_t n = 0; n < d->truth->test.batch.sequences; n++) { /* a ring for the longest position is enough */
        int64_t after = d->truth->after.pos[n];
        most = after > most ? after : most;
    }
    c->ring_tokens = d->kernel->problem.ring < most ? d->kernel->problem.ring : most;
    c->ring_tokens = c->ring_tokens < 1 ? 1 : c->ring_tokens;
    c->ring_tokens = d->options->ring_tokens > c->ring_tokens ? d->options->ring_tokens : c->ring_tokens;
    c->memory_offset = aligned(8 * p->heads_kv, 64);
    int64_t at = c->memory_offset + aligned(4LL * p->heads_kv * p->slots * (p->head_dim_qk + p->head_dim_v), 64);
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(&d->kernel->problem, id);
        if (!ring_offset(c, id))
            continue;
        *ring_offset(c, id) = at;
        if (info.present)
            at += aligned(c->ring_tokens * (int64_t)info.row_bytes, 64);
    }
    c->row_bytes = aligned(at, 256);
}

static char *pool_row(const device *d, int64_t n) {
    return d->pool + d->index[n] * d->args.cache.row_bytes;
}

static float *pool_memory(const device *d, char *row, int64_t head) {
    const nha_problem *p = &d->kernel->problem.nha;
    return (float *)(void *)(row + d->args.cache.memory_offset) + head * p->slots * (p->head_dim_qk + p->head_dim_v);
}

static char *ring_entry(const device *d, char *row, int id, int64_t head, int64_t token, int64_t *bytes) {
    tune_tensor_info info = tune_tensor(&d->kernel->problem, id);
    nha_cuda_cache c = d->args.cache;
    *bytes = info.dim * gen_dtype_bytes(info.dtype);
    return row + *ring_offset(&c, id) + (head * c.ring_tokens + token % c.ring_tokens) * *bytes;
}

/* Cache n of the case into its row. */
static void fill_row(device *d, char *row, int64_t n) {
    const nha_problem *p = &d->kernel->problem.nha;
    const tune_cache *cache = d->truth->test.batch.cache;
    int64_t H = p->heads_kv, M = p->slots, K = p->head_dim_qk, V = p->head_dim_v, pos = cache ? cache->pos[n] : 0;
    for (int64_t h = 0; h < H; h++) {
        upload(d, row + 8 * h, &pos, 8);
        float *memory = pool_memory(d, row, h);
        size_t keys = (size_t)(M * K) * 4, values = (size_t)(M * V) * 4;
        memset(memory, 0, keys + values);
        if (cache && M) {
            memcpy(memory, cache->hk + (n * H + h) * M * K, keys);
            memcpy(memory + M * K, cache->hv + (n * H + h) * M * V, values);
        }
        if (M)
            emu_mark(d->machine, memory, keys + values, true);
    }
    int64_t held = cache && cache->tokens < pos ? cache->tokens : pos;
    held = held < d->args.cache.ring_tokens ? held : d->args.cache.ring_tokens;
    for (int id = 0; cache && id < TUNE_INPUTS; id++) {
        const char *from = tune_cache_tensor(cache, id);
        for (int64_t i = 0; from && i < held * H; i++) {
            int64_t token = pos - held + i / H, h = i % H, bytes;
            char *to = ring_entry(d, row, id, h, token, &bytes);
            upload(d, to, from + (((n + 1) * cache->tokens - held + i / H) * H + h) * bytes, (size_t)bytes);
        }
    }
}

static bool place_pool(device *d) {
    int64_t N = d->truth->test.batch.sequences;
    d->index = calloc((size_t)N, sizeof *d->index);
    if (!d->index)
        return false;
    lay_out_pool(d);
    d->rows = 2 * N + 1;
    d->pool = allocate(d, (size_t)(d->rows * d->args.cache.row_bytes), false);
    int32_t *device_index = allocate(d, (size_t)N * 4, false);
    if (!d->pool || !device_index)
        return false;
    for (int64_t n = 0; n < N; n++) { /* odd rows, in reverse */
        d->index[n] = (int32_t)(2 * (N - 1 - n) + 1);
        fill_row(d, pool_row(d, n), n);
        if (n == d->options->skip)
            d->index[n] = -1;
    }
    upload(d, device_index, d->index, (size_t)N * 4);
    d->args.cache.pool = (uint64_t)(uintptr_t)d->pool;
    d->args.cache.index = (uint64_t)(uintptr_t)device_index;
    return true;
}

static bool place_memory(device *d) {
    const nha_problem *p = &d->kernel->problem.nha;
    const tune_batch *batch = &d->truth->test.batch;
    size_t count = (size_t)(batch->sequences * p->heads_kv * p->slots);
    size_t keys = count * (size_t)p->head_dim_qk * 4, values = count * (size_t)p->head_dim_v * 4;
    const nha_cuda_code *code = &d->kernel->unit.code;
    d->given = count && d->kernel->op == NHA_PREFILL && (!d->cached || tune_random_between(&d->random, 0, 1));
    if (d->given) {
        void *hk = allocate(d, keys, false), *hv = allocate(d, values, false);
        if (!hk || !hv)
            return false;
        d->args.hk = (uint64_t)(uintptr_t)hk;
        d->args.hv = (uint64_t)(uintptr_t)hv;
    }
    if (batch->hk0 && count) {
        bool same = tune_random_between(&d->random, 0, 1); /* in place */
        void *hk = same ? (void *)(uintptr_t)d->args.hk : allocate(d, keys, false);
        void *hv = same ? (void *)(uintptr_t)d->args.hv : allocate(d, values, false);
        if (!hk || !hv)
            return false;
        upload(d, hk, batch->hk0, keys);
        upload(d, hv, batch->hv0, values);
        d->args.hk0 = (uint64_t)(uintptr_t)hk;
        d->args.hv0 = (uint64_t)(uintptr_t)hv;
    }
    int64_t reach = d->truth->test.spec.pos[0] + tune_batch_longest(batch);
    for (int64_t n = 1; n < batch->sequences; n++)
        reach = reach > d->truth->test.spec.pos[n] + tune_batch_longest(batch)
                    ? reach
                    : d->truth->test.spec.pos[n] + tune_batch_longest(batch);
    reach = p->window < reach ? p->window : reach;
    d->args.workspace_block_bytes = aligned(code->workspace_bytes + code->workspace_window_bytes * reach, 256);
    size_t blocks = (size_t)(batch->sequences * p->heads_kv);
    d->args.workspace = (uint64_t)(uintptr_t)allocate(d, blocks * (size_t)d->args.workspace_block_bytes, false);
    return d->args.workspace != 0;
}

static bool place_all(device *d) {
    const tune_batch *batch = &d->truth->test.batch;
    d->args.sequences = batch->sequences;
    d->args.tokens = d->kernel->op == NHA_DECODE ? 1 : batch->tokens;
    if (batch->cu_seqlens) {
        size_t bytes = (size_t)(batch->sequences + 1) * 4;
        int32_t *bounds = allocate(d, bytes, false);
        if (!bounds)
            return false;
        upload(d, bounds, batch->cu_seqlens, bytes);
        d->args.cu_seqlens = (uint64_t)(uintptr_t)bounds;
    }
    return place_tensors(d) && (!d->cached || place_pool(d)) && place_memory(d);
}

/* ---- Launches ---- */

static bool launch(device *d, const nha_cuda_launch *launch, emu_counters *counters, err *e) {
    const emu_kernel *kernel = emu_module_find(d->kernel->module, launch->entry);
    emu_options options = emu_options_default();
    emu_result result;
    emu_error error = {0};
    if (!kernel)
        return err_set(e, ERR_INTERNAL, "emulator", "no kernel %s", launch->entry);
    uint32_t grid[3] = {(uint32_t)(d->args.sequences * d->kernel->problem.nha.heads_kv), 1, 1};
    uint32_t block[3] = {(uint32_t)launch->threads, 1, 1};
    options.seed = d->options->seed;
    options.async = d->options->async;
    options.threads = 1;
    options.checks |= EMU_CHECK_GLOBAL_RACES;
    if (d->options->unchecked)
        options.checks = EMU_CHECK_BOUNDS;
    options.step_limit = UINT64_C(1) << 36;
    if (kernel->param_bytes != sizeof d->args)
        return err_set(e, ERR_MISMATCH, "emulator", "the kernel takes %zu bytes, not %zu", kernel->param_bytes,
                       sizeof d->args);
    if (!emu_launch(d->machine, d->kernel->module, kernel, grid, block, (size_t)launch->shared_bytes, &d->args,
                    sizeof d->args, &options, &result, &error))
        return err_set(e, ERR_INTERNAL, "emulator", "%s", error.text);
    bool ok = result.report_count == 0;
    if (!ok) {
        const emu_report *r = &result.reports[0];
        err_set(e, ERR_MISMATCH, "emulator", "%s: %s at PTX line %d: %s (block %u, thread %u; %zu reports)",
                launch->entry, emu_report_kind_name(r->kind), r->line, r->text, r->block[0], r->thread[0],
                result.report_count);
    }
    if (counters) {
        uint64_t *to = (uint64_t *)(void *)counters;
        const uint64_t *from = (const uint64_t *)(const void *)&result.counters;
        for (size_t i = 0; i < sizeof *counters / sizeof *to; i++)
            to[i] += from[i];
    }
    emu_result_free(&result);
    return ok;
}

static bool launch_all(device *d, emu_counters *counters, err *e) {
    const nha_cuda_code *code = &d->kernel->unit.code;
    for (int i = 0; i < code->launch_count; i++)
        if ((!code->launch[i].needs_cache || d->cached) && !launch(d, &code->launch[i], counters, e))
            return false;
    return true;
}

/* Decode: T launches, each a token further in every tensor. */
static bool launch_steps(device *d, emu_counters *counters, err *e) {
    nha_cuda_tensor *const moving[] = {&d->args.q,  &d->args.k,  &d->args.v, &d->args.gate, &d->args.s,
                                       &d->args.rq, &d->args.rk, &d->args.o, &d->args.lse};
    for (int64_t t = 0; t < d->truth->test.batch.tokens; t++) {
        if (!launch_all(d, counters, e))
            return false;
        for (size_t i = 0; i < sizeof moving / sizeof *moving; i++)
            if (moving[i]->data)
                moving[i]->data += (uint64_t)moving[i]->token;
    }
    return true;
}

/* ---- Results ---- */

/* Every row of a tensor that was written, in full; and nothing between the rows. */
static bool check_written(const device *d, const placed *p, const char *name, err *e) {
    const tune_batch *batch = &d->truth->test.batch;
    int64_t rows = tune_batch_total(batch) * p->heads;
    size_t expected = p->size;
    for (int64_t row = 0; row < rows; row++) {
        int64_t token = row / p->heads;
        if (d->options->skip >= 0 && token >= tune_batch_begin(batch, d->options->skip) &&
            token < tune_batch_begin(batch, d->options->skip) + tune_batch_length(batch, d->options->skip)) {
            continue;
        }
        expected -= (size_t)p->bytes;
        if (emu_unwritten(d->machine, row_of(d, p, token, row % p->heads), (size_t)p->bytes, NULL))
            return err_set(e, ERR_MISMATCH, "emulator", "%s: row %lld was not written", name, (long long)row);
    }
    if (is_far(d)) /* too far to look at every byte */
        return true;
    size_t unwritten = emu_unwritten(d->machine, p->allocation, p->size, NULL);
    return unwritten == expected || err_set(e, ERR_MISMATCH, "emulator", "%s: %zu bytes outside its rows were written",
                                            name, expected > unwritten ? expected - unwritten : 0);
}

static void gather(const device *d, const placed *p, char *to) {
    int64_t rows = tune_batch_total(&d->truth->test.batch) * p->heads;
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + row * p->bytes, row_of(d, p, row / p->heads, row % p->heads), (size_t)p->bytes);
}

/* Rows of the pool into result->cache; the memory into hk and hv. */
static bool gather_cache(const device *d, tune_result *result, err *e) {
    const nha_problem *p = &d->kernel->problem.nha;
    int64_t N = d->truth->test.batch.sequences, H = p->heads_kv, M = p->slots, K = p->head_dim_qk, V = p->head_dim_v;
    const tune_cache *after = &d->truth->after;
    if (!tune_cache_create(&d->kernel->problem, N, after->tokens, &result->cache, e))
        return false;
    result->has_cache = true;
    for (int64_t n = 0; n < N; n++) {
        if (d->index[n] < 0)
            continue;
        char *row = pool_row(d, n);
        int64_t pos = ((int64_t *)(void *)row)[0];
        for (int64_t h = 0; h < H; h++) {
            if (((int64_t *)(void *)row)[h] != after->pos[n])
                return err_set(e, ERR_MISMATCH, "emulator", "position of sequence %lld, head %lld is %lld",
                               (long long)n, (long long)h, (long long)((int64_t *)(void *)row)[h]);
            if (!M)
                continue;
            float *memory = pool_memory(d, row, h);
            memcpy(result->hk + (n * H + h) * M * K, memory, (size_t)(M * K) * 4);
            memcpy(result->hv + (n * H + h) * M * V, memory + M * K, (size_t)(M * V) * 4);
        }
        result->cache.pos[n] = pos;
        int64_t held = after->tokens < pos ? after->tokens : pos;
        for (int id = 0; id < TUNE_INPUTS; id++) {
            char *to = tune_cache_tensor(&result->cache, id);
            for (int64_t i = 0; to && i < held * H; i++) {
                int64_t bytes;
                const char *from = ring_entry(d, row, id, i % H, pos - held + i / H, &bytes);
                memcpy(to + (((n + 1) * after->tokens - held + i / H) * H + i % H) * bytes, from, (size_t)bytes);
            }
        }
    }
    return true;
}

/* A skipped sequence takes the truth's place in the comparison, having been checked to be untouched. */
static void fill_skipped(const device *d, tune_result *result) {
    const gen_problem *problem = &d->kernel->problem;
    const nha_problem *p = &problem->nha;
    const tune_batch *batch = &d->truth->test.batch;
    int64_t n = d->options->skip, M = p->slots, H = p->heads_kv, begin = tune_batch_begin(batch, n);
    for (int64_t i = 0; i < tune_batch_length(batch, n) * p->heads_q; i++) {
        int64_t row = begin * p->heads_q + i;
        result->lse[row] = (float)d->truth->oracle.lse[row];
        for (int64_t c = row * p->head_dim_v; c < (row + 1) * p->head_dim_v; c++)
            tune_store(result->o, p->dtype, c, d->truth->oracle.o[c]);
    }
    for (int64_t i = n * H * M * p->head_dim_qk; i < (n + 1) * H * M * p->head_dim_qk; i++)
        result->hk[i] = (float)d->truth->oracle.hk[i];
    for (int64_t i = n * H * M * p->head_dim_v; i < (n + 1) * H * M * p->head_dim_v; i++)
        result->hv[i] = (float)d->truth->oracle.hv[i];
    if (!result->has_cache)
        return;
    const tune_cache *after = &d->truth->after;
    result->cache.pos[n] = after->pos[n];
    for (int id = 0; id < TUNE_INPUTS; id++) {
        char *to = tune_cache_tensor(&result->cache, id);
        size_t bytes = tune_tensor(problem, id).row_bytes * (size_t)after->tokens;
        if (to)
            memcpy(to + (size_t)n * bytes, (char *)tune_cache_tensor(after, id) + (size_t)n * bytes, bytes);
    }
}

static bool check_memory_outputs(const device *d, tune_result *result, err *e) {
    const nha_problem *p = &d->kernel->problem.nha;
    int64_t H = p->heads_kv, M = p->slots;
    struct {
        const char *name;
        float *from, *to;
        int64_t dim;
    } out[] = {{"hk", (float *)(uintptr_t)d->args.hk, result->hk, p->head_dim_qk},
               {"hv", (float *)(uintptr_t)d->args.hv, result->hv, p->head_dim_v}};
    for (int i = 0; d->given && i < 2; i++)
        for (int64_t n = 0; n < d->truth->test.batch.sequences; n++) {
            int64_t first = n * H * M * out[i].dim;
            size_t bytes = (size_t)(H * M * out[i].dim) * 4, unwritten;
            unwritten = emu_unwritten(d->machine, out[i].from + first, bytes, NULL);
            if (n == d->options->skip ? !d->args.hk0 && unwritten != bytes : unwritten != 0)
                return err_set(e, ERR_MISMATCH, "emulator", "%s of sequence %lld: %zu of %zu bytes not written",
                               out[i].name, (long long)n, unwritten, bytes);
            if (n == d->options->skip)
                continue;
            if (d->cached && memcmp(out[i].to + first, out[i].from + first, bytes))
                return err_set(e, ERR_MISMATCH, "emulator", "%s of sequence %lld is not what the cache holds",
                               out[i].name, (long long)n);
            memcpy(out[i].to + first, out[i].from + first, bytes);
        }
    return true;
}

static bool check(const device *d, const char *before, tune_verify_report *report, err *e) {
    const gen_problem *problem = &d->kernel->problem;
    const nha_problem *p = &problem->nha;
    const tune_batch *batch = &d->truth->test.batch;
    int64_t rows = tune_batch_total(batch) * p->heads_q, memories = batch->sequences * p->heads_kv * p->slots;
    tune_result result = {.o = calloc((size_t)(rows * p->head_dim_v) + 1, (size_t)gen_dtype_bytes(p->dtype)),
                          .lse = calloc((size_t)rows + 1, 4),
                          .hk = calloc((size_t)(memories * p->head_dim_qk) + 1, 4),
                          .hv = calloc((size_t)(memories * p->head_dim_v) + 1, 4)};
    bool ok = result.o && result.lse && result.hk && result.hv;
    if (!ok)
        err_memory(e, "test");
    ok = ok && check_written(d, &d->output[0], "o", e) && check_written(d, &d->output[1], "lse", e) &&
         (!d->cached || gather_cache(d, &result, e)) && check_memory_outputs(d, &result, e);
    if (ok) {
        gather(d, &d->output[0], result.o);
        gather(d, &d->output[1], (char *)result.lse);
        /* rows of the pool that nobody owns, and that of the skipped sequence, are as they were */
        for (int64_t row = 0; before && row < d->rows; row++) {
            bool used = false;
            for (int64_t n = 0; n < batch->sequences; n++)
                used |= d->index[n] == row;
            size_t bytes = (size_t)d->args.cache.row_bytes;
            if (!used && memcmp(d->pool + row * d->args.cache.row_bytes, before + row * d->args.cache.row_bytes, bytes))
                ok = err_set(e, ERR_MISMATCH, "emulator", "row %lld of the pool was changed", (long long)row);
        }
        if (ok && d->options->skip >= 0)
            fill_skipped(d, &result);
        ok = ok && verify_against_oracle(d->truth, &result, d->kernel->unit.name, report, e);
    }
    tune_result_destroy(&result);
    return ok;
}

bool help_kernel_run(const help_kernel *kernel, const verify_truth *truth, const help_run_options *options,
                     tune_verify_report *report, emu_counters *counters, err *e) {
    device d = {.kernel = kernel, .truth = truth, .options = options, .random = {options->seed + 1}};
    char *before = NULL;
    d.cached = kernel->op == NHA_DECODE || truth->test.batch.cache;
    d.machine = emu_machine_create();
    bool ok = d.machine && place_all(&d);
    if (ok && d.cached && !is_far(&d)) {
        size_t bytes = (size_t)(d.rows * d.args.cache.row_bytes);
        before = malloc(bytes);
        ok = before != NULL;
        if (ok)
            memcpy(before, d.pool, bytes);
    }
    if (!ok)
        err_memory(e, "test");
    ok = ok && (kernel->op == NHA_DECODE ? launch_steps(&d, counters, e) : launch_all(&d, counters, e)) &&
         check(&d, before, report, e);
    free(before);
    free(d.index);
    emu_machine_destroy(d.machine);
    return ok;
}
