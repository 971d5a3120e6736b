/* verify.c: nhac verify: a library against the fp64 definition on random cases. */
#include <stdio.h>

#include "cli/open.h"
#include "cli/options.h"
#include "tuner/verify.h"

int cli_verify(const cli_command *self, int argc, char **argv) {
    const char *folder, *device = NULL, *isa = NULL;
    int64_t cases = 20, seed = 1;
    const cli_option options[] = {{"--device", CLI_TEXT, &device, 0, 0},
                                  {"--isa", CLI_TEXT, &isa, 0, 0},
                                  {"--cases", CLI_COUNT, &cases, 1, 1000000},
                                  {"--seed", CLI_COUNT, &seed, 0, INT64_MAX}};
    static const char *const names[TUNE_CHECKED] = {"o", "lse", "hk", "hv"};
    err e = {0};
    cli_opened opened;
    if (!cli_parse(argc, argv, options, 4, &folder, 1, 1, "LIBDIR", &e) || !cli_isa_known(isa, &e) ||
        !cli_open(folder, device, false, &opened, &e))
        return cli_fail(self, &e);
    const tune_library *library = &opened.library;
    tune_verify_options o = {.cases = cases, .seed = (uint64_t)seed, .isa = isa, .place = &opened.device->place};
    tune_verify_report report = {0};
    bool ok = cli_isa_there(&opened, isa, &e) &&
              tune_verify_library(library->library, 0, &library->spec.problem, &o, &report, &e);
    if (ok) {
        printf("%s: %lld cases, %lld executions, on %s, all within tolerance (%.0e)\n", folder, (long long)report.cases,
               (long long)report.executions, opened.device->name, tune_tolerance(library->spec.problem.nha.dtype));
        if (tune_cached_tolerance(&library->spec.problem.nha) != tune_tolerance(library->spec.problem.nha.dtype))
            printf("    through a cache, whose memory is bf16: within %.0e\n", tune_cached_tolerance(&library->spec.problem.nha));
        for (int i = 0; i < TUNE_CHECKED; i++)
            if (i < TUNE_CHECK_HK || library->spec.problem.nha.slots > 0)
                printf("    %-4s worst relative error %.2e (seed %llu)\n", names[i], report.worst[i],
                       (unsigned long long)report.worst_seed[i]);
    }
    cli_close(&opened);
    return ok ? 0 : cli_fail(self, &e);
}
