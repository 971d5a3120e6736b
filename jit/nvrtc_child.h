/* nvrtc_child.h: one run of NVRTC in a child process. Private to jit/nvrtc. */
#ifndef JIT_NVRTC_CHILD_H
#define JIT_NVRTC_CHILD_H

#include "jit/nvrtc_load.h"

/* What came back: NVRTC's result and malloc'd texts, each with a NUL behind it. */
typedef struct jit_nvrtc_answer {
    int result;
    char *log, *ptx, *cubin;
    size_t log_size, ptx_size, cubin_size;
} jit_nvrtc_answer;

/* True if the child answered, whatever the answer is. Errors: ERR_SYSTEM (no process, no pipe), ERR_COMPILE where the
 * child died of a signal, ERR_MEMORY where that was the system's out-of-memory killer's. */
bool jit_nvrtc_child_run(const jit_nvrtc *nvrtc, const jit_cuda_request *request, const char *const *options,
                         int option_count, jit_nvrtc_answer *answer, err *e);
void jit_nvrtc_answer_free(jit_nvrtc_answer *answer);

#endif
