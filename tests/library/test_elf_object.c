/* test_elf_object.c: objects of constants as the system's tools, LLVM's reader and the linkers see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>

#include "base/elf_object.h"
#include "base/file.h"
#include "base/path.h"
#include "help_library.h"
#include "jit/elf.h"

/* What the objects hold: struct { const char *text; int (*function)(void); struct { ... } *self; int64_t number; } */
enum { TEXT = 0, FUNCTION = 8, SELF = 16, NUMBER = 24, BYTES = 32 };

static elf_place at(elf_place place, uint64_t offset) {
    place.offset += offset;
    return place;
}

static void make(elf_object *o, int machine) {
    const int64_t number = -5;
    elf_object_begin(o, machine);
    elf_object_bytes(o, ELF_RODATA, "odd", 3, 1);
    const elf_place text = elf_object_bytes(o, ELF_RODATA, "some text", 10, 64);
    elf_object_zero(o, ELF_RELRO, 1, 1);
    const elf_place record = elf_object_zero(o, ELF_RELRO, BYTES, 16);
    elf_object_pointer(o, at(record, TEXT), at(text, 5));
    elf_object_pointer_symbol(o, at(record, FUNCTION), "give_seven");
    elf_object_pointer_symbol(o, at(record, SELF), "the_table"); /* mentioned before it is defined */
    elf_object_put(o, at(record, NUMBER), &number, sizeof number);
    elf_object_symbol(o, "the_table", record, BYTES);
}

static base_buf finish(int machine) {
    err e = {0};
    elf_object o;
    base_buf out = {0};
    make(&o, machine);
    if (!elf_object_finish(&o, &out, &e)) fail_msg("%s", e.text);
    elf_object_free(&o);
    return out;
}

static const char *written(const char *name, const base_buf *bytes) {
    const char *path = help_path(help_folder(), name);
    assert_true(base_file_write(path, bytes->data, bytes->size, "test", NULL));
    return path;
}

static void readelf_finds_no_fault(void **state) {
    (void)state;
    static const struct {
        int machine;
        const char *name, *relocation;
    } machines[] = {{EM_X86_64, "X86-64", "R_X86_64_64"}, {EM_AARCH64, "AArch64", "R_AARCH64_ABS64"}};
    if (!help_has("readelf")) return print_message("SKIPPED: there is no readelf\n");
    for (int i = 0; i < 2; i++) {
        base_buf object = finish(machines[i].machine);
        char *text = help_run("LC_ALL=C readelf -aW '%s' 2>&1", written("r.o", &object));
        const char *const parts[] = {machines[i].name, machines[i].relocation,   "REL (Relocatable file)",
                                     ".rodata",        ".rela.data.rel.ro",      ".note.GNU-stack",
                                     "the_table",      "HIDDEN   UND give_seven",
                                     "OBJECT  GLOBAL DEFAULT    2 the_table"};
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
            if (!strstr(text, parts[k])) fail_msg("\"%s\" is not in\n%s", parts[k], text);
        assert_null(strstr(text, "arning"));
        assert_null(strstr(text, "rror"));
        free(text);
        base_buf_free(&object);
    }
}

static void own_reader_agrees(void **state) {
    (void)state;
    err e = {0};
    jit_elf elf;
    jit_elf_symbol symbol;
    base_buf object = finish(EM_X86_64);
    if (!jit_elf_open(object.data, object.size, &elf, &e)) fail_msg("%s", e.text);
    assert_int_equal(elf.machine, EM_X86_64);
    assert_true(jit_elf_plain_stack(&elf));
    assert_string_equal(jit_elf_undefined(&elf), "give_seven");
    assert_int_equal(elf.symbols, 5);
    assert_true(jit_elf_symbol_at(&elf, 3, &symbol, &e));
    assert_string_equal(symbol.name, "give_seven");
    assert_true(symbol.hidden && !symbol.defined && !symbol.local);
    assert_true(jit_elf_symbol_at(&elf, 4, &symbol, &e));
    assert_string_equal(symbol.name, "the_table");
    assert_true(!symbol.hidden && symbol.defined && !symbol.local && !symbol.weak && !symbol.function);
    base_buf_free(&object);
}

static const char user[] = "#include <stdint.h>\n"
                           "#include <string.h>\n"
                           "int give_seven(void) { return 7; }\n"
                           "struct table { const char *text; int (*function)(void); const struct table *self;\n"
                           "               int64_t number; };\n"
                           "extern const struct table the_table;\n"
                           "int main(void) { return strcmp(the_table.text, \"text\") || the_table.function() != 7 ||\n"
                           "    the_table.self != &the_table || the_table.number != -5 ||\n"
                           "    (uintptr_t)&the_table % 16 || (uintptr_t)(the_table.text - 5) % 64; }\n";

/* As it is, after ld -r, and in a program that is position-independent or not. */
static void linkers_take_it(void **state) {
    (void)state;
    if (jit_elf_host_machine() != EM_X86_64 || !help_has("cc") || !help_has("ld"))
        return print_message("SKIPPED: there is no cc and ld for x86-64\n");
    base_buf object = finish(EM_X86_64);
    const char *first = written("first.o", &object), *source = help_path(help_folder(), "user.c");
    const char *second = help_path(help_folder(), "second.o"), *program = help_path(help_folder(), "user");
    assert_true(base_file_write(source, user, sizeof user - 1, "test", NULL));
    free(help_run("ld -r -o '%s' '%s' 2>&1", second, first));
    for (int i = 0; i < 4; i++) {
        char *text = help_run("cc -Wl,--fatal-warnings -Wl,-z,noexecstack %s '%s' '%s' -o '%s' 2>&1 && '%s'",
                              i & 1 ? "-fPIE -pie" : "-fno-pie -no-pie", source, i & 2 ? second : first, program,
                              program);
        assert_string_equal(text, "");
        free(text);
    }
    base_buf_free(&object);
}

static void same_calls_same_bytes(void **state) {
    (void)state;
    base_buf one = finish(EM_AARCH64), two = {0};
    elf_object o;
    char noise[4096];
    memset(noise, 0xa5, sizeof noise);
    base_buf_add(&two, noise, 7); /* what is there already stays, and the file's offsets do not count it */
    make(&o, EM_AARCH64);
    assert_true(elf_object_finish(&o, &two, NULL));
    assert_int_equal(two.size, one.size + 7);
    assert_memory_equal(two.data, noise, 7);
    assert_memory_equal(two.data + 7, one.data, one.size);
    base_buf_reset(&two);
    assert_true(elf_object_finish(&o, &two, NULL)); /* and again from the same object */
    assert_int_equal(two.size, one.size);
    assert_memory_equal(two.data, one.data, one.size);
    elf_object_free(&o);
    base_buf_free(&one);
    base_buf_free(&two);
}

/* An object with nothing in it is one too. */
static void empty_object(void **state) {
    (void)state;
    elf_object o;
    jit_elf elf;
    base_buf out = {0};
    elf_object_begin(&o, EM_X86_64);
    assert_true(elf_object_finish(&o, &out, NULL));
    assert_true(jit_elf_open(out.data, out.size, &elf, NULL));
    assert_null(jit_elf_undefined(&elf));
    if (help_has("ld"))
        free(help_run("ld -m elf_x86_64 -r -o /dev/null '%s' 2>&1", written("empty.o", &out)));
    elf_object_free(&o);
    base_buf_free(&out);
}

static void broken_contracts_are_errors(void **state) {
    (void)state;
    for (int i = 0; i < 13; i++) {
        err e = {0};
        elf_object o;
        base_buf out = {0};
        elf_object_begin(&o, i == 0 ? EM_386 : EM_X86_64);
        const elf_place constant = elf_object_zero(&o, ELF_RODATA, 16, 1);
        const elf_place record = elf_object_zero(&o, ELF_RELRO, 16, 8);
        if (i == 1) elf_object_zero(&o, ELF_RODATA, 1, 3);
        if (i == 2) elf_object_zero(&o, ELF_RODATA, 1, 0);
        if (i == 3) elf_object_zero(&o, ELF_RODATA, 1, 2 * ELF_ALIGN_MAX);
        if (i == 4) elf_object_zero(&o, ELF_RODATA, UINT64_MAX - 10, 1);
        if (i == 5) elf_object_put(&o, at(record, 10), "1234567", 7);
        if (i == 6) elf_object_put(&o, at(record, UINT64_MAX), "12", 2);
        if (i == 7) elf_object_pointer(&o, constant, record); /* no pointers in .rodata */
        if (i == 8) elf_object_pointer(&o, at(record, 4), constant);
        if (i == 9) elf_object_pointer(&o, at(record, 16), constant);
        if (i == 10) elf_object_pointer(&o, record, at(constant, 17));
        if (i == 11) elf_object_symbol(&o, "wide", record, 17);
        for (int k = 0; i == 12 && k < 2; k++) elf_object_symbol(&o, "twice", record, 8);
        elf_object_pointer(&o, record, constant); /* later calls do nothing and do not hide it */
        assert_false(elf_object_finish(&o, &out, &e));
        if (e.code != ERR_INTERNAL) fail_msg("case %d: code %d, %s", i, e.code, e.text);
        assert_int_equal(out.size, 0);
        err_clear(&e);
        elf_object_free(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readelf_finds_no_fault), cmocka_unit_test(own_reader_agrees),
        cmocka_unit_test(linkers_take_it),        cmocka_unit_test(same_calls_same_bytes),
        cmocka_unit_test(empty_object),           cmocka_unit_test(broken_contracts_are_errors),
    };
    help_folder();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
