/* help_mutants.h: templates with one thing wrong, which `nhac build` must refuse. */
#ifndef TESTS_TEMPLATES_HELP_MUTANTS_H
#define TESTS_TEMPLATES_HELP_MUTANTS_H

#include "tests/templates/help_templates.h"

typedef struct help_mutant {
    const char *what;
    const char *file;      /* of templates/ */
    const char *from, *to; /* `from` stands in the file exactly once */
} help_mutant;

/* `nhac build` on a spec of the problem with that op alone, for sm_80, with each mutant in turn in the place of its template
 * (NHAC_TEMPLATES): it must be refused because a result is wrong or the emulator reports something, and leave no library. The
 * template as it is must be taken. */
void help_mutants_run(nha_op op, const gen_problem *problem, const help_mutant *mutants, int count);

#endif
