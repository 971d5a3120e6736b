/* json_write.c: the JSON writer: compact text into a buffer, numbers that read back as the same value. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void json_quote(base_buf *out, const char *text, size_t size) {
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    base_buf_char(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        base_buf_add(out, text + from, i - from);
        from = i + 1;
        const char *known = c ? strchr(plain, c) : NULL;
        if (known) {
            base_buf_char(out, '\\');
            base_buf_char(out, letters[known - plain]);
        } else {
            base_buf_printf(out, "\\u%04x", c);
        }
    }
    base_buf_add(out, text + from, size - from);
    base_buf_char(out, '"');
}

static void begin_member(json_writer *w, const char *key) {
    if (w->comma) base_buf_char(w->out, ',');
    w->comma = true;
    if (!key) return;
    json_quote(w->out, key, strlen(key));
    base_buf_char(w->out, ':');
}

void json_begin_object(json_writer *w, const char *key) {
    begin_member(w, key);
    base_buf_char(w->out, '{');
    w->comma = false;
}

void json_end_object(json_writer *w) {
    base_buf_char(w->out, '}');
    w->comma = true;
}

void json_begin_array(json_writer *w, const char *key) {
    begin_member(w, key);
    base_buf_char(w->out, '[');
    w->comma = false;
}

void json_end_array(json_writer *w) {
    base_buf_char(w->out, ']');
    w->comma = true;
}

void json_put_text(json_writer *w, const char *key, const char *text) {
    begin_member(w, key);
    json_quote(w->out, text, strlen(text));
}

void json_put_number(json_writer *w, const char *key, double number) {
    begin_member(w, key);
    if (!isfinite(number)) {
        base_buf_text(w->out, "null");
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    base_buf_text(w->out, text);
}

void json_put_integer(json_writer *w, const char *key, int64_t integer) {
    begin_member(w, key);
    base_buf_printf(w->out, "%" PRId64, integer);
}

void json_put_bool(json_writer *w, const char *key, bool boolean) {
    begin_member(w, key);
    base_buf_text(w->out, boolean ? "true" : "false");
}

void json_put_null(json_writer *w, const char *key) {
    begin_member(w, key);
    base_buf_text(w->out, "null");
}
