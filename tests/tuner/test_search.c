/* test_search.c: the search on a device made up for it, behind the same interface as the CPU, with a clock of its own:
 * the fastest right candidate wins, a wrong one is never timed, the default wins ties, time is kept, a finished search
 * repeats nothing, and where the best are lost at the end the next best have their turn. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"
#include "tuner/assemble.h"

/* The device: what a tile costs, which tiles are wrong, and what was done with each. */
typedef struct machine {
    double time;
    double (*cost)(const gen_tile *tile); /* seconds of a call */
    bool (*wrong)(const gen_tile *tile);
    int prepared, verified, samples, wrong_timed;
    bool (*faults)(const gen_tile *tile); /* when it is timed; NULL: none does */
    size_t fault_above;                   /* on workloads colder than that: later stages ask for more than the first */
    bool broken;                          /* until recover() */
    int faulted, stale_runs;              /* runs on a workload of an earlier generation */
} machine;
static machine m;

typedef struct made_up_runner {
    tune_runner head;
    gen_tile tile;
    size_t cold;        /* of its workload */
    int64_t generation; /* likewise */
} made_up_runner;
static int64_t generation_now(void);

static double machine_now(void *context) {
    (void)context;
    return m.time;
}

static bool prepare(const tune_device *d, tune_candidate *c, err *e) {
    (void)d, (void)e;
    m.prepared++;
    m.time += 0.05;
    c->loaded = true;
    c->library.kernels = (const nha_kernel *)c; /* how the runner finds its way back */
    return true;
}

static void release(const tune_device *d, tune_candidate *c) {
    (void)d;
    c->loaded = false;
}

static bool verify(const tune_device *d, const tune_candidate *c, const tune_reference *reference, err *e) {
    (void)d, (void)reference;
    m.verified++;
    m.time += 0.05;
    return !m.wrong(&c->tile.cpu) || err_set(e, ERR_MISMATCH, "verify", "o: made up to be wrong");
}

static bool run(void *context, int64_t iterations, err *e) {
    const made_up_runner *r = context;
    m.stale_runs += r->generation != generation_now();
    m.broken = m.broken || (m.faults && m.faults(&r->tile) && r->cold > m.fault_above);
    if (m.broken) {
        m.faulted++;
        return err_set(e, ERR_DEVICE, "run", "made up to fault");
    }
    m.samples++;
    m.wrong_timed += m.wrong(&r->tile);
    m.time += (double)iterations * m.cost(&r->tile);
    return true;
}

static bool open_workload(const tune_device *d, const gen_problem *problem, const gen_shape *shape,
                          const nha_library *library, size_t cold, tune_workload **out, err *e) {
    (void)d, (void)problem, (void)shape, (void)library, (void)e;
    *out = calloc(1, sizeof **out);
    if (*out)
        **out = (tune_workload){.tasks = generation_now(), .bytes = cold}; /* nobody else here asks for tasks */
    return *out != NULL;
}

static void close_workload(const tune_device *d, tune_workload *w) {
    (void)d;
    free(w);
}

static bool open_runner(const tune_device *d, tune_workload *w, const nha_library *library, const char *kernel,
                        const char *isa, int threads, tune_runner **out, err *e) {
    (void)d, (void)kernel, (void)isa, (void)threads, (void)e;
    made_up_runner *r = calloc(1, sizeof *r);
    if (!r)
        return false;
    r->tile = ((const tune_candidate *)(const void *)library->kernels)->tile.cpu;
    r->cold = w->bytes;
    r->generation = w->tasks;
    r->head.subject = (tune_subject){.run = run, .context = r};
    *out = &r->head;
    return true;
}

static void close_runner(const tune_device *d, tune_runner *r) {
    (void)d;
    free(r);
}

static bool recover(void *owner, err *e) {
    (void)e;
    ((tune_device *)owner)->place.generation += m.broken;
    m.broken = false;
    return true;
}

static tune_device made_up = {.place = {.recover = recover, .owner = &made_up},
                              .name = "made up",
                              .verified_by = "cpu",
                              .timed_by = "cpu",
                              .prepare = prepare,
                              .release = release,
                              .verify = verify,
                              .open_workload = open_workload,
                              .close_workload = close_workload,
                              .open_runner = open_runner,
                              .close_runner = close_runner};

static int64_t generation_now(void) {
    return (int64_t)made_up.place.generation;
}

/* ---- */

static char folder[64];
static gen_problem problem;
static tune_journal journal;
static tune_progress quiet;

static int enter(void **state) {
    (void)state;
    memset(&m, 0, sizeof m);
    problem = (gen_problem){.nha = {.head_dim_qk = 32,
                                    .head_dim_v = 32,
                                    .heads_q = 2,
                                    .heads_kv = 2,
                                    .slots = 16,
                                    .window = 8,
                                    .slot_lag = 8,
                                    .scale = 0.125,
                                    .gate_normalizer = 8,
                                    .dtype = NHA_BF16},
                            .name = "made-up"};
    gen_problem_derive(&problem);
    problem.nha.name = problem.name;
    /* In memory where that can be: thousands of records are synced one by one. */
    snprintf(folder, sizeof folder, "%s/nhac-search-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    err e = {0};
    return mkdtemp(folder) && tune_journal_open(folder, "key", &journal, &e) ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    tune_journal_close(&journal);
    return base_remove(folder, "test", NULL) ? 0 : -1;
}

static const gen_shape shapes[] = {{NHA_DECODE, 4, 1}, {NHA_DECODE, 256, 1}};

static void open_search(tune_search *s, const char *strategy, double budget) {
    *s = (tune_search){.device = &made_up,
                       .strategy = tune_strategy_find(strategy, NULL),
                       .problem = &problem,
                       .op = NHA_DECODE,
                       .arch = {.isa = gen_isa_find("avx2")},
                       .reference = (const tune_reference *)&m,
                       .journal = &journal,
                       .progress = &quiet,
                       .clock = {machine_now, NULL},
                       .deadline = m.time + budget,
                       .budget = budget,
                       .threads = 2,
                       .jobs = 1};
    err e = {0};
    if (!tune_search_open(s, shapes, 2, &e))
        fail_msg("%s", e.text);
}

static double bowl(const gen_tile *t) { /* the best tile is in the middle of the space, not the default */
    double cost = 1e-3;
    cost *= 1 + 0.2 * abs(t->knob[GEN_STATE_ROWS] - 4) + 0.1 * abs(t->knob[GEN_READ_VECTORS] - 2);
    return cost * (1 + 1e-4 * abs(t->knob[GEN_PREFETCH] - 4096)) * (1 + 0.05 * (t->knob[GEN_EXP_DEGREE] - 4));
}

static bool right(const gen_tile *t) {
    (void)t;
    return false;
}

static bool four_rows_are_wrong(const gen_tile *t) {
    return t->knob[GEN_STATE_ROWS] == 4;
}

/* The cheapest right tile of the whole space. */
static double least(const tune_search *s) {
    double best = 1;
    for (int i = 0; i < s->space.count; i++) {
        const gen_tile *t = &s->space.candidates[i].tile.cpu;
        if (!m.wrong(t) && m.cost(t) < best)
            best = m.cost(t);
    }
    return best;
}

static void test_best_wins(void **state) {
    (void)state;
    bool (*const wrongs[])(const gen_tile *) = {right, four_rows_are_wrong};
    static const char *const strategies[] = {"exhaustive", "random", "model"};
    for (int w = 0; w < 6; w++) {
        m.cost = bowl;
        m.wrong = wrongs[w % 2];
        tune_search s;
        err e = {0};
        open_search(&s, strategies[w / 2], 10000);
        assert_true(s.space.count > 20);
        assert_true(tune_search_run(&s, &e));
        if (w / 2 < 2)
            assert_int_equal(s.explored, s.space.count);
        else
            assert_true(s.settled && s.explored < s.space.count / 2); /* it need not look at all to know */
        for (int b = 0; b < 2; b++) {
            const tune_candidate *winner = &s.space.candidates[tune_search_choose(&s, b)];
            assert_true(m.cost(&winner->tile.cpu) <= least(&s) * 1.03); /* the widest band of ties */
            assert_false(m.wrong(&winner->tile.cpu));
        }
        assert_int_equal(m.wrong_timed, 0);
        tune_search_close(&s);
        leave(NULL);
        enter(NULL);
    }
}

static void test_nothing_is_repeated(void **state) {
    (void)state;
    m.cost = bowl;
    m.wrong = four_rows_are_wrong;
    tune_search s;
    err e = {0};
    open_search(&s, "model", 10000);
    assert_false(tune_search_done(&s));
    assert_true(tune_search_run(&s, &e));
    int winners[2] = {tune_search_choose(&s, 0), tune_search_choose(&s, 1)};
    tune_search_close(&s);
    size_t records = journal.count;
    tune_journal_close(&journal);
    assert_true(tune_journal_open(folder, "key", &journal, &e));
    assert_int_equal(journal.count, records);
    m.samples = m.prepared = 0;
    open_search(&s, "model", 20000);
    assert_true(tune_search_done(&s)); /* nothing was left to look at: more time would find no more */
    assert_true(tune_search_run(&s, &e));
    for (int b = 0; b < 2; b++)
        assert_int_equal(tune_search_choose(&s, b), winners[b]);
    assert_int_equal(m.samples, 0);
    assert_int_equal(m.prepared, 1); /* the default */
    assert_int_equal(journal.count, records);
    tune_search_close(&s);
}

static void test_time_is_kept(void **state) {
    (void)state;
    m.cost = bowl;
    m.wrong = right;
    err e = {0};
    int explored = 0;
    for (double budget = 3; budget <= 9; budget += 3) {
        tune_search s;
        open_search(&s, "random", budget);
        double deadline = s.deadline;
        assert_true(tune_search_run(&s, &e));
        assert_true(m.time <= deadline + 1);
        assert_true(s.explored > explored); /* it goes on where it was */
        explored = s.explored;
        assert_true(tune_search_done(&s));
        tune_search_close(&s);
        open_search(&s, "random", budget * 2);
        assert_false(tune_search_done(&s));
        tune_search_close(&s);
    }
    for (size_t i = 0; i < journal.count; i++) /* and nothing was measured twice */
        for (size_t k = 0; k < i; k++) {
            const tune_record *a = &journal.records[i], *b = &journal.records[k];
            if (a->kind != TUNE_RECORD_DONE && a->kind == b->kind && a->batch == b->batch)
                assert_string_not_equal(a->tile, b->tile);
        }
}

static double flat(const gen_tile *t) {
    (void)t;
    return 1e-3;
}

static double default_is_best(const gen_tile *t) {
    tune_tile first = {0};
    const tune_tile tile = {.cpu = *t};
    gen_tile_default(&problem, NHA_DECODE, gen_isa_find("avx2"), &first.cpu);
    return 1e-3 * (1 + 0.1 * tune_tile_distance(&tile, &first));
}

static void test_default_wins_ties(void **state) {
    (void)state;
    double (*const costs[])(const gen_tile *) = {flat, default_is_best};
    for (int c = 0; c < 2; c++) {
        m.cost = costs[c];
        m.wrong = right;
        tune_search s;
        err e = {0};
        open_search(&s, "exhaustive", 10000);
        assert_true(tune_search_run(&s, &e));
        assert_int_equal(tune_search_choose(&s, 0), 0);
        assert_int_equal(tune_search_choose(&s, 1), 0);
        tune_search_close(&s);
        leave(NULL);
        enter(NULL);
    }
}

static double hasty(const gen_tile *t) { /* faster than light where four rows are read at a time */
    return t->knob[GEN_STATE_ROWS] == 4 ? 1e-12 : bowl(t);
}

/* A time below the physical floor is a measuring error: it is written down as such, and wins nothing. */
static void test_implausible(void **state) {
    (void)state;
    m.cost = hasty;
    m.wrong = right;
    tune_search s;
    err e = {0};
    open_search(&s, "exhaustive", 10000);
    assert_true(tune_search_run(&s, &e));
    assert_int_equal(s.explored, s.space.count);
    int refused = 0;
    for (size_t i = 0; i < journal.count; i++) {
        const tune_record *r = &journal.records[i];
        refused += r->kind == TUNE_RECORD_IMPLAUSIBLE;
        if (tune_record_timed(r->kind))
            assert_true(tune_min(&r->samples) > 1);
    }
    assert_true(refused > 0);
    for (int b = 0; b < 2; b++)
        assert_int_not_equal(s.space.candidates[tune_search_choose(&s, b)].tile.cpu.knob[GEN_STATE_ROWS], 4);
    tune_search_close(&s);
    m.samples = 0; /* and it is not tried again */
    open_search(&s, "exhaustive", 20000);
    assert_true(tune_search_done(&s));
    assert_int_equal(s.explored, s.space.count);
    tune_search_close(&s);
}

/* Noise of 2%, a few slow moments: the halving still ends with one of the best. */
static double noisy(const gen_tile *t) {
    static uint32_t x = 1;
    x = x * 1664525 + 1013904223;
    double u = (double)(x >> 8) / (1 << 24);
    return bowl(t) * (1 + 0.04 * (u - 0.5)) * (u > 0.98 ? 3 : 1);
}

static void test_noise(void **state) {
    (void)state;
    m.cost = noisy;
    m.wrong = right;
    tune_search s;
    err e = {0};
    open_search(&s, "model", 10000);
    assert_true(tune_search_run(&s, &e));
    m.cost = bowl;
    for (int b = 0; b < 2; b++)
        assert_true(bowl(&s.space.candidates[tune_search_choose(&s, b)].tile.cpu) <= least(&s) * 1.03);
    tune_search_close(&s);
}

static bool two_vectors_fault(const gen_tile *t) {
    return t->knob[GEN_READ_VECTORS] == 2;
}

/* In first impressions, or in the stages after them alone: who faults is failed, with its reason in the journal; the
 * rest is timed in the new context, and one of them wins. */
static void test_faults(void **state) {
    (void)state;
    static const size_t above[] = {0, 64u << 20};
    for (int k = 0; k < 2; k++) {
        err e = {0};
        tune_search s;
        char key[16];
        snprintf(key, sizeof key, "faults%d", k);
        tune_journal_close(&journal);
        assert_true(tune_journal_open(folder, key, &journal, &e));
        memset(&m, 0, sizeof m);
        m.cost = bowl;
        m.wrong = right;
        m.faults = two_vectors_fault; /* the fastest */
        m.fault_above = above[k];
        open_search(&s, "model", 2000);
        if (!tune_search_run(&s, &e))
            fail_msg("%s", e.text);
        if (!m.faulted || m.stale_runs || m.broken)
            fail_msg("case %d: %d faults, %d stale, broken %d", k, m.faulted, m.stale_runs, m.broken);
        int failed = 0;
        for (int i = 0; i < s.space.count; i++) {
            const tune_candidate *c = &s.space.candidates[i];
            if (c->status != TUNE_FAILED)
                continue;
            const tune_record *r = tune_journal_find(&journal, TUNE_RECORD_FAILED, NHA_DECODE, c->string);
            failed++;
            assert_true(m.faults(&c->tile.cpu));
            assert_non_null(r);
            assert_non_null(strstr(r->why, "while it was timed: made up to fault"));
        }
        assert_true(failed > 0);
        for (int b = 0; b < s.bucket_count; b++) {
            int winner = tune_search_choose(&s, b);
            assert_true(winner > 0 && !m.faults(&s.space.candidates[winner].tile.cpu));
        }
        tune_search_close(&s);
    }
}

static bool all_wrong(const gen_tile *t) {
    (void)t;
    return true;
}

/* ---- The best are lost ---- */

/* The fastest of the space, far more of them than enter the later stages, and all that a search at first looks at
 * twice; a few are still left that are faster than the default. */
/* A device whose times are the bowl's, where nothing is wrong, and these fault on shapes of more bytes than `above`. */
static void made_of_bowl(bool (*faults)(const gen_tile *), size_t above) {
    m.cost = bowl;
    m.wrong = right;
    m.faults = faults;
    m.fault_above = above;
}

static bool is_among_the_best(const gen_tile *t) {
    gen_tile first;
    gen_tile_default(&problem, NHA_DECODE, gen_isa_find("avx2"), &first);
    return bowl(t) < 0.6 * bowl(&first);
}

static bool has_heat(const gen_tile *t) {
    char string[TUNE_TILE_STRING_MAX];
    gen_tile_string(gen_isa_find("avx2"), NHA_DECODE, t, string, sizeof string);
    return tune_journal_find(&journal, TUNE_RECORD_HEAT, NHA_DECODE, string) != NULL;
}

static bool is_best_and_has_heat(const gen_tile *t) {
    return is_among_the_best(t) && has_heat(t);
}

/* The cheapest of the space that is not among the best, relative to the default. */
static double least_that_holds(const tune_search *s) {
    double best = 1;
    for (int i = 0; i < s->space.count; i++) {
        const gen_tile *t = &s->space.candidates[i].tile.cpu;
        if (!is_among_the_best(t))
            best = fmin(best, bowl(t) / bowl(&s->space.candidates[0].tile.cpu));
    }
    return best;
}

static int lost_of(const tune_search *s) {
    int lost = 0;
    for (int i = 0; i < s->space.count; i++)
        lost += s->space.candidates[i].status == TUNE_FAILED || s->space.candidates[i].status == TUNE_REJECTED;
    return lost;
}

/* A winner that is faster than the default for each shape, of those that hold. */
static void check_winners(const tune_search *s) {
    const double first = bowl(&s->space.candidates[0].tile.cpu);
    for (int b = 0; b < s->bucket_count; b++) {
        int winner = tune_search_choose(s, b);
        const gen_tile *t = &s->space.candidates[winner].tile.cpu;
        if (winner == 0 || is_among_the_best(t) || bowl(t) / first > least_that_holds(s) * 1.03)
            fail_msg("shape %d: %s, %.3f of the default where %.3f holds", b, s->space.candidates[winner].string,
                     bowl(t) / first, least_that_holds(s));
    }
}

/* All finalists fault, in the stage on the shape itself, or in the last one alone: the next best have their turn until
 * one holds, and what is lost is said and written down. */
static void test_finalists_fault(void **state) {
    (void)state;
    bool (*const faults[])(const gen_tile *) = {is_among_the_best, is_best_and_has_heat};
    for (int k = 0; k < 2; k++) {
        err e = {0};
        tune_search s;
        char *said = NULL;
        size_t size;
        made_of_bowl(faults[k], 64u << 20); /* not in first impressions */
        open_search(&s, "model", 10000);
        assert_true(least_that_holds(&s) < 0.97);
        tune_progress told = {.out = open_memstream(&said, &size), .clock = s.clock};
        s.progress = &told;
        assert_non_null(told.out);
        if (!tune_search_run(&s, &e))
            fail_msg("%s", e.text);
        assert_int_equal(fclose(told.out), 0);
        assert_int_equal(m.stale_runs, 0);
        assert_true(lost_of(&s) > 8); /* more than the most that a stage takes */
        check_winners(&s);
        for (int i = 0; i < s.space.count; i++) {
            const tune_candidate *c = &s.space.candidates[i];
            if (c->status != TUNE_FAILED)
                continue;
            assert_non_null(tune_journal_find(&journal, TUNE_RECORD_FAILED, NHA_DECODE, c->string));
            assert_non_null(strstr(said, c->string));
        }
        assert_non_null(strstr(said, "was among the best, and is out: while it was timed: made up to fault"));
        free(said);
        tune_search_close(&s);
        open_search(&s, "model", 20000); /* what the journal says chooses the same */
        m.samples = 0;
        assert_true(tune_search_done(&s) && tune_search_run(&s, &e));
        assert_int_equal(m.samples, 0);
        check_winners(&s);
        tune_search_close(&s);
        leave(NULL);
        enter(NULL);
    }
}

static bool default_faults(const gen_tile *t) {
    gen_tile first;
    gen_tile_default(&problem, NHA_DECODE, gen_isa_find("avx2"), &first);
    return memcmp(t, &first, sizeof first) == 0;
}

/* A default that faults is an error of its own: nobody who ran beside it is called failed for it. */
static void test_default_faults(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        err e = {0};
        tune_search s;
        made_of_bowl(default_faults, k ? 64u << 20 : 1); /* on the shape itself alone, or in first impressions */
        open_search(&s, "model", 10000);
        assert_false(tune_search_run(&s, &e));
        assert_int_equal(e.code, ERR_DEVICE);
        assert_non_null(strstr(e.text, "(the untuned default), while it was timed: made up to fault"));
        assert_int_equal(lost_of(&s), 0);
        err_clear(&e);
        tune_search_close(&s);
        leave(NULL);
        enter(NULL);
    }
}

/* It ends when the time is up, though none has held by then. */
static void test_all_fault(void **state) {
    (void)state;
    err e = {0};
    tune_search s;
    made_of_bowl(is_among_the_best, 64u << 20);
    open_search(&s, "model", 12);
    double deadline = s.deadline;
    if (!tune_search_run(&s, &e))
        fail_msg("%s", e.text);
    assert_true(lost_of(&s) > 0 && m.time <= deadline + 2);
    for (int b = 0; b < s.bucket_count; b++) {
        int winner = tune_search_choose(&s, b);
        assert_true(winner == 0 || s.space.candidates[winner].status == TUNE_VERIFIED);
    }
    tune_search_close(&s);
}

/* Winners that are wrong when they are verified for the library: the next that holds is taken, measured in the last
 * stage as those were; with no time left, the next of those that have been. */
static void test_winner_is_lost(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        err e = {0};
        tune_search s;
        m.cost = bowl;
        m.wrong = right;
        open_search(&s, "model", 10000);
        assert_true(tune_search_run(&s, &e));
        int first = tune_search_choose(&s, 0), lost = 0;
        assert_true(first > 0 && is_among_the_best(&s.space.candidates[first].tile.cpu));
        tune_prepare_options options = {&made_up, s.reference, 1, s.clock, 0};
        tune_assembly assembly;
        tune_assembly_init(&assembly, &problem);
        m.wrong = is_among_the_best;
        if (k == 1)
            s.deadline = m.time;
        for (int b = 0; b < s.bucket_count; b++) {
            int winner;
            if (!tune_assemble_winner(&assembly, &s, b, &options, m.time + 10000, &winner, &e))
                fail_msg("%s", e.text);
            assert_int_equal(winner, tune_search_choose(&s, b));
            assert_false(m.wrong(&s.space.candidates[winner].tile.cpu));
            assert_int_equal(assembly.kernel_count, b + 1);
        }
        if (k == 0)
            check_winners(&s);
        for (int i = 0; i < s.space.count; i++) {
            const tune_candidate *c = &s.space.candidates[i];
            const tune_record *r = tune_journal_find(&journal, TUNE_RECORD_REJECTED, NHA_DECODE, c->string);
            assert_int_equal(r != NULL, c->status == TUNE_REJECTED);
            lost += r && strstr(r->why, "when it was verified for the library: o: made up to be wrong");
        }
        assert_true(lost > 0);
        m.wrong = all_wrong; /* until the time is up: then the default */
        int winner = -1, before = assembly.kernel_count;
        tune_assembly other;
        tune_assembly_init(&other, &problem);
        assert_true(tune_assemble_winner(&other, &s, 0, &options, m.time, &winner, &e));
        assert_int_equal(winner, 0);
        assert_int_equal(other.kernel_count + other.owned_count, 0);
        assert_int_equal(assembly.kernel_count, before);
        tune_assembly_free(&other);
        tune_assembly_free(&assembly);
        tune_search_close(&s);
        leave(NULL);
        enter(NULL);
    }
}

static void test_wrong_default(void **state) {
    (void)state;
    m.cost = bowl;
    m.wrong = all_wrong;
    tune_search s = {.device = &made_up,
                     .problem = &problem,
                     .op = NHA_DECODE,
                     .arch = {.isa = gen_isa_find("avx2")},
                     .reference = (const tune_reference *)&m,
                     .journal = &journal,
                     .progress = &quiet,
                     .clock = {machine_now, NULL},
                     .deadline = 10,
                     .budget = 10};
    err e = {0};
    assert_false(tune_search_open(&s, shapes, 2, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_non_null(strstr(e.text, "the untuned default"));
    err_clear(&e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_best_wins),       TEST(test_nothing_is_repeated),
                                       TEST(test_time_is_kept),    TEST(test_default_wins_ties),
                                       TEST(test_wrong_default),   TEST(test_implausible),
                                       TEST(test_noise),           TEST(test_faults),
                                       TEST(test_finalists_fault), TEST(test_all_fault),
                                       TEST(test_default_faults),  TEST(test_winner_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
