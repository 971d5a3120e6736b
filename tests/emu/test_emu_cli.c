/* test_emu_cli.c: nhac emu: exit statuses, reports on standard output, buffers from and to files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/emu/help_emu.h"

static const char add[] = "--kernel vector_add --grid 4 --block 64 --seed 5 ";
static const char ptx[] = "tests/emu/ptx/correct_sm_80.ptx";

/* Runs nhac emu; its output goes to `text`. Returns the exit status. */
static int run(const char *path, const char *arguments, char *text, size_t room) {
    char command[2048];
    snprintf(command, sizeof command, "\"${NHAC:-nhac}\" emu %s %s 2>&1", path, arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, room - 1, f);
    text[n] = 0;
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void clean(void **state) {
    (void)state;
    char text[8192], arguments[1024], x[64], y[64];
    snprintf(x, sizeof x, "/tmp/nhac-emu-%ld.x", (long)getpid());
    snprintf(y, sizeof y, "/tmp/nhac-emu-%ld.y", (long)getpid());
    float in[256];
    for (int i = 0; i < 256; i++)
        in[i] = (float)i;
    FILE *f = fopen(x, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(in, sizeof in, 1, f), 1);
    fclose(f);
    snprintf(arguments, sizeof arguments,
             "%s --arg buf:1K,file=%s --arg buf:1024,file=%s --arg buf:1K,undefined,out=%s --arg i:256", add, x, x, y);
    assert_int_equal(run(ptx, arguments, text, sizeof text), 0);
    assert_non_null(strstr(text, "64 read, 32 written"));
    size_t n;
    float *out = (float *)(void *)help_read(y, &n);
    assert_int_equal(n, sizeof in);
    for (int i = 0; i < 256; i++)
        assert_true(out[i] == 2 * in[i]);
    free(out);
    unlink(x), unlink(y);
}

static void found(void **state) {
    (void)state;
    char text[8192], arguments[1024];
    snprintf(arguments, sizeof arguments,
             "%s --arg buf:1K,random=1 --arg buf:1K,zero --arg buf:512,undefined --arg i:256", add);
    assert_int_equal(run(ptx, arguments, text, sizeof text), 1);
    assert_non_null(strstr(text, "out-of-bounds access: write of 4 bytes"));
    assert_non_null(strstr(text, "correct_sm_80.ptx:"));
    /* an output of which a part was never written is a finding, too */
    snprintf(arguments, sizeof arguments,
             "%s --arg buf:1K --arg buf:1K --arg buf:2K,undefined,out=/dev/null --arg i:256", add);
    assert_int_equal(run(ptx, arguments, text, sizeof text), 1);
    assert_non_null(strstr(text, "1024 of 2048 bytes were never written"));
}

static void refused(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "name one with --kernel"},
        {"--kernel nothing", "name one with --kernel"},
        {"--kernel vector_add", "takes 4 arguments"},
        {"--kernel vector_add --grid 0", "a shape is"},
        {"--kernel vector_add --block 2000 --arg i:0 --arg i:0 --arg i:0 --arg i:0", "not possible"},
        {"--kernel vector_add --arg buf:x --arg i:0 --arg i:0 --arg i:0", "size of a buffer"},
        {"--kernel vector_add --arg buf:8,often --arg i:0 --arg i:0 --arg i:0", "a buffer takes"},
        {"--kernel vector_add --arg i:0 --arg i:0 --arg i:0 --arg i:zero", "not an integer"},
        {"--kernel vector_add --arg x:00 --arg i:0 --arg i:0 --arg i:0", "two digits for each byte"},
        {"--colour", "there is no option"},
    };
    char text[8192];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(run(ptx, rows[i][0], text, sizeof text), 2);
        if (!strstr(text, rows[i][1]))
            fail_msg("%s: %s", rows[i][0], text);
    }
    assert_int_equal(run("/nonexistent.ptx", "", text, sizeof text), 2);
    assert_int_equal(run("README.md", "", text, sizeof text), 2);
    assert_non_null(strstr(text, "README.md:1: error: "));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(clean), cmocka_unit_test(found), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
