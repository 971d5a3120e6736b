/* json.h: a small strict JSON reader (RFC 8259) for hostile input, and a writer for journal lines and bench output.
 * Reading: depth, size and number of values are bounded, all values live in one arena, nothing is kept of the text. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum { JSON_DEPTH_MAX = 64, JSON_VALUES_MAX = 1 << 20 };

typedef enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_type;

typedef struct json_value {
    json_type type;
    bool boolean;
    bool integral;      /* a number without fraction and exponent that fits in `integer` */
    int64_t integer;
    double number;      /* as strtod reads it; finite */
    const char *text;   /* string: UTF-8, NUL-terminated; \u0000 is refused */
    size_t size;        /* string: bytes; array and object: members */
    const char *key;    /* in an object: this member's name */
    const struct json_value *first, *next; /* first member; next member of the same parent, in the order of the text */
    size_t offset;      /* byte of the text where it begins; a member of an object: where its key begins */
} json_value;

typedef struct json {
    base_arena arena;
    const json_value *root;
    size_t error_offset; /* after a failure: the byte at which it stands */
} json;

enum { JSON_DUPLICATES = 1 /* do not refuse an object that has a key twice; json_get gives the first */ };

/* Parses one value that makes up the whole text. Errors: ERR_INPUT with `file` (may be NULL), line and column (in
 * bytes, from 1); ERR_MEMORY. On failure *doc needs no free. */
bool json_parse(const char *text, size_t size, int flags, const char *file, const char *stage, json *doc, err *e);
void json_free(json *doc);

/* Member of an object by name; NULL if there is none, or if object is NULL or no object. */
const json_value *json_get(const json_value *object, const char *key);
/* The member's value if it is there and of that type, else `otherwise`. */
const char *json_get_text(const json_value *object, const char *key, const char *otherwise);
double json_get_number(const json_value *object, const char *key, double otherwise);
int64_t json_get_integer(const json_value *object, const char *key, int64_t otherwise);
bool json_get_bool(const json_value *object, const char *key, bool otherwise);

/* ---- Writing. `key` is the member's name inside an object, NULL inside an array or at the top. Commas are kept here;
 * balance of begin and end is the caller's. Compact: no spaces, no line ends. */
typedef struct json_writer {
    base_buf *out; /* borrowed; failure is sticky in it */
    bool comma;    /* a member has been written at this level */
} json_writer;

void json_begin_object(json_writer *w, const char *key);
void json_end_object(json_writer *w);
void json_begin_array(json_writer *w, const char *key);
void json_end_array(json_writer *w);
void json_put_text(json_writer *w, const char *key, const char *text);
/* Shortest of 15 to 17 digits that reads back as the same double; NaN and infinities, which JSON lacks, become null. */
void json_put_number(json_writer *w, const char *key, double number);
void json_put_integer(json_writer *w, const char *key, int64_t integer);
void json_put_bool(json_writer *w, const char *key, bool boolean);
void json_put_null(json_writer *w, const char *key);
/* The string with its quotes, escaped; bytes of 0x80 and up pass through. */
void json_quote(base_buf *out, const char *text, size_t size);

#endif
