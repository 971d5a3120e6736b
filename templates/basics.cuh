#pragma once
// basics.cuh: short names of integers, f16 and bf16 to and from f32, four elements at once, maxima and sums over lanes.
// No header is needed: what the language lacks is a line of PTX.
#include "problem.cuh"

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;

#if GATE_DTYPE == DTYPE_F32
using gate_bits = u32; // an element of gate and s, to be copied
#else
using gate_bits = u16;
#endif

constexpr int LANES = 32; // of a warp

// A pointer to global memory from its address. The conversion by __cvta_global_to_generic would say the same, but on
// addresses that are chosen at run time the compilers of CUDA 13.0 never end.
__device__ __forceinline__ void *global(u64 address) {
    void *pointer = (void *)address;
    __builtin_assume(__isGlobal(pointer));
    return pointer;
}

#if DTYPE == DTYPE_F16 || GATE_DTYPE == DTYPE_F16
__device__ __forceinline__ float f16_to_f32(u16 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
#endif
#if DTYPE == DTYPE_BF16 || GATE_DTYPE == DTYPE_BF16
__device__ __forceinline__ float bf16_to_f32(u16 bits) {
    return __uint_as_float((u32)bits << 16);
}
#endif

#if DTYPE != DTYPE_F32
// The two elements of a 32-bit word, the lower half first, as f32.
__device__ __forceinline__ float2 unpack2(u32 bits) {
#if DTYPE == DTYPE_F16
    return make_float2(f16_to_f32((u16)bits), f16_to_f32((u16)(bits >> 16)));
#else
    return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
#endif
}

// Rounds both to nearest even; `low` goes to the lower half.
__device__ __forceinline__ u32 pack2(float low, float high) {
    u32 bits;
#if DTYPE == DTYPE_F16
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
#else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
#endif
    return bits;
}
#endif

// Four neighbouring elements of a tensor of DTYPE, as f32. The address is aligned to four elements.
__device__ __forceinline__ float4 load4(u64 address) {
#if DTYPE == DTYPE_F32
    return *(const float4 *)global(address);
#else
    uint2 bits = *(const uint2 *)global(address);
    float2 low = unpack2(bits.x), high = unpack2(bits.y);
    return make_float4(low.x, low.y, high.x, high.y);
#endif
}

// Two neighbouring elements of a tensor of DTYPE, as f32. The address is aligned to two elements.
__device__ __forceinline__ float2 load2(u64 address) {
#if DTYPE == DTYPE_F32
    return *(const float2 *)global(address);
#else
    return unpack2(*(const u32 *)global(address));
#endif
}

// Rounds two neighbouring elements of a tensor of DTYPE, once, and stores them. Aligned as load2.
__device__ __forceinline__ void store2(u64 address, float x, float y) {
#if DTYPE == DTYPE_F32
    *(float2 *)global(address) = make_float2(x, y);
#else
    *(u32 *)global(address) = pack2(x, y);
#endif
}

// Over the `lanes` neighbouring lanes (a power of two) that this one belongs to; each of them gets the result.
__device__ __forceinline__ float max_over(float x, int lanes) {
#pragma unroll
    for (int step = 1; step < lanes; step *= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

__device__ __forceinline__ float sum_over(float x, int lanes) {
#pragma unroll
    for (int step = 1; step < lanes; step *= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}
