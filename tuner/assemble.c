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

/* The last of owned. */
static void drop(tune_assembly *a) {
    tune_candidate *c = a->owned[--a->owned_count];
    tune_candidate_unload(c);
    free(c);
}

/* The loaded, verified candidate of this tile, made if it is not there yet; its place in owned, -1 on an error. One
 * that does not verify is an ERR_MISMATCH or ERR_COMPILE, and is not kept. */
static int obtain(tune_assembly *a, nha_op op, const tune_arch *arch, const tune_tile *tile,
                  const tune_prepare_options *options, err *e) {
    for (int i = 0; i < a->owned_count; i++) {
        const tune_candidate *c = a->owned[i];
        if (c->op == op && tune_arch_same(&c->arch, arch) && tune_tile_same(&c->tile, tile))
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
    tune_candidate_init(c, a->problem, op, arch, tile, 0);
    a->owned[a->owned_count] = c;
    a->sources[a->owned_count] = NULL;
    int place = a->owned_count++;
    if (!tune_prepare(&c, 1, options, e))
        return -1;
    if (c->status != TUNE_VERIFIED) {
        err_set(e, c->status == TUNE_REJECTED ? ERR_MISMATCH : ERR_COMPILE, "verify", "%s: %s", c->string, c->why);
        drop(a);
        return -1;
    }
    if (options->device->forget) /* it will not run again */
        options->device->forget(options->device, &c->library);
    a->sources[place] = tune_candidate_source(c, e);
    if (!a->sources[place]) {
        drop(a);
        return -1;
    }
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
    tune_library_kernel *row = &a->kernels[a->kernel_count++];
    *row = (tune_library_kernel){
        .name = c->name,
        .op = c->op,
        .kind = tune_arch_kind(&c->arch),
        .target = tune_arch_name(&c->arch),
        .rank = rank,
        .min_tasks = range ? range->min_tasks : 0,
        .max_tasks = range ? range->max_tasks : INT64_MAX,
        .min_length = range ? range->min_length : 0,
        .max_length = range ? range->max_length : INT64_MAX,
        .source = a->sources[place],
    };
    if (c->arch.cuda) {
        row->cuda = &c->cuda->unit.code;
        row->cubin = c->cuda->image.cubin;
        row->cubin_size = c->cuda->image.cubin_size;
        row->ptx = c->cuda->image.ptx;
        row->ptx_size = strlen(c->cuda->image.ptx);
        row->resources = c->cuda->image.kernels;
        row->resource_count = c->cuda->image.kernel_count;
        return true;
    }
    row->cpu_features = c->arch.isa->needs;
    row->symbol_main = c->symbol_main;
    row->symbol_delta = c->symbol_delta;
    row->symbol_scan = c->symbol_scan;
    row->code = c->cpu;
    row->object = c->object.bytes;
    row->object_size = c->object.size;
    row->spills = c->object.spills;
    row->loop_spills = c->object.loop_spills;
    return true;
}

static bool add_default(tune_assembly *a, nha_op op, const tune_arch *arch, int rank,
                        const tune_prepare_options *options, err *e) {
    tune_tile tile;
    if (!tune_default_tile(a->problem, op, arch, &tile, e))
        return false;
    int place = obtain(a, op, arch, &tile, options, e);
    return place >= 0 && add(a, place, rank, NULL, e);
}

bool tune_assemble_defaults(tune_assembly *a, nha_op op, const tune_arch *arch, const tune_prepare_options *options,
                            err *e) {
    int count, rank = TUNE_RANK_DEFAULT;
    const gen_isa *table = gen_isa_table(&count);
    if (arch->cuda)
        return add_default(a, op, arch, rank, options, e);
    for (int i = count - 1; i >= 0; i--) { /* the table has the worst first */
        const tune_arch isa = {.isa = &table[i]};
        if (gen_cpu_serves(a->problem, op, &table[i]) != &table[i])
            continue;
        if (options->device->runs(options->device, &isa) && !add_default(a, op, &isa, rank++, options, e))
            return false;
    }
    return true;
}

/* Whether what *e says is a candidate's own failure: it is then the candidate's, and *e is clear. */
static bool is_its_own(tune_candidate *c, err *e) {
    if (e->code != ERR_MISMATCH && e->code != ERR_COMPILE)
        return false;
    size_t named = strlen(c->string);
    const char *why =
        strncmp(e->text, c->string, named) == 0 ? e->text + named + strspn(e->text + named, ": ") : e->text;
    c->status = e->code == ERR_MISMATCH ? TUNE_REJECTED : TUNE_FAILED;
    snprintf(c->why, sizeof c->why, "when it was verified for the library: %.200s", why);
    err_clear(e);
    return true;
}

bool tune_assemble_winner(tune_assembly *a, tune_search *s, int bucket, const tune_prepare_options *options,
                          double deadline, int *winner, err *e) {
    for (;;) {
        *winner = tune_search_choose(s, bucket);
        tune_candidate *c = &s->space.candidates[*winner];
        if (c->order == 0)
            return true;
        int place = obtain(a, c->op, &c->arch, &c->tile, options, e);
        if (place >= 0)
            return add(a, place, TUNE_RANK_TUNED, &s->buckets[bucket], e);
        if (!is_its_own(c, e))
            return false;
        bool more = s->clock.now(s->clock.context) < deadline;
        tune_progress_line(s->progress, "note: %s: %s had won, and is out %s; %s", gen_op_name(c->op), c->string,
                           c->why, more ? "the next best has its turn" : "the time is up: the default stays");
        if (!tune_search_lose(s, c, e))
            return false;
        if (!more) {
            *winner = 0;
            return true;
        }
    }
}
