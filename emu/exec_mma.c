/* exec_mma.c: mma.sync m16n8: d = a b + c, a [16][k] in rows, b [k][8] in columns. With g = lane / 4 and t = lane % 4,
 * register by register (PTX ISA, "Matrix Fragments"):  c: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1); 16-bit a: (g,
 * 2t..), (g+8, 2t..), (g, 2t+8..), (g+8, 2t+8..), b: (2t.., g), (2t+8.., g);  tf32 a: (g, t), (g+8, t), (g, t+4), (g+8,
 * t+4), b: (t, g), (t+4, g);  8-bit: as 16-bit with four elements a register. Sums are taken in float, in order of k.
 */
#include <string.h>

#include "emu/exec.h"
#include "emu/half.h"

static void count(warp *w, uint32_t m, uint32_t n, uint32_t k) {
    w->block->counters.mma++;
    w->block->counters.mma_flops += (uint64_t)2 * m * n * k;
}

/* c and d of 16 x 8 in f32 (four registers) or f16 (two registers of two). */
static void load_c(const warp *w, const op *o, float c[16][8]) {
    for (uint32_t i = 0; i < LANES; i++)
        for (uint32_t e = 0; e < 4; e++) {
            uint32_t row = i / 4 + 8 * (e / 2), column = i % 4 * 2 + e % 2;
            c[row][column] = o->type == T_F16
                                 ? f32_of_f16(REG(w, const reg32, o->r[10 + e / 2])[i] >> 16 * (e % 2) & 0xffff)
                                 : REG(w, const regf32, o->r[10 + e])[i];
        }
}

static void store_d(warp *w, const op *o, float d[16][8], uint32_t mask) {
    FOR_LANES(i, mask) {
        uint32_t g = i / 4, t = i % 4 * 2;
        for (uint32_t h = 0; h < 2; h++) {
            if (o->type == T_F16) {
                REG(w, reg32, o->r[h])[i] = f16_of_f32(d[g + 8 * h][t]) | f16_of_f32(d[g + 8 * h][t + 1]) << 16;
            } else {
                REG(w, regf32, o->r[2 * h])[i] = d[g + 8 * h][t];
                REG(w, regf32, o->r[2 * h + 1])[i] = d[g + 8 * h][t + 1];
            }
        }
    }
}

typedef float row8 __attribute__((vector_size(32), aligned(4), may_alias));

/* Four rows at a time: four sums in registers, each b row read once for them. */
static inline __attribute__((always_inline)) void multiply_rows(const float *a, const float (*b)[8], float c[16][8],
                                                                uint32_t k) {
    for (uint32_t i = 0; i < 16; i += 4) {
        row8 s0 = *(const row8 *)c[i], s1 = *(const row8 *)c[i + 1], s2 = *(const row8 *)c[i + 2],
             s3 = *(const row8 *)c[i + 3];
        const float *a0 = &a[i * k], *a1 = a0 + k, *a2 = a1 + k, *a3 = a2 + k;
        for (uint32_t x = 0; x < k; x++) {
            row8 v = *(const row8 *)b[x];
            s0 += a0[x] * v;
            s1 += a1[x] * v;
            s2 += a2[x] * v;
            s3 += a3[x] * v;
        }
        *(row8 *)c[i] = s0, *(row8 *)c[i + 1] = s1, *(row8 *)c[i + 2] = s2, *(row8 *)c[i + 3] = s3;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void multiply_avx2(const float *a, const float (*b)[8], float c[16][8],
                                                          uint32_t k) {
    multiply_rows(a, b, c, k);
}
#endif

static void multiply(const float *a, const float (*b)[8], float c[16][8], uint32_t k) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        multiply_avx2(a, b, c, k);
        return;
    }
#endif
    multiply_rows(a, b, c, k);
}

void emu_exec_mma_half(warp *w, const op *o, uint32_t mask) {
    float a[16 * 16], b[16][8], c[16][8];
    uint32_t k = o->count, na = k == 16 ? 4 : 2;
    bool bf16 = o->type2 == T_BF16;
    for (uint32_t r = 0; r < na; r++) {
        const reg32 *s = REG(w, const reg32, o->r[4 + r]);
        for (uint32_t i = 0; i < LANES; i++) {
            float *at = &a[(i / 4 + 8 * (r & 1)) * k + i % 4 * 2 + 8 * (r >> 1)];
            at[0] = bf16 ? f32_of_bf16(s[i] & 0xffff) : f32_of_f16(s[i] & 0xffff);
            at[1] = bf16 ? f32_of_bf16(s[i] >> 16) : f32_of_f16(s[i] >> 16);
        }
    }
    for (uint32_t r = 0; r < na / 2; r++) {
        const reg32 *s = REG(w, const reg32, o->r[8 + r]);
        for (uint32_t i = 0; i < LANES; i++) {
            b[i % 4 * 2 + 8 * r][i / 4] = bf16 ? f32_of_bf16(s[i] & 0xffff) : f32_of_f16(s[i] & 0xffff);
            b[i % 4 * 2 + 8 * r + 1][i / 4] = bf16 ? f32_of_bf16(s[i] >> 16) : f32_of_f16(s[i] >> 16);
        }
    }
    load_c(w, o, c);
    multiply(a, (const float(*)[8])b, c, k);
    store_d(w, o, c, mask);
    count(w, 16, 8, k);
}

void emu_exec_mma_tf32(warp *w, const op *o, uint32_t mask) {
    float a[16 * 8], b[16][8], c[16][8];
    uint32_t k = o->count;
    for (uint32_t r = 0; r < k / 2; r++) /* the low 13 bits of tf32 are not read */
        for (uint32_t i = 0; i < LANES; i++)
            a[(i / 4 + 8 * (r & 1)) * k + i % 4 + 4 * (r >> 1)] =
                f32_bits(REG(w, const reg32, o->r[4 + r])[i] & 0xffffe000);
    for (uint32_t r = 0; r < k / 4; r++)
        for (uint32_t i = 0; i < LANES; i++)
            b[i % 4 + 4 * r][i / 4] = f32_bits(REG(w, const reg32, o->r[8 + r])[i] & 0xffffe000);
    load_c(w, o, c);
    multiply(a, (const float(*)[8])b, c, k);
    store_d(w, o, c, mask);
    count(w, 16, 8, k);
}

void emu_exec_mma_int(warp *w, const op *o, uint32_t mask) {
    int32_t a[16][32], b[32][8];
    uint32_t k = o->count, na = k / 8;
    for (uint32_t r = 0; r < na; r++)
        for (uint32_t i = 0; i < LANES; i++)
            for (uint32_t e = 0; e < 4; e++) {
                uint32_t raw = REG(w, const reg32, o->r[4 + r])[i] >> 8 * e & 255;
                a[i / 4 + 8 * (r & 1)][i % 4 * 4 + e + 16 * (r >> 1)] = o->type2 == T_S8 ? (int8_t)raw : (int32_t)raw;
            }
    for (uint32_t r = 0; r < na / 2; r++)
        for (uint32_t i = 0; i < LANES; i++)
            for (uint32_t e = 0; e < 4; e++) {
                uint32_t raw = REG(w, const reg32, o->r[8 + r])[i] >> 8 * e & 255;
                b[i % 4 * 4 + e + 16 * r][i / 4] = o->mode2 == T_S8 ? (int8_t)raw : (int32_t)raw;
            }
    int32_t d[4][LANES];
    FOR_LANES(i, mask) {
        for (uint32_t e = 0; e < 4; e++) {
            int64_t sum = (int32_t)REG(w, const reg32, o->r[10 + e])[i];
            for (uint32_t x = 0; x < k; x++)
                sum += a[i / 4 + 8 * (e / 2)][x] * b[x][i % 4 * 2 + e % 2];
            if (o->mode) /* .satfinite */
                sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            d[e][i] = (int32_t)(uint32_t)(uint64_t)sum;
        }
    }
    for (uint32_t e = 0; e < 4; e++)
        FOR_LANES(i, mask) REG(w, reg32, o->r[e])[i] = (uint32_t)d[e][i];
    count(w, 16, 8, k);
}

/* m8n8k4: a (lane / 4, lane % 4), b (lane % 4, lane / 4), c (lane / 4, 2 (lane % 4)) and the next. */
void emu_exec_mma_f64(warp *w, const op *o, uint32_t mask) {
    double d[2][LANES];
    const regf64 *a = REG(w, const regf64, o->r[4]), *b = REG(w, const regf64, o->r[8]);
    FOR_LANES(i, mask) {
        for (uint32_t e = 0; e < 2; e++) {
            double sum = REG(w, const regf64, o->r[10 + e])[i];
            for (uint32_t x = 0; x < 4; x++)
                sum += a[i / 4 * 4 + x] * b[(i % 4 * 2 + e) * 4 + x];
            d[e][i] = sum;
        }
    }
    for (uint32_t e = 0; e < 2; e++)
        FOR_LANES(i, mask) REG(w, regf64, o->r[e])[i] = d[e][i];
    count(w, 8, 8, 4);
}
