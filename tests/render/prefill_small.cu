// prefill_small.cu: a stand-in for a prefill template in tests of gen/cuda: right in form, computes nothing of use.

#ifndef KERNEL_MAIN
#define KERNEL_MAIN prefill_main // name of the main kernel
#endif
#ifndef KERNEL_COMMIT
#define KERNEL_COMMIT prefill_commit // name of the kernel that writes the rings
#endif
#ifndef HEAD_DIM_QK
#define HEAD_DIM_QK 64 // K
#endif
#ifndef WINDOW
#define WINDOW 64ll // W
#endif
#ifndef SCALE
#define SCALE 0.125f // of the scores
#endif
#ifndef DTYPE
#define DTYPE 2 // 0 f32, 1 f16, 2 bf16
#endif
#ifndef ROPE_TURNS
#define ROPE_TURNS 0ull, 0ull // turns a token of each pair, 2^64 a turn
#endif
#ifndef ARCH
#define ARCH 80 // compute capability times ten
#endif
#ifndef CHUNK
#define CHUNK 64 // tokens a chunk; values 32, 64, 128
#endif
#ifndef WARPS
#define WARPS 4 // warps a block; values 2, 4, 8
#endif

constexpr int ELEMENT_BYTES = DTYPE == 0 ? 4 : 2;
constexpr int THREADS = WARPS * 32;
constexpr int COMMIT_THREADS = 128;
constexpr int SHARED_BYTES = CHUNK * HEAD_DIM_QK * ELEMENT_BYTES * WARPS;
constexpr long long WORKSPACE_BYTES = CHUNK * 4ll;
constexpr int WORKSPACE_WINDOW_BYTES = HEAD_DIM_QK * ELEMENT_BYTES;
static_assert(CHUNK >= 16 * WARPS, "a warp has at least 16 rows of a chunk");

__constant__ unsigned long long rope_turns[] = {ROPE_TURNS};

// o [CHUNK]: SCALE times the turns of the pairs that a thread has
extern "C" __global__ void __launch_bounds__(THREADS) KERNEL_MAIN(float *o) {
    extern __shared__ float rows[]; // [CHUNK]
    rows[threadIdx.x % CHUNK] = SCALE * (float)rope_turns[threadIdx.x % (sizeof rope_turns / sizeof rope_turns[0])];
    __syncthreads();
#if ARCH >= 90
    o[threadIdx.x] = rows[threadIdx.x % CHUNK] + (float)WINDOW;
#else
    o[threadIdx.x] = rows[threadIdx.x % CHUNK];
#endif
}

extern "C" __global__ void __launch_bounds__(COMMIT_THREADS) KERNEL_COMMIT(float *ring) {
    ring[threadIdx.x] = 0.0f;
}
