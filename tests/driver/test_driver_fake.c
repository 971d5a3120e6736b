/* test_driver_fake.c: the fake libcuda.so.1 that the tests build ($NHAC_FAKE_CUDA): its symbols, and what it takes from
 * the environment. Each case runs in a process of its own, because the library reads the environment once. */
#include <dlfcn.h>
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

enum { ERRORS = 4096 };

static nha_cuda_driver fake;

static const char *path(void) {
    const char *p = getenv("NHAC_FAKE_CUDA");
    if (!p)
        fail_msg("NHAC_FAKE_CUDA does not name the library");
    return p;
}

/* Fills `fake`. */
static bool open_fake(void) {
    void *library = dlopen(path(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
    bool all = true;
#define LOOK_(name, arguments)                                                                                         \
    *(void **)(void *)&fake.name = dlsym(library, #name);                                                              \
    if (!fake.name) {                                                                                                  \
        fprintf(stderr, "no symbol %s\n", #name);                                                                      \
        all = false;                                                                                                   \
    }
    NHA_CUDA_DRIVER_LIST(LOOK_)
#undef LOOK_
    return all && dlsym(library, "emu_cuInit") == NULL; /* nothing else is exported */
}

/* Runs `body` in a child with the variables (NAME=VALUE, ended by NULL); returns its exit status. `errors` gets what it
 * wrote on stderr. */
static int in_child(char *const variables[], int (*body)(void), char errors[ERRORS]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        for (size_t i = 0; variables[i]; i++)
            putenv(variables[i]);
        _exit(open_fake() ? body() : 254);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t n; (n = read(ends[0], errors + size, ERRORS - 1 - size)) > 0;)
        size += (size_t)n;
    errors[size] = 0;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) >= 254)
        fail_msg("the child failed (%d): %s", status, errors);
    return WEXITSTATUS(status);
}

/* ---- bodies: 0, or the number of the step that went wrong ---- */

/* A context, and set of help_ptx (or of `image`). */
static int start(const void *image, void **set, uint64_t *p) {
    void *context, *module;
    if (fake.cuInit(0) || fake.cuDevicePrimaryCtxRetain(&context, 0) || fake.cuCtxSetCurrent(context))
        return 1;
    if (fake.cuModuleLoadDataEx(&module, image, 0, NULL, NULL))
        return 2;
    return fake.cuModuleGetFunction(set, module, "set") || fake.cuMemAlloc_v2(p, 16) ? 3 : 0;
}

static int launch(void *set, uint64_t p, uint32_t value, uint32_t n) {
    return fake.cuLaunchKernel(set, 1, 1, 1, 32, 1, 1, 0, NULL, (void *[]){&p, &value, &n}, NULL);
}

static int body_plain(void) {
    void *set;
    uint64_t p;
    uint32_t word = 0;
    int count = 0, version = 0, failed = start(help_ptx, &set, &p);
    if (failed)
        return failed;
    if (fake.cuDeviceGetCount(&count) || count != 6 || fake.cuDriverGetVersion(&version) || version != 13000)
        return 4;
    if (launch(set, p, 9, 4) || fake.cuMemcpyDtoHAsync_v2(&word, p + 12, 4, NULL) || word != 9)
        return 5;
    return fake.cuDevicePrimaryCtxRelease_v2(0) ? 6 : 0;
}

static int body_devices(void) {
    int count = 0, version = 0, major = 0, minor = 0, sum = 0;
    if (fake.cuInit(0) || fake.cuDeviceGetCount(&count) || fake.cuDriverGetVersion(&version))
        return 1;
    for (int i = 0; i < count; i++) {
        fake.cuDeviceGetAttribute(&major, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, i);
        fake.cuDeviceGetAttribute(&minor, NHA_CU_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, i);
        sum = 1000 * sum + 10 * major + minor;
    }
    return count == 2 && sum == 90086 && version == 12080 ? 0 : 2;
}

static int body_init_fails(void) {
    return fake.cuInit(0) == NHA_CU_INVALID_VALUE ? 0 : 1;
}

static int body_failures(void) {
    void *set;
    uint64_t p, q;
    if (start(help_ptx, &set, &p))
        return 1;
    if (launch(set, p, 1, 4) || launch(set, p, 2, 4))
        return 2;
    if (launch(set, p, 3, 4) != NHA_CU_LAUNCH_FAILED || fake.cuCtxSynchronize() != NHA_CU_LAUNCH_FAILED)
        return 3; /* sticky */
    void *context;
    if (fake.cuDevicePrimaryCtxRelease_v2(0) || fake.cuDevicePrimaryCtxRetain(&context, 0))
        return 4;
    if (fake.cuMemAlloc_v2(&q, 4) != NHA_CU_OUT_OF_MEMORY || fake.cuMemAlloc_v2(&q, 4))
        return 5; /* the second allocation in all, and not again */
    return 0;
}

static int body_report(void) {
    void *set;
    uint64_t p;
    return start(help_ptx, &set, &p) || launch(set, p, 1, 5) != NHA_CU_ILLEGAL_ADDRESS;
}

static int body_late(void) {
    void *set;
    uint64_t p;
    return start(help_ptx, &set, &p) || launch(set, p, 1, 5) || fake.cuCtxSynchronize() != NHA_CU_ILLEGAL_ADDRESS;
}

/* An ELF header is all of a cubin that is looked at; `mark` tells them apart. */
static Elf64_Ehdr cubin_of(uint64_t mark) {
    return (Elf64_Ehdr){.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, 0x41, 8},
                        .e_machine = 190,
                        .e_flags = 80 << 8,
                        .e_entry = mark};
}

static int body_cubins(void) {
    void *set, *module;
    uint64_t p;
    Elf64_Ehdr first = cubin_of(1), second = cubin_of(2), third = cubin_of(3);
    if (start(&first, &set, &p) || launch(set, p, 1, 4))
        return 1;
    if (fake.cuModuleLoadDataEx(&module, &second, 0, NULL, NULL))
        return 2;
    return fake.cuModuleLoadDataEx(&module, &third, 0, NULL, NULL) == NHA_CU_INVALID_IMAGE ? 0
                                                                                           : 3; /* no PTX of its name */
}

/* ---- tests ---- */

static void test_symbols_and_defaults(void **state) {
    (void)state;
    char errors[ERRORS];
    assert_int_equal(in_child((char *[]){NULL}, body_plain, errors), 0);
}

static void test_devices(void **state) {
    (void)state;
    char errors[ERRORS];
    assert_int_equal(
        in_child((char *[]){"NHAC_FAKE_DEVICE=9.0,8.6", "NHAC_FAKE_DRIVER=12080", "NHAC_FAKE_SEED=5", NULL},
                 body_devices, errors),
        0);
}

static void test_wrong_variables(void **state) {
    (void)state;
    static char *const wrong[] = {
        "NHAC_FAKE_DEVICE=",
        "NHAC_FAKE_DEVICE=9",
        "NHAC_FAKE_DEVICE=7.5",
        "NHAC_FAKE_DEVICE=9.0x",
        "NHAC_FAKE_DRIVER=new",
        "NHAC_FAKE_DRIVER=12",
        "NHAC_FAKE_SEED=-1",
        "NHAC_FAKE_LATE=yes",
        "NHAC_FAKE_PTX=/nonexistent",
        "NHAC_FAKE_FAIL=cuNothing:1:2",
        "NHAC_FAKE_FAIL=cuInit:0:2",
        "NHAC_FAKE_FAIL=cuInit:1",
        "NHAC_FAKE_FAIL=cuInit:1:2:hard",
        "NHAC_FAKE_FAIL=cuInit:1:2:sticky:x",
        "NHAC_FAKE_DEVICE=8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0,8.0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char errors[ERRORS], name[32];
        assert_int_equal(in_child((char *[]){wrong[i], NULL}, body_init_fails, errors), 0);
        snprintf(name, strcspn(wrong[i], "=") + 1, "%s", wrong[i]);
        if (!strstr(errors, "fake libcuda: ") || !strstr(errors, name))
            fail_msg("%s: stderr is '%s'", wrong[i], errors);
    }
}

static void test_failures(void **state) {
    (void)state;
    char errors[ERRORS];
    assert_int_equal(
        in_child((char *[]){"NHAC_FAKE_FAIL=cuLaunchKernel:3:719:sticky,cuMemAlloc:2:2", NULL}, body_failures, errors),
        0);
}

static void test_reports(void **state) {
    (void)state;
    char errors[ERRORS];
    assert_int_equal(in_child((char *[]){NULL}, body_report, errors), 0);
    assert_non_null(strstr(errors, "set:"));
    assert_non_null(strstr(errors, "out-of-bounds access"));
    assert_int_equal(in_child((char *[]){"NHAC_FAKE_LATE=1", NULL}, body_late, errors), 0);
    assert_non_null(strstr(errors, "out-of-bounds access"));
}

static void write_file(const char *folder, const char *name, const void *data, size_t bytes) {
    char file[512];
    snprintf(file, sizeof file, "%s/%s", folder, name);
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static void test_cubins(void **state) {
    (void)state;
    char folders[2][64] = {"/tmp/nhac_fake_a_XXXXXX", "/tmp/nhac_fake_b_XXXXXX"}, variable[256], file[512];
    for (int i = 0; i < 2; i++) {
        assert_non_null(mkdtemp(folders[i]));
        for (int k = 0; k < 2; k++) {
            snprintf(file, sizeof file, "%s/%s", folders[i], k ? "ptx" : "cubin");
            assert_int_equal(mkdir(file, 0700), 0);
        }
    }
    Elf64_Ehdr first = cubin_of(1), second = cubin_of(2), third = cubin_of(3);
    write_file(folders[0], "cubin/prefill.sm_80.cubin", &first, sizeof first);
    write_file(folders[0], "ptx/prefill.sm_80.ptx", help_ptx, strlen(help_ptx));
    write_file(folders[0], "cubin/alone.cubin", &third, sizeof third);
    write_file(folders[1], "cubin/other.cubin", &second, sizeof second);
    write_file(folders[1], "ptx/other.ptx", help_ptx, strlen(help_ptx));
    snprintf(variable, sizeof variable, "NHAC_FAKE_PTX=%s:%s", folders[0], folders[1]);
    char errors[ERRORS];
    assert_int_equal(in_child((char *[]){variable, NULL}, body_cubins, errors), 0);
    assert_non_null(strstr(errors, "PTX of this cubin (sm_80) is not known"));
    write_file(folders[1], "cubin/other.cubin", "text", 4); /* no cubin */
    assert_int_equal(in_child((char *[]){variable, NULL}, body_init_fails, errors), 0);
    assert_non_null(strstr(errors, "other.cubin"));
    static const char *const files[] = {"cubin/prefill.sm_80.cubin",
                                        "ptx/prefill.sm_80.ptx",
                                        "cubin/alone.cubin",
                                        "cubin/other.cubin",
                                        "ptx/other.ptx",
                                        "cubin",
                                        "ptx",
                                        "."};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            snprintf(file, sizeof file, "%s/%s", folders[i], files[k]);
            if (strcmp(files[k], ".") == 0)
                assert_int_equal(rmdir(folders[i]), 0);
            else
                remove(file);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symbols_and_defaults),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_wrong_variables),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_cubins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
