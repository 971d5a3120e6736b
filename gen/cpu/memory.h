/* memory.h: moving a head's memory between scratch, cache rows, segment states and the user's tensors. */
#ifndef GEN_CPU_MEMORY_H
#define GEN_CPU_MEMORY_H

#include "gen/cpu/frame.h"

/* `to` (hk [K,mp], hv [M,vp]) = the sequence's initial memory: the cache row's with its pending tokens, else hk0 and hv0, else
 * zero. */
void memory_initial(kernel *k, val f, val to);
/* hk, hv of args, where given, = from; the cache row's memory, where there is one, too, and nothing is pending there. */
void memory_final(kernel *k, val f, val from);
/* Address of this head's memory in the cache row, elements of state_bytes. */
val memory_in_row(kernel *k, val f);

/* A memory in fp32 or, in a cache row with state_dtype bf16, in bf16: where it begins, and what rounds it. Rounding to nearest at each
 * step would lose the increments of slow slots, which are less than half of the last place, for ever. So a value x is stored as x
 * plus noise below the last place, cut off: up or down with the probability that makes the mean right. The noise is a hash of position,
 * head and place in the memory: the same inputs give the same bits, whatever row they are in. What bf16 can hold stays as it is, infinities
 * and the NaNs of bf16 too.
 *
 * The noise is added to the bits of x. What is finite and at most the largest bf16 (0x7f7f, 3.3895e38) stays finite;
 * between that and FLT_MAX x may become the infinity of its sign, which is the rounding up there. A NaN stays one if
 * its lower 16 bits are zero, as in those that the CPU makes itself (0x7fc00000, 0xffc00000) and those of bf16 inputs.
 * Others may carry: 0x7fffe000, of an f16 input, into -0, 0x7f800001 into an infinity. So inputs and memories must be
 * finite, as the definition has them; a NaN among them is not sure to be seen in what follows. */
typedef struct memory_store {
    kernel *k;
    val base;
    val seed; /* i32 vector; NULL: fp32 */
} memory_store;
/* The row's memory, after local token `tokens` (i64; NULL: 0). */
memory_store memory_of_row(kernel *k, val f, val tokens);
/* fp32 memory in scratch. */
memory_store memory_in_scratch(kernel *k, val base);
int memory_bytes(const memory_store *m);
/* What to ask for at `at` in a cache row's memory: the address PREFETCH bytes on; NULL where that is 0 or no knob (prefill). Memories and
 * rings of neighbouring heads are adjacent, so that past the end of one begins the next. */
val memory_ask(kernel *k, val at);
/* `width` elements at `at`, and back. */
val memory_load(const memory_store *m, int width, val at);
void memory_put(const memory_store *m, val x, val at);
/* states + index * NHA_CPU_STATE_FLOATS (rounded up), and the memory inside, behind gamma */
val memory_state(kernel *k, val states, val index);
val memory_of_state(kernel *k, val state);
/* Linear index of (n, h). */
val memory_sequence_head(kernel *k, val f);

#endif
