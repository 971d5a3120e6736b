/* test_db_command.c: nhac db as people type it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"

static const char RECORDING[] = "bench/replay/llama3-8b.cpu.jsonl";
static char folder[64], said[8192];

static int enter(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/nhac-db-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    return base_remove(folder, "test", NULL) ? 0 : -1;
}

/* Exit status of `nhac db ARGUMENTS`; what it printed is in `said`. */
static int db(const char *arguments) {
    char command[1024];
    const char *nhac = getenv("NHAC");
    assert_non_null(nhac);
    snprintf(command, sizeof command, "NHAC_CACHE_DIR=%s NHAC_SYSTEM_DB=%s/none '%s' db %s 2>&1", folder, folder, nhac,
             arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t size = fread(said, 1, sizeof said - 1, pipe);
    said[size] = 0;
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_list_and_merge(void **state) {
    (void)state;
    char command[256];
    assert_int_equal(db("list"), 0);
    assert_non_null(strstr(said, "0 journals"));
    snprintf(command, sizeof command, "merge %s", RECORDING);
    assert_int_equal(db(command), 0);
    assert_non_null(strstr(said, "1 journal written"));
    assert_int_equal(db("list"), 0);
    assert_non_null(strstr(said, "llama3-8b"));
    assert_non_null(strstr(said, "1 journal in"));
    assert_int_equal(db(command), 0); /* all of it is here */
    assert_non_null(strstr(said, " 0 records new here"));
    assert_int_equal(db("prune --older-than 0"), 0);
    assert_non_null(strstr(said, "1 journal removed"));
    assert_int_equal(db("list"), 0);
    assert_non_null(strstr(said, "0 journals"));
}

static void test_usage(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "", "lst", "merge", "list x", "prune file", "list --stale", "list --older-than 3", "prune --older-than never"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (db(wrong[i]) != 2)
            fail_msg("nhac db %s: %s", wrong[i], said);
        assert_non_null(strstr(said, "usage: nhac db"));
    }
    db("lst");
    assert_non_null(strstr(said, "did you mean list?"));
    assert_int_equal(db("merge /nowhere/at/all"), 2);
    assert_int_equal(db("merge README.md"), 2); /* of which no line is a record */
    assert_non_null(strstr(said, "README.md: error: is no journal"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_list_and_merge), TEST(test_usage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
