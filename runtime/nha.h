/* nha.h: the one public header of libnha, the runtime of libraries that nhac generates.
 *
 * Native Hybrid Attention (arXiv 2510.07019): M gated memory slots and a window of W tokens share one softmax.
 * Order of use:  open a library -> plan -> ask for the workspace -> execute, any number of times.
 *
 * Conventions, valid for every function below
 *   names      N sequences, B batch (= N without cu_seqlens), T tokens, HQ query heads, H kv heads, K head dim of
 *              q and k, V head dim of v, M slots, W window, L slot lag.
 *   memory     the caller owns every tensor, pool and workspace; libnha owns what a *_create or *_open returned until
 *              the matching *_destroy or *_close. With a CPU plan all pointers are host memory, with a CUDA plan all
 *              tensors, cu_seqlens, cache_index, pools and workspaces are device memory.
 *   threads    objects are immutable once created, so any number of threads may use one library or plan at once.
 *   errors     a status; where an nha_error is passed (it may be NULL) it receives the same status and one line of
 *              text. Nothing aborts, exits, prints, or reads the environment.
 *   ABI        structs that a caller fills begin with struct_size; set it with the NHA_INIT macro. New members are only ever
 *              added at the end; a zero means the default.
 */
#ifndef NHA_H
#define NHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NHA_VERSION_MAJOR 0
#define NHA_VERSION_MINOR 1
#define NHA_VERSION_PATCH 0
#define NHA_VERSION "0.1.0"
#define NHA_ABI_VERSION 2 /* of nha.h and of the interface between a generated library and libnha */

#if defined(__GNUC__)
#define NHA_API __attribute__((visibility("default")))
#else
#define NHA_API
#endif

/* ---- Status --------------------------------------------------------------------------------------------------- */

/* X(enumerator, value, text) */
#define NHA_STATUS_LIST(X)                                                                                             \
    X(NHA_OK, 0, "done")                                                                                               \
    X(NHA_INVALID_ARGUMENT, 1, "an argument is wrong")                                                                 \
    X(NHA_MISALIGNED, 2, "a base address or stride is not aligned as nha.h asks")                                      \
    X(NHA_OUT_OF_BOUNDS, 3, "a call exceeds the bounds of its plan")                                                   \
    X(NHA_WORKSPACE_TOO_SMALL, 4, "the workspace is smaller than the plan asked for")                                  \
    X(NHA_NO_KERNEL, 5, "the library has no kernel for this device and operation")                                     \
    X(NHA_NO_DEVICE, 6, "the device, or the driver for it, was not found")                                             \
    X(NHA_WRONG_CONTEXT, 7, "the CUDA context of the plan is not current")                                             \
    X(NHA_OLD_DRIVER, 8, "the driver is older than the library needs")                                                 \
    X(NHA_DEVICE_ERROR, 9, "the device reported an error")                                                             \
    X(NHA_BAD_LIBRARY, 10, "the file is not a library that this libnha can use")                                       \
    X(NHA_UNTRUSTED, 11, "others can write the library, so it is not loaded")                                          \
    X(NHA_OUT_OF_MEMORY, 12, "no memory")                                                                              \
    X(NHA_UNSUPPORTED, 13, "not available in this version")                                                            \
    X(NHA_BAD_DATA, 14, "a value in device memory is out of its range (found by a debugging plan)")

typedef enum nha_status {
#define NHA_STATUS_ENUM_(name, value, text) name = value,
    NHA_STATUS_LIST(NHA_STATUS_ENUM_)
#undef NHA_STATUS_ENUM_
} nha_status;

typedef struct nha_error {
    nha_status status;
    char text[252]; /* one line, NUL-terminated, says what is wrong and what would be right */
} nha_error;

/* Static text of a status; never NULL. */
NHA_API const char *nha_status_text(nha_status status);
/* NHA_VERSION and NHA_ABI_VERSION of the libnha that is linked. */
NHA_API const char *nha_version(void);
NHA_API uint32_t nha_abi_version(void);

/* ---- What a library computes ------------------------------------------------------------------------------------ */

typedef enum nha_dtype { NHA_F32 = 0, NHA_F16 = 1, NHA_BF16 = 2 } nha_dtype;
typedef enum nha_op { NHA_PREFILL = 0, NHA_DECODE = 1, NHA_BACKWARD = 2 } nha_op;
typedef enum nha_gate_input { NHA_GATE_LOGIT = 0, NHA_GATE_LOG = 1 } nha_gate_input;
typedef enum nha_rope { NHA_ROPE_NONE = 0, NHA_ROPE_GIVEN = 1, NHA_ROPE_NEOX = 2, NHA_ROPE_GPTJ = 3 } nha_rope;
typedef enum nha_map { NHA_MAP_IDENTITY = 0, NHA_MAP_SILU = 1, NHA_MAP_RELU = 2 } nha_map;
typedef enum nha_device_kind { NHA_CPU = 0, NHA_CUDA = 1 } nha_device_kind;

/* The problem a library was generated for. Step t of one sequence and kv head, g the natural-log gate:
 *     absorb j = t - slot_lag, if j >= 0:  h[m,:] = exp(g_j[m]) h[m,:] + s_j[m] x_j     (x = k for hk, v for hv)
 *     p = softmax([ scale q.hk[m], all m ; scale rot(q).rot(k_j), t-window < j <= t ])
 *     o_t = sum_m p[m] hv[m] + sum_j p[j] v_j ;  lse_t = log of the softmax's denominator, natural
 */
typedef struct nha_problem {
    const char *name;           /* as in the spec; static storage of the library */
    int32_t head_dim_qk;        /* K: multiple of 8, 8..256 */
    int32_t head_dim_v;         /* V: multiple of 8, 8..256 */
    int32_t heads_q, heads_kv;  /* HQ = G * H */
    int32_t slots;              /* M: 0..256 */
    int32_t dtype;              /* nha_dtype of q, k, v, rq, rk, o */
    int32_t gate_dtype;         /* nha_dtype of gate and s */
    int32_t state_dtype;        /* nha_dtype of the memory in rows of a pool: NHA_F32, on the CPU NHA_BF16, too */
    int32_t gate_input;         /* nha_gate_input; logit: g = logsigmoid(f) / gate_normalizer */
    int32_t gate_s_given;       /* 1: s is an input; 0: s = -expm1(g) */
    int32_t rope;               /* nha_rope; NHA_ROPE_GIVEN: rq and rk are inputs */
    int32_t slot_map, value_map; /* nha_map */
    int64_t window;             /* W: 0 and up */
    int64_t slot_lag;           /* L: 0 and up */
    double scale;
    double gate_normalizer;
} nha_problem;

typedef struct nha_library nha_library; /* generated; constant; defined in nha_library.h */

/* Libraries linked into the program are named in their own header: `extern const nha_library nha_library_NAME;`.
 * nha_library_check verifies that this libnha can use one. Errors: NHA_BAD_LIBRARY. */
NHA_API nha_status nha_library_check(const nha_library *library, nha_error *error);

/* Opens the shared library at `path` (libnha_NAME.so; its symbol is nha_library_NAME). Loading runs code: a file that others
 * can write is refused. Errors: NHA_BAD_LIBRARY, NHA_UNTRUSTED, NHA_OUT_OF_MEMORY. */
typedef struct nha_module nha_module;
NHA_API nha_status nha_module_open(const char *path, nha_module **module, nha_error *error);
NHA_API const nha_library *nha_module_library(const nha_module *module);
/* Every plan made from the library must be destroyed first. NULL is allowed. */
NHA_API void nha_module_close(nha_module *module);

/* Number of problems (1 for what nhac writes today) and the i-th of them; NULL if i is out of range. Borrowed. */
NHA_API int32_t nha_library_problem_count(const nha_library *library);
NHA_API const nha_problem *nha_library_problem(const nha_library *library, int32_t i);
NHA_API const char *nha_library_name(const nha_library *library);
/* Whether problem i has kernels of this op for this kind of device. */
NHA_API bool nha_library_has(const nha_library *library, int32_t i, nha_op op, nha_device_kind kind);

/* ---- Plans -------------------------------------------------------------------------------------------------------- */

typedef struct nha_device {
    int32_t kind;    /* nha_device_kind */
    int32_t ordinal; /* CUDA: device whose primary context is retained, unless context is given */
    void *context;   /* CUDA: a CUcontext to use instead, outliving every use, or NULL */
    const struct nha_cuda_driver *driver; /* CUDA: driver functions to use (nha_cuda_driver.h), outliving every use; NULL: libcuda.so.1 */
} nha_device;

/* Runs fn(arg, task, worker) for every task in [0, tasks), each exactly once, on any threads, and returns when all are done.
 * `worker` is in [0, nha_plan_options.threads) and no two calls that run at the same time share one: it picks scratch memory. */
typedef void (*nha_task_fn)(void *arg, int64_t task, int32_t worker);
typedef void (*nha_parallel_for)(void *context, int64_t tasks, nha_task_fn fn, void *arg);

enum {
    NHA_PLAN_DEBUG = 1u << 0,     /* check cu_seqlens, cache_index and positions by value; slow on CUDA (synchronises). On the CPU
                                     every plan does, and this adds the search for a row that appears twice */
    NHA_PLAN_ALLOW_PTX = 1u << 1, /* CUDA: if no cubin fits, let the driver compile the library's PTX now, at plan time */
    NHA_PLAN_CACHE = 1u << 2,     /* prefill: executions will pass a cache (decode always does) */
    NHA_PLAN_VARLEN = 1u << 3,    /* prefill: executions will pass cu_seqlens */
};

typedef struct nha_plan_options {
    size_t struct_size;
    int32_t problem;        /* index in the library */
    int32_t op;             /* nha_op */
    nha_device device;
    uint32_t flags;         /* NHA_PLAN_* */
    int32_t threads;        /* CPU: most threads an execution may use; 0: as many as the machine has */
    int64_t max_sequences;  /* bound of N, 1 and up */
    int64_t max_tokens;     /* bound of the total number of tokens over all sequences, 0: max_sequences * max_length */
    int64_t max_length;     /* bound of the tokens of one sequence in one call; a decode has 1, whatever stands here */
    int64_t cache_tokens;   /* capacity of the pool's rings: what nha_cache_format said; 0: the whole ring */
    nha_parallel_for parallel_for; /* CPU: the caller's threads, or NULL for libnha's own pool */
    void *parallel_context;
    const char *kernel;     /* force a kernel by name, or NULL: chosen by validity range and rank */
    const char *isa;        /* CPU: use nothing above this ISA ("baseline", "avx2", "avx512", "amx"), or NULL; CUDA: use code of this
                               target alone ("sm_90"), or NULL */
} nha_plan_options;

typedef struct nha_plan nha_plan;

/* Chooses and loads the kernel, fixes how work is divided. May allocate, load code, start the pool's threads. CUDA: the
 * current context of the thread is as before; what the driver would load lazily is loaded now; each plan loads its
 * kernel for itself.
 * Errors: NHA_INVALID_ARGUMENT, NHA_NO_KERNEL, NHA_NO_DEVICE, NHA_OLD_DRIVER, NHA_DEVICE_ERROR, NHA_BAD_LIBRARY (the driver refuses
 * its code), NHA_OUT_OF_MEMORY, NHA_UNSUPPORTED. */
NHA_API nha_status nha_plan_create(const nha_library *library, const nha_plan_options *options, nha_plan **plan,
                                   nha_error *error);
/* No execution of the plan may be running. NULL is allowed. */
NHA_API void nha_plan_destroy(nha_plan *plan);
/* Bytes of workspace one execution needs, to be aligned to NHA_WORKSPACE_ALIGN. Concurrent executions need one each. */
NHA_API size_t nha_plan_workspace(const nha_plan *plan);
/* Name of the chosen kernel; lives as long as the plan. */
NHA_API const char *nha_plan_kernel(const nha_plan *plan);

enum { NHA_WORKSPACE_ALIGN = 256 };

/* ---- Caches --------------------------------------------------------------------------------------------------------- */

/* A pool is `rows` caches of one format, contiguous, row_bytes each, in memory that the caller owns, aligned to
 * NHA_WORKSPACE_ALIGN. The layout inside a row is opaque and belongs to the library that made it: never mix libraries.
 * A row holds the memory, the position, and a ring of the last min(R, tokens) tokens, R = max(L, W), or W if M = 0. */
typedef struct nha_cache_format {
    size_t struct_size;
    int64_t row_bytes; /* bytes of one row */
    int64_t tokens;    /* capacity of the ring in tokens; pass it as nha_plan_options.cache_tokens */
    int64_t ring;      /* R of the problem */
} nha_cache_format;

/* On CUDA these functions need no current context: they push the one of the device and pop it again. A device ordinal's
 * primary context is retained for the call alone, so keep it alive (by a plan, for one) as long as the pool. describe
 * needs no driver. reset and copy are work on `stream` and may be captured in a graph;
 * position, export and import wait for it and may not be captured. */

/* Format of the caches of problem i. `max_tokens` bounds the position a cache will ever reach, so that a window larger than
 * any sequence costs no memory; 0: no bound. */
NHA_API nha_status nha_cache_describe(const nha_library *library, int32_t i, nha_device device, int64_t max_tokens,
                                      nha_cache_format *format, nha_error *error);
/* Sets rows to "no token seen". rows[count] are host values; rows == NULL: rows 0..count-1. */
NHA_API nha_status nha_cache_reset(const nha_library *library, int32_t i, nha_device device,
                                   const nha_cache_format *format, void *pool, const int32_t *rows, int64_t count,
                                   void *stream, nha_error *error);
/* Copies row from[c] of one pool to row to[c] of another (or the same) pool, c < count. Host values. No row may be both source and
 * target. */
NHA_API nha_status nha_cache_copy(const nha_library *library, int32_t i, nha_device device,
                                  const nha_cache_format *format, void *to_pool, const int32_t *to, const void *from_pool,
                                  const int32_t *from, int64_t count, void *stream, nha_error *error);

/* A cache in the open, in host memory, contiguous: what `nhac run` reads and writes as cache.*.
 * Tokens are right-aligned, oldest first: token pos-1 is the last of `tokens`; those before token 0 are zero. */
typedef struct nha_cache_image {
    size_t struct_size;
    int64_t pos;           /* tokens seen */
    int64_t tokens;        /* R' of the arrays below; import needs R' >= min(R, pos) */
    float *hk, *hv;        /* [H,M,K], [H,M,V]; NULL if M = 0 */
    void *k, *v;           /* [R',H,K], [R',H,V] in the problem's dtype, unrotated and unmapped */
    void *gate, *s;        /* [R',H,M] in the gate's dtype; gate NULL if M = 0, s NULL unless given */
    void *rk;              /* [R',H,K]; NULL unless rope is given */
} nha_cache_image;

/* Tokens seen by a row. Waits for the stream. */
NHA_API nha_status nha_cache_position(const nha_library *library, int32_t i, nha_device device,
                                      const nha_cache_format *format, const void *pool, int32_t row, int64_t *pos,
                                      void *stream, nha_error *error);
/* Fills the arrays of `image` (allocated by the caller for image->tokens tokens, at least min(R, pos)) from a row; sets pos. What
 * is pending in the row is folded in. Waits for the stream. */
NHA_API nha_status nha_cache_export(const nha_library *library, int32_t i, nha_device device,
                                    const nha_cache_format *format, const void *pool, int32_t row, nha_cache_image *image,
                                    void *stream, nha_error *error);
/* The reverse. Errors: NHA_INVALID_ARGUMENT (negative pos, too few tokens), NHA_OUT_OF_BOUNDS (pos past a bounded ring). */
NHA_API nha_status nha_cache_import(const nha_library *library, int32_t i, nha_device device,
                                    const nha_cache_format *format, void *pool, int32_t row, const nha_cache_image *image,
                                    void *stream, nha_error *error);

/* ---- Execution -------------------------------------------------------------------------------------------------------- */

/* A token-major tensor [B, T, heads, dim]: strides in elements, the last dimension contiguous. With cu_seqlens the batch stride is
 * ignored. q, k, v, o, rq, rk: base and strides are multiples of 16 bytes; gate, s, lse: of their element. */
typedef struct nha_tensor {
    void *data;
    int64_t stride_batch, stride_token, stride_head;
} nha_tensor;

typedef struct nha_args {
    size_t struct_size;
    int64_t sequences;         /* N, 0 to max_sequences */
    int64_t tokens;            /* without cu_seqlens: T of every sequence (decode: 1); with it: the sum, cu_seqlens[N] */
    const int32_t *cu_seqlens; /* [N+1] if the plan has NHA_PLAN_VARLEN, else NULL; decode takes none */
    nha_tensor q, k, v;        /* [.,.,HQ,K], [.,.,H,K], [.,.,H,V] */
    nha_tensor gate;           /* [.,.,H,M]: f or g as the problem says; unused if M = 0 */
    nha_tensor s;              /* [.,.,H,M], if gate_s_given */
    nha_tensor rq, rk;         /* like q and k, if rope is given */
    nha_tensor o;              /* out: [.,.,HQ,V] */
    nha_tensor lse;            /* out: F32 [.,.,HQ] (stride_head between heads); data NULL: not written */
    const float *hk0, *hv0;    /* prefill without a cache: initial memory [N,H,M,K], [N,H,M,V], contiguous, or both NULL: zero.
                                  On CUDA these and hk, hv are aligned to 16 bytes */
    float *hk, *hv;            /* prefill: memory after the last step, or both NULL. May equal hk0, hv0 */
    void *cache;               /* pool if the plan is a decode or has NHA_PLAN_CACHE, else NULL; updated in place */
    const int32_t *cache_index; /* [N] row of each sequence, -1: skip the sequence (its outputs stay unwritten); NULL: 0..N-1.
                                  No row may appear twice */
} nha_args;

/* Runs the plan on `stream` (a CUstream; ignored on the CPU, where the call returns when all is done). Thread-safe; allocates,
 * compiles and loads nothing; may be captured in a CUDA graph. Same plan, same inputs: same bits. A sequence's result does not
 * depend on its neighbours.
 * Errors, all before any work: NHA_INVALID_ARGUMENT, NHA_MISALIGNED, NHA_OUT_OF_BOUNDS, NHA_WORKSPACE_TOO_SMALL, NHA_WRONG_CONTEXT,
 * NHA_BAD_DATA (debugging plans). After a launch: NHA_DEVICE_ERROR. On CUDA nothing waits for the device, so a fault of
 * a kernel is seen by whoever waits for the stream; but a debugging plan waits for the stream and cannot be captured. */
NHA_API nha_status nha_execute(const nha_plan *plan, const nha_args *args, void *workspace, size_t workspace_bytes,
                               void *stream, nha_error *error);

/* ---- The CPU, as libnha sees it -------------------------------------------------------------------------------------- */

/* Name of the best ISA of this machine that kernels are made for: "baseline", "avx2", "avx512", "amx", "neon". */
NHA_API const char *nha_cpu_isa(void);
/* NHA_CPU_* bits (nha_library.h) that this CPU and operating system offer. */
NHA_API uint64_t nha_cpu_features(void);

/* ---- The CUDA driver, as libnha sees it ----------------------------------------------------------------------------- */

/* The driver's functions, loaded from libcuda.so.1 and initialised once in a process; the first call that finds the file
 * decides. For callers that link no CUDA of their own (nhac does not). Thread-safe; nothing is ever unloaded.
 * Errors: NHA_NO_DEVICE, with the reason: no driver, one that lacks a function, no device. */
NHA_API nha_status nha_cuda_driver_open(const struct nha_cuda_driver **driver, nha_error *error);

/* Zeroes the struct and sets its size: nha_args args; NHA_INIT(args); */
#define NHA_INIT(object)                                                                                               \
    do {                                                                                                               \
        char *nha_init_bytes_ = (char *)&(object);                                                                     \
        for (size_t nha_init_i_ = 0; nha_init_i_ < sizeof(object); nha_init_i_++) nha_init_bytes_[nha_init_i_] = 0;    \
        (object).struct_size = sizeof(object);                                                                         \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
