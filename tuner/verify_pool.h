/* verify_pool.h: cache rows laid out by hand, as nha_library.h describes them, for kernels that are called without
 * libnha.
 */
#ifndef TUNER_VERIFY_POOL_H
#define TUNER_VERIFY_POOL_H

#include "runtime/nha_library.h"
#include "tuner/case.h"
#include "tuner/verify_guard.h"

typedef struct verify_pool {
    const tune_case *test;
    nha_cpu_cache cache; /* to be passed to the kernel; one row a sequence, in reverse order */
    guard_buffer rows;
    char *before; /* the rows as they were */
    int32_t *index;
    float *packed; /* of one head, for the check */
} verify_pool;

/* The caches that the case starts from; what is undefined is poison. False: no memory. */
bool verify_pool_create(const tune_case *test, int poison, verify_pool *pool);
void verify_pool_destroy(verify_pool *pool);
/* After a prefill's main: positions and rings as they were, the memory that of hk, hv ([N,H,M,K], [N,H,M,V]), its
 * padding zero. NULL, or a static text of what is wrong. */
const char *verify_pool_check(const verify_pool *pool, const float *hk, const float *hv);

#endif
