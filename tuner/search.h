/* search.h: the search for the best tiles of one op: first impressions of as many candidates as time allows, then the
 * best of them again, interleaved, on the shape itself; each measurement beside the untuned default. */
#ifndef TUNER_SEARCH_H
#define TUNER_SEARCH_H

#include "tuner/bucket.h"
#include "tuner/device.h"
#include "tuner/journal.h"
#include "tuner/progress.h"
#include "tuner/space.h"

/* Time relative to the default, measured in the same rounds. */
typedef struct tune_score {
    bool timed;
    double ratio, noise; /* median of the paired ratios; its standard error */
} tune_score;

typedef struct tune_search {
    /* Given. All borrowed. */
    const tune_device *device;
    const gen_problem *problem;
    nha_op op;
    const tune_reference *reference;
    tune_journal *journal;
    tune_progress *progress;
    tune_clock clock;
    double deadline;   /* by the clock, of this op */
    double budget;     /* seconds of the whole command: recorded when done */
    int threads, jobs; /* of executions; of compilation */
    /* Filled by tune_search_open; owned. */
    tune_space space;
    tune_bucket buckets[GEN_SHAPES_MAX];
    int bucket_count;
    tune_score *quick, *final;       /* [candidate * bucket_count + bucket] */
    gen_shape timed[GEN_SHAPES_MAX]; /* what stands for each bucket's shape in first impressions */
    double timed_us[GEN_SHAPES_MAX]; /* the default's time on it */
    int explored;                    /* candidates that are done with: timed in each bucket, rejected or failed */
    int measured;                    /* of them, in this run */
    double preparing, timing;        /* seconds spent compiling and verifying, and timing */
} tune_search;

/* Enumerates, prunes, takes up the journal, and prepares the default, which must verify. Errors: ERR_MISMATCH or
 * ERR_COMPILE for a default that is wrong, and what tune_space_open and tune_prepare say. On failure needs no close. */
bool tune_search_open(tune_search *search, const gen_shape *shapes, int shape_count, err *e);
void tune_search_close(tune_search *search);
/* Whether an earlier run was given as much time, or left nothing to look at, for every bucket. */
bool tune_search_done(const tune_search *search);
/* Searches until the deadline, or until nothing is left. Everything is in the journal when it returns. */
bool tune_search_run(tune_search *search, err *e);
/* The winner for a bucket, by place in space.candidates: the fastest of those timed in the final round, else in the
 * first; within the measured noise the default wins, then whoever was enumerated first. */
int tune_search_choose(const tune_search *search, int bucket);
/* The score tune_search_choose went by; not timed for the default. */
tune_score tune_search_score(const tune_search *search, int candidate, int bucket);

#endif
