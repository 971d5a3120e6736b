/* measure.c: see measure.h. The only file that takes times.
 * Iterations are found once per subject, before the rounds, by doubling; that also warms caches and branch predictors.
 */
#include "tuner/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double monotonic_now(void *context) {
    (void)context;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

tune_clock tune_clock_monotonic(void) {
    return (tune_clock){monotonic_now, NULL};
}

static double now(const tune_measure_options *options) {
    return options->clock.now(options->clock.context);
}

static bool sample(const tune_subject *subject, const tune_measure_options *options, int64_t iterations,
                   double *seconds, err *e) {
    if (subject->ready && !subject->ready(subject->context, iterations, e))
        return false;
    double begin = now(options);
    if (!subject->run(subject->context, iterations, e))
        return false;
    *seconds = now(options) - begin;
    return true;
}

/* Iterations that last sample_seconds. The estimate aims 20% above it and at most multiplies by 16, because a first run
 * that is too short to resolve says little. */
static bool grow(const tune_subject *subject, const tune_measure_options *options, int64_t *iterations, err *e) {
    int64_t limit = options->max_iterations > 0 ? options->max_iterations : (int64_t)1 << 40;
    int64_t multiple = subject->multiple > 1 ? subject->multiple : 1;
    *iterations = multiple;
    for (int step = 0; step < 64; step++) {
        double seconds;
        if (!sample(subject, options, *iterations, &seconds, e))
            return false;
        if (seconds >= options->sample_seconds || *iterations >= limit)
            return true;
        double factor = seconds > 0 ? 1.2 * options->sample_seconds / seconds : 16;
        if (factor > 16)
            factor = 16;
        if (factor < 1.25)
            factor = 1.25;
        int64_t next = ((int64_t)ceil((double)*iterations * factor) + multiple - 1) / multiple * multiple;
        *iterations = next < limit ? next : limit;
    }
    return true;
}

bool tune_measure(const tune_subject *subjects, int count, const tune_measure_options *options, tune_samples *samples,
                  err *e) {
    int rounds = options->rounds < 1 ? 1 : options->rounds < TUNE_SAMPLES_MAX ? options->rounds : TUNE_SAMPLES_MAX;
    int least = options->rounds_least > 1 ? options->rounds_least : 1;
    for (int i = 0; i < count; i++) {
        samples[i].count = 0;
        if (!grow(&subjects[i], options, &samples[i].iterations, e))
            return false;
    }
    for (int r = 0; r < rounds; r++) {
        if (r >= least && options->deadline > 0 && now(options) >= options->deadline)
            break;
        if (r >= least && options->enough && options->enough(options->context, samples, count))
            break;
        for (int k = 0; k < count; k++) {
            int i = r % 2 ? count - 1 - k : k;
            if (samples[i].count < r)
                continue; /* given up */
            if (r >= 2 && i > 0 && options->give_up > 0 &&
                tune_min(&samples[i]) > options->give_up * tune_median(&samples[0]))
                continue;
            double seconds;
            if (!sample(&subjects[i], options, samples[i].iterations, &seconds, e))
                return false;
            samples[i].us[samples[i].count++] = 1e6 * seconds / (double)samples[i].iterations;
        }
    }
    return true;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const double *values, int count) {
    if (count <= 0)
        return 0;
    double sorted[TUNE_SAMPLES_MAX];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

static double noise_of(const double *values, int count) {
    double middle = median_of(values, count);
    if (count < 2 || middle <= 0)
        return 1;
    double deviation[TUNE_SAMPLES_MAX];
    for (int i = 0; i < count; i++)
        deviation[i] = fabs(values[i] - middle);
    return 1.2533 * 1.4826 * median_of(deviation, count) / (middle * sqrt((double)count));
}

double tune_median(const tune_samples *samples) {
    return median_of(samples->us, samples->count);
}

double tune_min(const tune_samples *samples) {
    double best = samples->count > 0 ? samples->us[0] : 0;
    for (int i = 1; i < samples->count; i++)
        best = samples->us[i] < best ? samples->us[i] : best;
    return best;
}

double tune_max(const tune_samples *samples) {
    double worst = 0;
    for (int i = 0; i < samples->count; i++)
        worst = samples->us[i] > worst ? samples->us[i] : worst;
    return worst;
}

double tune_noise(const tune_samples *samples) {
    return noise_of(samples->us, samples->count);
}

double tune_paired(const tune_samples *samples, const tune_samples *base, double *noise) {
    double ratio[TUNE_SAMPLES_MAX] = {0};
    int common = samples->count < base->count ? samples->count : base->count, count = 0;
    for (int i = 0; i < common; i++)
        if (base->us[i] > 0)
            ratio[count++] = samples->us[i] / base->us[i];
    if (noise)
        *noise = noise_of(ratio, count);
    return median_of(ratio, count);
}
