/* help_alloc.h: libnha's allocations in tests: counted, and refused from some number on. */
#ifndef TESTS_RUNTIME_HELP_ALLOC_H
#define TESTS_RUNTIME_HELP_ALLOC_H

#include <stdatomic.h>

extern atomic_int help_allocations_left; /* 0: the next one fails; -1: no limit */
extern atomic_int help_allocations_live; /* not yet freed */

#endif
