/* library.c: writes a library folder: all files into a fresh folder beside its place, synced, then put there in one
 * step. The order is that of the manifest's needs: code, texts, reports, and the manifest last. */
#include "tuner/library.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "gen/cuda/target.h"
#include "jit/elf.h"
#include "tuner/find.h"
#include "tuner/library_ar.h"
#include "tuner/library_link.h"
#include "tuner/library_report.h"
#include "tuner/library_table.h"
#include "tuner/library_text.h"

enum { SHARED_BYTES_MAX = 1 << 30, STALE_SECONDS = 3600 };

typedef struct writing {
    const tune_library_content *content;
    const gen_problem *problem;
    const tune_library_kernel **rows; /* the kernels in the table's order */
    int count;
    char *folder; /* the temporary one */
    tune_manifest manifest;
} writing;

/* ---- The kernels: order and sanity ---- */

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._"

/* Kernel names are file names too. */
static bool proper_name(const char *name) {
    const size_t length = name ? strlen(name) : 0;
    return length > 0 && length < sizeof((tune_manifest_kernel *)0)->name && name[0] != '.' &&
           strspn(name, LETTERS "-") == length;
}

static bool proper_symbol(const char *symbol) {
    const size_t length = symbol ? strlen(symbol) : 0;
    return length < sizeof((tune_manifest_kernel *)0)->symbol_main &&
           (!length || strspn(symbol, LETTERS "$") == length);
}

/* LLVM triple of the library's host code: that of its CPU kernels, or this machine's; NULL where neither is known. */
static const char *host_triple(const tune_library_content *content) {
    for (int i = 0; i < content->kernel_count; i++) {
        const tune_library_kernel *k = &content->kernels[i];
        const gen_isa *isa = k->kind == NHA_CPU ? gen_isa_find(k->target) : NULL;
        if (isa) return isa->triple;
    }
    const gen_isa *best = gen_isa_best(nha_cpu_features());
    return best ? best->triple : NULL;
}

static bool check_cpu(const writing *w, const tune_library_kernel *k, err *e) {
    jit_elf elf;
    const gen_isa *isa = gen_isa_find(k->target);
    if (!k->symbol_main || !k->symbol_main[0] || !proper_symbol(k->symbol_main) || !proper_symbol(k->symbol_delta) ||
        !proper_symbol(k->symbol_scan))
        return err_set(e, ERR_INTERNAL, "library", "kernel %s has an improper symbol", k->name);
    if (!isa || strcmp(isa->triple, host_triple(w->content)) != 0)
        return err_set(e, ERR_INTERNAL, "library", "kernel %s is for another architecture than the others", k->name);
    if (k->code.block_tokens < 1 || k->code.scratch_bytes < 0 || k->code.scratch_panel_bytes < 0)
        return err_set(e, ERR_INTERNAL, "library", "kernel %s has a negative size", k->name);
    if (!jit_elf_open(k->object, k->object_size, &elf, e)) return false;
    const char *undefined = jit_elf_undefined(&elf);
    if (undefined) return err_set(e, ERR_INTERNAL, "library", "kernel %s refers to %s", k->name, undefined);
    return true;
}

static bool check_cuda(const tune_library_kernel *k, err *e) {
    const nha_cuda_code *c = k->cuda;
    if (!gen_cuda_target_find(k->target) || !c || c->launch_count < 1 || c->launch_count > 2 || !k->cubin ||
        !k->cubin_size || !k->ptx || !k->ptx_size)
        return err_set(e, ERR_INTERNAL, "library", "kernel %s lacks its target, launches or code", k->name);
    for (int i = 0; i < c->launch_count; i++)
        if (!c->launch[i].entry || !c->launch[i].entry[0] || !proper_symbol(c->launch[i].entry))
            return err_set(e, ERR_INTERNAL, "library", "kernel %s has an improper entry", k->name);
    return true;
}

static bool check_kernel(const writing *w, const tune_library_kernel *k, err *e) {
    if (!proper_name(k->name) || !k->source || !k->target)
        return err_set(e, ERR_INTERNAL, "library", "kernel %s has an improper name, target or source",
                       k->name ? k->name : "");
    if (k->rank < 0 || k->min_tasks < 0 || k->min_length < 0)
        return err_set(e, ERR_INTERNAL, "library", "kernel %s has a negative rank or range", k->name);
    return k->kind == NHA_CUDA ? check_cuda(k, e) : check_cpu(w, k, e);
}

static bool same_code(const tune_library_kernel *a, const tune_library_kernel *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == NHA_CUDA) return a->cubin_size == b->cubin_size && memcmp(a->cubin, b->cubin, a->cubin_size) == 0;
    return a->object_size == b->object_size && memcmp(a->object, b->object, a->object_size) == 0 &&
           strcmp(a->symbol_main, b->symbol_main) == 0;
}

/* (op, kind, rank), as the table of a library is sorted. */
static bool in_order(const tune_library_kernel *a, const tune_library_kernel *b) {
    if (a->op != b->op) return a->op < b->op;
    if (a->kind != b->kind) return a->kind < b->kind;
    return a->rank <= b->rank;
}

/* In ascending order; kernels of equal rank stay in the caller's order. Insertion sort: tens of rows. */
static bool order_kernels(writing *w, err *e) {
    const tune_library_content *content = w->content;
    if (content->kernel_count < 1 || content->kernel_count > TUNE_MANIFEST_KERNELS_MAX)
        return err_set(e, ERR_INTERNAL, "library", "a library of %d kernels", content->kernel_count);
    w->count = content->kernel_count;
    w->rows = calloc((size_t)w->count, sizeof *w->rows);
    if (!w->rows) return err_memory(e, "library");
    for (int i = 0; i < w->count; i++) {
        const tune_library_kernel *k = &content->kernels[i];
        int at = i;
        if (!check_kernel(w, k, e)) return false;
        for (int j = 0; j < i; j++)
            if (strcmp(w->rows[j]->name, k->name) == 0 && !same_code(w->rows[j], k))
                return err_set(e, ERR_INTERNAL, "library", "two kernels are called %s", k->name);
        for (; at > 0; at--) {
            const tune_library_kernel *before = w->rows[at - 1];
            if (in_order(before, k)) break;
            w->rows[at] = before;
        }
        w->rows[at] = k;
    }
    return true;
}

/* ---- Files ---- */

static bool note_file(writing *w, const char *name, const void *data, size_t size, err *e) {
    tune_manifest *m = &w->manifest;
    tune_manifest_file *grown = realloc(m->files, (m->file_count + 1) * sizeof *grown);
    if (!grown) return err_memory(e, "library");
    m->files = grown;
    tune_manifest_file *file = &m->files[m->file_count++];
    *file = (tune_manifest_file){.size = (int64_t)size};
    snprintf(file->path, sizeof file->path, "%s", name);
    base_sha256_hex(data, size, file->sha256);
    return true;
}

static bool put_file(writing *w, const char *name, const void *data, size_t size, err *e) {
    char *path = base_path_join(w->folder, name);
    if (!path) return err_memory(e, "library");
    const bool ok = base_file_write(path, data, size, "library", e) && note_file(w, name, data, size, e);
    free(path);
    return ok;
}

/* Writes the buffer, and frees it in any case. */
static bool put_text(writing *w, const char *name, base_buf *text, err *e) {
    const bool ok = base_buf_ok(text, "library", e) && put_file(w, name, base_buf_string(text), text->size, e);
    base_buf_free(text);
    return ok;
}

/* ---- The parts ---- */

static bool write_archive(writing *w, err *e) {
    bool ok = false;
    base_buf table = {0}, archive = {0};
    char name[GEN_NAME_MAX + 32];
    size_t members = 0;
    tune_ar_member *member = calloc((size_t)w->count + 1, sizeof *member);
    if (!member) return err_memory(e, "library");
    if (!tune_table_make(w->problem, w->rows, w->count, w->content->min_driver_version, w->manifest.triple, &table, e))
        goto done;
    snprintf(member[0].name, sizeof member[0].name, "table.o");
    member[0].bytes = table.data;
    member[0].size = table.size;
    members = 1;
    for (int i = 0; i < w->count; i++) {
        /* A kernel that serves two ranges is one member. Named by its bytes: short, unique, the same each time. */
        const tune_manifest_kernel *row = &w->manifest.kernels[i];
        size_t at = 1;
        if (row->cuda) continue;
        while (at < members && strcmp(member[at].name, row->object) != 0) at++;
        if (at < members) continue;
        snprintf(member[members].name, sizeof member[members].name, "%s", row->object);
        member[members].bytes = w->rows[i]->object;
        member[members].size = w->rows[i]->object_size;
        members++;
    }
    if (!tune_ar_write(&archive, member, members, e)) goto done;
    snprintf(name, sizeof name, "libnha_%s.a", w->problem->c_name);
    ok = put_text(w, name, &archive, e);

done:
    base_buf_free(&archive);
    base_buf_free(&table);
    free(member);
    return ok;
}

/* The shared library, where there is a cc that makes code for this architecture. */
static bool write_shared(writing *w, bool *made, char note[256], err *e) {
    bool ok = false;
    char name[GEN_NAME_MAX + 32], *path = NULL, *bytes = NULL, cc[PATH_MAX];
    size_t size;
    const gen_isa *best = gen_isa_best(nha_cpu_features());
    *made = false;
    snprintf(name, sizeof name, "libnha_%s.so", w->problem->c_name);
    if (!best || strcmp(best->triple, w->manifest.triple) != 0) {
        snprintf(note, 256, "%s is left out: it is for another architecture than this machine's cc", name);
        return true;
    }
    if (!tune_find_program("cc", cc, sizeof cc)) {
        snprintf(note, 256, "%s is left out: there is no cc in PATH to link it", name);
        return true;
    }
    if (!tune_link_shared(cc, w->folder, w->problem->c_name, e)) goto done;
    path = base_path_join(w->folder, name);
    if (!path) {
        err_memory(e, "library");
        goto done;
    }
    if (!base_file_read(path, SHARED_BYTES_MAX, &bytes, &size, "library", e)) goto done;
    ok = *made = note_file(w, name, bytes, size, e);

done:
    free(path);
    free(bytes);
    return ok;
}

static bool make_folder(writing *w, const char *name, err *e) {
    char *folder = base_path_join(w->folder, name);
    bool ok = folder ? base_mkdirs(folder, "library", e) : err_memory(e, "library");
    free(folder);
    return ok;
}

/* A file of a kernel, unless another row of the same kernel has written it. */
static bool put_once(writing *w, const char *name, const void *data, size_t size, err *e) {
    return tune_manifest_find(&w->manifest, name) || put_file(w, name, data, size, e);
}

/* src/, and for CUDA kernels ptx/ and cubin/. */
static bool write_kernels(writing *w, err *e) {
    bool ok = make_folder(w, "src", e), cuda = false;
    for (int i = 0; i < w->count; i++) cuda = cuda || w->rows[i]->kind == NHA_CUDA;
    if (cuda) ok = ok && make_folder(w, "ptx", e) && make_folder(w, "cubin", e);
    for (int i = 0; ok && i < w->count; i++) {
        const tune_library_kernel *k = w->rows[i];
        const tune_manifest_kernel *row = &w->manifest.kernels[i];
        ok = put_once(w, row->source, k->source, strlen(k->source), e);
        if (k->kind == NHA_CUDA)
            ok = ok && put_once(w, row->ptx, k->ptx, k->ptx_size, e) &&
                 put_once(w, row->cubin, k->cubin, k->cubin_size, e);
    }
    return ok;
}

static bool write_spec(writing *w, err *e) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream) return err_memory(e, "library");
    gen_spec_write(stream, w->content->spec);
    bool ok = fclose(stream) == 0 ? true : err_memory(e, "library");
    ok = ok && put_file(w, "spec.yaml", text, size, e);
    free(text);
    return ok;
}

static bool write_texts(writing *w, bool shared, err *e) {
    base_buf text = {0};
    char name[GEN_NAME_MAX + 32];
    const size_t journal_size = w->content->journal ? w->content->journal_size : 0;
    bool ops[3] = {false};
    for (int i = 0; i < w->count; i++) ops[w->rows[i]->op] = true;
    tune_text_header(&text, w->problem, ops);
    snprintf(name, sizeof name, "nha_%s.h", w->problem->c_name);
    if (!put_text(w, name, &text, e)) return false;
    tune_text_cmake(&text, w->problem, shared);
    snprintf(name, sizeof name, "nha_%sConfig.cmake", w->problem->c_name);
    if (!put_text(w, name, &text, e)) return false;
    tune_text_pkgconfig(&text, w->problem);
    snprintf(name, sizeof name, "nha_%s.pc", w->problem->c_name);
    if (!put_text(w, name, &text, e)) return false;
    if (!put_file(w, "tuning.jsonl", journal_size ? w->content->journal : "", journal_size, e)) return false;
    return tune_report_write(&text, w->content, &w->manifest, e) ? put_text(w, "report.html", &text, e)
                                                                 : (base_buf_free(&text), false);
}

/* ---- The manifest ---- */

static void fill_cpu(const tune_library_kernel *from, tune_manifest_kernel *to) {
    to->spills = from->spills;
    to->loop_spills = from->loop_spills;
    to->block_tokens = from->code.block_tokens;
    to->scratch_bytes = from->code.scratch_bytes;
    to->scratch_panel_bytes = from->code.scratch_panel_bytes;
    to->delta_cost = from->code.delta_cost;
    snprintf(to->symbol_main, sizeof to->symbol_main, "%s", from->symbol_main);
    snprintf(to->symbol_delta, sizeof to->symbol_delta, "%s", from->symbol_delta ? from->symbol_delta : "");
    snprintf(to->symbol_scan, sizeof to->symbol_scan, "%s", from->symbol_scan ? from->symbol_scan : "");
    base_sha256_hex(from->object, from->object_size, to->sha256);
    snprintf(to->object, sizeof to->object, "k%.12s.o", to->sha256);
    snprintf(to->source, sizeof to->source, "src/%s.ll", to->name);
}

static void fill_launch(const tune_library_kernel *from, int i, tune_manifest_launch *to) {
    if (i >= from->cuda->launch_count) return;
    const nha_cuda_launch *launch = &from->cuda->launch[i];
    snprintf(to->entry, sizeof to->entry, "%s", launch->entry);
    to->threads = launch->threads;
    to->shared_bytes = launch->shared_bytes;
    for (int k = 0; k < from->resource_count; k++) {
        const jit_cuda_resources *r = &from->resources[k];
        if (strcmp(r->name, launch->entry) != 0) continue;
        to->registers = r->registers;
        to->stack_bytes = r->stack_bytes;
        to->spill_bytes = (int64_t)r->spill_stores + r->spill_loads;
        to->shared_bytes += r->shared_bytes;
    }
}

static void fill_cuda(const tune_library_kernel *from, tune_manifest_kernel *to) {
    to->cuda = true;
    to->workspace_bytes = from->cuda->workspace_bytes;
    to->workspace_window_bytes = from->cuda->workspace_window_bytes;
    fill_launch(from, 0, &to->main);
    fill_launch(from, 1, &to->second);
    base_sha256_hex(from->cubin, from->cubin_size, to->sha256);
    snprintf(to->source, sizeof to->source, "src/%s.cu", to->name);
    snprintf(to->ptx, sizeof to->ptx, "ptx/%s.ptx", to->name);
    snprintf(to->cubin, sizeof to->cubin, "cubin/%s.cubin", to->name);
}

static bool fill_manifest(writing *w, err *e) {
    tune_manifest *m = &w->manifest;
    const char *triple = host_triple(w->content);
    if (!triple) return err_set(e, ERR_MISSING, "library", "libraries cannot be made for this kind of processor");
    m->format = TUNE_MANIFEST_FORMAT;
    m->abi = NHA_ABI_VERSION;
    snprintf(m->nhac, sizeof m->nhac, "%s", NHA_VERSION);
    snprintf(m->llvm, sizeof m->llvm, "%s", w->content->llvm ? w->content->llvm : "");
    snprintf(m->nvrtc, sizeof m->nvrtc, "%s", w->content->nvrtc ? w->content->nvrtc : "");
    snprintf(m->triple, sizeof m->triple, "%s", triple);
    snprintf(m->name, sizeof m->name, "%s", w->problem->name);
    snprintf(m->c_name, sizeof m->c_name, "%s", w->problem->c_name);
    m->kernels = calloc((size_t)w->count, sizeof *m->kernels);
    if (!m->kernels) return err_memory(e, "library");
    m->kernel_count = (size_t)w->count;
    for (int i = 0; i < w->count; i++) {
        const tune_library_kernel *from = w->rows[i];
        tune_manifest_kernel *to = &m->kernels[i];
        *to = (tune_manifest_kernel){
            .rank = from->rank,
            .min_tasks = from->min_tasks,
            .max_tasks = from->max_tasks,
            .min_length = from->min_length,
            .max_length = from->max_length,
        };
        snprintf(to->name, sizeof to->name, "%s", from->name);
        snprintf(to->op, sizeof to->op, "%s", gen_op_name(from->op));
        snprintf(to->isa, sizeof to->isa, "%s", from->target);
        (from->kind == NHA_CUDA ? fill_cuda : fill_cpu)(from, to);
    }
    return true;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const tune_manifest_file *)a)->path, ((const tune_manifest_file *)b)->path);
}

static bool write_manifest(writing *w, err *e) {
    base_buf text = {0};
    qsort(w->manifest.files, w->manifest.file_count, sizeof *w->manifest.files, by_path);
    tune_manifest_write(&text, &w->manifest);
    return put_text(w, "manifest.yaml", &text, e);
}

/* Removes temporary folders that killed runs left in `parent` an hour ago or earlier; best effort. Their names are
 * those of base_path_beside: .nhac-PID-COUNT.tmp. */
static void remove_stale(const char *parent) {
    DIR *folder = opendir(parent);
    if (!folder) return;
    for (const struct dirent *item; (item = readdir(folder));) {
        struct stat info;
        int end = 0;
        if (sscanf(item->d_name, ".nhac-%*[0-9]-%*[0-9].tmp%n", &end) < 0 || end == 0 || item->d_name[end]) continue;
        if (fstatat(dirfd(folder), item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode) ||
            info.st_mtime > time(NULL) - STALE_SECONDS)
            continue;
        char *path = base_path_join(parent, item->d_name);
        if (path) base_remove(path, "library", NULL);
        free(path);
    }
    closedir(folder);
}

bool tune_library_write(const char *parent, const tune_library_content *content, char note[256], err *e) {
    writing w = {.content = content, .problem = &content->spec->problem};
    char *path = NULL, unused[256];
    bool ok = false, shared = false;
    if (!note) note = unused;
    note[0] = 0;
    if (!order_kernels(&w, e) || !fill_manifest(&w, e)) goto done;
    if (!base_mkdirs(parent, "library", e)) goto done;
    remove_stale(parent);
    path = base_path_join(parent, w.problem->name);
    if (!path) {
        err_memory(e, "library");
        goto done;
    }
    if (!base_mkdir_beside(path, &w.folder, "library", e)) goto done;
    ok = write_archive(&w, e) && write_shared(&w, &shared, note, e) && write_kernels(&w, e) && write_spec(&w, e) &&
         write_texts(&w, shared, e) && write_manifest(&w, e) && base_sync_tree(w.folder, "library", e) &&
         base_publish(w.folder, path, "library", e);
    if (!ok) base_remove(w.folder, "library", NULL);

done:
    tune_manifest_destroy(&w.manifest);
    free(w.rows);
    free(w.folder);
    free(path);
    return ok;
}
