/* render.c: see render.h. Each file is written whole; there is no final name before all of its text is there. */
#include "tuner/render.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/path.h"
#include "gen/cuda/cuda.h"
#include "gen/templates.h"
#include "tuner/debug.h"
#include "tuner/space.h"
#include "tuner/tune.h"

enum { SOURCE_BYTES_MAX = 256 << 20 };

typedef struct rendering {
    char *folder;    /* NAME/src */
    bool in_library; /* NAME holds a library: its sources are what its kernels were made from */
    int count;
} rendering;

static bool same(const char *path, const char *text) {
    char *old = NULL;
    size_t size = 0;
    err ignored = {0};
    bool equal = base_file_read(path, SOURCE_BYTES_MAX, &old, &size, "gen", &ignored) && size == strlen(text) &&
                 memcmp(old, text, size) == 0;
    free(old);
    err_clear(&ignored);
    return equal;
}

/* Writes one source under its final name, unless it is there. */
static bool put(rendering *r, const char *name, const char *text, err *e) {
    bool ok = false;
    char *path = base_path_join(r->folder, name);
    if (!path)
        return err_memory(e, "gen");
    if (tune_debug(TUNE_DEBUG_SOURCE))
        fputs(text, stderr);
    if (same(path, text)) {
        ok = true;
    } else if (r->in_library && base_exists(path)) {
        err_at(e, ERR_INPUT, "gen", path, 0, 0,
               "belongs to a library made from another spec or by another version; choose another folder with -o");
    } else {
        ok = base_file_write(path, text, strlen(text), "gen", e);
    }
    r->count += ok;
    free(path);
    return ok;
}

/* ---- cpu ---- */

static bool render(rendering *r, const tune_candidate *c, err *e) {
    char name[192];
    snprintf(name, sizeof name, "%s.%s.ll", gen_op_name(c->op), c->string);
    char *text = tune_candidate_source(c, e);
    bool ok = text && put(r, name, text, e);
    free(text);
    return ok;
}

static bool render_isa(rendering *r, const gen_spec *spec, nha_op op, const gen_isa *isa, bool all, err *e) {
    const tune_arch arch = {.isa = isa};
    tune_space space = {0};
    if (all) {
        if (!tune_space_open(&spec->problem, op, &arch, &space, e))
            return false;
        bool ok = true;
        for (int i = 0; ok && i < space.count; i++)
            ok = render(r, &space.candidates[i], e);
        tune_space_close(&space);
        return ok;
    }
    tune_candidate c;
    tune_tile tile;
    if (!tune_default_tile(&spec->problem, op, &arch, &tile, e))
        return false;
    tune_candidate_init(&c, &spec->problem, op, &arch, &tile, 0);
    return render(r, &c, e);
}

static bool render_cpu(rendering *r, const gen_spec *spec, bool all, err *e) {
    int count;
    const gen_isa *table = gen_isa_table(&count), *host = gen_isa_best(nha_cpu_features());
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        for (int i = 0; spec->ops[op] && i < count; i++) {
            if ((host && strcmp(host->triple, table[i].triple) != 0) ||
                gen_cpu_serves(&spec->problem, (nha_op)op, &table[i]) != &table[i])
                continue;
            if (!render_isa(r, spec, (nha_op)op, &table[i], all, e))
                return false;
        }
    }
    return true;
}

/* ---- GPUs ---- */

typedef struct cuda_rendering {
    rendering *r;
    const gen_embedded *files;
    const gen_spec *spec;
    const gen_cuda_kernel *kernel;
    const gen_cuda_target *target;
    err *e;
    bool ok;
} cuda_rendering;

static bool render_tile(void *context, const gen_cuda_tile *tile, const char *reason) {
    cuda_rendering *c = context;
    gen_cuda_unit unit;
    char name[200];
    if (reason)
        return true;
    c->ok = gen_cuda_emit(c->files, c->kernel, &c->spec->problem, c->target, tile, &unit, c->e);
    if (!c->ok)
        return false;
    snprintf(name, sizeof name, "%s.cu", unit.name);
    c->ok = put(c->r, name, unit.source, c->e);
    gen_cuda_unit_destroy(&unit);
    return c->ok;
}

static bool render_cuda(rendering *r, const gen_spec *spec, const gen_cuda_target *target, bool all, err *e) {
    int count;
    const gen_embedded *files = gen_templates(e);
    const gen_cuda_kernel *kernels = gen_cuda_kernels(&count);
    if (!files)
        return false;
    for (int i = 0; i < count; i++) {
        cuda_rendering c = {.r = r, .files = files, .spec = spec, .kernel = &kernels[i], .target = target, .e = e, .ok = true};
        gen_cuda_tile tile;
        if (!spec->ops[kernels[i].op] || kernels[i].refuses(&spec->problem, target))
            continue;
        bool ok = all ? gen_cuda_space(files, &kernels[i], &spec->problem, target, render_tile, &c, e)
                      : gen_cuda_tile_default(files, &kernels[i], &spec->problem, target, &tile, e) &&
                            render_tile(&c, &tile, NULL);
        if (!ok || !c.ok)
            return false;
    }
    return true;
}

static bool render_target(rendering *r, const gen_spec *spec, const char *name, bool all, err *e) {
    const gen_cuda_target *target = gen_cuda_target_find(name);
    return target ? render_cuda(r, spec, target, all, e) : render_cpu(r, spec, all, e);
}

bool tune_render(const gen_spec *spec, const char *const *targets, int target_count, const char *folder, bool all,
                 int *count, err *e) {
    rendering r = {0};
    bool ok = false;
    char *library = NULL, *manifest = NULL;
    int wanted = target_count ? target_count : spec->target_count;
    *count = 0;
    for (int i = 0; i < target_count; i++)
        if (!tune_target_known(targets[i], e))
            return false;
    library = base_path_join(folder, spec->problem.name);
    if (library) {
        r.folder = base_path_join(library, "src");
        manifest = base_path_join(library, "manifest.yaml");
    }
    if (!library || !r.folder || !manifest) {
        err_memory(e, "gen");
        goto done;
    }
    r.in_library = base_exists(manifest);
    if (!base_mkdirs(r.folder, "gen", e))
        goto done;
    for (int i = 0; i < wanted; i++)
        if (!render_target(&r, spec, target_count ? targets[i] : spec->targets[i], all, e))
            goto done;
    ok = true;
done:
    *count = r.count;
    free(library);
    free(r.folder);
    free(manifest);
    return ok;
}
