/* file.c: reading a file with a limit, and writing one that is either there whole or not at all. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"

/* A path that names nothing usable is the caller's mistake; all else is the system's. */
static err_code read_code(int number) {
    return number == ENOENT || number == ENOTDIR || number == EISDIR || number == ENAMETOOLONG || number == ELOOP
               ? ERR_INPUT
               : ERR_SYSTEM;
}

static bool too_large(const char *path, long long size, size_t limit, const char *stage, err *e) {
    if (size > 0)
        return err_at(e, ERR_INPUT, stage, path, 0, 0, "the file has %lld bytes; the limit is %zu", size, limit);
    return err_at(e, ERR_INPUT, stage, path, 0, 0, "the file has more than %zu bytes, the limit", limit);
}

bool base_file_read(const char *path, size_t limit, char **data, size_t *size, const char *stage, err *e) {
    bool ok = false;
    char *bytes = NULL;
    size_t used = 0, capacity;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    *data = NULL;
    *size = 0;
    if (fd < 0 || fstat(fd, &info) < 0) {
        err_at(e, read_code(errno), stage, path, 0, 0, "cannot be read: %s", strerror(errno));
        goto done;
    }
    if (S_ISDIR(info.st_mode)) {
        err_at(e, ERR_INPUT, stage, path, 0, 0, "is a folder; a file was expected");
        goto done;
    }
    if (S_ISREG(info.st_mode) && (uintmax_t)info.st_size > limit) {
        too_large(path, (long long)info.st_size, limit, stage, e);
        goto done;
    }
    /* One byte more than the size shows the end of the file at the first try, and holds the NUL. */
    capacity = S_ISREG(info.st_mode) ? (size_t)info.st_size + 1 : 65536;
    bytes = malloc(capacity + 1);
    while (bytes) {
        ssize_t n = read(fd, bytes + used, capacity - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            err_at(e, read_code(errno), stage, path, 0, 0, "cannot be read: %s", strerror(errno));
            goto done;
        }
        if (n == 0) break;
        used += (size_t)n;
        if (used > limit) {
            too_large(path, 0, limit, stage, e);
            goto done;
        }
        if (used == capacity) {
            capacity *= 2; /* at most 2 * limit + 2: no overflow for any limit that is a file's size */
            char *more = realloc(bytes, capacity + 1);
            if (!more) free(bytes);
            bytes = more;
        }
    }
    if (!bytes) {
        err_memory(e, stage);
        goto done;
    }
    bytes[used] = 0;
    *data = bytes;
    *size = used;
    bytes = NULL;
    ok = true;
done:
    free(bytes);
    if (fd >= 0) close(fd);
    return ok;
}

bool base_file_size(const char *path, int64_t *size) {
    struct stat info;
    if (stat(path, &info) < 0 || !S_ISREG(info.st_mode)) return false;
    *size = info.st_size;
    return true;
}

bool base_exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

bool base_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool write_failed(const base_writer *w, const char *path, err *e) {
    return err_at(e, ERR_SYSTEM, w->stage, path, 0, 0, "cannot be written: %s", strerror(errno));
}

bool base_writer_open(base_writer *w, const char *path, const char *stage, err *e) {
    struct stat info;
    *w = (base_writer){.fd = -1, .stage = stage};
    bool there = stat(path, &info) == 0;
    if (there && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return write_failed(w, path, e);
    }
    /* An existing link keeps being a link: the file behind it is replaced. */
    w->path = there && S_ISREG(info.st_mode) ? realpath(path, NULL) : strdup(path);
    if (!w->path) return errno == ENOMEM ? err_memory(e, stage) : write_failed(w, path, e);
    if (there && !S_ISREG(info.st_mode)) {
        w->fd = open(path, O_WRONLY | O_CLOEXEC);
        return w->fd >= 0 ? true : write_failed(w, path, e);
    }
    for (int tries = 0; tries < 100 && w->fd < 0; tries++) {
        free(w->temp);
        w->temp = base_path_beside(w->path);
        if (!w->temp) return err_memory(e, stage);
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (w->fd < 0 && errno != EEXIST) break;
    }
    if (w->fd < 0) {
        write_failed(w, path, e);
        free(w->temp); /* not ours: abort must not remove it */
        w->temp = NULL;
        return false;
    }
    if (there) fchmod(w->fd, info.st_mode & 0777); /* the replaced file's mode; failing that, the umask's */
    return true;
}

bool base_writer_add(base_writer *w, const void *data, size_t size, err *e) {
    const char *bytes = data;
    while (size) {
        ssize_t n = write(w->fd, bytes, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return write_failed(w, w->path, e);
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

bool base_writer_commit(base_writer *w, err *e) {
    bool ok = false;
    if (w->temp && fsync(w->fd) < 0) {
        write_failed(w, w->path, e);
        goto done;
    }
    int closed = close(w->fd);
    w->fd = -1;
    if (closed < 0 || (w->temp && rename(w->temp, w->path) < 0)) {
        write_failed(w, w->path, e);
        goto done;
    }
    if (w->temp) base_sync_parent(w->path);
    free(w->temp);
    w->temp = NULL; /* renamed: nothing left to remove */
    ok = true;
done:
    base_writer_abort(w);
    return ok;
}

void base_writer_abort(base_writer *w) {
    int number = errno;
    if (w->fd >= 0) close(w->fd);
    if (w->temp) unlink(w->temp);
    free(w->temp);
    free(w->path);
    *w = (base_writer){.fd = -1};
    errno = number;
}

bool base_file_write(const char *path, const void *data, size_t size, const char *stage, err *e) {
    base_writer w;
    if (base_writer_open(&w, path, stage, e) && base_writer_add(&w, data, size, e)) return base_writer_commit(&w, e);
    base_writer_abort(&w);
    return false;
}

bool base_next_line(const char **cursor, const char *end, const char **line, size_t *length, bool *closed) {
    if (*cursor >= end) return false;
    const char *begin = *cursor, *stop = memchr(begin, '\n', (size_t)(end - begin));
    if (closed) *closed = stop != NULL;
    *cursor = stop ? stop + 1 : end;
    if (!stop) stop = end;
    if (stop > begin && stop[-1] == '\r') stop--;
    *line = begin;
    *length = (size_t)(stop - begin);
    return true;
}
