/* space.c: the search space of CUDA kernels: values from the space file, legality from the template. */
#include <stdlib.h>
#include <string.h>

#include "gen/cuda/cuda.h"
#include "gen/space_file.h"

static bool check_names(const char *file, const gen_space_file *space, err *e) {
    for (int i = 0; i < space->count; i++) {
        const gen_space_knob *knob = &space->knob[i];
        if (strlen(knob->name) > GEN_CUDA_KNOB_NAME_MAX)
            return err_at(e, ERR_INPUT, "space", file, knob->line, knob->column, "a knob's name has at most %d letters",
                          GEN_CUDA_KNOB_NAME_MAX);
    }
    return true;
}

static void tile_at(const gen_space_file *space, const int *at, gen_cuda_tile *tile) {
    *tile = (gen_cuda_tile){.count = space->count};
    for (int i = 0; i < space->count; i++) {
        snprintf(tile->knob[i].name, sizeof tile->knob[i].name, "%s", space->knob[i].name);
        tile->knob[i].value = space->knob[i].value[at[i]];
    }
}

bool gen_cuda_space(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                    const gen_cuda_target *target, gen_cuda_visit visit, void *context, err *e) {
    base_arena arena = {0};
    gen_space_file space;
    int at[GEN_SPACE_KNOBS_MAX] = {0};
    bool found = false; /* the default */
    bool ok =
        gen_space_read(files, kernel->space_file, &arena, &space, e) && check_names(kernel->space_file, &space, e);
    while (ok) {
        gen_cuda_tile tile;
        gen_cuda_unit unit;
        tile_at(&space, at, &tile);
        tile.standard = !found;
        ok = gen_cuda_emit(files, kernel, problem, target, &tile, &unit, e);
        if (!ok)
            break;
        bool legal = !unit.reason[0];
        tile.standard = legal && !found;
        found |= legal;
        bool go_on = visit(context, &tile, legal ? NULL : unit.reason);
        gen_cuda_unit_destroy(&unit);
        int i = space.count - 1; /* odometer, last knob fastest */
        while (go_on && i >= 0 && ++at[i] == space.knob[i].count)
            at[i--] = 0;
        if (!go_on || i < 0)
            break;
    }
    base_arena_free(&arena);
    return ok;
}

typedef struct standard {
    gen_cuda_tile *tile;
    bool found;
    char reason[256];
} standard;

static bool take_standard(void *context, const gen_cuda_tile *tile, const char *reason) {
    standard *s = context;
    s->found = !reason;
    if (s->found)
        *s->tile = *tile;
    else
        snprintf(s->reason, sizeof s->reason, "%s", reason);
    return !s->found;
}

bool gen_cuda_tile_default(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                           const gen_cuda_target *target, gen_cuda_tile *tile, err *e) {
    standard s = {.tile = tile};
    const char *reason = kernel->refuses(problem, target);
    if (reason)
        return err_set(e, ERR_MISSING, "space", "%s: %s", target->name, reason);
    if (!gen_cuda_space(files, kernel, problem, target, take_standard, &s, e))
        return false;
    return s.found || err_set(e, ERR_INTERNAL, "space", "%s %s has no legal tile for this problem on %s: %s",
                              gen_op_name(kernel->op), kernel->name, target->name, s.reason);
}
