#pragma once
// rope.cuh: queries and keys as the window sees them: raw, given rotated, or rotated here. Rows of K elements are taken
// in groups of eight, four pairs of the rotation: columns [low_column, low_column + 4) and [high_column, high_column +
// 4).
#include "basics.cuh"

struct eight {
    float4 low, high;
};

constexpr int PAIRS = HEAD_DIM_QK / 2;

// Columns of pairs pair .. pair + 3, pair a multiple of 4.
__device__ __forceinline__ int low_column(int pair) {
#if ROPE == ROPE_NEOX
    return pair; // i is paired with i + K/2
#else
    return 2 * pair; // 2i is paired with 2i + 1
#endif
}

__device__ __forceinline__ int high_column(int pair) {
#if ROPE == ROPE_NEOX
    return pair + PAIRS;
#else
    return 2 * pair + 4;
#endif
}

#if ROPE == ROPE_NEOX || ROPE == ROPE_GPTJ
// inv_freq / 2 pi of each pair, turns a token, in 64-bit fixed point: a product with a position wraps at whole turns,
// so that angles are as good at any position.
__device__ const u64 rope_turns[PAIRS] = {ROPE_TURNS};

// Turns (x, y) by position * inv_freq[pair].
__device__ __forceinline__ void rotate(i64 position, int pair, float &x, float &y) {
    u64 turns = (u64)position * rope_turns[pair];
    float half_turns = (float)(i32)(turns >> 32) * 4.656612873077393e-10f; // 2^-31: in [-1, 1]
    float sine, cosine;
    sincospif(half_turns, &sine, &cosine);
    float turned = x * cosine - y * sine;
    y = x * sine + y * cosine;
    x = turned;
}
#endif

// Pairs pair .. pair + 3 of the row at `address`, that of the token at `position`.
__device__ __forceinline__ eight load_window8(u64 address, i64 position, int pair) {
    eight x;
    x.low = load4(address + low_column(pair) * ELEMENT_BYTES);
    x.high = load4(address + high_column(pair) * ELEMENT_BYTES);
#if ROPE == ROPE_NEOX
    rotate(position, pair, x.low.x, x.high.x);
    rotate(position, pair + 1, x.low.y, x.high.y);
    rotate(position, pair + 2, x.low.z, x.high.z);
    rotate(position, pair + 3, x.low.w, x.high.w);
#elif ROPE == ROPE_GPTJ
    rotate(position, pair, x.low.x, x.low.y);
    rotate(position, pair + 1, x.low.z, x.low.w);
    rotate(position, pair + 2, x.high.x, x.high.y);
    rotate(position, pair + 3, x.high.z, x.high.w);
#endif
    return x;
}
