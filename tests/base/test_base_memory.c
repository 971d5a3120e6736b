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

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* Allocations until the failing one; negative: none fails. */
static long countdown = -1;

#ifndef SANITIZED
static long live; /* blocks not yet freed */

/* glibc's own allocator under other names (its manual, "Replacing malloc"): the functions below stand before the C
 * library's, for its own calls too, so they must be visible from outside this program. */
#pragma GCC visibility push(default)
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static int fails(void) {
    if (countdown < 0 || countdown-- > 0) return 0;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *p) {
    live += p != NULL;
    return p;
}

void *malloc(size_t size) {
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size) {
    if (fails()) return NULL;
    void *p = __libc_realloc(old, size);
    if (!old) live += p != NULL;
    return p;
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

void free(void *p) {
    live -= p != NULL;
    __libc_free(p);
}
#pragma GCC visibility pop
#endif

/* Runs `work` with every allocation failing in turn until one run needs fewer allocations than were granted. */
static void fail_each(bool (*work)(err *e)) {
#ifdef SANITIZED
    err e = {0};
    assert_true(work(&e)); /* the sanitizer owns malloc: only its own checks apply */
#else
    for (long n = 0;; n++) {
        assert_true(n < 100000);
        err e = {0};
        int files = temp_entries();
        long before = live;
        countdown = n;
        bool ok = work(&e);
        bool reached = countdown < 0;
        countdown = -1;
        long after = live;
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
#endif
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
    long saved = countdown;
    countdown = -1;
    base_remove(folder, "test", NULL);
    countdown = saved;
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

static int remove_all(void **state) {
    (void)state;
    temp_remove();
    return 0;
}

int main(void) {
    temp_dir();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_publish),
    };
    return cmocka_run_group_tests(tests, NULL, remove_all);
}
