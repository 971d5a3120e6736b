/* cost_model.h: what candidates are expected to take, relative to the untuned default. An estimate from the problem and
 * the tile alone comes first (cost_prior.h); every measurement of the run then moves the expectation of all candidates
 * that are like the one measured.
 *
 * A Gaussian process over the log of the ratio, f(c) = phi(c) + g(c), where phi is the log of the estimate and
 *
 *     cov(g(a), g(b)) = A/n sum_k exp(-d_k^2 / 2 l^2)      effects of single knobs, which add up
 *                     + I exp(-sum_k d_k^2 / 2 l^2)        what is particular to tiles near each other
 *                     + P phi(a) phi(b)                    how far the estimate itself is to be trusted
 *
 * d_k: distance of the places of knob k's values in the sorted list of its values, the whole list being 1. Measuring
 * candidate c is one step of a pivoted Cholesky factorisation: with v_i the rows so far,
 *
 *     v(x) = (cov(c, x) - sum_i v_i(c) v_i(x)) / d,  d^2 = variance(c) + noise^2
 *     mean(x) += v(x) (y - mean(c)) / d,  variance(x) -= v(x)^2
 *
 * (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 2.2.) */
#ifndef TUNER_COST_MODEL_H
#define TUNER_COST_MODEL_H

#include "tuner/space.h"

/* Where the candidates of a space lie: shared by the models of all shapes. */
typedef struct tune_cost_places {
    int count, knobs; /* candidates; knobs that have more than one value, the variant being one */
    float *place;     /* [count][knobs] in 0..1; owned. A knob that a tile does not name is 0 there */
} tune_cost_places;
/* Errors: ERR_MEMORY; then nothing needs closing. */
bool tune_cost_places_open(const tune_space *space, tune_cost_places *places, err *e);
void tune_cost_places_close(tune_cost_places *places);

typedef struct tune_cost_model {
    const tune_cost_places *places;  /* borrowed */
    double *prior, *mean, *variance; /* [count] of log ratios; owned */
    float *rows;                     /* [row_count][count], owned */
    int row_count, row_capacity, row_max;
} tune_cost_model;

/* `prior`: [count] log of the estimates, of any scale: only what they are relative to candidate 0 counts; copied.
 * `row_bytes`: of memory for measurements; later ones change nothing. Candidate 0 is known to be at ratio 1. Errors:
 * ERR_MEMORY; then nothing needs closing. */
bool tune_cost_model_open(const tune_cost_places *places, const double *prior, size_t row_bytes, tune_cost_model *model,
                          err *e);
/* A zeroed struct is allowed. */
void tune_cost_model_close(tune_cost_model *model);
/* A measured ratio (above 0) and its relative standard error. Errors: ERR_MEMORY. */
bool tune_cost_model_observe(tune_cost_model *model, int candidate, double ratio, double noise, err *e);
/* As if the candidate had been measured where it is expected: its neighbours are no longer uncertain. Undone by
 * tune_cost_model_retract, last first. Returns false, and nothing needs undoing, where the memory for measurements is
 * used up. */
bool tune_cost_model_assume(tune_cost_model *model, int candidate);
void tune_cost_model_retract(tune_cost_model *model);
/* The expected ratio. */
double tune_cost_model_ratio(const tune_cost_model *model, int candidate);
/* Expected improvement of the log ratio over `best` (a log ratio): the mean of max(0, best - f). */
double tune_cost_model_gain(const tune_cost_model *model, int candidate, double best);

#endif
