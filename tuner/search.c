/* search.c: see search.h. Compiling and verifying a group, then timing it: the two never overlap. Which candidates make
 * a group is the strategy's to say. */
#include "tuner/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/cost_prior.h"
#include "tuner/final.h"
#include "tuner/search_timing.h"

/* Rounds of a first impression: on a noisy machine more of them, until each time is known to QUICK_NOISE or is known to
 * be slow. */
enum { GROUP_LEAST = 4, GROUP = 8, QUICK_ROUNDS_LEAST = 5, QUICK_ROUNDS = 15 };
static const double QUICK_NOISE = 0.02;
static const double QUICK_SAMPLE = 2e-3;     /* seconds a sample */
static const double QUICK_SHARE = 0.65;      /* of the time: first impressions; the rest is for the finals */
static const double QUICK_GIVE_UP = 1.3;     /* times the default */
static const size_t COLD_BYTES = 64u << 20;  /* decode: caches used in turn */
static const size_t MODEL_BYTES = 48u << 20; /* what the models of all shapes may remember */

bool tune_search_explored(const tune_search *s, int candidate) {
    const tune_candidate *c = &s->space.candidates[candidate];
    if (c->status == TUNE_REJECTED || c->status == TUNE_FAILED || candidate == 0)
        return true;
    for (int b = 0; b < s->bucket_count; b++) {
        const tune_score *q = tune_search_at(s, TUNE_QUICK, candidate, b);
        if (!q->timed && !q->refused)
            return false;
    }
    return true;
}

tune_score tune_search_quick(const tune_search *s, int candidate, int bucket) {
    return *tune_search_at(s, TUNE_QUICK, candidate, bucket);
}

/* ---- What the journal knows ---- */

static int by_string(const void *a, const void *b) {
    return strcmp((*(tune_candidate *const *)a)->string, (*(tune_candidate *const *)b)->string);
}

static void take_up_record(tune_search *s, tune_candidate *c, const tune_record *r) {
    int place = (int)(c - s->space.candidates);
    if (r->kind <= TUNE_RECORD_FAILED) {
        c->status = r->kind == TUNE_RECORD_VERIFIED   ? TUNE_VERIFIED
                    : r->kind == TUNE_RECORD_REJECTED ? TUNE_REJECTED
                                                      : TUNE_FAILED;
        memcpy(c->why, r->why, sizeof c->why);
    }
    tune_search_take_up(s, place, r);
}

/* Applies the journal's records in their order, so that the latest of a kind counts. The default is verified anew each
 * time. */
static bool take_up(tune_search *s, err *e) {
    size_t count = (size_t)s->space.count;
    tune_candidate **sorted = malloc(count * sizeof *sorted), key, *at = &key;
    if (!sorted)
        return err_memory(e, "search");
    for (size_t i = 0; i < count; i++)
        sorted[i] = &s->space.candidates[i];
    if (s->journal->count > 0)
        qsort(sorted, count, sizeof *sorted, by_string);
    for (size_t i = 0; i < s->journal->count; i++) {
        const tune_record *r = &s->journal->records[i];
        memcpy(key.string, r->tile, sizeof key.string);
        tune_candidate **found = r->op == (int)s->op ? bsearch(&at, sorted, count, sizeof *sorted, by_string) : NULL;
        if (found && (*found)->order != 0)
            take_up_record(s, *found, r);
    }
    free(sorted);
    s->explored = 0;
    bool ok = true;
    for (int i = 0; ok && i < s->space.count; i++) {
        s->explored += tune_search_explored(s, i);
        for (int b = 0; ok && b < s->bucket_count; b++) {
            tune_score q = tune_search_quick(s, i, b);
            ok = !q.timed || tune_cost_model_observe(&s->models[b], i, q.ratio, q.noise, e);
        }
    }
    return ok;
}

bool tune_search_done(const tune_search *s) {
    for (int b = 0; b < s->bucket_count; b++) {
        const gen_shape *shape = &s->buckets[b].shape;
        const tune_record *r = tune_journal_timed(s->journal, TUNE_RECORD_DONE, s->op, "", shape->batch, shape->tokens);
        if (!r || !(r->exhausted || r->seconds >= s->budget))
            return false;
    }
    return true;
}

/* A model a bucket, from the same estimate. */
static bool open_models(tune_search *s, err *e) {
    double *prior = malloc((size_t)s->space.count * sizeof *prior);
    bool ok = (prior || err_memory(e, "search")) && tune_cost_places_open(&s->space, &s->places, e);
    for (int i = 0; ok && i < s->space.count; i++)
        prior[i] = tune_cost_prior(s->problem, s->op, &s->arch, &s->space.candidates[i].tile);
    for (int b = 0; ok && b < s->bucket_count; b++)
        ok = tune_cost_model_open(&s->places, prior, MODEL_BYTES / (size_t)s->bucket_count, &s->models[b], e);
    free(prior);
    return ok;
}

bool tune_search_open(tune_search *s, const gen_shape *shapes, int shape_count, err *e) {
    memset(&s->space, 0, sizeof s->space);
    memset(s->scores, 0, sizeof s->scores);
    memset(s->models, 0, sizeof s->models);
    memset(&s->places, 0, sizeof s->places);
    s->explored = s->measured = 0;
    s->preparing = s->timing = 0;
    s->settled = false;
    if (!s->strategy) {
        int count;
        s->strategy = tune_strategies(&count);
    }
    bool known =
        s->only ? tune_space_copy(s->only, &s->space, e) : tune_space_open(s->problem, s->op, &s->arch, &s->space, e);
    if (!known)
        return false;
    s->bucket_count = tune_buckets(s->problem, shapes, shape_count, s->op, s->buckets);
    size_t cells = (size_t)s->space.count * (size_t)s->bucket_count;
    bool ok = true;
    for (tune_stage stage = TUNE_QUICK; stage < TUNE_STAGES; stage++) {
        s->scores[stage] = calloc(cells + 1, sizeof **s->scores);
        ok = ok && (s->scores[stage] || err_memory(e, "search"));
    }
    tune_candidate *first = &s->space.candidates[0];
    tune_prepare_options options = {.device = s->device, .reference = s->reference, .jobs = 1, .clock = s->clock};
    double begin = tune_search_now(s);
    ok = ok && open_models(s, e) && tune_prepare(&first, 1, &options, e);
    s->preparing = tune_search_now(s) - begin;
    if (ok && first->status != TUNE_VERIFIED)
        ok = err_set(e, first->status == TUNE_REJECTED ? ERR_MISMATCH : ERR_COMPILE, "verify",
                     "%s (the untuned default): %s", first->string, first->why);
    ok = ok && take_up(s, e);
    if (!ok)
        tune_search_close(s);
    return ok;
}

void tune_search_close(tune_search *s) {
    for (int i = 0; i < s->space.count; i++) /* the device's to give back */
        if (s->space.candidates[i].loaded)
            s->device->release(s->device, &s->space.candidates[i]);
    tune_space_close(&s->space);
    for (tune_stage stage = TUNE_QUICK; stage < TUNE_STAGES; stage++) {
        free(s->scores[stage]);
        s->scores[stage] = NULL;
    }
    for (int b = 0; b < GEN_SHAPES_MAX; b++)
        tune_cost_model_close(&s->models[b]);
    tune_cost_places_close(&s->places);
}

/* ---- First impressions ---- */

static int best_so_far(const tune_search *s, int bucket) {
    int best = 0;
    double ratio = 1;
    for (int i = 1; i < s->space.count; i++) {
        tune_score q = tune_search_quick(s, i, bucket);
        if (!q.timed || s->space.candidates[i].status != TUNE_VERIFIED || q.ratio >= ratio)
            continue;
        best = i;
        ratio = q.ratio;
    }
    return best;
}

static void show(tune_search *s) {
    int best = best_so_far(s, 0);
    double speed = best ? 1 / tune_search_quick(s, best, 0).ratio : 1;
    tune_progress_update(s->progress, "%s: %d of %d candidates, best %.2fx as fast as the default, %.0f s left, %s",
                         gen_op_name(s->op), s->explored, s->space.count, speed,
                         fmax(0, s->deadline - tune_search_now(s)), s->space.candidates[best].string);
}

/* What the groups are timed on. */
typedef struct explorer {
    tune_search *s;
    uint64_t generation; /* of the place that the workloads lie in */
    tune_workload *quick[GEN_SHAPES_MAX];
    tune_workload *heat[GEN_SHAPES_MAX]; /* where there is no halving */
    gen_shape heat_shape[GEN_SHAPES_MAX];
} explorer;

static bool impressed(void *context, const tune_samples *samples, int count) {
    (void)context;
    for (int i = 1; i < count; i++) {
        double noise, ratio = tune_paired(&samples[i], &samples[0], &noise);
        if (noise > QUICK_NOISE && ratio * (1 - 2 * noise) < QUICK_GIVE_UP)
            return false;
    }
    return true;
}

static void close_workloads(explorer *x) {
    const tune_search *s = x->s;
    for (int b = 0; b < s->bucket_count; b++) {
        s->device->close_workload(s->device, x->quick[b]);
        s->device->close_workload(s->device, x->heat[b]);
        x->quick[b] = x->heat[b] = NULL;
    }
}

/* For the shapes that represent the buckets, in the device's present memory. */
static bool open_workloads(explorer *x, err *e) {
    tune_search *s = x->s;
    const nha_library *library = &s->space.candidates[0].library;
    x->generation = s->device->place.generation;
    for (int b = 0; b < s->bucket_count; b++) {
        if (!s->device->open_workload(s->device, s->problem, &s->timed[b], library, COLD_BYTES, &x->quick[b], e))
            return false;
        if (!s->strategy->halving && !s->device->model &&
            !tune_final_open(s, b, TUNE_FINAL_CALL, &x->heat_shape[b], &x->heat[b], e))
            return false;
    }
    return true;
}

/* In the context that took the place of one that a candidate's fault broke, and the workloads with it. */
static bool reopen_workloads(void *explorer_of, err *e) {
    explorer *x = explorer_of;
    close_workloads(x);
    return open_workloads(x, e);
}

static bool time_group(explorer *x, tune_candidate *const *group, int count, err *e) {
    tune_search *s = x->s;
    const tune_measure_options o = {.clock = s->clock,
                                    .sample_seconds = QUICK_SAMPLE,
                                    .rounds = QUICK_ROUNDS,
                                    .rounds_least = QUICK_ROUNDS_LEAST,
                                    .deadline = s->deadline,
                                    .enough = impressed,
                                    .give_up = s->strategy->halving ? QUICK_GIVE_UP : 0};
    for (int b = 0; b < s->bucket_count; b++) {
        const tune_reopener quick = {reopen_workloads, x, &x->quick[b]}, heat = {reopen_workloads, x, &x->heat[b]};
        if (!tune_search_time_each(s, b, &s->timed[b], TUNE_QUICK, &quick, group, count, &o, e))
            return false;
        if (x->heat[b] && !tune_final_heat(s, b, &x->heat_shape[b], &heat, group, count, s->deadline, e))
            return false;
    }
    return true;
}

static bool explore_group(explorer *x, tune_candidate *const *group, int count, double deadline, err *e) {
    tune_search *s = x->s;
    tune_prepare_options p = {s->device, s->reference, s->jobs, s->clock, deadline};
    double begin = tune_search_now(s);
    if (!tune_prepare(group, count, &p, e))
        return false;
    double seconds = tune_search_now(s) - begin;
    s->preparing += seconds;
    begin = tune_search_now(s);
    bool ok = true;
    for (int i = 0; ok && i < count; i++)
        if (group[i]->status != TUNE_NEW)
            ok = tune_search_record_status(s, group[i], seconds / count, e);
    if (ok && x->generation != s->device->place.generation)
        ok = reopen_workloads(x, e);
    ok = ok && time_group(x, group, count, e);
    s->timing += tune_search_now(s) - begin;
    for (int i = 0; ok && i < count; i++) {
        bool explored = tune_search_explored(s, (int)(group[i] - s->space.candidates));
        s->explored += explored;
        s->measured += explored;
    }
    for (int i = 0; i < count; i++)
        s->device->release(s->device, group[i]);
    return ok;
}

static bool explore(tune_search *s, double deadline, err *e) {
    explorer x = {.s = s};
    bool ok = true;
    for (int b = 0; ok && b < s->bucket_count; b++)
        ok = tune_search_represent(s, b, e);
    ok = ok && open_workloads(&x, e);
    int most = s->jobs < GROUP_LEAST ? GROUP_LEAST : s->jobs < GROUP ? s->jobs : GROUP;
    while (ok && tune_search_now(s) < deadline) {
        tune_candidate *group[GROUP];
        int places[GROUP], count = s->strategy->next(s, places, most), before = s->explored;
        s->settled = count == 0;
        if (s->settled)
            break;
        for (int i = 0; i < count; i++)
            group[i] = &s->space.candidates[places[i]];
        ok = explore_group(&x, group, count, deadline, e);
        if (ok)
            show(s);
        if (s->explored == before) /* the deadline came before any of them was ready */
            break;
    }
    close_workloads(&x);
    return ok;
}

static int count_lost(const tune_search *s) {
    int count = 0;
    for (int i = 1; i < s->space.count; i++)
        count += s->space.candidates[i].status == TUNE_REJECTED || s->space.candidates[i].status == TUNE_FAILED;
    return count;
}

/* The later stages, shape by shape. */
static bool finish(tune_search *s, err *e) {
    for (int b = 0; b < s->bucket_count; b++) {
        double left = s->deadline - tune_search_now(s);
        if (left > 0 && !tune_final(s, b, tune_search_now(s) + left / (s->bucket_count - b), e))
            return false;
    }
    return true;
}

/* All stages; again while there is time and some were lost in the later ones: they may have been all that exploring was
 * content with. */
static bool look(tune_search *s, err *e) {
    double share = s->strategy->halving ? QUICK_SHARE : 1;
    for (int lost = -1; lost != count_lost(s) && tune_search_now(s) < s->deadline;) {
        double now = tune_search_now(s);
        if (!explore(s, now + share * (s->deadline - now), e))
            return false;
        lost = count_lost(s);
        if (!finish(s, e))
            return false;
    }
    return true;
}

bool tune_search_lose(tune_search *s, const tune_candidate *c, err *e) {
    return tune_search_record_status(s, c, 0, e) && look(s, e);
}

bool tune_search_run(tune_search *s, err *e) {
    if (s->bucket_count == 0 || tune_search_done(s))
        return true;
    if (tune_search_now(s) >= s->deadline)
        return true;
    if (!tune_search_record_status(s, &s->space.candidates[0], s->preparing, e) || !tune_search_record_pruned(s, e) ||
        !look(s, e))
        return false;
    /* With time left over, the stages after it were not cut short either. */
    bool exhausted = (s->settled || s->explored == s->space.count) && tune_search_now(s) < s->deadline;
    tune_record *r = calloc(1, sizeof *r);
    bool ok = r || err_memory(e, "search");
    for (int b = 0; ok && b < s->bucket_count; b++) {
        *r = (tune_record){.kind = TUNE_RECORD_DONE,
                           .op = (int)s->op,
                           .batch = s->buckets[b].shape.batch,
                           .tokens = s->buckets[b].shape.tokens,
                           .seconds = s->budget,
                           .count = s->space.count,
                           .exhausted = exhausted};
        ok = tune_journal_add(s->journal, r, e);
    }
    free(r);
    return ok;
}
