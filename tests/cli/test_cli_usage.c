/* test_cli_usage.c: wrong command lines, devices and targets that are not there, and what the commands print when all
 * is well. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "gen/cpu/isa.h"
#include "help_process.h"

static outcome o;

static void expect_usage(const char *text) {
    if (o.status != 2 || !strstr(o.err, text) || o.out[0])
        fail_msg("expected usage with \"%s\"; got %d: %s%s", text, o.status, o.err, o.out);
}

static void test_usage(void **state) {
    (void)state;
    nhac(&o, NULL);
    expect_usage("nhac tune");
    nhac(&o, "tun", NULL);
    expect_usage("did you mean tune?");
    nhac(&o, "tune", NULL);
    expect_usage("SPEC is missing");
    nhac(&o, "tune", "a.yaml", "--budge", "3", NULL);
    expect_usage("did you mean --budget?");
    nhac(&o, "tune", "a.yaml", "b.yaml", NULL);
    expect_usage("b.yaml is one argument too many");
    nhac(&o, "tune", "a.yaml", "--budget", NULL);
    expect_usage("--budget needs a value");
    static const char *const bad[] = {"0", "-3", "x", "1x", "nan", "inf", "1e99", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nhac(&o, "tune", "a.yaml", "--budget", bad[i], NULL);
        expect_usage("--budget is a number of seconds");
    }
    static const char *const counts[] = {"0", "-1", "2.5", "1025", "99999999999999999999", "two"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        nhac(&o, "run", "lib", "--threads", counts[i], NULL);
        expect_usage("--threads is a whole number from 1 to 1024");
    }
    nhac(&o, "bench", "lib", "--json=yes", NULL);
    expect_usage("--json takes no value");
    nhac(&o, "run", "lib", "--op", "prefill", "--in", "x", NULL);
    expect_usage("--out is missing");
    nhac(&o, "run", "lib", "--in", "x", "--out", "y", NULL);
    expect_usage("--op is missing");
    nhac(&o, "run", "lib", "--op", "prefil", "--in", "x", "--out", "y", NULL);
    expect_usage("did you mean prefill?");
    nhac(&o, "show", "lib", "--ir", "--asm", NULL);
    expect_usage("only one of");
    nhac(&o, "show", "lib", "--ir", NULL);
    expect_usage("KERNEL is missing");
    nhac(&o, "bench", "lib", "--isa", "avx513", NULL);
    expect_usage("did you mean avx512?");
    nhac(&o, "verify", "lib", "--isa", "avx22", NULL);
    expect_usage("did you mean avx2?");
    nhac(&o, "run", "lib", "--op", "prefill", "--in", "x", "--out", "y", "--isa", "ams", NULL);
    expect_usage("did you mean amx?");
    nhac(&o, "doctor", "now", NULL);
    expect_usage("one argument too many");
    nhac(&o, "doctor", "--json", NULL);
    expect_usage("there is no option --json");
}

static void test_help(void **state) {
    (void)state;
    static const char *const commands[] = {"doctor", "gen", "build", "tune", "run", "verify", "bench", "show"};
    nhac(&o, "--help", NULL);
    expect_done(&o);
    for (size_t i = 0; i < 8; i++)
        assert_non_null(strstr(o.out, commands[i]));
    for (size_t i = 0; i < 8; i++) {
        nhac(&o, commands[i], "--help", NULL);
        expect_done(&o);
        assert_non_null(strstr(o.out, commands[i]));
    }
    nhac(&o, "doctor", NULL);
    expect_done(&o);
    assert_non_null(strstr(o.out, "LLVM"));
    assert_non_null(strstr(o.out, "cuda"));
}

static void test_devices_and_targets(void **state) {
    (void)state;
    const char *spec = in_folder("s.yaml"), *out = in_folder("out");
    write_text(spec, small_spec);
    nhac(&o, "tune", spec, "--device", "emu", "-o", out, NULL);
    expect_error(&o, 1, "emu runs none of the targets asked for");
    nhac(&o, "run", "lib", "--op", "prefill", "--in", "x", "--out", "y", "--device", "emu:sm_91", NULL);
    expect_usage("did you mean emu:sm_90?");
    nhac(&o, "run", "lib", "--op", "prefill", "--in", "x", "--out", "y", "--device", "emu:sm_90", NULL);
    expect_error(&o, 2, "lib: error: there is no such library folder");
    nhac(&o, "bench", "lib", "--device", "cpus", NULL);
    expect_usage("did you mean cpu?");
    nhac(&o, "run", "lib", "--op", "backward", "--in", "x", "--out", "y", NULL);
    expect_error(&o, 1, "backward is not available in this version");
    static const char *const commands[] = {"gen", "build", "tune"};
    setenv("NHAC_NVRTC", in_folder("no-such-file"), 1);
    for (int i = 0; i < 3; i++) {
        if (i > 0) { /* gen renders, and needs nothing */
            nhac(&o, commands[i], spec, "--target", "sm_80", "-o", out, NULL);
            expect_error(&o, 1, "target sm_80: ");
        }
        nhac(&o, commands[i], spec, "--target", "sm80", "-o", out, NULL);
        expect_usage("did you mean sm_80?");
    }
    unsetenv("NHAC_NVRTC");
    assert_int_equal(entries(out), -1);
    nhac(&o, "gen", spec, "--target", "cpu", "--target", "sm_90", "-o", out, NULL);
    expect_done(&o);
    assert_string_equal(o.err, "");
    assert_true(entries(in_folder("out/small/src")) >= 4); /* prefill and decode for sm_90, and the cpu's */
    nhac(&o, "build", spec, "-o", out, "--budget", "5", NULL);
    expect_usage("there is no option --budget");
}

/* gen, build, show, bench and verify on one small library. */
static void test_library(void **state) {
    (void)state;
    const char *spec = in_folder("s.yaml"), *out = in_folder("out"), *library = in_folder("out/small");
    write_text(spec, small_spec);
    nhac(&o, "build", spec, "-o", out, NULL);
    expect_done(&o);
    assert_int_equal(entries(out), 1);

    nhac(&o, "gen", spec, "-o", in_folder("gen"), NULL);
    expect_done(&o);
    int sources = entries(in_folder("gen/small/src"));
    assert_int_equal(sources, entries(in_folder("out/small/src"))); /* the same kernels */
    nhac(&o, "gen", spec, "-o", out, NULL);                         /* ... and the same bytes */
    expect_done(&o);
    write_text(spec, "name: small\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 9\ndtype: f32\n");
    nhac(&o, "gen", spec, "-o", out, NULL);
    expect_error(&o, 2, "belongs to a library made from another spec");

    nhac(&o, "show", library, NULL);
    expect_done(&o);
    const char *kernel = strstr(o.out, "decode.baseline");
    assert_non_null(kernel);
    char name[192];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(kernel, "\n"), kernel);
    static const struct {
        const char *option, *text;
    } shown[] = {{"--ir", "define "},
                 {"--source", "; Generated by nhac"},
                 {"--asm", ".text"},
                 {"--resources", "spills"},
                 {"--why", "no measurements"}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        nhac(&o, "show", library, name, shown[i].option, NULL);
        expect_done(&o);
        if (!strstr(o.out, shown[i].text))
            fail_msg("%s lacks \"%s\": %.500s", shown[i].option, shown[i].text, o.out);
    }
    nhac(&o, "show", library, name, "--ptx", NULL);
    expect_error(&o, 1, "has no PTX");
    nhac(&o, "show", library, "decode.baselin", "--ir", NULL);
    expect_usage(name);
    nhac(&o, "bench", library, "--kernel", "prefill.none", NULL);
    expect_usage("the library has no kernel prefill.none");

    nhac(&o, "verify", library, "--cases", "2", "--seed", "7", NULL);
    expect_done(&o);

    nhac(&o, "bench", library, "--json", "--threads", "1", NULL);
    expect_done(&o);
    assert_int_equal(count_lines(o.out), 2);
    static const char *const numbers[] = {
        "batch",        "tokens",          "threads",  "us",        "us_min",       "us_max",      "tokens_per_s",
        "flops",        "bytes",           "tflops",   "gbps",      "pct_compute",  "pct_memory",  "bound_products_us",
        "bound_exp_us", "bound_memory_us", "bound_us", "pct_bound", "limit_gflops", "limit_gexps", "limit_l2_gbps"};
    char *line = strtok(o.out, "\n");
    for (int i = 0; i < 2; i++, line = strtok(NULL, "\n")) {
        json doc;
        err e = {0};
        assert_true(json_parse(line, strlen(line), 0, NULL, "test", &doc, &e));
        assert_string_equal(json_get_text(doc.root, "op", ""), i ? "decode" : "prefill");
        assert_string_equal(json_get_text(doc.root, "device", ""), "cpu");
        assert_string_equal(json_get_text(doc.root, "dtype", ""), "f32");
        assert_non_null(strstr(json_get_text(doc.root, "kernel", ""), i ? "decode." : "prefill."));
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (!(json_get_number(doc.root, numbers[k], -1) > 0))
                fail_msg("%s in %s", numbers[k], line);
        double us = json_get_number(doc.root, "us", 0);
        assert_true(json_get_number(doc.root, "us_min", 0) <= us && us <= json_get_number(doc.root, "us_max", 0));
        double third = json_get_number(doc.root, i ? "bound_memory_us" : "bound_l2_us", -1);
        double bound =
            fmax(fmax(json_get_number(doc.root, "bound_products_us", 0), json_get_number(doc.root, "bound_exp_us", 0)),
                 third);
        assert_true(third > 0 && bound == json_get_number(doc.root, "bound_us", 0));
        assert_true(fabs(100 * bound / us / json_get_number(doc.root, "pct_bound", 0) - 1) < 1e-6);
        double compute = 1e5 * json_get_number(doc.root, "tflops", 0) / json_get_number(doc.root, "limit_gflops", 1);
        assert_true(fabs(compute / json_get_number(doc.root, "pct_compute", 0) - 1) < 1e-6);
        const char *isa = json_get_text(doc.root, "isa", "");
        assert_non_null(gen_isa_find(isa)); /* the kernel's, which its name says, too */
        assert_true(strncmp(strchr(json_get_text(doc.root, "kernel", "."), '.') + 1, isa, strlen(isa)) == 0);
        json_free(&doc);
    }
    nhac(&o, "bench", library, "--op", "decode", "--batch", "1", "--isa", "baseline", NULL);
    expect_done(&o);
    static const char *const said[] = {"decode.baseline", "bound%",    "(products ",
                                       ", exponentials ", ", memory ", "GFLOP/s of baseline mul",
                                       " G exp/s, L2 "};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(o.out, said[i]))
            fail_msg("no \"%s\" in %s", said[i], o.out);
    nhac(&o, "verify", library, "--cases", "1", "--isa", "baseline", NULL);
    expect_done(&o);
    static const char *const absent[] = {"amx", "neon"}; /* no AMX for f32; no neon where there is a baseline */
    for (size_t i = 0; i < 2; i++) {
        nhac(&o, "verify", library, "--isa", absent[i], NULL);
        assert_int_equal(o.status, 1);
        assert_non_null(strstr(o.err, absent[i]));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, help_enter, help_leave)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_usage), TEST(test_help), TEST(test_devices_and_targets),
                                       TEST(test_library)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
