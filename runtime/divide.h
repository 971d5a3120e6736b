/* divide.h: how a prefill is cut into runs and pieces (nha_cpu_args), so that few long sequences keep all threads busy.
 * Decided from a plan's bounds alone: the bits of a sequence never depend on the batch it comes in. */
#ifndef NHR_DIVIDE_H
#define NHR_DIVIDE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nhr_division {
    int64_t runs, run_tokens;     /* runs >= 1; run_tokens a multiple of block_tokens */
    int64_t pieces, piece_tokens; /* pieces = (runs-1) * run_tokens / piece_tokens; 0 where no states are needed */
} nhr_division;

typedef struct nhr_work {
    int64_t sequences;    /* max_sequences * H: independent rows of runs */
    int64_t max_length;   /* tokens of the longest sequence, >= 1 */
    int64_t block_tokens; /* of the kernel */
    int64_t slots, window;
    bool divisible;      /* false: the kernel cannot start in the middle of a sequence */
    double delta_cost;   /* nha_cpu_code.delta_cost; 0 if slots = 0 */
    int64_t state_bytes; /* of one segment state; 0 if slots = 0 */
    int32_t threads;
} nhr_work;

/* Pure. */
nhr_division nhr_divide(const nhr_work *work);

#endif
