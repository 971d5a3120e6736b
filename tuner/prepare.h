/* prepare.h: compiles and verifies a group of candidates on several threads. Nothing is timed meanwhile. */
#ifndef TUNER_PREPARE_H
#define TUNER_PREPARE_H

#include "tuner/device.h"

typedef struct tune_prepare_options {
    const tune_device *device;
    const tune_reference *reference; /* NULL: not verified (nothing will be run) */
    int jobs;                        /* threads, 1 and up */
    tune_clock clock;
    double deadline; /* by the clock: no candidate is begun after it; 0: none */
} tune_prepare_options;

/* Each candidate ends loaded and TUNE_VERIFIED, or unloaded: TUNE_REJECTED or TUNE_FAILED with a reason, or as it was
 * if the deadline came first. Errors: ERR_MEMORY, ERR_SYSTEM, ERR_MISSING (they say nothing about a candidate); every
 * candidate is unloaded then. */
bool tune_prepare(tune_candidate *const *group, int count, const tune_prepare_options *options, err *e);

#endif
