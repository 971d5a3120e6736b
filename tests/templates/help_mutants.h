/* help_mutants.h: templates with one thing wrong, which the emulator or the oracle must notice. */
#ifndef TESTS_TEMPLATES_HELP_MUTANTS_H
#define TESTS_TEMPLATES_HELP_MUTANTS_H

#include "tests/templates/help_templates.h"

typedef struct help_mutant {
    const char *what;
    const char *file;      /* of templates/ */
    const char *from, *to; /* `from` stands in the file exactly once */
} help_mutant;

/* Builds each mutant for the problem, runs it on the cases, first with cp.async late, then eager, until one run fails.
 * Fails the test where a mutant does not compile or passes all of them, and where the template as it is does not pass.
 */
void help_mutants_run(nha_op op, const gen_problem *problem, const tune_case_spec *cases, int case_count,
                      const help_mutant *mutants, int count);

#endif
