/* nearest.c: optimal string alignment distance over three rows, and the choice that minimises it.
 * Source: G. Navarro, "A guided tour to approximate string matching", 2001, section 2. */
#include "base/nearest.h"

#include <ctype.h>
#include <string.h>

enum { MAX_WORD = 64 };

static int min2(int a, int b) {
    return a < b ? a : b;
}

int base_distance(const char *a, const char *b) {
    int rows[3][MAX_WORD + 1];
    int n = (int)strnlen(a, MAX_WORD), m = (int)strnlen(b, MAX_WORD);
    for (int j = 0; j <= m; j++) rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = min2(min2(above[j] + 1, row[j - 1] + 1), above[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && tolower((unsigned char)a[i - 2]) == y)
                row[j] = min2(row[j], above2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *base_nearest(const char *word, const char *const *choices, size_t count) {
    const char *best = NULL;
    int best_distance = 0;
    for (size_t i = 0; i < count; i++) {
        int distance = base_distance(word, choices[i]);
        if (!best || distance < best_distance) {
            best = choices[i];
            best_distance = distance;
        }
    }
    return best;
}
