/* cuda_driver.c: libcuda.so.1, found and loaded at run time, once in a process.
 * It is never unloaded: the driver keeps threads and memory of its own. */
#include <dlfcn.h>
#include <string.h>

#include "runtime/cuda_internal.h"

/* Guards the rest. Once a library was loaded, what became of it is final. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool decided;
static nha_error outcome;
static nha_cuda_driver loaded;

static nha_status fill(void *library, nha_error *error) {
    const char *absent = NULL;
#define LOAD(name, arguments)                                                                                          \
    {                                                                                                                  \
        void *symbol = dlsym(library, #name);                                                                          \
        if (!symbol && !absent) absent = #name;                                                                        \
        memcpy(&loaded.name, &symbol, sizeof symbol);                                                                  \
    }
    NHA_CUDA_DRIVER_LIST(LOAD)
#undef LOAD
    loaded.struct_size = sizeof loaded;
    if (absent) return nhr_fail(error, NHA_NO_DEVICE, "the CUDA driver lacks %s: it is too old", absent);
    int result = loaded.cuInit(0);
    if (result) {
        nhr_cuda_fail(&loaded, result, error, "the CUDA driver (libcuda.so.1) does not start");
        if (error) error->status = NHA_NO_DEVICE;
        return NHA_NO_DEVICE;
    }
    return nhr_ok(error);
}

nha_status nha_cuda_driver_open(const nha_cuda_driver **driver, nha_error *error) {
    if (!driver) return nhr_fail(error, NHA_INVALID_ARGUMENT, "driver is NULL");
    *driver = NULL;
    nha_status status;
    pthread_mutex_lock(&lock);
    if (!decided) {
        void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            const char *why = dlerror();
            status = nhr_fail(error, NHA_NO_DEVICE, "the CUDA driver cannot be loaded: %s", why ? why : "libcuda.so.1");
            goto done;
        }
        fill(library, &outcome);
        decided = true;
    }
    status = outcome.status;
    if (error) *error = outcome;
    if (!status) *driver = &loaded;
done:
    pthread_mutex_unlock(&lock);
    return status;
}
