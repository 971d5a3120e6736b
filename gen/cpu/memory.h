/* memory.h: moving a head's memory between scratch, cache rows, segment states and the user's tensors. */
#ifndef GEN_CPU_MEMORY_H
#define GEN_CPU_MEMORY_H

#include "gen/cpu/frame.h"

/* `to` (hk [K,mp], hv [M,vp]) = the sequence's initial memory: the cache row's with its pending tokens, else hk0 and hv0, else
 * zero. */
void memory_initial(kernel *k, val f, val to);
/* hk, hv of args, where given, = from; the cache row's memory, where there is one, too, and nothing is pending there. */
void memory_final(kernel *k, val f, val from);
/* Address of this head's memory in the cache row. */
val memory_in_row(kernel *k, val f);
/* states + index * NHA_CPU_STATE_FLOATS (rounded up), and the memory inside, behind gamma */
val memory_state(kernel *k, val states, val index);
val memory_of_state(kernel *k, val state);
/* Linear index of (n, h). */
val memory_sequence_head(kernel *k, val f);

#endif
