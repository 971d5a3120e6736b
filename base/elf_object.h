/* elf_object.h: writes ELF relocatable objects that hold constant data alone: bytes, and structs that point to them and
 * to symbols of other objects. Little-endian, 64-bit; x86-64 and aarch64. No code, no executable stack. */
#ifndef BASE_ELF_OBJECT_H
#define BASE_ELF_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

typedef enum elf_section {
    ELF_RODATA, /* .rodata: no pointers in it */
    ELF_RELRO,  /* .data.rel.ro: pointers are filled in when it is linked or loaded, then it is read-only */
    ELF_SECTIONS
} elf_section;

/* Where data stands. */
typedef struct elf_place {
    elf_section section;
    uint64_t offset;
} elf_place;

/* Start from elf_object_begin. The first fault is sticky, as in base_buf: later calls do nothing and elf_object_finish
 * reports it. The same calls give the same bytes. Not thread-safe for one object. */
typedef struct elf_object {
    int machine;                          /* EM_X86_64 or EM_AARCH64 of <elf.h> */
    base_buf data[ELF_SECTIONS];
    uint64_t align[ELF_SECTIONS];         /* the largest asked for */
    base_buf symbols, strings, relocations; /* Elf64_Sym, their names, Elf64_Rela of .data.rel.ro */
    const char *fault;                    /* static text, or NULL */
} elf_object;

enum { ELF_ALIGN_MAX = 4096 };
#define ELF_OBJECT_BYTES_MAX ((uint64_t)1 << 30) /* of each section */

void elf_object_begin(elf_object *o, int machine);
void elf_object_free(elf_object *o);

/* `size` zero bytes at a multiple of `align` (a power of two up to ELF_ALIGN_MAX); the gap before them is zero. */
elf_place elf_object_zero(elf_object *o, elf_section section, uint64_t size, uint64_t align);
/* The same with contents. */
elf_place elf_object_bytes(elf_object *o, elf_section section, const void *bytes, uint64_t size, uint64_t align);
/* Overwrites `size` bytes from `at` on, all within what the section has. */
void elf_object_put(elf_object *o, elf_place at, const void *bytes, uint64_t size);

/* The 8 bytes at `at`, in ELF_RELRO and a multiple of 8, become the address of `to`; or of a symbol that this or
 * another object defines (if another, it is looked up as a hidden symbol). At most one pointer a place. */
void elf_object_pointer(elf_object *o, elf_place at, elf_place to);
void elf_object_pointer_symbol(elf_object *o, elf_place at, const char *name);

/* Defines a global symbol, visible to other libraries too, for the object of `size` bytes at `at`. */
void elf_object_symbol(elf_object *o, const char *name, elf_place at, uint64_t size);

/* Appends the whole ELF file to `out`; `o` stays as it is. Errors: ERR_MEMORY, ERR_INTERNAL (a call that broke its
 * contract, or a section that became too large). */
bool elf_object_finish(const elf_object *o, base_buf *out, err *e);

#endif
