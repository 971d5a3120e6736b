/* search_timing.c: see search_timing.h. */
#include "tuner/search_timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/floor.h"

enum { LIMIT_ROUNDS = 5, LIMITS = 3 };
static const double QUICK_CALL = 6e-3;                        /* seconds of a call that stands for a longer one */
static const int64_t SHORTEST = 256;                          /* tokens: a shape is not represented by a shorter one */
static const double LIMIT_SAMPLE = 10e-3, LIMITS_LONGEST = 2; /* seconds: a sample; of all of them */
static const size_t LIMIT_SET_MAX = 256u << 20;

/* ---- Records ---- */

void tune_search_take_up(tune_search *s, int candidate, const tune_record *r) {
    for (int b = 0; b < s->bucket_count; b++) {
        const gen_shape *shape = &s->buckets[b].shape;
        if (r->batch != shape->batch || r->tokens != shape->tokens)
            continue;
        if (r->kind == TUNE_RECORD_IMPLAUSIBLE)
            tune_search_at(s, TUNE_QUICK, candidate, b)->refused = true;
        for (tune_stage stage = TUNE_QUICK; stage < TUNE_STAGES; stage++)
            if (r->kind == tune_stage_record(stage)) {
                tune_score *score = tune_search_at(s, stage, candidate, b);
                score->timed = r->samples.count > 0 && r->base.count > 0;
                score->ratio = tune_paired(&r->samples, &r->base, &score->noise);
            }
    }
}

static void put_knob(void *context, const char *knob, int32_t value) {
    tune_record *r = context;
    if (r->knob_count == TUNE_RECORD_KNOBS_MAX)
        return;
    snprintf(r->knob[r->knob_count].name, sizeof r->knob[0].name, "%s", knob);
    r->knob[r->knob_count++].value = value;
}

bool tune_search_record_status(tune_search *s, const tune_candidate *c, double seconds, err *e) {
    int kind = c->status == TUNE_VERIFIED   ? TUNE_RECORD_VERIFIED
               : c->status == TUNE_REJECTED ? TUNE_RECORD_REJECTED
                                            : TUNE_RECORD_FAILED;
    if (tune_journal_find(s->journal, kind, s->op, c->string))
        return true;
    tune_record *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "search");
    r->kind = kind;
    r->op = (int)s->op;
    r->seconds = seconds;
    r->order = c->order;
    memcpy(r->tile, c->string, sizeof r->tile);
    memcpy(r->why, c->why, sizeof r->why);
    tune_tile_visit(&c->tile, put_knob, r);
    bool ok = tune_journal_add(s->journal, r, e);
    free(r);
    return ok;
}

bool tune_search_record_pruned(tune_search *s, err *e) {
    tune_record *r = calloc(1, sizeof *r);
    bool ok = r || err_memory(e, "search");
    for (int i = 0; ok && i < s->space.reason_count; i++) {
        *r = (tune_record){.kind = TUNE_RECORD_PRUNED, .op = (int)s->op, .count = s->space.reasons[i].count};
        snprintf(r->tile, sizeof r->tile, "%s", s->space.reasons[i].text);
        ok = tune_journal_find(s->journal, TUNE_RECORD_PRUNED, s->op, r->tile) || tune_journal_add(s->journal, r, e);
    }
    free(r);
    return ok;
}

/* ---- Timing ---- */

/* First impressions of prefill take one thread: a second would add the noise of waiting for each other, and tells nothing
 * about a tile. Those of decode take all: threads share the memory's bandwidth, and the best tile for one is not the best for
 * two. */
static int quick_threads(const tune_search *s) {
    return s->op == NHA_DECODE ? s->threads : 1;
}

static int threads_of(const tune_search *s, tune_stage stage) {
    return stage == TUNE_QUICK ? quick_threads(s) : s->threads;
}

/* By the clock, or, where the device has one, by its model: then the same sample twice, which is no noise. */
static bool measure_runners(tune_search *s, tune_runner *const *runners, int count, const tune_measure_options *o,
                            tune_samples *samples, err *e) {
    tune_subject subjects[TUNE_GROUP_MAX + 1];
    for (int i = 0; i < count; i++)
        subjects[i] = runners[i]->subject;
    if (!s->device->model)
        return tune_measure(subjects, count, o, samples, e);
    for (int i = 0; i < count; i++) {
        samples[i] = (tune_samples){.count = 2, .iterations = 1};
        if (!s->device->model(s->device, runners[i], &samples[i].us[0], e))
            return false;
        samples[i].us[1] = samples[i].us[0];
    }
    return true;
}

/* The record of one measurement; a time below the floor, its own or the default's, is refused. */
static bool record_samples(tune_search *s, int bucket, const gen_shape *shape, tune_stage stage, int threads,
                           int64_t context, const tune_candidate *c, const tune_samples *samples,
                           const tune_samples *base, tune_record *r, err *e) {
    int candidate = (int)(c - s->space.candidates);
    *r = (tune_record){.kind = tune_stage_record(stage),
                       .op = (int)s->op,
                       .batch = s->buckets[bucket].shape.batch,
                       .tokens = s->buckets[bucket].shape.tokens,
                       .timed_batch = shape->batch,
                       .timed_tokens = shape->tokens,
                       .threads = threads,
                       .samples = *samples,
                       .base = *base};
    memcpy(r->tile, c->string, sizeof r->tile);
    double floor = tune_floor_us(s->problem, &s->arch, shape, threads, context);
    double least = fmin(tune_min(samples), tune_min(base));
    if (least < floor) {
        r->kind = TUNE_RECORD_IMPLAUSIBLE;
        snprintf(r->why, sizeof r->why,
                 "%.4g us for batch %lld x %lld tokens, where no machine of the kind needs less "
                 "than %.4g us",
                 least, (long long)shape->batch, (long long)shape->tokens, floor);
    } else if (stage == TUNE_QUICK) {
        r->predicted = tune_cost_model_ratio(&s->models[bucket], candidate);
    }
    if (!tune_journal_add(s->journal, r, e))
        return false;
    tune_search_take_up(s, candidate, r);
    return true;
}

bool tune_search_time(tune_search *s, int bucket, const gen_shape *shape, tune_stage stage, tune_workload *workload,
                      tune_candidate *const *group, int count, const tune_measure_options *options, err *e) {
    bool ok = false;
    tune_runner *runners[TUNE_GROUP_MAX + 1] = {NULL};
    int index[TUNE_GROUP_MAX + 1], n = 0;
    tune_samples *samples = calloc(TUNE_GROUP_MAX + 1, sizeof *samples);
    tune_record *record = calloc(1, sizeof *record);
    tune_measure_options o = *options;
    int threads = threads_of(s, stage);
    if (!samples || !record) {
        err_memory(e, "search");
        goto done;
    }
    for (int i = -1; i < count; i++) { /* the default comes first */
        const tune_candidate *c = i < 0 ? &s->space.candidates[0] : group[i];
        if (!c->loaded || c->status != TUNE_VERIFIED)
            continue;
        if (!s->device->open_runner(s->device, workload, &c->library, NULL, NULL, threads, &runners[n], e))
            goto done;
        o.max_iterations = runners[n]->max_iterations;
        index[n++] = i;
    }
    if (n > 1 && !measure_runners(s, runners, n, &o, samples, e))
        goto done;
    for (int k = 1; k < n; k++)
        if (!record_samples(s, bucket, shape, stage, threads, workload->context, group[index[k]], &samples[k],
                            &samples[0], record, e))
            goto done;
    if (stage == TUNE_QUICK) /* the expectations above were those before the group was measured */
        for (int k = 1; k < n; k++) {
            int place = (int)(group[index[k]] - s->space.candidates);
            const tune_score *q = tune_search_at(s, TUNE_QUICK, place, bucket);
            if (q->timed && !tune_cost_model_observe(&s->models[bucket], place, q->ratio, q->noise, e))
                goto done;
        }
    ok = true;
done:
    for (int k = 0; k < n; k++)
        s->device->close_runner(s->device, runners[k]);
    free(samples);
    free(record);
    return ok;
}

bool tune_search_default_runs(tune_search *s, tune_stage stage, tune_workload *workload, err *e) {
    const tune_candidate *c = &s->space.candidates[0];
    const tune_measure_options o = {.clock = s->clock, .rounds = 1};
    tune_runner *r = NULL;
    tune_samples samples;
    err fault = {0};
    bool ok = s->device->open_runner(s->device, workload, &c->library, NULL, NULL, threads_of(s, stage), &r, &fault) &&
              measure_runners(s, &r, 1, &o, &samples, &fault);
    if (!ok)
        err_set(e, fault.code, fault.stage, "%s (the untuned default), while it was timed: %s", c->string, fault.text);
    err_clear(&fault);
    s->device->close_runner(s->device, r);
    return ok;
}

/* ---- Shapes ---- */

/* Time of one call of the default on a shape, in microseconds, after one to warm up. */
static bool time_default(tune_search *s, const gen_shape *shape, double *us, err *e) {
    const tune_device *d = s->device;
    const nha_library *library = &s->space.candidates[0].library;
    tune_workload *w = NULL;
    tune_runner *r = NULL;
    tune_samples samples;
    tune_measure_options o = {.clock = s->clock, .rounds = 1};
    bool ok = d->open_workload(d, s->problem, shape, library, 0, &w, e) &&
              d->open_runner(d, w, library, NULL, NULL, quick_threads(s), &r, e) &&
              measure_runners(s, &r, 1, &o, &samples, e);
    if (ok)
        *us = tune_median(&samples);
    d->close_runner(d, r);
    d->close_workload(d, w);
    return ok;
}

/* A shape like the bucket's whose call takes about QUICK_CALL: of a prefill fewer tokens (the cost of a token is the
 * same far above the window), of both ops fewer sequences. Found with the default, from below; its time goes to
 * timed_us. */
bool tune_search_represent(tune_search *s, int bucket, err *e) {
    const gen_shape full = s->buckets[bucket].shape;
    gen_shape *shape = &s->timed[bucket];
    *shape = (gen_shape){.op = full.op, .batch = 1, .tokens = full.tokens};
    if (s->op == NHA_PREFILL && full.tokens > SHORTEST)
        shape->tokens = SHORTEST;
    if (s->device->model) /* running is slow there, and the model needs no length to be exact */
        return time_default(s, shape, &s->timed_us[bucket], e);
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

gen_shape tune_search_fitting(const tune_search *s, int bucket, int calls, double seconds) {
    gen_shape shape = s->buckets[bucket].shape;
    const gen_shape *timed = &s->timed[bucket];
    double per_token = s->timed_us[bucket] * 1e-6 / ((double)timed->tokens * (double)timed->batch);
    double most = seconds / (calls * per_token);
    while ((double)shape.tokens * (double)shape.batch > most &&
           (shape.tokens / 2 >= timed->tokens || shape.batch / 2 >= timed->batch)) {
        if (shape.batch / 2 >= timed->batch)
            shape.batch /= 2;
        else
            shape.tokens /= 2;
    }
    return shape;
}

/* ---- Limits ---- */

/* "tiles": products on tiles in place of multiply-adds. */
static const char *limit_name(const tune_search *s, int kind) {
    static const char *const names[LIMITS] = {"fma", "read", "update"};
    return kind == TUNE_LIMIT_FMA && s->arch.isa && s->arch.isa->amx ? "tiles" : names[kind];
}

static bool record_limit(tune_search *s, int bucket, int kind, double value, err *e) {
    tune_record *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "search");
    *r = (tune_record){.kind = TUNE_RECORD_LIMIT,
                       .op = (int)s->op,
                       .batch = s->buckets[bucket].shape.batch,
                       .tokens = s->buckets[bucket].shape.tokens,
                       .threads = s->threads,
                       .value = value};
    snprintf(r->tile, sizeof r->tile, "%s", limit_name(s, kind));
    bool ok = tune_journal_add(s->journal, r, e);
    free(r);
    return ok;
}

bool tune_search_limits(tune_search *s, int bucket, const tune_workload *w, err *e) {
    const tune_device *d = s->device;
    const gen_shape *shape = &s->buckets[bucket].shape;
    tune_limit *limits[LIMITS] = {NULL};
    tune_subject subjects[LIMITS];
    tune_samples samples[LIMITS];
    err small = {0};
    bool ok = true, open = true;
    if (!d->open_limit || d->model ||
        tune_journal_timed(s->journal, TUNE_RECORD_LIMIT, s->op, limit_name(s, 0), shape->batch, shape->tokens))
        return true;
    size_t set = w->bytes < LIMIT_SET_MAX ? w->bytes : LIMIT_SET_MAX;
    for (int k = 0; k < LIMITS && open; k++) {
        open =
            d->open_limit(d, (tune_limit_kind)k, &s->arch, s->problem->nha.dtype, set, s->threads, &limits[k], &small);
        if (open)
            subjects[k] = limits[k]->subject;
    }
    err_clear(&small); /* a report without a roof is better than no library */
    const tune_measure_options o = {.clock = s->clock,
                                    .sample_seconds = LIMIT_SAMPLE,
                                    .rounds = LIMIT_ROUNDS,
                                    .deadline = tune_search_now(s) + LIMITS_LONGEST};
    ok = !open || tune_measure(subjects, LIMITS, &o, samples, e);
    for (int k = 0; ok && open && k < LIMITS; k++) {
        double us = tune_median(&samples[k]);
        ok = us <= 0 || record_limit(s, bucket, k, limits[k]->work / us * 1e-3, e);
    }
    for (int k = 0; k < LIMITS; k++)
        if (limits[k])
            d->close_limit(d, limits[k]);
    return ok;
}
