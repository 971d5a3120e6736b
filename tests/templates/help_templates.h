/* help_templates.h: CUDA templates, rendered for a problem, compiled by NVRTC and run in the emulator on a case of the
 * tuner's, against the fp64 oracle. Emulator reports are errors as wrong numbers are. */
#ifndef TESTS_TEMPLATES_HELP_TEMPLATES_H
#define TESTS_TEMPLATES_HELP_TEMPLATES_H

#include "emu/emu.h"
#include "gen/cuda/cuda.h"
#include "tests/shared/help_compiler.h"
#include "tuner/verify_internal.h"

typedef struct help_kernel {
    gen_problem problem;
    nha_op op;
    gen_cuda_unit unit; /* may not be moved once created */
    jit_cuda_image image;
    emu_module *module;
} help_kernel;

/* tile NULL: the default one. Errors: ERR_INPUT or ERR_INTERNAL from rendering, ERR_COMPILE. */
bool help_kernel_create(const jit_nvrtc *nvrtc, const gen_embedded *files, const gen_problem *problem, nha_op op,
                        const char *target, const gen_cuda_tile *tile, help_kernel *kernel, err *e);
void help_kernel_destroy(help_kernel *kernel);

typedef struct help_run_options {
    uint64_t seed; /* of the warps' order, and of the layout: strides, which outputs are asked for */
    emu_async async;
    int64_t skip; /* sequence whose cache_index is -1, or -1 */
    /* Bytes between batches, tokens and heads of a tensor, beyond what is needed; tokens of the cache's rings, 0: as
     * many as are needed. With any of them, only what is used is looked at, not all that lies between. */
    int64_t apart_batch, apart_token, apart_head, ring_tokens;
    bool unchecked; /* bounds alone: for long runs */
} help_run_options;

/* Runs the case: prefill in one call (through a cache where the case has one), decode token by token (always through a
 * cache; not for packed cases). Results within the tolerance of the oracle, rings and positions exact, everything
 * written that is to be written, nothing else, no report. Errors: ERR_MISMATCH. Thread-safe. */
bool help_kernel_run(const help_kernel *kernel, const verify_truth *truth, const help_run_options *options,
                     tune_verify_report *report, emu_counters *counters, err *e);

#endif
