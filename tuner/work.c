/* work.c: see work.h. */
#include "tuner/work.h"

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Pairs (token, window token) of one sequence: the sum over t of min(W, t + 1). */
static double window_pairs(double tokens, double window) {
    if (tokens <= window)
        return tokens * (tokens + 1) / 2;
    return window * (window + 1) / 2 + (tokens - window) * window;
}

/* Bytes a decode step reads from the caches of one sequence, but for the memory: keys (rotated ones where given) and
 * values of the window before the new token; of the token that is absorbed its gates, and its key and value where those
 * were not read already. */
static double cache_bytes(const nha_problem *p, int64_t context, double gates) {
    double element = gen_dtype_bytes(p->dtype), heads = p->heads_kv;
    double before = p->window > 0 ? (double)smaller(p->window - 1, context) : 0;
    double bytes = before * heads * (p->head_dim_qk + p->head_dim_v) * element;
    if (p->slots == 0 || p->slot_lag == 0 || context < p->slot_lag)
        return bytes;
    bool outside = p->slot_lag >= p->window;
    bytes += gates;
    if (outside || p->rope == NHA_ROPE_GIVEN)
        bytes += heads * p->head_dim_qk * element;
    if (outside)
        bytes += heads * p->head_dim_v * element;
    return bytes;
}

tune_work tune_work_of(const gen_problem *problem, const gen_shape *shape, int64_t context) {
    const nha_problem *p = &problem->nha;
    bool decode = shape->op == NHA_DECODE;
    double tokens = (double)shape->tokens, batch = (double)shape->batch, dims = p->head_dim_qk + p->head_dim_v;
    double pairs = decode ? tokens * (double)smaller(p->window, context + 1) : window_pairs(tokens, (double)p->window);
    double lag = (double)p->slot_lag, absorbed = 0;
    if (p->slots > 0)
        absorbed = decode ? (context >= p->slot_lag ? tokens : 0) : tokens > lag ? tokens - lag : 0;
    tune_work work = {0};
    work.flops = batch * p->heads_q * 2 * dims * (tokens * p->slots + pairs) +
                 batch * p->heads_kv * 2 * dims * absorbed * p->slots;
    double gate_steps = p->gate_input == NHA_GATE_LOGIT ? 2 : 1;
    work.exponentials =
        batch * p->heads_q * (tokens * p->slots + pairs) + batch * p->heads_kv * gate_steps * absorbed * p->slots;

    double element = gen_dtype_bytes(p->dtype), given = p->rope == NHA_ROPE_GIVEN;
    double gates = (double)p->heads_kv * p->slots * (p->gate_s_given ? 2 : 1) * gen_dtype_bytes(p->gate_dtype);
    double keys_values = p->heads_kv * (dims + given * p->head_dim_qk) * element;
    double queries = p->heads_q * (1 + given) * p->head_dim_qk * element;
    double outputs = p->heads_q * (p->head_dim_v * element + 4.0); /* o and lse */
    double memory = p->heads_kv * (double)p->slots * dims * 4, rows = memory / 4 * gen_dtype_bytes(p->state_dtype);
    work.read_bytes = batch * tokens * (queries + keys_values + gates + outputs);
    if (decode) {
        double stored = keys_values + gates; /* the new token, in the rings */
        work.read_bytes += batch * tokens * (cache_bytes(p, context, gates) + stored);
        work.update_bytes = batch * tokens * 2 * rows;
    } else {
        work.read_bytes += batch * memory; /* written once, after the last step */
    }
    return work;
}
