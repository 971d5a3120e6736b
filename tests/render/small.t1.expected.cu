// small.cu: a template for tests. Adds a scaled vector, TILE elements a thread.
// #if in a comment that is not at the beginning of a line stays; so does CHUNK.

constexpr int TILE = 1; // elements a thread; values 1, 2, 4
constexpr int WARPS = 4;
constexpr long long REACH = 1099511627776ll; // elements that are read at most; up to 2^40
constexpr float SCALE = 1.25e-01f; // factor
constexpr int DTYPE = 0; // 0 f32, 1 f16

// Own names of the integer types.
using u32 = unsigned;
using u64 = unsigned long long;
constexpr int ELEMENT_BYTES = DTYPE == 0 ? 4 : 2;

// One element of a global array.
static __device__ float load(const float *from, long long at) { return from[at]; }

constexpr int THREADS = WARPS * 32;
constexpr int SHARED_BYTES = THREADS * TILE * (int)sizeof(float); // not plain arithmetic: unknown
constexpr int TILE_BYTES = TILE * ELEMENT_BYTES;
static_assert(TILE <= 8, "a thread holds at most "
                         "8 elements");

/* Block comments stay,
   with all their lines, and "quotes' in them. */
__constant__ u64 table[] = {
    1ull, 2ull, 3ull, 4ull,
    5ull
};

constexpr int WIDE = 0; // narrow

extern "C" __global__ void __launch_bounds__(THREADS) small_kernel_t1(const float *x, float *y, long long n) {
    // KERNEL_MAIN, in a comment, stays
    u32 lane;
    asm volatile("mov.u32 %0, %%laneid; // TABLE #if" : "=r"(lane));
#pragma unroll
    for (int i = 0; i < TILE; i++) {
        long long at = (long long)blockIdx.x * THREADS * TILE + i * THREADS + threadIdx.x;
        if (at < n) {
            y[at] = load(y, at) + SCALE * load(x, at) + (float)(table[lane & 1] & WIDE);
        }
    }
}
