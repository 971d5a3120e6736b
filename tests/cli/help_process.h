/* help_process.h: runs the nhac command ($NHAC) as a user would, and makes the files it is given. */
#ifndef TESTS_CLI_HELP_PROCESS_H
#define TESTS_CLI_HELP_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/safetensors.h"

typedef struct outcome {
    int status;      /* exit status, or 1000 + the signal that ended it */
    char out[65536]; /* what it printed, cut off at the end */
    char err[65536];
} outcome;

/* Limits for the next commands; zero: none. */
extern long help_file_bytes;         /* RLIMIT_FSIZE, its signal ignored: stands for a full disk */
extern const char *help_environment; /* one NAME=VALUE more, or NULL */

/* Runs nhac with the arguments up to NULL; every test fails if it cannot be started or is ended by a signal. */
void nhac(outcome *o, ...);
/* Starts it in the background, its output thrown away. */
pid_t nhac_start(const char *const *arguments);

/* A fresh folder /tmp/nhac-cli-XXXXXX, removed by help_leave; both fit cmocka's setup and teardown. */
extern char help_folder[64];
int help_enter(void **state);
int help_leave(void **state);
/* The same with a cache (NHAC_CACHE_DIR) of its own, FOLDER/cache, so that nothing is there already, and small_spec in
 * FOLDER/s.yaml. */
int help_enter_apart(void **state);
int help_leave_apart(void **state);
/* FOLDER/NAME, in memory that stays: one buffer a name, up to 63 names. */
const char *in_folder(const char *name);
void write_text(const char *path, const char *text);
/* Number of entries of a folder, hidden ones too; -1 if there is no such folder. */
int entries(const char *path);
int count_lines(const char *text);
/* Fails the test, with the output, unless status and text are as expected: one line on stderr that contains `text`. */
void expect_error(const outcome *o, int status, const char *text);
void expect_done(const outcome *o);

/* The spec the tests use: K = V = 16, 2 heads of 1, 8 slots, window 8, f32. */
extern const char *const small_spec;
enum { SMALL_TOKENS = 20 };
/* Tensors of a call of that spec: q, k, v, f [1,20,...]. Data are static. Returns how many. */
int small_inputs(st_tensor *out);

#endif
