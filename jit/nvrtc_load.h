/* nvrtc_load.h: NVRTC as loaded: our own declarations of the few functions that nhac calls. Private to jit/nvrtc. */
#ifndef JIT_NVRTC_LOAD_H
#define JIT_NVRTC_LOAD_H

#include <sys/types.h>

#include "jit/nvrtc.h"

typedef struct jit_nvrtc_program_ *jit_nvrtc_program;

/* nvrtcResult: 0 is success. X(result, parameters of the function nvrtcNAME, NAME) */
#define JIT_NVRTC_FUNCTIONS(X)                                                                                         \
    X(int, (int *major, int *minor), Version)                                                                          \
    X(const char *, (int result), GetErrorString)                                                                      \
    X(int, (int *count), GetNumSupportedArchs)                                                                         \
    X(int, (int *archs), GetSupportedArchs)                                                                            \
    X(int, (jit_nvrtc_program *program, const char *source, const char *name, int headers, const char *const *texts,   \
            const char *const *names), CreateProgram)                                                                  \
    X(int, (jit_nvrtc_program *program), DestroyProgram)                                                               \
    X(int, (jit_nvrtc_program program, int count, const char *const *options), CompileProgram)                         \
    X(int, (jit_nvrtc_program program, size_t *size), GetPTXSize)                                                      \
    X(int, (jit_nvrtc_program program, char *ptx), GetPTX)                                                             \
    X(int, (jit_nvrtc_program program, size_t *size), GetCUBINSize)                                                    \
    X(int, (jit_nvrtc_program program, char *cubin), GetCUBIN)                                                         \
    X(int, (jit_nvrtc_program program, size_t *size), GetProgramLogSize)                                               \
    X(int, (jit_nvrtc_program program, char *log), GetProgramLog)

enum { JIT_NVRTC_OUT_OF_MEMORY = 1, JIT_NVRTC_COMPILATION = 6, JIT_NVRTC_ARCHS_MAX = 64 };

struct jit_nvrtc {
    void *library; /* dlopen's */
    char path[512], version[16];
    int64_t bytes; /* size of the file: tells builds of one version apart */
    int socket;    /* to the helper (nvrtc_child.h); -1: none */
    pid_t helper;
    int archs[JIT_NVRTC_ARCHS_MAX], arch_count;
#define JIT_NVRTC_MEMBER_(result, parameters, name) result(*name) parameters;
    JIT_NVRTC_FUNCTIONS(JIT_NVRTC_MEMBER_)
#undef JIT_NVRTC_MEMBER_
};

#endif
