/* help_malloc.h: an allocator that fails when it is told to, for tests that let every allocation fail in turn. A program
 * that names anything of this has it instead of the C library's; under AddressSanitizer nothing fails or is counted. */
#ifndef TESTS_SHARED_HELP_MALLOC_H
#define TESTS_SHARED_HELP_MALLOC_H

#include <stdbool.h>

extern const bool help_malloc_works; /* false: a sanitizer has its own allocator */
extern long help_malloc_left;        /* allocations until the failing one; negative: none fails */
extern long help_malloc_live;        /* blocks not yet freed */

#endif
