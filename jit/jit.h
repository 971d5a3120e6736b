/* jit.h: from IR to machine code. One relocatable object serves ORC, the cache and the library, byte for byte. */
#ifndef JIT_JIT_H
#define JIT_JIT_H

#ifdef NHAC_LLVM
#include <llvm-c/Core.h>
#endif

#include "base/err.h"
#include "gen/cpu/isa.h"

typedef struct jit_object {
    void *bytes; /* malloc'd ELF relocatable object: position-independent, non-executable stack, no undefined symbols */
    size_t size;
    int spills;      /* spill and reload instructions, folded ones too, that LLVM's register allocator reported */
    int loop_spills; /* those in loops: 0 exactly if there are none; nested loops may count twice, up to `spills` */
    bool cached;     /* came from the cache */
    char key[65];    /* hex SHA-256 of everything that decides the bytes */
} jit_object;

#ifdef NHAC_LLVM
/* Compiles the module for the isa, or takes the object from the cache (base directory: jit_cache_dir). The module is
 * not changed. Thread-safe for modules of distinct contexts. Errors: ERR_COMPILE with LLVM's text in the log, also
 * where the code calls a function that is not in it (libm, the compiler's runtime); ERR_MISSING if NHAC_NO_JIT=1
 * forbids compiling. On failure *object needs no destroy. */
bool jit_compile(LLVMModuleRef module, const gen_isa *isa, jit_object *object, err *e);
void jit_object_destroy(jit_object *object);
/* Assembly text of the same module, malloc'd, freed with free; NULL on error. */
char *jit_assembly(LLVMModuleRef module, const gen_isa *isa, err *e);

/* Objects in memory, linked by ORC. Each jit_code is a world of its own: the same symbols may be loaded twice. Objects
 * may refer to one another, to nothing else. The bytes are copied. Thread-safe; about half a millisecond. Errors:
 * ERR_INPUT for bytes that are no object of this machine, ERR_COMPILE for what the linker reports. */
typedef struct jit_code jit_code;
typedef struct jit_bytes {
    const void *bytes;
    size_t size;
} jit_bytes;
bool jit_load(const void *object, size_t size, jit_code **code, err *e);
bool jit_load_objects(const jit_bytes *objects, int count, jit_code **code, err *e);
/* Address of a symbol, hidden ones too; NULL with an error if it is not there. Concurrent calls with one code are not
 * allowed. */
void *jit_symbol(jit_code *code, const char *name, err *e);
/* Frees the code: no function of it may be running. NULL is allowed. */
void jit_unload(jit_code *code);

#else
typedef struct jit_code jit_code;
#endif

/* The LLVM that is linked, "19.1.7"; "" in a build without it. */
const char *jit_llvm_version(void);

/* ---- cache.c: content-addressed files; immutable; a bad entry is a miss ---- */

/* $NHAC_CACHE_DIR, else $XDG_CACHE_HOME/nhac, else ~/.cache/nhac. Static buffer, fixed at first call. */
const char *jit_cache_dir(void);
/* Reads the entry into malloc'd memory; false: a miss (absent, unreadable, cut, checksum wrong), never an error. */
bool jit_cache_get(const char *key, void **bytes, size_t *size);
/* Writes temp, fsync, rename. Losing a race is success; a cache that cannot be written only costs time: returns false,
 * no error. */
bool jit_cache_put(const char *key, const void *bytes, size_t size);

#endif
