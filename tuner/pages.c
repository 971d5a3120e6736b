/* pages.c: huge pages by advice. */
#include "tuner/pages.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20, SMALL_ALIGN = 256 /* NHA_WORKSPACE_ALIGN: pools are among it */ };

void *tune_pages(size_t bytes) {
    void *p = NULL;
    size_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : SMALL_ALIGN;
    if (bytes > (size_t)-1 - align || posix_memalign(&p, align, (bytes + align - 1) / align * align + (bytes ? 0 : align)))
        return NULL;
    if (align == HUGE_BYTES)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* refused: 4 KiB pages, slower */
    return p;
}
