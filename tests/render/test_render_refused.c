/* test_render_refused.c: what the template language refuses, each with file, line and column; values that do not fit;
 * and a fuzz loop: whatever the bytes, the renderer ends with a result or an error, and a result keeps its promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "help_render.h"

#define KNOB(name, value) "#ifndef " name "\n#define " name " " value "\n#endif\n"
#define A KNOB("A", "1") /* three lines */

static void test_language(void **state) {
    (void)state;
    static const struct row {
        const char *text;
        int line, column;
        const char *piece;
    } rows[] = {
        {"int a;\n#define F(x) x\n", 2, 9, "function-like macros"},
        {"#define N A + 1\n", 1, 9, "one integer literal"},
        {"#define N 0.5f\n", 1, 9, "one integer literal"},
        {"#define N\n", 1, 9, "one integer literal"},
        {"#define N 1\n#define N 2\n", 2, 9, "declared already"},
        {"x a##b;\n", 1, 4, "##"},
        {"  x # y\n", 1, 5, "beginning of a directive"},
        {"int a; \\\nint b;\n", 1, 8, "line continuations"},
        {"// comment \\\nint b;\n", 1, 12, "line continuations"},
        {"\"text \\\n\"\n", 1, 7, "line continuations"},
        {"int x = __CUDA_ARCH__;\n", 1, 9, "__CUDA_ARCH__"},
        {"#if __CUDA_ARCH__ >= 800\n#endif\n", 1, 5, "unknown knob"},
        {"  std::size_t n;\n", 1, 3, "std"},
        {"int l = __LINE__;\n", 1, 9, "__LINE__"},
        {"int l = __DATE__;\n", 1, 9, "__DATE__"},
        {"_Pragma(\"unroll\")\n", 1, 1, "_Pragma"},
        {A "void f() {\n  if constexpr (A > 1) g();\n}\n", 5, 17, "if constexpr"},
        {A "constexpr int B = A * 2;\nvoid f() { if constexpr (B == 2) g(); }\n", 5, 26, "if constexpr"},
        {A "void f() { constexpr int B = h(A); if constexpr (1 + B) g(); }\n", 4, 54, "if constexpr"},
        {"#ifdef A\n#endif\n", 1, 2, "#ifdef is not part"},
        {"#undef A\n", 1, 2, "#undef is not part"},
        {"#line 3\n", 1, 2, "#line is not part"},
        {"#warning x\n", 1, 2, "#warning is not part"},
        {"#\n", 1, 1, "without a name"},
        {"#pragma GCC diagnostic\n", 1, 2, "only #pragma"},
        {"#pragma once\n", 1, 9, "belongs into parts"},
        {"#if B\n#endif\n", 1, 5, "unknown knob"},
        {"#if 0 && B\n#endif\n", 1, 10, "unknown knob"},
        {"#if defined(A)\n#endif\n", 1, 5, "unknown knob"},
        {A "#if A +\n#endif\n", 4, 2, "ends too early"},
        {A "#if (A\n#endif\n", 4, 2, "expected )"},
        {A "#if A A\n#endif\n", 4, 7, "expected an operator"},
        {A "#if A ? 1\n#endif\n", 4, 2, "expected :"},
        {A "#if 1 / (A - 1)\n#endif\n", 4, 7, "division by zero"},
        {A "#if 1 << 63\n#endif\n", 4, 7, "shift"},
        {A "#if 9223372036854775807 + A\n#endif\n", 4, 25, "64 bits"},
        {A "#if 0777\n#endif\n", 4, 5, "not an integer"},
        {A "#if 1.5\n#endif\n", 4, 5, "not an integer"},
        {A "#if 'a'\n#endif\n", 4, 5, "expected a number"},
        {A "constexpr int B = A;\n#if B\n#endif\n", 5, 5, "a constexpr"},
        {KNOB("F", "0.5f") "#if F\n#endif\n", 4, 5, "not an integer knob"},
        {"#if\n#endif\n", 1, 2, "ends too early"},
        {"x\n#endif\n", 2, 2, "no #if before it"},
        {"#else\n", 1, 2, "no #if before it"},
        {"#if 1\n#else\n#else\n#endif\n", 3, 2, "last branch"},
        {"#if 1\n#else\n#elif 1\n#endif\n", 3, 2, "last branch"},
        {"#if 1\nx\n", 1, 2, "no #endif"},
        {"#if 1\n#endif x\n", 2, 8, "nothing but a comment"},
        {"#ifndef A\n#define B 1\n#endif\n", 2, 9, "the name it asks for"},
        {"#ifndef A\nint a;\n#endif\n", 1, 2, "#ifndef begins a knob"},
        {"#ifndef A\n#define A 1\nint a;\n#endif\n", 1, 2, "#ifndef begins a knob"},
        {"#ifndef A\n#define A 1\n", 1, 2, "#ifndef begins a knob"},
        {"#ifndef\n", 1, 2, "#ifndef begins a knob"},
        {"#ifndef A\n#define A (1)\n#endif\n", 2, 9, "default is one literal"},
        {"#ifndef A\n#define A 1 + 1\n#endif\n", 2, 9, "default is one literal"},
        {"#ifndef A\n#define A 3000000000\n#endif\n", 2, 9, "default is one literal"},
        {"#ifndef A\n#define A 1 /* one */\n#endif\n", 2, 13, "stands behind //"},
        {"#if 1\n" A "#endif\n", 2, 2, "at file scope"},
        {"void f() {\n" A "}\n", 2, 2, "at file scope"},
        {"void f() {\n#define N 1\n}\n", 2, 2, "at file scope"},
        {A KNOB("A", "2"), 5, 9, "declared already"},
        {"#include <cuda.h>\n", 1, 2, "only parts"},
        {"#include \"other.cuh\"\n", 1, 10, "no such part"},
        {"#include \"../etc/passwd\"\n", 1, 10, "no such part"},
        {"void f() {\n#include \"part.cuh\"\n}\n", 2, 10, "at file scope"},
        {"#error no text\n", 1, 2, "one string"},
        {"// see #include\n", 1, 1, "may stand nowhere"},
        {"asm(\"#include\");\n", 1, 5, "may stand nowhere"},
        {"/* a\n  #if b */\n", 1, 1, "begin with #if"},
        {"x /* never\nclosed\n", 1, 3, "not closed"},
        {"x \"never\n", 1, 3, "not closed"},
        {"x 'n\n", 1, 3, "not closed"},
        {"x R\"(raw)\"\n", 1, 4, "raw strings"},
        {"%: define A\n", 1, 1, "digraphs"},
        {"int a;\r\n", 1, 7, "control character"},
        {"\xc3\xa4 = 1;\n", 1, 1, "beyond ASCII"},
        {"/* \xc3\xa4 */ x # y\n", 1, 11, "beginning of a directive"}, /* columns count characters */
        {A "constexpr int B = A << 31;\n", 4, 15, "does not fit its type"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        help_refused(rows[i].text, "", NULL, 0, "t.cu", rows[i].line, rows[i].column, rows[i].piece);
    help_refused("\n#include \"part.cuh\"\n", "ok\n  std::x\n", NULL, 0, "part.cuh", 2, 3, "std");
    help_refused(A "#include \"part.cuh\"\n", KNOB("A", "2"), NULL, 0, "part.cuh", 2, 9,
                 "declared already, in t.cu, as 1");
}

static void test_values(void **state) {
    (void)state;
    static const char text[] =
        KNOB("COUNT", "1") KNOB("SMALL", "1u") KNOB("FACTOR", "1.0f") KNOB("NAME", "word") KNOB("LIST", "1, 2");
    static const struct row {
        gen_given given;
        const char *piece;
    } rows[] = {
        {{"COUNT", "3000000000", false}, "COUNT = 3000000000 does not fit"},
        {{"COUNT", "1.5f", false}, "does not fit"},
        {{"COUNT", "word", false}, "does not fit"},
        {{"COUNT", "1; int x", false}, "does not fit"},
        {{"COUNT", "", false}, "does not fit"},
        {{"COUNT", "1\n", false}, "does not fit"},
        {{"COUNT", "1 // x", false}, "does not fit"},
        {{"SMALL", "-1", false}, "does not fit"},
        {{"FACTOR", "1", false}, "does not fit"},
        {{"FACTOR", "1.0f + x", false}, "does not fit"},
        {{"NAME", "two words", false}, "does not fit"},
        {{"NAME", "f(", false}, "does not fit"},
        {{"LIST", "1, x", false}, "does not fit"},
        {{"LIST", "1} {2", false}, "does not fit"},
        {{"CUONT", "1", false}, "no knob CUONT; nearest: COUNT"},
        {{"CUONT", "1", false}, "nearest"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        help_refused(text, "", &rows[i].given, 1, "t.cu", 0, 0, rows[i].piece);
    static const gen_given fixed = {"N", "2", false};
    help_refused("#define N 1\n", "", &fixed, 1, "t.cu", 0, 0, "no knob N");
}

static void test_depth(void **state) {
    (void)state;
    char text[1 << 12] = "#if ";
    for (int i = 0; i < 1000; i++)
        strcat(text, "(");
    strcat(text, "\n#endif\n");
    gen_rendered out;
    err e = {0};
    assert_false(help_render(text, "", NULL, 0, &out, &e));
    assert_non_null(strstr(e.text, "nested too deeply"));
    err_clear(&e);
    memset(text, 0, sizeof text);
    for (int i = 0; i < 500; i++)
        strcat(text, "#if 1\n");
    assert_false(help_render(text, "", NULL, 0, &out, &e));
    assert_int_equal(e.line, GEN_RENDER_DEPTH_MAX + 1);
    err_clear(&e);
    memset(text, '~', sizeof text - 1);
    memcpy(text, "#if ", 4);
    assert_false(help_render(text, "", NULL, 0, &out, &e));
    err_clear(&e);
}

/* Pieces that meet in ways nobody wrote. */
static const char *const pieces[] = {"#if ",
                                     "#elif ",
                                     "#else\n",
                                     "#endif\n",
                                     "#ifndef A\n",
                                     "#define A 4\n",
                                     "#define ",
                                     "#include \"part.cuh\"\n",
                                     "A",
                                     "B",
                                     " ",
                                     "\n",
                                     "(",
                                     ")",
                                     "{",
                                     "}",
                                     "/*",
                                     "*/",
                                     "//",
                                     "\"",
                                     "'",
                                     "\\",
                                     "1",
                                     "0x",
                                     "<<",
                                     "/",
                                     "constexpr int ",
                                     "=",
                                     ";",
                                     "static_assert(",
                                     ",",
                                     "if constexpr (",
                                     "#pragma ",
                                     "#error \"x\"\n",
                                     "std",
                                     "##",
                                     "1ull",
                                     "-",
                                     "?",
                                     ":",
                                     A,
                                     KNOB("B", "1, 2"),
                                     "1.5f",
                                     "%",
                                     "\xff",
                                     "R\"(",
                                     "#",
                                     "\t"};

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static void check_promises(const gen_rendered *out) {
    assert_int_equal(strlen(out->text), out->size);
    assert_null(strstr(out->text, "#include"));
    const char *line = out->text;
    while (line && *line) {
        const char *first = line;
        while (*first == ' ' || *first == '\t')
            first++;
        assert_true(strncmp(first, "#if", 3) != 0);
        line = strchr(line, '\n');
        line += line != NULL;
    }
}

static void test_fuzz(void **state) {
    (void)state;
    uint64_t seed = 20260101;
    int accepted = 0;
    for (int round = 0; round < 20000; round++) {
        char text[2048] = "", part[256] = "part\n";
        int count = (int)(next_random(&seed) % 24);
        for (int i = 0; i < count; i++)
            strcat(text, pieces[next_random(&seed) % (sizeof pieces / sizeof *pieces)]);
        if (round % 4 == 0)
            snprintf(part, sizeof part, "%.200s", text);
        const gen_given given = {"A", round % 3 ? "8" : "word", true};
        gen_rendered out;
        err e = {0};
        if (help_render(text, part, &given, 1, &out, &e)) {
            check_promises(&out);
            gen_rendered_destroy(&out);
            accepted++;
        } else {
            assert_int_equal(e.code, ERR_INPUT);
            assert_true(e.text[0] && !strchr(e.text, '\n'));
            err_clear(&e);
        }
    }
    assert_true(accepted > 500); /* the loop reaches beyond the first check */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_language),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
