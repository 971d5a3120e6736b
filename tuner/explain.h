/* explain.h: what a library's folder tells about a kernel beyond its manifest: its assembly, and why it was chosen. */
#ifndef TUNER_EXPLAIN_H
#define TUNER_EXPLAIN_H

#include "tuner/library.h"

/* The kernel of that name; NULL with ERR_USAGE and the nearest one if there is none. */
const tune_manifest_kernel *tune_explain_find(const tune_library *library, const char *name, err *e);
/* Text of one of its files (source, ptx), malloc'd. Errors: those of tune_library_read. */
char *tune_explain_file(const tune_library *library, const char *file, err *e);
/* Assembly of a CPU kernel made from its source by this nhac's LLVM, malloc'd. Errors: also ERR_COMPILE; ERR_MISSING in
 * a build without LLVM. */
char *tune_explain_assembly(const tune_library *library, const tune_manifest_kernel *kernel, err *e);
/* The measurements behind its place in the library, in words. Errors: those of tune_library_read. */
bool tune_explain_why(const tune_library *library, const tune_manifest_kernel *kernel, FILE *out, err *e);

#endif
