/* pool.h: libnha's own threads, one pool a process, shared by all plans.
 * A worker spins briefly for the next job, then sleeps. Workers that come late are never waited for. */
#ifndef NHR_POOL_H
#define NHR_POOL_H

#include "runtime/nha.h"

enum { NHR_THREADS_MAX = 1024 };

/* Makes sure that `threads` - 1 workers exist and holds them. Returns 0 or an errno; on failure nothing is held.
 * Thread-safe. */
int nhr_pool_acquire(int32_t threads);
/* Gives back one acquire; the last one joins and frees all workers. Thread-safe; not from inside a task. */
void nhr_pool_release(void);

/* Runs fn(arg, task, worker) for each task in [0, tasks) on the caller (worker 0) and at most threads - 1 workers;
 * returns when all are done. If another job has the pool, or after a fork, the caller runs all tasks itself.
 * Thread-safe, allocates nothing. */
void nhr_pool_for(int32_t threads, int64_t tasks, nha_task_fn fn, void *arg);

#endif
