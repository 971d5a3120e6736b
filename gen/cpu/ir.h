/* ir.h: the tile layer over the LLVM C API: typed loads and stores, loops with carried values, vector arithmetic.
 * All offsets are in bytes unless named otherwise; `v` functions work on vectors of the ISA's length or on scalars alike. */
#ifndef GEN_CPU_IR_H
#define GEN_CPU_IR_H

#include <llvm-c/Core.h>
#include <stdint.h>

#include "gen/cpu/isa.h"
#include "runtime/nha.h"

typedef LLVMValueRef val;

enum { IR_CARRIED_MAX = 64, IR_VECTOR_MAX = 16 };

typedef struct ir {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    const gen_isa *isa;
    int vl; /* floats in a vector */
    LLVMTypeRef void_type, i1, i8, i16, i32, i64, f32, f16, ptr;
    LLVMTypeRef vf, vi; /* <vl x float>, <vl x i32> */
    val fn;             /* function under construction */
    val lanes;          /* <0, 1, 2, ...> of vi */
} ir;

void ir_init(ir *b, LLVMContextRef context, const char *module, const gen_isa *isa);
/* Frees the builder; the module lives on. */
void ir_finish(ir *b);

/* ---- functions: void (ptr, ptr, ... | i64 ...) ---- */
/* `types`: one letter a parameter, p pointer, i i64. Internal linkage unless exported; names its parameters. */
val ir_function(ir *b, const char *name, const char *types, const char *const *names, bool exported);
val ir_param(ir *b, int i);
void ir_call(ir *b, val function, const val *args, int count);
void ir_return(ir *b);

/* ---- constants ---- */
val ir_int(ir *b, int64_t v);   /* i64 */
val ir_i32(ir *b, int32_t v);
val ir_float(ir *b, double v);  /* f32 scalar */
val ir_splat(ir *b, val scalar); /* to a vector of the ISA's length */
val ir_vfloat(ir *b, double v); /* splat of a constant */
val ir_vint(ir *b, int32_t v);
val ir_zero(ir *b);             /* vf of zeros */
/* A read-only array in the module, 64-byte aligned; returns its pointer. */
val ir_const_f32(ir *b, const char *name, const float *data, int count);
val ir_const_i64(ir *b, const char *name, const uint64_t *data, int count);

/* ---- integers (i64 unless the operand says otherwise) ---- */
val ir_add(ir *b, val x, val y);
val ir_sub(ir *b, val x, val y);
val ir_mul(ir *b, val x, val y);
val ir_addc(ir *b, val x, int64_t c);
val ir_mulc(ir *b, val x, int64_t c);
val ir_min(ir *b, val x, val y); /* signed */
val ir_max(ir *b, val x, val y);
val ir_floor_div(ir *b, val x, int64_t c); /* towards minus infinity, c > 0 */
val ir_ceil_div(ir *b, val x, int64_t c);
val ir_urem(ir *b, val x, val y);
val ir_udiv(ir *b, val x, val y);
val ir_cmp(ir *b, const char *op, val x, val y); /* "<" "<=" ">" ">=" "==" "!=", signed; "u<" unsigned; also vectors */
val ir_and(ir *b, val x, val y);
val ir_select(ir *b, val c, val x, val y);

/* ---- memory ---- */
val ir_at(ir *b, val base, val bytes);        /* base + bytes */
val ir_atc(ir *b, val base, int64_t bytes);
val ir_load(ir *b, LLVMTypeRef type, val p, int align);
void ir_store(ir *b, val v, val p, int align);
val ir_load_i64(ir *b, val base, int64_t offset);
val ir_load_ptr(ir *b, val base, int64_t offset);
void ir_store_at(ir *b, val v, val base, int64_t offset); /* i64 or ptr, 8-byte aligned */
val ir_load_f32(ir *b, val p);
val ir_load_v(ir *b, val p);                  /* vf, 4-byte aligned */
void ir_store_v(ir *b, val v, val p);
val ir_is_null(ir *b, val p);
/* `width` elements of a dtype in user memory <-> f32; width is a power of two up to 16; 1 gives a scalar. Only naturally aligned to the element. */
val ir_load_dtype(ir *b, int dtype, int width, val p);
void ir_store_dtype(ir *b, int dtype, int width, val v, val p);
/* The line at p, into the second-level cache: what is asked for into the first occupies its few line buffers, which the
 * loads need. */
void ir_prefetch(ir *b, val p, bool write);
/* The lines that begin in bytes from .. from + bytes of `row`, if not NULL: to be put beside the load of the same bytes of the row that
 * is read. Of requests in the same cycle one comes late: asking for two to eight lines at a time was no faster than not asking at all,
 * with something between the requests streams took 0.92x to 0.95x of that (bench/streams.c). */
void ir_prefetch_lines(ir *b, val row, int64_t from, int64_t bytes, bool write);
/* Every line of `bytes` from p on, in as many cycles. */
void ir_prefetch_row(ir *b, val p, int64_t bytes);
/* No instruction, but the code generator moves no load or store across it: loads that it hoists take registers from accumulators. */
void ir_barrier(ir *b);

/* ---- strands: code that is the same for several vectors ----
 * A long chain of dependent operations leaves a core idle unless it finds the next chain, and its scheduler holds no more than one or two of
 * them. Strands are emitted one after the other and then woven, an instruction of each by turns, so that chains go side by side. They lie in
 * one basic block, and none may write what another reads or writes. */
enum { IR_STRANDS_MAX = 8 };
typedef struct ir_strands {
    LLVMBasicBlockRef block;
    val before[IR_STRANDS_MAX]; /* last instruction ahead of each, or NULL at the start of the block */
    int count;
} ir_strands;
void ir_strand_begin(ir *b, ir_strands *strands);
void ir_strands_weave(ir *b, ir_strands *strands);

/* ---- f32 arithmetic, scalar or vector ---- */
val ir_fadd(ir *b, val x, val y);
val ir_fsub(ir *b, val x, val y);
val ir_fmul(ir *b, val x, val y);
val ir_fdiv(ir *b, val x, val y);
val ir_fneg(ir *b, val x);
val ir_fma(ir *b, val x, val y, val z); /* x*y + z, fused where the ISA has it */
val ir_fmax(ir *b, val x, val y);       /* y where either is NaN */
val ir_fmin(ir *b, val x, val y);
val ir_round(ir *b, val x);             /* to the nearest integer; AVX-512 */
val ir_fraction(ir *b, val x);          /* x - floor(x), 0 for an infinity; AVX-512, vectors of 16 */
val ir_scale(ir *b, val x, val n);      /* x 2^floor(n); AVX-512, vectors of 16 */
val ir_inverse(ir *b, val x);           /* 1/x, 1e-7, for normal x and 1/x; AVX-512, vectors of 16 */
val ir_flt(ir *b, val x, val y);        /* x < y, ordered */
val ir_shuffle(ir *b, val x, val y, const int *mask, int count);
val ir_reduce(ir *b, val v, val (*op)(ir *, val, val)); /* horizontal, by halves */
/* Four vectors of 16 at once, in a third of the instructions: lanes 4 i .. 4 i + 3 hold what v[i] comes to. */
val ir_reduce_four(ir *b, const val *v, val (*op)(ir *, val, val));
val ir_bitcast(ir *b, val v, LLVMTypeRef type);
LLVMTypeRef ir_vec(ir *b, LLVMTypeRef element, int width); /* element itself for width 1 */
int ir_width(val v);                                       /* 1 for a scalar */
/* A constant of the type and width of `like`. */
val ir_like(ir *b, val like, double v);
val ir_like_int(ir *b, val like, int64_t v);

/* ---- control ---- */
typedef struct ir_loop {
    LLVMBasicBlockRef head, exit;
    val index, step;
    int count;
    val phi[IR_CARRIED_MAX];
} ir_loop;
/* for (index = from; index < to; index += step) with carried[count] as loop-carried values: begin replaces them by their value at the
 * head, end takes their next values and replaces them by the value after the loop. */
void ir_loop_begin(ir *b, ir_loop *loop, val from, val to, val step, val *carried, int count);
void ir_loop_end(ir *b, ir_loop *loop, val *carried);
typedef struct ir_if {
    LLVMBasicBlockRef otherwise, after;
    bool has_else;
} ir_if;
void ir_if_begin(ir *b, ir_if *s, val condition);
void ir_if_else(ir *b, ir_if *s);
void ir_if_end(ir *b, ir_if *s);

#endif
