/* fpmode.h: the floating-point mode kernels run in: round to nearest, exceptions masked, denormals flushed to zero on
 * input and output. Set around every batch of tasks on the thread that runs them; the caller's mode, sticky flags
 * included, comes back. */
#ifndef NHR_FPMODE_H
#define NHR_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

/* MXCSR: all six exceptions masked (0x1f80), FTZ (bit 15), DAZ (bit 6), rounding 00 = nearest. */
static inline uint64_t nhr_fpmode_enter(void) {
    uint32_t old = _mm_getcsr();
    _mm_setcsr(0x1f80u | 0x8000u | 0x0040u);
    return old;
}

static inline void nhr_fpmode_leave(uint64_t old) {
    _mm_setcsr((uint32_t)old);
}

#elif defined(__aarch64__)

/* FPCR: FZ (bit 24), rounding 00 = nearest, no traps. FZ16 stays off: f16 values are only converted, and their
 * denormals count. */
static inline uint64_t nhr_fpmode_enter(void) {
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24) : "memory");
    return old;
}

static inline void nhr_fpmode_leave(uint64_t old) {
    __asm__ volatile("msr fpcr, %0" : : "r"(old) : "memory");
}

#else

/* Other architectures have no kernels yet. */
static inline uint64_t nhr_fpmode_enter(void) {
    return 0;
}

static inline void nhr_fpmode_leave(uint64_t old) {
    (void)old;
}

#endif
#endif
