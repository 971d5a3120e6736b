/* library_table.c: the structs of runtime/nha_library.h as LLVM constants, each member at its offsetof, so that the
 * table is what libnha's C compiler sees. Pointers make it relocated read-only data (.data.rel.ro). */
#include "tuner/library_table.h"

#include <stdlib.h>
#include <string.h>

typedef struct table {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMTypeRef pointer, function; /* ptr, the type of nha_cpu_fn */
} table;

/* A struct under construction: members in ascending offsets, gaps filled with zero bytes. */
typedef struct record {
    table *t;
    LLVMValueRef parts[64];
    unsigned count;
    size_t at;
} record;

static LLVMValueRef zeros(table *t, size_t n) {
    return LLVMConstNull(LLVMArrayType(LLVMInt8TypeInContext(t->context), (unsigned)n));
}

static void put(record *r, size_t offset, LLVMValueRef value, size_t size) {
    if (offset > r->at) r->parts[r->count++] = zeros(r->t, offset - r->at);
    r->parts[r->count++] = value;
    r->at = offset + size;
}

static LLVMValueRef finish(record *r, size_t size) {
    if (size > r->at) r->parts[r->count++] = zeros(r->t, size - r->at);
    return LLVMConstStructInContext(r->t->context, r->parts, r->count, true);
}

static LLVMValueRef integer(table *t, int64_t value, size_t size) {
    return LLVMConstInt(LLVMIntTypeInContext(t->context, (unsigned)size * 8), (unsigned long long)value, true);
}

/* Members by name; the value's width is the member's. */
#define PUT_INT(r, type, member, value)                                                                                \
    put(r, offsetof(type, member), integer((r)->t, (int64_t)(value), sizeof((type *)0)->member),                       \
        sizeof((type *)0)->member)
#define PUT_DOUBLE(r, type, member, value)                                                                             \
    put(r, offsetof(type, member), LLVMConstReal(LLVMDoubleTypeInContext((r)->t->context), value), sizeof(double))
#define PUT_POINTER(r, type, member, value) put(r, offsetof(type, member), value, sizeof(void *))

static LLVMValueRef constant(table *t, LLVMValueRef value, const char *name, unsigned align) {
    LLVMValueRef global = LLVMAddGlobal(t->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, align);
    return global;
}

static LLVMValueRef string(table *t, const char *text) {
    LLVMValueRef global =
        constant(t, LLVMConstStringInContext(t->context, text, (unsigned)strlen(text), false), "text", 1);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    return global;
}

static LLVMValueRef function(table *t, const char *symbol) {
    if (!symbol || !symbol[0]) return LLVMConstNull(t->pointer);
    LLVMValueRef found = LLVMGetNamedFunction(t->module, symbol);
    if (found) return found;
    found = LLVMAddFunction(t->module, symbol, t->function);
    LLVMSetVisibility(found, LLVMHiddenVisibility);
    return found;
}

static LLVMValueRef problem_value(table *t, const gen_problem *problem) {
    const nha_problem *p = &problem->nha;
    record r = {.t = t};
    PUT_POINTER(&r, nha_problem, name, string(t, problem->name));
    PUT_INT(&r, nha_problem, head_dim_qk, p->head_dim_qk);
    PUT_INT(&r, nha_problem, head_dim_v, p->head_dim_v);
    PUT_INT(&r, nha_problem, heads_q, p->heads_q);
    PUT_INT(&r, nha_problem, heads_kv, p->heads_kv);
    PUT_INT(&r, nha_problem, slots, p->slots);
    PUT_INT(&r, nha_problem, dtype, p->dtype);
    PUT_INT(&r, nha_problem, gate_dtype, p->gate_dtype);
    PUT_INT(&r, nha_problem, state_dtype, p->state_dtype);
    PUT_INT(&r, nha_problem, gate_input, p->gate_input);
    PUT_INT(&r, nha_problem, gate_s_given, p->gate_s_given);
    PUT_INT(&r, nha_problem, rope, p->rope);
    PUT_INT(&r, nha_problem, slot_map, p->slot_map);
    PUT_INT(&r, nha_problem, value_map, p->value_map);
    PUT_INT(&r, nha_problem, window, p->window);
    PUT_INT(&r, nha_problem, slot_lag, p->slot_lag);
    PUT_DOUBLE(&r, nha_problem, scale, p->scale);
    PUT_DOUBLE(&r, nha_problem, gate_normalizer, p->gate_normalizer);
    return finish(&r, sizeof(nha_problem));
}

static LLVMValueRef code_value(table *t, const tune_library_kernel *kernel) {
    const nha_cpu_code *code = &kernel->code;
    record r = {.t = t};
    PUT_POINTER(&r, nha_cpu_code, main, function(t, kernel->symbol_main));
    PUT_POINTER(&r, nha_cpu_code, segment_delta, function(t, kernel->symbol_delta));
    PUT_POINTER(&r, nha_cpu_code, segment_scan, function(t, kernel->symbol_scan));
    PUT_INT(&r, nha_cpu_code, block_tokens, code->block_tokens);
    PUT_INT(&r, nha_cpu_code, scratch_bytes, code->scratch_bytes);
    PUT_INT(&r, nha_cpu_code, scratch_panel_bytes, code->scratch_panel_bytes);
    PUT_DOUBLE(&r, nha_cpu_code, delta_cost, code->delta_cost);
    return finish(&r, sizeof(nha_cpu_code));
}

static LLVMValueRef kernel_value(table *t, const tune_library_kernel *kernel) {
    record r = {.t = t};
    PUT_POINTER(&r, nha_kernel, name, string(t, kernel->name));
    PUT_INT(&r, nha_kernel, problem, 0);
    PUT_INT(&r, nha_kernel, op, kernel->op);
    PUT_INT(&r, nha_kernel, kind, NHA_CPU);
    PUT_INT(&r, nha_kernel, rank, kernel->rank);
    PUT_INT(&r, nha_kernel, cpu_features, kernel->isa->needs);
    PUT_POINTER(&r, nha_kernel, isa, string(t, kernel->isa->name));
    PUT_INT(&r, nha_kernel, min_tasks, kernel->min_tasks);
    PUT_INT(&r, nha_kernel, max_tasks, kernel->max_tasks);
    PUT_INT(&r, nha_kernel, min_length, kernel->min_length);
    PUT_INT(&r, nha_kernel, max_length, kernel->max_length);
    PUT_POINTER(&r, nha_kernel, cpu, constant(t, code_value(t, kernel), "code", 16));
    PUT_POINTER(&r, nha_kernel, image, LLVMConstNull(t->pointer));
    PUT_INT(&r, nha_kernel, image_bytes, 0);
    PUT_POINTER(&r, nha_kernel, cuda, LLVMConstNull(t->pointer));
    return finish(&r, sizeof(nha_kernel));
}

static LLVMValueRef library_value(table *t, const gen_problem *problem, int count, LLVMValueRef problems,
                                  LLVMValueRef kernels) {
    char magic[sizeof((nha_library *)0)->magic] = NHA_LIBRARY_MAGIC;
    record r = {.t = t};
    put(&r, offsetof(nha_library, magic), LLVMConstStringInContext(t->context, magic, sizeof magic, true),
        sizeof magic);
    PUT_INT(&r, nha_library, abi_version, NHA_ABI_VERSION);
    PUT_INT(&r, nha_library, struct_size, sizeof(nha_library));
    PUT_POINTER(&r, nha_library, name, string(t, problem->name));
    PUT_POINTER(&r, nha_library, generator, string(t, "nhac " NHA_VERSION));
    PUT_INT(&r, nha_library, problem_count, 1);
    PUT_INT(&r, nha_library, kernel_count, count);
    PUT_POINTER(&r, nha_library, problems, problems);
    PUT_POINTER(&r, nha_library, kernels, kernels);
    PUT_INT(&r, nha_library, min_driver_version, 0);
    PUT_INT(&r, nha_library, reserved, 0);
    return finish(&r, sizeof(nha_library));
}

bool tune_table_make(const gen_problem *problem, const tune_library_kernel *const *kernels, int count,
                     jit_object *object, err *e) {
    char name[GEN_NAME_MAX + 32];
    bool ok = false;
    *object = (jit_object){0};
    LLVMValueRef *rows = calloc((size_t)count, sizeof *rows);
    if (!rows) return err_memory(e, "library");
    table t = {.context = LLVMContextCreate()};
    t.module = LLVMModuleCreateWithNameInContext(problem->c_name, t.context);
    t.pointer = LLVMPointerTypeInContext(t.context, 0);
    LLVMTypeRef i64 = LLVMInt64TypeInContext(t.context);
    t.function =
        LLVMFunctionType(LLVMVoidTypeInContext(t.context), (LLVMTypeRef[]){t.pointer, i64, i64, t.pointer}, 4, false);

    LLVMValueRef problems = constant(&t, problem_value(&t, problem), "problems", 16);
    for (int i = 0; i < count; i++) rows[i] = kernel_value(&t, kernels[i]);
    LLVMValueRef array = LLVMConstArray(LLVMTypeOf(rows[0]), rows, (unsigned)count);
    LLVMValueRef library = library_value(&t, problem, count, problems, constant(&t, array, "kernels", 16));
    snprintf(name, sizeof name, "nha_library_%s", problem->c_name);
    LLVMSetLinkage(constant(&t, library, name, 16), LLVMExternalLinkage);

    ok = jit_compile_table(t.module, kernels[0]->isa, object, e);
    free(rows);
    LLVMDisposeModule(t.module);
    LLVMContextDispose(t.context);
    return ok;
}
