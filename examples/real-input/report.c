/* report.c: real_input_report SPEC INPUT OUTPUT [BENCH]: what a prefill of a real input gave: its error against the fp64 oracle, how the
 * softmax divides between slots and window, and the speeds that `nhac bench --json` wrote to BENCH. Exit 1: an error above the tolerance. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "gen/spec.h"
#include "tuner/convert.h"
#include "tuner/oracle.h"

typedef struct run {
    gen_spec spec;
    st_file in, out;
    tune_batch batch;    /* borrows from `in` */
    tune_oracle full;    /* the spec's problem */
    tune_oracle window;  /* the same without slots: what the window alone would give */
    bool has_spec;
} run;

static int st_of(int dtype) {
    return dtype == NHA_F32 ? ST_F32 : dtype == NHA_F16 ? ST_F16 : ST_BF16;
}

/* Borrows the per-token inputs of the file; all are [B,T,heads,dim] with the B and T of q. */
static bool take_inputs(const gen_problem *problem, const st_file *in, tune_batch *batch, err *e) {
    const st_tensor *q = st_find(in, "q");
    if (!q || q->rank != 4) return st_error(in, "q", e, "is missing or is not [B,T,HQ,K]");
    batch->sequences = q->shape[0];
    batch->tokens = q->shape[1];
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(problem, id);
        if (!info.present) continue;
        const st_tensor *t = st_find(in, info.name);
        if (!t || t->rank != 4 || (int)t->dtype != st_of(info.dtype) || t->shape[0] != q->shape[0] ||
            t->shape[1] != q->shape[1] || t->shape[2] != info.heads || t->shape[3] != info.dim)
            return st_error(in, info.name, e, "is missing, or its dtype or shape is not what the spec says");
        tune_batch_set_tensor(batch, id, t->data);
    }
    return true;
}

/* Relative L2 error of an output; prints it with its name. Infinite where the output is not what the spec says. */
static double error_of(const run *r, const char *name, int dtype, const double *expected, int64_t count) {
    const st_tensor *t = st_find(&r->out, name);
    if (!t || (int)t->dtype != st_of(dtype) || t->bytes != (size_t)count * st_dtype_bytes(t->dtype)) return INFINITY;
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = tune_load(t->data, dtype, i) - expected[i];
        difference += d * d;
        norm += expected[i] * expected[i];
    }
    double error = difference == 0 ? 0 : sqrt(difference / norm);
    printf("    %-4s %.1e\n", name, error);
    return error;
}

static bool print_errors(const run *r) {
    const nha_problem *p = &r->spec.problem.nha;
    int64_t n = r->batch.sequences, rows = n * r->batch.tokens * p->heads_q;
    double tolerance = p->dtype == NHA_F32 ? 1e-5 : 4e-3, worst = 0;
    printf("error against the fp64 definition, relative L2 (allowed: %.0e)\n", tolerance);
    int64_t memory = n * p->heads_kv * p->slots;
    const struct { const char *name; int dtype; const double *expected; int64_t count; } output[] = {
        {"o", p->dtype, r->full.o, rows * p->head_dim_v},
        {"lse", NHA_F32, r->full.lse, rows},
        {"hk", NHA_F32, r->full.hk, memory * p->head_dim_qk},
        {"hv", NHA_F32, r->full.hv, memory * p->head_dim_v},
    };
    for (size_t i = 0; i < sizeof output / sizeof *output; i++) {
        if (output[i].count == 0) continue; /* no slots, no memory */
        double error = error_of(r, output[i].name, output[i].dtype, output[i].expected, output[i].count);
        if (!(error <= worst)) worst = error; /* NaN, too, becomes the worst and stays it */
    }
    if (worst <= tolerance) return true;
    printf("    WRONG: above the tolerance, or an output is missing\n");
    return false;
}

/* Mass of the slots for one token and query head: 1 - exp(lse_w - lse), lse_w of the window alone, lse as the library wrote it: its rounding can
 * take a share of nothing below zero. */
static double slot_share(const run *r, const float *lse, int64_t i) {
    return fmax(0, 1 - exp(r->window.lse[i] - (double)lse[i]));
}

/* Mean, least and most over tokens [from, to) and all heads of the first sequence. */
static void print_share(const run *r, const float *lse, const char *what, int64_t from, int64_t to) {
    int64_t heads = r->spec.problem.nha.heads_q;
    if (from >= to) return;
    double sum = 0, least = 1, most = 0;
    for (int64_t i = from * heads; i < to * heads; i++) {
        double share = slot_share(r, lse, i);
        sum += share;
        least = fmin(least, share);
        most = fmax(most, share);
    }
    printf("    %-14s tokens %3" PRId64 "..%-3" PRId64 "  %5.1f %%   (%.1f to %.1f)\n", what, from, to - 1,
           100 * sum / (double)((to - from) * heads), 100 * least, 100 * most);
}

static void print_shares(const run *r) {
    const nha_problem *p = &r->spec.problem.nha;
    const st_tensor *t = st_find(&r->out, "lse"); /* checked by print_errors */
    const float *lse = t->data;
    int64_t tokens = r->batch.tokens, filled = p->slot_lag < tokens ? p->slot_lag : tokens;
    printf("softmax mass in the %d slots, mean over tokens and heads (least to most); the rest is in the window of %" PRId64 "\n",
           p->slots, p->window);
    print_share(r, lse, "slots empty", 0, filled);
    int64_t third = (tokens - filled) / 3;
    print_share(r, lse, "first third", filled, filled + third);
    print_share(r, lse, "second third", filled + third, filled + 2 * third);
    print_share(r, lse, "last third", filled + 2 * third, tokens);

    /* Heads by their mean over the tokens that come after the first absorption. */
    int least = 0, most = 0;
    double means[1 << 10];
    int heads = p->heads_q < (int)(sizeof means / sizeof *means) ? p->heads_q : (int)(sizeof means / sizeof *means);
    if (filled == tokens) return;
    for (int h = 0; h < heads; h++) {
        means[h] = 0;
        for (int64_t i = filled; i < tokens; i++) means[h] += slot_share(r, lse, i * p->heads_q + h) / (double)(tokens - filled);
        if (means[h] < means[least]) least = h;
        if (means[h] > means[most]) most = h;
    }
    printf("    by head, once the slots fill: least %.1f %% (head %d), most %.1f %% (head %d)\n", 100 * means[least], least,
           100 * means[most], most);
}

/* 1234567 -> "1,234,567"; out holds 32 bytes. */
static const char *grouped(double x, char *out) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%.0f", x < 1e15 ? x : 1e15), at = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

/* One line for each line of `nhac bench --json`. */
static bool print_speeds(const char *path, err *e) {
    char *text = NULL;
    size_t size = 0, length;
    const char *line;
    bool good = false;
    if (!base_file_read(path, 1 << 20, &text, &size, "bench", e)) return false;
    printf("speed on this CPU\n");
    for (const char *at = text; base_next_line(&at, text + size, &line, &length, NULL);) {
        json doc;
        char number[32];
        if (length == 0) continue;
        if (!json_parse(line, length, 0, path, "bench", &doc, e)) goto done;
        int64_t threads = json_get_integer(doc.root, "threads", 0), batch = json_get_integer(doc.root, "batch", 0);
        printf("    %-7s batch %-2" PRId64 " tokens %-3" PRId64 " %" PRId64 " thread%-2s %12s tokens/s   %s\n",
               json_get_text(doc.root, "op", "?"), batch, json_get_integer(doc.root, "tokens", 0), threads, threads == 1 ? "" : "s",
               grouped(json_get_number(doc.root, "tokens_per_s", 0), number), json_get_text(doc.root, "kernel", "?"));
        json_free(&doc);
    }
    good = true;
done:
    free(text);
    return good;
}

int main(int argc, char **argv) {
    err e = {0};
    run r = {.has_spec = false};
    gen_problem window;
    bool good = false;
    if (argc != 4 && argc != 5) {
        fputs("usage: real_input_report SPEC INPUT OUTPUT [BENCH]\n", stderr);
        return 2;
    }
    if (!(r.has_spec = gen_spec_read(argv[1], &r.spec, &e))) goto done;
    const gen_problem *problem = &r.spec.problem;
    if (!st_read(argv[2], &r.in, &e) || !st_read(argv[3], &r.out, &e)) goto done;
    if (!take_inputs(problem, &r.in, &r.batch, &e)) goto done;
    if (!tune_oracle_run(problem, &r.batch, 1, &r.full, &e)) goto done;

    printf("%" PRId64 " tokens, %d heads of %d, %d slots, window %" PRId64 ", %s\n", r.batch.tokens, problem->nha.heads_q,
           problem->nha.head_dim_qk, problem->nha.slots, problem->nha.window, gen_dtype_name(problem->nha.dtype));
    good = print_errors(&r);
    if (!good) goto done;
    if (problem->nha.slots > 0 && problem->nha.window > 0) {
        tune_batch alone = r.batch;
        alone.gate = alone.s = NULL;
        gen_problem_copy(&window, problem);
        window.nha.slots = 0;
        gen_problem_derive(&window);
        good = tune_oracle_run(&window, &alone, 1, &r.window, &e);
        if (!good) goto done;
        print_shares(&r);
    }
    if (argc == 5) good = print_speeds(argv[4], &e);

done:
    if (e.code != ERR_NONE) err_print(stderr, &e);
    int status = e.code != ERR_NONE ? err_exit_status(&e) : good ? 0 : 1;
    err_clear(&e);
    tune_oracle_destroy(&r.full);
    tune_oracle_destroy(&r.window);
    st_close(&r.out);
    st_close(&r.in);
    if (r.has_spec) gen_spec_destroy(&r.spec);
    return status;
}
