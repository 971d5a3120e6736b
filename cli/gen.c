/* gen.c: nhac gen: renders kernel sources. */
#include <stdio.h>

#include "cli/options.h"
#include "tuner/render.h"

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
        printf("%d kernel%s in %s/%s/src\n", count, count == 1 ? "" : "s", folder, spec.problem.name);
    gen_spec_destroy(&spec);
    return ok ? 0 : cli_fail(self, &e);
}
