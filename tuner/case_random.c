/* case_random.c: random numbers, random legal problems and random shapes for test cases. See case.h.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/case.h"
#include "tuner/oracle.h"

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (splitmix64). */
uint64_t tune_random_bits(tune_random *r) {
    uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

int64_t tune_random_between(tune_random *r, int64_t low, int64_t high) {
    return low + (int64_t)(tune_random_bits(r) % ((uint64_t)(high - low) + 1));
}

double tune_random_unit(tune_random *r) {
    return (double)(tune_random_bits(r) >> 11) * 0x1p-53;
}

/* Sum of eight uniforms of 16 bits, scaled: normal enough for test data (|x| < 4.9) and several times faster than
 * Box-Muller. */
double tune_random_normal(tune_random *r) {
    uint64_t a = tune_random_bits(r), b = tune_random_bits(r);
    int64_t sum = 0;
    for (int shift = 0; shift < 64; shift += 16)
        sum += (int64_t)(a >> shift & 0xffff) + (int64_t)(b >> shift & 0xffff);
    return ((double)sum - 4 * 65535.0) * (1.2247448713915890 / 65536); /* variance of the sum: 8/12 * 65536^2 */
}

static bool chance(tune_random *r, double probability) {
    return tune_random_unit(r) < probability;
}

/* One of the listed values. */
#define PICK(r, ...)                                                                                                   \
    (((const int64_t[]){__VA_ARGS__})[tune_random_between((r), 0, (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8) - 1)])

void tune_random_problem(uint64_t seed, gen_problem *problem) {
    tune_random r = {seed ^ UINT64_C(0x70726f626c656d00)};
    memset(problem, 0, sizeof *problem);
    nha_problem *p = &problem->nha;
    snprintf(problem->name, sizeof problem->name, "random-%llx", (unsigned long long)seed);
    p->name = problem->name;
    p->head_dim_qk = 8 * (int32_t)(chance(&r, 0.1) ? tune_random_between(&r, 1, 32) : tune_random_between(&r, 1, 9));
    p->head_dim_v = chance(&r, 0.4) ? p->head_dim_qk
                                    : 8 * (int32_t)(chance(&r, 0.1) ? tune_random_between(&r, 1, 32)
                                                                    : tune_random_between(&r, 1, 9));
    p->slots = (int32_t)(chance(&r, 0.12)  ? 0
                         : chance(&r, 0.1) ? tune_random_between(&r, 65, 256)
                         : chance(&r, 0.3) ? PICK(&r, 1, 2, 8, 15, 16, 17, 32, 64)
                                           : tune_random_between(&r, 1, 64));
    p->window = chance(&r, 0.12)   ? 0
                : chance(&r, 0.15) ? PICK(&r, 1, 2, 200, 1000, INT64_C(1) << 40)
                : chance(&r, 0.4)  ? PICK(&r, 15, 16, 17, 31, 32, 33, 48, 64)
                                   : tune_random_between(&r, 1, 70);
    if (!p->slots && !p->window)
        p->window = 1 + tune_random_between(&r, 0, 40);
    p->slot_lag = chance(&r, 0.5)    ? p->window
                  : chance(&r, 0.25) ? 0
                  : chance(&r, 0.1)  ? PICK(&r, 1, 300, INT64_C(1) << 40)
                                     : tune_random_between(&r, 0, 90);
    problem->group = (int32_t)(chance(&r, 0.5) ? PICK(&r, 1, 2, 4) : tune_random_between(&r, 1, 8));
    p->heads_kv = (int32_t)tune_random_between(&r, 1, problem->group > 4 ? 2 : 3);
    p->heads_q = p->heads_kv * problem->group;
    p->dtype = (int32_t)(chance(&r, 0.5) ? NHA_F32 : PICK(&r, NHA_F16, NHA_BF16));
    p->gate_dtype = chance(&r, 0.7) ? p->dtype : NHA_F32;
    p->gate_input = (int32_t)PICK(&r, NHA_GATE_LOGIT, NHA_GATE_LOG);
    p->gate_s_given = p->slots && chance(&r, 0.25);
    p->gate_normalizer = p->gate_input == NHA_GATE_LOG || chance(&r, 0.5) ? 8 : 1 + 15 * tune_random_unit(&r);
    p->rope = (int32_t)PICK(&r, NHA_ROPE_NONE, NHA_ROPE_GIVEN, NHA_ROPE_NEOX, NHA_ROPE_GPTJ);
    p->slot_map = chance(&r, 0.5) ? NHA_MAP_IDENTITY : (int32_t)PICK(&r, NHA_MAP_SILU, NHA_MAP_RELU);
    p->value_map = chance(&r, 0.7) ? NHA_MAP_IDENTITY : NHA_MAP_SILU;
    p->scale = chance(&r, 0.7) ? 1 / sqrt(p->head_dim_qk) : (0.3 + 1.2 * tune_random_unit(&r)) / sqrt(p->head_dim_qk);
    double theta = chance(&r, 0.6) ? 10000 : chance(&r, 0.5) ? 500000 : exp(14 * tune_random_unit(&r)) + 1;
    bool scaled = chance(&r, 0.2); /* as the long-context variants do: low frequencies divided */
    if (p->rope == NHA_ROPE_NEOX || p->rope == NHA_ROPE_GPTJ)
        for (int i = 0; i < p->head_dim_qk / 2; i++) {
            problem->inv_freq[i] = pow(theta, -2.0 * i / p->head_dim_qk);
            if (scaled && i > p->head_dim_qk / 4)
                problem->inv_freq[i] /= 8;
        }
    tune_random state = {seed ^ UINT64_C(0x7374617465000000)}; /* its own, so that the other draws are what they were without it */
    p->state_dtype = p->slots && chance(&state, 0.2) ? NHA_BF16 : NHA_F32;
    gen_problem_derive(problem);
}

/* A length about the sizes at which kernels change what they do. */
static int64_t random_length(tune_random *r, const nha_problem *p, int64_t block, int64_t most) {
    int64_t window = p->window < most ? p->window : most, lag = p->slot_lag < most ? p->slot_lag : most, length;
    switch (tune_random_between(r, 0, 6)) {
    case 0:
        length = tune_random_between(r, 0, 3);
        break;
    case 1:
        length = block * tune_random_between(r, 1, 4) + tune_random_between(r, -1, 1);
        break;
    case 2:
        length = window + tune_random_between(r, -1, 2);
        break;
    case 3:
        length = lag + tune_random_between(r, -1, 2);
        break;
    case 4:
        length = (window > lag ? window : lag) + block + tune_random_between(r, 0, block);
        break;
    default:
        length = tune_random_between(r, 1, most);
        break;
    }
    return length < 0 ? 0 : length > most ? most : length;
}

/* Positions of a cache: new, within the ring, about its end, and far beyond where the ring is short enough to be
 * filled. */
static int64_t random_position(tune_random *r, const gen_problem *problem) {
    const nha_problem *p = &problem->nha;
    int64_t row = (int64_t)p->heads_q * (p->head_dim_qk + p->head_dim_v), ring = problem->ring;
    int64_t full = ring <= 200 || ring <= 400000 / row ? ring : 200;
    switch (tune_random_between(r, 0, 5)) {
    case 0:
        return tune_random_between(r, 0, 1);
    case 1:
        return full > 2 ? full - tune_random_between(r, 0, 2) : full;
    case 2:
        return full == ring ? ring + tune_random_between(r, 1, 5) : full;
    case 3:
        return full == ring ? tune_random_between(r, ring, 200000) : full;
    default:
        return tune_random_between(r, 0, full + (full == ring ? 100 : 0));
    }
}

void tune_case_random(const gen_problem *problem, uint64_t seed, int64_t block, double flops, tune_case_spec *spec) {
    const nha_problem *p = &problem->nha;
    tune_random r = {seed ^ UINT64_C(0x636173650000)};
    *spec = (tune_case_spec){.seed = seed, .sequences = chance(&r, 0.5) ? 1 : tune_random_between(&r, 2, 5)};
    spec->gates = (int)tune_random_between(&r, 0, TUNE_GATES_COUNT - 1);
    spec->packed = spec->sequences > 1 ? chance(&r, 0.6) : chance(&r, 0.15);
    spec->memory = chance(&r, 0.4);
    spec->cached = chance(&r, 0.35);
    for (int64_t n = 0; n < spec->sequences; n++)
        spec->pos[n] = spec->cached ? random_position(&r, problem) : 0;

    /* Tokens the budget pays for; every token at the largest context. */
    double context = (double)(block * 6 + (spec->cached ? 200 : 0));
    double columns = p->slots + fmin((double)p->window, context), dims = p->head_dim_qk + p->head_dim_v;
    double per_token = dims * (2 * columns * p->heads_q + 4.0 * p->slots * p->heads_kv);
    int64_t most = (int64_t)fmin(flops / per_token / (double)spec->sequences, (double)(6 * block));
    if (most < 5)
        most = 5;
    for (int64_t n = 0; n < spec->sequences; n++)
        spec->length[n] = n && !spec->packed ? spec->length[0] : random_length(&r, p, block, most);
    if (!spec->packed && !spec->length[0])
        for (int64_t n = 0; n < spec->sequences; n++)
            spec->length[n] = 1;
    if (spec->packed && chance(&r, 0.5))
        spec->length[tune_random_between(&r, 0, spec->sequences - 1)] = 0;
}

int tune_case_string(const tune_case_spec *spec, char *out, size_t size) {
    static const char *const gates[TUNE_GATES_COUNT] = {"ordinary", "slow", "strong", "mixed", "resets"};
    char lengths[256];
    int at = 0;
    for (int64_t n = 0; n < spec->sequences; n++) {
        at += snprintf(lengths + at, sizeof lengths - (size_t)at, "%s%lld", n ? "," : "", (long long)spec->length[n]);
        if (spec->cached)
            at += snprintf(lengths + at, sizeof lengths - (size_t)at, "@%lld", (long long)spec->pos[n]);
    }
    return snprintf(out, size, "seed %llu, lengths %s%s%s, %s gates", (unsigned long long)spec->seed, lengths,
                    spec->packed ? " packed" : "", spec->memory && !spec->cached ? ", initial memory" : "",
                    gates[spec->gates]);
}
