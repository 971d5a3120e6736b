/* journal.c: see journal.h. A line is {...,"sum":"16 hex digits"}; the sum is the beginning of the SHA-256 of what
 * stands before the comma. */
#include "tuner/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "base/sha256.h"

enum { SUM_DIGITS = 16, LINE_BYTES_MAX = 1 << 16 };
static const char SUM_BEGIN[] = ",\"sum\":\"", SUM_END[] = "\"}";

const char *tune_record_name(int kind) {
    static const char *const names[] = {
#define NAME_(name, text) text,
        TUNE_RECORD_LIST(NAME_)
#undef NAME_
    };
    return names[kind];
}

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

/* ---- Lines ---- */

static void sum_of(const char *text, size_t size, char sum[65]) {
    base_sha256_hex(text, size, sum);
    sum[SUM_DIGITS] = 0;
}

static void put_samples(json_writer *w, const char *key, const tune_samples *s) {
    json_begin_array(w, key);
    for (int i = 0; i < s->count; i++)
        json_put_number(w, NULL, s->us[i]);
    json_end_array(w);
}

static void write_line(base_buf *out, const tune_journal *journal, const tune_record *r) {
    json_writer w = {.out = out};
    json_begin_object(&w, NULL);
    json_put_integer(&w, "v", TUNE_JOURNAL_VERSION);
    json_put_text(&w, "record", tune_record_name(r->kind));
    json_put_text(&w, "op", gen_op_name(r->op));
    if (r->kind == TUNE_RECORD_DONE) {
        json_put_number(&w, "seconds", r->seconds);
        json_put_bool(&w, "exhausted", r->exhausted);
    } else {
        json_put_text(&w, "tile", r->tile);
    }
    if (r->kind == TUNE_RECORD_VERIFIED)
        json_put_text(&w, "verified_by", journal->verified_by);
    if (r->kind == TUNE_RECORD_REJECTED || r->kind == TUNE_RECORD_FAILED)
        json_put_text(&w, "why", r->why);
    if (r->kind == TUNE_RECORD_QUICK || r->kind == TUNE_RECORD_FINAL || r->kind == TUNE_RECORD_DONE) {
        json_put_integer(&w, "batch", r->batch);
        json_put_integer(&w, "tokens", r->tokens);
    }
    if (r->kind == TUNE_RECORD_QUICK || r->kind == TUNE_RECORD_FINAL) {
        json_put_integer(&w, "timed_batch", r->timed_batch);
        json_put_integer(&w, "timed_tokens", r->timed_tokens);
        json_put_integer(&w, "threads", r->threads);
        json_put_text(&w, "timed_by", journal->timed_by);
        json_put_integer(&w, "iterations", r->samples.iterations);
        put_samples(&w, "us", &r->samples);
        put_samples(&w, "default_us", &r->base);
    }
    json_end_object(&w);
    if (out->failed || out->size == 0)
        return;
    out->size--; /* the closing brace comes after the sum */
    char sum[65];
    sum_of(out->data, out->size, sum);
    base_buf_printf(out, "%s%s%s\n", SUM_BEGIN, sum, SUM_END);
}

static bool get_samples(const json_value *object, const char *key, tune_samples *s) {
    const json_value *list = json_get(object, key);
    if (!list || list->type != JSON_ARRAY || list->size > TUNE_SAMPLES_MAX)
        return false;
    s->count = 0;
    for (const json_value *v = list->first; v; v = v->next) {
        if (v->type != JSON_NUMBER || v->number < 0)
            return false;
        s->us[s->count++] = v->number;
    }
    return true;
}

/* Negative if the word is none of the names. */
static int choice(const char *word, const char *(*name)(int), int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(word, name(i)) == 0)
            return i;
    return -1;
}

static bool read_line(const char *line, size_t length, tune_record *r) {
    size_t tail = sizeof SUM_BEGIN - 1 + SUM_DIGITS + sizeof SUM_END - 1;
    if (length <= tail || length > LINE_BYTES_MAX)
        return false;
    char sum[65];
    sum_of(line, length - tail, sum);
    const char *at = line + length - tail;
    if (memcmp(at, SUM_BEGIN, sizeof SUM_BEGIN - 1) != 0 || memcmp(at + sizeof SUM_BEGIN - 1, sum, SUM_DIGITS) != 0 ||
        memcmp(line + length - (sizeof SUM_END - 1), SUM_END, sizeof SUM_END - 1) != 0)
        return false;
    json doc;
    err ignored = {0};
    if (!json_parse(line, length, 0, NULL, "journal", &doc, &ignored)) {
        err_clear(&ignored);
        return false;
    }
    const json_value *o = doc.root;
    memset(r, 0, sizeof *r);
    bool ok = json_get_integer(o, "v", 0) == TUNE_JOURNAL_VERSION;
    r->kind = choice(json_get_text(o, "record", ""), tune_record_name, TUNE_RECORD_KINDS);
    r->op = choice(json_get_text(o, "op", ""), gen_op_name, NHA_BACKWARD + 1);
    snprintf(r->tile, sizeof r->tile, "%s", json_get_text(o, "tile", ""));
    snprintf(r->why, sizeof r->why, "%s", json_get_text(o, "why", ""));
    r->batch = json_get_integer(o, "batch", 0);
    r->tokens = json_get_integer(o, "tokens", 0);
    r->timed_batch = json_get_integer(o, "timed_batch", 0);
    r->timed_tokens = json_get_integer(o, "timed_tokens", 0);
    r->threads = (int)json_get_integer(o, "threads", 0);
    r->seconds = json_get_number(o, "seconds", 0);
    r->exhausted = json_get_bool(o, "exhausted", false);
    if (r->kind == TUNE_RECORD_QUICK || r->kind == TUNE_RECORD_FINAL)
        ok = ok && get_samples(o, "us", &r->samples) && get_samples(o, "default_us", &r->base);
    r->samples.iterations = r->base.iterations = json_get_integer(o, "iterations", 0);
    json_free(&doc);
    return ok && r->kind >= 0 && r->op >= 0;
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
    j->records[j->count++] = *r;
    base_buf_add(&j->text, line, length);
    base_buf_char(&j->text, '\n');
    return base_buf_ok(&j->text, "journal", e);
}

static bool read_lines(tune_journal *j, const char *text, size_t size, err *e) {
    const char *cursor = text, *line;
    size_t length;
    tune_record *r = malloc(sizeof *r);
    if (!r)
        return err_memory(e, "journal");
    bool ok = true;
    while (ok && base_next_line(&cursor, text + size, &line, &length, NULL)) {
        if (length == 0)
            continue;
        if (read_line(line, length, r)) /* a whole line whose end alone was lost is as good */
            ok = keep(j, r, line, length, e);
        else
            j->damaged++;
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
    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (journal->fd < 0) {
        err_at(e, ERR_SYSTEM, "journal", journal->path, 0, 0, "cannot open: %s", strerror(errno));
        goto failed;
    }
    if (!base_file_read(journal->path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "journal", e))
        goto failed;
    if (size > 0 && text[size - 1] != '\n' && !append(journal, "\n", 1, e))
        goto failed; /* close a torn line */
    if (!read_lines(journal, text, size, e))
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
    base_buf_free(&journal->text);
}

bool tune_journal_add(tune_journal *journal, const tune_record *record, err *e) {
    base_buf line = {0};
    write_line(&line, journal, record);
    bool ok = base_buf_ok(&line, "journal", e) && append(journal, line.data, line.size, e) &&
              keep(journal, record, line.data, line.size - 1, e);
    base_buf_free(&line);
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
