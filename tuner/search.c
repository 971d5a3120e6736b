/* search.c: see search.h. Compiling and verifying a group, then timing it: the two never overlap.
 * Half of the candidates come in the shuffled order, half from the neighbourhood of the best so far. */
#include "tuner/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/final.h"

/* First impressions take one thread: a second would add the noise of waiting for each other, and tells nothing about a
 * tile. */
enum { GROUP = 8, QUICK_ROUNDS = 5, QUICK_THREADS = 1 };
static const double QUICK_SAMPLE = 2e-3;    /* seconds a sample */
static const double QUICK_CALL = 6e-3;      /* seconds of a call that stands for a longer one */
static const double QUICK_SHARE = 0.65;     /* of the time: first impressions; the rest is for the finals */
static const double QUICK_GIVE_UP = 1.3;    /* times the default */
static const size_t COLD_BYTES = 64u << 20; /* decode: caches used in turn */
static const int64_t SHORTEST = 256;        /* tokens: a shape is not represented by a shorter one */

static double now(const tune_search *s) {
    return s->clock.now(s->clock.context);
}

static tune_score *score(tune_score *scores, const tune_search *s, int candidate, int bucket) {
    return &scores[(size_t)candidate * (size_t)s->bucket_count + (size_t)bucket];
}

static tune_score score_of(const tune_record *r) {
    tune_score out = {.timed = r->samples.count > 0};
    out.ratio = tune_paired(&r->samples, &r->base, &out.noise);
    return out;
}

/* ---- What the journal knows ---- */

static bool is_explored(const tune_search *s, int candidate) {
    const tune_candidate *c = &s->space.candidates[candidate];
    if (c->status == TUNE_REJECTED || c->status == TUNE_FAILED || candidate == 0)
        return true;
    for (int b = 0; b < s->bucket_count; b++)
        if (!score(s->quick, s, candidate, b)->timed)
            return false;
    return true;
}

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
    for (int b = 0; b < s->bucket_count; b++) {
        const gen_shape *shape = &s->buckets[b].shape;
        if (r->batch != shape->batch || r->tokens != shape->tokens)
            continue;
        if (r->kind == TUNE_RECORD_QUICK)
            *score(s->quick, s, place, b) = score_of(r);
        if (r->kind == TUNE_RECORD_FINAL)
            *score(s->final, s, place, b) = score_of(r);
    }
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
    for (int i = 0; i < s->space.count; i++)
        s->explored += is_explored(s, i);
    return true;
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

bool tune_search_open(tune_search *s, const gen_shape *shapes, int shape_count, err *e) {
    memset(&s->space, 0, sizeof s->space);
    s->quick = s->final = NULL;
    s->explored = s->measured = 0;
    if (!tune_space_open(s->problem, s->op, s->device->isa(), &s->space, e))
        return false;
    s->bucket_count = tune_buckets(s->problem, shapes, shape_count, s->op, s->buckets);
    size_t cells = (size_t)s->space.count * (size_t)s->bucket_count;
    s->quick = calloc(cells + 1, sizeof *s->quick);
    s->final = calloc(cells + 1, sizeof *s->final);
    if (!s->quick || !s->final) {
        err_memory(e, "search");
        goto failed;
    }
    tune_candidate *first = &s->space.candidates[0];
    tune_prepare_options options = {.device = s->device, .reference = s->reference, .jobs = 1, .clock = s->clock};
    if (!tune_prepare(&first, 1, &options, e))
        goto failed;
    if (first->status != TUNE_VERIFIED) {
        err_set(e, first->status == TUNE_REJECTED ? ERR_MISMATCH : ERR_COMPILE, "verify",
                "%s (the untuned default): %s", first->string, first->why);
        goto failed;
    }
    if (take_up(s, e))
        return true;
failed:
    tune_search_close(s);
    return false;
}

void tune_search_close(tune_search *s) {
    tune_space_close(&s->space);
    free(s->quick);
    free(s->final);
    s->quick = s->final = NULL;
}

/* ---- First impressions ---- */

/* Time of one call of the default on a shape, in microseconds, after one to warm up. */
static bool time_default(tune_search *s, const gen_shape *shape, double *us, err *e) {
    const tune_device *d = s->device;
    const nha_library *library = &s->space.candidates[0].library;
    tune_workload *w = NULL;
    tune_runner *r = NULL;
    tune_samples samples;
    tune_measure_options o = {.clock = s->clock, .rounds = 1};
    bool ok = d->open_workload(s->problem, shape, library, 0, &w, e) &&
              d->open_runner(w, library, NULL, NULL, QUICK_THREADS, &r, e) &&
              tune_measure(&r->subject, 1, &o, &samples, e);
    if (ok)
        *us = tune_median(&samples);
    d->close_runner(r);
    d->close_workload(w);
    return ok;
}

/* A shape like the bucket's whose call takes about QUICK_CALL: of a prefill fewer tokens (the cost of a token is the
 * same far above the window), of both ops fewer sequences. Found with the default, from below; its time goes to
 * timed_us. */
static bool represent(tune_search *s, int bucket, err *e) {
    const gen_shape full = s->buckets[bucket].shape;
    gen_shape *shape = &s->timed[bucket];
    *shape = (gen_shape){.op = full.op, .batch = 1, .tokens = full.tokens};
    if (s->op == NHA_PREFILL && full.tokens > SHORTEST)
        shape->tokens = SHORTEST;
    for (;;) {
        if (!time_default(s, shape, &s->timed_us[bucket], e))
            return false;
        double room = QUICK_CALL * 1e6 / (s->timed_us[bucket] + 1);
        if (room < 2 || (shape->tokens == full.tokens && shape->batch == full.batch))
            return true;
        if (room > 64) /* a call too short to tell how far to go */
            room = 64;
        for (; room >= 2 && shape->tokens < full.tokens; room /= 2)
            shape->tokens = shape->tokens > full.tokens / 2 ? full.tokens : 2 * shape->tokens;
        for (; room >= 2 && shape->batch < full.batch; room /= 2)
            shape->batch = shape->batch > full.batch / 2 ? full.batch : 2 * shape->batch;
    }
}

static int best_so_far(const tune_search *s, int bucket) {
    int best = 0;
    double ratio = 1;
    for (int i = 1; i < s->space.count; i++) {
        tune_score q = *score(s->quick, s, i, bucket);
        if (!q.timed || q.ratio >= ratio)
            continue;
        best = i;
        ratio = q.ratio;
    }
    return best;
}

/* Up to GROUP candidates to look at next: by turns the next in order, and the one nearest to a bucket's best. */
static int next_group(const tune_search *s, tune_candidate **group) {
    int chosen[GROUP], count = 0;
    for (int turn = 0; count < GROUP; turn++) {
        const gen_tile *near = turn % 2 ? &s->space.candidates[best_so_far(s, turn / 2 % s->bucket_count)].tile : NULL;
        int pick = -1, distance = GEN_CPU_KNOB_COUNT + 1;
        for (int i = 1; i < s->space.count && distance > (near ? 1 : 0); i++) {
            bool known = is_explored(s, i);
            for (int k = 0; k < count && !known; k++)
                known = chosen[k] == i;
            if (known)
                continue;
            int d = near ? tune_tile_distance(near, &s->space.candidates[i].tile) : 0;
            if (d >= distance)
                continue;
            distance = d;
            pick = i;
        }
        if (pick < 0)
            break;
        chosen[count] = pick;
        group[count++] = &s->space.candidates[pick];
    }
    return count;
}

bool tune_search_record_status(tune_search *s, const tune_candidate *c, err *e) {
    tune_record *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "search");
    r->kind = c->status == TUNE_VERIFIED   ? TUNE_RECORD_VERIFIED
              : c->status == TUNE_REJECTED ? TUNE_RECORD_REJECTED
                                           : TUNE_RECORD_FAILED;
    r->op = (int)s->op;
    memcpy(r->tile, c->string, sizeof r->tile);
    memcpy(r->why, c->why, sizeof r->why);
    const tune_record *known = tune_journal_find(s->journal, r->kind, s->op, c->string);
    bool ok = known || tune_journal_add(s->journal, r, e);
    free(r);
    return ok;
}

bool tune_search_time(tune_search *s, int bucket, const gen_shape *shape, int kind, tune_workload *workload,
                      tune_candidate *const *group, int count, const tune_measure_options *options, err *e) {
    bool ok = false;
    tune_runner *runners[TUNE_GROUP_MAX + 1] = {NULL};
    tune_subject subjects[TUNE_GROUP_MAX + 1];
    int index[TUNE_GROUP_MAX + 1], n = 0;
    tune_samples *samples = calloc(TUNE_GROUP_MAX + 1, sizeof *samples);
    tune_record *record = calloc(1, sizeof *record);
    tune_measure_options o = *options;
    int threads = kind == TUNE_RECORD_QUICK ? QUICK_THREADS : s->threads;
    if (!samples || !record) {
        err_memory(e, "search");
        goto done;
    }
    for (int i = -1; i < count; i++) { /* the default comes first */
        const tune_candidate *c = i < 0 ? &s->space.candidates[0] : group[i];
        if (!c->loaded || c->status != TUNE_VERIFIED)
            continue;
        if (!s->device->open_runner(workload, &c->library, NULL, NULL, threads, &runners[n], e))
            goto done;
        o.max_iterations = runners[n]->max_iterations;
        subjects[n] = runners[n]->subject;
        index[n++] = i;
    }
    if (n > 1 && !tune_measure(subjects, n, &o, samples, e))
        goto done;
    for (int k = 1; k < n; k++) {
        const tune_candidate *c = group[index[k]];
        *record = (tune_record){.kind = kind,
                                .op = (int)s->op,
                                .batch = s->buckets[bucket].shape.batch,
                                .tokens = s->buckets[bucket].shape.tokens,
                                .timed_batch = shape->batch,
                                .timed_tokens = shape->tokens,
                                .threads = threads,
                                .samples = samples[k],
                                .base = samples[0]};
        memcpy(record->tile, c->string, sizeof record->tile);
        if (!tune_journal_add(s->journal, record, e))
            goto done;
        int candidate = (int)(c - s->space.candidates);
        *score(kind == TUNE_RECORD_QUICK ? s->quick : s->final, s, candidate, bucket) = score_of(record);
    }
    ok = true;
done:
    for (int k = 0; k < n; k++)
        s->device->close_runner(runners[k]);
    free(samples);
    free(record);
    return ok;
}

static void show(tune_search *s) {
    int best = best_so_far(s, 0);
    double speed = best ? 1 / score(s->quick, s, best, 0)->ratio : 1;
    tune_progress_update(s->progress, "%s: %d of %d candidates, best %.2fx as fast as the default, %.0f s left, %s",
                         gen_op_name(s->op), s->explored, s->space.count, speed, fmax(0, s->deadline - now(s)),
                         s->space.candidates[best].string);
}

static bool explore_group(tune_search *s, tune_workload *const *workloads, tune_candidate *const *group, int count,
                          double deadline, err *e) {
    bool ok = false;
    tune_prepare_options p = {s->device, s->reference, s->jobs, s->clock, deadline};
    double begin = now(s);
    if (!tune_prepare(group, count, &p, e))
        return false;
    s->preparing += now(s) - begin;
    begin = now(s);
    for (int i = 0; i < count; i++)
        if (group[i]->status != TUNE_NEW && !tune_search_record_status(s, group[i], e))
            goto done;
    for (int b = 0; b < s->bucket_count; b++) {
        tune_measure_options o = {.clock = s->clock,
                                  .sample_seconds = QUICK_SAMPLE,
                                  .rounds = QUICK_ROUNDS,
                                  .deadline = s->deadline,
                                  .give_up = QUICK_GIVE_UP};
        if (!tune_search_time(s, b, &s->timed[b], TUNE_RECORD_QUICK, workloads[b], group, count, &o, e))
            goto done;
    }
    s->timing += now(s) - begin;
    for (int i = 0; i < count; i++) {
        bool explored = is_explored(s, (int)(group[i] - s->space.candidates));
        s->explored += explored;
        s->measured += explored;
    }
    ok = true;
done:
    for (int i = 0; i < count; i++)
        s->device->release(group[i]);
    return ok;
}

static bool explore(tune_search *s, double deadline, err *e) {
    bool ok = false;
    tune_workload *workloads[GEN_SHAPES_MAX] = {NULL};
    for (int b = 0; b < s->bucket_count; b++)
        if (!represent(s, b, e) || !s->device->open_workload(s->problem, &s->timed[b], &s->space.candidates[0].library,
                                                             COLD_BYTES, &workloads[b], e))
            goto done;
    while (now(s) < deadline) {
        tune_candidate *group[GROUP];
        int count = next_group(s, group);
        if (count == 0)
            break;
        if (!explore_group(s, workloads, group, count, deadline, e))
            goto done;
        show(s);
    }
    ok = true;
done:
    for (int b = 0; b < s->bucket_count; b++)
        s->device->close_workload(workloads[b]);
    return ok;
}

bool tune_search_run(tune_search *s, err *e) {
    if (s->bucket_count == 0 || tune_search_done(s))
        return true;
    double begin = now(s);
    if (begin >= s->deadline)
        return true;
    if (!explore(s, begin + QUICK_SHARE * (s->deadline - begin), e))
        return false;
    for (int b = 0; b < s->bucket_count; b++) {
        double left = s->deadline - now(s);
        if (left > 0 && !tune_final(s, b, now(s) + left / (s->bucket_count - b), e))
            return false;
    }
    tune_record *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "search");
    bool ok = true;
    for (int b = 0; b < s->bucket_count && ok; b++) {
        *r = (tune_record){.kind = TUNE_RECORD_DONE,
                           .op = (int)s->op,
                           .batch = s->buckets[b].shape.batch,
                           .tokens = s->buckets[b].shape.tokens,
                           .seconds = s->budget,
                           .exhausted = s->explored == s->space.count};
        ok = tune_journal_add(s->journal, r, e);
    }
    free(r);
    return ok;
}
