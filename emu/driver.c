/* driver.c: the state of the emulated driver, its lock, its options, what every call checks first, and injected
 * failures. */
#include "emu/driver_inner.h"

#include <pthread.h>
#include <string.h>

enum { FAILURES_MAX = 64 };

typedef struct failure {
    driver_function function;
    int after, result;
    bool sticky;
} failure;

driver_state emu_driver;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static failure failures[FAILURES_MAX];
static size_t failure_count;
static uint64_t reports_before; /* of the call that holds the lock */

void emu_driver_lock(void) {
    pthread_mutex_lock(&lock);
}

void emu_driver_unlock(void) {
    pthread_mutex_unlock(&lock);
}

/* ---- options ---- */

static bool possible(const emu_driver_options *o) {
    if (o->device_count > EMU_DRIVER_DEVICES_MAX || (o->device_count && !o->devices) || o->driver_version < 1000)
        return false;
    for (size_t i = 0; i < o->device_count; i++) {
        const emu_driver_device *d = &o->devices[i];
        if (d->major < 1 || d->minor < 0 || d->minor > 9 || d->multiprocessors < 1 ||
            d->shared_per_block > d->shared_optin || d->shared_optin > 227 * 1024 ||
            !memchr(d->name, 0, sizeof d->name))
            return false;
    }
    return true;
}

static void take(const emu_driver_options *o) {
    emu_driver.options = *o;
    emu_driver.options.devices = NULL;
    emu_driver.options.launch.blocks = NULL;
    emu_driver.options.launch.block_count = 0;
    emu_driver.device_count = (int)o->device_count;
    for (int i = 0; i < emu_driver.device_count; i++)
        emu_driver.contexts[i] = (driver_context){.device = o->devices[i], .ordinal = i};
    emu_driver.configured = true;
}

void emu_driver_defaults(void) {
    if (!emu_driver.configured) {
        emu_driver_options o = emu_driver_options_default();
        take(&o);
    }
}

bool emu_driver_configure(const emu_driver_options *options) {
    emu_driver_options o = emu_driver_options_default();
    if (options)
        o = *options;
    emu_driver_lock();
    bool ok = possible(&o);
    for (int i = 0; i < emu_driver.device_count; i++)
        ok = ok && emu_driver.contexts[i].retained == 0;
    if (ok) {
        take(&o);
        emu_driver.initialized = false;
        failure_count = 0;
        emu_driver_forget_report();
        emu_driver.counters = (emu_counters){0};
    }
    emu_driver_unlock();
    return ok;
}

void emu_driver_launch_options(const emu_options *options) {
    emu_driver_lock();
    emu_driver_defaults();
    emu_driver.options.launch = *options;
    emu_driver.options.launch.blocks = NULL;
    emu_driver.options.launch.block_count = 0;
    emu_driver_unlock();
}

void emu_driver_counters(emu_counters *counters) {
    emu_driver_lock();
    *counters = emu_driver.counters;
    emu_driver_unlock();
}

/* ---- injected failures ---- */

static const char *const names[DRIVER_FUNCTIONS] = {
#define NAME_(name, parameters, arguments) #name,
    EMU_DRIVER_LIST(NAME_)
#undef NAME_
};

/* Is `name` that of the function, whole or without its _v2? */
static bool is_named(const char *whole, const char *name) {
    size_t n = strlen(name);
    return strncmp(whole, name, n) == 0 && (whole[n] == 0 || strcmp(whole + n, "_v2") == 0);
}

bool emu_driver_fail(const char *function, int after, int result, bool sticky) {
    emu_driver_lock();
    bool ok = !function;
    if (!function)
        failure_count = 0;
    for (int f = 0; function && f < DRIVER_FUNCTIONS && after >= 1 && result >= 1 && failure_count < FAILURES_MAX; f++)
        if (is_named(names[f], function)) {
            failures[failure_count++] = (failure){(driver_function)f, after, result, sticky};
            ok = true;
            break;
        }
    emu_driver_unlock();
    return ok;
}

/* The result that this call must fail with, or CU_SUCCESS. All that wait for the function count it. */
static int injected(driver_function f, driver_context *c) {
    int result = CU_SUCCESS;
    for (size_t i = 0; i < failure_count;) {
        if (failures[i].function != f || --failures[i].after > 0) {
            i++;
            continue;
        }
        result = failures[i].result;
        emu_driver_forget_report(); /* there is no more to say */
        if (failures[i].sticky && c)
            c->sticky = result;
        memmove(&failures[i], &failures[i + 1], (failure_count - i - 1) * sizeof *failures);
        failure_count--;
    }
    return result;
}

/* ---- calls ---- */

int emu_driver_enter(driver_function f, driver_need need, driver_context **context) {
    emu_driver_lock();
    emu_driver_defaults();
    reports_before = emu_driver.report_count;
    driver_context *c = emu_driver_current();
    if (context)
        *context = c;
    int result = injected(f, c);
    if (result)
        return result;
    if (need >= NEED_INIT && !emu_driver.initialized)
        return CU_NOT_INITIALIZED;
    if (need < NEED_CONTEXT)
        return CU_SUCCESS;
    if (!c)
        return CU_INVALID_CONTEXT;
    if (need == NEED_WAIT && c->pending && !c->sticky)
        c->sticky = c->pending;
    return c->sticky;
}

int emu_driver_leave(int result) {
    const driver_context *c = emu_driver_current();
    if (result && emu_driver.report_count == reports_before && !(c && c->sticky == result))
        emu_driver_forget_report(); /* a text of an earlier call would explain the wrong thing */
    emu_driver_unlock();
    return result;
}
