/* test_base_json.c: the JSON reader on good, bad and mutated texts, and the writer's round trip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/json.h"
#include "help_temp.h"

/* Parses a copy without a NUL after it, so that reading past the end is seen. */
static bool parse(const char *text, size_t size, int flags, json *doc, err *e) {
    char *copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    bool ok = json_parse(copy, size, flags, "f.json", "test", doc, e);
    free(copy);
    return ok;
}

static void test_values(void **state) {
    (void)state;
    static const char text[] = " {\"a\": [1, -2.5e3, true, false, null, \"x\\n\\u00e9\\ud83d\\ude00/\\/\"], \"b\": {}, "
                               "\"c\": [], \"big\": 12345678901234567890,\n"
                               "\"i\": -9223372036854775808, \"s\": \"\xc3\xa9\"}\n";
    json doc;
    err e = {0};
    assert_true(parse(text, strlen(text), 0, &doc, &e));
    const json_value *a = json_get(doc.root, "a"), *v = a->first;
    assert_int_equal(a->type, JSON_ARRAY);
    assert_int_equal(a->size, 6);
    assert_true(v->integral && v->integer == 1 && v->number == 1);
    v = v->next;
    assert_true(v->type == JSON_NUMBER && !v->integral && v->number == -2500);
    v = v->next;
    assert_true(v->type == JSON_BOOL && v->boolean);
    v = v->next;
    assert_true(v->type == JSON_BOOL && !v->boolean);
    v = v->next;
    assert_int_equal(v->type, JSON_NULL);
    v = v->next;
    assert_string_equal(v->text, "x\n\xc3\xa9\xf0\x9f\x98\x80//");
    assert_int_equal(v->size, strlen(v->text));
    assert_null(v->next);
    assert_int_equal(json_get(doc.root, "b")->size, 0);
    assert_int_equal(json_get(doc.root, "c")->size, 0);
    assert_false(json_get(doc.root, "big")->integral);
    assert_true(json_get_number(doc.root, "big", 0) == 12345678901234567890.0);
    assert_true(json_get_integer(doc.root, "i", 0) == INT64_MIN);
    assert_int_equal(json_get_integer(doc.root, "big", 7), 7);
    assert_string_equal(json_get_text(doc.root, "s", ""), "\xc3\xa9");
    assert_string_equal(json_get_text(doc.root, "none", "otherwise"), "otherwise");
    assert_true(json_get_bool(doc.root, "none", true));
    assert_null(json_get(NULL, "x"));
    json_free(&doc);
}

static void test_errors(void **state) {
    (void)state;
    const struct {
        const char *text;
        int line, column;
        const char *part;
    } rows[] = {
        {"", 1, 1, "ends"},
        {"  \n ", 2, 2, "ends"},
        {"{", 1, 2, "key in quotes"},
        {"{\"a\"}", 1, 5, "':'"},
        {"{\"a\":}", 1, 6, "not a number"},
        {"{\"a\":1,}", 1, 8, "key in quotes"},
        {"[1,]", 1, 4, "not a number"},
        {"[1 2]", 1, 4, "','"},
        {"[1", 1, 3, "','"},
        {"{\"a\":1 \"b\":2}", 1, 8, "','"},
        {"{\"a\":1,\n \"b\":2,\n \"a\":3}", 3, 2, "\"a\" appears twice"},
        {"\"abc", 1, 1, "no end"},
        {"\"abc\\\"", 1, 1, "no end"},
        {"\"a\tb\"", 1, 3, "control character"},
        {"\"a\\x\"", 1, 3, "unknown escape"},
        {"\"\\u12g4\"", 1, 2, "hexadecimal"},
        {"\"\\u12\"", 1, 2, "hexadecimal"},
        {"\"\\ud800x\"", 1, 2, "surrogate"},
        {"\"\\ud800\\u0041\"", 1, 2, "surrogate"},
        {"\"\\udc00\"", 1, 2, "surrogate"},
        {"\"\\u0000\"", 1, 2, "\\u0000"},
        {"01", 1, 1, "not a number"},
        {"-", 1, 1, "not a number"},
        {"1.", 1, 1, "not a number"},
        {".5", 1, 1, "not a number"},
        {"1e", 1, 1, "exponent"},
        {"1e400", 1, 1, "too large"},
        {"+1", 1, 1, "not a number"},
        {"NaN", 1, 1, "not a number"},
        {"nul", 1, 1, "not a JSON value"},
        {"truE", 1, 1, "not a JSON value"},
        {"1 2", 1, 3, "follows"},
        {"{} x", 1, 4, "follows"},
        {"'a'", 1, 1, "not a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json doc;
        err e = {0};
        assert_false(parse(rows[i].text, strlen(rows[i].text), 0, &doc, &e));
        if (e.line != rows[i].line || e.column != rows[i].column || !strstr(e.text, rows[i].part))
            fail_msg("%s: %d:%d: %s", rows[i].text, e.line, e.column, e.text);
        assert_int_equal(e.code, ERR_INPUT);
        err_clear(&e);
    }
}

static void test_limits(void **state) {
    (void)state;
    json doc;
    err e = {0};
    size_t size = 3000000;
    char *text = malloc(size);
    memset(text, '[', size);
    assert_false(parse(text, size, 0, &doc, &e));
    assert_non_null(strstr(e.text, "deep"));
    err_clear(&e);
    for (size_t i = 0; i < size; i += 2) memcpy(text + i, "0,", 2);
    text[0] = '[';
    text[1] = '0';
    text[2] = ',';
    for (size_t i = 3; i + 1 < size; i += 2) memcpy(text + i, "0,", 2);
    assert_false(parse(text, size, 0, &doc, &e));
    assert_non_null(strstr(e.text, "too many"));
    err_clear(&e);
    /* As deep as is allowed. */
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_true(parse(text, 2 * JSON_DEPTH_MAX, 0, &doc, &e));
    json_free(&doc);
    free(text);
}

static void test_duplicates_may_be_allowed(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1,\"a\":2}";
    json doc;
    err e = {0};
    assert_true(parse(text, strlen(text), JSON_DUPLICATES, &doc, &e));
    assert_int_equal(json_get_integer(doc.root, "a", 0), 1);
    assert_int_equal(doc.root->size, 2);
    json_free(&doc);
}

static void test_writer(void **state) {
    (void)state;
    base_buf b = {0};
    json_writer w = {.out = &b};
    json_begin_object(&w, NULL);
    json_put_text(&w, "t", "a\"\\\n\x01\xc3\xa9");
    json_put_integer(&w, "i", INT64_MIN);
    json_put_bool(&w, "b", true);
    json_put_null(&w, "n");
    json_put_number(&w, "nan", NAN);
    json_begin_array(&w, "list");
    json_put_number(&w, NULL, 0.1);
    json_begin_object(&w, NULL);
    json_end_object(&w);
    json_put_number(&w, NULL, 1e300);
    json_end_array(&w);
    json_put_number(&w, "last", 3);
    json_end_object(&w);
    assert_string_equal(base_buf_string(&b),
                        "{\"t\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\",\"i\":-9223372036854775808,\"b\":true,\"n\":null,"
                        "\"nan\":null,\"list\":[0.1,{},1e+300],\"last\":3}");
    base_buf_free(&b);
}

static void test_numbers_round_trip(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 2000; i++) {
        uint64_t bits = next_random(&seed);
        double number;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number)) continue;
        base_buf b = {0};
        json_writer w = {.out = &b};
        json doc;
        json_put_number(&w, NULL, number);
        assert_true(parse(b.data, b.size, 0, &doc, NULL));
        assert_true(doc.root->number == number);
        json_free(&doc);
        base_buf_free(&b);
    }
}

/* Mutated texts parse or fail; neither reads outside the text, leaks, or forgets to say why. */
static void test_fuzz(void **state) {
    (void)state;
    static const char base[] =
        "{\"op\":\"prefill\",\"us\":[1.5,2e-3,-7],\"n\":null,\"t\":\"a\\u00e9\\n\",\"deep\":{\"x\":[[true]]}}";
    uint64_t seed = 2;
    int good = 0;
    for (int i = 0; i < 5000; i++) {
        char text[sizeof base];
        size_t size = strlen(base);
        memcpy(text, base, size);
        for (uint64_t n = 1 + next_random(&seed) % 3; n > 0; n--) {
            uint64_t r = next_random(&seed);
            text[r % size] = r >> 60 ? (char)(r >> 32) : "{}[]\",:\\u019-eE.tfn "[r >> 40 & 15];
        }
        if (next_random(&seed) % 4 == 0) size = next_random(&seed) % size;
        json doc;
        err e = {0};
        if (parse(text, size, 0, &doc, &e)) {
            good++;
            json_free(&doc);
        } else {
            assert_int_equal(e.code, ERR_INPUT);
            assert_true(e.line > 0 && e.column > 0 && e.text[0]);
        }
        err_clear(&e);
    }
    assert_in_range(good, 1, 4999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_duplicates_may_be_allowed),
        cmocka_unit_test(test_writer), cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
