/* alu.h: the table of instructions that work lane by lane on registers: one row a form, key = opcode, modifiers and
 * type. A row names its result type, operand types and the expression over A, B, C; alu_body.h turns it into a loop,
 * once per ISA. */
#ifndef EMU_ALU_H
#define EMU_ALU_H

#include "emu/inner.h"

typedef struct alu_row {
    const char *key;       /* "add_u32" */
    const char *signature; /* a letter an operand, result first: see alu_body.h */
    exec_fn *fn;
} alu_row;

/* Row by key; NULL: no such form. Chooses the code for this CPU. */
const alu_row *emu_alu_find(const char *key);
size_t emu_alu_rows(const alu_row **rows);
size_t emu_alu_rows_base(const alu_row **rows);
size_t emu_alu_rows_avx2(const alu_row **rows);

#endif
