/* journal.c: see journal.h. The file and what is known of it; lines are journal_line.c's. */
#include "tuner/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "tuner/journal_line.h"

void tune_journal_key(const gen_problem *problem, const char *device, const char *generator, const char *compiler,
                      int threads, char key[65]) {
    char text[512];
    base_sha256 h;
    base_sha256_init(&h);
    base_sha256_add_text(&h, "nhac " NHA_VERSION " journal");
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        gen_problem_string(problem, (nha_op)op, text, sizeof text);
        base_sha256_add_text(&h, text);
    }
    base_sha256_add(&h, problem->inv_freq, sizeof problem->inv_freq);
    snprintf(text, sizeof text, "%d %d %.17g %.17g", TUNE_JOURNAL_VERSION, threads, problem->nha.scale,
             problem->nha.gate_normalizer);
    base_sha256_add_text(&h, text);
    base_sha256_add_text(&h, device);
    base_sha256_add_text(&h, generator);
    base_sha256_add_text(&h, compiler);
    base_sha256_end_hex(&h, key);
}

const char *tune_journal_system(void) {
    const char *folder = getenv("NHAC_SYSTEM_DB");
    return folder && folder[0] ? folder : "/usr/share/nhac/db";
}

/* ---- Records ---- */

static bool keep_text(tune_journal *j, const char *line, size_t length, err *e) {
    base_buf_add(&j->text, line, length);
    base_buf_char(&j->text, '\n');
    return base_buf_ok(&j->text, "journal", e);
}

static bool keep(tune_journal *j, const tune_record *r, const char *line, size_t length, err *e) {
    if (j->count == j->capacity) {
        size_t capacity = j->capacity ? 2 * j->capacity : 64;
        tune_record *grown = realloc(j->records, capacity * sizeof *grown);
        if (!grown)
            return err_memory(e, "journal");
        j->records = grown;
        j->capacity = capacity;
    }
    j->records[j->count] = *r;
    j->records[j->count++].origin = j->origin_count - 1;
    return keep_text(j, line, length, e);
}

/* Takes over origin->problem, also on failure. */
static bool keep_origin(tune_journal *j, const tune_origin *origin, const char *line, size_t length, err *e) {
    tune_origin *grown = realloc(j->origins, (size_t)(j->origin_count + 1) * sizeof *grown);
    if (!grown) {
        free(origin->problem);
        return err_memory(e, "journal");
    }
    j->origins = grown;
    j->origins[j->origin_count++] = *origin;
    return keep_text(j, line, length, e);
}

static bool read_lines(tune_journal *j, const char *text, size_t size, err *e) {
    const char *cursor = text, *line;
    size_t length;
    tune_origin origin;
    tune_record *r = malloc(sizeof *r);
    if (!r)
        return err_memory(e, "journal");
    bool ok = true;
    while (ok && base_next_line(&cursor, text + size, &line, &length, NULL)) {
        if (length == 0)
            continue;
        origin.problem = NULL;
        switch (tune_line_read(line, length, r, &origin)) { /* a whole line whose end alone was lost is as good */
        case TUNE_LINE_RECORD:
            ok = keep(j, r, line, length, e);
            break;
        case TUNE_LINE_ORIGIN:
            ok = keep_origin(j, &origin, line, length, e);
            break;
        case TUNE_LINE_FOREIGN:
            j->foreign++;
            break;
        case TUNE_LINE_DAMAGED:
            j->damaged++;
        }
    }
    free(r);
    return ok;
}

bool tune_journal_parse(const char *text, size_t size, tune_journal *journal, err *e) {
    memset(journal, 0, sizeof *journal);
    journal->fd = -1;
    if (read_lines(journal, text, size, e))
        return true;
    tune_journal_close(journal);
    return false;
}

/* ---- The file ---- */

static bool append(const tune_journal *j, const char *bytes, size_t size, err *e) {
    ssize_t written;
    if (j->fd < 0)
        return true; /* in memory alone */
    do
        written = write(j->fd, bytes, size);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)size)
        return err_at(e, ERR_SYSTEM, "journal", j->path, 0, 0, "cannot write: %s",
                      strerror(written < 0 ? errno : ENOSPC));
    if (fdatasync(j->fd) != 0 && errno != EINVAL && errno != EROFS)
        return err_at(e, ERR_SYSTEM, "journal", j->path, 0, 0, "cannot write: %s", strerror(errno));
    return true;
}

/* The system's journal of that key; none, or one that cannot be read, is nothing to speak of. */
static bool read_system(tune_journal *j, const char *key, err *e) {
    char path[4096], *text = NULL;
    size_t size = 0;
    err ignored = {0};
    int length = snprintf(path, sizeof path, "%s/%s.jsonl", tune_journal_system(), key);
    if (length < 0 || (size_t)length >= sizeof path || !base_exists(path))
        return true;
    bool ok = true;
    if (base_file_read(path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "journal", &ignored))
        ok = read_lines(j, text, size, e);
    err_clear(&ignored);
    free(text);
    j->system = j->count;
    j->system_origins = j->origin_count;
    return ok;
}

/* Takes the lock; false: another has it. A file system that knows none locks nothing: as if it had been taken. */
static bool take_lock(int fd, int how) {
    int result;
    do
        result = flock(fd, how);
    while (result != 0 && errno == EINTR);
    return result == 0 || errno != EWOULDBLOCK;
}

static bool is_at(int fd, const char *path) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Opens and locks what stands at the path when the lock has been taken: whoever held it may have put another file
 * there. */
static int open_locked(const char *path, int flags, int how) {
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            return -1;
        if (!take_lock(fd, how)) {
            close(fd);
            break;
        }
        if (is_at(fd, path))
            return fd;
        close(fd);
    }
    errno = EWOULDBLOCK;
    return -1;
}

bool tune_journal_lock(const char *path, int *fd, err *e) {
    *fd = open_locked(path, O_RDONLY, LOCK_EX | LOCK_NB);
    if (*fd >= 0)
        return true;
    if (errno == EWOULDBLOCK)
        return err_at(e, ERR_SYSTEM, "journal", path, 0, 0, "a run of tune is writing it; try again when it has ended");
    return err_at(e, ERR_SYSTEM, "journal", path, 0, 0, "cannot open: %s", strerror(errno));
}

void tune_journal_unlock(const char *path, int fd) {
    struct stat s;
    if (fd < 0)
        return;
    if (fstat(fd, &s) == 0 && s.st_size == 0 && is_at(fd, path))
        unlink(path); /* made for the lock alone */
    close(fd);
}

bool tune_journal_open(const char *folder, const char *key, tune_journal *journal, err *e) {
    memset(journal, 0, sizeof *journal);
    journal->fd = -1;
    journal->verified_by = journal->timed_by = "cpu";
    char *text = NULL;
    size_t size = 0;
    int length = snprintf(journal->path, sizeof journal->path, "%s/journal", folder);
    if (length < 0 || (size_t)length + 80 > sizeof journal->path)
        return err_at(e, ERR_SYSTEM, "journal", folder, 0, 0, "the name of the folder is too long");
    if (!base_mkdirs(journal->path, "journal", e))
        return false;
    snprintf(journal->path + length, sizeof journal->path - (size_t)length, "/%s.jsonl", key);
    journal->fd = open_locked(journal->path, O_RDWR | O_APPEND, LOCK_SH);
    if (journal->fd < 0) {
        err_at(e, ERR_SYSTEM, "journal", journal->path, 0, 0, "cannot open: %s", strerror(errno));
        goto failed;
    }
    if (!base_file_read(journal->path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "journal", e))
        goto failed;
    if (size > 0 && text[size - 1] != '\n' && !append(journal, "\n", 1, e))
        goto failed; /* close a torn line */
    if (!read_system(journal, key, e) || !read_lines(journal, text, size, e))
        goto failed;
    free(text);
    return true;
failed:
    free(text);
    tune_journal_close(journal);
    return false;
}

void tune_journal_close(tune_journal *journal) {
    if (journal->fd >= 0)
        close(journal->fd);
    journal->fd = -1;
    free(journal->records);
    journal->records = NULL;
    journal->count = journal->capacity = 0;
    for (int i = 0; i < journal->origin_count; i++)
        free(journal->origins[i].problem);
    free(journal->origins);
    journal->origins = NULL;
    journal->origin_count = 0;
    base_buf_free(&journal->text);
}

bool tune_journal_describe(tune_journal *journal, const tune_origin *origin, err *e) {
    if (journal->origin_count > journal->system_origins)
        return true;
    base_buf line = {0};
    tune_origin mine = *origin;
    mine.at = mine.at ? mine.at : (int64_t)time(NULL);
    tune_line_write_origin(&line, &mine);
    bool ok = base_buf_ok(&line, "journal", e) && append(journal, line.data, line.size, e);
    if (ok && mine.problem) {
        mine.problem = strdup(mine.problem);
        ok = mine.problem || err_memory(e, "journal");
    }
    ok = ok && keep_origin(journal, &mine, line.data, line.size - 1, e);
    base_buf_free(&line);
    return ok;
}

bool tune_journal_add(tune_journal *journal, const tune_record *record, err *e) {
    base_buf line = {0};
    tune_record *r = malloc(sizeof *r);
    if (!r)
        return err_memory(e, "journal");
    *r = *record;
    r->at = r->at ? r->at : (int64_t)time(NULL);
    tune_line_write(&line, r, journal->verified_by, journal->timed_by);
    bool ok = base_buf_ok(&line, "journal", e) && append(journal, line.data, line.size, e) &&
              keep(journal, r, line.data, line.size - 1, e);
    base_buf_free(&line);
    free(r);
    return ok;
}

const tune_record *tune_journal_find(const tune_journal *journal, int kind, nha_op op, const char *tile) {
    for (size_t i = journal->count; i-- > 0;) {
        const tune_record *r = &journal->records[i];
        if (r->kind == kind && r->op == (int)op && strcmp(r->tile, tile) == 0)
            return r;
    }
    return NULL;
}

const tune_record *tune_journal_timed(const tune_journal *journal, int kind, nha_op op, const char *tile, int64_t batch,
                                      int64_t tokens) {
    for (size_t i = journal->count; i-- > 0;) {
        const tune_record *r = &journal->records[i];
        if (r->kind == kind && r->op == (int)op && r->batch == batch && r->tokens == tokens &&
            strcmp(r->tile, tile) == 0)
            return r;
    }
    return NULL;
}
