/* test_library.c: a library folder written, opened both ways, run through libnha, exchanged, and written where it can
 * not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "help_library.h"
#include "tuner/journal.h"

static void has_text(const char *folder, const char *file, const char *text) {
    err e = {0};
    char *data;
    size_t size;
    if (!base_file_read(help_path(folder, file), 1 << 20, &data, &size, "test", &e)) fail_msg("%s", e.text);
    if (!strstr(data, text)) fail_msg("\"%s\" is not in %s:\n%s", text, file, data);
    free(data);
}

/* Prefill of N = 2 sequences of `length` tokens through libnha; the kernels write task + mark over the first floats of
 * o. */
static float run_prefill(const nha_library *library, int64_t length) {
    nha_error error;
    nha_plan_options options;
    nha_plan *plan;
    nha_args args;
    NHA_INIT(options);
    options.op = NHA_PREFILL;
    options.threads = 1;
    options.max_sequences = 2;
    options.max_length = length;
    if (nha_plan_create(library, &options, &plan, &error)) fail_msg("%s", error.text);
    const size_t workspace_bytes = nha_plan_workspace(plan);
    void *workspace = aligned_alloc(NHA_WORKSPACE_ALIGN, (workspace_bytes + 511) / 256 * 256);
    float *q = aligned_alloc(64, sizeof(float) * (size_t)(2 * length * 2 * 16));
    float *k = aligned_alloc(64, sizeof(float) * (size_t)(2 * length * 16));
    float *gate = aligned_alloc(64, sizeof(float) * (size_t)(2 * length * 8));
    float *o = aligned_alloc(64, sizeof(float) * (size_t)(2 * length * 2 * 16));
    memset(q, 0, sizeof(float) * (size_t)(2 * length * 2 * 16));
    memset(k, 0, sizeof(float) * (size_t)(2 * length * 16));
    memset(gate, 0, sizeof(float) * (size_t)(2 * length * 8));
    NHA_INIT(args);
    args.sequences = 2;
    args.tokens = length;
    args.q = (nha_tensor){.data = q, .stride_batch = length * 32, .stride_token = 32, .stride_head = 16};
    args.o = (nha_tensor){.data = o, .stride_batch = length * 32, .stride_token = 32, .stride_head = 16};
    args.k = args.v = (nha_tensor){.data = k, .stride_batch = length * 16, .stride_token = 16, .stride_head = 16};
    args.gate = (nha_tensor){.data = gate, .stride_batch = length * 8, .stride_token = 8, .stride_head = 8};
    if (nha_execute(plan, &args, workspace, workspace_bytes, NULL, &error)) fail_msg("%s", error.text);
    const float result = o[1];
    nha_plan_destroy(plan);
    free(workspace);
    free(q);
    free(k);
    free(gate);
    free(o);
    return result - 1; /* task 1 */
}

/* The table is what the C compiler of this test sees in the structs. */
static void check_table(const nha_library *library, const char *name) {
    assert_memory_equal(library->magic, NHA_LIBRARY_MAGIC, sizeof NHA_LIBRARY_MAGIC);
    assert_int_equal(library->abi_version, NHA_ABI_VERSION);
    assert_int_equal(library->struct_size, sizeof(nha_library));
    assert_string_equal(library->name, name);
    assert_string_equal(library->generator, "nhac " NHA_VERSION);
    assert_int_equal(library->problem_count, 1);
    assert_int_equal(library->kernel_count, HELP_KERNELS);
    assert_int_equal(library->min_driver_version, 0);
    const nha_problem *p = &library->problems[0];
    assert_string_equal(p->name, name);
    assert_int_equal(p->head_dim_qk, 16);
    assert_int_equal(p->head_dim_v, 16);
    assert_int_equal(p->heads_q, 2);
    assert_int_equal(p->heads_kv, 1);
    assert_int_equal(p->slots, 8);
    assert_int_equal(p->window, 4);
    assert_int_equal(p->slot_lag, 4);
    assert_true(p->scale == 0.25);
    assert_true(p->gate_normalizer == 8);
    /* Sorted by (op, rank); ranges, codes and functions belong to their rows. */
    static const char *const names[] = {"prefill.baseline.x3", "prefill.baseline.x2", "decode.baseline.x1"};
    static const int from[] = {2, 1, 0};
    for (int i = 0; i < HELP_KERNELS; i++) {
        const nha_kernel *k = &library->kernels[i];
        assert_string_equal(k->name, names[i]);
        assert_int_equal(k->op, i < 2 ? NHA_PREFILL : NHA_DECODE);
        assert_int_equal(k->kind, NHA_CPU);
        assert_int_equal(k->rank, i == 0 ? 0 : 100);
        assert_int_equal(k->min_length, i == 0 ? 8 : 0);
        assert_true(k->max_length == INT64_MAX && k->max_tasks == INT64_MAX && k->min_tasks == 0);
        assert_null(k->cuda);
        assert_null(k->cubin);
        assert_null(k->ptx);
        assert_true(k->cubin_bytes == 0 && k->ptx_bytes == 0);
        assert_int_equal(k->cpu->block_tokens, i < 2 ? 16 : 1);
        assert_int_equal(k->cpu->scratch_bytes, 64 * from[i]);
        assert_int_equal(k->cpu->scratch_panel_bytes, 128);
        assert_true(k->cpu->delta_cost == 0.125);
        assert_null(k->cpu->segment_delta);
        assert_null(k->cpu->segment_scan);
    }
}

static void opens_both_ways_and_runs(void **state) {
    (void)state;
    const char *parent = help_path(help_folder(), "both"), *path = help_path(parent, "tiny-1.b");
    help_write(parent, "tiny-1.b", 100);
    assert_int_equal(help_entries(parent), 1); /* no temporary is left */
    for (int way = 0; way < 2; way++) {
        err e = {0};
        tune_library library;
        if (!tune_library_open(path, way ? TUNE_OPEN_ARCHIVE : 0, &library, &e)) fail_msg("%s", e.text);
        assert_int_equal(library.code != NULL, way == 1);
        assert_int_equal(library.module != NULL, way == 0);
        assert_string_equal(library.spec.problem.name, "tiny-1.b");
        assert_string_equal(library.spec.problem.c_name, "tiny_1_b");
        check_table(library.library, "tiny-1.b");
        assert_true(run_prefill(library.library, 16) == 102);
        assert_true(run_prefill(library.library, 4) == 101);
        tune_library_close(&library);
    }
    err e = {0};
    tune_library library;
    assert_true(tune_library_open(path, TUNE_OPEN_NO_CODE, &library, &e));
    assert_null(library.library);
    assert_int_equal(library.manifest.kernel_count, HELP_KERNELS);
    char *data;
    size_t size;
    assert_true(tune_library_read(&library, library.manifest.kernels[0].source, &data, &size, &e));
    assert_non_null(strstr(data, "nhac_kernel_102"));
    free(data);
    assert_false(tune_library_read(&library, "../other", &data, &size, &e));
    assert_int_equal(e.code, ERR_INPUT);
    err_clear(&e);
    tune_library_close(&library);
}

static void folder_has_its_files(void **state) {
    (void)state;
    const char *parent = help_path(help_folder(), "files"), *path = help_path(parent, "tiny");
    help_write(parent, "tiny", 100);
    has_text(path, "nha_tiny.h", "#define NHA_TINY_WINDOW INT64_C(4)");
    has_text(path, "nha_tiny.h", "extern const nha_library nha_library_tiny;");
    has_text(path, "nha_tinyConfig.cmake", "add_library(nha_tiny::static STATIC IMPORTED)");
    has_text(path, "nha_tinyConfig.cmake", "nha_tiny::shared");
    has_text(path, "nha_tiny.pc", "prefix=${pcfiledir}");
    has_text(path, "manifest.yaml", "format: 2\n");
    has_text(path, "manifest.yaml", "prefill.baseline.x3");
    has_text(path, "spec.yaml", "tiny");
    has_text(path, "src/decode.baseline.x1.ll", "define linkonce_odr hidden void @nhac_kernel_100");
    has_text(path, "report.html", "prefill.baseline.x2");
    assert_true(base_exists(help_path(path, "tuning.jsonl")));
    assert_false(base_exists(help_path(path, "exports.map")));
    assert_false(base_exists(help_path(path, "cc.log")));
    assert_int_equal(help_entries(path), 10);
    assert_int_equal(help_entries(help_path(path, "src")), HELP_KERNELS);
    /* No file says where it was made. */
    free(help_run("! grep -rl '%s' '%s'", help_folder(), path));
}

static void same_content_same_bytes(void **state) {
    (void)state;
    const char *one = help_path(help_folder(), "same1"), *two = help_path(help_folder(), "elsewhere/same2");
    help_write(one, "tiny", 100);
    help_write(two, "tiny", 100);
    free(help_run("diff -r '%s' '%s'", one, two));
    help_write(two, "tiny", 200);
    free(help_run("! diff -rq '%s' '%s'", one, two));
}

static void existing_library_is_exchanged(void **state) {
    (void)state;
    err e = {0};
    tune_library library;
    const char *parent = help_path(help_folder(), "exchange"), *path = help_path(parent, "tiny");
    help_write(parent, "tiny", 100);
    assert_true(base_file_write(help_path(path, "stray"), "x", 1, "test", NULL));
    assert_true(tune_library_open(path, 0, &library, &e));
    help_write(parent, "tiny", 200);
    assert_int_equal(help_entries(parent), 1);
    assert_false(base_exists(help_path(path, "stray")));
    assert_true(run_prefill(library.library, 16) == 102); /* what is loaded stays */
    tune_library_close(&library);
    assert_true(tune_library_open(path, 0, &library, &e));
    assert_true(run_prefill(library.library, 16) == 202);
    tune_library_close(&library);
}

/* The journal is copied as it is; the report tells of its records and does not trust their texts. */
static void journal_and_report(void **state) {
    (void)state;
    err e = {0};
    help_content made;
    tune_journal journal;
    char key[65], *copy;
    size_t size;
    const char *parent = help_path(help_folder(), "journal");
    tune_record verified = {.kind = TUNE_RECORD_VERIFIED, .op = NHA_PREFILL, .tile = "x2"};
    tune_record timed = {.kind = TUNE_RECORD_FINAL,
                         .op = NHA_PREFILL,
                         .tile = "x2",
                         .batch = 3,
                         .tokens = 777,
                         .timed_tokens = 777,
                         .threads = 1,
                         .samples = {.us = {50, 50, 50}, .count = 3, .iterations = 1},
                         .base = {.us = {100, 100, 100}, .count = 3, .iterations = 1}};
    tune_record rejected = {.kind = TUNE_RECORD_REJECTED, .op = NHA_DECODE, .tile = "x1", .why = "<script>&"};
    help_make(&made, "tiny", 100);
    tune_journal_key(&made.spec.problem, "cpu", "generator", "llvm", 1, key);
    assert_true(tune_journal_open(help_path(help_folder(), "live"), key, &journal, &e));
    assert_true(tune_journal_add(&journal, &verified, &e) && tune_journal_add(&journal, &timed, &e) &&
                tune_journal_add(&journal, &rejected, &e));
    made.content.journal = journal.text.data;
    made.content.journal_size = journal.text.size;
    made.content.how = "how <it> was made";
    assert_true(tune_library_write(parent, &made.content, NULL, &e));
    assert_true(base_file_read(help_path(parent, "tiny/tuning.jsonl"), 1 << 20, &copy, &size, "test", &e));
    assert_int_equal(size, journal.text.size);
    assert_memory_equal(copy, journal.text.data, size);
    free(copy);
    const char *path = help_path(parent, "tiny");
    has_text(path, "report.html", "how &lt;it&gt; was made");
    has_text(path, "report.html", "1 candidates verified, 1 measurements");
    has_text(path, "report.html", "<td>777</td>");
    has_text(path, "report.html", "<td>50.00</td>");
    has_text(path, "report.html", "50.0%");
    has_text(path, "report.html", "&lt;script&gt;&amp;");
    tune_journal_close(&journal);
    help_free(&made);
}

/* One kernel that is best for two ranges: two rows, one member, one source. */
static void kernel_in_two_rows(void **state) {
    (void)state;
    err e = {0};
    help_content made;
    tune_library library;
    const char *parent = help_path(help_folder(), "rows");
    help_make(&made, "tiny", 100);
    made.kernel[1].name = made.kernel[2].name;
    made.kernel[1].object = made.kernel[2].object;
    made.kernel[1].object_size = made.kernel[2].object_size;
    made.kernel[1].symbol_main = made.kernel[2].symbol_main;
    made.kernel[1].code = made.kernel[2].code;
    assert_true(tune_library_write(parent, &made.content, NULL, &e));
    assert_true(tune_library_open(help_path(parent, "tiny"), TUNE_OPEN_ARCHIVE, &library, &e));
    assert_ptr_equal(library.library->kernels[0].cpu->main, library.library->kernels[1].cpu->main);
    assert_true(run_prefill(library.library, 4) == 102);
    tune_library_close(&library);
    made.kernel[1].object = made.kernel[0].object; /* one name for two codes */
    made.kernel[1].object_size = made.kernel[0].object_size;
    assert_false(tune_library_write(parent, &made.content, NULL, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    err_clear(&e);
    help_free(&made);
}

static void needs_no_compiler(void **state) {
    (void)state;
    err e = {0};
    help_content made;
    tune_library library;
    char note[256], *path = strdup(getenv("PATH"));
    const char *parent = help_path(help_folder(), "bare");
    help_make(&made, "tiny", 100);
    setenv("PATH", "/nonexistent", 1);
    assert_true(tune_library_write(parent, &made.content, note, &e));
    setenv("PATH", path, 1);
    assert_non_null(strstr(note, "libnha_tiny.so is left out"));
    assert_false(base_exists(help_path(parent, "tiny/libnha_tiny.so")));
    assert_true(tune_library_open(help_path(parent, "tiny"), 0, &library, &e));
    assert_non_null(library.code);
    assert_true(run_prefill(library.library, 16) == 102);
    tune_library_close(&library);
    has_text(help_path(parent, "tiny"), "nha_tinyConfig.cmake", "nha_tiny::static");
    free(help_run("! grep shared '%s/tiny/nha_tinyConfig.cmake'", parent));
    help_free(&made);
    free(path);
}

static void failing_compiler_is_reported(void **state) {
    (void)state;
    err e = {0};
    help_content made;
    char *path = strdup(getenv("PATH"));
    const char *parent = help_path(help_folder(), "broken"), *bin = help_path(help_folder(), "bin"),
               *cc = help_path(bin, "cc");
    static const char script[] = "#!/bin/sh\necho cc: the linker is on holiday\nexit 3\n";
    assert_true(base_mkdirs(bin, "test", NULL));
    assert_true(base_file_write(cc, script, sizeof script - 1, "test", NULL));
    assert_int_equal(chmod(cc, 0755), 0);
    help_write(parent, "tiny", 100);
    help_make(&made, "tiny", 200);
    setenv("PATH", bin, 1);
    assert_false(tune_library_write(parent, &made.content, NULL, &e));
    setenv("PATH", path, 1);
    assert_int_equal(e.code, ERR_COMPILE);
    assert_non_null(strstr(e.text, "exit status 3"));
    assert_non_null(strstr(e.log, "on holiday"));
    err_clear(&e);
    /* The older library is as it was, alone. */
    tune_library library;
    assert_int_equal(help_entries(parent), 1);
    assert_true(tune_library_open(help_path(parent, "tiny"), 0, &library, &e));
    assert_true(run_prefill(library.library, 16) == 102);
    tune_library_close(&library);
    help_free(&made);
    free(path);
}

/* A file size limit stands for a full disk: at each limit either an error and nothing, or the library. */
static void full_disk_leaves_nothing(void **state) {
    (void)state;
    const char *parent = help_path(help_folder(), "full");
    help_content made;
    help_make(&made, "tiny", 100);
    assert_true(base_mkdirs(parent, "test", NULL));
    bool written = false;
    rlim_t limit = 0;
    for (; !written && limit <= 1 << 20; limit += 1024) {
        pid_t child = fork();
        int status;
        if (child == 0) {
            err e = {0};
            signal(SIGXFSZ, SIG_IGN);
            const struct rlimit size = {limit, limit};
            setrlimit(RLIMIT_FSIZE, &size);
            const bool ok = tune_library_write(parent, &made.content, NULL, &e);
            _exit(ok ? ERR_NONE : e.code);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        written = WEXITSTATUS(status) == ERR_NONE;
        if (!written && WEXITSTATUS(status) != ERR_SYSTEM) fail_msg("limit %d: status %d", (int)limit, status);
        assert_int_equal(help_entries(parent), written);
    }
    assert_true(written && limit > 4096);
    help_free(&made);
}

/* What a killed run left is removed once it is old; what another run is writing is not. */
static void stale_temporaries_go(void **state) {
    (void)state;
    const char *parent = help_path(help_folder(), "stale");
    const char *old = help_path(parent, ".nhac-123-4.tmp"), *young = help_path(parent, ".nhac-123-5.tmp");
    const char *other = help_path(parent, ".nhac-notes.tmp");
    const struct timespec past[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    assert_true(base_mkdirs(help_path(old, "src"), "test", NULL));
    assert_true(base_mkdirs(young, "test", NULL));
    assert_true(base_mkdirs(other, "test", NULL));
    assert_int_equal(utimensat(AT_FDCWD, old, past, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, other, past, 0), 0);
    help_write(parent, "tiny", 100);
    assert_false(base_exists(old));
    assert_true(base_exists(young));
    assert_true(base_exists(other));
}

static void unwritable_places_are_errors(void **state) {
    (void)state;
    err e = {0};
    help_content made;
    const char *file = help_path(help_folder(), "a-file");
    help_make(&made, "tiny", 100);
    assert_true(base_file_write(file, "x", 1, "test", NULL));
    assert_false(tune_library_write(file, &made.content, NULL, &e));
    assert_int_equal(e.code, ERR_SYSTEM);
    err_clear(&e);
    assert_false(tune_library_write(help_path(file, "below"), &made.content, NULL, &e));
    assert_int_equal(e.code, ERR_SYSTEM);
    err_clear(&e);
    assert_false(tune_library_write("/proc/nhac", &made.content, NULL, &e));
    assert_int_equal(e.code, ERR_SYSTEM);
    err_clear(&e);
    help_free(&made);
}

static void bad_kernels_are_refused(void **state) {
    (void)state;
    help_content made;
    const char *parent = help_path(help_folder(), "refused");
    for (int i = 0; i < 6; i++) {
        err e = {0};
        help_make(&made, "tiny", 100);
        if (i == 0) made.kernel[0].name = "../escape";
        if (i == 1) made.kernel[0].name = ".hidden";
        if (i == 2) made.kernel[0].symbol_main = "a b";
        if (i == 3) made.kernel[0].object_size = 10;
        if (i == 4) made.content.kernel_count = 0;
        if (i == 5) made.kernel[2].target = strcmp(made.kernel[0].target, "neon") ? "neon" : "avx2";
        assert_false(tune_library_write(parent, &made.content, NULL, &e));
        assert_true(e.code == ERR_INTERNAL || e.code == ERR_INPUT);
        assert_false(base_exists(parent));
        err_clear(&e);
        help_free(&made);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_both_ways_and_runs),     cmocka_unit_test(folder_has_its_files),
        cmocka_unit_test(same_content_same_bytes),      cmocka_unit_test(existing_library_is_exchanged),
        cmocka_unit_test(kernel_in_two_rows),           cmocka_unit_test(needs_no_compiler),
        cmocka_unit_test(failing_compiler_is_reported), cmocka_unit_test(full_disk_leaves_nothing),
        cmocka_unit_test(unwritable_places_are_errors), cmocka_unit_test(bad_kernels_are_refused),
        cmocka_unit_test(stale_temporaries_go),         cmocka_unit_test(journal_and_report),
    };
    help_folder();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
