/* model.c: see model.h. The GPUs stand for their architecture; figures of the vendor's data sheets and tuning guides. */
#include "tuner/model.h"

#include <math.h>

static const struct gpu {
    int32_t arch;
    double multiprocessors, ghz, gbps, mma_flops; /* the last: dense bf16 flops a cycle and multiprocessor */
} gpus[] = {
    {80, 108, 1.41, 1555, 2048},  /* A100 40 GB */
    {86, 82, 1.70, 936, 512},     /* RTX 3090, fp32 accumulation */
    {89, 128, 2.52, 1008, 512},   /* RTX 4090, fp32 accumulation */
    {90, 132, 1.75, 3350, 2560},  /* H100 SXM through mma.sync, about 62% of what wgmma reaches */
    {100, 148, 1.85, 8000, 2560}, /* B200, the same way */
    {120, 170, 2.41, 1792, 512},  /* RTX 5090, fp32 accumulation */
};
enum { GPUS = sizeof gpus / sizeof *gpus };
static const double LAUNCH_US = 2.5, SCHEDULERS = 4, SECTOR = 32;

static double count(const uint64_t *before, const uint64_t *after, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)(after[i] - before[i]);
    return sum;
}

double tune_model_us(const gen_cuda_target *target, const emu_counters *before, const emu_counters *after,
                     int64_t blocks) {
    const struct gpu *g = &gpus[0];
    for (int i = 0; i < GPUS; i++)
        if (gpus[i].arch <= target->arch)
            g = &gpus[i];
    const double n = blocks > 0 ? (double)blocks : 1, waves = ceil(n / g->multiprocessors);
    const double issue = count(before->warp_instructions, after->warp_instructions, EMU_CLASSES) / SCHEDULERS;
    const double mma = (double)(after->mma_flops - before->mma_flops) / g->mma_flops;
    const double shared = (double)(after->shared_wavefronts - before->shared_wavefronts);
    const double sectors = (double)(after->global_sectors_read - before->global_sectors_read) +
                           (double)(after->global_sectors_written - before->global_sectors_written);
    const double cycles = waves / n * fmax(issue, fmax(mma, shared));
    return fmax(cycles * 1e-3 / g->ghz, sectors * SECTOR * 1e-3 / g->gbps) + LAUNCH_US;
}
