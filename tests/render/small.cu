// small.cu: a template for tests. Adds a scaled vector, TILE elements a thread.
// #if in a comment that is not at the beginning of a line stays; so does CHUNK.

#ifndef KERNEL_MAIN
#define KERNEL_MAIN small_kernel // name of the kernel
#endif
#ifndef TILE
#define TILE 4 // elements a thread; values 1, 2, 4
#endif
#ifndef WARPS
#define WARPS 4
#endif
#ifndef REACH
#define REACH 100ll // elements that are read at most; up to 2^40
#endif
#ifndef SCALE
#define SCALE 0.5f // factor
#endif
#ifndef TABLE
#define TABLE 1ull, 2ull // one entry a column
#endif
#ifndef DTYPE
#define DTYPE 0 // 0 f32, 1 f16
#endif
#define DTYPE_F32 0
#define DTYPE_F16 1

#include "small_types.cuh"
#include "small_load.cuh"
#include "small_types.cuh"

constexpr int THREADS = WARPS * 32;
constexpr int SHARED_BYTES = THREADS * TILE * (int)sizeof(float); // not plain arithmetic: unknown
constexpr int TILE_BYTES = TILE * ELEMENT_BYTES;
static_assert(TILE <= 8, "a thread holds at most "
                         "8 elements");

/* Block comments stay,
   with all their lines, and "quotes' in them. */
__constant__ u64 table[] = {TABLE};

#if DTYPE == DTYPE_F32 && TILE > 1 // decided
// x, y [n]: y = y + SCALE * x, wide
#if WARPS >= 4
constexpr int WIDE = 1;
#else
constexpr int WIDE = 0;
#endif
#elif DTYPE == DTYPE_F32
constexpr int WIDE = 0; // narrow
#else
#error "f16 is not written yet"
#endif


extern "C" __global__ void __launch_bounds__(THREADS) KERNEL_MAIN(const float *x, float *y, long long n) {
    // KERNEL_MAIN, in a comment, stays
    u32 lane;
    asm volatile("mov.u32 %0, %%laneid; // TABLE #if" : "=r"(lane));
#pragma unroll
    for (int i = 0; i < TILE; i++) {
        long long at = (long long)blockIdx.x * THREADS * TILE + i * THREADS + threadIdx.x;
#if TILE > 1
        if (at < n && at < REACH) {
#else
        if (at < n) {
#endif
            y[at] = load(y, at) + SCALE * load(x, at) + (float)(table[lane & 1] & WIDE);
        }
    }
}
