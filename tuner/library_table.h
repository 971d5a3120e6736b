/* library_table.h: the dispatch table of a library, nha_library_NAME, as a constant in a relocatable object. */
#ifndef TUNER_LIBRARY_TABLE_H
#define TUNER_LIBRARY_TABLE_H

#include "base/buf.h"
#include "tuner/library.h"

/* Appends to `object` an ELF object with the structs of runtime/nha_library.h for kernels[count], count >= 1, in this
 * order, for the architecture of the LLVM triple ("x86_64-..." or "aarch64-..."). It refers to the functions of CPU
 * kernels as hidden symbols, holds the cubins and the PTX of CUDA kernels (rows with equal bytes share them), exports
 * nha_library_NAME alone and has no code. The same kernels give the same bytes. No compiler is needed. Thread-safe.
 * Errors: ERR_INTERNAL (another architecture; more than ELF_OBJECT_BYTES_MAX), ERR_MEMORY. */
bool tune_table_make(const gen_problem *problem, const tune_library_kernel *const *kernels, int count,
                     int32_t min_driver_version, const char *triple, base_buf *object, err *e);

#endif
