/* test_elf_library.c: libraries of GPU kernels (their code is random bytes here): written without a compiler, read back
 * through the .so, the static library in a program, and the loader of constants; alone and beside CPU kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>

#include "base/file.h"
#include "base/path.h"
#include "help_library.h"
#include "base/sha256.h"
#include "tuner/library_ar.h"
#include "tuner/library_data.h"
#include "tuner/library_table.h"

enum { ROWS = 4, CUBIN_BYTES = 5000 };

/* Four rows in the table's order, which is not the caller's: a tuned prefill and its default share their code, then one
 * for sm_90a, then decode. */
typedef struct content {
    gen_spec spec;
    unsigned char cubin[ROWS][CUBIN_BYTES];
    char ptx[ROWS][128];
    nha_cuda_code code[ROWS];
    tune_library_kernel row[ROWS + HELP_KERNELS];
    tune_library_content library;
} content;

static unsigned seed = 5;

static unsigned draw(unsigned below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void make(content *c, const char *name) {
    static const char *const names[ROWS] = {"prefill.sm_80.r16", "prefill.sm_80.r16", "prefill.sm_90a.r32",
                                            "decode.sm_80.t128"};
    err e = {0};
    char text[256];
    memset(c, 0, sizeof *c);
    const int length = snprintf(text, sizeof text, "name: %s\nhead_dim: {qk: 32, v: 16}\nheads: {query: 4, kv: 2}\n"
                                                   "slots: 8\nwindow: 4\nslot_lag: 6\ndtype: bf16\n"
                                                   "targets: [sm_80, sm_90a]\n", name);
    if (!gen_spec_parse("test.yaml", text, (size_t)length, &c->spec, &e)) fail_msg("%s", e.text);
    seed = 5;
    for (int i = 0; i < ROWS; i++) {
        const int from = i == 1 ? 0 : i; /* whose code it is */
        for (int k = 0; k < CUBIN_BYTES; k++) c->cubin[i][k] = i == 1 ? c->cubin[0][k] : (unsigned char)draw(256);
        snprintf(c->ptx[i], sizeof c->ptx[i], "// ptx of row %d\n.version 8.0\n", from);
        c->code[i] = (nha_cuda_code){.launch_count = i == 3 ? 1 : 2,
                                     .workspace_bytes = 256 * (from + 1),
                                     .workspace_window_bytes = 16 * from};
        c->code[i].launch[0] = (nha_cuda_launch){i == 3 ? "decode_main" : "prefill_main", NHA_GRID_HEADS,
                                                 128 + 32 * from, 49152 + from, i == 3};
        if (i != 3) c->code[i].launch[1] = (nha_cuda_launch){"prefill_commit", NHA_GRID_HEADS, 64, 0, 1};
        /* The caller's order is the reverse within an op. */
        c->row[ROWS - 1 - i] = (tune_library_kernel){
            .name = names[i],
            .op = i == 3 ? NHA_DECODE : NHA_PREFILL,
            .kind = NHA_CUDA,
            .target = i == 2 ? "sm_90a" : "sm_80",
            .rank = i == 0 ? 0 : 99 + i,
            .min_tasks = i == 0 ? 3 : 0,
            .max_tasks = INT64_MAX - i,
            .min_length = i == 0 ? 7 : 0,
            .max_length = INT64_MAX,
            .cuda = &c->code[i],
            .cubin = c->cubin[i],
            .cubin_size = CUBIN_BYTES - 100 * (size_t)from,
            .ptx = c->ptx[i],
            .ptx_size = strlen(c->ptx[i]),
            .source = "// source\n",
        };
    }
    c->library = (tune_library_content){
        .spec = &c->spec, .kernels = c->row, .kernel_count = ROWS, .nvrtc = "12.9", .min_driver_version = 12090};
}

static const char *write_to(const content *c, const char *parent, bool cc) {
    err e = {0};
    char note[256], *path = strdup(getenv("PATH"));
    if (!cc) setenv("PATH", "/nonexistent", 1);
    if (!tune_library_write(parent, &c->library, note, &e)) fail_msg("%s\n%s", e.text, e.log ? e.log : "");
    setenv("PATH", path, 1);
    assert_int_equal(note[0] != 0, !cc);
    free(path);
    return help_path(parent, c->spec.problem.name);
}

/* ---- What is read is what was written ---- */

static void check_cuda(const nha_kernel *k, const content *c, int i) {
    const nha_cuda_code *code = &c->code[i];
    assert_null(k->cpu);
    assert_int_equal(k->cuda->launch_count, code->launch_count);
    assert_int_equal(k->cuda->workspace_bytes, code->workspace_bytes);
    assert_int_equal(k->cuda->workspace_window_bytes, code->workspace_window_bytes);
    for (int l = 0; l < code->launch_count; l++) {
        const nha_cuda_launch *is = &k->cuda->launch[l], *was = &code->launch[l];
        assert_string_equal(is->entry, was->entry);
        assert_true(is->grid == was->grid && is->threads == was->threads && is->shared_bytes == was->shared_bytes &&
                    is->needs_cache == was->needs_cache);
    }
    for (int l = code->launch_count; l < NHA_CUDA_LAUNCHES_MAX; l++) assert_null(k->cuda->launch[l].entry);
    const tune_library_kernel *row = &c->row[ROWS - 1 - i];
    assert_int_equal(k->cubin_bytes, row->cubin_size);
    assert_memory_equal(k->cubin, c->cubin[i], row->cubin_size);
    assert_int_equal((uintptr_t)k->cubin % 64, 0);
    assert_int_equal(k->ptx_bytes, row->ptx_size);
    assert_string_equal(k->ptx, c->ptx[i]); /* with its NUL */
}

/* The kernels of the content stand at `at` (0 prefill, decode at the end) in the table. */
static void check_library(const nha_library *l, const content *c, int kernels, int prefill, int decode) {
    nha_error error;
    const nha_problem *p = l->problems, *was = &c->spec.problem.nha;
    if (nha_library_check(l, &error) != NHA_OK) fail_msg("%s", error.text);
    assert_memory_equal(l->magic, NHA_LIBRARY_MAGIC "\0", 8);
    assert_int_equal(l->abi_version, NHA_ABI_VERSION);
    assert_int_equal(l->struct_size, sizeof *l);
    assert_string_equal(l->name, c->spec.problem.name);
    assert_string_equal(l->generator, "nhac " NHA_VERSION);
    assert_true(l->problem_count == 1 && l->kernel_count == kernels);
    assert_true(l->min_driver_version == 12090 && l->reserved == 0);
    assert_string_equal(p->name, c->spec.problem.name);
    assert_true(p->head_dim_qk == 32 && p->head_dim_v == 16 && p->heads_q == 4 && p->heads_kv == 2 && p->slots == 8);
    assert_true(p->dtype == NHA_BF16 && p->gate_dtype == was->gate_dtype && p->state_dtype == NHA_F32);
    assert_true(p->gate_input == was->gate_input && p->gate_s_given == was->gate_s_given && p->rope == was->rope);
    assert_true(p->slot_map == was->slot_map && p->value_map == was->value_map && p->window == 4 && p->slot_lag == 6);
    assert_true(p->scale == was->scale && p->gate_normalizer == was->gate_normalizer);
    for (int i = 0; i < ROWS; i++) {
        const nha_kernel *k = &l->kernels[i == 3 ? decode : prefill + i];
        const tune_library_kernel *row = &c->row[ROWS - 1 - i];
        assert_string_equal(k->name, row->name);
        assert_string_equal(k->isa, row->target);
        assert_true(k->problem == 0 && k->op == (int32_t)row->op && k->kind == NHA_CUDA && k->rank == row->rank);
        assert_true(k->cpu_features == 0 && k->min_tasks == row->min_tasks && k->max_tasks == row->max_tasks &&
                    k->min_length == row->min_length && k->max_length == row->max_length);
        check_cuda(k, c, i);
    }
    const nha_kernel *first = &l->kernels[prefill];
    assert_ptr_equal(first[0].cubin, first[1].cubin); /* the same bytes are there once */
    assert_ptr_equal(first[0].ptx, first[1].ptx);
    assert_ptr_not_equal(first[0].cubin, first[2].cubin);
}

static void gpu_library_opens_both_ways(void **state) {
    (void)state;
    static content c;
    make(&c, "gpu-1.b");
    const char *path = write_to(&c, help_path(help_folder(), "both"), true);
    for (int way = 0; way < 2; way++) {
        err e = {0};
        tune_library library;
        if (!tune_library_open(path, way ? TUNE_OPEN_ARCHIVE : 0, &library, &e)) fail_msg("%s", e.text);
        assert_int_equal(library.module != NULL, way == 0);
        assert_int_equal(library.data.base != NULL, way == 1);
        assert_null(library.code); /* no linker, no LLVM */
        check_library(library.library, &c, ROWS, 0, ROWS - 1);
        assert_int_equal(library.manifest.kernel_count, ROWS);
        tune_library_close(&library);
        assert_null(library.data.base);
    }
    gen_spec_destroy(&c.spec);
}

static void needs_no_compiler(void **state) {
    (void)state;
    static content c;
    err e = {0};
    tune_library library;
    make(&c, "bare");
    const char *path = write_to(&c, help_path(help_folder(), "bare"), false);
    assert_false(base_exists(help_path(path, "libnha_bare.so")));
    if (!tune_library_open(path, 0, &library, &e)) fail_msg("%s", e.text);
    assert_non_null(library.data.base);
    check_library(library.library, &c, ROWS, 0, ROWS - 1);
    tune_library_close(&library);
    gen_spec_destroy(&c.spec);
}

static void cpu_and_gpu_in_one(void **state) {
    (void)state;
    static content c;
    help_content cpu;
    make(&c, "mixed");
    help_make(&cpu, "mixed", 100);
    memcpy(c.row + ROWS, cpu.kernel, sizeof cpu.kernel);
    c.library.kernel_count = ROWS + HELP_KERNELS;
    c.library.llvm = "19";
    const char *path = write_to(&c, help_path(help_folder(), "mixed"), true);
    for (int way = 0; way < 2; way++) {
        err e = {0};
        tune_library library;
        if (!tune_library_open(path, way ? TUNE_OPEN_ARCHIVE : 0, &library, &e)) fail_msg("%s", e.text);
        assert_int_equal(library.code != NULL, way == 1);
        assert_null(library.data.base);
        /* By (op, kind, rank): CPU prefills 0 and 1, GPU prefills 2 to 4, CPU decode 5, GPU decode 6. */
        check_library(library.library, &c, ROWS + HELP_KERNELS, 2, 6);
        static const int cpu_rows[HELP_KERNELS] = {0, 1, 5};
        for (int i = 0; i < HELP_KERNELS; i++) {
            const nha_kernel *k = &library.library->kernels[cpu_rows[i]];
            float o[8] = {0};
            nha_cpu_args args = {.o.data = (char *)o};
            assert_true(k->kind == NHA_CPU && !k->cuda && !k->cubin && !k->ptx && !k->cubin_bytes && !k->ptx_bytes);
            assert_int_equal(k->cpu_features, cpu.kernel[0].cpu_features);
            k->cpu->main(&args, 5, 6, NULL);
            assert_true(o[5] == 5 + 102 - i);
        }
        tune_library_close(&library);
    }
    help_free(&cpu);
    gen_spec_destroy(&c.spec);
}

static void code_is_read_only_data(void **state) {
    (void)state;
    static content c;
    if (!help_has("nm") || !help_has("readelf")) return print_message("SKIPPED: there are no nm and readelf\n");
    make(&c, "hard");
    const char *path = write_to(&c, help_path(help_folder(), "hard"), true);
    const char *const commands[][2] = {
        {"nm -D '%s/libnha_hard.so' | sed 's/^[0-9a-f]* //'", "D nha_library_hard\n"},
        {"nm -g '%s/libnha_hard.a' 2>&1 | grep nha_library | sed 's/^[0-9a-f]* //'", "D nha_library_hard\n"},
        {"readelf -lW '%s/libnha_hard.so' | grep -c 'GNU_STACK.* RW '", "1\n"},
        {"readelf -lW '%s/libnha_hard.so' | grep -cE ' (RWE|R E) ' || true", "0\n"}, /* nothing in it can run */
        {"readelf -lW '%s/libnha_hard.so' | grep -c GNU_RELRO", "1\n"},
        {"readelf -dW '%s/libnha_hard.so' | grep -cE 'NEEDED|TEXTREL' || true", "0\n"},
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char command[512];
        snprintf(command, sizeof command, "%.*s%s%s", (int)(strstr(commands[i][0], "%s") - commands[i][0]),
                 commands[i][0], path, strstr(commands[i][0], "%s") + 2);
        char *text = help_run("%s", command);
        if (strcmp(text, commands[i][1]) != 0) fail_msg("%s: %s", command, text);
        free(text);
    }
    gen_spec_destroy(&c.spec);
}

/* ---- The table's object ---- */

static base_buf table_of(const content *c, const char *triple) {
    err e = {0};
    base_buf object = {0};
    const tune_library_kernel *rows[ROWS];
    for (int i = 0; i < ROWS; i++) rows[i] = &c->row[ROWS - 1 - i];
    if (!tune_table_make(&c->spec.problem, rows, ROWS, 12090, triple, &object, &e)) fail_msg("%s", e.text);
    return object;
}

#ifdef __aarch64__
#define HOST "aarch64-unknown-linux-gnu"
#define OTHER "x86_64-unknown-linux-gnu"
#else
#define HOST "x86_64-unknown-linux-gnu"
#define OTHER "aarch64-unknown-linux-gnu"
#endif

static void same_kernels_same_bytes(void **state) {
    (void)state;
    static content one, two;
    make(&one, "same");
    memset(&two, 0xff, sizeof two);
    make(&two, "same");
    base_buf first = table_of(&one, HOST), second = table_of(&two, HOST), other = table_of(&one, OTHER);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    assert_int_equal(first.size, other.size);
    assert_memory_not_equal(first.data, other.data, first.size);
    /* Three images and not four: equal ones are there once. */
    assert_true(first.size > 3 * (CUBIN_BYTES - 300) && first.size < 4 * (CUBIN_BYTES - 300));
    elf_image image;
    err e = {0};
    assert_null(tune_data_load(other.data, other.size, "same", &image, &e));
    assert_non_null(strstr(e.text, "ELF machine"));
    err_clear(&e);
    base_buf_reset(&second);
    const tune_library_kernel *rows[1] = {&one.row[0]};
    assert_false(tune_table_make(&one.spec.problem, rows, 1, 0, "riscv64-unknown-linux-gnu", &second, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    err_clear(&e);
    base_buf_free(&first);
    base_buf_free(&second);
    base_buf_free(&other);
    gen_spec_destroy(&one.spec);
    gen_spec_destroy(&two.spec);
}

/* Rows with one kind of code alone: what is not there is NULL. */
static void cubin_or_ptx_alone(void **state) {
    (void)state;
    static content c;
    elf_image image;
    err e = {0};
    make(&c, "alone");
    for (int i = 0; i < ROWS; i++) {
        if (i % 2) c.row[i].cubin = NULL, c.row[i].cubin_size = 0;
        else c.row[i].ptx = NULL, c.row[i].ptx_size = 0;
    }
    base_buf object = table_of(&c, HOST);
    const nha_library *library = tune_data_load(object.data, object.size, "alone", &image, &e);
    if (!library) fail_msg("%s", e.text);
    for (int i = 0; i < ROWS; i++) {
        const nha_kernel *k = &library->kernels[i];
        const bool ptx = (ROWS - 1 - i) % 2;
        assert_true(ptx ? !k->cubin && !k->cubin_bytes : !k->ptx && !k->ptx_bytes);
        assert_true(ptx ? !strcmp(k->ptx, c.ptx[i]) : !memcmp(k->cubin, c.cubin[i], k->cubin_bytes));
    }
    elf_unload(&image);
    base_buf_free(&object);
    gen_spec_destroy(&c.spec);
}

/* ---- Hostile tables ---- */

/* Reads whatever libnha may read. */
static size_t read_all(const nha_library *l) {
    size_t sum = strlen(l->name) + strlen(l->generator) + strlen(l->problems[0].name);
    for (int32_t i = 0; i < l->kernel_count; i++) {
        const nha_kernel *k = &l->kernels[i];
        sum += strlen(k->name) + strlen(k->isa) + (k->ptx ? strlen(k->ptx) : 0);
        for (uint64_t b = 0; k->cubin && b < k->cubin_bytes; b++) sum += ((const unsigned char *)k->cubin)[b];
        for (int32_t n = 0; n < k->cuda->launch_count; n++) sum += strlen(k->cuda->launch[n].entry);
    }
    return sum;
}

static void changed_tables_do_no_harm(void **state) {
    (void)state;
    static content c;
    make(&c, "fuzz");
    for (int i = 0; i < ROWS; i++) c.row[i].cubin_size = 24; /* small: changes hit the table */
    base_buf object = table_of(&c, HOST);
    unsigned loaded = 0, failed = 0;
    size_t sum = 0;
    for (int round = 0; round < 20000; round++) {
        elf_image image;
        err e = {0};
        const size_t size = round < (int)object.size ? (size_t)round : object.size; /* every cut, then changes */
        char *copy = malloc(size + 1);
        memcpy(copy + 1, object.data, size);
        for (int i = 0; size == object.size && i < 2; i++) {
            char *byte = copy + 1 + draw((unsigned)size);
            *byte = draw(2) ? (char)draw(256) : (char)(*byte ^ 1 << draw(8));
        }
        const nha_library *library = tune_data_load(copy + 1, size, "fuzz", &image, &e);
        free(copy);
        if (library) {
            sum += read_all(library);
            elf_unload(&image);
            loaded++;
        } else {
            assert_int_equal(e.code, ERR_INPUT);
            assert_null(image.base);
            failed++;
        }
        err_clear(&e);
        if (size < object.size) assert_null(library);
    }
    assert_true(loaded > 500 && failed > 5000 && sum > 0);
    base_buf_free(&object);
    gen_spec_destroy(&c.spec);
}

/* A damaged object in a library whose checksums are right. */
static void damaged_objects_are_refused(void **state) {
    (void)state;
    static content c;
    err e = {0};
    tune_library library;
    char *data, *manifest, *line;
    size_t size, manifest_size;
    make(&c, "damaged");
    const char *path = write_to(&c, help_path(help_folder(), "damaged"), false);
    const char *archive = help_path(path, "libnha_damaged.a"), *text = help_path(path, "manifest.yaml");
    assert_true(base_file_read(archive, 1 << 20, &data, &size, "test", &e));
    tune_ar_member member;
    size_t count;
    assert_true(tune_ar_read(data, size, &member, 1, &count, &e));
    char was[BASE_SHA256_HEX], is[BASE_SHA256_HEX];
    base_sha256_hex(data, size, was);
    data[(const char *)member.bytes - data + offsetof(Elf64_Ehdr, e_shoff) + 7] = 1;
    base_sha256_hex(data, size, is);
    assert_true(base_file_write(archive, data, size, "test", &e));
    assert_true(base_file_read(text, 1 << 20, &manifest, &manifest_size, "test", &e));
    line = strstr(manifest, was);
    assert_non_null(line);
    memcpy(line, is, strlen(is));
    assert_true(base_file_write(text, manifest, manifest_size, "test", &e));
    assert_false(tune_library_open(path, 0, &library, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.text, "section table"));
    assert_string_equal(e.file, archive);
    err_clear(&e);
    free(data);
    free(manifest);
    gen_spec_destroy(&c.spec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpu_library_opens_both_ways), cmocka_unit_test(needs_no_compiler),
        cmocka_unit_test(cpu_and_gpu_in_one),          cmocka_unit_test(code_is_read_only_data),
        cmocka_unit_test(same_kernels_same_bytes),     cmocka_unit_test(cubin_or_ptx_alone),
        cmocka_unit_test(changed_tables_do_no_harm),   cmocka_unit_test(damaged_objects_are_refused),
    };
    help_folder();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
