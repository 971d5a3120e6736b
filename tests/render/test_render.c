/* test_render.c: what the renderer makes of templates: snapshots, knobs, conditions, parts, derived constants. To add a
 * case of the language, add a row here; to add what is refused, see test_render_refused.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "help_render.h"

static const char *const small_files[] = {"small.cu", "small_types.cuh", "small_load.cuh"};

static void render_ok(const char *text, const char *part, const gen_given *given, int count, gen_rendered *out) {
    err e = {0};
    if (!help_render(text, part, given, count, out, &e)) {
        err_print(stderr, &e);
        fail();
    }
}

static void expect(const char *text, const char *part, const gen_given *given, int count, const char *expected) {
    gen_rendered out;
    render_ok(text, part, given, count, &out);
    assert_string_equal(out.text, expected);
    assert_int_equal(out.size, strlen(expected));
    gen_rendered_destroy(&out);
}

/* With NHAC_UPDATE_SNAPSHOTS=1 the snapshot is written anew, to be looked at and committed. */
static void snapshot(const char *path, const char *text) {
    const char *update = getenv("NHAC_UPDATE_SNAPSHOTS");
    if (update && strcmp(update, "1") == 0)
        assert_true(base_file_write(path, text, strlen(text), "test", NULL));
    char *expected = help_read(path);
    assert_string_equal(text, expected);
    free(expected);
}

static void test_snapshot(void **state) {
    (void)state;
    static const gen_given given[] = {{"KERNEL_MAIN", "small_kernel_t1", false},
                                      {"TILE", "1", false},
                                      {"REACH", "1099511627776", false},
                                      {"SCALE", "1.25e-01f", false},
                                      {"TABLE", "1ull,2ull, 3ull,4ull,5ull", false},
                                      {"ABSENT", "7", true}};
    gen_embedded *files = help_files(small_files, 3);
    gen_rendered a, b;
    err e = {0};
    assert_true(gen_render(files, "small.cu", NULL, 0, &a, &e));
    snapshot("tests/render/small.default.expected.cu", a.text);
    assert_true(gen_render(files, "small.cu", given, 6, &b, &e));
    snapshot("tests/render/small.t1.expected.cu", b.text);
    assert_string_equal(a.hash, b.hash); /* of the sources, not of the values */
    gen_rendered_destroy(&a);
    assert_true(gen_render(files, "small.cu", given, 6, &a, &e));
    assert_string_equal(a.text, b.text); /* the same inputs, the same bytes */
    assert_int_equal(gen_rendered_integer(&a, "THREADS", -1), 128);
    assert_int_equal(gen_rendered_integer(&a, "SHARED_BYTES", -1), -1); /* sizeof is not arithmetic over knobs */
    assert_int_equal(gen_rendered_integer(&a, "TILE_BYTES", -1), 4);
    assert_int_equal(gen_rendered_integer(&a, "REACH", -1), (int64_t)1 << 40);
    assert_null(a.refusal);
    gen_rendered_destroy(&a);
    gen_rendered_destroy(&b);
    help_files_free(files);
}

static void test_refusal(void **state) {
    (void)state;
    static const gen_given wide[] = {{"TILE", "16", false}}, half[] = {{"DTYPE", "1", false}};
    gen_embedded *files = help_files(small_files, 3);
    gen_rendered out;
    assert_true(gen_render(files, "small.cu", wide, 1, &out, NULL));
    assert_string_equal(out.refusal, "a thread holds at most 8 elements");
    gen_rendered_destroy(&out);
    assert_true(gen_render(files, "small.cu", half, 1, &out, NULL));
    assert_string_equal(out.refusal, "f16 is not written yet");
    gen_rendered_destroy(&out);
    help_files_free(files);
    render_ok("constexpr int A = 3;\nstatic_assert(A == 4);\nstatic_assert(sizeof(int) == 5, \"unknown\");\n", "", NULL,
              0, &out);
    assert_string_equal(out.refusal, "t.cu:2: a static_assert fails");
    gen_rendered_destroy(&out);
}

#define KNOB(name, value) "#ifndef " name "\n#define " name " " value "\n#endif\n"

static void test_types(void **state) {
    (void)state;
    expect(KNOB("A", "1 // one, and more") KNOB("B", "2u") KNOB("C", "-3ll") KNOB("D", "0xffffffffffffffffull")
               KNOB("E", "-0.5f") KNOB("F", "1e-3") KNOB("G", "word")
                   KNOB("H", "1, -2,") "int x = A, y = BB, z[] = {H}; G g; \"A G H\" 'G'\n",
           "", NULL, 0,
           "constexpr int A = 1; // one, and more\nconstexpr unsigned B = 2u;\nconstexpr long long C = -3ll;\n"
           "constexpr unsigned long long D = 18446744073709551615ull;\nconstexpr float E = -0.5f;\nconstexpr double F "
           "= 1e-3;\n"
           "int x = A, y = BB, z[] = {1, -2}; word g; \"A G H\" 'G'\n");
    static const gen_given given[] = {{"A", "-7", false},  {"B", "4294967295", false}, {"C", "5ll", false},
                                      {"E", "2.0", false}, {"G", "float", false},      {"H", "9ull", false}};
    expect(KNOB("A", "1") KNOB("B", "2u") KNOB("C", "3ll") KNOB("E", "0.5f") KNOB("G", "word")
               KNOB("H", "1, 2") "G x[] = {H};\n",
           "", given, 6,
           "constexpr int A = -7;\nconstexpr unsigned B = 4294967295u;\nconstexpr long long C = 5ll;\nconstexpr float "
           "E = 2.0f;\n"
           "float x[] = {9ull};\n");
}

static void test_conditions(void **state) {
    (void)state;
    static const struct row {
        const char *condition;
        bool holds;
    } rows[] = {
        {"A", true},
        {"!A", false},
        {"A == 2 && B == 3", true},
        {"(A + B) * 2 == 10", true},
        {"A + B * 2 == 8", true},
        {"7 / A == 3 && -7 / A == -3 && 7 % B == 1", true},
        {"1 << A == 4 && 256 >> B == 32", true},
        {"A < B && A <= 2 && B > A && B >= 3 && A != B", true},
        {"(A | 1) == B && (A & B) == 2 && (A ^ B) == 1 && ~A == -3", true},
        {"A == 1 ? 0 : B == 3 ? 1 : 0", true},
        {"A == 2 || 1 / (A - 2)", true}, /* the right side is not evaluated */
        {"A != 2 && 1 / (A - 2)", false},
        {"A == 2 ? 1 : 1 / (A - 2)", true},
        {"0x10 == 16 /* sixteen */ // really", true},
        {"FIXED == 5 && 5ull == FIXED", true},
        {"true && !false", true},
        {"- - A == + A", true},
        {"10 - 3 - 2 == 5 && 16 / 4 / 2 == 2", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 KNOB("A", "2") KNOB("B", "3") "#define FIXED 5\n#if %s\nyes\n#else\nno\n#endif\n", rows[i].condition);
        gen_rendered out;
        render_ok(text, "", NULL, 0, &out);
        if ((strstr(out.text, "\nyes\n") != NULL) != rows[i].holds ||
            (strstr(out.text, "\nno\n") != NULL) == rows[i].holds) {
            print_error("%s gives\n%s", rows[i].condition, out.text);
            fail();
        }
        gen_rendered_destroy(&out);
    }
}

static void test_branches(void **state) {
    (void)state;
    static const char text[] =
        KNOB("A", "2") "#if A == 1\none\n#elif A == 2\n# if 0\nnever\n# else\ntwo\n# endif\n#elif A == 2\nagain\n"
                       "#elif 1\nother\n#else\nlast\n#endif\nend\n";
    expect(text, "", NULL, 0, "constexpr int A = 2;\ntwo\nend\n");
    static const gen_given one[] = {{"A", "1", false}}, three[] = {{"A", "3", false}};
    expect(text, "", one, 1, "constexpr int A = 1;\none\nend\n");
    expect(text, "", three, 1, "constexpr int A = 3;\nother\nend\n");
    expect("#if 0\n#if 1\na\n#else\nb\n#endif\n#error \"dead\"\n#include \"part.cuh\"\n#else\nc\n#endif\n", "part\n",
           NULL, 0, "c\n");
    expect("a  \n\n\n\n#if 1\n\n\nb\t\n#endif", "", NULL, 0,
           "a\n\nb\n"); /* no blanks at line ends, no holes where lines went */
    expect("no newline", "", NULL, 0, "no newline\n");
    expect("", "", NULL, 0, "");
}

static void test_fixed(void **state) {
    (void)state;
    expect("// top\n\n#define ONE 1 // not named\n#define TWO 2\n\nint x = 3; // ONE\n", "", NULL, 0,
           "// top\n\nint x = 3; // ONE\n");
    expect("#define ONE 1\n\n#define TWO 2 // two\nint x = TWO;\n#if ONE\ny\n#endif\n", "", NULL, 0,
           "constexpr int TWO = 2; // two\nint x = TWO;\ny\n");
    expect("#define ONE 1\n", "", NULL, 0, "");
    expect("#define ONE 1\n#include \"part.cuh\"\n", "constexpr int TWO = 2 * ONE;\n", NULL, 0,
           "constexpr int ONE = 1;\n\nconstexpr int TWO = 2 * ONE;\n");
}

static void test_parts(void **state) {
    (void)state;
    expect("#include \"part.cuh\" // once\n#include \"part.cuh\"\nuse X\n",
           "#pragma once\n" KNOB("X", "1 // of the part") "part\n", NULL, 0,
           "constexpr int X = 1; // of the part\npart\n\nuse X\n");
    expect("#include \"part.cuh\"\n", "#pragma once\n#include \"part.cuh\"\npart\n", NULL, 0,
           "part\n"); /* itself: once */
    gen_rendered a, b;
    render_ok("#include \"part.cuh\"\n", "p\n", NULL, 0, &a);
    render_ok("#include \"part.cuh\"\n", "q\n", NULL, 0, &b);
    assert_string_not_equal(a.hash, b.hash);
    gen_rendered_destroy(&a);
    gen_rendered_destroy(&b);
}

static void test_derived(void **state) {
    (void)state;
    gen_rendered out;
    render_ok(
        KNOB("A", "6") KNOB(
            "W", "64ll") "#define BYTES 4\n"
                         "constexpr int ROWS = A * 2, OTHER = 1;\nconstexpr int COLS = A > 5 ? A : 5;\n"
                         "static constexpr long long ALL = COLS * W * BYTES;\nconstexpr int THREADS =\n    COLS * 32;\n"
                         "constexpr unsigned long long MANY = 1ull << 40;\nconstexpr int plain = 3;\n"
                         "constexpr int twice(int n) { return 2 * n; }\nconstexpr int CALLED = twice(A);\n"
                         "constexpr float HALF = 0.5f * A;\nvoid f() { constexpr int INNER = A; }\n"
                         "constexpr int table[] = {A, 2};\nconstexpr bool BIG = A > 4;\n",
        "", NULL, 0, &out);
    assert_int_equal(gen_rendered_integer(&out, "COLS", -1), 6);
    assert_int_equal(gen_rendered_integer(&out, "ALL", -1), 1536);
    assert_int_equal(gen_rendered_integer(&out, "THREADS", -1), 192);
    assert_int_equal(gen_rendered_integer(&out, "MANY", -1), (int64_t)1 << 40);
    assert_int_equal(gen_rendered_integer(&out, "plain", -1), 3);
    assert_int_equal(gen_rendered_integer(&out, "BIG", -1), 1);
    assert_int_equal(gen_rendered_integer(&out, "BYTES", -1), 4);
    static const char *const unknown[] = {"ROWS", "CALLED", "HALF", "INNER", "table", "nothing"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(gen_rendered_integer(&out, unknown[i], -1), -1);
    gen_rendered_destroy(&out);
    expect("template <int N> int f() { if constexpr (N > 1) return 1; else return 0; }\n#pragma unroll 4\n", "", NULL,
           0, "template <int N> int f() { if constexpr (N > 1) return 1; else return 0; }\n#pragma unroll 4\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot),   cmocka_unit_test(test_refusal), cmocka_unit_test(test_types),
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_branches), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_fixed),        cmocka_unit_test(test_derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
