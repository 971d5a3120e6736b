/* alloc.c: every allocation of libnha. Nothing else may stand here: the allocation test replaces this file. */
#include <stdlib.h>

#include "runtime/internal.h"

void *nhr_alloc(size_t bytes) {
    return calloc(1, bytes);
}

void nhr_free(void *memory) {
    free(memory);
}
