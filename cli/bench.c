/* bench.c: nhac bench: a table for people, or one JSON object a line. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/nearest.h"
#include "cli/open.h"
#include "cli/options.h"
#include "tuner/bench.h"
#include "tuner/explain.h"

static bool print_json(const tune_bench_row *r, const gen_problem *problem, const char *device, err *e) {
    base_buf out = {0};
    json_writer w = {.out = &out};
    json_begin_object(&w, NULL);
    json_put_text(&w, "op", gen_op_name(r->op));
    json_put_text(&w, "device", device);
    json_put_text(&w, "kernel", r->kernel);
    json_put_integer(&w, "batch", r->batch);
    json_put_integer(&w, "tokens", r->tokens);
    json_put_text(&w, "dtype", gen_dtype_name(problem->nha.dtype));
    json_put_integer(&w, "threads", r->threads);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"us", r->us},
                   {"us_min", r->us_min},
                   {"us_max", r->us_max},
                   {"tokens_per_s", r->tokens_per_s},
                   {"flops", r->flops},
                   {"bytes", r->bytes},
                   {"tflops", r->tflops},
                   {"gbps", r->gbps},
                   {"pct_compute", r->pct_compute},
                   {"pct_memory", r->pct_memory},
                   {"limit_gflops", r->limit_gflops},
                   {"limit_read_gbps", r->limit_read_gbps},
                   {"limit_update_gbps", r->limit_update_gbps},
                   {"limit_gexps", r->limit_gexps},
                   {"limit_l2_gbps", r->limit_l2_gbps},
                   {"bound_products_us", r->bound.products_us},
                   {"bound_exp_us", r->bound.exp_us},
                   {"bound_l2_us", r->bound.l2_us},
                   {"bound_memory_us", r->bound.memory_us},
                   {"bound_us", r->bound.us},
                   {"pct_bound", r->pct_bound}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_put_number(&w, numbers[i].key, numbers[i].value);
    json_put_text(&w, "bound_by", r->bound.by);
    json_put_text(&w, "isa", r->isa);
    json_put_text(&w, "limit_gflops_of", r->units);
    json_put_integer(&w, "context", r->context);
    json_put_number(&w, "working_set_mb", r->megabytes);
    json_end_object(&w);
    bool ok = base_buf_ok(&out, "bench", e);
    if (ok)
        printf("%s\n", base_buf_string(&out));
    base_buf_free(&out);
    return ok;
}

/* A line of figures, and below it the bound by its terms and the limits. */
static void print_row(const tune_bench_row *r, bool first) {
    const bool decode = r->op == NHA_DECODE;
    if (first)
        printf("%-8s %6s %7s %3s %11s %11s %11s %12s %8s %7s %6s %6s %6s\n", "op", "batch", "tokens", "thr", "us",
               "min", "max", "tokens/s", "GFLOP/s", "GB/s", "comp%", "mem%", "bound%");
    printf("%-8s %6lld %7lld %3d %11.2f %11.2f %11.2f %12.0f %8.1f %7.2f %6.1f %6.1f %6.1f\n", gen_op_name(r->op),
           (long long)r->batch, (long long)r->tokens, r->threads, r->us, r->us_min, r->us_max, r->tokens_per_s,
           1e3 * r->tflops, r->gbps, r->pct_compute, r->pct_memory, r->pct_bound);
    printf("    kernel: %s\n", r->kernel);
    if (decode)
        printf("    caches and tensors: %.1f MB before the same ones are used again%s\n", r->megabytes,
               r->hot ? "" : "; --hot for one set alone");
    printf("    bound: %.2f us by %s (products %.2f us", r->bound.us, r->bound.by, r->bound.products_us);
    if (r->limit_gexps > 0)
        printf(", exponentials %.2f us", r->bound.exp_us);
    if (r->limit_l2_gbps > 0 && !decode)
        printf(", L2 %.2f us", r->bound.l2_us);
    else
        printf(", memory %.2f us", r->bound.memory_us);
    printf(")\n    limits: %.1f GFLOP/s of %s %s", r->limit_gflops, r->isa, r->units);
    if (r->limit_gexps > 0)
        printf(", %.2f G exp/s, L2 %.1f GB/s", r->limit_gexps, r->limit_l2_gbps);
    printf("; %.1f GB/s read, %.1f updated in place\n", r->limit_read_gbps, r->limit_update_gbps);
}

typedef struct request {
    const char *folder, *op, *device, *isa, *kernel;
    int64_t batch, tokens, threads;
    bool json, hot;
} request;

/* Ops to time, by bits; a kernel's name decides its op. */
static bool choose_ops(const request *q, const tune_library *library, int kind, bool ops[3], err *e) {
    static const char *const names[] = {"prefill", "decode", "backward"};
    const char *op = q->op;
    if (q->kernel) {
        const tune_manifest_kernel *k = tune_explain_find(library, q->kernel, e);
        if (!k)
            return false;
        if (op && strcmp(op, k->op) != 0)
            return err_set(e, ERR_USAGE, "usage", "kernel %s is for %s", q->kernel, k->op);
        op = k->op;
    }
    bool known = !op;
    for (int i = 0; i < 3; i++) {
        ops[i] = op ? strcmp(op, names[i]) == 0 : nha_library_has(library->library, 0, (nha_op)i, (nha_device_kind)kind);
        known = known || ops[i];
    }
    if (!known)
        return err_set(e, ERR_USAGE, "usage", "there is no op %s; did you mean %s?", op, base_nearest(op, names, 3));
    if (op && ops[NHA_BACKWARD])
        return err_set(e, ERR_MISSING, "bench", "backward is not available in this version");
    for (int i = 0; i < 2; i++)
        if (ops[i] && !nha_library_has(library->library, 0, (nha_op)i, (nha_device_kind)kind))
            return err_set(e, ERR_MISSING, "bench", "the library has no kernels for %s", names[i]);
    return true;
}

static bool bench_op(const request *q, const tune_library *library, const tune_device *device, int op, bool *first,
                     err *e) {
    const gen_spec *spec = &library->spec;
    gen_shape shapes[GEN_SHAPES_MAX] = {
        {.op = op, .batch = op == NHA_DECODE ? 64 : 1, .tokens = op == NHA_DECODE ? 1 : 2048}};
    int count = 0;
    if (!q->batch && !q->tokens)
        for (int i = 0; i < spec->shape_count; i++)
            if (spec->shapes[i].op == op)
                shapes[count++] = spec->shapes[i];
    if (count == 0)
        count = 1;
    for (int i = 0; i < count; i++) {
        if (q->batch)
            shapes[i].batch = q->batch;
        if (q->tokens)
            shapes[i].tokens = q->tokens;
        tune_bench_options o = {.device = device,
                                .shape = shapes[i],
                                .threads = (int)q->threads,
                                .isa = q->isa,
                                .kernel = q->kernel,
                                .hot = q->hot,
                                .clock = tune_clock_monotonic()};
        tune_bench_row row;
        if (!tune_bench(library->library, &spec->problem, &o, &row, e))
            return false;
        if (q->json && !print_json(&row, &spec->problem, device->name, e))
            return false;
        if (!q->json)
            print_row(&row, *first);
        *first = false;
        fflush(stdout);
    }
    return true;
}

int cli_bench(const cli_command *self, int argc, char **argv) {
    request q = {0};
    const cli_option options[] = {
        {"--op", CLI_TEXT, &q.op, 0, 0},
        {"--device", CLI_TEXT, &q.device, 0, 0},
        {"--batch", CLI_COUNT, &q.batch, 1, INT32_MAX / 4},
        {"--tokens", CLI_COUNT, &q.tokens, 1, (int64_t)1 << 40},
        {"--threads", CLI_COUNT, &q.threads, 1, 1024},
        {"--isa", CLI_TEXT, &q.isa, 0, 0},
        {"--kernel", CLI_TEXT, &q.kernel, 0, 0},
        {"--json", CLI_FLAG, &q.json, 0, 0},
        {"--hot", CLI_FLAG, &q.hot, 0, 0},
    };
    err e = {0};
    cli_opened opened;
    if (!cli_parse(argc, argv, options, 9, &q.folder, 1, 1, "LIBDIR", &e) || !cli_isa_known(q.isa, &e) ||
        !cli_open(q.folder, q.device, true, &opened, &e))
        return cli_fail(self, &e);
    bool ops[3], first = true;
    bool ok = cli_isa_there(&opened, q.isa, &e) &&
              choose_ops(&q, &opened.library, opened.device->place.device.kind, ops, &e);
    if (ok && opened.device->model)
        ok = err_set(&e, ERR_MISSING, "bench", "%s cannot be timed: what is right there says nothing about speed",
                     opened.device->name);
    for (int op = 0; ok && op < 2; op++)
        if (ops[op])
            ok = bench_op(&q, &opened.library, opened.device, op, &first, &e);
    cli_close(&opened);
    return ok ? 0 : cli_fail(self, &e);
}
