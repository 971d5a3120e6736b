/* help_cuda.c: see help_cuda.h. */
#include "tests/runtime/help_cuda.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/runtime/help_case.h"
#include "tests/runtime/help_driver.h"
#include "tests/runtime/help_reference.h"

const nha_cuda_code cuda_prefill_code = {
    .launch_count = 2,
    .launch = {{"main", NHA_GRID_HEADS, 128, 1000, 0}, {"commit", NHA_GRID_HEADS, 32, 0, 1}},
    .workspace_bytes = 5000,
    .workspace_window_bytes = 100,
};
const nha_cuda_code cuda_decode_code = {.launch_count = 1, .launch = {{"step", NHA_GRID_HEADS, 64, 60000, 0}}};
const char cuda_cubin[16] = "\177ELF", cuda_ptx[16] = ".version 8.0";

static nha_kernel kernel_of(const char *name, int32_t problem, int32_t op, const char *target, int32_t rank) {
    return (nha_kernel){.name = name, .problem = problem, .op = op, .kind = NHA_CUDA, .rank = rank, .isa = target,
                        .max_tasks = INT64_MAX, .max_length = INT64_MAX,
                        .cuda = op == NHA_DECODE ? &cuda_decode_code : &cuda_prefill_code,
                        .cubin = cuda_cubin, .cubin_bytes = sizeof cuda_cubin};
}

void cuda_library_make(cuda_library *l, int32_t op, const char *words) {
    memset(l, 0, sizeof *l);
    int32_t count = 0;
    for (const char *word = words; *word && count < CUDA_KERNELS_MAX; count++) {
        size_t length = strcspn(word, " "), target = strcspn(word, ": pb");
        snprintf(l->names[count], sizeof l->names[count], "%.*s", (int)length, word);
        snprintf(l->targets[count], sizeof l->targets[count], "%.*s", (int)target, word);
        char kind = word[length - 1];
        int32_t rank = word[target] == ':' ? (int32_t)strtol(word + target + 1, NULL, 10) : 100;
        nha_kernel *k = &l->kernels[count];
        *k = kernel_of(l->names[count], 0, op, l->targets[count], rank);
        if (kind == 'p') k->cubin = NULL, k->cubin_bytes = 0;
        if (kind == 'p' || kind == 'b') k->ptx = cuda_ptx, k->ptx_bytes = strlen(cuda_ptx);
        word += length + (word[length] == ' ');
    }
    l->library = reference_library;
    l->library.name = "cuda-test";
    l->library.kernels = l->kernels;
    l->library.kernel_count = count;
}

void cuda_library_all(nha_library *library, nha_kernel kernels[], int32_t problems) {
    *library = reference_library;
    library->kernels = kernels;
    library->kernel_count = 2 * problems;
    for (int32_t i = 0; i < problems; i++) {
        kernels[2 * i] = kernel_of("prefill", i, NHA_PREFILL, "sm_90", 0);
        kernels[2 * i + 1] = kernel_of("decode", i, NHA_DECODE, "sm_90", 0);
    }
}

nha_plan_options cuda_options(int32_t op) {
    nha_plan_options o = case_options(0, op, 2, 100, 0);
    o.device = recorder_device(0);
    return o;
}

nha_status cuda_create(const cuda_library *l, const nha_plan_options *o, nha_plan **plan, nha_error *error) {
    *plan = (nha_plan *)(uintptr_t)1;
    nha_status status = nha_plan_create(&l->library, o, plan, error);
    assert_int_equal(status, error->status);
    assert_true((status == NHA_OK) == (*plan != NULL));
    assert_null(strchr(error->text, '\n'));
    return status;
}

void cuda_refused(const cuda_library *l, const nha_plan_options *o, nha_status status, const char *word) {
    nha_plan *plan;
    nha_error error;
    assert_int_equal(cuda_create(l, o, &plan, &error), status);
    if (!strstr(error.text, word)) fail_msg("no \"%s\" in: %s", word, error.text);
}

void cuda_check_clean(void) {
    assert_int_equal(recorded.modules, 0);
    assert_int_equal(recorded.retained[0], 0);
    assert_int_equal(recorded.retained[1], 0);
    assert_int_equal(recorded.misused, 0);
    assert_null(recorder_current());
}
