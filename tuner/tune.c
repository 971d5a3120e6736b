/* tune.c: the pipeline: parse, enumerate, prune, render, compile, verify, time, choose, write. tune_op and tune_run
 * read as that. */
#include "tuner/tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "base/path.h"
#include "gen/spec_keys.h"
#include "tuner/assemble.h"
#include "tuner/database.h"
#include "tuner/debug.h"
#include "tuner/machine.h"

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
    base_buf journals; /* lines of all journals: the library's copy */
    tune_assembly assembly;
    double begin, budget, deadline;
    int jobs;
    int shares; /* of the time: shapes, by target, that are still to be searched */
    char device[256]; /* what searched, for the report */
} job;

/* One target of the spec on its way. */
typedef struct work {
    job *j;
    tune_device *device;
    tune_arch arch;
    bool search;
    tune_journal journal;
    int threads;
    int jobs; /* of compiling and verifying */
} work;

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
    tune_assembly_init(&j->assembly, &j->spec.problem);
    j->budget = o->budget > 0 ? o->budget : j->spec.budget;
    j->deadline = j->begin + j->budget - reserve(j->budget);
    j->jobs = o->jobs > 0 ? o->jobs : tune_machine_threads();
    stage_time(j, "parse");
    return true;
}

/* The journal of this problem on this device. */
static bool open_journal(work *w, err *e) {
    job *j = w->j;
    const tune_device *d = w->device;
    char device[256], key[65];
    tune_origin origin = {.problem = NULL};
    d->describe(d, device, sizeof device);
    bool ok = tune_database_origin(&j->spec, &w->arch, device, w->threads, &origin, key, e) &&
              tune_journal_open(jit_cache_dir(), key, &w->journal, e);
    if (ok) {
        w->journal.verified_by = d->verified_by;
        w->journal.timed_by = d->timed_by;
        if (w->journal.count == 0)
            tune_database_note_stale(jit_cache_dir(), &origin, key, &j->progress);
        ok = tune_journal_describe(&w->journal, &origin, e);
    }
    if (ok && w->journal.damaged)
        tune_progress_line(&j->progress, "warning: %s: %d damaged line%s ignored", w->journal.path, w->journal.damaged,
                           w->journal.damaged == 1 ? "" : "s");
    free(origin.problem);
    return ok;
}

static void report_pruned(const tune_space *space, nha_op op) {
    if (!tune_debug(TUNE_DEBUG_PRUNE))
        return;
    fprintf(stderr, "prune: %s: %d legal tiles, %d rejected\n", gen_op_name(op), space->count, space->pruned);
    for (int i = 0; i < space->reason_count; i++)
        fprintf(stderr, "prune: %8d  %s\n", space->reasons[i].count, space->reasons[i].text);
}

static bool choose(work *w, tune_search *s, int bucket, const tune_prepare_options *p, err *e) {
    tune_outcome *outcome = w->j->outcome;
    int place;
    if (!tune_assemble_winner(&w->j->assembly, s, bucket, p, w->j->begin + w->j->budget, &place, e))
        return false;
    const tune_candidate *winner = &s->space.candidates[place];
    tune_score score = place ? tune_search_score(s, place, bucket) : (tune_score){.timed = true, .ratio = 1};
    if (outcome->winner_count < (int)(sizeof outcome->winners / sizeof *outcome->winners)) {
        tune_winner *won = &outcome->winners[outcome->winner_count++];
        *won = (tune_winner){.op = s->op,
                             .shape = s->buckets[bucket].shape,
                             .timed_by = w->device->timed_by,
                             .ratio = score.ratio,
                             .noise = score.noise};
        snprintf(won->kernel, sizeof won->kernel, "%s.%s", gen_op_name(s->op), winner->string);
    }
    return true;
}

static int shapes_of(const gen_spec *spec, nha_op op) {
    int count = 0;
    for (int i = 0; spec->ops[op] && i < spec->shape_count; i++)
        count += spec->shapes[i].op == (int)op;
    return count;
}

/* When this op is to end: what is left of the time is divided by the shapes that are still to be searched. */
static double share(job *j, nha_op op) {
    int mine = shapes_of(&j->spec, op);
    double end = now(j) + (j->shares > 0 ? (j->deadline - now(j)) * mine / j->shares : 0);
    j->shares -= mine;
    return end;
}

static bool search_op(work *w, nha_op op, const tune_prepare_options *p, err *e) {
    job *j = w->j;
    tune_search s = {.device = w->device,
                     .strategy = j->options->strategy,
                     .problem = &j->spec.problem,
                     .op = op,
                     .arch = w->arch,
                     .reference = p->reference,
                     .journal = &w->journal,
                     .progress = &j->progress,
                     .clock = j->options->clock,
                     .deadline = share(j, op),
                     .budget = j->budget,
                     .threads = w->threads,
                     .jobs = w->jobs};
    if (s.arch.isa)
        s.arch.isa = gen_cpu_serves(s.problem, op, s.arch.isa);
    bool ok = tune_search_open(&s, j->spec.shapes, j->spec.shape_count, e); /* enumerate, prune */
    if (ok)
        report_pruned(&s.space, op);
    ok = ok && tune_search_run(&s, e); /* render, compile, verify, time */
    for (int b = 0; ok && b < s.bucket_count; b++)
        ok = choose(w, &s, b, p, e);
    if (s.bucket_count) { /* of an op without shapes nothing is searched */
        j->outcome->candidates += s.space.count;
        j->outcome->explored += s.explored;
        j->outcome->measured += s.measured;
    }
    if (tune_debug(TUNE_DEBUG_TIME))
        fprintf(stderr, "time: %d candidates of %s: %.3f s preparing, %.3f s timing\n", s.measured, gen_op_name(op),
                s.preparing, s.timing);
    tune_search_close(&s);
    stage_time(j, "search");
    return ok;
}

static bool make_op(work *w, nha_op op, err *e) {
    job *j = w->j;
    tune_reference *reference;
    if (!tune_reference_create(&j->spec.problem, (int)op, REFERENCE_SEED, j->jobs, &reference, e))
        return false;
    stage_time(j, "reference");
    tune_prepare_options p = {
        .device = w->device, .reference = reference, .jobs = w->jobs, .clock = j->options->clock};
    if (w->arch.cuda) /* seconds in NVRTC and the emulator */
        tune_progress_update(&j->progress, "%s %s: compiling and verifying the default", gen_op_name(op),
                             w->arch.cuda->name);
    bool ok = tune_assemble_defaults(&j->assembly, op, &w->arch, &p, e);
    stage_time(j, "defaults");
    ok = ok && (!w->search || search_op(w, op, &p, e));
    tune_reference_destroy(reference);
    return ok;
}

/* ---- Targets and their devices ---- */

/* Whether --device names the device of this target: it is then searched there. No device: all that run here are. */
static bool is_asked(const tune_options *o, const char *target, const tune_device *d) {
    if (!o->device)
        return strcmp(d->timed_by, "model") != 0;
    if (!strcmp(o->device, "emu"))
        return !strcmp(d->timed_by, "model");
    if (!strncmp(o->device, "emu:", 4))
        return !strcmp(o->device + 4, target);
    return !strcmp(o->device, d->name);
}

/* The device of a target: the one asked for if it runs the target, else what tune_device_open finds. */
static bool open_work(job *j, const char *target, work *w, err *e) {
    const char *asked = j->options->device;
    const gen_cuda_target *cuda = gen_cuda_target_find(target);
    *w = (work){.j = j, .journal = {.fd = -1}};
    if (asked && cuda && !strncmp(asked, "cuda:", 5)) {
        if (!tune_device_open(asked, target, &w->device, e))
            return false;
        if (!tune_place_runs(&w->device->place, target)) {
            tune_device_close(w->device);
            w->device = NULL;
        }
    } else if (asked && cuda && !strncmp(asked, "emu", 3) && !tune_device_open_emu(cuda, &w->device, e)) {
        return false;
    }
    if (!w->device && !tune_device_open(NULL, target, &w->device, e))
        return false;
    w->arch = cuda                ? (tune_arch){.cuda = cuda}
              : w->device->best ? w->device->best(w->device, &j->spec.problem)
                                : w->device->arch;
    if (!cuda && !w->arch.isa)
        return err_set(e, ERR_MISSING, "device", "there are no kernels for this kind of processor");
    w->threads = w->device->threads(w->device);
    w->jobs = j->jobs;
    if (cuda && !j->options->jobs && jit_nvrtc_jobs() < w->jobs)
        w->jobs = jit_nvrtc_jobs(); /* a compile takes memory */
    w->search = j->options->search && is_asked(j->options, target, w->device);
    return true;
}

static void close_work(work *w) {
    tune_journal_close(&w->journal);
    tune_device_close(w->device);
}

static bool make_target(work *w, err *e) {
    job *j = w->j;
    if (w->search && !open_journal(w, e))
        return false;
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++)
        if (j->spec.ops[op] && !make_op(w, (nha_op)op, e))
            return false;
    if (w->search || !j->device[0])
        w->device->describe(w->device, j->device, sizeof j->device);
    if (w->search)
        base_buf_add(&j->journals, base_buf_string(&w->journal.text), w->journal.text.size);
    return base_buf_ok(&j->journals, "tune", e);
}

/* Known now, not when all the work is done. */
static bool check_folder(const char *folder, err *e) {
    if (!base_mkdirs(folder, "tune", e))
        return false;
    return access(folder, W_OK | X_OK) == 0 ||
           err_at(e, ERR_SYSTEM, "tune", folder, 0, 0, "cannot write into this folder: %s", strerror(errno));
}

/* Every target that can be made here: first the devices, so that the time can be shared out. */
static bool make_targets(job *j, err *e) {
    const tune_options *o = j->options;
    const int count = o->target_count ? o->target_count : j->spec.target_count;
    work *works = calloc((size_t)count + 1, sizeof *works);
    int made = 0, searched = 0;
    bool ok = works || err_memory(e, "tune");
    for (int i = 0; ok && i < count; i++) {
        const char *target = o->target_count ? o->targets[i] : j->spec.targets[i], *why;
        bool twice = false;
        for (int k = 0; k < i; k++)
            twice = twice || !strcmp(o->target_count ? o->targets[k] : j->spec.targets[k], target);
        if (twice || !tune_target_available(target, &why))
            continue;
        ok = open_work(j, target, &works[made], e);
        made++;
        if (!ok)
            break;
        searched += works[made - 1].search;
        if (works[made - 1].search)
            j->shares += shapes_of(&j->spec, NHA_PREFILL) + shapes_of(&j->spec, NHA_DECODE);
    }
    if (ok && o->search && o->device && !searched)
        ok = err_set(e, ERR_MISSING, "device", "%s runs none of the targets asked for; name one with --target",
                     o->device);
    ok = ok && check_folder(o->folder, e);
    for (int i = 0; ok && o->search && i < made; i++)
        if (!works[i].search)
            tune_progress_line(&j->progress, "note: target %s: verified on %s, not tuned: %s",
                               works[i].arch.cuda ? works[i].arch.cuda->name : "cpu", works[i].device->name,
                               o->device ? "another device was asked for" : "there is no such GPU here");
    for (int i = 0; ok && i < made; i++)
        ok = make_target(&works[i], e);
    for (int i = 0; i < made; i++)
        close_work(&works[i]);
    free(works);
    return ok;
}

static bool write_library(job *j, err *e) {
    char how[400];
    snprintf(how, sizeof how, "nhac %s %s.yaml, on %s", j->options->search ? "tune" : "build", j->spec.problem.name,
             j->device);
    tune_library_content content = {.spec = &j->spec,
                                    .kernels = j->assembly.kernels,
                                    .kernel_count = j->assembly.kernel_count,
                                    .journal = j->options->search ? base_buf_string(&j->journals) : NULL,
                                    .journal_size = j->options->search ? j->journals.size : 0,
                                    .how = how};
    for (int i = 0; i < j->assembly.kernel_count; i++) {
        if (j->assembly.kernels[i].kind == NHA_CPU) {
            content.llvm = jit_llvm_version();
        } else {
            content.nvrtc = jit_nvrtc_version(tune_nvrtc(NULL));
            /* Within a major version any driver runs what any compiler made (CUDA Compatibility, "Minor Version
             * Compatibility"). */
            content.min_driver_version = 1000 * atoi(content.nvrtc);
        }
    }
    bool ok = tune_library_write(j->options->folder, &content, j->outcome->note, e);
    snprintf(j->outcome->folder, sizeof j->outcome->folder, "%s/%s", j->options->folder, j->spec.problem.name);
    j->outcome->kernels = j->assembly.kernel_count;
    stage_time(j, "write");
    return ok;
}

bool tune_run(const tune_options *options, tune_outcome *outcome, err *e) {
    memset(outcome, 0, sizeof *outcome);
    job j = {.options = options, .outcome = outcome};
    j.begin = now(&j);
    tune_progress_open(&j.progress, options->progress, options->clock);
    bool ok = (!options->device || tune_device_known(options->device, e)) && parse(&j, e) && make_targets(&j, e);
    tune_progress_close(&j.progress);
    ok = ok && write_library(&j, e);
    outcome->seconds = now(&j) - j.begin;
    tune_assembly_free(&j.assembly);
    base_buf_free(&j.journals);
    if (j.has_spec)
        gen_spec_destroy(&j.spec);
    return ok;
}
