/* library_table.c: the structs of runtime/nha_library.h written as bytes, each member at its offsetof and padding zero,
 * so that the table is what libnha's C compiler sees. Both architectures are little-endian, 64-bit, and align alike. */
#include "tuner/library_table.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/elf_object.h"

_Static_assert(sizeof(void *) == 8 && _Alignof(nha_library) <= 16, "the layout that libraries have");

enum { STRUCT_ALIGN = 16, IMAGE_ALIGN = 64 };

/* Code of one CUDA row in .rodata. */
typedef struct image {
    elf_place cubin, ptx;
} image;

typedef struct table {
    elf_object object;
    const tune_library_kernel *const *kernels;
    int count;
    image *images; /* by row */
} table;

static elf_place member(elf_place at, size_t offset) {
    at.offset += offset;
    return at;
}

/* A member of the struct at `at`, by name. The value is converted to the member's type, which gives its width. */
#define PUT(t, at, type, name, value)                                                                                  \
    do {                                                                                                               \
        const __typeof__(((type *)0)->name) put_ = (value);                                                            \
        elf_object_put(&(t)->object, member(at, offsetof(type, name)), &put_, sizeof put_);                            \
    } while (0)
#define POINT(t, at, type, name, to) elf_object_pointer(&(t)->object, member(at, offsetof(type, name)), to)

static elf_place structs(table *t, size_t count, size_t size) {
    return elf_object_zero(&t->object, ELF_RELRO, (uint64_t)count * size, STRUCT_ALIGN);
}

static elf_place string(table *t, const char *text) {
    return elf_object_bytes(&t->object, ELF_RODATA, text, strlen(text) + 1, 1);
}

static elf_place write_problem(table *t, const gen_problem *problem) {
    const nha_problem *p = &problem->nha;
    const elf_place at = structs(t, 1, sizeof *p);
    POINT(t, at, nha_problem, name, string(t, problem->name));
    PUT(t, at, nha_problem, head_dim_qk, p->head_dim_qk);
    PUT(t, at, nha_problem, head_dim_v, p->head_dim_v);
    PUT(t, at, nha_problem, heads_q, p->heads_q);
    PUT(t, at, nha_problem, heads_kv, p->heads_kv);
    PUT(t, at, nha_problem, slots, p->slots);
    PUT(t, at, nha_problem, dtype, p->dtype);
    PUT(t, at, nha_problem, gate_dtype, p->gate_dtype);
    PUT(t, at, nha_problem, state_dtype, p->state_dtype);
    PUT(t, at, nha_problem, gate_input, p->gate_input);
    PUT(t, at, nha_problem, gate_s_given, p->gate_s_given);
    PUT(t, at, nha_problem, rope, p->rope);
    PUT(t, at, nha_problem, slot_map, p->slot_map);
    PUT(t, at, nha_problem, value_map, p->value_map);
    PUT(t, at, nha_problem, window, p->window);
    PUT(t, at, nha_problem, slot_lag, p->slot_lag);
    PUT(t, at, nha_problem, scale, p->scale);
    PUT(t, at, nha_problem, gate_normalizer, p->gate_normalizer);
    return at;
}

/* ---- CPU ---- */

static void point_function(table *t, elf_place at, size_t offset, const char *symbol) {
    if (symbol && symbol[0]) elf_object_pointer_symbol(&t->object, member(at, offset), symbol);
}

static elf_place write_cpu(table *t, const tune_library_kernel *k) {
    const elf_place at = structs(t, 1, sizeof(nha_cpu_code));
    point_function(t, at, offsetof(nha_cpu_code, main), k->symbol_main);
    point_function(t, at, offsetof(nha_cpu_code, segment_delta), k->symbol_delta);
    point_function(t, at, offsetof(nha_cpu_code, segment_scan), k->symbol_scan);
    PUT(t, at, nha_cpu_code, block_tokens, k->code.block_tokens);
    PUT(t, at, nha_cpu_code, scratch_bytes, k->code.scratch_bytes);
    PUT(t, at, nha_cpu_code, scratch_panel_bytes, k->code.scratch_panel_bytes);
    PUT(t, at, nha_cpu_code, delta_cost, k->code.delta_cost);
    return at;
}

/* ---- CUDA ---- */

static elf_place write_cuda(table *t, const nha_cuda_code *code) {
    const elf_place at = structs(t, 1, sizeof *code);
    PUT(t, at, nha_cuda_code, launch_count, code->launch_count);
    PUT(t, at, nha_cuda_code, workspace_bytes, code->workspace_bytes);
    PUT(t, at, nha_cuda_code, workspace_window_bytes, code->workspace_window_bytes);
    for (int32_t i = 0; i < code->launch_count && i < NHA_CUDA_LAUNCHES_MAX; i++) {
        const nha_cuda_launch *l = &code->launch[i];
        const elf_place to = member(at, offsetof(nha_cuda_code, launch) + (size_t)i * sizeof *l);
        POINT(t, to, nha_cuda_launch, entry, string(t, l->entry));
        PUT(t, to, nha_cuda_launch, grid, l->grid);
        PUT(t, to, nha_cuda_launch, threads, l->threads);
        PUT(t, to, nha_cuda_launch, shared_bytes, l->shared_bytes);
        PUT(t, to, nha_cuda_launch, needs_cache, l->needs_cache);
    }
    return at;
}

static bool same(const void *a, size_t a_size, const void *b, size_t b_size) {
    return a_size == b_size && (a == b || memcmp(a, b, a_size) == 0);
}

/* The cubin of a row, which has one: that of an earlier row with the same bytes, else written. */
static elf_place write_cubin(table *t, int row) {
    const tune_library_kernel *k = t->kernels[row];
    for (int i = 0; i < row; i++) {
        const tune_library_kernel *other = t->kernels[i];
        if (other->kind == NHA_CUDA && other->cubin && same(k->cubin, k->cubin_size, other->cubin, other->cubin_size))
            return t->images[i].cubin;
    }
    return elf_object_bytes(&t->object, ELF_RODATA, k->cubin, k->cubin_size, IMAGE_ALIGN);
}

/* The same for PTX, with a NUL after it. */
static elf_place write_ptx(table *t, int row) {
    const tune_library_kernel *k = t->kernels[row];
    for (int i = 0; i < row; i++) {
        const tune_library_kernel *other = t->kernels[i];
        if (other->kind == NHA_CUDA && other->ptx && same(k->ptx, k->ptx_size, other->ptx, other->ptx_size))
            return t->images[i].ptx;
    }
    const elf_place at = elf_object_bytes(&t->object, ELF_RODATA, k->ptx, k->ptx_size, IMAGE_ALIGN);
    elf_object_zero(&t->object, ELF_RODATA, 1, 1);
    return at;
}

static void write_images(table *t, elf_place at, int row) {
    const tune_library_kernel *k = t->kernels[row];
    if (k->cubin) {
        t->images[row].cubin = write_cubin(t, row);
        POINT(t, at, nha_kernel, cubin, t->images[row].cubin);
        PUT(t, at, nha_kernel, cubin_bytes, k->cubin_size);
    }
    if (k->ptx) {
        t->images[row].ptx = write_ptx(t, row);
        POINT(t, at, nha_kernel, ptx, t->images[row].ptx);
        PUT(t, at, nha_kernel, ptx_bytes, k->ptx_size);
    }
}

/* ---- The table ---- */

static void write_kernel(table *t, elf_place at, int row) {
    const tune_library_kernel *k = t->kernels[row];
    POINT(t, at, nha_kernel, name, string(t, k->name));
    PUT(t, at, nha_kernel, problem, 0);
    PUT(t, at, nha_kernel, op, k->op);
    PUT(t, at, nha_kernel, kind, k->kind);
    PUT(t, at, nha_kernel, rank, k->rank);
    POINT(t, at, nha_kernel, isa, string(t, k->target));
    PUT(t, at, nha_kernel, min_tasks, k->min_tasks);
    PUT(t, at, nha_kernel, max_tasks, k->max_tasks);
    PUT(t, at, nha_kernel, min_length, k->min_length);
    PUT(t, at, nha_kernel, max_length, k->max_length);
    if (k->kind == NHA_CUDA) {
        POINT(t, at, nha_kernel, cuda, write_cuda(t, k->cuda));
        write_images(t, at, row);
    } else {
        PUT(t, at, nha_kernel, cpu_features, k->cpu_features);
        POINT(t, at, nha_kernel, cpu, write_cpu(t, k));
    }
}

static void write_library(table *t, const gen_problem *problem, int32_t min_driver_version) {
    static const char magic[sizeof((nha_library *)0)->magic] = NHA_LIBRARY_MAGIC;
    char name[GEN_NAME_MAX + 32];
    const elf_place at = structs(t, 1, sizeof(nha_library));
    elf_object_put(&t->object, member(at, offsetof(nha_library, magic)), magic, sizeof magic);
    PUT(t, at, nha_library, abi_version, NHA_ABI_VERSION);
    PUT(t, at, nha_library, struct_size, sizeof(nha_library));
    POINT(t, at, nha_library, name, string(t, problem->name));
    POINT(t, at, nha_library, generator, string(t, "nhac " NHA_VERSION));
    PUT(t, at, nha_library, problem_count, 1);
    PUT(t, at, nha_library, kernel_count, t->count);
    POINT(t, at, nha_library, problems, write_problem(t, problem));
    PUT(t, at, nha_library, min_driver_version, min_driver_version);
    const elf_place rows = structs(t, (size_t)t->count, sizeof(nha_kernel));
    POINT(t, at, nha_library, kernels, rows);
    for (int i = 0; i < t->count; i++) write_kernel(t, member(rows, (size_t)i * sizeof(nha_kernel)), i);
    snprintf(name, sizeof name, "nha_library_%s", problem->c_name);
    elf_object_symbol(&t->object, name, at, sizeof(nha_library));
}

/* The first part of a triple is the architecture. */
static int machine_of(const char *triple) {
    if (strncmp(triple, "x86_64-", 7) == 0) return EM_X86_64;
    return strncmp(triple, "aarch64-", 8) == 0 ? EM_AARCH64 : EM_NONE;
}

bool tune_table_make(const gen_problem *problem, const tune_library_kernel *const *kernels, int count,
                     int32_t min_driver_version, const char *triple, base_buf *object, err *e) {
    table t = {.kernels = kernels, .count = count, .images = calloc((size_t)count, sizeof(image))};
    if (!t.images) return err_memory(e, "library");
    elf_object_begin(&t.object, machine_of(triple));
    write_library(&t, problem, min_driver_version);
    const bool ok = elf_object_finish(&t.object, object, e);
    elf_object_free(&t.object);
    free(t.images);
    return ok;
}
