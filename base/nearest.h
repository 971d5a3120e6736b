/* nearest.h: the nearest valid choice, for error messages about a word that is not one. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

/* Smallest number of single-letter changes, insertions, deletions and swaps of neighbours that turns a into b (optimal
 * string alignment), letters compared without case. Only the first 64 bytes of each count. */
int base_distance(const char *a, const char *b);
/* The choice with the smallest distance to `word`, the earlier one on a tie; NULL if count is 0. */
const char *base_nearest(const char *word, const char *const *choices, size_t count);

#endif
