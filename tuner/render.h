/* render.h: writes kernel sources without compiling anything: the work of `nhac gen`. */
#ifndef TUNER_RENDER_H
#define TUNER_RENDER_H

#include "gen/spec.h"

/* Writes FOLDER/NAME/src/KERNEL.ll for each op of the spec: the default of every ISA of this kind of processor, with
 * `all` every legal candidate. A file that is there with other contents in the folder of a finished library is not
 * replaced: ERR_INPUT. *count: files. Errors also: ERR_SYSTEM, ERR_MEMORY, those of gen_cpu_emit. */
bool tune_render(const gen_spec *spec, const char *folder, bool all, int *count, err *e);

#endif
