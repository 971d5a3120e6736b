/* help_rows.c: see help_rows.h. */
#include "tests/emu/help_rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emu/help_emu.h"

enum { OPERANDS = 1024, SENTINEL = 0x35 };

uint64_t help_bits_f(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
uint64_t help_bits_d(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
float help_f(uint64_t bits) {
    uint32_t u = (uint32_t)bits;
    float x;
    memcpy(&x, &u, 4);
    return x;
}
double help_d(uint64_t bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

static uint64_t operand(uint64_t *state) {
    static const uint64_t special[] = {0,
                                       1,
                                       2,
                                       3,
                                       31,
                                       32,
                                       33,
                                       63,
                                       64,
                                       65,
                                       127,
                                       128,
                                       255,
                                       256,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x10000,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x100000000,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0xffffffffffffffff,
                                       0xfffffffe,
                                       0x3f800000,
                                       0xbf800000,
                                       0x7f800000,
                                       0xff800000,
                                       0x7fc00000,
                                       0x00000001,
                                       0x80000001,
                                       0x007fffff,
                                       0x00800000,
                                       0x7f7fffff,
                                       0x4b000000,
                                       0x4f000000,
                                       0xcf000000,
                                       0x5f000000,
                                       0x3c00,
                                       0xbc00,
                                       0x7c00,
                                       0xfc00,
                                       0x7e00,
                                       0x0001,
                                       0x03ff,
                                       0x0400,
                                       0x7bff,
                                       0x3f80,
                                       0x7f80,
                                       0x3c003c00,
                                       0x7bff0001,
                                       0x3ff0000000000000,
                                       0xbff0000000000000,
                                       0x7ff0000000000000,
                                       0xfff0000000000000,
                                       0x7ff8000000000000,
                                       0x0000000000000001,
                                       0x0010000000000000,
                                       0x41e0000000000000,
                                       0xc1e0000000000000,
                                       0x43e0000000000000,
                                       0x3fe0000000000000,
                                       0x3ff8000000000000,
                                       0x4004000000000000,
                                       0x36a0000000000000,
                                       0x47f0000000000000};
    uint64_t r = help_random(state);
    switch (r % 8) {
    case 0:
    case 1:
        return special[(r >> 8) % (sizeof special / sizeof *special)];
    case 2:
        return help_bits_f((float)(int32_t)(help_random(state) >> 32) * 0x1p-28f) | help_random(state)
                                                                                        << 32; /* floats within 8 */
    case 3:
        return help_bits_d((double)(int64_t)help_random(state) * 0x1p-60);
    case 4:
        return (r >> 8) % 100;
    case 5:
        return 0 - (r >> 8) % 100;
    case 6:
        return ((r >> 8 & 0x7fff) + 0x2c00) | (r >> 30 & 0x8000) | help_random(state) << 16; /* moderate halves */
    default:
        return help_random(state);
    }
}

static bool is_nan(char kind, uint64_t bits) {
    return kind == 'f' ? isnan(help_f(bits)) : kind == 'd' ? isnan(help_d(bits)) : false;
}

static bool same(const help_row *r, uint64_t got, uint64_t want) {
    if (got == want || (is_nan(r->result, got) && is_nan(r->result, want)))
        return true;
    if (r->tolerance == 0)
        return false;
    double x = r->result == 'f' ? (double)help_f(got) : help_d(got),
           y = r->result == 'f' ? (double)help_f(want) : help_d(want);
    return fabs(x - y) <= r->tolerance * fabs(y) + 1e-44;
}

static const char *const keep[] = {"w", "cvt.u64.u32 %out, %rx;", "h", "cvt.u64.u16 %out, %hx;",
                                   "q", "mov.u64 %out, %qx;",     "f", "mov.b32 %rx, %fx;\ncvt.u64.u32 %out, %rx;",
                                   "d", "mov.b64 %out, %dx;",     "p", "selp.u64 %out, 1, 0, %px;"};

/* in: a, b, c and the guard of each lane; the result register starts as a sentinel that a lane that is off must keep.
 */
static char *make_text(const help_row *r) {
    const char *store = NULL;
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i += 2)
        store = keep[i][0] == r->result ? keep[i + 1] : store;
    char *text = malloc(4096);
    assert_non_null(text);
    assert_non_null(store);
    int n = snprintf(
        text, 4096,
        ".version 9.0\n.target sm_100a\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 to)\n{\n.reg "
        ".b64 %%rd<9>;\n.reg .b128 %%bx;\n.reg .b64 %%out, %%qa, %%qb, %%qc, %%qx, %%qg, %%qy;\n"
        ".reg .b32 %%ra, %%rb, %%rc, %%rx, %%i, %%ry;\n.reg .b16 %%ha, %%hb, %%hc, %%hx, %%hy;\n.reg .f32 %%fa, %%fb, "
        "%%fc, %%fx;\n.reg .f64 %%da, %%db, %%dc, %%dx;\n.reg .pred %%pa, %%pb, %%pc, %%px, %%on, %%py;\n"
        "ld.param.u64 %%rd1, [in];\nld.param.u64 %%rd2, [to];\nmov.u32 %%i, %%tid.x;\nmov.u32 %%ra, "
        "%%ctaid.x;\nmov.u32 %%rb, %%ntid.x;\nmad.lo.u32 %%i, %%ra, %%rb, %%i;\n"
        "mul.wide.u32 %%rd3, %%i, 32;\nadd.u64 %%rd3, %%rd1, %%rd3;\nmul.wide.u32 %%rd4, %%i, 8;\nadd.u64 %%rd4, "
        "%%rd2, %%rd4;\n"
        "ld.global.v2.u64 {%%qa, %%qb}, [%%rd3];\nld.global.v2.u64 {%%qc, %%qg}, [%%rd3+16];\nsetp.ne.u64 %%on, %%qg, "
        "0;\n"
        "cvt.u32.u64 %%ra, %%qa;\ncvt.u32.u64 %%rb, %%qb;\ncvt.u32.u64 %%rc, %%qc;\ncvt.u16.u64 %%ha, "
        "%%qa;\ncvt.u16.u64 %%hb, %%qb;\ncvt.u16.u64 %%hc, %%qc;\n"
        "mov.b32 %%fa, %%ra;\nmov.b32 %%fb, %%rb;\nmov.b32 %%fc, %%rc;\nmov.b64 %%da, %%qa;\nmov.b64 %%db, "
        "%%qb;\nmov.b64 %%dc, %%qc;\n"
        "and.b32 %%rx, %%ra, 1;\nsetp.eq.u32 %%pa, %%rx, 1;\nand.b32 %%rx, %%rb, 1;\nsetp.eq.u32 %%pb, %%rx, "
        "1;\nand.b32 %%rx, %%rc, 1;\nsetp.eq.u32 %%pc, %%rx, 1;\n"
        "mov.u64 %%qx, %d;\nmov.u32 %%rx, %d;\nmov.u16 %%hx, %d;\nmov.b32 %%fx, %%rx;\nmov.b64 %%dx, %%qx;\nmov.pred "
        "%%px, 1;\n",
        SENTINEL, SENTINEL, SENTINEL);
    for (const char *c = r->ptx; *c;) { /* each statement is guarded */
        const char *end = strchr(c, ';');
        assert_non_null(end);
        n += snprintf(text + n, 4096 - (size_t)n, "@%%on %.*s\n", (int)(end - c + 1), c);
        c = end + 1 + strspn(end + 1, " ");
    }
    snprintf(text + n, 4096 - (size_t)n, "%s\nst.global.u64 [%%rd4], %%out;\nret;\n}\n", store);
    return text;
}

void help_check_rows(const help_row *rows, int count, help_meanings *meanings) {
    emu_machine *m = emu_machine_create();
    uint64_t(*in)[4] = emu_alloc(m, OPERANDS * sizeof *in, EMU_ZERO), *out = emu_alloc(m, OPERANDS * 8, EMU_ZERO),
    state = 11;
    for (int i = 0; i < OPERANDS; i++) {
        for (int k = 0; k < 3; k++)
            in[i][k] = operand(&state);
        in[i][3] = i < OPERANDS / 2 || (help_random(&state) & 1); /* whole warps, then warps with some lanes off */
    }
    uint64_t *meaning = calloc((size_t)OPERANDS * (size_t)count, 8);
    assert_non_null(meaning);
    for (int i = 0; i < OPERANDS; i++) {
        help_operands v = {{in[i][0], in[i][1], in[i][2]}};
        meanings(&v, &meaning[i * count]);
    }
    for (int r = 0; r < count; r++) {
        char *text = make_text(&rows[r]);
        emu_error e;
        emu_module *module = emu_module_parse(text, strlen(text), &e);
        if (!module)
            fail_msg("%s: line %d: %s", rows[r].ptx, e.line, e.text);
        help_launch l = help_launch_of(m, module, "k", OPERANDS / 128, 128);
        help_pointer(&l, in), help_pointer(&l, out);
        help_run_clean(&l);
        for (int i = 0; i < OPERANDS; i++) {
            help_operands v = {{in[i][0], in[i][1], in[i][2]}};
            uint64_t want = in[i][3] ? meaning[i * count + r] : rows[r].result == 'p' ? 1 : SENTINEL;
            if (!same(&rows[r], out[i], want))
                fail_msg("%s: a 0x%llx, b 0x%llx, c 0x%llx gives 0x%llx, not 0x%llx%s", rows[r].ptx,
                         (unsigned long long)v.q[0], (unsigned long long)v.q[1], (unsigned long long)v.q[2],
                         (unsigned long long)out[i], (unsigned long long)want, in[i][3] ? "" : " (the lane is off)");
        }
        help_end(&l);
        emu_module_destroy(module);
        free(text);
    }
    free(meaning);
    emu_machine_destroy(m);
}
