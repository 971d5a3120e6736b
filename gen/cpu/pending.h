/* pending.h: tokens that are absorbed by definition, but wait in a cache row until its memory is next rewritten
 * (NHA_CPU_PENDING in runtime/nha_library.h has their format). Deferred decode makes them and reads past them; whatever
 * else changes a memory folds them. */
#ifndef GEN_CPU_PENDING_H
#define GEN_CPU_PENDING_H

#include "gen/cpu/frame.h"

/* Adds the phases weigh_pending and fold_pending to the module; before anything that folds. */
void pending_emit(kernel *k);
/* pending_c[j] = c_j, pending_e = E, and keep, scaled of E, of the FRAME_PENDING_COUNT tokens. */
void pending_weigh(kernel *k, val f);
/* Where tokens are pending, the memory at `to` (hk [K,mp], hv [M,vp]; the row's, or a copy of it) = that with them
 * folded in. The tokens stay, and so does their number. */
void pending_fold(kernel *k, val f, val to);
/* The number of pending tokens (i64), in the row and in the frame. */
void pending_store_count(kernel *k, val f, val count);
/* Address of pending token j (i64), `floats` into it. */
val pending_at(kernel *k, val f, val j, int64_t floats);

#endif
