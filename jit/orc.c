/* orc.c: objects in memory become callable code. Each jit_code has an LLJIT of its own (0.4 ms), so that unloading
 * frees all of it and symbols of two loads never meet; nothing is resolved from the process. */
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jit/elf.h"
#include "jit/emit.h"
#include "jit/jit.h"

struct jit_code {
    LLVMOrcLLJITRef jit;
};

static bool fail(err *e, const char *what, LLVMErrorRef error) {
    char *message = LLVMGetErrorMessage(error);
    err_set(e, ERR_COMPILE, "link", "%s: %.*s", what, (int)strcspn(message, "\n"), message);
    LLVMDisposeErrorMessage(message);
    return false;
}

/* Whether some object defines the name for others. */
static bool defines(const jit_elf *elves, int count, const char *name) {
    jit_elf_symbol symbol;
    for (int i = 0; i < count; i++)
        for (size_t s = 1; s < elves[i].symbols; s++)
            if (jit_elf_symbol_at(&elves[i], s, &symbol, NULL) && symbol.defined && !symbol.local &&
                strcmp(symbol.name, name) == 0)
                return true;
    return false;
}

/* Objects of this machine that refer to one another and to nothing else: ORC would look in the process. */
static bool check_closed(const jit_bytes *objects, int count, err *e) {
    bool ok = false;
    jit_elf_symbol symbol;
    jit_elf *elves = calloc((size_t)count, sizeof *elves);
    if (!elves) return err_memory(e, "link");
    for (int i = 0; i < count; i++) {
        if (!jit_elf_open(objects[i].bytes, objects[i].size, &elves[i], e)) goto done;
        if (elves[i].machine != jit_elf_host_machine()) {
            err_set(e, ERR_INPUT, "link", "the object is for another machine (ELF machine %d, this is %d)",
                    elves[i].machine, jit_elf_host_machine());
            goto done;
        }
    }
    for (int i = 0; i < count; i++)
        for (size_t s = 1; s < elves[i].symbols; s++) {
            if (!jit_elf_symbol_at(&elves[i], s, &symbol, e)) goto done;
            if (symbol.defined || defines(elves, count, symbol.name)) continue;
            err_set(e, ERR_INPUT, "link", "the object refers to %s, which is nowhere", symbol.name);
            goto done;
        }
    ok = true;
done:
    free(elves);
    return ok;
}

bool jit_load_objects(const jit_bytes *objects, int count, jit_code **code, err *e) {
    LLVMErrorRef error;
    *code = NULL;
    if (count < 1) return err_set(e, ERR_INTERNAL, "link", "no objects to load");
    if (!check_closed(objects, count, e)) return false;
    jit_targets_init();
    jit_code *made = calloc(1, sizeof *made);
    if (!made) return err_memory(e, "link");
    if ((error = LLVMOrcCreateLLJIT(&made->jit, NULL))) {
        free(made);
        return fail(e, "ORC does not start", error);
    }
    for (int i = 0; i < count; i++) {
        LLVMMemoryBufferRef copy =
            LLVMCreateMemoryBufferWithMemoryRangeCopy(objects[i].bytes, objects[i].size, "kernel");
        /* The buffer is taken, whatever comes back. */
        if ((error = LLVMOrcLLJITAddObjectFile(made->jit, LLVMOrcLLJITGetMainJITDylib(made->jit), copy))) {
            jit_unload(made);
            return fail(e, "ORC refuses the object", error);
        }
    }
    *code = made;
    return true;
}

bool jit_load(const void *object, size_t size, jit_code **code, err *e) {
    return jit_load_objects(&(jit_bytes){object, size}, 1, code, e);
}

void *jit_symbol(jit_code *code, const char *name, err *e) {
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef error = LLVMOrcLLJITLookup(code->jit, &address, name);
    if (error) {
        fail(e, name, error);
        return NULL;
    }
    return (void *)(uintptr_t)address;
}

void jit_unload(jit_code *code) {
    if (!code) return;
    LLVMErrorRef error = LLVMOrcDisposeLLJIT(code->jit);
    if (error) LLVMConsumeError(error);
    free(code);
}
