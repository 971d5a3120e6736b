/* test_cuda_emit.c: problem -> tile -> layout -> launch for CUDA kernels, with a small template, and the real templates
 * for every spec of tests/golden and every target. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "gen/cuda/cuda.h"
#include "gen/spec.h"
#include "help_render.h"

static const char *const names[] = {"prefill_small.cu", "prefill_small.yaml"};

static const char *refuses_none(const gen_problem *problem, const gen_cuda_target *target) {
    (void)problem;
    return target->arch < 80 ? "too old" : NULL;
}

static const gen_cuda_kernel small = {
    .op = NHA_PREFILL,
    .name = "small",
    .template_file = "prefill_small.cu",
    .space_file = "prefill_small.yaml",
    .refuses = refuses_none,
    .launch_count = 2,
    .launch = {{.knob = "KERNEL_MAIN", .suffix = "", .threads = "THREADS", .shared = "SHARED_BYTES"},
               {.knob = "KERNEL_COMMIT", .suffix = "_commit", .threads = "COMMIT_THREADS", .needs_cache = true}}};

static const char spec_text[] =
    "name: a-b.c\nhead_dim: 64\nheads: {query: 8, kv: 2}\nslots: 32\nwindow: 48\ndtype: bf16\n"
    "rope: {style: neox, theta: 10000}\ntargets: [sm_80]\n";

static void read_spec(const char *text, gen_spec *spec) {
    err e = {0};
    if (!gen_spec_parse("a.yaml", text, strlen(text), spec, &e)) {
        err_print(stderr, &e);
        fail();
    }
}

/* What every rendered file keeps. */
static void check_source(const char *source, const char *target) {
    char command[128];
    assert_true(strncmp(source, "// Generated file; do not edit. Made again by: nhac gen ", 56) == 0);
    snprintf(command, sizeof command, ".yaml --target %s", target);
    assert_non_null(strstr(source, command));
    assert_null(strstr(source, "#include"));
    assert_null(strstr(source, "__DATE__"));
    for (const char *line = source; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        assert_true(strncmp(line + strspn(line, " \t"), "#if", 3) != 0);
}

typedef struct census {
    int legal, rejected, standard;
    char reason[256];
} census;

static bool count(void *context, const gen_cuda_tile *tile, const char *reason) {
    census *c = context;
    assert_true(!tile->standard || (!reason && c->legal == 0));
    c->standard += tile->standard;
    c->legal += !reason;
    c->rejected += reason != NULL;
    if (reason)
        snprintf(c->reason, sizeof c->reason, "%s", reason);
    return true;
}

static void test_space(void **state) {
    (void)state;
    gen_embedded *files = help_files(names, 2);
    gen_spec spec;
    census c = {0};
    gen_cuda_tile tile;
    read_spec(spec_text, &spec);
    assert_true(gen_cuda_space(files, &small, &spec.problem, gen_cuda_target_find("sm_80"), count, &c, NULL));
    assert_int_equal(c.legal + c.rejected, 9);
    assert_int_equal(c.rejected, 3); /* 64x8, 32x4, 32x8 */
    assert_int_equal(c.standard, 1);
    assert_string_equal(c.reason, "a warp has at least 16 rows of a chunk");
    c = (census){0}; /* 128 * 64 * 2 * 8 = 128 KiB */
    assert_true(gen_cuda_space(files, &small, &spec.problem, gen_cuda_target_find("sm_89"), count, &c, NULL));
    assert_int_equal(c.rejected, 4);
    assert_string_equal(c.reason, "a block needs more shared memory than the target has");
    assert_true(gen_cuda_tile_default(files, &small, &spec.problem, gen_cuda_target_find("sm_89"), &tile, NULL));
    assert_true(tile.standard);
    assert_string_equal(tile.knob[0].name, "CHUNK");
    assert_int_equal(tile.knob[0].value, 64);
    assert_int_equal(tile.knob[1].value, 4);
    gen_spec_destroy(&spec);
    help_files_free(files);
}

static void test_unit(void **state) {
    (void)state;
    gen_embedded *files = help_files(names, 2);
    const gen_cuda_target *target = gen_cuda_target_find("sm_90a");
    gen_spec spec;
    gen_cuda_tile tile, other = {.count = 2, .knob = {{"CHUNK", 128}, {"WARPS", 8}}};
    gen_cuda_unit unit, again;
    read_spec(spec_text, &spec);
    assert_true(gen_cuda_tile_default(files, &small, &spec.problem, target, &tile, NULL));
    assert_true(gen_cuda_emit(files, &small, &spec.problem, target, &tile, &unit, NULL));
    assert_string_equal(unit.reason, "");
    assert_string_equal(unit.name, "prefill.sm_90a.small.chunk64.warps4");
    assert_int_equal(unit.code.launch_count, 2);
    assert_int_equal(unit.code.launch[0].threads, 128);
    assert_int_equal(unit.code.launch[0].shared_bytes, 64 * 64 * 2 * 4);
    assert_int_equal(unit.code.launch[0].needs_cache, 0);
    assert_int_equal(unit.code.launch[1].threads, 128);
    assert_int_equal(unit.code.launch[1].shared_bytes, 0);
    assert_int_equal(unit.code.launch[1].needs_cache, 1);
    assert_int_equal(unit.code.workspace_bytes, 256);
    assert_int_equal(unit.code.workspace_window_bytes, 128);
    assert_true(strncmp(unit.code.launch[0].entry, "nha_a_b_c_prefill_small_sm_90a_", 31) == 0);
    assert_non_null(strstr(unit.code.launch[1].entry, "_commit"));
    assert_non_null(strstr(unit.source, unit.code.launch[1].entry));
    assert_non_null(strstr(unit.source, "0x28be60db9391054aull, ")); /* one radian a token: 2^64 / 2pi turns */
    assert_non_null(strstr(unit.source, "constexpr long long WINDOW = 48ll; // W"));
    assert_null(strstr(unit.source, "--all"));
    check_source(unit.source, "sm_90a");
    assert_true(gen_cuda_emit(files, &small, &spec.problem, target, &tile, &again, NULL));
    assert_string_equal(unit.source, again.source);
    gen_cuda_unit_destroy(&again);
    assert_true(gen_cuda_emit(files, &small, &spec.problem, target, &other, &again, NULL));
    assert_string_not_equal(unit.entry[0], again.entry[0]); /* names never meet */
    assert_string_equal(unit.template_hash, again.template_hash);
    assert_non_null(strstr(again.source, "--target sm_90a --all"));
    gen_cuda_unit_destroy(&again);
    gen_cuda_unit_destroy(&unit);
    gen_spec_destroy(&spec);
    help_files_free(files);
}

static void test_errors(void **state) {
    (void)state;
    gen_embedded *files = help_files(names, 2);
    gen_spec spec;
    gen_cuda_unit unit;
    gen_cuda_tile tile = {.count = 1, .knob = {{"CHUNKS", 64}}};
    gen_cuda_kernel odd = small;
    gen_cuda_target old;
    err e = {0};
    read_spec(spec_text, &spec);
    assert_false(gen_cuda_emit(files, &small, &spec.problem, gen_cuda_target_find("sm_80"), &tile, &unit, &e));
    assert_non_null(strstr(e.text, "no knob CHUNKS; nearest: CHUNK"));
    err_clear(&e);
    odd.launch[0].threads = "BLOCK_THREADS";
    tile.count = 0;
    assert_false(gen_cuda_emit(files, &odd, &spec.problem, gen_cuda_target_find("sm_80"), &tile, &unit, &e));
    assert_non_null(strstr(e.text, "needs a constexpr BLOCK_THREADS"));
    err_clear(&e);
    odd.template_file = "absent.cu";
    assert_false(gen_cuda_emit(files, &odd, &spec.problem, gen_cuda_target_find("sm_80"), &tile, &unit, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    err_clear(&e);
    gen_cuda_target_describe(7, 5, 64 << 10, 64 << 10, 65536, 1024, &old);
    assert_false(gen_cuda_tile_default(files, &small, &spec.problem, &old, &tile, &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_string_equal(e.text, "sm_75: too old");
    err_clear(&e);
    gen_spec_destroy(&spec);
    help_files_free(files);
}

static void test_targets(void **state) {
    (void)state;
    static const char *const all[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100f", "sm_120f"};
    int rows;
    const gen_cuda_target *table = gen_cuda_target_table(&rows);
    assert_int_equal(rows, 7);
    for (int i = 0; i < 7; i++)
        assert_ptr_equal(gen_cuda_target_find(all[i]), &table[i]);
    assert_null(gen_cuda_target_find("sm_70"));
    assert_string_equal(gen_cuda_target_of(9, 0)->name, "sm_90a");
    assert_string_equal(gen_cuda_target_of(12, 0)->name, "sm_120f");
    assert_null(gen_cuda_target_of(7, 0));
}

static bool embedded(const char *name) {
    for (const gen_embedded *f = gen_embedded_files; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    return false;
}

static void check_real(const char *path, const gen_cuda_kernel *kernel, const gen_cuda_target *target) {
    gen_spec spec;
    gen_cuda_tile tile;
    gen_cuda_unit a, b;
    err e = {0};
    bool ok = gen_spec_read(path, &spec, &e) &&
              gen_cuda_tile_default(gen_embedded_files, kernel, &spec.problem, target, &tile, &e) &&
              gen_cuda_emit(gen_embedded_files, kernel, &spec.problem, target, &tile, &a, &e) &&
              gen_cuda_emit(gen_embedded_files, kernel, &spec.problem, target, &tile, &b, &e);
    if (!ok) {
        print_error("%s %s %s\n", path, kernel->template_file, target->name);
        err_print(stderr, &e);
        fail();
    }
    assert_string_equal(a.source, b.source);
    check_source(a.source, target->name);
    gen_cuda_unit_destroy(&a);
    gen_cuda_unit_destroy(&b);
    gen_spec_destroy(&spec);
}

static void test_real(void **state) {
    (void)state;
    int kernel_count, target_count, specs = 0;
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&kernel_count);
    const gen_cuda_target *targets = gen_cuda_target_table(&target_count);
    DIR *folder = opendir("tests/golden");
    assert_non_null(folder);
    for (const struct dirent *item; (item = readdir(folder));) {
        size_t length = strlen(item->d_name);
        char path[512];
        if (length < 6 || strcmp(item->d_name + length - 5, ".yaml") != 0)
            continue;
        specs++;
        snprintf(path, sizeof path, "tests/golden/%s", item->d_name);
        for (int k = 0; k < kernel_count; k++) {
            assert_true(embedded(kernels[k].template_file) && embedded(kernels[k].space_file));
            for (int t = 0; t < target_count; t++)
                check_real(path, &kernels[k], &targets[t]);
        }
    }
    closedir(folder);
    assert_true(specs > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space),   cmocka_unit_test(test_unit), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_targets), cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
