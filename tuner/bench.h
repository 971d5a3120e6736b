/* bench.h: times a library's kernels beside the machine's own limits, interleaved, in one run. */
#ifndef TUNER_BENCH_H
#define TUNER_BENCH_H

#include "gen/spec.h"
#include "tuner/bound.h"
#include "tuner/device.h"

typedef struct tune_bench_options {
    const tune_device *device;
    gen_shape shape;
    int threads;        /* 0: the device's */
    const char *isa;    /* nothing above this ISA, or NULL */
    const char *kernel; /* by name, or NULL: the library's choice */
    bool hot;           /* decode: one set of caches and tensors again and again, else many by turns */
    tune_clock clock;
} tune_bench_options;

typedef struct tune_bench_row {
    nha_op op;
    char kernel[192];
    int64_t batch, tokens; /* decode: tokens = steps of each sequence */
    int64_t context;       /* decode: tokens seen before the first step */
    int threads;
    bool hot;              /* as asked for */
    double megabytes;      /* touched before the same ones are met again: whether from a cache follows from it */
    double us, us_min, us_max; /* of one prefill, or of all `tokens` steps: median, least, most */
    double noise;              /* relative standard error of us */
    double tokens_per_s;
    double flops, bytes; /* by the definition: tune_work_of */
    double tflops, gbps;
    double pct_compute; /* of the rate of products that as many threads reach on the units of the kernel's ISA */
    double pct_memory;  /* of the speed at which those bytes could move: reading and updating measured apart, each on a
                         * working set of the same size */
    /* Rates: medians of as many samples as the kernel's, taken in turn with them: whatever slows the machine for a
     * while slows both. The greatest would set the machine's best moment against the kernel's usual one. */
    double limit_gflops, limit_read_gbps, limit_update_gbps;
    double limit_gexps, limit_l2_gbps; /* CPU; else 0 */
    const char *isa;                   /* of the kernel: a name of gen_isa_table, or a CUDA target */
    const char *units;                 /* what limit_gflops is of: "tiles", "FMA", "mul and add"; CUDA: "products" */
    tune_bound bound;                  /* CUDA: products and memory alone */
    double pct_bound;                  /* bound.us of us */
} tune_bench_row;

/* Takes two to ten seconds. row->isa is borrowed from the library. Errors: those of tune_workload_open,
 * tune_runner_open and tune_limit_open. */
bool tune_bench(const nha_library *library, const gen_problem *problem, const tune_bench_options *options,
                tune_bench_row *row, err *e);

#endif
