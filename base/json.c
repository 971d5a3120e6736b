/* json.c: the JSON reader: recursive descent with a depth limit over a text whose end is known.
 * Numbers go through strtod and strtoll after their grammar has been checked. */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct json_reader {
    const char *begin, *at, *end;
    json *doc;
    int flags;
    int values;
    const char *file, *stage;
    err *e;
} json_reader;

static bool fail(json_reader *r, const char *at, const char *text) {
    int line = 1, column = 1;
    for (const char *c = r->begin; c < at; c++) {
        column++;
        if (*c == '\n') {
            line++;
            column = 1;
        }
    }
    r->doc->error_offset = (size_t)(at - r->begin);
    return err_at(r->e, ERR_INPUT, r->stage, r->file, line, column, "%s", text);
}

static bool fail_key(json_reader *r, const json_value *member) {
    char text[120];
    snprintf(text, sizeof text, "the key \"%.60s\" appears twice", member->key);
    return fail(r, r->begin + member->offset, text);
}

static void skip_space(json_reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool next_is(json_reader *r, char c) {
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static int hex4(const char *s, const char *end) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int code = 0;
    if (end - s < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        const char *digit = c ? strchr(digits, c) : NULL;
        if (!digit) return -1;
        code = code * 16 + (int)(digit - digits) % 16; /* A-F stand 16 after a-f */
    }
    return code;
}

static char *put_utf8(char *to, int code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* \uXXXX, at the u; surrogates must come in pairs. Six bytes of text never give more than four of UTF-8. */
static bool read_unicode(json_reader *r, char **to) {
    const char *start = r->at - 1;
    int code = hex4(r->at + 1, r->end);
    if (code < 0) return fail(r, start, "\\u needs four hexadecimal digits");
    r->at += 5;
    if (code >= 0xd800 && code < 0xdc00) {
        int low = r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u' ? hex4(r->at + 2, r->end) : -1;
        if (low < 0xdc00 || low > 0xdfff) return fail(r, start, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        r->at += 6;
    } else if (code >= 0xdc00 && code < 0xe000) {
        return fail(r, start, "half of a surrogate pair");
    } else if (code == 0) {
        return fail(r, start, "\\u0000 is not accepted");
    }
    *to = put_utf8(*to, code);
    return true;
}

static bool read_string(json_reader *r, const char **text, size_t *size) {
    static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *start = r->at++, *stop = r->at;
    while (stop < r->end && *stop != '"') stop += *stop == '\\' && stop + 1 < r->end ? 2 : 1;
    if (stop >= r->end) return fail(r, start, "the string has no end");
    char *copy = base_arena_alloc(&r->doc->arena, (size_t)(stop - r->at) + 1), *to = copy;
    if (!copy) return err_memory(r->e, r->stage);
    while (r->at < stop) {
        unsigned char c = (unsigned char)*r->at;
        if (c < 0x20) return fail(r, r->at, "a control character in a string: write it as \\uXXXX");
        if (c != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        const char *escape = memchr(escapes, *r->at, sizeof escapes - 1);
        if (*r->at == 'u') {
            if (!read_unicode(r, &to)) return false;
        } else if (escape) {
            *to++ = values[escape - escapes];
            r->at++;
        } else {
            return fail(r, r->at - 1, "an unknown escape in a string");
        }
    }
    *to = 0;
    r->at = stop + 1;
    *text = copy;
    *size = (size_t)(to - copy);
    return true;
}

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && *at >= '0' && *at <= '9') at++;
    return at;
}

static bool read_number(json_reader *r, json_value *v) {
    const char *start = r->at, *at = start, *digits;
    bool integral = true;
    if (at < r->end && *at == '-') at++;
    digits = at;
    at = skip_digits(at, r->end);
    if (at == digits || (*digits == '0' && at - digits > 1)) return fail(r, start, "not a number");
    if (at < r->end && *at == '.') {
        integral = false;
        digits = ++at;
        at = skip_digits(at, r->end);
        if (at == digits) return fail(r, start, "not a number: digits follow the point");
    }
    if (at < r->end && (*at == 'e' || *at == 'E')) {
        integral = false;
        at++;
        if (at < r->end && (*at == '+' || *at == '-')) at++;
        digits = at;
        at = skip_digits(at, r->end);
        if (at == digits) return fail(r, start, "not a number: the exponent has no digits");
    }
    /* The text may end right here, without a NUL: convert a copy. */
    char local[64], *copy = local;
    size_t size = (size_t)(at - start);
    if (size >= sizeof local && !(copy = base_arena_alloc(&r->doc->arena, size + 1))) return err_memory(r->e, r->stage);
    memcpy(copy, start, size);
    copy[size] = 0;
    v->type = JSON_NUMBER;
    v->number = strtod(copy, NULL);
    if (!isfinite(v->number)) return fail(r, start, "the number is too large");
    if (integral) {
        errno = 0;
        v->integer = strtoll(copy, NULL, 10);
        v->integral = errno == 0;
        if (!v->integral) v->integer = 0;
    }
    r->at = at;
    return true;
}

static bool read_word(json_reader *r, const char *word, json_type type, bool boolean, json_value *v) {
    size_t size = strlen(word);
    if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size) != 0) return fail(r, r->at, "not a JSON value");
    r->at += size;
    v->type = type;
    v->boolean = boolean;
    return true;
}

static int compare_keys(const void *a, const void *b) {
    const json_value *x = *(const json_value *const *)a, *y = *(const json_value *const *)b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

/* Sorted once, so that a large object costs n log n. The second of two equal keys is reported. */
static bool refuse_duplicates(json_reader *r, const json_value *object) {
    if (object->size < 2) return true;
    const json_value **members = malloc(object->size * sizeof *members);
    if (!members) return err_memory(r->e, r->stage);
    size_t n = 0;
    for (const json_value *m = object->first; m; m = m->next) members[n++] = m;
    qsort(members, n, sizeof *members, compare_keys);
    bool ok = true;
    for (size_t i = 1; i < n && ok; i++)
        if (strcmp(members[i - 1]->key, members[i]->key) == 0) ok = fail_key(r, members[i]);
    free(members);
    return ok;
}

static bool read_value(json_reader *r, json_value *v, int depth);

/* Members of an array or object up to `close`. */
static bool read_members(json_reader *r, json_value *parent, char close, int depth) {
    const char *start = r->at++;
    const json_value **link = &parent->first;
    if (depth >= JSON_DEPTH_MAX) return fail(r, start, "nested too deeply");
    skip_space(r);
    if (next_is(r, close)) return true;
    for (;;) {
        json_value *member = base_arena_alloc(&r->doc->arena, sizeof *member);
        if (!member) return err_memory(r->e, r->stage);
        skip_space(r);
        size_t offset = (size_t)(r->at - r->begin), size;
        if (parent->type == JSON_OBJECT) {
            if (r->at >= r->end || *r->at != '"') return fail(r, r->at, "a key in quotes was expected");
            if (!read_string(r, &member->key, &size)) return false;
            skip_space(r);
            if (!next_is(r, ':')) return fail(r, r->at, "':' was expected");
        }
        if (!read_value(r, member, depth + 1)) return false;
        member->offset = offset;
        *link = member;
        link = &member->next;
        parent->size++;
        skip_space(r);
        if (next_is(r, close)) break;
        if (!next_is(r, ','))
            return fail(r, r->at, close == '}' ? "',' or '}' was expected" : "',' or ']' was expected");
    }
    if (parent->type == JSON_OBJECT && !(r->flags & JSON_DUPLICATES)) return refuse_duplicates(r, parent);
    return true;
}

static bool read_value(json_reader *r, json_value *v, int depth) {
    skip_space(r);
    if (r->at >= r->end) return fail(r, r->at, "the text ends where a value was expected");
    if (++r->values > JSON_VALUES_MAX) return fail(r, r->at, "too many values");
    v->offset = (size_t)(r->at - r->begin);
    switch (*r->at) {
    case '{':
        v->type = JSON_OBJECT;
        return read_members(r, v, '}', depth);
    case '[':
        v->type = JSON_ARRAY;
        return read_members(r, v, ']', depth);
    case '"':
        v->type = JSON_STRING;
        return read_string(r, &v->text, &v->size);
    case 't':
        return read_word(r, "true", JSON_BOOL, true, v);
    case 'f':
        return read_word(r, "false", JSON_BOOL, false, v);
    case 'n':
        return read_word(r, "null", JSON_NULL, false, v);
    default:
        return read_number(r, v);
    }
}

bool json_parse(const char *text, size_t size, int flags, const char *file, const char *stage, json *doc, err *e) {
    memset(doc, 0, sizeof *doc);
    json_reader r = {.begin = text,
                     .at = text,
                     .end = text + size,
                     .doc = doc,
                     .flags = flags,
                     .file = file,
                     .stage = stage,
                     .e = e};
    json_value *root = base_arena_alloc(&doc->arena, sizeof *root);
    bool ok = root ? read_value(&r, root, 0) : err_memory(e, stage);
    if (ok) skip_space(&r);
    if (ok && r.at < r.end) ok = fail(&r, r.at, "something follows the value");
    if (ok) {
        doc->root = root;
    } else {
        base_arena_free(&doc->arena);
    }
    return ok;
}

void json_free(json *doc) {
    base_arena_free(&doc->arena);
    doc->root = NULL;
}

const json_value *json_get(const json_value *object, const char *key) {
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (const json_value *m = object->first; m; m = m->next)
        if (strcmp(m->key, key) == 0) return m;
    return NULL;
}

static const json_value *get_typed(const json_value *object, const char *key, json_type type) {
    const json_value *v = json_get(object, key);
    return v && v->type == type ? v : NULL;
}

const char *json_get_text(const json_value *object, const char *key, const char *otherwise) {
    const json_value *v = get_typed(object, key, JSON_STRING);
    return v ? v->text : otherwise;
}

double json_get_number(const json_value *object, const char *key, double otherwise) {
    const json_value *v = get_typed(object, key, JSON_NUMBER);
    return v ? v->number : otherwise;
}

int64_t json_get_integer(const json_value *object, const char *key, int64_t otherwise) {
    const json_value *v = get_typed(object, key, JSON_NUMBER);
    return v && v->integral ? v->integer : otherwise;
}

bool json_get_bool(const json_value *object, const char *key, bool otherwise) {
    const json_value *v = get_typed(object, key, JSON_BOOL);
    return v ? v->boolean : otherwise;
}
