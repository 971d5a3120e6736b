/* progress.h: what a long command tells while it works: one line that is redrawn on a terminal, plain lines now and
 * then elsewhere. */
#ifndef TUNER_PROGRESS_H
#define TUNER_PROGRESS_H

#include <stdio.h>

#include "tuner/measure.h"

typedef struct tune_progress {
    FILE *out; /* NULL: silent */
    tune_clock clock;
    bool terminal;
    double shown; /* when the last line was printed */
    int width;    /* characters on the terminal's line now */
} tune_progress;

/* out may be NULL. A terminal is recognised by isatty and TERM other than "dumb". */
void tune_progress_open(tune_progress *p, FILE *out, tune_clock clock);
/* A line that the next one replaces; elsewhere than on a terminal at most one every 5 s is printed. */
void tune_progress_update(tune_progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line that stays. */
void tune_progress_line(tune_progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Clears the line on a terminal. */
void tune_progress_close(tune_progress *p);

#endif
