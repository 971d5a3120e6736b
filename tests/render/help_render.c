/* help_render.c: see help_render.h. */
#include "help_render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"

char *help_read(const char *path) {
    char *text;
    size_t size;
    err e = {0};
    if (!base_file_read(path, 1 << 24, &text, &size, "test", &e)) {
        err_print(stderr, &e);
        fail();
    }
    return text;
}

gen_embedded *help_files(const char *const *names, int count) {
    gen_embedded *files = calloc((size_t)count + 1, sizeof *files);
    assert_non_null(files);
    for (int i = 0; i < count; i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/render/%s", names[i]);
        files[i].name = names[i];
        files[i].text = help_read(path);
        files[i].size = strlen(files[i].text);
    }
    return files;
}

void help_files_free(gen_embedded *files) {
    for (gen_embedded *f = files; f->name; f++)
        free((char *)f->text);
    free(files);
}

bool help_render(const char *text, const char *part, const gen_given *given, int count, gen_rendered *out, err *e) {
    const gen_embedded files[] = {{"t.cu", text, strlen(text)}, {"part.cuh", part, strlen(part)}, {NULL, NULL, 0}};
    return gen_render(files, "t.cu", given, count, out, e);
}

void help_refused(const char *text, const char *part, const gen_given *given, int count, const char *file, int line,
                  int column, const char *piece) {
    gen_rendered out;
    err e = {0};
    if (help_render(text, part, given, count, &out, &e)) {
        print_error("accepted, though it should be refused (%s):\n%s\n", piece, text);
        gen_rendered_destroy(&out);
        fail();
    }
    if (e.code != ERR_INPUT || strcmp(e.file, file) != 0 || e.line != line || e.column != column ||
        !strstr(e.text, piece)) {
        print_error("%s\ngives %s:%d:%d: %s\n  not %s:%d:%d: ...%s...\n", text, e.file, e.line, e.column, e.text, file,
                    line, column, piece);
        fail();
    }
    err_clear(&e);
}
