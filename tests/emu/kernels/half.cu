// 16-bit floats and conversions by inline PTX: what compiled code uses of f16, bf16 and packed forms.
typedef unsigned u32;
typedef unsigned short u16;

extern "C" __global__ void half_ops(const u32 *a, const u32 *b, const u32 *c, u32 *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    u32 x = a[i], z = b[i], w = c[i], r[12];
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r[0]) : "r"(x), "r"(z), "r"(w));
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r[1]) : "r"(x), "r"(z), "r"(w));
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r[2]) : "r"(x), "r"(z));
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r[3]) : "r"(x), "r"(z));
    asm("max.f16x2 %0, %1, %2;" : "=r"(r[4]) : "r"(x), "r"(z));
    asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(r[5]) : "r"(x), "r"(z));
    asm("{ .reg .b16 l, h; .reg .f32 f, g; mov.b32 {l, h}, %1; cvt.f32.f16 f, l; cvt.f32.f16 g, h; cvt.rn.bf16x2.f32 %0, g, f; }" : "=r"(r[6]) : "r"(x));
    asm("{ .reg .b16 l, h; .reg .f32 f, g; mov.b32 {l, h}, %1; cvt.f32.bf16 f, l; cvt.f32.bf16 g, h; cvt.rn.relu.f16x2.f32 %0, g, f; }" : "=r"(r[7]) : "r"(x));
    asm("neg.bf16x2 %0, %1;" : "=r"(r[8]) : "r"(x));
    asm("abs.f16x2 %0, %1;" : "=r"(r[9]) : "r"(x));
    asm("{ .reg .f32 f; mov.b32 f, %1; cvt.rna.tf32.f32 %0, f; }" : "=r"(r[10]) : "r"(x));
    asm("{ .reg .b16 l, h, s; .reg .pred p; mov.b32 {l, h}, %1; setp.gtu.f16 p, l, h; selp.b16 s, l, h, p; mov.b32 %0, {s, l}; }" : "=r"(r[11]) : "r"(x));
    for (int k = 0; k < 12; k++)
        y[i * 12 + k] = r[k];
}
