/* explain.c: see explain.h. Everything comes from files of the library whose checksums were checked. */
#include "tuner/explain.h"

#include <stdlib.h>
#include <string.h>

#include <llvm-c/IRReader.h>

#include "base/nearest.h"
#include "tuner/journal.h"

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

char *tune_explain_source(const tune_library *library, const tune_manifest_kernel *kernel, err *e) {
    char *text = NULL;
    size_t size;
    return tune_library_read(library, kernel->source, &text, &size, e) ? text : NULL;
}

char *tune_explain_assembly(const tune_library *library, const tune_manifest_kernel *kernel, err *e) {
    char *ir = tune_explain_source(library, kernel, e), *message = NULL, *text = NULL;
    const gen_isa *isa = gen_isa_find(kernel->isa);
    if (!ir)
        return NULL;
    if (!isa) {
        err_set(e, ERR_INPUT, "show", "this version knows no ISA %s", kernel->isa);
        free(ir);
        return NULL;
    }
    LLVMContextRef context = LLVMContextCreate();
    LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(ir, strlen(ir), kernel->name);
    LLVMModuleRef module = NULL;
    if (LLVMParseIRInContext(context, buffer, &module, &message)) {
        err_set(e, ERR_COMPILE, "show", "%s: %s", kernel->source, message ? message : "cannot be read");
    } else {
        text = jit_assembly(module, isa, e);
        LLVMDisposeModule(module);
    }
    if (message)
        LLVMDisposeMessage(message);
    LLVMContextDispose(context);
    free(ir);
    return text;
}

/* ---- Why ---- */

typedef struct line {
    const tune_record *record;
    double ratio, noise;
} line;

static int by_ratio(const void *a, const void *b) {
    const line *x = a, *y = b;
    return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

/* Latest records of one kind for a shape, one a tile, fastest first. */
static int collect(const tune_journal *j, int kind, const tune_record *shape, line *out) {
    int count = 0;
    for (size_t i = 0; i < j->count; i++) {
        const tune_record *r = &j->records[i];
        if (r->kind != kind || r->op != shape->op || r->samples.count == 0)
            continue;
        if (tune_journal_timed(j, kind, (nha_op)shape->op, r->tile, shape->batch, shape->tokens) != r)
            continue;
        out[count].record = r;
        out[count].ratio = tune_paired(&r->samples, &r->base, &out[count].noise);
        count++;
    }
    qsort(out, (size_t)count, sizeof *out, by_ratio);
    return count;
}

static void print_shape(const tune_journal *j, const tune_record *shape, const char *tile, line *lines, FILE *out) {
    int firsts = collect(j, TUNE_RECORD_QUICK, shape, lines), count = collect(j, TUNE_RECORD_FINAL, shape, lines);
    const char *round = "measured again, interleaved, on the shape itself";
    if (count == 0) {
        round = "first impressions only";
        count = collect(j, TUNE_RECORD_QUICK, shape, lines);
    }
    fprintf(out, "\n%s, batch %lld x %lld tokens: %d candidates timed; %s:\n", gen_op_name(shape->op),
            (long long)shape->batch, (long long)shape->tokens, firsts, round);
    int base = 0; /* the default stands where its ratio, 1, belongs */
    while (base < count && lines[base].ratio < 1)
        base++;
    for (int i = 0; i <= count; i++) {
        if (i == base)
            fprintf(out, "   %6.3f          the untuned default\n", 1.0);
        if (i == count)
            break;
        bool mine = strcmp(lines[i].record->tile, tile) == 0;
        if (i >= SHOWN && !mine)
            continue;
        fprintf(out, " %s %6.3f +- %.3f  %12.2f us  %s\n", mine ? "*" : " ", lines[i].ratio,
                lines[i].noise * lines[i].ratio, tune_median(&lines[i].record->samples), lines[i].record->tile);
    }
}

bool tune_explain_why(const tune_library *library, const tune_manifest_kernel *kernel, FILE *out, err *e) {
    char *text = NULL;
    size_t size;
    tune_journal journal = {.fd = -1};
    line *lines = NULL;
    bool ok = false;
    const char *tile = strchr(kernel->name, '.');
    tile = tile ? tile + 1 : "";
    fprintf(out, "%s\nrank %lld: of the kernels whose ISA (%s here) and ranges fit a plan, the lowest rank runs.\n",
            kernel->name, (long long)kernel->rank, kernel->isa);
    if (kernel->rank >= 100)
        fprintf(out, "An untuned default: it serves every shape that no tuned kernel covers.\n");
    if (!tune_library_read(library, "tuning.jsonl", &text, &size, e) || !tune_journal_parse(text, size, &journal, e))
        goto done;
    lines = calloc(journal.count + 1, sizeof *lines);
    if (!lines) {
        err_memory(e, "show");
        goto done;
    }
    if (journal.count == 0) {
        fprintf(out, "The library was built, not tuned: there are no measurements.\n");
        ok = true;
        goto done;
    }
    int verified = 0, rejected = 0, failed = 0;
    for (size_t i = 0; i < journal.count; i++) {
        verified += journal.records[i].kind == TUNE_RECORD_VERIFIED;
        rejected += journal.records[i].kind == TUNE_RECORD_REJECTED;
        failed += journal.records[i].kind == TUNE_RECORD_FAILED;
    }
    fprintf(out, "Candidates of all ops: %d matched the oracle, %d did not, %d failed to compile or load.\n", verified,
            rejected, failed);
    fprintf(out, "Time relative to the default in the same rounds, median and its standard error:\n");
    for (size_t i = 0; i < journal.count; i++) { /* each shape once, by its first quick record */
        const tune_record *r = &journal.records[i];
        bool first = r->kind == TUNE_RECORD_QUICK && strcmp(gen_op_name(r->op), kernel->op) == 0;
        for (size_t k = 0; k < i && first; k++) {
            const tune_record *q = &journal.records[k];
            first = !(q->kind == r->kind && q->op == r->op && q->batch == r->batch && q->tokens == r->tokens);
        }
        if (first)
            print_shape(&journal, r, tile, lines, out);
    }
    ok = true;
done:
    free(text);
    free(lines);
    tune_journal_close(&journal);
    return ok;
}
