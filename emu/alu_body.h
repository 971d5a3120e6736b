/* alu_body.h: the loops of alu_rows.h for one instruction set; included by alu_base.c and alu_avx2.c with ALU_ROWS
 * defined. Every lane is computed and the inactive ones keep their value, so the loops have no branch and vectorise. */
#include <fenv.h>

#include "emu/alu.h"
#include "emu/half.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;
typedef bool pred;
__extension__ typedef unsigned __int128 wide_u64;
__extension__ typedef __int128 wide_s64;

/* Stored type, signature letter, read and write of each operand type. 16-bit values live zero-extended in 32-bit lanes.
 */
#define STORED_u16  reg32
#define STORED_s16  reg32
#define STORED_u32  reg32
#define STORED_s32  reg32
#define STORED_u64  reg64
#define STORED_s64  reg64
#define STORED_f32  regf32
#define STORED_f64  regf64
#define STORED_pred reg32
#define LETTER_u16  "h"
#define LETTER_s16  "h"
#define LETTER_u32  "w"
#define LETTER_s32  "w"
#define LETTER_u64  "q"
#define LETTER_s64  "q"
#define LETTER_f32  "f"
#define LETTER_f64  "d"
#define LETTER_pred "p"
#define GET(T, p)   GET_##T(p)
#define GET_u16(p)  ((u16)(p)[i])
#define GET_s16(p)  ((s16)(u16)(p)[i])
#define GET_u32(p)  ((p)[i])
#define GET_s32(p)  ((s32)(p)[i])
#define GET_u64(p)  ((p)[i])
#define GET_s64(p)  ((s64)(p)[i])
#define GET_f32(p)  ((p)[i])
#define GET_f64(p)  ((p)[i])
#define GET_pred(p) ((p)[0] >> i & 1)
#define PUT_u16(x)  ((u16)(x))
#define PUT_s16(x)  ((u16)(x))
#define PUT_u32(x)  ((u32)(x))
#define PUT_s32(x)  ((u32)(x))
#define PUT_u64(x)  ((u64)(x))
#define PUT_s64(x)  ((u64)(x))
#define PUT_f32(x)  ((f32)(x))
#define PUT_f64(x)  ((f64)(x))

#if defined(__clang__)
#define INDEPENDENT
#else
#define INDEPENDENT _Pragma("GCC ivdep") /* a register is itself or another: rows never overlap in part */
#endif

static inline s64 clamp_s32(s64 x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x;
}
static inline u32 reverse32(u32 x) {
    x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
    x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(x);
}
static inline u32 top32(u32 x) {
    return x ? 31 - (u32)__builtin_clz(x) : ~0u;
}
static inline u32 top64(u64 x) {
    return x ? 63 - (u32)__builtin_clzll(x) : ~0u;
}
/* bfe: `length` bits from `start`, both taken modulo 256; beyond the top the sign (or 0) continues. */
static inline u64 field(u64 a, u32 start, u32 length, u32 width, int is_signed) {
    start &= 255, length &= 255;
    u32 end = start + length > width ? width : start + length;
    u64 sign = length == 0 ? 0 : is_signed ? a >> (end - 1 > width - 1 ? width - 1 : end - 1) & 1 : 0;
    if (start >= width && length)
        sign = is_signed ? a >> (width - 1) & 1 : 0;
    u64 r = start >= width ? 0 : a >> start, fill = sign ? ~UINT64_C(0) : 0;
    u32 kept = start >= width ? 0 : end - start;
    return kept >= 64 ? r : (r & ((UINT64_C(1) << kept) - 1)) | fill << kept;
}
/* shf: the 64 bits b:a shifted; l gives the high word, r the low one. n <= 32. */
static inline u32 funnel(u32 a, u32 b, u32 n, int left) {
    u64 both = (u64)b << 32 | a;
    return left ? (u32)(both << n >> 32) : (u32)(both >> n);
}
static const uint16_t permute_back[4] = {0x5670, 0x6701, 0x7012, 0x0123};
static const uint16_t permute_left[4] = {0x3210, 0x3211, 0x3222, 0x3333};
static const uint16_t permute_right[4] = {0x0000, 0x1110, 0x2210, 0x3210};
/* prmt: byte k of the result is byte s of b:a, s = nibble k of c; its bit 3 spreads the sign instead. */
static inline u32 permute(u32 a, u32 b, u32 c) {
    u64 both = (u64)b << 32 | a;
    u32 r = 0;
    for (u32 k = 0; k < 4; k++) {
        u32 s = c >> 4 * k, byte = (u32)(both >> 8 * (s & 7)) & 255;
        r |= (s & 8 ? (byte & 128 ? 255u : 0) : byte) << 8 * k;
    }
    return r;
}
static inline u32 lookup(u32 a, u32 b, u32 c, u32 table) {
    u32 r = 0;
    for (u32 k = 0; k < 8; k++)
        r |= table >> k & 1 ? (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c) : 0;
    return r;
}
static inline u32 mask_bits(u32 start, u32 length) {
    return (u32)(((UINT64_C(1) << length) - 1) << start);
}
static inline u32 dot4(u32 a, u32 b, u32 c, int sa, int sb) {
    for (u32 k = 0; k < 32; k += 8)
        c += (u32)(sa ? (s32)(int8_t)(a >> k) : (s32)(a >> k & 255)) *
             (u32)(sb ? (s32)(int8_t)(b >> k) : (s32)(b >> k & 255));
    return c;
}
static inline u32 dot2(u32 a, u32 b, u32 c, int sa, int sb) {
    for (u32 k = 0; k < 2; k++)
        c += (u32)(sa ? (s32)(s16)(a >> 16 * k) : (s32)(a >> 16 * k & 0xffff)) *
             (u32)(sb ? (s32)(int8_t)(b >> 8 * k) : (s32)(b >> 8 * k & 255));
    return c;
}
static inline f32 f32_low(u64 a) {
    return f32_bits((u32)a);
}
static inline f32 f32_high(u64 a) {
    return f32_bits((u32)(a >> 32));
}
static inline u64 packed(f32 low, f32 high) {
    return bits_f32(low) | (u64)bits_f32(high) << 32;
}

enum { MODE_rz = FE_TOWARDZERO, MODE_rm = FE_DOWNWARD, MODE_rp = FE_UPWARD };
/* One operation under another rounding mode; volatile keeps the compiler from moving it out of the changed mode. */
#define ROUNDED_FUNCTION(T, FMA, SQRT) \
    static __attribute__((noinline)) T rounded_##T(int mode, int what, T a, T b, T c) { \
        volatile T x = a, y = b, z = c, r = 0; \
        int old = fegetround(); \
        fesetround(mode); \
        switch (what) { \
        case 0: \
            r = x + y; \
            break; \
        case 1: \
            r = x - y; \
            break; \
        case 2: \
            r = x * y; \
            break; \
        case 3: \
            r = FMA(x, y, z); \
            break; \
        case 4: \
            r = x / y; \
            break; \
        default: \
            r = SQRT(x); \
            break; \
        } \
        fesetround(old); \
        return r; \
    }
ROUNDED_FUNCTION(f32, fmaf, sqrtf)
ROUNDED_FUNCTION(f64, fma, sqrt)
#define ROUNDED(T, R, what, a, b, c) rounded_##T(MODE_##R, what, a, b, c)
#define LUT                          ((u32)o->imm)

#define LANE_LOOP(PUT, expression) \
    if (mask == UINT32_MAX) { \
        INDEPENDENT for (u32 i = 0; i < LANES; i++) { \
            expression \
        } \
    } else { \
        INDEPENDENT for (u32 i = 0; i < LANES; i++) { \
            const bool on = mask >> i & 1; \
            PUT \
        } \
    }

#define DEFINE_1(id, TD, TA, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        STORED_##TD *d = REG(w, STORED_##TD, o->r[0]); \
        const STORED_##TA *pa = REG(w, const STORED_##TA, o->r[1]); \
        LANE_LOOP(const TA A = GET(TA, pa); d[i] = on ? PUT_##TD(E) : d[i];, const TA A = GET(TA, pa); \
                  d[i] = PUT_##TD(E);) \
    }
#define DEFINE_2(id, TD, TA, TB, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        STORED_##TD *d = REG(w, STORED_##TD, o->r[0]); \
        const STORED_##TA *pa = REG(w, const STORED_##TA, o->r[1]); \
        const STORED_##TB *pb = REG(w, const STORED_##TB, o->r[2]); \
        LANE_LOOP(const TA A = GET(TA, pa); const TB B = GET(TB, pb); d[i] = on ? PUT_##TD(E) : d[i]; \
                  , const TA A = GET(TA, pa); const TB B = GET(TB, pb); d[i] = PUT_##TD(E);) \
    }
#define DEFINE_3(id, TD, TA, TB, TC, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        STORED_##TD *d = REG(w, STORED_##TD, o->r[0]); \
        const STORED_##TA *pa = REG(w, const STORED_##TA, o->r[1]); \
        const STORED_##TB *pb = REG(w, const STORED_##TB, o->r[2]); \
        const STORED_##TC *pc = REG(w, const STORED_##TC, o->r[3]); \
        LANE_LOOP(const TA A = GET(TA, pa); const TB B = GET(TB, pb); const TC C = GET(TC, pc); \
                  d[i] = on ? PUT_##TD(E) : d[i];, const TA A = GET(TA, pa); const TB B = GET(TB, pb); \
                  const TC C = GET(TC, pc); d[i] = PUT_##TD(E);) \
    }
#define DEFINE_COMPARE(id, T, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        const STORED_##T *pa = REG(w, const STORED_##T, o->r[1]), *pb = REG(w, const STORED_##T, o->r[2]); \
        u32 r = 0; \
        for (u32 i = 0; i < LANES; i++) { \
            const T A = GET(T, pa), B = GET(T, pb); \
            (void)B; \
            r |= (E) ? 1u << i : 0; \
        } \
        pred_set(w, o->r[0], mask, r); \
    }
#define DEFINE_PRED_1(id, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        u32 A = pred_of(w, o->r[1]); \
        pred_set(w, o->r[0], mask, E); \
    }
#define DEFINE_PRED_2(id, E) \
    static void id(warp *w, const op *o, u32 mask) { \
        u32 A = pred_of(w, o->r[1]), B = pred_of(w, o->r[2]); \
        pred_set(w, o->r[0], mask, E); \
    }

#include "emu/alu_rows.h"

ALU_LIST(DEFINE_1, DEFINE_2, DEFINE_3, DEFINE_COMPARE, DEFINE_PRED_1, DEFINE_PRED_2)

/* bfi has four operands: `length` bits of a are put into b at `start`. */
#define DEFINE_INSERT(W) \
    static void bfi_b##W(warp *w, const op *o, u32 mask) { \
        STORED_u##W *d = REG(w, STORED_u##W, o->r[0]); \
        const STORED_u##W *pa = REG(w, const STORED_u##W, o->r[1]), *pb = REG(w, const STORED_u##W, o->r[2]); \
        const reg32 *ps = REG(w, const reg32, o->r[3]), *pl = REG(w, const reg32, o->r[4]); \
        for (u32 i = 0; i < LANES; i++) { \
            u32 start = ps[i] & 255, length = pl[i] & 255; \
            length = start >= W ? 0 : start + length > W ? W - start : length; \
            u##W ones = (u##W)(length >= W ? ~UINT64_C(0) : (UINT64_C(1) << length) - 1); \
            u##W at = (u##W)(length ? ones << start : 0); \
            u##W r = (pb[i] & ~at) | (length ? pa[i] << start & at : 0); \
            d[i] = mask >> i & 1 ? r : d[i]; \
        } \
    }
DEFINE_INSERT(32)
DEFINE_INSERT(64)

/* Extended-precision arithmetic: CC.CF is a bit a lane in the warp. IN: it is added (or subtracted), OUT: it is set.
 * For sub the flag is a borrow. mode2: bit 0 in, bit 1 out. */
#define DEFINE_CARRY(W, WIDE) \
    static void carry_add_u##W(warp *w, const op *o, u32 mask) { \
        FOR_LANES(i, mask) { \
            WIDE s = (WIDE)REG(w, reg##W, o->r[1])[i] + REG(w, reg##W, o->r[2])[i] + \
                     (o->mode2 & 1 ? w->carry >> i & 1 : 0); \
            REG(w, reg##W, o->r[0])[i] = (u##W)s; \
            if (o->mode2 & 2) \
                w->carry = (w->carry & ~(1u << i)) | (u32)(s >> W & 1) << i; \
        } \
    } \
    static void carry_sub_u##W(warp *w, const op *o, u32 mask) { \
        FOR_LANES(i, mask) { \
            WIDE s = (WIDE)REG(w, reg##W, o->r[1])[i] - REG(w, reg##W, o->r[2])[i] - \
                     (o->mode2 & 1 ? w->carry >> i & 1 : 0); \
            REG(w, reg##W, o->r[0])[i] = (u##W)s; \
            if (o->mode2 & 2) \
                w->carry = (w->carry & ~(1u << i)) | (u32)(s >> W & 1) << i; \
        } \
    }
DEFINE_CARRY(32, u64)
DEFINE_CARRY(64, wide_u64)

#define ROW_1(id, TD, TA, E)         {#id, LETTER_##TD LETTER_##TA, id},
#define ROW_2(id, TD, TA, TB, E)     {#id, LETTER_##TD LETTER_##TA LETTER_##TB, id},
#define ROW_3(id, TD, TA, TB, TC, E) {#id, LETTER_##TD LETTER_##TA LETTER_##TB LETTER_##TC, id},
#define ROW_COMPARE(id, T, E)        {#id, "p" LETTER_##T LETTER_##T, id},
#define ROW_PRED_1(id, E)            {#id, "pp", id},
#define ROW_PRED_2(id, E)            {#id, "ppp", id},

static const alu_row rows[] = {
    ALU_LIST(ROW_1, ROW_2, ROW_3, ROW_COMPARE, ROW_PRED_1, ROW_PRED_2){"bfi_b32", "wwwww", bfi_b32},
    {"bfi_b64", "qqqww", bfi_b64},
    {"carry_add_u32", "www", carry_add_u32},
    {"carry_sub_u32", "www", carry_sub_u32},
    {"carry_add_u64", "qqq", carry_add_u64},
    {"carry_sub_u64", "qqq", carry_sub_u64},
};

size_t ALU_ROWS(const alu_row **list) {
    *list = rows;
    return sizeof rows / sizeof *rows;
}
