/* measure.h: timing. Subjects are measured round-robin, so that whatever slows the machine for a while slows all of
 * them, and every sample is kept. The clock is a parameter; nothing else in nhac decides what a time is. */
#ifndef TUNER_MEASURE_H
#define TUNER_MEASURE_H

#include <stdint.h>

#include "base/err.h"

enum { TUNE_SAMPLES_MAX = 64 };

/* Seconds from any origin, never going back. */
typedef struct tune_clock {
    double (*now)(void *context);
    void *context;
} tune_clock;
tune_clock tune_clock_monotonic(void);

/* What is measured: run() does the work `iterations` times in a row. It returns false on an error. */
typedef struct tune_subject {
    bool (*run)(void *context, int64_t iterations, err *e);
    /* Called before each sample, outside of the timed part; NULL: nothing. */
    bool (*ready)(void *context, int64_t iterations, err *e);
    void *context;
    /* Iterations of a sample are a multiple of this (0: of 1). Where iterations use sets of data by turns, a sample that
     * goes through all of them finds the caches alike whoever was timed before. */
    int64_t multiple;
} tune_subject;

typedef struct tune_samples {
    double us[TUNE_SAMPLES_MAX]; /* microseconds for one iteration, in the order measured */
    int count;
    int64_t iterations; /* of each sample */
} tune_samples;

typedef struct tune_measure_options {
    tune_clock clock;
    double sample_seconds;  /* a sample lasts at least this long; iterations grow until it does */
    int64_t max_iterations; /* 0: no limit */
    int rounds;             /* samples of each subject, 1..TUNE_SAMPLES_MAX */
    int rounds_least;       /* made whatever the deadline says; 0 means 1 */
    double deadline;        /* by the clock: no further round is begun after it; 0: none */
    /* Asked after each round from rounds_least on: whether the samples so far say enough; NULL: never. */
    bool (*enough)(void *context, const tune_samples *samples, int count);
    void *context;          /* of enough() */
    double give_up;         /* a subject this many times slower than subject 0 is dropped after two rounds; 0: never */
} tune_measure_options;

/* Measures subjects[0..count) interleaved; samples[i] belongs to subjects[i]. Sample r of every subject was taken in
 * round r, so that they are paired, but a subject that was given up has fewer. Every other round runs backwards.
 * Errors: those of run(). */
bool tune_measure(const tune_subject *subjects, int count, const tune_measure_options *options, tune_samples *samples,
                  err *e);

/* Statistics in microseconds; 0 where there are no samples. */
double tune_median(const tune_samples *samples);
double tune_min(const tune_samples *samples);
double tune_max(const tune_samples *samples);
/* Standard error of the median as a fraction of it (1, all of it, where there are fewer than 2 samples), from the
 * median absolute deviation (robust against the outliers of a shared machine): 1.2533 * 1.4826 * MAD / (median *
 * sqrt(n)). */
double tune_noise(const tune_samples *samples);
/* Median of samples[r] / base[r] over the common rounds, and in *noise (may be NULL) its standard error as above; 0 if
 * none. */
double tune_paired(const tune_samples *samples, const tune_samples *base, double *noise);

#endif
