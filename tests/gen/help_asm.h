/* help_asm.h: reads LLVM's assembly text: which functions spill vector registers. */
#ifndef HELP_ASM_H
#define HELP_ASM_H

enum { HELP_ASM_FUNCTIONS = 64 };

typedef struct help_asm {
    int functions;
    struct {
        char name[96];
        int vector_spills; /* spills and reloads of vector registers, folded ones too; not saved registers of the caller */
    } function[HELP_ASM_FUNCTIONS];
} help_asm;

/* Text of x86-64 or AArch64 as jit_assembly gives it: LLVM marks by comments what goes to the stack and comes from it. AArch64 saves a
 * caller's d8 to d15 as d registers; spilled vectors are q registers. */
void help_asm_read(const char *text, help_asm *out);

#endif
