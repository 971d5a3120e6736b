/* help_cuda.c: random legal problems, each on a target of its own: the default tile of each op and a random one of
 * either op in turn, in one library, on random cases. See help_cuda.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gen/templates.h"
#include "tests/cuda/help_cuda.h"
#include "tuner/device.h"

enum { TILES = 2, OPS = 2 };

bool help_cuda_has_compiler(void) {
    err e = {0};
    if (tune_nvrtc(&e))
        return true;
    print_message("SKIPPED, NOTHING WAS CHECKED: %s\n", e.text);
    err_clear(&e);
    skip();
    return false;
}

/* Reservoir of one: every legal tile is taken with the same probability. */
typedef struct pick {
    tune_random random;
    int64_t seen;
    gen_cuda_tile tile;
} pick;

static bool visit(void *context, const gen_cuda_tile *tile, const char *reason) {
    pick *p = context;
    if (!reason && tune_random_between(&p->random, 0, p->seen++) == 0)
        p->tile = *tile;
    return true;
}

static bool make(const tune_device *d, tune_candidate *c, const gen_problem *problem, nha_op op, bool other,
                 tune_random *r, err *e) {
    tune_tile tile;
    if (!tune_default_tile(problem, op, &d->arch, &tile, e))
        return false;
    if (other) {
        pick p = {.random = *r, .tile = tile.cuda};
        const gen_embedded *files = gen_templates(e);
        if (!files || !gen_cuda_space(files, tile.variant, problem, d->arch.cuda, visit, &p, e))
            return false;
        tile.cuda = p.tile;
    }
    r->state++;
    tune_candidate_init(c, problem, op, &d->arch, &tile, other);
    return d->prepare(d, c, e);
}

static bool run_problem(uint64_t seed, const char *target, tune_verify_report *report, err *e) {
    gen_problem problem;
    tune_candidate *c = calloc(OPS * TILES, sizeof *c);
    nha_kernel kernels[OPS * TILES];
    tune_random r = {seed};
    tune_device *d = NULL;
    int count = 0;
    assert_non_null(c);
    tune_random_problem(seed, &problem);
    problem.nha.state_dtype = NHA_F32; /* the one there is on CUDA */
    bool ok = tune_device_open_emu(gen_cuda_target_find(target), &d, e);
    for (int op = NHA_PREFILL; ok && op <= NHA_DECODE; op++)
        for (int i = seed / HELP_CUDA_SHARDS % OPS == (uint64_t)op; ok && i >= 0; i--) {
            ok = make(d, &c[count], &problem, (nha_op)op, i > 0, &r, e);
            if (ok && i == 0 && count && c[count - 1].op == (nha_op)op && !strcmp(c[count - 1].name, c[count].name)) {
                d->release(d, &c[count]); /* the random one is the default */
                continue;
            }
            kernels[count] = c[count].kernel;
            kernels[count].rank = i ? 0 : 100;
            count++;
        }
    if (ok) {
        nha_library library = c[0].library;
        library.kernel_count = count;
        library.kernels = kernels;
        tune_verify_options options = {.cases = 2, .seed = seed, .flops = 3e6, .place = &d->place};
        ok = d->adopt(d, &library, e);
        if (ok) {
            ok = tune_verify_library(&library, 0, &problem, &options, report, e);
            d->forget(d, &library);
        }
    }
    for (int i = 0; i < OPS * TILES; i++)
        tune_candidate_unload(&c[i]);
    tune_device_close(d);
    free(c);
    return ok;
}

/* 60 problems in all, 300 with NHAC_LONG. */
static int64_t problems(void) {
    const char *full = getenv("NHAC_LONG");
    return full && *full && strcmp(full, "0") ? 300 : 60;
}

static int64_t the_shard;

static void test_random_problems(void **state) {
    (void)state;
    const char *one = getenv("NHAC_PROBLEM");
    int64_t first = one ? atoll(one) : the_shard, last = one ? first + 1 : problems(), run = 0, failed = 0;
    tune_verify_report all = {0};
    int targets;
    const gen_cuda_target *table = gen_cuda_target_table(&targets);
    if (!help_cuda_has_compiler())
        return;
    for (int64_t seed = first; seed < last; seed += HELP_CUDA_SHARDS, run++) {
        err e = {0};
        char text[256];
        gen_problem problem;
        const char *target = table[seed / HELP_CUDA_SHARDS % targets].name;
        if (!run_problem((uint64_t)seed, target, &all, &e)) {
            tune_random_problem((uint64_t)seed, &problem);
            gen_problem_string(&problem, NHA_PREFILL, text, sizeof text);
            print_error("NHAC_PROBLEM=%lld (%s, %s): %s\n", (long long)seed, target, text, e.text);
            failed++;
        }
        err_clear(&e);
    }
    print_message("%lld problems, %lld executions; worst: o %.2g, lse %.2g, hk %.2g, hv %.2g\n", (long long)run,
                  (long long)all.executions, all.worst[TUNE_CHECK_O], all.worst[TUNE_CHECK_LSE],
                  all.worst[TUNE_CHECK_HK], all.worst[TUNE_CHECK_HV]);
    assert_true(run > 0 && all.executions > run);
    assert_int_equal(failed, 0);
}

int help_cuda_random(int shard) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_problems)};
    the_shard = shard;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
