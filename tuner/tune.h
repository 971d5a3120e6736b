/* tune.h: from a spec to a library folder: the whole pipeline of `nhac tune` and `nhac build`. */
#ifndef TUNER_TUNE_H
#define TUNER_TUNE_H

#include "gen/spec.h"
#include "tuner/device.h"
#include "tuner/progress.h"
#include "tuner/strategy.h"

typedef struct tune_options {
    const char *spec;           /* path */
    const char *const *targets; /* instead of the spec's; NULL where target_count is 0 */
    int target_count;
    const char *device;        /* as given with --device: its targets are searched, the others get verified defaults;
                                * NULL: whatever runs here, CPU and GPU; emulators only verify */
    const char *folder;        /* holds the library folder */
    bool search;               /* false: defaults only (`nhac build`) */
    double budget;             /* seconds for everything; 0: what the spec says */
    int jobs;                  /* threads that compile and verify; 0: the machine's */
    const tune_strategy *strategy; /* of the search; NULL: the default one */
    FILE *progress;            /* NULL: silent */
    tune_clock clock;
} tune_options;

/* What won a bucket. */
typedef struct tune_winner {
    nha_op op;
    gen_shape shape;
    char kernel[192];
    const char *timed_by; /* "cpu", "gpu", "model" */
    double ratio, noise; /* time relative to the default in the same rounds; 1, 0 for the default itself */
} tune_winner;

typedef struct tune_outcome {
    char folder[4096];                  /* of the library */
    char note[256];                     /* from writing it; "" for none */
    int kernels;                        /* rows of its dispatch table */
    int candidates, explored, measured; /* legal; known to the journal now; of these, timed or rejected in this run */
    tune_winner winners[2 * GEN_SHAPES_MAX]; /* of more, the first */
    int winner_count;
    double seconds;
} tune_outcome;

/* Reads the spec, searches, writes the library: every target by the device that runs it, a GPU's targets without that GPU
 * by the emulator. With a budget it ends in about that many seconds (more where verifying
 * the defaults alone takes longer). Targets that this version cannot serve are named and skipped. Errors: those of
 * gen_spec_read and tune_library_write; ERR_MISSING if no target is left; ERR_MISMATCH if a default is wrong; then
 * nothing is written. ERR_MISSING also for a device that is not there or runs none of the targets. */
bool tune_run(const tune_options *options, tune_outcome *outcome, err *e);

/* Whether a word is a target. Error: ERR_USAGE, with the nearest. */
bool tune_target_known(const char *target, err *e);
/* Whether the library can be made for one of the targets (the spec's, or those given instead). Unavailable ones are
 * said on `progress`. Errors: ERR_USAGE for a word that is no target, ERR_MISSING where none is left. */
bool tune_targets(const gen_spec *spec, const char *const *targets, int target_count, tune_progress *progress, err *e);

#endif
