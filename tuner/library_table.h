/* library_table.h: the dispatch table of a library, nha_library_NAME, as a constant in a relocatable object. */
#ifndef TUNER_LIBRARY_TABLE_H
#define TUNER_LIBRARY_TABLE_H

#include "tuner/library.h"

/* Makes the object with the structs of runtime/nha_library.h for kernels[count], in this order; it refers to the
 * kernels' functions as hidden symbols, exports nha_library_NAME alone, and holds no code. It is for the architecture
 * of the kernels. */
bool tune_table_make(const gen_problem *problem, const tune_library_kernel *const *kernels, int count,
                     jit_object *object, err *e);

#endif
