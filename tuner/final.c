/* final.c: see final.h. The time a call takes is known from the first round; the shape is shortened only if even a few
 * rounds of it would not fit. */
#include "tuner/final.h"

#include <math.h>
#include <stdlib.h>

enum { FINALISTS = 8, ROUNDS = 21, ROUNDS_LEAST = 5 };
static const double SAMPLE = 10e-3; /* seconds a sample */
static const double NEAR = 1.15;    /* of the best ratio: who is slower at first sight is not asked again */
static const double TIE_LEAST = 0.005, TIE_MOST = 0.03; /* bounds of the band of ties, relative */
static const size_t COLD_BYTES = 128u << 20;

static tune_score at(const tune_score *scores, const tune_search *s, int candidate, int bucket) {
    return scores[(size_t)candidate * (size_t)s->bucket_count + (size_t)bucket];
}

/* Places of the best third of those timed, at most FINALISTS, fastest first. */
static int finalists(const tune_search *s, int bucket, int *out) {
    int timed = 0, count = 0;
    double best = 1;
    for (int i = 1; i < s->space.count; i++) {
        tune_score q = at(s->quick, s, i, bucket);
        timed += q.timed;
        if (q.timed && q.ratio < best)
            best = q.ratio;
    }
    int most = (timed + 2) / 3 < FINALISTS ? (timed + 2) / 3 : FINALISTS;
    while (count < most) {
        int pick = -1;
        for (int i = 1; i < s->space.count; i++) {
            tune_score q = at(s->quick, s, i, bucket);
            bool taken = !q.timed || q.ratio > NEAR * best || s->space.candidates[i].status != TUNE_VERIFIED;
            for (int k = 0; k < count && !taken; k++)
                taken = out[k] == i;
            if (!taken && (pick < 0 || q.ratio < at(s->quick, s, pick, bucket).ratio))
                pick = i;
        }
        if (pick < 0)
            break;
        out[count++] = pick;
    }
    return count;
}

bool tune_final(tune_search *s, int bucket, double deadline, err *e) {
    int chosen[FINALISTS], count = 0, known = finalists(s, bucket, chosen);
    tune_candidate *group[FINALISTS];
    for (int i = 0; i < known; i++)
        if (!at(s->final, s, chosen[i], bucket).timed)
            group[count++] = &s->space.candidates[chosen[i]];
    if (count == 0)
        return true;
    bool ok = false;
    tune_workload *w = NULL;
    gen_shape shape = s->buckets[bucket].shape;
    tune_prepare_options p = {s->device, s->reference, s->jobs, s->clock, deadline};
    if (!tune_prepare(group, count, &p, e))
        return false;
    for (int i = 0; i < count; i++)
        if (!tune_search_record_status(s, group[i], e))
            goto done;
    /* One call to settle the iterations and ROUNDS_LEAST to measure, of everyone, have to fit. */
    const gen_shape *timed = &s->timed[bucket];
    double per_token = s->timed_us[bucket] * 1e-6 / ((double)timed->tokens * (double)timed->batch);
    double most = (deadline - s->clock.now(s->clock.context)) / ((ROUNDS_LEAST + 1) * (count + 1) * per_token);
    while ((double)shape.tokens * (double)shape.batch > most &&
           (shape.tokens / 2 >= timed->tokens || shape.batch / 2 >= timed->batch)) {
        if (shape.batch / 2 >= timed->batch)
            shape.batch /= 2;
        else
            shape.tokens /= 2;
    }
    tune_measure_options o = {
        .clock = s->clock, .sample_seconds = SAMPLE, .rounds = ROUNDS, .rounds_least = 3, .deadline = deadline};
    err small = {0};
    if (!s->device->open_workload(s->problem, &shape, &s->space.candidates[0].library, COLD_BYTES, &w, &small)) {
        ok = small.code == ERR_INPUT; /* it does not fit in memory: the first impressions have to do */
        if (ok)
            tune_progress_line(s->progress, "note: %s", small.text);
        else
            err_set(e, small.code, small.stage, "%s", small.text);
        err_clear(&small);
        goto done;
    }
    tune_progress_update(s->progress, "%s: the best %d again, batch %lld x %lld tokens", gen_op_name(s->op), count,
                         (long long)shape.batch, (long long)shape.tokens);
    ok = tune_search_time(s, bucket, &shape, TUNE_RECORD_FINAL, w, group, count, &o, e);
done:
    s->device->close_workload(w);
    for (int i = 0; i < count; i++)
        s->device->release(group[i]);
    return ok;
}

tune_score tune_search_score(const tune_search *s, int candidate, int bucket) {
    bool finals = false;
    for (int i = 1; i < s->space.count && !finals; i++)
        finals = at(s->final, s, i, bucket).timed;
    return at(finals ? s->final : s->quick, s, candidate, bucket);
}

int tune_search_choose(const tune_search *s, int bucket) {
    int best = 0, winner = 0;
    double ratio = 1, noise = 0;
    bool finals = false;
    for (int i = 1; i < s->space.count && !finals; i++)
        finals = at(s->final, s, i, bucket).timed;
    const tune_score *scores = finals ? s->final : s->quick;
    for (int i = 1; i < s->space.count; i++) {
        tune_score f = at(scores, s, i, bucket);
        if (!f.timed || s->space.candidates[i].status != TUNE_VERIFIED || f.ratio >= ratio)
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
        tune_score f = at(scores, s, i, bucket);
        if (!f.timed || s->space.candidates[i].status != TUNE_VERIFIED)
            continue;
        if (f.ratio >= 1 - fmax(TIE_LEAST, 2 * f.noise))
            continue;
        double band = fmin(TIE_MOST, fmax(TIE_LEAST, 2 * hypot(noise, f.noise)));
        bool tie = f.ratio <= ratio * (1 + band);
        if (tie && s->space.candidates[i].order < s->space.candidates[winner].order)
            winner = i;
    }
    return winner;
}
