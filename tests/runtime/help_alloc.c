/* help_alloc.c: stands in the place of runtime/alloc.c. See help_alloc.h. */
#include "tests/runtime/help_alloc.h"

#include <stdlib.h>

#include "runtime/internal.h"

atomic_int help_allocations_left = -1, help_allocations_live;

void *nhr_alloc(size_t bytes) {
    if (help_allocations_left == 0)
        return NULL;
    if (help_allocations_left > 0)
        help_allocations_left--;
    help_allocations_live++;
    return calloc(1, bytes);
}

void nhr_free(void *memory) {
    if (memory)
        help_allocations_live--;
    free(memory);
}
