/* strategy_model.c: the default strategy: the greatest expected improvement over the best so far, shape by shape in
 * turn. Within a group each choice is assumed measured where the model expects it, so that the next one is not its
 * twin. */
#include <math.h>

#include "tuner/search.h"

/* Expected gain, relative, under which looking on is not worth it: less than the band of ties. */
static const double ENOUGH = 0.0005;

/* Log of the least ratio that was measured or is expected of those that were; not of what has failed since. */
static double best_of(const tune_search *s, int bucket) {
    double best = 0; /* the default's */
    for (int i = 1; i < s->space.count; i++) {
        tune_score q = tune_search_quick(s, i, bucket);
        bool holds = s->space.candidates[i].status == TUNE_VERIFIED;
        if (q.timed && holds && q.ratio > 0 && s->models[bucket].mean[i] < best)
            best = s->models[bucket].mean[i];
    }
    return best;
}

static int pick(const tune_search *s, int bucket, double best, const int *places, int count, double *gain) {
    int found = -1;
    *gain = 0;
    for (int i = 1; i < s->space.count; i++) {
        bool taken = false;
        for (int k = 0; k < count && !taken; k++)
            taken = places[k] == i;
        if (taken || tune_search_explored(s, i))
            continue;
        double g = tune_cost_model_gain(&s->models[bucket], i, best);
        if (found < 0 || g > *gain) {
            found = i;
            *gain = g;
        }
    }
    return found;
}

int tune_strategy_model(tune_search *s, int *places, int most) {
    int count = 0, idle = 0;
    int assumed[TUNE_GROUP_MAX], assumptions = 0;
    for (int turn = 0; count < most && idle < s->bucket_count; turn++) {
        int bucket = turn % s->bucket_count;
        double gain;
        int found = pick(s, bucket, best_of(s, bucket), places, count, &gain);
        if (found < 0)
            break;
        if (gain < ENOUGH) {
            idle++;
            continue;
        }
        idle = 0;
        places[count++] = found;
        if (assumptions < TUNE_GROUP_MAX && tune_cost_model_assume(&s->models[bucket], found))
            assumed[assumptions++] = bucket;
    }
    while (assumptions > 0)
        tune_cost_model_retract(&s->models[assumed[--assumptions]]);
    return count;
}
