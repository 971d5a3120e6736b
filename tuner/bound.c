/* bound.c: see bound.h. */
#include "tuner/bound.h"

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

double tune_l2_bytes(const gen_problem *problem, const gen_shape *shape, const tune_work *work) {
    const nha_problem *p = &problem->nha;
    int64_t blocks = (shape->tokens + TUNE_BOUND_BLOCK - 1) / TUNE_BOUND_BLOCK,
            reach = p->window > 0 ? p->window - 1 : 0;
    double dims = p->head_dim_qk + p->head_dim_v, element = gen_dtype_bytes(p->dtype);
    /* Sum over blocks i of min(reach, i * TUNE_BOUND_BLOCK): rising until `rise`, then constant. */
    int64_t rise = smaller(blocks, (reach + TUNE_BOUND_BLOCK - 1) / TUNE_BOUND_BLOCK);
    double before =
        TUNE_BOUND_BLOCK * 0.5 * (double)rise * (double)(rise - 1) + (double)reach * (double)(blocks - rise);
    double absorbed = p->slots > 0 && shape->tokens > p->slot_lag ? (double)(shape->tokens - p->slot_lag) : 0;
    double head = (double)blocks * 8 * p->slots * dims + element * dims * (before + absorbed);
    return work->read_bytes + (double)shape->batch * p->heads_kv * head;
}

static double quotient(double work, double rate) {
    return rate > 0 ? work / rate : 0;
}

tune_bound tune_bound_of(const gen_problem *problem, const gen_shape *shape, const tune_work *work,
                         const tune_rates *rates) {
    const bool decode = shape->op == NHA_DECODE;
    tune_bound b = {.products_us = quotient(work->flops, rates->flops),
                    .exp_us = quotient(work->exponentials, rates->exponentials)};
    if (rates->read_bytes > 0 && rates->update_bytes > 0)
        b.memory_us = work->read_bytes / rates->read_bytes + work->update_bytes / rates->update_bytes;
    if (!decode)
        b.l2_us = quotient(tune_l2_bytes(problem, shape, work), rates->l2_bytes);
    const struct {
        double us;
        const char *name;
    } terms[] = {{b.products_us, "products"},
                 {b.exp_us, "exponentials"},
                 {decode ? b.memory_us : b.l2_us, decode ? "memory" : "L2"}};
    b.by = terms[0].name;
    for (int i = 0; i < 3; i++)
        if (terms[i].us > b.us) {
            b.us = terms[i].us;
            b.by = terms[i].name;
        }
    return b;
}
