/* nvrtc_child.h: NVRTC in processes of its own. A helper is forked when NVRTC is opened, before there are threads, and
 * forks one process a compile: forking later, from a process with threads, could inherit a lock that nobody releases.
 * Private to jit/nvrtc. */
#ifndef JIT_NVRTC_CHILD_H
#define JIT_NVRTC_CHILD_H

#include "jit/nvrtc_load.h"

/* What came back: NVRTC's result and malloc'd texts, each with a NUL behind it. */
typedef struct jit_nvrtc_answer {
    int result;
    char *log, *ptx, *cubin;
    size_t log_size, ptx_size, cubin_size;
} jit_nvrtc_answer;

/* Starts the helper of a loaded NVRTC. Error: ERR_SYSTEM. */
bool jit_nvrtc_helper_start(jit_nvrtc *nvrtc, err *e);
/* Ends it and waits for it. Harmless if it was not started. */
void jit_nvrtc_helper_stop(jit_nvrtc *nvrtc);

/* True if a process answered, whatever the answer is. Thread-safe. Errors: ERR_SYSTEM (no pipe, no helper), ERR_COMPILE
 * where the process died of a signal, ERR_MEMORY where that was the system's out-of-memory killer's. */
bool jit_nvrtc_child_run(const jit_nvrtc *nvrtc, const jit_cuda_request *request, const char *const *options,
                         int option_count, jit_nvrtc_answer *answer, err *e);
void jit_nvrtc_answer_free(jit_nvrtc_answer *answer);

#endif
