/* render.c: see render.h. Each file is written whole; there is no final name before all of its text is there. */
#include "tuner/render.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/path.h"
#include "tuner/debug.h"
#include "tuner/space.h"

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

static bool render(rendering *r, const tune_candidate *c, err *e) {
    char name[192];
    snprintf(name, sizeof name, "%s.%s.ll", gen_op_name(c->op), c->string);
    bool ok = false;
    char *path = base_path_join(r->folder, name), *text = tune_candidate_source(c, e);
    if (!path)
        err_memory(e, "gen");
    if (!path || !text)
        goto done;
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
done:
    free(path);
    free(text);
    return ok;
}

static bool render_isa(rendering *r, const gen_spec *spec, nha_op op, const gen_isa *isa, bool all, err *e) {
    tune_space space = {0};
    if (all) {
        if (!tune_space_open(&spec->problem, op, isa, &space, e))
            return false;
        bool ok = true;
        for (int i = 0; ok && i < space.count; i++)
            ok = render(r, &space.candidates[i], e);
        tune_space_close(&space);
        return ok;
    }
    tune_candidate c;
    gen_tile tile;
    gen_tile_default(&spec->problem, op, isa, &tile);
    tune_candidate_init(&c, &spec->problem, op, isa, &tile, 0);
    return render(r, &c, e);
}

bool tune_render(const gen_spec *spec, const char *folder, bool all, int *count, err *e) {
    rendering r = {0};
    bool ok = false;
    char *library = base_path_join(folder, spec->problem.name), *manifest = NULL;
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
    int isa_count;
    const gen_isa *table = gen_isa_table(&isa_count), *host = gen_isa_best(nha_cpu_features());
    for (int op = NHA_PREFILL; op <= NHA_DECODE; op++) {
        for (int i = 0; spec->ops[op] && i < isa_count; i++) {
            if (host && strcmp(host->triple, table[i].triple) != 0)
                continue;
            if (!render_isa(&r, spec, (nha_op)op, &table[i], all, e))
                goto done;
        }
    }
    ok = true;
done:
    *count = r.count;
    free(library);
    free(r.folder);
    free(manifest);
    return ok;
}
