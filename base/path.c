/* path.c: folders as units: made, removed, synced and exchanged whole. */
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 64 /* of a folder that is walked; one open descriptor a level */ };

char *base_path_join(const char *folder, const char *name) {
    size_t folder_size = strlen(folder), name_size = strlen(name);
    bool slash = folder_size && folder[folder_size - 1] != '/';
    char *path = malloc(folder_size + slash + name_size + 1);
    if (!path) return NULL;
    memcpy(path, folder, folder_size);
    if (slash) path[folder_size] = '/';
    memcpy(path + folder_size + slash, name, name_size + 1);
    return path;
}

/* Length of the folder part of a path, its last slash included; trailing slashes of the path itself do not count. */
static size_t folder_length(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    return n;
}

char *base_path_beside(const char *path) {
    static atomic_uint counter;
    size_t folder = folder_length(path);
    char name[64];
    int length = snprintf(name, sizeof name, ".nhac-%ld-%u.tmp", (long)getpid(), atomic_fetch_add(&counter, 1));
    char *beside = malloc(folder + (size_t)length + 1);
    if (!beside) return NULL;
    memcpy(beside, path, folder);
    memcpy(beside + folder, name, (size_t)length + 1);
    return beside;
}

static bool refused(const char *path, const char *what, const char *stage, err *e) {
    if (errno == ENOMEM) return err_memory(e, stage);
    return err_at(e, ERR_SYSTEM, stage, path, 0, 0, "%s: %s", what, strerror(errno));
}

bool base_mkdirs(const char *path, const char *stage, err *e) {
    char *name = strdup(path);
    if (!name) return err_memory(e, stage);
    bool ok = true;
    for (char *end = name; ok; end++) {
        if (*end != '/' && *end != 0) continue;
        char old = *end;
        *end = 0;
        /* EEXIST says nothing about what is there; EROFS and EACCES may come before it, for a folder that exists. */
        if (*name && mkdir(name, 0777) < 0) {
            int number = errno;
            struct stat info;
            if (stat(name, &info) < 0 || !S_ISDIR(info.st_mode)) {
                errno = number == EEXIST ? ENOTDIR : number;
                ok = refused(name, "the folder cannot be made", stage, e);
            }
        }
        *end = old;
        if (!old) break;
    }
    free(name);
    return ok;
}

bool base_mkdir_beside(const char *path, char **temp, const char *stage, err *e) {
    for (int tries = 0; tries < 100; tries++) {
        *temp = base_path_beside(path);
        if (!*temp) return err_memory(e, stage);
        if (mkdir(*temp, 0777) == 0) return true;
        int number = errno;
        free(*temp);
        *temp = NULL;
        errno = number;
        if (number != EEXIST) break;
    }
    return refused(path, "no folder can be made beside it", stage, e);
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Calls itself for folders below; `fd` is an open folder and is closed here. Returns 0 or an errno. */
static int remove_below(int fd, int depth) {
    DIR *folder = fdopendir(fd);
    if (!folder) {
        int number = errno;
        close(fd);
        return number;
    }
    int number = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            number = errno;
            break;
        }
        if (is_dots(entry->d_name)) continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR && errno != EPERM) {
            number = errno;
            break;
        }
        int below = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0) {
            number = errno;
            break;
        }
        if (depth == 0) {
            close(below);
            number = ELOOP;
            break;
        }
        number = remove_below(below, depth - 1);
        if (!number && unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) number = errno;
        if (number) break;
    }
    closedir(folder);
    return number;
}

bool base_remove(const char *path, const char *stage, err *e) {
    if (unlink(path) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) return refused(path, "cannot be removed", stage, e);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? true : refused(path, "cannot be removed", stage, e);
    int number = remove_below(fd, MAX_DEPTH);
    if (!number && rmdir(path) < 0 && errno != ENOENT) number = errno;
    errno = number;
    return number ? refused(path, "cannot be removed", stage, e) : true;
}

static int sync_below(int fd, int depth) {
    DIR *folder = fdopendir(fd);
    if (!folder) {
        int number = errno;
        close(fd);
        return number;
    }
    int number = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            number = errno;
            break;
        }
        if (is_dots(entry->d_name)) continue;
        int below = openat(dirfd(folder), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (below < 0) {
            if (errno == ELOOP) continue; /* a link: its name is synced with the folder */
            number = errno;
            break;
        }
        struct stat info;
        if (fstat(below, &info) < 0) {
            number = errno;
            close(below);
        } else if (S_ISDIR(info.st_mode)) {
            if (depth == 0) {
                close(below);
                number = ELOOP;
            } else {
                number = sync_below(below, depth - 1);
            }
        } else {
            if (S_ISREG(info.st_mode) && fsync(below) < 0) number = errno;
            close(below);
        }
        if (number) break;
    }
    if (!number && fsync(dirfd(folder)) < 0 && errno != EINVAL) number = errno;
    closedir(folder);
    return number;
}

void base_sweep_beside(const char *path) {
    size_t length = folder_length(path);
    char *name = length ? strndup(path, length) : strdup(".");
    DIR *folder = name ? opendir(name) : NULL;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        struct stat info;
        int end = 0;
        long pid;
        unsigned count;
        int fields = sscanf(entry->d_name, ".nhac-%ld-%u.tmp%n", &pid, &count, &end);
        if (fields != 2 || !end || entry->d_name[end]) continue;
        if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0) continue;
        if (info.st_mtime > time(NULL) - 3600) continue;
        char *leftover = base_path_join(name, entry->d_name);
        if (leftover) (void)base_remove(leftover, "file", NULL);
        free(leftover);
    }
    if (folder) closedir(folder);
    free(name);
}

bool base_sync_tree(const char *path, const char *stage, err *e) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return refused(path, "cannot be synced to disk", stage, e);
    errno = sync_below(fd, MAX_DEPTH);
    return errno ? refused(path, "cannot be synced to disk", stage, e) : true;
}

void base_sync_parent(const char *path) {
    size_t length = folder_length(path);
    char *folder = length ? strndup(path, length) : strdup(".");
    if (!folder) return;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot; the rename has been made either way */
        close(fd);
    }
    free(folder);
}

/* For file systems without RENAME_EXCHANGE. There is a moment at which `path` names nothing. */
static bool exchange_by_renames(const char *temp, const char *path) {
    char *away = base_path_beside(path);
    bool ok = away && rename(path, away) == 0;
    if (ok && rename(temp, path) < 0) {
        int number = errno;
        (void)rename(away, path);
        errno = number;
        ok = false;
    }
    if (ok && rename(away, temp) < 0) ok = base_remove(away, "file", NULL);
    int number = errno;
    free(away);
    errno = number;
    return ok;
}

bool base_publish(const char *temp, const char *path, const char *stage, err *e) {
    static const char what[] = "the new folder cannot be put in place";
    struct stat info;
    bool replace = lstat(path, &info) == 0;
    if (!replace) {
        if (rename(temp, path) < 0) return refused(path, what, stage, e);
    } else if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_EXCHANGE) < 0) {
        bool unknown = errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
        if (!unknown || !exchange_by_renames(temp, path)) return refused(path, what, stage, e);
    }
    base_sync_parent(path);
    /* After an exchange `temp` holds the old folder. The new one is in place: a leftover is no failure. */
    if (replace) (void)base_remove(temp, stage, NULL);
    return true;
}
