/* elf_load.c: see elf_load.h. Sections lie in memory in the object's order, each at its alignment; then pointers are
 * filled in, then all is made read-only. Layout of the structures: System V ABI, chapter 4. */
#include "base/elf_load.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SECTION_ALIGN_MAX = 4096 };

typedef struct loading {
    const unsigned char *bytes;
    size_t size;
    int machine;
    size_t sections; /* count */
    uint64_t section_offset;
    size_t symtab, symbols;    /* index of the symbol table's section, 0: none; its entries */
    uint64_t symbol_offset;    /* in the file */
    const char *strings;       /* symbol names; the last byte is NUL */
    uint64_t strings_size;
    uint64_t *places;          /* by section: offset in the image; NOT_LOADED */
    elf_image *image;
} loading;

#define NOT_LOADED UINT64_MAX

static bool damaged(err *e, const char *what) {
    return err_set(e, ERR_INPUT, "object", "an ELF object that is damaged or of another kind: %s", what);
}

/* Bytes [offset, offset + size) lie in the file. */
static bool in_file(const loading *l, uint64_t offset, uint64_t size) {
    return offset <= l->size && size <= l->size - offset;
}

/* Section i, i < sections. The bytes of every section that has any lie in the file: open_object has seen to it. */
static Elf64_Shdr section_at(const loading *l, size_t i) {
    Elf64_Shdr section;
    memcpy(&section, l->bytes + l->section_offset + i * sizeof section, sizeof section);
    return section;
}

static bool open_object(loading *l, err *e) {
    Elf64_Ehdr header;
    if (l->size < sizeof header) return damaged(e, "it is cut off");
    memcpy(&header, l->bytes, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_REL)
        return damaged(e, "it is not 64-bit, little-endian and relocatable");
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0 || header.e_shnum >= SHN_LORESERVE ||
        !in_file(l, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr)))
        return damaged(e, "its section table lies outside");
    l->machine = header.e_machine;
    l->sections = header.e_shnum;
    l->section_offset = header.e_shoff;
    for (size_t i = 0; i < l->sections; i++) {
        const Elf64_Shdr section = section_at(l, i);
        if (section.sh_type != SHT_NULL && section.sh_type != SHT_NOBITS &&
            !in_file(l, section.sh_offset, section.sh_size))
            return damaged(e, "a section lies outside");
    }
    return true;
}

bool elf_object_has_code(const void *bytes, size_t size, bool *code, err *e) {
    loading l = {.bytes = bytes, .size = size};
    *code = false;
    if (!open_object(&l, e)) return false;
    for (size_t i = 0; i < l.sections; i++) {
        const Elf64_Shdr section = section_at(&l, i);
        *code = *code || ((section.sh_flags & SHF_EXECINSTR) && section.sh_size);
    }
    return true;
}

/* ---- Symbols ---- */

static bool open_symbols(loading *l, err *e) {
    for (size_t i = 1; i < l->sections; i++) {
        const Elf64_Shdr section = section_at(l, i);
        if (section.sh_type != SHT_SYMTAB) continue;
        if (l->symtab || section.sh_entsize != sizeof(Elf64_Sym) || section.sh_size % sizeof(Elf64_Sym) ||
            section.sh_link >= l->sections)
            return damaged(e, "its symbol table");
        const Elf64_Shdr strings = section_at(l, section.sh_link);
        if (strings.sh_type != SHT_STRTAB || !strings.sh_size ||
            l->bytes[strings.sh_offset + strings.sh_size - 1] != 0)
            return damaged(e, "the names of its symbols");
        l->symtab = i;
        l->symbols = section.sh_size / sizeof(Elf64_Sym);
        l->symbol_offset = section.sh_offset;
        l->strings = (const char *)l->bytes + strings.sh_offset;
        l->strings_size = strings.sh_size;
    }
    return l->symtab ? true : damaged(e, "it has no symbols");
}

/* Offset in the image of symbol i + addend, which must lie in the symbol's section or just behind it. */
static bool resolve(const loading *l, uint64_t i, int64_t addend, uint64_t *offset, err *e) {
    Elf64_Sym symbol;
    uint64_t within;
    if (i >= l->symbols) return damaged(e, "a symbol that is not there");
    memcpy(&symbol, l->bytes + l->symbol_offset + i * sizeof symbol, sizeof symbol);
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= l->sections || l->places[symbol.st_shndx] == NOT_LOADED)
        return damaged(e, "a pointer that leads out of it");
    if (__builtin_add_overflow(symbol.st_value, addend, &within) || within > section_at(l, symbol.st_shndx).sh_size)
        return damaged(e, "a pointer that leads out of its section");
    *offset = l->places[symbol.st_shndx] + within;
    return true;
}

static bool find_symbol(loading *l, const char *name, err *e) {
    for (size_t i = 1; i < l->symbols; i++) {
        Elf64_Sym symbol;
        uint64_t offset;
        memcpy(&symbol, l->bytes + l->symbol_offset + i * sizeof symbol, sizeof symbol);
        if (ELF64_ST_BIND(symbol.st_info) == STB_LOCAL || symbol.st_name >= l->strings_size ||
            strcmp(l->strings + symbol.st_name, name) != 0)
            continue;
        if (!resolve(l, i, 0, &offset, e)) return false;
        l->image->symbol = (const char *)l->image->base + offset;
        return true;
    }
    return err_set(e, ERR_INPUT, "object", "the object does not define %s", name);
}

/* ---- Memory ---- */

/* Whether a section is wanted in memory; false with an error for kinds that are not data. */
static bool wanted(const Elf64_Shdr *section, bool *want, err *e) {
    *want = (section->sh_flags & SHF_ALLOC) != 0;
    if ((section->sh_flags & SHF_EXECINSTR) && section->sh_size) return damaged(e, "it has code");
    if (!*want) return true;
    if (section->sh_type != SHT_PROGBITS && section->sh_type != SHT_NOBITS && section->sh_type != SHT_NOTE)
        return damaged(e, "a section that is no data");
    if (section->sh_flags & (SHF_TLS | SHF_COMPRESSED)) return damaged(e, "a section that is no plain data");
    if (section->sh_addralign > SECTION_ALIGN_MAX || (section->sh_addralign & (section->sh_addralign - 1)))
        return damaged(e, "an alignment that is none");
    return true;
}

/* Gives each section its place; the image's size with a byte of zero behind. */
static bool place_sections(loading *l, uint64_t *all, err *e) {
    uint64_t at = 0;
    for (size_t i = 0; i < l->sections; i++) {
        const Elf64_Shdr section = section_at(l, i);
        bool want;
        l->places[i] = NOT_LOADED;
        if (section.sh_type == SHT_NULL) continue;
        if (!wanted(&section, &want, e)) return false;
        if (!want) continue;
        if (section.sh_addralign > 1) at = (at + section.sh_addralign - 1) & -section.sh_addralign;
        if (section.sh_size > ELF_IMAGE_BYTES_MAX || at + section.sh_size > ELF_IMAGE_BYTES_MAX)
            return damaged(e, "it is too large");
        l->places[i] = at;
        at += section.sh_size;
    }
    *all = at + 1;
    return true;
}

static bool map(loading *l, err *e) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = 0;
    if (!place_sections(l, &size, e)) return false;
    size = (size + page - 1) / page * page;
    void *base = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return err_memory(e, "object");
    l->image->base = base;
    l->image->size = (size_t)size;
    for (size_t i = 0; i < l->sections; i++) {
        const Elf64_Shdr section = section_at(l, i);
        if (l->places[i] == NOT_LOADED || section.sh_type == SHT_NOBITS || !section.sh_size) continue;
        memcpy((char *)base + l->places[i], l->bytes + section.sh_offset, (size_t)section.sh_size);
    }
    return true;
}

/* ---- Pointers ---- */

static bool relocate(loading *l, const Elf64_Shdr *table, err *e) {
    const uint64_t absolute = l->machine == EM_AARCH64 ? R_AARCH64_ABS64 : R_X86_64_64, each = sizeof(Elf64_Rela);
    const uint64_t target = l->places[table->sh_info], room = section_at(l, table->sh_info).sh_size;
    if (table->sh_type != SHT_RELA || table->sh_link != l->symtab || table->sh_entsize != each ||
        table->sh_size % each)
        return damaged(e, "a table of pointers");
    for (uint64_t i = 0; i < table->sh_size / each; i++) {
        Elf64_Rela entry;
        uint64_t offset, address;
        memcpy(&entry, l->bytes + table->sh_offset + i * each, sizeof entry);
        if (ELF64_R_TYPE(entry.r_info) != absolute) return damaged(e, "a pointer that is no plain address");
        if (room < sizeof address || entry.r_offset > room - sizeof address)
            return damaged(e, "a pointer outside its section");
        if (!resolve(l, ELF64_R_SYM(entry.r_info), entry.r_addend, &offset, e)) return false;
        address = (uint64_t)(uintptr_t)l->image->base + offset;
        memcpy((char *)l->image->base + target + entry.r_offset, &address, sizeof address);
    }
    return true;
}

static bool relocate_all(loading *l, err *e) {
    for (size_t i = 0; i < l->sections; i++) {
        const Elf64_Shdr section = section_at(l, i);
        if (section.sh_type != SHT_RELA && section.sh_type != SHT_REL) continue;
        if (section.sh_info >= l->sections) return damaged(e, "a table of pointers");
        if (l->places[section.sh_info] != NOT_LOADED && !relocate(l, &section, e)) return false;
    }
    return true;
}

bool elf_load(const void *bytes, size_t size, int machine, const char *name, elf_image *image, err *e) {
    loading l = {.bytes = bytes, .size = size, .image = image};
    bool ok = false;
    *image = (elf_image){0};
    if (!open_object(&l, e)) return false;
    if (l.machine != machine || (machine != EM_X86_64 && machine != EM_AARCH64))
        return err_set(e, ERR_INPUT, "object", "the object is for ELF machine %d, this is machine %d", l.machine,
                       machine);
    if (!open_symbols(&l, e)) return false;
    l.places = calloc(l.sections, sizeof *l.places);
    if (!l.places) return err_memory(e, "object");
    if (!map(&l, e) || !relocate_all(&l, e) || !find_symbol(&l, name, e)) goto done;
    ok = mprotect(image->base, image->size, PROT_READ) == 0;
    if (!ok) err_memory(e, "object");
done:
    free(l.places);
    if (!ok) elf_unload(image);
    return ok;
}

void elf_unload(elf_image *image) {
    if (image->base) munmap(image->base, image->size);
    *image = (elf_image){0};
}

bool elf_image_holds(const elf_image *image, const void *at, uint64_t count, size_t each, size_t align) {
    const uintptr_t base = (uintptr_t)image->base, from = (uintptr_t)at;
    return from >= base && from - base <= image->size && from % align == 0 &&
           count <= (image->size - (from - base)) / each;
}

bool elf_image_holds_text(const elf_image *image, const char *text) {
    return elf_image_holds(image, text, 1, 1, 1); /* a zero byte follows the last section */
}
