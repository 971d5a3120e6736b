/* prepare.c: see prepare.h. Threads take the next candidate until none is left; the first error that is not a
 * candidate's own stops all. */
#include "tuner/prepare.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { JOBS_MAX = 64 };

typedef struct shared {
    tune_candidate *const *group;
    int count;
    const tune_prepare_options *options;
    atomic_int next;
    atomic_bool stop;
    pthread_mutex_t lock; /* of *e */
    err *e;
} shared;

/* Errors that would befall any candidate. */
static bool is_fatal(const err *e) {
    return e->code == ERR_MEMORY || e->code == ERR_SYSTEM || e->code == ERR_MISSING;
}

static void prepare_one(shared *s, tune_candidate *c) {
    const tune_prepare_options *o = s->options;
    err e = {0};
    bool ok = o->device->prepare(o->device, c, &e) && (!o->reference || o->device->verify(o->device, c, o->reference, &e));
    if (ok) {
        if (o->reference)
            c->status = TUNE_VERIFIED;
    } else {
        o->device->release(o->device, c);
        if (is_fatal(&e)) {
            pthread_mutex_lock(&s->lock);
            if (s->e && s->e->code == ERR_NONE) {
                *s->e = e;
                memset(&e, 0, sizeof e); /* its log now belongs to *s->e */
            }
            pthread_mutex_unlock(&s->lock);
            atomic_store(&s->stop, true);
        } else {
            c->status = e.code == ERR_MISMATCH ? TUNE_REJECTED : TUNE_FAILED;
            snprintf(c->why, sizeof c->why, "%.255s", e.text);
        }
    }
    err_clear(&e);
}

static void *work(void *argument) {
    shared *s = argument;
    const tune_prepare_options *o = s->options;
    for (;;) {
        int i = atomic_fetch_add(&s->next, 1);
        if (i >= s->count || atomic_load(&s->stop))
            break;
        if (o->deadline > 0 && o->clock.now(o->clock.context) >= o->deadline)
            break;
        if (!s->group[i]->loaded)
            prepare_one(s, s->group[i]);
    }
    return NULL;
}

bool tune_prepare(tune_candidate *const *group, int count, const tune_prepare_options *options, err *e) {
    shared s = {.group = group, .count = count, .options = options, .e = e};
    pthread_t threads[JOBS_MAX];
    int jobs = options->jobs < 1 ? 1 : options->jobs > JOBS_MAX ? JOBS_MAX : options->jobs, started = 0;
    if (jobs > count)
        jobs = count;
    pthread_mutex_init(&s.lock, NULL);
    while (started < jobs - 1 && pthread_create(&threads[started], NULL, work, &s) == 0)
        started++;
    work(&s); /* a thread that could not be started only costs time */
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&s.lock);
    if (!atomic_load(&s.stop))
        return true;
    for (int i = 0; i < count; i++)
        options->device->release(options->device, group[i]);
    return false;
}
