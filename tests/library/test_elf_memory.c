/* test_elf_memory.c: the n-th allocation fails, for every n, while a table is written and loaded: ERR_MEMORY each time,
 * nothing lost, no half an object; with memory back, the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "tests/shared/help_malloc.h"
#include "tuner/library_data.h"
#include "tuner/library_table.h"

#ifdef __aarch64__
#define HOST "aarch64-unknown-linux-gnu"
#else
#define HOST "x86_64-unknown-linux-gnu"
#endif

static gen_spec spec;
static char cubin[3000];
static const nha_cuda_code code = {.launch_count = 1, .launch = {{"entry_of_it", NHA_GRID_HEADS, 128, 1024, 1}}};

static bool make(base_buf *object, err *e) {
    static const tune_library_kernel rows[2] = {
        {.name = "prefill.sm_80.a", .kind = NHA_CUDA, .target = "sm_80", .max_tasks = INT64_MAX,
         .max_length = INT64_MAX, .cuda = &code, .cubin = cubin, .cubin_size = sizeof cubin, .ptx = "// ptx",
         .ptx_size = 6},
        {.name = "decode.sm_80.b", .op = NHA_DECODE, .kind = NHA_CUDA, .target = "sm_80", .max_tasks = INT64_MAX,
         .max_length = INT64_MAX, .cuda = &code, .cubin = cubin, .cubin_size = 100}};
    const tune_library_kernel *const order[2] = {&rows[0], &rows[1]};
    return tune_table_make(&spec.problem, order, 2, 0, HOST, object, e);
}

static void every_allocation_fails_once(void **state) {
    (void)state;
    if (!help_malloc_works) {
        print_message("SKIPPED: the sanitizer has its own allocator\n");
        skip();
    }
    base_buf good = {0};
    elf_image image;
    assert_true(make(&good, NULL));
    long n = 0;
    for (bool done = false; !done; n++) {
        err e = {0};
        base_buf object = {0};
        const long before = help_malloc_live;
        help_malloc_left = n;
        done = make(&object, &e);
        help_malloc_left = -1;
        assert_int_equal(e.code, done ? ERR_NONE : ERR_MEMORY);
        if (done) {
            assert_int_equal(object.size, good.size);
            assert_memory_equal(object.data, good.data, good.size);
        }
        base_buf_free(&object);
        assert_int_equal(help_malloc_live, before);
        err_clear(&e);
    }
    assert_true(n > 15);
    n = 0;
    for (bool done = false; !done; n++) {
        err e = {0};
        const long before = help_malloc_live;
        help_malloc_left = n;
        done = tune_data_load(good.data, good.size, "t", &image, &e) != NULL;
        help_malloc_left = -1;
        assert_int_equal(e.code, done ? ERR_NONE : ERR_MEMORY);
        assert_true((image.base != NULL) == done);
        elf_unload(&image);
        assert_int_equal(help_malloc_live, before);
        err_clear(&e);
    }
    assert_true(n > 1);
    base_buf_free(&good);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once)};
    static const char text[] = "name: t\nhead_dim: 32\nheads: {query: 2, kv: 1}\nslots: 8\nwindow: 4\ndtype: bf16\n"
                               "targets: [sm_80]\n";
    err e = {0};
    if (!gen_spec_parse("test.yaml", text, sizeof text - 1, &spec, &e)) {
        err_print(stderr, &e);
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gen_spec_destroy(&spec);
    return failed;
}
