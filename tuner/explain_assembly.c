/* explain_assembly.c: assembly of a CPU kernel. See explain.h. */
#include <stdlib.h>
#include <string.h>

#include "tuner/explain.h"

#ifdef NHAC_LLVM

#include <llvm-c/IRReader.h>

char *tune_explain_assembly(const tune_library *library, const tune_manifest_kernel *kernel, err *e) {
    char *ir = tune_explain_file(library, kernel->source, e), *message = NULL, *text = NULL;
    const gen_isa *isa = gen_isa_find(kernel->isa);
    if (!ir)
        return NULL;
    if (!isa) {
        err_set(e, ERR_INPUT, "show", "this version knows no ISA %s", kernel->isa);
        free(ir);
        return NULL;
    }
    LLVMContextRef context = LLVMContextCreate();
    LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(ir, strlen(ir), kernel->name);
    LLVMModuleRef module = NULL;
    if (LLVMParseIRInContext(context, buffer, &module, &message)) {
        err_set(e, ERR_COMPILE, "show", "%s: %s", kernel->source, message ? message : "cannot be read");
    } else {
        text = jit_assembly(module, isa, e);
        LLVMDisposeModule(module);
    }
    if (message)
        LLVMDisposeMessage(message);
    LLVMContextDispose(context);
    free(ir);
    return text;
}

#else

char *tune_explain_assembly(const tune_library *library, const tune_manifest_kernel *kernel, err *e) {
    (void)library;
    err_set(e, ERR_MISSING, "show", "%s: this nhac was built without LLVM; --ir shows its code", kernel->name);
    return NULL;
}

#endif
