/* strategy.c: the table of strategies. */
#include "tuner/strategy.h"

#include <string.h>

#include "base/nearest.h"

static const tune_strategy strategies[] = {
    {"model",
     "where a cost model, learning from each measurement, expects the greatest gain; stops when it expects none", true,
     tune_strategy_model},
    {"exhaustive", "every legal candidate, each measured on the shape itself", false, tune_strategy_exhaustive},
    {"random", "in an order shuffled the same way each time", true, tune_strategy_random},
};
enum { STRATEGIES = sizeof strategies / sizeof *strategies };

const tune_strategy *tune_strategies(int *count) {
    *count = STRATEGIES;
    return strategies;
}

const tune_strategy *tune_strategy_find(const char *name, err *e) {
    const char *names[STRATEGIES];
    for (int i = 0; i < STRATEGIES; i++) {
        names[i] = strategies[i].name;
        if (strcmp(names[i], name) == 0)
            return &strategies[i];
    }
    err_set(e, ERR_USAGE, "search", "there is no strategy %s; did you mean %s?", name,
            base_nearest(name, names, STRATEGIES));
    return NULL;
}
