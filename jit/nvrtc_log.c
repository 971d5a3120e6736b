/* nvrtc_log.c: registers, spills, stack and shared memory out of what `ptxas -v` writes. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "jit/nvrtc.h"

static const char *find(const char *line, size_t size, const char *what) {
    return memmem(line, size, what, strlen(what));
}

/* The number that stands before `what` ("bytes spill stores") in a line; `old` if it is not there. */
static int32_t number_before(const char *line, size_t size, const char *what, int32_t old) {
    const char *at = find(line, size, what), *digit = at;
    if (!at)
        return old;
    while (digit > line && digit[-1] == ' ')
        digit--;
    while (digit > line && digit[-1] >= '0' && digit[-1] <= '9')
        digit--;
    long value = strtol(digit, NULL, 10);
    return *digit < '0' || *digit > '9' || value < 0 || value > INT32_MAX ? old : (int32_t)value;
}

/* ptxas info : Compiling entry function 'NAME' for 'sm_90'
 * ptxas . 8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
 * ptxas info : Used 32 registers, used 1 barriers, 512 bytes smem, 400 bytes cmem[0] */
int jit_cuda_read_log(const char *log, jit_cuda_resources *kernels, int most) {
    static const char entry[] = "Compiling entry function '", properties[] = "Function properties for ";
    const char *cursor = log, *end = log + strlen(log), *line;
    size_t size;
    int count = 0;
    bool ours = false; /* lines at hand speak of kernels[count - 1], not of a function that it calls */
    while (base_next_line(&cursor, end, &line, &size, NULL)) {
        const char *name = find(line, size, entry), *function = find(line, size, properties);
        if (name) {
            name += sizeof entry - 1;
            const char *quote = memchr(name, '\'', (size_t)(line + size - name));
            ours = quote && quote - name < JIT_NVRTC_NAME_MAX && count < most;
            if (!ours)
                continue;
            kernels[count] = (jit_cuda_resources){.registers = -1};
            memcpy(kernels[count++].name, name, (size_t)(quote - name));
        } else if (function && count) {
            function += sizeof properties - 1;
            const char *current = kernels[count - 1].name;
            ours =
                (size_t)(line + size - function) == strlen(current) && memcmp(function, current, strlen(current)) == 0;
        } else if (ours && count) {
            jit_cuda_resources *k = &kernels[count - 1];
            k->stack_bytes = number_before(line, size, "bytes stack frame", k->stack_bytes);
            k->stack_bytes = number_before(line, size, "bytes cumulative stack size", k->stack_bytes);
            k->spill_stores = number_before(line, size, "bytes spill stores", k->spill_stores);
            k->spill_loads = number_before(line, size, "bytes spill loads", k->spill_loads);
            k->registers = number_before(line, size, "registers", k->registers);
            k->barriers = number_before(line, size, "barriers", k->barriers);
            k->shared_bytes = number_before(line, size, "bytes smem", k->shared_bytes);
        }
    }
    return count;
}

const jit_cuda_resources *jit_cuda_image_find(const jit_cuda_image *image, const char *name) {
    for (int i = 0; i < image->kernel_count; i++)
        if (strcmp(image->kernels[i].name, name) == 0)
            return &image->kernels[i];
    return NULL;
}

bool jit_cuda_spill_free(const jit_cuda_image *image, char *reason, size_t size) {
    for (int i = 0; i < image->kernel_count; i++) {
        const jit_cuda_resources *k = &image->kernels[i];
        if (k->spill_stores || k->spill_loads)
            snprintf(reason, size, "%.100s spills: %d bytes stored, %d loaded a thread, with %d registers", k->name,
                     (int)k->spill_stores, (int)k->spill_loads, (int)k->registers);
        else if (k->stack_bytes)
            snprintf(reason, size, "%.100s has a stack frame of %d bytes a thread", k->name, (int)k->stack_bytes);
        else
            continue;
        return false;
    }
    return true;
}
