/* fold.c: what a head's memory is once its pending tokens are in it, for those who look at a row from outside: the same
 * form as in the kernels (docs/cpu-kernels.md, "Memory"), so that a slow decay loses nothing and a fast one leaves
 * nothing behind. */
#include "runtime/internal.h"

/* One slot: h = keep h + (scaled h + sum_j weight[j] x_j). */
struct slot {
    float weight[NHA_CPU_PENDING]; /* c_j = s_j prod_{i>j} e_i */
    float keep, scaled;            /* (1, E - 1) where E, the product of all e, is more than a half, else (0, E) */
};

/* E - 1 is a sum of expm1(g_j) times what is left of it after j: no difference of numbers near 1. */
static struct slot weigh(const nha_problem *p, const float *pending, int64_t token, int64_t count, int64_t m) {
    int64_t Mp = NHA_CPU_PADDED(p->slots);
    struct slot slot = {{0}, 1, 0};
    float left = 1, lost = 0;
    for (int64_t j = count - 1; j >= 0; j--) {
        const float *at = pending + j * token + m;
        float e = at[0], m1 = at[Mp], s = p->gate_s_given ? at[2 * Mp] : -m1;
        slot.weight[j] = s * left;
        lost += m1 * left;
        left *= e;
    }
    slot.keep = lost < -0.5f ? 0 : 1;
    slot.scaled = lost < -0.5f ? left : lost;
    return slot;
}

static float folded(const struct slot *slot, float h, const float *x, int64_t token, int64_t count) {
    float new = 0;
    for (int64_t j = 0; j < count; j++) new += slot->weight[j] * x[j * token];
    return slot->keep * h + (slot->scaled * h + new);
}

void nhr_fold(const nha_problem *p, const char *memory, const float *pending, int64_t count, float *hk, float *hv) {
    int64_t K = p->head_dim_qk, V = p->head_dim_v, M = p->slots, Mp = NHA_CPU_PADDED(M), Vp = NHA_CPU_PADDED(V);
    int64_t token = NHA_CPU_PENDING_FLOATS(K, V, M, p->gate_s_given);
    const float *keys = pending + (p->gate_s_given ? 3 : 2) * Mp, *values = keys + NHA_CPU_PADDED(K);
    for (int64_t m = 0; m < M; m++) {
        struct slot slot = weigh(p, pending, token, count, m);
        for (int64_t d = 0; d < K; d++)
            hk[m * K + d] = folded(&slot, nhr_state_at(p, memory, d * Mp + m), keys + d, token, count);
        for (int64_t d = 0; d < V; d++)
            hv[m * V + d] = folded(&slot, nhr_state_at(p, memory, K * Mp + m * Vp + d), values + d, token, count);
    }
}
