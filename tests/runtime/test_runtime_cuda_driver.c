/* test_runtime_cuda_driver.c: finding libcuda.so.1. Each case is a process of its own (this program with a mode), since
 * what is loaded stays; its driver is compiled by the system's cc into a folder that the loader searches first. Without
 * cc: skipped loudly. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/nha_cuda_driver.h"
#include "tests/runtime/help_cuda.h"

static char folder[] = "/tmp/nha-driver-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[2][512];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* ---- Drivers: every function returns 0, but for a few. cuDriverGetVersion tells how often cuInit was called. ---- */

static const char all[] = "#include \"runtime/nha_cuda_driver.h\"\n"
                          "#ifdef LACKING\n"
                          "#define cuStreamIsCapturing cuStreamIsCapturing_absent\n"
                          "#endif\n"
                          "#define X(name, arguments) __attribute__((weak)) int name arguments { return 0; }\n"
                          "NHA_CUDA_DRIVER_LIST(X)\n";
static const char some[] = "#include <unistd.h>\n"
                           "static int count;\n"
                           "int cuInit(unsigned flags) { usleep(20000); count++; return RESULT; }\n"
                           "int cuDriverGetVersion(int *version) { *version = count; return 0; }\n"
                           "int cuDeviceGetCount(int *devices) { *devices = 0; return 0; }\n"
                           "int cuGetErrorName(int result, const char **text) { *text = \"ERROR_STUB\"; return 0; }\n"
                           "int cuGetErrorString(int result, const char **text) { *text = 0; return 1; }\n";

static bool write_file(const char *name, const char *text) {
    FILE *file = fopen(in_folder(name), "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static bool compile(const char *name, const char *options) {
    char command[2048];
    const char *root = getenv("NHAC_SOURCE");
    mkdir(in_folder(name), 0700);
    snprintf(command, sizeof command,
             "cc -w -shared -fPIC %s -I'%s' -o '%s/%s/libcuda.so.1' '%s/all.c' '%s/some.c' 2>'%s/log'", options,
             root ? root : ".", folder, name, folder, folder, folder);
    return system(command) == 0;
}

/* ---- In the process of a case; 0: right ---- */

static int complain(const char *what, const nha_error *error) {
    fprintf(stderr, "%s: status %d, %s\n", what, error->status, error->text);
    return 1;
}

/* Refused, twice in the same way, with all words in the text. */
static int refused(const char *a, const char *b) {
    for (int i = 0; i < 2; i++) {
        nha_error error;
        const nha_cuda_driver *driver = (const nha_cuda_driver *)(uintptr_t)1;
        nha_status status = nha_cuda_driver_open(&driver, &error);
        if (status != NHA_NO_DEVICE || error.status != status || driver || !strstr(error.text, a) ||
            !strstr(error.text, b) || nha_cuda_driver_open(&driver, NULL) != NHA_NO_DEVICE)
            return complain("not refused", &error);
    }
    return 0;
}

static void *open_it(void *arg) {
    const nha_cuda_driver **driver = arg;
    nha_cuda_driver_open(driver, NULL);
    return NULL;
}

static int good(void) {
    enum { THREADS = 4 };
    const nha_cuda_driver *driver[THREADS + 1] = {NULL};
    pthread_t threads[THREADS];
    nha_error error;
    int inits = 0;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, open_it, &driver[i])) return 1;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    if (nha_cuda_driver_open(&driver[THREADS], &error)) return complain("good", &error);
    for (int i = 0; i < THREADS; i++)
        if (driver[i] != driver[THREADS]) return complain("another table", &error);
    if (driver[0]->struct_size != sizeof *driver[0] || driver[0]->cuDriverGetVersion(&inits) || inits != 1)
        return complain("more than one cuInit", &error);
#define CHECK(name, arguments)                                                                                         \
    if (!driver[0]->name) return complain(#name, &error);
    NHA_CUDA_DRIVER_LIST(CHECK)
#undef CHECK
    if (nha_cuda_driver_open(NULL, &error) != NHA_INVALID_ARGUMENT) return complain("NULL", &error);

    cuda_library l; /* a plan that names no driver takes this one, which sees no device */
    nha_plan *plan;
    nha_plan_options options;
    NHA_INIT(options);
    cuda_library_make(&l, NHA_PREFILL, "sm_90");
    options.device.kind = NHA_CUDA;
    options.max_sequences = options.max_length = 1;
    if (nha_plan_create(&l.library, &options, &plan, &error) != NHA_NO_DEVICE || !strstr(error.text, "sees 0"))
        return complain("plan", &error);
    return 0;
}

/* A driver that is installed after the first try. */
static int later(const char *place) {
    char from[600], to[600];
    snprintf(from, sizeof from, "%s/new", place);
    snprintf(to, sizeof to, "%s/libcuda.so.1", place);
    if (refused("cannot be loaded", "libcuda.so.1") || rename(from, to)) return 1;
    const nha_cuda_driver *driver;
    nha_error error;
    return nha_cuda_driver_open(&driver, &error) ? complain("later", &error) : 0;
}

enum { SKIPPED = 77 };

static int missing(void) {
    const nha_cuda_driver *driver;
    if (!nha_cuda_driver_open(&driver, NULL)) return SKIPPED; /* this machine has one */
    return refused("libcuda.so.1", "");
}

static int run_case(const char *mode, const char *place) {
    if (!strcmp(mode, "good")) return good();
    if (!strcmp(mode, "lacking")) return refused("lacks cuStreamIsCapturing", "too old");
    if (!strcmp(mode, "stub")) return refused("does not start", "ERROR_STUB");
    if (!strcmp(mode, "later")) return later(place);
    if (!strcmp(mode, "missing")) return missing();
    return 2;
}

/* ---- Tests ---- */

static int spawn(const char *mode, const char *place) {
    char self[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_LIBRARY_PATH", place, 1);
        execl(self, self, mode, place, (char *)NULL);
        _exit(126);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool have_cc;

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder) || !write_file("all.c", all) || !write_file("some.c", some)) return -1;
    have_cc = compile("good", "-DRESULT=0");
    if (!have_cc) print_message("SKIPPED: no working cc, no driver is loaded in this test\n");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void test_good(void **state) {
    (void)state;
    if (!have_cc) skip();
    assert_int_equal(spawn("good", in_folder("good")), 0);
}

static void test_useless(void **state) {
    (void)state;
    if (!have_cc) skip();
    assert_true(compile("lacking", "-DRESULT=0 -DLACKING"));
    assert_int_equal(spawn("lacking", in_folder("lacking")), 0);
    assert_true(compile("stub", "-DRESULT=34"));
    assert_int_equal(spawn("stub", in_folder("stub")), 0);
}

static void test_later(void **state) {
    (void)state;
    if (!have_cc) skip();
    assert_true(compile("later", "-DRESULT=0"));
    char library[512], aside[512];
    snprintf(library, sizeof library, "%s", in_folder("later/libcuda.so.1"));
    snprintf(aside, sizeof aside, "%s", in_folder("later/new"));
    assert_int_equal(rename(library, aside), 0);
    assert_true(write_file("later/libcuda.so.1", "not a library"));
    assert_int_equal(spawn("later", in_folder("later")), 0);
}

static void test_missing(void **state) {
    (void)state;
    mkdir(in_folder("missing"), 0700);
    int status = spawn("missing", in_folder("missing"));
    if (status == SKIPPED) {
        print_message("SKIPPED: this machine has a CUDA driver\n");
        skip();
    }
    assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
    if (argc == 3) return run_case(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_useless),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
