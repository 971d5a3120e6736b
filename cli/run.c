/* run.c: nhac run: a library on the tensors of a file. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/open.h"
#include "cli/options.h"
#include "tuner/tensors.h"

/* The op of that name, -1 on an error. */
static int find_op(const char *name, err *e) {
    static const char *const names[] = {"prefill", "decode", "backward"};
    if (!name) {
        err_set(e, ERR_USAGE, "usage", "--op is missing");
        return -1;
    }
    for (int op = 0; op < 3; op++) {
        if (strcmp(name, names[op]) != 0)
            continue;
        if (op != NHA_BACKWARD)
            return op;
        err_set(e, ERR_MISSING, "run", "backward is not available in this version");
        return -1;
    }
    err_set(e, ERR_USAGE, "usage", "there is no op %s; did you mean %s?", name, base_nearest(name, names, 3));
    return -1;
}

static bool run(const cli_opened *opened, int op, const char *in, const char *out, int threads, const char *isa,
                err *e) {
    bool ok = false;
    const tune_library *library = &opened->library;
    const tune_place *place = &opened->device->place;
    tune_tensors tensors = {0};
    tune_result result = {0};
    tune_cut step = {.op = NHA_DECODE, .tokens = 1};
    tune_run_options options = {.threads = threads, .isa = isa, .cache = true, .place = place};
    if (!cli_isa_there(opened, isa, e))
        goto done;
    if (!nha_library_has(library->library, 0, (nha_op)op, place->device.kind)) {
        err_set(e, ERR_MISSING, "run", "the library has no kernels for %s on %s; its spec has to list it under ops",
                gen_op_name(op), opened->device->name);
        goto done;
    }
    if (!tune_tensors_read(in, &library->spec.problem, (nha_op)op, &tensors, e))
        goto done;
    if (op == NHA_DECODE) {
        options.cuts = &step;
        options.cut_count = 1;
    }
    if (!tune_host_run(library->library, &library->spec.problem, &tensors.batch, &options, &result, e))
        goto done;
    if (!tune_tensors_write(out, &library->spec.problem, &tensors, &result, e))
        goto done;
    printf("%s: %lld sequence%s, %lld tokens, %s\n", out, (long long)tensors.batch.sequences,
           tensors.batch.sequences == 1 ? "" : "s", (long long)tune_batch_total(&tensors.batch), result.kernel[op]);
    ok = true;
done:
    tune_result_destroy(&result);
    tune_tensors_close(&tensors);
    return ok;
}

int cli_run(const cli_command *self, int argc, char **argv) {
    const char *folder, *op_name = NULL, *in = NULL, *out = NULL, *device = NULL, *isa = NULL;
    int64_t threads = 0;
    const cli_option options[] = {{"--op", CLI_TEXT, &op_name, 0, 0},
                                  {"--in", CLI_TEXT, &in, 0, 0},
                                  {"--out", CLI_TEXT, &out, 0, 0},
                                  {"--device", CLI_TEXT, &device, 0, 0},
                                  {"--threads", CLI_COUNT, &threads, 1, 1024},
                                  {"--isa", CLI_TEXT, &isa, 0, 0}};
    err e = {0};
    if (!cli_parse(argc, argv, options, 6, &folder, 1, 1, "LIBDIR", &e))
        return cli_fail(self, &e);
    if (!in || !out) {
        err_set(&e, ERR_USAGE, "usage", "%s is missing", in ? "--out" : "--in");
        return cli_fail(self, &e);
    }
    int op = find_op(op_name, &e);
    cli_opened opened;
    if (op < 0 || !cli_isa_known(isa, &e) || !cli_open(folder, device, false, &opened, &e))
        return cli_fail(self, &e);
    bool ok = run(&opened, op, in, out, (int)threads, isa, &e);
    cli_close(&opened);
    return ok ? 0 : cli_fail(self, &e);
}
