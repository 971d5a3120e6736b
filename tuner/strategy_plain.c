/* strategy_plain.c: search without a model, to compare with. */
#include <limits.h>

#include "tuner/search.h"

int tune_strategy_exhaustive(tune_search *s, int *places, int most) {
    int count = 0, last = -1;
    while (count < most) { /* by selection: the space is held in shuffled order */
        int pick = -1, order = INT_MAX;
        for (int i = 1; i < s->space.count; i++) {
            int mine = s->space.candidates[i].order;
            if (mine > last && mine < order && !tune_search_explored(s, i)) {
                order = mine;
                pick = i;
            }
        }
        if (pick < 0)
            break;
        last = order;
        places[count++] = pick;
    }
    return count;
}

int tune_strategy_random(tune_search *s, int *places, int most) {
    int count = 0;
    for (int i = 1; i < s->space.count && count < most; i++)
        if (!tune_search_explored(s, i))
            places[count++] = i;
    return count;
}
