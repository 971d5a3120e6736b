/* cuda_debug.c: values that stand in device memory, looked at by debugging plans before anything is launched:
 * cu_seqlens, cache_index and positions. Their place on the host was allocated with the plan, so executions of one plan
 * take turns. */
#include "runtime/cuda_internal.h"

struct nhr_cuda_debug {
    pthread_mutex_t lock; /* over all of one check */
    int64_t *positions;   /* [max_sequences, H] */
    int32_t *cu_seqlens;  /* [max_sequences + 1] */
    int32_t *index;       /* [max_sequences] */
};

struct nhr_cuda_debug *nhr_cuda_debug_create(const nha_plan *plan) {
    int64_t n = plan->max_sequences, head = (int64_t)sizeof(struct nhr_cuda_debug), bytes = 0;
    int64_t positions = n * plan->problem->heads_kv; /* at most 2^31: cuda_plan.c */
    if (!nhr_add_bytes(&bytes, head, 1, 8) || !nhr_add_bytes(&bytes, positions, 8, 8) ||
        !nhr_add_bytes(&bytes, 2 * n + 1, 4, 8) || (uint64_t)bytes > SIZE_MAX / 2)
        return NULL;
    struct nhr_cuda_debug *debug = nhr_alloc((size_t)bytes);
    if (!debug) return NULL;
    debug->positions = (int64_t *)(void *)((char *)debug + (head + 7) / 8 * 8);
    debug->cu_seqlens = (int32_t *)(debug->positions + positions);
    debug->index = debug->cu_seqlens + n + 1;
    if (pthread_mutex_init(&debug->lock, NULL)) {
        nhr_free(debug);
        return NULL;
    }
    return debug;
}

void nhr_cuda_debug_destroy(struct nhr_cuda_debug *debug) {
    if (!debug) return;
    pthread_mutex_destroy(&debug->lock);
    nhr_free(debug);
}

/* An address that the driver does not know is the caller's error, found by its value. */
static nha_status read(const nha_plan *plan, void *to, const void *from, int64_t bytes, void *stream, const char *what,
                       nha_error *error) {
    const nha_cuda_driver *driver = plan->cuda->context.driver;
    int result = driver->cuMemcpyDtoHAsync_v2(to, (uintptr_t)from, (size_t)bytes, stream);
    if (!result) return NHA_OK;
    nha_status status = nhr_cuda_fail(driver, result, error, "%s cannot be read from the device", what);
    if (result != NHA_CU_INVALID_VALUE) return status;
    if (error) error->status = NHA_BAD_DATA;
    return NHA_BAD_DATA;
}

static nha_status wait(const nha_plan *plan, void *stream, nha_error *error) {
    const nha_cuda_driver *driver = plan->cuda->context.driver;
    int result = driver->cuStreamSynchronize(stream);
    return result ? nhr_cuda_fail(driver, result, error, "the work before this call failed") : NHA_OK;
}

static nha_status check_positions(const nha_plan *plan, const nha_cpu_args *a, const nha_cpu_args *host, void *stream,
                                  nha_error *error) {
    struct nhr_cuda_debug *debug = plan->cuda->debug;
    int64_t heads = plan->problem->heads_kv;
    nha_status status;
    for (int64_t n = 0; n < a->sequences; n++) {
        int64_t row = nhr_row_of(&host->cache, n);
        if (row >= 0 && (status = read(plan, debug->positions + n * heads, a->cache.pool + row * a->cache.row_bytes,
                                       heads * 8, stream, "the row of a cache_index", error)))
            return status;
    }
    if ((status = wait(plan, stream, error))) return status;
    for (int64_t n = 0; n < a->sequences; n++) {
        const int64_t *pos = debug->positions + n * heads;
        int64_t row = nhr_row_of(&host->cache, n), same;
        if (row < 0) continue;
        if ((status = nhr_row_position(plan->problem, NHA_CUDA, (const char *)pos, &same, NULL)))
            return nhr_fail(error, status, "cache row %lld holds no cache: was it reset?", (long long)row);
        if ((status = nhr_check_position(plan, row, same, nhr_length(host, n), error))) return status;
    }
    return NHA_OK;
}

static nha_status check(const nha_plan *plan, const nha_cpu_args *a, void *stream, nha_error *error) {
    struct nhr_cuda_debug *debug = plan->cuda->debug;
    nha_status status;
    nha_cpu_args host = *a; /* its cu_seqlens and cache_index on the host */
    if (a->cu_seqlens) {
        host.cu_seqlens = debug->cu_seqlens;
        status = read(plan, debug->cu_seqlens, a->cu_seqlens, (a->sequences + 1) * 4, stream, "cu_seqlens", error);
        if (status) return status;
    }
    if (a->cache.index) {
        host.cache.index = debug->index;
        status = read(plan, debug->index, a->cache.index, a->sequences * 4, stream, "cache_index", error);
        if (status) return status;
    }
    if ((status = wait(plan, stream, error))) return status;
    if (a->cu_seqlens && (status = nhr_check_lengths(plan, host.cu_seqlens, a->sequences, a->tokens, error)))
        return status;
    if (!plan->cached) return NHA_OK;
    status = nhr_check_index(plan, host.cache.index, a->sequences, error);
    return status ? status : check_positions(plan, a, &host, stream, error);
}

nha_status nhr_cuda_debug_check(const nha_plan *plan, const nha_cpu_args *a, void *stream, nha_error *error) {
    nha_status status =
        nhr_cuda_not_capturing(plan->cuda->context.driver, stream, "an execution of a debugging plan", error);
    if (status) return status;
    pthread_mutex_lock(&plan->cuda->debug->lock);
    status = check(plan, a, stream, error);
    pthread_mutex_unlock(&plan->cuda->debug->lock);
    return status;
}
