/* test_base_util.c: errors, buffers, arenas, SHA-256 and the nearest choice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/nearest.h"
#include "base/sha256.h"

static void printed(const err *e, char *out, size_t size) {
    FILE *f = fmemopen(out, size, "w");
    err_print(f, e);
    fclose(f);
}

static void test_first_error_is_kept(void **state) {
    (void)state;
    char text[256] = "";
    err e = {0};
    assert_int_equal(err_exit_status(&e), 0);
    assert_false(err_at(&e, ERR_INPUT, "spec", "a.yaml", 3, 7, "slots is %d", 300));
    assert_false(err_set(&e, ERR_SYSTEM, "file", "later"));
    assert_false(err_memory(&e, "file"));
    printed(&e, text, sizeof text);
    assert_string_equal(text, "a.yaml:3:7: error: slots is 300\n");
    assert_int_equal(err_exit_status(&e), 2);
    err_clear(&e);
    assert_int_equal(e.code, ERR_NONE);
    assert_false(err_set(NULL, ERR_INPUT, "spec", "nobody listens"));
}

static void test_error_print_forms(void **state) {
    (void)state;
    char text[256] = "";
    err e = {0};
    err_set(&e, ERR_COMPILE, "compile", "it failed");
    e.log = strdup("line 1\nline 2");
    printed(&e, text, sizeof text);
    assert_string_equal(text, "error: it failed\nline 1\nline 2\n");
    assert_int_equal(err_exit_status(&e), 1);
    err_clear(&e);
    err_at(&e, ERR_INPUT, "safetensors", "x.safetensors", 0, 0, "q: wrong");
    printed(&e, text, sizeof text);
    assert_string_equal(text, "x.safetensors: error: q: wrong\n");
    err_clear(&e);
    err_set(&e, ERR_INPUT, "spec", "two\nlines \x1b[31mred");
    assert_string_equal(e.text, "two lines ?[31mred");
    err_clear(&e);
}

static void test_statuses(void **state) {
    (void)state;
    const struct {
        err_code code;
        int status;
    } rows[] = {{ERR_USAGE, 2}, {ERR_INPUT, 2}, {ERR_SYSTEM, 1}, {ERR_MISSING, 1}, {ERR_MISMATCH, 1}, {ERR_MEMORY, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(err_exit_status(&(err){.code = rows[i].code}), rows[i].status);
}

static void test_long_error_is_cut(void **state) {
    (void)state;
    err e = {0};
    char *path = malloc(5000);
    memset(path, 'p', 4999);
    path[4999] = 0;
    err_at(&e, ERR_INPUT, "spec", path, 1, 1, "%s", path);
    assert_int_equal(strlen(e.file), sizeof e.file - 1);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    free(path);
    err_clear(&e);
}

static void test_buf(void **state) {
    (void)state;
    base_buf b = {0};
    assert_string_equal(base_buf_string(&b), "");
    for (int i = 0; i < 1000; i++) base_buf_printf(&b, "%d,", i);
    base_buf_char(&b, '!');
    base_buf_add(&b, "\0x", 2);
    assert_int_equal(b.size, 10 * 2 + 90 * 3 + 900 * 4 + 3);
    assert_int_equal(b.data[b.size], 0);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
    base_buf_reset(&b);
    assert_int_equal(b.size, 0);
    base_buf_text(&b, "abc");
    size_t size;
    err e = {0};
    char *taken = base_buf_take(&b, &size, "test", &e);
    assert_string_equal(taken, "abc");
    assert_int_equal(size, 3);
    free(taken);
    taken = base_buf_take(&b, NULL, "test", &e); /* empty: still a string */
    assert_string_equal(taken, "");
    free(taken);
}

static void test_buf_failure_is_sticky(void **state) {
    (void)state;
    base_buf b = {0};
    err e = {0};
    base_buf_text(&b, "abc");
    assert_null(base_buf_room(&b, SIZE_MAX - 10));
    base_buf_text(&b, "def");
    assert_true(b.failed);
    assert_string_equal(base_buf_string(&b), "abc");
    assert_false(base_buf_ok(&b, "test", &e));
    assert_int_equal(e.code, ERR_MEMORY);
    assert_null(base_buf_take(&b, NULL, "test", &e));
    base_buf_free(&b);
    err_clear(&e);
}

static void test_arena(void **state) {
    (void)state;
    base_arena a = {0};
    char *texts[500];
    for (size_t i = 0; i < 500; i++) {
        char text[300];
        memset(text, 'a' + (int)(i % 26), sizeof text);
        texts[i] = base_arena_copy(&a, text, i % 300);
        assert_int_equal((uintptr_t)texts[i] % 16, 0);
    }
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(strlen(texts[i]), i % 300);
        for (const char *c = texts[i]; *c; c++) assert_int_equal(*c, 'a' + (int)(i % 26));
    }
    char *large = base_arena_alloc(&a, 3000000);
    assert_non_null(large);
    assert_int_equal(large[2999999], 0);
    assert_null(base_arena_alloc(&a, SIZE_MAX - 5));
    assert_non_null(base_arena_alloc(&a, 1));
    base_arena_free(&a);
}

/* FIPS 180-4 examples, and lengths around the block size against values of sha256sum. */
static void test_sha256(void **state) {
    (void)state;
    char hex[BASE_SHA256_HEX];
    base_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    base_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    base_sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    base_sha256 h;
    base_sha256_init(&h);
    for (int i = 0; i < 1000000; i++) base_sha256_add(&h, "a", 1);
    base_sha256_end_hex(&h, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* However the text is cut, the digest is the same. */
static void test_sha256_pieces(void **state) {
    (void)state;
    unsigned char text[300], whole[BASE_SHA256_BYTES], pieces[BASE_SHA256_BYTES];
    for (int i = 0; i < 300; i++) text[i] = (unsigned char)(i * 7);
    for (size_t size = 0; size <= 300; size += 1 + size / 40) {
        base_sha256_raw(text, size, whole);
        for (size_t cut = 1; cut < 130; cut += 9) {
            base_sha256 h;
            base_sha256_init(&h);
            for (size_t at = 0; at < size; at += cut) base_sha256_add(&h, text + at, size - at < cut ? size - at : cut);
            base_sha256_end(&h, pieces);
            assert_memory_equal(whole, pieces, sizeof whole);
        }
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const keys[] = {"name", "head_dim", "heads", "slots", "window", "slot_lag", "slot_map"};
    const struct {
        const char *word, *nearest;
    } rows[] = {{"slot", "slots"}, {"windwo", "window"},    {"Heads", "heads"},  {"slotlag", "slot_lag"},
                {"nmae", "name"},  {"headdim", "head_dim"}, {"window", "window"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(base_nearest(rows[i].word, keys, 7), rows[i].nearest);
    assert_null(base_nearest("x", keys, 0));
    assert_int_equal(base_distance("", ""), 0);
    assert_int_equal(base_distance("abc", ""), 3);
    assert_int_equal(base_distance("kitten", "sitting"), 3);
    assert_int_equal(base_distance("ab", "ba"), 1);
    char *huge = malloc(100000);
    memset(huge, 'x', 99999);
    huge[99999] = 0;
    assert_non_null(base_nearest(huge, keys, 7));
    free(huge);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_error_is_kept),
        cmocka_unit_test(test_error_print_forms),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_long_error_is_cut),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_buf_failure_is_sticky),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_sha256_pieces),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
