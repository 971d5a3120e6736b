/* test_database.c: journals as a database: what a key was made of is in the file, what no longer holds is seen, the
 * newest record wins a merge, a system's database stands below the user's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/path.h"
#include "tuner/database.h"

static const char SPEC[] = "name: small\nhead_dim: 32\nheads: {query: 2, kv: 1}\nslots: 16\nwindow: 16\ndtype: f32\n";
static char folder[64], others[80];
static gen_spec spec;
static tune_arch arch;

static int enter(void **state) {
    (void)state;
    err e = {0};
    snprintf(folder, sizeof folder, "%s/nhac-database-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder) || !gen_spec_parse("small.yaml", SPEC, sizeof SPEC - 1, &spec, &e))
        return -1;
    snprintf(others, sizeof others, "%s/others", folder);
    setenv("NHAC_SYSTEM_DB", others, 1);
    arch = (tune_arch){.isa = gen_isa_find("avx2")};
    return 0;
}

static int leave(void **state) {
    (void)state;
    gen_spec_destroy(&spec);
    unsetenv("NHAC_SYSTEM_DB");
    return base_remove(folder, "test", NULL) ? 0 : -1;
}

static tune_record timed(const char *tile, double us, int64_t at) {
    tune_record r = {.kind = TUNE_RECORD_FINAL, .op = NHA_PREFILL, .batch = 1, .tokens = 512, .at = at};
    snprintf(r.tile, sizeof r.tile, "%s", tile);
    r.samples = (tune_samples){.us = {us, us, us}, .count = 3, .iterations = 1};
    r.base = (tune_samples){.us = {100, 100, 100}, .count = 3, .iterations = 1};
    return r;
}

/* A journal under `where`/journal with one record; its origin is today's but for what `change` does. */
static void write_journal(const char *where, const char *tile, double us, int64_t at, void (*change)(tune_origin *),
                          char key[65]) {
    err e = {0};
    tune_origin origin;
    tune_journal j;
    if (!tune_database_origin(&spec, &arch, "cpu: made up", 2, &origin, key, &e))
        fail_msg("%s", e.text);
    if (change) {
        change(&origin);
        tune_journal_key(&spec.problem, origin.device, origin.generator, origin.compiler, origin.threads, key);
    }
    assert_true(tune_journal_open(where, key, &j, &e));
    assert_true(tune_journal_describe(&j, &origin, &e));
    const tune_record r = timed(tile, us, at);
    assert_true(tune_journal_add(&j, &r, &e));
    tune_journal_close(&j);
    free(origin.problem);
}

static void older_compiler(tune_origin *o) {
    snprintf(o->compiler, sizeof o->compiler, "1.0");
}

static void other_generator(tune_origin *o) {
    o->generator[0] = o->generator[0] == '0' ? '1' : '0';
}

static void other_device(tune_origin *o) {
    snprintf(o->device, sizeof o->device, "cpu: another");
}

static void test_list(void **state) {
    (void)state;
    err e = {0};
    char key[4][65];
    tune_database db;
    assert_true(tune_database_open(folder, &db, &e)); /* nothing there yet */
    assert_int_equal(db.count, 0);
    tune_database_close(&db);
    write_journal(folder, "a", 80, 1000, NULL, key[0]);
    write_journal(folder, "b", 90, 2000, older_compiler, key[1]);
    write_journal(folder, "c", 90, 3000, other_generator, key[2]);
    write_journal(folder, "d", 90, 4000, other_device, key[3]); /* another machine's, and as good as ever */
    assert_true(tune_database_open(folder, &db, &e));
    assert_int_equal(db.count, 4);
    for (int i = 0; i < 4; i++) {
        const tune_database_entry *d = &db.entries[i];
        bool first = strcmp(d->key, key[0]) == 0, last = strcmp(d->key, key[3]) == 0;
        assert_string_equal(d->origin.name, "small");
        assert_int_equal(d->origin.threads, 2);
        assert_int_equal(d->timed, 1);
        assert_int_equal(d->stale, !first && !last);
        if (first) {
            assert_string_equal(d->best[NHA_PREFILL], "a");
            assert_true(d->ratio[NHA_PREFILL] == 0.8);
            assert_int_equal(d->newest, 1000);
        }
        if (strcmp(d->key, key[1]) == 0)
            assert_non_null(strstr(d->why, "compiler was 1.0"));
    }
    tune_database_close(&db);
    int removed;
    assert_true(tune_database_prune(folder, -1, &removed, &e));
    assert_int_equal(removed, 2);
    assert_true(tune_database_prune(folder, 1, &removed, &e)); /* made in 1970 */
    assert_int_equal(removed, 2);
    assert_true(tune_database_open(folder, &db, &e));
    assert_int_equal(db.count, 0);
    tune_database_close(&db);
}

/* What new measurements of the same problem do not use is said. */
static void test_note(void **state) {
    (void)state;
    err e = {0};
    char key[65], *text = NULL;
    size_t size;
    tune_origin origin;
    write_journal(folder, "b", 90, 2000, older_compiler, key);
    write_journal(folder, "d", 90, 2000, other_device, key);
    FILE *out = open_memstream(&text, &size);
    tune_progress progress;
    tune_progress_open(&progress, out, tune_clock_monotonic());
    assert_true(tune_database_origin(&spec, &arch, "cpu: made up", 2, &origin, key, &e));
    tune_database_note_stale(folder, &origin, key, &progress);
    tune_progress_close(&progress);
    fclose(out);
    assert_non_null(strstr(text, "stale (the compiler was 1.0"));
    free(text);
    free(origin.problem);
}

static char *journal_path(const char *where, const char *key) {
    static char path[256];
    snprintf(path, sizeof path, "%s/journal/%s.jsonl", where, key);
    return path;
}

static void read_journal(const char *key, tune_journal *j) {
    char *text;
    size_t size;
    err e = {0};
    assert_true(base_file_read(journal_path(folder, key), 1 << 20, &text, &size, "test", &e));
    assert_true(tune_journal_parse(text, size, j, &e));
    free(text);
}

static void test_merge(void **state) {
    (void)state;
    err e = {0};
    char key[65], copy[256];
    tune_merge_outcome o;
    tune_journal j;
    write_journal(others, "a", 80, 1000, NULL, key);
    snprintf(copy, sizeof copy, "%s", journal_path(others, key));
    const char *const files[] = {copy};
    assert_true(tune_database_merge(folder, files, 1, &o, &e)); /* into nothing */
    assert_int_equal(o.added, 1);
    assert_int_equal(o.journals, 1);
    assert_true(tune_database_merge(folder, files, 1, &o, &e)); /* twice is once */
    assert_int_equal(o.added, 0);
    assert_int_equal(o.same, 1);
    assert_int_equal(o.journals, 0);
    write_journal(others, "a", 70, 2000, NULL, key); /* a newer one of the same, and another */
    write_journal(others, "b", 60, 500, NULL, key);
    assert_true(tune_database_merge(folder, files, 1, &o, &e));
    read_journal(key, &j);
    assert_int_equal(j.count, 2);
    assert_int_equal(j.damaged, 0);
    assert_int_equal(j.origin_count, 1);
    const tune_record *a = tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "a", 1, 512);
    assert_true(a->samples.us[0] == 70 && a->at == 2000);
    tune_journal_close(&j);
    write_journal(folder, "a", 50, 3000, NULL, key); /* mine is newer now */
    assert_true(tune_database_merge(folder, files, 1, &o, &e));
    assert_int_equal(o.journals, 0);
    read_journal(key, &j);
    assert_true(tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "a", 1, 512)->samples.us[0] == 50);
    tune_journal_close(&j);
}

/* Damaged lines cost themselves; lines of another version and records of nowhere are counted. */
static void test_merge_damaged(void **state) {
    (void)state;
    err e = {0};
    char key[65], path[256], *text;
    size_t size;
    tune_merge_outcome o;
    write_journal(others, "a", 80, 1000, NULL, key);
    assert_true(base_file_read(journal_path(others, key), 1 << 20, &text, &size, "test", &e));
    char *second = strchr(text, '\n') + 1;
    base_buf bad = {0};
    base_buf_text(&bad, second);                                      /* before any origin */
    base_buf_add(&bad, text, (size_t)(second - text));                /* the origin */
    base_buf_text(&bad, second);                                      /* intact */
    base_buf_add(&bad, second, strlen(second) / 2);                   /* torn */
    base_buf_text(&bad, "\n{\"v\":2,\"record\":\"final\"}\nnoise\n"); /* no sum; no JSON */
    snprintf(path, sizeof path, "%s/bad.jsonl", folder);
    assert_true(base_buf_ok(&bad, "test", &e) && base_file_write(path, bad.data, bad.size, "test", &e));
    const char *const files[] = {path};
    assert_true(tune_database_merge(folder, files, 1, &o, &e));
    assert_int_equal(o.added, 1);
    assert_int_equal(o.damaged, 3);
    assert_int_equal(o.homeless, 1);
    base_buf_free(&bad);
    free(text);
    const char *const none[] = {"/nowhere/at/all"};
    assert_false(tune_database_merge(folder, none, 1, &o, &e));
    assert_int_equal(e.code, ERR_INPUT);
    err_clear(&e);
}

/* The system's records are read first, are never written, and give way to the user's. */
static void test_system(void **state) {
    (void)state;
    err e = {0};
    char key[65], from[256], to[256], *text;
    size_t size;
    tune_journal j;
    write_journal(folder, "a", 80, 1000, NULL, key);
    snprintf(from, sizeof from, "%s", journal_path(folder, key));
    snprintf(to, sizeof to, "%s/%s.jsonl", others, key);
    assert_true(base_mkdirs(others, "test", &e) && rename(from, to) == 0);
    assert_true(base_file_read(to, 1 << 20, &text, &size, "test", &e));
    assert_true(tune_journal_open(folder, key, &j, &e));
    assert_int_equal(j.system, 1);
    assert_true(tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "a", 1, 512)->samples.us[0] == 80);
    const tune_record r = timed("a", 60, 0);
    assert_true(tune_journal_describe(&j, &j.origins[0], &e)); /* the user's file says it too */
    assert_true(tune_journal_add(&j, &r, &e));
    tune_journal_close(&j);
    assert_true(tune_journal_open(folder, key, &j, &e));
    assert_int_equal(j.count, 2);
    assert_int_equal(j.origin_count, 2);
    assert_string_equal(j.origins[1].problem, j.origins[0].problem);
    const tune_record *mine = tune_journal_timed(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "a", 1, 512);
    assert_true(mine->samples.us[0] == 60);
    assert_true(llabs((long long)mine->at - (long long)time(NULL)) < 60);
    tune_journal_close(&j);
    char *after;
    size_t after_size;
    assert_true(base_file_read(to, 1 << 20, &after, &after_size, "test", &e));
    assert_int_equal(after_size, size);
    assert_memory_equal(after, text, size);
    free(after);
    free(text);
    int removed;
    assert_true(tune_database_prune(folder, 0.001, &removed, &e));
    assert_true(base_exists(to));
}

/* Neither merging nor pruning takes a journal from under a run that appends to it; nothing is left behind either. */
static void test_in_use(void **state) {
    (void)state;
    char key[65], path[256];
    err e = {0};
    tune_journal j;
    tune_merge_outcome o;
    int removed;
    write_journal(others, "avx2.new", 80, 200, NULL, key);
    snprintf(path, sizeof path, "%s/journal/%s.jsonl", others, key);
    const char *const from[] = {path};
    assert_true(tune_journal_open(folder, key, &j, &e));
    assert_false(tune_database_merge(folder, from, 1, &o, &e));
    assert_int_equal(e.code, ERR_SYSTEM);
    assert_non_null(strstr(e.text, "a run of tune is writing it"));
    err_clear(&e);
    tune_record r = timed("avx2.mine", 90, 100);
    assert_true(tune_journal_add(&j, &r, &e));
    assert_true(tune_database_prune(folder, 0, &removed, &e));
    assert_int_equal(removed, 0);
    assert_true(tune_journal_add(&j, &r, &e));
    assert_true(base_exists(j.path));
    tune_journal_close(&j);
    assert_true(tune_database_merge(folder, from, 1, &o, &e));
    assert_int_equal(o.added, 1);
    assert_true(tune_journal_open(folder, key, &j, &e)); /* both are there */
    assert_non_null(tune_journal_find(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "avx2.mine"));
    assert_non_null(tune_journal_find(&j, TUNE_RECORD_FINAL, NHA_PREFILL, "avx2.new"));
    tune_journal_close(&j);
    int lock;
    snprintf(path, sizeof path, "%s/journal/nothing", folder);
    assert_true(tune_journal_lock(path, &lock, &e));
    assert_true(base_exists(path));
    tune_journal_unlock(path, lock);
    assert_false(base_exists(path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_list),          TEST(test_note),   TEST(test_merge),
                                       TEST(test_merge_damaged), TEST(test_system), TEST(test_in_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
