/* test_emu_fuzz.c: PTX is hostile input. Mutated texts must parse or give an error with a line; what parses is run for
 * a while: no crash, whatever it computes (the sanitizer build watches). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emu/help_emu.h"

static const char small[] =
    ".version 8.0\n.target sm_90\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n.global .align 8 .b8 v[16] = "
    "{1,2,3,0xff};\n"
    ".func (.param .b32 r) f(.param .b32 a, .reg .b32 b)\n{\n.reg .b32 %t<3>;\nld.param.b32 %t1, [a];\nadd.s32 %t2, "
    "%t1, b;\nst.param.b32 [r], %t2;\nret;\n}\n"
    ".visible .entry k(.param .u64 p, .param .align 8 .b8 s[24])\n.maxntid 64, 1, 1\n{\n.reg .pred %p<6>;\n.reg .b16 "
    "%h<5>;\n.reg .b32 %r<30>;\n.reg .b64 %rd<12>;\n.reg .f32 %f<12>;\n"
    ".reg .f64 %d<4>;\n.reg .b128 %q<2>;\n.shared .align 16 .b8 sm[2048];\n.local .align 8 .b8 lo[32];\n.loc 1 4 2\n"
    "ld.param.u64 %rd1, [p];\nld.param.v2.u32 {%r1, %r2}, [s+8];\nmov.u32 %r3, %tid.x;\nmul.wide.u32 %rd2, %r3, "
    "16;\nadd.s64 %rd3, %rd1, %rd2;\nmov.u32 %r4, sm;\nmad.lo.s32 %r4, %r3, 16, %r4;\n"
    "cp.async.cg.shared.global [%r4], [%rd3], 16;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync "
    "0;\nldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r5,%r6,%r7,%r8}, [%r4];\n"
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r5,%r6,%r7,%r8}, {%r5,%r6}, "
    "{%f1,%f2,%f3,%f4};\n"
    "setp.lt.u32 %p1|%p2, %r3, 7;\n@%p1 bra $A;\n{\n.reg .b32 %x;\nshfl.sync.bfly.b32 %x|%p3, %r3, 1, 0x1f, "
    "-1;\nadd.s32 %r9, %x, 1;\n}\nbra.uni $B;\n$A:\n"
    "vote.sync.ballot.b32 %r9, %p1, -1;\n$B:\nT: .branchtargets $C, $D;\nand.b32 %r10, %r3, 1;\nbrx.idx %r10, "
    "T;\n$C:\natom.global.add.u32 %r11, [%rd3], 1;\n$D:\n"
    "{ .param .b32 x; st.param.b32 [x], %r9; .param .b32 y; call.uni (y), f, (x, %r3); ld.param.b32 %r12, [y]; }\n"
    "cvt.rn.f32.s32 %f5, %r12;\nex2.approx.ftz.f32 %f6, %f5;\nfma.rn.f32 %f7, %f5, 0f3F800000, %f6;\ncvt.rn.bf16x2.f32 "
    "%r13, %f7, %f6;\ncvt.f64.f32 %d1, %f7;\nmov.b64 {%r14, %r15}, %d1;\n"
    "lop3.b32 %r16, %r13, %r14, %r15, 0x96;\nprmt.b32 %r17, %r16, %r15, 0x5410;\nst.local.u32 [lo+4], "
    "%r17;\nld.local.u32 %r18, [lo+4];\nst.shared.v4.u32 [%r4], {%r9,%r12,%r17,%r18};\n"
    "mov.b128 %q1, {%rd1, %rd2};\nst.global.b128 [%rd3], %q1;\nred.shared.add.f32 [sm], 0f3F800000;\nst.global.u32 "
    "[%rd3+8], %r18;\nret;\n}\n";

static const char *const words[] = {".b32",        ".u64",     ".f32",        ".v4",        ".shared",
                                    ".global",     "%r1",      "%rd1",        "%p1",        "%f1",
                                    "[",           "]",        "{",           "}",          "(",
                                    ")",           ";",        ":",           ",",          "@",
                                    "!",           "-",        "0",           "4294967296", "18446744073709551615",
                                    "0f7F800000",  "-1",       ".reg",        ".param",     ".entry k2(",
                                    ".func g;",    "ret;",     "bra $A;",     "|",          "<999999999>",
                                    "%tid.x",      "%clock64", "_",           "\"",         "/*",
                                    "//",          "\n",       ".align 4096", "sm",         "lo",
                                    "dyn",         "f",        "T",           ".loc 1 1 1", ".section x {",
                                    "[4294967295]"};

/* One to four changes of the text: a byte, a cut, a copy of a piece, a word, two lines exchanged. */
static size_t mutate(char *text, size_t n, size_t room, uint64_t *state) {
    for (uint64_t changes = 1 + help_random(state) % 4; changes; changes--) {
        size_t at = n ? help_random(state) % n : 0, length = help_random(state) % 24;
        length = length > n - at ? n - at : length;
        switch (help_random(state) % 6) {
        case 0:
            if (n)
                text[at] = (char)help_random(state);
            break;
        case 1:
            memmove(text + at, text + at + length, n - at - length);
            n -= length;
            break;
        case 2: {
            char piece[24];
            size_t to = n ? help_random(state) % n : 0;
            if (n + length > room)
                break;
            memcpy(piece, text + at, length);
            memmove(text + to + length, text + to, n - to);
            memcpy(text + to, piece, length);
            n += length;
            break;
        }
        case 3: {
            const char *word = words[help_random(state) % (sizeof words / sizeof *words)];
            size_t w = strlen(word);
            if (n + w > room)
                break;
            memmove(text + at + w, text + at, n - at);
            memcpy(text + at, word, w);
            n += w;
            break;
        }
        case 4: { /* a number or name gets another digit */
            size_t k = at;
            while (k < n && (text[k] < '0' || text[k] > '9'))
                k++;
            if (k < n)
                text[k] = (char)('0' + help_random(state) % 10);
            break;
        }
        default:
            n = help_random(state) % 50 == 0 ? at : n; /* the text ends early */
        }
    }
    return n;
}

static void try_text(const char *text, size_t n, uint64_t seed, int *parsed) {
    emu_error e;
    char *exact = malloc(n + 1); /* no byte beyond the end: an overrun is seen */
    assert_non_null(exact);
    memcpy(exact, text, n);
    char *end = realloc(exact, n ? n : 1);
    assert_non_null(end);
    emu_module *module = emu_module_parse(end, n, &e);
    if (!module) {
        assert_true(e.text[0] != 0);
        free(end);
        return;
    }
    free(end);
    ++*parsed;
    emu_machine *m = emu_machine_create();
    uint8_t *data = emu_alloc(m, 4096, EMU_ZERO);
    for (size_t i = 0; i < emu_module_kernel_count(module); i++) {
        const emu_kernel *k = emu_module_kernel(module, i);
        uint8_t params[1024] = {0};
        emu_options o = emu_options_default();
        emu_result r;
        uint32_t grid[3] = {2, 1, 1}, block[3] = {48, 1, 1};
        o.seed = seed, o.threads = 1, o.step_limit = 3000;
        memcpy(params, &data, sizeof data);
        if (k->param_bytes <= sizeof params && k->local_bytes < 65536 &&
            emu_launch(m, module, k, grid, block, 512, params, k->param_bytes, &o, &r, &e))
            emu_result_free(&r);
    }
    emu_machine_destroy(m);
    emu_module_destroy(module);
}

static void fuzz(const char *text, size_t n, int rounds, uint64_t seed, int at_least) {
    int parsed = 0;
    size_t room = n + 4096;
    char *copy = malloc(room);
    assert_non_null(copy);
    try_text(text, n, 1, &parsed);
    assert_int_equal(parsed, 1);
    for (int i = 0; i < rounds; i++) {
        memcpy(copy, text, n);
        try_text(copy, mutate(copy, n, room, &seed), seed, &parsed);
    }
    assert_true(parsed > at_least);
    free(copy);
}

static void mutated_small(void **state) {
    (void)state;
    fuzz(small, strlen(small), 4000, 1, 100);
}

static void mutated_compiled(void **state) {
    (void)state;
    size_t n;
    char *text = help_read("tests/emu/ptx/half_sm_80.ptx", &n);
    fuzz(text, n, 1500, 2, 30);
    free(text);
    text = help_read("tests/emu/ptx/correct_sm_120f.ptx", &n);
    fuzz(text, n, 30, 3, 1);
    free(text);
}

static void cut_everywhere(void **state) {
    (void)state;
    int parsed = 0;
    for (size_t n = 0; n < strlen(small); n++)
        try_text(small, n, 0, &parsed);
}

/* Errors name their line and what is wrong there. */
static void messages(void **state) {
    (void)state;
    static const struct {
        const char *body, *text;
    } rows[] = {
        {"wgmma.fence.sync.aligned;", "unknown opcode 'wgmma' in 'wgmma.fence.sync.aligned'"},
        {"add.quickly.u32 %r1, %r1, 1;", "unknown modifier '.quickly' in 'add.quickly.u32'"},
        {"ld.global.L1::sometimes.u32 %r1, [%rd1];", "unknown modifier '.L1::sometimes'"},
        {"add.u64 %r1, %r1, 1;", "the operand '%r1' has the wrong type or size"},
        {"add.u32 %r9, %r1, 1;", "unknown register '%r9'"},
        {"bra NOWHERE;", "there is no label NOWHERE"},
        {"add.u32 %r1, %r1;", "wrong number of operands"},
        {"ld.global.u32 %r1, [%rd1;", "expected ']'"},
        {"mma.sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32 {%r1,%r1,%r1,%r1}, {%r1,%r1,%r1,%r1}, {%r1,%r1}, "
         "{%r1,%r1,%r1,%r1};",
         "only .row.col"},
        {"cp.async.bulk.shared.global [%r1], [%rd1], 16;", "unknown modifier '.bulk'"},
        {"call f, ();", "only calls of functions declared before"},
        {"st.param.b32 [x], %r1;", "'x' cannot be an address"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        emu_error e;
        snprintf(text, sizeof text,
                 ".version 8.0\n.target sm_80\n.address_size 64\n.entry k()\n{\n.reg .b32 %%r<4>;\n.reg .b64 "
                 "%%rd<2>;\n%s\nret;\n}\n",
                 rows[i].body);
        emu_module *m = emu_module_parse(text, strlen(text), &e);
        assert_null(m);
        if (!strstr(e.text, rows[i].text))
            fail_msg("%s: got '%s'", rows[i].body, e.text);
        assert_int_equal(e.line, 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(cut_everywhere),
                                       cmocka_unit_test(mutated_small), cmocka_unit_test(mutated_compiled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
