/* test_cli_tune.c: tuning keeps its promises: a finished run repeats nothing, a killed one resumes, a budget holds, and
 * whatever happens the library that stands under its name is whole. NHAC_KILL_RUNS: how many kills (10; 50 where
 * NHAC_LONG is set). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "help_process.h"
#include "tuner/journal.h"

static outcome o;

/* The library's copy of the journal. */
static void read_journal(tune_journal *j) {
    char *text;
    size_t size;
    err e = {0};
    if (!base_file_read(in_folder("out/small/tuning.jsonl"), 1 << 26, &text, &size, "test", &e))
        fail_msg("%s", e.text);
    assert_true(tune_journal_parse(text, size, j, &e));
    free(text);
    assert_int_equal(j->damaged, 0);
}

/* No candidate was timed twice for a shape in one round, verified twice, or timed before it was verified. */
static void check_journal(const tune_journal *j) {
    for (size_t i = 0; i < j->count; i++) {
        const tune_record *r = &j->records[i];
        if (r->kind == TUNE_RECORD_DONE)
            continue;
        bool verified = r->kind != TUNE_RECORD_QUICK && r->kind != TUNE_RECORD_FINAL;
        for (size_t k = 0; k < i; k++) {
            const tune_record *q = &j->records[k];
            bool same = q->kind == r->kind && q->op == r->op && q->batch == r->batch && q->tokens == r->tokens &&
                        strcmp(q->tile, r->tile) == 0;
            if (same)
                fail_msg("%s %s twice", tune_record_name(r->kind), r->tile);
            verified = verified || (q->kind == TUNE_RECORD_VERIFIED && q->op == r->op && strcmp(q->tile, r->tile) == 0);
        }
        if (!verified)
            fail_msg("%s was timed before it was verified", r->tile);
    }
}

static void test_resume(void **state) {
    (void)state;
    const char *const spec = in_folder("s.yaml"), *const out = in_folder("out");
    tune_journal first = {.fd = -1}, second;
    char budget[16], more[16];
    for (int seconds = 4; seconds <= 64 && first.count <= 4;
         seconds *= 2) { /* a slow machine needs longer to look at anything */
        snprintf(budget, sizeof budget, "%d", seconds);
        snprintf(more, sizeof more, "%d", 2 * seconds);
        tune_journal_close(&first);
        nhac(&o, "tune", spec, "--budget", budget, "-o", out, NULL);
        expect_done(&o);
        read_journal(&first);
        check_journal(&first);
    }
    assert_true(first.count > 4);
    nhac(&o, "tune", spec, "--budget", budget, "-o", out, NULL);
    expect_done(&o);
    assert_non_null(strstr(o.out, " 0 of them now"));
    read_journal(&second);
    assert_int_equal(second.text.size, first.text.size);
    assert_memory_equal(second.text.data, first.text.data, first.text.size);
    tune_journal_close(&second);
    nhac(&o, "tune", spec, "--budget", more, "-o", out, NULL); /* more time: it goes on where it was */
    expect_done(&o);
    read_journal(&second);
    check_journal(&second);
    assert_true(second.count > first.count);
    assert_memory_equal(second.text.data, first.text.data, first.text.size);
    tune_journal_close(&first);
    tune_journal_close(&second);
    nhac(&o, "verify", in_folder("out/small"), "--cases", "2", NULL);
    expect_done(&o);
    nhac(&o, "show", in_folder("out/small"), NULL);
    expect_done(&o);
}

static void pause_for(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void test_kills(void **state) {
    (void)state;
    const char *runs = getenv("NHAC_KILL_RUNS");
    int count = runs ? atoi(runs) : getenv("NHAC_LONG") ? 50 : 10, killed = 0;
    const char *const spec = in_folder("s.yaml"), *const out = in_folder("out"),
                      *const library = in_folder("out/small");
    const char *const arguments[] = {"tune", spec, "--budget", "20", "-o", out, NULL};
    uint32_t random = (uint32_t)time(NULL) ^ (uint32_t)getpid();
    print_message("seed %u\n", random);
    for (int i = 0; i < count; i++) {
        pid_t child = nhac_start(arguments);
        random = random * 1664525 + 1013904223;
        pause_for((double)(random >> 8) / (1 << 24) * (i % 2 ? 2.5 : 0.7));
        kill(child, SIGKILL);
        int status;
        assert_true(waitpid(child, &status, 0) == child);
        killed += WIFSIGNALED(status);
        if (entries(library) >= 0) { /* what stands under the name is whole */
            nhac(&o, "show", library, NULL);
            expect_done(&o);
        }
        nhac(&o, "tune", spec, "--budget", "1", "-o", out, NULL); /* the next run completes */
        expect_done(&o);
        tune_journal j;
        read_journal(&j);
        check_journal(&j);
        tune_journal_close(&j);
    }
    nhac(&o, "verify", library, "--cases", "2", NULL);
    expect_done(&o);
    print_message("%d of %d runs were killed\n", killed, count);
    assert_true(killed == count);
}

/* Two runs at once on one journal and one library. */
static void test_race(void **state) {
    (void)state;
    const char *const spec = in_folder("s.yaml"), *const out = in_folder("out");
    const char *const arguments[] = {"tune", spec, "--budget", "3", "-o", out, NULL};
    pid_t children[2] = {nhac_start(arguments), nhac_start(arguments)};
    for (int i = 0; i < 2; i++) {
        int status;
        assert_true(waitpid(children[i], &status, 0) == children[i]);
        assert_int_equal(status, 0);
    }
    nhac(&o, "verify", in_folder("out/small"), "--cases", "1", NULL);
    expect_done(&o);
    assert_int_equal(entries(out), 1);
}

/* A journal that was damaged is one warning, and its other lines count. */
static void test_damaged_journal(void **state) {
    (void)state;
    const char *const spec = in_folder("s.yaml"), *const out = in_folder("out");
    nhac(&o, "tune", spec, "--budget", "3", "-o", out, NULL);
    expect_done(&o);
    char command[512];
    snprintf(command, sizeof command, "for f in %s/cache/journal/*; do printf 'x\\n{\"v\":1}\\n{\"torn' >>$f; done",
             help_folder);
    assert_int_equal(system(command), 0);
    nhac(&o, "tune", spec, "--budget", "3", "-o", out, NULL);
    expect_done(&o);
    assert_non_null(strstr(o.err, "3 damaged lines ignored"));
    assert_non_null(strstr(o.err, "warning"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, help_enter_apart, help_leave_apart)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_resume), TEST(test_kills), TEST(test_race),
                                       TEST(test_damaged_journal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
