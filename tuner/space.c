/* space.c: enumerate, prune, shuffle. The shuffle keeps neighbours, which perform alike, from being looked at together.
 */
#include "tuner/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/templates.h"
#include "tuner/case.h"

typedef struct collector {
    const gen_problem *problem;
    nha_op op;
    tune_arch arch;
    const gen_cuda_kernel *variant; /* CUDA: whose tiles are being listed */
    tune_space *space;
    int capacity;
    int64_t seen;
    tune_random random;
    bool no_memory;
} collector;

/* Keeps every tile up to TUNE_SPACE_MAX; of more, a sample in which each is as likely (reservoir sampling). */
static bool append(collector *c, const tune_tile *tile) {
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
    tune_candidate_init(&s->candidates[place], c->problem, c->op, &c->arch, tile, (int)(c->seen - 1));
    s->count += place == s->count;
    return true;
}

static void count_reason(tune_space *s, const char *reason) {
    s->pruned++;
    int i = 0;
    while (i < s->reason_count && strncmp(s->reasons[i].text, reason, sizeof s->reasons[i].text - 1) != 0)
        i++;
    if (i == TUNE_REASONS_MAX)
        return;
    if (i == s->reason_count) {
        s->reason_count++;
        snprintf(s->reasons[i].text, sizeof s->reasons[i].text, "%s", reason);
        s->reasons[i].count = 0;
    }
    s->reasons[i].count++;
}

static bool visit(collector *c, const tune_tile *tile, const char *reason) {
    if (reason) {
        count_reason(c->space, reason);
        return true;
    }
    return tune_tile_same(tile, &c->space->candidates[0].tile) || append(c, tile);
}

static bool visit_cpu(void *context, const gen_tile *tile, const char *reason) {
    const tune_tile wrapped = {.cpu = *tile};
    return visit(context, &wrapped, reason);
}

static bool visit_cuda(void *context, const gen_cuda_tile *tile, const char *reason) {
    collector *c = context;
    const tune_tile wrapped = {.variant = c->variant, .cuda = *tile};
    return visit(c, &wrapped, reason);
}

/* The tiles of every CUDA variant that takes the problem. */
static bool enumerate_cuda(collector *c, err *e) {
    int count;
    const gen_embedded *files = gen_templates(e);
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&count);
    bool ok = files != NULL;
    for (int i = 0; ok && i < count; i++) {
        if (kernels[i].op != c->op || kernels[i].refuses(c->problem, c->arch.cuda))
            continue;
        c->variant = &kernels[i];
        ok = gen_cuda_space(files, &kernels[i], c->problem, c->arch.cuda, visit_cuda, c, e);
    }
    return ok;
}

static bool enumerate(collector *c, err *e) {
    tune_tile first;
    if (!tune_default_tile(c->problem, c->op, &c->arch, &first, e))
        return false;
    bool ok = append(c, &first);
    if (ok)
        ok = c->arch.cuda ? enumerate_cuda(c, e) : gen_cpu_space(c->problem, c->op, c->arch.isa, visit_cpu, c, e);
    return c->no_memory ? err_memory(e, "search") : ok || err_set(e, ERR_INTERNAL, "search", "no search space");
}

bool tune_space_open(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_space *space, err *e) {
    memset(space, 0, sizeof *space);
    collector c = {.problem = problem, .op = op, .arch = *arch, .space = space, .random = {20251007}};
    if (!enumerate(&c, e)) {
        tune_space_close(space);
        return false;
    }
    for (int i = space->count - 1; i > 1; i--) {
        int j = (int)tune_random_between(&c.random, 1, i);
        tune_candidate swap = space->candidates[i];
        space->candidates[i] = space->candidates[j];
        space->candidates[j] = swap;
    }
    return true;
}

bool tune_space_copy(const tune_space *from, tune_space *space, err *e) {
    *space = *from;
    space->candidates = malloc(((size_t)from->count + 1) * sizeof *space->candidates);
    if (!space->candidates) {
        memset(space, 0, sizeof *space);
        return err_memory(e, "search");
    }
    for (int i = 0; i < from->count; i++) {
        const tune_candidate *c = &from->candidates[i];
        tune_candidate_init(&space->candidates[i], c->problem, c->op, &c->arch, &c->tile, c->order);
        memcpy(space->candidates[i].string, c->string, sizeof c->string);
    }
    return true;
}

void tune_space_close(tune_space *space) {
    for (int i = 0; i < space->count; i++)
        tune_candidate_unload(&space->candidates[i]);
    free(space->candidates);
    memset(space, 0, sizeof *space);
}
