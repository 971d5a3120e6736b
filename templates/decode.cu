// decode.cu: one step of decoding, in one launch. A block serves one sequence and kv head: all heads of the group share
// one read of the memory, which is updated in place in the pool; the token goes into the rings.
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
#ifndef HEADS_MOST
#define HEADS_MOST 8 // heads of the group at a time; with more, the memory is read again; values 8, 4, 2, 16
#endif
#ifndef TILE_COLUMNS
#define TILE_COLUMNS 64 // slots or tokens between two steps of the softmax; values 32, 64, 128
#endif
#ifndef KEY_LANES
#define KEY_LANES 8 // lanes that share a row of K; values 4, 8, 16, 32
#endif
#ifndef BLOCKS
#define BLOCKS 1 // blocks that a multiprocessor must have registers for; values 1, 4, 8
#endif

#include "basics.cuh"
#include "numerics.cuh"
#include "rope.cuh"
#include "task.cuh"

constexpr int THREADS = WARPS * 32;
constexpr int PASSES = (GROUP + HEADS_MOST - 1) / HEADS_MOST;
constexpr int HEADS = (GROUP + PASSES - 1) / PASSES;                         // at a time
constexpr int VALUE_LANES = HEAD_DIM_V > 64 ? 32 : HEAD_DIM_V > 32 ? 16 : 8; // lanes that share a row of V
constexpr int KEY_ROWS = THREADS / KEY_LANES;                                // rows that the block takes at a time
constexpr int VALUE_ROWS = THREADS / VALUE_LANES;
constexpr int VALUE_PARTS = (HEAD_DIM_V + 4 * VALUE_LANES - 1) / (4 * VALUE_LANES); // groups of 4 columns a lane
// 1: the window has queries of its own
constexpr int WINDOW_QUERIES = SLOTS > 0 && WINDOW > 0 && (ROPE != ROPE_NONE || SLOT_MAP != MAP_IDENTITY) ? 1 : 0;

// Shared memory, offsets in bytes.
constexpr int SLOT_QUERY_AT = 0;                                                          // f32 [HEADS][K], mapped
constexpr int WINDOW_QUERY_AT = SLOT_QUERY_AT + WINDOW_QUERIES * HEADS * HEAD_DIM_QK * 4; // f32 [HEADS][K], rotated
constexpr int WEIGHT_AT = WINDOW_QUERY_AT + HEADS * HEAD_DIM_QK * 4; // f32 [HEADS][TILE_COLUMNS] scores, then p
constexpr int KEY_AT = WEIGHT_AT + HEADS * TILE_COLUMNS * 4;         // f32 [K] of the token absorbed, mapped
constexpr int VALUE_AT = KEY_AT + HEAD_DIM_QK * 4;                   // f32 [V], mapped
constexpr int DECAY_AT = VALUE_AT + HEAD_DIM_V * 4;                  // decay [SLOTS]
constexpr int GIVE_AT = DECAY_AT + SLOTS * 8;                        // f32 [SLOTS] s
constexpr int STATE_AT = GIVE_AT + SLOTS * 4;                        // softmax_state [HEADS]
constexpr int TASK_AT = (STATE_AT + HEADS * 12 + 7) / 8 * 8;         // nha_task
constexpr int PARTIAL_AT = (TASK_AT + 72 + 15) / 16 * 16;            // f32 [VALUE_ROWS][HEADS][V]
constexpr int SHARED_BYTES = PARTIAL_AT + VALUE_ROWS * HEADS * HEAD_DIM_V * 4;

static_assert(BLOCKS * WARPS <= 32, "more warps than the multiprocessors of some GPUs hold");
static_assert(SHARED_BYTES <= 232448, "more shared memory than a block of any GPU has");
static_assert(HEADS_MOST == 8 || HEADS_MOST < GROUP, "the same kernel as with HEADS_MOST 8");
static_assert(TILE_COLUMNS % KEY_ROWS == 0, "a tile of columns is a whole number of passes over rows of K");
static_assert(TILE_COLUMNS % 32 == 0, "a warp takes the softmax of a tile in whole steps");
static_assert(KEY_LANES >= 1 && KEY_LANES <= 32, "the lanes of a row belong to one warp");
static_assert(4 * KEY_LANES <= HEAD_DIM_QK || KEY_LANES == 4, "lanes of a row without work");

// The softmax of one head so far, in powers of two.
struct softmax_state {
    float maximum, sum, factor; // factor: what the last tile did to all before it
};

static_assert(sizeof(nha_task) == 72, "what is laid out at TASK_AT");

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

// What the phases share; the numbers are the same in every thread, but for those of its rows and columns.
struct step {
    const nha_task &task;  // in shared memory: addresses kept from it would take registers that the sums need
    int first_head;        // of the group, of the HEADS that are taken now
    int key_row, key_part; // which row of K of those taken at a time, and which lane of it
    int value_row, value_part;
};

// ---- Load: the queries [HEADS][K], the token that is absorbed, and how each slot decays ----

__device__ __forceinline__ bool head_exists(const step &at, int head) {
    return GROUP % HEADS == 0 || at.first_head + head < GROUP;
}

__device__ __forceinline__ void load_queries(const nha_args &args, const step &at) {
#if SLOTS > 0
    for (int i = threadIdx.x; i < HEADS * HEAD_DIM_QK / 4; i += THREADS) {
        int head = i / (HEAD_DIM_QK / 4), column = i % (HEAD_DIM_QK / 4) * 4;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (head_exists(at, head))
            x = slot_map4(load4(query_at(at.task, args.q, 0, at.first_head + head) + column * ELEMENT_BYTES));
        *shared_float4(SLOT_QUERY_AT, head, HEAD_DIM_QK, column) = x;
    }
#endif
#if WINDOW > 0 && (SLOTS == 0 || ROPE != ROPE_NONE || SLOT_MAP != MAP_IDENTITY)
#if ROPE == ROPE_GIVEN
    const nha_tensor &tensor = args.rq;
#else
    const nha_tensor &tensor = args.q;
#endif
    for (int i = threadIdx.x; i < HEADS * PAIRS / 4; i += THREADS) {
        int head = i / (PAIRS / 4), pair = i % (PAIRS / 4) * 4;
        eight x = {make_float4(0.0f, 0.0f, 0.0f, 0.0f), make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
        if (head_exists(at, head))
            x = load_window8(query_at(at.task, tensor, 0, at.first_head + head), at.task.position, pair);
        *shared_float4(WINDOW_QUERY_AT, head, HEAD_DIM_QK, low_column(pair)) = x.low;
        *shared_float4(WINDOW_QUERY_AT, head, HEAD_DIM_QK, high_column(pair)) = x.high;
    }
#endif
}

#if SLOTS > 0
// The token SLOT_LAG before this one, mapped. Nothing decays where there is none, nor when the memory has it already.
__device__ __forceinline__ void load_absorbed(const nha_args &args, const step &at) {
    const nha_cache &cache = args.cache;
    bool absorbs = SLOT_LAG <= at.task.available && at.first_head == 0;
    float4 *key = shared_float4(KEY_AT, 0, 0, 0), *value = shared_float4(VALUE_AT, 0, 0, 0);
    u64 k = token_at(stream_of(args, at.task, args.k, cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES),
                     absorbs ? -SLOT_LAG : 0);
    u64 v =
        token_at(stream_of(args, at.task, args.v, cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES), absorbs ? -SLOT_LAG : 0);
    for (int i = threadIdx.x; i < HEAD_DIM_QK / 4; i += THREADS)
        key[i] = slot_map4(load4(k + i * 4 * ELEMENT_BYTES));
    for (int i = threadIdx.x; i < HEAD_DIM_V / 4; i += THREADS)
        value[i] = value_map4(load4(v + i * 4 * ELEMENT_BYTES));

    decay *decays = (decay *)(shared + DECAY_AT);
    float *gives = shared_floats(GIVE_AT);
    u64 gate =
        token_at(stream_of(args, at.task, args.gate, cache.gate_offset, SLOTS * GATE_BYTES), absorbs ? -SLOT_LAG : 0);
#if GATE_S_GIVEN
    u64 given = token_at(stream_of(args, at.task, args.s, cache.s_offset, SLOTS * GATE_BYTES), absorbs ? -SLOT_LAG : 0);
#endif
    for (int m = threadIdx.x; m < SLOTS; m += THREADS) {
        float g = absorbs ? log_gate(load_gate(gate + m * GATE_BYTES)) : 0.0f;
        decays[m] = decay_of(g);
#if GATE_S_GIVEN
        gives[m] = absorbs ? load_gate(given + m * GATE_BYTES) : 0.0f;
#else
        gives[m] = -expm1f(g);
#endif
    }
}

// Of hk [M,K]; hv [M,V] follows.
__device__ __forceinline__ u64 memory_address(const nha_args &args, const step &at) {
    return at.task.row + args.cache.memory_offset + at.task.head * (MEMORY_FLOATS * 4);
}

// ---- Score: a[g][m] = q_g . hk[m], hk absorbing its token on the way ----

__device__ __forceinline__ void score_slots(const nha_args &args, const step &at, int first_slot) {
    u64 memory = memory_address(args, at);
    for (int row = at.key_row; row < TILE_COLUMNS; row += KEY_ROWS) {
        int m = first_slot + row;
        float score[HEADS] = {};
        if (m < SLOTS) {
            decay d = ((const decay *)(shared + DECAY_AT))[m];
            float s = shared_floats(GIVE_AT)[m];
            float4 *hk = (float4 *)global(memory + m * HEAD_DIM_QK * 4);
#pragma unroll
            for (int part = at.key_part; part < HEAD_DIM_QK / 4; part += KEY_LANES) {
                float4 h = absorb4(d, s, hk[part], *shared_float4(KEY_AT, 0, 0, 4 * part));
                hk[part] = h;
#pragma unroll
                for (int head = 0; head < HEADS; head++)
                    score[head] = dot4(*shared_float4(SLOT_QUERY_AT, head, HEAD_DIM_QK, 4 * part), h, score[head]);
            }
        }
#pragma unroll
        for (int head = 0; head < HEADS; head++) {
            float sum = sum_over(score[head], KEY_LANES);
            if (at.key_part == 0)
                shared_floats(WEIGHT_AT)[head * TILE_COLUMNS + row] = m < SLOTS ? sum * SCORE_FACTOR : -infinity();
        }
    }
}
#endif

#if WINDOW > 0
// ---- Score: b[g][j] = rot(q_g) . rot(k_j), j from `first` (<= 0: the newest token is 0) ----

__device__ __forceinline__ void score_window(const nha_args &args, const step &at, i64 first) {
#if ROPE == ROPE_GIVEN
    nha_stream keys = stream_of(args, at.task, args.rk, args.cache.rk_offset, HEAD_DIM_QK * ELEMENT_BYTES);
#else
    nha_stream keys = stream_of(args, at.task, args.k, args.cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES);
#endif
    for (int row = at.key_row; row < TILE_COLUMNS; row += KEY_ROWS) {
        i64 j = first + row;
        float score[HEADS] = {};
        if (j <= 0) {
            u64 key = token_at(keys, j);
#pragma unroll
            for (int pair = 4 * at.key_part; pair < PAIRS; pair += 4 * KEY_LANES) {
                eight x = load_window8(key, at.task.position + j, pair);
#pragma unroll
                for (int head = 0; head < HEADS; head++) {
                    float4 low = *shared_float4(WINDOW_QUERY_AT, head, HEAD_DIM_QK, low_column(pair));
                    float4 high = *shared_float4(WINDOW_QUERY_AT, head, HEAD_DIM_QK, high_column(pair));
                    score[head] = dot4(low, x.low, dot4(high, x.high, score[head]));
                }
            }
        }
#pragma unroll
        for (int head = 0; head < HEADS; head++) {
            float sum = sum_over(score[head], KEY_LANES);
            if (at.key_part == 0)
                shared_floats(WEIGHT_AT)[head * TILE_COLUMNS + row] = j <= 0 ? sum * SCORE_FACTOR : -infinity();
        }
    }
}
#endif

// ---- Softmax: p = 2^(score - maximum), and 2^(old maximum - maximum) for what was summed before ----

__device__ __forceinline__ void softmax_tile() {
    softmax_state *states = (softmax_state *)(shared + STATE_AT);
    for (int head = threadIdx.x / LANES; head < HEADS; head += WARPS) {
        float *weights = shared_floats(WEIGHT_AT) + head * TILE_COLUMNS;
        float top = states[head].maximum, sum = 0.0f;
        for (int column = threadIdx.x % LANES; column < TILE_COLUMNS; column += LANES)
            top = fmaxf(top, weights[column]);
        top = max_over(top, LANES); // finite: every tile has a column that exists
        for (int column = threadIdx.x % LANES; column < TILE_COLUMNS; column += LANES) {
            float p = power_of_two(weights[column] - top);
            weights[column] = p;
            sum += p;
        }
        sum = sum_over(sum, LANES);
        __syncwarp(); // every lane has read the state
        if (threadIdx.x % LANES == 0) {
            float factor = power_of_two(states[head].maximum - top);
            states[head] = {top, fmaf(states[head].sum, factor, sum), factor};
        }
    }
}

// ---- Read: o[g] += p[g][column] value[column], a lane holding VALUE_PARTS times four columns of V for each head ----

struct output {
    float4 part[HEADS][VALUE_PARTS];
};

__device__ __forceinline__ void rescale(output &o) {
#pragma unroll
    for (int head = 0; head < HEADS; head++) {
        float factor = ((const softmax_state *)(shared + STATE_AT))[head].factor;
#pragma unroll
        for (int part = 0; part < VALUE_PARTS; part++) {
            float4 &x = o.part[head][part];
            x = make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
        }
    }
}

__device__ __forceinline__ void add_weighted(output &o, int part, int row, float4 value) {
#pragma unroll
    for (int head = 0; head < HEADS; head++) {
        float p = shared_floats(WEIGHT_AT)[head * TILE_COLUMNS + row];
        float4 &x = o.part[head][part];
        x = make_float4(fmaf(p, value.x, x.x), fmaf(p, value.y, x.y), fmaf(p, value.z, x.z), fmaf(p, value.w, x.w));
    }
}

#if SLOTS > 0
__device__ __forceinline__ void read_slots(const nha_args &args, const step &at, int first_slot, output &o) {
    u64 memory = memory_address(args, at) + SLOTS * HEAD_DIM_QK * 4;
    rescale(o);
    for (int row = at.value_row; row < TILE_COLUMNS && first_slot + row < SLOTS; row += VALUE_ROWS) {
        int m = first_slot + row;
        decay d = ((const decay *)(shared + DECAY_AT))[m];
        float s = shared_floats(GIVE_AT)[m];
        float4 *hv = (float4 *)global(memory + m * HEAD_DIM_V * 4);
#pragma unroll
        for (int part = 0; part < VALUE_PARTS; part++) {
            int column = 4 * (part * VALUE_LANES + at.value_part);
            if (column < HEAD_DIM_V) {
                float4 h = absorb4(d, s, hv[column / 4], *shared_float4(VALUE_AT, 0, 0, column));
                hv[column / 4] = h;
                add_weighted(o, part, row, h);
            }
        }
    }
}
#endif

#if WINDOW > 0
__device__ __forceinline__ void read_window(const nha_args &args, const step &at, i64 first, output &o) {
    nha_stream values = stream_of(args, at.task, args.v, args.cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES);
    rescale(o);
    for (int row = at.value_row; row < TILE_COLUMNS && first + row <= 0; row += VALUE_ROWS) {
        u64 value = token_at(values, first + row);
#pragma unroll
        for (int part = 0; part < VALUE_PARTS; part++) {
            int column = 4 * (part * VALUE_LANES + at.value_part);
            if (column < HEAD_DIM_V)
                add_weighted(o, part, row, value_map4(load4(value + column * ELEMENT_BYTES)));
        }
    }
}
#endif

// ---- Store: o = (sum over the rows' partial sums) / sum of p, lse = ln 2 (maximum + log2(sum of p)) ----

__device__ __forceinline__ void store_output(const nha_args &args, const step &at, const output &o) {
    for (int part = 0; part < VALUE_PARTS; part++) {
        int column = 4 * (part * VALUE_LANES + at.value_part);
        if (column < HEAD_DIM_V)
#pragma unroll
            for (int head = 0; head < HEADS; head++)
                *shared_float4(PARTIAL_AT, at.value_row * HEADS + head, HEAD_DIM_V, column) = o.part[head][part];
    }
    __syncthreads();
    const softmax_state *states = (const softmax_state *)(shared + STATE_AT);
    for (int i = threadIdx.x; i < HEADS * HEAD_DIM_V / 2; i += THREADS) {
        int head = i / (HEAD_DIM_V / 2), column = i % (HEAD_DIM_V / 2) * 2;
        float x = 0.0f, y = 0.0f;
        for (int row = 0; row < VALUE_ROWS; row++) {
            const float *partial = shared_floats(PARTIAL_AT) + (row * HEADS + head) * HEAD_DIM_V + column;
            x += partial[0];
            y += partial[1];
        }
        float inverse = 1.0f / states[head].sum;
        if (head_exists(at, head))
            store2(query_at(at.task, args.o, 0, at.first_head + head) + column * ELEMENT_BYTES, x * inverse,
                   y * inverse);
    }
    for (int head = threadIdx.x; head < HEADS; head += THREADS)
        if (args.lse.data && head_exists(at, head))
            *(float *)global(query_at(at.task, args.lse, 0, at.first_head + head)) =
                LN_2 * (states[head].maximum + log2f(states[head].sum));
}

// ---- Commit: the raw token into the rings, and the position ----

__device__ __forceinline__ void commit(const nha_args &args, const nha_task &task) {
    const nha_cache &cache = args.cache;
    store_in_ring<uint4>(stream_of(args, task, args.k, cache.k_offset, HEAD_DIM_QK * ELEMENT_BYTES), 0, task.entry,
                         threadIdx.x, THREADS);
    store_in_ring<uint4>(stream_of(args, task, args.v, cache.v_offset, HEAD_DIM_V * ELEMENT_BYTES), 0, task.entry,
                         threadIdx.x, THREADS);
#if ROPE == ROPE_GIVEN
    store_in_ring<uint4>(stream_of(args, task, args.rk, cache.rk_offset, HEAD_DIM_QK * ELEMENT_BYTES), 0, task.entry,
                         threadIdx.x, THREADS);
#endif
#if SLOTS > 0
    store_in_ring<gate_bits>(stream_of(args, task, args.gate, cache.gate_offset, SLOTS * GATE_BYTES), 0, task.entry,
                             threadIdx.x, THREADS);
#if GATE_S_GIVEN
    store_in_ring<gate_bits>(stream_of(args, task, args.s, cache.s_offset, SLOTS * GATE_BYTES), 0, task.entry,
                             threadIdx.x, THREADS);
#endif
#endif
    if (threadIdx.x == 0)
        ((i64 *)global(task.row))[task.head] = task.position + 1;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) KERNEL_MAIN(const __grid_constant__ nha_args args) {
    nha_task task = task_of_block(args);
    if (task.length < 0)
        return;
    if (threadIdx.x == 0)
        *(nha_task *)(shared + TASK_AT) = task;
    __syncthreads();

    step at = {*(const nha_task *)(shared + TASK_AT)};
    at.key_row = threadIdx.x / KEY_LANES;
    at.key_part = threadIdx.x % KEY_LANES;
    at.value_row = threadIdx.x / VALUE_LANES;
    at.value_part = threadIdx.x % VALUE_LANES;

    for (at.first_head = 0; at.first_head < GROUP; at.first_head += HEADS) {
        output o = {};
        for (int head = threadIdx.x; head < HEADS; head += THREADS)
            ((softmax_state *)(shared + STATE_AT))[head] = {-infinity(), 0.0f, 0.0f};
        load_queries(args, at);
#if SLOTS > 0
        load_absorbed(args, at);
#endif
        __syncthreads();
#if SLOTS > 0
        for (int first = 0; first < SLOTS; first += TILE_COLUMNS) {
            score_slots(args, at, first);
            __syncthreads();
            softmax_tile();
            __syncthreads();
            read_slots(args, at, first, o);
            __syncthreads();
        }
#endif
#if WINDOW > 0
        i64 reach = WINDOW - 1 < at.task.available ? WINDOW - 1 : at.task.available;
        for (i64 first = -reach; first <= 0; first += TILE_COLUMNS) {
            score_window(args, at, first);
            __syncthreads();
            softmax_tile();
            __syncthreads();
            read_window(args, at, first, o);
            __syncthreads();
        }
#endif
        store_output(args, at, o);
        __syncthreads();
    }
    // Past the last barrier every thread has read what the new token replaces in the rings.
    commit(args, at.task);
}
