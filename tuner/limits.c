/* limits.c: see limits.h. Runs the loops of limits_code.c on threads, each on its own part of the data. */
#include "tuner/limits.h"

#include <pthread.h>
#include <stdlib.h>

#include "tuner/limits_code.h"
#include "tuner/pages.h"

enum { FMA_STEPS = 4096, CONSTANTS = 64 };

typedef struct limit {
    tune_limit head;
    tune_limit_kind kind;
    int threads;
    int64_t steps; /* loop steps of one thread in one iteration */
    int64_t part;  /* floats of one thread's part, a multiple of 16 */
    float *data;   /* threads * part floats, 64-byte aligned */
    jit_code *code;
    limit_fn fn;
} limit;

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

/* Work of a step of one thread, and how many steps make an iteration. */
static double step_work(limit *l, const gen_isa *isa, size_t bytes) {
    int64_t step = (int64_t)LIMIT_STREAMS * isa->vector, floats = (int64_t)(bytes / sizeof(float)) / l->threads;
    l->part = limit_part(l->kind, isa);
    l->steps = 1;
    if (l->kind == TUNE_LIMIT_EXP)
        return LIMIT_EXP_FLOATS;
    if (l->kind == TUNE_LIMIT_FMA && isa->amx)
        return 2.0 * LIMIT_PRODUCT_ROWS * LIMIT_PRODUCT_COLUMNS * LIMIT_PRODUCT_INNER;
    if (l->kind == TUNE_LIMIT_FMA) {
        l->steps = FMA_STEPS;
        return 2.0 * limit_accumulators(isa) * isa->vector;
    }
    l->steps = floats > step ? (floats + step - 1) / step : 1;
    l->part = (l->steps * step + 15) / 16 * 16;
    return (l->kind == TUNE_LIMIT_UPDATE ? 2.0 : 1.0) * (double)sizeof(float) * (double)step;
}

/* One step of each part, whose results are then what they should be. */
static bool check(const limit *l, const gen_isa *isa, err *e) {
    if (!limit_checked(l->kind, isa))
        return true;
    for (int i = 0; i < l->threads; i++)
        limit_fill(l->kind, l->data + i * l->part);
    if (!run((void *)(uintptr_t)l, 1, e))
        return false;
    for (int i = 0; i < l->threads; i++)
        if (!limit_right(l->kind, l->data + i * l->part))
            return err_set(e, ERR_MISMATCH, "limits", "the %s that measure %s compute something else",
                           l->kind == TUNE_LIMIT_EXP ? "exponentials" : "products", isa->name);
    return true;
}

bool tune_limit_open(tune_limit_kind kind, const gen_isa *isa, size_t bytes, int threads, tune_limit **out, err *e) {
    *out = NULL;
    limit *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e, "limits");
    l->kind = kind;
    l->threads = threads < 1 ? 1 : threads;
    double work = step_work(l, isa, bytes);
    l->head.work = work * (double)l->steps * l->threads;
    size_t size = (size_t)l->part * sizeof(float) * (size_t)l->threads;
    l->data = tune_pages(size);
    if (!l->data) {
        err_memory(e, "limits");
        goto failed;
    }
    for (size_t i = 0; i < size / sizeof(float); i++)
        l->data[i] = 1.0f;
    if (!limit_compile(kind, isa, &l->code, &l->fn, e) || !check(l, isa, e))
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
