#pragma once
// problem.cuh: the constants of the problem, the same for every kernel of a library. Step t of one sequence and kv
// head:
//     absorb j = t - SLOT_LAG:  h[m,:] = exp(g_j[m]) h[m,:] + s_j[m] x_j          x = k for hk [M,K], v for hv [M,V]
//     p = softmax([ SCALE q.hk[m], all m ; SCALE rot(q).rot(k_j), t - WINDOW < j <= t ])
//     o_t = sum_m p[m] hv[m] + sum_j p[j] v_j          lse_t = log of the softmax's denominator

#define DTYPE_F32 0
#define DTYPE_F16 1
#define DTYPE_BF16 2
#define GATE_LOGIT 0
#define GATE_LOG 1
#define ROPE_NONE 0
#define ROPE_GIVEN 1
#define ROPE_NEOX 2
#define ROPE_GPTJ 3
#define MAP_IDENTITY 0
#define MAP_SILU 1
#define MAP_RELU 2

#ifndef HEAD_DIM_QK
#define HEAD_DIM_QK 128 // K, dimensions of a query or key head; multiples of 8 up to 256
#endif
#ifndef HEAD_DIM_V
#define HEAD_DIM_V 128 // V, dimensions of a value head; multiples of 8 up to 256
#endif
#ifndef KV_HEADS
#define KV_HEADS 8 // H, kv heads; 1 and up
#endif
#ifndef GROUP
#define GROUP 4 // G, query heads that share a kv head; 1 and up
#endif
#ifndef SLOTS
#define SLOTS 64 // M, slots of the memory; 0 to 256
#endif
#ifndef WINDOW
#define WINDOW 64ll // W, tokens of the window, the newest included; 0 and up
#endif
#ifndef SLOT_LAG
#define SLOT_LAG 64ll // L, tokens between a token and its absorption; 0 and up
#endif
#ifndef SCALE
#define SCALE 0.0883883461f // factor of the scores; HEAD_DIM_QK to the power of -1/2
#endif
#ifndef DTYPE
#define DTYPE 2 // of q, k, v, rq, rk, o; DTYPE_F32, DTYPE_F16, DTYPE_BF16
#endif
#ifndef GATE_DTYPE
#define GATE_DTYPE 2 // of gate and s; DTYPE_F32, DTYPE_F16, DTYPE_BF16
#endif
#ifndef GATE_INPUT
#define GATE_INPUT 0 // what the gate tensor holds; GATE_LOGIT: f, g = logsigmoid(f) / GATE_NORMALIZER; GATE_LOG: g
#endif
#ifndef GATE_NORMALIZER
#define GATE_NORMALIZER 8.0f // divisor of the log sigmoid; above 0
#endif
#ifndef GATE_S_GIVEN
#define GATE_S_GIVEN 0 // 0: s = 1 - exp(g); 1: s is a tensor
#endif
#ifndef ROPE
#define ROPE 2 // rotation of q and k for the window; ROPE_NONE, ROPE_GIVEN (rq, rk are tensors), ROPE_NEOX, ROPE_GPTJ
#endif
#ifndef ROPE_TURNS
#define ROPE_TURNS 0x28be60db9391054aull, 0x048cbe8dd6c3a8c2ull // turns a token of each pair, times 2^64
#endif
#ifndef SLOT_MAP
#define SLOT_MAP 0 // of q and k on the slot path; MAP_IDENTITY, MAP_SILU, MAP_RELU
#endif
#ifndef VALUE_MAP
#define VALUE_MAP 0 // of v on both paths; MAP_IDENTITY, MAP_SILU
#endif

constexpr int ELEMENT_BYTES = DTYPE == DTYPE_F32 ? 4 : 2;
constexpr int GATE_BYTES = GATE_DTYPE == DTYPE_F32 ? 4 : 2;
constexpr int MEMORY_FLOATS = SLOTS * (HEAD_DIM_QK + HEAD_DIM_V); // hk [M,K], then hv [M,V]

static_assert(HEAD_DIM_QK >= 8 && HEAD_DIM_QK <= 256 && HEAD_DIM_QK % 8 == 0, "K is a multiple of 8 up to 256");
static_assert(HEAD_DIM_V >= 8 && HEAD_DIM_V <= 256 && HEAD_DIM_V % 8 == 0, "V is a multiple of 8 up to 256");
static_assert(SLOTS >= 0 && SLOTS <= 256, "M is 0 to 256");
static_assert(SLOTS > 0 || WINDOW > 0, "without slots and window there is nothing to attend to");
static_assert(KV_HEADS >= 1 && GROUP >= 1, "every query head belongs to a kv head");
static_assert(VALUE_MAP == MAP_IDENTITY || VALUE_MAP == MAP_SILU, "values are mapped by silu or not at all");
