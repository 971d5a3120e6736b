/* help_temp.c: a temporary folder for a test program, and small files in it.
 * Uses nothing of base, which it helps to test. */
#include "help_temp.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

const char *temp_dir(void) {
    if (!dir[0]) {
        strcpy(dir, "/tmp/nhac-test-XXXXXX");
        if (!mkdtemp(dir)) {
            perror("mkdtemp");
            exit(1);
        }
    }
    return dir;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk) {
    (void)info, (void)flag, (void)walk;
    return remove(path);
}

void temp_remove(void) {
    if (dir[0]) nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    dir[0] = 0;
}

int temp_remove_all(void **state) {
    (void)state;
    temp_remove();
    return 0;
}

const char *temp_path(const char *name) {
    static char paths[8][512];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    return path;
}

const char *temp_file(const char *name, const void *bytes, size_t size) {
    const char *path = temp_path(name);
    unlink(path); /* some file systems sync a file that is truncated and written again: 5 ms each in a fuzz loop */
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

int temp_entries(void) {
    int count = 0;
    DIR *d = opendir(temp_dir());
    while (d && readdir(d)) count++;
    if (d) closedir(d);
    return count - 2;
}

uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
