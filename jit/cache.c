/* cache.c: content-addressed files, DIR/objects/ab/abcdef...: written once, never changed; whatever is wrong is a miss.
 * An entry: magic, length, key, SHA-256 of the payload (integrity, not authenticity: hence the owner check), payload.
 */
#include "jit/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/path.h"
#include "base/sha256.h"
#include "jit/jit.h"

enum { PUTS_PER_TRIM = 256, STALE_SECONDS = 3600, PATH_SIZE = PATH_MAX };
#define ENTRY_BYTES_MAX ((uint64_t)256 << 20)

typedef struct entry_header {
    char magic[8];
    uint64_t length; /* of the payload */
    char key[64];
    unsigned char sha256[32];
} entry_header;
static const char entry_magic[8] = "nhac-c1";

/* ---- The folder ---- */

static char cache_dir[PATH_SIZE];

static bool join(char *out, size_t size, const char *a, const char *b) {
    int n = snprintf(out, size, "%s%s", a, b);
    if (n >= 0 && (size_t)n < size) return true;
    out[0] = 0;
    return false;
}

static void cache_dir_once(void) {
    const char *own = getenv("NHAC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && own[0] == '/') {
        join(cache_dir, sizeof cache_dir, own, "");
    } else if (own && own[0]) { /* must not move when the process changes folder */
        char here[PATH_SIZE / 2];
        char tail[PATH_SIZE / 2];
        if (getcwd(here, sizeof here) && join(tail, sizeof tail, "/", own))
            join(cache_dir, sizeof cache_dir, here, tail);
    } else if (xdg && xdg[0] == '/') { /* the XDG specification: a relative path is to be ignored */
        join(cache_dir, sizeof cache_dir, xdg, "/nhac");
    } else {
        if (!home || home[0] != '/') {
            const struct passwd *user = getpwuid(geteuid());
            home = user && user->pw_dir ? user->pw_dir : "";
        }
        if (home[0] == '/') join(cache_dir, sizeof cache_dir, home, "/.cache/nhac");
    }
}

const char *jit_cache_dir(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, cache_dir_once);
    return cache_dir;
}

bool jit_cache_path(const char *key, char *path, size_t size) {
    if (strlen(key) != 64 || strspn(key, "0123456789abcdef") != 64 || !jit_cache_dir()[0]) return false;
    int n = snprintf(path, size, "%s/objects/%.2s/%s", jit_cache_dir(), key, key);
    return n >= 0 && (size_t)n < size;
}

/* ---- Reading ---- */

static bool read_all(int fd, void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)to + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

bool jit_cache_get(const char *key, void **bytes, size_t *size) {
    char path[PATH_SIZE];
    struct stat info;
    entry_header header;
    unsigned char sum[32];
    void *payload = NULL;
    bool hit = false;

    *bytes = NULL;
    *size = 0;
    if (!jit_cache_path(key, path, sizeof path)) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    /* An entry will be run: one that somebody else wrote, or can write, is not ours. */
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || (info.st_mode & (S_IWGRP | S_IWOTH)) ||
        (info.st_uid != geteuid() && info.st_uid != 0))
        goto done;
    if (!read_all(fd, &header, sizeof header) || memcmp(header.magic, entry_magic, sizeof entry_magic) != 0 ||
        memcmp(header.key, key, sizeof header.key) != 0 || header.length == 0 || header.length > ENTRY_BYTES_MAX ||
        (uint64_t)info.st_size != sizeof header + header.length)
        goto done;
    payload = malloc(header.length);
    if (!payload || !read_all(fd, payload, header.length)) goto done;
    base_sha256_raw(payload, header.length, sum);
    if (memcmp(sum, header.sha256, sizeof sum) != 0) goto done;
    *bytes = payload;
    *size = header.length;
    payload = NULL;
    hit = true;

done:
    free(payload);
    close(fd);
    return hit;
}

/* ---- Writing ---- */

static bool write_all(int fd, const void *from, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)from + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

bool jit_cache_put(const char *key, const void *bytes, size_t size) {
    static atomic_uint puts;
    char path[PATH_SIZE], temp[PATH_SIZE + 32];
    uint64_t unique; /* not the process's number: containers that share a cache may share that too */
    if (size == 0 || size > ENTRY_BYTES_MAX || !jit_cache_path(key, path, sizeof path) ||
        getrandom(&unique, sizeof unique, 0) != sizeof unique)
        return false;
    snprintf(temp, sizeof temp, "%s.tmp%016llx", path, (unsigned long long)unique);

    entry_header header = {.length = size};
    memcpy(header.magic, entry_magic, sizeof entry_magic);
    memcpy(header.key, key, sizeof header.key);
    base_sha256_raw(bytes, size, header.sha256);

    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = open(temp, flags, 0600);
    if (fd < 0 && errno == ENOENT) {
        char folder[PATH_SIZE];
        snprintf(folder, sizeof folder, "%s", path);
        *strrchr(folder, '/') = 0;
        base_mkdirs(folder, "cache", NULL);
        fd = open(temp, flags, 0600);
    }
    if (fd < 0) return false;
    bool ok = write_all(fd, &header, sizeof header) && write_all(fd, bytes, size) && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    ok = ok && rename(temp, path) == 0;
    if (!ok) unlink(temp);
    if (atomic_fetch_add(&puts, 1) % PUTS_PER_TRIM == PUTS_PER_TRIM - 1) jit_cache_trim(JIT_CACHE_BYTES_MAX);
    return ok;
}

/* ---- Keeping it small ---- */

typedef struct aged {
    struct timespec written;
    int64_t size;
    char name[64 + 1];
} aged;

typedef struct census {
    aged *entries;
    size_t count, capacity;
    int64_t bytes;
} census;

static void census_add(census *all, const struct stat *info, const char *name) {
    if (all->count == all->capacity) {
        size_t capacity = all->capacity ? 2 * all->capacity : 1024;
        aged *grown = capacity > SIZE_MAX / sizeof *grown ? NULL : realloc(all->entries, capacity * sizeof *grown);
        if (!grown) return; /* what is not counted is not removed */
        all->entries = grown;
        all->capacity = capacity;
    }
    aged *entry = &all->entries[all->count++];
    *entry = (aged){.written = info->st_mtim, .size = info->st_size};
    memcpy(entry->name, name, 64);
    all->bytes += info->st_size;
}

static int older_first(const void *a, const void *b) {
    const aged *x = a, *y = b;
    if (x->written.tv_sec != y->written.tv_sec) return x->written.tv_sec < y->written.tv_sec ? -1 : 1;
    if (x->written.tv_nsec != y->written.tv_nsec) return x->written.tv_nsec < y->written.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void count_folder(census *all, const char *path, time_t now) {
    DIR *folder = opendir(path);
    if (!folder) return;
    for (const struct dirent *item; (item = readdir(folder));) {
        struct stat info;
        const char *name = item->d_name;
        if (fstatat(dirfd(folder), name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
        if (strspn(name, "0123456789abcdef") != 64) continue; /* not ours */
        if (!name[64])
            census_add(all, &info, name);
        else if (strncmp(name + 64, ".tmp", 4) == 0 && info.st_mtime < now - STALE_SECONDS)
            unlinkat(dirfd(folder), name, 0);
    }
    closedir(folder);
}

int64_t jit_cache_trim(int64_t most) {
    census all = {0};
    char path[PATH_SIZE];
    if (!jit_cache_dir()[0]) return 0;
    for (unsigned i = 0; i < 256; i++) {
        int n = snprintf(path, sizeof path, "%s/objects/%02x", jit_cache_dir(), i);
        if (n > 0 && (size_t)n < sizeof path) count_folder(&all, path, time(NULL));
    }
    if (all.bytes > most) {
        qsort(all.entries, all.count, sizeof *all.entries, older_first);
        for (size_t i = 0; i < all.count && all.bytes > most / 4 * 3; i++)
            if (jit_cache_path(all.entries[i].name, path, sizeof path) && unlink(path) == 0)
                all.bytes -= all.entries[i].size;
    }
    free(all.entries);
    return all.bytes;
}
