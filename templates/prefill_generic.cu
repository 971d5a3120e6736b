// prefill_generic.cu: prefill for every legal problem. A block takes one sequence and kv head, chunk after chunk of
// CHUNK tokens, all heads of the group as rows r = (token, head): CHUNK * GROUP rows, TILE_ROWS at a time.
//     a_t[m] = remain_t[m] q_t.h[m] + sum over j <= t of weight_tj[m] q_t.x_j    remain_t = product of e_l, l <= t
//     h[m,:] = remain[m] h[m,:] + sum over j of weight_j[m] x_j       weight_tj = s_j times product of e_l, j < l <= t
// x_j is the token that step j of the chunk absorbs, h the memory before the chunk: f32 in global memory, updated in
// place. The weights are built by multiplication of factors in [0, 1]: any gate is exact, and no exponential of a
// difference exists. Slots and tokens of the window are columns of one softmax, taken COLUMNS at a time with a running
// maximum.
#include "problem.cuh"

#ifndef KERNEL_MAIN
#define KERNEL_MAIN nha_prefill_generic // name of the kernel that computes
#endif
#ifndef KERNEL_COMMIT
#define KERNEL_COMMIT nha_prefill_generic_commit // name of the one after it, which updates rings and positions
#endif
#ifndef CHUNK
#define CHUNK 16 // tokens between two updates of the memory; values 16, 8
#endif
#ifndef WARP_ROWS
#define WARP_ROWS 4 // warps that share the rows of a tile; values 4, 2, 1
#endif
#ifndef WARP_COLUMNS
#define WARP_COLUMNS 1 // warps that share the columns of V, each with all scores of its rows; values 1, 2, 4
#endif
#ifndef BF16_TERMS
#define BF16_TERMS 2 // bf16 numbers that a computed operand is split into; values 2, 1
#endif
#ifndef BUFFERS
#define BUFFERS 2 // 2: values have shared memory of their own; 1: they follow the keys in the same; values 2, 1
#endif

#include "basics.cuh"
#include "numerics.cuh"
#include "rope.cuh"
#include "task.cuh"
#include "tensor_core.cuh"

constexpr int COLUMNS = 32; // slots or tokens taken at a time
constexpr int ROWS_PER_WARP = DTYPE == DTYPE_F32 ? 8 : 16;
constexpr int TILE_ROWS = ROWS_PER_WARP * WARP_ROWS;
constexpr int CHUNK_ROWS = CHUNK * GROUP;
constexpr int WARPS = WARP_ROWS * WARP_COLUMNS;
constexpr int THREADS = WARPS * 32;
constexpr int COMMIT_THREADS = 128;

// Operands of the matrix unit: what is computed here has TERMS terms, what is copied has one.
constexpr int TERMS = DTYPE == DTYPE_BF16 ? BF16_TERMS : 1;
constexpr int SLOT_TERMS = SLOT_MAP == MAP_SILU ? TERMS : 1;                     // q and k of the slot path
constexpr int WINDOW_TERMS = ROPE == ROPE_NEOX || ROPE == ROPE_GPTJ ? TERMS : 1; // q and k of the window
constexpr int VALUE_TERMS = VALUE_MAP == MAP_SILU ? TERMS : 1;
constexpr int QUERY_TERMS = SLOT_TERMS > WINDOW_TERMS ? SLOT_TERMS : WINDOW_TERMS;

// Shared memory, offsets in bytes. Rows of operands are padded, so that eight of them, 16 bytes each, meet all 32
// banks.
constexpr int PADDED_K = (HEAD_DIM_QK + 15) / 16 * 16; // of the matrix unit; the padding is zero
constexpr int MOST_DIM = (HEAD_DIM_QK > HEAD_DIM_V ? HEAD_DIM_QK + 15 : HEAD_DIM_V + 15) / 16 * 16;
constexpr int QUERY_ROW_BYTES = PADDED_K * ELEMENT_BYTES + 16;
constexpr int QUERY_TERM_BYTES = TILE_ROWS * QUERY_ROW_BYTES;
constexpr int OPERAND_ROW_BYTES = MOST_DIM * ELEMENT_BYTES + 16;
constexpr int OPERAND_TERM_BYTES = COLUMNS * OPERAND_ROW_BYTES;
constexpr int WITHIN_STRIDE = CHUNK + 4; // floats; 16-byte rows in distinct banks
constexpr int LAST_STRIDE = CHUNK + 4;
constexpr int STAGE_STRIDE = COLUMNS + 4;
constexpr int WEIGHT_STRIDE = DTYPE == DTYPE_F32 ? COLUMNS + 1 : COLUMNS; // floats from token j to j + 1
constexpr int WEIGHT_TOKEN = CHUNK * WEIGHT_STRIDE + 8;                   // floats from token t to t + 1
constexpr int HAS_SLOTS = SLOTS > 0 ? 1 : 0;
constexpr int IS_F32 = DTYPE == DTYPE_F32 ? 1 : 0;
constexpr int ALL_ROWS = WARPS * ROWS_PER_WARP; // each warp counted with rows of its own

constexpr int QUERY_AT = 0;                                                     // [QUERY_TERMS][TILE_ROWS][PADDED_K]
constexpr int KEYS_AT = QUERY_AT + QUERY_TERMS * QUERY_TERM_BYTES;              // [TERMS][COLUMNS][MOST_DIM]
constexpr int VALUES_AT = KEYS_AT + (BUFFERS - 1) * TERMS * OPERAND_TERM_BYTES; // the same
constexpr int STAGE_AT = VALUES_AT + TERMS * OPERAND_TERM_BYTES;           // f32 only: [WARPS][ROWS_PER_WARP][COLUMNS]
constexpr int WITHIN_AT = STAGE_AT + IS_F32 * ALL_ROWS * STAGE_STRIDE * 4; // f32 [WARPS][ROWS_PER_WARP][CHUNK]
constexpr int WEIGHT_AT = WITHIN_AT + HAS_SLOTS * ALL_ROWS * WITHIN_STRIDE * 4; // f32 [CHUNK][CHUNK][COLUMNS]
constexpr int LAST_AT = WEIGHT_AT + HAS_SLOTS * CHUNK * WEIGHT_TOKEN * 4;  // f32 [COLUMNS][CHUNK] of the last token
constexpr int REMAIN_AT = LAST_AT + HAS_SLOTS * COLUMNS * LAST_STRIDE * 4; // f32 [CHUNK][COLUMNS]
constexpr int GATE_AT = REMAIN_AT + HAS_SLOTS * CHUNK * COLUMNS * 4;       // f32 [CHUNK][COLUMNS] g
constexpr int FACTOR_AT = GATE_AT + HAS_SLOTS * CHUNK * COLUMNS * 4;       // f32 [CHUNK][COLUMNS] e = exp(g)
constexpr int GIVE_AT = FACTOR_AT + HAS_SLOTS * CHUNK * COLUMNS * 4;       // f32 [CHUNK][COLUMNS] s
constexpr int DECAY_AT = GIVE_AT + HAS_SLOTS * CHUNK * COLUMNS * 4;        // decay [COLUMNS] over the chunk
constexpr int TASK_AT = DECAY_AT + HAS_SLOTS * COLUMNS * 8;                // nha_task
constexpr int MEMORY_AT = TASK_AT + 72;                                    // memory_place
constexpr int SHARED_BYTES = MEMORY_AT + 16;
constexpr int WORKSPACE_BYTES = MEMORY_FLOATS * 4; // a block: its memory, where the caller gives no place for it

static_assert(CHUNK >= 1 && CHUNK <= 16, "the weights of more than 16 x 16 tokens do not fit beside the rest");
static_assert(WARPS >= 4 && WARPS <= 8, "a block has four to eight warps");
static_assert(WARP_ROWS == 1 || TILE_ROWS - ROWS_PER_WARP < CHUNK_ROWS, "warps without rows");
static_assert(DTYPE == DTYPE_BF16 || BF16_TERMS == 2, "only bf16 is split into terms");
static_assert(SHARED_BYTES <= 232448, "more shared memory than a block of any GPU has");
static_assert(WORKSPACE_BYTES <= 524288, "the memory at M = K = V = 256");

extern __shared__ __align__(16) unsigned char shared[];

#if DTYPE == DTYPE_F32
#include "product_fma.cuh"
#else
#include "product_mma.cuh"
#endif

// Where the memory is: addresses of hk [M,K] and hv [M,V].
struct memory_place {
    u64 hk, hv;
};

static_assert(sizeof(nha_task) == 72 && sizeof(memory_place) == 16, "what is laid out at TASK_AT and MEMORY_AT");

// What the phases share. A tile is rows [first_row, first_row + TILE_ROWS) of the chunk; a warp has those of its
// warp_row.
struct place {
    const nha_task &task;       // both in shared memory: they are the same in every thread, and what would be
    const memory_place &memory; // computed from them once, and kept, takes registers that the softmax needs
    int warp, warp_row, warp_column;
    i64 chunk;            // first token of the chunk
    int first_row;        // of the tile
    int token[LANE_ROWS]; // of the lane's rows, within the chunk; those past its end have the last one
    int last;             // token of the warp's last row
};

// The softmax of the lane's rows so far, in powers of two; sum: over the lane's own columns. o and c are not yet
// divided by it.
struct softmax_state {
    float maximum[LANE_ROWS], sum[LANE_ROWS];
    outputs o;
#if SLOTS > 0
    coefficients c;
#endif
};

// ---- Load: rows of operands, each by KEY_LANES or VALUE_LANES lanes, four elements at a time ----

constexpr int KEY_LANES = HEAD_DIM_QK > 64 ? 32 : HEAD_DIM_QK > 32 ? 16 : 8;
constexpr int PAIR_LANES = KEY_LANES / 2; // where a lane takes eight elements
constexpr int VALUE_LANES = HEAD_DIM_V > 64 ? 32 : HEAD_DIM_V > 32 ? 16 : 8;

__device__ __forceinline__ unsigned char *query_place(int row, int column) {
    return shared + QUERY_AT + row * QUERY_ROW_BYTES + column * ELEMENT_BYTES;
}

__device__ __forceinline__ unsigned char *key_place(int row, int column) {
    return shared + KEYS_AT + row * OPERAND_ROW_BYTES + column * ELEMENT_BYTES;
}

__device__ __forceinline__ unsigned char *value_place(int row, int column) {
    return shared + VALUES_AT + row * OPERAND_ROW_BYTES + column * ELEMENT_BYTES;
}

__device__ __forceinline__ float4 zero4() {
    return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// The matrix unit takes 16 elements of K at a time: what is behind K must be zero on both sides.
__device__ __forceinline__ void pad_keys() {
#if DTYPE != DTYPE_F32 && HEAD_DIM_QK % 16 != 0
    for (int row = threadIdx.x; row < COLUMNS * TERMS; row += THREADS)
        *(uint4 *)key_place(row, HEAD_DIM_QK) = make_uint4(0, 0, 0, 0); // row COLUMNS is the next term's first
#endif
}

__device__ __forceinline__ void pad_queries() {
#if DTYPE != DTYPE_F32 && HEAD_DIM_QK % 16 != 0
    for (int row = threadIdx.x; row < TILE_ROWS * QUERY_TERMS; row += THREADS)
        *(uint4 *)query_place(row, HEAD_DIM_QK) = make_uint4(0, 0, 0, 0);
#endif
}

__device__ __forceinline__ bool query_exists(const place &at, int row) {
    return at.first_row + row < CHUNK_ROWS && at.chunk + (at.first_row + row) / GROUP < at.task.length;
}

__device__ __forceinline__ u64 query_address(const place &at, const nha_tensor &tensor, int row) {
    return query_at(at.task, tensor, at.chunk + (at.first_row + row) / GROUP, (at.first_row + row) % GROUP);
}

#if SLOTS > 0
// q [TILE_ROWS, K], mapped for the slots.
__device__ __forceinline__ void load_slot_queries(const nha_args &args, const place &at) {
    for (int row = threadIdx.x / KEY_LANES; row < TILE_ROWS; row += THREADS / KEY_LANES) {
        bool exists = query_exists(at, row);
        u64 q = exists ? query_address(at, args.q, row) : 0;
        for (int column = threadIdx.x % KEY_LANES * 4; column < HEAD_DIM_QK; column += 4 * KEY_LANES)
            store_operand4<SLOT_TERMS>(query_place(row, column), QUERY_TERM_BYTES,
                                       exists ? slot_map4(load4(q + column * ELEMENT_BYTES)) : zero4());
    }
}

// Whether step j of the chunk exists and absorbs a token: x_j is token chunk + j - SLOT_LAG.
__device__ __forceinline__ bool absorbs(const place &at, int j) {
    return at.chunk + j < at.task.length && at.chunk + j - SLOT_LAG >= -at.task.available;
}

// x [CHUNK, K], mapped, as keys; rows up to COLUMNS are zero.
__device__ __forceinline__ void load_absorbed_keys(const nha_args &args, const place &at) {
    nha_stream keys = stream_of(args, at.task, args.k, args.cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES);
    for (int row = threadIdx.x / KEY_LANES; row < COLUMNS; row += THREADS / KEY_LANES) {
        bool exists = row < CHUNK && absorbs(at, row);
        u64 key = exists ? token_at(keys, at.chunk + row - SLOT_LAG) : 0;
        for (int column = threadIdx.x % KEY_LANES * 4; column < HEAD_DIM_QK; column += 4 * KEY_LANES)
            store_operand4<SLOT_TERMS>(key_place(row, column), OPERAND_TERM_BYTES,
                                       exists ? slot_map4(load4(key + column * ELEMENT_BYTES)) : zero4());
    }
    pad_keys();
}

// x [CHUNK, V], mapped, as values; rows up to COLUMNS are zero.
__device__ __forceinline__ void load_absorbed_values(const nha_args &args, const place &at) {
    nha_stream values = stream_of(args, at.task, args.v, args.cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES);
    for (int row = threadIdx.x / VALUE_LANES; row < COLUMNS; row += THREADS / VALUE_LANES) {
        bool exists = row < CHUNK && absorbs(at, row);
        u64 value = exists ? token_at(values, at.chunk + row - SLOT_LAG) : 0;
        for (int column = threadIdx.x % VALUE_LANES * 4; column < HEAD_DIM_V; column += 4 * VALUE_LANES)
            store_operand4<VALUE_TERMS>(value_place(row, column), OPERAND_TERM_BYTES,
                                        exists ? value_map4(load4(value + column * ELEMENT_BYTES)) : zero4());
    }
}

// hk [COLUMNS, K] from slot `first`; slots that do not exist are zero.
__device__ __forceinline__ void load_slot_keys(const place &at, int first) {
    for (int row = threadIdx.x / KEY_LANES; row < COLUMNS; row += THREADS / KEY_LANES) {
        const float *hk = (const float *)global(at.memory.hk) + (first + row) * HEAD_DIM_QK;
        for (int column = threadIdx.x % KEY_LANES * 4; column < HEAD_DIM_QK; column += 4 * KEY_LANES)
            store_operand4<TERMS>(key_place(row, column), OPERAND_TERM_BYTES,
                                  first + row < SLOTS ? *(const float4 *)(hk + column) : zero4());
    }
    pad_keys();
}

// hv [COLUMNS, V]
__device__ __forceinline__ void load_slot_values(const place &at, int first) {
    for (int row = threadIdx.x / VALUE_LANES; row < COLUMNS; row += THREADS / VALUE_LANES) {
        const float *hv = (const float *)global(at.memory.hv) + (first + row) * HEAD_DIM_V;
        for (int column = threadIdx.x % VALUE_LANES * 4; column < HEAD_DIM_V; column += 4 * VALUE_LANES)
            store_operand4<TERMS>(value_place(row, column), OPERAND_TERM_BYTES,
                                  first + row < SLOTS ? *(const float4 *)(hv + column) : zero4());
    }
}

// ---- Gates: g, e = exp(g), s of a block's slots at each step of the chunk: 0, 1, 0 where nothing is absorbed ----

__device__ __forceinline__ void load_gates(const nha_args &args, const place &at, int first) {
    nha_stream gates = stream_of(args, at.task, args.gate, args.cache.gate_offset, SLOTS * GATE_BYTES);
#if GATE_S_GIVEN
    nha_stream gives = stream_of(args, at.task, args.s, args.cache.s_offset, SLOTS * GATE_BYTES);
#endif
    int column = threadIdx.x % LANES, m = first + column;
    for (int j = at.warp; j < CHUNK; j += WARPS) {
        float g = 0.0f, s = 0.0f;
        if (m < SLOTS && absorbs(at, j)) {
            g = log_gate(load_gate(token_at(gates, at.chunk + j - SLOT_LAG) + m * GATE_BYTES));
#if GATE_S_GIVEN
            s = load_gate(token_at(gives, at.chunk + j - SLOT_LAG) + m * GATE_BYTES);
#else
            s = -expm1f(g);
#endif
        }
        ((float *)(shared + GATE_AT))[j * COLUMNS + column] = g;
        ((float *)(shared + FACTOR_AT))[j * COLUMNS + column] = expf(g);
        ((float *)(shared + GIVE_AT))[j * COLUMNS + column] = s;
    }
}

// ---- Weights: weight_tj for j <= t, 0 above; remain_t. A lane is a slot ----

__device__ __forceinline__ void build_weights(const place &at) {
    int column = threadIdx.x % LANES;
    const float *factor = (const float *)(shared + FACTOR_AT) + column;
    for (int j = at.warp; j < CHUNK; j += WARPS) {
        float weight = 0.0f;
#pragma unroll
        for (int t = 0; t < CHUNK; t++) {
            weight = t == j ? ((const float *)(shared + GIVE_AT))[j * COLUMNS + column] : weight * factor[t * COLUMNS];
            ((float *)(shared + WEIGHT_AT))[t * WEIGHT_TOKEN + j * WEIGHT_STRIDE + column] = weight;
        }
    }
    if (at.warp == WARPS - 1) {
        float remain = 1.0f;
#pragma unroll
        for (int t = 0; t < CHUNK; t++) {
            remain *= factor[t * COLUMNS];
            ((float *)(shared + REMAIN_AT))[t * COLUMNS + column] = remain;
        }
    }
}

// ---- Within: within[r][j] = q_r . x_j ----

__device__ __forceinline__ void store_within(const scores &s, const place &at) {
    float *within = (float *)(shared + WITHIN_AT) + at.warp * ROWS_PER_WARP * WITHIN_STRIDE;
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; c++)
            if (lane_column(c) < CHUNK)
                within[lane_row(i) * WITHIN_STRIDE + lane_column(c)] = s.x[i][c];
    __syncwarp();
}

#endif

#if WINDOW > 0
// ---- Load: queries, keys and values of the window ----

// rot(q) [TILE_ROWS, K]
__device__ __forceinline__ void load_window_queries(const nha_args &args, const place &at) {
#if ROPE == ROPE_GIVEN
    const nha_tensor &tensor = args.rq;
#else
    const nha_tensor &tensor = args.q;
#endif
    for (int row = threadIdx.x / PAIR_LANES; row < TILE_ROWS; row += THREADS / PAIR_LANES) {
        bool exists = query_exists(at, row);
        u64 q = exists ? query_address(at, tensor, row) : 0;
        i64 position = at.task.position + at.chunk + (at.first_row + row) / GROUP;
        for (int pair = threadIdx.x % PAIR_LANES * 4; pair < PAIRS; pair += 4 * PAIR_LANES) {
            eight x = exists ? load_window8(q, position, pair) : eight{zero4(), zero4()};
            store_operand4<WINDOW_TERMS>(query_place(row, low_column(pair)), QUERY_TERM_BYTES, x.low);
            store_operand4<WINDOW_TERMS>(query_place(row, high_column(pair)), QUERY_TERM_BYTES, x.high);
        }
    }
}

// rot(k) [COLUMNS, K] of tokens first .. newest
__device__ __forceinline__ void load_window_keys(const nha_args &args, const place &at, i64 first, i64 newest) {
#if ROPE == ROPE_GIVEN
    nha_stream keys = stream_of(args, at.task, args.rk, args.cache.rk_offset, HEAD_DIM_QK * ELEMENT_BYTES);
#else
    nha_stream keys = stream_of(args, at.task, args.k, args.cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES);
#endif
    for (int row = threadIdx.x / PAIR_LANES; row < COLUMNS; row += THREADS / PAIR_LANES) {
        bool exists = first + row <= newest;
        u64 key = exists ? token_at(keys, first + row) : 0;
        for (int pair = threadIdx.x % PAIR_LANES * 4; pair < PAIRS; pair += 4 * PAIR_LANES) {
            eight x = exists ? load_window8(key, at.task.position + first + row, pair) : eight{zero4(), zero4()};
            store_operand4<WINDOW_TERMS>(key_place(row, low_column(pair)), OPERAND_TERM_BYTES, x.low);
            store_operand4<WINDOW_TERMS>(key_place(row, high_column(pair)), OPERAND_TERM_BYTES, x.high);
        }
    }
    pad_keys();
}

// v [COLUMNS, V] of tokens first .. newest. As they are, they are copied asynchronously: wait_window_values.
__device__ __forceinline__ void load_window_values(const nha_args &args, const place &at, i64 first, i64 newest) {
    nha_stream values = stream_of(args, at.task, args.v, args.cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES);
    for (int row = threadIdx.x / VALUE_LANES; row < COLUMNS; row += THREADS / VALUE_LANES) {
        bool exists = first + row <= newest;
        u64 value = exists ? token_at(values, first + row) : values.tensor;
#if VALUE_MAP == MAP_IDENTITY
        constexpr int WIDTH = 16 / ELEMENT_BYTES; // elements of a copy
        for (int column = threadIdx.x % VALUE_LANES * WIDTH; column < HEAD_DIM_V; column += WIDTH * VALUE_LANES)
            copy_async16(shared_address(value_place(row, column)), value + column * ELEMENT_BYTES, exists);
#else
        for (int column = threadIdx.x % VALUE_LANES * 4; column < HEAD_DIM_V; column += 4 * VALUE_LANES)
            store_operand4<VALUE_TERMS>(value_place(row, column), OPERAND_TERM_BYTES,
                                        exists ? value_map4(load4(value + column * ELEMENT_BYTES)) : zero4());
#endif
    }
}

__device__ __forceinline__ void wait_window_values() {
#if VALUE_MAP == MAP_IDENTITY
    wait_copies();
#endif
}
#endif

// ---- Softmax: p = 2^(s - maximum) in place of s; what was summed before shrinks by 2^(old maximum - maximum) ----

static_assert(CHUNK <= COLUMNS, "each row of a tile has a column in the first block that it meets: maxima are finite");

__device__ __forceinline__ void softmax_block(softmax_state &state, scores &s) {
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) {
        float top = state.maximum[i];
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; c++)
            top = fmaxf(top, s.x[i][c]);
        top = max_over(top, ROW_LANES);
        float shrink = power_of_two(state.maximum[i] - top); // 0 for the first block
        state.maximum[i] = top;
        state.sum[i] *= shrink;
#pragma unroll
        for (int c = 0; c < LANE_VALUES; c++)
            state.o.x[i][c] *= shrink;
#if SLOTS > 0
        rescale(state.c, i, shrink);
#endif
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; c++) {
            s.x[i][c] = power_of_two(s.x[i][c] - top);
            state.sum[i] += s.x[i][c];
        }
    }
}

#if SLOTS > 0
// ---- Slots: score, softmax and read, COLUMNS after COLUMNS ----

__device__ __forceinline__ void attend_slots(const nha_args &args, const place &at, softmax_state &state) {
    load_slot_queries(args, at);
    load_absorbed_keys(args, at);
    __syncthreads();
    store_within(score_block<SLOT_TERMS, SLOT_TERMS>(at.warp_row), at);
    __syncthreads();
    for (int first = 0; first < SLOTS; first += COLUMNS) {
        load_slot_keys(at, first);
        load_gates(args, at, first);
        __syncthreads();
        build_weights(at);
#if BUFFERS == 2
        load_slot_values(at, first);
#endif
        __syncthreads();
        scores s = score_block<SLOT_TERMS, TERMS>(at.warp_row);
        decay_scores(s, at.token, at.last, at.warp);
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; c++)
                s.x[i][c] = first + lane_column(c) < SLOTS ? s.x[i][c] * SCORE_FACTOR : -infinity();
        softmax_block(state, s);
        add_coefficients(state.c, s, at.token, at.last, at.warp);
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; c++)
                s.x[i][c] *= ((const float *)(shared + REMAIN_AT))[at.token[i] * COLUMNS + lane_column(c)];
#if BUFFERS == 1
        __syncthreads();
        load_slot_values(at, first);
        __syncthreads();
#endif
        read_block<TERMS>(state.o, s, at.warp, at.warp_column);
        __syncthreads();
    }
}

// o += coefficient [rows, CHUNK] x [CHUNK, V]: what the slots took up within the chunk.
__device__ __forceinline__ void read_absorbed(const nha_args &args, const place &at, softmax_state &state) {
    const float *within = (const float *)(shared + WITHIN_AT) + at.warp * ROWS_PER_WARP * WITHIN_STRIDE;
    share_coefficients(state.c, at.warp);
    load_absorbed_values(args, at);
    __syncthreads();
    scores c = {};
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int column = 0; column < LANE_COLUMNS; column++)
            if (lane_column(column) < CHUNK)
                c.x[i][column] = within[lane_row(i) * WITHIN_STRIDE + lane_column(column)];
    read_block<VALUE_TERMS>(state.o, c, at.warp, at.warp_column);
    __syncthreads();
}

// ---- Absorb: h[m,:] = remain[m] h[m,:] + sum over j of weight_j[m] x_j, all in f32, when the chunk has been read ----

// weight_j of the chunk's last token, and the decay over the chunk. A lane is a slot.
__device__ __forceinline__ void build_last_weights(const place &at) {
    int column = threadIdx.x % LANES;
    if (at.warp != 0)
        return;
    float after = 1.0f, sum = 0.0f; // after: product of e_l, l > j
#pragma unroll 4
    for (int j = CHUNK - 1; j >= 0; j--) {
        int i = j * COLUMNS + column;
        ((float *)(shared + LAST_AT))[column * LAST_STRIDE + j] = ((const float *)(shared + GIVE_AT))[i] * after;
        after *= ((const float *)(shared + FACTOR_AT))[i];
        sum += ((const float *)(shared + GATE_AT))[i];
    }
    ((decay *)(shared + DECAY_AT))[column] = decay_of(sum);
}

// hk and hv of the slots from `first`, in place; a thread takes two columns of one of them.
__device__ __forceinline__ void update_memory(const nha_args &args, const place &at, int first) {
    nha_stream keys = stream_of(args, at.task, args.k, args.cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES);
    nha_stream values = stream_of(args, at.task, args.v, args.cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES);
    for (int pair = threadIdx.x; pair < (HEAD_DIM_QK + HEAD_DIM_V) / 2; pair += THREADS) {
        bool key = pair < HEAD_DIM_QK / 2;
        int column = 2 * (key ? pair : pair - HEAD_DIM_QK / 2), dim = key ? HEAD_DIM_QK : HEAD_DIM_V;
        float2 x[CHUNK];
#pragma unroll
        for (int j = 0; j < CHUNK; j++) {
            x[j] = make_float2(0.0f, 0.0f);
            if (absorbs(at, j)) {
                i64 token = at.chunk + j - SLOT_LAG;
                float2 raw = load2((key ? token_at(keys, token) : token_at(values, token)) + column * ELEMENT_BYTES);
                x[j] = key ? make_float2(slot_map(raw.x), slot_map(raw.y))
                           : make_float2(value_map(raw.x), value_map(raw.y));
            }
        }
        float *h = (float *)global(key ? at.memory.hk : at.memory.hv) + first * dim + column;
#pragma unroll 2
        for (int row = 0; row < COLUMNS; row++)
            if (first + row < SLOTS) {
                const float *weight = (const float *)(shared + LAST_AT) + row * LAST_STRIDE;
                decay d = ((const decay *)(shared + DECAY_AT))[row];
                float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
                for (int j = 0; j < CHUNK; j++) {
                    sum.x = fmaf(weight[j], x[j].x, sum.x);
                    sum.y = fmaf(weight[j], x[j].y, sum.y);
                }
                float2 old = *(const float2 *)(h + row * dim);
                *(float2 *)(h + row * dim) = make_float2(decayed(d, old.x, sum.x), decayed(d, old.y, sum.y));
            }
    }
}

__device__ __forceinline__ void absorb_chunk(const nha_args &args, const place &at) {
    for (int first = 0; first < SLOTS; first += COLUMNS) {
        load_gates(args, at, first);
        __syncthreads();
        build_last_weights(at);
        __syncthreads();
        update_memory(args, at, first);
    }
}
#endif

#if WINDOW > 0
// ---- Window: the same over tokens t - WINDOW < j <= t, COLUMNS tokens after COLUMNS ----

__device__ __forceinline__ void attend_window(const nha_args &args, const place &at, softmax_state &state) {
    i64 first_token = at.chunk + at.first_row / GROUP;
    int last_row = at.first_row + TILE_ROWS < CHUNK_ROWS ? at.first_row + TILE_ROWS - 1 : CHUNK_ROWS - 1;
    i64 newest = at.chunk + last_row / GROUP < at.task.length ? at.chunk + last_row / GROUP : at.task.length - 1;
    i64 oldest = first_token - (WINDOW - 1) > -at.task.available ? first_token - (WINDOW - 1) : -at.task.available;
#if SLOTS == 0 || ROPE != ROPE_NONE || SLOT_MAP != MAP_IDENTITY
    load_window_queries(args, at);
#endif
    for (i64 first = oldest; first <= newest; first += COLUMNS) {
#if BUFFERS == 2
        load_window_values(args, at, first, newest);
#endif
        load_window_keys(args, at, first, newest);
        __syncthreads();
        scores s = score_block<WINDOW_TERMS, WINDOW_TERMS>(at.warp_row);
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; c++) {
                i64 t = at.chunk + at.token[i], j = first + lane_column(c);
                s.x[i][c] = j <= t && j > t - WINDOW ? s.x[i][c] * SCORE_FACTOR : -infinity();
            }
        softmax_block(state, s);
#if BUFFERS == 1
        __syncthreads();
        load_window_values(args, at, first, newest);
#endif
        wait_window_values();
        __syncthreads();
        read_block<VALUE_TERMS>(state.o, s, at.warp, at.warp_column);
        __syncthreads();
    }
}
#endif

// ---- Store: o = (sum of p values) / sum of p, lse = ln 2 (maximum + log2(sum of p)) ----

__device__ __forceinline__ void store_tile(const nha_args &args, const place &at, softmax_state &state) {
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) {
        int row = at.warp_row * ROWS_PER_WARP + lane_row(i);
        float sum = sum_over(state.sum[i], ROW_LANES);
        if (!query_exists(at, row))
            continue;
        store_row(state.o, i, 1.0f / sum, query_address(at, args.o, row), at.warp_column);
        if (args.lse.data && at.warp_column == 0 && threadIdx.x % ROW_LANES == 0)
            *(float *)global(query_address(at, args.lse, row)) = LN_2 * (state.maximum[i] + log2f(sum));
    }
}

#if SLOTS > 0
// ---- Begin, end: the memory, in the pool's row, else where hk and hv are asked for, else in the workspace ----

__device__ __forceinline__ void copy_floats(u64 to, u64 from, int count) {
    for (int i = threadIdx.x * 4; i < count; i += THREADS * 4)
        *(float4 *)global(to + i * 4) = from ? *(const float4 *)global(from + i * 4) : zero4();
}

__device__ __forceinline__ memory_place begin_memory(const nha_args &args, const nha_task &task) {
    i64 keys = (i64)blockIdx.x * (SLOTS * HEAD_DIM_QK * 4), values = (i64)blockIdx.x * (SLOTS * HEAD_DIM_V * 4);
    memory_place memory;
    if (task.row) {
        memory.hk = task.row + args.cache.memory_offset + task.head * (MEMORY_FLOATS * 4);
        memory.hv = memory.hk + SLOTS * HEAD_DIM_QK * 4;
        return memory;
    }
    memory.hk = args.hk ? args.hk + keys : args.workspace + blockIdx.x * args.workspace_block_bytes;
    memory.hv = args.hk ? args.hv + values : memory.hk + SLOTS * HEAD_DIM_QK * 4;
    copy_floats(memory.hk, args.hk0 ? args.hk0 + keys : 0, SLOTS * HEAD_DIM_QK);
    copy_floats(memory.hv, args.hk0 ? args.hv0 + values : 0, SLOTS * HEAD_DIM_V);
    return memory;
}

__device__ __forceinline__ void end_memory(const nha_args &args, const place &at) {
    if (at.task.row && args.hk) {
        __syncthreads(); // the last chunk has been absorbed
        copy_floats(args.hk + (i64)blockIdx.x * (SLOTS * HEAD_DIM_QK * 4), at.memory.hk, SLOTS * HEAD_DIM_QK);
        copy_floats(args.hv + (i64)blockIdx.x * (SLOTS * HEAD_DIM_V * 4), at.memory.hv, SLOTS * HEAD_DIM_V);
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS) KERNEL_MAIN(const __grid_constant__ nha_args args) {
    nha_task task = task_of_block(args);
    if (task.length < 0)
        return;
    memory_place memory = {0, 0};
#if SLOTS > 0
    memory = begin_memory(args, task);
#endif
    if (threadIdx.x == 0) {
        *(nha_task *)(shared + TASK_AT) = task;
        *(memory_place *)(shared + MEMORY_AT) = memory;
    }
    pad_queries();
    __syncthreads();

    place at = {*(const nha_task *)(shared + TASK_AT), *(const memory_place *)(shared + MEMORY_AT)};
    at.warp = threadIdx.x / LANES;
    at.warp_row = at.warp / WARP_COLUMNS;
    at.warp_column = at.warp % WARP_COLUMNS;
    for (at.chunk = 0; at.chunk < at.task.length; at.chunk += CHUNK) {
        // A tile without a row that exists would meet no key of the window, and thus no barrier after its queries.
        for (at.first_row = 0; at.first_row < CHUNK_ROWS && at.chunk + at.first_row / GROUP < at.task.length;
             at.first_row += TILE_ROWS) {
            softmax_state state = {};
#pragma unroll
            for (int i = 0; i < LANE_ROWS; i++) {
                int token = (at.first_row + at.warp_row * ROWS_PER_WARP + lane_row(i)) / GROUP;
                at.token[i] = token < CHUNK ? token : CHUNK - 1;
                state.maximum[i] = -infinity();
            }
            at.last = (at.first_row + (at.warp_row + 1) * ROWS_PER_WARP - 1) / GROUP;
#if SLOTS > 0
            attend_slots(args, at, state);
            read_absorbed(args, at, state);
#endif
#if WINDOW > 0
            attend_window(args, at, state);
#endif
            store_tile(args, at, state);
        }
#if SLOTS > 0
        absorb_chunk(args, at);
#endif
    }
#if SLOTS > 0
    end_memory(args, at);
#endif
}

// ---- Commit: the last tokens, raw, into the rings, and the position; a warp takes a token at a time ----

extern "C" __global__ void __launch_bounds__(COMMIT_THREADS) KERNEL_COMMIT(const __grid_constant__ nha_args args) {
    nha_task task = task_of_block(args);
    if (task.length <= 0)
        return;
    const nha_cache &cache = args.cache;
    nha_stream k = stream_of(args, task, args.k, cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES);
    nha_stream v = stream_of(args, task, args.v, cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES);
#if ROPE == ROPE_GIVEN
    nha_stream rk = stream_of(args, task, args.rk, cache.rk_offset, HEAD_DIM_QK * ELEMENT_BYTES);
#endif
#if SLOTS > 0
    nha_stream gate = stream_of(args, task, args.gate, cache.gate_offset, SLOTS * GATE_BYTES);
#if GATE_S_GIVEN
    nha_stream s = stream_of(args, task, args.s, cache.s_offset, SLOTS * GATE_BYTES);
#endif
#endif
    int lane = threadIdx.x % LANES;
    i64 kept = task.length < cache.ring_tokens ? task.length : cache.ring_tokens;
    for (i64 i = task.length - kept + threadIdx.x / LANES; i < task.length; i += COMMIT_THREADS / LANES) {
        i64 entry = (task.position + i) % cache.ring_tokens;
        store_in_ring<uint4>(k, i, entry, lane, LANES);
        store_in_ring<uint4>(v, i, entry, lane, LANES);
#if ROPE == ROPE_GIVEN
        store_in_ring<uint4>(rk, i, entry, lane, LANES);
#endif
#if SLOTS > 0
        store_in_ring<gate_bits>(gate, i, entry, lane, LANES);
#if GATE_S_GIVEN
        store_in_ring<gate_bits>(s, i, entry, lane, LANES);
#endif
#endif
    }
    __syncthreads(); // every thread has read the position
    if (threadIdx.x == 0)
        ((i64 *)global(task.row))[task.head] = task.position + task.length;
}
