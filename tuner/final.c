/* final.c: see final.h. The time a call takes is known from the first impressions; the shape is shortened only if even
 * a few rounds of it would not fit. */
#include "tuner/final.h"

#include <math.h>
#include <stdlib.h>

#include "tuner/search_timing.h"

/* Who enters a stage, by the scores of the one before: at most `most`, no slower than `near` times the best. */
static const struct stage {
    tune_stage stage;
    int most, rounds, rounds_least;
    double near;
} stages[] = {
    {TUNE_HEAT, 8, 15, 5, 1.15},
    {TUNE_FINAL, 4, 49, 7, 1.05},
};
static const double HEAT_NOISE = 0.01; /* known as well as this, a time needs no more rounds of the first stage */
static const double SAMPLE = 10e-3;    /* seconds a sample */
static const double TIE_LEAST = 0.005, TIE_MOST = 0.03; /* bounds of the band of ties, relative */
static const size_t COLD_BYTES = 128u << 20;

static bool is_verified(const tune_search *s, int candidate) {
    return s->space.candidates[candidate].status == TUNE_VERIFIED;
}

/* What a time is taken for: of first impressions, which are many and noisy, what the model makes of all of them; of the
 * heat the mean (of the logarithms) of that and what was measured, so that no single disturbed moment decides. */
static double taken_for(const tune_search *s, tune_stage stage, int candidate, int bucket) {
    double expected = tune_cost_model_ratio(&s->models[bucket], candidate);
    return stage == TUNE_QUICK ? expected : sqrt(expected * tune_search_at(s, stage, candidate, bucket)->ratio);
}

/* Places of those of `from` that enter the stage, fastest first; of first impressions no more than a third. */
static int contestants(const tune_search *s, int bucket, tune_stage from, const struct stage *to, int *out) {
    int timed = 0, count = 0, most = to->most;
    double best = 1;
    for (int i = 1; i < s->space.count; i++)
        if (tune_search_at(s, from, i, bucket)->timed && is_verified(s, i)) {
            timed++;
            best = fmin(best, taken_for(s, from, i, bucket));
        }
    if (from == TUNE_QUICK && (timed + 2) / 3 < most)
        most = (timed + 2) / 3;
    while (count < most) {
        int pick = -1;
        for (int i = 1; i < s->space.count; i++) {
            tune_score q = *tune_search_at(s, from, i, bucket);
            double ratio = taken_for(s, from, i, bucket), slack = from == TUNE_QUICK ? 0 : 2 * q.noise;
            bool taken = !q.timed || !is_verified(s, i) || ratio * (1 - slack) > to->near * best;
            for (int k = 0; k < count && !taken; k++)
                taken = out[k] == i;
            if (!taken && (pick < 0 || ratio < taken_for(s, from, pick, bucket)))
                pick = i;
        }
        if (pick < 0)
            break;
        out[count++] = pick;
    }
    return count;
}

/* Who was timed in a stage and has not failed since. */
static int count_timed(const tune_search *s, tune_stage stage, int bucket) {
    int count = 0;
    for (int i = 1; i < s->space.count; i++)
        count += tune_search_at(s, stage, i, bucket)->timed && is_verified(s, i);
    return count;
}

/* ---- When a stage knows enough ---- */

/* Half the width of what two ratios may differ by and still be the same. */
static double band(double noise_a, double noise_b) {
    return 2 * hypot(noise_a, noise_b);
}

/* The best is well known, and separated from each of the others, the default included, or so close to it that it does
 * not matter. */
static bool resolved(void *context, const tune_samples *samples, int count) {
    (void)context;
    double ratio[TUNE_GROUP_MAX + 1], noise[TUNE_GROUP_MAX + 1];
    int best = 0;
    ratio[0] = 1;
    noise[0] = 0;
    for (int i = 1; i < count; i++) {
        ratio[i] = tune_paired(&samples[i], &samples[0], &noise[i]);
        if (ratio[i] < ratio[best])
            best = i;
    }
    for (int i = 0; i < count; i++) {
        double width = band(noise[i], noise[best]);
        if (noise[best] > TIE_MOST / 2)
            return false;
        if (i != best && fabs(ratio[i] / ratio[best] - 1) < width && width > TIE_LEAST)
            return false;
    }
    return true;
}

static bool heated(void *context, const tune_samples *samples, int count) {
    (void)context;
    for (int i = 1; i < count; i++) {
        double noise, ratio = tune_paired(&samples[i], &samples[0], &noise);
        if (noise > HEAT_NOISE && ratio * (1 - 2 * noise) < stages[0].near)
            return false;
    }
    return true;
}

/* ---- Stages ---- */

static bool open_shape(tune_search *s, int bucket, const gen_shape *shape, tune_workload **w, err *e) {
    err small = {0};
    *w = NULL;
    if (s->device->open_workload(s->device, s->problem, shape, &s->space.candidates[0].library, COLD_BYTES, w, &small))
        return true;
    bool ok = small.code == ERR_INPUT; /* it does not fit in memory: the first impressions have to do */
    if (ok)
        tune_progress_line(s->progress, "note: %s", small.text);
    else
        err_set(e, small.code, small.stage, "%s", small.text);
    err_clear(&small);
    (void)bucket;
    return ok;
}

bool tune_final_open(tune_search *s, int bucket, double call, gen_shape *shape, tune_workload **w, err *e) {
    *shape = tune_search_fitting(s, bucket, 1, call);
    return open_shape(s, bucket, shape, w, e);
}

static tune_measure_options options_of(const tune_search *s, const struct stage *stage, double deadline) {
    return (tune_measure_options){.clock = s->clock,
                                  .sample_seconds = SAMPLE,
                                  .rounds = stage->rounds,
                                  .rounds_least = stage->rounds_least,
                                  .deadline = deadline,
                                  .enough = stage->stage == TUNE_FINAL ? resolved : heated};
}

bool tune_final_heat(tune_search *s, int bucket, const gen_shape *shape, const tune_reopener *reopener,
                     tune_candidate *const *group, int count, double deadline, err *e) {
    tune_measure_options o = options_of(s, &stages[0], deadline);
    return tune_search_time_each(s, bucket, shape, TUNE_HEAT, reopener, group, count, &o, e);
}

/* Loads and verifies again those of the stage that have no time in it; *count of them. */
static bool assemble(tune_search *s, int bucket, const struct stage *stage, double deadline, tune_candidate **group,
                     int *count, err *e) {
    int places[TUNE_GROUP_MAX], known = contestants(s, bucket, stage->stage - 1, stage, places);
    bool alone = known == 1 && stage->stage == TUNE_FINAL && count_timed(s, TUNE_FINAL, bucket) == 0;
    *count = 0;
    for (int i = 0; i < known && !alone; i++)
        if (!tune_search_at(s, stage->stage, places[i], bucket)->timed)
            group[(*count)++] = &s->space.candidates[places[i]];
    tune_prepare_options p = {s->device, s->reference, s->jobs, s->clock, deadline};
    double begin = tune_search_now(s);
    bool ok = *count == 0 || tune_prepare(group, *count, &p, e);
    s->preparing += tune_search_now(s) - begin;
    for (int i = 0; ok && i < *count; i++)
        if (group[i]->status != TUNE_NEW)
            ok = tune_search_record_status(s, group[i], 0, e);
    return ok;
}

/* The shape that is timed, and its tensors. */
typedef struct final {
    tune_search *s;
    int bucket;
    gen_shape shape;
    tune_workload *w;
    uint64_t generation; /* of the place that it lies in */
} final;

static bool reopen_shape(void *context, err *e) {
    final *f = context;
    f->s->device->close_workload(f->s->device, f->w);
    f->generation = f->s->device->place.generation;
    return open_shape(f->s, f->bucket, &f->shape, &f->w, e);
}

/* How many of the group turned out wrong or faulted; says so. */
static int count_lost(tune_search *s, tune_candidate *const *group, int count) {
    int lost = 0;
    for (int i = 0; i < count; i++)
        if (group[i]->status == TUNE_FAILED || group[i]->status == TUNE_REJECTED) {
            tune_progress_line(s->progress, "note: %s: %s was among the best, and is out: %s", gen_op_name(s->op),
                               group[i]->string, group[i]->why);
            lost++;
        }
    return lost;
}

bool tune_final(tune_search *s, int bucket, double deadline, err *e) {
    if (s->device->model)
        return true; /* a model says the same a second time */
    bool ok = true;
    final f = {.s = s, .bucket = bucket, .shape = s->buckets[bucket].shape};
    for (size_t k = 0; ok && k < sizeof stages / sizeof *stages;) {
        tune_candidate *group[TUNE_GROUP_MAX];
        int count = 0;
        if (stages[k].stage == TUNE_FINAL && f.w && f.generation == s->device->place.generation &&
            tune_search_now(s) + 2 < deadline) /* between the rounds of kernels */
            ok = tune_search_limits(s, bucket, f.w, e);
        ok = ok && assemble(s, bucket, &stages[k], deadline, group, &count, e);
        if (ok && count > 0 &&
            !f.w) { /* one call to settle the iterations and the least rounds, of everyone, must fit */
            int calls = (stages[k].rounds_least + 1) * (count + 1) + (stages[1].rounds_least + 1) * 4;
            f.shape = tune_search_fitting(s, bucket, calls, deadline - tune_search_now(s));
            ok = reopen_shape(&f, e);
        } else if (ok && f.w && f.generation != s->device->place.generation) {
            ok = reopen_shape(&f, e); /* a fault while the group was verified */
        }
        if (ok && count > 0 && f.w) {
            tune_progress_update(s->progress, "%s: the best %d again, batch %lld x %lld tokens", gen_op_name(s->op),
                                 count, (long long)f.shape.batch, (long long)f.shape.tokens);
            double begin = tune_search_now(s);
            tune_measure_options o = options_of(s, &stages[k], deadline);
            const tune_reopener reopener = {reopen_shape, &f, &f.w};
            ok = tune_search_time_each(s, bucket, &f.shape, stages[k].stage, &reopener, group, count, &o, e);
            s->timing += tune_search_now(s) - begin;
        }
        for (int i = 0; i < count; i++)
            s->device->release(s->device, group[i]);
        /* The places of those that are lost go to the next best, through all stages. Each time there are fewer. */
        bool again = ok && count_lost(s, group, count) > 0 && tune_search_now(s) < deadline;
        k = again ? 0 : k + 1;
    }
    if (ok && f.w && f.generation == s->device->place.generation && tune_search_now(s) + 2 < deadline)
        ok = tune_search_limits(s, bucket, f.w, e);
    s->device->close_workload(s->device, f.w);
    return ok;
}

/* ---- The choice ---- */

/* The last stage that anyone reached who has not failed since. */
static tune_stage reached(const tune_search *s, int bucket) {
    tune_stage stage = TUNE_FINAL;
    while (stage > TUNE_QUICK && count_timed(s, stage, bucket) == 0)
        stage--;
    return stage;
}

tune_score tune_search_score(const tune_search *s, int candidate, int bucket) {
    return *tune_search_at(s, reached(s, bucket), candidate, bucket);
}

int tune_search_choose(const tune_search *s, int bucket) {
    int best = 0, winner = 0;
    double ratio = 1, noise = 0;
    tune_stage stage = reached(s, bucket);
    for (int i = 1; i < s->space.count; i++) {
        tune_score f = *tune_search_at(s, stage, i, bucket);
        if (!f.timed || !is_verified(s, i) || f.ratio >= ratio)
            continue;
        best = i;
        ratio = f.ratio;
        noise = f.noise;
    }
    /* The default gives way only to what is faster beyond the noise, however much that is. */
    if (best == 0 || ratio >= 1 - fmax(TIE_LEAST, 2 * noise))
        return 0;
    winner = best;
    for (int i = 1; i < s->space.count; i++) {
        tune_score f = *tune_search_at(s, stage, i, bucket);
        if (!f.timed || !is_verified(s, i) || f.ratio >= 1 - fmax(TIE_LEAST, 2 * f.noise))
            continue;
        bool tie = f.ratio <= ratio * (1 + fmin(TIE_MOST, fmax(TIE_LEAST, band(noise, f.noise))));
        if (tie && s->space.candidates[i].order < s->space.candidates[winner].order)
            winner = i;
    }
    return winner;
}
