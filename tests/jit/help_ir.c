/* help_ir.c: see help_ir.h. */
#include "help_ir.h"

#include <llvm-c/IRReader.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/path.h"

help_module help_parse(const char *ir) {
    help_module m = {.context = LLVMContextCreate()};
    char *message = NULL;
    LLVMMemoryBufferRef text = LLVMCreateMemoryBufferWithMemoryRangeCopy(ir, strlen(ir), "test");
    if (LLVMParseIRInContext(m.context, text, &m.module, &message)) fail_msg("test IR: %s", message);
    return m;
}

void help_dispose(help_module m) {
    LLVMDisposeModule(m.module);
    LLVMContextDispose(m.context);
}

const gen_isa *help_host_isa(void) {
#if defined(__aarch64__)
    return gen_isa_find("neon");
#else
    return gen_isa_find("baseline");
#endif
}

char *help_ir_add(const char *name, long addend) {
    base_buf ir = {0};
    base_buf_printf(&ir, "define hidden i64 @%s(i64 %%x) {\n  %%y = add i64 %%x, %ld\n  ret i64 %%y\n}\n", name,
                    addend);
    return base_buf_take(&ir, NULL, "test", NULL);
}

char *help_ir_pressure(int live) {
    base_buf ir = {0};
    base_buf_text(&ir, "define hidden void @pressure(ptr %p, i64 %n) {\nentry:\n  br label %loop\nloop:\n"
                       "  %i = phi i64 [0, %entry], [%next, %loop]\n");
    for (int a = 0; a < live; a++)
        base_buf_printf(&ir, "  %%a%d = phi <4 x float> [zeroinitializer, %%entry], [%%b%d, %%loop]\n", a, a);
    base_buf_text(&ir, "  %q = getelementptr <4 x float>, ptr %p, i64 %i\n  %x = load <4 x float>, ptr %q\n");
    for (int a = 0; a < live; a++) base_buf_printf(&ir, "  %%b%d = fadd <4 x float> %%a%d, %%x\n", a, a);
    base_buf_text(&ir, "  %next = add i64 %i, 1\n  %more = icmp ult i64 %next, %n\n"
                       "  br i1 %more, label %loop, label %done\ndone:\n");
    for (int a = 0; a < live; a++)
        base_buf_printf(&ir,
                        "  %%s%d = getelementptr <4 x float>, ptr %%p, i64 %d\n  store <4 x float> %%b%d, ptr %%s%d\n",
                        a, a, a, a);
    base_buf_text(&ir, "  ret void\n}\n");
    return base_buf_take(&ir, NULL, "test", NULL);
}

static char cache_folder[64];
static pid_t cache_owner;

static void remove_cache(void) {
    if (getpid() == cache_owner) base_remove(cache_folder, "test", NULL);
}

const char *help_fresh_cache(void) {
    strcpy(cache_folder, "/tmp/nhac-test-XXXXXX");
    assert_non_null(mkdtemp(cache_folder));
    cache_owner = getpid();
    atexit(remove_cache);
    setenv("NHAC_CACHE_DIR", cache_folder, 1);
    return cache_folder;
}
