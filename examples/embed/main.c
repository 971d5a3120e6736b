/* main.c: how an inference engine embeds a library that nhac made: plan once, prefill two prompts into a pool of caches, then
 * decode both step by step. At the end it checks its own result: decoding must agree with one prefill over all tokens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nha.h"
#include "nha_layer.h" /* generated: declares `extern const nha_library nha_library_layer` */

enum { N = 2, PROMPT = 100, STEPS = 28, T = PROMPT + STEPS }; /* sequences, tokens */

static void must(nha_status status, const nha_error *error) {
    if (status == NHA_OK) return;
    fprintf(stderr, "nha: %s\n", error->text);
    exit(1);
}

/* Memory that q, k, v, o, pools and workspaces may live in: aligned to NHA_WORKSPACE_ALIGN. */
static void *aligned(size_t bytes) {
    void *p = aligned_alloc(NHA_WORKSPACE_ALIGN, (bytes / NHA_WORKSPACE_ALIGN + 1) * NHA_WORKSPACE_ALIGN);
    if (!p) exit(1);
    return p;
}

/* A contiguous [N,T,heads,dim] tensor of noise; in an engine the projections write here. */
static nha_tensor tensor(int heads, int dim) {
    static unsigned state = 1;
    float *x = aligned(sizeof(float) * N * T * (size_t)heads * (size_t)dim);
    for (long i = 0; i < (long)N * T * heads * dim; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / (1 << 23) - 1;
    }
    return (nha_tensor){x, (int64_t)T * heads * dim, heads * dim, dim};
}

static nha_tensor from_token(nha_tensor x, int64_t t) {
    x.data = (float *)x.data + t * x.stride_token;
    return x;
}

static nha_plan *plan(nha_op op, uint32_t flags, int64_t max_length, const nha_cache_format *format) {
    nha_plan_options options;
    NHA_INIT(options);
    options.op = op;
    options.flags = flags;
    options.max_sequences = N;
    options.max_length = max_length;
    options.cache_tokens = format->tokens;
    nha_plan *plan;
    nha_error error;
    must(nha_plan_create(&nha_library_layer, &options, &plan, &error), &error);
    printf("%s, %zu bytes of workspace\n", nha_plan_kernel(plan), nha_plan_workspace(plan));
    return plan;
}

static void execute(const nha_plan *plan, const nha_args *args, void *workspace) {
    nha_error error;
    must(nha_execute(plan, args, workspace, nha_plan_workspace(plan), NULL, &error), &error);
}

int main(void) {
    const nha_problem *p = nha_library_problem(&nha_library_layer, 0);
    const nha_device cpu = {.kind = NHA_CPU};
    nha_error error;

    /* The pool: one row a sequence; a real engine has more rows than sequences and hands them out. */
    nha_cache_format format;
    NHA_INIT(format);
    must(nha_cache_describe(&nha_library_layer, 0, cpu, 0, &format, &error), &error);
    void *pool = aligned((size_t)format.row_bytes * N);
    must(nha_cache_reset(&nha_library_layer, 0, cpu, &format, pool, NULL, N, NULL, &error), &error);
    const int32_t rows[N] = {1, 0}; /* sequence 0 lives in row 1 */

    nha_plan *prefill = plan(NHA_PREFILL, NHA_PLAN_CACHE, PROMPT, &format);
    nha_plan *decode = plan(NHA_DECODE, 0, 1, &format);
    nha_plan *whole = plan(NHA_PREFILL, 0, T, &format);
    size_t bytes = nha_plan_workspace(prefill); /* one workspace serves plans that never run at the same time */
    if (nha_plan_workspace(decode) > bytes) bytes = nha_plan_workspace(decode);
    if (nha_plan_workspace(whole) > bytes) bytes = nha_plan_workspace(whole);
    void *workspace = aligned(bytes);

    nha_args all;
    NHA_INIT(all);
    all.sequences = N;
    all.tokens = T;
    all.q = tensor(p->heads_q, p->head_dim_qk);
    all.k = tensor(p->heads_kv, p->head_dim_qk);
    all.v = tensor(p->heads_kv, p->head_dim_v);
    all.gate = tensor(p->heads_kv, p->slots);
    nha_tensor o_served = tensor(p->heads_q, p->head_dim_v), o_whole = tensor(p->heads_q, p->head_dim_v);

    /* The prompts, then one token at a time. */
    nha_args args = all;
    args.o = o_served;
    args.cache = pool;
    args.cache_index = rows;
    args.tokens = PROMPT;
    execute(prefill, &args, workspace);
    args.tokens = 1;
    for (int t = PROMPT; t < T; t++) {
        args.q = from_token(all.q, t);
        args.k = from_token(all.k, t);
        args.v = from_token(all.v, t);
        args.gate = from_token(all.gate, t);
        args.o = from_token(o_served, t);
        execute(decode, &args, workspace);
    }
    int64_t position;
    must(nha_cache_position(&nha_library_layer, 0, cpu, &format, pool, rows[0], &position, NULL, &error), &error);

    /* The same in one call. */
    all.o = o_whole;
    execute(whole, &all, workspace);
    double square = 0, difference = 0;
    for (int64_t i = 0; i < N * o_whole.stride_batch; i++) {
        double a = ((float *)o_whole.data)[i], b = ((float *)o_served.data)[i];
        square += a * a;
        difference += (a - b) * (a - b);
    }
    double relative = sqrt(difference / square);
    printf("%d tokens served; relative difference from one prefill: %.1e\n", (int)position, relative);

    void *memory[] = {all.q.data, all.k.data, all.v.data, all.gate.data, o_served.data, o_whole.data, pool, workspace};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
    nha_plan_destroy(prefill);
    nha_plan_destroy(decode);
    nha_plan_destroy(whole);
    return relative < 1e-5 && position == T ? 0 : 1;
}
