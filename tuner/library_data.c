/* library_data.c: see library_data.h. Before libnha looks at the table, each of its pointers is checked against the
 * image, so that what libnha follows is there. */
#include "tuner/library_data.h"

#include <string.h>

#include "gen/problem.h"
#include "jit/elf.h"
#include "runtime/nha_cuda.h"

/* `count` structs of a type. */
#define HOLDS(image, at, count, type) elf_image_holds(image, at, count, sizeof(type), _Alignof(type))

static bool cuda_inside(const elf_image *image, const nha_kernel *k) {
    const nha_cuda_code *c = k->cuda;
    if (!HOLDS(image, c, 1, nha_cuda_code) || c->launch_count < 0 || c->launch_count > NHA_CUDA_LAUNCHES_MAX)
        return false;
    for (int32_t i = 0; i < c->launch_count; i++)
        if (!elf_image_holds_text(image, c->launch[i].entry)) return false;
    if (k->cubin && !elf_image_holds(image, k->cubin, k->cubin_bytes, 1, 1)) return false;
    return !k->ptx || (k->ptx_bytes < UINT64_MAX && elf_image_holds(image, k->ptx, k->ptx_bytes + 1, 1, 1));
}

/* Why the table is refused; NULL: all its pointers lead to what they say. */
static const char *pointer_fault(const elf_image *image, const nha_library *l) {
    if (!HOLDS(image, l, 1, nha_library)) return "its header is cut off";
    if (l->struct_size != sizeof *l || l->abi_version != NHA_ABI_VERSION) return NULL; /* nha_library_check says it */
    if (!elf_image_holds_text(image, l->name) || !elf_image_holds_text(image, l->generator)) return "its names";
    if (l->problem_count < 0 || l->kernel_count < 0 ||
        !HOLDS(image, l->problems, (uint64_t)l->problem_count, nha_problem) ||
        !HOLDS(image, l->kernels, (uint64_t)l->kernel_count, nha_kernel))
        return "its tables";
    for (int32_t i = 0; i < l->problem_count; i++)
        if (!elf_image_holds_text(image, l->problems[i].name)) return "a problem";
    for (int32_t i = 0; i < l->kernel_count; i++) {
        const nha_kernel *k = &l->kernels[i];
        if (k->kind != NHA_CUDA || k->cpu) return "a kernel that is not for a GPU in an object without code";
        if (!elf_image_holds_text(image, k->name) || !elf_image_holds_text(image, k->isa) || !cuda_inside(image, k))
            return "a kernel";
    }
    return NULL;
}

const nha_library *tune_data_load(const void *object, size_t size, const char *c_name, elf_image *image, err *e) {
    char symbol[GEN_NAME_MAX + 32];
    nha_error error;
    snprintf(symbol, sizeof symbol, "nha_library_%s", c_name);
    if (!elf_load(object, size, jit_elf_host_machine(), symbol, image, e)) return NULL;
    const nha_library *library = image->symbol;
    const char *fault = pointer_fault(image, library);
    if (fault)
        err_set(e, ERR_INPUT, "library", "the table of the library is damaged: %s", fault);
    else if (nha_library_check(library, &error) != NHA_OK)
        err_set(e, ERR_INPUT, "library", "%s", error.text);
    else
        return library;
    elf_unload(image);
    return NULL;
}
