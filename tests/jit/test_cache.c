/* test_cache.c: the object cache: whatever is wrong with an entry or the folder is a miss; racing processes all win. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "help_ir.h"
#include "jit/cache.h"
#include "jit/jit.h"

static const char payload[] = "an object, so to speak";

static void make_key(const char *text, char key[65]) {
    base_sha256_hex(text, strlen(text), key);
}

static void put_one(const char *text, char key[65], char path[PATH_MAX]) {
    make_key(text, key);
    assert_true(jit_cache_put(key, payload, sizeof payload));
    assert_true(jit_cache_path(key, path, PATH_MAX));
}

static bool hit(const char *key) {
    void *bytes;
    size_t size;
    if (!jit_cache_get(key, &bytes, &size)) {
        assert_null(bytes);
        return false;
    }
    assert_int_equal(size, sizeof payload);
    assert_memory_equal(bytes, payload, sizeof payload);
    free(bytes);
    return true;
}

static void entries_come_back(void **state) {
    (void)state;
    char key[65], other[65], path[PATH_MAX];
    struct stat info;
    put_one("round trip", key, path);
    assert_true(hit(key));
    make_key("never put", other);
    assert_false(hit(other));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    /* Again over what is there. */
    assert_true(jit_cache_put(key, payload, sizeof payload));
    assert_true(hit(key));
}

static void improper_keys_are_misses(void **state) {
    (void)state;
    char path[PATH_MAX];
    static const char *const keys[] = {"", "abc",
                                       "../../../../../../../../../../../../../../../../../../../../../etc/passwd",
                                       "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
                                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_false(jit_cache_put(keys[i], payload, sizeof payload));
        assert_false(hit(keys[i]));
        assert_false(jit_cache_path(keys[i], path, sizeof path));
    }
}

/* Every single byte changed, every length cut, bytes appended: each a miss. */
static void damaged_entries_are_misses(void **state) {
    (void)state;
    char key[65], path[PATH_MAX], *bytes;
    size_t size;
    put_one("damaged", key, path);
    assert_true(base_file_read(path, 1 << 20, &bytes, &size, "test", NULL));
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 0x20;
        assert_true(base_file_write(path, bytes, size, "test", NULL));
        assert_false(hit(key));
        bytes[i] ^= 0x20;
    }
    for (size_t cut = 0; cut < size; cut += 7) {
        assert_true(base_file_write(path, bytes, cut, "test", NULL));
        assert_false(hit(key));
    }
    bytes[size] = 'x'; /* the NUL that base_file_read added */
    assert_true(base_file_write(path, bytes, size + 1, "test", NULL));
    assert_false(hit(key));
    /* The whole entry under another key. */
    char other[65], other_path[PATH_MAX];
    put_one("another", other, other_path);
    assert_true(base_file_write(other_path, bytes, size, "test", NULL));
    assert_false(hit(other));
    assert_true(base_file_write(path, bytes, size, "test", NULL));
    chmod(path, 0600);
    assert_true(hit(key));
    free(bytes);
}

static void entries_of_others_are_misses(void **state) {
    (void)state;
    char key[65], path[PATH_MAX], aside[PATH_MAX + 8];
    put_one("modes", key, path);
    assert_int_equal(chmod(path, 0622), 0);
    assert_false(hit(key));
    assert_int_equal(chmod(path, 0620), 0);
    assert_false(hit(key));
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(hit(key));
    if (geteuid() == 0) { /* root alone can give files away */
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        assert_false(hit(key));
        assert_int_equal(chown(path, 0, (gid_t)-1), 0);
        assert_true(hit(key));
    }
    /* A link to a good entry, a folder, a pipe: not what put writes. */
    snprintf(aside, sizeof aside, "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(symlink(aside, path), 0);
    assert_false(hit(key));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(hit(key));
    assert_false(jit_cache_put(key, payload, sizeof payload));
    rmdir(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(hit(key));
    unlink(path);
    unlink(aside);
}

/* A module compiled by way of a damaged entry is compiled anew, and the entry is mended. */
static void compile_mends_entries(void **state) {
    (void)state;
    err e = {0};
    jit_object first, second, third;
    char path[PATH_MAX];
    char *ir = help_ir_add("mended", 3);
    help_module m = help_parse(ir);
    assert_true(jit_compile(m.module, help_host_isa(), &first, &e));
    assert_false(first.cached);
    assert_true(jit_cache_path(first.key, path, sizeof path));
    assert_int_equal(truncate(path, 100), 0);
    assert_true(jit_compile(m.module, help_host_isa(), &second, &e));
    assert_false(second.cached);
    assert_true(jit_compile(m.module, help_host_isa(), &third, &e));
    assert_true(third.cached);
    assert_string_equal(first.key, third.key);
    assert_int_equal(first.size, third.size);
    assert_memory_equal(first.bytes, third.bytes, first.size);
    assert_memory_equal(first.bytes, second.bytes, first.size);
    /* A good entry with a payload that is no object. */
    assert_true(jit_cache_put(first.key, payload, sizeof payload));
    jit_object_destroy(&third);
    assert_true(jit_compile(m.module, help_host_isa(), &third, &e));
    assert_false(third.cached);
    jit_object_destroy(&first);
    jit_object_destroy(&second);
    jit_object_destroy(&third);
    help_dispose(m);
    free(ir);
}

static void keys_tell_apart(void **state) {
    (void)state;
    err e = {0};
    jit_object a, b;
    int count;
    const gen_isa *isa = gen_isa_table(&count);
    char *ir = help_ir_add("keyed", 3), *other_ir = help_ir_add("keyed", 4);
    help_module m = help_parse(ir), other = help_parse(other_ir);
    assert_true(jit_compile(m.module, &isa[0], &a, &e));
    for (int i = 1; i < count; i++) {
        assert_true(jit_compile(m.module, &isa[i], &b, &e));
        assert_string_not_equal(a.key, b.key);
        jit_object_destroy(&b);
    }
    assert_true(jit_compile(other.module, &isa[0], &b, &e));
    assert_string_not_equal(a.key, b.key);
    jit_object_destroy(&a);
    jit_object_destroy(&b);
    help_dispose(m);
    help_dispose(other);
    free(ir);
    free(other_ir);
}

static void no_jit_makes_a_miss_an_error(void **state) {
    (void)state;
    err e = {0};
    jit_object object;
    char *ir = help_ir_add("forbidden", 3);
    help_module m = help_parse(ir);
    setenv("NHAC_NO_JIT", "1", 1);
    assert_false(jit_compile(m.module, help_host_isa(), &object, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_non_null(strstr(e.text, "NHAC_NO_JIT=1"));
    err_clear(&e);
    unsetenv("NHAC_NO_JIT");
    assert_true(jit_compile(m.module, help_host_isa(), &object, &e));
    jit_object_destroy(&object);
    setenv("NHAC_NO_JIT", "1", 1);
    assert_true(jit_compile(m.module, help_host_isa(), &object, &e)); /* a hit is fine */
    assert_true(object.cached);
    unsetenv("NHAC_NO_JIT");
    jit_object_destroy(&object);
    help_dispose(m);
    free(ir);
}

/* Files of the cache, temporaries included. */
static int count_files(void) {
    int count = 0;
    for (unsigned i = 0; i < 256; i++) {
        char folder[PATH_MAX + 16];
        snprintf(folder, sizeof folder, "%s/objects/%02x", jit_cache_dir(), i);
        DIR *open = opendir(folder);
        if (!open) continue;
        for (const struct dirent *item; (item = readdir(open));) count += item->d_name[0] != '.';
        closedir(open);
    }
    return count;
}

/* Eight processes compile the same modules over one cache; then every entry is whole and no temporary is left. */
static void processes_race(void **state) {
    (void)state;
    enum { PROCESSES = 8, MODULES = 4 };
    pid_t child[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        assert_true(child[p] >= 0);
        if (child[p] > 0) continue;
        bool ok = true;
        for (int i = 0; i < MODULES; i++) {
            jit_object object;
            char *ir = help_ir_add("raced", 500 + i);
            help_module m = help_parse(ir);
            ok = ok && jit_compile(m.module, help_host_isa(), &object, NULL);
            jit_object_destroy(&object);
            help_dispose(m);
            free(ir);
        }
        _exit(ok ? 0 : 1);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(child[p], &status, 0), child[p]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < MODULES; i++) {
        jit_object object;
        char path[PATH_MAX];
        char *ir = help_ir_add("raced", 500 + i);
        help_module m = help_parse(ir);
        assert_true(jit_compile(m.module, help_host_isa(), &object, NULL));
        assert_true(object.cached);
        assert_true(jit_cache_path(object.key, path, sizeof path));
        *strrchr(path, '/') = 0;
        DIR *folder = opendir(path);
        for (const struct dirent *item; (item = readdir(folder));) assert_null(strstr(item->d_name, ".tmp"));
        closedir(folder);
        jit_object_destroy(&object);
        help_dispose(m);
        free(ir);
    }
}

/* A killed writer leaves at most a temporary, and never a bad entry. */
static void killed_writers_do_no_harm(void **state) {
    (void)state;
    char key[65], path[PATH_MAX];
    make_key("killed", key);
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (;;) jit_cache_put(key, payload, sizeof payload);
        usleep(1000 + 700 * (useconds_t)i);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        assert_true(jit_cache_path(key, path, sizeof path));
        assert_true(access(path, F_OK) != 0 || hit(key));
    }
    assert_true(jit_cache_put(key, payload, sizeof payload));
    assert_true(hit(key));
}

static void trim_removes_the_oldest(void **state) {
    (void)state;
    char key[20][65], path[PATH_MAX], stale[PATH_MAX + 32];
    struct stat info;
    jit_cache_trim(0); /* empty it */
    assert_int_equal(jit_cache_trim(INT64_MAX), 0);
    for (int i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "trim %d", i);
        put_one(text, key[i], path);
        const struct timespec times[2] = {{.tv_sec = 1000000 + i}, {.tv_sec = 1000000 + i}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        assert_int_equal(stat(path, &info), 0);
    }
    snprintf(stale, sizeof stale, "%s.tmp0123456789abcdef", path);
    FILE *temporary = fopen(stale, "w");
    fclose(temporary);
    assert_int_equal(jit_cache_trim(20 * info.st_size), 20 * info.st_size);
    assert_int_equal(access(stale, F_OK), 0); /* young: its writer may live */
    const struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    utimensat(AT_FDCWD, stale, old, 0);
    assert_int_equal(jit_cache_trim(16 * info.st_size), 12 * info.st_size);
    assert_int_not_equal(access(stale, F_OK), 0);
    for (int i = 0; i < 20; i++) assert_int_equal(hit(key[i]), i >= 8);
}

/* In a process of its own, which limits do not outlive. Returns whether `check` held. */
static bool in_child(bool (*check)(void)) {
    pid_t child = fork();
    int status = 1;
    if (child == 0) _exit(check() ? 0 : 1);
    waitpid(child, &status, 0);
    return status == 0;
}

static bool compiles_without_cache(void) {
    jit_object object;
    char *ir = help_ir_add("uncached", 3);
    help_module m = help_parse(ir);
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        ok = ok && jit_compile(m.module, help_host_isa(), &object, NULL) && !object.cached;
        jit_object_destroy(&object);
    }
    help_dispose(m);
    free(ir);
    return ok;
}

static bool full_disk(void) {
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {64, 64};
    setrlimit(RLIMIT_FSIZE, &limit);
    return compiles_without_cache();
}

static void unusable_folders_only_cost_time(void **state) {
    (void)state;
    char path[PATH_MAX];
    const int before = count_files();
    assert_true(in_child(full_disk));
    assert_int_equal(count_files(), before); /* nothing half-written stays */
    /* A file where the folder should be. */
    snprintf(path, sizeof path, "%s/objects", jit_cache_dir());
    assert_true(base_remove(path, "test", NULL));
    assert_true(base_file_write(path, "x", 1, "test", NULL));
    assert_true(in_child(compiles_without_cache));
    assert_true(base_remove(path, "test", NULL));
}

/* The choice of the folder, each in a fresh process: this program again with an argument. */
static void expect_folder(const char *own, const char *xdg, const char *home, const char *expected) {
    int ends[2];
    char got[PATH_MAX] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        own ? setenv("NHAC_CACHE_DIR", own, 1) : unsetenv("NHAC_CACHE_DIR");
        xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
        setenv("HOME", home, 1);
        dup2(ends[1], 1);
        execl("/proc/self/exe", "test_cache", "--folder", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], got, sizeof got - 1);
    close(ends[0]);
    waitpid(child, NULL, 0);
    got[n > 0 ? n : 0] = 0;
    assert_string_equal(got, expected);
}

static void folder_is_chosen(void **state) {
    (void)state;
    char here[PATH_MAX / 2], relative[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    expect_folder("/one/two", "/xdg", "/home/x", "/one/two");
    snprintf(relative, sizeof relative, "%s/some/where", here);
    expect_folder("some/where", "/xdg", "/home/x", relative);
    expect_folder(NULL, "/xdg", "/home/x", "/xdg/nhac");
    expect_folder("", "/xdg", "/home/x", "/xdg/nhac");
    expect_folder(NULL, "not/absolute", "/home/x", "/home/x/.cache/nhac");
    expect_folder(NULL, NULL, "/home/x", "/home/x/.cache/nhac");
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--folder") == 0) {
        fputs(jit_cache_dir(), stdout);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(improper_keys_are_misses),
        cmocka_unit_test(damaged_entries_are_misses),
        cmocka_unit_test(entries_of_others_are_misses),
        cmocka_unit_test(compile_mends_entries),
        cmocka_unit_test(keys_tell_apart),
        cmocka_unit_test(no_jit_makes_a_miss_an_error),
        cmocka_unit_test(processes_race),
        cmocka_unit_test(killed_writers_do_no_harm),
        cmocka_unit_test(trim_removes_the_oldest),
        cmocka_unit_test(unusable_folders_only_cost_time),
        cmocka_unit_test(folder_is_chosen),
    };
    help_fresh_cache();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
