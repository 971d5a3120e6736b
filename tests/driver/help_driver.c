/* help_driver.c: see help_driver.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/driver/help_driver.h"

const nha_cuda_driver help_cuda = {.struct_size = sizeof help_cuda,
#define MEMBER_(name, arguments) .name = emu_##name,
                                   NHA_CUDA_DRIVER_LIST(MEMBER_)
#undef MEMBER_
};

const char help_ptx[] =
    "// small kernels\n.version 7.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n"
    ".visible .entry set(.param .u64 p, .param .u32 v, .param .u32 n)\n{\n.reg .pred %q;\n.reg .b32 %r<6>;\n.reg .b64 "
    "%a<4>;\n"
    "ld.param.u64 %a1, [p];\nld.param.u32 %r1, [v];\nld.param.u32 %r2, [n];\nmov.u32 %r3, %ctaid.x;\nmov.u32 %r4, "
    "%ntid.x;\n"
    "mov.u32 %r5, %tid.x;\nmad.lo.u32 %r3, %r3, %r4, %r5;\nsetp.ge.u32 %q, %r3, %r2;\n@%q bra DONE;\n"
    "mul.wide.u32 %a2, %r3, 4;\nadd.u64 %a1, %a1, %a2;\nst.global.u32 [%a1], %r1;\nDONE:\nret;\n}\n"
    ".visible .entry copy(.param .u64 to, .param .u64 from)\n{\n.reg .b32 %r<2>;\n.reg .b64 %a<3>;\nld.param.u64 %a1, "
    "[to];\n"
    "ld.param.u64 %a2, [from];\nld.global.u32 %r1, [%a2];\nst.global.u32 [%a1], %r1;\nret;\n}\n"
    ".visible .entry increment(.param .u64 p)\n{\n.reg .b32 %r<2>;\n.reg .b64 %a<2>;\nld.param.u64 %a1, [p];\n"
    "ld.global.u32 %r1, [%a1];\nadd.u32 %r1, %r1, 1;\nst.global.u32 [%a1], %r1;\nret;\n}\n"
    ".visible .entry odd(.param .u64 p)\n{\n.reg .b32 %r<2>;\n.reg .b64 %a<2>;\nld.param.u64 %a1, [p];\nmov.u32 %r1, "
    "3;\n"
    "st.global.u32 [%a1+1], %r1;\nret;\n}\n"
    ".visible .entry crash()\n{\ntrap;\n}\n"
    ".const .align 4 .u32 fixed_word = 1;\n.visible .entry constant()\n{\n.reg .b32 %r<2>;\n.reg .b64 %a<2>;\nmov.u64 "
    "%a1, fixed_word;\n"
    "cvta.const.u64 %a1, %a1;\nmov.u32 %r1, 3;\nst.u32 [%a1], %r1;\nret;\n}\n"
    ".visible .entry narrow()\n.maxntid 64, 1, 1\n{\nret;\n}\n"
    ".visible .entry last(.param .u64 p)\n{\n.reg .b32 %r<4>;\n.reg .b64 %a<2>;\nld.param.u64 %a1, [p];\nmov.u32 %r1, "
    "dyn;\n"
    "mov.u32 %r2, %dynamic_smem_size;\nadd.u32 %r1, %r1, %r2;\nmov.u32 %r3, 5;\nst.shared.u32 [%r1+-4], %r3;\n"
    "ld.shared.u32 %r2, [%r1+-4];\nst.global.u32 [%a1], %r2;\nret;\n}\n"
    ".visible .entry steady()\n{\n.shared .align 4 .b8 fixed[1024];\n.reg .b32 %r<2>;\nmov.u32 %r1, fixed;\nret;\n}\n";

void help_ok(int result) {
    const char *name = NULL;
    char report[1024];
    if (result) {
        help_cuda.cuGetErrorName(result, &name);
        emu_driver_report(report, sizeof report);
        fail_msg("%d %s: %s", result, name ? name : "?", report);
    }
}

void *help_begin(const emu_driver_options *options, int device) {
    void *context;
    assert_true(emu_driver_configure(options));
    help_ok(help_cuda.cuInit(0));
    help_ok(help_cuda.cuDevicePrimaryCtxRetain(&context, device));
    help_ok(help_cuda.cuCtxPushCurrent_v2(context));
    return context;
}

void help_end(int device) {
    help_ok(help_cuda.cuCtxPopCurrent_v2(NULL));
    help_ok(help_cuda.cuDevicePrimaryCtxRelease_v2(device));
    assert_true(emu_driver_configure(NULL));
}

void *help_module(const char *image) {
    void *module = NULL;
    help_ok(help_cuda.cuModuleLoadDataEx(&module, image, 0, NULL, NULL));
    return module;
}

void *help_function(void *module, const char *name) {
    void *function = NULL;
    help_ok(help_cuda.cuModuleGetFunction(&function, module, name));
    return function;
}

uint64_t help_alloc(size_t bytes) {
    uint64_t address = 0;
    help_ok(help_cuda.cuMemAlloc_v2(&address, bytes));
    return address;
}

int help_launch(void *function, unsigned grid, unsigned block, void *stream, void **parameters) {
    return help_cuda.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, stream, parameters, NULL);
}

int help_set(void *function, uint64_t p, uint32_t value, uint32_t n, void *stream) {
    return help_launch(function, (n + 31) / 32, 32, stream, (void *[]){&p, &value, &n});
}

uint32_t help_word(uint64_t p) {
    uint32_t word = 0;
    help_ok(help_cuda.cuMemcpyDtoHAsync_v2(&word, p, sizeof word, NULL));
    return word;
}

bool help_reported(const char *part) {
    char report[4096];
    emu_driver_report(report, sizeof report);
    return strstr(report, part) != NULL;
}
