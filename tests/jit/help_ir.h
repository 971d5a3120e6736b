/* help_ir.h: modules for the jit's tests, from IR text, and a cache folder of each test's own. */
#ifndef HELP_IR_H
#define HELP_IR_H

#include <llvm-c/Core.h>

#include "gen/cpu/isa.h"

typedef struct help_module {
    LLVMContextRef context;
    LLVMModuleRef module;
} help_module;

/* Parses IR text; fails the test if it is wrong. */
help_module help_parse(const char *ir);
void help_dispose(help_module m);
/* An isa of this machine's architecture that every such machine has. */
const gen_isa *help_host_isa(void);

/* IR of `define hidden i64 @NAME(i64)`, which returns its argument plus `addend`. Free it. */
char *help_ir_add(const char *name, long addend);
/* IR of a loop that carries `live` vectors of 4 floats: with more of them than registers it spills. Free it. */
char *help_ir_pressure(int live);

/* Makes a fresh folder under /tmp and makes it NHAC_CACHE_DIR; removed at exit. Call before the cache is used:
 * jit_cache_dir is fixed at its first call. */
const char *help_fresh_cache(void);

#endif
