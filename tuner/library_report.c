/* library_report.c: report.html from the manifest and the journal: one page, no script, nothing fetched. Every time is
 * a median of the samples in tuning.jsonl; the ratio to the default is paired within rounds. */
#include "tuner/library_report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tuner/report_plots.h"

enum { ROWS_MAX = 2000, OPEN_ROWS = 12 };

static const char STYLE[] =
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:66em;padding:0 1em;color:#1c2430}"
    "h1{margin-bottom:.2em}h2{margin:2em 0 .4em;border-bottom:2px solid #d8dee6;padding-bottom:.2em}h3{margin:1.6em 0 "
    ".3em}"
    "table{border-collapse:collapse;font-size:13px;margin:.5em 0}td,th{border:1px solid #d0d7e0;padding:.2em .55em;"
    "text-align:left;vertical-align:top;white-space:nowrap}td.w{white-space:normal}th{background:#f1f4f8}tr.won "
    "td{background:#e9f6ec;font-weight:600}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "pre{background:#f4f6f9;padding:.8em 1em;overflow:auto}code{font-size:13px}p.why{background:#f4f6f9;"
    "border-left:4px solid #2f7d4f;padding:.5em .9em}summary{cursor:pointer;color:#2b5c9e}"
    "svg{font:11px system-ui,sans-serif;fill:#3b4656;margin:.3em .6em .3em 0;background:#fff}"
    "svg .title{font-size:13px;font-weight:600}svg .frame{fill:none;stroke:#8793a3}svg .grid{stroke:#e6eaf0;fill:none}"
    "svg .point{fill:#4a78b5;fill-opacity:.45}svg circle.default{fill:#d98324}svg .best{fill:#2f7d4f;stroke:#fff}"
    "svg path.default{stroke:#d98324;stroke-dasharray:4 3;fill:none}svg .guide{stroke:#9aa6b5;stroke-dasharray:2 "
    "3;fill:none}"
    "svg .roof{stroke:#b03a48;stroke-width:1.6;fill:none}svg .median{stroke:#1c2430;stroke-width:2.2;fill:none}"
    ".key "
    "span{margin-right:1.2em}.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.35em}";

/* ---- Kernels and the problem ---- */

static bool problem_section(base_buf *out, const gen_problem *problem, err *e) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return err_memory(e, "library");
    gen_problem_print(stream, problem);
    if (fclose(stream) != 0) {
        free(text);
        return err_memory(e, "library");
    }
    base_buf_text(out, "<h2>Problem</h2>\n<pre>");
    report_escape(out, text);
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
        base_buf_text(out, "<tr><td>");
        report_escape(out, k->name);
        base_buf_printf(out, "</td><td class=\"n\">%lld</td>", (long long)k->rank);
        range(out, k->min_tasks, k->max_tasks);
        range(out, k->min_length, k->max_length);
        base_buf_printf(out, "<td class=\"n\">%lld</td><td><a href=\"%s\">%s</a></td></tr>\n",
                        (long long)k->loop_spills, k->source, k->source);
    }
    base_buf_text(out, "</table>\n");
}

/* ---- What was measured ---- */

static void summary(base_buf *out, const report_data *d) {
    base_buf_printf(
        out,
        "<h2>Measured</h2>\n<p>%d candidates verified, %d measurements; %d candidates were wrong, %d did not "
        "compile or load, %d times were refused as measuring errors. Times are medians; &ldquo;of "
        "default&rdquo; is the time as a share of the untuned default's in the same rounds, with its standard "
        "error.</p>\n",
        d->verified, d->measurements, d->rejected, d->failed, d->refused);
    if (!d->count)
        return;
    base_buf_text(out, "<table>\n<tr><th>op</th><th>batch</th><th>tokens</th><th>device</th><th>winner</th>"
                       "<th class=\"n\">us</th><th class=\"n\">default us</th><th class=\"n\">of default</th></tr>\n");
    for (int i = 0; i < d->count; i++) {
        const report_group *g = &d->groups[i];
        base_buf_printf(out, "<tr><td>%s</td><td>%lld</td><td>%lld</td><td>", gen_op_name(g->op),
                        (long long)g->shape.batch, (long long)g->shape.tokens);
        report_escape(out, g->origin ? g->origin->device : "");
        base_buf_text(out, "</td><td>");
        report_escape(out, g->winner ? g->winner->tile : "the untuned default");
        base_buf_printf(
            out, "</td><td class=\"n\">%.2f</td><td class=\"n\">%.2f</td><td class=\"n\">%.1f%%</td></tr>\n",
            g->winner ? g->winner->us : g->default_us, g->default_us, g->winner ? 100 * g->winner->ratio : 100.0);
    }
    base_buf_text(out, "</table>\n");
}

static void candidate_row(base_buf *out, const report_group *g, const report_candidate *c) {
    char why[512];
    report_why_not(g, c, why, sizeof why);
    base_buf_printf(out, "<tr%s><td>", c->won ? " class=\"won\"" : "");
    report_escape(out, c->tile);
    base_buf_printf(out, "</td><td>%s</td>", c->last ? tune_record_name(c->last->kind) : "");
    if (c->last)
        base_buf_printf(out,
                        "<td class=\"n\">%d</td><td>%.2f</td><td>%.2f</td><td>%.2f</td><td>%.1f%% &plusmn; %.1f%%</td>",
                        c->last->samples.count, c->us, tune_min(&c->last->samples), tune_max(&c->last->samples),
                        100 * c->ratio, 100 * c->ratio * c->noise);
    else
        base_buf_text(out, "<td></td><td></td><td></td><td></td><td></td>");
    if (c->quick && c->quick->predicted > 0)
        base_buf_printf(out, "<td class=\"n\">%.1f%%</td><td class=\"w\">", 100 * c->quick->predicted);
    else
        base_buf_text(out, "<td></td><td class=\"w\">");
    report_escape(out, why);
    base_buf_text(out, "</td></tr>\n");
}

static void candidate_table(base_buf *out, const report_group *g) {
    static const char head[] =
        "<table>\n<tr><th>candidate</th><th>stage</th><th class=\"n\">rounds</th><th>us</th><th>min</th><th>max</th>"
        "<th>of default</th><th class=\"n\">expected</th><th>outcome</th></tr>\n";
    base_buf_text(out, head);
    int shown = g->count < ROWS_MAX ? g->count : ROWS_MAX;
    for (int i = 0; i < shown; i++) {
        if (i == OPEN_ROWS)
            base_buf_printf(out, "</table>\n<details><summary>%d more candidates</summary>\n%s", g->count - OPEN_ROWS,
                            head);
        candidate_row(out, g, &g->candidates[i]);
    }
    base_buf_text(out, "</table>\n");
    if (shown > OPEN_ROWS)
        base_buf_text(out, "</details>\n");
    if (shown < g->count)
        base_buf_printf(out, "<p>%d more are in tuning.jsonl.</p>\n", g->count - shown);
    if (g->legal > g->count)
        base_buf_printf(out,
                        "<p>%lld legal candidates were not looked at: the model expected nothing of them, or the time "
                        "was up.</p>\n",
                        (long long)(g->legal - g->count));
}

static void group_section(base_buf *out, const report_group *g) {
    char why[1024];
    report_why_won(g, why, sizeof why);
    base_buf_printf(out, "<h3>%s, batch %lld x %lld tokens%s", gen_op_name(g->op), (long long)g->shape.batch,
                    (long long)g->shape.tokens, g->isa[0] ? ", " : "");
    report_escape(out, g->isa);
    base_buf_text(out, "</h3>\n<p class=\"why\"><b>");
    report_escape(out, g->winner ? g->winner->tile : "the untuned default");
    base_buf_text(out, "</b><br>");
    report_escape(out, why);
    base_buf_text(out, "</p>\n");
    report_plot_model(out, g);
    candidate_table(out, g);
    base_buf_text(
        out,
        "<details open><summary>Effect of each knob</summary>\n<p>Every point is a candidate, by the latest stage it "
        "reached; the bar is the median of a value. Slower than 4x is drawn at 4x.</p>\n");
    report_plot_knobs(out, g);
    base_buf_text(out, "</details>\n");
}

static bool has_limits(const report_data *d) {
    for (int i = 0; i < d->count; i++)
        if (d->groups[i].limit[0] > 0)
            return true;
    return false;
}

static void roofline_section(base_buf *out, const gen_problem *problem, const report_data *d) {
    if (!has_limits(d))
        return;
    base_buf_text(
        out, "<h2>Against the machine's limits</h2>\n<p>Flops and bytes are those the definition needs; the "
             "limits were measured "
             "in the same run: products on the units that the kernels use, reading and updating with a working set of "
             "the same size.</p>\n");
    report_plot_roofline(out, problem, d->groups, d->count);
    base_buf_text(out, "<table>\n<tr><th>op</th><th class=\"n\">batch</th><th class=\"n\">tokens</th><th "
                       "class=\"n\">products, Gflop/s</th><th>measured as</th>"
                       "<th class=\"n\">reading, GB/s</th><th class=\"n\">updating, GB/s</th></tr>\n");
    for (int i = 0; i < d->count; i++) {
        const report_group *g = &d->groups[i];
        char units[64];
        if (g->limit[0] <= 0)
            continue;
        report_units(g, units, sizeof units);
        base_buf_printf(
            out, "<tr><td>%s</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td class=\"n\">%.1f</td><td>",
            gen_op_name(g->op), (long long)g->shape.batch, (long long)g->shape.tokens, g->limit[0]);
        report_escape(out, units);
        base_buf_printf(out, "</td><td class=\"n\">%.1f</td><td class=\"n\">%.1f</td></tr>\n", g->limit[1],
                        g->limit[2]);
    }
    base_buf_text(out, "</table>\n");
}

/* ---- What was refused ---- */

static void refused_section(base_buf *out, const tune_journal *journal) {
    size_t shown = 0;
    for (size_t i = 0; i < journal->count && shown < ROWS_MAX; i++) {
        const tune_record *r = &journal->records[i];
        if (r->kind != TUNE_RECORD_REJECTED && r->kind != TUNE_RECORD_FAILED && r->kind != TUNE_RECORD_IMPLAUSIBLE)
            continue;
        if (!shown++)
            base_buf_text(out,
                          "<h2>Refused</h2>\n<table>\n<tr><th>op</th><th>candidate</th><th></th><th>why</th></tr>\n");
        base_buf_printf(out, "<tr><td>%s</td><td>", gen_op_name(r->op));
        report_escape(out, r->tile);
        base_buf_printf(out, "</td><td>%s</td><td class=\"w\">", tune_record_name(r->kind));
        report_escape(out, r->why);
        base_buf_text(out, "</td></tr>\n");
    }
    if (shown)
        base_buf_text(out, "</table>\n");
}

static void pruned_section(base_buf *out, const tune_journal *journal) {
    size_t shown = 0;
    for (size_t i = 0; i < journal->count; i++) {
        const tune_record *r = &journal->records[i];
        if (r->kind != TUNE_RECORD_PRUNED)
            continue;
        if (!shown++)
            base_buf_text(out, "<h2>Never candidates</h2>\n<p>Combinations of knob values that a constraint rejects "
                               "before anything is "
                               "compiled.</p>\n<table>\n<tr><th>op</th><th class=\"n\">tiles</th><th>why</th></tr>\n");
        base_buf_printf(out, "<tr><td>%s</td><td class=\"n\">%lld</td><td>", gen_op_name(r->op), (long long)r->count);
        report_escape(out, r->tile);
        base_buf_text(out, "</td></tr>\n");
    }
    if (shown)
        base_buf_text(out, "</table>\n");
}

static void row(base_buf *out, const char *name, const char *value) {
    base_buf_printf(out, "<tr><th>%s</th><td>", name);
    report_escape(out, value);
    base_buf_text(out, "</td></tr>\n");
}

static void environment_section(base_buf *out, const tune_journal *journal) {
    if (journal->origin_count)
        base_buf_text(out, "<h2>Environment</h2>\n");
    for (int i = 0; i < journal->origin_count; i++) {
        const tune_origin *o = &journal->origins[i];
        char text[64], when[64] = "";
        time_t at = (time_t)o->at;
        struct tm parts;
        if (o->at > 0 && gmtime_r(&at, &parts))
            strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &parts);
        base_buf_text(out, "<table>\n");
        row(out, "device", o->device);
        row(out, "kernels for", o->arch);
        snprintf(text, sizeof text, "%d", o->threads);
        row(out, "threads", text);
        row(out, "compiler", o->compiler);
        row(out, "nhac", o->nhac);
        row(out, "generator", o->generator);
        row(out, "first measured", when);
        base_buf_text(out, "</table>\n");
    }
}

static bool measured(base_buf *out, const tune_library_content *content, const tune_manifest *manifest, err *e) {
    const gen_problem *problem = &content->spec->problem;
    report_data d;
    if (!report_data_open(content->journal, content->journal_size, problem, manifest, &d, e))
        return false;
    summary(out, &d);
    base_buf_text(
        out,
        "<p class=\"key\"><span><i class=\"dot\" style=\"background:#2f7d4f\"></i>winner</span><span><i class=\"dot\" "
        "style=\"background:#d98324\"></i>the untuned default</span><span><i class=\"dot\" "
        "style=\"background:#4a78b5\"></i>other candidates</span></p>\n");
    roofline_section(out, problem, &d);
    if (d.count)
        base_buf_text(out, "<h2>Shape by shape</h2>\n");
    for (int i = 0; i < d.count; i++)
        group_section(out, &d.groups[i]);
    refused_section(out, &d.journal);
    pruned_section(out, &d.journal);
    environment_section(out, &d.journal);
    report_data_free(&d);
    return true;
}

bool tune_report_write(base_buf *out, const tune_library_content *content, const tune_manifest *manifest, err *e) {
    base_buf_printf(out,
                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s: nhac report</title>\n"
                    "<style>%s</style></head><body>\n<h1>%s</h1>\n<p>Made by nhac %s with %s%s%s%s%s for %s.</p>\n",
                    manifest->name, STYLE, manifest->name, manifest->nhac, manifest->llvm[0] ? "LLVM " : "",
                    manifest->llvm, manifest->llvm[0] && manifest->nvrtc[0] ? " and " : "",
                    manifest->nvrtc[0] ? "NVRTC " : "", manifest->nvrtc, manifest->triple);
    if (content->how) {
        base_buf_text(out, "<p>");
        report_escape(out, content->how);
        base_buf_text(out, "</p>\n");
    }
    if (!content->journal || !content->journal_size)
        base_buf_text(out, "<p>Not tuned: these are the verified default kernels.</p>\n");
    else if (!measured(out, content, manifest, e))
        return false;
    kernel_section(out, manifest);
    if (!problem_section(out, &content->spec->problem, e))
        return false;
    base_buf_text(out, "</body></html>\n");
    return base_buf_ok(out, "library", e);
}
