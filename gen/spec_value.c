/* spec_value.c: the generic part of reading a spec: maps by table, numbers, words, and the messages about them. */
#include "gen/spec_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

enum { SHOWN = 40 /* bytes of a value that a message shows */, KEYS_MAX = 32, CHOICES_MAX = 16 };

bool gen_wrong_text(gen_reader *r, const gen_key *key, const gen_yaml *value, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_at(r->e, ERR_INPUT, "spec", r->path, value->line, value->column, "%s%s: %s", r->prefix, key->name, text);
}

/* A value as a message shows it; long ones are cut between characters. */
static const char *show(const gen_yaml *value, char out[SHOWN + 8]) {
    if (value->kind != GEN_YAML_SCALAR) return value->kind == GEN_YAML_LIST ? "a list" : "a map";
    size_t length = strlen(value->text), kept = length;
    if (kept > SHOWN) {
        kept = SHOWN;
        while (kept && ((unsigned char)value->text[kept] & 0xc0) == 0x80) kept--;
    }
    const char *quote = value->quoted ? "\"" : "";
    snprintf(out, SHOWN + 8, "%s%.*s%s%s", quote, (int)kept, value->text, kept < length ? "..." : "", quote);
    return out;
}

bool gen_wrong(gen_reader *r, const gen_key *key, const gen_yaml *value, const char *what, const char *nearest) {
    char shown[SHOWN + 8];
    const char *before = nearest ? "; the nearest is " : "";
    if (!nearest) nearest = "";
    if (value->kind == GEN_YAML_SCALAR && !value->text[0])
        return gen_wrong_text(r, key, value, "the value is missing: it is %s", what);
    return gen_wrong_text(r, key, value, "%s is not %s%s%s", show(value, shown), what, before, nearest);
}

const gen_yaml *gen_yaml_get(const gen_yaml *map, const char *key) {
    if (map->kind != GEN_YAML_MAP) return NULL;
    for (const gen_yaml *value = map->first; value; value = value->next)
        if (strcmp(value->key->text, key) == 0) return value;
    return NULL;
}

static bool wrong_key(gen_reader *r, const gen_yaml *key, const gen_key *keys, int count) {
    const char *names[KEYS_MAX];
    char shown[SHOWN + 8];
    int n = 0;
    for (; n < count && n < KEYS_MAX; n++) names[n] = keys[n].name;
    return err_at(r->e, ERR_INPUT, "spec", r->path, key->line, key->column, "unknown key %s%s; the nearest is %s%s",
                  r->prefix, show(key, shown), r->prefix, base_nearest(key->text, names, (size_t)n));
}

bool gen_read_map(gen_reader *r, const gen_yaml *map, const char *what, const gen_key *keys, int count, void *object) {
    const gen_yaml *found[KEYS_MAX] = {NULL};
    char shown[SHOWN + 8];
    if (map->kind != GEN_YAML_MAP)
        return err_at(r->e, ERR_INPUT, "spec", r->path, map->line, map->column, "%s is not %s",
                      map->kind == GEN_YAML_SCALAR && !map->text[0] ? "nothing" : show(map, shown), what);
    for (const gen_yaml *value = map->first; value; value = value->next) {
        int i = 0;
        while (i < count && strcmp(keys[i].name, value->key->text) != 0) i++;
        if (i == count) return wrong_key(r, value->key, keys, count);
        if (found[i])
            return err_at(r->e, ERR_INPUT, "spec", r->path, value->key->line, value->key->column,
                          "duplicate key %s%s: it stands in line %d already", r->prefix, keys[i].name,
                          found[i]->key->line);
        found[i] = value;
    }
    for (int i = 0; i < count; i++)
        if (keys[i].required && !found[i])
            return err_at(r->e, ERR_INPUT, "spec", r->path, map->line, map->column, "the key %s%s is missing: it is %s",
                          r->prefix, keys[i].name, keys[i].what);
    for (int i = 0; i < count; i++)
        if (found[i] && !keys[i].parse(r, &keys[i], found[i], object)) return false;
    return true;
}

static bool to_number(const char *text, double *number) {
    char *end;
    *number = strtod(text, &end);
    return end != text && !*end;
}

bool gen_is_number(const gen_yaml *value) {
    double number = 0;
    return value->kind == GEN_YAML_SCALAR && !value->quoted && to_number(value->text, &number);
}

bool gen_read_number(gen_reader *r, const gen_key *key, const gen_yaml *value, bool whole, double *number) {
    char what[160], nearest[40];
    double x = 0, multiple = key->multiple > 1 ? key->multiple : 1;
    if (value->kind == GEN_YAML_SCALAR && value->quoted && to_number(value->text, &x))
        return gen_wrong_text(r, key, value, "\"%.40s\" is a text: write the number without quotes", value->text);
    snprintf(what, sizeof what, "%s from %g to %g", whole ? "a whole number" : "a number", key->min, key->max);
    if (whole && multiple > 1)
        snprintf(what, sizeof what, "a multiple of %g from %g to %g", multiple, key->min, key->max);
    if (!gen_is_number(value) || !to_number(value->text, &x) || isnan(x)) return gen_wrong(r, key, value, what, NULL);
    double near = whole ? round(x / multiple) * multiple : x;
    near = near < key->min ? key->min : near > key->max ? key->max : near;
    snprintf(nearest, sizeof nearest, "%.15g", near);
    if (near != x) return gen_wrong(r, key, value, what, nearest);
    *number = x;
    return true;
}

bool gen_read_choice(gen_reader *r, const gen_key *key, const gen_yaml *value, int *choice) {
    const char *names[CHOICES_MAX];
    char what[256] = "one of ";
    size_t n = 0;
    for (const gen_choice *c = key->choices; c->name; c++) {
        if (value->kind == GEN_YAML_SCALAR && strcmp(value->text, c->name) == 0) {
            *choice = c->value;
            if (!c->later) return true;
            return gen_wrong_text(r, key, value, "%s is not available in this version; the nearest is %s", c->name,
                                  key->choices[0].name);
        }
        if (c->later || n == CHOICES_MAX) continue;
        size_t used = strlen(what);
        snprintf(what + used, sizeof what - used, "%s%s", n ? ", " : "", c->name);
        names[n++] = c->name;
    }
    if (n == 1) snprintf(what, sizeof what, "%s, the one choice", names[0]);
    const char *nearest = value->kind == GEN_YAML_SCALAR && value->text[0] ? base_nearest(value->text, names, n) : NULL;
    return gen_wrong(r, key, value, what, nearest);
}

bool gen_parse_int32(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    double number = 0;
    if (!gen_read_number(r, key, value, true, &number)) return false;
    *(int32_t *)((char *)object + key->offset) = (int32_t)number;
    return true;
}

bool gen_parse_int64(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    double number = 0;
    if (!gen_read_number(r, key, value, true, &number)) return false;
    *(int64_t *)((char *)object + key->offset) = (int64_t)number;
    return true;
}

bool gen_parse_double(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    return gen_read_number(r, key, value, false, (double *)((char *)object + key->offset));
}

bool gen_parse_choice(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    int choice;
    if (!gen_read_choice(r, key, value, &choice)) return false;
    *(int32_t *)((char *)object + key->offset) = choice;
    return true;
}
