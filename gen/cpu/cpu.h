/* cpu.h: CPU kernels as LLVM IR. problem + isa + tile -> one module with the functions of nha_cpu_code.
 * The knobs of a tile are searched; all else (buffers, panels, scratch sizes) is computed in the layout. */
#ifndef GEN_CPU_CPU_H
#define GEN_CPU_CPU_H

#include <llvm-c/Core.h>

#include "gen/cpu/knobs.h"
#include "runtime/nha_library.h"

typedef struct gen_cpu_unit {
    LLVMModuleRef module;    /* owned; in the context given to emit */
    char name[192];          /* kernel name: OP.ISA.KNOBS */
    char symbol_main[256], symbol_delta[256], symbol_scan[256]; /* functions in the module; empty: the op has none */
    nha_cpu_code code;       /* everything but the function pointers */
} gen_cpu_unit;

/* Builds the module. Deterministic: the same inputs give the same IR text. Thread-safe if contexts are distinct. */
bool gen_cpu_emit(LLVMContextRef context, const gen_problem *problem, nha_op op, const gen_isa *isa,
                  const gen_tile *tile, gen_cpu_unit *unit, err *e);
void gen_cpu_unit_destroy(gen_cpu_unit *unit);

#endif
