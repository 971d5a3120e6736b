/* no_llvm.c: what a build without LLVM says of it. */
#include "jit/jit.h"

const char *jit_llvm_version(void) {
    return "";
}
