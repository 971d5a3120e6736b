/* search_faults.c: see search_faults.h. */
#include "tuner/search_faults.h"

#include <string.h>

/* Whether *e was a fault after which the device works again; *e is then cleared, its text in `why`, and what lay in a
 * context that is gone is open again. */
static bool recovered(tune_search *s, const tune_reopener *reopener, char *why, size_t size, err *e) {
    const tune_place *place = &s->device->place;
    const uint64_t generation = place->generation;
    if (e->code != ERR_DEVICE || !place->recover)
        return false;
    snprintf(why, size, "while it was timed: %.230s", e->text);
    err_clear(e);
    if (!tune_place_recover(place, e))
        return false;
    return place->generation == generation || reopener->open(reopener->context, e);
}

static bool is_settled(const tune_search *s, tune_stage stage, const tune_candidate *c, int bucket) {
    const tune_score *score = tune_search_at(s, stage, (int)(c - s->space.candidates), bucket);
    return score->timed || score->refused || c->status != TUNE_VERIFIED;
}

bool tune_search_time_each(tune_search *s, int bucket, const gen_shape *shape, tune_stage stage,
                           const tune_reopener *reopener, tune_candidate *const *group, int count,
                           const tune_measure_options *options, err *e) {
    char why[sizeof group[0]->why];
    if (tune_search_time(s, bucket, shape, stage, *reopener->workload, group, count, options, e))
        return true;
    if (!recovered(s, reopener, why, sizeof why, e))
        return false;
    for (int i = 0; i < count && *reopener->workload; i++) { /* NULL: there is no memory for it any more */
        if (is_settled(s, stage, group[i], bucket) ||
            tune_search_time(s, bucket, shape, stage, *reopener->workload, &group[i], 1, options, e))
            continue;
        if (!recovered(s, reopener, why, sizeof why, e))
            return false;
        /* It ran beside the default: that one must not be the cause. */
        if (*reopener->workload && !tune_search_default_runs(s, stage, *reopener->workload, e))
            return false;
        group[i]->status = TUNE_FAILED;
        memcpy(group[i]->why, why, sizeof why);
        if (!tune_search_record_status(s, group[i], 0, e))
            return false;
    }
    return true;
}
