/* help_kernels.c: see help_kernels.h. */
#include "tests/shared/help_kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/space.h"

enum { TILES = 2, OPS = 2 };

/* Every legal tile but the default is taken with the same probability; that one where there is no other. */
static bool random_tile(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_random *r, tune_tile *tile,
                        err *e) {
    tune_space space;
    if (!tune_space_open(problem, op, arch, &space, e))
        return false;
    if (space.count > 1)
        *tile = space.candidates[tune_random_between(r, 1, space.count - 1)].tile;
    tune_space_close(&space);
    return true;
}

/* Default kernels rank 100, random ones 0. */
static bool make(const help_kernels *k, const gen_problem *problem, nha_op op, bool other, tune_candidate *c, err *e) {
    tune_random random = {k->options.seed};
    tune_tile tile;
    if (!tune_default_tile(problem, op, &k->arch[op], &tile, e) ||
        (other && !random_tile(problem, op, &k->arch[op], &random, &tile, e)))
        return false;
    tune_candidate_init(c, problem, op, &k->arch[op], &tile, other);
    return k->device->prepare(k->device, c, e);
}

static bool verify(const help_kernels *k, const gen_problem *problem, const nha_library *library,
                   tune_verify_report *report, err *e) {
    if (k->device->adopt && !k->device->adopt(k->device, library, e))
        return false;
    bool ok = tune_verify_library(library, 0, problem, &k->options, report, e);
    if (k->device->forget)
        k->device->forget(k->device, library);
    return ok;
}

bool help_kernels_run(const gen_problem *problem, const help_kernels *k, tune_verify_report *report, err *e) {
    tune_candidate *c = calloc(OPS * TILES, sizeof *c);
    nha_kernel kernels[OPS * TILES];
    int count = 0;
    bool ok = true;
    assert_non_null(c);
    for (int op = NHA_PREFILL; ok && op <= NHA_DECODE; op++)
        for (int i = op == (int)k->other; ok && i >= 0; i--) { /* rising rank */
            ok = make(k, problem, (nha_op)op, i > 0, &c[count], e);
            if (ok && i == 0 && count && c[count - 1].op == (nha_op)op && !strcmp(c[count - 1].name, c[count].name)) {
                k->device->release(k->device, &c[count]); /* the random one is the default */
                continue;
            }
            kernels[count] = c[count].kernel;
            kernels[count++].rank = i ? 0 : 100;
        }
    if (ok) {
        nha_library library = c[0].library;
        library.kernel_count = count;
        library.kernels = kernels;
        ok = verify(k, problem, &library, report, e);
    }
    for (int i = 0; i < OPS * TILES; i++)
        if (c[i].loaded)
            k->device->release(k->device, &c[i]);
    free(c);
    return ok;
}

int64_t help_problems_count(int64_t few, int64_t many) {
    const char *full = getenv("NHAC_LONG");
    return full && *full && strcmp(full, "0") ? many : few;
}

void help_problems_run(const help_problems *p) {
    const char *one = getenv("NHAC_PROBLEM");
    int64_t wanted = one ? 1 : p->count, run = 0, failed = 0;
    tune_verify_report all = {0};
    for (int64_t seed = one ? atoll(one) : p->first; run < wanted; seed += p->step) {
        err e = {0};
        char text[256];
        gen_problem problem;
        if (!one && p->serves && !p->serves((uint64_t)seed))
            continue;
        if (!p->run((uint64_t)seed, &all, &e)) {
            tune_random_problem((uint64_t)seed, &problem);
            gen_problem_string(&problem, NHA_PREFILL, text, sizeof text);
            print_error("NHAC_PROBLEM=%lld (%s, %s): %s\n", (long long)seed, p->where((uint64_t)seed), text, e.text);
            failed++;
        }
        err_clear(&e);
        run++;
    }
    print_message("%s: %lld problems, %lld executions; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n",
                  p->where((uint64_t)p->first), (long long)run, (long long)all.executions, all.worst[TUNE_CHECK_O],
                  all.worst[TUNE_CHECK_LSE], all.worst[TUNE_CHECK_HK], all.worst[TUNE_CHECK_HV]);
    assert_true(run > 0 && all.executions > run);
    assert_int_equal(failed, 0);
}
