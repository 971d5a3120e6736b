/* tune.c: the pipeline: parse, enumerate, prune, render, compile, verify, time, choose, write. tune_op and tune_run
 * read as that. */
#include "tuner/tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "base/path.h"
#include "base/sha256.h"
#include "gen/spec_keys.h"
#include "tuner/assemble.h"
#include "tuner/debug.h"

static const uint64_t REFERENCE_SEED = 0x6e686163;
/* Seconds of a budget kept for the winners' last verification and for writing: 0.5 s and 3% of it, a third at most. */
static double reserve(double budget) {
    return budget < 1.6 ? budget / 3 : 0.5 + 0.03 * budget;
}

typedef struct job {
    const tune_options *options;
    tune_outcome *outcome;
    gen_spec spec;
    bool has_spec;
    tune_progress progress;
    tune_journal journal;
    tune_assembly assembly;
    tune_reference *reference;
    double begin, budget, deadline;
    int threads, jobs;
} job;

static double now(const job *j) {
    return j->options->clock.now(j->options->clock.context);
}

static void stage_time(job *j, const char *stage) {
    if (tune_debug(TUNE_DEBUG_TIME))
        fprintf(stderr, "time: %-24s %8.3f s\n", stage, now(j) - j->begin);
}

bool tune_target_known(const char *target, err *e) {
    const char *names[32];
    size_t known = 0;
    for (const gen_choice *c = gen_target_choices; c->name && known < 32; c++) {
        if (strcmp(c->name, target) == 0)
            return true;
        names[known++] = c->name;
    }
    return err_set(e, ERR_USAGE, "target", "there is no target %s; did you mean %s?", target,
                   base_nearest(target, names, known));
}

bool tune_targets(const gen_spec *spec, const char *const *targets, int target_count, tune_progress *progress, err *e) {
    int count = target_count ? target_count : spec->target_count;
    const char *why = NULL, *missing = "";
    bool some = false;
    for (int i = 0; i < count; i++) {
        const char *target = target_count ? targets[i] : spec->targets[i];
        if (!tune_target_known(target, e))
            return false;
        const char *reason;
        if (tune_target_available(target, &reason)) {
            some = true;
        } else {
            why = reason;
            missing = target;
        }
    }
    if (!some)
        return err_set(e, ERR_MISSING, "target", "target %s: %s", missing, why ? why : "no target is asked for");
    for (int i = 0; i < count; i++) {
        const char *target = target_count ? targets[i] : spec->targets[i], *reason;
        if (!tune_target_available(target, &reason))
            tune_progress_line(progress, "note: target %s: %s; skipped", target, reason);
    }
    return true;
}

/* The spec and what follows from it. */
static bool parse(job *j, err *e) {
    const tune_options *o = j->options;
    j->has_spec = gen_spec_read(o->spec, &j->spec, e);
    if (!j->has_spec)
        return false;
    if (tune_debug(TUNE_DEBUG_SPEC))
        gen_problem_print(stderr, &j->spec.problem);
    if (!tune_targets(&j->spec, o->targets, o->target_count, &j->progress, e))
        return false;
    if (!o->device->isa())
        return err_set(e, ERR_MISSING, "device", "there are no kernels for this kind of processor");
    if (!base_mkdirs(o->folder, "tune", e))
        return false;
    if (access(o->folder, W_OK | X_OK) != 0) /* known now, not when all the work is done */
        return err_at(e, ERR_SYSTEM, "tune", o->folder, 0, 0, "cannot write into this folder: %s", strerror(errno));
    tune_assembly_init(&j->assembly, &j->spec.problem);
    j->budget = o->budget > 0 ? o->budget : j->spec.budget;
    j->deadline = j->begin + j->budget - reserve(j->budget);
    j->threads = o->device->threads();
    j->jobs = o->jobs > 0 ? o->jobs : j->threads;
    stage_time(j, "parse");
    return true;
}

/* The journal of this problem on this device: its key holds the IR of the defaults, so that kernels made by another
 * generator are measured anew. */
static bool open_journal(job *j, err *e) {
    const tune_device *d = j->options->device;
    char device[256], key[65], generator[BASE_SHA256_HEX];
    base_sha256 h;
    base_sha256_init(&h);
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        tune_candidate c;
        gen_tile tile;
        gen_tile_default(&j->spec.problem, (nha_op)op, d->isa(), &tile);
        tune_candidate_init(&c, &j->spec.problem, (nha_op)op, d->isa(), &tile, 0);
        char *source = tune_candidate_source(&c, e);
        if (!source)
            return false;
        base_sha256_add_text(&h, source);
        free(source);
    }
    base_sha256_end_hex(&h, generator);
    d->describe(device, sizeof device);
    tune_journal_key(&j->spec.problem, device, generator, jit_llvm_version(), j->threads, key);
    if (!tune_journal_open(jit_cache_dir(), key, &j->journal, e))
        return false;
    j->journal.verified_by = d->verified_by;
    j->journal.timed_by = d->timed_by;
    if (j->journal.damaged)
        tune_progress_line(&j->progress, "warning: %s: %d damaged line%s ignored", j->journal.path, j->journal.damaged,
                           j->journal.damaged == 1 ? "" : "s");
    return true;
}

static void report_pruned(const tune_space *space, nha_op op) {
    if (!tune_debug(TUNE_DEBUG_PRUNE))
        return;
    fprintf(stderr, "prune: %s: %d legal tiles, %d rejected\n", gen_op_name(op), space->count, space->pruned);
    for (int i = 0; i < space->reason_count; i++)
        fprintf(stderr, "prune: %8d  %s\n", space->reasons[i].count, space->reasons[i].text);
}

static bool choose(job *j, const tune_search *s, int bucket, const tune_prepare_options *p, err *e) {
    int place = tune_search_choose(s, bucket);
    const tune_candidate *winner = &s->space.candidates[place];
    tune_score score = place ? tune_search_score(s, place, bucket) : (tune_score){true, 1, 0};
    tune_winner *w = &j->outcome->winners[j->outcome->winner_count++];
    *w = (tune_winner){.op = s->op, .shape = s->buckets[bucket].shape, .ratio = score.ratio, .noise = score.noise};
    snprintf(w->kernel, sizeof w->kernel, "%s.%s", gen_op_name(s->op), winner->string);
    return tune_assemble_winner(&j->assembly, winner, &s->buckets[bucket], p, e);
}

static bool tune_op(job *j, nha_op op, double deadline, err *e) {
    const tune_options *o = j->options;
    const gen_problem *problem = &j->spec.problem;
    tune_search s = {.device = o->device,
                     .problem = problem,
                     .op = op,
                     .journal = &j->journal,
                     .progress = &j->progress,
                     .clock = o->clock,
                     .deadline = deadline,
                     .budget = j->budget,
                     .threads = j->threads,
                     .jobs = j->jobs};
    if (!tune_reference_create(problem, (int)op, REFERENCE_SEED, j->jobs, &j->reference, e))
        return false;
    stage_time(j, "reference");
    tune_prepare_options p = {.device = o->device, .reference = j->reference, .jobs = j->jobs, .clock = o->clock};
    s.reference = j->reference;
    bool ok = tune_assemble_defaults(&j->assembly, op, &p, e);
    stage_time(j, "defaults");
    if (ok && o->search) {
        ok = tune_search_open(&s, j->spec.shapes, j->spec.shape_count, e); /* enumerate, prune */
        if (ok)
            report_pruned(&s.space, op);
        ok = ok && tune_search_run(&s, e); /* render, compile, verify, time */
        for (int b = 0; ok && b < s.bucket_count; b++)
            ok = choose(j, &s, b, &p, e);
        j->outcome->candidates += s.space.count;
        j->outcome->explored += s.explored;
        j->outcome->measured += s.measured;
        if (tune_debug(TUNE_DEBUG_TIME))
            fprintf(stderr, "time: %d candidates of %s: %.3f s preparing, %.3f s timing\n", s.measured, gen_op_name(op),
                    s.preparing, s.timing);
        tune_search_close(&s);
        stage_time(j, "search");
    }
    tune_reference_destroy(j->reference);
    j->reference = NULL;
    return ok;
}

static bool write_library(job *j, err *e) {
    char device[192], how[320];
    j->options->device->describe(device, sizeof device);
    snprintf(how, sizeof how, "nhac %s %s.yaml, on %s", j->options->search ? "tune" : "build", j->spec.problem.name,
             device);
    tune_library_content content = {.spec = &j->spec,
                                    .kernels = j->assembly.kernels,
                                    .kernel_count = j->assembly.kernel_count,
                                    .journal = j->options->search ? base_buf_string(&j->journal.text) : NULL,
                                    .journal_size = j->options->search ? j->journal.text.size : 0,
                                    .how = how};
    bool ok = tune_library_write(j->options->folder, &content, j->outcome->note, e);
    snprintf(j->outcome->folder, sizeof j->outcome->folder, "%s/%s", j->options->folder, j->spec.problem.name);
    j->outcome->kernels = j->assembly.kernel_count;
    stage_time(j, "write");
    return ok;
}

/* Time left is divided among the ops that remain by the number of their shapes. */
static double share(const job *j, nha_op op) {
    int mine = 0, remaining = 0;
    for (int i = 0; i < j->spec.shape_count; i++) {
        if (!j->spec.ops[j->spec.shapes[i].op])
            continue;
        mine += j->spec.shapes[i].op == (int)op;
        remaining += j->spec.shapes[i].op >= (int)op;
    }
    return now(j) + (remaining ? (j->deadline - now(j)) * mine / remaining : 0);
}

bool tune_run(const tune_options *options, tune_outcome *outcome, err *e) {
    memset(outcome, 0, sizeof *outcome);
    job j = {.options = options, .outcome = outcome, .journal = {.fd = -1}};
    j.begin = now(&j);
    tune_progress_open(&j.progress, options->progress, options->clock);
    bool ok = parse(&j, e) && (!options->search || open_journal(&j, e));
    for (int op = NHA_PREFILL; ok && op <= NHA_DECODE; op++)
        if (j.spec.ops[op])
            ok = tune_op(&j, (nha_op)op, share(&j, (nha_op)op), e);
    tune_progress_close(&j.progress);
    ok = ok && write_library(&j, e);
    outcome->seconds = now(&j) - j.begin;
    tune_assembly_free(&j.assembly);
    tune_journal_close(&j.journal);
    if (j.has_spec)
        gen_spec_destroy(&j.spec);
    return ok;
}
