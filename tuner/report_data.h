/* report_data.h: what a journal says, gathered by op and shape: the candidates, how far each came, and why no further.
 * Shared by report.html and `nhac show --why`. */
#ifndef TUNER_REPORT_DATA_H
#define TUNER_REPORT_DATA_H

#include "gen/spec.h"
#include "tuner/journal.h"
#include "tuner/manifest.h"

typedef struct report_candidate {
    const char *tile;
    const tune_record *status;                         /* verified, rejected or failed; NULL: not known */
    const tune_record *quick, *heat, *final, *refused; /* of this shape; NULL: none */
    const tune_record *last;                           /* the latest stage's, NULL: not timed */
    double ratio, noise; /* of `last`, to the default in the same rounds; its relative standard error */
    double us;           /* median of `last` */
    bool lost;           /* timed, and found wrong or faulting after that */
    bool won;
} report_candidate;

/* One op on one shape on one device. */
typedef struct report_group {
    nha_op op;
    gen_shape shape;
    const tune_origin *origin;    /* NULL: the journal does not say */
    report_candidate *candidates; /* owned; timed ones first, of these the lost last, latest stage first, fastest first */
    int count, timed;
    int stage;                      /* record kind of the latest stage that one reached who is not lost; 0: none */
    const report_candidate *winner; /* NULL: the untuned default */
    double default_us;              /* median beside the winner, or beside the best */
    double limit[3];                /* products Gflop/s, "read" and "update" GB/s; 0: not measured */
    bool tiles;                     /* the products were measured on tiles, not by multiply-adds of vectors */
    char isa[32];                   /* of the candidates, as their names say; "": there is none */
    int64_t legal;                  /* candidates there are; 0: not known */
} report_group;

typedef struct report_data {
    tune_journal journal;
    report_group *groups; /* owned */
    int count;
    int verified, rejected, failed, measurements, refused;
} report_data;

/* Parses and gathers; `manifest` tells which kernels were taken. Errors: ERR_MEMORY; then nothing needs freeing. */
bool report_data_open(const char *text, size_t size, const gen_problem *problem, const tune_manifest *manifest,
                      report_data *data, err *e);
void report_data_free(report_data *data);

/* What limit[0] is of, in words: "avx512 multiply-adds", "products on tiles"; a GPU's: "products". */
void report_units(const report_group *group, char *out, size_t size);

/* Why the winner won, in one or two sentences; returns the length as snprintf does. */
int report_why_won(const report_group *group, char *out, size_t size);
/* Why this candidate did not win, in a few words. */
int report_why_not(const report_group *group, const report_candidate *candidate, char *out, size_t size);

#endif
