/* render.h: writes kernel sources without compiling anything: the work of `nhac gen`. */
#ifndef TUNER_RENDER_H
#define TUNER_RENDER_H

#include "gen/spec.h"

/* Writes the sources of the kernels of each op of the spec, for its targets (or, where there are any, those given
 * instead), into FOLDER/NAME/src: cpu: OP.ISA.KNOBS.ll, the default of every ISA of this kind of processor; GPUs:
 * OP.TARGET.KERNEL.KNOBS.cu, the default of every kernel variant; with `all` every legal candidate. A file that is there
 * with other contents in the folder of a finished library is not replaced: ERR_INPUT. *count: files. Errors also:
 * ERR_USAGE for a word that is no target, ERR_SYSTEM, ERR_MEMORY, those of gen_cpu_emit and gen_cuda_emit. */
bool tune_render(const gen_spec *spec, const char *const *targets, int target_count, const char *folder, bool all,
                 int *count, err *e);

#endif
