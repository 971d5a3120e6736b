/* help_library.h: a library of trivial kernels, made without gen/cpu, and folders to write it to. */
#ifndef HELP_LIBRARY_H
#define HELP_LIBRARY_H

#include "gen/spec.h"
#include "tuner/library.h"

enum { HELP_KERNELS = 3 };

/* Three rows, given out of order: decode (rank 100), prefill default (rank 100), and the same prefill kernel's faster
 * twin (rank 0) for lengths from 8 up. Kernel i writes `task + mark` to o at float `task`. */
typedef struct help_content {
    gen_spec spec;
    jit_object object[HELP_KERNELS];
    char symbol[HELP_KERNELS][64];
    char *source[HELP_KERNELS];
    tune_library_kernel kernel[HELP_KERNELS];
    tune_library_content content;
} help_content;

/* `mark` is what the first kernel adds; the others add 1 and 2 more. Symbols contain the mark, as generated ones
 * contain their hash. */
void help_make(help_content *made, const char *name, int mark);
void help_free(help_content *made);

/* A fresh folder under /tmp that is removed at exit, also NHAC_CACHE_DIR. Borrowed. */
const char *help_folder(void);
/* FOLDER/NAME in static memory that is used again after 64 calls. */
const char *help_path(const char *folder, const char *name);
/* Number of entries of a folder, hidden ones too; -1 if there is none. */
int help_entries(const char *folder);
/* Writes help_make's library of that name and mark; fails the test if that fails. */
void help_write(const char *parent, const char *name, int mark);
/* Runs a command by the shell and returns its standard output (at most 64 KiB); fails the test if it does not exit with
 * 0. Free it. */
char *help_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Whether PATH has a program. */
bool help_has(const char *program);

#endif
