/* pages.h: memory for what is timed, on huge pages where the system gives them: with 4 KiB pages a large part of a streaming
 * kernel's time, and of the bandwidth it is measured against, goes into address translation. */
#ifndef TUNER_PAGES_H
#define TUNER_PAGES_H

#include <stddef.h>

/* At least `bytes`, uninitialised, aligned to 256 bytes, from 2 MiB on to 2 MiB with huge pages advised. free() it. NULL: no memory. */
void *tune_pages(size_t bytes);

#endif
