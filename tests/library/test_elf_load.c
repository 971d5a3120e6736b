/* test_elf_load.c: objects of constants put into memory, and those that must be refused: cut, changed, with code, for
 * another machine, with pointers that lead elsewhere. Sanitizers see every byte that is read beyond the object. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/elf_load.h"
#include "base/elf_object.h"
#include "base/file.h"
#include "help_library.h"
#include "jit/elf.h"

typedef struct record {
    const char *text;
    const struct record *self;
    const void *end; /* of the record */
    int64_t number, list[3];
} record;

static int other_machine(void) {
    return jit_elf_host_machine() == EM_X86_64 ? EM_AARCH64 : EM_X86_64;
}

static elf_place at(elf_place place, uint64_t offset) {
    place.offset += offset;
    return place;
}

static base_buf object_for(int machine, bool external) {
    err e = {0};
    elf_object o;
    base_buf out = {0};
    const record fill = {.number = -5, .list = {1, 2, INT64_MAX}};
    elf_object_begin(&o, machine);
    elf_object_bytes(&o, ELF_RODATA, "odd", 3, 1);
    const elf_place text = elf_object_bytes(&o, ELF_RODATA, "a text at the very end", 22, 64); /* without its NUL */
    elf_object_zero(&o, ELF_RELRO, 8, 8);
    const elf_place place = elf_object_bytes(&o, ELF_RELRO, &fill, sizeof fill, 128);
    elf_object_pointer(&o, at(place, offsetof(record, text)), at(text, 2));
    elf_object_pointer(&o, at(place, offsetof(record, end)), at(place, sizeof(record)));
    elf_object_pointer_symbol(&o, at(place, offsetof(record, self)), external ? "elsewhere" : "the_record");
    elf_object_symbol(&o, "the_record", place, sizeof(record));
    if (!elf_object_finish(&o, &out, &e)) fail_msg("%s", e.text);
    elf_object_free(&o);
    return out;
}

/* From a copy that has the object's bytes alone, at an odd address. */
static bool load(const void *bytes, size_t size, const char *name, elf_image *image, err *e) {
    char *exact = malloc(size + 1);
    assert_non_null(exact);
    memcpy(exact + 1, bytes, size);
    const bool ok = elf_load(exact + 1, size, jit_elf_host_machine(), name, image, e);
    free(exact);
    if (!ok) assert_true(!image->base && !image->size && !image->symbol);
    return ok;
}

static void check_record(const elf_image *image) {
    const record *r = image->symbol;
    assert_true(elf_image_holds(image, r, 1, sizeof *r, 128));
    assert_ptr_equal(r->self, r);
    assert_ptr_equal(r->end, r + 1);
    assert_true(r->number == -5 && r->list[0] == 1 && r->list[1] == 2 && r->list[2] == INT64_MAX);
    assert_true(elf_image_holds_text(image, r->text));
    assert_memory_equal(r->text, "text at the very end", 20);
    assert_int_equal(((uintptr_t)r->text - 2) % 64, 0);
}

static void constants_are_there(void **state) {
    (void)state;
    err e = {0};
    elf_image image;
    base_buf object = object_for(jit_elf_host_machine(), false);
    if (!load(object.data, object.size, "the_record", &image, &e)) fail_msg("%s", e.text);
    check_record(&image);
    const char *base = image.base, *last = base + image.size - 1;
    assert_int_equal(*last, 0);
    assert_true(elf_image_holds_text(&image, last) && elf_image_holds(&image, last, 1, 1, 1));
    assert_false(elf_image_holds_text(&image, last + 1));
    assert_false(elf_image_holds_text(&image, base - 1) || elf_image_holds_text(&image, NULL));
    assert_false(elf_image_holds(&image, last, 2, 1, 1) || elf_image_holds(&image, base + 1, 1, 1, 2));
    assert_false(elf_image_holds(&image, base, UINT64_MAX, 1, 1) || elf_image_holds(&image, base, UINT64_MAX, 8, 1));
    assert_true(elf_image_holds(&image, last + 1, 0, 8, 1));
    pid_t child = fork(); /* it is read-only */
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)image.base = 1;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    elf_unload(&image);
    elf_unload(&image);
    assert_null(image.base);
    base_buf_free(&object);
}

static const char compiled[] = "struct record { const char *text; const struct record *self; const void *end;\n"
                               "                long number, list[3]; };\n"
                               "extern const struct record the_record;\n"
                               "char room[100000];\n"
                               "const struct record __attribute__((aligned(128))) the_record =\n"
                               "    {\"a text at the very end\" + 2, &the_record, &the_record + 1, -5,\n"
                               "     {1, 2, __LONG_MAX__}};\n";

/* An object of the system's compiler: sections that it adds, an empty .text, zeros without bytes in the file. */
static void compiled_constants_are_there(void **state) {
    (void)state;
    err e = {0};
    char *data;
    size_t size;
    bool code = true;
    elf_image image;
    if (!help_has("cc")) return print_message("SKIPPED: there is no cc\n");
    const char *source = help_path(help_folder(), "r.c"), *path = help_path(help_folder(), "r.o");
    assert_true(base_file_write(source, compiled, sizeof compiled - 1, "test", NULL));
    free(help_run("cc -fPIC -O1 -g -c '%s' -o '%s' 2>&1", source, path));
    assert_true(base_file_read(path, 1 << 20, &data, &size, "test", &e));
    assert_true(elf_object_has_code(data, size, &code, &e));
    assert_false(code);
    if (!load(data, size, "the_record", &image, &e)) fail_msg("%s", e.text);
    const record *r = image.symbol;
    assert_true(elf_image_holds(&image, r, 1, sizeof *r, 128));
    assert_ptr_equal(r->self, r);
    assert_ptr_equal(r->end, r + 1);
    assert_string_equal(r->text, "text at the very end");
    assert_true(r->number == -5 && r->list[2] == INT64_MAX && image.size > 100000);
    elf_unload(&image);
    free(data);
}

static void refused(const base_buf *object, const char *text) {
    err e = {0};
    elf_image image;
    assert_false(load(object->data, object->size, "the_record", &image, &e));
    if (e.code != ERR_INPUT || !strstr(e.text, text)) fail_msg("\"%s\" is not in \"%s\" (%d)", text, e.text, e.code);
    err_clear(&e);
}

static void others_are_refused(void **state) {
    (void)state;
    err e = {0};
    elf_image image;
    bool code = false;
    base_buf object = object_for(jit_elf_host_machine(), true);
    refused(&object, "a pointer that leads out of it");
    base_buf_free(&object);
    object = object_for(other_machine(), false);
    refused(&object, "the object is for ELF machine");
    assert_false(elf_load(object.data, object.size, EM_386, "the_record", &image, NULL)); /* none of the two */
    base_buf_free(&object);
    object = object_for(jit_elf_host_machine(), false);
    assert_false(load(object.data, object.size, "the_recor", &image, &e));
    assert_string_equal(e.text, "the object does not define the_recor");
    err_clear(&e);
    assert_false(load(object.data, object.size, "", &image, NULL)); /* sections have no name */
    base_buf_free(&object);
    if (!help_has("cc")) return print_message("SKIPPED: there is no cc\n");
    const char *source = help_path(help_folder(), "c.c"), *path = help_path(help_folder(), "c.o");
    static const char function[] = "int the_record(void) { return 3; }\n";
    assert_true(base_file_write(source, function, sizeof function - 1, "test", NULL));
    free(help_run("cc -c '%s' -o '%s' 2>&1", source, path));
    assert_true(base_file_read(path, 1 << 20, &object.data, &object.size, "test", NULL));
    assert_true(elf_object_has_code(object.data, object.size, &code, &e));
    assert_true(code);
    refused(&object, "it has code");
    free(object.data);
}

/* ---- One field changed ---- */

typedef enum part { HEADER, SECTION, SYMBOL, POINTER } part;

/* Field of `size` bytes at `offset` of the index-th struct of a part. Sections of the writer: 1 .rodata,
 * 2 .data.rel.ro, 3 .rela, 5 .symtab, 6 .strtab. */
static char *field(base_buf *object, part which, size_t index, size_t offset) {
    Elf64_Ehdr header;
    Elf64_Shdr section;
    memcpy(&header, object->data, sizeof header);
    if (which == HEADER) return object->data + offset;
    const uint64_t at_section = header.e_shoff + (which == SECTION ? index : which == SYMBOL ? 5 : 3) * sizeof section;
    if (which == SECTION) return object->data + at_section + offset;
    memcpy(&section, object->data + at_section, sizeof section);
    const size_t each = which == SYMBOL ? sizeof(Elf64_Sym) : sizeof(Elf64_Rela);
    return object->data + section.sh_offset + index * each + offset;
}

#define FIELD(which, index, type, name) which, index, offsetof(type, name), sizeof(((type *)0)->name)

static void changed_fields_are_refused(void **state) {
    (void)state;
    static const struct {
        part which;
        size_t index, offset, size;
        uint64_t value;
        const char *text;
    } cases[] = {
        {FIELD(HEADER, 0, Elf64_Ehdr, e_type), ET_DYN, "relocatable"},
        {FIELD(HEADER, 0, Elf64_Ehdr, e_shnum), 0, "section table"},
        {FIELD(HEADER, 0, Elf64_Ehdr, e_shnum), 9, "section table"},
        {FIELD(HEADER, 0, Elf64_Ehdr, e_shnum), 5, "no symbols"},
        {FIELD(HEADER, 0, Elf64_Ehdr, e_shoff), UINT64_MAX - 8, "section table"},
        {FIELD(HEADER, 0, Elf64_Ehdr, e_shentsize), 63, "section table"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_offset), UINT64_MAX, "a section lies outside"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_size), UINT64_MAX, "a section lies outside"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_addralign), 8192, "alignment"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_addralign), 48, "alignment"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_flags), SHF_ALLOC | SHF_EXECINSTR, "it has code"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_flags), SHF_ALLOC | SHF_TLS, "no plain data"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_flags), SHF_ALLOC | SHF_COMPRESSED, "no plain data"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_flags), 0, "leads out of it"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_type), SHT_INIT_ARRAY, "no data"},
        {FIELD(SECTION, 1, Elf64_Shdr, sh_size), 8, "out of its section"},
        {FIELD(SECTION, 2, Elf64_Shdr, sh_size), 140, "pointer"},
        {FIELD(SECTION, 2, Elf64_Shdr, sh_size), 4, "a pointer outside its section"},
        {FIELD(SECTION, 3, Elf64_Shdr, sh_type), SHT_REL, "table of pointers"},
        {FIELD(SECTION, 3, Elf64_Shdr, sh_link), 4, "table of pointers"},
        {FIELD(SECTION, 3, Elf64_Shdr, sh_info), 99, "table of pointers"},
        {FIELD(SECTION, 3, Elf64_Shdr, sh_entsize), 0, "table of pointers"},
        {FIELD(SECTION, 3, Elf64_Shdr, sh_size), 25, "table of pointers"},
        {FIELD(SECTION, 5, Elf64_Shdr, sh_entsize), 0, "symbol table"},
        {FIELD(SECTION, 5, Elf64_Shdr, sh_size), 25, "symbol table"},
        {FIELD(SECTION, 5, Elf64_Shdr, sh_size), 48, "a symbol that is not there"},
        {FIELD(SECTION, 5, Elf64_Shdr, sh_link), 99, "symbol table"},
        {FIELD(SECTION, 5, Elf64_Shdr, sh_link), 1, "names"},
        {FIELD(SECTION, 6, Elf64_Shdr, sh_size), 0, "names"},
        {FIELD(SECTION, 6, Elf64_Shdr, sh_size), 5, "names"},
        {FIELD(SECTION, 6, Elf64_Shdr, sh_type), SHT_SYMTAB, "names"},
        {FIELD(SECTION, 4, Elf64_Shdr, sh_type), SHT_SYMTAB, "symbol table"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_name), UINT32_MAX, "does not define"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_value), UINT64_MAX, "out of its section"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_shndx), SHN_ABS, "leads out of it"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_shndx), SHN_COMMON, "leads out of it"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_shndx), 5, "leads out of it"},
        {FIELD(SYMBOL, 3, Elf64_Sym, st_info), STT_OBJECT, "does not define"}, /* local */
        {FIELD(SYMBOL, 1, Elf64_Sym, st_shndx), 0, "leads out of it"},
        {FIELD(POINTER, 0, Elf64_Rela, r_offset), UINT64_MAX - 3, "a pointer outside its section"},
        {FIELD(POINTER, 0, Elf64_Rela, r_offset), 128 + sizeof(record) - 7, "a pointer outside its section"},
        {FIELD(POINTER, 0, Elf64_Rela, r_info), ELF64_R_INFO(1, 10), "no plain address"},
        {FIELD(POINTER, 0, Elf64_Rela, r_info), ELF64_R_INFO(1, 0), "no plain address"},
        {FIELD(POINTER, 0, Elf64_Rela, r_addend), (uint64_t)-1, "out of its section"},
        {FIELD(POINTER, 0, Elf64_Rela, r_addend), 64 + 23, "out of its section"},
        {FIELD(POINTER, 0, Elf64_Rela, r_addend), INT64_MAX, "out of its section"},
        {FIELD(POINTER, 0, Elf64_Rela, r_addend), (uint64_t)INT64_MIN, "out of its section"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        base_buf object = object_for(jit_elf_host_machine(), false);
        memcpy(field(&object, cases[i].which, cases[i].index, cases[i].offset), &cases[i].value, cases[i].size);
        refused(&object, cases[i].text);
        base_buf_free(&object);
    }
    /* A gigabyte of zeros takes no memory; more of them are refused before there is any. */
    base_buf object = object_for(jit_elf_host_machine(), false);
    elf_image image;
    const uint32_t zeros = SHT_NOBITS;
    const uint64_t sizes[] = {1 << 30, (uint64_t)1 << 40, UINT64_MAX};
    memcpy(field(&object, SECTION, 1, offsetof(Elf64_Shdr, sh_type)), &zeros, sizeof zeros);
    for (int i = 0; i < 3; i++) {
        memcpy(field(&object, SECTION, 1, offsetof(Elf64_Shdr, sh_size)), &sizes[i], sizeof sizes[i]);
        if (i) refused(&object, "too large");
        else assert_true(load(object.data, object.size, "the_record", &image, NULL));
        if (i == 0) assert_int_equal(((const record *)image.symbol)->text[0], 0);
        if (i == 0) elf_unload(&image);
    }
    base_buf_free(&object);
}

/* ---- Fuzz ---- */

static void cut_objects_are_refused(void **state) {
    (void)state;
    base_buf object = object_for(jit_elf_host_machine(), false);
    for (size_t cut = 0; cut < object.size; cut++) { /* the section table is last: no cut leaves a whole object */
        err e = {0};
        elf_image image;
        bool code;
        assert_false(load(object.data, cut, "the_record", &image, &e));
        assert_int_equal(e.code, ERR_INPUT);
        assert_false(elf_object_has_code(object.data, cut, &code, NULL));
        err_clear(&e);
    }
    base_buf_free(&object);
}

static unsigned seed = 11;

static unsigned draw(unsigned below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void changed_bytes_do_no_harm(void **state) {
    (void)state;
    base_buf object = object_for(jit_elf_host_machine(), false);
    char *copy = malloc(object.size);
    unsigned loaded = 0, failed = 0;
    for (int round = 0; round < 30000; round++) {
        elf_image image;
        memcpy(copy, object.data, object.size);
        for (unsigned i = draw(3); i < 3; i++) {
            /* Half of the changes hit the section table, which is last. */
            const size_t where = draw(2) ? draw((unsigned)object.size) : object.size - 1 - draw(8 * sizeof(Elf64_Shdr));
            copy[where] = draw(2) ? (char)draw(256) : (char)(copy[where] ^ 1 << draw(8));
        }
        if (load(copy, object.size, "the_record", &image, NULL)) {
            const unsigned char *bytes = image.base;
            unsigned sum = 0;
            for (size_t i = 0; i < image.size && i < 1 << 16; i += 16) sum += bytes[i];
            assert_true(sum < UINT32_MAX && elf_image_holds_text(&image, image.symbol));
            elf_unload(&image);
            loaded++;
        } else {
            failed++;
        }
    }
    assert_true(loaded > 1000 && failed > 1000);
    free(copy);
    base_buf_free(&object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_are_there),        cmocka_unit_test(compiled_constants_are_there),
        cmocka_unit_test(others_are_refused),         cmocka_unit_test(changed_fields_are_refused),
        cmocka_unit_test(cut_objects_are_refused),    cmocka_unit_test(changed_bytes_do_no_harm),
    };
    help_folder();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
