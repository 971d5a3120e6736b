/* exec.h: the executors that the builders name, beside those of the ALU table. */
#ifndef EMU_EXEC_H
#define EMU_EXEC_H

#include "emu/inner.h"

/* exec_cvt.c. op: type and type2 (result, source), mode: rounding, flags: CVT_, r: result, source, second source of
 * packed forms; wide: bit 0: the result register has 64 bits, bit 1: the source's has. */
enum { ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP, ROUND_AWAY };
enum { CVT_SAT = 1, CVT_RELU = 2, CVT_FINITE = 4, CVT_FTZ = 8, CVT_INTEGRAL = 16 };
exec_fn emu_exec_cvt;
double emu_round_to(double x, int digits, int least_exponent, int mode);

/* exec_mem.c: r[0..7] registers, r[8] address; bytes and count as in the PTX */
exec_fn emu_exec_load, emu_exec_store, emu_exec_copy_local, emu_exec_window, emu_exec_isspacep, emu_exec_clock,
    emu_exec_prefetch;
enum { WINDOW_ADD, WINDOW_REMOVE };

/* exec_atom.c: r[0] result, r[1] address, r[2], r[3] operands; elements of red.v* in r[2...]; mode: ATOM_ */
#define ATOM_LIST(X) \
    X(ATOM_ADD, "add") \
    X(ATOM_MIN, "min") X(ATOM_MAX, "max") X(ATOM_INC, "inc") X(ATOM_DEC, "dec") X(ATOM_AND, "and") X(ATOM_OR, "or") \
        X(ATOM_XOR, "xor") X(ATOM_EXCH, "exch") X(ATOM_CAS, "cas")
typedef enum atom_mode {
#define ATOM_ENUM_(name, text) name,
    ATOM_LIST(ATOM_ENUM_)
} atom_mode;
exec_fn emu_exec_atom;

/* exec_warp.c */
enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };
enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };
exec_fn emu_exec_shfl, emu_exec_vote, emu_exec_match, emu_exec_redux, emu_exec_activemask, emu_exec_elect,
    emu_exec_movmatrix;

/* async.c: r[0] shared address, r[1] global address, r[2] source bytes or -1; imm, target: offsets; bytes */
exec_fn emu_exec_cp_async, emu_exec_cp_commit, emu_exec_cp_wait;

/* exec_matrix.c: ldmatrix r[0..3], r[8] address; stmatrix the same */
exec_fn emu_exec_ldmatrix, emu_exec_stmatrix;
/* exec_mma.c: r: d (4), a (4), b (2), c (4) at 0, 4, 8, 10 and on; see there */
exec_fn emu_exec_mma_half, emu_exec_mma_tf32, emu_exec_mma_int, emu_exec_mma_f64;

#endif
