/* case.c: the tensors of a test case, drawn from its seed and rounded to their dtypes. See case.h.
 */
#include "tuner/case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/convert.h"

/* One natural-log gate, <= 0, of a regime that is not a mixture. */
static double log_gate(tune_random *r, int gates) {
    switch (gates) {
    case TUNE_GATES_SLOW:
        return -exp(-6 - 6 * tune_random_unit(r)) / 8;
    case TUNE_GATES_STRONG:
        return -40 * tune_random_unit(r) - 1;
    default:
        return -exp(1.2 * tune_random_normal(r) - 2.3);
    }
}

/* The same as a logit f of g = logsigmoid(f) / normalizer. */
static double logit_gate(tune_random *r, int gates) {
    switch (gates) {
    case TUNE_GATES_SLOW:
        return 6 + 6 * tune_random_unit(r);
    case TUNE_GATES_STRONG:
        return -320 * tune_random_unit(r) - 8;
    default:
        return 2 * tune_random_normal(r);
    }
}

static double plain_gate(tune_random *r, const nha_problem *p, int gates) {
    return p->gate_input == NHA_GATE_LOG ? log_gate(r, gates) : logit_gate(r, gates);
}

/* 0 (never forget) and full resets; as logits these are far on either side. */
static double hold(const nha_problem *p) {
    return p->gate_input == NHA_GATE_LOG ? 0 : 30000;
}
static double reset(tune_random *r, const nha_problem *p) {
    if (tune_random_unit(r) < 0.5)
        return -INFINITY;
    return p->gate_input == NHA_GATE_LOG ? -1e4 : -60000;
}

static double mixed_gate(tune_random *r, const nha_problem *p) {
    switch (tune_random_between(r, 0, 7)) {
    case 0:
        return hold(p);
    case 1:
        return tune_random_unit(r) < 0.3 ? reset(r, p) : plain_gate(r, p, TUNE_GATES_STRONG);
    case 2:
    case 3:
        return plain_gate(r, p, TUNE_GATES_SLOW);
    default:
        return plain_gate(r, p, TUNE_GATES_ORDINARY);
    }
}

/* count rows of H * M gates and, where s is given, of input weights. s is in [0,1]; with gates that forget little it is
 * drawn about 1 - exp(g), as a trained layer would have it, so that the memory stays of the size of k and v. */
static void draw_gates(tune_random *r, const gen_problem *problem, int gates, int64_t count, void *gate, void *s) {
    const nha_problem *p = &problem->nha;
    int64_t row = (int64_t)p->heads_kv * p->slots;
    for (int64_t t = 0; t < count; t++) {
        double all = gates == TUNE_GATES_RESETS ? tune_random_unit(r) : 1;
        for (int64_t i = t * row; i < (t + 1) * row; i++) {
            double x = gates == TUNE_GATES_MIXED    ? mixed_gate(r, p)
                       : gates == TUNE_GATES_RESETS ? plain_gate(r, p, TUNE_GATES_ORDINARY)
                                                    : plain_gate(r, p, gates);
            if (all < 0.08)
                x = reset(r, p);
            else if (all < 0.12)
                x = hold(p);
            tune_store(gate, p->gate_dtype, i, x);
            if (!s)
                continue;
            double g =
                p->gate_input == NHA_GATE_LOG ? x : (x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x))) / p->gate_normalizer;
            double weight = tune_random_unit(r) < 0.05 ? (double)tune_random_between(r, 0, 1) : tune_random_unit(r);
            tune_store(s, p->gate_dtype, i, g < -0.05 ? weight : fmin(1, -expm1(g) * (0.5 + weight) + 0.01 * weight));
        }
    }
}

/* q, k, v, rq, rk: normal. A few tokens are larger, so that a softmax is not always flat. */
static void draw_rows(tune_random *r, const tune_tensor_info *info, int64_t count, void *out) {
    for (int64_t t = 0; t < count * info->heads; t++) {
        double size = tune_random_between(r, 0, 15) ? 1 : 2;
        for (int64_t d = 0; d < info->dim; d++)
            tune_store(out, info->dtype, t * info->dim + d, size * tune_random_normal(r));
    }
}

/* Rounded to `dtype`, as what a cache with such a memory can hold. */
static void draw_memory(tune_random *r, int dtype, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) {
        double x = (float)(0.7 * tune_random_normal(r));
        out[i] = dtype == NHA_BF16 ? tune_bf16_to_f32(tune_f64_to_bf16(x)) : (float)x;
    }
}

static void *aligned(size_t size) {
    void *p = NULL;
    if (size > (size_t)1 << 40 || posix_memalign(&p, 64, size ? size : 1))
        return NULL;
    return p;
}

/* Draws all per-token tensors of `count` tokens; those whose array is NULL are passed over. Each tensor has a stream of
 * its own, so that a problem that differs in one option keeps the other tensors. */
static void draw_tokens(uint64_t seed, const gen_problem *problem, int gates, int64_t count,
                        void *const data[TUNE_INPUTS]) {
    for (int id = 0; id < TUNE_INPUTS; id++) {
        tune_random r = {seed + (uint64_t)(id + 1) * UINT64_C(0xd1342543de82ef95)};
        tune_tensor_info info = tune_tensor(problem, id);
        if (!data[id])
            continue;
        if (id == TUNE_GATE)
            draw_gates(&r, problem, gates, count, data[TUNE_GATE], data[TUNE_S]);
        else if (id != TUNE_S)
            draw_rows(&r, &info, count, data[id]);
    }
}

/* Caches at spec.pos, R' = min(R, max pos); tokens before token 0 stay zero. */
static bool create_cache(tune_case *c, err *e) {
    const tune_case_spec *spec = &c->spec;
    const nha_problem *p = &c->problem.nha;
    int64_t longest = 0, memory = spec->sequences * p->heads_kv * p->slots;
    for (int64_t n = 0; n < spec->sequences; n++)
        longest = spec->pos[n] > longest ? spec->pos[n] : longest;
    int64_t tokens = longest < c->problem.ring ? longest : c->problem.ring;
    if (!tune_cache_create(&c->problem, spec->sequences, tokens, &c->cache, e))
        return false;
    void *data[TUNE_INPUTS];
    for (int id = 0; id < TUNE_INPUTS; id++)
        data[id] = tune_cache_tensor(&c->cache, id);
    draw_tokens(~spec->seed, &c->problem, spec->gates, spec->sequences * tokens, data);
    for (int64_t n = 0; n < spec->sequences; n++) {
        c->cache.pos[n] = spec->pos[n];
        for (int id = 0; id < TUNE_INPUTS; id++) {
            size_t row = tune_tensor(&c->problem, id).row_bytes;
            int64_t missing = tokens > spec->pos[n] ? tokens - spec->pos[n] : 0;
            if (data[id])
                memset((char *)data[id] + (size_t)(n * tokens) * row, 0, (size_t)missing * row);
        }
    }
    tune_random r = {~spec->seed};
    if (p->slots) {
        draw_memory(&r, p->state_dtype, memory * p->head_dim_qk, c->cache.hk);
        draw_memory(&r, p->state_dtype, memory * p->head_dim_v, c->cache.hv);
    }
    c->batch.cache = &c->cache;
    return true;
}

bool tune_case_create(const gen_problem *problem, const tune_case_spec *spec, tune_case *c, err *e) {
    const nha_problem *p = &problem->nha;
    memset(c, 0, sizeof *c);
    gen_problem_copy(&c->problem, problem);
    c->spec = *spec;
    c->batch.sequences = spec->sequences;
    c->batch.tokens = spec->length[0];
    bool ok = true;
    if (spec->packed) {
        ok = (c->cu_seqlens = aligned((size_t)(spec->sequences + 1) * sizeof *c->cu_seqlens)) != NULL;
        for (int64_t n = 0; ok && n <= spec->sequences; n++)
            c->cu_seqlens[n] = n ? c->cu_seqlens[n - 1] + (int32_t)spec->length[n - 1] : 0;
        if (ok)
            c->batch.tokens = c->cu_seqlens[spec->sequences];
        c->batch.cu_seqlens = c->cu_seqlens;
    }
    int64_t total = ok ? tune_batch_total(&c->batch) : 0;
    for (int id = 0; ok && id < TUNE_INPUTS; id++) {
        tune_tensor_info info = tune_tensor(problem, id);
        if (!info.present)
            continue;
        ok = (c->data[id] = aligned((size_t)total * info.row_bytes)) != NULL;
        tune_batch_set_tensor(&c->batch, id, c->data[id]);
    }
    if (ok)
        draw_tokens(spec->seed, problem, spec->gates, total, c->data);
    if (ok && spec->cached)
        ok = create_cache(c, e);
    else if (ok && spec->memory && p->slots) {
        int64_t memory = spec->sequences * p->heads_kv * p->slots;
        tune_random r = {~spec->seed};
        c->hk0 = aligned((size_t)(memory * p->head_dim_qk) * sizeof *c->hk0);
        c->hv0 = aligned((size_t)(memory * p->head_dim_v) * sizeof *c->hv0);
        if ((ok = c->hk0 && c->hv0)) {
            draw_memory(&r, NHA_F32, memory * p->head_dim_qk, c->hk0);
            draw_memory(&r, NHA_F32, memory * p->head_dim_v, c->hv0);
        }
        c->batch.hk0 = c->hk0;
        c->batch.hv0 = c->hv0;
    }
    if (ok)
        return true;
    tune_case_destroy(c);
    return err_memory(e, "case");
}

void tune_case_destroy(tune_case *c) {
    for (int id = 0; id < TUNE_INPUTS; id++)
        free(c->data[id]);
    free(c->cu_seqlens);
    free(c->hk0);
    free(c->hv0);
    tune_cache_destroy(&c->cache);
    memset(c, 0, sizeof *c);
}
