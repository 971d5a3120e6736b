/* amx.c: the permission to use AMX tiles, which Linux gives a process on request.
 * Source: Linux Documentation/arch/x86/xstate.rst. */
#include <pthread.h>

#include "runtime/internal.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILE_DATA = 18 };

static void request(void) {
    /* Refused by an old kernel, a processor without AMX, or where a thread's sigaltstack is too small for the tiles: then the
     * features lack AMX, and kernels that need none are chosen. */
    (void)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA);
}

void nhr_amx_request(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, request);
}

#else

void nhr_amx_request(void) {
}

#endif
