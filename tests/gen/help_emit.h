/* help_emit.h: kernels as modules and objects, and what is asked of default tiles: that the accumulators of products stay in registers. */
#ifndef HELP_EMIT_H
#define HELP_EMIT_H

#include "gen/cpu/cpu.h"
#include "jit/emit.h"

typedef struct help_unit {
    LLVMContextRef context;
    gen_cpu_unit unit;
} help_unit;

/* In a context of its own; fails the test where it cannot be built. */
help_unit help_emit(const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile);
void help_emit_drop(help_unit *m);
/* Compiled past the cache. Free bytes. */
jit_emitted help_emit_object(const help_unit *m, const gen_isa *isa);
/* The object is for the isa's machine, calls nothing, has a plain stack and shows its entry points alone. */
void help_emit_check_object(const help_unit *m, const gen_isa *isa);

/* Problems with every dtype, rope style, gate and map; odd sizes; the smallest and the largest. */
enum { HELP_EMIT_PROBLEMS = 12 };
void help_emit_problem(int i, gen_problem *problem);

/* Spills and reloads of vectors in products; adds to *functions how many were looked at. */
int help_emit_spills(const help_unit *m, const gen_problem *problem, nha_op op, const gen_isa *isa, bool print, int *functions);
/* No default tile of this ISA spills in a product, for both ops of every problem above; `objects`: checks the objects, too. */
void help_emit_check_defaults(const char *isa, bool objects);

#endif
