/* test_base_file.c: files written whole or not at all, folders made, removed and exchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "help_temp.h"

static void assert_contents(const char *path, const char *expected) {
    char *data;
    size_t size;
    err e = {0};
    assert_true(base_file_read(path, 1 << 20, &data, &size, "test", &e));
    assert_int_equal(size, strlen(expected));
    assert_string_equal(data, expected);
    free(data);
}

static void expect_error(err *e, err_code code, const char *part) {
    assert_int_equal(e->code, code);
    if (!strstr(e->text, part)) fail_msg("\"%s\" lacks \"%s\"", e->text, part);
    err_clear(e);
}

static void test_read(void **state) {
    (void)state;
    err e = {0};
    char *data;
    size_t size;
    temp_file("ten", "0123456789", 10);
    assert_contents(temp_path("ten"), "0123456789");
    assert_true(base_file_read(temp_path("ten"), 10, &data, &size, "test", &e));
    free(data);
    assert_false(base_file_read(temp_path("ten"), 9, &data, &size, "test", &e));
    assert_string_equal(e.file, temp_path("ten"));
    expect_error(&e, ERR_INPUT, "10 bytes");
    assert_false(base_file_read(temp_path("none"), 9, &data, &size, "test", &e));
    expect_error(&e, ERR_INPUT, "No such file");
    assert_false(base_file_read(temp_dir(), 9, &data, &size, "test", &e));
    expect_error(&e, ERR_INPUT, "folder");
    assert_false(base_file_read("/dev/zero", 100000, &data, &size, "test", &e)); /* endless */
    expect_error(&e, ERR_INPUT, "more than 100000");
    assert_null(data);
    temp_file("empty", "", 0);
    assert_contents(temp_path("empty"), "");
    int64_t bytes;
    assert_true(base_file_size(temp_path("ten"), &bytes));
    assert_int_equal(bytes, 10);
    assert_false(base_file_size(temp_dir(), &bytes));
}

static void test_read_sparse_is_refused_at_once(void **state) {
    (void)state;
    err e = {0};
    char *data;
    size_t size;
    const char *path = temp_file("sparse", "", 0);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_false(base_file_read(path, 1 << 20, &data, &size, "test", &e));
    expect_error(&e, ERR_INPUT, "1099511627776 bytes");
    unlink(path);
}

static void test_write(void **state) {
    (void)state;
    err e = {0};
    int before = temp_entries();
    assert_true(base_file_write(temp_path("new"), "one", 3, "test", &e));
    assert_contents(temp_path("new"), "one");
    chmod(temp_path("new"), 0640);
    assert_true(base_file_write(temp_path("new"), "two", 3, "test", &e));
    assert_contents(temp_path("new"), "two");
    struct stat info;
    stat(temp_path("new"), &info);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(symlink("new", temp_path("link")), 0);
    assert_true(base_file_write(temp_path("link"), "three", 5, "test", &e));
    lstat(temp_path("link"), &info);
    assert_true(S_ISLNK(info.st_mode));
    assert_contents(temp_path("new"), "three");
    assert_int_equal(temp_entries(), before + 2); /* no temporaries */
    base_writer w;
    assert_true(base_writer_open(&w, temp_path("new"), "test", &e));
    assert_true(base_writer_add(&w, "half", 4, &e));
    base_writer_abort(&w);
    base_writer_abort(&w);
    assert_contents(temp_path("new"), "three");
    assert_int_equal(temp_entries(), before + 2);
}

static void test_write_fails(void **state) {
    (void)state;
    err e = {0};
    int before = temp_entries();
    assert_false(base_file_write(temp_path("no/such/file"), "x", 1, "test", &e));
    expect_error(&e, ERR_SYSTEM, "No such file");
    assert_false(base_file_write(temp_dir(), "x", 1, "test", &e));
    expect_error(&e, ERR_SYSTEM, "directory");
    assert_false(base_file_write("/dev/full", "x", 1, "test", &e));
    expect_error(&e, ERR_SYSTEM, "No space");
    struct stat info;
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode)); /* not replaced by a file */
    assert_int_equal(temp_entries(), before);
}

/* A file that may not grow stands for a full disk: the old file stays, no temporary is left. */
static void test_full_disk(void **state) {
    (void)state;
    static char large[100000];
    err e = {0};
    temp_file("kept", "old", 3);
    int before = temp_entries();
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){50000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    bool ok = base_file_write(temp_path("kept"), large, sizeof large, "test", &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_false(ok);
    expect_error(&e, ERR_SYSTEM, "File too large");
    assert_contents(temp_path("kept"), "old");
    assert_int_equal(temp_entries(), before);
}

/* Four processes write one file again and again: a reader sees one of the whole texts, always. */
static void test_race(void **state) {
    (void)state;
    const char *path = temp_path("race");
    pid_t children[4];
    assert_true(base_file_write(path, "0000000000", 10, "test", NULL));
    for (int c = 0; c < 4; c++) {
        children[c] = fork();
        if (children[c]) continue;
        char text[11];
        memset(text, '1' + c, 10);
        for (int i = 0; i < 30; i++)
            if (!base_file_write(path, text, 10, "test", NULL)) _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 200; i++) {
        char *data;
        size_t size;
        assert_true(base_file_read(path, 100, &data, &size, "test", NULL));
        assert_int_equal(size, 10);
        for (int j = 1; j < 10; j++) assert_int_equal(data[j], data[0]);
        free(data);
    }
    for (int c = 0; c < 4; c++) {
        int status;
        waitpid(children[c], &status, 0);
        assert_int_equal(status, 0);
    }
}

static void test_lines(void **state) {
    (void)state;
    const char text[] = "one\r\n\ntwo\nthree", *at = text, *line;
    const char *expected[] = {"one", "", "two", "three"};
    size_t length;
    bool closed;
    for (int i = 0; i < 4; i++) {
        assert_true(base_next_line(&at, text + strlen(text), &line, &length, &closed));
        assert_int_equal(length, strlen(expected[i]));
        assert_memory_equal(line, expected[i], length);
        assert_int_equal(closed, i < 3);
    }
    assert_false(base_next_line(&at, text + strlen(text), &line, &length, &closed));
}

static void test_paths(void **state) {
    (void)state;
    char *path = base_path_join("a", "b");
    assert_string_equal(path, "a/b");
    free(path);
    path = base_path_join("a/", "b");
    assert_string_equal(path, "a/b");
    free(path);
    path = base_path_join("", "b");
    assert_string_equal(path, "b");
    free(path);
    path = base_path_beside("x/y/z");
    assert_memory_equal(path, "x/y/.nhac-", 10);
    free(path);
    path = base_path_beside("x/y/");
    assert_memory_equal(path, "x/.nhac-", 8);
    free(path);
    path = base_path_beside("z");
    assert_memory_equal(path, ".nhac-", 6);
    free(path);
}

static void test_mkdirs_and_remove(void **state) {
    (void)state;
    err e = {0};
    assert_true(base_mkdirs(temp_path("d/e//f/"), "test", &e));
    assert_true(base_mkdirs(temp_path("d/e/f"), "test", &e));
    assert_true(base_is_folder(temp_path("d/e/f")));
    temp_file("d/e/file", "x", 1);
    temp_file("outside", "x", 1);
    assert_int_equal(symlink(temp_dir(), temp_path("d/e/f/up")), 0); /* must not be followed */
    assert_false(base_mkdirs(temp_path("d/e/file/g"), "test", &e));
    expect_error(&e, ERR_SYSTEM, "Not a directory");
    assert_false(base_mkdirs(temp_path("d/e/file"), "test", &e));
    err_clear(&e);
    assert_true(base_sync_tree(temp_path("d"), "test", &e));
    assert_true(base_remove(temp_path("d"), "test", &e));
    assert_false(base_exists(temp_path("d")));
    assert_true(base_exists(temp_path("outside")));
    assert_true(base_remove(temp_path("d"), "test", &e));
    assert_true(base_remove(temp_path("outside"), "test", &e));
    assert_false(base_sync_tree(temp_path("d"), "test", &e));
    err_clear(&e);
}

static void test_remove_is_bounded(void **state) {
    (void)state;
    err e = {0};
    char deep[500] = "deep";
    for (int i = 0; i < 80; i++) strcat(deep, "/d");
    assert_true(base_mkdirs(temp_path(deep), "test", &e));
    assert_false(base_remove(temp_path("deep"), "test", &e));
    expect_error(&e, ERR_SYSTEM, "cannot be removed");
}

static void make_folder(const char *text, char **folder) {
    assert_true(base_mkdir_beside(temp_path("lib"), folder, "test", NULL));
    char *file = base_path_join(*folder, "content");
    assert_true(base_file_write(file, text, strlen(text), "test", NULL));
    free(file);
}

static void test_publish(void **state) {
    (void)state;
    err e = {0};
    char *folder;
    int before = temp_entries();
    for (int i = 0; i < 3; i++) {
        const char *texts[] = {"first", "second", "third"};
        make_folder(texts[i], &folder);
        assert_true(base_publish(folder, temp_path("lib"), "test", &e));
        assert_contents(temp_path("lib/content"), texts[i]);
        assert_false(base_exists(folder));
        free(folder);
        assert_int_equal(temp_entries(), before + 1);
    }
    make_folder("fourth", &folder);
    assert_false(base_publish(folder, temp_path("no/where"), "test", &e));
    expect_error(&e, ERR_SYSTEM, "No such file");
    assert_true(base_exists(folder)); /* still the caller's */
    assert_true(base_remove(folder, "test", &e));
    free(folder);
}

static void test_sweep(void **state) {
    (void)state;
    static const struct timespec old[2] = {{1000000, 0}, {1000000, 0}};
    temp_file(".nhac-77-1.tmp", "x", 1); /* young: another process may be writing it */
    assert_true(base_mkdirs(temp_path(".nhac-77-2.tmp/below"), "test", NULL));
    temp_file(".nhac-77-3.tmpx", "x", 1);
    assert_int_equal(utimensat(AT_FDCWD, temp_path(".nhac-77-2.tmp"), old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, temp_path(".nhac-77-3.tmpx"), old, 0), 0);
    base_sweep_beside(temp_path("anything"));
    assert_true(base_exists(temp_path(".nhac-77-1.tmp")));
    assert_false(base_exists(temp_path(".nhac-77-2.tmp")));
    assert_true(base_exists(temp_path(".nhac-77-3.tmpx")));
    base_sweep_beside(temp_path("no/such/folder"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_sparse_is_refused_at_once),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_mkdirs_and_remove),
        cmocka_unit_test(test_remove_is_bounded),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, temp_remove_all);
}
