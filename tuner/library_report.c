/* library_report.c: report.html from the manifest and the journal. Plain HTML, no script, nothing fetched.
 * Every time is a median of the samples in tuning.jsonl; the ratio to the default is paired within rounds. */
#include "tuner/library_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/journal.h"

enum { ROWS_MAX = 400 };

static void escaped(base_buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '&')
            base_buf_text(out, "&amp;");
        else if (*text == '<')
            base_buf_text(out, "&lt;");
        else if (*text == '>')
            base_buf_text(out, "&gt;");
        else
            base_buf_char(out, *text);
    }
}

static bool problem_section(base_buf *out, const gen_problem *problem, err *e) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream) return err_memory(e, "library");
    gen_problem_print(stream, problem);
    if (fclose(stream) != 0) {
        free(text);
        return err_memory(e, "library");
    }
    base_buf_text(out, "<h2>Problem</h2>\n<pre>");
    escaped(out, text);
    base_buf_text(out, "</pre>\n");
    free(text);
    return true;
}

static void range(base_buf *out, int64_t low, int64_t high) {
    if (high == INT64_MAX)
        base_buf_printf(out, "<td>%lld and up</td>", (long long)low);
    else
        base_buf_printf(out, "<td>%lld to %lld</td>", (long long)low, (long long)high);
}

static void kernel_section(base_buf *out, const tune_manifest *manifest) {
    base_buf_text(
        out, "<h2>Kernels</h2>\n"
             "<p>Of those whose ISA and ranges fit a plan, the one with the lowest rank runs. Every kernel matched the "
             "fp64 oracle before it was timed.</p>\n"
             "<table>\n<tr><th>kernel</th><th>rank</th><th>sequences x kv heads</th><th>length</th>"
             "<th>spills in loops</th><th>source</th></tr>\n");
    for (size_t i = 0; i < manifest->kernel_count; i++) {
        const tune_manifest_kernel *k = &manifest->kernels[i];
        base_buf_printf(out, "<tr><td>%s</td><td>%lld</td>", k->name, (long long)k->rank);
        range(out, k->min_tasks, k->max_tasks);
        range(out, k->min_length, k->max_length);
        base_buf_printf(out, "<td>%lld</td><td><a href=\"%s\">%s</a></td></tr>\n", (long long)k->loop_spills, k->source,
                        k->source);
    }
    base_buf_text(out, "</table>\n");
}

/* Order of the table: operation, shape, final before quick, fastest first; then the order of the journal. */
typedef struct row {
    const tune_record *record;
    double us;
} row;

static int by_shape_and_time(const void *a, const void *b) {
    const row *x = a, *y = b;
    const tune_record *p = x->record, *q = y->record;
    if (p->op != q->op) return p->op < q->op ? -1 : 1;
    if (p->batch != q->batch) return p->batch < q->batch ? -1 : 1;
    if (p->tokens != q->tokens) return p->tokens < q->tokens ? -1 : 1;
    if (p->kind != q->kind) return p->kind > q->kind ? -1 : 1;
    if (x->us != y->us) return x->us < y->us ? -1 : 1;
    return p < q ? -1 : p > q;
}

static bool measured_section(base_buf *out, const tune_journal *journal, err *e) {
    row *rows = calloc(journal->count + 1, sizeof *rows);
    if (!rows) return err_memory(e, "library");
    size_t count = 0, verified = 0;
    for (size_t i = 0; i < journal->count; i++) {
        const tune_record *record = &journal->records[i];
        verified += record->kind == TUNE_RECORD_VERIFIED;
        if ((record->kind != TUNE_RECORD_QUICK && record->kind != TUNE_RECORD_FINAL) || record->samples.count == 0)
            continue;
        rows[count++] = (row){record, tune_median(&record->samples)};
    }
    base_buf_printf(out, "<h2>Measured</h2>\n<p>%zu candidates verified, %zu measurements", verified, count);
    if (count > ROWS_MAX) base_buf_printf(out, "; %d of them below, all in tuning.jsonl", ROWS_MAX);
    base_buf_text(
        out, ". Times are medians. &ldquo;Of default&rdquo; is the time as a share of the untuned default's in the "
             "same rounds, with its standard error.</p>\n");
    if (count) {
        qsort(rows, count, sizeof *rows, by_shape_and_time);
        base_buf_text(out, "<table>\n<tr><th>op</th><th>batch</th><th>tokens</th><th>candidate</th><th>round</th>"
                           "<th>us</th><th>min</th><th>max</th><th>of default</th></tr>\n");
        for (size_t i = 0; i < count && i < ROWS_MAX; i++) {
            const tune_record *r = rows[i].record;
            double noise = 0;
            const double share = tune_paired(&r->samples, &r->base, &noise);
            base_buf_printf(out, "<tr><td>%s</td><td>%lld</td><td>%lld</td><td>", gen_op_name(r->op),
                            (long long)r->batch, (long long)r->tokens);
            escaped(out, r->tile);
            base_buf_printf(out, "</td><td>%s</td><td>%.2f</td><td>%.2f</td><td>%.2f</td>", tune_record_name(r->kind),
                            rows[i].us, tune_min(&r->samples), tune_max(&r->samples));
            if (share > 0)
                base_buf_printf(out, "<td>%.1f%% &plusmn; %.1f%%</td></tr>\n", 100 * share, 100 * share * noise);
            else
                base_buf_text(out, "<td></td></tr>\n");
        }
        base_buf_text(out, "</table>\n");
    }
    free(rows);
    return true;
}

static void refused_section(base_buf *out, const tune_journal *journal) {
    size_t shown = 0;
    for (size_t i = 0; i < journal->count && shown < ROWS_MAX; i++) {
        const tune_record *r = &journal->records[i];
        if (r->kind != TUNE_RECORD_REJECTED && r->kind != TUNE_RECORD_FAILED) continue;
        if (!shown++)
            base_buf_text(out,
                          "<h2>Refused</h2>\n<table>\n<tr><th>op</th><th>candidate</th><th></th><th>why</th></tr>\n");
        base_buf_printf(out, "<tr><td>%s</td><td>", gen_op_name(r->op));
        escaped(out, r->tile);
        base_buf_printf(out, "</td><td>%s</td><td>", tune_record_name(r->kind));
        escaped(out, r->why);
        base_buf_text(out, "</td></tr>\n");
    }
    if (shown) base_buf_text(out, "</table>\n");
}

bool tune_report_write(base_buf *out, const tune_library_content *content, const tune_manifest *manifest, err *e) {
    tune_journal journal;
    base_buf_printf(out,
                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s: nhac report</title>\n"
                    "<style>body{font:15px sans-serif;margin:2em auto;max-width:70em}table{border-collapse:collapse}"
                    "td,th{border:1px solid #bbb;padding:.2em .6em;text-align:left}pre{background:#f4f4f4;padding:1em}"
                    "</style></head><body>\n<h1>%s</h1>\n<p>Made by nhac %s with LLVM %s for %s.</p>\n",
                    manifest->name, manifest->name, manifest->nhac, manifest->llvm, manifest->triple);
    if (content->how) {
        base_buf_text(out, "<p>");
        escaped(out, content->how);
        base_buf_text(out, "</p>\n");
    }
    if (!problem_section(out, &content->spec->problem, e)) return false;
    kernel_section(out, manifest);
    if (content->journal && content->journal_size) {
        if (!tune_journal_parse(content->journal, content->journal_size, &journal, e)) return false;
        const bool ok = measured_section(out, &journal, e);
        if (ok) refused_section(out, &journal);
        tune_journal_close(&journal);
        if (!ok) return false;
    } else {
        base_buf_text(out, "<p>Not tuned: these are the verified default kernels.</p>\n");
    }
    base_buf_text(out, "</body></html>\n");
    return base_buf_ok(out, "library", e);
}
