/* help_render.h: tables of template files for tests: read from tests/render, or made of strings. */
#ifndef HELP_RENDER_H
#define HELP_RENDER_H

#include "gen/render.h"

/* Reads files of tests/render into a table that ends with a NULL name. Freed by help_files_free. */
gen_embedded *help_files(const char *const *names, int count);
void help_files_free(gen_embedded *files);
/* The text of a file below the source root, malloc'd; fails the test if it is not there. */
char *help_read(const char *path);

/* Renders one text as t.cu, with part.cuh beside it. */
bool help_render(const char *text, const char *part, const gen_given *given, int count, gen_rendered *out, err *e);
/* Expects a rendering to fail with a place (line 0: none) and a piece of text. */
void help_refused(const char *text, const char *part, const gen_given *given, int count, const char *file, int line,
                  int column, const char *piece);

#endif
