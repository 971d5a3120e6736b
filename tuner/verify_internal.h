/* verify_internal.h: what the files verify_*.c share: comparing results, and one case held against one kernel.
 */
#ifndef TUNER_VERIFY_INTERNAL_H
#define TUNER_VERIFY_INTERNAL_H

#include "tuner/verify.h"
#include "tuner/verify_exec.h"

/* A case with its truth. */
typedef struct verify_truth {
    tune_case test;
    tune_oracle oracle;
    tune_cache after; /* rings and positions after the call; memory zero */
} verify_truth;
bool verify_truth_create(const gen_problem *problem, const tune_case_spec *spec, int threads, verify_truth *truth,
                         err *e);
void verify_truth_destroy(verify_truth *truth);

/* o, lse, hk, hv of a result within the tolerance, over each tensor and, eight times wider, in each of its rows; rings
 * and positions of the cache exact. `what` begins the message. */
bool verify_against_oracle(const verify_truth *truth, const tune_result *result, const char *what,
                           tune_verify_report *report, err *e);

/* Whether sequences [first, first + count) but `skip` of `other` have the bits of `result`; lse only if `lse`. A
 * sequence that was skipped must have the cache it started with. */
bool verify_same_bits(const verify_truth *truth, const tune_result *result, const tune_result *other, int64_t first,
                      int64_t count, int64_t skip, bool lse, const char *what, err *e);

/* How thorough a case is run. */
typedef struct verify_effort {
    int threads;  /* most threads of libnha's pool; 1: only the caller's */
    int company;  /* sequences that are also run alone, spread over the batch; with one skipped; 0: neither */
    bool divided; /* prefill: forced into runs and pieces of one block */
    bool cuts;    /* the op's own kernel through cuts (prefill pieces, decode steps) */
    bool fence;
    int layout; /* verify_layout of the first run; the second has another one */
} verify_effort;

/* Runs the case on the kernel in every way the effort asks for. */
bool verify_case(const tune_place *place, const nha_library *library, int index, int op, const char *kernel, const char *isa,
                 const verify_truth *truth, const verify_effort *effort, tune_verify_report *report, err *e);

/* Calls the phases of a prefill kernel itself, with runs of `blocks` blocks cut into pieces of one block, tasks in
 * reverse order, each on poisoned scratch. The result is as from verify_execute. */
bool verify_divided(const nha_cpu_code *code, const tune_case *test, int64_t blocks, tune_result *result, err *e);

/* The kernel of that name, kind, op and problem; NULL if there is none. */
const nha_kernel *verify_find_kernel(const nha_library *library, int index, int op, int kind, const char *name);

#endif
