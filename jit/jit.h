/* jit.h: from IR to machine code. One relocatable object serves ORC, the on-disk cache and the library, byte for byte. */
#ifndef JIT_JIT_H
#define JIT_JIT_H

#include <llvm-c/Core.h>

#include "base/err.h"
#include "gen/cpu/isa.h"

typedef struct jit_object {
    void *bytes;      /* malloc'd ELF relocatable object: position-independent, non-executable stack, no undefined symbols */
    size_t size;
    int spills;       /* spill and reload instructions LLVM reported, inside loops */
    int loop_spills;
    bool cached;      /* came from the cache */
    char key[65];     /* hex SHA-256 of everything that decides the bytes */
} jit_object;

/* Compiles the module for the isa, or takes the object from the cache (base directory: jit_cache_dir). The module is not changed.
 * Thread-safe for modules of distinct contexts. Errors: ERR_COMPILE with LLVM's text in the log. */
bool jit_compile(LLVMModuleRef module, const gen_isa *isa, jit_object *object, err *e);
void jit_object_destroy(jit_object *object);
/* Assembly text of the same module, malloc'd; NULL on error. */
char *jit_assembly(LLVMModuleRef module, const gen_isa *isa, err *e);

/* An object in memory, linked by ORC. */
typedef struct jit_code jit_code;
bool jit_load(const void *object, size_t size, jit_code **code, err *e);
void *jit_symbol(jit_code *code, const char *name, err *e); /* NULL if it is not there */
void jit_unload(jit_code *code);

/* The LLVM that is linked, "19.1.7". */
const char *jit_llvm_version(void);

/* ---- cache.c: content-addressed files; immutable; a bad entry is a miss ---- */

/* $NHAC_CACHE_DIR, else $XDG_CACHE_HOME/nhac, else ~/.cache/nhac. Static buffer, fixed at first call. */
const char *jit_cache_dir(void);
/* Reads the entry into malloc'd memory; false: a miss (absent, unreadable, truncated, checksum wrong). Never an error. */
bool jit_cache_get(const char *key, void **bytes, size_t *size);
/* Writes temp, fsync, rename. Losing a race is success; a cache that cannot be written only costs time: returns false, no error. */
bool jit_cache_put(const char *key, const void *bytes, size_t size);

#endif
