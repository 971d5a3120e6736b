/* help_gen.c: see help_gen.h. */
#include "tests/gen/help_gen.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/nha_library.h"

bool help_gen_runs(const gen_isa *isa) {
    const gen_isa *best = gen_isa_best(nha_cpu_features());
    return best && strcmp(best->triple, isa->triple) == 0 && (isa->needs & ~nha_cpu_features()) == 0;
}

void help_gen_problem(gen_problem *problem, int dim, int slots, int64_t window, int heads_kv, int group) {
    memset(problem, 0, sizeof *problem);
    strcpy(problem->name, "edge");
    problem->nha = (nha_problem){.head_dim_qk = dim,
                                 .head_dim_v = dim,
                                 .heads_q = heads_kv * group,
                                 .heads_kv = heads_kv,
                                 .slots = slots,
                                 .window = window,
                                 .slot_lag = window,
                                 .dtype = NHA_F32,
                                 .gate_dtype = NHA_F32,
                                 .gate_normalizer = 8,
                                 .gate_input = NHA_GATE_LOGIT,
                                 .rope = NHA_ROPE_NONE};
    help_gen_ready(problem);
}

void help_gen_ready(gen_problem *problem) {
    nha_problem *p = &problem->nha;
    if (p->scale == 0)
        p->scale = 1 / sqrt(p->head_dim_qk);
    for (int i = 0; i < p->head_dim_qk / 2; i++)
        problem->inv_freq[i] = pow(10000, -2.0 * i / p->head_dim_qk);
    gen_problem_derive(problem);
}

val help_gen_at(ir *b, val base, val index, int64_t bytes) {
    return ir_at(b, base, ir_mulc(b, index, bytes));
}

help_gen_code help_gen_load(const gen_isa *isa, int width, help_gen_body body, const void *context) {
    help_gen_code c = {0};
    err e = {0};
    ir b;
    jit_object object;
    ir_loop loop;
    LLVMContextRef llvm = LLVMContextCreate();
    ir_init(&b, llvm, "test", isa);
    ir_function(&b, "test_fn", "pppi", (const char *const[]){"in", "out", "out2", "count"}, true);
    ir_loop_begin(&b, &loop, ir_int(&b, 0), ir_param(&b, 3), ir_int(&b, width), NULL, 0);
    body(&b, context, width, ir_param(&b, 0), ir_param(&b, 1), ir_param(&b, 2), loop.index);
    ir_loop_end(&b, &loop, NULL);
    ir_return(&b);
    ir_finish(&b);
    if (!jit_compile(b.module, isa, &object, &e))
        fail_msg("%s, width %d: %s", isa->name, width, e.text);
    if (!jit_load(object.bytes, object.size, &c.code, &e))
        fail_msg("%s: %s", isa->name, e.text);
    void *address = jit_symbol(c.code, "test_fn", &e);
    assert_non_null(address);
    memcpy(&c.fn, &address, sizeof address);
    jit_object_destroy(&object);
    LLVMDisposeModule(b.module);
    LLVMContextDispose(llvm);
    return c;
}

void help_gen_unload(help_gen_code *c) {
    jit_unload(c->code);
    *c = (help_gen_code){0};
}
