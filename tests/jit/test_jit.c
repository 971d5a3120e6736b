/* test_jit.c: IR to objects, what is refused, spills, assembly, loading by ORC, and the ELF reader on damaged bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/sha256.h"
#include "help_ir.h"
#include "jit/elf.h"
#include "jit/emit.h"
#include "jit/jit.h"

static jit_object compile(const char *ir, const gen_isa *isa) {
    err e = {0};
    jit_object object;
    help_module m = help_parse(ir);
    if (!jit_compile(m.module, isa, &object, &e)) fail_msg("%s\n%s", e.text, e.log ? e.log : "");
    help_dispose(m);
    return object;
}

static void compile_fails(const char *ir, err_code code, const char *text) {
    err e = {0};
    jit_object object;
    help_module m = help_parse(ir);
    assert_false(jit_compile(m.module, help_host_isa(), &object, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.text, text)) fail_msg("\"%s\" is not in \"%s\"", text, e.text);
    assert_null(object.bytes);
    help_dispose(m);
    err_clear(&e);
}

static void compiles_loads_and_runs(void **state) {
    (void)state;
    err e = {0};
    jit_code *code;
    char *ir = help_ir_add("add_seven", 7);
    jit_object object = compile(ir, help_host_isa());
    assert_false(object.cached);
    assert_true(jit_load(object.bytes, object.size, &code, &e));
    int64_t (*add)(int64_t) = (int64_t(*)(int64_t))jit_symbol(code, "add_seven", &e);
    assert_non_null(add);
    assert_int_equal(add(35), 42);
    assert_null(jit_symbol(code, "add_eight", &e));
    assert_int_equal(e.code, ERR_COMPILE);
    err_clear(&e);
    jit_unload(code);
    jit_object_destroy(&object);
    free(ir);
}

static void module_is_not_changed(void **state) {
    (void)state;
    err e = {0};
    jit_object object;
    char *ir = help_ir_pressure(20);
    help_module m = help_parse(ir);
    char *before = LLVMPrintModuleToString(m.module);
    assert_true(jit_compile(m.module, help_host_isa(), &object, &e));
    char *after = LLVMPrintModuleToString(m.module);
    assert_string_equal(before, after);
    assert_null(LLVMContextGetDiagnosticHandler(m.context));
    LLVMDisposeMessage(before);
    LLVMDisposeMessage(after);
    jit_object_destroy(&object);
    help_dispose(m);
    free(ir);
}

static void object_stands_alone(void **state) {
    (void)state;
    err e = {0};
    jit_elf elf;
    jit_elf_symbol symbol;
    bool found = false;
    char *ir = help_ir_add("alone", 1);
    jit_object object = compile(ir, help_host_isa());
    assert_true(jit_elf_open(object.bytes, object.size, &elf, &e));
    assert_int_equal(elf.machine, jit_elf_host_machine());
    assert_true(jit_elf_plain_stack(&elf));
    assert_null(jit_elf_undefined(&elf));
    for (size_t i = 0; i < elf.symbols; i++) {
        assert_true(jit_elf_symbol_at(&elf, i, &symbol, &e));
        if (strcmp(symbol.name, "alone") == 0)
            found = symbol.function && symbol.hidden && symbol.defined && !symbol.local;
    }
    assert_true(found);
    assert_false(jit_elf_symbol_at(&elf, elf.symbols, &symbol, NULL));
    jit_object_destroy(&object);
    free(ir);
}

static void wrong_modules_are_refused(void **state) {
    (void)state;
    compile_fails("declare double @sin(double)\n"
                  "define hidden double @k(double %x) {\n  %y = call double @sin(double %x)\n  ret double %y\n}\n",
                  ERR_COMPILE, "calls sin, which no library provides");
    /* What the code generator turns into a call by itself. */
    compile_fails("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n"
                  "define hidden void @k(ptr %p, i64 %n) {\n"
                  "  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %n, i1 false)\n  ret void\n}\n",
                  ERR_COMPILE, "calls memset");
    compile_fails(
        "define hidden void @k() {\n  call void asm sideeffect \"this is no instruction\", \"\"()\n  ret void\n}\n",
        ERR_COMPILE, "LLVM");
    /* The parser checks nothing that the verifier does not, so break a module by hand. */
    err e = {0};
    jit_object object;
    help_module m = help_parse("define hidden i64 @k(i64 %x) {\n  ret i64 %x\n}\n");
    LLVMBasicBlockRef block = LLVMAppendBasicBlockInContext(m.context, LLVMGetNamedFunction(m.module, "k"), "open");
    assert_non_null(block);
    assert_false(jit_compile(m.module, help_host_isa(), &object, &e));
    assert_int_equal(e.code, ERR_COMPILE);
    assert_non_null(strstr(e.text, "not valid LLVM IR"));
    assert_non_null(e.log);
    err_clear(&e);
    help_dispose(m);
}

static void spills_are_counted(void **state) {
    (void)state;
    char *few = help_ir_pressure(6), *many = help_ir_pressure(48);
    jit_object fits = compile(few, help_host_isa()), spills = compile(many, help_host_isa());
    assert_int_equal(fits.spills, 0);
    assert_int_equal(fits.loop_spills, 0);
    assert_true(spills.loop_spills > 0);
    assert_true(spills.spills >= spills.loop_spills);
    /* The counts travel with the object in the cache. */
    jit_object again = compile(many, help_host_isa());
    assert_true(again.cached);
    assert_int_equal(again.spills, spills.spills);
    assert_int_equal(again.loop_spills, spills.loop_spills);
    jit_object_destroy(&fits);
    jit_object_destroy(&spills);
    jit_object_destroy(&again);
    free(few);
    free(many);

    assert_int_equal(
        jit_count_spills("<unknown>:0:0: 38 spills 1.216000e+03 total spills cost 2 folded spills 3.2e+01 total "
                         "folded spills cost 5 reloads 1.6e+02 total reloads cost 7 folded reloads 9 zero cost "
                         "folded reloads 4 virtual registers copies 1.28e+02 total copies cost generated in loop"),
        38 + 2 + 5 + 7);
    assert_int_equal(jit_count_spills("1096 stack bytes in function 'k'"), 0);
    assert_int_equal(jit_count_spills(""), 0);
}

static void other_architecture_compiles(void **state) {
    (void)state;
    err e = {0};
    jit_elf elf;
    jit_code *code;
#if defined(__aarch64__)
    const gen_isa *other = gen_isa_find("avx2");
#else
    const gen_isa *other = gen_isa_find("neon");
#endif
    char *ir = help_ir_pressure(8);
    jit_object object = compile(ir, other);
    assert_true(jit_elf_open(object.bytes, object.size, &elf, &e));
    assert_int_not_equal(elf.machine, jit_elf_host_machine());
    assert_int_equal(object.spills, 0);
    assert_false(jit_load(object.bytes, object.size, &code, &e));
    assert_int_equal(e.code, ERR_INPUT);
    err_clear(&e);
    jit_object_destroy(&object);
    free(ir);
}

static void assembly_is_readable(void **state) {
    (void)state;
    err e = {0};
    char *ir = help_ir_add("shown", 5);
    help_module m = help_parse(ir);
    char *text = jit_assembly(m.module, help_host_isa(), &e);
    assert_non_null(text);
    assert_non_null(strstr(text, "shown:"));
    assert_non_null(strstr(text, "ret"));
    free(text);
    help_dispose(m);
    free(ir);
}

static void objects_link_to_one_another(void **state) {
    (void)state;
    err e = {0};
    jit_emitted one;
    jit_object two;
    jit_code *code;
    help_module m = help_parse("declare hidden i64 @ninety(i64)\n@where = constant ptr @ninety\n");
    assert_true(jit_verify(m.module, &e) && jit_emit(m.module, help_host_isa(), LLVMObjectFile, &one, &e));
    char *ir = help_ir_add("ninety", 90);
    two = compile(ir, help_host_isa());
    jit_bytes both[] = {{one.bytes, one.size}, {two.bytes, two.size}};
    assert_true(jit_load_objects(both, 2, &code, &e));
    void **where = jit_symbol(code, "where", &e);
    assert_non_null(where);
    assert_ptr_equal(*where, jit_symbol(code, "ninety", &e));
    jit_unload(code);
    /* Alone the table refers to nothing: the process is never searched. */
    assert_false(jit_load(one.bytes, one.size, &code, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.text, "ninety"));
    err_clear(&e);
    free(one.bytes);
    jit_object_destroy(&two);
    help_dispose(m);
    free(ir);
}

/* Threads compile, load and run different and equal modules at the same time. */
static void *worker(void *arg) {
    const long seed = *(const long *)arg;
    for (long i = 0; i < 6; i++) {
        err e = {0};
        jit_code *code = NULL;
        char *ir = help_ir_add("mine", 1000 + (seed + i) % 8);
        help_module m = help_parse(ir);
        jit_object object;
        bool ok = jit_compile(m.module, help_host_isa(), &object, &e) && jit_load(object.bytes, object.size, &code, &e);
        int64_t (*add)(int64_t) = ok ? (int64_t(*)(int64_t))jit_symbol(code, "mine", &e) : NULL;
        ok = add && add(1) == 1001 + (seed + i) % 8;
        jit_unload(code);
        jit_object_destroy(&object);
        help_dispose(m);
        free(ir);
        err_clear(&e);
        if (!ok) return NULL;
    }
    return arg;
}

static void threads_do_not_meet(void **state) {
    (void)state;
    pthread_t threads[4];
    long seeds[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, worker, &seeds[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, &seeds[i]);
    }
}

/* Cut off at every length, and with bytes changed at random: refused or read, never out of bounds. */
static void damaged_objects_are_harmless(void **state) {
    (void)state;
    jit_elf elf;
    char *ir = help_ir_pressure(20);
    jit_object object = compile(ir, help_host_isa());
    for (size_t size = 0; size < object.size; size++) {
        unsigned char *cut = malloc(size ? size : 1);
        memcpy(cut, object.bytes, size);
        assert_false(jit_elf_open(cut, size, &elf, NULL));
        free(cut);
    }
    unsigned seed = 1, refused = 0;
    unsigned char *bytes = malloc(object.size);
    for (int round = 0; round < 20000; round++) {
        memcpy(bytes, object.bytes, object.size);
        for (int i = 0; i < 3; i++) {
            seed = seed * 1664525u + 1013904223u;
            const size_t at = (seed >> 8) % 2 ? (seed >> 9) % 64 : object.size - 1 - (seed >> 9) % (64 * 8);
            bytes[at] = (unsigned char)(seed >> 24);
        }
        if (!jit_elf_open(bytes, object.size, &elf, NULL)) {
            refused++;
        } else {
            jit_elf_undefined(&elf);
            jit_elf_plain_stack(&elf);
        }
    }
    assert_true(refused > 1000);
    free(bytes);
    jit_object_destroy(&object);
    free(ir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compiles_loads_and_runs), cmocka_unit_test(module_is_not_changed),
        cmocka_unit_test(object_stands_alone),     cmocka_unit_test(wrong_modules_are_refused),
        cmocka_unit_test(spills_are_counted),      cmocka_unit_test(other_architecture_compiles),
        cmocka_unit_test(assembly_is_readable),    cmocka_unit_test(objects_link_to_one_another),
        cmocka_unit_test(threads_do_not_meet),     cmocka_unit_test(damaged_objects_are_harmless),
    };
    help_fresh_cache();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
