/* elf.h: reads ELF relocatable objects (64-bit, little-endian): sections and symbols, what linking decisions need.
 * Nothing is copied or allocated: the views borrow the bytes, which are hostile until jit_elf_open has passed. */
#ifndef JIT_ELF_H
#define JIT_ELF_H

#include <stdint.h>

#include "base/err.h"

typedef struct jit_elf {
    const unsigned char *bytes;
    size_t size;
    int machine;                     /* EM_X86_64, EM_AARCH64, ... */
    size_t sections, section_offset; /* count and file offset of the section headers */
    size_t names_offset, names_size; /* section names, NUL-terminated */
    size_t symbols, symbol_offset;   /* count and file offset of the symbol table; 0: none */
    size_t strings_offset, strings_size;
} jit_elf;

typedef struct jit_elf_symbol {
    const char *name; /* "" for sections and the null symbol */
    bool defined;     /* in a section of this object, or absolute */
    bool local, weak, hidden, function;
} jit_elf_symbol;

/* Checks header, section table, symbol and string tables against the size. Errors: ERR_INPUT. */
bool jit_elf_open(const void *bytes, size_t size, jit_elf *elf, err *e);
/* The i-th symbol, i < elf->symbols; index 0 is the null symbol. False with ERR_INPUT if its name lies outside the
 * string table. */
bool jit_elf_symbol_at(const jit_elf *elf, size_t i, jit_elf_symbol *symbol, err *e);
/* Whether the object promises a stack that is not executable (.note.GNU-stack without the execute flag). */
bool jit_elf_plain_stack(const jit_elf *elf);
/* Name of the first undefined symbol, or NULL. */
const char *jit_elf_undefined(const jit_elf *elf);
/* The machine this program runs on, as ELF numbers it. */
int jit_elf_host_machine(void);

#endif
