#pragma once
// product_fma.cuh: products of the prefill kernel in f32 by FMAs. A warp owns 8 rows; a lane is one of COLUMNS = 32
// slots or tokens of all of them, and every 32nd column of V. Same functions as product_mma.cuh.
#include "basics.cuh"

constexpr int LANE_ROWS = 8;    // rows of a warp that a lane has elements of: all
constexpr int LANE_COLUMNS = 1; // columns of a block that it has of each: its own
constexpr int ROW_LANES = 32;   // neighbouring lanes that share these rows
constexpr int LANE_VALUES = (HEAD_DIM_V + 32 * WARP_COLUMNS - 1) / (32 * WARP_COLUMNS);

// Of one lane: elements of an [8, COLUMNS] block of scores or weights, and of its warp's [8, 32 LANE_VALUES] outputs.
struct scores {
    float x[LANE_ROWS][LANE_COLUMNS];
};
struct outputs {
    float x[LANE_ROWS][LANE_VALUES];
};

__device__ __forceinline__ int lane_row(int i) {
    return i;
}

__device__ __forceinline__ int lane_column(int) {
    return threadIdx.x % LANES;
}

__device__ __forceinline__ int value_column(int c, int warp_column) {
    return (warp_column * LANE_VALUES + c) * 32 + threadIdx.x % LANES;
}

// Four elements of an operand into shared memory, in one term.
template <int OPERAND_TERMS> __device__ __forceinline__ void store_operand4(unsigned char *to, int, float4 x) {
    *(float4 *)to = x;
}

// s [8, COLUMNS] = q [8, K] keys [COLUMNS, K]^T
template <int QUERY_TERMS, int KEY_TERMS> __device__ __forceinline__ scores score_block(int warp_row) {
    scores s = {};
    const unsigned char *query = shared + QUERY_AT + warp_row * ROWS_PER_WARP * QUERY_ROW_BYTES;
    const unsigned char *key = shared + KEYS_AT + threadIdx.x % LANES * OPERAND_ROW_BYTES;
#pragma unroll 2
    for (int k = 0; k < HEAD_DIM_QK; k += 4) {
        float4 b = *(const float4 *)(key + 4 * k);
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++) {
            float4 a = *(const float4 *)(query + i * QUERY_ROW_BYTES + 4 * k);
            s.x[i][0] = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, s.x[i][0]))));
        }
    }
    return s;
}

// The weights of a block to where every lane of the warp sees them, [8][STAGE_STRIDE].
__device__ __forceinline__ const float *stage(const scores &p, int warp) {
    float *staged = (float *)(shared + STAGE_AT) + warp * ROWS_PER_WARP * STAGE_STRIDE;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
        staged[i * STAGE_STRIDE + threadIdx.x % LANES] = p.x[i][0];
    __syncwarp();
    return staged;
}

// o [8, V] += p [8, COLUMNS] values [COLUMNS, V]
template <int VALUE_TERMS>
__device__ __forceinline__ void read_block(outputs &o, const scores &p, int warp, int warp_column) {
    const float *staged = stage(p, warp);
    for (int j = 0; j < COLUMNS; j += 4) {
        float4 a[LANE_ROWS];
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
            a[i] = *(const float4 *)(staged + i * STAGE_STRIDE + j);
#pragma unroll
        for (int c = 0; c < LANE_VALUES; c++) {
            int column = value_column(c, warp_column);
            if (column < HEAD_DIM_V) {
                const unsigned char *value = shared + VALUES_AT + j * OPERAND_ROW_BYTES + column * 4;
                float4 b = make_float4(*(const float *)value, *(const float *)(value + OPERAND_ROW_BYTES),
                                       *(const float *)(value + 2 * OPERAND_ROW_BYTES),
                                       *(const float *)(value + 3 * OPERAND_ROW_BYTES));
#pragma unroll
                for (int i = 0; i < LANE_ROWS; i++)
                    o.x[i][c] = fmaf(a[i].w, b.w, fmaf(a[i].z, b.z, fmaf(a[i].y, b.y, fmaf(a[i].x, b.x, o.x[i][c]))));
            }
        }
    }
}

// Row i of the lane, times `factor`, to the row of o at `address`.
__device__ __forceinline__ void store_row(const outputs &o, int i, float factor, u64 address, int warp_column) {
#pragma unroll
    for (int c = 0; c < LANE_VALUES; c++) {
        int column = value_column(c, warp_column);
        if (column < HEAD_DIM_V)
            *(float *)global(address + column * 4) = o.x[i][c] * factor;
    }
}

#if SLOTS > 0
// s[r][m] = remain_t[m] s[r][m] + sum over j <= t of within[r][j] weight_tj[m], t the token of row r, none above `last`
__device__ __forceinline__ void decay_scores(scores &s, const int (&token)[LANE_ROWS], int last, int warp) {
    const float *within = (const float *)(shared + WITHIN_AT) + warp * ROWS_PER_WARP * WITHIN_STRIDE;
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
        s.x[i][0] *= ((const float *)(shared + REMAIN_AT))[token[i] * COLUMNS + lane_column(0)];
#pragma unroll
    for (int j = 0; j < CHUNK; j++)
        if (j <= last)
#pragma unroll
            for (int i = 0; i < LANE_ROWS; i++) {
                const float *weight = (const float *)(shared + WEIGHT_AT) + token[i] * WEIGHT_TOKEN + j * WEIGHT_STRIDE;
                s.x[i][0] = fmaf(within[i * WITHIN_STRIDE + j], weight[lane_column(0)], s.x[i][0]);
            }
}

// What the slots' part of the output owes to each token of the chunk: coefficient[r][j] = sum over m of p[r][m]
// weight_tj[m]. Lane l sums token l % 16, over the lower 16 slots of a block or the upper ones; share_coefficients adds
// both up.
struct coefficients {
    float x[LANE_ROWS];
};

__device__ __forceinline__ void rescale(coefficients &sum, int i, float factor) {
    // the factor of row i is the same in every lane
    sum.x[i] *= factor;
}

__device__ __forceinline__ void add_coefficients(coefficients &sum, const scores &p, const int (&token)[LANE_ROWS], int,
                                                 int warp) {
    const float *staged = stage(p, warp);
    int j = threadIdx.x % 16, half = threadIdx.x % LANES / 16 * 16;
    if (j < CHUNK)
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++) {
            const float *weight =
                (const float *)(shared + WEIGHT_AT) + token[i] * WEIGHT_TOKEN + j * WEIGHT_STRIDE + half;
#pragma unroll
            for (int m = 0; m < 16; m++)
                sum.x[i] = fmaf(staged[i * STAGE_STRIDE + half + m], weight[m], sum.x[i]);
        }
}

// They replace within [8, CHUNK] of the warp.
__device__ __forceinline__ void share_coefficients(const coefficients &sum, int warp) {
    float *within = (float *)(shared + WITHIN_AT) + warp * ROWS_PER_WARP * WITHIN_STRIDE;
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) {
        float all = sum.x[i] + __shfl_xor_sync(0xffffffffu, sum.x[i], 16);
        if (threadIdx.x % LANES < CHUNK)
            within[i * WITHIN_STRIDE + threadIdx.x % LANES] = all;
    }
}
#endif
