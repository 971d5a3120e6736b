/* nha_cuda.h: how libnha calls the CUDA kernels of a generated library. Shared by gen, the templates (which spell the same struct in their
 * own words), the tuner and libnha. Not for users. Part of NHA_ABI_VERSION.
 */
#ifndef NHA_CUDA_H
#define NHA_CUDA_H

#include <stdint.h>

/* A tensor as kernels see it: device address, strides in BYTES. 0: absent. */
typedef struct nha_cuda_tensor {
    uint64_t data;
    int64_t batch, token, head;
} nha_cuda_tensor;

/* A pool row on a GPU: int64 pos[H] at byte 0 (one per kv head, all equal, so that blocks of different heads never share one); memory of
 * head h at memory_offset + h * M * (K + V) * 4: hk [M,K] then hv [M,V], fp32, no padding; then the rings, token j at entry
 * j % ring_tokens, [H][ring_tokens][dim], raw k, v, gate, and s, rk where given. Offsets from the start of the row, multiples of 64. */
typedef struct nha_cuda_cache {
    uint64_t pool;  /* 0: no cache */
    uint64_t index; /* int32 [N], or 0: row n */
    int64_t row_bytes;
    int64_t ring_tokens; /* >= 1 */
    int64_t memory_offset, k_offset, v_offset, gate_offset, s_offset, rk_offset;
} nha_cuda_cache;

/* The one parameter of every kernel, by value. All members are 8 bytes. */
typedef struct nha_cuda_args {
    int64_t sequences;   /* N */
    int64_t tokens;      /* T of each sequence, or the sum with cu_seqlens; decode: 1 */
    uint64_t cu_seqlens; /* int32 [N+1] or 0 */
    nha_cuda_tensor q, k, v, gate, s, rq, rk, o, lse;
    uint64_t hk0, hv0, hk, hv; /* fp32, contiguous [N,H,M,K], [N,H,M,V]; 0: absent */
    nha_cuda_cache cache;
    uint64_t workspace;        /* workspace_block_bytes for each block of the launch with the largest grid */
    int64_t workspace_block_bytes;
} nha_cuda_args;

enum { NHA_CUDA_LAUNCHES_MAX = 4 };

typedef enum nha_cuda_grid {
    NHA_GRID_HEADS = 0 /* one block for each (sequence, kv head): blockIdx.x = n * H + h */
} nha_cuda_grid;

/* Kernels of one execution, launched in this order on the caller's stream. Prefill: main, then (with a cache) commit, which writes
 * the rings and adds the sequence's length to pos. Decode: main alone, which does both itself. */
typedef struct nha_cuda_launch {
    const char *entry;     /* extern "C" name in the image */
    int32_t grid;          /* nha_cuda_grid */
    int32_t threads;       /* blockDim.x */
    int32_t shared_bytes;  /* dynamic shared memory */
    int32_t needs_cache;   /* 1: only launched where there is a cache */
} nha_cuda_launch;

typedef struct nha_cuda_code {
    int32_t launch_count, reserved;
    nha_cuda_launch launch[NHA_CUDA_LAUNCHES_MAX];
    /* Bytes of workspace for each block: workspace_bytes + workspace_window_bytes * min(W, longest reach of the plan) */
    int64_t workspace_bytes, workspace_window_bytes;
} nha_cuda_code;

#endif
