/* database.c: listing and pruning the journals of a machine; see database.h. Merging is in database_merge.c. */
#include "tuner/database.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "tuner/journal_line.h"

enum { HEAD_BYTES = 1 << 16 };
static const char SUFFIX[] = ".jsonl";

/* ---- Stale or not ---- */

/* What the same GPU is called now, with its present driver: the first whose name up to ", driver" is the same. */
static bool gpu_now(const char *old, char *out, size_t size) {
    const char *driver = strstr(old, ", driver");
    if (!driver)
        return false;
    for (int ordinal = 0;; ordinal++) {
        tune_device *d;
        err ignored = {0};
        if (!tune_device_open_cuda(ordinal, &d, &ignored)) {
            err_clear(&ignored);
            return false;
        }
        d->describe(d, out, size);
        tune_device_close(d);
        if (strncmp(out, old, (size_t)(driver - old) + 1) == 0)
            return true;
    }
}

static bool arch_of(const char *name, tune_arch *arch) {
    *arch = (tune_arch){.cuda = gen_cuda_target_find(name)};
    if (!arch->cuda)
        arch->isa = gen_isa_find(name);
    return arch->cuda || arch->isa;
}

/* Whether measurements of the same thing would be filed elsewhere today. What cannot be told (a compiler that is not
 * here) is not stale. */
static bool is_stale(const tune_database_entry *entry, char *why, size_t size) {
    tune_origin current = {.problem = NULL};
    gen_spec spec;
    tune_arch arch;
    err ignored = {0};
    char key[65], device[256];
    bool stale = false;
    if (entry->foreign && !entry->origin.problem) {
        snprintf(why, size, "made by another version of nhac");
        return true;
    }
    if (!entry->origin.problem || !arch_of(entry->origin.arch, &arch))
        return false;
    snprintf(device, sizeof device, "%s", entry->origin.device);
    if (arch.cuda)
        gpu_now(entry->origin.device, device, sizeof device);
    if (gen_spec_parse(entry->key, entry->origin.problem, strlen(entry->origin.problem), &spec, &ignored)) {
        if (tune_database_origin(&spec, &arch, device, entry->origin.threads, &current, key, &ignored))
            stale = tune_database_differs(&entry->origin, &current, why, size);
        free(current.problem);
        gen_spec_destroy(&spec);
    }
    err_clear(&ignored);
    return stale;
}

/* ---- Reading ---- */

static void read_best(const tune_journal *j, int op, tune_database_entry *entry) {
    int kind = TUNE_RECORD_QUICK;
    for (size_t i = 0; i < j->count; i++)
        if (j->records[i].op == op && tune_record_timed(j->records[i].kind) && j->records[i].kind > kind)
            kind = j->records[i].kind;
    for (size_t i = 0; i < j->count; i++) {
        const tune_record *r = &j->records[i];
        double ratio = r->op == op && r->kind == kind ? tune_paired(&r->samples, &r->base, NULL) : 0;
        if (ratio <= 0 || (entry->best[op][0] && ratio >= entry->ratio[op]))
            continue;
        entry->ratio[op] = ratio;
        memcpy(entry->best[op], r->tile, sizeof entry->best[op]);
    }
}

static void summarise(tune_journal *j, tune_database_entry *entry) {
    for (size_t i = 0; i < j->count; i++) {
        const tune_record *r = &j->records[i];
        entry->verified += r->kind == TUNE_RECORD_VERIFIED;
        entry->rejected += r->kind == TUNE_RECORD_REJECTED;
        entry->failed += r->kind == TUNE_RECORD_FAILED;
        entry->timed += tune_record_timed(r->kind);
        entry->finals += r->kind == TUNE_RECORD_FINAL || r->kind == TUNE_RECORD_HEAT;
        entry->refused += r->kind == TUNE_RECORD_IMPLAUSIBLE;
        entry->newest = r->at > entry->newest ? r->at : entry->newest;
    }
    entry->damaged = j->damaged;
    entry->foreign = j->foreign;
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
        read_best(j, op, entry);
    if (j->origin_count > 0) {
        entry->origin = j->origins[0];
        j->origins[0].problem = NULL; /* the entry's now */
    }
}

static bool add_entry(tune_database *db, const char *path, const char *key, bool system, err *e) {
    char *text = NULL;
    size_t size;
    err ignored = {0};
    tune_journal j;
    tune_database_entry *grown = realloc(db->entries, (size_t)(db->count + 1) * sizeof *grown);
    if (!grown)
        return err_memory(e, "database");
    db->entries = grown;
    tune_database_entry *entry = &db->entries[db->count];
    memset(entry, 0, sizeof *entry);
    snprintf(entry->key, sizeof entry->key, "%s", key);
    entry->system = system;
    if (!base_file_read(path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "database", &ignored)) {
        err_clear(&ignored);
        db->unreadable++;
        return true;
    }
    bool ok = tune_journal_parse(text, size, &j, e);
    free(text);
    if (!ok)
        return false;
    db->count++;
    summarise(&j, entry);
    tune_journal_close(&j);
    entry->stale = is_stale(entry, entry->why, sizeof entry->why);
    return true;
}

/* The name without its end if it is a journal's: 64 hex digits and .jsonl. */
static bool key_of(const char *file, char key[65]) {
    size_t length = strspn(file, "0123456789abcdef");
    if (length != 64 || strcmp(file + length, SUFFIX) != 0)
        return false;
    memcpy(key, file, 64);
    key[64] = 0;
    return true;
}

static bool read_folder(tune_database *db, const char *folder, bool system, err *e) {
    DIR *dir = opendir(folder);
    struct dirent *d;
    bool ok = true;
    if (!dir)
        return true;
    while (ok && (d = readdir(dir)) != NULL) {
        char key[65], *path;
        if (!key_of(d->d_name, key))
            continue;
        path = base_path_join(folder, d->d_name);
        ok = path ? add_entry(db, path, key, system, e) : err_memory(e, "database");
        free(path);
    }
    closedir(dir);
    return ok;
}

static int by_name(const void *a, const void *b) {
    const tune_database_entry *x = a, *y = b;
    int order = strcmp(x->origin.name, y->origin.name);
    if (!order)
        order = strcmp(x->origin.device, y->origin.device);
    if (!order)
        order = (x->newest < y->newest) - (x->newest > y->newest);
    return order ? order : strcmp(x->key, y->key);
}

bool tune_database_open(const char *folder, tune_database *db, err *e) {
    memset(db, 0, sizeof *db);
    char *user = base_path_join(folder, "journal");
    bool ok = user ? read_folder(db, user, false, e) && read_folder(db, tune_journal_system(), true, e)
                   : err_memory(e, "database");
    free(user);
    if (ok && db->count)
        qsort(db->entries, (size_t)db->count, sizeof *db->entries, by_name);
    if (!ok)
        tune_database_close(db);
    return ok;
}

void tune_database_close(tune_database *db) {
    for (int i = 0; i < db->count; i++)
        free(db->entries[i].origin.problem);
    free(db->entries);
    memset(db, 0, sizeof *db);
}

/* ---- Pruning ---- */

bool tune_database_prune(const char *folder, double days, int *removed, err *e) {
    tune_database db;
    int64_t now = (int64_t)time(NULL);
    *removed = 0;
    if (!tune_database_open(folder, &db, e))
        return false;
    bool ok = true;
    for (int i = 0; ok && i < db.count; i++) {
        const tune_database_entry *entry = &db.entries[i];
        int64_t newest = entry->newest > 0 ? entry->newest : entry->origin.at;
        bool old = days >= 0 && newest > 0 && (double)(now - newest) > days * 86400;
        if (entry->system || !(entry->stale || old))
            continue;
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/journal/%s%s", folder, entry->key, SUFFIX);
        err busy = {0};
        int lock;
        if (length < 0 || (size_t)length >= sizeof path || !tune_journal_lock(path, &lock, &busy)) {
            err_clear(&busy); /* in use: it stays */
            continue;
        }
        ok = base_remove(path, "database", e);
        tune_journal_unlock(path, lock);
        *removed += ok;
    }
    tune_database_close(&db);
    return ok;
}

/* ---- What a new run does not use ---- */

/* The first line of a journal; false: it does not say where it comes from. */
static bool read_head(const char *path, tune_origin *origin) {
    FILE *file = fopen(path, "re");
    char *line = file ? malloc(HEAD_BYTES) : NULL;
    tune_record *r = malloc(sizeof *r);
    bool ok = false;
    if (line && r && fgets(line, HEAD_BYTES, file))
        ok = tune_line_read(line, strcspn(line, "\n"), r, origin) == TUNE_LINE_ORIGIN;
    free(r);
    free(line);
    if (file)
        fclose(file);
    return ok;
}

/* Whether a journal is about the same problem: the key it would have with all else as it is now. */
static bool same_problem(const tune_origin *old, const tune_origin *current, const char *current_key) {
    gen_spec spec;
    err ignored = {0};
    char key[65] = "";
    if (!old->problem || strcmp(old->name, current->name) != 0 || strcmp(old->arch, current->arch) != 0 ||
        old->threads != current->threads)
        return false;
    if (gen_spec_parse("journal", old->problem, strlen(old->problem), &spec, &ignored)) {
        tune_journal_key(&spec.problem, current->device, current->generator, current->compiler, current->threads, key);
        gen_spec_destroy(&spec);
    }
    err_clear(&ignored);
    return strcmp(key, current_key) == 0;
}

void tune_database_note_stale(const char *folder, const tune_origin *current, const char *key,
                              tune_progress *progress) {
    char *path = base_path_join(folder, "journal"), why[512];
    DIR *dir = path ? opendir(path) : NULL;
    struct dirent *d;
    while (dir && (d = readdir(dir)) != NULL) {
        char other[65];
        tune_origin old = {.problem = NULL};
        char *file = key_of(d->d_name, other) && strcmp(other, key) != 0 ? base_path_join(path, d->d_name) : NULL;
        if (file && read_head(file, &old) && same_problem(&old, current, key) &&
            tune_database_differs(&old, current, why, sizeof why))
            tune_progress_line(progress, "note: measurements of this problem in %.12s are stale (%s); measuring anew",
                               other, why);
        free(old.problem);
        free(file);
    }
    if (dir)
        closedir(dir);
    free(path);
}
