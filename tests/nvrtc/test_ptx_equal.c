/* test_ptx_equal.c: rendering changes nothing: the PTX of a template as it stands, with its knobs given by -D and its
 * parts as headers, is the PTX of the rendered file. Small templates of tests/render, and the real ones for specs of
 * tests/golden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/path.h"
#include "gen/cuda/knobs.h"
#include "gen/spec.h"
#include "help_nvrtc.h"

enum { FILES_MAX = 32, OPTIONS_MAX = 128 };

/* -DNAME=VALUE for each knob of the rendering, malloc'd. */
static int knob_options(const gen_rendered *rendered, char *options[OPTIONS_MAX]) {
    int count = 0;
    for (int i = 0; i < rendered->constant_count; i++) {
        const gen_constant *c = &rendered->constants[i];
        base_buf b = {0};
        if (c->origin != GEN_ORIGIN_KNOB)
            continue;
        base_buf_printf(&b, "-D%s=%s", c->name, c->text);
        for (size_t k = 0; k < b.size; k++)
            b.data[k] = b.data[k] == '\n' ? ' ' : b.data[k]; /* lists are wrapped */
        assert_true(count < OPTIONS_MAX);
        options[count++] = base_buf_take(&b, NULL, "test", NULL);
    }
    return count;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The name that a line `.global .align N .TYPE NAME = VALUE;` defines, if it is a knob or a fixed constant. NVRTC,
 * unlike nvcc, writes a variable for every constexpr at file scope, used or not. */
static const gen_constant *constant_defined(const gen_rendered *rendered, const char *line, size_t length) {
    static const char begin[] = ".global .align ";
    if (length < sizeof begin || memcmp(line, begin, sizeof begin - 1) != 0)
        return NULL;
    for (int i = 0; i < rendered->constant_count; i++) {
        const gen_constant *c = &rendered->constants[i];
        const char *at = c->origin == GEN_ORIGIN_DERIVED ? NULL : memmem(line, length, c->name, strlen(c->name));
        if (at && at[-1] == ' ' && !is_word(at[strlen(c->name)]) && !memchr(line, '[', length))
            return c;
    }
    return NULL;
}

/* Occurrences of a name as a whole word. */
static int count_word(const char *text, const char *name) {
    int count = 0;
    size_t length = strlen(name);
    for (const char *at = text; (at = strstr(at, name)); at += length)
        count += (at == text || !is_word(at[-1])) && !is_word(at[length]);
    return count;
}

/* PTX without the variables of knobs, which nothing may refer to. */
static char *without_knobs(const gen_rendered *rendered, const char *ptx) {
    base_buf b = {0};
    for (const char *line = ptx; *line;) {
        size_t length = strcspn(line, "\n");
        const gen_constant *c = constant_defined(rendered, line, length);
        if (c)
            assert_int_equal(count_word(ptx, c->name), 1);
        else
            base_buf_printf(&b, "%.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    return base_buf_take(&b, NULL, "test", NULL);
}

static void compare(const jit_nvrtc *nvrtc, const gen_embedded *files, const char *name, const gen_given *given,
                    int given_count, const char *arch) {
    char *options[OPTIONS_MAX];
    jit_cuda_header headers[FILES_MAX];
    jit_cuda_image with_options, rendered_image;
    gen_rendered rendered;
    err e = {0};
    int header_count = 0;
    const char *source = NULL;
    if (!gen_render(files, name, given, given_count, &rendered, &e)) {
        err_print(stderr, &e);
        fail();
    }
    assert_null(rendered.refusal);
    for (const gen_embedded *f = files; f->name; f++) {
        if (strcmp(f->name, name) == 0)
            source = f->text;
        if (strstr(f->name, ".cuh") && header_count < FILES_MAX)
            headers[header_count++] = (jit_cuda_header){f->name, f->text};
    }
    int count = knob_options(&rendered, options);
    jit_cuda_request request = {.source = source,
                                .name = "kernel.cu",
                                .arch = arch,
                                .options = (const char *const *)options,
                                .option_count = count,
                                .headers = headers,
                                .header_count = header_count};
    help_compile(nvrtc, &request, &with_options);
    request = (jit_cuda_request){.source = rendered.text, .name = "kernel.cu", .arch = arch};
    help_compile(nvrtc, &request, &rendered_image);
    char *a = without_knobs(&rendered, with_options.ptx), *b = without_knobs(&rendered, rendered_image.ptx);
    if (strcmp(a, b) != 0) {
        size_t at = 0;
        while (a[at] == b[at])
            at++;
        print_error("%s for %s: the PTX of the rendered file differs\n--- template\n%.400s\n--- rendered\n%.400s\n",
                    name, arch, a + at, b + at);
        fail();
    }
    free(a);
    free(b);
    while (count > 0)
        free(options[--count]);
    jit_cuda_image_destroy(&with_options);
    jit_cuda_image_destroy(&rendered_image);
    gen_rendered_destroy(&rendered);
}

static void test_small(void **state) {
    (void)state;
    static const char *const names[] = {"small.cu", "small_types.cuh", "small_load.cuh", "prefill_small.cu"};
    static const gen_given given[] = {{"KERNEL_MAIN", "small_t1", false}, {"TILE", "1", false},
                                      {"REACH", "4611686018427387904", false}, {"SCALE", "1.25e-01f", false},
                                      {"TABLE", "1ull, 2ull, 3ull, 0xfedcba9876543210ull, 5ull", false}};
    jit_nvrtc *nvrtc = help_nvrtc();
    gen_embedded files[5] = {{0}};
    for (int i = 0; i < 4; i++) {
        char path[256], *text;
        snprintf(path, sizeof path, "tests/render/%s", names[i]);
        assert_true(base_file_read(path, 1 << 20, &text, &files[i].size, "test", NULL));
        files[i].name = names[i];
        files[i].text = text;
    }
    compare(nvrtc, files, "small.cu", NULL, 0, "sm_80");
    compare(nvrtc, files, "small.cu", given, 5, "sm_90");
    compare(nvrtc, files, "prefill_small.cu", NULL, 0, "sm_80");
    for (int i = 0; i < 4; i++)
        free((char *)files[i].text);
    jit_nvrtc_close(nvrtc);
}

static void compare_real(const jit_nvrtc *nvrtc, const gen_cuda_kernel *kernel, const char *path, const char *arch) {
    const gen_cuda_target *target = gen_cuda_target_find(arch);
    gen_spec spec;
    gen_cuda_tile tile;
    gen_cuda_unit unit;
    gen_cuda_given given = {.count = 0};
    err e = {0};
    if (!gen_spec_read(path, &spec, &e) ||
        !gen_cuda_tile_default(gen_embedded_files, kernel, &spec.problem, target, &tile, &e) ||
        !gen_cuda_emit(gen_embedded_files, kernel, &spec.problem, target, &tile, &unit, &e) ||
        !gen_cuda_give(kernel, &spec.problem, target, &tile, unit.entry, &given, &e)) {
        err_print(stderr, &e);
        fail();
    }
    compare(nvrtc, gen_embedded_files, kernel->template_file, given.item, given.count, arch);
    base_arena_free(&given.arena);
    gen_cuda_unit_destroy(&unit);
    gen_spec_destroy(&spec);
}

static void test_real(void **state) {
    (void)state;
    static const struct row {
        const char *spec, *arch;
    } rows[] = {{"tests/golden/gqa-neox-bf16.yaml", "sm_80"},
                {"tests/golden/gptj-odd-dims.yaml", "sm_90"},
                {"tests/golden/rope-given-m80-f16.yaml", "sm_80"},
                {"tests/golden/causal-m0.yaml", "sm_90"}};
    jit_nvrtc *nvrtc = help_nvrtc();
    int count;
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&count);
    for (int k = 0; k < count; k++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            compare_real(nvrtc, &kernels[k], rows[i].spec, rows[i].arch);
    jit_nvrtc_close(nvrtc);
}

int main(void) {
    help_fresh_cache();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_real)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    base_remove(getenv("NHAC_CACHE_DIR"), "test", NULL);
    return failed;
}
