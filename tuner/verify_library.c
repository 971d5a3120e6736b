/* verify_library.c: random cases on every kernel of a library, mixed cuts, and one long sequence. See verify.h.
 */
#include <stdio.h>
#include <string.h>

#include "gen/cpu/isa.h"
#include "tuner/verify_internal.h"

static const tune_place *place_of(const tune_verify_options *options) {
    return options->place ? options->place : &tune_place_host;
}

/* Whether the kernel runs there, and the options allow it. */
static bool wanted(const nha_kernel *kernel, int index, int op, const tune_verify_options *options) {
    const gen_isa *most = options->isa ? gen_isa_find(options->isa) : NULL;
    const tune_place *place = place_of(options);
    if (kernel->problem != index || kernel->op != op || kernel->kind != place->device.kind)
        return false;
    if (place->target && strcmp(place->target, kernel->isa))
        return false;
    if (kernel->kind == NHA_CUDA && !tune_place_runs(place, kernel->isa))
        return false;
    if (kernel->cpu_features & ~nha_cpu_features())
        return false;
    if (most && (kernel->cpu_features & ~most->needs))
        return false;
    return !options->kernel || !strcmp(options->kernel, kernel->name);
}

static bool any_op(const tune_verify_options *options) {
    return options->ops[NHA_PREFILL] || options->ops[NHA_DECODE];
}

static bool has_op(const nha_library *library, int index, int op, const tune_verify_options *options) {
    if (any_op(options) && !options->ops[op])
        return false;
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (wanted(&library->kernels[i], index, op, options))
            return true;
    return false;
}

/* Sizes by which the shapes of random cases are chosen: the largest block of the op. A GPU's is about this. */
enum { CUDA_BLOCK = 64 };
static int64_t largest_block(const nha_library *library, int index, const tune_verify_options *options) {
    int64_t block = 8;
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const nha_kernel *kernel = &library->kernels[i];
        const int64_t own = kernel->cpu ? kernel->cpu->block_tokens : CUDA_BLOCK;
        if (wanted(kernel, index, NHA_PREFILL, options) && own > block)
            block = own;
    }
    return block;
}

/* A kernel of the op that runs there, by name, at random; NULL: the library's choice. */
static const char *any_kernel(const nha_library *library, int index, int op, const tune_verify_options *options,
                              tune_random *r) {
    const char *name = NULL;
    int64_t seen = 0;
    for (int32_t i = 0; i < library->kernel_count; i++)
        if (wanted(&library->kernels[i], index, op, options) && tune_random_between(r, 0, ++seen) == 0)
            name = library->kernels[i].name;
    return name;
}

/* A random cut of the sequences into prefill pieces and decode steps, by any of the library's kernels: a row that one has left
 * is right for the others, and in an image of it nothing is pending. */
static bool mixed_cuts(const nha_library *library, int index, const verify_truth *truth,
                       const tune_verify_options *options, tune_random *r, tune_verify_report *report, err *e) {
    enum { PIECES = 6 };
    tune_cut cuts[PIECES];
    char what[200] = "cut:";
    size_t at = strlen(what);
    for (int i = 0; i < PIECES; i++) {
        bool decode = tune_random_between(r, 0, 2) == 0;
        int64_t tokens = tune_random_between(r, 1, decode ? 9 : tune_random_between(r, 0, 1) ? 60 : 5);
        cuts[i] = (tune_cut){.op = decode ? NHA_DECODE : NHA_PREFILL, .tokens = tokens};
        if (i < PIECES / 2) /* the others by the library's choice: few plans */
            cuts[i].kernel = any_kernel(library, index, cuts[i].op, options, r);
        cuts[i].moved = tune_random_between(r, 0, 3) == 0;
        at += (size_t)snprintf(what + at, sizeof what - at, " %s %lld%s", decode ? "decode" : "prefill",
                               (long long)tokens, cuts[i].moved ? " moved" : "");
    }
    tune_run_options run = {.problem = index,
                            .threads = 1 + (int)tune_random_between(r, 0, 1),
                            .isa = options->isa,
                            .place = place_of(options),
                            .cuts = cuts,
                            .cut_count = PIECES};
    tune_result result;
    if (!tune_host_run(library, &truth->test.problem, &truth->test.batch, &run, &result, e))
        return false;
    bool ok = verify_against_oracle(truth, &result, what, report, e);
    tune_result_destroy(&result);
    return ok;
}

/* One random case on all kernels of an op. */
static bool random_case(const nha_library *library, int index, int op, const gen_problem *problem,
                        const tune_verify_options *options, uint64_t seed, tune_verify_report *report, err *e) {
    int threads = options->threads > 0 ? options->threads : 2;
    double flops = options->flops > 0 ? options->flops : 2e8;
    bool both =
        !options->kernel && has_op(library, index, NHA_PREFILL, options) && has_op(library, index, NHA_DECODE, options);
    tune_random r = {seed};
    tune_case_spec spec;
    verify_truth truth;
    tune_case_random(problem, seed, op == NHA_DECODE ? 8 : largest_block(library, index, options), flops, &spec);
    if (op == NHA_DECODE)
        spec.memory = false; /* starts from a cache or from nothing */
    if (!verify_truth_create(problem, &spec, threads, &truth, e))
        return false;
    verify_effort effort = {.fence = options->fence};
    effort.layout = (int)tune_random_between(&r, 0, VERIFY_LAYOUTS - 1);
    effort.threads = tune_random_between(&r, 0, 1) ? threads : 1;
    effort.company = tune_random_between(&r, 0, 1) ? TUNE_CASE_SEQUENCES : 0;
    effort.divided = true;
    effort.cuts = tune_random_between(&r, 0, 2) == 0;
    bool ok = true;
    for (int32_t i = 0; ok && i < library->kernel_count; i++)
        if (wanted(&library->kernels[i], index, op, options))
            ok = verify_case(place_of(options), library, index, op, library->kernels[i].name, NULL, &truth, &effort, report, e);
    if (ok && both)
        ok = mixed_cuts(library, index, &truth, options, &r, report, e);
    verify_truth_destroy(&truth);
    return ok;
}

bool tune_verify_library(const nha_library *library, int index, const gen_problem *problem,
                         const tune_verify_options *options, tune_verify_report *report, err *e) {
    if (options->isa && !gen_isa_find(options->isa))
        return err_set(e, ERR_USAGE, "verify", "there is no ISA %s", options->isa);
    if (!has_op(library, index, NHA_PREFILL, options) && !has_op(library, index, NHA_DECODE, options))
        return err_set(e, ERR_MISSING, "verify", "the library has no kernel of these that this machine runs");
    for (int64_t i = 0; i < options->cases; i++)
        for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
            if (has_op(library, index, op, options) &&
                !random_case(library, index, op, problem, options, options->seed + (uint64_t)i, report, e))
                return false;
    return true;
}

bool tune_verify_long(const tune_place *place, const nha_library *library, int index, int op, const gen_problem *problem, int64_t tokens,
                      int threads, uint64_t seed, tune_verify_report *report, err *e) {
    const tune_cut step = {.op = NHA_DECODE, .tokens = 1};
    tune_case_spec spec = {.seed = seed, .sequences = 1, .length = {tokens}, .gates = TUNE_GATES_SLOW};
    tune_run_options options = {.problem = index, .threads = threads, .place = place};
    tune_result result;
    verify_truth truth;
    if (op == NHA_DECODE) {
        options.cuts = &step;
        options.cut_count = 1;
    }
    if (!verify_truth_create(problem, &spec, threads, &truth, e))
        return false;
    bool ok = tune_host_run(library, problem, &truth.test.batch, &options, &result, e);
    if (ok) {
        char what[240];
        snprintf(what, sizeof what, "kernel %s, a long sequence", result.kernel[op]);
        if (report)
            report->cases++;
        ok = verify_against_oracle(&truth, &result, what, report, e);
        tune_result_destroy(&result);
    }
    verify_truth_destroy(&truth);
    return ok;
}
