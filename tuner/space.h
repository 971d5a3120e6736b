/* space.h: the candidates of one op on one arch, in the order in which they are looked at. */
#ifndef TUNER_SPACE_H
#define TUNER_SPACE_H

#include "tuner/candidate.h"

enum { TUNE_SPACE_MAX = 20000, TUNE_REASONS_MAX = 64 };

typedef struct tune_space {
    tune_candidate *candidates; /* owned; [0] is the untuned default; the others legal, distinct, in a shuffled order
                                   that is the same each time */
    int count;
    struct {
        char text[160]; /* why tiles were pruned */
        int count;
    } reasons[TUNE_REASONS_MAX];
    int reason_count;
    int pruned; /* tiles rejected by a constraint */
} tune_space;

/* `problem` outlives the space. Errors: those of gen_cpu_space and gen_cuda_space, ERR_MEMORY. */
bool tune_space_open(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_space *space, err *e);
/* The same candidates again, none of them loaded. */
bool tune_space_copy(const tune_space *from, tune_space *space, err *e);
/* Unloads what is loaded. A zeroed struct is allowed. */
void tune_space_close(tune_space *space);
#endif
