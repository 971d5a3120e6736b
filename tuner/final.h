/* final.h: the second round of a search: the best candidates of a bucket measured again, on its own shape, and the
 * choice. */
#ifndef TUNER_FINAL_H
#define TUNER_FINAL_H

#include "tuner/prepare.h"
#include "tuner/search.h"

enum { TUNE_GROUP_MAX = 16 };

/* Measures the best of a bucket's first impressions that have no final time yet, until `deadline` by the clock. */
bool tune_final(tune_search *search, int bucket, double deadline, err *e);

/* Shared by both rounds (search.c): writes verified, rejected or failed unless the journal has it ... */
bool tune_search_record_status(tune_search *search, const tune_candidate *candidate, err *e);
/* ... and times the verified ones of a group (at most TUNE_GROUP_MAX) beside the default on `workload`, one record
 * each. `shape` is what the workload was opened for. */
bool tune_search_time(tune_search *search, int bucket, const gen_shape *shape, int kind, tune_workload *workload,
                      tune_candidate *const *group, int count, const tune_measure_options *options, err *e);

#endif
