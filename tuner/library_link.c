/* library_link.c: runs `cc -shared` with an argument list (posix_spawn, no shell) and keeps what it printed for errors.
 * -nostdlib: the code calls nothing, so the library depends on nothing and has no start-up code. */
#include "tuner/library_link.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/path.h"

extern char **environ;

enum { LOG_BYTES_MAX = 1 << 20 };

/* Reads a descriptor to its end; what exceeds LOG_BYTES_MAX is dropped, so that the writer never waits. */
static void read_log(int fd, base_buf *log) {
    char piece[4096];
    for (;;) {
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        if (log->size + (size_t)n <= LOG_BYTES_MAX) base_buf_add(log, piece, (size_t)n);
    }
}

/* Runs argv[0]; its stdout and stderr go to `log`. *status is that of waitpid. */
static bool run(char *const argv[], base_buf *log, int *status, err *e) {
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return err_set(e, ERR_SYSTEM, "library", "no pipe: %s", strerror(errno));
    int number = posix_spawn_file_actions_init(&actions);
    if (!number) {
        number = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (!number) number = posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (!number) number = posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
        if (!number) number = posix_spawn(&child, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (!number) read_log(ends[0], log);
    close(ends[0]);
    if (number) return err_set(e, ERR_SYSTEM, "library", "%s cannot be started: %s", argv[0], strerror(number));
    while (waitpid(child, status, 0) < 0)
        if (errno != EINTR) return err_set(e, ERR_SYSTEM, "library", "%s was lost: %s", argv[0], strerror(errno));
    return true;
}

/* A linker that could not write is the disk's fault; all else is the compiler's. */
static bool disk_failure(const char *log) {
    static const int numbers[] = {ENOSPC, EDQUOT, EFBIG, EROFS, EIO};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strstr(log, strerror(numbers[i]))) return true;
    return false;
}

static void set_failure(const char *cc, base_buf *log, int status, err *e) {
    const err_code code = disk_failure(base_buf_string(log)) ? ERR_SYSTEM : ERR_COMPILE;
    if (WIFSIGNALED(status))
        err_set(e, code, "library", "%s was killed by signal %d while linking the shared library", cc,
                WTERMSIG(status));
    else
        err_set(e, code, "library", "%s failed to link the shared library (exit status %d)", cc, WEXITSTATUS(status));
    if (e && !e->log) e->log = base_buf_take(log, NULL, "library", NULL);
}

bool tune_link_shared(const char *cc, const char *folder, const char *c_name, err *e) {
    bool ok = false;
    int status = 0;
    base_buf archive = {0}, shared = {0}, exports = {0}, map = {0}, log = {0}, soname = {0};
    /* A name that begins with a dash would be read as an option. */
    const char *here = folder[0] == '-' ? "./" : "";
    base_buf_printf(&archive, "%s%s/libnha_%s.a", here, folder, c_name);
    base_buf_printf(&shared, "%s%s/libnha_%s.so", here, folder, c_name);
    base_buf_printf(&exports, "%s%s/exports.map", here, folder);
    base_buf_printf(&soname, "-Wl,-soname,libnha_%s.so", c_name);
    base_buf_printf(&map, "{ global: nha_library_%s; local: *; };\n", c_name);
    if (!base_buf_ok(&archive, "library", e) || !base_buf_ok(&shared, "library", e) ||
        !base_buf_ok(&exports, "library", e) || !base_buf_ok(&soname, "library", e) || !base_buf_ok(&map, "library", e))
        goto done;
    if (!base_file_write(exports.data, map.data, map.size, "library", e)) goto done;

    char *argv[] = {(char *)cc, "-shared", "-nostdlib", soname.data, /* the code is position-independent already */
                    "-Wl,-z,noexecstack", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,defs",
                    "-Xlinker", "--version-script", "-Xlinker", exports.data, "-o", shared.data,
                    "-Wl,--whole-archive", archive.data, "-Wl,--no-whole-archive", NULL};
    if (!run(argv, &log, &status, e)) goto done;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        set_failure(cc, &log, status, e);
        goto done;
    }
    ok = base_remove(exports.data, "library", e);

done:
    base_buf_free(&archive);
    base_buf_free(&shared);
    base_buf_free(&exports);
    base_buf_free(&map);
    base_buf_free(&log);
    base_buf_free(&soname);
    return ok;
}
