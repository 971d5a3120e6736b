/* journal_line.c: see journal_line.h. A line is {...,"sum":"16 hex digits"}; the sum is the beginning of the SHA-256 of
 * what stands before the comma. */
#include "tuner/journal_line.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/sha256.h"

enum { SUM_DIGITS = 16, LINE_BYTES_MAX = 1 << 16 };
static const char SUM_BEGIN[] = ",\"sum\":\"", SUM_END[] = "\"}", ORIGIN[] = "key";

const char *tune_record_name(int kind) {
    static const char *const names[] = {
#define NAME_(name, text) text,
        TUNE_RECORD_LIST(NAME_)
#undef NAME_
    };
    return names[kind];
}

static void sum_of(const char *text, size_t size, char sum[65]) {
    base_sha256_hex(text, size, sum);
    sum[SUM_DIGITS] = 0;
}

/* Ends the object that began at `begin` of out with its sum. */
static void seal(base_buf *out, size_t begin) {
    if (out->failed || out->size <= begin)
        return;
    out->size--; /* the closing brace comes after the sum */
    char sum[65];
    sum_of(out->data + begin, out->size - begin, sum);
    base_buf_printf(out, "%s%s%s\n", SUM_BEGIN, sum, SUM_END);
}

/* ---- Writing ---- */

static void put_samples(json_writer *w, const char *key, const tune_samples *s) {
    json_begin_array(w, key);
    for (int i = 0; i < s->count; i++)
        json_put_number(w, NULL, s->us[i]);
    json_end_array(w);
}

static void put_shape(json_writer *w, const tune_record *r) {
    json_put_integer(w, "batch", r->batch);
    json_put_integer(w, "tokens", r->tokens);
}

static void put_status(json_writer *w, const tune_record *r, const char *verified_by) {
    if (r->kind == TUNE_RECORD_VERIFIED)
        json_put_text(w, "verified_by", verified_by);
    else
        json_put_text(w, "why", r->why);
    json_put_number(w, "seconds", r->seconds);
    json_put_integer(w, "order", r->order);
    json_begin_object(w, "knobs");
    for (int i = 0; i < r->knob_count; i++)
        json_put_integer(w, r->knob[i].name, r->knob[i].value);
    json_end_object(w);
}

static void put_timed(json_writer *w, const tune_record *r, const char *timed_by) {
    put_shape(w, r);
    json_put_integer(w, "timed_batch", r->timed_batch);
    json_put_integer(w, "timed_tokens", r->timed_tokens);
    json_put_integer(w, "threads", r->threads);
    json_put_text(w, "timed_by", timed_by);
    if (r->predicted > 0)
        json_put_number(w, "predicted", r->predicted);
    json_put_integer(w, "iterations", r->samples.iterations);
    put_samples(w, "us", &r->samples);
    put_samples(w, "default_us", &r->base);
}

void tune_line_write(base_buf *out, const tune_record *r, const char *verified_by, const char *timed_by) {
    json_writer w = {.out = out};
    size_t begin = out->size;
    json_begin_object(&w, NULL);
    json_put_integer(&w, "v", TUNE_JOURNAL_VERSION);
    json_put_text(&w, "record", tune_record_name(r->kind));
    json_put_integer(&w, "at", r->at);
    json_put_text(&w, "op", gen_op_name(r->op));
    if (r->kind == TUNE_RECORD_PRUNED)
        json_put_text(&w, "why", r->tile);
    else if (r->kind == TUNE_RECORD_LIMIT)
        json_put_text(&w, "limit", r->tile);
    else if (r->kind != TUNE_RECORD_DONE)
        json_put_text(&w, "tile", r->tile);
    switch (r->kind) {
    case TUNE_RECORD_VERIFIED:
    case TUNE_RECORD_REJECTED:
    case TUNE_RECORD_FAILED:
        put_status(&w, r, verified_by);
        break;
    case TUNE_RECORD_IMPLAUSIBLE:
        put_shape(&w, r);
        json_put_text(&w, "why", r->why);
        break;
    case TUNE_RECORD_PRUNED:
        json_put_integer(&w, "count", r->count);
        break;
    case TUNE_RECORD_LIMIT:
        put_shape(&w, r);
        json_put_integer(&w, "threads", r->threads);
        json_put_number(&w, "value", r->value);
        break;
    case TUNE_RECORD_DONE:
        json_put_number(&w, "seconds", r->seconds);
        json_put_bool(&w, "exhausted", r->exhausted);
        put_shape(&w, r);
        json_put_integer(&w, "legal", r->count);
        break;
    default:
        put_timed(&w, r, timed_by);
    }
    json_end_object(&w);
    seal(out, begin);
}

void tune_line_write_origin(base_buf *out, const tune_origin *o) {
    json_writer w = {.out = out};
    size_t begin = out->size;
    json_begin_object(&w, NULL);
    json_put_integer(&w, "v", TUNE_JOURNAL_VERSION);
    json_put_text(&w, "record", ORIGIN);
    json_put_integer(&w, "at", o->at);
    json_put_text(&w, "name", o->name);
    json_put_text(&w, "device", o->device);
    json_put_text(&w, "arch", o->arch);
    json_put_integer(&w, "threads", o->threads);
    json_put_text(&w, "generator", o->generator);
    json_put_text(&w, "compiler", o->compiler);
    json_put_text(&w, "nhac", o->nhac);
    if (o->problem)
        json_put_text(&w, "problem", o->problem);
    json_end_object(&w);
    seal(out, begin);
}

/* ---- Reading ---- */

/* Copies a text that must fit. */
static bool get_text(const json_value *object, const char *key, char *out, size_t size) {
    const char *text = json_get_text(object, key, "");
    snprintf(out, size, "%s", text);
    return strlen(text) < size;
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

static bool get_knobs(const json_value *object, tune_record *r) {
    const json_value *list = json_get(object, "knobs");
    if (!list)
        return true;
    if (list->type != JSON_OBJECT || list->size > TUNE_RECORD_KNOBS_MAX)
        return false;
    for (const json_value *v = list->first; v; v = v->next) {
        bool fits = v->type == JSON_NUMBER && v->integral && v->integer >= INT32_MIN && v->integer <= INT32_MAX &&
                    strlen(v->key) < sizeof r->knob[0].name;
        if (!fits)
            return false;
        snprintf(r->knob[r->knob_count].name, sizeof r->knob[0].name, "%s", v->key);
        r->knob[r->knob_count++].value = (int32_t)v->integer;
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

static bool read_record(const json_value *o, tune_record *r) {
    memset(r, 0, sizeof *r);
    r->origin = -1;
    r->kind = choice(json_get_text(o, "record", ""), tune_record_name, TUNE_RECORD_KINDS);
    r->op = choice(json_get_text(o, "op", ""), gen_op_name, NHA_BACKWARD + 1);
    if (r->kind < 0 || r->op < 0)
        return false;
    bool pruned = r->kind == TUNE_RECORD_PRUNED;
    const char *name = pruned ? "why" : r->kind == TUNE_RECORD_LIMIT ? "limit" : "tile";
    bool ok = get_text(o, name, r->tile, sizeof r->tile) && (pruned || get_text(o, "why", r->why, sizeof r->why));
    r->at = json_get_integer(o, "at", 0);
    r->batch = json_get_integer(o, "batch", 0);
    r->tokens = json_get_integer(o, "tokens", 0);
    r->timed_batch = json_get_integer(o, "timed_batch", 0);
    r->timed_tokens = json_get_integer(o, "timed_tokens", 0);
    r->threads = (int)json_get_integer(o, "threads", 0);
    r->seconds = json_get_number(o, "seconds", 0);
    r->order = (int)json_get_integer(o, "order", -1);
    r->predicted = json_get_number(o, "predicted", 0);
    r->value = json_get_number(o, "value", 0);
    r->count = json_get_integer(o, pruned ? "count" : "legal", 0);
    r->exhausted = json_get_bool(o, "exhausted", false);
    if (tune_record_timed(r->kind))
        ok = ok && get_samples(o, "us", &r->samples) && get_samples(o, "default_us", &r->base);
    r->samples.iterations = r->base.iterations = json_get_integer(o, "iterations", 0);
    return ok && get_knobs(o, r);
}

static bool read_origin(const json_value *o, tune_origin *origin) {
    memset(origin, 0, sizeof *origin);
    origin->at = json_get_integer(o, "at", 0);
    origin->threads = (int)json_get_integer(o, "threads", 0);
    bool ok = get_text(o, "name", origin->name, sizeof origin->name) &&
              get_text(o, "device", origin->device, sizeof origin->device) &&
              get_text(o, "arch", origin->arch, sizeof origin->arch) &&
              get_text(o, "generator", origin->generator, sizeof origin->generator) &&
              get_text(o, "compiler", origin->compiler, sizeof origin->compiler) &&
              get_text(o, "nhac", origin->nhac, sizeof origin->nhac);
    const char *problem = json_get_text(o, "problem", NULL);
    if (ok && problem) {
        origin->problem = strdup(problem);
        ok = origin->problem != NULL;
    }
    return ok;
}

tune_line tune_line_read(const char *line, size_t length, tune_record *record, tune_origin *origin) {
    size_t tail = sizeof SUM_BEGIN - 1 + SUM_DIGITS + sizeof SUM_END - 1;
    if (length <= tail || length > LINE_BYTES_MAX)
        return TUNE_LINE_DAMAGED;
    char sum[65];
    sum_of(line, length - tail, sum);
    const char *at = line + length - tail;
    if (memcmp(at, SUM_BEGIN, sizeof SUM_BEGIN - 1) != 0 || memcmp(at + sizeof SUM_BEGIN - 1, sum, SUM_DIGITS) != 0 ||
        memcmp(line + length - (sizeof SUM_END - 1), SUM_END, sizeof SUM_END - 1) != 0)
        return TUNE_LINE_DAMAGED;
    json doc;
    err ignored = {0};
    if (!json_parse(line, length, 0, NULL, "journal", &doc, &ignored)) {
        err_clear(&ignored);
        return TUNE_LINE_DAMAGED;
    }
    tune_line result = TUNE_LINE_DAMAGED;
    const json_value *o = doc.root;
    if (json_get_integer(o, "v", TUNE_JOURNAL_VERSION) != TUNE_JOURNAL_VERSION)
        result = TUNE_LINE_FOREIGN;
    else if (strcmp(json_get_text(o, "record", ""), ORIGIN) == 0)
        result = read_origin(o, origin) ? TUNE_LINE_ORIGIN : TUNE_LINE_DAMAGED;
    else if (read_record(o, record))
        result = TUNE_LINE_RECORD;
    json_free(&doc);
    return result;
}
