/* test_cli_cuda.c: CUDA libraries through the command line, on the emulator and on the fake driver (tests/driver/fake_cuda.c), whose
 * GPU can be another one, old, out of memory or lost: a clear error each, and no file left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/safetensors.h"
#include "help_process.h"
#include "tests/shared/help_compiler.h"
#include "tuner/device.h"

static outcome o;

/* The fake driver's variables: as a test wants them, else a GPU of compute capability 9.0 with the library's PTX. */
static void fake(const char *name, const char *value) {
    static const char *const names[] = {"NHAC_FAKE_DEVICE", "NHAC_FAKE_DRIVER", "NHAC_FAKE_FAIL", "NHAC_FAKE_LATE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("NHAC_FAKE_DEVICE", "9.0", 1);
    setenv("NHAC_FAKE_PTX", in_folder("out/small"), 1);
    setenv("LD_LIBRARY_PATH", getenv("FAKE_DRIVER"), 1);
    if (name)
        setenv(name, value, 1);
}

static void run_on(const char *device) {
    nhac(&o, "run", in_folder("out/small"), "--op", "prefill", "--in", in_folder("in"), "--out", in_folder("o"), "--device", device, NULL);
}

/* The run fails with this text among what it says, and leaves nothing. */
static void expect_refusal(const char *text) {
    if (o.status != 1 || !strstr(o.err, text))
        fail_msg("expected status 1 and \"%s\"; got %d: %s", text, o.status, o.err);
    assert_int_not_equal(access(in_folder("o"), F_OK), 0);
}

static void expect_output(void) {
    expect_done(&o);
    assert_int_equal(access(in_folder("o"), F_OK), 0);
    unlink(in_folder("o"));
}

/* A library for one target in a fresh folder, and inputs; false where there is no NVRTC. */
static bool prepare(const char *target) {
    st_tensor tensors[8];
    err e = {0};
    if (!help_has_nvrtc())
        return false;
    assert_non_null(getenv("FAKE_DRIVER"));
    write_text(in_folder("s.yaml"), small_spec);
    nhac(&o, "build", in_folder("s.yaml"), "--target", target, "-o", in_folder("out"), NULL);
    expect_done(&o);
    int count = small_inputs(tensors);
    assert_true(st_write(in_folder("in"), tensors, (size_t)count, NULL, 0, &e));
    return true;
}

static void test_devices(void **state) {
    (void)state;
    if (!prepare("sm_90"))
        return;
    unsetenv("LD_LIBRARY_PATH");
    run_on("emu");
    expect_output();
    run_on("emu:sm_90");
    expect_output();
    run_on("emu:sm_80");
    expect_refusal("sm_80");
    run_on("cuda:0");
    expect_refusal("libcuda.so.1");
    run_on("cpu");
    expect_refusal("has no kernels for cpu");
    fake(NULL, NULL);
    run_on("cuda:0");
    expect_output();
    nhac(&o, "run", in_folder("out/small"), "--op", "decode", "--in", in_folder("in"), "--out", in_folder("o"), NULL);
    expect_output(); /* no CPU kernels: the first GPU */
    run_on("cuda:1");
    expect_refusal("there is no GPU 1");
    nhac(&o, "verify", in_folder("out/small"), "--device", "cuda:0", "--cases", "1", NULL);
    expect_done(&o);
    assert_non_null(strstr(o.out, "on cuda:0, all within tolerance"));
    nhac(&o, "bench", in_folder("out/small"), "--device", "emu", NULL);
    expect_error(&o, 1, "cannot be timed");
}

static void test_faults(void **state) {
    (void)state;
    static const struct fault {
        const char *name, *value, *says;
    } faults[] = {
        {"NHAC_FAKE_DEVICE", "8.0", "8.0"},                              /* a cubin for another arch */
        {"NHAC_FAKE_DEVICE", "10.0", "10.0"},                            /* of another major version */
        {"NHAC_FAKE_DRIVER", "12090", "driver"},                         /* older than the library */
        {"NHAC_FAKE_FAIL", "cuLaunchKernel:1:719", "LAUNCH_FAILED"},     /* a launch that fails */
        {"NHAC_FAKE_FAIL", "cuLaunchKernel:1:999:sticky", "UNKNOWN"},    /* a device that is lost */
        {"NHAC_FAKE_FAIL", "cuStreamSynchronize:4:46:sticky", "46"},     /* ... in the middle */
        {"NHAC_FAKE_FAIL", "cuMemAlloc_v2:2:2", "OUT_OF_MEMORY"},
        {"NHAC_FAKE_FAIL", "cuModuleLoadDataEx:1:2", "OUT_OF_MEMORY"},
        {"NHAC_FAKE_FAIL", "cuModuleGetFunction:1:500", "NOT_FOUND"},
        {"NHAC_FAKE_FAIL", "cuDevicePrimaryCtxRetain:1:101", "INVALID_DEVICE"},
        {"NHAC_FAKE_FAIL", "cuInit:1:100", "no CUDA-capable device"},
        {"NHAC_FAKE_FAIL", "cuMemcpyDtoHAsync_v2:1:700", "ILLEGAL_ADDRESS"},
    };
    if (!prepare("sm_90"))
        return;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fake(faults[i].name, faults[i].value);
        run_on("cuda:0");
        print_message("%s=%s: %s", faults[i].name, faults[i].value, o.err);
        expect_refusal(faults[i].says);
    }
    fake(NULL, NULL); /* and nothing of it stays */
    run_on("cuda:0");
    expect_output();
}

static void copy_with_race(const char *to) {
    static const char barrier[] = "            __syncthreads();\n            read_slots(args, at, first, o);";
    char *text;
    size_t size;
    err e = {0};
    assert_true(base_file_read("templates/decode.cu", 1 << 20, &text, &size, "test", &e));
    char *at = strstr(text, barrier);
    assert_non_null(at);
    FILE *file = fopen(to, "w");
    assert_non_null(file);
    fprintf(file, "%.*s#if WARPS != 2\n            __syncthreads();\n#endif\n%s", (int)(at - text), text,
            strchr(at, '\n') + 1);
    assert_int_equal(fclose(file), 0);
    free(text);
}

/* A candidate that faults breaks the context and is refused; the search goes on in a new one. */
static void test_tune_past_faults(void **state) {
    (void)state;
    err e = {0};
    if (!help_has_nvrtc())
        return;
    write_text(in_folder("s.yaml"), "name: racy\nhead_dim: 16\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 8\ndtype: bf16\n"
                                    "ops: [decode]\ntargets: [sm_90]\n");
    assert_int_equal(mkdir(in_folder("templates"), 0700), 0);
    copy_with_race(in_folder("templates/decode.cu"));
    setenv("NHAC_TEMPLATES", in_folder("templates"), 1);
    nhac(&o, "tune", in_folder("s.yaml"), "--device", "emu", "--budget", "20", "-o", in_folder("out"), NULL);
    unsetenv("NHAC_TEMPLATES");
    expect_done(&o);
    char *journal;
    size_t size;
    assert_true(base_file_read(in_folder("out/racy/tuning.jsonl"), 1 << 24, &journal, &size, "test", &e));
    const char *rejected = strstr(journal, "\"rejected\"");
    assert_non_null(rejected);
    assert_non_null(strstr(rejected, "shared-memory race"));
    assert_non_null(strstr(rejected, "\"quick\"")); /* timed after it */
    free(journal);
}

/* What a library for CUDA shows of itself. */
static void test_show(void **state) {
    (void)state;
    if (!prepare("sm_80"))
        return;
    nhac(&o, "show", in_folder("out/small"), NULL);
    expect_done(&o);
    const char *name = strstr(o.out, "\nprefill.sm_80.generic");
    assert_non_null(name);
    char kernel[192];
    assert_int_equal(sscanf(name, " %191s", kernel), 1);
    static const struct view {
        const char *option, *text;
    } views[] = {{"--source", "extern \"C\""}, {"--ptx", ".visible .entry nha_small_prefill"}, {"--resources", "registers"}};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        nhac(&o, "show", in_folder("out/small"), kernel, views[i].option, NULL);
        expect_done(&o);
        if (!strstr(o.out, views[i].text))
            fail_msg("%s: no %s", views[i].option, views[i].text);
    }
    nhac(&o, "show", in_folder("out/small"), kernel, "--asm", NULL);
    expect_error(&o, 1, "is a CUDA kernel");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_devices, help_enter, help_leave),
                                       cmocka_unit_test_setup_teardown(test_faults, help_enter, help_leave),
                                       cmocka_unit_test_setup_teardown(test_tune_past_faults, help_enter, help_leave),
                                       cmocka_unit_test_setup_teardown(test_show, help_enter, help_leave)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
