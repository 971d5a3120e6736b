/* show.c: nhac show: what is in a library, and why. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/options.h"
#include "tuner/explain.h"

static void print_range(int64_t low, int64_t high) {
    if (high == INT64_MAX)
        printf(" %lld and up", (long long)low);
    else
        printf(" %lld to %lld", (long long)low, (long long)high);
}

static void print_kernel(const tune_manifest_kernel *k) {
    printf("%s\n    rank %lld; sequences x kv heads", k->name, (long long)k->rank);
    print_range(k->min_tasks, k->max_tasks);
    printf("; length");
    print_range(k->min_length, k->max_length);
    printf("\n");
}

static void print_launch(const char *what, const tune_manifest_launch *l) {
    if (!l->entry[0])
        return;
    printf("    %-22s %s\n", what, l->entry);
    printf("        threads a block    %lld\n", (long long)l->threads);
    printf("        shared memory      %lld bytes\n", (long long)l->shared_bytes);
    printf("        registers          %lld a thread; stack frame %lld bytes, spills %lld bytes\n",
           (long long)l->registers, (long long)l->stack_bytes, (long long)l->spill_bytes);
}

static void print_resources(const tune_manifest_kernel *k) {
    printf("%s\n", k->name);
    if (k->cuda) {
        printf("    target                 %s\n", k->isa);
        print_launch("first launch", &k->main);
        print_launch("second launch", &k->second);
        printf("    workspace a block      %lld bytes + %lld for each token of the window\n",
               (long long)k->workspace_bytes, (long long)k->workspace_window_bytes);
        return;
    }
    printf("    isa                    %s\n", k->isa);
    printf("    spills and reloads     %lld, in loops %lld\n", (long long)k->spills, (long long)k->loop_spills);
    printf("    %s %lld\n", k->op[0] == 'p' ? "tokens a block        " : "steps to an update    ", (long long)k->block_tokens);
    printf("    scratch a thread       %lld bytes + %lld for each %s\n", (long long)k->scratch_bytes,
           (long long)k->scratch_panel_bytes, k->op[0] == 'p' ? "panel of the window" : "token of the window");
    printf("    delta cost             %.3f of a block's time\n", k->delta_cost);
    printf("    functions              %s %s %s\n", k->symbol_main, k->symbol_delta, k->symbol_scan);
}

static void print_library(const tune_library *library) {
    const tune_manifest *m = &library->manifest;
    printf("%s: made by nhac %s with %s%s%s%s%s for %s, ABI %lld\n\n", m->name, m->nhac, m->llvm[0] ? "LLVM " : "",
           m->llvm, m->llvm[0] && m->nvrtc[0] ? " and " : "", m->nvrtc[0] ? "NVRTC " : "", m->nvrtc, m->triple,
           (long long)m->abi);
    gen_problem_print(stdout, &library->spec.problem);
    printf("\n%zu kernels:\n", m->kernel_count);
    for (size_t i = 0; i < m->kernel_count; i++)
        print_kernel(&m->kernels[i]);
}

static bool print_text(char *text) {
    if (text)
        fputs(text, stdout);
    free(text);
    return text != NULL;
}

int cli_show(const cli_command *self, int argc, char **argv) {
    bool source = false, ptx = false, ir = false, assembly = false, resources = false, why = false;
    const cli_option options[] = {{"--source", CLI_FLAG, &source, 0, 0},
                                  {"--ptx", CLI_FLAG, &ptx, 0, 0},
                                  {"--ir", CLI_FLAG, &ir, 0, 0},
                                  {"--asm", CLI_FLAG, &assembly, 0, 0},
                                  {"--resources", CLI_FLAG, &resources, 0, 0},
                                  {"--why", CLI_FLAG, &why, 0, 0}};
    const char *names[2];
    err e = {0};
    tune_library library;
    if (!cli_parse(argc, argv, options, 6, names, 1, 2, "LIBDIR", &e))
        return cli_fail(self, &e);
    int asked = source + ptx + ir + assembly + resources + why;
    if (asked > 1)
        err_set(&e, ERR_USAGE, "usage", "only one of --source, --ptx, --ir, --asm, --resources, --why at a time");
    else if (asked == 1 && !names[1])
        err_set(&e, ERR_USAGE, "usage", "KERNEL is missing; nhac show %s lists them", names[0]);
    if (e.code || !tune_library_open(names[0], TUNE_OPEN_NO_CODE, &library, &e))
        return cli_fail(self, &e);
    const tune_manifest_kernel *kernel = names[1] ? tune_explain_find(&library, names[1], &e) : NULL;
    bool ok = !names[1] || kernel;
    if (ok && !kernel)
        print_library(&library);
    else if (ok && (ir || assembly) && kernel->cuda)
        ok = err_set(&e, ERR_MISSING, "show", "%s is a CUDA kernel; --source and --ptx show its code", kernel->name);
    else if (ok && (source || ir))
        ok = print_text(tune_explain_file(&library, kernel->source, &e));
    else if (ok && assembly)
        ok = print_text(tune_explain_assembly(&library, kernel, &e));
    else if (ok && ptx && !kernel->cuda)
        ok = err_set(&e, ERR_MISSING, "show", "%s is a CPU kernel and has no PTX; --ir and --asm show its code",
                     kernel->name);
    else if (ok && ptx)
        ok = print_text(tune_explain_file(&library, kernel->ptx, &e));
    else if (ok && resources)
        print_resources(kernel);
    else if (ok && why)
        ok = tune_explain_why(&library, kernel, stdout, &e);
    else if (ok)
        print_kernel(kernel);
    tune_library_close(&library);
    return ok ? 0 : cli_fail(self, &e);
}
