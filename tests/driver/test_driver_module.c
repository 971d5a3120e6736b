/* test_driver_module.c: modules of the emulated driver: which images load on which device, cubins and their PTX, logs,
 * functions. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jit/nvrtc.h"
#include "tests/driver/help_driver.h"

enum { CUBIN_BYTES = 64 + 3 * 64 + 32 + 24 };

/* A cubin as far as the driver looks: header, .nv.compat with attribute 9, and a byte that tells cubins apart. */
static void make_cubin(uint8_t out[CUBIN_BYTES], int arch, bool specific, uint8_t mark) {
    static const char names[32] = "\0.shstrtab\0.nv.compat";
    Elf64_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, 0x41, 8},
                    .e_type = ET_EXEC,
                    .e_machine = 190,
                    .e_flags = 0x06000002 | (uint32_t)arch << 8,
                    .e_shoff = 64,
                    .e_shentsize = 64,
                    .e_shnum = 3,
                    .e_shstrndx = 1};
    Elf64_Shdr s[3] = {{0},
                       {.sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = 256, .sh_size = 32},
                       {.sh_name = 11, .sh_type = 0x70000086, .sh_offset = 288, .sh_size = 24}};
    const uint8_t compat[24] = {3, 7, 1, 1, 4, 11, 8, 0, 2, 9, 1, 0, 2, 9, 1, 0, 2, 9, specific, 0, 2, 2, mark, 0};
    memcpy(out, &h, sizeof h);
    memcpy(out + 64, s, sizeof s);
    memcpy(out + 256, names, sizeof names);
    memcpy(out + 288, compat, sizeof compat);
}

static int load(int device, const void *image) {
    void *context, *module = NULL;
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&context, device));
    help_ok(help_cuda.cuCtxSetCurrent(context));
    int result = help_cuda.cuModuleLoadDataEx(&module, image, 0, NULL, NULL);
    if (!result)
        help_ok(help_cuda.cuModuleUnload(module));
    help_ok(help_cuda.cuCtxSetCurrent(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(device));
    return result;
}

/* Ordinals of the default devices 8.0, 8.6, 8.9, 9.0, 10.0, 12.0 as bits. */
typedef struct fit {
    const char *target;
    unsigned runs_on;
} fit;

static void test_ptx_targets(void **state) {
    (void)state;
    static const fit fits[] = {{"sm_50", 0x3f},   {"sm_80", 0x3f},  {"sm_86", 0x3e},  {"sm_89", 0x3c},
                               {"sm_90", 0x38},   {"sm_90a", 0x08}, {"sm_100", 0x30}, {"sm_100f", 0x10},
                               {"sm_100a", 0x10}, {"sm_103", 0x20}, {"sm_120", 0x20}, {"sm_120f", 0x20},
                               {"sm_121", 0},     {"sm_121f", 0},   {"sm_103a", 0}};
    assert_true(emu_driver_configure(NULL));
    help_ok(help_cuda.cuInit(0));
    char text[256];
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++)
        for (int device = 0; device < 6; device++) {
            snprintf(text, sizeof text,
                     "/* .target sm_1 { */ .version 8.8\n.target %s, texmode_independent\n.address_size 64\n.visible "
                     ".entry k() { ret; }\n",
                     fits[i].target);
            int want = fits[i].runs_on >> device & 1 ? 0 : NHA_CU_NO_BINARY_FOR_GPU, got = load(device, text);
            if (got != want)
                fail_msg("%s on device %d: %d, not %d", fits[i].target, device, got, want);
        }
    emu_driver_options o = emu_driver_options_default(); /* a family's younger member runs the elder's code */
    emu_driver_device younger;
    assert_true(emu_driver_device_of(10, 3, &younger));
    o.devices = &younger;
    o.device_count = 1;
    assert_true(emu_driver_configure(&o));
    help_ok(help_cuda.cuInit(0));
    static const char form[] = ".version 8.8\n.target %s\n.address_size 64\n.visible .entry k() { ret; }\n";
    snprintf(text, sizeof text, form, "sm_100f");
    help_ok(load(0, text));
    snprintf(text, sizeof text, form, "sm_100a");
    assert_int_equal(load(0, text), NHA_CU_NO_BINARY_FOR_GPU);
    assert_true(help_reported("sm_100a"));
    assert_true(emu_driver_configure(NULL));
}

static void test_ptx_versions(void **state) {
    (void)state;
    static const struct {
        int driver;
        const char *newest, *refused;
    } rows[] = {{11040, "7.4", "7.5"}, {12000, "8.0", "8.1"}, {12060, "8.5", "8.6"}, {12080, "8.7", "8.8"},
                {12090, "8.8", "9.0"}, {13000, "9.0", "9.1"}, {13010, "9.1", "9.2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        emu_driver_options o = emu_driver_options_default();
        o.driver_version = rows[i].driver;
        assert_true(emu_driver_configure(&o));
        help_ok(help_cuda.cuInit(0));
        snprintf(text, sizeof text, ".version %s\n.target sm_80\n.address_size 64\n.visible .entry k() { ret; }\n",
                 rows[i].newest);
        help_ok(load(0, text));
        snprintf(text, sizeof text, ".version %s\n.target sm_80\n.address_size 64\n.visible .entry k() { ret; }\n",
                 rows[i].refused);
        assert_int_equal(load(0, text), NHA_CU_UNSUPPORTED_PTX_VERSION);
    }
    assert_true(emu_driver_configure(NULL));
}

static void test_wrong_images(void **state) {
    (void)state;
    help_begin(NULL, 0);
    void *module = NULL;
    char log[256] = "unchanged", info[8] = "x";
    int options[] = {NHA_CU_JIT_ERROR_LOG, NHA_CU_JIT_ERROR_LOG_BYTES, 3, 4};
    void *values[] = {log, (void *)sizeof log, info, (void *)sizeof info};
    static const char bad[] =
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {\n    frobnicate.u32 %r1;\n}\n";
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, bad, 4, options, values), NHA_CU_INVALID_PTX);
    assert_non_null(strstr(log, "ptx:5: "));
    assert_non_null(strstr(log, "frobnicate"));
    assert_int_equal((uintptr_t)values[1], strlen(log)); /* the driver writes the length back */
    assert_int_equal((uintptr_t)values[3], 0);
    assert_string_equal(info, "");
    assert_true(help_reported("frobnicate"));
    values[1] = (void *)8; /* cut */
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, bad, 2, options, values), NHA_CU_INVALID_PTX);
    assert_int_equal(strlen(log), 7);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, "", 0, NULL, NULL), NHA_CU_INVALID_IMAGE);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, "garbage", 0, NULL, NULL), NHA_CU_INVALID_IMAGE);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, ".version 8.0\n", 0, NULL, NULL), NHA_CU_INVALID_PTX);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, "/* .version 8.0", 0, NULL, NULL), NHA_CU_INVALID_IMAGE);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, NULL, 0, NULL, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(NULL, help_ptx, 0, NULL, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, help_ptx, 1, NULL, NULL), NHA_CU_INVALID_VALUE);
    options[0] = 1000;
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, help_ptx, 2, options, values), NHA_CU_INVALID_VALUE);
    assert_null(module);
    help_end(0);
}

static void test_cubins(void **state) {
    (void)state;
    static const struct {
        int arch;
        bool specific;
        unsigned runs_on;
    } rows[] = {{80, false, 0x07},  {86, false, 0x06}, {89, false, 0x04}, {90, false, 0x08},  {90, true, 0x08},
                {100, false, 0x10}, {100, true, 0x10}, {103, false, 0},   {120, false, 0x20}, {75, false, 0}};
    assert_true(emu_driver_configure(NULL));
    help_ok(help_cuda.cuInit(0));
    uint8_t cubin[CUBIN_BYTES];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make_cubin(cubin, rows[i].arch, rows[i].specific, 1);
        int arch = 0;
        bool specific = !rows[i].specific;
        assert_true(emu_driver_cubin_arch(cubin, sizeof cubin, &arch, &specific));
        assert_int_equal(arch, rows[i].arch);
        assert_int_equal(specific, rows[i].specific);
        assert_true(emu_driver_register(cubin, sizeof cubin, help_ptx, strlen(help_ptx)));
        for (int device = 0; device < 6; device++)
            assert_int_equal(load(device, cubin), rows[i].runs_on >> device & 1 ? 0 : NHA_CU_NO_BINARY_FOR_GPU);
        assert_true(emu_driver_forget(cubin, sizeof cubin));
        assert_false(emu_driver_forget(cubin, sizeof cubin));
        for (int device = 0; device < 6; device++) /* not registered; the suffix is known from the whole file alone */
            if (!rows[i].specific)
                assert_int_equal(load(device, cubin),
                                 rows[i].runs_on >> device & 1 ? NHA_CU_INVALID_IMAGE : NHA_CU_NO_BINARY_FOR_GPU);
    }
    assert_true(emu_driver_configure(NULL));
}

static void test_registry(void **state) {
    (void)state;
    static const char other[] = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry other() { ret; }\n";
    help_begin(NULL, 0);
    uint8_t a[CUBIN_BYTES], b[CUBIN_BYTES];
    make_cubin(a, 80, false, 1);
    make_cubin(b, 80, false, 2);
    assert_false(emu_driver_register("no cubin", 8, help_ptx, strlen(help_ptx)));
    assert_false(emu_driver_register(help_ptx, strlen(help_ptx), help_ptx, strlen(help_ptx)));
    assert_true(emu_driver_register(a, sizeof a, help_ptx, strlen(help_ptx)));
    assert_true(emu_driver_register(a, sizeof a, other, strlen(other))); /* the first stays */
    assert_true(emu_driver_register(b, sizeof b, other, strlen(other)));
    void *module = help_module((const char *)a), *function = NULL;
    help_function(module, "set");
    assert_int_equal(help_cuda.cuModuleGetFunction(&function, module, "other"), NHA_CU_NOT_FOUND);
    help_function(help_module((const char *)b), "other");
    assert_true(emu_driver_forget(a, sizeof a));
    help_module((const char *)a); /* registered once more than forgotten */
    assert_true(emu_driver_forget(a, sizeof a));
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, a, 0, NULL, NULL), NHA_CU_INVALID_IMAGE);
    assert_true(help_reported("PTX of this cubin (sm_80) is not known"));
    help_module((const char *)b);
    assert_true(emu_driver_forget(b, sizeof b));
    Elf64_Ehdr h; /* an ELF file that is no cubin */
    memcpy(&h, a, sizeof h);
    h.e_machine = EM_X86_64;
    memcpy(a, &h, sizeof h);
    assert_int_equal(help_cuda.cuModuleLoadDataEx(&module, a, 0, NULL, NULL), NHA_CU_INVALID_IMAGE);
    int arch;
    bool specific;
    assert_false(emu_driver_cubin_arch(a, sizeof a, &arch, &specific));
    assert_false(emu_driver_register(a, sizeof a, other, strlen(other)));
    make_cubin(b, 80, false, 0); /* as before ABI 8: sm_90 and sm_90a */
    memcpy(&h, b, sizeof h);
    h.e_ident[EI_ABIVERSION] = 7;
    for (int suffix = 0; suffix < 2; suffix++) {
        h.e_flags = 0x005a055a | (suffix ? 0x800 : 0);
        memcpy(b, &h, sizeof h);
        assert_true(emu_driver_cubin_arch(b, sizeof b, &arch, &specific));
        assert_int_equal(arch, 90);
        assert_int_equal(specific, suffix);
    }
    make_cubin(b, 80, true, 0);
    for (size_t cut = 0; cut < sizeof b; cut++) { /* cut files: read within their size */
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, b, cut);
        assert_int_equal(emu_driver_cubin_arch(exact, cut, &arch, &specific), cut >= sizeof h);
        free(exact);
    }
    memcpy(b + 288, "\4\1\377\377", 4); /* a record of .nv.compat that says it is longer than the section */
    assert_true(emu_driver_cubin_arch(b, sizeof b, &arch, &specific));
    assert_false(specific);
    help_end(0);
}

static void test_functions(void **state) {
    (void)state;
    help_begin(NULL, 3);
    void *module = help_module(help_ptx), *f = help_function(module, "set"), *g = NULL;
    int value = -1;
    assert_ptr_equal(help_function(module, "set"), f);
    assert_int_equal(help_cuda.cuModuleGetFunction(&g, module, "sett"), NHA_CU_NOT_FOUND);
    assert_int_equal(help_cuda.cuModuleGetFunction(&g, module, NULL), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuModuleGetFunction(&g, f, "set"), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuFuncGetAttribute(&value, 0, help_function(module, "narrow")));
    assert_int_equal(value, 64);
    help_ok(help_cuda.cuFuncGetAttribute(&value, 0, f));
    assert_int_equal(value, 1024);
    help_ok(help_cuda.cuFuncGetAttribute(&value, NHA_CU_FUNC_LOCAL_BYTES, f));
    assert_int_equal(value, 0);
    help_ok(help_cuda.cuFuncGetAttribute(&value, 6, f));
    assert_int_equal(value, 80);
    void *steady = help_function(module, "steady");
    help_ok(help_cuda.cuFuncGetAttribute(&value, 1, steady));
    assert_int_equal(value, 1024);
    help_ok(help_cuda.cuFuncGetAttribute(&value, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, steady));
    assert_int_equal(value, 47 * 1024);
    help_ok(help_cuda.cuFuncSetAttribute(steady, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, 226 * 1024));
    help_ok(help_cuda.cuFuncGetAttribute(&value, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, steady));
    assert_int_equal(value, 226 * 1024);
    assert_int_equal(help_cuda.cuFuncSetAttribute(steady, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, 226 * 1024 + 1),
                     NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuFuncSetAttribute(steady, NHA_CU_FUNC_MAX_DYNAMIC_SHARED_BYTES, -1),
                     NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuFuncSetAttribute(steady, NHA_CU_FUNC_REGISTERS, 1), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuFuncGetAttribute(&value, 999, f), NHA_CU_INVALID_VALUE);
    assert_int_equal(help_cuda.cuFuncGetAttribute(&value, 0, module), NHA_CU_INVALID_HANDLE);

    void *context; /* handles of one context are wrong in another */
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&context, 4));
    help_ok(help_cuda.cuCtxPushCurrent_v2(context));
    assert_int_equal(help_cuda.cuModuleGetFunction(&g, module, "set"), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuModuleUnload(module), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_set(f, 0, 0, 1, NULL), NHA_CU_INVALID_HANDLE);
    help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(4));

    help_ok(help_cuda.cuModuleUnload(module));
    assert_int_equal(help_cuda.cuModuleUnload(module), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_cuda.cuFuncGetAttribute(&value, 0, f), NHA_CU_INVALID_HANDLE);
    assert_int_equal(help_set(f, 0, 0, 1, NULL), NHA_CU_INVALID_HANDLE);
    help_end(3);
}

/* What NVRTC writes, for every target of nhac: the architecture is read from it, and the cubin runs as its PTX. */
static void test_real_cubins(void **state) {
    (void)state;
    static const struct {
        const char *target;
        int arch, device;
    } rows[] = {{"sm_80", 80, 0},  {"sm_86", 86, 1},    {"sm_89", 89, 2},   {"sm_90", 90, 3},
                {"sm_90a", 90, 3}, {"sm_100f", 100, 4}, {"sm_120f", 120, 5}};
    err e = {0};
    jit_nvrtc *nvrtc = NULL;
    if (!jit_nvrtc_open(&nvrtc, &e)) {
        print_message("SKIPPED: no NVRTC: %s\n", e.text);
        err_clear(&e);
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        jit_cuda_request request = {
            .source = "extern \"C\" __global__ void fill(unsigned *p) { p[threadIdx.x] = threadIdx.x + 5; }\n",
            .name = "fill.cu",
            .arch = rows[i].target};
        jit_cuda_image image = {0};
        if (!jit_nvrtc_compile(nvrtc, &request, &image, &e))
            fail_msg("%s: %s", rows[i].target, e.text);
        int arch = 0;
        bool specific = false;
        assert_true(emu_driver_cubin_arch(image.cubin, image.cubin_size, &arch, &specific));
        assert_int_equal(arch, rows[i].arch);
        assert_int_equal(specific, rows[i].target[strlen(rows[i].target) - 1] == 'a');
        assert_true(emu_driver_register(image.cubin, image.cubin_size, image.ptx, image.ptx_size));
        help_begin(NULL, rows[i].device);
        uint64_t p = help_alloc(128);
        help_ok(
            help_launch(help_function(help_module((const char *)image.cubin), "fill"), 1, 32, NULL, (void *[]){&p}));
        assert_int_equal(help_word(p + 4 * 31), 36);
        help_end(rows[i].device);
        assert_true(emu_driver_forget(image.cubin, image.cubin_size));
        jit_cuda_image_destroy(&image);
    }
    jit_nvrtc_close(nvrtc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ptx_targets), cmocka_unit_test(test_ptx_versions), cmocka_unit_test(test_wrong_images),
        cmocka_unit_test(test_cubins),      cmocka_unit_test(test_registry),     cmocka_unit_test(test_functions),
        cmocka_unit_test(test_real_cubins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
