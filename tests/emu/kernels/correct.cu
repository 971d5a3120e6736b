// Correct kernels: right results and no report are expected under every seed and both ways of delivering cp.async.
typedef unsigned u32;
typedef unsigned long long u64;
typedef unsigned short u16;

extern "C" __global__ void vector_add(const float *a, const float *b, float *c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

// out[block] = sum of x over the block's slice: shared tree, then shuffles.
extern "C" __global__ void reduce(const float *x, float *out, int n) {
    __shared__ float part[256];
    float sum = 0;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256)
        sum += x[i];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int step = 128; step >= 32; step /= 2) {
        if (threadIdx.x < step)
            part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        float v = part[threadIdx.x];
        for (int step = 16; step; step /= 2)
            v += __shfl_down_sync(~0u, v, step);
        if (threadIdx.x == 0)
            out[blockIdx.x] = v;
    }
}

// Inclusive scan of 1024 numbers a block: shuffles in each warp, then over the warps.
extern "C" __global__ void scan(const int *x, int *y) {
    __shared__ int total[32];
    int t = threadIdx.x, lane = t & 31, warp = t >> 5, v = x[blockIdx.x * 1024 + t];
    for (int step = 1; step < 32; step *= 2) {
        int u = __shfl_up_sync(~0u, v, step);
        if (lane >= step)
            v += u;
    }
    if (lane == 31)
        total[warp] = v;
    __syncthreads();
    if (warp == 0) {
        int s = total[lane];
        for (int step = 1; step < 32; step *= 2) {
            int u = __shfl_up_sync(~0u, s, step);
            if (lane >= step)
                s += u;
        }
        total[lane] = s;
    }
    __syncthreads();
    y[blockIdx.x * 1024 + t] = v + (warp ? total[warp - 1] : 0);
}

extern "C" __global__ void histogram(const unsigned char *x, u32 *out, int n) {
    __shared__ u32 bins[256];
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&bins[x[i]], 1);
    __syncthreads();
    if (bins[threadIdx.x])
        atomicAdd(&out[threadIdx.x], bins[threadIdx.x]);
}

static __device__ u32 shared_at(const void *p) { return (u32)__cvta_generic_to_shared(p); }
static __device__ void copy16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
static __device__ void load4(u32 r[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
static __device__ void load2t(u32 r[2], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(at) : "memory");
}
static __device__ void mma(float c[4], const u32 a[4], const u32 b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c [m,n] f32 = a [m,k] bf16 times b [k,n] bf16; a block of 4 warps does 64 x 32; k in chunks of 32, two stages.
extern "C" __global__ void __launch_bounds__(128) matmul(const u16 *a, const u16 *b, float *c, int n, int k) {
    __shared__ __align__(16) u16 as[2][64][40]; // 40: rows of 80 bytes, no bank conflict in ldmatrix
    __shared__ __align__(16) u16 bs[2][32][40];
    int t = threadIdx.x, lane = t & 31, warp = t >> 5, row0 = blockIdx.y * 64, col0 = blockIdx.x * 32;
    float acc[4][4] = {};
    auto fetch = [&](int stage, int k0) {
        for (int i = t; i < 64 * 4; i += 128)
            copy16(shared_at(&as[stage][i / 4][i % 4 * 8]), &a[(u64)(row0 + i / 4) * k + k0 + i % 4 * 8]);
        for (int i = t; i < 32 * 4; i += 128)
            copy16(shared_at(&bs[stage][i / 4][i % 4 * 8]), &b[(u64)(k0 + i / 4) * n + col0 + i % 4 * 8]);
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    fetch(0, 0);
    for (int k0 = 0, stage = 0; k0 < k; k0 += 32, stage ^= 1) {
        if (k0 + 32 < k) {
            fetch(stage ^ 1, k0 + 32);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        for (int kk = 0; kk < 32; kk += 16) {
            u32 fa[4], fb[2];
            load4(fa, shared_at(&as[stage][warp * 16 + (lane & 15)][kk + (lane >> 4) * 8]));
            for (int j = 0; j < 4; j++) {
                load2t(fb, shared_at(&bs[stage][kk + (lane & 15)][j * 8]));
                mma(acc[j], fa, fb);
            }
        }
        __syncthreads();
    }
    for (int j = 0; j < 4; j++)
        for (int e = 0; e < 4; e++)
            c[(u64)(row0 + warp * 16 + lane / 4 + e / 2 * 8) * n + col0 + j * 8 + lane % 4 * 2 + e % 2] = acc[j][e];
}

// Many library functions, a table of branches, local arrays, 64-bit division: y[i] = f_{i % 16}(x[i]).
extern "C" __global__ void functions(const float *x, float *y, int n, int shift, double wide, u64 big) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float v = x[i], r = 0;
    float local[8];
    for (int j = 0; j < 8; j++)
        local[j] = v + j;
    local[(i + shift) & 7] *= 2;
    switch (i & 15) {
    case 0: r = expf(v); break;
    case 1: r = log1pf(v * v); break;
    case 2: r = sinf(v * 1000); break;
    case 3: r = expm1f(v); break;
    case 4: r = v / (v * v + 1); break;
    case 5: r = sqrtf(fabsf(v)); break;
    case 6: r = powf(fabsf(v) + 1, 2.5f); break;
    case 7: r = (float)(i % (n / 2 + 1)); break;
    case 8: r = (float)(big / (u64)(i + 1)); break;
    case 9: r = (float)(wide * i); break;
    case 10: r = tanhf(v); break;
    case 11: r = exp2f(v) + log2f(fabsf(v) + 1); break;
    case 12: r = rsqrtf(fabsf(v) + 1) + roundf(v) + floorf(v) + rintf(v); break;
    case 13: r = (float)sin(wide * v) + (float)exp(wide * v); break;
    case 14: r = __popc(i) + __clz(i) + __ffs(i) + (__brev(i) >> 20); break;
    default: r = fmaxf(v, 0.5f) + copysignf(3, v) + erff(v) + cosf(v) + logf(fabsf(v) + 1); break;
    }
    y[i] = r + local[(i + 2 * shift) & 7];
}

// Warp specialisation by named barriers: warp 0 fills a ring, warp 1 drains it.
extern "C" __global__ void __launch_bounds__(64) ring(const int *x, int *y, int rounds) {
    __shared__ int slot[2][32];
    int lane = threadIdx.x & 31;
    if (threadIdx.x < 32) {
        for (int r = 0; r < rounds; r++) {
            if (r >= 2)
                asm volatile("bar.sync %0, 64;" ::"r"(3 + (r & 1)) : "memory"); // empty
            slot[r & 1][lane] = x[r * 32 + lane];
            asm volatile("bar.arrive %0, 64;" ::"r"(1 + (r & 1)) : "memory"); // full
        }
    } else {
        for (int r = 0; r < rounds; r++) {
            asm volatile("bar.sync %0, 64;" ::"r"(1 + (r & 1)) : "memory");
            y[r * 32 + lane] = slot[r & 1][31 - lane] * 2;
            if (r + 2 < rounds)
                asm volatile("bar.arrive %0, 64;" ::"r"(3 + (r & 1)) : "memory");
        }
    }
}

// Collectives under divergence: odd and even lanes take different paths, then meet.
extern "C" __global__ void collectives(const int *x, int *y) {
    int t = threadIdx.x, lane = t & 31, v = x[t], r;
    u32 half = __ballot_sync(~0u, lane & 1);
    if (lane & 1)
        r = __shfl_xor_sync(half, v, 2) + __popc(__activemask() & half);
    else
        r = __shfl_xor_sync(~half, v, 4) - __popc(__ballot_sync(~half, v > 0));
    __syncwarp();
    r += __any_sync(~0u, v > 100) * 1000 + __all_sync(~0u, v < 1000) * 2000;
    u32 same = __match_any_sync(~0u, v & 3);
#if __CUDA_ARCH__ >= 800
    r += __reduce_add_sync(~0u, v) + __reduce_max_sync(~0u, v) + (int)__reduce_xor_sync(~0u, (u32)v);
#endif
    y[t] = r + __popc(same) + __syncthreads_count(v > 50) * 7 + __syncthreads_or(v == 3) + __syncthreads_and(v < 5000);
}

// A function that is called, with a structure in and out.
struct pair { float a; double b; int c[3]; };
static __device__ __noinline__ pair twist(pair p, int k) {
    pair r;
    r.a = p.a * k;
    r.b = p.b + p.c[k % 3];
    for (int i = 0; i < 3; i++)
        r.c[i] = p.c[(i + k) % 3] * k;
    return r;
}
extern "C" __global__ void calls(float *y, int n) {
    int i = threadIdx.x;
    pair p = {(float)i, 0.5 * i, {i, i + 1, i + 2}};
    for (int k = 0; k <= i % 3; k++)
        p = twist(p, k + n);
    y[i] = p.a + (float)p.b + p.c[0] + 10 * p.c[1] + 100 * p.c[2];
}
