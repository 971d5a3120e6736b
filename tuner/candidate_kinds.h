/* candidate_kinds.h: what candidate.c asks of each kind of candidate. Not for other files. */
#ifndef TUNER_CANDIDATE_KINDS_H
#define TUNER_CANDIDATE_KINDS_H

#include "tuner/candidate.h"

/* candidate_cpu.c; in a build without LLVM candidate_no_cpu.c, where loading is an ERR_MISSING. */
bool candidate_load_cpu(tune_candidate *c, err *e);
void candidate_unload_cpu(tune_candidate *c);
char *candidate_source_cpu(const tune_candidate *c, err *e);

/* candidate_cuda.c */
bool candidate_load_cuda(tune_candidate *c, const jit_nvrtc *nvrtc, err *e);
void candidate_unload_cuda(tune_candidate *c);
char *candidate_source_cuda(const tune_candidate *c, err *e);
bool candidate_default_cuda(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_tile *tile, err *e);

#endif
