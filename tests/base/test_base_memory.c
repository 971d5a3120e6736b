/* test_base_memory.c: the n-th allocation fails, for every n: each call then reports ERR_MEMORY, leaves nothing behind
 * in memory or on disk, and works once memory is back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "base/safetensors.h"
#include "gen/spec.h"
#include "help_temp.h"
#include "tests/shared/help_malloc.h"

/* Runs `work` with every allocation failing in turn until one run needs fewer allocations than were granted. */
static void fail_each(bool (*work)(err *e)) {
    if (!help_malloc_works) { /* only the sanitizer's own checks apply */
        err e = {0};
        assert_true(work(&e));
        return;
    }
    for (long n = 0;; n++) {
        assert_true(n < 100000);
        err e = {0};
        int files = temp_entries();
        long before = help_malloc_live;
        help_malloc_left = n;
        bool ok = work(&e);
        bool reached = help_malloc_left < 0;
        help_malloc_left = -1;
        long after = help_malloc_live;
        if (!reached) {
            assert_true(ok);
            assert_true(n > 0);
            break;
        }
        if (!ok && e.code != ERR_MEMORY) fail_msg("allocation %ld: %s", n, e.text);
        if (after != before) fail_msg("allocation %ld: %ld blocks leaked", n, after - before);
        if (!ok) assert_int_equal(temp_entries(), files);
        err_clear(&e);
    }
}

static const char spec_text[] =
    "name: x\nhead_dim: {qk: 8, v: 16}\nheads: {query: 4, kv: 2}\nslots: 16\nwindow: 32\ndtype: f32\n"
    "rope: {style: neox, inv_freq: [1, 2, 3, 4]}\ntune: {shapes: [{tokens: 5}]}\n";

static bool parse_spec(err *e) {
    gen_spec spec;
    if (!gen_spec_parse("a.yaml", spec_text, strlen(spec_text), &spec, e)) return false;
    gen_spec_destroy(&spec);
    return true;
}

static bool read_spec(err *e) {
    gen_spec spec;
    if (!gen_spec_read("specs/tiny.yaml", &spec, e)) return false;
    gen_spec_destroy(&spec);
    return true;
}

static bool parse_json(err *e) {
    static const char text[] = "{\"a\":[1,\"two\",{\"three\":3}],\"b\":null,\"long\":0."
                               "12345678901234567890123456789012345678901234567890123456789012}";
    json doc;
    if (!json_parse(text, strlen(text), 0, "f", "test", &doc, e)) return false;
    json_free(&doc);
    return true;
}

static bool write_json(err *e) {
    base_buf b = {0};
    json_writer w = {.out = &b};
    json_begin_array(&w, NULL);
    for (int i = 0; i < 100; i++) json_put_number(&w, NULL, i / 7.0);
    json_end_array(&w);
    char *text = base_buf_take(&b, NULL, "test", e);
    bool ok = text != NULL;
    free(text);
    base_buf_free(&b);
    return ok;
}

static bool write_tensors(err *e) {
    float q[4] = {1, 2, 3, 4};
    st_tensor t[] = {{.name = "q", .dtype = ST_F32, .rank = 1, .shape = {4}, .data = q},
                     {.name = "p", .dtype = ST_F16, .rank = 1, .shape = {8}, .data = q}};
    return st_write(temp_path("written"), t, 2, &(st_text){"key", "value"}, 1, e);
}

static bool read_tensors(err *e) {
    st_file file;
    if (!st_read("tests/golden/one-token.in.safetensors", &file, e)) return false;
    st_close(&file);
    return true;
}

static bool publish(err *e) {
    char *folder;
    if (!base_mkdir_beside(temp_path("lib"), &folder, "test", e)) return false;
    bool ok = base_sync_tree(folder, "test", e) && base_publish(folder, temp_path("lib"), "test", e);
    long saved = help_malloc_left;
    help_malloc_left = -1;
    base_remove(folder, "test", NULL);
    help_malloc_left = saved;
    free(folder);
    return ok;
}

static void test_spec(void **state) {
    (void)state;
    fail_each(parse_spec);
    fail_each(read_spec);
}

static void test_json(void **state) {
    (void)state;
    fail_each(parse_json);
    fail_each(write_json);
}

static void test_tensors(void **state) {
    (void)state;
    fail_each(write_tensors);
    fail_each(read_tensors);
}

static void test_publish(void **state) {
    (void)state;
    fail_each(publish);
}

int main(void) {
    temp_dir();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_publish),
    };
    return cmocka_run_group_tests(tests, NULL, temp_remove_all);
}
