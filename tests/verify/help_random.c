/* help_random.c: generated kernels of one ISA on random legal problems of odd sizes, default and random tiles.
 * See help_random.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/help_random.h"
#include "tuner/candidate.h"
#include "tuner/verify.h"

enum { TILES = 2, OPS = 2, SKIPPED = 77 };
enum { SEEDS = 4 }; /* ISAs of an architecture at most: what each takes of the seeds */

/* Best so far of a reservoir of one: every legal tile is taken with the same probability. */
typedef struct pick {
    tune_random random;
    int64_t seen;
    gen_tile tile;
} pick;

static bool visit(void *context, const gen_tile *tile, const char *reason) {
    pick *p = context;
    if (!reason && tune_random_between(&p->random, 0, p->seen++) == 0)
        p->tile = *tile;
    return true;
}

/* One problem: the default tile of each op and a random one of either op in turn, in one library, on random cases. */
static bool run_problem(uint64_t seed, const gen_isa *best, tune_verify_report *report, err *e) {
    static const int priority[TILES] = {100, 0};
    gen_problem problem;
    tune_candidate c[OPS * TILES];
    nha_kernel kernels[OPS * TILES];
    tune_random r = {seed};
    int count = 0;
    bool ok = true;
    memset(c, 0, sizeof c);
    tune_random_problem(seed, &problem);
    for (int op = NHA_PREFILL; ok && op <= NHA_DECODE; op++) {
        const gen_isa *isa = gen_cpu_serves(&problem, op, best); /* AMX has no decode */
        for (int i = seed / SEEDS % OPS == (uint64_t)op; ok && i >= 0; i--) { /* rising rank */
            pick p = {.random = r};
            gen_tile_default(&problem, op, isa, &p.tile);
            if (i && !gen_cpu_space(&problem, op, isa, visit, &p, e))
                ok = false;
            r.state++;
            tune_candidate *next = &c[count];
            const tune_arch arch = {.isa = isa};
            const tune_tile tile = {.cpu = p.tile};
            tune_candidate_init(next, &problem, op, &arch, &tile, i);
            if (!ok || (i == 0 && count && c[count - 1].op == (nha_op)op && !strcmp(c[count - 1].string, next->string)))
                continue;
            ok = tune_candidate_load(next, NULL, e);
            kernels[count] = next->kernel;
            kernels[count].rank = priority[!i];
            count++;
        }
    }
    if (ok) {
        nha_library library = c[0].library;
        library.kernel_count = count;
        library.kernels = kernels;
        tune_verify_options options = {.cases = 1, .seed = seed, .flops = 3e6, .fence = true, .isa = best->name};
        ok = tune_verify_library(&library, 0, &problem, &options, report, e);
    }
    for (int i = 0; i < count; i++)
        tune_candidate_unload(&c[i]);
    return ok;
}

/* 75 problems, 500 with NHAC_LONG. With the sanitizers, which are there for the memory, a tenth. */
static int64_t problems(void) {
    const char *full = getenv("NHAC_LONG");
#if defined(__SANITIZE_ADDRESS__)
    int64_t part = 10;
#else
    int64_t part = 1;
#endif
    return (full && *full && strcmp(full, "0") ? 500 : 75) / part;
}

static const gen_isa *the_isa;

/* Row of the ISA in the table: its problems are the seeds that leave this remainder when divided by SEEDS. */
static int64_t first_seed(void) {
    int rows;
    return the_isa - gen_isa_table(&rows);
}

static bool serves(uint64_t seed) {
    gen_problem problem;
    tune_random_problem(seed, &problem);
    return gen_cpu_serves(&problem, NHA_PREFILL, the_isa) == the_isa;
}

static void test_random_problems(void **state) {
    (void)state;
    const char *one = getenv("NHAC_PROBLEM");
    int64_t wanted = one ? 1 : problems(), run = 0, failed = 0;
    tune_verify_report all = {0};
    for (int64_t seed = one ? atoll(one) : first_seed(); run < wanted; seed += SEEDS) {
        err e = {0};
        char text[256];
        gen_problem problem;
        if (!one && !serves((uint64_t)seed))
            continue;
        if (!run_problem((uint64_t)seed, the_isa, &all, &e)) {
            tune_random_problem((uint64_t)seed, &problem);
            gen_problem_string(&problem, NHA_PREFILL, text, sizeof text);
            print_error("NHAC_PROBLEM=%lld (%s): %s\n", (long long)seed, text, e.text);
            failed++;
        }
        err_clear(&e);
        run++;
    }
    print_message("%s: %lld problems, %lld executions; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", the_isa->name,
                  (long long)run, (long long)all.executions, all.worst[TUNE_CHECK_O], all.worst[TUNE_CHECK_LSE],
                  all.worst[TUNE_CHECK_HK], all.worst[TUNE_CHECK_HV]);
    assert_true(run > 0 && all.executions > run);
    assert_int_equal(failed, 0);
}

int help_random_run(const char *name) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_problems)};
    const gen_isa *best = gen_isa_best(nha_cpu_features());
    the_isa = gen_isa_find(name);
    if (!the_isa)
        return 1;
    if (!best || strcmp(the_isa->triple, best->triple) || (the_isa->needs & ~nha_cpu_features())) {
        printf("skipped: the host has no %s\n", name);
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
