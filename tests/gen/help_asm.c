/* help_asm.c: see help_asm.h. */
#include "tests/gen/help_asm.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Whether the instruction part of a line names xmm, ymm, zmm or q registers. */
static bool names_vector(const char *line, size_t length) {
    for (size_t i = 0; i + 2 < length && line[i] != '#' && !(line[i] == '/' && line[i + 1] == '/'); i++) {
        bool begins = i == 0 || !isalnum((unsigned char)line[i - 1]);
        if (begins && strchr("xyz", line[i]) && line[i + 1] == 'm' && line[i + 2] == 'm')
            return true;
        if (begins && line[i] == 'q' && isdigit((unsigned char)line[i + 1]))
            return true;
    }
    return false;
}

static bool contains(const char *line, size_t length, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= length; i++)
        if (memcmp(line + i, word, n) == 0)
            return true;
    return false;
}

void help_asm_read(const char *text, help_asm *out) {
    out->functions = 0;
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        bool label = (isalpha((unsigned char)line[0]) || line[0] == '_') && contains(line, length, ":");
        if (label) {
            assert_true(out->functions < HELP_ASM_FUNCTIONS);
            snprintf(out->function[out->functions].name, sizeof out->function->name, "%.*s", (int)strcspn(line, ":"), line);
            out->function[out->functions++].vector_spills = 0;
        } else if (out->functions && (contains(line, length, "Spill") || contains(line, length, "Reload"))) {
            out->function[out->functions - 1].vector_spills += names_vector(line, length);
        }
        line += length + (line[length] == '\n');
    }
}
