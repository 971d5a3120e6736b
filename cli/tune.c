/* tune.c: nhac tune and nhac build: a spec becomes a library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "tuner/tune.h"

static void print_outcome(const tune_outcome *o, bool searched) {
    for (int i = 0; i < o->winner_count; i++) {
        const tune_winner *w = &o->winners[i];
        printf("%s, batch %lld x %lld tokens: %s, %.2fx as fast as the default (+- %.1f%%)%s\n", gen_op_name(w->op),
               (long long)w->shape.batch, (long long)w->shape.tokens, w->kernel, w->ratio > 0 ? 1 / w->ratio : 1.0,
               100 * w->noise, strcmp(w->timed_by, "model") ? "" : ", by the model of the emulator");
    }
    if (searched)
        printf("%d of %d candidates looked at, %d of them now\n", o->explored, o->candidates, o->measured);
    if (o->note[0])
        printf("note: %s\n", o->note);
    printf("%s: %d kernels, verified, %.1f s\n", o->folder, o->kernels, o->seconds);
}

static int make(const cli_command *self, tune_options *options, err *e) {
    tune_outcome *outcome = calloc(1, sizeof *outcome);
    if (!outcome)
        err_memory(e, "tune");
    bool ok = outcome && tune_run(options, outcome, e);
    if (ok)
        print_outcome(outcome, options->search);
    free(outcome);
    return ok ? 0 : cli_fail(self, e);
}

int cli_tune(const cli_command *self, int argc, char **argv) {
    const char *spec, *strategy = NULL;
    int64_t jobs = 0;
    cli_list targets = {.count = 0};
    tune_options o = {.folder = "kernels_out", .search = true, .progress = stderr, .clock = tune_clock_monotonic()};
    const cli_option options[] = {{"--target", CLI_LIST, &targets, 0, 0},
                                  {"--device", CLI_TEXT, &o.device, 0, 0},
                                  {"--budget", CLI_SECONDS, &o.budget, 0, 0},
                                  {"--jobs", CLI_COUNT, &jobs, 1, 1024},
                                  {"--strategy", CLI_TEXT, &strategy, 0, 0},
                                  {"-o", CLI_TEXT, &o.folder, 0, 0}};
    err e = {0};
    if (!cli_parse(argc, argv, options, 6, &spec, 1, 1, "SPEC", &e))
        return cli_fail(self, &e);
    if (strategy && !(o.strategy = tune_strategy_find(strategy, &e)))
        return cli_fail(self, &e);
    o.spec = spec;
    o.targets = targets.item;
    o.target_count = targets.count;
    o.jobs = (int)jobs;
    return make(self, &o, &e);
}

int cli_build(const cli_command *self, int argc, char **argv) {
    const char *spec;
    cli_list targets = {.count = 0};
    tune_options o = {.folder = "kernels_out", .progress = stderr, .clock = tune_clock_monotonic()};
    const cli_option options[] = {{"--target", CLI_LIST, &targets, 0, 0}, {"-o", CLI_TEXT, &o.folder, 0, 0}};
    err e = {0};
    if (!cli_parse(argc, argv, options, 2, &spec, 1, 1, "SPEC", &e))
        return cli_fail(self, &e);
    o.spec = spec;
    o.targets = targets.item;
    o.target_count = targets.count;
    return make(self, &o, &e);
}
