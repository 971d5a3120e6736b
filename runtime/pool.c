/* pool.c: a job is published in one 64-bit word, the gate; workers enter through it while it is open and the caller
 * closes it when no task is left, then waits for those inside. A worker that the system has not run yet finds the gate
 * closed and costs nothing. */
#include "runtime/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "runtime/internal.h"

/* The gate: job number (32 bits), workers with an id below `wanted` may enter (15), open (1), workers inside (16). */
#define GATE_INSIDE       ((uint64_t)0xffff)
#define GATE_OPEN         ((uint64_t)1 << 16)
#define GATE_WANTED(gate) ((int32_t)((gate) >> 17 & 0x7fff))
#define GATE_JOB(gate)    ((uint32_t)((gate) >> 32))

enum { SPIN_NS = 50000, SPIN_CHECK = 64 /* pauses between two looks at the clock */ };

struct worker {
    pthread_t thread;
    int32_t id; /* from 0; runs tasks as `worker` id + 1 */
    struct worker *next;
};

/* The one mutable object of libnha. Members of a cache line are written by the same side. */
static struct pool {
    pthread_mutex_t grow; /* guards users, workers, count */
    int64_t users;
    struct worker *workers;
    int32_t count;
    bool fork_handled;

    pthread_mutex_t sleep; /* with the two conditions: guards nothing but going to sleep */
    pthread_cond_t work, done;
    atomic_int sleepers; /* workers in `work` */
    atomic_bool waiting; /* the caller is in `done` */
    atomic_bool stop;

    _Alignas(64) atomic_bool busy; /* a job has the pool; its caller owns the three below */
    nha_task_fn fn;
    void *arg;
    int64_t tasks;
    _Alignas(64) _Atomic uint64_t gate;
    _Alignas(64) _Atomic int64_t next; /* task */
} pool = {
    .grow = PTHREAD_MUTEX_INITIALIZER,
    .sleep = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Spins until ready(arg) or SPIN_NS have passed; says whether it is ready. */
static bool spin(bool (*ready)(const void *), const void *arg) {
    for (int64_t end = 0;;) {
        for (int i = 0; i < SPIN_CHECK; i++) {
            if (ready(arg)) return true;
            pause_cpu();
        }
        int64_t now = now_ns();
        if (!end) end = now + SPIN_NS;
        if (now >= end) return false;
    }
}

static void run_tasks(int32_t worker) {
    int64_t task, tasks = pool.tasks;
    while ((task = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < tasks)
        pool.fn(pool.arg, task, worker);
}

/* ---- Workers ---- */

struct seat {
    int32_t id;
    uint32_t seen; /* number of the last job entered */
};

/* A job that this worker may enter, or the end. */
static bool work_ready(const void *arg) {
    const struct seat *seat = arg;
    uint64_t gate = atomic_load(&pool.gate);
    return ((gate & GATE_OPEN) && GATE_JOB(gate) != seat->seen && seat->id < GATE_WANTED(gate)) ||
           atomic_load_explicit(&pool.stop, memory_order_relaxed);
}

static void wait_for_work(const struct seat *seat) {
    if (spin(work_ready, seat)) return;
    pthread_mutex_lock(&pool.sleep);
    /* Before looking at the gate once more: the caller opens the gate before it looks at sleepers. */
    atomic_fetch_add(&pool.sleepers, 1);
    while (!work_ready(seat)) pthread_cond_wait(&pool.work, &pool.sleep);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.sleep);
}

static void *worker_main(void *arg) {
    /* The job that is running now, if any, may be entered as well: its number differs from gate - 1. */
    struct seat seat = {((struct worker *)arg)->id, GATE_JOB(atomic_load(&pool.gate)) - 1};
    for (;;) {
        wait_for_work(&seat);
        if (atomic_load(&pool.stop)) return NULL;
        uint64_t gate = atomic_load(&pool.gate);
        if (!(gate & GATE_OPEN) || GATE_JOB(gate) == seat.seen || seat.id >= GATE_WANTED(gate)) continue;
        if (!atomic_compare_exchange_weak(&pool.gate, &gate, gate + 1)) continue;
        seat.seen = GATE_JOB(gate);
        run_tasks(seat.id + 1);
        gate = atomic_fetch_sub(&pool.gate, 1) - 1;
        if (!(gate & (GATE_OPEN | GATE_INSIDE)) && atomic_load(&pool.waiting)) {
            pthread_mutex_lock(&pool.sleep);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.sleep);
        }
    }
}

/* ---- The caller ---- */

static bool nobody_inside(const void *arg) {
    (void)arg;
    return !(atomic_load(&pool.gate) & GATE_INSIDE);
}

static void wait_for_workers(void) {
    if (spin(nobody_inside, NULL)) return;
    pthread_mutex_lock(&pool.sleep);
    atomic_store(&pool.waiting, true);
    while (!nobody_inside(NULL)) pthread_cond_wait(&pool.done, &pool.sleep);
    atomic_store(&pool.waiting, false);
    pthread_mutex_unlock(&pool.sleep);
}

void nhr_pool_for(int32_t threads, int64_t tasks, nha_task_fn fn, void *arg) {
    if (threads < 2 || tasks < 2 || atomic_exchange(&pool.busy, true)) {
        for (int64_t task = 0; task < tasks; task++) fn(arg, task, 0);
        return;
    }
    pool.fn = fn;
    pool.arg = arg;
    pool.tasks = tasks;
    atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
    uint64_t job = GATE_JOB(atomic_load_explicit(&pool.gate, memory_order_relaxed)) + (uint64_t)1;
    atomic_store(&pool.gate, job << 32 | (uint64_t)(nhr_min(threads, tasks) - 1) << 17 | GATE_OPEN);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.work);
        pthread_mutex_unlock(&pool.sleep);
    }
    run_tasks(0);
    atomic_fetch_and(&pool.gate, ~GATE_OPEN);
    wait_for_workers();
    atomic_store_explicit(&pool.busy, false, memory_order_release);
}

/* ---- Life of the workers ---- */

/* Joins and frees all workers. `grow` is held and no job is running. */
static void stop_workers(void) {
    pthread_mutex_lock(&pool.sleep);
    atomic_store(&pool.stop, true);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.sleep);
    while (pool.workers) {
        struct worker *worker = pool.workers;
        pool.workers = worker->next;
        pthread_join(worker->thread, NULL);
        nhr_free(worker);
    }
    pool.count = 0;
    atomic_store(&pool.stop, false);
}

/* One more worker, with all signals left to the program's own threads. */
static int start_worker(void) {
    struct worker *worker = nhr_alloc(sizeof *worker);
    if (!worker) return ENOMEM;
    worker->id = pool.count;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int code = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code) {
        nhr_free(worker);
        return code;
    }
    worker->next = pool.workers;
    pool.workers = worker;
    pool.count++;
    return 0;
}

/* In the child of a fork there are no workers, and locks are as they happened to be: start anew. Plans stay usable
 * (their callers run all tasks), and the next plan starts workers again. */
static void after_fork(void) {
    pthread_mutex_init(&pool.grow, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    while (pool.workers) {
        struct worker *worker = pool.workers;
        pool.workers = worker->next;
        nhr_free(worker);
    }
    pool.count = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.waiting, false);
    atomic_store(&pool.stop, false);
    atomic_store(&pool.gate, 0);
    atomic_store(&pool.busy, false);
}

int nhr_pool_acquire(int32_t threads) {
    int code = 0;
    pthread_mutex_lock(&pool.grow);
    if (!pool.fork_handled && (code = pthread_atfork(NULL, NULL, after_fork)) == 0) pool.fork_handled = true;
    while (!code && pool.count < threads - 1) code = start_worker();
    if (!code)
        pool.users++;
    else if (!pool.users)
        stop_workers();
    pthread_mutex_unlock(&pool.grow);
    return code;
}

void nhr_pool_release(void) {
    pthread_mutex_lock(&pool.grow);
    if (--pool.users == 0) stop_workers();
    pthread_mutex_unlock(&pool.grow);
}
