/* test_cli_system.c: what the system refuses: a full disk, a folder that cannot be, a compiler that is missing. Exit
 * status 1, one line, and nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"
#include "help_process.h"

static outcome o;

/* Tuning may have told how it gets on before; the error is the last line. */
static void expect_system_error(void) {
    int lines = count_lines(o.err) - (strstr(o.err, "candidates") != NULL);
    if (o.status != 1 || lines != 1 || !strstr(o.err, "error: ") || o.out[0])
        fail_msg("expected status 1 and one line; got %d: %s%s", o.status, o.err, o.out);
}

static void test_full_disk(void **state) {
    (void)state;
    static const char *const commands[] = {"gen", "build", "tune"};
    static const long limits[] = {400, 1500, 6000};
    for (int c = 0; c < 3; c++)
        for (int l = 0; l < 3; l++) {
            assert_true(base_remove(in_folder("cache/journal"), "test", NULL)); /* a torn line there is a warning */
            help_file_bytes = limits[l];
            nhac(&o, commands[c], in_folder("s.yaml"), "-o", in_folder("out"), NULL);
            help_file_bytes = 0;
            expect_system_error();
            assert_true(entries(in_folder("out/small/src")) <= 0); /* gen makes folders; no file may stand in them */
            if (c > 0)
                assert_int_equal(access(in_folder("out/small/manifest.yaml"), F_OK), -1);
        }
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("lib"), NULL);
    expect_done(&o);
    assert_int_equal(entries(in_folder("lib")), 1);
    int before = entries(in_folder("lib/small"));
    help_file_bytes = 3000; /* a library that is there already stays whole */
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("lib"), NULL);
    help_file_bytes = 0;
    expect_system_error();
    assert_int_equal(entries(in_folder("lib")), 1);
    assert_int_equal(entries(in_folder("lib/small")), before);

    st_tensor t[4];
    err e = {0};
    assert_true(st_write(in_folder("in"), t, (size_t)small_inputs(t), NULL, 0, &e));
    for (int l = 0; l < 3; l++) {
        help_file_bytes = limits[l];
        nhac(&o, "run", in_folder("lib/small"), "--op", "prefill", "--in", in_folder("in"), "--out",
             in_folder("results/o"), NULL);
        expect_system_error(); /* no such folder */
        nhac(&o, "run", in_folder("lib/small"), "--op", "prefill", "--in", in_folder("in"), "--out", in_folder("o"),
             NULL);
        help_file_bytes = 0;
        expect_system_error();
        assert_int_not_equal(access(in_folder("o"), F_OK), 0);
    }
    assert_int_equal(entries(help_folder), 5); /* s.yaml, cache, out, lib, in: no temporary is left */
    nhac(&o, "run", in_folder("lib/small"), "--op", "prefill", "--in", in_folder("in"), "--out", "/dev/full", NULL);
    expect_system_error();
}

static void test_unwritable(void **state) {
    (void)state;
    static const char *const commands[] = {"gen", "build", "tune"};
    write_text(in_folder("file"), "in the way");
    for (int c = 0; c < 3; c++) {
        nhac(&o, commands[c], in_folder("s.yaml"), "-o", in_folder("file"), NULL);
        expect_system_error();
        nhac(&o, commands[c], in_folder("s.yaml"), "-o", in_folder("file/below"), NULL);
        expect_system_error();
    }
    help_environment = "NHAC_CACHE_DIR=/dev/null/cache";
    nhac(&o, "tune", in_folder("s.yaml"), "-o", in_folder("out"), NULL); /* no place for the journal */
    expect_system_error();
    assert_true(entries(in_folder("out")) <= 0);
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("out"), NULL); /* a cache is no more than a cache */
    help_environment = NULL;
    expect_done(&o);
}

static void test_missing_compiler(void **state) {
    (void)state;
    help_environment = "NHAC_NO_JIT=1";
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("out"), NULL);
    help_environment = NULL;
    expect_system_error();
    assert_true(entries(in_folder("out")) <= 0);

    help_environment = "PATH=/nonexistent";
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("out"), NULL);
    help_environment = NULL;
    expect_done(&o);
    assert_non_null(strstr(o.out, "note: "));
    assert_int_not_equal(access(in_folder("out/small/libnha_small.so"), F_OK), 0);
    st_tensor t[4];
    err e = {0};
    assert_true(st_write(in_folder("in"), t, (size_t)small_inputs(t), NULL, 0, &e));
    nhac(&o, "run", in_folder("out/small"), "--op", "decode", "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_done(&o); /* the .a serves */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, help_enter_apart, help_leave_apart)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_full_disk), TEST(test_unwritable), TEST(test_missing_compiler)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
