/* test_emu_integer.c: integer, logic, comparison and selection instructions against their meaning in C. A new form: a
 * row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/emu/help_rows.h"

static uint64_t high_u64(uint64_t a, uint64_t b) { /* by halves, to be independent of wide types */
    uint64_t al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
    uint64_t middle = (al * bl >> 32) + (al * bh & 0xffffffff) + (ah * bl & 0xffffffff);
    return ah * bh + (al * bh >> 32) + (ah * bl >> 32) + (middle >> 32);
}
static uint64_t high_s64(int64_t a, int64_t b) {
    return high_u64((uint64_t)a, (uint64_t)b) - (a < 0 ? (uint64_t)b : 0) - (b < 0 ? (uint64_t)a : 0);
}
static uint64_t bits_of(uint64_t x) {
    uint64_t n = 0;
    for (; x; x &= x - 1)
        n++;
    return n;
}
static int highest(uint64_t x) {
    int n = -1;
    for (; x; x >>= 1)
        n++;
    return n;
}
static uint64_t reversed(uint64_t x, int bits) {
    uint64_t r = 0;
    for (int i = 0; i < bits; i++)
        r |= (x >> i & 1) << (bits - 1 - i);
    return r;
}
/* bfe as in the PTX ISA: bit by bit. */
static uint64_t extract(uint64_t a, uint32_t b, uint32_t c, int msb, bool is_signed) {
    uint32_t pos = b & 255, len = c & 255;
    uint64_t sign =
                 !is_signed || len == 0 ? 0 : a >> (pos + len - 1 < (uint32_t)msb ? pos + len - 1 : (uint32_t)msb) & 1,
             d = 0;
    for (int i = 0; i <= msb; i++)
        d |= ((uint32_t)i < len && pos + (uint32_t)i <= (uint32_t)msb ? a >> (pos + (uint32_t)i) & 1 : sign) << i;
    return d;
}
static uint64_t inserted(uint64_t a, uint64_t b, uint32_t c, uint32_t d, int msb) {
    uint32_t pos = c & 255, len = d & 255;
    for (uint32_t i = 0; i < len && pos + i <= (uint32_t)msb; i++)
        b = (b & ~(UINT64_C(1) << (pos + i))) | (a >> i & 1) << (pos + i);
    return b;
}
static uint64_t permuted(uint32_t a, uint32_t b, uint32_t s) {
    uint64_t both = (uint64_t)b << 32 | a, r = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t byte = both >> 8 * (s >> 4 * i & 7) & 255;
        r |= (s >> 4 * i & 8 ? (byte >> 7) * 255 : byte) << 8 * i;
    }
    return r;
}
static uint64_t voted(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint64_t r = 0;
    for (int i = 0; i < 32; i++)
        r |= (uint64_t)(table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
    return r;
}
static uint32_t dot(uint32_t a, uint32_t b, uint32_t c, bool sa, bool sb) {
    for (int i = 0; i < 32; i += 8)
        c += (uint32_t)((sa ? (int8_t)(a >> i) : (int32_t)(uint8_t)(a >> i)) *
                        (sb ? (int8_t)(b >> i) : (int32_t)(uint8_t)(b >> i)));
    return c;
}
static uint32_t clamped(int64_t x) {
    return (uint32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

/* clang-format off */
#define ROWS(X) \
    X('w', "add.s32 %rx, %ra, %rb;", ra + rb) \
    X('w', "add.s32 %rx, %ra, -7;", ra - 7) \
    X('q', "add.s64 %qx, %qa, %qb;", qa + qb) \
    X('h', "add.u16 %hx, %ha, %hb;", (uint16_t)(ha + hb)) \
    X('w', "sub.u32 %rx, %ra, %rb;", ra - rb) \
    X('q', "sub.s64 %qx, %qa, %qb;", qa - qb) \
    X('w', "add.sat.s32 %rx, %ra, %rb;", clamped((int64_t)sa + sb)) \
    X('w', "sub.sat.s32 %rx, %ra, %rb;", clamped((int64_t)sa - sb)) \
    X('w', "mul.lo.s32 %rx, %ra, %rb;", ra *rb) \
    X('q', "mul.lo.u64 %qx, %qa, %qb;", qa *qb) \
    X('h', "mul.lo.s16 %hx, %ha, %hb;", (uint16_t)((uint32_t)ha * hb)) \
    X('w', "mul.hi.u32 %rx, %ra, %rb;", (uint32_t)((uint64_t)ra * rb >> 32)) \
    X('w', "mul.hi.s32 %rx, %ra, %rb;", (uint32_t)((uint64_t)((int64_t)sa * sb) >> 32)) \
    X('q', "mul.hi.u64 %qx, %qa, %qb;", high_u64(qa, qb)) \
    X('q', "mul.hi.s64 %qx, %qa, %qb;", high_s64(sqa, sqb)) \
    X('h', "mul.hi.s16 %hx, %ha, %hb;", (uint16_t)((uint32_t)(za * zb) >> 16)) \
    X('q', "mul.wide.u32 %qx, %ra, %rb;", (uint64_t)ra *rb) \
    X('q', "mul.wide.s32 %qx, %ra, %rb;", (uint64_t)((int64_t)sa * sb)) \
    X('w', "mul.wide.u16 %rx, %ha, %hb;", (uint32_t)ha *hb) \
    X('w', "mul.wide.s16 %rx, %ha, %hb;", (uint32_t)(za * zb)) \
    X('w', "mad.lo.s32 %rx, %ra, %rb, %rc;", ra *rb + rc) \
    X('w', "mad.hi.u32 %rx, %ra, %rb, %rc;", (uint32_t)((uint64_t)ra * rb >> 32) + rc) \
    X('w', "mad.hi.s32 %rx, %ra, %rb, %rc;", (uint32_t)((uint64_t)((int64_t)sa * sb) >> 32) + rc) \
    X('q', "mad.wide.s32 %qx, %ra, %rb, %qc;", (uint64_t)((int64_t)sa * sb) + qc) \
    X('q', "mad.wide.u32 %qx, %ra, %rb, %qc;", (uint64_t)ra *rb + qc) \
    X('q', "mad.lo.s64 %qx, %qa, %qb, %qc;", qa *qb + qc) \
    X('w', "mul24.lo.u32 %rx, %ra, %rb;", (ra & 0xffffff) * (rb & 0xffffff)) \
    X('w', "mad24.lo.u32 %rx, %ra, %rb, %rc;", (ra & 0xffffff) * (rb & 0xffffff) + rc) \
    X('w', "sad.u32 %rx, %ra, %rb, %rc;", rc + (ra > rb ? ra - rb : rb - ra)) \
    X('w', "sad.s32 %rx, %ra, %rb, %rc;", rc + (uint32_t)(sa > sb ? (int64_t)sa - sb : (int64_t)sb - sa)) \
    X('w', "or.b32 %rx, %rb, 1; div.u32 %rx, %ra, %rx;", ra / (rb | 1)) \
    X('w', "or.b32 %rx, %rb, 1; rem.u32 %rx, %ra, %rx;", ra % (rb | 1)) \
    X('w', "or.b32 %rx, %rb, 1; div.s32 %rx, %ra, %rx;", (uint32_t)((int64_t)sa / (int32_t)(rb | 1))) \
    X('w', "or.b32 %rx, %rb, 1; rem.s32 %rx, %ra, %rx;", (uint32_t)((int64_t)sa % (int32_t)(rb | 1))) \
    X('q', "or.b64 %qx, %qb, 1; div.u64 %qx, %qa, %qx;", qa / (qb | 1)) \
    X('q', "or.b64 %qx, %qb, 1; rem.u64 %qx, %qa, %qx;", qa % (qb | 1)) \
    X('q', "or.b64 %qx, %qb, 2; div.s64 %qx, %qa, %qx;", (uint64_t)((sqb | 2) == -1 ? (int64_t)(0 - qa) : \
        sqa / (sqb | 2))) \
    X('w', "min.s32 %rx, %ra, %rb;", sa < sb ? ra : rb) \
    X('w', "max.u32 %rx, %ra, %rb;", ra > rb ? ra : rb) \
    X('q', "min.u64 %qx, %qa, %qb;", qa < qb ? qa : qb) \
    X('q', "max.s64 %qx, %qa, %qb;", sqa > sqb ? qa : qb) \
    X('h', "min.s16 %hx, %ha, %hb;", za < zb ? ha : hb) \
    X('w', "max.relu.s32 %rx, %ra, %rb;", (uint32_t)((sa > sb ? sa : sb) > 0 ? (sa > sb ? sa : sb) : 0)) \
    X('w', "neg.s32 %rx, %ra;", 0 - ra) \
    X('q', "neg.s64 %qx, %qa;", 0 - qa) \
    X('w', "abs.s32 %rx, %ra;", sa < 0 ? 0 - ra : ra) \
    X('q', "abs.s64 %qx, %qa;", sqa < 0 ? 0 - qa : qa) \
    X('w', "and.b32 %rx, %ra, %rb;", ra & rb) \
    X('q', "or.b64 %qx, %qa, %qb;", qa | qb) \
    X('h', "xor.b16 %hx, %ha, %hb;", ha ^ hb) \
    X('w', "not.b32 %rx, %ra;", ~ra) \
    X('w', "cnot.b32 %rx, %ra;", ra == 0) \
    X('q', "not.b64 %qx, %qa;", ~qa) \
    X('w', "shl.b32 %rx, %ra, %rb;", rb > 31 ? 0 : ra << rb) \
    X('w', "shr.u32 %rx, %ra, %rb;", rb > 31 ? 0 : ra >> rb) \
    X('w', "shr.s32 %rx, %ra, %rb;", (uint32_t)(sa >> (rb > 31 ? 31 : rb))) \
    X('q', "shl.b64 %qx, %qa, %rb;", rb > 63 ? 0 : qa << rb) \
    X('q', "shr.u64 %qx, %qa, %rb;", rb > 63 ? 0 : qa >> rb) \
    X('q', "shr.s64 %qx, %qa, %rb;", (uint64_t)(sqa >> (rb > 63 ? 63 : rb))) \
    X('h', "shl.b16 %hx, %ha, %rb;", (uint16_t)(rb > 15 ? 0 : ha << rb)) \
    X('h', "shr.s16 %hx, %ha, %rb;", (uint16_t)(za >> (rb > 15 ? 15 : rb))) \
    X('w', "shf.l.wrap.b32 %rx, %ra, %rb, %rc;", (uint32_t)(((uint64_t)rb << 32 | ra) << (rc & 31) >> 32)) \
    X('w', "shf.r.wrap.b32 %rx, %ra, %rb, %rc;", (uint32_t)(((uint64_t)rb << 32 | ra) >> (rc & 31))) \
    X('w', "shf.l.clamp.b32 %rx, %ra, %rb, %rc;", rc >= 32 ? ra : (uint32_t)(((uint64_t)rb << 32 | ra) << rc >> 32)) \
    X('w', "shf.r.clamp.b32 %rx, %ra, %rb, %rc;", rc >= 32 ? rb : (uint32_t)(((uint64_t)rb << 32 | ra) >> rc)) \
    X('w', "popc.b32 %rx, %ra;", bits_of(ra)) \
    X('w', "popc.b64 %rx, %qa;", bits_of(qa)) \
    X('w', "clz.b32 %rx, %ra;", (uint32_t)(31 - highest(ra))) \
    X('w', "clz.b64 %rx, %qa;", (uint32_t)(63 - highest(qa))) \
    X('w', "brev.b32 %rx, %ra;", reversed(ra, 32)) \
    X('q', "brev.b64 %qx, %qa;", reversed(qa, 64)) \
    X('w', "bfind.u32 %rx, %ra;", (uint32_t) highest(ra)) \
    X('w', "bfind.s32 %rx, %ra;", (uint32_t)highest(sa < 0 ? ~ra : ra)) \
    X('w', "bfind.u64 %rx, %qa;", (uint32_t)highest(qa)) \
    X('w', "bfind.s64 %rx, %qa;", (uint32_t)highest(sqa < 0 ? ~qa : qa)) \
    X('w', "bfind.shiftamt.u32 %rx, %ra;", ra ? (uint32_t)(31 - highest(ra)) : 0xffffffff) \
    X('w', "bfind.shiftamt.s64 %rx, %qa;", (sqa < 0 ? ~qa : qa) ? (uint32_t)(63 - highest(sqa < 0 ? ~qa : qa)) : \
        0xffffffff) \
    X('w', "bfe.u32 %rx, %ra, %rb, %rc;", extract(ra, rb, rc, 31, false)) \
    X('w', "bfe.s32 %rx, %ra, %rb, %rc;", extract(ra, rb, rc, 31, true)) \
    X('q', "bfe.u64 %qx, %qa, %rb, %rc;", extract(qa, rb, rc, 63, false)) \
    X('q', "bfe.s64 %qx, %qa, %rb, %rc;", extract(qa, rb, rc, 63, true)) \
    X('w', "bfi.b32 %rx, %ra, %rb, %rc, 7;", inserted(ra, rb, rc, 7, 31)) \
    X('w', "bfi.b32 %rx, %ra, %rb, 3, %rc;", inserted(ra, rb, 3, rc, 31)) \
    X('q', "bfi.b64 %qx, %qa, %qb, %rc, 40;", inserted(qa, qb, rc, 40, 63)) \
    X('w', "prmt.b32 %rx, %ra, %rb, %rc;", permuted(ra, rb, rc)) \
    X('w', "prmt.b32 %rx, %ra, %rb, 0x7610;", permuted(ra, rb, 0x7610)) \
    X('w', "prmt.b32.rc16 %rx, %ra, %rb, %rc;", rc & 1 ? permuted(ra, rb, 0x3232) : permuted(ra, rb, 0x1010)) \
    X('w', "prmt.b32.f4e %rx, %ra, %rb, %rc;", (uint32_t)(((uint64_t)rb << 32 | ra) >> 8 * (rc & 3))) \
    X('w', "lop3.b32 %rx, %ra, %rb, %rc, 0x96;", ra ^ rb ^ rc) \
    X('w', "lop3.b32 %rx, %ra, %rb, %rc, 0xca;", (ra & rb) | (~ra & rc)) \
    X('w', "lop3.b32 %rx, %ra, %rb, %rc, 0x1b;", voted(ra, rb, rc, 0x1b)) \
    X('w', "dp4a.u32.u32 %rx, %ra, %rb, %rc;", dot(ra, rb, rc, false, false)) \
    X('w', "dp4a.s32.s32 %rx, %ra, %rb, %rc;", dot(ra, rb, rc, true, true)) \
    X('w', "dp4a.s32.u32 %rx, %ra, %rb, %rc;", dot(ra, rb, rc, true, false)) \
    X('w', "and.b32 %rx, %ra, 31; and.b32 %ry, %rb, 31; bmsk.wrap.b32 %rx, %rx, %ry;", \
        (uint32_t)(((UINT64_C(1) << (rb & 31)) - 1) << (ra & 31))) \
    X('w', "szext.wrap.s32 %rx, %ra, 9;", (uint32_t)((int32_t)(ra << 23) >> 23)) \
    X('w', "szext.clamp.u32 %rx, %ra, 40;", ra) \
    X('p', "setp.eq.s32 %px, %ra, %rb;", ra == rb) \
    X('p', "setp.ne.u16 %px, %ha, %hb;", ha != hb) \
    X('p', "setp.lt.s32 %px, %ra, %rb;", sa < sb) \
    X('p', "setp.lo.u32 %px, %ra, %rb;", ra < rb) \
    X('p', "setp.hs.u32 %px, %ra, %rb;", ra >= rb) \
    X('p', "setp.ge.s64 %px, %qa, %qb;", sqa >= sqb) \
    X('p', "setp.gt.u64 %px, %qa, %qb;", qa > qb) \
    X('p', "setp.le.s16 %px, %ha, %hb;", za <= zb) \
    X('p', "setp.lt.and.s32 %px, %ra, %rb, %pc;", sa < sb && pc) \
    X('p', "setp.gt.or.u32 %px, %ra, %rb, !%pc;", ra > rb || !pc) \
    X('p', "setp.eq.xor.b32 %px, %ra, %rb, %pc;", (ra == rb) != pc) \
    X('p', "setp.lt.s32 %py|%px, %ra, %rb;", !(sa < sb)) \
    X('p', "setp.lt.and.s32 %py|%px, %ra, %rb, %pc;", !(sa < sb) && pc) \
    X('p', "and.pred %px, %pa, %pb;", pa &&pb) \
    X('p', "or.pred %px, %pa, %pb;", pa || pb) \
    X('p', "xor.pred %px, %pa, %pb;", pa != pb) \
    X('p', "not.pred %px, %pa;", !pa) \
    X('p', "mov.pred %px, %pb;", pb) \
    X('w', "selp.b32 %rx, %ra, %rb, %pc;", pc ? ra : rb) \
    X('q', "selp.b64 %qx, %qa, 5, !%pc;", pc ? 5 : qa) \
    X('f', "selp.f32 %fx, %fa, 0f3F800000, %pc;", pc ? ra : 0x3f800000) \
    X('w', "slct.u32.s32 %rx, %ra, %rb, %rc;", sc >= 0 ? ra : rb) \
    X('q', "slct.b64.f32 %qx, %qa, %qb, %fc;", fc >= 0 ? qa : qb) \
    X('w', "set.lt.u32.s32 %rx, %ra, %rb;", sa < sb ? 0xffffffff : 0) \
    X('f', "set.ge.f32.u32 %fx, %ra, %rb;", ra >= rb ? 0x3f800000 : 0) \
    X('w', "add.cc.u32 %rx, %ra, %rb; addc.u32 %rx, %rc, 0;", rc + (ra + rb < ra)) \
    X('w', "sub.cc.u32 %rx, %ra, %rb; subc.u32 %rx, %rc, %ra;", rc - ra - (ra < rb)) \
    X('q', "add.cc.s64 %qy, %qa, %qb; addc.cc.s64 %qx, %qc, %qa;", qc + qa + (qa + qb < qa)) \
    X('w', "mad.lo.cc.u32 %ry, %ra, %rb, %rc; madc.hi.u32 %rx, %ra, %rb, 0;", (uint32_t)(((uint64_t) ra * rb + \
        rc) >> 32)) \
    X('q', "mov.b64 %qx, {%ra, %rb};", ra | (uint64_t) rb << 32) \
    X('w', "mov.b64 {%ry, %rx}, %qa;", (uint32_t)(qa >> 32)) \
    X('w', "mov.b32 %rx, {%ha, %hb};", ha | (uint32_t)hb << 16) \
    X('h', "mov.b32 {%hy, %hx}, %ra;", (uint16_t)(ra >> 16)) \
    X('q', "mov.b64 %qx, {%ha, %hb, %hc, %ha};", ha | (uint64_t) hb << 16 | (uint64_t) hc << 32 | \
        (uint64_t) ha << 48) \
    X('q', "mov.b128 %bx, {%qa, %qb}; mov.b128 {%qy, %qx}, %bx;", qb)
/* clang-format on */

static void meanings(const help_operands *v, uint64_t *out) {
    HELP_OPERANDS
    ROWS(HELP_MEANING)
}

static const help_row rows[] = {ROWS(HELP_ROW)};

static void integer(void **state) {
    (void)state;
    help_check_rows(rows, sizeof rows / sizeof *rows, meanings);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(integer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
