/* find.h: what of the outside world is there: programs, drivers, compilers. Nothing is run, nothing is needed. */
#ifndef TUNER_FIND_H
#define TUNER_FIND_H

#include <stdbool.h>
#include <stddef.h>

/* Full path of a program on PATH. */
bool tune_find_program(const char *name, char *out, size_t size);
/* Whether the dynamic linker finds a library; its version through `version_symbol` (int f(int *)), 0 if that is NULL or
 * fails. */
bool tune_find_library(const char *name, const char *version_symbol, int *version);
/* Whether files can be made in a folder, or in the nearest folder above it that is there. */
bool tune_find_writable(const char *folder);

#endif
