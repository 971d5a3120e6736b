/* frame.h: what the phases of a CPU kernel share: the problem as constants, the layout of scratch memory, and the frame at its
 * start, which holds the task's pointers and counters. tile -> layout: every offset and size is computed here. */
#ifndef GEN_CPU_FRAME_H
#define GEN_CPU_FRAME_H

#include "gen/cpu/amx.h"
#include "gen/cpu/cpu.h"
#include "gen/cpu/ir.h"

/* Eight-byte slots at the start of scratch. Pointers are to this sequence's local token 0 (after the cached ones) and this kv head
 * (for q, rq, o, lse: to its first query head). X(name, meaning) */
#define FRAME_LIST(X)                                                                                                  \
    X(ARGS, "nha_cpu_args *")                                                                                          \
    X(LENGTH, "T of the sequence")                                                                                     \
    X(POSITION, "tokens seen before local token 0")                                                                    \
    X(AVAILABLE, "cached tokens: local tokens -available .. -1 can be read from the rings")                            \
    X(SEQUENCE, "n") X(HEAD, "h")                                                                                      \
    X(ROW, "cache row or NULL")                                                                                        \
    X(RING, "ring_tokens, at least 1")                                                                                 \
    X(Q, "") X(K, "") X(V, "") X(GATE, "") X(S, "") X(RQ, "") X(RK, "") X(O, "") X(LSE, "")                            \
    X(RING_K, "rings of this head") X(RING_V, "") X(RING_GATE, "") X(RING_S, "") X(RING_RK, "")                        \
    X(BLOCK, "first local token of the block under way")                                                               \
    X(ABSORBED_K, "operands of the block's absorbed keys") X(ABSORBED_V, "of their values")                           \
    X(LISTED, "panels listed, where k->beside") X(PANELS, "panels in the ring of scratch") X(FIRST_PANEL, "oldest panel that holds a token")                       \
    X(PENDING, "pending tokens of this head in the cache row") X(PENDING_COUNT, "how many")

typedef enum frame_slot {
#define FRAME_ENUM_(name, meaning) FRAME_##name,
    FRAME_LIST(FRAME_ENUM_)
#undef FRAME_ENUM_
        FRAME_COUNT
} frame_slot;

enum { FRAME_BYTES = 256 };
_Static_assert(FRAME_COUNT * 8 <= FRAME_BYTES, "the frame outgrew its room");

/* A buffer in scratch: byte offset and row stride in floats. */
typedef struct buffer {
    int64_t at;
    int ld;
} buffer;

typedef struct kernel {
    ir b;
    const gen_problem *problem;
    const nha_problem *p;
    gen_tile tile;
    nha_op op;
    int K, V, M, G, rows; /* rows = block_tokens * G, row of (token i, head g) = i * G + g */
    int64_t W, L;
    int mp, vp;           /* padded slots and values: row strides of the memory */
    int mv, vv;           /* vectors that hold M slots, V values */
    int block;            /* BLOCK_TOKENS */
    int chunk, chunk_rows; /* tokens of a block under way at a time, and their rows: all of them, on AMX 32 or 16 */
    int group, group_rows; /* AMX: tokens of a chunk that are scored at a time: 16 where k->beside, else all of them */
    int query_rows;        /* AMX: rows of queries packed at a time: of the group where k->beside, else of the block */
    int bv;               /* vectors of a block of tokens */
    int hp;               /* K/2 rounded up to vectors */
    int stage_ld;         /* row stride of staged keys and queries, with slack for whole vectors */
    bool rotate;          /* rope inside the kernel */
    bool own_window_q;    /* the window's queries and keys differ from the slots' */
    int64_t memory_floats;
    int state_bytes;      /* of an element of the memory in a cache row: fp32, or bf16 if the problem says so */
    double q_scale;       /* scale * log2(e): scores are in log2 units */
    /* scratch */
    buffer memory_k, memory_v;    /* hk [K][mp], hv [M][vp] */
    buffer qs, qw;                /* [rows][K] queries for slots, for the window */
    buffer stage, rotated;        /* [block][stage_ld] */
    /* Operands of the tokens that a block absorbs lie where FRAME_ABSORBED_K and _V say: in the panel that the window read them with, or
     * in buffers of their own. Vectors: keys [K][block], values [block][vp]. AMX: right_keys, left_keys; right_values. */
    int64_t own_keys, own_values; /* byte offsets in scratch */
    bool share_values, share_keys; /* L is whole blocks, and the ring still holds the panel */
    int panel_lag;                /* of that panel behind the newest: L / block */
    int64_t panel_absorbed_keys, panel_values_at; /* byte offsets in a panel */
    buffer e, s, decay;           /* [block][mp]: exp(g), s, running product of e; on AMX decay has a row of ones before these */
    buffer gamma, keep, scaled;   /* [mp]: sum of g; (1, expm1) or (0, exp) of it: h' = keep*h + (scaled*h + new) */
    buffer pairs, pairs_t;        /* [block][mp], [M][block]: weight of absorbed token j in slot m at the current row */
    buffer within;                /* [chunk_rows][block], on AMX [group_rows][block]: q.k of the block, then p.weights */
    buffer scores;                /* [chunk_rows][mp + KEY_PANELS*block]: scores, then probabilities */
    buffer slots_p;               /* [chunk_rows][mp]: p * decay */
    buffer out;                   /* [chunk_rows][vp] unnormalised; none where direct_out */
    buffer row_max, row_sum, row_fix; /* [chunk_rows] */
    buffer cosine, sine;          /* [block][hp] */
    buffer panel_list;            /* [key_panels] addresses of the panels of this softmax step, newest first */
    int key_panels;               /* panels under one softmax step */
    bool online;                  /* more panels than that may exist */
    bool direct_out;              /* AMX, not online: sums go from tiles to o */
    bool tiles_listed;            /* AMX, and the rows of 16 tokens fill columns of four tiles */
    bool beside;                  /* tiles work beside the softmax: prefill_beside.c */
    buffer tile_list;             /* [chunk / 16] lists of prefill_tiles.c, if tiles_listed */
    buffer out_rows;              /* [chunk_rows] addresses in o, if direct_out */
    int64_t panel_floats;         /* keys [K][block] then values [block][vp]; on AMX panel_keys, then panel_values */
    /* AMX: operands in bf16 instead of qs, qw, absorb_*, slots_p and what within and scores become. Kt, Mt: multiples of 32 */
    bool amx;
    amx_left left_slots, left_window; /* queries [query_rows][Kt], mapped, rotated; not scaled: those that are bf16 stay exact */
    amx_left left_read;           /* [chunk_rows][Mt + block + KEY_PANELS*block]: p * decay, p.weights, p */
    int read_within, read_window; /* bytes from a row's start to the second and the third of these */
    amx_left left_keys, left_weights; /* update; `at` of left_keys and right_keys from FRAME_ABSORBED_K, of right_values from _V: absorbed keys [Kt][block], weights [Mt][block] */
    amx_right right_hk, right_hv; /* copies of the memory: [Kt][mp], [Mt][vp] */
    amx_right right_keys, right_values, right_weights; /* of absorbed tokens: [Kt][block], [block][vp], [block][mp] */
    amx_right panel_keys, panel_values; /* `at` from the start of a panel; panel_values are the first parts of right_values, if shared */
    buffer decay_chunk;           /* [block][mp]: product of e from the chunk's first token on: decay, if the chunk is the block */
    buffer earlier;               /* [group_rows][mp]: scores of the block's tokens before the chunk */
    amx_left left_within, left_earlier; /* [group_rows][block]: q.k; [chunk_rows][Mt]: p * decay_chunk */
    amx_right right_pairs_t;      /* [Mt][block] */
    buffer tile_out;              /* [32][32] */
    int64_t ring_at;              /* byte offset of the panel ring; the rest of scratch */
    /* pending tokens of a cache row: pending.h */
    buffer pending_c, pending_e;  /* [NHA_CPU_PENDING][mp] weight of token j, [mp] product of all e */
    int64_t pending_floats, pending_k, pending_v; /* of a token, its key and its value within: floats */
    val fold_pending, weigh_pending; /* phases */
    /* decode */
    buffer pending_p;             /* [G][NHA_CPU_PENDING]: sum over slots of probability * weight of token j */
    buffer d_k, d_v;              /* [K], [V]: absorbed token, mapped */
    int64_t window_scores_at;     /* [G][P] after all else, P = min(W, ring_tokens) rounded up to vectors */
} kernel;

/* Computes everything but `b`. */
void kernel_layout(kernel *k, const gen_problem *problem, nha_op op, const gen_isa *isa, const gen_tile *tile);
/* Bytes of scratch before the part that depends on the window, and bytes of that part per panel (prefill) or token (decode). */
void kernel_scratch(const kernel *k, int64_t *fixed, int64_t *per_panel);
void kernel_print(FILE *out, const kernel *k);

/* ---- reading and writing the frame; `f` is the scratch pointer, parameter 0 of every phase ---- */
val frame_i64(kernel *k, val f, frame_slot slot);
val frame_ptr(kernel *k, val f, frame_slot slot);
void frame_set(kernel *k, val f, frame_slot slot, val v);
val frame_arg(kernel *k, val f, size_t offset);     /* i64 member of nha_cpu_args */
val frame_arg_ptr(kernel *k, val f, size_t offset);
/* Address of (row, column) of a buffer; row i64 or NULL for 0. */
val frame_at(kernel *k, val f, buffer buf, val row, int column);

/* Address of the byte in a cache row that counts the pending tokens of head h. */
val frame_pending_count(kernel *k, val row, val h);

/* Fills the frame for (n, h) of args. Afterwards FRAME_LENGTH is -1 for a sequence to be skipped (cache_index -1). */
void frame_task(kernel *k, val f, val args, val n, val h);
/* Pointer to the row of local token j of a key-like tensor, in the inputs (j >= 0) or in its ring. member: offsetof the tensor in nha_cpu_args. */
val frame_token(kernel *k, val f, frame_slot input, frame_slot ring, size_t member, int64_t ring_row_bytes, val j);

/* Starts an internal phase of the module: void name(ptr scratch, i64...). Returns the function; scratch is ir_param 0. */
val phase_begin(kernel *k, const char *name, const char *types, const char *const *params);
void phase_end(kernel *k);

/* ---- the functions each operation adds to the module ---- */
void emit_prefill(kernel *k, const gen_cpu_unit *unit);
void emit_decode(kernel *k, const gen_cpu_unit *unit);

#endif
