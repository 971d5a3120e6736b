/* search_timing.h: what the stages of a search share: timing groups beside the default, records of it, shapes that
 * stand for others. Not for other files. */
#ifndef TUNER_SEARCH_TIMING_H
#define TUNER_SEARCH_TIMING_H

#include "tuner/search.h"

static inline double tune_search_now(const tune_search *s) {
    return s->clock.now(s->clock.context);
}
static inline tune_score *tune_search_at(const tune_search *s, tune_stage stage, int candidate, int bucket) {
    return &s->scores[stage][(size_t)candidate * (size_t)s->bucket_count + (size_t)bucket];
}
static inline int tune_stage_record(tune_stage stage) {
    return stage == TUNE_QUICK ? TUNE_RECORD_QUICK : stage == TUNE_HEAT ? TUNE_RECORD_HEAT : TUNE_RECORD_FINAL;
}

/* Applies a record with samples, or the refusal of one, to the scores. */
void tune_search_take_up(tune_search *search, int candidate, const tune_record *record);
/* Writes verified, rejected or failed with the seconds it took, unless the journal has it. */
bool tune_search_record_status(tune_search *search, const tune_candidate *candidate, double seconds, err *e);
/* Writes once how many tiles each constraint rejected. */
bool tune_search_record_pruned(tune_search *search, err *e);
/* Times the verified ones of a group (at most TUNE_GROUP_MAX) beside the default on `workload`, which was opened for
 * `shape`; one record each. options->sample_seconds, rounds, ... are the stage's. */
bool tune_search_time(tune_search *search, int bucket, const gen_shape *shape, tune_stage stage,
                      tune_workload *workload, tune_candidate *const *group, int count,
                      const tune_measure_options *options, err *e);
/* Runs the default alone on a stage's workload. Errors: a fault is its own; the text says so. */
bool tune_search_default_runs(tune_search *search, tune_stage stage, tune_workload *workload, err *e);
/* Finds the shape that stands for a bucket's in first impressions: search->timed, timed_us. */
bool tune_search_represent(tune_search *search, int bucket, err *e);
/* The bucket's shape, cut down until `calls` calls of it, as long as those of the default, fit into `seconds`. */
gen_shape tune_search_fitting(const tune_search *search, int bucket, int calls, double seconds);
/* Measures and records the device's limits with the bucket's working set; nothing where it has none or the journal has
 * them. */
bool tune_search_limits(tune_search *search, int bucket, const tune_workload *workload, err *e);

#endif
