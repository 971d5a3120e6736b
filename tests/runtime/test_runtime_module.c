/* test_runtime_module.c: which files nha_module_open loads, and what libnha exports. The libraries are tables compiled
 * by the system's cc; without one, and without the shared libnha beside nhac, those tests are skipped loudly. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/nha.h"

static char folder[] = "/tmp/nha-module-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char source[] =
    "#include \"runtime/nha_library.h\"\n"
    "static const nha_problem problems[] = {{.name = \"test\", .head_dim_qk = 8, .head_dim_v = 8, .heads_q = 1,\n"
    "    .heads_kv = 1, .slots = 4, .window = 4, .slot_lag = 4, .scale = 1}};\n"
    "__attribute__((visibility(\"default\"))) const nha_library nha_library_test_1 = {NHA_LIBRARY_MAGIC, "
    "NHA_ABI_VERSION + ABI,\n"
    "    sizeof(nha_library), \"test.1\", \"test\", 1, 0, problems, 0, 0, 0};\n";

static int compile(const char *name, int abi) {
    char command[2048];
    const char *root = getenv("NHAC_SOURCE");
    snprintf(command, sizeof command, "cc -w -shared -fPIC -DABI=%d -I'%s' -o '%s/%s' '%s/source.c' 2>'%s/log'", abi,
             root ? root : ".", folder, name, folder, folder);
    return system(command);
}

static bool have_cc;

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    FILE *file = fopen(in_folder("source.c"), "w");
    if (!file || fputs(source, file) < 0 || fclose(file)) return -1;
    have_cc = compile("libnha_test_1.so", 0) == 0;
    if (!have_cc) print_message("SKIPPED: no working cc, shared libraries are not loaded in this test\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') unlink(in_folder(entry->d_name));
    if (dir) closedir(dir);
    return rmdir(folder);
}

static nha_status open_status(const char *path, char text[252]) {
    nha_error error;
    nha_module *module;
    nha_status status = nha_module_open(path, &module, &error);
    assert_int_equal(status, error.status);
    assert_true((status == NHA_OK) == (module != NULL));
    strcpy(text, error.text);
    nha_module_close(module);
    return status;
}

static void test_open(void **state) {
    (void)state;
    if (!have_cc) skip();
    char text[252];
    nha_module *module;
    nha_error error;
    if (nha_module_open(in_folder("libnha_test_1.so"), &module, &error)) fail_msg("%s", error.text);
    const nha_library *library = nha_module_library(module);
    assert_string_equal(nha_library_name(library), "test.1");
    assert_int_equal(nha_library_problem_count(library), 1);
    assert_int_equal(nha_library_problem(library, 0)->slots, 4);
    assert_false(nha_library_has(library, 0, NHA_PREFILL, NHA_CPU));
    nha_plan_options options;
    nha_plan *plan;
    NHA_INIT(options);
    options.max_sequences = options.max_length = 1;
    assert_int_equal(nha_plan_create(library, &options, &plan, &error), NHA_NO_KERNEL);
    nha_module_close(module);

    char here[4096]; /* a bare name is a file of the current folder */
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    nha_status bare = open_status("libnha_test_1.so", text);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(bare, NHA_OK);
    nha_module_close(NULL);
    assert_null(nha_module_library(NULL));
}

static void copy(const char *to, size_t bytes) {
    char from[512];
    snprintf(from, sizeof from, "%s", in_folder("libnha_test_1.so"));
    FILE *in = fopen(from, "rb"), *out = fopen(in_folder(to), "wb");
    assert_true(in && out);
    int c;
    for (size_t i = 0; i < bytes && (c = fgetc(in)) != EOF; i++) fputc(c, out);
    fclose(in);
    fclose(out);
    chmod(in_folder(to), 0644);
}

static void test_refusals(void **state) {
    (void)state;
    char text[252];
    assert_int_equal(open_status(in_folder("libnha_none.so"), text), NHA_BAD_LIBRARY);
    assert_non_null(strstr(text, "No such file"));
    assert_int_equal(open_status("/", text), NHA_BAD_LIBRARY);
    assert_int_equal(open_status("libm.so.6", text), NHA_BAD_LIBRARY);
    assert_int_equal(open_status("libnha_.so", text), NHA_BAD_LIBRARY);
    assert_int_equal(open_status("libnha_x.sox", text), NHA_BAD_LIBRARY);
    assert_int_equal(open_status(NULL, text), NHA_INVALID_ARGUMENT);
    assert_int_equal(nha_module_open("x", NULL, NULL), NHA_INVALID_ARGUMENT);
    if (!have_cc) skip();

    copy("libnha_other.so", SIZE_MAX); /* its symbol has another name */
    assert_int_equal(open_status(in_folder("libnha_other.so"), text), NHA_BAD_LIBRARY);
    assert_non_null(strstr(text, "nha_library_other"));
    assert_int_equal(compile("libnha_test_1.so.9", 1), 0);
    assert_int_equal(open_status(in_folder("libnha_test_1.so.9"), text), NHA_BAD_LIBRARY);
    assert_non_null(strstr(text, "ABI"));

    struct stat st;
    assert_int_equal(stat(in_folder("libnha_test_1.so"), &st), 0);
    for (size_t bytes = 0; bytes < (size_t)st.st_size; bytes += 1 + (size_t)st.st_size / 40) { /* cut short anywhere */
        copy("libnha_cut.so", bytes);
        assert_int_equal(open_status(in_folder("libnha_cut.so"), text), NHA_BAD_LIBRARY);
    }
    assert_int_equal(chmod(in_folder("libnha_test_1.so"), 0666), 0);
    assert_int_equal(open_status(in_folder("libnha_test_1.so"), text), NHA_UNTRUSTED);
    assert_int_equal(chmod(in_folder("libnha_test_1.so"), 0755), 0);
    assert_int_equal(open_status(in_folder("libnha_test_1.so"), text), NHA_OK);
    if (geteuid() == 0 && chown(in_folder("libnha_test_1.so"), 12345, 12345) == 0) {
        assert_int_equal(open_status(in_folder("libnha_test_1.so"), text), NHA_UNTRUSTED);
        assert_int_equal(chown(in_folder("libnha_test_1.so"), 0, 0), 0);
    }
}

/* Functions that nha.h declares. */
static int declared(void) {
    char path[4096], line[512];
    const char *root = getenv("NHAC_SOURCE");
    snprintf(path, sizeof path, "%s/runtime/nha.h", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int count = 0;
    while (fgets(line, sizeof line, file)) count += strncmp(line, "NHA_API ", 8) == 0;
    fclose(file);
    return count;
}

/* libnha exports nha_ names alone, and all that nha.h declares. */
static void test_exports(void **state) {
    (void)state;
    const char *nhac = getenv("NHAC");
    char command[2048], line[512];
    const char *slash = nhac ? strrchr(nhac, '/') : NULL;
    if (!slash) {
        print_message("SKIPPED: NHAC is not set, so libnha.so is not looked at\n");
        skip();
    }
    snprintf(command, sizeof command, "%.*s/libnha.so", (int)(slash - nhac), nhac);
    if (access(command, R_OK) != 0) {
        print_message("SKIPPED: no %s\n", command);
        skip();
    }
    snprintf(command, sizeof command, "nm -D --defined-only '%.*s/libnha.so'", (int)(slash - nhac), nhac);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    int names = 0;
    while (fgets(line, sizeof line, pipe)) {
        char name[256], type;
        if (sscanf(line, "%*x %c %255s", &type, name) != 2) fail_msg("unexpected: %s", line);
        if (strncmp(name, "nha_", 4)) fail_msg("libnha.so exports %s", name);
        names++;
    }
    assert_int_equal(pclose(pipe), 0);
    assert_int_equal(names, declared());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_exports),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
