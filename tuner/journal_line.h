/* journal_line.h: one record as one line of JSON with a checksum, and back. */
#ifndef TUNER_JOURNAL_LINE_H
#define TUNER_JOURNAL_LINE_H

#include "tuner/journal.h"

typedef enum tune_line {
    TUNE_LINE_DAMAGED,
    TUNE_LINE_FOREIGN, /* intact, of another version */
    TUNE_LINE_RECORD,
    TUNE_LINE_ORIGIN
} tune_line;

/* Appends the line, its end included. A failure is sticky in `out`. */
void tune_line_write(base_buf *out, const tune_record *record, const char *verified_by, const char *timed_by);
void tune_line_write_origin(base_buf *out, const tune_origin *origin);
/* Reads a line without its end; fills *record or *origin (whose problem is malloc'd). Hostile input is a damaged line.
 */
tune_line tune_line_read(const char *line, size_t length, tune_record *record, tune_origin *origin);

#endif
