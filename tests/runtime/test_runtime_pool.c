/* test_runtime_pool.c: the pool runs every task exactly once whoever calls it and however often; concurrent executions
 * do not disturb each other; the floating-point mode of the caller survives; a forked child can go on. */
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "runtime/internal.h"
#include "runtime/pool.h"
#include "tests/runtime/help_case.h"
#include "tests/runtime/help_reference.h"

enum { THREADS = 4, TASKS = 97 };

/* ---- The pool alone ---- */

struct job {
    atomic_int runs[TASKS], inside[THREADS], faults;
    int busy_ns;
};

static void count(void *arg, int64_t task, int32_t worker) {
    struct job *job = arg;
    if (worker < 0 || worker >= THREADS || task < 0 || task >= TASKS) {
        atomic_fetch_add(&job->faults, 1);
        return;
    }
    if (atomic_fetch_add(&job->inside[worker], 1)) atomic_fetch_add(&job->faults, 1); /* two calls share a worker */
    atomic_fetch_add(&job->runs[task], 1);
    if (job->busy_ns && task % 7 == 0) nanosleep(&(struct timespec){0, job->busy_ns}, NULL);
    atomic_fetch_sub(&job->inside[worker], 1);
}

static bool run_jobs(int rounds, int sleep_every) {
    bool right = true;
    for (int i = 0; i < rounds; i++) {
        struct job job = {0};
        int64_t tasks = i % (TASKS + 1);
        if (sleep_every && i % sleep_every == 0) {
            job.busy_ns = 20000;
            nanosleep(&(struct timespec){0, 200000}, NULL); /* let the workers fall asleep */
        }
        nhr_pool_for(1 + i % THREADS, tasks, count, &job);
        for (int64_t t = 0; t < TASKS; t++) right = right && atomic_load(&job.runs[t]) == (t < tasks);
        right = right && !atomic_load(&job.faults);
    }
    return right;
}

static void test_tasks(void **state) {
    (void)state;
    assert_int_equal(nhr_pool_acquire(THREADS), 0);
    assert_true(run_jobs(5000, 0));
    assert_true(run_jobs(300, 3));
    nhr_pool_release();
}

/* Returns when two threads are in it, or sets `late` after a long time. */
struct meeting {
    atomic_int present, late;
};

static void meet(void *arg, int64_t task, int32_t worker) {
    struct meeting *meeting = arg;
    (void)task, (void)worker;
    atomic_fetch_add(&meeting->present, 1);
    for (int i = 0; atomic_load(&meeting->present) < 2; i++) {
        if (i == 30000) {
            atomic_store(&meeting->late, 1);
            return;
        }
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

/* Workers help, awake or asleep. */
static void test_wake(void **state) {
    (void)state;
    assert_int_equal(nhr_pool_acquire(2), 0);
    for (int i = 0; i < 20; i++) {
        struct meeting meeting = {0};
        nanosleep(&(struct timespec){0, i * 100000}, NULL);
        nhr_pool_for(2, 2, meet, &meeting);
        assert_int_equal(atomic_load(&meeting.late), 0);
    }
    nhr_pool_release();
}

static void *caller(void *arg) {
    *(bool *)arg = run_jobs(2000, 50);
    return NULL;
}

static void test_callers(void **state) {
    (void)state;
    pthread_t threads[3];
    bool right[3] = {false};
    assert_int_equal(nhr_pool_acquire(THREADS), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, &right[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) assert_true(right[i]);
    nhr_pool_release();
}

static void *acquirer(void *arg) {
    bool *right = arg;
    *right = true;
    for (int i = 0; i < 100; i++) {
        if (nhr_pool_acquire(2 + i % 3)) return *right = false, NULL;
        *right = *right && run_jobs(5, 0);
        nhr_pool_release();
    }
    return NULL;
}

/* Workers come and go while others use them. */
static void test_life(void **state) {
    (void)state;
    pthread_t threads[2];
    bool right[2] = {false};
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, acquirer, &right[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_true(right[0] && right[1]);
}

/* ---- Executions ---- */

struct execution {
    const nha_plan *plan;
    struct sequence *s;
    bool right;
};

static void *execute(void *arg) {
    struct execution *x = arg;
    x->right = true;
    for (int i = 0; i < 10; i++) {
        struct batch b;
        struct span span = {x->s, 0, x->s->length};
        batch_make(&b, &span, 1, LAYOUT_BATCH);
        if (batch_execute(x->plan, &b, NULL)) x->right = false;
        batch_scatter(&b, 0);
        batch_free(&b);
        if (sequence_error(x->s, 0, x->s->length) > 1e-5) x->right = false;
    }
    return NULL;
}

static void test_executions(void **state) {
    (void)state;
    nha_plan_options options = case_options(0, NHA_PREFILL, 1, 200, THREADS);
    nha_plan *plan = case_plan(&options);
    struct execution x[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        x[i] = (struct execution){
            plan, sequence_make(nha_library_problem(&reference_library, 0), 200, false, (unsigned)i), false};
        assert_int_equal(pthread_create(&threads[i], NULL, execute, &x[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_true(x[i].right);
        sequence_free(x[i].s);
    }
    nha_plan_destroy(plan);
    assert_int_equal(reference_faults(), 0);
}

/* The kernels check the mode they run in; here: what the caller had comes back, flags included. */
static void test_mode(void **state) {
    (void)state;
    struct sequence *s = sequence_make(nha_library_problem(&reference_library, 0), 100, false, 1);
    struct span span = {s, 0, 100};
    for (int32_t threads = 1; threads <= 2; threads++) {
        nha_plan_options options = case_options(0, NHA_PREFILL, 1, 100, threads);
        nha_plan *plan = case_plan(&options);
        struct batch b;
        batch_make(&b, &span, 1, LAYOUT_BATCH);
        fesetround(FE_UPWARD);
        feclearexcept(FE_ALL_EXCEPT);
        feraiseexcept(FE_DIVBYZERO);
#if defined(__x86_64__)
        _mm_setcsr(_mm_getcsr() & ~0x0100u); /* the caller wants a trap on denormal operands */
        unsigned before = _mm_getcsr();
#endif
        nha_status status = batch_execute(plan, &b, NULL);
#if defined(__x86_64__)
        unsigned after = _mm_getcsr();
        _mm_setcsr(before | 0x0100u);
        assert_int_equal(after, before);
#endif
        int rounding = fegetround(), flags = fetestexcept(FE_ALL_EXCEPT);
        fesetround(FE_TONEAREST);
        assert_int_equal(status, NHA_OK);
        assert_int_equal(rounding, FE_UPWARD);
        assert_true(flags & FE_DIVBYZERO);
        batch_free(&b);
        nha_plan_destroy(plan);
    }
    sequence_free(s);
    assert_int_equal(reference_faults(), 0);
}

/* A child has none of its parent's threads: an old plan still executes, a new one has workers again. */
static void test_fork(void **state) {
    (void)state;
    nha_plan_options options = case_options(0, NHA_PREFILL, 1, 200, THREADS);
    nha_plan *plan = case_plan(&options);
    struct execution x = {plan, sequence_make(nha_library_problem(&reference_library, 0), 200, false, 1), false};
    execute(&x);
    assert_true(x.right);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        alarm(60);
        execute(&x);
        bool right = x.right;
        nha_plan *second = NULL;
        right = right && nha_plan_create(&reference_library, &options, &second, NULL) == NHA_OK;
        x.plan = second;
        if (right) execute(&x);
        right = right && x.right;
        nha_plan_destroy(second);
        nha_plan_destroy(plan);
        _exit(right ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    execute(&x);
    assert_true(x.right);
    sequence_free(x.s);
    nha_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake), cmocka_unit_test(test_tasks),      cmocka_unit_test(test_callers),
        cmocka_unit_test(test_life), cmocka_unit_test(test_executions), cmocka_unit_test(test_mode),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
