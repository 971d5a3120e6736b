/* place.h: where tensors live while a plan runs: host memory, or that of a CUDA device behind a driver's table (a real one or the
 * emulator's). Host arrays go there and come back by tune_place_execute, so that whoever checks results sees host memory alone. */
#ifndef TUNER_PLACE_H
#define TUNER_PLACE_H

#include "base/err.h"
#include "gen/problem.h"
#include "runtime/nha_cuda_driver.h"

typedef struct tune_place {
    nha_device device;  /* for libnha: NHA_CPU, or NHA_CUDA with ordinal, context and driver */
    const char *target; /* CUDA: code of this target alone ("sm_90a"): nha_plan_options.isa; NULL: what fits best */
    int arch;           /* CUDA: 10 * major + minor of its compute capability */
    bool watched;       /* an emulator sees every access past a buffer: no guard zones are needed */
    /* What a failed launch was about, for people; NULL: the driver's own text is all there is. Returns the length. */
    size_t (*explain)(char *out, size_t size);
    /* After a fault that broke the context: makes a new one and counts `generation` up. NULL: not needed. `owner` is
     * whoever holds the place and may change it; to all others it is const, and tune_place_recover asks for it. */
    bool (*recover)(void *owner, err *e);
    void *owner;
    uint64_t generation; /* memory that was allocated in an earlier one is gone */
} tune_place;

/* The host. */
extern const tune_place tune_place_host;

/* nha_plan_options.isa: `isa` if given, else what the place asks for. */
static inline const char *tune_place_isa(const tune_place *place, const char *isa) {
    return isa ? isa : place->target;
}

/* Whether code of a CUDA target ("sm_90a") runs on the place as it is, without compiling PTX: of the same architecture (`a`), in its
 * family (`f`), or of the same major version and not above. */
bool tune_place_runs(const tune_place *place, const char *target);

/* Memory of the place, aligned to NHA_WORKSPACE_ALIGN, one byte at least, contents undefined; the address is one of the device. NULL
 * with *e set: ERR_MEMORY, ERR_DEVICE. */
void *tune_place_alloc(const tune_place *place, int64_t bytes, err *e);
/* NULL is allowed. */
void tune_place_free(const tune_place *place, void *memory);
/* Copies, and waits. Errors: ERR_DEVICE. */
bool tune_place_write(const tune_place *place, void *to, const void *host, size_t bytes, err *e);
bool tune_place_read(const tune_place *place, void *host, const void *from, size_t bytes, err *e);
/* Waits for all that was begun. */
bool tune_place_wait(const tune_place *place, err *e);
/* After a fault, while nothing else runs there: the place works again, in a context of the same or of a later generation; true
 * at once where a place needs no such thing. Errors: ERR_DEVICE, nothing can run there any more. */
bool tune_place_recover(const tune_place *place, err *e);
/* Makes the place's context current in this thread, and back; for those who call nha_execute themselves. */
bool tune_place_enter(const tune_place *place, err *e);
void tune_place_leave(const tune_place *place);

/* nha_execute with arguments in host memory, all but the cache and the workspace, which are the place's: inputs and outputs go to the
 * device byte for byte from first to last element, gaps included, in buffers of just that size (with guard zones where the place is
 * not watched), and what are outputs comes back. On the host it is nha_execute. Waits. Errors: what libnha says, with the place's
 * explanation; ERR_MISMATCH where a kernel faulted or wrote past a buffer or into an input. */
bool tune_place_execute(const tune_place *place, const nha_plan *plan, const gen_problem *problem, int op,
                        const nha_args *args, void *workspace, size_t workspace_bytes, err *e);

/* Sets *e from what a function of the CUDA driver returned: "WHAT: the driver says NAME (result)"; always false. ERR_MEMORY where there is
 * no memory on the device, else ERR_DEVICE. */
bool tune_driver_error(const nha_cuda_driver *driver, const char *stage, const char *what, int result, err *e);
/* Sets *e from libnha's error; always false. `what` names the call: "plan", "execute". */
bool tune_nha_error(err *e, const char *what, const nha_error *error);
/* malloc of NHA_WORKSPACE_ALIGN alignment, one byte at least; NULL: no memory, or a negative size. free() it. */
void *tune_aligned(int64_t bytes);

#endif
