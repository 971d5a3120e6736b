/* emit.h: one run of LLVM's code generator: module -> bytes, with what LLVM said on the way. Internal to jit/. */
#ifndef JIT_EMIT_H
#define JIT_EMIT_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "base/err.h"
#include "gen/cpu/isa.h"

/* Everything that decides the code besides IR and isa; part of the cache key. Change it when emit.c changes. */
#define JIT_EMIT_FLAGS "pic small O2 1"

typedef struct jit_emitted {
    char *bytes; /* malloc'd; text ends in NUL, which `size` does not count */
    size_t size;
    int spills, loop_spills; /* as in jit_object */
} jit_emitted;

/* Whether the module is valid; LLVM's other functions may crash if it is not. Errors: ERR_COMPILE with LLVM's text in
 * the log. */
bool jit_verify(LLVMModuleRef module, err *e);
/* Generates code for the isa from a copy of a verified module. The module is not changed; its context's diagnostic
 * handler is replaced for the time of the call. Errors: ERR_COMPILE with LLVM's text in the log, ERR_MISSING if this
 * LLVM lacks the target. */
bool jit_emit(LLVMModuleRef module, const gen_isa *isa, LLVMCodeGenFileType type, jit_emitted *out, err *e);

/* Makes the targets known to LLVM; once, thread-safe. Called by everything in jit/ that uses one. */
void jit_targets_init(void);

/* The spills and reloads a remark of the register allocator counts: "3 spills 2 folded reloads ... generated in loop"
 * is 5. */
int jit_count_spills(const char *remark);

#endif
