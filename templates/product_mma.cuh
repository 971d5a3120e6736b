#pragma once
// product_mma.cuh: products of the prefill kernel in f16 or bf16 by mma.sync with f32 sums. A warp owns 16 rows;
// COLUMNS = 32 slots or tokens are four accumulators of 8 columns. What this kernel computes itself and gives to the
// matrix unit is split into TERMS numbers of the dtype, x = x0 + x1, so that bf16 keeps 16 bits of it; products of two
// second terms are left out.
#include "basics.cuh"
#include "tensor_core.cuh"

constexpr int LANE_ROWS = 2;    // rows of a warp that a lane has elements of: l/4 + 8i
constexpr int LANE_COLUMNS = 8; // columns of a block that it has of each: 8(c/2) + 2(l%4) + c%2
constexpr int ROW_LANES = 4;    // neighbouring lanes that share these rows
constexpr int VALUE_TILES = (HEAD_DIM_V / 8 + WARP_COLUMNS - 1) / WARP_COLUMNS; // of 8 columns of V, a warp
constexpr int LANE_VALUES = 2 * VALUE_TILES;

// Of one lane: elements of a [16, COLUMNS] block of scores or weights, and of its warp's [16, 8 VALUE_TILES] outputs.
struct scores {
    float x[LANE_ROWS][LANE_COLUMNS];
};
struct outputs {
    float x[LANE_ROWS][LANE_VALUES];
};

__device__ __forceinline__ int lane_row(int i) {
    return threadIdx.x % LANES / 4 + 8 * i;
}

__device__ __forceinline__ int lane_column(int c) {
    return c / 2 * 8 + threadIdx.x % 4 * 2 + c % 2;
}

// Four elements of an operand into shared memory, term by term, `term_bytes` apart.
template <int OPERAND_TERMS>
__device__ __forceinline__ void store_operand4(unsigned char *to, int term_bytes, float4 x) {
#pragma unroll
    for (int term = 0; term < OPERAND_TERMS; term++) {
        uint2 bits = make_uint2(pack2(x.x, x.y), pack2(x.z, x.w));
        *(uint2 *)(to + term * term_bytes) = bits;
        float2 low = unpack2(bits.x), high = unpack2(bits.y);
        x = make_float4(x.x - low.x, x.y - low.y, x.z - high.x, x.w - high.y);
    }
}

// s [16, COLUMNS] = q [16, K] keys [COLUMNS, K]^T
template <int QUERY_TERMS, int KEY_TERMS> __device__ __forceinline__ scores score_block(int warp_row) {
    scores s = {};
    int lane = threadIdx.x % LANES;
    u32 query = shared_address(shared + QUERY_AT) + (warp_row * 16 + lane % 16) * QUERY_ROW_BYTES + lane / 16 * 16;
    u32 key = shared_address(shared + KEYS_AT) + (lane % 8 + lane / 16 * 8) * OPERAND_ROW_BYTES + lane / 8 % 2 * 16;
#pragma unroll 2 // steps: with all of them the registers run out
    for (int k = 0; k < PADDED_K; k += 16) {
        u32 a[QUERY_TERMS][4];
#pragma unroll
        for (int term = 0; term < QUERY_TERMS; term++)
            load_matrices(a[term], query + term * QUERY_TERM_BYTES + 2 * k);
#pragma unroll
        for (int half = 0; half < 2; half++) // of 16 keys
#pragma unroll
            for (int term = 0; term < KEY_TERMS; term++) {
                u32 b[4];
                load_matrices(b, key + term * OPERAND_TERM_BYTES + half * 16 * OPERAND_ROW_BYTES + 2 * k);
#pragma unroll
                for (int other = 0; other < QUERY_TERMS && other + term < 2; other++)
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        int c = 4 * half + 2 * n;
                        multiply_add(s.x[0][c], s.x[0][c + 1], s.x[1][c], s.x[1][c + 1], a[other], b[2 * n],
                                     b[2 * n + 1]);
                    }
            }
    }
    return s;
}

// o [16, V] += p [16, COLUMNS] values [COLUMNS, V]
template <int VALUE_TERMS>
__device__ __forceinline__ void read_block(outputs &o, const scores &p, int warp, int warp_column) {
    u32 a[TERMS][2][4]; // of p, as left operands of 16 columns
    float rest[LANE_ROWS][LANE_COLUMNS];
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; c++)
            rest[i][c] = p.x[i][c];
#pragma unroll
    for (int term = 0; term < TERMS; term++)
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; c += 2) {
                u32 bits = pack2(rest[i][c], rest[i][c + 1]);
                float2 taken = unpack2(bits);
                rest[i][c] -= taken.x;
                rest[i][c + 1] -= taken.y;
                a[term][c / 4][c / 2 % 2 * 2 + i] = bits;
            }
    u32 value = shared_address(shared + VALUES_AT) + threadIdx.x % LANES * OPERAND_ROW_BYTES;
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
        int tile = warp_column * VALUE_TILES + n;
        if (tile < HEAD_DIM_V / 8)
#pragma unroll
            for (int term = 0; term < VALUE_TERMS; term++) {
                u32 b[4];
                load_matrices_transposed(b, value + term * OPERAND_TERM_BYTES + tile * 16);
#pragma unroll
                for (int other = 0; other < TERMS && other + term < 2; other++)
#pragma unroll
                    for (int half = 0; half < 2; half++)
                        multiply_add(o.x[0][2 * n], o.x[0][2 * n + 1], o.x[1][2 * n], o.x[1][2 * n + 1], a[other][half],
                                     b[2 * half], b[2 * half + 1]);
            }
    }
}

// Row i of the lane, times `factor`, to the row of o at `address`.
__device__ __forceinline__ void store_row(const outputs &o, int i, float factor, u64 address, int warp_column) {
#pragma unroll
    for (int n = 0; n < VALUE_TILES; n++) {
        int tile = warp_column * VALUE_TILES + n;
        if (tile < HEAD_DIM_V / 8)
            store2(address + (tile * 8 + threadIdx.x % 4 * 2) * ELEMENT_BYTES, o.x[i][2 * n] * factor,
                   o.x[i][2 * n + 1] * factor);
    }
}

#if SLOTS > 0
// s[r][m] = remain_t[m] s[r][m] + sum over j <= t of within[r][j] weight_tj[m], t the token of row r, none above `last`
__device__ __forceinline__ void decay_scores(scores &s, const int (&token)[LANE_ROWS], int last, int warp) {
    const float *within = (const float *)(shared + WITHIN_AT) + warp * ROWS_PER_WARP * WITHIN_STRIDE;
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; c++)
            s.x[i][c] *= ((const float *)(shared + REMAIN_AT))[token[i] * COLUMNS + lane_column(c)];
#pragma unroll 8
    for (int j = 0; j < CHUNK; j++)
        if (j <= last)
#pragma unroll
            for (int i = 0; i < LANE_ROWS; i++) {
                float factor = within[lane_row(i) * WITHIN_STRIDE + j];
                const float *weight = (const float *)(shared + WEIGHT_AT) + token[i] * WEIGHT_TOKEN + j * WEIGHT_STRIDE;
#pragma unroll
                for (int c = 0; c < LANE_COLUMNS; c += 2) {
                    float2 w = *(const float2 *)(weight + lane_column(c));
                    s.x[i][c] = fmaf(factor, w.x, s.x[i][c]);
                    s.x[i][c + 1] = fmaf(factor, w.y, s.x[i][c + 1]);
                }
            }
}

// What the slots' part of the output owes to each token of the chunk: coefficient[r][j] = sum over m of p[r][m]
// weight_tj[m]. Of the four lanes of a row, lane l has tokens LANE_TOKENS * l + i.
constexpr int LANE_TOKENS = CHUNK / ROW_LANES;

struct coefficients {
    float x[LANE_ROWS][LANE_TOKENS];
};

__device__ __forceinline__ void rescale(coefficients &sum, int i, float factor) {
#pragma unroll
    for (int j = 0; j < LANE_TOKENS; j++)
        sum.x[i][j] *= factor;
}

// Half of adding x up over the four lanes of a row: a lane gives half of the 2 LANE_TOKENS STEP sums that it has to the
// lane that will have them, takes the other half from there, and keeps LANE_TOKENS STEP sums.
template <int STEP> __device__ __forceinline__ void halve_sums(float (&x)[CHUNK]) {
    bool upper = (threadIdx.x & STEP) != 0;
#pragma unroll
    for (int j = 0; j < LANE_TOKENS * STEP; j++) {
        float low = x[j], high = x[j + LANE_TOKENS * STEP];
        x[j] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, STEP);
    }
}

__device__ __forceinline__ void add_coefficients(coefficients &sum, const scores &p, const int (&token)[LANE_ROWS],
                                                 int last, int) {
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) {
        float own[CHUNK] = {}; // over the lane's slots
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
            if (j <= last) {
                const float *weight = (const float *)(shared + WEIGHT_AT) + token[i] * WEIGHT_TOKEN + j * WEIGHT_STRIDE;
#pragma unroll
                for (int c = 0; c < LANE_COLUMNS; c += 2) {
                    float2 w = *(const float2 *)(weight + lane_column(c));
                    own[j] = fmaf(p.x[i][c], w.x, fmaf(p.x[i][c + 1], w.y, own[j]));
                }
            }
        halve_sums<2>(own);
        halve_sums<1>(own);
#pragma unroll
        for (int j = 0; j < LANE_TOKENS; j++)
            sum.x[i][j] += own[j];
    }
}

// They replace within [16, CHUNK] of the warp.
__device__ __forceinline__ void share_coefficients(const coefficients &sum, int warp) {
    float *within = (float *)(shared + WITHIN_AT) + warp * ROWS_PER_WARP * WITHIN_STRIDE;
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int j = 0; j < LANE_TOKENS; j++)
            within[lane_row(i) * WITHIN_STRIDE + threadIdx.x % ROW_LANES * LANE_TOKENS + j] = sum.x[i][j];
}
#endif
