/* device_replay.c: see device_replay.h. */
#include "tuner/device_replay.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/case.h"

typedef struct replay {
    const tune_journal *journal;
    double time; /* seconds */
    int threads;
} replay;

typedef struct replay_workload {
    tune_workload head;
    gen_shape shape;
    nha_op op;
} replay_workload;

typedef struct replay_runner {
    tune_runner head;
    replay *state;
    const tune_record *record; /* the nearest to the shape; NULL: the default, always as long */
    const tune_record *other;  /* of the same tile and shape tuned for, another stage; NULL: none */
    double base_us;
    int turn;
} replay_runner;

static replay *state_of(const tune_device *d) {
    return d->state;
}

/* ---- Records ---- */

static double tokens_of(int64_t batch, int64_t tokens) {
    return (double)(batch > 0 ? batch : 1) * (double)(tokens > 0 ? tokens : 1);
}

/* How far what a record timed is from a shape: octaves of tokens; another number of threads is further than any. */
static double distance(const tune_record *r, const gen_shape *shape, int threads) {
    double octaves = fabs(log2(tokens_of(r->timed_batch, r->timed_tokens) / tokens_of(shape->batch, shape->tokens)));
    return octaves + (r->threads != threads ? 100 : 0);
}

/* Of a tile ("": of anyone) the record nearest to a shape; of equals the latest. */
static const tune_record *nearest(const replay *p, nha_op op, const char *tile, const gen_shape *shape, int threads) {
    const tune_record *found = NULL;
    for (size_t i = 0; i < p->journal->count; i++) {
        const tune_record *r = &p->journal->records[i];
        if (!tune_record_timed(r->kind) || r->op != (int)op || r->samples.count == 0 || r->base.count == 0)
            continue;
        if (tile[0] && strcmp(r->tile, tile) != 0)
            continue;
        if (!found || distance(r, shape, threads) <= distance(found, shape, threads))
            found = r;
    }
    return found;
}

/* A first impression of the same tile for the same shape. */
static const tune_record *other_stage(const replay *p, const tune_record *r) {
    const tune_record *q =
        tune_journal_timed(p->journal, TUNE_RECORD_QUICK, (nha_op)r->op, r->tile, r->batch, r->tokens);
    return q && q->samples.count > 0 && q->base.count > 0 ? q : NULL;
}

/* What the default takes on a shape: the mean of its medians over the records of the nearest shape. */
static double base_us(const replay *p, nha_op op, const gen_shape *shape, int threads) {
    const tune_record *like = nearest(p, op, "", shape, threads);
    double sum = 0;
    int count = 0;
    for (size_t i = 0; like && i < p->journal->count; i++) {
        const tune_record *r = &p->journal->records[i];
        if (r->kind != like->kind || r->op != like->op || r->timed_batch != like->timed_batch ||
            r->timed_tokens != like->timed_tokens || r->threads != like->threads || r->base.count == 0)
            continue;
        sum += tune_median(&r->base);
        count++;
    }
    if (count == 0)
        return 0;
    return sum / count * tokens_of(shape->batch, shape->tokens) / tokens_of(like->timed_batch, like->timed_tokens);
}

static const tune_record *status_of(const replay *p, nha_op op, const char *tile) {
    const tune_record *r = tune_journal_find(p->journal, TUNE_RECORD_VERIFIED, op, tile);
    if (!r)
        r = tune_journal_find(p->journal, TUNE_RECORD_REJECTED, op, tile);
    return r ? r : tune_journal_find(p->journal, TUNE_RECORD_FAILED, op, tile);
}

double tune_replay_ratio(const tune_device *d, nha_op op, const char *tile, const gen_shape *shape) {
    static const int kinds[] = {TUNE_RECORD_FINAL, TUNE_RECORD_HEAT, TUNE_RECORD_QUICK};
    const replay *p = state_of(d);
    const tune_record *status = status_of(p, op, tile);
    if (status && status->order == 0)
        return 1;
    double worst = 0;
    for (int k = 0; k < 3; k++) {
        const tune_record *r = tune_journal_timed(p->journal, kinds[k], op, tile, shape->batch, shape->tokens);
        if (r && r->samples.count > 0)
            worst = fmax(worst, tune_paired(&r->samples, &r->base, NULL));
    }
    return worst;
}

/* ---- The device ---- */

static void describe(const tune_device *d, char *out, size_t size) {
    snprintf(out, size, "a recording of %.200s", state_of(d)->journal->origins[0].device);
}

static int threads(const tune_device *d) {
    return state_of(d)->threads;
}

static bool runs(const tune_device *d, const tune_arch *arch) {
    return tune_arch_same(&d->arch, arch);
}

static bool prepare(const tune_device *d, tune_candidate *c, err *e) {
    replay *p = state_of(d);
    const tune_record *r = status_of(p, c->op, c->string);
    if (!r)
        return err_set(e, ERR_COMPILE, "replay", "it is not in the recording");
    p->time += r->seconds;
    if (r->kind == TUNE_RECORD_FAILED)
        return err_set(e, ERR_COMPILE, "replay", "%s", r->why);
    c->loaded = true;
    return true;
}

static void release(const tune_device *d, tune_candidate *c) {
    (void)d;
    c->loaded = false;
}

static bool verify(const tune_device *d, const tune_candidate *c, const tune_reference *reference, err *e) {
    (void)reference;
    const tune_record *r = status_of(state_of(d), c->op, c->string);
    bool right = r && r->kind == TUNE_RECORD_VERIFIED;
    return right || err_set(e, ERR_MISMATCH, "replay", "%s", r ? r->why : "it is not in the recording");
}

static bool open_workload(const tune_device *d, const gen_problem *problem, const gen_shape *shape,
                          const nha_library *library, size_t cold_bytes, tune_workload **workload, err *e) {
    (void)d, (void)problem, (void)library, (void)cold_bytes;
    replay_workload *w = calloc(1, sizeof *w);
    if (!w)
        return err_memory(e, "replay");
    w->shape = *shape;
    w->op = (nha_op)shape->op;
    *workload = &w->head;
    return true;
}

static void close_workload(const tune_device *d, tune_workload *workload) {
    (void)d;
    free(workload);
}

/* By turns a sample of the nearest record and one of another stage: a stage that was disturbed as a whole does not
 * decide alone, as it would not have if it had been measured again. */
static bool run(void *context, int64_t iterations, err *e) {
    replay_runner *r = context;
    (void)e;
    double us = r->base_us;
    if (r->record) {
        const tune_record *from = r->other && r->turn % 2 ? r->other : r->record;
        int turn = r->other ? r->turn / 2 : r->turn;
        int common = from->samples.count < from->base.count ? from->samples.count : from->base.count, i = turn % common;
        if (from->base.us[i] > 0)
            us *= from->samples.us[i] / from->base.us[i];
        r->turn++;
    }
    r->state->time += 1e-6 * us * (double)iterations;
    return true;
}

/* The candidate whose in-memory library this is. */
static const tune_candidate *candidate_of(const nha_library *library) {
    return (const tune_candidate *)(const void *)((const char *)library - offsetof(tune_candidate, library));
}

static bool open_runner(const tune_device *d, tune_workload *workload, const nha_library *library, const char *kernel,
                        const char *isa, int threads_of, tune_runner **runner, err *e) {
    (void)kernel, (void)isa;
    const replay_workload *w = (const replay_workload *)workload;
    const tune_candidate *c = candidate_of(library);
    replay_runner *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "replay");
    r->state = state_of(d);
    r->base_us = base_us(r->state, w->op, &w->shape, threads_of);
    const tune_record *status = status_of(r->state, w->op, c->string);
    bool standard = status && status->order == 0; /* by the recording: it was timed with all the others */
    if (!standard)
        r->record = nearest(r->state, w->op, c->string, &w->shape, threads_of);
    if (r->record && r->record->kind != TUNE_RECORD_QUICK)
        r->other = other_stage(r->state, r->record);
    if (r->base_us <= 0 || (!standard && !r->record)) {
        free(r);
        return err_set(e, ERR_INPUT, "replay", "%s was not timed in the recording", c->string);
    }
    r->head = (tune_runner){.subject = {.run = run, .context = r}, .kernel = c->string, .workload = workload};
    *runner = &r->head;
    return true;
}

static void close_runner(const tune_device *d, tune_runner *runner) {
    (void)d;
    free(runner);
}

static void close_device(tune_device *d) {
    free(d->state);
    free(d);
}

bool tune_replay_open(const tune_journal *journal, tune_device **device, err *e) {
    *device = NULL;
    if (journal->origin_count == 0)
        return err_set(e, ERR_INPUT, "replay", "the journal does not say where it comes from");
    const tune_origin *origin = &journal->origins[0];
    tune_arch arch = {.cuda = gen_cuda_target_find(origin->arch)};
    if (!arch.cuda)
        arch.isa = gen_isa_find(origin->arch);
    if (!arch.cuda && !arch.isa)
        return err_set(e, ERR_INPUT, "replay", "the journal is of kernels for %s, which this nhac does not know",
                       origin->arch);
    tune_device *d = calloc(1, sizeof *d);
    replay *p = calloc(1, sizeof *p);
    if (!d || !p) {
        free(d);
        free(p);
        return err_memory(e, "replay");
    }
    *p = (replay){.journal = journal, .threads = origin->threads > 0 ? origin->threads : 1};
    *d = (tune_device){.name = "replay",
                       .verified_by = "replay",
                       .timed_by = "replay",
                       .place = tune_place_host,
                       .arch = arch,
                       .state = p,
                       .describe = describe,
                       .runs = runs,
                       .threads = threads,
                       .prepare = prepare,
                       .release = release,
                       .verify = verify,
                       .open_workload = open_workload,
                       .close_workload = close_workload,
                       .open_runner = open_runner,
                       .close_runner = close_runner,
                       .close = close_device};
    *device = d;
    return true;
}

static double now(void *context) {
    return ((const replay *)context)->time;
}

tune_clock tune_replay_clock(const tune_device *device) {
    return (tune_clock){now, device->state};
}

/* ---- The space ---- */

static bool read_cpu_tile(const tune_record *r, gen_tile *tile, err *e) {
    for (int i = 0; i < r->knob_count; i++) {
        int k = 0;
        while (k < GEN_CPU_KNOB_COUNT && strcmp(gen_knob_name(k), r->knob[i].name) != 0)
            k++;
        if (k == GEN_CPU_KNOB_COUNT)
            return err_set(e, ERR_INPUT, "replay", "the recording has a knob %s that this nhac does not know",
                           r->knob[i].name);
        tile->knob[k] = r->knob[i].value;
    }
    return true;
}

/* sm_90.generic.chunk64: the second word is the variant's name. */
static bool read_cuda_tile(const tune_record *r, nha_op op, tune_tile *tile, err *e) {
    char name[64] = "";
    const char *begin = strchr(r->tile, '.');
    if (begin)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(begin + 1, "."), begin + 1);
    tile->variant = gen_cuda_kernel_find(op, name);
    if (!tile->variant)
        return err_set(e, ERR_INPUT, "replay", "the recording has a kernel %s that this nhac does not know", r->tile);
    tile->cuda.standard = r->order == 0;
    for (int i = 0; i < r->knob_count && i < GEN_CUDA_KNOBS_MAX; i++) {
        snprintf(tile->cuda.knob[i].name, sizeof tile->cuda.knob[i].name, "%s", r->knob[i].name);
        tile->cuda.knob[i].value = r->knob[i].value;
        tile->cuda.count = i + 1;
    }
    return true;
}

static void swap(tune_candidate *a, tune_candidate *b) {
    tune_candidate c = *a;
    *a = *b;
    *b = c;
}

bool tune_replay_space(const tune_device *d, const gen_problem *problem, nha_op op, const char *first,
                       tune_space *space, err *e) {
    const tune_journal *j = state_of(d)->journal;
    memset(space, 0, sizeof *space);
    space->candidates = calloc(j->count + 1, sizeof *space->candidates);
    bool ok = space->candidates || err_memory(e, "replay");
    int standard = -1;
    for (size_t i = 0; ok && i < j->count; i++) {
        const tune_record *r = &j->records[i];
        if (r->kind > TUNE_RECORD_FAILED || r->op != (int)op || r->order < 0 ||
            status_of(state_of(d), op, r->tile) != r)
            continue;
        tune_tile tile = {.variant = NULL};
        ok = d->arch.cuda ? read_cuda_tile(r, op, &tile, e) : read_cpu_tile(r, &tile.cpu, e);
        if (!ok)
            break;
        tune_candidate *c = &space->candidates[space->count];
        tune_candidate_init(c, problem, op, &d->arch, &tile, r->order);
        memcpy(c->string, r->tile, sizeof c->string); /* as it was spelt then */
        if (first ? strcmp(r->tile, first) == 0 : r->order == 0)
            standard = space->count;
        space->count++;
    }
    if (ok && standard < 0)
        ok = err_set(e, ERR_INPUT, "replay", "the recording has no default of %s", gen_op_name(op));
    if (!ok) {
        tune_space_close(space);
        return false;
    }
    swap(&space->candidates[0], &space->candidates[standard]);
    for (int i = 1; i < space->count; i++)
        if (space->candidates[i].order == 0)
            space->candidates[i].order = space->candidates[0].order;
    space->candidates[0].order = 0;
    tune_random random = {20251007};
    for (int i = space->count - 1; i > 1; i--)
        swap(&space->candidates[i], &space->candidates[tune_random_between(&random, 1, i)]);
    return true;
}
