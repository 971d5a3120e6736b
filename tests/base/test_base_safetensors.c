/* test_base_safetensors.c: tensors there and back, the golden files, and every way in which a file can lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glob.h>
#include <unistd.h>

#include "base/file.h"
#include "base/safetensors.h"
#include "help_temp.h"

/* A file of a header text and `data` zero bytes. `claimed` is the header size it states; -1: the true one. */
static const char *make(const char *header, long long claimed, size_t data) {
    static unsigned char bytes[1 << 16];
    size_t length = strlen(header);
    uint64_t size = claimed < 0 ? length : (uint64_t)claimed;
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(size >> 8 * i);
    memcpy(bytes + 8, header, length);
    memset(bytes + 8 + length, 0, data);
    return temp_file("case.safetensors", bytes, 8 + length + data);
}

static void expect(const char *path, const char *text) {
    st_file file;
    err e = {0};
    char printed[2048] = "", full[2048];
    assert_false(st_read(path, &file, &e));
    assert_int_equal(err_exit_status(&e), 2);
    FILE *out = fmemopen(printed, sizeof printed, "w");
    err_print(out, &e);
    fclose(out);
    snprintf(full, sizeof full, "%s: error: %s\n", path, text);
    if (!strstr(printed, full)) fail_msg("expected %s got %s", full, printed);
    err_clear(&e);
}

static void test_bad_tensors(void **state) {
    (void)state;
    /* Headers and their errors; the data section has 16 bytes. */
    const struct {
        const char *header, *error;
    } rows[] = {
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,32]}}",
         "q: its data ends at byte 32; the file has 16 bytes of data"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
         "q: its data_offsets begin at 16, after their end, 0"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,16]}}",
         "q: its data_offsets hold 16 bytes; F32 [3] needs 12"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[2,0,5],\"data_offsets\":[0,16]}}",
         "q: its data_offsets hold 16 bytes; F32 [2,0,5] needs 0"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},\"k\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_"
         "offsets\":[8,16]}}",
         "k: its data overlaps that of q"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"k\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_"
         "offsets\":[8,16]}}",
         "k: its data leaves a hole of 4 bytes before it"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}",
         "q: 4 bytes follow the last tensor's data"},
        {"{}", "header: 16 bytes follow the last tensor's data"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"q\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_"
         "offsets\":[8,16]}}",
         "q: the name appears twice"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,16]}}",
         "q: its shape is too large: the number of bytes overflows"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904,4],\"data_offsets\":[0,0]}}",
         "q: its shape is too large: the number of bytes overflows"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}",
         "q: its shape must be whole numbers, 0 or more"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4.5],\"data_offsets\":[0,16]}}",
         "q: its shape must be whole numbers, 0 or more"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,16]}}",
         "q: its shape must be whole numbers, 0 or more"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,16]}}",
         "q: its shape has 9 dimensions; at most 8 are read"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,99999999999999999999]}}",
         "q: its data_offsets must be two whole numbers, [BEGIN, END]"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}",
         "q: its data_offsets must be two whole numbers, [BEGIN, END]"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,8,16]}}",
         "q: its data_offsets must be two whole numbers, [BEGIN, END]"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4]}}", "q: its data_offsets must be two whole numbers, [BEGIN, END]"},
        {"{\"q\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}",
         "q: its dtype is U8; F64, F32, F16, BF16, I64 and I32 are read"},
        {"{\"q\":{\"dtype\":7,\"shape\":[16],\"data_offsets\":[0,16]}}",
         "q: it has no dtype, a string such as \"F32\""},
        {"{\"q\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "q: it has no shape, a list of numbers"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}}",
         "q: it has keys besides dtype, shape and data_offsets, or one of them twice"},
        {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"shape\":[1]}}",
         "q: it has keys besides dtype, shape and data_offsets, or one of them twice"},
        {"{\"q\":16}", "q: it is not described by an object"},
        {"{\"__metadata__\":{\"a\":1}}", "__metadata__: a is not a string"},
        {"{\"__metadata__\":[]}", "__metadata__: it must be an object of strings"},
        {"[]", "header: it must be a JSON object"},
        {"{\"q\":", "header: not valid JSON at its byte 5: the text ends where a value was expected"},
        {"", "header: not valid JSON at its byte 0: the text ends where a value was expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) expect(make(rows[i].header, -1, 16), rows[i].error);
}

static void test_bad_files(void **state) {
    (void)state;
    st_file file;
    err e = {0};
    expect(temp_file("short", "abc", 3), "header: the file has 3 bytes; a safetensors file has at least 8");
    expect(temp_file("empty", "", 0), "header: the file has 0 bytes; a safetensors file has at least 8");
    expect(make("{}", 100, 0), "header: truncated: it claims 100 bytes, and 2 follow");
    expect(make("{}", 100000001, 0),
           "header: it claims 100000001 bytes; the limit is 100000000 (is this a safetensors file?)");
    expect(make("{}", INT64_MAX, 0),
           "header: it claims 9223372036854775807 bytes; the limit is 100000000 (is this a safetensors file?)");
    expect(temp_dir(), "is not a regular file");
    expect(temp_path("none"), "cannot be read: No such file or directory");
    expect("/dev/null", "is not a regular file");
    assert_true(st_read(make("{}  ", -1, 0), &file, &e)); /* no tensor at all is a legal file */
    assert_int_equal(file.count, 0);
    assert_null(st_find(&file, "q"));
    st_close(&file);
}

/* A name from a hostile file cannot move the terminal's cursor. */
static void test_hostile_name(void **state) {
    (void)state;
    st_file file;
    err e = {0};
    assert_false(st_read(make("{\"\\u001b[31m\\n\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,32]}}", -1, 16),
                         &file, &e));
    for (const char *c = e.text; *c; c++) assert_true((unsigned char)*c >= 0x20);
    err_clear(&e);
}

static void test_round_trip(void **state) {
    (void)state;
    float q[6] = {1, 2, 3, 4, 5, 6};
    uint16_t h[3] = {7, 8, 9};
    int64_t pos[2] = {-1, 1ll << 40};
    int32_t cu[1] = {5};
    double d = 0.1;
    st_tensor tensors[] = {
        {.name = "h", .dtype = ST_F16, .rank = 1, .shape = {3}, .data = h},
        {.name = "q", .dtype = ST_F32, .rank = 2, .shape = {2, 3}, .data = q},
        {.name = "empty", .dtype = ST_BF16, .rank = 2, .shape = {0, 3}, .data = NULL},
        {.name = "cache.pos", .dtype = ST_I64, .rank = 1, .shape = {2}, .data = pos},
        {.name = "odd \"name\"\n", .dtype = ST_F64, .rank = 0, .data = &d},
        {.name = "cu", .dtype = ST_I32, .rank = 1, .shape = {1}, .data = cu},
    };
    st_text metadata[] = {{"made by", "a test"}};
    st_file file;
    err e = {0};
    char *first, *second;
    size_t first_size, second_size;
    assert_true(st_write(temp_path("a.safetensors"), tensors, 6, metadata, 1, &e));
    assert_true(st_read(temp_path("a.safetensors"), &file, &e));
    assert_int_equal(file.count, 6);
    assert_int_equal(file.metadata_count, 1);
    assert_string_equal(file.metadata[0].key, "made by");
    assert_string_equal(file.metadata[0].value, "a test");
    for (int i = 0; i < 6; i++) {
        const st_tensor *t = st_find(&file, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->rank, tensors[i].rank);
        for (int k = 0; k < t->rank; k++) assert_int_equal(t->shape[k], tensors[i].shape[k]);
        assert_int_equal((uintptr_t)t->data % ST_ALIGN, 0);
        if (t->bytes) assert_memory_equal(t->data, tensors[i].data, t->bytes);
    }
    assert_int_equal(st_find(&file, "empty")->bytes, 0);
    assert_non_null(st_find(&file, "empty")->data);
    /* The order of the tensors given does not decide the bytes. */
    st_tensor swapped = tensors[0];
    tensors[0] = tensors[5];
    tensors[5] = swapped;
    assert_true(st_write(temp_path("b.safetensors"), tensors, 6, metadata, 1, &e));
    assert_true(base_file_read(temp_path("a.safetensors"), 1 << 20, &first, &first_size, "test", &e));
    assert_true(base_file_read(temp_path("b.safetensors"), 1 << 20, &second, &second_size, "test", &e));
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    assert_int_equal((unsigned char)first[0] % 8, 0);
    free(first);
    free(second);
    st_close(&file);
}

static void test_write_errors(void **state) {
    (void)state;
    float x[2] = {0};
    err e = {0};
    int before = temp_entries();
    st_tensor twice[] = {{.name = "q", .dtype = ST_F32, .rank = 1, .shape = {2}, .data = x},
                         {.name = "q", .dtype = ST_F16, .rank = 1, .shape = {2}, .data = x}};
    assert_false(st_write(temp_path("c"), twice, 2, NULL, 0, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    err_clear(&e);
    twice[0].shape[0] = -1;
    assert_false(st_write(temp_path("c"), twice, 1, NULL, 0, &e));
    err_clear(&e);
    twice[0].shape[0] = 2;
    assert_false(st_write("/dev/full", twice, 1, NULL, 0, &e));
    assert_int_equal(e.code, ERR_SYSTEM);
    assert_non_null(strstr(e.text, "No space"));
    err_clear(&e);
    assert_int_equal(temp_entries(), before);
}

static void test_callers_error(void **state) {
    (void)state;
    st_file file;
    err e = {0};
    char shape[64];
    assert_true(st_read(make("{}", -1, 0), &file, &e));
    assert_false(st_error(&file, "q", &e, "its shape is %s", st_shape_text(2, (int64_t[]){3, 4}, shape, sizeof shape)));
    assert_string_equal(e.text, "q: its shape is [3,4]");
    assert_string_equal(e.file, file.path);
    assert_string_equal(st_shape_text(0, NULL, shape, sizeof shape), "[]");
    assert_int_equal(strlen(st_shape_text(3, (int64_t[]){100, 200, 300}, shape, 6)), 5);
    st_close(&file);
    err_clear(&e);
}

static void test_golden_files(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("tests/golden/*.safetensors", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 32);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        st_file file;
        err e = {0};
        if (!st_read(found.gl_pathv[i], &file, &e)) fail_msg("%s: %s", found.gl_pathv[i], e.text);
        bool expected = strstr(found.gl_pathv[i], ".expected.") != NULL;
        const st_tensor *o = st_find(&file, expected ? "o" : "q");
        assert_non_null(o);
        assert_int_equal(o->rank, 4);
        if (expected) assert_int_equal(o->dtype, ST_F64);
        st_close(&file);
    }
    globfree(&found);
}

/* Reads every byte: a sanitizer sees any that is not there. */
static unsigned sum_of(const st_tensor *t) {
    unsigned sum = 0;
    for (size_t i = 0; i < t->bytes; i++) sum += ((const unsigned char *)t->data)[i];
    return sum;
}

/* A valid file with a few bytes changed, or cut, or lengthened: read or refused, never more. */
static void test_fuzz(void **state) {
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"a\":\"b\"},\"q\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"k\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[8,16]},\"p\":{\"dtype\":\"I64\",\"shape\":[],"
        "\"data_offsets\":[16,24]}}";
    unsigned char base[8 + sizeof header + 24], bytes[sizeof base + 8];
    size_t length = strlen(header), total = 8 + length + 24;
    uint64_t seed = 3;
    unsigned sum = 0;
    int good = 0;
    memset(base, 0, sizeof base);
    for (int i = 0; i < 8; i++) base[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(base + 8, header, length);
    for (int i = 0; i < 3000; i++) {
        size_t size = total;
        memcpy(bytes, base, total);
        memset(bytes + total, 0, 8);
        for (uint64_t n = next_random(&seed) % 4; n > 0; n--) {
            uint64_t r = next_random(&seed);
            bytes[r % total] = r >> 61 ? (unsigned char)"0123456789[]{},:\""[(r >> 40) % 17] : (unsigned char)(r >> 32);
        }
        if (next_random(&seed) % 8 == 0) size = next_random(&seed) % (total + 8);
        st_file file;
        err e = {0};
        if (st_read(temp_file("fuzz", bytes, size), &file, &e)) {
            good++;
            for (size_t t = 0; t < file.count; t++) sum += sum_of(&file.tensors[t]);
            st_close(&file);
        } else {
            assert_int_equal(e.code, ERR_INPUT);
            assert_non_null(strstr(e.text, ": "));
        }
        err_clear(&e);
    }
    assert_in_range(good, 1, 2999);
    assert_true(sum < 3000u * 255 * 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_tensors),  cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_hostile_name),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_write_errors), cmocka_unit_test(test_callers_error),
        cmocka_unit_test(test_golden_files), cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, temp_remove_all);
}
