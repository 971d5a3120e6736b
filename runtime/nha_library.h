/* nha_library.h: what a generated library consists of, and how its CPU kernels are called.
 * Shared by gen (which emits code against it), the tuner (which fills it) and libnha (which reads it). Not for users.
 * Every struct here is part of NHA_ABI_VERSION: gen addresses their members by offsetof.
 */
#ifndef NHA_LIBRARY_H
#define NHA_LIBRARY_H

#include "nha.h"

/* CPU features a kernel may need. X(bit name, bit, spelling in LLVM) */
#define NHA_CPU_FEATURE_LIST(X)                                                                                        \
    X(NHA_CPU_AVX, 0, "avx")                                                                                           \
    X(NHA_CPU_AVX2, 1, "avx2")                                                                                         \
    X(NHA_CPU_FMA, 2, "fma")                                                                                           \
    X(NHA_CPU_F16C, 3, "f16c")                                                                                         \
    X(NHA_CPU_AVX512F, 4, "avx512f")                                                                                   \
    X(NHA_CPU_AVX512BW, 5, "avx512bw")                                                                                 \
    X(NHA_CPU_AVX512DQ, 6, "avx512dq")                                                                                 \
    X(NHA_CPU_AVX512VL, 7, "avx512vl")                                                                                 \
    X(NHA_CPU_AVX512BF16, 8, "avx512bf16")                                                                             \
    X(NHA_CPU_AVX512FP16, 9, "avx512fp16")                                                                             \
    X(NHA_CPU_AMX_TILE, 10, "amx-tile")                                                                                \
    X(NHA_CPU_AMX_BF16, 11, "amx-bf16")                                                                                \
    X(NHA_CPU_NEON, 12, "neon")                                                                                        \
    X(NHA_CPU_BMI2, 13, "bmi2")
enum {
#define NHA_CPU_FEATURE_ENUM_(name, bit, text) name = 1 << bit,
    NHA_CPU_FEATURE_LIST(NHA_CPU_FEATURE_ENUM_)
#undef NHA_CPU_FEATURE_ENUM_
};

/* Slots and value columns of a memory are padded to multiples of this in rows of a pool and in segment states, for every ISA. The
 * padding is kept zero. */
#define NHA_CPU_PAD 16
#define NHA_CPU_PADDED(n) (((int64_t)(n) + NHA_CPU_PAD - 1) / NHA_CPU_PAD * NHA_CPU_PAD)

/* A tensor as kernels see it: strides in BYTES. */
typedef struct nha_cpu_tensor {
    char *data;
    int64_t batch, token, head;
} nha_cpu_tensor;

/* CPU memory in a segment state, fp32, or in a pool row, of the problem's state_dtype; Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V), one kv head:
 *     hk [K,Mp] (transposed: lanes are slots), then hv [M,Vp].   NHA_CPU_MEMORY_FLOATS in all.
 * A segment state is that, preceded by gamma [Mp] (log of the decay of the piece, natural, <= 0). */
#define NHA_CPU_MEMORY_FLOATS(K, V, M)                                                                                 \
    ((M) ? (int64_t)(K) * NHA_CPU_PADDED(M) + (int64_t)(M) * NHA_CPU_PADDED(V) : (int64_t)0)
#define NHA_CPU_STATE_FLOATS(K, V, M) ((M) ? NHA_CPU_PADDED(M) + NHA_CPU_MEMORY_FLOATS(K, V, M) : (int64_t)0)

/* Tokens that a decode kernel has absorbed by definition, but not yet folded into the memory of a pool row: room for
 * NHA_CPU_PENDING a head, of which at most NHA_CPU_PENDING - 1 wait between calls. One token, oldest first, fp32:
 *     e [Mp] = exp(g), m1 [Mp] = expm1(g), s [Mp] if it is given (else it is -m1), k [Kp] and v [Vp], mapped.
 * NHA_CPU_PENDING_FLOATS a token. Padding is zero. The memory of the definition is, for each slot m,
 *     h[m] = E[m] h_row[m] + sum_j c_j[m] x_j,    E = prod e_j,    c_j = s_j prod_{i>j} e_i     (x: k for hk, v for hv) */
#define NHA_CPU_PENDING 8
#define NHA_CPU_PENDING_FLOATS(K, V, M, s_given)                                                                       \
    ((M) ? ((s_given) ? 3 : 2) * NHA_CPU_PADDED(M) + NHA_CPU_PADDED(K) + NHA_CPU_PADDED(V) : (int64_t)0)

/* A pool row: int64 pos at byte 0 and, from byte NHA_CPU_ROW_PENDING on, a byte for each kv head: its pending tokens. Memory
 * of head h at memory_offset + h * NHA_CPU_MEMORY_FLOATS * bytes of state_dtype; then rings, token j at entry j % ring_tokens, [H][ring_tokens][dim], of
 * raw k, v, gate, and s, rk where given; then pending tokens [H][NHA_CPU_PENDING]. The offsets are from the start of the row.
 * Kernels that change a head's memory (decode, and the end of a prefill) fold its pending tokens first, or keep to them. */
#define NHA_CPU_ROW_PENDING 8
typedef struct nha_cpu_cache {
    char *pool;             /* NULL: no cache */
    const int32_t *index;   /* [N] or NULL: row n. -1: no task of the sequence does anything, libnha leaves its row alone */
    int64_t row_bytes;
    int64_t ring_tokens;    /* capacity, >= 1; positions past it wrap, so it is R or at least the largest position */
    int64_t memory_offset;  /* 8 + H rounded up to 64 */
    int64_t k_offset, v_offset, gate_offset, s_offset, rk_offset;
    int64_t pending_offset;
} nha_cpu_cache;

/* How a prefill is divided. A sequence of len tokens is cut into `runs` of run_tokens (the last shorter; runs that begin at or past
 * len are empty, but run 0 always exists). If runs > 1, each run but the last is cut into pieces of piece_tokens, which
 * divide run_tokens. run_tokens and piece_tokens are multiples of the kernel's block_tokens. Piece p covers the steps
 * [p * piece_tokens, (p+1) * piece_tokens) of the sequence and absorbs the tokens `slot_lag` before them.
 *
 *     segment_delta   task = (n * H + h) * pieces + p    pieces = (runs-1) * run_tokens / piece_tokens
 *                     states[task] = {gamma, delta} of piece p, as if the memory were zero before it
 *     segment_scan    task = n * H + h
 *                     walks the pieces in order and leaves in states_run[(n*H+h) * runs + r] the memory before run r, r >= 0
 *     main            task = (n * H + h) * runs + r
 *                     starts from states_run if runs > 1, else from the cache row, hk0/hv0, or zero; the last non-empty run
 *                     writes hk, hv and the memory of the cache row
 * A piece or run past the end of its sequence does nothing. main never touches rings or pos: libnha writes them afterwards.
 * The memory of a cache row is what its pending tokens make of it; main leaves none pending.
 *
 * Decode: main, task = n * H + h: absorbs token pos - slot_lag, attends, writes o and lse, updates the memory in place, and
 * stores the token in the rings at entry pos % ring_tokens (after reading what it overwrites). libnha increments pos afterwards.
 * A kernel may leave the absorbed token pending instead: which step of a head folds depends on the row's state alone. */
typedef struct nha_cpu_args {
    int64_t sequences;         /* N */
    int64_t tokens;            /* T of each sequence, or the sum with cu_seqlens */
    const int32_t *cu_seqlens; /* [N+1] or NULL */
    int64_t max_length;        /* bound of a sequence's length: sizes scratch that depends on min(W, .) */
    int64_t runs, run_tokens;  /* runs >= 1 */
    int64_t pieces, piece_tokens;
    float *states;             /* [N*H*pieces][NHA_CPU_STATE_FLOATS rounded up to NHA_CPU_PAD], 64-byte aligned */
    float *states_run;         /* [N*H*runs][the same], memory in it, gamma unused */
    int64_t window_panels;     /* prefill: entries of the panel ring in scratch: see nha_cpu_code */
    const float *hk0, *hv0;    /* contiguous [N,H,M,K], [N,H,M,V] or NULL */
    float *hk, *hv;
    nha_cpu_tensor q, k, v, gate, s, rq, rk, o, lse;
    nha_cpu_cache cache;
} nha_cpu_args;

/* Runs tasks [task_begin, task_end). `scratch`: nha_cpu_code.scratch_* bytes, 64-byte aligned, this thread's own, contents undefined.
 * Calls nothing outside its object. Floating-point mode: round to nearest, denormals flushed; set by libnha. */
typedef void (*nha_cpu_fn)(const nha_cpu_args *args, int64_t task_begin, int64_t task_end, void *scratch);

typedef struct nha_cpu_code {
    nha_cpu_fn main;
    nha_cpu_fn segment_delta, segment_scan; /* prefill with M > 0, else NULL (splitting then needs no state) */
    int64_t block_tokens;                   /* prefill: tokens of a block, the granularity of runs and pieces; decode: steps
                                             * from one update of the memory to the next, 1 unless it is deferred */
    /* Bytes of scratch: scratch_bytes + scratch_panel_bytes * P. Prefill: P = window_panels =
     * min(ceil((W-1)/block_tokens), ceil(reach/block_tokens)) + 1 for W > 0 (else 0), reach = most tokens that can precede a
     * block within the window = max_length + cached tokens. Decode: P = min(W, cache ring_tokens). */
    int64_t scratch_bytes, scratch_panel_bytes;
    double delta_cost; /* time of segment_delta per token / time of main per token; decides how many runs pay */
} nha_cpu_code;

typedef struct nha_kernel {
    const char *name;      /* unique in the library, e.g. prefill.avx512.t16... */
    int32_t problem;       /* index */
    int32_t op;            /* nha_op */
    int32_t kind;          /* nha_device_kind */
    int32_t rank;          /* among kernels that fit, the lowest rank wins; 0 = tuned on this shape, 100.. = defaults */
    uint64_t cpu_features; /* NHA_CPU_* bits needed */
    const char *isa;       /* CPU: ISA name, in ascending order of nha_isa_names; CUDA: arch, "sm_90a" */
    /* Range of validity of the ranking, on the plan's bounds: sequences * H in [min_tasks, max_tasks], max_length in
     * [min_length, max_length]. A default covers all: 0 .. INT64_MAX. */
    int64_t min_tasks, max_tasks, min_length, max_length;
    const nha_cpu_code *cpu; /* kind NHA_CPU */
    const struct nha_cuda_code *cuda; /* kind NHA_CUDA: launches (nha_cuda.h); NULL else */
    const void *cubin;       /* kind NHA_CUDA: machine code for `isa`; NULL: none */
    uint64_t cubin_bytes;
    const char *ptx;         /* kind NHA_CUDA: PTX for `isa`, NUL-terminated; NULL: none */
    uint64_t ptx_bytes;      /* without the NUL */
} nha_kernel;

struct nha_library {
    char magic[8];             /* "NHALIB\0" */
    uint32_t abi_version;      /* NHA_ABI_VERSION */
    uint32_t struct_size;      /* sizeof(nha_library) */
    const char *name;
    const char *generator;     /* "nhac 0.1.0" */
    int32_t problem_count, kernel_count;
    const nha_problem *problems;
    const nha_kernel *kernels; /* sorted by (problem, op, kind, rank) */
    int32_t min_driver_version; /* CUDA, 0: none */
    int32_t reserved;
};
#define NHA_LIBRARY_MAGIC "NHALIB"

#endif
