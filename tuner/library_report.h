/* library_report.h: report.html: one self-contained page on what was built and what was measured. */
#ifndef TUNER_LIBRARY_REPORT_H
#define TUNER_LIBRARY_REPORT_H

#include "base/buf.h"
#include "tuner/library.h"

/* Appends the page. `manifest` supplies the kernels as they stand in the library. The same inputs give the same bytes.
 * Errors: ERR_MEMORY. */
bool tune_report_write(base_buf *out, const tune_library_content *content, const tune_manifest *manifest, err *e);

#endif
