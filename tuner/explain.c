/* explain.c: see explain.h. Everything comes from files of the library whose checksums were checked. */
#include "tuner/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "tuner/report_data.h"

enum { SHOWN = 6 };

const tune_manifest_kernel *tune_explain_find(const tune_library *library, const char *name, err *e) {
    const tune_manifest *m = &library->manifest;
    const char *names[TUNE_MANIFEST_KERNELS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < m->kernel_count && count < TUNE_MANIFEST_KERNELS_MAX; i++) {
        if (strcmp(m->kernels[i].name, name) == 0)
            return &m->kernels[i];
        names[count++] = m->kernels[i].name;
    }
    const char *nearest = count ? base_nearest(name, names, count) : "another library";
    for (size_t i = 0; i < count; i++) /* the beginning of a long name is more telling than its distance */
        if (strncmp(names[i], name, strlen(name)) == 0) {
            nearest = names[i];
            break;
        }
    err_set(e, ERR_USAGE, "show", "the library has no kernel %s; did you mean %s?", name, nearest);
    return NULL;
}

char *tune_explain_file(const tune_library *library, const char *file, err *e) {
    char *text = NULL;
    size_t size;
    return tune_library_read(library, file, &text, &size, e) ? text : NULL;
}

/* ---- Why ---- */

/* The best few of a group, and the kernel's own line where it is not among them. */
static void print_group(const report_group *g, const char *tile, FILE *out) {
    char why[1024];
    fprintf(out, "\n%s, batch %lld x %lld tokens: %d candidates timed", gen_op_name(g->op), (long long)g->shape.batch,
            (long long)g->shape.tokens, g->timed);
    if (g->legal > 0)
        fprintf(out, " of %lld legal ones", (long long)g->legal);
    fprintf(out, "\n  winner: %s\n", g->winner ? g->winner->tile : "the untuned default");
    report_why_won(g, why, sizeof why);
    fprintf(out, "  %s\n", why);
    report_units(g, why, sizeof why);
    if (g->limit[0] > 0)
        fprintf(out, "  limits measured beside it: %.1f Gflop/s of %s, reading %.1f GB/s, updating %.1f GB/s\n",
                g->limit[0], why, g->limit[1], g->limit[2]);
    for (int i = 0; i < g->count; i++) {
        const report_candidate *c = &g->candidates[i];
        bool mine = strcmp(c->tile, tile) == 0;
        if ((i >= SHOWN || !c->last) && !mine)
            continue;
        report_why_not(g, c, why, sizeof why);
        if (c->last)
            fprintf(out, "  %s %6.3f +- %.3f  %12.2f us  %-5s  %s: %s\n", mine ? "*" : " ", c->ratio,
                    c->ratio * c->noise, c->us, tune_record_name(c->last->kind), c->tile, why);
        else
            fprintf(out, "  * %s: %s\n", c->tile, why);
    }
}

static void print_refused(const report_data *d, const char *op, FILE *out) {
    int shown = 0;
    for (size_t i = 0; i < d->journal.count; i++) {
        const tune_record *r = &d->journal.records[i];
        if (strcmp(gen_op_name(r->op), op) != 0)
            continue;
        if (r->kind == TUNE_RECORD_PRUNED)
            fprintf(out, "%s  %8lld tiles: %s\n", shown++ ? "" : "\nNever candidates, or refused:\n",
                    (long long)r->count, r->tile);
        if (r->kind == TUNE_RECORD_REJECTED || r->kind == TUNE_RECORD_FAILED || r->kind == TUNE_RECORD_IMPLAUSIBLE)
            fprintf(out, "%s  %s: %s: %s\n", shown++ ? "" : "\nNever candidates, or refused:\n",
                    tune_record_name(r->kind), r->tile, r->why);
    }
}

bool tune_explain_why(const tune_library *library, const tune_manifest_kernel *kernel, FILE *out, err *e) {
    char *text = NULL;
    size_t size;
    report_data d;
    const char *tile = strchr(kernel->name, '.');
    tile = tile ? tile + 1 : "";
    fprintf(out, "%s\nrank %lld: of the kernels whose ISA (%s here) and ranges fit a plan, the lowest rank runs.\n",
            kernel->name, (long long)kernel->rank, kernel->isa);
    if (kernel->rank >= 100)
        fprintf(out, "An untuned default: it serves every shape that no tuned kernel covers.\n");
    if (!tune_library_read(library, "tuning.jsonl", &text, &size, e))
        return false;
    bool ok = report_data_open(text, size, &library->spec.problem, &library->manifest, &d, e);
    free(text);
    if (!ok)
        return false;
    if (d.journal.count == 0) {
        fprintf(out, "The library was built, not tuned: there are no measurements.\n");
    } else {
        fprintf(
            out,
            "Candidates of all ops: %d matched the oracle, %d did not, %d failed to compile or load; %d times were "
            "refused as measuring errors.\nTime relative to the default in the same rounds, median and its standard "
            "error:\n",
            d.verified, d.rejected, d.failed, d.refused);
        for (int i = 0; i < d.count; i++)
            if (strcmp(gen_op_name(d.groups[i].op), kernel->op) == 0)
                print_group(&d.groups[i], tile, out);
        print_refused(&d, kernel->op, out);
    }
    report_data_free(&d);
    return true;
}
