/* cuda_execute.c: one call on a GPU: the kernels' parameter, then the launches in order. Allocates nothing, waits for
 * nothing and pushes no context, so that it can be captured in a graph. */
#include <string.h>

#include "runtime/cuda_internal.h"

static nha_cuda_tensor tensor_of(const nha_cpu_tensor *t) {
    return (nha_cuda_tensor){(uintptr_t)t->data, t->batch, t->token, t->head};
}

static void fill_args(const nha_plan *plan, const nha_cpu_args *a, void *workspace, nha_cuda_args *out) {
    const nha_cpu_cache *c = &a->cache;
    *out = (nha_cuda_args){
        .sequences = a->sequences,
        .tokens = a->tokens,
        .cu_seqlens = (uintptr_t)a->cu_seqlens,
        .q = tensor_of(&a->q),
        .k = tensor_of(&a->k),
        .v = tensor_of(&a->v),
        .gate = tensor_of(&a->gate),
        .s = tensor_of(&a->s),
        .rq = tensor_of(&a->rq),
        .rk = tensor_of(&a->rk),
        .o = tensor_of(&a->o),
        .lse = tensor_of(&a->lse),
        .hk0 = (uintptr_t)a->hk0,
        .hv0 = (uintptr_t)a->hv0,
        .hk = (uintptr_t)a->hk,
        .hv = (uintptr_t)a->hv,
        .workspace = (uintptr_t)workspace,
        .workspace_block_bytes = plan->cuda->block_bytes,
    };
    if (c->pool)
        out->cache = (nha_cuda_cache){
            .pool = (uintptr_t)c->pool,
            .index = (uintptr_t)c->index,
            .row_bytes = c->row_bytes,
            .ring_tokens = c->ring_tokens,
            .memory_offset = c->memory_offset,
            .k_offset = c->k_offset,
            .v_offset = c->v_offset,
            .gate_offset = c->gate_offset,
            .s_offset = c->s_offset,
            .rk_offset = c->rk_offset,
        };
}

static nha_status check_context(const nhr_cuda_context *c, nha_error *error) {
    nha_cu_handle current = NULL;
    int result = c->driver->cuCtxGetCurrent(&current);
    if (result) return nhr_cuda_fail(c->driver, result, error, "the current CUDA context cannot be asked for");
    if (current != c->handle)
        return nhr_fail(error, NHA_WRONG_CONTEXT, "the CUDA context of the plan is not current: %s is",
                        current ? "another one" : "none");
    return NHA_OK;
}

nha_status nhr_cuda_execute(const nha_plan *plan, const nha_cpu_args *a, void *workspace, void *stream,
                            nha_error *error) {
    const struct nhr_cuda_part *part = plan->cuda;
    const nha_cuda_code *code = part->code;
    nha_status status = check_context(&part->context, error);
    if (status || (part->debug && (status = nhr_cuda_debug_check(plan, a, stream, error)))) return status;
    if (!a->sequences) return nhr_ok(error);
    nha_cuda_args args;
    fill_args(plan, a, workspace, &args);
    void *parameters[] = {&args};
    unsigned blocks = (unsigned)(a->sequences * plan->problem->heads_kv); /* at most 2^31 - 1: cuda_plan.c */
    for (int32_t i = 0; i < code->launch_count; i++) {
        const nha_cuda_launch *l = &code->launch[i];
        if (l->needs_cache && !plan->cached) continue;
        int result =
            part->context.driver->cuLaunchKernel(part->function[i], blocks, 1, 1, (unsigned)l->threads, 1, 1,
                                                 (unsigned)l->shared_bytes, stream, parameters, NULL);
        if (result)
            return nhr_cuda_fail(part->context.driver, result, error, "launch %d of %d, %.90s, failed", i + 1,
                                 code->launch_count, l->entry);
    }
    return nhr_ok(error);
}
