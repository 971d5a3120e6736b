/* elf_object.c: see elf_object.h. Layout of the structures: System V ABI, chapter 4, as in the system's <elf.h>.
 * The host must be little-endian: the structures are written as they lie in memory. */
#include "base/elf_object.h"

#include <elf.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are written as they lie in memory");

/* The sections of the file, in this order; symbols 1 and 2 are the two data sections. */
enum { RODATA = 1, RELRO, RELA, STACK, SYMTAB, STRTAB, NAMES, SECTION_COUNT };

static const char *const section_names[SECTION_COUNT] = {
    [0] = "",
    [RODATA] = ".rodata",
    [RELRO] = ".data.rel.ro",
    [RELA] = ".rela.data.rel.ro",
    [STACK] = ".note.GNU-stack", /* without SHF_EXECINSTR: no executable stack */
    [SYMTAB] = ".symtab",
    [STRTAB] = ".strtab",
    [NAMES] = ".shstrtab",
};

static int section_index(elf_section section) {
    return section == ELF_RODATA ? RODATA : RELRO;
}

static void fault(elf_object *o, const char *text) {
    if (!o->fault) o->fault = text;
}

static void add_symbol(elf_object *o, Elf64_Sym symbol, const char *name) {
    symbol.st_name = (Elf64_Word)o->strings.size;
    base_buf_add(&o->strings, name, strlen(name) + 1);
    base_buf_add(&o->symbols, &symbol, sizeof symbol);
    if (o->strings.size > ELF_OBJECT_BYTES_MAX || o->symbols.size > ELF_OBJECT_BYTES_MAX) fault(o, "too many symbols");
}

void elf_object_begin(elf_object *o, int machine) {
    *o = (elf_object){.machine = machine, .align = {1, 1}};
    if (machine != EM_X86_64 && machine != EM_AARCH64) fault(o, "objects are not written for this machine");
    base_buf_char(&o->strings, 0);
    base_buf_add(&o->symbols, &(Elf64_Sym){0}, sizeof(Elf64_Sym));
    for (Elf64_Half i = RODATA; i <= RELRO; i++) {
        const Elf64_Sym symbol = {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = i}; /* name "" */
        base_buf_add(&o->symbols, &symbol, sizeof symbol);
    }
}

void elf_object_free(elf_object *o) {
    for (int i = 0; i < ELF_SECTIONS; i++) base_buf_free(&o->data[i]);
    base_buf_free(&o->symbols);
    base_buf_free(&o->strings);
    base_buf_free(&o->relocations);
}

/* Uninitialised room, after a gap of zeros. NULL after a fault; a place then means nothing. */
static char *room(elf_object *o, elf_section section, uint64_t size, uint64_t align, elf_place *place) {
    base_buf *data = &o->data[section];
    *place = (elf_place){section, 0};
    if (align < 1 || align > ELF_ALIGN_MAX || (align & (align - 1))) fault(o, "an alignment that is none");
    if (o->fault) return NULL;
    const uint64_t gap = -(uint64_t)data->size & (align - 1);
    if (size > ELF_OBJECT_BYTES_MAX || data->size + gap + size > ELF_OBJECT_BYTES_MAX) {
        fault(o, "a section became too large");
        return NULL;
    }
    char *zeros = base_buf_room(data, (size_t)gap);
    if (zeros) memset(zeros, 0, (size_t)gap);
    place->offset = data->size;
    if (align > o->align[section]) o->align[section] = align;
    return base_buf_room(data, (size_t)size);
}

elf_place elf_object_zero(elf_object *o, elf_section section, uint64_t size, uint64_t align) {
    elf_place place;
    char *bytes = room(o, section, size, align, &place);
    if (bytes) memset(bytes, 0, (size_t)size);
    return place;
}

elf_place elf_object_bytes(elf_object *o, elf_section section, const void *bytes, uint64_t size, uint64_t align) {
    elf_place place;
    char *to = room(o, section, size, align, &place);
    if (to && size) memcpy(to, bytes, (size_t)size);
    return place;
}

static bool inside(const elf_object *o, elf_place at, uint64_t size) {
    const uint64_t all = o->data[at.section].size;
    return at.offset <= all && size <= all - at.offset;
}

/* Nothing more is to be done to this object; what has failed for want of memory has no bytes to look at. */
static bool stopped(const elf_object *o) {
    return o->fault || o->data[ELF_RODATA].failed || o->data[ELF_RELRO].failed;
}

void elf_object_put(elf_object *o, elf_place at, const void *bytes, uint64_t size) {
    if (stopped(o)) return;
    if (!inside(o, at, size)) return fault(o, "bytes outside their section");
    if (size) memcpy(o->data[at.section].data + at.offset, bytes, (size_t)size);
}

/* S + A, 64 bits wide; S is the address of the symbol, A the addend. */
static void relocate(elf_object *o, elf_place at, uint64_t symbol, uint64_t addend) {
    const uint64_t type = o->machine == EM_X86_64 ? R_X86_64_64 : R_AARCH64_ABS64;
    const Elf64_Rela entry = {at.offset, ELF64_R_INFO(symbol, type), (Elf64_Sxword)addend};
    if (at.section != ELF_RELRO || at.offset % 8 || !inside(o, at, 8)) return fault(o, "a misplaced pointer");
    if (o->align[ELF_RELRO] < 8) o->align[ELF_RELRO] = 8;
    base_buf_add(&o->relocations, &entry, sizeof entry);
    if (o->relocations.size > ELF_OBJECT_BYTES_MAX) fault(o, "too many pointers");
}

void elf_object_pointer(elf_object *o, elf_place at, elf_place to) {
    if (stopped(o)) return;
    if (!inside(o, to, 0)) return fault(o, "a pointer that leads out of its section");
    relocate(o, at, (uint64_t)section_index(to.section), to.offset);
}

static Elf64_Sym symbol_at(const elf_object *o, uint64_t i) {
    Elf64_Sym symbol;
    memcpy(&symbol, o->symbols.data + i * sizeof symbol, sizeof symbol);
    return symbol;
}

/* Its place in the symbol table, 0: not there. Linear: a table has tens of symbols. */
static uint64_t find(const elf_object *o, const char *name) {
    const uint64_t count = o->symbols.size / sizeof(Elf64_Sym);
    for (uint64_t i = RELRO + 1; i < count; i++)
        if (strcmp(o->strings.data + symbol_at(o, i).st_name, name) == 0) return i;
    return 0;
}

static bool no_symbols(const elf_object *o) {
    return stopped(o) || o->symbols.failed || o->strings.failed;
}

void elf_object_pointer_symbol(elf_object *o, elf_place at, const char *name) {
    if (no_symbols(o)) return;
    if (!name[0]) return fault(o, "a symbol without a name");
    uint64_t i = find(o, name);
    if (!i) {
        i = o->symbols.size / sizeof(Elf64_Sym);
        add_symbol(o, (Elf64_Sym){.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE), .st_other = STV_HIDDEN}, name);
    }
    relocate(o, at, i, 0);
}

void elf_object_symbol(elf_object *o, const char *name, elf_place at, uint64_t size) {
    if (no_symbols(o)) return;
    if (!name[0] || !inside(o, at, size)) return fault(o, "a symbol without a name or outside its section");
    Elf64_Sym symbol = {.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                        .st_shndx = (Elf64_Half)section_index(at.section),
                        .st_value = at.offset,
                        .st_size = size};
    const uint64_t i = find(o, name);
    if (!i) return add_symbol(o, symbol, name);
    const Elf64_Sym mentioned = symbol_at(o, i);
    if (mentioned.st_shndx != SHN_UNDEF) return fault(o, "a symbol that is defined twice");
    symbol.st_name = mentioned.st_name;
    memcpy(o->symbols.data + i * sizeof symbol, &symbol, sizeof symbol);
}

/* ---- The file ---- */

/* Appends a section's bytes at its alignment and says in its header where they are. */
static void add_section(base_buf *out, size_t start, Elf64_Shdr *section, const char *bytes, size_t size) {
    while ((out->size - start) % section->sh_addralign && !out->failed) base_buf_char(out, 0);
    section->sh_offset = out->size - start;
    section->sh_size = size;
    if (size) base_buf_add(out, bytes, size);
}

static void write_file(const elf_object *o, base_buf *names, base_buf *out) {
    const size_t start = out->size;
    Elf64_Shdr section[SECTION_COUNT] = {
        [RODATA] = {.sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC, .sh_addralign = o->align[ELF_RODATA]},
        [RELRO] = {.sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_WRITE, .sh_addralign = o->align[ELF_RELRO]},
        [RELA] = {.sh_type = SHT_RELA, .sh_flags = SHF_INFO_LINK, .sh_link = SYMTAB, .sh_info = RELRO,
                  .sh_addralign = 8, .sh_entsize = sizeof(Elf64_Rela)},
        [STACK] = {.sh_type = SHT_PROGBITS, .sh_addralign = 1},
        /* sh_info: the first symbol that is not local */
        [SYMTAB] = {.sh_type = SHT_SYMTAB, .sh_link = STRTAB, .sh_info = RELRO + 1, .sh_addralign = 8,
                    .sh_entsize = sizeof(Elf64_Sym)},
        [STRTAB] = {.sh_type = SHT_STRTAB, .sh_addralign = 1},
        [NAMES] = {.sh_type = SHT_STRTAB, .sh_addralign = 1},
    };
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV},
        .e_type = ET_REL,
        .e_machine = (Elf64_Half)o->machine,
        .e_version = EV_CURRENT,
        .e_ehsize = sizeof header,
        .e_shentsize = sizeof section[0],
        .e_shnum = SECTION_COUNT,
        .e_shstrndx = NAMES,
    };
    const base_buf *const contents[SECTION_COUNT] = {
        [RODATA] = &o->data[ELF_RODATA], [RELRO] = &o->data[ELF_RELRO], [RELA] = &o->relocations,
        [SYMTAB] = &o->symbols,          [STRTAB] = &o->strings,        [NAMES] = names,
    };
    for (int i = 0; i < SECTION_COUNT; i++) {
        section[i].sh_name = (Elf64_Word)names->size;
        base_buf_add(names, section_names[i], strlen(section_names[i]) + 1);
    }
    base_buf_add(out, &header, sizeof header);
    for (int i = 1; i < SECTION_COUNT; i++)
        add_section(out, start, &section[i], contents[i] ? contents[i]->data : NULL,
                    contents[i] ? contents[i]->size : 0);
    Elf64_Shdr table = {.sh_addralign = 8};
    add_section(out, start, &table, (const char *)section, sizeof section);
    header.e_shoff = table.sh_offset;
    if (!out->failed) memcpy(out->data + start, &header, sizeof header);
}

bool elf_object_finish(const elf_object *o, base_buf *out, err *e) {
    base_buf names = {0};
    if (o->fault) return err_set(e, ERR_INTERNAL, "object", "a table of constants: %s", o->fault);
    for (int i = 0; i < ELF_SECTIONS; i++)
        if (!base_buf_ok(&o->data[i], "object", e)) return false;
    if (!base_buf_ok(&o->symbols, "object", e) || !base_buf_ok(&o->strings, "object", e) ||
        !base_buf_ok(&o->relocations, "object", e))
        return false;
    write_file(o, &names, out);
    const bool ok = base_buf_ok(&names, "object", e) && base_buf_ok(out, "object", e);
    base_buf_free(&names);
    return ok;
}
