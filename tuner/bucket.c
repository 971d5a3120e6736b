/* bucket.c: see bucket.h. Counts are small (GEN_SHAPES_MAX), so neighbours are found by looking at all. */
#include "tuner/bucket.h"

#include <math.h>

enum { REACH = 8, LENGTH_REACH = 64 };

static int64_t length_of(const gen_shape *s) {
    return s->op == NHA_DECODE ? 1 : s->tokens;
}

/* Last value that belongs to `low` where `high` is the next above it. */
static int64_t between(int64_t low, int64_t high) {
    int64_t middle = (int64_t)floor(sqrt((double)low) * sqrt((double)high));
    return middle < low ? low : middle >= high ? high - 1 : middle;
}

static int64_t times(int64_t value, int64_t factor) {
    return value > INT64_MAX / factor ? INT64_MAX : value * factor;
}

/* Range of values[self] among the values for which use[] holds. */
static void range(const int64_t *values, const bool *use, int count, int self, int64_t reach_above, int64_t *min,
                  int64_t *max) {
    int64_t value = values[self], below = 0, above = 0;
    for (int i = 0; i < count; i++) {
        if (!use[i])
            continue;
        if (values[i] < value && values[i] > below)
            below = values[i];
        if (values[i] > value && (above == 0 || values[i] < above))
            above = values[i];
    }
    *min = below ? between(below, value) + 1 : value / REACH < 1 ? 1 : value / REACH;
    *max = above ? between(value, above) : times(value, reach_above);
}

int tune_buckets(const gen_problem *problem, const gen_shape *shapes, int count, nha_op op, tune_bucket *out) {
    int64_t lengths[GEN_SHAPES_MAX], tasks[GEN_SHAPES_MAX];
    bool all[GEN_SHAPES_MAX], same[GEN_SHAPES_MAX];
    int n = 0;
    for (int i = 0; i < count && n < GEN_SHAPES_MAX; i++) {
        if (shapes[i].op != (int)op)
            continue;
        int64_t length = length_of(&shapes[i]), task = times(shapes[i].batch, problem->nha.heads_kv);
        bool known = false;
        for (int j = 0; j < n; j++)
            known = known || (lengths[j] == length && tasks[j] == task);
        if (known)
            continue;
        out[n].shape = shapes[i];
        lengths[n] = length;
        tasks[n] = task;
        all[n++] = true;
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            same[j] = lengths[j] == lengths[i];
        range(tasks, same, n, i, REACH, &out[i].min_tasks, &out[i].max_tasks);
        if (op == NHA_DECODE)
            out[i].min_length = out[i].max_length = 1;
        else
            range(lengths, all, n, i, LENGTH_REACH, &out[i].min_length, &out[i].max_length);
    }
    return n;
}

bool tune_bucket_holds(const tune_bucket *b, const gen_problem *problem, int64_t sequences, int64_t length) {
    int64_t tasks = times(sequences, problem->nha.heads_kv);
    return tasks >= b->min_tasks && tasks <= b->max_tasks && length >= b->min_length && length <= b->max_length;
}
