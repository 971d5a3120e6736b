/* help_driver.h: for the tests of the emulated driver: its functions as the table of the runtime, a context that is
 * current, small kernels. */
#ifndef TESTS_DRIVER_HELP_DRIVER_H
#define TESTS_DRIVER_HELP_DRIVER_H

#include "emu/driver.h"
#include "runtime/nha_cuda_driver.h"

/* The emulated driver. That this compiles shows that emu/driver.h and runtime/nha_cuda_driver.h agree. */
extern const nha_cuda_driver help_cuda;

/* Results that nha_cuda_driver.h has no name for. */
enum {
    ILLEGAL_STATE = 401,
    MISALIGNED_ADDRESS = 716,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    CAPTURE_WRONG_THREAD = 908
};

/* PTX 7.0 for sm_80:
 *   set(p, v, n)      p[i] = v for i < n, u32
 *   copy(to, from)    to[0] = from[0], u32, one thread
 *   increment(p)      p[0] += 1
 *   odd(p)            a store to p + 1, misaligned
 *   crash()           trap
 *   constant()        writes a .const variable
 *   narrow()          nothing; .maxntid 64
 *   last(p)           p[0] = 5 by way of the last word of dynamic shared memory, one thread
 *   steady()          nothing; 1024 bytes of static shared memory */
extern const char help_ptx[];

/* Configures (NULL: defaults), calls cuInit, retains the device's context and makes it current. */
void *help_begin(const emu_driver_options *options, int device);
/* Releases the device's context, takes it off this thread's stack, and goes back to the defaults. */
void help_end(int device);
/* Asserts that the call succeeds. */
void help_ok(int result);
void *help_module(const char *image);
void *help_function(void *module, const char *name);
uint64_t help_alloc(size_t bytes);
/* One launch of one dimension without shared memory; the pointers are those of the parameters. */
int help_launch(void *function, unsigned grid, unsigned block, void *stream, void **parameters);
/* set(p, value, n) by blocks of 32. */
int help_set(void *function, uint64_t p, uint32_t value, uint32_t n, void *stream);
uint32_t help_word(uint64_t p);
/* Is `part` in the last report? */
bool help_reported(const char *part);

#endif
