/* help_process.c: see help_process.h. */
#include "help_process.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"

enum { ARGUMENTS = 32 };

long help_file_bytes;
const char *help_environment;
char help_folder[64];

const char *const small_spec =
    "name: small\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\ndtype: f32\n"
    "tune:\n  shapes: [{batch: 1, tokens: 64}, {batch: 2, tokens: 1, op: decode}]\n  budget: 5\n";

/* Only calls that are safe between fork and exec. */
static _Noreturn void become_nhac(char *const *arguments, int out, int err) {
    dup2(out, 1);
    dup2(err, 2);
    if (help_file_bytes) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)help_file_bytes, (rlim_t)help_file_bytes});
    }
    execv(arguments[0], arguments);
    _exit(126);
}

static const char *program(void) {
    const char *path = getenv("NHAC");
    assert_non_null(path);
    return path;
}

/* Rereads a temporary file from its beginning. */
static void slurp(FILE *file, char *text, size_t size) {
    rewind(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

void nhac(outcome *o, ...) {
    char *arguments[ARGUMENTS] = {(char *)(uintptr_t)program()};
    va_list list;
    va_start(list, o);
    int count = 1;
    while (count < ARGUMENTS - 1 && (arguments[count] = va_arg(list, char *)))
        count++;
    va_end(list);
    FILE *out = tmpfile(), *err = tmpfile();
    assert_true(out && err);
    char name[256] = "";
    if (help_environment) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(help_environment, "="), help_environment);
    }
    char *before = name[0] && getenv(name) ? strdup(getenv(name)) : NULL;
    if (name[0])
        setenv(name, strchr(help_environment, '=') + 1, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_nhac(arguments, fileno(out), fileno(err));
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    if (name[0] && before)
        setenv(name, before, 1);
    else if (name[0])
        unsetenv(name);
    free(before);
    o->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    slurp(out, o->out, sizeof o->out);
    slurp(err, o->err, sizeof o->err);
    if (o->status >= 126)
        fail_msg("nhac ended with %d: %s", o->status, o->err);
}

pid_t nhac_start(const char *const *arguments) {
    char *list[ARGUMENTS] = {(char *)(uintptr_t)program()};
    for (int i = 0; arguments[i] && i < ARGUMENTS - 2; i++)
        list[i + 1] = (char *)(uintptr_t)arguments[i];
    FILE *nothing = fopen("/dev/null", "w");
    assert_non_null(nothing);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_nhac(list, fileno(nothing), fileno(nothing));
    fclose(nothing);
    return child;
}

int help_enter(void **state) {
    (void)state;
    help_file_bytes = 0;
    help_environment = NULL;
    strcpy(help_folder, "/tmp/nhac-cli-XXXXXX");
    return mkdtemp(help_folder) ? 0 : -1;
}

int help_leave(void **state) {
    (void)state;
    return base_remove(help_folder, "test", NULL) ? 0 : -1;
}

static char saved_cache[4096];

int help_enter_apart(void **state) {
    if (help_enter(state))
        return -1;
    const char *cache = getenv("NHAC_CACHE_DIR");
    snprintf(saved_cache, sizeof saved_cache, "%s", cache ? cache : "");
    setenv("NHAC_CACHE_DIR", in_folder("cache"), 1);
    write_text(in_folder("s.yaml"), small_spec);
    return 0;
}

int help_leave_apart(void **state) {
    if (saved_cache[0])
        setenv("NHAC_CACHE_DIR", saved_cache, 1);
    else
        unsetenv("NHAC_CACHE_DIR");
    return help_leave(state);
}

const char *in_folder(const char *name) {
    static struct { char name[64], path[160]; } known[64];
    int i = 0;
    while (i < 63 && known[i].name[0] && strcmp(known[i].name, name) != 0)
        i++;
    snprintf(known[i].name, sizeof known[i].name, "%s", name);
    snprintf(known[i].path, sizeof known[i].path, "%s/%s", help_folder, name);
    return known[i].path;
}

void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

int entries(const char *path) {
    DIR *folder = opendir(path);
    if (!folder)
        return -1;
    int count = 0;
    for (struct dirent *d; (d = readdir(folder));)
        count += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
    closedir(folder);
    return count;
}

int count_lines(const char *text) {
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

void expect_error(const outcome *o, int status, const char *text) {
    if (o->status != status || count_lines(o->err) != 1 || !strstr(o->err, text) || o->out[0])
        fail_msg("expected status %d and one line with \"%s\"; got %d, stderr: %sstdout: %s", status, text, o->status,
                 o->err, o->out);
}

void expect_done(const outcome *o) {
    if (o->status != 0)
        fail_msg("status %d: %s", o->status, o->err);
}

int small_inputs(st_tensor *out) {
    static float q[SMALL_TOKENS * 2 * 16], k[SMALL_TOKENS * 16], v[SMALL_TOKENS * 16], f[SMALL_TOKENS * 8];
    float *const data[] = {q, k, v, f};
    static const int64_t heads[] = {2, 1, 1, 1}, dims[] = {16, 16, 16, 8};
    static const char *const names[] = {"q", "k", "v", "f"};
    for (int i = 0; i < 4; i++) {
        int64_t count = SMALL_TOKENS * heads[i] * dims[i];
        for (int64_t j = 0; j < count; j++)
            data[i][j] = (float)((j * 37 + i * 11) % 19 - 9) / 8;
        out[i] = (st_tensor){.name = names[i],
                             .dtype = ST_F32,
                             .rank = 4,
                             .data = data[i],
                             .shape = {1, SMALL_TOKENS, heads[i], dims[i]}};
    }
    return 4;
}
