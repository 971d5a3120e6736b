/* test_emu_memory.c: loads and stores of every width in every space, atomics, special registers, variables; refused
 * launches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu/alu.h"
#include "tests/emu/help_emu.h"

static const char head[] =
    ".version 9.0\n.target sm_90\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n.global .align 8 .b8 "
    "numbers[16] = {1, 2, 3, 4, 5, 6, 7, 8};\n.const .align 4 .f32 pi[2] = {0f40490FDB, 2.5};\n"
    ".global .align 8 .u64 pointer = generic(numbers)+4;\n"
    ".visible .entry k(.param .u64 in, .param .u64 to, .param .align 8 .b8 extra[16])\n{\n.reg .pred %p<8>;\n.reg .b16 "
    "%h<8>;\n.reg .b32 %r<40>;\n.reg .b64 %rd<24>;\n.reg .f32 %f<8>;\n.reg .f64 %d<4>;\n.reg .b128 %q<2>;\n"
    ".shared .align 16 .b8 sm[256];\n.local .align 16 .b8 lo[64];\nld.param.u64 %rd1, [in];\nld.param.u64 %rd2, "
    "[to];\nmov.u32 %r30, %tid.x;\n";

/* One thread, or more; in has 256 bytes 0, 1, 2 ..., out 256 bytes that the body must write as `want` from their start.
 */
static void run(const char *body, uint32_t threads, const void *want, size_t bytes) {
    char text[8192];
    uint8_t in[256];
    snprintf(text, sizeof text, "%s%s\nret;\n}\n", head, body);
    emu_module *module = help_parse(text);
    emu_machine *m = emu_machine_create();
    uint8_t *a = emu_alloc(m, 256, EMU_ZERO), *b = emu_alloc(m, 256, EMU_UNDEFINED);
    for (int i = 0; i < 256; i++)
        a[i] = in[i] = (uint8_t)(i * 37 + 11);
    uint64_t extra[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    help_launch l = help_launch_of(m, module, "k", 1, threads);
    l.dynamic = 128;
    help_pointer(&l, a), help_pointer(&l, b), help_param(&l, &extra[0], 8), help_param(&l, &extra[1], 8);
    help_run_clean(&l);
    if (memcmp(b, want, bytes) != 0) {
        for (size_t i = 0; i < bytes; i += 4)
            fprintf(stderr, "byte %zu: %08x, expected %08x\n", i, *(uint32_t *)(void *)(b + i),
                    *(const uint32_t *)(const void *)((const uint8_t *)want + i));
        fail_msg("wrong result of: %s", body);
    }
    assert_memory_equal(a, in, 256);
    help_end(&l);
    emu_machine_destroy(m);
    emu_module_destroy(module);
}

static uint8_t byte(int i) {
    return (uint8_t)(i * 37 + 11);
}
static uint64_t bytes_at(int at, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)byte(at + i) << 8 * i;
    return v;
}

/* Through each space and back: what is stored is what is read, with the sign or zeros above it. */
static void widths(void **state) {
    (void)state;
    static const struct {
        const char *type;
        int bytes;
        bool is_signed;
    } types[] = {{"u8", 1, false},  {"s8", 1, true},  {"b8", 1, false},  {"u16", 2, false}, {"s16", 2, true},
                 {"u32", 4, false}, {"s32", 4, true}, {"b32", 4, false}, {"u64", 8, false}, {"b64", 8, false}};
    static const char *const spaces[][2] = {
        {".global", "%rd2"}, {".shared", "sm"}, {".local", "lo"},           {".shared", "dyn"},
        {"", "%rd10"},       {"", "%rd11"},     {".volatile.shared", "sm"}, {".relaxed.gpu.global", "%rd2"}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t s = 0; s < sizeof spaces / sizeof *spaces; s++) {
            char body[1024];
            const char *type = types[t].type;
            uint64_t v = bytes_at(16, types[t].bytes);
            if (types[t].is_signed)
                v = (uint64_t)((int64_t)(v << (64 - 8 * types[t].bytes)) >> (64 - 8 * types[t].bytes));
            snprintf(body, sizeof body,
                     "mov.u64 %%rd10, sm;\ncvta.shared.u64 %%rd10, %%rd10;\nmov.u64 %%rd11, lo;\ncvta.local.u64 "
                     "%%rd11, %%rd11;\nld.global.nc.%s %%rd5, [%%rd1+16];\n"
                     "st%s.%s [%s+24], %%rd5;\nld%s.%s %%rd6, [%s+24];\nst.global.u64 [%%rd2], %%rd6;",
                     type, spaces[s][0], type, spaces[s][1], spaces[s][0], type, spaces[s][1]);
            run(body, 1, &v, 8);
        }
}

static void vectors(void **state) {
    (void)state;
    uint64_t want[8];
    for (int i = 0; i < 8; i++)
        want[i] = bytes_at(32 + 8 * i, 8);
    run("ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%rd1+32];\nst.global.v4.b32 [%rd2], {%r1,%r2,%r3,%r4};", 1, want, 16);
    run("ld.global.v2.b64 {%rd5,%rd6}, [%rd1+32];\nst.shared.v2.b64 [sm], {%rd5,%rd6};\nld.shared.v4.f32 "
        "{%f1,%f2,%f3,%f4}, [sm];\nst.global.v4.f32 [%rd2], {%f1,%f2,%f3,%f4};",
        1, want, 16);
    run("ld.global.b128 %q1, [%rd1+32];\nst.global.b128 [%rd2], %q1;", 1, want, 16);
    run("ld.global.v8.b32 {%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8}, [%rd1+32];\nst.global.v8.b32 [%rd2], "
        "{%r1,%r2,%r3,%r4,%r5,%r6,%r7,%r8};",
        1, want, 32);
    run("ld.global.v4.u16 {%h1,%h2,%h3,%h4}, [%rd1+32];\nst.global.v4.b16 [%rd2], {%h1,%h2,%h3,%h4};", 1, want, 8);
    run("ld.global.v4.u8 {%r1,%r2,%h3,%h4}, [%rd1+32];\nst.local.v4.u8 [lo], {%r1,%r2,%h3,%h4};\nld.local.b32 %r5, "
        "[lo];\nst.global.u32 [%rd2], %r5;",
        1, want, 4);
    run("ld.global.v2.f64 {%d1,%d2}, [%rd1+32];\nld.global.v2.f64 {_,%d3}, [%rd1+32];\nst.global.v2.f64 [%rd2], "
        "{%d1,%d3};",
        1, want, 16);
}

static void variables(void **state) {
    (void)state;
    static const uint8_t numbers[16] = {1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8};
    run("mov.u64 %rd5, numbers;\nld.global.u64 %rd6, [%rd5];\nst.global.u64 [%rd2], %rd6;\nld.global.u64 %rd7, "
        "[pointer];\nld.u32 %r1, [%rd7];\ncvt.u64.u32 %rd8, %r1;\nst.global.u64 [%rd2+8], %rd8;",
        1, numbers, 16);
    static const float pi[2] = {3.14159274f, 2.5f};
    run("ld.const.v2.f32 {%f1,%f2}, [pi];\nst.global.v2.f32 [%rd2], {%f1,%f2};", 1, pi, 8);
    static const uint64_t extra[2] = {0x99aabbccddeeff00, 0x55667788};
    run("ld.param.u64 %rd5, [extra+8];\nmov.b64 %rd7, extra;\nld.param.u32 %r1, [%rd7];\ncvt.u64.u32 %rd6, "
        "%r1;\nst.global.v2.u64 [%rd2], {%rd5,%rd6};",
        1, extra, 16);
    uint32_t answers[4] = {1, 0, 128, 1};
    run("mov.u64 %rd5, sm;\ncvta.shared.u64 %rd6, %rd5;\nisspacep.shared %p1, %rd6;\nisspacep.global %p2, "
        "%rd6;\nselp.u32 %r1, 1, 0, %p1;\nselp.u32 %r2, 1, 0, %p2;\nmov.u32 %r3, %dynamic_smem_size;\n"
        "cvta.to.shared.u64 %rd7, %rd6;\nsetp.eq.u64 %p3, %rd7, %rd5;\nselp.u32 %r4, 1, 0, %p3;\nst.global.v4.u32 "
        "[%rd2], {%r1,%r2,%r3,%r4};",
        1, answers, 16);
}

/* op on a word that holds 100 (or a float), by 64 threads; the result, and that each thread got an old value of its
 * own. */
static void atomics(void **state) {
    (void)state;
    static const struct {
        const char *op, *start, *operand;
        uint32_t want;
    } rows[] = {{"add.u32", "100", "3", 292},
                {"add.s32", "100", "-2", (uint32_t)-28},
                {"min.s32", "100", "%r30", 0},
                {"max.u32", "10", "%r30", 63},
                {"inc.u32", "0", "9", 4},
                {"dec.u32", "0", "9", 6},
                {"and.b32", "255", "0xf0", 0xf0},
                {"or.b32", "1", "%r30", 63},
                {"xor.b32", "0", "5", 0},
                {"exch.b32", "1", "7", 7},
                {"add.f32", "0f3F800000", "0f3F000000", 0x42040000},
                {"add.noftz.f16x2", "0x3c003c00", "0x3c000000", 0x54103c00},
                {"add.noftz.bf16x2", "0x3f803f80", "0x00003f80", 0x3f804282}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int shared = 0; shared < 2; shared++) {
            char body[1024];
            const char *space = shared ? ".shared" : ".global", *at = shared ? "sm" : "%rd2+64";
            bool two = strstr(rows[i].op, "exch") != NULL;
            snprintf(body, sizeof body,
                     "setp.eq.u32 %%p1, %%r30, 0;\nmov.b32 %%r1, %s;\n@%%p1 st%s.b32 [%s], %%r1;\nbar.sync 0;\nmov.b32 "
                     "%%r2, %s;\n%s%s.%s %s[%s], %%r2;\nbar.sync 0;\nld%s.b32 %%r4, [%s];\n@%%p1 st.global.b32 "
                     "[%%rd2], %%r4;",
                     rows[i].start, space, at, rows[i].operand, two ? "atom" : "red", space, rows[i].op,
                     two ? "%r3, " : "", at, space, at);
            if (strstr(rows[i].op, "f32")) {
                snprintf(body, sizeof body,
                         "setp.eq.u32 %%p1, %%r30, 0;\nmov.f32 %%f1, %s;\n@%%p1 st%s.f32 [%s], %%f1;\nbar.sync "
                         "0;\nmov.f32 %%f2, %s;\natom%s.%s %%f3, [%s], %%f2;\nbar.sync 0;\nld%s.b32 %%r4, [%s];\n@%%p1 "
                         "st.global.b32 [%%rd2], %%r4;",
                         rows[i].start, space, at, rows[i].operand, space, rows[i].op, at, space, at);
            }
            run(body, 64, &rows[i].want, 4);
        }
    uint64_t want = 1000 + 64 * 5;
    run("setp.eq.u32 %p1, %r30, 0;\n@%p1 st.global.u64 [%rd2+64], 1000;\nbar.sync 0;\nred.global.add.u64 [%rd2+64], "
        "5;\nbar.sync 0;\nld.global.u64 %rd5, [%rd2+64];\n@%p1 st.global.u64 [%rd2], %rd5;",
        64, &want, 8);
    /* a lock by compare and swap: each of 64 threads, in turn, adds 1 by plain accesses */
    uint32_t sum = 64;
    run("setp.eq.u32 %p1, %r30, 0;\n@%p1 st.shared.v2.u32 [sm], {0, 0};\nbar.sync 0;\nL:\natom.shared.cas.b32 %r1, "
        "[sm], 0, 1;\nsetp.ne.u32 %p2, %r1, 0;\n@%p2 bra L;\nld.volatile.shared.u32 %r2, [sm+4];\nadd.u32 %r2, %r2, "
        "1;\n"
        "st.volatile.shared.u32 [sm+4], %r2;\nmembar.cta;\natom.shared.exch.b32 %r3, [sm], 0;\nbar.sync "
        "0;\nld.shared.u32 %r4, [sm+4];\n@%p1 st.global.u32 [%rd2], %r4;",
        64, &sum, 4);
    float floats[4] = {128, 64, 32, 16};
    run("setp.eq.u32 %p1, %r30, 0;\n@%p1 st.global.v4.f32 [%rd2], "
        "{0f00000000,0f00000000,0f00000000,0f00000000};\nbar.sync 0;\nmov.f32 %f1, 0f40000000;\nmov.f32 %f2, "
        "0f3F800000;\nmov.f32 %f3, 0f3F000000;\nmov.f32 %f4, 0f3E800000;\n"
        "red.global.add.v4.f32 [%rd2], {%f1,%f2,%f3,%f4};",
        64, floats, 16);
}

static const char ids[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 to)\n.maxntid 256, 1, 1\n{\n.reg "
    ".b32 %r<40>;\n.reg .b64 %rd<8>;\nld.param.u64 %rd1, [to];\n"
    "mov.u32 %r1, %tid.x;\nmov.u32 %r2, %tid.y;\nmov.u32 %r3, %tid.z;\nmov.u32 %r4, %ctaid.x;\nmov.u32 %r5, "
    "%ctaid.y;\nmov.u32 %r6, %ctaid.z;\nmov.u32 %r7, %ntid.x;\nmov.u32 %r8, %ntid.y;\n"
    "mov.u32 %r9, %nctaid.x;\nmov.u32 %r10, %nctaid.y;\nmad.lo.u32 %r11, %r3, %r8, %r2;\nmad.lo.u32 %r11, %r11, %r7, "
    "%r1;\nmad.lo.u32 %r12, %r6, %r10, %r5;\nmad.lo.u32 %r12, %r12, %r9, %r4;\n"
    "mov.u32 %r13, %ntid.z;\nmul.lo.u32 %r14, %r7, %r8;\nmul.lo.u32 %r14, %r14, %r13;\nmad.lo.u32 %r15, %r12, %r14, "
    "%r11;\nmov.u32 %r16, %laneid;\nmov.u32 %r17, %warpid;\nmad.lo.u32 %r18, %r17, 32, %r16;\n"
    "sub.u32 %r18, %r18, %r11;\nmov.u32 %r19, %lanemask_lt;\nmov.u32 %r20, %lanemask_ge;\nnot.b32 %r20, %r20;\nsub.u32 "
    "%r19, %r19, %r20;\nor.b32 %r18, %r18, %r19;\nmov.u32 %r21, %nctaid.z;\nmov.u32 %r22, %nwarpid;\n"
    "shl.b32 %r21, %r21, 8;\nor.b32 %r21, %r21, %r22;\nmul.wide.u32 %rd2, %r15, 16;\nadd.u64 %rd1, %rd1, "
    "%rd2;\nst.global.v4.u32 [%rd1], {%r15,%r18,%r21,%r14};\nret;\n}\n";

static void special_registers(void **state) {
    (void)state;
    emu_module *module = help_parse(ids);
    emu_machine *m = emu_machine_create();
    enum { BLOCKS = 2 * 3 * 4, THREADS = 5 * 6 * 7 };
    uint32_t(*out)[4] = emu_alloc(m, BLOCKS * THREADS * 16, EMU_UNDEFINED);
    help_launch l = help_launch_of(m, module, "k", 2, 5);
    l.grid[1] = 3, l.grid[2] = 4, l.block[1] = 6, l.block[2] = 7;
    help_pointer(&l, out);
    help_run_clean(&l);
    for (uint32_t i = 0; i < BLOCKS * THREADS; i++) {
        assert_int_equal(out[i][0], i);
        assert_int_equal(out[i][1], 0);
        assert_int_equal(out[i][2], 4 << 8 | (THREADS + 31) / 32);
        assert_int_equal(out[i][3], THREADS);
    }
    /* some blocks alone */
    static const uint64_t some[] = {7, 3};
    emu_mark(m, out, BLOCKS * THREADS * 16, false);
    l.options.blocks = some, l.options.block_count = 2;
    help_run_clean(&l);
    size_t first;
    assert_int_equal(emu_unwritten(m, out, BLOCKS * THREADS * 16, &first), (BLOCKS - 2) * THREADS * 16);
    assert_int_equal(emu_unwritten(m, out[3 * THREADS], THREADS * 16, NULL), 0);
    /* launches that cannot be */
    emu_error e;
    emu_result r;
    const emu_kernel *k = emu_module_find(module, "k");
    assert_int_equal(k->max_threads, 256);
    assert_int_equal(k->param_count, 1);
    const uint32_t one[3] = {1, 1, 1}, none[3] = {0, 1, 1}, many[3] = {1025, 1, 1}, over[3] = {257, 1, 1};
    assert_false(emu_launch(m, module, k, none, one, 0, l.params, 8, NULL, &r, &e));
    assert_false(emu_launch(m, module, k, one, many, 0, l.params, 8, NULL, &r, &e));
    assert_false(emu_launch(m, module, k, one, over, 0, l.params, 8, NULL, &r, &e));
    assert_false(emu_launch(m, module, k, one, one, 300000, l.params, 8, NULL, &r, &e));
    assert_false(emu_launch(m, module, k, one, one, 0, l.params, 4, NULL, &r, &e));
    assert_true(emu_launch(m, module, k, one, one, 0, l.params, 8, NULL, &r, &e));
    emu_result_free(&r);
    help_end(&l);
    emu_machine_destroy(m);
    emu_module_destroy(module);
}

static void adopted_memory(void **state) {
    (void)state;
    emu_machine *m = emu_machine_create();
    static uint8_t a[64], b[64];
    assert_true(emu_adopt(m, a, 64, true));
    assert_false(emu_adopt(m, a + 8, 8, true));
    assert_true(emu_adopt(m, b, 64, false));
    assert_int_equal(emu_unwritten(m, b, 64, NULL), 64);
    emu_mark(m, b, 32, true);
    assert_int_equal(emu_unwritten(m, b, 64, NULL), 32);
    emu_mark(m, a + 4, 4, false);
    assert_int_equal(emu_unwritten(m, a, 64, NULL), 4);
    assert_int_equal(a[4], 0xff);
    assert_true(emu_free(m, a));
    assert_false(emu_free(m, a));
    emu_machine_destroy(m);
}

/* The lane loops for this CPU and those for any CPU agree, row by row, on random registers and masks. */
static void instruction_sets(void **state_) {
    (void)state_;
    const alu_row *base, *here;
    size_t n = emu_alu_rows_base(&base);
    if (emu_alu_rows(&here) != n || here == base) {
        fprintf(stderr, "SKIPPED: this CPU has no AVX2: there is one set of lane loops\n");
        skip();
    }
    uint64_t state = 31;
    enum { SLOTS = 16 };
    uint8_t *files[2];
    for (int k = 0; k < 2; k++)
        assert_non_null(files[k] = aligned_alloc(64, SLOTS * SLOT_BYTES));
    for (size_t i = 0; i < n; i++)
        for (int round = 0; round < 4; round++) {
            uint32_t mask = round == 0 ? UINT32_MAX : (uint32_t)help_random(&state);
            op o = {.imm = 0x6a, .mode2 = 3};
            for (size_t k = 0; k < SLOTS * SLOT_BYTES;
                 k += 8) { /* moderate floats, so that approximations agree to the bit or nearly */
                uint32_t pair[2] = {(uint32_t)help_random(&state), (uint32_t)help_random(&state)};
                memcpy(files[0] + k, pair, 8);
            }
            memcpy(files[1], files[0], SLOTS * SLOT_BYTES);
            for (int r = 0; r < 5; r++)
                o.r[r] = 2 * r;
            warp w[2] = {{.regs = files[0], .carry = 0x12345678}, {.regs = files[1], .carry = 0x12345678}};
            assert_string_equal(base[i].key, here[i].key);
            base[i].fn(&w[0], &o, mask);
            here[i].fn(&w[1], &o, mask);
            assert_int_equal(w[0].carry, w[1].carry);
            for (size_t k = 0; k < SLOTS * SLOT_BYTES; k += 4) {
                uint32_t x, y;
                memcpy(&x, files[0] + k, 4), memcpy(&y, files[1] + k, 4);
                float fx, fy;
                memcpy(&fx, &x, 4), memcpy(&fy, &y, 4);
                bool nan = fx != fx && fy != fy; /* which NaN, is not promised */
                if (x != y && !nan && !strstr(base[i].key, "f64") && !strstr(base[i].key, "f16") &&
                    !strstr(base[i].key, "f32x2"))
                    fail_msg("%s: 0x%08x and 0x%08x at byte %zu", base[i].key, x, y, k);
            }
        }
    free(files[0]), free(files[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),          cmocka_unit_test(vectors),           cmocka_unit_test(variables),
        cmocka_unit_test(atomics),         cmocka_unit_test(special_registers), cmocka_unit_test(adopted_memory),
        cmocka_unit_test(instruction_sets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
