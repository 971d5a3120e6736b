/* candidate.h: one point of the search space on its way from a tile to a measured kernel.
 * A loaded candidate is an nha_library of one kernel in memory and runs through libnha's public interface: what is
 * measured is what ships. */
#ifndef TUNER_CANDIDATE_H
#define TUNER_CANDIDATE_H

#include "gen/cpu/cpu.h"
#include "jit/jit.h"
#include "runtime/nha_library.h"

enum { TUNE_TILE_STRING_MAX = 160 };

typedef enum tune_status {
    TUNE_NEW,      /* known by its tile alone */
    TUNE_VERIFIED, /* matched the oracle; may be timed */
    TUNE_REJECTED, /* compiled, but its results are wrong */
    TUNE_FAILED    /* did not compile, load or run */
} tune_status;
const char *tune_status_name(tune_status status);

typedef struct tune_candidate {
    const gen_problem *problem; /* borrowed; outlives the candidate */
    nha_op op;
    const gen_isa *isa;
    gen_tile tile;
    int order;                         /* place in the enumeration; 0: the untuned default. Breaks ties */
    char string[TUNE_TILE_STRING_MAX]; /* gen_tile_string: its name in the journal */
    tune_status status;
    char why[256]; /* one line, where rejected or failed */
    /* From here on: while loaded. */
    bool loaded;
    jit_object object;
    jit_code *code;
    char symbol_main[256], symbol_delta[256], symbol_scan[256];
    char name[192];
    nha_cpu_code cpu;
    nha_kernel kernel;
    nha_library library;
} tune_candidate;

/* A candidate that is not loaded; needs no unload. */
void tune_candidate_init(tune_candidate *c, const gen_problem *problem, nha_op op, const gen_isa *isa,
                         const gen_tile *tile, int order);
/* Renders, compiles (or takes from the cache) and, if `run`, links it in this process and fills `library`, which holds
 * pointers into *c: a loaded candidate does not move. Thread-safe for distinct candidates. Errors: those of
 * gen_cpu_emit, jit_compile, jit_load. */
bool tune_candidate_load(tune_candidate *c, bool run, err *e);
/* No plan of its library may exist. Harmless if not loaded. */
void tune_candidate_unload(tune_candidate *c);
/* The candidate's readable source: its IR, opened by how it was made, the problem, tile and layout. malloc'd; NULL on
 * an error. The same inputs give the same bytes. */
char *tune_candidate_source(const tune_candidate *c, err *e);

#endif
