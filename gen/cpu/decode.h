/* decode.h: the phases of the decode kernels. Each decode_emit_* adds one internal function, void (ptr scratch), to the module. */
#ifndef GEN_CPU_DECODE_H
#define GEN_CPU_DECODE_H

#include "gen/cpu/rows.h"

enum { DECODE_PIECES_MAX = 64, DECODE_HEADS_MAX = 8, DECODE_ANGLES = 16, DECODE_TURNS = 4 /* groups of DECODE_ANGLES keys for a sine and cosine */ };

typedef struct decode {
    kernel *k;
    rotation_table table; /* rotation by 0 .. DECODE_ANGLES tokens */
    val score_pending, share_pending; /* deferred */
    val load, absorb, store_token, score_slots, score_window, softmax, read, store_out;
} decode;

/* decode_load.c */
void decode_emit_load(decode *x);
void decode_emit_absorb(decode *x);
void decode_emit_store_token(decode *x);
/* Mapped key and value of token pos - lag, f32, to k and v; and where its gates stand (given_s: where s is given). */
void decode_load_absorbed(kernel *k, val f, val key, val value);
void decode_absorbed_gates(kernel *k, val f, val *gate, val *given_s);
/* decode_pending.c */
int decode_defer(const kernel *k); /* DEFER: steps from one update of the memory to the next, 1: no token ever waits */
void decode_ask_pending(kernel *k, val f);
void decode_emit_absorb_pending(decode *x);
void decode_fold_in_turn(kernel *k, val f, val memory);
void decode_emit_score_pending(decode *x);
void decode_emit_share_pending(decode *x);
/* decode_window.c */
void decode_emit_score_window(decode *x);
/* decode_read.c */
void decode_emit_softmax(decode *x);
void decode_emit_read(decode *x);
void decode_emit_store_out(decode *x);

/* n elements as vectors of vl, then 8, 4: n is a multiple of 4 */
typedef struct pieces {
    int count, offset[DECODE_PIECES_MAX], width[DECODE_PIECES_MAX];
} pieces;
pieces pieces_of(int n, int vl);

/* The window of a step: positions lowest .. lowest+count-1. */
typedef struct window {
    val lowest, count;
    val entry, ring; /* ring entry of the first; entries of the ring */
    val row_bytes;   /* of a head's scores in scratch */
} window;
window window_of(kernel *k, val f);
/* Scores, then probabilities, of a head (i64) over the window. */
val window_at(kernel *k, val f, const window *w, val head);
/* At a token of the window, by index and entry: the row to ask for, of keys or of values, PREFETCH bytes ahead, or NULL if none is. */
val window_ask(kernel *k, val f, const window *w, val index, val entry, bool values);
/* acc (of the ISA's length) + q * x, whatever their width: narrow products are widened with zeros */
val accumulate_dot(ir *b, val acc, val q, val x, int width);
/* entry + 1, or 0 at the ring's end */
val next_entry(ir *b, val entry, val ring);

/* HEADS, evened out: query heads that share a pass over memory or values; further passes find what they read in a cache. */
int decode_pass(const kernel *k);
/* `width` floats at base + floats */
val f32_at(ir *b, val base, int64_t floats, int width);

#endif
