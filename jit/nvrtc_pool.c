/* nvrtc_pool.c: several compiles at once, as many as cores and memory allow. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "jit/nvrtc.h"

enum { MEGABYTES_PER_JOB = 1024 }; /* NVRTC with ptxas on a large kernel, generously */

/* Free memory in megabytes; -1 if the system does not say. */
static int64_t free_megabytes(void) {
    char *text;
    size_t size;
    err ignored = {0};
    int64_t kilobytes = -1024;
    if (!base_file_read("/proc/meminfo", 1 << 16, &text, &size, "compile", &ignored)) {
        err_clear(&ignored);
        return -1;
    }
    const char *at = strstr(text, "MemAvailable:");
    if (at)
        kilobytes = strtoll(at + strlen("MemAvailable:"), NULL, 10);
    free(text);
    return kilobytes / 1024;
}

int jit_nvrtc_jobs(void) {
    cpu_set_t set;
    int jobs = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int64_t megabytes = free_megabytes();
    if (megabytes >= 0 && megabytes / MEGABYTES_PER_JOB < jobs)
        jobs = (int)(megabytes / MEGABYTES_PER_JOB);
    return jobs < 1 ? 1 : jobs > JIT_NVRTC_JOBS_MAX ? JIT_NVRTC_JOBS_MAX : jobs;
}

typedef struct batch {
    const jit_nvrtc *nvrtc;
    const jit_cuda_request *requests;
    int count;
    jit_cuda_image *images;
    err *errors;
    atomic_int next, done;
} batch;

static void *work(void *context) {
    batch *b = context;
    for (int i; (i = atomic_fetch_add(&b->next, 1)) < b->count;)
        if (jit_nvrtc_compile(b->nvrtc, &b->requests[i], &b->images[i], &b->errors[i]))
            atomic_fetch_add(&b->done, 1);
    return NULL;
}

int jit_nvrtc_compile_all(const jit_nvrtc *nvrtc, const jit_cuda_request *requests, int count, int jobs,
                          jit_cuda_image *images, err *errors) {
    batch b = {.nvrtc = nvrtc, .requests = requests, .count = count, .images = images, .errors = errors};
    pthread_t threads[JIT_NVRTC_JOBS_MAX];
    int started = 0;
    for (int i = 0; i < count; i++)
        errors[i] = (err){0};
    if (jobs <= 0)
        jobs = jit_nvrtc_jobs();
    if (jobs > JIT_NVRTC_JOBS_MAX)
        jobs = JIT_NVRTC_JOBS_MAX;
    if (jobs > count)
        jobs = count;
    while (started < jobs - 1 && pthread_create(&threads[started], NULL, work, &b) == 0)
        started++;
    work(&b); /* this thread too: no thread at all is enough */
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&b.done);
}
