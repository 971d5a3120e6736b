/* elf.c: a small reader of ELF relocatable objects; every offset and count is checked before it is used.
 * Layout of the structures: System V ABI, chapter 4, as in the system's <elf.h>. */
#include "jit/elf.h"

#include <elf.h>
#include <string.h>

/* Bytes [offset, offset + count * each) lie within the object. */
static bool within(size_t size, uint64_t offset, uint64_t count, uint64_t each) {
    return offset <= size && (each == 0 || count <= (size - offset) / each);
}

static bool section_at(const jit_elf *elf, size_t i, Elf64_Shdr *section) {
    if (i >= elf->sections) return false;
    memcpy(section, elf->bytes + elf->section_offset + i * sizeof *section, sizeof *section);
    return section->sh_type == SHT_NOBITS || within(elf->size, section->sh_offset, section->sh_size, 1);
}

/* A string table that ends in NUL, so that every name in it does. */
static bool string_table(const jit_elf *elf, size_t i, size_t *offset, size_t *size) {
    Elf64_Shdr section;
    if (!section_at(elf, i, &section) || section.sh_type != SHT_STRTAB || section.sh_size == 0) return false;
    *offset = section.sh_offset;
    *size = section.sh_size;
    return elf->bytes[*offset + *size - 1] == 0;
}

bool jit_elf_open(const void *bytes, size_t size, jit_elf *elf, err *e) {
    Elf64_Ehdr header;
    Elf64_Shdr section;
    *elf = (jit_elf){.bytes = bytes, .size = size};
    if (size < sizeof header) return err_set(e, ERR_INPUT, "object", "not an ELF object: only %zu bytes", size);
    memcpy(&header, bytes, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_REL)
        return err_set(e, ERR_INPUT, "object", "not a 64-bit little-endian ELF relocatable object");
    elf->machine = header.e_machine;
    /* Objects of 65,280 sections and more keep their count elsewhere; kernels have about ten. */
    if (header.e_shentsize != sizeof section || header.e_shnum == 0 ||
        !within(size, header.e_shoff, header.e_shnum, sizeof section))
        return err_set(e, ERR_INPUT, "object", "the ELF section table lies outside the object");
    elf->sections = header.e_shnum;
    elf->section_offset = header.e_shoff;
    if (!string_table(elf, header.e_shstrndx, &elf->names_offset, &elf->names_size))
        return err_set(e, ERR_INPUT, "object", "the ELF section names lie outside the object");
    for (size_t i = 0; i < elf->sections; i++) {
        if (!section_at(elf, i, &section) || section.sh_name >= elf->names_size)
            return err_set(e, ERR_INPUT, "object", "ELF section %zu lies outside the object", i);
        if (section.sh_type != SHT_SYMTAB) continue;
        if (elf->symbols || section.sh_entsize != sizeof(Elf64_Sym) || section.sh_size % sizeof(Elf64_Sym) != 0 ||
            !string_table(elf, section.sh_link, &elf->strings_offset, &elf->strings_size))
            return err_set(e, ERR_INPUT, "object", "the ELF symbol table is damaged");
        elf->symbols = section.sh_size / sizeof(Elf64_Sym);
        elf->symbol_offset = section.sh_offset;
    }
    jit_elf_symbol symbol;
    for (size_t i = 0; i < elf->symbols; i++)
        if (!jit_elf_symbol_at(elf, i, &symbol, e)) return false;
    return true;
}

bool jit_elf_symbol_at(const jit_elf *elf, size_t i, jit_elf_symbol *symbol, err *e) {
    Elf64_Sym raw;
    if (i >= elf->symbols) return err_set(e, ERR_INTERNAL, "object", "ELF symbol %zu of %zu", i, elf->symbols);
    memcpy(&raw, elf->bytes + elf->symbol_offset + i * sizeof raw, sizeof raw);
    if (raw.st_name >= elf->strings_size)
        return err_set(e, ERR_INPUT, "object", "the name of ELF symbol %zu lies outside the object", i);
    *symbol = (jit_elf_symbol){
        .name = (const char *)elf->bytes + elf->strings_offset + raw.st_name,
        .defined = raw.st_shndx != SHN_UNDEF,
        .local = ELF64_ST_BIND(raw.st_info) == STB_LOCAL,
        .weak = ELF64_ST_BIND(raw.st_info) == STB_WEAK,
        .hidden = ELF64_ST_VISIBILITY(raw.st_other) != STV_DEFAULT,
        .function = ELF64_ST_TYPE(raw.st_info) == STT_FUNC,
    };
    return true;
}

bool jit_elf_plain_stack(const jit_elf *elf) {
    Elf64_Shdr section;
    for (size_t i = 0; i < elf->sections; i++)
        if (section_at(elf, i, &section) &&
            strcmp((const char *)elf->bytes + elf->names_offset + section.sh_name, ".note.GNU-stack") == 0)
            return !(section.sh_flags & SHF_EXECINSTR);
    return false;
}

const char *jit_elf_undefined(const jit_elf *elf) {
    jit_elf_symbol symbol;
    for (size_t i = 1; i < elf->symbols; i++)
        if (jit_elf_symbol_at(elf, i, &symbol, NULL) && !symbol.defined) return symbol.name;
    return NULL;
}

int jit_elf_host_machine(void) {
#if defined(__x86_64__)
    return EM_X86_64;
#elif defined(__aarch64__)
    return EM_AARCH64;
#else
    return EM_NONE;
#endif
}
