/* candidate.c: what candidates of both kinds share: names, tiles, and the in-memory library of one kernel. The kinds
 * themselves are in candidate_cpu.c and candidate_cuda.c. */
#include "tuner/candidate.h"

#include <string.h>

#include "tuner/candidate_kinds.h"

const char *tune_status_name(tune_status status) {
    static const char *const names[] = {"new", "verified", "rejected", "failed"};
    return names[status];
}

bool tune_tile_same(const tune_tile *a, const tune_tile *b) {
    return tune_tile_distance(a, b) == 0;
}

int tune_tile_distance(const tune_tile *a, const tune_tile *b) {
    int different = 0;
    if (a->variant != b->variant)
        return TUNE_DISTANCE_MAX;
    for (int k = 0; !a->variant && k < GEN_CPU_KNOB_COUNT; k++)
        different += a->cpu.knob[k] != b->cpu.knob[k];
    for (int k = 0; a->variant && k < a->cuda.count; k++)
        different += a->cuda.knob[k].value != b->cuda.knob[k].value;
    return different;
}

void tune_tile_visit(const tune_tile *tile, void (*visit)(void *context, const char *knob, int32_t value),
                     void *context) {
    for (int k = 0; !tile->variant && k < GEN_CPU_KNOB_COUNT; k++)
        if (tile->cpu.knob[k])
            visit(context, gen_knob_name(k), tile->cpu.knob[k]);
    for (int k = 0; tile->variant && k < tile->cuda.count; k++)
        visit(context, tile->cuda.knob[k].name, tile->cuda.knob[k].value);
}

void tune_candidate_init(tune_candidate *c, const gen_problem *problem, nha_op op, const tune_arch *arch,
                         const tune_tile *tile, int order) {
    memset(c, 0, sizeof *c);
    c->problem = problem;
    c->op = op;
    c->arch = *arch;
    c->tile = *tile;
    c->order = order;
    if (arch->cuda)
        gen_cuda_tile_string(tile->variant, arch->cuda, &tile->cuda, c->string, sizeof c->string);
    else
        gen_tile_string(arch->isa, op, &tile->cpu, c->string, sizeof c->string);
}

/* One kernel, valid for every shape, under the problem's own name. */
static void fill_library(tune_candidate *c) {
    c->kernel = (nha_kernel){.name = c->name,
                             .op = (int32_t)c->op,
                             .kind = (int32_t)tune_arch_kind(&c->arch),
                             .isa = tune_arch_name(&c->arch),
                             .max_tasks = INT64_MAX,
                             .max_length = INT64_MAX};
    if (c->arch.cuda) {
        c->kernel.cuda = &c->cuda->unit.code;
        c->kernel.cubin = c->cuda->image.cubin;
        c->kernel.cubin_bytes = c->cuda->image.cubin_size;
        c->kernel.ptx = c->cuda->image.ptx;
        c->kernel.ptx_bytes = strlen(c->cuda->image.ptx);
    } else {
        c->kernel.cpu_features = c->arch.isa->needs;
        c->kernel.cpu = &c->cpu;
    }
    c->library = (nha_library){.magic = NHA_LIBRARY_MAGIC,
                               .abi_version = NHA_ABI_VERSION,
                               .struct_size = sizeof(nha_library),
                               .name = c->problem->name,
                               .generator = "nhac " NHA_VERSION,
                               .problem_count = 1,
                               .kernel_count = 1,
                               .problems = &c->problem->nha,
                               .kernels = &c->kernel};
}

bool tune_candidate_load(tune_candidate *c, const jit_nvrtc *nvrtc, err *e) {
    if (c->loaded)
        return true;
    c->loaded = true; /* so that a half-loaded candidate is unloaded */
    if (c->arch.cuda ? !candidate_load_cuda(c, nvrtc, e) : !candidate_load_cpu(c, e)) {
        tune_candidate_unload(c);
        return false;
    }
    fill_library(c);
    return true;
}

void tune_candidate_unload(tune_candidate *c) {
    if (!c->loaded)
        return;
    if (c->arch.cuda)
        candidate_unload_cuda(c);
    else
        candidate_unload_cpu(c);
    c->loaded = false;
}

char *tune_candidate_source(const tune_candidate *c, err *e) {
    return c->arch.cuda ? candidate_source_cuda(c, e) : candidate_source_cpu(c, e);
}

bool tune_default_tile(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_tile *tile, err *e) {
    memset(tile, 0, sizeof *tile);
    if (arch->cuda)
        return candidate_default_cuda(problem, op, arch, tile, e);
    gen_tile_default(problem, op, arch->isa, &tile->cpu);
    return true;
}
