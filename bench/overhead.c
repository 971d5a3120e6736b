/* overhead.c: what nha_execute itself costs, all its checks included: a library whose kernels do nothing, one thread.
 * build/nha_overhead prints nanoseconds a call, median of 21 rounds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/nha_library.h"

enum { K = 128, M = 64, H = 8, HQ = 32, ROUNDS = 21, CALLS = 20000 };

static void nothing(const nha_cpu_args *args, int64_t begin, int64_t end, void *scratch) {
    (void)args, (void)begin, (void)end, (void)scratch;
}

static const nha_cpu_code code = {.main = nothing, .segment_delta = nothing, .segment_scan = nothing, .block_tokens = 16,
                                  .scratch_bytes = 4096};
static const nha_problem problem = {.name = "nothing", .head_dim_qk = K, .head_dim_v = K, .heads_q = HQ, .heads_kv = H,
                                    .slots = M, .window = 64, .slot_lag = 64, .scale = 0.1, .gate_normalizer = 8};
#define KERNEL(o, n)                                                                                                   \
    {.name = n, .op = o, .isa = "baseline", .max_tasks = INT64_MAX, .max_length = INT64_MAX, .cpu = &code}
static const nha_kernel kernels[] = {KERNEL(NHA_PREFILL, "prefill"), KERNEL(NHA_DECODE, "decode")};
static const nha_library library = {NHA_LIBRARY_MAGIC, NHA_ABI_VERSION, sizeof library, "nothing", "bench", 1, 2,
                                    &problem, kernels, 0, 0};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int fail(const nha_error *e) {
    fprintf(stderr, "nha_overhead: %s\n", e->text);
    return 1;
}

static int measure(int op, int64_t sequences) {
    nha_error e = {0};
    nha_plan_options options;
    nha_args args;
    nha_cache_format format;
    nha_plan *plan;
    NHA_INIT(options);
    NHA_INIT(args);
    NHA_INIT(format);
    nha_device cpu = {.kind = NHA_CPU};
    options.op = op;
    options.threads = 1;
    options.max_sequences = sequences;
    options.max_length = 1;
    if (nha_cache_describe(&library, 0, cpu, 0, &format, &e))
        return fail(&e);
    options.cache_tokens = format.tokens;
    if (nha_plan_create(&library, &options, &plan, &e))
        return fail(&e);
    size_t bytes = nha_plan_workspace(plan) + NHA_WORKSPACE_ALIGN, pool = (size_t)(sequences * format.row_bytes);
    void *workspace = aligned_alloc(NHA_WORKSPACE_ALIGN, bytes / NHA_WORKSPACE_ALIGN * NHA_WORKSPACE_ALIGN);
    void *cache = aligned_alloc(NHA_WORKSPACE_ALIGN, (pool + NHA_WORKSPACE_ALIGN - 1) / NHA_WORKSPACE_ALIGN * NHA_WORKSPACE_ALIGN);
    float *data = aligned_alloc(64, (size_t)sequences * HQ * K * sizeof *data);
    if (!workspace || !cache || !data || nha_cache_reset(&library, 0, cpu, &format, cache, NULL, sequences, NULL, &e))
        return fail(&e);
    nha_tensor q = {data, HQ * K, HQ * K, K}, k = {data, H * K, H * K, K}, gate = {data, H * M, H * M, M};
    args.sequences = sequences;
    args.tokens = 1;
    args.q = args.o = q;
    args.k = args.v = k;
    args.gate = gate;
    args.cache = op == NHA_DECODE ? cache : NULL;
    double ns[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        double start = now();
        for (int i = 0; i < CALLS; i++)
            if (nha_execute(plan, &args, workspace, nha_plan_workspace(plan), NULL, &e))
                return fail(&e);
        ns[r] = (now() - start) / CALLS;
    }
    qsort(ns, ROUNDS, sizeof *ns, ascending);
    printf("%-7s sequences %3lld  %6.0f ns a call (least %.0f, most %.0f)\n", op == NHA_DECODE ? "decode" : "prefill",
           (long long)sequences, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
    nha_plan_destroy(plan);
    free(workspace);
    free(cache);
    free(data);
    return 0;
}

int main(void) {
    return measure(NHA_PREFILL, 1) || measure(NHA_PREFILL, 64) || measure(NHA_DECODE, 1) || measure(NHA_DECODE, 64);
}
