/* help_malloc.c: see help_malloc.h. */
#include "tests/shared/help_malloc.h"

#include <errno.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

long help_malloc_left = -1, help_malloc_live;

#ifdef SANITIZED
const bool help_malloc_works = false;
#else
const bool help_malloc_works = true;

/* glibc's own allocator under other names (its manual, "Replacing malloc"): the functions below stand before the C
 * library's, for its own calls too, so they must be visible from outside this program. */
#pragma GCC visibility push(default)
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static bool fails(void) {
    if (help_malloc_left < 0 || help_malloc_left-- > 0)
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *p) {
    help_malloc_live += p != NULL;
    return p;
}

void *malloc(size_t size) {
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size) {
    if (fails())
        return NULL;
    void *p = __libc_realloc(old, size);
    help_malloc_live += p && !old;
    return p;
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

void free(void *p) {
    help_malloc_live -= p != NULL;
    __libc_free(p);
}
#pragma GCC visibility pop
#endif
