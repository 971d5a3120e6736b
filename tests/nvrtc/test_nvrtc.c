/* test_nvrtc.c: finding NVRTC, compiling for every target without a GPU, reading resources, the cache, and what goes
 * wrong: no library, a library that is none, one that is too old, one that crashes, source that does not compile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/path.h"
#include "gen/cuda/target.h"
#include "help_nvrtc.h"
#include "jit/cache.h"
#include "jit/jit.h"

static const char two_kernels[] =
    "extern \"C\" __global__ void __launch_bounds__(128) reverse(float *p) {\n"
    "    __shared__ float s[128];\n"
    "    s[threadIdx.x] = p[threadIdx.x];\n"
    "    __syncthreads();\n"
    "    p[threadIdx.x] = s[127 - threadIdx.x];\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(1024) many(float *p, int n) {\n"
    "    float x[96];\n"
    "    for (int i = 0; i < 96; i++) x[i] = p[i * n + threadIdx.x];\n"
    "    for (int j = 0; j < n; j++)\n"
    "        for (int i = 0; i < 96; i++) x[i] = x[i] * p[i + j] + x[(i + 7) % 96];\n"
    "    for (int i = 0; i < 96; i++) p[i * n + threadIdx.x] = x[i];\n"
    "}\n";

/* What the templates use: cp.async, ldmatrix, mma.sync with bf16, conversions, without a header. */
static const char tensor_kernel[] =
    "extern \"C\" __global__ void tensor(const unsigned *from, float *to) {\n"
    "    extern __shared__ unsigned tile[];\n"
    "    unsigned at = (unsigned)__cvta_generic_to_shared(tile) + threadIdx.x * 16, a[4], packed;\n"
    "    asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16;\" ::\"r\"(at), \"l\"(from + threadIdx.x * 4) : "
    "\"memory\");\n"
    "    asm volatile(\"cp.async.wait_all;\" ::: \"memory\");\n"
    "    __syncthreads();\n"
    "    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\" : \"=r\"(a[0]), "
    "\"=r\"(a[1]), \"=r\"(a[2]), "
    "\"=r\"(a[3]) : \"r\"(at));\n"
    "    float c[4] = {0, 0, 0, 0};\n"
    "    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
    "%1, %2, %3};\"\n"
    "        : \"+f\"(c[0]), \"+f\"(c[1]), \"+f\"(c[2]), \"+f\"(c[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), "
    "\"r\"(a[3]), \"r\"(a[0]), "
    "\"r\"(a[1]));\n"
    "    asm(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(packed) : \"f\"(expm1f(c[0])), \"f\"(log1pf(c[1])));\n"
    "    to[threadIdx.x] = c[2] + c[3] + __uint_as_float(packed);\n"
    "}\n";

static jit_cuda_request request_of(const char *source, const char *arch) {
    return (jit_cuda_request){.source = source, .name = "test.cu", .arch = arch};
}

static void test_resources(void **state) {
    (void)state;
    jit_nvrtc *nvrtc = help_nvrtc();
    jit_cuda_image image;
    char reason[200];
    jit_cuda_request request = request_of(two_kernels, "sm_80");
    help_compile(nvrtc, &request, &image);
    assert_int_equal(image.kernel_count, 2);
    assert_non_null(strstr(image.ptx, ".visible .entry reverse"));
    assert_int_equal(strlen(image.ptx), image.ptx_size);
    assert_memory_equal(image.cubin, "\177ELF", 4);
    const jit_cuda_resources *reverse = jit_cuda_image_find(&image, "reverse"),
                             *many = jit_cuda_image_find(&image, "many");
    assert_non_null(reverse);
    assert_non_null(many);
    assert_null(jit_cuda_image_find(&image, "none"));
    assert_int_equal(reverse->shared_bytes, 512);
    assert_int_equal(reverse->barriers, 1);
    assert_int_equal(reverse->stack_bytes, 0);
    assert_int_equal(reverse->spill_stores + reverse->spill_loads, 0);
    assert_true(reverse->registers > 4 && reverse->registers < 64);
    assert_true(many->spill_stores > 0 && many->spill_loads > 0 && many->stack_bytes > 0);
    assert_true(many->registers <= 64); /* 65536 / 1024 */
    assert_false(jit_cuda_spill_free(&image, reason, sizeof reason));
    assert_non_null(strstr(reason, "many spills: "));
    jit_cuda_image_destroy(&image);
    jit_nvrtc_close(nvrtc);
}

/* A stack frame without a spill: an array indexed by data. */
static void test_stack(void **state) {
    (void)state;
    jit_nvrtc *nvrtc = help_nvrtc();
    jit_cuda_image image;
    char reason[200];
    jit_cuda_request request = request_of("extern \"C\" __global__ void stack(int *p) {\n"
                                          "    int x[64];\n"
                                          "    for (int i = 0; i < 64; i++) x[p[i] & 63] = i;\n"
                                          "    p[0] = x[p[64] & 63];\n"
                                          "}\n",
                                          "sm_90");
    help_compile(nvrtc, &request, &image);
    assert_int_equal(image.kernel_count, 1);
    assert_int_equal(image.kernels[0].stack_bytes, 256);
    assert_int_equal(image.kernels[0].spill_stores, 0);
    assert_false(jit_cuda_spill_free(&image, reason, sizeof reason));
    assert_string_equal(reason, "stack has a stack frame of 256 bytes a thread");
    jit_cuda_image_destroy(&image);
    jit_nvrtc_close(nvrtc);
}

static void test_targets(void **state) {
    (void)state;
    enum { MOST = 16 };
    jit_nvrtc *nvrtc = help_nvrtc();
    jit_cuda_request requests[MOST];
    jit_cuda_image images[MOST];
    err errors[MOST];
    int count = 0, rows;
    const gen_cuda_target *targets = gen_cuda_target_table(&rows);
    for (int i = 0; i < rows && count < MOST - 1; i++) {
        if (jit_nvrtc_knows(nvrtc, targets[i].name))
            requests[count++] = request_of(tensor_kernel, targets[i].name);
        else
            print_message("SKIPPED: NVRTC %s does not know %s\n", jit_nvrtc_version(nvrtc), targets[i].name);
    }
    requests[count++] = request_of("nonsense", "sm_80");
    assert_int_equal(jit_nvrtc_compile_all(nvrtc, requests, count, 2, images, errors), count - 1);
    for (int i = 0; i < count - 1; i++) {
        char line[64], reason[200];
        if (errors[i].code)
            err_print(stderr, &errors[i]);
        assert_int_equal(errors[i].code, ERR_NONE);
        snprintf(line, sizeof line, ".target %s\n", requests[i].arch);
        assert_non_null(strstr(images[i].ptx, line));
        assert_true(jit_cuda_spill_free(&images[i], reason, sizeof reason));
        jit_cuda_image_destroy(&images[i]);
    }
    assert_int_equal(errors[count - 1].code, ERR_COMPILE);
    err_clear(&errors[count - 1]);
    jit_nvrtc_close(nvrtc);
}

static void test_failing(void **state) {
    (void)state;
    jit_nvrtc *nvrtc = help_nvrtc();
    jit_cuda_image image;
    err e = {0};
    jit_cuda_request request = request_of(
        "extern \"C\" __global__ void k(int *p) {\n    *p = undeclared_1;\n    *p = undeclared_2;\n}\n", "sm_80");
    assert_false(jit_nvrtc_compile(nvrtc, &request, &image, &e));
    assert_int_equal(e.code, ERR_COMPILE);
    assert_non_null(strstr(e.text, "test.cu(2): error: "));
    assert_non_null(e.log);
    assert_non_null(strstr(e.log, "undeclared_1"));
    assert_non_null(strstr(e.log, "undeclared_2")); /* the whole log */
    err_clear(&e);
    request.arch = "sm_30";
    assert_false(jit_nvrtc_compile(nvrtc, &request, &image, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_non_null(strstr(e.text, "does not know sm_30"));
    err_clear(&e);
    static const char *const option[] = {"--no-such-option"};
    request = request_of(two_kernels, "sm_80");
    request.options = option;
    request.option_count = 1;
    assert_false(jit_nvrtc_compile(nvrtc, &request, &image, &e));
    assert_int_equal(e.code, ERR_COMPILE);
    err_clear(&e);
    jit_nvrtc_close(nvrtc);
}

static void test_knows(void **state) {
    (void)state;
    jit_nvrtc *nvrtc = help_nvrtc();
    assert_true(jit_nvrtc_knows(nvrtc, "sm_80") && jit_nvrtc_knows(nvrtc, "sm_90a"));
    static const char *const none[] = {"",        "cpu",  "sm_",        "sm_80a", "sm_90f",
                                       "sm_90aa", "sm_9", "compute_80", "sm_090", "sm_80 "};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(jit_nvrtc_knows(nvrtc, none[i]));
    assert_true(strlen(jit_nvrtc_version(nvrtc)) >= 4);
    assert_true(base_exists(jit_nvrtc_path(nvrtc)));
    jit_nvrtc_close(nvrtc);
}

static void test_cache(void **state) {
    (void)state;
    jit_nvrtc *nvrtc = help_nvrtc();
    jit_cuda_image first, second;
    err e = {0};
    static const char *const fast[] = {"-DUNUSED=1"};
    jit_cuda_request request = request_of(two_kernels, "sm_86");
    help_compile(nvrtc, &request, &first);
    assert_false(first.cached);
    setenv("NHAC_NO_JIT", "1", 1);
    help_compile(nvrtc, &request, &second);
    assert_true(second.cached);
    assert_string_equal(first.ptx, second.ptx);
    assert_string_equal(first.log, second.log);
    assert_int_equal(first.cubin_size, second.cubin_size);
    assert_memory_equal(first.cubin, second.cubin, first.cubin_size);
    assert_memory_equal(first.kernels, second.kernels, sizeof first.kernels);
    jit_cuda_image_destroy(&second);
    request.options = fast; /* another key */
    request.option_count = 1;
    assert_false(jit_nvrtc_compile(nvrtc, &request, &second, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_non_null(strstr(e.text, "NHAC_NO_JIT"));
    err_clear(&e);
    unsetenv("NHAC_NO_JIT");
    /* A bad entry is a miss. */
    request.option_count = 0;
    char path[4096];
    assert_true(jit_cache_path(first.key, path, sizeof path));
    assert_true(jit_cache_put(first.key, "nhacuda and then nothing that fits", 34));
    help_compile(nvrtc, &request, &second);
    assert_false(second.cached);
    assert_string_equal(first.ptx, second.ptx);
    jit_cuda_image_destroy(&second);
    jit_cuda_image_destroy(&first);
    jit_nvrtc_close(nvrtc);
}

/* ---- libraries that are not there, or are not what they say ---- */

static void test_absent(void **state) {
    (void)state;
    jit_nvrtc *nvrtc;
    err e = {0};
    assert_false(jit_nvrtc_open_file("/nonexistent/libnvrtc.so.13", &nvrtc, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_null(nvrtc);
    assert_non_null(strstr(e.text, "/nonexistent/libnvrtc.so.13"));
    err_clear(&e);
    setenv("NHAC_NVRTC", "/nonexistent/libnvrtc.so.12", 1); /* nothing else is tried */
    assert_false(jit_nvrtc_open(&nvrtc, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_non_null(strstr(e.text, "/nonexistent/libnvrtc.so.12"));
    err_clear(&e);
    unsetenv("NHAC_NVRTC");
    assert_false(jit_nvrtc_open_file("libm.so.6", &nvrtc, &e)); /* a library, but not this one */
    assert_int_equal(e.code, ERR_MISSING);
    assert_non_null(strstr(e.text, "is not an NVRTC"));
    err_clear(&e);
}

/* A fake NVRTC, compiled by the system's cc. CASE decides what it does. */
static const char fake_source[] =
    "#include <stdlib.h>\n#include <string.h>\n#include <signal.h>\n"
    "int nvrtcVersion(int *a, int *b) { *a = CASE == 1 ? 11 : 13; *b = 2; return 0; }\n"
    "const char *nvrtcGetErrorString(int r) { return r == 1 ? \"NVRTC_ERROR_OUT_OF_MEMORY\" : \"NVRTC_ERROR_OTHER\"; "
    "}\n"
    "int nvrtcGetNumSupportedArchs(int *n) { *n = 1; return 0; }\n"
    "int nvrtcGetSupportedArchs(int *a) { *a = 80; return 0; }\n"
    "int nvrtcCreateProgram(void **p) { *p = 0; return 0; }\n"
    "int nvrtcDestroyProgram(void **p) { return 0; }\n"
    "int nvrtcCompileProgram(void *p) { if (CASE == 2) raise(SIGSEGV); if (CASE == 3) raise(SIGKILL); if (CASE == 7) "
    "_Exit(3); while (CASE == 8) ;\n"
    "    return CASE == 4 ? 1 : CASE == 5 ? 3 : 0; }\n"
    "static const char text[] = \"fake log\";\n"
    "int nvrtcGetPTXSize(void *p, size_t *n) { *n = sizeof text; return 0; }\n"
    "int nvrtcGetPTX(void *p, char *t) { memcpy(t, text, sizeof text); return 0; }\n"
    "int nvrtcGetCUBINSize(void *p, size_t *n) { *n = CASE == 6 ? 0 : sizeof text; return 0; }\n"
    "int nvrtcGetCUBIN(void *p, char *t) { memcpy(t, text, sizeof text); return 0; }\n"
    "int nvrtcGetProgramLogSize(void *p, size_t *n) { *n = sizeof text; return 0; }\n"
    "int nvrtcGetProgramLog(void *p, char *t) { memcpy(t, text, sizeof text); return 0; }\n";

static void test_fake(void **state) {
    (void)state;
    static const struct row {
        int number;
        bool opens;
        err_code code;
        const char *piece;
    } rows[] = {
        {1, false, ERR_MISSING, "NVRTC 11.2"},
        {2, true, ERR_COMPILE, "crashed (signal 11)"},
        {3, true, ERR_MEMORY, "was killed"},
        {4, true, ERR_MEMORY, "NVRTC_ERROR_OUT_OF_MEMORY"},
        {5, true, ERR_COMPILE, "NVRTC_ERROR_OTHER"},
        {6, true, ERR_COMPILE, "no PTX, cubin or resources"},
        {7, true, ERR_COMPILE, "ended without an answer"},
        {8, true, ERR_COMPILE, "more than 1 s"},
    };
    if (system("cc --version >/dev/null 2>&1") != 0) {
        print_message("SKIPPED: no cc to build a fake NVRTC\n");
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char source[5000], library[5000], command[12000];
        jit_nvrtc *nvrtc;
        jit_cuda_image image;
        err e = {0};
        snprintf(source, sizeof source, "%s/fake.c", getenv("NHAC_CACHE_DIR"));
        snprintf(library, sizeof library, "%s/fake%d.so", getenv("NHAC_CACHE_DIR"), rows[i].number);
        assert_true(base_file_write(source, fake_source, strlen(fake_source), "test", NULL));
        snprintf(command, sizeof command, "cc -w -shared -fPIC -DCASE=%d -o '%s' '%s'", rows[i].number, library,
                 source);
        assert_int_equal(system(command), 0);
        setenv("NHAC_NVRTC", library, 1);
        bool opened = jit_nvrtc_open(&nvrtc, &e);
        unsetenv("NHAC_NVRTC");
        assert_int_equal(opened, rows[i].opens);
        if (opened) {
            assert_string_equal(jit_nvrtc_path(nvrtc), library);
            jit_cuda_request request = request_of(two_kernels, "sm_80");
            request.seconds = 1;
            assert_false(jit_nvrtc_compile(nvrtc, &request, &image, &e));
            jit_nvrtc_close(nvrtc);
        }
        if (e.code != rows[i].code || !strstr(e.text, rows[i].piece)) {
            print_error("case %d: %d, %s\n", rows[i].number, e.code, e.text);
            fail();
        }
        err_clear(&e);
    }
}

static void test_log(void **state) {
    (void)state;
    static const char log[] = "ptxas info    : 0 bytes gmem\n"
                              "ptxas info    : Compiling entry function 'a' for 'sm_90'\n"
                              "ptxas info    : Function properties for a\n"
                              "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n"
                              "ptxas info    : Used 32 registers, used 2 barriers, 40 bytes cumulative stack size, 512 "
                              "bytes smem, 400 bytes cmem[0]\n"
                              "ptxas info    : Function properties for callee\n"
                              "    99 bytes stack frame, 99 bytes spill stores, 99 bytes spill loads\n"
                              "ptxas info    : Compiling entry function 'b' for 'sm_90'\n"
                              "ptxas info    : Used 99999999999 registers\n"
                              "ptxas info    : Compiling entry function 'unclosed";
    jit_cuda_resources k[4];
    assert_int_equal(jit_cuda_read_log(log, k, 4), 2);
    assert_string_equal(k[0].name, "a");
    assert_int_equal(k[0].registers, 32);
    assert_int_equal(k[0].stack_bytes, 40);
    assert_int_equal(k[0].spill_stores, 4);
    assert_int_equal(k[0].spill_loads, 12);
    assert_int_equal(k[0].barriers, 2);
    assert_int_equal(k[0].shared_bytes, 512);
    assert_int_equal(k[1].registers, -1); /* does not fit */
    assert_int_equal(jit_cuda_read_log(log, k, 1), 1);
    assert_int_equal(jit_cuda_read_log("", k, 4), 0);
    assert_int_equal(jit_cuda_read_log("Compiling entry function '", k, 4), 0);
    assert_int_equal(jit_cuda_read_log("bytes stack frame", k, 4), 0);
}

static void test_jobs(void **state) {
    (void)state;
    int jobs = jit_nvrtc_jobs();
    assert_true(jobs >= 1 && jobs <= JIT_NVRTC_JOBS_MAX && jobs <= sysconf(_SC_NPROCESSORS_CONF));
}

int main(void) {
    help_fresh_cache();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resources), cmocka_unit_test(test_stack), cmocka_unit_test(test_targets),
        cmocka_unit_test(test_failing),   cmocka_unit_test(test_knows), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_absent),    cmocka_unit_test(test_fake),  cmocka_unit_test(test_log),
        cmocka_unit_test(test_jobs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    base_remove(getenv("NHAC_CACHE_DIR"), "test", NULL);
    return failed;
}
