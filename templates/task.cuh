#pragma once
// task.cuh: the parameter of every kernel (runtime/nha_cuda.h, in the words of this language), and what a block finds
// of its task in it: one sequence n and one kv head h, blockIdx.x = n * KV_HEADS + h.
#include "basics.cuh"

// A tensor: address and strides in bytes. Address 0: absent.
struct nha_tensor {
    u64 data;
    i64 batch, token, head;
};

// A row of the pool: i64 position[H]; memory of each head, hk [M,K] then hv [M,V], f32; rings, token j at entry
// j % ring_tokens, [H][ring_tokens][dim], raw. Offsets in bytes from the start of the row, multiples of 64.
struct nha_cache {
    u64 pool, index; // 0: no cache; i32 [N], or 0: row n
    i64 row_bytes, ring_tokens;
    i64 memory_offset, k_offset, v_offset, gate_offset, s_offset, rk_offset;
};

struct nha_args {
    i64 sequences, tokens;
    u64 cu_seqlens; // i32 [N+1], or 0
    nha_tensor q, k, v, gate, s, rq, rk, o, lse;
    u64 hk0, hv0, hk, hv; // f32 [N,H,M,K], [N,H,M,V], or 0
    nha_cache cache;
    u64 workspace;
    i64 workspace_block_bytes;
};

struct nha_task {
    i64 sequence, head; // n, h
    i64 batch, first;   // which batch and token of the tensors is token 0 of the sequence
    i64 length;         // tokens of this call; -1: the sequence is to be skipped
    i64 position;       // tokens seen before this call
    i64 available;      // of those, what the rings hold: token i of the sequence exists for -available <= i < length
    i64 entry;          // position % ring_tokens
    u64 row;            // address of the cache's row, 0: no cache
};

__device__ __forceinline__ nha_task task_of_block(const nha_args &args) {
    nha_task task;
    task.sequence = (i64)blockIdx.x / KV_HEADS;
    task.head = (i64)blockIdx.x % KV_HEADS;
    task.batch = task.sequence;
    task.first = 0;
    task.length = args.tokens;
    if (args.cu_seqlens) {
        const i32 *bounds = (const i32 *)global(args.cu_seqlens) + task.sequence;
        task.batch = 0;
        task.first = bounds[0];
        task.length = bounds[1] - bounds[0];
    }
    task.position = 0;
    task.available = 0;
    task.entry = 0;
    task.row = 0;
    i64 row = -1; // of the pool
    if (args.cache.pool) {
        row = args.cache.index ? ((const i32 *)global(args.cache.index))[task.sequence] : task.sequence;
        task.length = row < 0 ? -1 : task.length;
    }
    if (row >= 0) {
        task.row = args.cache.pool + row * args.cache.row_bytes;
        task.position = ((const i64 *)global(task.row))[task.head];
        task.available = task.position < args.cache.ring_tokens ? task.position : args.cache.ring_tokens;
        task.entry = task.position % args.cache.ring_tokens;
    }
    return task;
}

// The tokens of one tensor, one after the other over the end of the ring into the tensor of the call.
struct nha_stream {
    u64 tensor, ring;  // addresses of token 0 and of the ring's entry 0, both of this head
    i64 stride;        // bytes from token to token in the tensor
    i64 entry, tokens; // of the ring: that of token 0, and how many
    int bytes;         // of a token
};

__device__ __forceinline__ nha_stream stream_of(const nha_args &args, const nha_task &task, const nha_tensor &tensor,
                                                i64 ring_offset, int bytes) {
    nha_stream stream;
    stream.tensor = tensor.data + task.batch * tensor.batch + task.first * tensor.token + task.head * tensor.head;
    stream.ring = task.row + ring_offset + task.head * args.cache.ring_tokens * bytes;
    stream.stride = tensor.token;
    stream.entry = task.entry;
    stream.tokens = args.cache.ring_tokens;
    stream.bytes = bytes;
    return stream;
}

// Address of token i, -available <= i < length.
__device__ __forceinline__ u64 token_at(const nha_stream &stream, i64 i) {
    if (i >= 0)
        return stream.tensor + i * stream.stride;
    i64 entry = stream.entry + i;
    return stream.ring + (entry < 0 ? entry + stream.tokens : entry) * stream.bytes;
}

// Address of row (token i, head `head` of the group) of q, rq, o or lse.
__device__ __forceinline__ u64 query_at(const nha_task &task, const nha_tensor &tensor, i64 i, int head) {
    return tensor.data + task.batch * tensor.batch + (task.first + i) * tensor.token +
           (task.head * GROUP + head) * tensor.head;
}

// The raw bytes of token i into entry `entry` of its ring, by `threads` threads of which this is number `thread`; in
// units of UNIT, to which addresses and size are aligned.
template <typename UNIT>
__device__ __forceinline__ void store_in_ring(const nha_stream &stream, i64 i, i64 entry, int thread, int threads) {
    const UNIT *from = (const UNIT *)global(stream.tensor + i * stream.stride);
    UNIT *to = (UNIT *)global(stream.ring + entry * stream.bytes);
    for (int unit = thread; unit < stream.bytes / (int)sizeof(UNIT); unit += threads)
        to[unit] = from[unit];
}
