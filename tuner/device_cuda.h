/* device_cuda.h: what CUDA devices share, whether behind libcuda or the emulator's driver. */
#ifndef TUNER_DEVICE_CUDA_H
#define TUNER_DEVICE_CUDA_H

#include "tuner/device.h"

/* Fills a device (zeroed, allocated) for GPU `ordinal` of `driver`: retains its primary context, sets place, arch and
 * all functions but close. Errors: ERR_MISSING for an ordinal that is not there, ERR_DEVICE. On failure nothing is held. */
bool device_cuda_begin(tune_device *d, const nha_cuda_driver *driver, int ordinal, err *e);
/* tune_device.verify. One at a time: a fault breaks the context for all, and the next one gets a new one. */
bool device_cuda_verify(const tune_device *d, const tune_candidate *candidate, const tune_reference *reference, err *e);
/* Gives back the context. */
void device_cuda_end(tune_device *d);

#endif
