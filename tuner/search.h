/* search.h: the search for the best tiles of one op, by successive halving: first impressions of as many candidates as
 * the strategy asks for and time allows, then the best of them on the shape itself, then the best of those for longer;
 * each measurement interleaved with the untuned default. */
#ifndef TUNER_SEARCH_H
#define TUNER_SEARCH_H

#include "tuner/bucket.h"
#include "tuner/cost_model.h"
#include "tuner/device.h"
#include "tuner/journal.h"
#include "tuner/progress.h"
#include "tuner/space.h"
#include "tuner/strategy.h"

enum { TUNE_GROUP_MAX = 16 };

/* First impressions, and the stages after them. */
typedef enum tune_stage { TUNE_QUICK, TUNE_HEAT, TUNE_FINAL, TUNE_STAGES } tune_stage;

/* Time relative to the default, measured in the same rounds. */
typedef struct tune_score {
    bool timed;
    bool refused;        /* a measuring error: it will not be timed again */
    double ratio, noise; /* median of the paired ratios; its standard error */
} tune_score;

typedef struct tune_search {
    /* Given. All borrowed. */
    const tune_device *device;
    const tune_strategy *strategy; /* NULL: the default one */
    const gen_problem *problem;
    nha_op op;
    tune_arch arch; /* what is tuned for */
    const tune_reference *reference;
    tune_journal *journal;
    tune_progress *progress;
    tune_clock clock;
    double deadline;        /* by the clock, of this op */
    double budget;          /* seconds of the whole command: recorded when done */
    int threads, jobs;      /* of executions; of compilation */
    const tune_space *only; /* the candidates, instead of the whole space (replay); borrowed; NULL: the space */
    /* Filled by tune_search_open; owned. */
    tune_space space;
    tune_bucket buckets[GEN_SHAPES_MAX];
    int bucket_count;
    tune_score *scores[TUNE_STAGES]; /* [candidate * bucket_count + bucket] */
    tune_cost_places places;
    tune_cost_model models[GEN_SHAPES_MAX]; /* by bucket, learning from first impressions */
    gen_shape timed[GEN_SHAPES_MAX];        /* what stands for each bucket's shape in first impressions */
    double timed_us[GEN_SHAPES_MAX];        /* the default's time on it */
    int explored;             /* candidates that are done with: timed in each bucket, rejected or failed */
    int measured;             /* of them, in this run */
    bool settled;             /* the strategy has nothing more to look at */
    double preparing, timing; /* seconds spent compiling and verifying, and timing */
} tune_search;

/* Enumerates, prunes, takes up the journal, and prepares the default, which must verify. Errors: ERR_MISMATCH or
 * ERR_COMPILE for a default that is wrong, and what tune_space_open and tune_prepare say. On failure needs no close. */
bool tune_search_open(tune_search *search, const gen_shape *shapes, int shape_count, err *e);
void tune_search_close(tune_search *search);
/* Whether an earlier run was given as much time, or left nothing to look at, for every bucket. */
bool tune_search_done(const tune_search *search);
/* Searches until the deadline, or until nothing is left. Everything is in the journal when it returns. */
bool tune_search_run(tune_search *search, err *e);
/* A winner that did not hold when it was used: its `status` and `why` say how. Written down; the search goes on until
 * the deadline, or until nothing is left to look at. */
bool tune_search_lose(tune_search *search, const tune_candidate *candidate, err *e);
/* The winner for a bucket, by place in space.candidates: the fastest of those timed in the last stage that was reached
 * by one that still holds; within the measured noise the default wins, then whoever was enumerated first. */
int tune_search_choose(const tune_search *search, int bucket);
/* The score tune_search_choose went by; not timed for the default. */
tune_score tune_search_score(const tune_search *search, int candidate, int bucket);

/* For strategies: whether a candidate is done with; its first impression. */
bool tune_search_explored(const tune_search *search, int candidate);
tune_score tune_search_quick(const tune_search *search, int candidate, int bucket);

#endif
