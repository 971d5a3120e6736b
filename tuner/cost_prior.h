/* cost_prior.h: what a tile is expected to take before anything is measured. For ordering, never a figure. */
#ifndef TUNER_COST_PRIOR_H
#define TUNER_COST_PRIOR_H

#include "tuner/candidate.h"

/* Log of the expected time of a call, in units that all tiles of one (problem, op, arch) share. From the flops, panels
 * and bytes that the tile implies and how well its register blocks keep the units busy. CUDA: 0, the templates'
 * constraints are all that is known beforehand. */
double tune_cost_prior(const gen_problem *problem, nha_op op, const tune_arch *arch, const tune_tile *tile);

#endif
