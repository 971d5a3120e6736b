/* report.c: reports: one for each kind and PTX line, with its first place and the number of times; and printing. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "emu/inner.h"

const char *emu_report_kind_name(emu_report_kind kind) {
    static const char *const names[] = {
#define NAME_(name, text) text,
        EMU_REPORT_LIST(NAME_)};
    return (unsigned)kind < EMU_REPORT_KINDS ? names[kind] : "unknown";
}

const char *emu_class_name(emu_class c) {
    static const char *const names[] = {EMU_CLASS_LIST(NAME_)};
#undef NAME_
    return (unsigned)c < EMU_CLASSES ? names[c] : "unknown";
}

void emu_report_add(warp *w, const op *o, uint32_t lane, emu_report_kind kind, uint64_t address, const char *format,
                    ...) {
    launch *l = w->block->launch;
    size_t limit = l->options.report_limit ? l->options.report_limit : 100;
    pthread_mutex_lock(&l->lock);
    emu_result *r = l->result;
    for (size_t i = 0; i < r->report_count; i++)
        if (r->reports[i].kind == kind && r->reports[i].line == o->line) {
            r->reports[i].count++;
            pthread_mutex_unlock(&l->lock);
            return;
        }
    if (r->report_count < limit && r->report_count == l->report_room) {
        size_t room = l->report_room ? 2 * l->report_room : 16;
        emu_report *grown = realloc(r->reports, room * sizeof *grown);
        if (grown) {
            r->reports = grown;
            l->report_room = room;
        } else {
            l->out_of_memory = true;
        }
    }
    if (r->report_count < limit && r->report_count < l->report_room) {
        uint32_t t = w->id * LANES + lane;
        emu_report *p = &r->reports[r->report_count++];
        *p = (emu_report){.kind = kind,
                          .line = o->line,
                          .source_file = o->source_file,
                          .source_line = o->source_line,
                          .count = 1,
                          .address = address};
        memcpy(p->block, w->block->index, sizeof p->block);
        p->thread[0] = t % l->dim[0];
        p->thread[1] = t / l->dim[0] % l->dim[1];
        p->thread[2] = t / l->dim[0] / l->dim[1];
        va_list list;
        va_start(list, format);
        vsnprintf(p->text, sizeof p->text, format, list);
        va_end(list);
    }
    pthread_mutex_unlock(&l->lock);
}

int emu_report_compare(const void *a, const void *b) {
    const emu_report *x = a, *y = b;
    return x->line != y->line ? (x->line > y->line) - (x->line < y->line) : (int)x->kind - (int)y->kind;
}

void emu_report_print(FILE *out, const emu_module *m, const emu_report *r, const char *file) {
    fprintf(out, "%s:%d: %s: %s (block %u,%u,%u, thread %u,%u,%u", file, r->line, emu_report_kind_name(r->kind),
            r->text, r->block[0], r->block[1], r->block[2], r->thread[0], r->thread[1], r->thread[2]);
    if (r->source_line) {
        const char *source = m ? emu_module_file(m, r->source_file) : NULL;
        if (source)
            fprintf(out, "; %s:%d", source, r->source_line);
        else
            fprintf(out, "; source file %d line %d", r->source_file, r->source_line);
    }
    if (r->count > 1)
        fprintf(out, "; %" PRIu64 " times", r->count);
    fprintf(out, ")\n");
}

void emu_counters_print(FILE *out, const emu_counters *c) {
    uint64_t warps = 0, threads = 0;
    for (int k = 0; k < EMU_CLASSES; k++) {
        if (c->warp_instructions[k])
            fprintf(out, "%-28s %14" PRIu64 " warp instructions %16" PRIu64 " thread instructions\n",
                    emu_class_name((emu_class)k), c->warp_instructions[k], c->thread_instructions[k]);
        warps += c->warp_instructions[k], threads += c->thread_instructions[k];
    }
    fprintf(out, "%-28s %14" PRIu64 " warp instructions %16" PRIu64 " thread instructions\n", "all", warps, threads);
    fprintf(out, "%-28s %14" PRIu64 " read, %" PRIu64 " written\n", "global sectors of 32 bytes",
            c->global_sectors_read, c->global_sectors_written);
    fprintf(out, "%-28s %14" PRIu64 ", of which %" PRIu64 " for bank conflicts\n", "shared wavefronts",
            c->shared_wavefronts, c->shared_conflicts);
    fprintf(out, "%-28s %14" PRIu64 ", %" PRIu64 " FLOP\n", "mma", c->mma, c->mma_flops);
    fprintf(out, "%-28s %14" PRIu64 "\n", "barriers", c->barriers);
}
