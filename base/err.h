/* err.h: errors are values with a place and a text. The first error is kept; nothing here aborts or prints unasked.
 * Convention: functions return bool (or a pointer); false (NULL) means that *err is set. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>
#include <stdio.h>

/* X(enumerator, exit status of the CLI) */
#define ERR_CODE_LIST(X)                                                                                               \
    X(ERR_NONE, 0)                                                                                                     \
    X(ERR_USAGE, 2)    /* a wrong command line */                                                                      \
    X(ERR_INPUT, 2)    /* a bad file: spec, tensors, library folder */                                                 \
    X(ERR_SYSTEM, 1)   /* the operating system refused: disk full, unwritable folder */                                \
    X(ERR_MISSING, 1)  /* a compiler, driver or device that is not there */                                            \
    X(ERR_COMPILE, 1)  /* a compiler failed; its log is in `log` */                                                    \
    X(ERR_DEVICE, 1)                                                                                                   \
    X(ERR_MISMATCH, 1) /* a result is wrong */                                                                         \
    X(ERR_MEMORY, 1)                                                                                                   \
    X(ERR_INTERNAL, 1)

typedef enum err_code {
#define ERR_ENUM_(name, status) name,
    ERR_CODE_LIST(ERR_ENUM_)
#undef ERR_ENUM_
} err_code;

typedef struct err {
    err_code code;
    const char *stage; /* static: "spec", "compile", "verify", ... */
    char file[512];    /* empty: none */
    int line, column;  /* from 1; 0: none */
    char text[1024];   /* one line */
    char *log;         /* a compiler's full log, malloc'd, or NULL; freed by err_clear */
} err;

/* Sets *e unless it holds an error already. Always returns false, so that `return err_set(...)` reads well. e may be NULL. */
bool err_set(err *e, err_code code, const char *stage, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same with a place. file may be NULL; line and column 0 where unknown. */
bool err_at(err *e, err_code code, const char *stage, const char *file, int line, int column, const char *format, ...)
    __attribute__((format(printf, 7, 8)));
/* "out of memory" without formatting. */
bool err_memory(err *e, const char *stage);
/* Frees the log, resets to no error. */
void err_clear(err *e);
/* Exit status of the CLI for this error. */
int err_exit_status(const err *e);
/* FILE:LINE:COLUMN: error: TEXT, then the log if there is one. */
void err_print(FILE *out, const err *e);

#endif
