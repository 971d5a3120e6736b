/* test_embed_library.c: what an integrator does with a library folder: compiler, linker, pkg-config and CMake like it.
 * Tools that are not installed are skipped aloud; a C compiler is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "help_library.h"

static char parent[PATH_MAX], first[PATH_MAX + 16], second[PATH_MAX + 16], libnha[PATH_MAX + 16], source[PATH_MAX];

/* Prints each library's name and what its first prefill kernel writes for task 5. */
static const char program[] = "#include <stdio.h>\n"
                              "#include \"nha_one_x.h\"\n"
                              "#ifdef TWO\n"
                              "#include \"nha_two.h\"\n"
                              "#endif\n"
                              "#include \"nha_library.h\"\n"
                              "static int show(const nha_library *library) {\n"
                              "    nha_error error;\n"
                              "    float o[8] = {0};\n"
                              "    nha_cpu_args args = {0};\n"
                              "    if (nha_library_check(library, &error) != NHA_OK) return puts(error.text), 1;\n"
                              "    args.o.data = (char *)o;\n"
                              "    library->kernels[0].cpu->main(&args, 5, 6, 0);\n"
                              "    printf(\"%s %d %g\\n\", nha_library_name(library), NHA_ONE_X_HEADS_Q, o[5]);\n"
                              "    return 0;\n"
                              "}\n"
                              "int main(void) {\n"
                              "#ifdef TWO\n"
                              "    if (show(&nha_library_two)) return 1;\n"
                              "#endif\n"
                              "    return show(&nha_library_one_x);\n"
                              "}\n";

static int make_all(void **state) {
    (void)state;
    snprintf(parent, sizeof parent, "%s/embed", help_folder());
    snprintf(first, sizeof first, "%s/one.x", parent);
    snprintf(second, sizeof second, "%s/two", parent);
    snprintf(libnha, sizeof libnha, "%s/libnha.a", parent);
    help_write(parent, "one.x", 100);
    help_write(parent, "two", 101); /* two of its three kernels are also in the first library */
    assert_non_null(getcwd(source, sizeof source));
    assert_true(base_file_write(help_path(parent, "main.c"), program, sizeof program - 1, "test", NULL));
    free(help_run(
        "cd '%s' && for f in '%s'/runtime/*.c; do cc -std=c11 -D_GNU_SOURCE -I'%s' -c \"$f\" || exit 1; done && ar rc "
        "libnha.a *.o && rm *.o",
        parent, source, source));
    return 0;
}

static void expect(char *output, const char *expected) {
    assert_string_equal(output, expected);
    free(output);
}

static void one_symbol_is_exported(void **state) {
    (void)state;
    char *output = help_run("nm -D --defined-only '%s/libnha_one_x.so'", first);
    const char *symbol = strstr(output, " nha_library_one_x\n");
    assert_non_null(symbol);
    assert_true(strchr(output, '\n') + 1 == output + strlen(output)); /* one line */
    free(output);
    expect(help_run("nm -D --undefined-only '%s/libnha_one_x.so'", first), "");
    expect(help_run("nm -g --defined-only '%s/libnha_one_x.a' | grep -c ' nha_library_one_x$'", first), "1\n");
    expect(help_run("ar t '%s/libnha_one_x.a' | wc -l", first), "4\n");
    expect(help_run("nm -s '%s/libnha_one_x.a' | grep -c ' in '", first), "4\n"); /* the index */
}

static void shared_library_is_hardened(void **state) {
    (void)state;
    char *output = help_run("readelf -dlW '%s/libnha_one_x.so'", first);
    assert_non_null(strstr(output, "libnha_one_x.so")); /* SONAME */
    assert_non_null(strstr(output, "GNU_RELRO"));
    assert_non_null(strstr(output, "BIND_NOW"));
    assert_null(strstr(output, "NEEDED"));
    assert_null(strstr(output, "TEXTREL"));
    assert_null(strstr(output, "RWE"));
    assert_non_null(strstr(output, "GNU_STACK"));
    free(output);
    /* The table is read-only once relocated, the code is code. */
    output = help_run("readelf -SW '%s/libnha_one_x.so'", first);
    assert_non_null(strstr(output, ".data.rel.ro"));
    assert_null(strstr(output, " .data "));
    free(output);
}

static void links_into_programs(void **state) {
    (void)state;
    static const char common[] = "cd '%s' && %s -Wall -Wextra -Werror -I'%s/runtime' -Ione.x -Itwo main.c %s libnha.a "
                                 "-lpthread -ldl -o program && ./program";
    const char *one = "one.x/libnha_one_x.a", *two = "-DTWO one.x/libnha_one_x.a two/libnha_two.a";
    expect(help_run(common, parent, "cc -std=c11", source, one), "one.x 2 107\n");
    expect(help_run(common, parent, "cc -std=c11", source, two), "two 2 108\none.x 2 107\n");
    expect(help_run(common, parent, "cc -std=c11 -static-pie -fPIE", source, one), "one.x 2 107\n");
    expect(help_run(common, parent, "cc -std=c11 -Wl,-rpath,one.x -Wl,-z,noexecstack", source, "one.x/libnha_one_x.so"),
           "one.x 2 107\n");
    if (help_has("c++"))
        expect(help_run(common, parent, "c++ -xc++ -Wno-missing-field-initializers", source,
                        "-xnone one.x/libnha_one_x.a"),
               "one.x 2 107\n");
    else
        print_message("skipped: no c++\n");
}

static void pkg_config_finds_it(void **state) {
    (void)state;
    if (!help_has("pkg-config")) {
        print_message("skipped: no pkg-config\n");
        return;
    }
    /* In a moved copy, to show that nothing holds the old place. */
    expect(help_run(
               "cd '%s' && mkdir -p moved && cp -r one.x moved/ && export PKG_CONFIG_PATH=\"$PWD/moved/one.x\" && "
               "cc main.c -I'%s/runtime' $(pkg-config --cflags --libs nha_one_x) libnha.a -lpthread -ldl -o program && "
               "./program",
               parent, source),
           "one.x 2 107\n");
}

static void cmake_finds_it(void **state) {
    (void)state;
    if (!help_has("cmake") || !help_has("ninja")) {
        print_message("skipped: no cmake or ninja\n");
        return;
    }
    static const char lists[] = "cmake_minimum_required(VERSION 3.20)\n"
                                "project(embed LANGUAGES C)\n"
                                "find_package(nha_one_x CONFIG REQUIRED)\n"
                                "find_package(nha_one_x CONFIG REQUIRED)\n" /* twice is fine */
                                "foreach(kind static shared)\n"
                                "  add_executable(${kind} ../main.c)\n"
                                "  target_include_directories(${kind} PRIVATE ${RUNTIME})\n"
                                "  target_link_libraries(${kind} PRIVATE nha_one_x::${kind} ${LIBNHA} pthread dl)\n"
                                "endforeach()\n";
    assert_true(base_mkdirs(help_path(parent, "cmake"), "test", NULL));
    assert_true(base_file_write(help_path(parent, "cmake/CMakeLists.txt"), lists, sizeof lists - 1, "test", NULL));
    expect(help_run("cd '%s/cmake' && cmake -G Ninja -B b -DCMAKE_PREFIX_PATH='%s' -DRUNTIME='%s/runtime' "
                    "-DLIBNHA='%s' >log 2>&1 "
                    "&& ninja -C b >>log 2>&1 && b/static && b/shared || { cat log; exit 1; }",
                    parent, first, source, libnha),
           "one.x 2 107\none.x 2 107\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_symbol_is_exported), cmocka_unit_test(shared_library_is_hardened),
        cmocka_unit_test(links_into_programs),    cmocka_unit_test(pkg_config_finds_it),
        cmocka_unit_test(cmake_finds_it),
    };
    help_folder();
    return cmocka_run_group_tests(tests, make_all, NULL);
}
