/* header.c: see header.h. */
#include "gen/cuda/header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Each line of the problem's own words behind "//   ". */
static bool problem_in_words(const gen_problem *problem, base_buf *out, err *e) {
    char *text = NULL;
    size_t size = 0;
    FILE *words = open_memstream(&text, &size);
    if (!words)
        return err_memory(e, "render");
    gen_problem_print(words, problem);
    bool ok = fclose(words) == 0;
    for (char *line = text; ok && line && *line;) {
        size_t length = strcspn(line, "\n");
        base_buf_printf(out, "//     %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    free(text);
    return ok || err_memory(e, "render");
}

static void tile_in_words(const gen_cuda_tile *tile, const gen_rendered *rendered, base_buf *out) {
    base_buf_printf(out, "// tile%s\n", tile->standard ? ", the untuned default" : "");
    for (int i = 0; i < tile->count; i++) {
        const gen_constant *knob = gen_rendered_find(rendered, tile->knob[i].name);
        base_buf_printf(out, "//     %s = %" PRId32 "%s%s\n", tile->knob[i].name, tile->knob[i].value,
                        knob && knob->comment[0] ? ": " : "", knob ? knob->comment : "");
    }
}

static void layout_in_words(const gen_cuda_layout *layout, base_buf *out) {
    base_buf_text(out, "// layout\n");
    base_buf_printf(out, "//     shared memory: %" PRId32 " bytes a block\n", layout->shared_bytes[0]);
    base_buf_printf(out,
                    "//     workspace: %" PRId64 " bytes a block, and %" PRId64
                    " for each token of the window that a sequence reaches\n",
                    layout->workspace_bytes, layout->workspace_window_bytes);
}

static void launches_in_words(const gen_cuda_kernel *kernel, const gen_cuda_unit *unit, base_buf *out) {
    base_buf_text(out, "// launch: one block for each (sequence n, kv head h), blockIdx.x = n * KV_HEADS + h\n");
    for (int i = 0; i < kernel->launch_count; i++)
        base_buf_printf(out, "//     %d. %s: %" PRId32 " threads, %" PRId32 " bytes of dynamic shared memory%s\n",
                        i + 1, unit->entry[i], unit->layout.threads[i], unit->layout.shared_bytes[i],
                        kernel->launch[i].needs_cache ? "; where there is a cache" : "");
}

bool gen_cuda_header(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                     const gen_cuda_tile *tile, const gen_cuda_unit *unit, const gen_rendered *rendered, base_buf *out,
                     err *e) {
    char string[256];
    gen_problem_string(problem, kernel->op, string, sizeof string);
    base_buf_text(out, "// Generated file; do not edit. Made again by: ");
    base_buf_printf(out, "nhac gen %s.yaml --target %s%s\n", problem->name, target->name,
                    tile->standard ? "" : " --all");
    base_buf_printf(out, "// kernel %s\n// problem %s\n", unit->name, string);
    if (!problem_in_words(problem, out, e))
        return false;
    tile_in_words(tile, rendered, out);
    layout_in_words(&unit->layout, out);
    launches_in_words(kernel, unit, out);
    base_buf_printf(out, "// template %s, SHA-256 %s\n// generator nhac %s\n\n", kernel->template_file, rendered->hash,
                    NHA_VERSION);
    return base_buf_ok(out, "render", e);
}
