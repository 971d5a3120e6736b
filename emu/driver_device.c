/* driver_device.c: the emulated devices, what can be asked of them, and the driver's version and error texts. */
#include <string.h>

#include "emu/driver_inner.h"

#define KIB(n) ((size_t)(n) << 10)
#define GIB(n) ((size_t)(n) << 30)

/* Limits are those of the CUDA programming guide, table of compute capabilities; counts, clocks and memories those of
 * one product of each: A100, RTX 3090, RTX 4090, H100 SXM, B200, RTX 5090. Columns: capability; multiprocessors;
 * threads and shared memory of one; shared memory of a block, and with opt-in; memory; clock and memory clock in kHz;
 * memory bus in bits; L2 in bytes. */
#define ROW(major, minor, sms, threads, shared, optin, memory, clock, memory_clock, bus, l2)                           \
    {                                                                                                                  \
        "Emulated GPU " #major "." #minor, major, minor, sms, threads, KIB(48), KIB(optin), KIB(shared), GIB(memory),  \
            clock, memory_clock, bus, l2 << 20                                                                         \
    }
static const emu_driver_device rows[] = {
    ROW(8, 0, 108, 2048, 164, 163, 80, 1410000, 1593000, 5120, 40),
    ROW(8, 6, 82, 1536, 100, 99, 24, 1695000, 9751000, 384, 6),
    ROW(8, 9, 128, 1536, 100, 99, 24, 2520000, 10501000, 384, 72),
    ROW(9, 0, 132, 2048, 228, 227, 80, 1980000, 2619000, 5120, 50),
    ROW(10, 0, 148, 2048, 228, 227, 180, 1965000, 3996000, 8192, 126),
    ROW(12, 0, 170, 1536, 100, 99, 32, 2407000, 14001000, 512, 96),
};
#undef ROW
enum { ROWS = sizeof rows / sizeof *rows };

emu_driver_options emu_driver_options_default(void) {
    return (emu_driver_options){
        .devices = rows, .device_count = ROWS, .driver_version = 13000, .launch = emu_options_default()};
}

bool emu_driver_device_of(int major, int minor, emu_driver_device *device) {
    const emu_driver_device *best = NULL;
    for (int i = 0; i < ROWS; i++)
        if (rows[i].major == major && rows[i].minor <= minor)
            best = &rows[i];
    if (!best || minor > 9)
        return false;
    *device = *best;
    device->minor = minor;
    snprintf(device->name, sizeof device->name, "Emulated GPU %d.%d", major, minor);
    return true;
}

int emu_cuInit(unsigned flags) {
    int result = emu_driver_enter(DRIVER_cuInit, NEED_NOTHING, NULL);
    if (!result && flags)
        result = CU_INVALID_VALUE;
    if (!result && emu_driver.device_count == 0)
        result = CU_NO_DEVICE;
    if (!result)
        emu_driver.initialized = true;
    return emu_driver_leave(result);
}

int emu_cuDriverGetVersion(int *version) {
    int result = emu_driver_enter(DRIVER_cuDriverGetVersion, NEED_NOTHING, NULL);
    if (!result && !version)
        result = CU_INVALID_VALUE;
    if (!result)
        *version = emu_driver.options.driver_version;
    return emu_driver_leave(result);
}

typedef struct result_row {
    int result;
    const char *name, *text;
} result_row;

static const result_row results[] = {{CU_SUCCESS, "CUDA_SUCCESS", "no error"},
#define CU_ROW_(name, value, text) {value, "CUDA_ERROR_" #name, text},
                                     CU_RESULT_LIST(CU_ROW_)
#undef CU_ROW_
};

static const result_row *row_of(int result) {
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].result == result)
            return &results[i];
    return NULL;
}

int emu_cuGetErrorName(int value, const char **text) {
    int result = emu_driver_enter(DRIVER_cuGetErrorName, NEED_NOTHING, NULL);
    const result_row *row = row_of(value);
    if (!result && text)
        *text = row ? row->name : NULL;
    if (!result && (!row || !text))
        result = CU_INVALID_VALUE;
    return emu_driver_leave(result);
}

int emu_cuGetErrorString(int value, const char **text) {
    int result = emu_driver_enter(DRIVER_cuGetErrorString, NEED_NOTHING, NULL);
    const result_row *row = row_of(value);
    if (!result && text)
        *text = row ? row->text : NULL;
    if (!result && (!row || !text))
        result = CU_INVALID_VALUE;
    return emu_driver_leave(result);
}

int emu_cuDeviceGetCount(int *count) {
    int result = emu_driver_enter(DRIVER_cuDeviceGetCount, NEED_INIT, NULL);
    if (!result && !count)
        result = CU_INVALID_VALUE;
    if (!result)
        *count = emu_driver.device_count;
    return emu_driver_leave(result);
}

int emu_cuDeviceGet(int *device, int ordinal) {
    int result = emu_driver_enter(DRIVER_cuDeviceGet, NEED_INIT, NULL);
    if (!result && !device)
        result = CU_INVALID_VALUE;
    if (!result && (ordinal < 0 || ordinal >= emu_driver.device_count))
        result = CU_INVALID_DEVICE;
    if (!result)
        *device = ordinal;
    return emu_driver_leave(result);
}

/* After emu_driver_enter: the device, with *result set where it is wrong. */
static const emu_driver_device *device_at(int device, const void *out, int *result) {
    if (!*result && !out)
        *result = CU_INVALID_VALUE;
    if (!*result && (device < 0 || device >= emu_driver.device_count))
        *result = CU_INVALID_DEVICE;
    return *result ? NULL : &emu_driver.contexts[device].device;
}

int emu_cuDeviceGetName(char *name, int size, int device) {
    int result = emu_driver_enter(DRIVER_cuDeviceGetName, NEED_INIT, NULL);
    const emu_driver_device *d = device_at(device, name, &result);
    if (d && size < 1)
        result = CU_INVALID_VALUE;
    else if (d)
        snprintf(name, (size_t)size, "%s", d->name);
    return emu_driver_leave(result);
}

int emu_cuDeviceTotalMem_v2(size_t *bytes, int device) {
    int result = emu_driver_enter(DRIVER_cuDeviceTotalMem_v2, NEED_INIT, NULL);
    const emu_driver_device *d = device_at(device, bytes, &result);
    if (d)
        *bytes = d->total_memory;
    return emu_driver_leave(result);
}

/* CUdevice_attribute, by its numbers; -1: not known here. */
static int attribute_of(const emu_driver_device *d, int attribute) {
    switch (attribute) {
    case 1: /* MAX_THREADS_PER_BLOCK */
    case 2: /* MAX_BLOCK_DIM_X, _Y */
    case 3:
        return 1024;
    case 4: /* MAX_BLOCK_DIM_Z */
        return 64;
    case 5: /* MAX_GRID_DIM_X, _Y, _Z */
        return INT32_MAX;
    case 6:
    case 7:
        return 65535;
    case 8: /* MAX_SHARED_MEMORY_PER_BLOCK */
        return (int)d->shared_per_block;
    case 10: /* WARP_SIZE */
        return 32;
    case 12: /* MAX_REGISTERS_PER_BLOCK, _PER_MULTIPROCESSOR */
    case 82:
        return 65536;
    case 13: /* CLOCK_RATE */
        return d->clock_khz;
    case 16: /* MULTIPROCESSOR_COUNT */
        return d->multiprocessors;
    case 36: /* MEMORY_CLOCK_RATE */
        return d->memory_clock_khz;
    case 37: /* GLOBAL_MEMORY_BUS_WIDTH */
        return d->memory_bus_bits;
    case 38: /* L2_CACHE_SIZE */
        return d->l2_bytes;
    case 39: /* MAX_THREADS_PER_MULTIPROCESSOR */
        return d->threads_per_multiprocessor;
    case 41: /* UNIFIED_ADDRESSING */
        return 1;
    case 75: /* COMPUTE_CAPABILITY_MAJOR, _MINOR */
        return d->major;
    case 76:
        return d->minor;
    case 81: /* MAX_SHARED_MEMORY_PER_MULTIPROCESSOR */
        return (int)d->shared_per_multiprocessor;
    case 97: /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
        return (int)d->shared_optin;
    case 111: /* RESERVED_SHARED_MEMORY_PER_BLOCK */
        return 1024;
    default:
        return -1;
    }
}

int emu_cuDeviceGetAttribute(int *value, int attribute, int device) {
    int result = emu_driver_enter(DRIVER_cuDeviceGetAttribute, NEED_INIT, NULL);
    const emu_driver_device *d = device_at(device, value, &result);
    int v = d ? attribute_of(d, attribute) : -1;
    if (d && v < 0)
        result = CU_INVALID_VALUE;
    else if (d)
        *value = v;
    return emu_driver_leave(result);
}
