/* cuda.h: CUDA kernels as rendered source. problem + target + tile -> template -> one file with the kernels of
 * nha_cuda_code. The tile's knobs are searched; the layout is what the template computes from them. */
#ifndef GEN_CUDA_CUDA_H
#define GEN_CUDA_CUDA_H

#include "base/err.h"
#include "gen/cuda/target.h"
#include "gen/embedded.h"
#include "gen/problem.h"
#include "runtime/nha_cuda.h"

enum { GEN_CUDA_KNOBS_MAX = 16, GEN_CUDA_KNOB_NAME_MAX = 31, GEN_CUDA_ENTRY_MAX = 255 };

/* One launch of a kernel: names of what the template declares. */
typedef struct gen_cuda_launch {
    const char *knob;    /* the word knob that names the entry function: KERNEL_MAIN */
    const char *suffix;  /* of the entry's name: "" or "_commit" */
    const char *threads; /* derived constant: threads of a block */
    const char *shared;  /* derived constant: bytes of dynamic shared memory; NULL: none */
    bool needs_cache;
} gen_cuda_launch;

/* A kernel variant: one template, one space file, one row of the table in kernels.c. */
typedef struct gen_cuda_kernel {
    nha_op op;
    const char *name; /* "generic": in kernel names */
    const char *template_file, *space_file;
    bool generic; /* covers every legal problem; exempt from the spill rule */
    /* NULL if the kernel can serve the problem on the target, else a static one-line reason. */
    const char *(*refuses)(const gen_problem *problem, const gen_cuda_target *target);
    int launch_count;
    gen_cuda_launch launch[NHA_CUDA_LAUNCHES_MAX];
} gen_cuda_kernel;

/* The table; within an op the generic kernel first: it is the default that always races. Static. */
const gen_cuda_kernel *gen_cuda_kernels(int *count);
/* Whether any variant computes this op. */
bool gen_cuda_has(nha_op op);
const gen_cuda_kernel *gen_cuda_kernel_find(nha_op op, const char *name);

/* A candidate: values of the knobs of the space file, in its order and spelling. */
typedef struct gen_cuda_tile {
    int count;
    bool standard; /* the untuned default */
    struct {
        char name[GEN_CUDA_KNOB_NAME_MAX + 1];
        int32_t value;
    } knob[GEN_CUDA_KNOBS_MAX];
} gen_cuda_tile;

/* sm_90.generic.chunk64.warps4: canonical, unique per op. Returns the length as snprintf does. */
int gen_cuda_tile_string(const gen_cuda_kernel *kernel, const gen_cuda_target *target, const gen_cuda_tile *tile,
                         char *out, size_t size);

/* What the template's derived constants say. */
typedef struct gen_cuda_layout {
    int32_t threads[NHA_CUDA_LAUNCHES_MAX], shared_bytes[NHA_CUDA_LAUNCHES_MAX];
    int64_t workspace_bytes, workspace_window_bytes; /* as in nha_cuda_code */
    int32_t register_estimate;                       /* a thread; 0: the template gives none */
} gen_cuda_layout;

typedef struct gen_cuda_unit {
    char name[192];                                              /* kernel name: OP.TARGET.KERNEL.KNOBS */
    char entry[NHA_CUDA_LAUNCHES_MAX]
              [GEN_CUDA_ENTRY_MAX + 1]; /* extern "C" names, unique to problem, target and tile */
    char reason[256];                   /* empty: legal; else why the tile is not, and no source */
    char *source;                       /* malloc'd, NUL-terminated: the file, header included */
    size_t source_size;
    char template_hash[65]; /* SHA-256 of template and parts */
    gen_cuda_layout layout;
    nha_cuda_code code; /* its entries point into `entry`: a unit that moves calls gen_cuda_unit_fix */
} gen_cuda_unit;

/* Renders one candidate. `files`: gen_embedded_files, or a table like it. Deterministic; thread-safe. A tile that is
 * not legal is no error: look at unit->reason. Errors: ERR_INPUT with a place for what is wrong in a template or space
 * file, ERR_INTERNAL if the template is not there or lacks a constant, ERR_MEMORY. On failure *unit needs no destroy.
 */
bool gen_cuda_emit(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                   const gen_cuda_target *target, const gen_cuda_tile *tile, gen_cuda_unit *unit, err *e);
void gen_cuda_unit_destroy(gen_cuda_unit *unit);
void gen_cuda_unit_fix(gen_cuda_unit *unit);

/* Every combination of the values in the kernel's space file, each either legal or rejected with a reason (NULL:
 * legal); the order is fixed: the last knob of the file changes fastest, and each knob takes its values as they stand
 * there. `visit` returns false to stop. The first legal one is the untuned default. */
typedef bool (*gen_cuda_visit)(void *context, const gen_cuda_tile *tile, const char *reason);
bool gen_cuda_space(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                    const gen_cuda_target *target, gen_cuda_visit visit, void *context, err *e);
/* The untuned default. ERR_INTERNAL if no tile is legal, with the last reason; ERR_MISSING if the kernel refuses the
 * problem or the target. */
bool gen_cuda_tile_default(const gen_embedded *files, const gen_cuda_kernel *kernel, const gen_problem *problem,
                           const gen_cuda_target *target, gen_cuda_tile *tile, err *e);

#endif
