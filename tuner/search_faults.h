/* search_faults.h: timing a group of which one may fault: a fault breaks the device's context, and costs that candidate
 * alone. */
#ifndef TUNER_SEARCH_FAULTS_H
#define TUNER_SEARCH_FAULTS_H

#include "tuner/search.h"
#include "tuner/search_timing.h"

/* Where the workload lies, and how it is opened again (with whatever else lay in the broken context); `open` replaces
 * *workload. */
typedef struct tune_reopener {
    bool (*open)(void *context, err *e);
    void *context;
    tune_workload **workload;
} tune_reopener;

/* As tune_search_time, on *reopener->workload. After a fault (ERR_DEVICE) on a device that recovers, those of the group
 * that have no time yet are timed one by one; who faults alone is failed, with a record that says why, unless the default faults
 * too: that is an ERR_DEVICE. Other errors: those of tune_search_time where the device does not recover or was not the
 * cause, those of reopener->open. */
bool tune_search_time_each(tune_search *search, int bucket, const gen_shape *shape, tune_stage stage,
                           const tune_reopener *reopener, tune_candidate *const *group, int count,
                           const tune_measure_options *options, err *e);

#endif
