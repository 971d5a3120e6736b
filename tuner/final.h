/* final.h: the stages after the first impressions: the best candidates of a bucket measured again on its own shape,
 * fewer of them for longer, until the best is separated from the rest or all that are left are tied; and the choice. */
#ifndef TUNER_FINAL_H
#define TUNER_FINAL_H

#include "tuner/prepare.h"
#include "tuner/search_faults.h"

/* Seconds a call of the shape may take where everyone is measured on it. */
#define TUNE_FINAL_CALL 0.25

/* Runs the stages for a bucket until `deadline` by the clock, leaving out what the journal has. Where one of the best
 * turns out wrong or faults, the next best takes its place, from the first stage on. */
bool tune_final(tune_search *search, int bucket, double deadline, err *e);

/* Opens a workload on the bucket's shape, cut down until a call takes at most `call` seconds. Where it does not fit in
 * memory *workload is NULL: first impressions have to do. */
bool tune_final_open(tune_search *search, int bucket, double call, gen_shape *shape, tune_workload **workload, err *e);
/* The first stage for a group that is loaded, on that workload. */
bool tune_final_heat(tune_search *search, int bucket, const gen_shape *shape, const tune_reopener *reopener,
                     tune_candidate *const *group, int count, double deadline, err *e);

#endif
