// decode.cu: one step of decoding, in one launch. A block serves one sequence and kv head: all heads of the group share one
// read of the memory, which is updated in place in the pool; the token goes into the rings.
//     h[m,:] = exp(g_j[m]) h[m,:] + s_j[m] x_j    j = position - SLOT_LAG, for hk as it is scored, for hv as it is read
//     p = softmax over slots and window, taken in tiles of TILE_COLUMNS columns with a running maximum
// Every product is made of FMAs in f32, whatever the dtype: decoding is bound by memory, not by arithmetic.
#include "problem.cuh"

#ifndef KERNEL_MAIN
#define KERNEL_MAIN nha_decode_main // name of the kernel
#endif
#ifndef WARPS
#define WARPS 4 // warps of a block; values 2, 4, 8
#endif
#ifndef HEADS
#define HEADS 4 // heads of the group at a time; values 1, 2, 4, 8: above 1 no more than GROUP, the memory is read once if not less
#endif
#ifndef TILE_COLUMNS
#define TILE_COLUMNS 64 // slots or tokens between two steps of the softmax; values 32, 64, 128
#endif
#ifndef KEY_LANES
#define KEY_LANES 8 // lanes that share a row of K; values 4, 8, 16, 32
#endif

#include "basics.cuh"
#include "numerics.cuh"
#include "task.cuh"

constexpr int THREADS = WARPS * 32;
constexpr int VALUE_LANES = HEAD_DIM_V > 64 ? 32 : HEAD_DIM_V > 32 ? 16 : 8; // lanes that share a row of V
constexpr int KEY_ROWS = THREADS / KEY_LANES;                                // rows that the block takes at a time
constexpr int VALUE_ROWS = THREADS / VALUE_LANES;
constexpr int VALUE_PARTS = (HEAD_DIM_V + 4 * VALUE_LANES - 1) / (4 * VALUE_LANES); // groups of 4 columns a lane
constexpr int ROTATED = ROPE != ROPE_NONE || SLOT_MAP != MAP_IDENTITY; // the window has queries of its own
constexpr int WINDOW_QUERIES = SLOTS > 0 && WINDOW > 0 && ROTATED ? 1 : 0;

// Shared memory, offsets in bytes.
constexpr int SLOT_QUERY_AT = 0;                                                     // f32 [HEADS][K], mapped
constexpr int WINDOW_QUERY_AT = SLOT_QUERY_AT + WINDOW_QUERIES * HEADS * HEAD_DIM_QK * 4; // f32 [HEADS][K], rotated
constexpr int WEIGHT_AT = WINDOW_QUERY_AT + HEADS * HEAD_DIM_QK * 4;                 // f32 [HEADS][TILE_COLUMNS] scores, then p
constexpr int KEY_AT = WEIGHT_AT + HEADS * TILE_COLUMNS * 4;                         // f32 [K] of the token absorbed, mapped
constexpr int VALUE_AT = KEY_AT + HEAD_DIM_QK * 4;                                   // f32 [V], mapped
constexpr int DECAY_AT = VALUE_AT + HEAD_DIM_V * 4;                                  // decay [SLOTS]
constexpr int GIVE_AT = DECAY_AT + SLOTS * 8;                                        // f32 [SLOTS] s
constexpr int STATE_AT = GIVE_AT + SLOTS * 4;                                        // softmax_state [HEADS]
constexpr int PARTIAL_AT = (STATE_AT + HEADS * 12 + 15) / 16 * 16;                   // f32 [VALUE_ROWS][HEADS][V]
constexpr int SHARED_BYTES = PARTIAL_AT + VALUE_ROWS * HEADS * HEAD_DIM_V * 4;

static_assert(HEADS == 1 || HEADS <= GROUP, "more heads at a time than the group has");
static_assert(TILE_COLUMNS % KEY_ROWS == 0, "a tile of columns is a whole number of passes over rows of K");
static_assert(TILE_COLUMNS % 32 == 0, "a warp takes the softmax of a tile in whole steps");
static_assert(KEY_LANES >= 1 && KEY_LANES <= 32, "the lanes of a row belong to one warp");
static_assert(4 * KEY_LANES <= HEAD_DIM_QK || KEY_LANES == 4, "lanes of a row without work");

// The softmax of one head so far, in powers of two.
struct softmax_state {
    float maximum, sum, factor; // factor: what the last tile did to all before it
};

extern __shared__ __align__(16) unsigned char shared[];

__device__ __forceinline__ float *shared_floats(int at) {
    return (float *)(shared + at);
}

__device__ __forceinline__ float4 *shared_float4(int at, int row, int columns, int column) {
    return (float4 *)(shared + at + (row * columns + column) * 4);
}

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

#if SLOTS > 0
// h = exp(g) h + s x, four elements in place.
__device__ __forceinline__ float4 absorb4(decay d, float s, float4 h, float4 x) {
    return make_float4(decayed(d, h.x, s * x.x), decayed(d, h.y, s * x.y), decayed(d, h.z, s * x.z),
                       decayed(d, h.w, s * x.w));
}
#endif

// ---- Load: queries [HEADS][K] ----

#if ROPE == ROPE_NEOX || ROPE == ROPE_GPTJ
// Four elements of rot(x), columns column .. column + 3 of a row at `address`.
__device__ __forceinline__ float4 load_rotated4(u64 address, i64 position, int column) {
    float4 x = load4(address + column * ELEMENT_BYTES);
#if ROPE == ROPE_GPTJ
    float2 low = rotate(position, column / 2, x.x, x.y), high = rotate(position, column / 2 + 1, x.z, x.w);
    return make_float4(low.x, low.y, high.x, high.y);
#else
    constexpr int HALF = HEAD_DIM_QK / 2; // element i is paired with i + HALF
    bool upper = column >= HALF;
    int pair = upper ? column - HALF : column;
    float4 y = load4(address + (upper ? pair : pair + HALF) * ELEMENT_BYTES);
    float sign = upper ? -1.0f : 1.0f; // (x, -y) turned the other way has rot's upper half first
    float4 turned;
    turned.x = rotate_one(position, pair, x.x, sign * y.x);
    turned.y = rotate_one(position, pair + 1, x.y, sign * y.y);
    turned.z = rotate_one(position, pair + 2, x.z, sign * y.z);
    turned.w = rotate_one(position, pair + 3, x.w, sign * y.w);
    return turned;
#endif
}
#endif
