/* test_cli_files.c: bad files, end to end: exit status 2, one clear line that names the file and the place, and nothing
 * is written. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "help_process.h"

static outcome o;

/* ---- Specs ---- */

#define HEAD "name: a\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\n"

static void test_specs(void **state) {
    (void)state;
    static const struct {
        const char *text, *place, *says;
    } bad[] = {
        {HEAD "dtype: f32\nslot: 3\n", ":7:1: error: ", "slots"},  /* unknown key, nearest */
        {HEAD "dtype: f32\nslots: 8\n", ":7:1: error: ", "slots"}, /* twice */
        {HEAD "dtype: [f32]\n", ":6:8: error: ", "dtype"},         /* wrong type */
        {HEAD "dtype: f23\n", ":6:8: error: ", "f32"},             /* impossible, nearest */
        {"name: a\nhead_dim: 12\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\ndtype: f32\n", ":2:11: error: ", "8"},
        {"name: a\nhead_dim: 16\nheads: {query: 3, kv: 2}\nslots: 8\nwindow: 8\ndtype: f32\n",
         ":3:23: error: ", "divide"},
        {"name: ../a\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\ndtype: f32\n",
         ":1:7: error: ", "name"},
        {"name: a/b\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\ndtype: f32\n",
         ":1:7: error: ", "name"},
        {HEAD, ":", "dtype"}, /* required */
        {HEAD "dtype: f32\nops: [backward]\n", ":7:", "backward is not available in this version"},
        {HEAD "dtype: f32\nscale: nan\n", ":7:8: error: ", "scale"},
        {"", ":", "empty"},
        {"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n", ":1:", ""}, /* an alias bomb */
        {"{[}", ":1:", ""},
        {"- a\n- b\n", ":1:1: error: ", ""},
    };
    static const char *const commands[] = {"tune", "build", "gen"};
    const char *spec = in_folder("bad.yaml"), *out = in_folder("out");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[320];
        write_text(spec, bad[i].text);
        snprintf(place, sizeof place, "%s%s", spec, bad[i].place);
        nhac(&o, commands[i % 3], spec, "-o", out, NULL);
        expect_error(&o, 2, place);
        if (!strstr(o.err, bad[i].says))
            fail_msg("case %zu lacks \"%s\": %s", i, bad[i].says, o.err);
        assert_int_equal(entries(out), -1);
    }
    nhac(&o, "tune", in_folder("none.yaml"), "-o", out, NULL);
    expect_error(&o, 2, "none.yaml: ");
    nhac(&o, "tune", help_folder, "-o", out, NULL);
    expect_error(&o, 2, help_folder);
}

/* 1 GB of garbage: refused by its size; a file of holes costs no disk. */
static void test_gigabyte(void **state) {
    (void)state;
    const char *path = in_folder("big.yaml");
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 30) == 0);
    for (int i = 0; i < 64; i++)
        assert_true(pwrite(fd, "\x9f#{[:&*\n", 8, (off_t)i << 24) == 8);
    close(fd);
    nhac(&o, "tune", path, "-o", in_folder("out"), NULL);
    expect_error(&o, 2, "big.yaml");
    nhac(&o, "run", in_folder("lib"), "--op", "prefill", "--in", path, "--out", in_folder("o"), NULL);
    expect_error(&o, 2, "");
    assert_int_equal(entries(in_folder("out")), -1);
}

/* ---- Tensors ---- */

static char library[256];

static int build_library(void **state) {
    if (help_enter(state))
        return -1;
    write_text(in_folder("s.yaml"), small_spec);
    nhac(&o, "build", in_folder("s.yaml"), "-o", in_folder("lib"), NULL);
    snprintf(library, sizeof library, "%s/lib/small", help_folder);
    return o.status;
}

static void run_input(const char *op, const st_tensor *tensors, int count) {
    err e = {0};
    if (!st_write(in_folder("in"), tensors, (size_t)count, NULL, 0, &e))
        fail_msg("%s", e.text);
    remove(in_folder("o"));
    nhac(&o, "run", library, "--op", op, "--in", in_folder("in"), "--out", in_folder("o"), NULL);
}

static void expect_bad_tensor(const char *tensor, const char *says) {
    char line[320];
    snprintf(line, sizeof line, "%s: error: %s: ", in_folder("in"), tensor);
    expect_error(&o, 2, line);
    if (!strstr(o.err, says))
        fail_msg("\"%s\" is not in: %s", says, o.err);
    assert_int_not_equal(access(in_folder("o"), F_OK), 0);
}

static void test_tensors(void **state) {
    (void)state;
    st_tensor t[24];
    int n = small_inputs(t);
    run_input("prefill", t, n);
    expect_done(&o);

    run_input("prefill", t, n - 1);
    expect_bad_tensor("f", "is missing");
    t[0].dtype = ST_I32; /* as many bytes as F32 */
    run_input("prefill", t, n);
    expect_bad_tensor("q", "its dtype is I32; the library needs F32");
    small_inputs(t);
    t[0].shape[2] = 1, t[0].shape[3] = 32;
    run_input("prefill", t, n);
    expect_bad_tensor("q", "its shape is [1,20,1,32]");
    small_inputs(t);
    t[1].shape[1] = 19;
    run_input("prefill", t, n);
    expect_bad_tensor("k", "its shape is [1,19,1,16]; the library needs [1,20,1,16]\n");
    small_inputs(t);
    t[0].rank = 2, t[0].shape[0] = 20, t[0].shape[1] = 32;
    run_input("prefill", t, n);
    expect_bad_tensor("q", "its shape is [20,32]");
    small_inputs(t);
    t[3].name = "g";
    run_input("prefill", t, n);
    expect_bad_tensor("g", "the library takes its gate as f");
    small_inputs(t);
    t[n] = (st_tensor){.name = "kk", .dtype = ST_F32, .rank = 1, .shape = {1}, .data = t[0].data};
    run_input("prefill", t, n + 1);
    expect_bad_tensor("kk", "did you mean k?");
    t[n].name = "rq";
    run_input("prefill", t, n + 1);
    expect_bad_tensor("rq", "there is no such input");

    static const float memory[8 * 16];
    t[n] = (st_tensor){.name = "hk0", .dtype = ST_F32, .rank = 4, .shape = {1, 1, 8, 16}, .data = memory};
    run_input("prefill", t, n + 1);
    expect_bad_tensor("hv0", "is missing");
    t[n + 1] = t[n];
    t[n + 1].name = "hv0";
    run_input("prefill", t, n + 2);
    expect_done(&o);
    run_input("decode", t, n + 2);
    expect_bad_tensor("hk0", "decode starts from a cache or from nothing");
}

static void test_cu_seqlens(void **state) {
    (void)state;
    st_tensor t[24];
    int n = small_inputs(t);
    int32_t cu[4] = {0, 5, 5, 20};
    t[n] = (st_tensor){.name = "cu_seqlens", .dtype = ST_I32, .rank = 1, .shape = {4}, .data = cu};
    run_input("prefill", t, n + 1);
    expect_done(&o);
    run_input("decode", t, n + 1);
    expect_bad_tensor("cu_seqlens", "decode takes no cu_seqlens");
    static const struct {
        int32_t cu[4];
        const char *says;
    } bad[] = {
        {{1, 5, 5, 20}, "must begin with 0"},
        {{0, 6, 5, 20}, "is below the one before it"},
        {{0, 5, 5, 19}, "must end with T = 20"},
        {{0, 5, 30, 20}, "is below the one before it"},
        {{0, 5, 5, 21}, "must end with T = 20"},
        {{-1, 5, 5, 20}, "must begin with 0"},
        {{0, INT32_MIN, 5, 20}, "is below the one before it"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(cu, bad[i].cu, sizeof cu);
        run_input("prefill", t, n + 1);
        expect_bad_tensor("cu_seqlens", bad[i].says);
    }
    t[n].shape[0] = 1;
    cu[0] = 0;
    run_input("prefill", t, n + 1);
    expect_bad_tensor("cu_seqlens", "at least 2");
    t[n].dtype = ST_F32;
    run_input("prefill", t, n + 1);
    expect_bad_tensor("cu_seqlens", "its dtype is F32; the library needs I32");
}

/* A cache of R' tokens at position pos, all tensors but those named in `without`. */
static int add_cache(st_tensor *t, int n, int64_t tokens, const int64_t *pos, const char *without) {
    static const float zeros[64 * 16];
    const st_tensor cache[] = {
        {.name = "cache.k", .dtype = ST_F32, .rank = 4, .shape = {1, tokens, 1, 16}, .data = zeros},
        {.name = "cache.v", .dtype = ST_F32, .rank = 4, .shape = {1, tokens, 1, 16}, .data = zeros},
        {.name = "cache.f", .dtype = ST_F32, .rank = 4, .shape = {1, tokens, 1, 8}, .data = zeros},
        {.name = "cache.hk", .dtype = ST_F32, .rank = 4, .shape = {1, 1, 8, 16}, .data = zeros},
        {.name = "cache.hv", .dtype = ST_F32, .rank = 4, .shape = {1, 1, 8, 16}, .data = zeros},
        {.name = "cache.pos", .dtype = ST_I64, .rank = 1, .shape = {1}, .data = pos},
    };
    for (int i = 0; i < 6; i++)
        if (!without || strcmp(cache[i].name, without) != 0)
            t[n++] = cache[i];
    return n;
}

static void test_cache(void **state) {
    (void)state;
    st_tensor t[24];
    int n = small_inputs(t);
    int64_t pos = 100;
    /* R = 8. */
    for (int64_t tokens = 8; tokens <= 11; tokens++) {
        run_input("prefill", t, add_cache(t, n, tokens, &pos, NULL));
        expect_done(&o);
        run_input("decode", t, add_cache(t, n, tokens, &pos, NULL));
        expect_done(&o);
    }
    run_input("decode", t, add_cache(t, n, 7, &pos, NULL));
    expect_bad_tensor("cache.k", "has 7 tokens; min(R, largest position) = 8 are needed");
    pos = 3;
    run_input("decode", t, add_cache(t, n, 3, &pos, NULL));
    expect_done(&o);
    run_input("decode", t, add_cache(t, n, 2, &pos, NULL));
    expect_bad_tensor("cache.k", "= 3 are needed");
    pos = 0;
    run_input("prefill", t, add_cache(t, n, 0, &pos, NULL));
    expect_done(&o);
    static const int64_t bad[] = {-1, INT64_MIN, INT64_MAX, ((int64_t)1 << 40) + 1};
    for (int i = 0; i < 4; i++) {
        pos = bad[i];
        run_input("decode", t, add_cache(t, n, 8, &pos, NULL));
        expect_bad_tensor("cache.pos", "a position is from 0 to 2^40");
    }
    pos = 8;
    static const char *const names[] = {"cache.k", "cache.v", "cache.f", "cache.hk", "cache.hv", "cache.pos"};
    for (int i = 0; i < 6; i++) {
        run_input("prefill", t, add_cache(t, n, 8, &pos, names[i]));
        expect_bad_tensor(names[i], "is missing");
    }
    int count = add_cache(t, n, 8, &pos, NULL);
    t[count] = (st_tensor){.name = "hk0", .dtype = ST_F32, .rank = 4, .shape = {1, 1, 8, 16}, .data = t[n].data};
    t[count + 1] = t[count];
    t[count + 1].name = "hv0";
    run_input("prefill", t, count + 2);
    expect_bad_tensor("hk0", "is not taken beside a cache");
}

static void run_bytes(const char *header, uint64_t header_size, size_t data) {
    FILE *file = fopen(in_folder("in"), "wb");
    assert_non_null(file);
    fwrite(&header_size, 1, 8, file);
    fputs(header, file);
    for (size_t i = 0; i < data; i++)
        fputc(0, file);
    assert_int_equal(fclose(file), 0);
    nhac(&o, "run", library, "--op", "prefill", "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_error(&o, 2, in_folder("in"));
    assert_int_not_equal(access(in_folder("o"), F_OK), 0);
}

static void test_safetensors(void **state) {
    (void)state;
    static const char *const headers[] = {
        ("{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},\"k\":{\"dtype\":\"F32\",\"shape\":[4],"
         "\"data_offsets\":[8,24]}}"),
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,18446744073709551615]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[18446744073709551600,18446744073709551616]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,16]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
        "{\"q\":{\"dtype\":\"F99\",\"shape\":[4],\"data_offsets\":[0,16]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}",
        "{\"q\":1}",
        "[]",
        "",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        run_bytes(headers[i], strlen(headers[i]), 24);
    run_bytes("{}", 1000, 0); /* a header that is cut off */
    run_bytes("{}", UINT64_MAX, 0);
    run_bytes("{}", (uint64_t)1 << 40, 100);
    write_text(in_folder("in"), "");
    nhac(&o, "run", library, "--op", "prefill", "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_error(&o, 2, in_folder("in"));
    nhac(&o, "run", library, "--op", "prefill", "--in", in_folder("nothing"), "--out", in_folder("o"), NULL);
    expect_error(&o, 2, "nothing");
}

/* ---- Libraries ---- */

static const char *const readers[][4] = {{"show"}, {"verify", "--cases", "1"}, {"bench", "--op", "decode"}};

static void expect_bad_library(const char *folder, const char *says) {
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        nhac(&o, readers[i][0], folder, readers[i][1], readers[i][2], NULL);
        expect_error(&o, 2, folder);
        if (!strstr(o.err, says))
            fail_msg("\"%s\" is not in: %s", says, o.err);
    }
    nhac(&o, "run", folder, "--op", "prefill", "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_error(&o, 2, folder);
    assert_int_not_equal(access(in_folder("o"), F_OK), 0);
}

static void damage(const char *name, const char *from, const char *to) {
    char *text;
    size_t size;
    err e = {0};
    char path[320];
    snprintf(path, sizeof path, "%s/%s", library, name);
    assert_true(base_file_read(path, 1 << 24, &text, &size, "test", &e));
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    write_text(path, text);
    free(text);
}

static void test_libraries(void **state) {
    (void)state;
    expect_bad_library(in_folder("none"), "");
    write_text(in_folder("plain"), "x");
    expect_bad_library(in_folder("plain"), "");
    expect_bad_library(help_folder, "");
    char path[320], aside[320];
    /* Half-written: any file is missing. */
    static const char *const files[] = {"manifest.yaml", "spec.yaml", "libnha_small.a", "nha_small.h"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", library, files[i]);
        snprintf(aside, sizeof aside, "%s/aside", help_folder);
        assert_int_equal(rename(path, aside), 0);
        expect_bad_library(library, "");
        assert_int_equal(rename(aside, path), 0);
    }
    nhac(&o, "show", library, NULL);
    expect_done(&o);
    damage("manifest.yaml", "format: 2", "format: 7");
    expect_bad_library(library, "version");
    damage("manifest.yaml", "format: 7", "format: 2");
    nhac(&o, "show", library, NULL);
    expect_done(&o);
    damage("manifest.yaml", "kernels:", "kernals:");
    expect_bad_library(library, "");
}

#define FRESH(name) cmocka_unit_test_setup_teardown(name, help_enter, help_leave)
#define BUILT(name) cmocka_unit_test_setup_teardown(name, build_library, help_leave)

int main(void) {
    const struct CMUnitTest tests[] = {FRESH(test_specs),      FRESH(test_gigabyte), BUILT(test_tensors),
                                       BUILT(test_cu_seqlens), BUILT(test_cache),    BUILT(test_safetensors),
                                       BUILT(test_libraries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
