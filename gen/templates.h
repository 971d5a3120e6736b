/* templates.h: the files of templates/: those built in, or, for whoever writes templates, those of a folder. */
#ifndef GEN_TEMPLATES_H
#define GEN_TEMPLATES_H

#include "base/err.h"
#include "gen/embedded.h"

/* Built-in files; with $NHAC_TEMPLATES set, each of them that is there is taken from that folder instead. Decided at
 * the first call; lives as long as the process. Thread-safe. Errors: ERR_SYSTEM for a folder or file that cannot be
 * read, ERR_MEMORY: NULL, then and ever after. */
const gen_embedded *gen_templates(err *e);

#endif
