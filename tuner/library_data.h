/* library_data.h: loads the library of an object without code (all its kernels are for GPUs), with no linker and no
 * LLVM. */
#ifndef TUNER_LIBRARY_DATA_H
#define TUNER_LIBRARY_DATA_H

#include "base/elf_load.h"
#include "runtime/nha_library.h"

/* Loads the object and returns nha_library_C of it, c_name = C, which lives as long as the image. The bytes are hostile
 * until checked: every pointer of the table leads to what it says, in whole and in the image; nha_library_check has
 * passed. Errors: ERR_INPUT, ERR_MEMORY; then the result is NULL and *image zeroed. Thread-safe. */
const nha_library *tune_data_load(const void *object, size_t size, const char *c_name, elf_image *image, err *e);

#endif
