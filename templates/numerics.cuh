#pragma once
// numerics.cuh: gates and maps, exact enough for 65,536 tokens: nothing is rounded below f32, and no small difference
// is taken of large numbers.
#include "basics.cuh"

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;
// The only factor of a score: the scale, and log2(e), so that the softmax is one of powers of two.
constexpr float SCORE_FACTOR = SCALE * LOG2_E;

// 2^x for weights of the softmax, relative error 2^-22; results below 2^-126 are 0.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float infinity() {
    return __int_as_float(0x7f800000);
}

// ---- Gates ----

#if SLOTS > 0
__device__ __forceinline__ float load_gate(u64 address) {
#if GATE_DTYPE == DTYPE_F32
    return *(const float *)global(address);
#elif GATE_DTYPE == DTYPE_F16
    return f16_to_f32(*(const u16 *)global(address));
#else
    return bf16_to_f32(*(const u16 *)global(address));
#endif
}

// The log gate g <= 0, natural, from an element of the gate tensor. Infinite logits give 0 and -inf.
__device__ __forceinline__ float log_gate(float gate) {
#if GATE_INPUT == GATE_LOG
    return gate;
#else
    // log(sigmoid(f)) = min(f, 0) - log(1 + exp(-|f|)): neither part cancels the other
    return (fminf(gate, 0.0f) - log1pf(expf(-fabsf(gate)))) / GATE_NORMALIZER;
#endif
}

// A decay by exp(g), as h -> keep h + (scaled h + ...). Where little is forgotten, what is lost is added to h: rounding
// exp(g) itself to f32 would add up over the tokens. Where much is, h must not stand beside what replaces it.
struct decay {
    float keep, scaled;
};

__device__ __forceinline__ decay decay_of(float g) {
    return g > -0.5f ? decay{1.0f, expm1f(g)} : decay{0.0f, expf(g)};
}

__device__ __forceinline__ float decayed(decay d, float h, float added) {
    return fmaf(d.keep, h, fmaf(d.scaled, h, added));
}
#endif

// ---- Maps ----

#if SLOT_MAP == MAP_SILU || VALUE_MAP == MAP_SILU
__device__ __forceinline__ float silu(float x) {
    return x / (1.0f + expf(-x));
}
#endif

// q and k on the slot path.
__device__ __forceinline__ float slot_map(float x) {
#if SLOT_MAP == MAP_SILU
    return silu(x);
#elif SLOT_MAP == MAP_RELU
    return fmaxf(x, 0.0f);
#else
    return x;
#endif
}

__device__ __forceinline__ float4 slot_map4(float4 x) {
    return make_float4(slot_map(x.x), slot_map(x.y), slot_map(x.z), slot_map(x.w));
}

// v on both paths.
__device__ __forceinline__ float value_map(float x) {
#if VALUE_MAP == MAP_SILU
    return silu(x);
#else
    return x;
#endif
}

__device__ __forceinline__ float4 value_map4(float4 x) {
    return make_float4(value_map(x.x), value_map(x.y), value_map(x.z), value_map(x.w));
}
