/* gen.c: nhac gen: renders kernel sources. */
#include <stdio.h>

#include "cli/options.h"
#include "gen/cuda/cuda.h"
#include "gen/cuda/target.h"
#include "tuner/render.h"

/* Says which operations of the spec have no CUDA kernel, if a CUDA target is among those rendered. */
static void note_missing(const gen_spec *spec, const cli_list *asked) {
    int count = asked->count ? asked->count : spec->target_count;
    for (int i = 0; i < count; i++) {
        const char *name = asked->count ? asked->item[i] : spec->targets[i];
        for (int op = 0; gen_cuda_target_find(name) && op < 3; op++)
            if (spec->ops[op] && !gen_cuda_has((nha_op)op))
                fprintf(stderr, "note: target %s: %s has no CUDA kernel in this version\n", name, gen_op_name(op));
    }
}

int cli_gen(const cli_command *self, int argc, char **argv) {
    const char *spec_path, *folder = "kernels_out";
    bool all = false;
    cli_list targets = {.count = 0};
    const cli_option options[] = {
        {"--target", CLI_LIST, &targets, 0, 0}, {"-o", CLI_TEXT, &folder, 0, 0}, {"--all", CLI_FLAG, &all, 0, 0}};
    err e = {0};
    gen_spec spec;
    if (!cli_parse(argc, argv, options, 3, &spec_path, 1, 1, "SPEC", &e) || !gen_spec_read(spec_path, &spec, &e))
        return cli_fail(self, &e);
    int count = 0;
    bool ok = tune_render(&spec, targets.item, targets.count, folder, all, &count, &e);
    if (ok)
        note_missing(&spec, &targets);
    if (ok)
        printf("%d kernel%s in %s/%s/src\n", count, count == 1 ? "" : "s", folder, spec.problem.name);
    gen_spec_destroy(&spec);
    return ok ? 0 : cli_fail(self, &e);
}
