/* err.c: the error value of every room: first error kept, one line of text, printed the same way everywhere.
 * Text may quote hostile input, so control bytes never reach the terminal. */
#include "base/err.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const int err_statuses[] = {
#define ERR_STATUS_(name, status) [name] = status,
    ERR_CODE_LIST(ERR_STATUS_)
#undef ERR_STATUS_
};

static void make_one_line(char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) *text = c == '\n' || c == '\t' || c == '\r' ? ' ' : '?';
    }
}

static bool err_put(err *e, err_code code, const char *stage, const char *file, int line, int column,
                    const char *format, va_list args) {
    if (!e || e->code != ERR_NONE) return false;
    e->code = code;
    e->stage = stage;
    e->line = line;
    e->column = column;
    e->file[0] = 0;
    if (file) snprintf(e->file, sizeof e->file, "%s", file);
    vsnprintf(e->text, sizeof e->text, format, args);
    make_one_line(e->file);
    make_one_line(e->text);
    return false;
}

bool err_set(err *e, err_code code, const char *stage, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_put(e, code, stage, NULL, 0, 0, format, args);
    va_end(args);
    return false;
}

bool err_at(err *e, err_code code, const char *stage, const char *file, int line, int column, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_put(e, code, stage, file, line, column, format, args);
    va_end(args);
    return false;
}

bool err_memory(err *e, const char *stage) {
    if (!e || e->code != ERR_NONE) return false;
    e->code = ERR_MEMORY;
    e->stage = stage;
    e->file[0] = 0;
    e->line = e->column = 0;
    memcpy(e->text, "out of memory", sizeof "out of memory");
    return false;
}

void err_clear(err *e) {
    if (!e) return;
    free(e->log);
    memset(e, 0, sizeof *e);
}

int err_exit_status(const err *e) {
    size_t code = e ? (size_t)e->code : 0;
    return code < sizeof err_statuses / sizeof *err_statuses ? err_statuses[code] : 1;
}

void err_print(FILE *out, const err *e) {
    if (!e || e->code == ERR_NONE) return;
    if (e->file[0]) {
        fputs(e->file, out);
        if (e->line > 0) fprintf(out, ":%d", e->line);
        if (e->line > 0 && e->column > 0) fprintf(out, ":%d", e->column);
        fputs(": ", out);
    }
    fprintf(out, "error: %s\n", e->text);
    if (e->log && e->log[0]) {
        fputs(e->log, out);
        if (e->log[strlen(e->log) - 1] != '\n') fputc('\n', out);
    }
}
