/* assemble.c: see assemble.h. Rows borrow from the candidates, which are heap-allocated because a loaded one may not
 * move. */
#include "tuner/assemble.h"

#include <stdlib.h>
#include <string.h>

#include "tuner/debug.h"

void tune_assembly_init(tune_assembly *a, const gen_problem *problem) {
    memset(a, 0, sizeof *a);
    a->problem = problem;
}

void tune_assembly_free(tune_assembly *a) {
    for (int i = 0; i < a->owned_count; i++) {
        tune_candidate_unload(a->owned[i]);
        free(a->owned[i]);
        free(a->sources[i]);
    }
    free(a->kernels);
    memset(a, 0, sizeof *a);
}

/* The loaded, verified candidate of this tile, made if it is not there yet; its place in owned, -1 on an error. */
static int obtain(tune_assembly *a, nha_op op, const gen_isa *isa, const gen_tile *tile,
                  const tune_prepare_options *options, err *e) {
    for (int i = 0; i < a->owned_count; i++) {
        const tune_candidate *c = a->owned[i];
        if (c->op == op && c->isa == isa && memcmp(&c->tile, tile, sizeof *tile) == 0)
            return i;
    }
    if (a->owned_count == TUNE_ASSEMBLY_MAX) {
        err_set(e, ERR_INTERNAL, "library", "more kernels than a library holds");
        return -1;
    }
    tune_candidate *c = calloc(1, sizeof *c);
    if (!c) {
        err_memory(e, "library");
        return -1;
    }
    tune_candidate_init(c, a->problem, op, isa, tile, 0);
    a->owned[a->owned_count] = c;
    a->sources[a->owned_count] = NULL;
    int place = a->owned_count++;
    if (!tune_prepare(&c, 1, options, e))
        return -1;
    if (c->status != TUNE_VERIFIED) {
        err_set(e, c->status == TUNE_REJECTED ? ERR_MISMATCH : ERR_COMPILE, "verify", "%s: %s", c->string, c->why);
        return -1;
    }
    a->sources[place] = tune_candidate_source(c, e);
    if (!a->sources[place])
        return -1;
    if (tune_debug(TUNE_DEBUG_SOURCE))
        fprintf(stderr, "%s\n", a->sources[place]);
    return place;
}

static bool add(tune_assembly *a, int place, int rank, const tune_bucket *range, err *e) {
    if (a->kernel_count == a->kernel_capacity) {
        int capacity = a->kernel_capacity ? 2 * a->kernel_capacity : 16;
        tune_library_kernel *grown = realloc(a->kernels, (size_t)capacity * sizeof *grown);
        if (!grown)
            return err_memory(e, "library");
        a->kernels = grown;
        a->kernel_capacity = capacity;
    }
    const tune_candidate *c = a->owned[place];
    a->kernels[a->kernel_count++] = (tune_library_kernel){
        .name = c->name,
        .op = c->op,
        .isa = c->isa,
        .rank = rank,
        .min_tasks = range ? range->min_tasks : 0,
        .max_tasks = range ? range->max_tasks : INT64_MAX,
        .min_length = range ? range->min_length : 0,
        .max_length = range ? range->max_length : INT64_MAX,
        .symbol_main = c->symbol_main,
        .symbol_delta = c->symbol_delta,
        .symbol_scan = c->symbol_scan,
        .code = c->cpu,
        .object = c->object.bytes,
        .object_size = c->object.size,
        .spills = c->object.spills,
        .loop_spills = c->object.loop_spills,
        .source = a->sources[place],
    };
    return true;
}

bool tune_assemble_defaults(tune_assembly *a, nha_op op, const tune_prepare_options *options, err *e) {
    int count, rank = TUNE_RANK_DEFAULT;
    const gen_isa *table = gen_isa_table(&count);
    for (int i = count - 1; i >= 0; i--) { /* the table has the worst first */
        if (!options->device->runs(&table[i]))
            continue;
        gen_tile tile;
        gen_tile_default(a->problem, op, &table[i], &tile);
        int place = obtain(a, op, &table[i], &tile, options, e);
        if (place < 0 || !add(a, place, rank++, NULL, e))
            return false;
    }
    return true;
}

bool tune_assemble_winner(tune_assembly *a, const tune_candidate *winner, const tune_bucket *bucket,
                          const tune_prepare_options *options, err *e) {
    if (winner->order == 0)
        return true;
    int place = obtain(a, winner->op, winner->isa, &winner->tile, options, e);
    return place >= 0 && add(a, place, TUNE_RANK_TUNED, bucket, e);
}
