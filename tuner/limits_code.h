/* limits_code.h: the loops that measure a CPU, as code of an ISA. Made with the builder of the kernels (gen/cpu/ir.h),
 * compiled as they are. */
#ifndef TUNER_LIMITS_CODE_H
#define TUNER_LIMITS_CODE_H

#include "jit/jit.h"
#include "tuner/limits.h"

enum {
    LIMIT_PRODUCT_ROWS = 64,
    LIMIT_PRODUCT_COLUMNS = 64,
    LIMIT_PRODUCT_INNER = 128, /* of the product on tiles */
    LIMIT_EXP_FLOATS = 2048,   /* arguments of a step; with as many results, within any first-level cache */
    LIMIT_EXP_DEGREE = 5
};

/* `steps` steps on one thread's part of the data; constants: [0] multiplier, [1] addend, from [2] on a vector where
 * sums go.
 *
 *     FMA      a_i = a_i * constants[0] + constants[1], i < limit_accumulators; reads no data
 *              on an ISA with AMX C = A B: A at 0, 64 rows of 128 bf16; B after it, 4 x 4 tiles of pairs (amx.h);
 *              C after it, 64 rows of 64 fp32
 *     READ     a_i += data[step][i], i < LIMIT_STREAMS vectors
 *     UPDATE   data[step][i] *= constants[0]
 *     EXP      results[j] = 2^data[j], j < LIMIT_EXP_FLOATS; the results follow the data
 */
typedef void (*limit_fn)(float *data, int64_t steps, float *constants);

/* Vectors that a step of READ or UPDATE touches. */
enum { LIMIT_STREAMS = 8 };
/* Sums that are independent of each other, to hide the latency of the additions. */
int limit_accumulators(const gen_isa *isa);

/* Floats of one thread's part where the kind decides it: EXP, and FMA (a vector's worth on an ISA without AMX); 0: the
 * caller does. */
int64_t limit_part(tune_limit_kind kind, const gen_isa *isa);
/* Whether the kind computes what can be checked: EXP, and FMA on an ISA with AMX. */
bool limit_checked(tune_limit_kind kind, const gen_isa *isa);
/* Fills a part of such a kind; and, after one step on it, whether the results are right: against scalar sums of small
 * integers, which are exact (A, B), and against libm's exp2 to 1e-6. */
void limit_fill(tune_limit_kind kind, float *part);
bool limit_right(tune_limit_kind kind, const float *part);

/* Compiles (or takes from the cache) and loads. `code` is to be unloaded by the caller. Errors: those of jit_compile
 * and jit_load. */
bool limit_compile(tune_limit_kind kind, const gen_isa *isa, jit_code **code, limit_fn *fn, err *e);

#endif
