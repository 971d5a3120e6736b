/* emit.c: runs LLVM's code generator over a copy of a module and gathers its diagnostics.
 * Kernels are built as final SSA code, so no IR pass runs; spills are counted from the register allocator's remarks. */
#include "jit/emit.h"

#include "base/buf.h"
#include "jit/jit.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Weak, so that nhac links to an LLVM that was built for one of the two only. */
#define TARGET_LIST(X) X(X86) X(AArch64)
#define TARGET_DECLARE(name)                                                                                           \
    void LLVMInitialize##name##TargetInfo(void) __attribute__((weak));                                                 \
    void LLVMInitialize##name##Target(void) __attribute__((weak));                                                     \
    void LLVMInitialize##name##TargetMC(void) __attribute__((weak));                                                   \
    void LLVMInitialize##name##AsmParser(void) __attribute__((weak));                                                  \
    void LLVMInitialize##name##AsmPrinter(void) __attribute__((weak));
TARGET_LIST(TARGET_DECLARE)

static void init_once(void) {
#define TARGET_INIT(name)                                                                                              \
    if (LLVMInitialize##name##Target) {                                                                                \
        LLVMInitialize##name##TargetInfo();                                                                            \
        LLVMInitialize##name##Target();                                                                                \
        LLVMInitialize##name##TargetMC();                                                                              \
        LLVMInitialize##name##AsmParser(); /* for inline assembly: without it LLVM aborts */                           \
        LLVMInitialize##name##AsmPrinter();                                                                            \
    }
    TARGET_LIST(TARGET_INIT)
    /* The only door to the allocator's remarks in the C API. It may be opened once in a process. */
    const char *arguments[] = {"nhac", "-pass-remarks-missed=^regalloc$"};
    LLVMParseCommandLineOptions(2, arguments, NULL);
}

void jit_targets_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
}

int jit_count_spills(const char *remark) {
    /* In LLVM 16 to 22 a remark is a list of "COUNT WHAT" and "COST total WHAT cost", e.g.
     *     38 spills 1.2e+03 total spills cost 2 folded spills 38 reloads ... 4 virtual registers copies ... generated
     * in loop A zero-cost folded reload is a debug-like reference that no instruction performs. */
    static const char *const counted[] = {"spills", "folded spills", "reloads", "folded reloads"};
    int sum = 0;
    for (const char *at = remark; *at;) {
        char *end;
        long count = strtol(at, &end, 10);
        if (end == at || (at > remark && at[-1] != ' ') || *end != ' ') {
            at++;
            continue;
        }
        at = end + 1;
        for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
            size_t length = strlen(counted[i]);
            if (strncmp(at, counted[i], length) == 0 && (at[length] == ' ' || !at[length]) && count > 0 &&
                count < 1 << 24)
                sum += (int)count;
        }
    }
    return sum;
}

typedef struct heard {
    base_buf log; /* errors and warnings, one a line */
    bool failed;
    int function_spills, loop_spills;
} heard;

static void hear(LLVMDiagnosticInfoRef info, void *context) {
    heard *h = context;
    LLVMDiagnosticSeverity severity = LLVMGetDiagInfoSeverity(info);
    char *text = LLVMGetDiagInfoDescription(info);
    if (!text) return;
    if (severity == LLVMDSError || severity == LLVMDSWarning) {
        h->failed |= severity == LLVMDSError;
        base_buf_printf(&h->log, "%s: %s\n", severity == LLVMDSError ? "error" : "warning", text);
    } else if (strstr(text, "generated in function")) {
        h->function_spills += jit_count_spills(text);
    } else if (strstr(text, "generated in loop")) {
        h->loop_spills += jit_count_spills(text);
    }
    LLVMDisposeMessage(text);
}

/* Sets the error with the first line of LLVM's text in it and all of the text in the log. Takes text. */
static bool fail(err *e, const char *what, char *text) {
    const char *first = text && text[0] ? text : "LLVM gave no reason";
    bool fresh = e && e->code == ERR_NONE;
    err_set(e, ERR_COMPILE, "compile", "%s: %.*s", what, (int)strcspn(first, "\n"), first);
    if (fresh) {
        free(e->log);
        e->log = text;
    } else {
        free(text);
    }
    return false;
}

static char *copy_message(char *message) {
    char *copy = message ? strdup(message) : NULL;
    if (message) LLVMDisposeMessage(message);
    return copy;
}

bool jit_verify(LLVMModuleRef module, err *e) {
    char *message = NULL;
    if (LLVMVerifyModule(module, LLVMReturnStatusAction, &message))
        return fail(e, "the module is not valid LLVM IR", copy_message(message));
    LLVMDisposeMessage(message);
    return true;
}

bool jit_emit(LLVMModuleRef module, const gen_isa *isa, LLVMCodeGenFileType type, jit_emitted *out, err *e) {
    bool ok = false;
    char *message = NULL;
    LLVMTargetRef target;
    LLVMTargetMachineRef machine = NULL;
    LLVMTargetDataRef layout = NULL;
    LLVMMemoryBufferRef buffer = NULL;
    LLVMModuleRef copy = NULL;
    LLVMContextRef context = LLVMGetModuleContext(module);
    LLVMDiagnosticHandler old_handler = LLVMContextGetDiagnosticHandler(context);
    void *old_context = LLVMContextGetDiagnosticContext(context);
    heard h = {0};

    *out = (jit_emitted){0};
    jit_targets_init();
    LLVMContextSetDiagnosticHandler(context, hear, &h);

    if (LLVMGetTargetFromTriple(isa->triple, &target, &message)) {
        err_set(e, ERR_MISSING, "compile", "LLVM %s cannot make code for %s: %s", jit_llvm_version(), isa->triple,
                message);
        goto done;
    }
    machine = LLVMCreateTargetMachine(target, isa->triple, isa->cpu, isa->features, LLVMCodeGenLevelDefault,
                                      LLVMRelocPIC, LLVMCodeModelSmall);
    if (!machine) {
        err_set(e, ERR_MISSING, "compile", "LLVM has no code generator for %s", isa->triple);
        goto done;
    }
    copy = LLVMCloneModule(module); /* the code generator rewrites the IR it is given */
    LLVMSetTarget(copy, isa->triple);
    layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(copy, layout);
    LLVMSetTargetMachineAsmVerbosity(machine, 1);
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, copy, type, &message, &buffer)) {
        fail(e, "LLVM failed", copy_message(message));
        message = NULL;
        goto done;
    }
    if (h.failed) {
        fail(e, "LLVM failed", strdup(base_buf_string(&h.log)));
        goto done;
    }
    out->size = LLVMGetBufferSize(buffer);
    out->bytes = malloc(out->size + 1);
    if (!out->bytes) {
        err_memory(e, "compile");
        goto done;
    }
    memcpy(out->bytes, LLVMGetBufferStart(buffer), out->size);
    out->bytes[out->size] = 0;
    out->spills = h.function_spills;
    /* Loops report after the loops inside them and include these: the sum may exceed the function's count, which is
     * exact. */
    out->loop_spills = h.loop_spills < h.function_spills ? h.loop_spills : h.function_spills;
    ok = true;

done:
    LLVMContextSetDiagnosticHandler(context, old_handler, old_context);
    base_buf_free(&h.log);
    if (message) LLVMDisposeMessage(message);
    if (buffer) LLVMDisposeMemoryBuffer(buffer);
    if (layout) LLVMDisposeTargetData(layout);
    if (copy) LLVMDisposeModule(copy);
    if (machine) LLVMDisposeTargetMachine(machine);
    return ok;
}
