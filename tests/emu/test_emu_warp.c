/* test_emu_warp.c: collectives of a warp against their definitions: shuffles, votes, matches, reductions, matrix loads
 * and stores, mma. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emu/help_emu.h"

enum { IN = 16, OUT = 8 }; /* words of a lane */

/* Every lane has in[lane][16] in r0..r15 and writes r20..r27 to out[lane][8]; sm has 4096 bytes. */
static void run(const char *body, const uint32_t in[32][IN], uint32_t out[32][OUT]) {
    char *text = malloc(16384);
    assert_non_null(text);
    int n = sprintf(text, ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param "
                          ".u64 to)\n{\n.reg .pred %%p<8>;\n.reg .b32 %%r<40>;\n.reg .b64 %%rd<8>;\n"
                          ".reg .f32 %%f<16>;\n.shared .align 16 .b8 sm[4096];\nmov.u32 %%r30, %%laneid;\nld.param.u64 "
                          "%%rd1, [in];\nld.param.u64 %%rd2, [to];\nmad.wide.u32 %%rd1, %%r30, 64, "
                          "%%rd1;\nmad.wide.u32 %%rd2, %%r30, 32, %%rd2;\n");
    for (int i = 0; i < IN; i++)
        n += sprintf(text + n, "ld.global.u32 %%r%d, [%%rd1+%d];\n", i, 4 * i);
    for (int i = 0; i < OUT; i++)
        n += sprintf(text + n, "mov.u32 %%r%d, 0;\n", 20 + i);
    n += sprintf(text + n, "mov.u32 %%r31, sm;\n%s\n", body);
    for (int i = 0; i < OUT; i++)
        n += sprintf(text + n, "st.global.u32 [%%rd2+%d], %%r%d;\n", 4 * i, 20 + i);
    sprintf(text + n, "ret;\n}\n");
    emu_module *module = help_parse(text);
    emu_machine *m = emu_machine_create();
    void *a = emu_alloc(m, 32 * IN * 4, EMU_ZERO), *b = emu_alloc(m, 32 * OUT * 4, EMU_UNDEFINED);
    memcpy(a, in, 32 * IN * 4);
    help_launch l = help_launch_of(m, module, "k", 1, 32);
    help_pointer(&l, a), help_pointer(&l, b);
    help_run_clean(&l);
    memcpy(out, b, 32 * OUT * 4);
    help_end(&l);
    emu_machine_destroy(m);
    emu_module_destroy(module);
    free(text);
}

static void fill(uint32_t in[32][IN], uint64_t *state) {
    for (int i = 0; i < 32; i++)
        for (int k = 0; k < IN; k++)
            in[i][k] = (uint32_t)help_random(state);
}

/* The pseudo-code of the PTX ISA, with bounds per segment. */
static void shuffles(void **state_) {
    (void)state_;
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    static const uint32_t clamps[] = {0x1f, 0, 0x181f, 0x1c1f, 0x1003, 0x1800, 7};
    uint64_t state = 4;
    uint32_t in[32][IN], out[32][OUT];
    for (int mode = 0; mode < 4; mode++)
        for (size_t c = 0; c < sizeof clamps / sizeof *clamps; c++)
            for (int uniform = 0; uniform < 2; uniform++) {
                char body[256];
                fill(in, &state);
                for (int i = 0; i < 32; i++)
                    in[i][1] = uniform ? in[0][1] & 31 : in[i][1] & 31;
                sprintf(body, "shfl.sync.%s.b32 %%r20|%%p1, %%r0, %%r1, %u, -1;\nselp.u32 %%r21, 1, 0, %%p1;",
                        modes[mode], clamps[c]);
                run(body, (const uint32_t(*)[IN])in, out);
                for (int lane = 0; lane < 32; lane++) {
                    int b = (int)in[lane][1], segment = (int)(clamps[c] >> 8 & 31), bound = (int)(clamps[c] & 31);
                    int max = (lane & segment) | (bound & ~segment), min = lane & segment, j = lane;
                    bool p = false;
                    switch (mode) {
                    case 0:
                        j = lane - b, p = j >= max;
                        break;
                    case 1:
                        j = lane + b, p = j <= max;
                        break;
                    case 2:
                        j = lane ^ b, p = j <= max;
                        break;
                    default:
                        j = min | (b & ~segment), p = j <= max;
                        break;
                    }
                    assert_int_equal(out[lane][0], in[p ? j : lane][0]);
                    assert_int_equal(out[lane][1], p);
                }
            }
}

static void votes(void **state_) {
    (void)state_;
    uint64_t state = 8;
    for (int round = 0; round < 12; round++) {
        uint32_t in[32][IN], out[32][OUT], yes = 0, sum = 0, all = UINT32_MAX, least = UINT32_MAX;
        int32_t most = INT32_MIN;
        fill(in, &state);
        for (int i = 0; i < 32; i++) {
            in[i][1] = round == 0 ? 0 : round == 1 ? 1 : in[i][1] & 1;
            in[i][2] = round < 3 ? 7 : in[i][2] & 3;
            yes |= in[i][1] << i, sum += in[i][0], all &= in[i][0];
            least = in[i][0] < least ? in[i][0] : least, most = (int32_t)in[i][0] > most ? (int32_t)in[i][0] : most;
        }
        run("setp.eq.u32 %p1, %r1, 1;\nvote.sync.ballot.b32 %r20, %p1, -1;\nvote.sync.all.pred %p2, %p1, "
            "-1;\nvote.sync.any.pred %p3, !%p1, -1;\nvote.sync.uni.pred %p4, %p1, -1;\n"
            "selp.u32 %r21, 1, 0, %p2;\nselp.u32 %r9, 2, 0, %p3;\nadd.u32 %r21, %r21, %r9;\nselp.u32 %r9, 4, 0, "
            "%p4;\nadd.u32 %r21, %r21, %r9;\nmatch.any.sync.b32 %r22, %r2, -1;\nmatch.all.sync.b32 %r23|%p5, %r2, -1;\n"
            "@%p5 add.u32 %r21, %r21, 8;\nredux.sync.add.s32 %r24, %r0, -1;\nredux.sync.and.b32 %r25, %r0, "
            "-1;\nredux.sync.min.u32 %r26, %r0, -1;\nredux.sync.max.s32 %r27, %r0, -1;\n"
            "elect.sync _|%p6, -1;\n@%p6 add.u32 %r21, %r21, 16;\nactivemask.b32 %r10;\nsetp.eq.u32 %p6, %r10, "
            "-1;\n@%p6 add.u32 %r21, %r21, 32;",
            (const uint32_t(*)[IN])in, out);
        for (int i = 0; i < 32; i++) {
            uint32_t same = 0;
            for (int k = 0; k < 32; k++)
                same |= (uint32_t)(in[k][2] == in[i][2]) << k;
            bool everywhere = same == UINT32_MAX;
            assert_int_equal(out[i][0], yes);
            assert_int_equal(out[i][1], (yes == UINT32_MAX) + 2 * (yes != UINT32_MAX) +
                                            4 * (yes == 0 || yes == UINT32_MAX) + 8 * everywhere + 16 * (i == 0) + 32);
            assert_int_equal(out[i][2], same);
            assert_int_equal(out[i][3], everywhere ? UINT32_MAX : 0);
            assert_int_equal(out[i][4], sum);
            assert_int_equal(out[i][5], all);
            assert_int_equal(out[i][6], least);
            assert_int_equal(out[i][7], most);
        }
    }
}

/* Lane 8 m + r stores row r of matrix m (16 bytes of its r0..r3) at a place of its own; the loads then follow the
 * definition. */
static void matrices(void **state_) {
    (void)state_;
    uint64_t state = 15;
    uint32_t in[32][IN], out[32][OUT];
    const char store[] = "mul.lo.u32 %r11, %r30, 48;\nadd.u32 %r11, %r11, %r31;\nst.shared.v4.u32 [%r11], "
                         "{%r0,%r1,%r2,%r3};\nbar.sync 0;\n";
    for (int trans = 0; trans < 2; trans++)
        for (int count = 1; count <= 4; count *= 2) {
            char body[1024];
            const char *list = count == 1 ? "{%r20}" : count == 2 ? "{%r20,%r21}" : "{%r20,%r21,%r22,%r23}";
            fill(in, &state);
            sprintf(body, "%sldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s, [%%r11];", store, count,
                    trans ? ".trans" : "", list);
            run(body, (const uint32_t(*)[IN])in, out);
            for (int i = 0; i < 32; i++)
                for (int k = 0; k < count; k++)
                    for (int e = 0; e < 2; e++) {
                        int r = trans ? i % 4 * 2 + e : i / 4, c = trans ? i / 4 : i % 4 * 2 + e;
                        assert_int_equal(out[i][k] >> 16 * e & 0xffff, in[8 * k + r][c / 2] >> 16 * (c % 2) & 0xffff);
                    }
            /* stmatrix is the inverse: what was loaded goes back, and each lane reads its row */
            sprintf(body,
                    "%sldmatrix.sync.aligned.m8n8.x4%s.shared.b16 {%%r4,%%r5,%%r6,%%r7}, [%%r11];\nbar.sync "
                    "0;\nst.shared.v4.u32 [%%r11], {%%r30,%%r30,%%r30,%%r30};\nbar.sync 0;\n"
                    "stmatrix.sync.aligned.m8n8.x4%s.shared.b16 [%%r11], {%%r4,%%r5,%%r6,%%r7};\nbar.sync "
                    "0;\nld.shared.v4.u32 {%%r20,%%r21,%%r22,%%r23}, [%%r11];\n"
                    "movmatrix.sync.aligned.m8n8.trans.b16 %%r24, %%r4;\nmovmatrix.sync.aligned.m8n8.trans.b16 %%r24, "
                    "%%r24;\nmov.u32 %%r25, %%r4;",
                    store, trans ? ".trans" : "", trans ? ".trans" : "");
            run(body, (const uint32_t(*)[IN])in, out);
            for (int i = 0; i < 32; i++) {
                assert_memory_equal(out[i], in[i], 16);
                assert_int_equal(out[i][4], out[i][5]);
            }
        }
}

typedef struct shape {
    const char *name, *types;
    char kind; /* h f16, b bf16, t tf32, s s8, u u8 */
    int k, na, nb;
    bool half_c;
} shape;

static float element(char kind, uint32_t word, int index) {
    if (kind == 's')
        return (float)(int8_t)(word >> 8 * index);
    if (kind == 'u')
        return (float)(uint8_t)(word >> 8 * index);
    uint32_t raw = kind == 't'   ? word & 0xffffe000
                   : kind == 'b' ? (word >> 16 * index) << 16
                                 : word >> 16 * index & 0xffff;
    float x;
    if (kind == 'h') { /* normal or subnormal */
        double v = raw & 0x7c00 ? ldexp(1024 + (raw & 0x3ff), (int)(raw >> 10 & 31) - 25) : ldexp(raw & 0x3ff, -24);
        return (float)(raw & 0x8000 ? -v : v);
    }
    memcpy(&x, &raw, 4);
    return x;
}

/* A word of operands of moderate size. */
static uint32_t word_of(char kind, uint64_t *state) {
    uint32_t r = (uint32_t)(help_random(state) >> 32);
    if (kind == 'h')
        return (r & 0x83ff83ff) | (0x38003800 + (r >> 10 & 1) * 0x0400 + (r >> 12 & 1) * 0x04000000);
    if (kind == 'b')
        return (r & 0x807f807f) | 0x3f003f00;
    return kind == 't' ? (r & 0x807fffff) | 0x3f000000 : r;
}

static void mma(void **state_) {
    (void)state_;
    static const shape shapes[] = {
        {"m16n8k16", "f32.f16.f16.f32", 'h', 16, 4, 2, false}, {"m16n8k16", "f32.bf16.bf16.f32", 'b', 16, 4, 2, false},
        {"m16n8k16", "f16.f16.f16.f16", 'h', 16, 4, 2, true},  {"m16n8k8", "f32.f16.f16.f32", 'h', 8, 2, 1, false},
        {"m16n8k8", "f32.bf16.bf16.f32", 'b', 8, 2, 1, false}, {"m16n8k8", "f16.f16.f16.f16", 'h', 8, 2, 1, true},
        {"m16n8k8", "f32.tf32.tf32.f32", 't', 8, 4, 2, false}, {"m16n8k4", "f32.tf32.tf32.f32", 't', 4, 2, 1, false},
        {"m16n8k32", "s32.s8.s8.s32", 's', 32, 4, 2, false},   {"m16n8k16", "s32.u8.u8.s32", 'u', 16, 2, 1, false}};
    uint64_t state = 21;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const shape *h = &shapes[s];
        bool integer = h->kind == 's' || h->kind == 'u';
        int per = integer ? 4 : h->kind == 't' ? 1 : 2; /* elements in a word */
        uint32_t in[32][IN], out[32][OUT];
        double a[16][32] = {{0}}, b[32][8] = {{0}};
        fill(in, &state);
        for (int i = 0; i < 32; i++) {
            for (int k = 0; k < 6; k++)
                in[i][k] = word_of(h->kind, &state);
            for (int k = 6; k < 10; k++)
                in[i][k] = integer ? (uint32_t)(help_random(&state) % 100000) : word_of(h->half_c ? 'h' : 't', &state);
            /* PTX ISA: row groupID or groupID + 8, column threadID_in_group * per + index, + 4 per for the later
             * registers */
            for (int r = 0; r < h->na; r++)
                for (int e = 0; e < per; e++)
                    a[i / 4 + (r % 2) * 8][i % 4 * per + e + r / 2 * 4 * per] = (double)element(h->kind, in[i][r], e);
            for (int r = 0; r < h->nb; r++)
                for (int e = 0; e < per; e++)
                    b[i % 4 * per + e + r * 4 * per][i / 4] = (double)element(h->kind, in[i][4 + r], e);
        }
        char body[1024];
        sprintf(body, "mma.sync.aligned.%s.row.col.%s %s, %s, %s, %s;", h->name, h->types,
                h->half_c ? "{%r20,%r21}" : "{%r20,%r21,%r22,%r23}", h->na == 4 ? "{%r0,%r1,%r2,%r3}" : "{%r0,%r1}",
                h->nb == 2 ? "{%r4,%r5}" : "{%r4}", h->half_c ? "{%r6,%r7}" : "{%r6,%r7,%r8,%r9}");
        run(body, (const uint32_t(*)[IN])in, out);
        for (int i = 0; i < 32; i++)
            for (int e = 0; e < 4; e++) {
                int row = i / 4 + e / 2 * 8, column = i % 4 * 2 + e % 2;
                uint32_t c_word = in[i][6 + (h->half_c ? e / 2 : e)], d_word = out[i][h->half_c ? e / 2 : e];
                float cf, df;
                memcpy(&cf, &c_word, 4), memcpy(&df, &d_word, 4);
                double want = integer     ? (double)(int32_t)c_word
                              : h->half_c ? (double)element('h', c_word, e % 2)
                                          : (double)cf,
                       size = fabs(want);
                double got = integer     ? (double)(int32_t)d_word
                             : h->half_c ? (double)element('h', d_word, e % 2)
                                         : (double)df;
                for (int k = 0; k < h->k; k++)
                    want += a[row][k] * b[k][column], size += fabs(a[row][k] * b[k][column]);
                /* k roundings of partial sums in f32; one more of the result in f16 */
                double bound = integer ? 0 : size * 0x1p-24 * (h->k + 1) + (h->half_c ? fabs(want) * 0x1p-10 : 0);
                if (!(fabs(got - want) <= bound))
                    fail_msg("%s %s lane %d element %d: %g, not %g", h->name, h->types, i, e, got, want);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shuffles), cmocka_unit_test(votes), cmocka_unit_test(matrices),
                                       cmocka_unit_test(mma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
