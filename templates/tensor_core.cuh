#pragma once
// tensor_core.cuh: ldmatrix, mma.sync m16n8k16 and cp.async, one instruction each. Fragments are those of the PTX
// manual: lane l holds, of a 16 x 8 accumulator, rows l/4 and l/4 + 8 in columns 2(l%4) and 2(l%4) + 1.
#include "basics.cuh"

// Address of shared memory as instructions take it.
__device__ __forceinline__ u32 shared_address(const void *pointer) {
    return (u32)__cvta_generic_to_shared(pointer);
}

#if DTYPE != DTYPE_F32
// Four 8 x 8 matrices of 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(u32 (&x)[4], u32 row_address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row_address)
                 : "memory");
}

// The same, each matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(u32 (&x)[4], u32 row_address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row_address)
                 : "memory");
}

// c [16,8] += a [16,16] b [16,8]; c0, c1: columns 2(l%4), + 1 of row l/4; c2, c3: of row l/4 + 8.
__device__ __forceinline__ void multiply_add(float &c0, float &c1, float &c2, float &c3, const u32 (&a)[4], u32 b0,
                                             u32 b1) {
#if DTYPE == DTYPE_F16
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
#endif

// 16 bytes from global to shared memory, behind the back of the thread; zeros where `exists` is false.
__device__ __forceinline__ void copy_async16(u32 to, u64 from, bool exists) {
    u32 bytes = exists ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory");
}

// Until all copies of this thread have arrived; a barrier shows them to the others.
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_all;" : : : "memory");
}
