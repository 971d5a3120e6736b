/* device_shared.c: see device_shared.h. */
#include "tuner/device_shared.h"

bool device_open_workload(const tune_device *d, const gen_problem *problem, const gen_shape *shape,
                          const nha_library *library, size_t cold_bytes, tune_workload **workload, err *e) {
    return tune_workload_open(&d->place, problem, shape, library, cold_bytes, workload, e);
}

void device_close_workload(const tune_device *d, tune_workload *workload) {
    (void)d;
    tune_workload_close(workload);
}

bool device_open_runner(const tune_device *d, tune_workload *workload, const nha_library *library, const char *kernel,
                        const char *isa, int threads, tune_runner **runner, err *e) {
    (void)d;
    return tune_runner_open(workload, library, kernel, isa, threads, runner, e);
}

void device_close_runner(const tune_device *d, tune_runner *runner) {
    (void)d;
    tune_runner_close(runner);
}
