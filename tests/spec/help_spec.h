/* help_spec.h: for tests of bad specs: a text with a mark where the error must point. */
#ifndef TESTS_SPEC_HELP_SPEC_H
#define TESTS_SPEC_HELP_SPEC_H

#include "gen/spec.h"

/* Parses `text` without the '@' in it and expects an error that points to where it stood and whose text is or begins
 * with `message`. */
void expect_bad(const char *text, const char *message);

#endif
