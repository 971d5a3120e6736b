/* strategy.h: which candidates are looked at next. One row a strategy; the search knows nothing else of it. */
#ifndef TUNER_STRATEGY_H
#define TUNER_STRATEGY_H

#include <stdbool.h>

#include "base/err.h"

struct tune_search;

typedef struct tune_strategy {
    const char *name; /* as in --strategy */
    const char *purpose;
    bool halving; /* false: everyone is measured on the shape itself, not only who did well at first sight */
    /* Fills places[0..most) with candidates to look at next, none of them explored; returns how many, 0: it is done.
     * The search's models are up to date, and are left as they were. */
    int (*next)(struct tune_search *search, int *places, int most);
} tune_strategy;

/* The first row is the default. */
const tune_strategy *tune_strategies(int *count);
/* NULL with ERR_USAGE and the nearest one if there is none of that name. */
const tune_strategy *tune_strategy_find(const char *name, err *e);

/* strategy_model.c: where the cost model expects the greatest gain. strategy_plain.c: all, in the order of enumeration;
 * and in a shuffled order that is the same each time. */
int tune_strategy_model(struct tune_search *search, int *places, int most);
int tune_strategy_exhaustive(struct tune_search *search, int *places, int most);
int tune_strategy_random(struct tune_search *search, int *places, int most);

#endif
