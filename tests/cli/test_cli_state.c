/* test_cli_state.c: state_dtype: bf16 as its user meets it: a library is built, shown, verified and run. What a cache
 * holds is bf16 and close to fp32; what a prefill computes before it leaves a cache is the same as without it, bit for
 * bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "help_process.h"
#include "tuner/library.h"
#include "tuner/verify.h"

static outcome o;

/* The library of small_spec, with that dtype of the memory, in a folder of its own. */
static const char *build(const char *state_dtype) {
    char text[512], name[64];
    snprintf(text, sizeof text, "%sstate_dtype: %s\n", small_spec, state_dtype);
    snprintf(name, sizeof name, "%s.yaml", state_dtype);
    write_text(in_folder(name), text);
    nhac(&o, "build", in_folder(name), "-o", in_folder(state_dtype), NULL);
    expect_done(&o);
    snprintf(name, sizeof name, "%s/small", state_dtype);
    return in_folder(name);
}

static st_file run(const char *library, const char *op) {
    st_file result;
    err e = {0};
    nhac(&o, "run", library, "--op", op, "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_done(&o);
    if (!st_read(in_folder("o"), &result, &e))
        fail_msg("%s", e.text);
    return result;
}

static const st_tensor *tensor(const st_file *file, const char *name) {
    const st_tensor *t = st_find(file, name);
    if (!t)
        fail_msg("there is no %s", name);
    assert_int_equal(t->dtype, ST_F32); /* whatever the rows of the pool hold */
    return t;
}

/* Elements that bf16 cannot hold. */
static int64_t beyond_bf16(const st_tensor *t) {
    const uint32_t *bits = t->data;
    int64_t count = 0;
    for (size_t i = 0; i < t->bytes / 4; i++)
        count += (bits[i] & 0xffff) != 0;
    return count;
}

/* Relative L2 of a tensor of two files. */
static double apart(const st_file *a, const st_file *b, const char *name) {
    const st_tensor *x = tensor(a, name), *y = tensor(b, name);
    const float *p = x->data, *q = y->data;
    double error = 0, norm = 0;
    assert_int_equal(x->bytes, y->bytes);
    for (size_t i = 0; i < x->bytes / 4; i++) {
        error += pow((double)p[i] - (double)q[i], 2);
        norm += pow((double)q[i], 2);
    }
    assert_true(norm > 0);
    return sqrt(error / norm);
}

/* By prefill the memory is rounded once, where it is put into the row; by decode, at every step. `run` always keeps a
 * cache, and hk and hv are those of its row. */
static void compare(const char *half, const char *whole, const char *op, double tolerance) {
    static const char *const memory[] = {"cache.hk", "cache.hv", "hk", "hv"};
    st_file a = run(half, op), b = run(whole, op);
    const double o_apart = apart(&a, &b, "o");
    if (!strcmp(op, "prefill"))
        assert_true(o_apart == 0 && apart(&a, &b, "lse") == 0);
    else
        assert_true(o_apart > 0 && o_apart < tolerance);
    for (int i = 0; i < 4; i++) {
        const double rounded = apart(&a, &b, memory[i]);
        assert_int_equal(beyond_bf16(tensor(&a, memory[i])), 0);
        assert_true(beyond_bf16(tensor(&b, memory[i])) > 0);
        assert_true(rounded > 0 && rounded < tolerance);
    }
    st_close(&a);
    st_close(&b);
}

static void test_library(void **state) {
    (void)state;
    const char *half = build("bf16"), *whole = build("f32");
    st_tensor t[4];
    err e = {0};

    nhac(&o, "show", half, NULL);
    expect_done(&o);
    nhac(&o, "verify", half, "--cases", "2", "--seed", "3", NULL);
    expect_done(&o);

    tune_library opened;
    if (!tune_library_open(half, 0, &opened, &e))
        fail_msg("%s", e.text);
    const nha_problem *p = nha_library_problem(opened.library, 0);
    nha_cache_format format;
    NHA_INIT(format);
    assert_int_equal(p->state_dtype, NHA_BF16);
    assert_int_equal(opened.spec.problem.nha.state_dtype, NHA_BF16);
    assert_int_equal(nha_cache_describe(opened.library, 0, (nha_device){0}, 0, &format, NULL), NHA_OK);
    const double tolerance = tune_cached_tolerance(p);
    const int64_t row_bytes = format.row_bytes;
    tune_library_close(&opened);
    if (!tune_library_open(whole, 0, &opened, &e))
        fail_msg("%s", e.text);
    assert_int_equal(nha_cache_describe(opened.library, 0, (nha_device){0}, 0, &format, NULL), NHA_OK);
    assert_true(row_bytes < format.row_bytes);
    assert_true(tolerance > 100 * tune_cached_tolerance(nha_library_problem(opened.library, 0)));
    tune_library_close(&opened);

    assert_true(st_write(in_folder("in"), t, (size_t)small_inputs(t), NULL, 0, &e));
    compare(half, whole, "prefill", tolerance);
    compare(half, whole, "decode", tolerance);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_library, help_enter, help_leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
