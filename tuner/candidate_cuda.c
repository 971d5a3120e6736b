/* candidate_cuda.c: tile -> CUDA source -> PTX and cubin. Nothing is loaded: libnha does that, at plan time, on the
 * device of the plan. */
#include <stdlib.h>
#include <string.h>

#include "gen/templates.h"
#include "tuner/candidate_kinds.h"

static bool emit(const tune_candidate *c, gen_cuda_unit *unit, err *e) {
    const gen_embedded *files = gen_templates(e);
    if (!files || !gen_cuda_emit(files, c->tile.variant, c->problem, c->arch.cuda, &c->tile.cuda, unit, e))
        return false;
    if (!unit->reason[0])
        return true;
    err_set(e, ERR_INTERNAL, "render", "%s: %s", c->string, unit->reason);
    gen_cuda_unit_destroy(unit);
    return false;
}

static bool compile(const tune_candidate *c, const jit_nvrtc *nvrtc, err *e) {
    char file[224], reason[256];
    snprintf(file, sizeof file, "%s.cu", c->name);
    /* Line information makes the emulator's reports name lines of the source; it changes no instruction. */
    const char *const options[] = {"-lineinfo"};
    const jit_cuda_request request = {.source = c->cuda->unit.source,
                                      .name = file,
                                      .arch = c->arch.cuda->name,
                                      .options = options,
                                      .option_count = 1};
    if (!jit_nvrtc_compile(nvrtc, &request, &c->cuda->image, e)) {
        memset(&c->cuda->image, 0, sizeof c->cuda->image);
        return false;
    }
    return c->tile.variant->generic || jit_cuda_spill_free(&c->cuda->image, reason, sizeof reason) ||
           err_set(e, ERR_COMPILE, "compile", "%s", reason);
}

bool candidate_load_cuda(tune_candidate *c, const jit_nvrtc *nvrtc, err *e) {
    if (!nvrtc)
        return err_set(e, ERR_MISSING, "compile", "there is no NVRTC to compile %s", c->string);
    c->cuda = calloc(1, sizeof *c->cuda);
    if (!c->cuda)
        return err_memory(e, "compile");
    if (!emit(c, &c->cuda->unit, e)) {
        memset(&c->cuda->unit, 0, sizeof c->cuda->unit);
        return false;
    }
    memcpy(c->name, c->cuda->unit.name, sizeof c->name);
    return compile(c, nvrtc, e);
}

void candidate_unload_cuda(tune_candidate *c) {
    if (!c->cuda)
        return;
    gen_cuda_unit_destroy(&c->cuda->unit);
    jit_cuda_image_destroy(&c->cuda->image);
    free(c->cuda);
    c->cuda = NULL;
}

char *candidate_source_cuda(const tune_candidate *c, err *e) {
    gen_cuda_unit unit;
    if (!emit(c, &unit, e))
        return NULL;
    char *source = unit.source;
    unit.source = NULL;
    gen_cuda_unit_destroy(&unit);
    return source;
}

bool candidate_default_cuda(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_tile *tile, err *e) {
    int count;
    const char *reason = "there is none for this operation";
    const gen_embedded *files = gen_templates(e);
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&count);
    for (int i = 0; files && i < count; i++) {
        const char *refusal = kernels[i].op == op ? kernels[i].refuses(problem, arch->cuda) : NULL;
        if (refusal)
            reason = refusal;
        if (kernels[i].op != op || refusal)
            continue;
        tile->variant = &kernels[i];
        return gen_cuda_tile_default(files, &kernels[i], problem, arch->cuda, &tile->cuda, e);
    }
    return files && err_set(e, ERR_MISSING, "render", "%s has no CUDA kernel for this problem on %s: %s", gen_op_name(op),
                            arch->cuda->name, reason);
}
