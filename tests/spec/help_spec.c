/* help_spec.c: for tests of bad specs: a text with a mark where the error must point. */
#include "help_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void expect_bad(const char *text, const char *message) {
    const char *mark = strchr(text, '@');
    size_t size = strlen(text) - 1, before = (size_t)(mark - text);
    char *plain = malloc(size ? size : 1); /* no NUL after it: reading past the end is seen */
    memcpy(plain, text, before);
    memcpy(plain + before, mark + 1, size - before);
    int line = 1, column = 1;
    for (const char *c = text; c < mark; c++) {
        column = *c == '\n' ? 1 : column + (((unsigned char)*c & 0xc0) != 0x80);
        line += *c == '\n';
    }
    gen_spec spec;
    err e = {0};
    if (gen_spec_parse("bad.yaml", plain, size, &spec, &e)) fail_msg("this spec was accepted:\n%s", text);
    if (e.line != line || e.column != column || strncmp(e.text, message, strlen(message)) != 0)
        fail_msg("%s\nexpected %d:%d: %s\ngot      %d:%d: %s", text, line, column, message, e.line, e.column, e.text);
    assert_int_equal(e.code, ERR_INPUT);
    assert_int_equal(err_exit_status(&e), 2);
    assert_string_equal(e.file, "bad.yaml");
    err_clear(&e);
    free(plain);
}
