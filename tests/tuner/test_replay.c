/* test_replay.c: searches compared on recorded exhaustive runs, without any timing. The recordings: bench/replay/, made
 * by `nhac tune --strategy exhaustive`. */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "tuner/device_replay.h"
#include "tuner/search.h"

static const char RECORDING[] = "bench/replay/llama3-8b.cpu.jsonl";
enum { FEW = 100 }; /* candidates: of fewer a tenth of the time is over after a group or two, wherever it begins */
static tune_journal recording;
static gen_spec spec;

static void open_recording(const char *path) {
    char *text;
    size_t size;
    err e = {0};
    if (!base_file_read(path, TUNE_JOURNAL_BYTES_MAX, &text, &size, "test", &e) ||
        !tune_journal_parse(text, size, &recording, &e))
        fail_msg("%s", e.text);
    free(text);
    assert_int_equal(recording.origin_count, 1);
    assert_int_equal(recording.damaged + recording.foreign, 0);
    const char *problem = recording.origins[0].problem;
    if (!gen_spec_parse(path, problem, strlen(problem), &spec, &e))
        fail_msg("%s", e.text);
}

static void close_recording(void) {
    tune_journal_close(&recording);
    gen_spec_destroy(&spec);
}

typedef struct result {
    double seconds; /* that passed on the recorded machine */
    double ratio;   /* of the winner to the default, by the recording; the worst of the shapes */
    char winner[160];
    int explored, candidates;
    size_t records;
} result;

static result search(nha_op op, const char *strategy, const char *first, double budget) {
    static tune_progress quiet;
    err e = {0};
    tune_device *device;
    tune_space space;
    tune_journal journal = {.fd = -1, .verified_by = "replay", .timed_by = "replay"};
    if (!tune_replay_open(&recording, &device, &e) || !tune_replay_space(device, &spec.problem, op, first, &space, &e))
        fail_msg("%s", e.text);
    tune_search s = {.device = device,
                     .strategy = tune_strategy_find(strategy, &e),
                     .problem = &spec.problem,
                     .op = op,
                     .arch = device->arch,
                     .reference = (const tune_reference *)&journal, /* never looked at */
                     .journal = &journal,
                     .progress = &quiet,
                     .clock = tune_replay_clock(device),
                     .deadline = budget,
                     .budget = budget,
                     .threads = device->threads(device),
                     .jobs = 1,
                     .only = &space};
    if (!tune_search_open(&s, spec.shapes, spec.shape_count, &e) || !tune_search_run(&s, &e))
        fail_msg("%s", e.text);
    result r = {.candidates = s.space.count, .explored = s.explored, .records = journal.count};
    assert_true(s.bucket_count > 0);
    for (int b = 0; b < s.bucket_count; b++) {
        int winner = tune_search_choose(&s, b);
        const char *tile = s.space.candidates[winner].string;
        double ratio = tune_replay_ratio(device, op, tile, &s.buckets[b].shape);
        assert_true(ratio > 0);
        r.ratio = fmax(r.ratio, ratio);
        snprintf(r.winner, sizeof r.winner, "%s", tile);
    }
    r.seconds = s.clock.now(s.clock.context);
    tune_search_close(&s);
    tune_space_close(&space);
    tune_journal_close(&journal);
    tune_device_close(device);
    return r;
}

static void show(nha_op op, const char *strategy, const result *r) {
    printf("%-8s %-10s %7.1f s  %4d of %4d candidates  %.3f of the default  %s\n", gen_op_name(op), strategy,
           r->seconds, r->explored, r->candidates, r->ratio, r->winner);
}

typedef struct ranked {
    double ratio;
    const char *tile;
} ranked;

static int by_ratio(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

/* All candidates of an op by what they are worth on the first shape of it, best first; none: it was not recorded. */
static size_t rank(nha_op op, ranked *list, size_t room) {
    tune_device *device;
    err e = {0};
    size_t count = 0;
    if (!tune_replay_open(&recording, &device, &e))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < recording.count && count < room; i++) {
        const tune_record *r = &recording.records[i];
        if (r->kind != TUNE_RECORD_QUICK || r->op != (int)op)
            continue;
        const gen_shape shape = {.op = r->op, .batch = r->batch, .tokens = r->tokens};
        list[count++] = (ranked){tune_replay_ratio(device, op, r->tile, &shape), r->tile};
    }
    qsort(list, count, sizeof *list, by_ratio);
    tune_device_close(device);
    return count;
}

/* In a tenth of exhaustive search's time within 3% of what it finds; from the
 * default, and from a default that is worse than half, and than nine tenths, of all candidates. */
static void compare(nha_op op) {
    static ranked list[4096];
    size_t count = rank(op, list, 4096);
    if (count == 0)
        return;
    const char *const firsts[] = {NULL, list[count / 2].tile, list[count * 9 / 10].tile};
    for (int f = 0; f < (count < FEW ? 1 : 3); f++) {
        result all = search(op, "exhaustive", firsts[f], 1e9);
        assert_int_equal(all.explored, all.candidates);
        printf("from %s; the best by the recording is %.3f, %s\n", firsts[f] ? firsts[f] : "the default", list[0].ratio,
               list[0].tile);
        show(op, "exhaustive", &all);
        result model = search(op, "model", firsts[f], all.seconds / 10);
        show(op, "model", &model);
        result random = search(op, "random", firsts[f], all.seconds / 10);
        show(op, "random", &random);
        assert_true(model.seconds <= all.seconds / 10 * 1.05 + 0.5); /* the group under way is finished */
        assert_true(model.ratio <= all.ratio * 1.03);
    }
}

static void test_a_tenth(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("bench/replay/*.jsonl", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        printf("%s\n", found.gl_pathv[i]);
        open_recording(found.gl_pathv[i]);
        for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
            compare((nha_op)op);
        close_recording();
    }
    globfree(&found);
}

/* The same recording gives the same search, record for record. */
static void test_same_each_time(void **state) {
    (void)state;
    open_recording(RECORDING);
    result a = search(NHA_DECODE, "model", NULL, 30), b = search(NHA_DECODE, "model", NULL, 30);
    assert_string_equal(a.winner, b.winner);
    assert_true(a.seconds == b.seconds);
    assert_int_equal(a.records, b.records);
    close_recording();
}

/* What was recorded can be asked for by any of its candidates; what was not is said. */
static void test_refusals(void **state) {
    (void)state;
    err e = {0};
    tune_device *device;
    tune_space space;
    tune_journal nowhere = {.fd = -1};
    assert_false(tune_replay_open(&nowhere, &device, &e));
    assert_int_equal(e.code, ERR_INPUT);
    err_clear(&e);
    open_recording(RECORDING);
    assert_true(tune_replay_open(&recording, &device, &e));
    assert_false(tune_replay_space(device, &spec.problem, NHA_BACKWARD, NULL, &space, &e));
    assert_non_null(strstr(e.text, "no default of backward"));
    err_clear(&e);
    assert_true(tune_replay_space(device, &spec.problem, NHA_PREFILL, NULL, &space, &e));
    tune_candidate *c = &space.candidates[1];
    c->string[strlen(c->string) - 1] = '9';
    assert_false(device->prepare(device, c, &e));
    assert_int_equal(e.code, ERR_COMPILE);
    err_clear(&e);
    tune_space_close(&space);
    tune_device_close(device);
    close_recording();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_tenth), cmocka_unit_test(test_same_each_time),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
