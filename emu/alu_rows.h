/* alu_rows.h: the rows themselves, included by alu_body.h. U1, U2, U3: (key, result type, operand types, expression);
 * C2: comparisons, a predicate from two operands; P1, P2: predicate logic on the 32 lane masks at once. */

#define SHIFT_LEFT(T, bits)       (B >= (bits) ? 0 : (T)(A << (B & ((bits)-1))))
#define SHIFT_RIGHT(T, bits)      (B >= (bits) ? 0 : (T)(A >> (B & ((bits)-1))))
#define SHIFT_ARITHMETIC(T, bits) ((T)(A >> (B >= (bits) ? (bits)-1 : B)))

/* Integer forms of one width: U unsigned type, S signed type, W the width. Signless operations are found under the
 * unsigned name. */
/* clang-format off */
#define INT_ROWS(U1, U2, U3, C2, W, U, S) \
    U2(add_u##W, U, U, U, (U)(A + B)) \
    U2(sub_u##W, U, U, U, (U)(A - B)) \
    U2(mul_lo_u##W, U, U, U, (U)((uint64_t)A * B)) \
    U3(mad_lo_u##W, U, U, U, U, (U)((uint64_t)A * B + C)) \
    U2(div_u##W, U, U, U, B ? (U)(A / B) : (U)-1) \
    U2(rem_u##W, U, U, U, B ? (U)(A % B) : A) \
    U2(div_s##W, S, S, S, B == 0 ? -1 : B == -1 ? (S)(0 - (U)A) : (S)(A / B)) \
    U2(rem_s##W, S, S, S, B == 0 ? A : B == -1 ? 0 : (S)(A % B)) \
    U2(min_u##W, U, U, U, A < B ? A : B) \
    U2(max_u##W, U, U, U, A > B ? A : B) \
    U2(min_s##W, S, S, S, A < B ? A : B) \
    U2(max_s##W, S, S, S, A > B ? A : B) \
    U2(min_relu_s##W, S, S, S, A < B ? (A > 0 ? A : 0) : (B > 0 ? B : 0)) \
    U2(max_relu_s##W, S, S, S, A > B ? (A > 0 ? A : 0) : (B > 0 ? B : 0)) \
    U2(and_u##W, U, U, U, (U)(A & B)) \
    U2(or_u##W, U, U, U, (U)(A | B)) \
    U2(xor_u##W, U, U, U, (U)(A ^ B)) \
    U1(not_u##W, U, U, (U)~A) \
    U1(cnot_u##W, U, U, A == 0) \
    U1(neg_u##W, U, U, (U)(0 - A)) \
    U1(abs_s##W, U, S, A < 0 ? (U)(0 - (U)A) : (U)A) \
    U2(shl_u##W, U, U, u32, SHIFT_LEFT(U, W)) \
    U2(shr_u##W, U, U, u32, SHIFT_RIGHT(U, W)) \
    U2(shr_s##W, S, S, u32, SHIFT_ARITHMETIC(S, W)) \
    U1(mov_u##W, U, U, A) \
    U3(selp_u##W, U, U, U, pred, C ? A : B) \
    U3(slct_u##W##_s32, U, U, U, s32, C >= 0 ? A : B) \
    U3(slct_u##W##_f32, U, U, U, f32, C >= 0 ? A : B) \
    C2(setp_eq_u##W, U, A == B) \
    C2(setp_ne_u##W, U, A != B) \
    C2(setp_lt_u##W, U, A < B) \
    C2(setp_le_u##W, U, A <= B) \
    C2(setp_gt_u##W, U, A > B) \
    C2(setp_ge_u##W, U, A >= B) \
    C2(setp_lt_s##W, S, A < B) \
    C2(setp_le_s##W, S, A <= B) \
    C2(setp_gt_s##W, S, A > B) \
    C2(setp_ge_s##W, S, A >= B)
/* clang-format on */

/* Comparisons of floats; the forms ending in u are true when an operand is NaN. */
/* clang-format off */
#define FLOAT_COMPARE_ROWS(C2, T) \
    C2(setp_eq_##T, T, A == B) \
    C2(setp_ne_##T, T, A<B || A> B) \
    C2(setp_lt_##T, T, A < B) \
    C2(setp_le_##T, T, A <= B) \
    C2(setp_gt_##T, T, A > B) \
    C2(setp_ge_##T, T, A >= B) \
    C2(setp_equ_##T, T, !(A < B || A > B)) \
    C2(setp_neu_##T, T, !(A == B)) \
    C2(setp_ltu_##T, T, !(A >= B)) \
    C2(setp_leu_##T, T, !(A > B)) \
    C2(setp_gtu_##T, T, !(A <= B)) \
    C2(setp_geu_##T, T, !(A < B)) \
    C2(setp_num_##T, T, A == A && B == B) \
    C2(setp_nan_##T, T, A != A || B != B)
/* clang-format on */

/* Directed rounding is done by the processor, see rounded() in alu_body.h. */
/* clang-format off */
#define ROUNDED_ROWS(U1, U2, U3, T, R) \
    U2(add_##R##_##T, T, T, T, ROUNDED(T, R, 0, A, B, 0)) \
    U2(sub_##R##_##T, T, T, T, ROUNDED(T, R, 1, A, B, 0)) \
    U2(mul_##R##_##T, T, T, T, ROUNDED(T, R, 2, A, B, 0)) \
    U3(fma_##R##_##T, T, T, T, T, ROUNDED(T, R, 3, A, B, C)) \
    U2(div_##R##_##T, T, T, T, ROUNDED(T, R, 4, A, B, 0)) \
    U1(sqrt_##R##_##T, T, T, ROUNDED(T, R, 5, A, 0, 0)) \
    U1(rcp_##R##_##T, T, T, ROUNDED(T, R, 4, 1, A, 0))
/* clang-format on */

/* Arithmetic of 16-bit floats: H widens to float, N narrows, F is the fused multiply-add on bits; X2: both halves. */
#define LOW(x)       ((x)&0xffff)
#define HIGH(x)      ((x) >> 16)
#define PAIR(lo, hi) (LOW(lo) | (uint32_t)(hi) << 16)
/* clang-format off */
#define HALF_ROWS(U1, U2, U3, T, H, N, F) \
    U2(add_##T, u16, u16, u16, N(H(A) + H(B))) \
    U2(sub_##T, u16, u16, u16, N(H(A) - H(B))) \
    U2(mul_##T, u16, u16, u16, N(H(A) * H(B))) \
    U3(fma_##T, u16, u16, u16, u16, F(A, B, C)) \
    U3(fma_relu_##T, u16, u16, u16, u16, N(f32_max_nan(H(F(A, B, C)), 0))) \
    U2(min_##T, u16, u16, u16, N(f32_min(H(A), H(B)))) \
    U2(max_##T, u16, u16, u16, N(f32_max(H(A), H(B)))) \
    U2(min_NaN_##T, u16, u16, u16, N(f32_min_nan(H(A), H(B)))) \
    U2(max_NaN_##T, u16, u16, u16, N(f32_max_nan(H(A), H(B)))) \
    U1(neg_##T, u16, u16, A ^ 0x8000) \
    U1(abs_##T, u16, u16, A & 0x7fff) \
    U1(ex2_approx_##T, u16, u16, N(exp2f(H(A)))) \
    U1(tanh_approx_##T, u16, u16, N(tanhf(H(A)))) \
    U2(add_##T##x2, u32, u32, u32, PAIR(N(H(LOW(A)) + H(LOW(B))), N(H(HIGH(A)) + H(HIGH(B))))) \
    U2(sub_##T##x2, u32, u32, u32, PAIR(N(H(LOW(A)) - H(LOW(B))), N(H(HIGH(A)) - H(HIGH(B))))) \
    U2(mul_##T##x2, u32, u32, u32, PAIR(N(H(LOW(A)) * H(LOW(B))), N(H(HIGH(A)) * H(HIGH(B))))) \
    U3(fma_##T##x2, u32, u32, u32, u32, PAIR(F(LOW(A), LOW(B), LOW(C)), F(HIGH(A), HIGH(B), HIGH(C)))) \
    U3(fma_relu_##T##x2, u32, u32, u32, u32, PAIR(N(f32_max_nan(H(F(LOW(A), LOW(B), LOW(C))), 0)), \
        N(f32_max_nan(H(F(HIGH(A), HIGH(B), HIGH(C))), 0)))) \
    U2(min_##T##x2, u32, u32, u32, PAIR(N(f32_min(H(LOW(A)), H(LOW(B)))), N(f32_min(H(HIGH(A)), H(HIGH(B)))))) \
    U2(max_##T##x2, u32, u32, u32, PAIR(N(f32_max(H(LOW(A)), H(LOW(B)))), N(f32_max(H(HIGH(A)), H(HIGH(B)))))) \
    U2(min_NaN_##T##x2, u32, u32, u32, PAIR(N(f32_min_nan(H(LOW(A)), H(LOW(B)))), \
        N(f32_min_nan(H(HIGH(A)), H(HIGH(B)))))) \
    U2(max_NaN_##T##x2, u32, u32, u32, PAIR(N(f32_max_nan(H(LOW(A)), H(LOW(B)))), \
        N(f32_max_nan(H(HIGH(A)), H(HIGH(B)))))) \
    U1(neg_##T##x2, u32, u32, A ^ 0x80008000) \
    U1(abs_##T##x2, u32, u32, A & 0x7fff7fff) \
    U1(ex2_approx_##T##x2, u32, u32, PAIR(N(exp2f(H(LOW(A)))), N(exp2f(H(HIGH(A)))))) \
    U1(tanh_approx_##T##x2, u32, u32, PAIR(N(tanhf(H(LOW(A)))), N(tanhf(H(HIGH(A)))))) \
    U1(to_f32_##T, f32, u16, H(A)) \
    U1(to_f32_high_##T, f32, u32, H(HIGH(A))) \
    U1(cvt_f32_##T, f32, u16, H(A)) \
    U1(cvt_rn_##T##_f32, u16, f32, N(A)) \
    U1(cvt_rn_relu_##T##_f32, u16, f32, N(f32_max_nan(A, 0))) \
    U2(cvt_rn_##T##x2_f32, u32, f32, f32, PAIR(N(B), N(A))) \
    U2(cvt_rn_relu_##T##x2_f32, u32, f32, f32, PAIR(N(f32_max_nan(B, 0)), N(f32_max_nan(A, 0))))
/* clang-format on */

/* clang-format off */
#define MULTIPLY_ROWS(U2, U3, W, U, S, WU, WS, WIDE) \
    U2(mul_hi_u##W, U, U, U, (U)((WU)A * B >> W)) \
    U2(mul_hi_s##W, S, S, S, (S)((WS)A * B >> W)) \
    U3(mad_hi_u##W, U, U, U, U, (U)(((WU)A * B >> W) + C)) \
    U3(mad_hi_s##W, U, S, S, U, (U)((WU)((WS)A * B >> W) + C))
/* clang-format on */

/* clang-format off */
#define ALU_LIST(U1, U2, U3, C2, P1, P2) \
    INT_ROWS(U1, U2, U3, C2, 16, u16, s16) \
    INT_ROWS(U1, U2, U3, C2, 32, u32, s32) \
    INT_ROWS(U1, U2, U3, C2, 64, u64, s64) \
    MULTIPLY_ROWS(U2, U3, 16, u16, s16, uint32_t, int32_t, 32) \
    MULTIPLY_ROWS(U2, U3, 32, u32, s32, uint64_t, int64_t, 64) \
    MULTIPLY_ROWS(U2, U3, 64, u64, s64, wide_u64, wide_s64, 128) \
    U2(mul_wide_u16, u32, u16, u16, (u32)A * B) \
    U2(mul_wide_s16, s32, s16, s16, (s32)A * B) \
    U2(mul_wide_u32, u64, u32, u32, (u64)A * B) \
    U2(mul_wide_s32, s64, s32, s32, (s64)A * B) \
    U3(mad_wide_u16, u32, u16, u16, u32, (u32)A * B + C) \
    U3(mad_wide_s16, u32, s16, s16, u32, (u32)((s32)A * B) + C) \
    U3(mad_wide_u32, u64, u32, u32, u64, (u64)A * B + C) \
    U3(mad_wide_s32, u64, s32, s32, u64, (u64)((s64)A * B) + C) \
    U2(mul24_lo_u32, u32, u32, u32, (A & 0xffffff) * (B & 0xffffff)) \
    U2(mul24_lo_s32, u32, u32, u32, (u32)((s32)(A << 8) >> 8) * (u32)((s32)(B << 8) >> 8)) \
    U2(add_sat_s32, s32, s32, s32, (s32)clamp_s32((s64)A + B)) \
    U2(sub_sat_s32, s32, s32, s32, (s32)clamp_s32((s64)A - B)) \
    U3(sad_u16, u16, u16, u16, u16, (u16)(C + (A < B ? B - A : A - B))) \
    U3(sad_u32, u32, u32, u32, u32, C + (A < B ? B - A : A - B)) \
    U3(sad_s32, u32, s32, s32, u32, C + (A < B ? (u32)B - (u32)A : (u32)A - (u32)B)) \
    U3(sad_u64, u64, u64, u64, u64, C + (A < B ? B - A : A - B)) \
    U3(sad_s64, u64, s64, s64, u64, C + (A < B ? (u64)B - (u64)A : (u64)A - (u64)B)) \
    U1(popc_b32, u32, u32, (u32)__builtin_popcount(A)) \
    U1(popc_b64, u32, u64, (u32)__builtin_popcountll(A)) \
    U1(clz_b32, u32, u32, A ? (u32)__builtin_clz(A) : 32) \
    U1(clz_b64, u32, u64, A ? (u32)__builtin_clzll(A) : 64) \
    U1(brev_b32, u32, u32, reverse32(A)) \
    U1(brev_b64, u64, u64, (u64)reverse32((u32) A) << 32 | reverse32((u32)(A >> 32))) \
    U1(bfind_u32, u32, u32, top32(A)) \
    U1(bfind_s32, u32, s32, top32((u32)(A < 0 ? ~A : A))) \
    U1(bfind_u64, u32, u64, top64(A)) \
    U1(bfind_s64, u32, s64, top64((u64)(A < 0 ? ~A : A))) \
    U1(bfind_shiftamt_u32, u32, u32, A ? 31 - top32(A) : ~0u) \
    U1(bfind_shiftamt_s32, u32, s32, (A ^ A >> 31) ? 31 - top32((u32)(A ^ A >> 31)) : ~0u) \
    U1(bfind_shiftamt_u64, u32, u64, A ? 63 - top64(A) : ~0u) \
    U1(bfind_shiftamt_s64, u32, s64, (A ^ A >> 63) ? 63 - top64((u64)(A ^ A >> 63)) : ~0u) \
    U3(bfe_u32, u32, u32, u32, u32, (u32) field(A, B, C, 32, 0)) \
    U3(bfe_s32, u32, u32, u32, u32, (u32)field(A, B, C, 32, 1)) \
    U3(bfe_u64, u64, u64, u32, u32, field(A, B, C, 64, 0)) \
    U3(bfe_s64, u64, u64, u32, u32, field(A, B, C, 64, 1)) \
    U3(shf_l_wrap_b32, u32, u32, u32, u32, funnel(A, B, C & 31, 1)) \
    U3(shf_r_wrap_b32, u32, u32, u32, u32, funnel(A, B, C & 31, 0)) \
    U3(shf_l_clamp_b32, u32, u32, u32, u32, funnel(A, B, C > 32 ? 32 : C, 1)) \
    U3(shf_r_clamp_b32, u32, u32, u32, u32, funnel(A, B, C > 32 ? 32 : C, 0)) \
    U3(prmt_b32, u32, u32, u32, u32, permute(A, B, C)) \
    U3(prmt_f4e_b32, u32, u32, u32, u32, permute(A, B, 0x3210 + 0x1111 * (C & 3))) \
    U3(prmt_b4e_b32, u32, u32, u32, u32, permute(A, B, permute_back[C & 3])) \
    U3(prmt_rc8_b32, u32, u32, u32, u32, permute(A, B, 0x1111 * (C & 3))) \
    U3(prmt_ecl_b32, u32, u32, u32, u32, permute(A, B, permute_left [C & 3])) \
    U3(prmt_ecr_b32, u32, u32, u32, u32, permute(A, B, permute_right [C & 3])) \
    U3(prmt_rc16_b32, u32, u32, u32, u32, permute(A, B, C & 1 ? 0x3232 : 0x1010)) \
    U3(lop3_b32, u32, u32, u32, u32, lookup(A, B, C, LUT)) \
    U2(bmsk_clamp_b32, u32, u32, u32, mask_bits(A > 32 ? 32 : A, B > 32 ? 32 : B)) \
    U2(bmsk_wrap_b32, u32, u32, u32, mask_bits(A & 31, B & 31)) \
    U2(szext_wrap_u32, u32, u32, u32, (B & 31) ? A &(0xffffffffu >> (32 - (B & 31))) : 0) \
    U2(szext_clamp_u32, u32, u32, u32, B > 31 ? A : B ? A & (0xffffffffu >> (32 - (B & 31))) : 0) \
    U2(szext_wrap_s32, u32, u32, u32, (B & 31) ? (u32)((s32)(A << (32 - (B & 31))) >> (32 - (B & 31))) : 0) \
    U2(szext_clamp_s32, u32, u32, u32, B > 31 ? A : B ? (u32)((s32)(A << (32 - (B & 31))) >> (32 - (B & 31))) : 0) \
    U3(dp4a_u32_u32, u32, u32, u32, u32, dot4(A, B, C, 0, 0)) \
    U3(dp4a_u32_s32, u32, u32, u32, u32, dot4(A, B, C, 0, 1)) \
    U3(dp4a_s32_u32, u32, u32, u32, u32, dot4(A, B, C, 1, 0)) \
    U3(dp4a_s32_s32, u32, u32, u32, u32, dot4(A, B, C, 1, 1)) \
    U3(dp2a_lo_u32_u32, u32, u32, u32, u32, dot2(A, B, C, 0, 0)) \
    U3(dp2a_lo_s32_s32, u32, u32, u32, u32, dot2(A, B, C, 1, 1)) \
    U3(dp2a_hi_u32_u32, u32, u32, u32, u32, dot2(A, B >> 16, C, 0, 0)) \
    U3(dp2a_hi_s32_s32, u32, u32, u32, u32, dot2(A, B >> 16, C, 1, 1)) \
    U2(add_f32, f32, f32, f32, A + B) \
    U2(sub_f32, f32, f32, f32, A - B) \
    U2(mul_f32, f32, f32, f32, A *B) \
    U3(fma_f32, f32, f32, f32, f32, fmaf(A, B, C)) \
    U2(div_f32, f32, f32, f32, A / B) \
    U1(sqrt_f32, f32, f32, sqrtf(A)) \
    U1(rcp_f32, f32, f32, 1.0f / A) \
    U1(neg_f32, f32, f32, -A) \
    U1(abs_f32, f32, f32, fabsf(A)) \
    U2(copysign_f32, f32, f32, f32, copysignf(B, A)) \
    U2(min_f32, f32, f32, f32, f32_min(A, B)) \
    U2(max_f32, f32, f32, f32, f32_max(A, B)) \
    U2(min_NaN_f32, f32, f32, f32, f32_min_nan(A, B)) \
    U2(max_NaN_f32, f32, f32, f32, f32_max_nan(A, B)) \
    U1(ftz_f32, f32, f32, fabsf(A) < 0x1p-126f ? copysignf(0, A) : A) \
    U1(sat_f32, f32, f32, A > 0 ? (A < 1 ? A : 1) : 0) \
    U1(sat_f64, f64, f64, A > 0 ? (A < 1 ? A : 1) : 0) \
    U1(relu_f32, f32, f32, f32_max_nan(A, 0)) \
    U1(rsqrt_approx_f32, f32, f32, (float)(1.0 / sqrt((double)A))) \
    U1(rsqrt_approx_f64, f64, f64, 1.0 / sqrt(A)) \
    U1(ex2_approx_f32, f32, f32, exp2f(A)) \
    U1(lg2_approx_f32, f32, f32, log2f(A)) \
    U1(sin_approx_f32, f32, f32, sinf(A)) \
    U1(cos_approx_f32, f32, f32, cosf(A)) \
    U1(tanh_approx_f32, f32, f32, tanhf(A)) \
    U1(rcp_approx_f64, f64, f64, f64_bits(bits_f64(1.0 / A) & ~UINT64_C(0xffffffff))) \
    U1(rsqrt_high_f64, f64, f64, f64_bits(bits_f64(1.0 / sqrt(A)) & ~UINT64_C(0xffffffff))) \
    U2(add_f64, f64, f64, f64, A + B) \
    U2(sub_f64, f64, f64, f64, A - B) \
    U2(mul_f64, f64, f64, f64, A *B) \
    U3(fma_f64, f64, f64, f64, f64, fma(A, B, C)) \
    U2(div_f64, f64, f64, f64, A / B) \
    U1(sqrt_f64, f64, f64, sqrt(A)) \
    U1(rcp_f64, f64, f64, 1.0 / A) \
    U1(neg_f64, f64, f64, -A) \
    U1(abs_f64, f64, f64, fabs(A)) \
    U2(copysign_f64, f64, f64, f64, copysign(B, A)) \
    U2(min_f64, f64, f64, f64, f64_min(A, B)) \
    U2(max_f64, f64, f64, f64, f64_max(A, B)) \
    ROUNDED_ROWS(U1, U2, U3, f32, rz) \
    ROUNDED_ROWS(U1, U2, U3, f32, rm) \
    ROUNDED_ROWS(U1, U2, U3, f32, rp) \
    ROUNDED_ROWS(U1, U2, U3, f64, rz) \
    ROUNDED_ROWS(U1, U2, U3, f64, rm) \
    ROUNDED_ROWS(U1, U2, U3, f64, rp) \
    U2(add_f32x2, u64, u64, u64, packed(f32_low(A) + f32_low(B), f32_high(A) + f32_high(B))) \
    U2(sub_f32x2, u64, u64, u64, packed(f32_low(A) - f32_low(B), f32_high(A) - f32_high(B))) \
    U2(mul_f32x2, u64, u64, u64, packed(f32_low(A) * f32_low(B), f32_high(A) * f32_high(B))) \
    U3(fma_f32x2, u64, u64, u64, u64, packed(fmaf(f32_low(A), f32_low(B), f32_low(C)), fmaf(f32_high(A), \
        f32_high(B), f32_high(C)))) \
    HALF_ROWS(U1, U2, U3, f16, f32_of_f16, f16_of_f32, f16_fma) \
    HALF_ROWS(U1, U2, U3, bf16, f32_of_bf16, bf16_of_f32, bf16_fma) \
    FLOAT_COMPARE_ROWS(C2, f32) \
    FLOAT_COMPARE_ROWS(C2, f64) \
    C2(testp_finite_f32, f32, A - A == 0) \
    C2(testp_infinite_f32, f32, A - A != 0 && A == A) \
    C2(testp_number_f32, f32, A == A) \
    C2(testp_notanumber_f32, f32, A != A) \
    C2(testp_normal_f32, f32, A - A == 0 && fabsf(A) >= 0x1p-126f) \
    C2(testp_subnormal_f32, f32, A != 0 && fabsf(A) < 0x1p-126f) \
    C2(testp_finite_f64, f64, A - A == 0) \
    C2(testp_infinite_f64, f64, A - A != 0 && A == A) \
    C2(testp_number_f64, f64, A == A) \
    C2(testp_notanumber_f64, f64, A != A) \
    C2(testp_normal_f64, f64, A - A == 0 && fabs(A) >= 0x1p-1022) \
    C2(testp_subnormal_f64, f64, A != 0 && fabs(A) < 0x1p-1022) \
    U1(cvt_u64_u32, u64, u32, A) \
    U1(cvt_s64_s32, s64, s32, A) \
    U1(cvt_u32_u64, u32, u64, (u32) A) \
    U1(cvt_u32_u16, u32, u16, A) \
    U1(cvt_s32_s16, s32, s16, A) \
    U1(cvt_u16_u32, u16, u32, (u16)A) \
    U1(cvt_rn_f32_s32, f32, s32, (float) A) \
    U1(cvt_rn_f32_u32, f32, u32, (float)A) \
    U1(cvt_f64_f32, f64, f32, (double)A) \
    U1(cvt_rn_f32_f64, f32, f64, (float)A) \
    U1(cvt_rn_f64_s32, f64, s32, (double) A) \
    U1(cvt_rn_f64_u32, f64, u32, (double) A) \
    U1(cvt_rni_f32_f32, f32, f32, rintf(A)) \
    U1(cvt_rmi_f32_f32, f32, f32, floorf(A)) \
    U1(cvt_rpi_f32_f32, f32, f32, ceilf(A)) \
    U1(cvt_rzi_f32_f32, f32, f32, truncf(A)) \
    U1(low_b64, u32, u64, (u32) A) \
    U1(high_b64, u32, u64, (u32)(A >> 32)) \
    U2(pack_b64, u64, u32, u32, A | (u64)B << 32) \
    U2(pack_b32, u32, u16, u16, A | (u32)B << 16) \
    U1(low_b32, u16, u32, (u16)A) \
    U1(high_b32, u16, u32, (u16)(A >> 16)) \
    U2(pack_b16, u16, u16, u16, (u16)((A & 255) | B << 8)) \
    U1(low_b16, u16, u16, A & 255) \
    U1(high_b16, u16, u16, (u16)(A >> 8)) \
    P1(mov_pred, A) \
    P1(not_pred, ~A) \
    P2(and_pred, A &B) \
    P2(or_pred, A | B) \
    P2(xor_pred, A ^ B) \
    P2(andn_pred, B & ~A) \
    P2(orn_pred, B | ~A) \
    P2(xorn_pred, B ^ ~A)
/* clang-format on */
