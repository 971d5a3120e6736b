/* templates.c: see templates.h. */
#include "gen/templates.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/path.h"

enum { FILE_BYTES_MAX = 1 << 20 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const gen_embedded *files; /* NULL: failed */
static err failure;

static bool replace(gen_embedded *file, const char *folder, err *e) {
    char *path = base_path_join(folder, file->name), *text = NULL;
    bool ok = path || err_memory(e, "render");
    if (ok && base_exists(path)) {
        ok = base_file_read(path, FILE_BYTES_MAX, &text, &file->size, "render", e);
        if (ok)
            file->text = text;
    }
    free(path);
    return ok;
}

static void choose(void) {
    const char *folder = getenv("NHAC_TEMPLATES");
    size_t count = 0;
    if (!folder || !*folder) {
        files = gen_embedded_files;
        return;
    }
    if (!base_is_folder(folder)) {
        err_at(&failure, ERR_SYSTEM, "render", folder, 0, 0, "NHAC_TEMPLATES names no folder");
        return;
    }
    while (gen_embedded_files[count].name)
        count++;
    gen_embedded *own = calloc(count + 1, sizeof *own);
    if (!own) {
        err_memory(&failure, "render");
        return;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        own[i] = gen_embedded_files[i];
        ok = replace(&own[i], folder, &failure);
    }
    if (ok)
        files = own;
    else
        free(own);
}

const gen_embedded *gen_templates(err *e) {
    pthread_once(&once, choose);
    if (!files)
        err_at(e, failure.code, failure.stage, failure.file, 0, 0, "%s", failure.text);
    return files;
}
