// limits.cu: what a GPU can do at best, in four loops that are measured beside the kernels. Compiled as it stands, for the GPU at hand.
//
//     limit_fma      independent fused multiply-adds in registers, fp32        2 * CHAINS * steps flops a thread
//     limit_mma      independent mma.sync m16n8k16 in registers, bf16 to fp32  2 * 16 * 8 * 16 * CHAINS * steps flops a warp
//     limit_read     every byte of `data` read once
//     limit_update   every byte of `data` read and written back once
//
// `out` takes what keeps the compiler from seeing that nothing is wanted: it is never written, because no sum is that number.
using u32 = unsigned int;
using u64 = unsigned long long;

constexpr int CHAINS = 8;             // of work that does not wait for each other; hides the latency of fma and mma
constexpr float NEVER = 1.2345678e33f; // not a sum of what is added here

extern "C" __global__ void __launch_bounds__(256) limit_fma(float *out, float x, float y, int steps) {
    float sum[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum[c] = (float)(threadIdx.x + c);
#pragma unroll 4
    for (int i = 0; i < steps; i++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++) sum[c] = fmaf(sum[c], x, y);
    float total = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) total += sum[c];
    if (total == NEVER) *out = total;
}

extern "C" __global__ void __launch_bounds__(256) limit_mma(float *out, u32 a, u32 b, int steps) {
    float d[CHAINS][4] = {};
#pragma unroll 2
    for (int i = 0; i < steps; i++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++)
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
                         : "+f"(d[c][0]), "+f"(d[c][1]), "+f"(d[c][2]), "+f"(d[c][3])
                         : "r"(a), "r"(b));
    float total = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) total += d[c][0] + d[c][1] + d[c][2] + d[c][3];
    if (total == NEVER) *out = total;
}

// count: float4 elements
extern "C" __global__ void __launch_bounds__(256) limit_read(float *out, const float4 *data, u64 count) {
    float total = 0;
    const u64 stride = (u64)gridDim.x * blockDim.x;
#pragma unroll 4
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float4 x = data[i];
        total += x.x + x.y + x.z + x.w;
    }
    if (total == NEVER) *out = total;
}

extern "C" __global__ void __launch_bounds__(256) limit_update(float4 *data, u64 count, float keep) {
    const u64 stride = (u64)gridDim.x * blockDim.x;
#pragma unroll 4
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        float4 x = data[i];
        x.x *= keep, x.y *= keep, x.z *= keep, x.w *= keep;
        data[i] = x;
    }
}
