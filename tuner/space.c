/* space.c: enumerate, prune, shuffle. The shuffle keeps neighbours, which perform alike, from being looked at together.
 */
#include "tuner/space.h"

#include <stdlib.h>
#include <string.h>

#include "tuner/case.h"

typedef struct collector {
    const gen_problem *problem;
    nha_op op;
    const gen_isa *isa;
    tune_space *space;
    int capacity;
    int64_t seen;
    tune_random random;
    bool no_memory;
} collector;

int tune_tile_distance(const gen_tile *a, const gen_tile *b) {
    int different = 0;
    for (int k = 0; k < GEN_CPU_KNOB_COUNT; k++)
        different += a->knob[k] != b->knob[k];
    return different;
}

/* Keeps every tile up to TUNE_SPACE_MAX; of more, a sample in which each is as likely (reservoir sampling). */
static bool append(collector *c, const gen_tile *tile) {
    tune_space *s = c->space;
    int64_t place = c->seen++;
    if (s->count == TUNE_SPACE_MAX) {
        place = tune_random_between(&c->random, 1, place);
        if (place >= TUNE_SPACE_MAX)
            return true;
    } else if (s->count == c->capacity) {
        int capacity = c->capacity ? 2 * c->capacity : 256;
        tune_candidate *grown = realloc(s->candidates, (size_t)capacity * sizeof *grown);
        if (!grown) {
            c->no_memory = true;
            return false;
        }
        s->candidates = grown;
        c->capacity = capacity;
    }
    tune_candidate_init(&s->candidates[place], c->problem, c->op, c->isa, tile, (int)(c->seen - 1));
    s->count += place == s->count;
    return true;
}

static void count_reason(tune_space *s, const char *reason) {
    s->pruned++;
    int i = 0;
    while (i < s->reason_count && strcmp(s->reasons[i].text, reason) != 0)
        i++;
    if (i == TUNE_REASONS_MAX)
        return;
    if (i == s->reason_count) {
        s->reason_count++;
        s->reasons[i].text = reason;
        s->reasons[i].count = 0;
    }
    s->reasons[i].count++;
}

static bool visit(void *context, const gen_tile *tile, const char *reason) {
    collector *c = context;
    if (reason) {
        count_reason(c->space, reason);
        return true;
    }
    return tune_tile_distance(tile, &c->space->candidates[0].tile) == 0 || append(c, tile);
}

bool tune_space_open(const gen_problem *problem, nha_op op, const gen_isa *isa, tune_space *space, err *e) {
    memset(space, 0, sizeof *space);
    collector c = {.problem = problem, .op = op, .isa = isa, .space = space, .random = {20251007}};
    gen_tile first;
    gen_tile_default(problem, op, isa, &first);
    if (!append(&c, &first) || !gen_cpu_space(problem, op, isa, visit, &c, e) || c.no_memory) {
        tune_space_close(space);
        return c.no_memory ? err_memory(e, "search") : err_set(e, ERR_INTERNAL, "search", "no search space");
    }
    for (int i = space->count - 1; i > 1; i--) {
        int j = (int)tune_random_between(&c.random, 1, i);
        tune_candidate swap = space->candidates[i];
        space->candidates[i] = space->candidates[j];
        space->candidates[j] = swap;
    }
    return true;
}

void tune_space_close(tune_space *space) {
    for (int i = 0; i < space->count; i++)
        tune_candidate_unload(&space->candidates[i]);
    free(space->candidates);
    memset(space, 0, sizeof *space);
}
