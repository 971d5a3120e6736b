/* database_origin.c: where measurements come from, and whether that is still what is here. */
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "tuner/database.h"

/* SHA-256 of the sources of the defaults: kernels made by another generator are measured anew. */
static bool generator_hash(const gen_problem *problem, const tune_arch *arch, char hash[BASE_SHA256_HEX], err *e) {
    base_sha256 h;
    base_sha256_init(&h);
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        tune_candidate c;
        tune_tile tile;
        if (arch->cuda && !gen_cuda_has((nha_op)op))
            continue;
        if (!tune_default_tile(problem, (nha_op)op, arch, &tile, e))
            return false;
        tune_candidate_init(&c, problem, (nha_op)op, arch, &tile, 0);
        char *source = tune_candidate_source(&c, e);
        if (!source)
            return false;
        base_sha256_add_text(&h, source);
        free(source);
    }
    base_sha256_end_hex(&h, hash);
    return true;
}

static char *spec_text(const gen_spec *spec) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    gen_spec_write(stream, spec);
    if (fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}

bool tune_database_origin(const gen_spec *spec, const tune_arch *arch, const char *device, int threads,
                          tune_origin *origin, char key[65], err *e) {
    const jit_nvrtc *nvrtc = arch->cuda ? tune_nvrtc(e) : NULL;
    memset(origin, 0, sizeof *origin);
    if ((arch->cuda && !nvrtc) || !generator_hash(&spec->problem, arch, origin->generator, e))
        return false;
    snprintf(origin->name, sizeof origin->name, "%s", spec->problem.name);
    snprintf(origin->device, sizeof origin->device, "%s", device);
    snprintf(origin->arch, sizeof origin->arch, "%s", tune_arch_name(arch));
    snprintf(origin->compiler, sizeof origin->compiler, "%s", nvrtc ? jit_nvrtc_version(nvrtc) : jit_llvm_version());
    snprintf(origin->nhac, sizeof origin->nhac, "%s", NHA_VERSION);
    origin->threads = threads;
    tune_journal_key(&spec->problem, origin->device, origin->generator, origin->compiler, threads, key);
    origin->problem = spec_text(spec);
    return origin->problem || err_memory(e, "journal");
}

bool tune_database_differs(const tune_origin *old, const tune_origin *current, char *why, size_t size) {
    if (strcmp(old->nhac, current->nhac) != 0)
        snprintf(why, size, "made by nhac %s", old->nhac);
    else if (strcmp(old->compiler, current->compiler) != 0)
        snprintf(why, size, "the compiler was %s, now %s", old->compiler, current->compiler);
    else if (strcmp(old->device, current->device) != 0)
        snprintf(why, size, "the device was %s, now %s", old->device, current->device);
    else if (strcmp(old->generator, current->generator) != 0)
        snprintf(why, size, "kernels are generated differently now");
    else
        return false;
    return true;
}
