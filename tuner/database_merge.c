/* database_merge.c: bringing the records of other journals into the user's. Files are read as a stream of lines: every
 * line that says where records come from begins another journal. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/path.h"
#include "tuner/database.h"
#include "tuner/journal_line.h"

/* A journal that is being written anew. */
typedef struct target {
    char key[65];
    char path[4096];
    int lock;             /* on the file, until what came in is in it; -1: none */
    tune_journal journal; /* what the user has */
    bool *dropped;        /* [journal.count]: superseded by a record that came in */
    tune_record **added;  /* records that came in; owned */
    int added_count;
    tune_origin origin; /* borrowed texts of the incoming journal or the user's own */
} target;

static bool same_place(const tune_record *a, const tune_record *b) {
    return a->kind == b->kind && a->op == b->op && a->batch == b->batch && a->tokens == b->tokens &&
           strcmp(a->tile, b->tile) == 0;
}

static bool same_content(const tune_record *a, const tune_record *b) {
    base_buf x = {0}, y = {0};
    tune_line_write(&x, a, "", "");
    tune_line_write(&y, b, "", "");
    bool same = !x.failed && !y.failed && x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    base_buf_free(&x);
    base_buf_free(&y);
    return same;
}

static bool add(target *t, const tune_record *r, tune_merge_outcome *o, err *e) {
    for (size_t i = 0; i < t->journal.count; i++) {
        const tune_record *mine = &t->journal.records[i];
        if (t->dropped[i] || !same_place(mine, r))
            continue;
        if (mine->at > r->at || (mine->at == r->at && !same_content(mine, r))) {
            o->older++;
            return true;
        }
        if (mine->at == r->at) {
            o->same++;
            return true;
        }
        t->dropped[i] = true;
    }
    tune_record **grown = realloc(t->added, (size_t)(t->added_count + 1) * sizeof *grown);
    if (!grown)
        return err_memory(e, "database");
    t->added = grown;
    for (int i = 0; i < t->added_count; i++) {
        if (!same_place(t->added[i], r))
            continue;
        if (t->added[i]->at < r->at)
            *t->added[i] = *r;
        o->older++;
        return true;
    }
    tune_record *copy = malloc(sizeof *copy);
    if (!copy)
        return err_memory(e, "database");
    *copy = *r;
    t->added[t->added_count++] = copy;
    o->added++;
    return true;
}

/* The journal as it will be: the origin, what stays, what came in. Lines are written again from the records; who
 * verified and timed is told by the device. */
static bool write_target(target *t, err *e) {
    base_buf text = {0};
    bool cuda = gen_cuda_target_find(t->origin.arch) != NULL,
         emulated = strncmp(t->origin.device, "the emulator", 12) == 0;
    const char *verified_by = emulated ? "emulator"
                              : cuda   ? "gpu"
                                       : "cpu",
               *timed_by = emulated ? "model" : verified_by;
    tune_line_write_origin(&text, &t->origin);
    for (size_t i = 0; i < t->journal.count; i++)
        if (!t->dropped[i])
            tune_line_write(&text, &t->journal.records[i], verified_by, timed_by);
    for (int i = 0; i < t->added_count; i++)
        tune_line_write(&text, t->added[i], verified_by, timed_by);
    bool ok = base_buf_ok(&text, "database", e) && base_file_write(t->path, text.data, text.size, "database", e);
    base_buf_free(&text);
    return ok;
}

/* The key as tune_journal_key makes it, from what the origin says. */
static bool key_of(const tune_origin *origin, char key[65]) {
    gen_spec spec;
    err ignored = {0};
    bool ok = origin->problem && gen_spec_parse("journal", origin->problem, strlen(origin->problem), &spec, &ignored);
    err_clear(&ignored);
    if (!ok)
        return false;
    tune_journal_key(&spec.problem, origin->device, origin->generator, origin->compiler, origin->threads, key);
    gen_spec_destroy(&spec);
    return true;
}

/* What the user has under that key; nothing where there is no such file. Locked until close_target. */
static bool open_target(const char *folder, const tune_origin *origin, const char *key, target *t, err *e) {
    char *text = NULL;
    size_t size = 0;
    memset(t, 0, sizeof *t);
    t->journal.fd = t->lock = -1;
    memcpy(t->key, key, sizeof t->key);
    int length = snprintf(t->path, sizeof t->path, "%s/journal/%s.jsonl", folder, key);
    if (length < 0 || (size_t)length >= sizeof t->path)
        return err_at(e, ERR_SYSTEM, "database", folder, 0, 0, "the name of the folder is too long");
    bool ok = tune_journal_lock(t->path, &t->lock, e) &&
              base_file_read(t->path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "database", e) &&
              tune_journal_parse(text, size, &t->journal, e);
    free(text);
    t->origin = t->journal.origin_count ? t->journal.origins[0] : *origin;
    t->dropped = ok ? calloc(t->journal.count + 1, sizeof *t->dropped) : NULL;
    return t->dropped || (ok ? err_memory(e, "database") : false);
}

static void close_target(target *t) {
    for (int i = 0; i < t->added_count; i++)
        free(t->added[i]);
    free(t->added);
    free(t->dropped);
    tune_journal_close(&t->journal);
    tune_journal_unlock(t->path, t->lock);
}

/* One origin of a parsed file into the journal it belongs to. */
static bool merge_origin(const char *folder, const tune_journal *from, int index, tune_merge_outcome *o, err *e) {
    target t = {.lock = -1, .journal = {.fd = -1}};
    char key[65];
    if (!key_of(&from->origins[index], key)) {
        for (size_t i = 0; i < from->count; i++)
            o->homeless += from->records[i].origin == index;
        return true;
    }
    int before = o->added;
    bool ok = open_target(folder, &from->origins[index], key, &t, e);
    for (size_t i = 0; ok && i < from->count; i++)
        if (from->records[i].origin == index)
            ok = add(&t, &from->records[i], o, e);
    bool changed = o->added > before;
    for (size_t i = 0; ok && i < t.journal.count; i++)
        changed = changed || t.dropped[i];
    if (ok && changed) {
        ok = write_target(&t, e);
        o->journals += ok;
    }
    close_target(&t);
    return ok;
}

bool tune_database_merge(const char *folder, const char *const *files, int count, tune_merge_outcome *o, err *e) {
    char *path = base_path_join(folder, "journal");
    bool ok = path ? base_mkdirs(path, "database", e) : err_memory(e, "database");
    memset(o, 0, sizeof *o);
    free(path);
    for (int f = 0; ok && f < count; f++) {
        char *text = NULL;
        size_t size;
        tune_journal from = {.fd = -1};
        ok = base_file_read(files[f], TUNE_JOURNAL_BYTES_MAX, &text, &size, "database", e) &&
             tune_journal_parse(text, size, &from, e);
        free(text);
        if (ok && from.damaged && !from.count && !from.origin_count && !from.foreign)
            ok = err_at(e, ERR_INPUT, "database", files[f], 0, 0, "is no journal: not one of its lines is intact");
        for (int i = 0; ok && i < from.origin_count; i++)
            ok = merge_origin(folder, &from, i, o, e);
        for (size_t i = 0; ok && i < from.count; i++)
            o->homeless += from.records[i].origin < 0;
        o->files += ok;
        o->damaged += from.damaged;
        o->foreign += from.foreign;
        tune_journal_close(&from);
    }
    return ok;
}
