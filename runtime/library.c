/* library.c: reading the constant tables of a generated library.
 * A library is code and thus trusted once loaded; what is checked here is that it was made for this libnha and is
 * whole. */
#include <math.h>
#include <string.h>

#include "runtime/cuda_internal.h"

/* NULL, or what is wrong with the problem. The bounds are those of nha_problem and keep every later size computation
 * small. */
static const char *problem_fault(const nha_problem *p) {
    if (!p->name) return "has no name";
    if (p->head_dim_qk < 8 || p->head_dim_qk > 256 || p->head_dim_qk % 8) return "has an impossible head_dim_qk";
    if (p->head_dim_v < 8 || p->head_dim_v > 256 || p->head_dim_v % 8) return "has an impossible head_dim_v";
    if (p->heads_kv < 1 || p->heads_q < p->heads_kv || p->heads_q % p->heads_kv || p->heads_q > 1 << 20)
        return "has impossible heads";
    if (p->slots < 0 || p->slots > 256) return "has an impossible number of slots";
    if (p->window < 0 || p->slot_lag < 0) return "has a negative window or slot_lag";
    if (!p->slots && !p->window) return "has neither slots nor window";
    if (p->dtype < NHA_F32 || p->dtype > NHA_BF16 || p->gate_dtype < NHA_F32 || p->gate_dtype > NHA_BF16)
        return "has an unknown dtype";
    if (p->state_dtype != NHA_F32 && p->state_dtype != NHA_BF16) return "has a state_dtype that is neither F32 nor BF16";
    if (p->rope < NHA_ROPE_NONE || p->rope > NHA_ROPE_GPTJ) return "has an unknown rope";
    if (!isfinite(p->scale)) return "has a scale that is not finite";
    return NULL;
}

static const char *cuda_fault(const nha_kernel *k) {
    const nha_cuda_code *c = k->cuda;
    nhr_target target;
    if (!nhr_target_parse(k->isa, &target)) return "is for an unknown target";
    if (!c || (!k->cubin && !k->ptx)) return "has no code";
    if ((k->cubin && !k->cubin_bytes) || (k->ptx && (!k->ptx_bytes || k->ptx[k->ptx_bytes])))
        return "has an image without an end";
    if (c->launch_count < 1 || c->launch_count > NHA_CUDA_LAUNCHES_MAX) return "has an impossible number of launches";
    if (c->workspace_bytes < 0 || c->workspace_window_bytes < 0) return "has impossible sizes";
    for (int32_t i = 0; i < c->launch_count; i++) {
        const nha_cuda_launch *l = &c->launch[i];
        if (!l->entry || l->grid != NHA_GRID_HEADS || l->threads < 1 || l->threads > 1024 || l->shared_bytes < 0)
            return "has an impossible launch";
    }
    return NULL;
}

static const char *kernel_fault(const nha_library *library, const nha_kernel *k) {
    if (!k->name || !k->isa) return "has no name or isa";
    if (k->problem < 0 || k->problem >= library->problem_count) return "names a problem that is not there";
    if (k->kind == NHA_CUDA) return cuda_fault(k);
    if (k->kind != NHA_CPU) return "is for an unknown kind of device";
    const nha_cpu_code *c = k->cpu;
    if (!c || !c->main) return "has no code";
    if (c->block_tokens < 1 || c->block_tokens > 1 << 20 || c->scratch_bytes < 0 || c->scratch_panel_bytes < 0 ||
        !isfinite(c->delta_cost) || c->delta_cost < 0)
        return "has impossible sizes";
    if (k->op == NHA_PREFILL && library->problems[k->problem].slots && (!c->segment_delta != !c->segment_scan))
        return "has half of the segment functions";
    return NULL;
}

nha_status nha_library_check(const nha_library *library, nha_error *error) {
    if (!library) return nhr_fail(error, NHA_INVALID_ARGUMENT, "library is NULL");
    if (memcmp(library->magic, NHA_LIBRARY_MAGIC, sizeof NHA_LIBRARY_MAGIC))
        return nhr_fail(error, NHA_BAD_LIBRARY, "not a library made by nhac: its magic is wrong");
    if (library->abi_version != NHA_ABI_VERSION)
        return nhr_fail(error, NHA_BAD_LIBRARY,
                        "the library has ABI version %u, libnha %s needs %u: make it again with nhac",
                        library->abi_version, NHA_VERSION, (unsigned)NHA_ABI_VERSION);
    if (library->struct_size != sizeof *library)
        return nhr_fail(error, NHA_BAD_LIBRARY, "the library's header has %u bytes, expected %zu", library->struct_size,
                        sizeof *library);
    if (!library->name || !library->generator || library->problem_count < 1 || !library->problems ||
        library->kernel_count < 0 || (library->kernel_count && !library->kernels))
        return nhr_fail(error, NHA_BAD_LIBRARY, "the library's tables are incomplete");
    for (int32_t i = 0; i < library->problem_count; i++) {
        const char *fault = problem_fault(&library->problems[i]);
        if (fault) return nhr_fail(error, NHA_BAD_LIBRARY, "library %s: problem %d %s", library->name, i, fault);
    }
    for (int32_t i = 0; i < library->kernel_count; i++) {
        const char *fault = kernel_fault(library, &library->kernels[i]);
        if (fault) return nhr_fail(error, NHA_BAD_LIBRARY, "library %s: kernel %d %s", library->name, i, fault);
    }
    return nhr_ok(error);
}

int32_t nha_library_problem_count(const nha_library *library) {
    return library ? library->problem_count : 0;
}

const nha_problem *nha_library_problem(const nha_library *library, int32_t i) {
    return library && i >= 0 && i < library->problem_count ? &library->problems[i] : NULL;
}

const char *nha_library_name(const nha_library *library) {
    return library ? library->name : NULL;
}

bool nha_library_has(const nha_library *library, int32_t i, nha_op op, nha_device_kind kind) {
    if (!library) return false;
    for (int32_t k = 0; k < library->kernel_count; k++) {
        const nha_kernel *kernel = &library->kernels[k];
        if (kernel->problem == i && kernel->op == (int32_t)op && kernel->kind == (int32_t)kind) return true;
    }
    return false;
}

nha_status nhr_problem_find(const nha_library *library, int32_t i, const nha_problem **problem, nha_error *error) {
    nha_status status = nha_library_check(library, error);
    if (status) return status;
    *problem = nha_library_problem(library, i);
    if (!*problem)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "problem %d is not in library %s, which has %d", i, library->name,
                        library->problem_count);
    return NHA_OK;
}

nha_status nhr_check_device(nha_device device, nha_error *error) {
    if (device.kind == NHA_CPU || device.kind == NHA_CUDA) return NHA_OK;
    return nhr_fail(error, NHA_INVALID_ARGUMENT, "device.kind is %d, expected NHA_CPU or NHA_CUDA", device.kind);
}
