/* candidate.h: one point of the search space on its way from a tile to a measured kernel.
 * A loaded candidate is an nha_library of one kernel in memory and runs through libnha's public interface: what is
 * measured is what ships. */
#ifndef TUNER_CANDIDATE_H
#define TUNER_CANDIDATE_H

#include "gen/cpu/knobs.h"
#include "gen/cuda/cuda.h"
#include "jit/jit.h"
#include "jit/nvrtc.h"
#include "runtime/nha_library.h"
#include "tuner/arch.h"

enum { TUNE_TILE_STRING_MAX = 160 };

typedef enum tune_status {
    TUNE_NEW,      /* known by its tile alone */
    TUNE_VERIFIED, /* matched the oracle; may be timed */
    TUNE_REJECTED, /* compiled, but its results are wrong */
    TUNE_FAILED    /* did not compile, load or run */
} tune_status;
const char *tune_status_name(tune_status status);

/* The knobs' values, by the kind of the arch. */
typedef struct tune_tile {
    gen_tile cpu;
    const gen_cuda_kernel *variant; /* CUDA: the row of gen_cuda_kernels; NULL for a CPU */
    gen_cuda_tile cuda;
} tune_tile;
bool tune_tile_same(const tune_tile *a, const tune_tile *b);
/* Knobs in which two tiles of one arch differ; more than any number of knobs where they are of different variants. */
int tune_tile_distance(const tune_tile *a, const tune_tile *b);
enum { TUNE_DISTANCE_MAX = 64 };
/* Calls visit(context, name, value) for each knob that the op uses. */
void tune_tile_visit(const tune_tile *tile, void (*visit)(void *context, const char *knob, int32_t value),
                     void *context);

typedef struct tune_candidate {
    const gen_problem *problem; /* borrowed; outlives the candidate */
    nha_op op;
    tune_arch arch;
    tune_tile tile;
    int order;                         /* place in the enumeration; 0: the untuned default. Breaks ties */
    char string[TUNE_TILE_STRING_MAX]; /* gen_tile_string or gen_cuda_tile_string: its name in the journal */
    tune_status status;
    char why[256]; /* one line, where rejected or failed */
    /* From here on: while loaded. */
    bool loaded;
    char name[192];
    nha_kernel kernel;
    nha_library library;
    /* CPU */
    jit_object object;
    jit_code *code;
    char symbol_main[256], symbol_delta[256], symbol_scan[256];
    nha_cpu_code cpu;
    /* CUDA */
    struct tune_candidate_cuda *cuda;
} tune_candidate;

typedef struct tune_candidate_cuda {
    gen_cuda_unit unit;
    jit_cuda_image image;
} tune_candidate_cuda;

/* A candidate that is not loaded; needs no unload. */
void tune_candidate_init(tune_candidate *c, const gen_problem *problem, nha_op op, const tune_arch *arch,
                         const tune_tile *tile, int order);
/* Renders, compiles (or takes from the cache) and fills `library`, which holds pointers into *c: a loaded candidate
 * does not move. CPU: links the code in this process. CUDA: `nvrtc` compiles; a kernel that spills or has a stack frame
 * is an ERR_COMPILE unless it is a generic one. Thread-safe for distinct candidates. Errors: those of gen_cpu_emit,
 * jit_compile, jit_load, gen_cuda_emit, jit_nvrtc_compile. */
bool tune_candidate_load(tune_candidate *c, const jit_nvrtc *nvrtc, err *e);
/* No plan of its library may exist. Harmless if not loaded. */
void tune_candidate_unload(tune_candidate *c);
/* The candidate's readable source: its IR or CUDA source, opened by how it was made, the problem, tile and layout.
 * malloc'd; NULL on an error. The same inputs give the same bytes. */
char *tune_candidate_source(const tune_candidate *c, err *e);
/* The untuned default of an arch; of several CUDA variants that of the first that takes the problem. Errors: those of
 * gen_cuda_tile_default, ERR_MISSING where no variant takes it. */
bool tune_default_tile(const gen_problem *problem, nha_op op, const tune_arch *arch, tune_tile *tile, err *e);

#endif
