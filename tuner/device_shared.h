/* device_shared.h: slots of tune_device that are the same wherever plans run: workloads and runners on the device's place. */
#ifndef TUNER_DEVICE_SHARED_H
#define TUNER_DEVICE_SHARED_H

#include "tuner/device.h"

bool device_open_workload(const tune_device *d, const gen_problem *problem, const gen_shape *shape,
                          const nha_library *library, size_t cold_bytes, tune_workload **workload, err *e);
void device_close_workload(const tune_device *d, tune_workload *workload);
bool device_open_runner(const tune_device *d, tune_workload *workload, const nha_library *library, const char *kernel,
                        const char *isa, int threads, tune_runner **runner, err *e);
void device_close_runner(const tune_device *d, tune_runner *runner);

#endif
