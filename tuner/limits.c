/* limits.c: see limits.h. Three small loops as LLVM IR in the vector length of the ISA, linked as the kernels are.
 * They have the signature void (float *data, int64_t steps, float *constants): constants[0] = multiplier, [1] = addend.
 */
#include "tuner/pages.h"
#include "tuner/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "jit/jit.h"

enum { STREAMS = 8, FMA_STEPS = 4096, CONSTANTS = 64 };

typedef void (*limit_fn)(float *data, int64_t steps, float *constants);

typedef struct limit {
    tune_limit head;
    tune_limit_kind kind;
    int threads;
    int64_t steps; /* loop steps of one thread in one iteration */
    int64_t part;  /* floats of one thread's part */
    float *data;   /* threads * part floats, 64-byte aligned; FMA: where the sums go */
    jit_code *code;
    limit_fn fn;
} limit;

typedef struct builder {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef b;
    LLVMTypeRef f32, i64, pointer, vector;
    const gen_isa *isa;
} builder;

/* Sums that are independent of each other, to hide the latency of the additions: as many as registers allow beside two
 * constants and a product. */
static int accumulators(const gen_isa *isa) {
    return isa->registers >= 32 ? 24 : 12;
}

static LLVMValueRef splat(builder *g, LLVMValueRef constants, unsigned index) {
    LLVMValueRef at = LLVMConstInt(g->i64, index, 0), zero = LLVMConstInt(LLVMInt32TypeInContext(g->context), 0, 0);
    LLVMValueRef x = LLVMBuildLoad2(g->b, g->f32, LLVMBuildGEP2(g->b, g->f32, constants, &at, 1, ""), "");
    LLVMValueRef one = LLVMBuildInsertElement(g->b, LLVMGetUndef(g->vector), x, zero, "");
    LLVMTypeRef mask = LLVMVectorType(LLVMInt32TypeInContext(g->context), (unsigned)g->isa->vector);
    return LLVMBuildShuffleVector(g->b, one, LLVMGetUndef(g->vector), LLVMConstNull(mask), "");
}

static LLVMValueRef multiply_add(builder *g, LLVMValueRef a, LLVMValueRef x, LLVMValueRef y) {
    if (!g->isa->fma)
        return LLVMBuildFAdd(g->b, LLVMBuildFMul(g->b, a, x, ""), y, "");
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(g->module, LLVMLookupIntrinsicID("llvm.fma", 8), &g->vector, 1);
    LLVMTypeRef type = LLVMIntrinsicGetType(g->context, LLVMLookupIntrinsicID("llvm.fma", 8), &g->vector, 1);
    return LLVMBuildCall2(g->b, type, fn, (LLVMValueRef[]){a, x, y}, 3, "");
}

/* One step: FMA: a_i = a_i * x + y.  Read: a_i += data[step][i].  Update: data[step][i] = data[step][i] * x (x is 1).
 */
static void build_loop(builder *g, tune_limit_kind kind, const char *name) {
    LLVMTypeRef types[] = {g->pointer, g->i64, g->pointer};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(g->context), types, 3, 0);
    LLVMValueRef fn = LLVMAddFunction(g->module, name, type);
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(g->context, fn, "entry");
    LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(g->context, fn, "loop");
    LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(g->context, fn, "end");
    LLVMValueRef data = LLVMGetParam(fn, 0), steps = LLVMGetParam(fn, 1), constants = LLVMGetParam(fn, 2);
    LLVMPositionBuilderAtEnd(g->b, entry);
    LLVMValueRef x = splat(g, constants, 0), y = splat(g, constants, 1), sum[32], next[32];
    int count = kind == TUNE_LIMIT_FMA ? accumulators(g->isa) : STREAMS;
    LLVMBuildBr(g->b, loop);
    LLVMPositionBuilderAtEnd(g->b, loop);
    LLVMValueRef i = LLVMBuildPhi(g->b, g->i64, "step"), zero = LLVMConstInt(g->i64, 0, 0);
    for (int k = 0; kind != TUNE_LIMIT_UPDATE && k < count; k++)
        sum[k] = LLVMBuildPhi(g->b, g->vector, "sum");
    for (int k = 0; k < count; k++) {
        LLVMValueRef vectors = LLVMConstInt(g->i64, (unsigned)count, 0), offset = LLVMConstInt(g->i64, (unsigned)k, 0);
        LLVMValueRef at = LLVMBuildAdd(g->b, LLVMBuildMul(g->b, i, vectors, ""), offset, "");
        LLVMValueRef place = LLVMBuildGEP2(g->b, g->vector, data, &at, 1, "");
        if (kind == TUNE_LIMIT_FMA) {
            next[k] = multiply_add(g, sum[k], x, y);
        } else if (kind == TUNE_LIMIT_READ) {
            next[k] = LLVMBuildFAdd(g->b, sum[k], LLVMBuildLoad2(g->b, g->vector, place, ""), "");
        } else {
            LLVMBuildStore(g->b, LLVMBuildFMul(g->b, LLVMBuildLoad2(g->b, g->vector, place, ""), x, ""), place);
        }
    }
    LLVMValueRef step = LLVMBuildAdd(g->b, i, LLVMConstInt(g->i64, 1, 0), "");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, step, steps, ""), loop, end);
    LLVMAddIncoming(i, (LLVMValueRef[]){zero, step}, (LLVMBasicBlockRef[]){entry, loop}, 2);
    for (int k = 0; kind != TUNE_LIMIT_UPDATE && k < count; k++)
        LLVMAddIncoming(sum[k], (LLVMValueRef[]){y, next[k]}, (LLVMBasicBlockRef[]){entry, loop}, 2);
    LLVMPositionBuilderAtEnd(g->b, end);
    if (kind != TUNE_LIMIT_UPDATE) { /* the sums must be of use to someone */
        LLVMValueRef total = next[0], two = LLVMConstInt(g->i64, 2, 0);
        for (int k = 1; k < count; k++)
            total = LLVMBuildFAdd(g->b, total, next[k], "");
        LLVMValueRef place = LLVMBuildGEP2(g->b, g->f32, constants, &two, 1, "");
        LLVMSetAlignment(LLVMBuildStore(g->b, total, place), 4);
    }
    LLVMBuildRetVoid(g->b);
}

static bool compile(limit *l, const gen_isa *isa, err *e) {
    static const char *const names[] = {"nhac_limit_fma", "nhac_limit_read", "nhac_limit_update"};
    bool ok = false;
    jit_object object = {0};
    builder g = {.isa = isa, .context = LLVMContextCreate()};
    g.module = LLVMModuleCreateWithNameInContext("limits", g.context);
    g.b = LLVMCreateBuilderInContext(g.context);
    g.f32 = LLVMFloatTypeInContext(g.context);
    g.i64 = LLVMInt64TypeInContext(g.context);
    g.pointer = LLVMPointerTypeInContext(g.context, 0);
    g.vector = LLVMVectorType(g.f32, (unsigned)isa->vector);
    LLVMSetTarget(g.module, isa->triple);
    build_loop(&g, l->kind, names[l->kind]);
    if (!jit_compile(g.module, isa, &object, e) || !jit_load(object.bytes, object.size, &l->code, e))
        goto done;
    void *address = jit_symbol(l->code, names[l->kind], e);
    if (!address)
        goto done;
    memcpy(&l->fn, &address, sizeof address);
    ok = true;
done:
    jit_object_destroy(&object);
    LLVMDisposeBuilder(g.b);
    LLVMDisposeModule(g.module);
    LLVMContextDispose(g.context);
    return ok;
}

typedef struct worker {
    const limit *limit;
    int64_t iterations;
    int index;
    pthread_t thread;
    bool started;
} worker;

static void *work(void *argument) {
    const worker *w = argument;
    _Alignas(64) float constants[CONSTANTS] = {w->limit->kind == TUNE_LIMIT_UPDATE ? 1.0f : 0.5f, 1.0f};
    float *part = w->limit->data + (int64_t)w->index * w->limit->part;
    for (int64_t i = 0; i < w->iterations; i++)
        w->limit->fn(part, w->limit->steps, constants);
    return NULL;
}

static bool run(void *context, int64_t iterations, err *e) {
    const limit *l = context;
    worker *workers = calloc((size_t)l->threads, sizeof *workers);
    if (!workers)
        return err_memory(e, "limits");
    bool ok = true;
    for (int i = 0; i < l->threads; i++)
        workers[i] = (worker){.limit = l, .iterations = iterations, .index = i};
    for (int i = 1; i < l->threads; i++) {
        workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
        if (!workers[i].started)
            ok = err_set(e, ERR_SYSTEM, "limits", "cannot start a thread");
    }
    work(&workers[0]);
    for (int i = 1; i < l->threads; i++)
        if (workers[i].started)
            pthread_join(workers[i].thread, NULL);
    free(workers);
    return ok;
}

bool tune_limit_open(tune_limit_kind kind, const gen_isa *isa, size_t bytes, int threads, tune_limit **out, err *e) {
    *out = NULL;
    limit *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e, "limits");
    l->kind = kind;
    l->threads = threads < 1 ? 1 : threads;
    if (kind == TUNE_LIMIT_FMA) {
        l->steps = FMA_STEPS;
        l->part = 16;
        l->head.work = 2.0 * accumulators(isa) * isa->vector * (double)l->steps * l->threads;
    } else {
        int64_t step = (int64_t)STREAMS * isa->vector, floats = (int64_t)(bytes / sizeof(float)) / l->threads;
        l->steps = floats > step ? (floats + step - 1) / step : 1;
        l->part = (l->steps * step + 15) / 16 * 16;
        l->head.work = (kind == TUNE_LIMIT_UPDATE ? 2.0 : 1.0) * 4.0 * (double)(l->steps * step) * l->threads;
    }
    size_t size = (size_t)l->part * sizeof(float) * (size_t)l->threads;
    l->data = tune_pages(size);
    if (!l->data) {
        err_memory(e, "limits");
        goto failed;
    }
    for (size_t i = 0; i < size / sizeof(float); i++)
        l->data[i] = 1.0f;
    if (!compile(l, isa, e))
        goto failed;
    l->head.subject = (tune_subject){.run = run, .context = l};
    *out = &l->head;
    return true;
failed:
    tune_limit_close(&l->head);
    return false;
}

void tune_limit_close(tune_limit *head) {
    limit *l = (limit *)head;
    if (!l)
        return;
    if (l->code)
        jit_unload(l->code);
    free(l->data);
    free(l);
}
