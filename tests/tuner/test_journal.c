/* test_journal.c: what was written is read back, whatever happened to the file in between: torn lines, flipped bits,
 * two writers, a full disk. A damaged line costs that line alone. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "tuner/journal.h"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    /* In memory where that can be: thousands of records are synced one by one. */
    snprintf(folder, sizeof folder, "%s/nhac-journal-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return base_remove(folder, "test", NULL) ? 0 : -1;
}

static tune_record timed(int kind, const char *tile, double us) {
    tune_record r = {.kind = kind,
                     .op = NHA_PREFILL,
                     .batch = 2,
                     .tokens = 4096,
                     .timed_batch = 1,
                     .timed_tokens = 1024,
                     .threads = 2};
    snprintf(r.tile, sizeof r.tile, "%s", tile);
    r.samples = (tune_samples){.us = {us, us * 1.25, us / 3}, .count = 3, .iterations = 7};
    r.base = (tune_samples){.us = {2 * us, us, us}, .count = 3, .iterations = 7};
    return r;
}

static void open_journal(tune_journal *j) {
    err e = {0};
    assert_true(tune_journal_open(folder, "key", j, &e));
}

static void test_round_trip(void **state) {
    (void)state;
    err e = {0};
    tune_journal j;
    open_journal(&j);
    assert_int_equal(j.count, 0);
    tune_record verified = {.kind = TUNE_RECORD_VERIFIED, .op = NHA_DECODE, .tile = "avx2.m4"};
    tune_record rejected = {
        .kind = TUNE_RECORD_REJECTED, .op = NHA_DECODE, .tile = "avx2.m8", .why = "o: 3e-2 \"wrong\"\n"};
    tune_record quick = timed(TUNE_RECORD_QUICK, "avx2.t16", 123.456), done = {.kind = TUNE_RECORD_DONE,
                                                                               .op = NHA_DECODE,
                                                                               .batch = 64,
                                                                               .tokens = 1,
                                                                               .seconds = 60,
                                                                               .exhausted = true};
    assert_true(tune_journal_add(&j, &verified, &e) && tune_journal_add(&j, &rejected, &e));
    assert_true(tune_journal_add(&j, &quick, &e) && tune_journal_add(&j, &done, &e));
    for (int pass = 0; pass < 2; pass++) { /* as it is in memory, then as it is in the file */
        assert_int_equal(j.count, 4);
        assert_int_equal(j.damaged, 0);
        assert_non_null(tune_journal_find(&j, TUNE_RECORD_VERIFIED, NHA_DECODE, "avx2.m4"));
        assert_null(tune_journal_find(&j, TUNE_RECORD_VERIFIED, NHA_PREFILL, "avx2.m4"));
        assert_null(tune_journal_find(&j, TUNE_RECORD_VERIFIED, NHA_DECODE, "avx2.m8"));
        assert_string_equal(tune_journal_find(&j, TUNE_RECORD_REJECTED, NHA_DECODE, "avx2.m8")->why, rejected.why);
        const tune_record *r = tune_journal_timed(&j, TUNE_RECORD_QUICK, NHA_PREFILL, "avx2.t16", 2, 4096);
        assert_non_null(r);
        assert_int_equal(r->samples.count, 3);
        assert_memory_equal(r->samples.us, quick.samples.us, 3 * sizeof(double));
        assert_memory_equal(r->base.us, quick.base.us, 3 * sizeof(double));
        assert_int_equal(r->timed_batch, 1);
        assert_int_equal(r->timed_tokens, 1024);
        assert_int_equal(r->threads, 2);
        assert_int_equal(r->samples.iterations, 7);
        assert_null(tune_journal_timed(&j, TUNE_RECORD_QUICK, NHA_PREFILL, "avx2.t16", 2, 4095));
        assert_null(tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "avx2.t16", 2, 4096));
        r = tune_journal_timed(&j, TUNE_RECORD_DONE, NHA_DECODE, "", 64, 1);
        assert_non_null(r);
        assert_true(r->exhausted && r->seconds == 60);
        tune_journal_close(&j);
        open_journal(&j);
    }
    /* The text it keeps is the file. */
    char *text;
    size_t size;
    assert_true(base_file_read(j.path, 1 << 20, &text, &size, "test", &e));
    assert_int_equal(size, j.text.size);
    assert_memory_equal(text, j.text.data, size);
    tune_journal copy;
    assert_true(tune_journal_parse(text, size, &copy, &e));
    assert_int_equal(copy.count, 4);
    tune_journal_close(&copy);
    tune_journal_close(&j);
    free(text);
}

static char *contents(size_t *size) {
    char path[128], *text;
    err e = {0};
    snprintf(path, sizeof path, "%s/journal/key.jsonl", folder);
    assert_true(base_file_read(path, 1 << 24, &text, size, "test", &e));
    return text;
}

static void replace(const char *text, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s/journal/key.jsonl", folder);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0 && write(fd, text, size) == (ssize_t)size);
    close(fd);
}

static void add_ten(void) {
    err e = {0};
    tune_journal j;
    open_journal(&j);
    for (int i = 0; i < 10; i++) {
        char tile[32];
        snprintf(tile, sizeof tile, "tile%d", i);
        tune_record r = timed(TUNE_RECORD_QUICK, tile, 10 + i);
        assert_true(tune_journal_add(&j, &r, &e));
    }
    tune_journal_close(&j);
}

/* Cut after every single byte: the whole lines before the cut are there, and what is added afterwards is found. */
static void test_torn(void **state) {
    (void)state;
    add_ten();
    size_t size;
    char *text = contents(&size);
    for (size_t cut = 0; cut <= size; cut += cut < 700 ? 1 : 37) {
        size_t whole = 0;
        for (size_t i = 0; i < cut; i++)
            whole += text[i] == '\n';
        bool end_alone = cut < size && text[cut] == '\n' && cut > 0; /* the line is whole but for its end */
        whole += end_alone;
        replace(text, cut);
        tune_journal j;
        open_journal(&j);
        assert_int_equal(j.count, whole);
        assert_int_equal(j.damaged, cut > 0 && text[cut - 1] != '\n' && !end_alone);
        err e = {0};
        tune_record r = timed(TUNE_RECORD_FINAL, "after", 1);
        assert_true(tune_journal_add(&j, &r, &e));
        tune_journal_close(&j);
        open_journal(&j);
        assert_int_equal(j.count, whole + 1);
        assert_non_null(tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "after", 2, 4096));
        tune_journal_close(&j);
    }
    free(text);
}

/* A byte changed anywhere costs its line, or two if it was the line end or became one; never another record's truth. */
static void test_flipped(void **state) {
    (void)state;
    add_ten();
    size_t size;
    char *text = contents(&size);
    for (size_t at = 0; at < size; at += 11) {
        for (int bit = 0; bit < 8; bit += 3) {
            text[at] ^= (char)(1 << bit);
            tune_journal j;
            err e = {0};
            assert_true(tune_journal_parse(text, size, &j, &e));
            assert_true(j.count == 9 || j.count == 8);
            assert_true(j.damaged >= 1 && j.damaged <= 2);
            for (size_t i = 0; i < j.count; i++)
                assert_int_equal(j.records[i].samples.count, 3);
            tune_journal_close(&j);
            text[at] ^= (char)(1 << bit);
        }
    }
    free(text);
}

static void test_garbage(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\n\n\n", "{}\n", "not json\n", "{\"v\":1,\"sum\":\"0123456789abcdef\"}\n", "\0\0\0\0\n", "]]]]", "",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tune_journal j;
        err e = {0};
        assert_true(tune_journal_parse(texts[i], strlen(texts[i]), &j, &e));
        assert_int_equal(j.count, 0);
        tune_journal_close(&j);
    }
    size_t size = 1 << 20;
    char *noise = malloc(size);
    assert_non_null(noise);
    uint32_t x = 1;
    for (size_t i = 0; i < size; i++)
        noise[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
    tune_journal j;
    err e = {0};
    assert_true(tune_journal_parse(noise, size, &j, &e));
    assert_int_equal(j.count, 0);
    assert_true(j.damaged > 0);
    tune_journal_close(&j);
    free(noise);
}

/* Four processes at once: every record arrives whole. */
static void test_writers(void **state) {
    (void)state;
    for (int w = 0; w < 4; w++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child > 0)
            continue;
        tune_journal j;
        err e = {0};
        if (!tune_journal_open(folder, "key", &j, &e))
            _exit(1);
        for (int i = 0; i < 50; i++) {
            char tile[32];
            snprintf(tile, sizeof tile, "writer%d.tile%d", w, i);
            tune_record r = timed(TUNE_RECORD_QUICK, tile, i + 1);
            if (!tune_journal_add(&j, &r, &e))
                _exit(1);
        }
        tune_journal_close(&j);
        _exit(0);
    }
    for (int w = 0; w < 4; w++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    tune_journal j;
    open_journal(&j);
    assert_int_equal(j.count, 200);
    assert_int_equal(j.damaged, 0);
    tune_journal_close(&j);
}

/* A file that may not grow stands for a full disk: an error that names the file, and the records before it are safe. */
static void test_full(void **state) {
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){1000, 1000});
        tune_journal j;
        err e = {0};
        if (!tune_journal_open(folder, "key", &j, &e))
            _exit(1);
        int i = 0;
        for (; i < 100; i++) {
            tune_record r = timed(TUNE_RECORD_QUICK, "x", 1);
            if (!tune_journal_add(&j, &r, &e))
                break;
        }
        bool right = i > 0 && i < 100 && e.code == ERR_SYSTEM && strstr(e.file, "key.jsonl");
        tune_journal_close(&j);
        _exit(right ? 0 : 2);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    tune_journal j;
    open_journal(&j);
    assert_true(j.count > 0);
    tune_journal_close(&j);
}

static void test_unwritable(void **state) {
    (void)state;
    char path[128];
    err e = {0};
    snprintf(path, sizeof path, "%s/file", folder);
    assert_true(base_file_write(path, "x", 1, "test", &e));
    tune_journal j;
    assert_false(tune_journal_open(path, "key", &j, &e)); /* a file where the folder should be */
    assert_int_equal(e.code, ERR_SYSTEM);
    err_clear(&e);
}

static void test_key(void **state) {
    (void)state;
    gen_problem p = {.nha = {.head_dim_qk = 64,
                             .head_dim_v = 64,
                             .heads_q = 4,
                             .heads_kv = 2,
                             .slots = 16,
                             .window = 32,
                             .slot_lag = 32,
                             .scale = 0.125,
                             .gate_normalizer = 8},
                     .name = "a"};
    gen_problem_derive(&p);
    char key[65], other[65];
    tune_journal_key(&p, "cpu", "gen", "19", 2, key);
    tune_journal_key(&p, "cpu", "gen", "19", 2, other);
    assert_string_equal(key, other);
    tune_journal_key(&p, "cpu2", "gen", "19", 2, other);
    assert_string_not_equal(key, other);
    tune_journal_key(&p, "cpu", "gen2", "19", 2, other);
    assert_string_not_equal(key, other);
    tune_journal_key(&p, "cpu", "gen", "20", 2, other);
    assert_string_not_equal(key, other);
    tune_journal_key(&p, "cpu", "gen", "19", 1, other);
    assert_string_not_equal(key, other);
    p.nha.slots = 24;
    tune_journal_key(&p, "cpu", "gen", "19", 2, other);
    assert_string_not_equal(key, other);
    p.nha.slots = 16;
    p.nha.scale = 0.25;
    tune_journal_key(&p, "cpu", "gen", "19", 2, other);
    assert_string_not_equal(key, other);
}

/* Where records come from is the first line, written once; what a tile is stands in its record. */
static void test_origin(void **state) {
    (void)state;
    err e = {0};
    tune_journal j;
    open_journal(&j);
    tune_origin origin = {.name = "x",
                          .device = "cpu: \"a\" <b>",
                          .arch = "avx2",
                          .generator = "g",
                          .compiler = "19",
                          .nhac = "0",
                          .threads = 3,
                          .problem = "name: x\nslots: 4\n"};
    assert_true(tune_journal_describe(&j, &origin, &e));
    tune_record verified = {.kind = TUNE_RECORD_VERIFIED,
                            .op = NHA_DECODE,
                            .tile = "avx2.m4",
                            .seconds = 0.25,
                            .order = 7,
                            .knob = {{"STATE_ROWS", 4}, {"PREFETCH", 0}},
                            .knob_count = 2};
    tune_record pruned = {.kind = TUNE_RECORD_PRUNED, .op = NHA_DECODE, .tile = "too many registers", .count = 12};
    tune_record limit = {
        .kind = TUNE_RECORD_LIMIT, .op = NHA_DECODE, .tile = "fma", .batch = 1, .tokens = 1, .value = 139.5};
    tune_record refused = {.kind = TUNE_RECORD_IMPLAUSIBLE,
                           .op = NHA_DECODE,
                           .tile = "avx2.m4",
                           .batch = 1,
                           .tokens = 1,
                           .why = "too fast"};
    assert_true(tune_journal_add(&j, &verified, &e) && tune_journal_add(&j, &pruned, &e) &&
                tune_journal_add(&j, &limit, &e) && tune_journal_add(&j, &refused, &e));
    tune_journal_close(&j);
    for (int pass = 0; pass < 2; pass++) {
        open_journal(&j);
        assert_int_equal(j.count, 4);
        assert_int_equal(j.origin_count, 1);
        assert_string_equal(j.origins[0].device, origin.device);
        assert_string_equal(j.origins[0].problem, origin.problem);
        assert_int_equal(j.origins[0].threads, 3);
        assert_true(j.origins[0].at > 0);
        const tune_record *r = tune_journal_find(&j, TUNE_RECORD_VERIFIED, NHA_DECODE, "avx2.m4");
        assert_int_equal(r->origin, 0);
        assert_true(r->at > 0 && r->seconds == 0.25 && r->order == 7);
        assert_int_equal(r->knob_count, 2);
        assert_string_equal(r->knob[0].name, "STATE_ROWS");
        assert_int_equal(r->knob[0].value, 4);
        assert_int_equal(tune_journal_find(&j, TUNE_RECORD_PRUNED, NHA_DECODE, "too many registers")->count, 12);
        assert_true(tune_journal_timed(&j, TUNE_RECORD_LIMIT, NHA_DECODE, "fma", 1, 1)->value == 139.5);
        assert_string_equal(tune_journal_timed(&j, TUNE_RECORD_IMPLAUSIBLE, NHA_DECODE, "avx2.m4", 1, 1)->why,
                            "too fast");
        assert_true(tune_journal_describe(&j, &origin, &e)); /* it is there */
        tune_journal_close(&j);
    }
    /* Two journals in one text: every record knows its own. */
    char *text = NULL;
    size_t size;
    base_buf both = {0};
    text = contents(&size);
    base_buf_add(&both, text, size);
    base_buf_add(&both, text, size);
    free(text);
    assert_true(tune_journal_parse(both.data, both.size, &j, &e));
    assert_int_equal(j.origin_count, 2);
    assert_int_equal(j.records[0].origin, 0);
    assert_int_equal(j.records[7].origin, 1);
    tune_journal_close(&j);
    base_buf_free(&both);
}

/* A line of another version is not damaged, and not used. */
static void test_foreign(void **state) {
    (void)state;
    err e = {0};
    char sum[65], line[256];
    static const char old[] = "{\"v\":1,\"record\":\"verified\",\"op\":\"decode\",\"tile\":\"avx2.m4\"";
    base_sha256_hex(old, sizeof old - 1, sum);
    int length = snprintf(line, sizeof line, "%s,\"sum\":\"%.16s\"}\n", old, sum);
    tune_journal j;
    assert_true(tune_journal_parse(line, (size_t)length, &j, &e));
    assert_int_equal(j.count, 0);
    assert_int_equal(j.damaged, 0);
    assert_int_equal(j.foreign, 1);
    tune_journal_close(&j);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip), TEST(test_torn),       TEST(test_flipped), TEST(test_garbage), TEST(test_writers),
        TEST(test_full),       TEST(test_unwritable), TEST(test_key),     TEST(test_origin),  TEST(test_foreign)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
