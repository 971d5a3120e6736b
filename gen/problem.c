/* problem.c: the problem's derived members, and the ways it names itself: as a string, in words.
 * Rotation is kept in exact fixed point, so that every machine computes the same angles. */
#include "gen/problem.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/sha256.h"

static const char *const dtype_names[] = {[NHA_F32] = "f32", [NHA_F16] = "f16", [NHA_BF16] = "bf16"};
static const int dtype_bytes[] = {[NHA_F32] = 4, [NHA_F16] = 2, [NHA_BF16] = 2};
static const char *const op_names[] = {[NHA_PREFILL] = "prefill", [NHA_DECODE] = "decode", [NHA_BACKWARD] = "backward"};
static const char *const gate_names[] = {[NHA_GATE_LOGIT] = "logit", [NHA_GATE_LOG] = "log"};
static const char *const rope_names[] = {
    [NHA_ROPE_NONE] = "none", [NHA_ROPE_GIVEN] = "given", [NHA_ROPE_NEOX] = "neox", [NHA_ROPE_GPTJ] = "gptj"};
static const char *const map_names[] = {
    [NHA_MAP_IDENTITY] = "identity", [NHA_MAP_SILU] = "silu", [NHA_MAP_RELU] = "relu"};

#define NAME_IN(table, i) ((i) >= 0 && (size_t)(i) < sizeof(table) / sizeof *(table) ? (table)[i] : "?")

const char *gen_dtype_name(int dtype) {
    return NAME_IN(dtype_names, dtype);
}

int gen_dtype_bytes(int dtype) {
    return dtype >= 0 && (size_t)dtype < sizeof dtype_bytes / sizeof *dtype_bytes ? dtype_bytes[dtype] : 0;
}

const char *gen_op_name(int op) {
    return NAME_IN(op_names, op);
}

void gen_problem_copy(gen_problem *to, const gen_problem *from) {
    if (to != from) *to = *from;
    to->nha.name = to->name;
}

/* round(x / 2pi * 2^64) mod 2^64, exact: x = m * 2^e with a 53-bit m, and 1/2pi is known to 256 bits, so that
 * m * (1/2pi * 2^256) is a product of integers; shifted right by 192 - e it is x / 2pi * 2^64. Not finite: 0. */
static uint64_t turns_of(double x) {
    /* floor(2^256 / 2pi), 32 bits each, lowest first. */
    static const uint32_t inverse_2pi[8] = {0xf7aef158, 0x7f9458ea, 0x4f10e410, 0x36d8a566,
                                            0x7d4d3770, 0x7f09d5f4, 0x9391054a, 0x28be60db};
    uint32_t product[11] = {0};
    int exponent;
    if (!isfinite(x) || x == 0) return 0;
    uint64_t m = (uint64_t)ldexp(frexp(fabs(x), &exponent), 53);
    int shift = 192 - (exponent - 53);
    if (shift < 1 || shift >= 320) return 0; /* |x| >= 2^244: no fraction is left; below 2^-75: rounds to zero */
    for (int half = 0; half < 2; half++) {
        uint64_t factor = half ? m >> 32 : m & 0xffffffff, carry = 0;
        for (int i = 0; i < 8; i++) {
            carry += factor * inverse_2pi[i] + product[i + half];
            product[i + half] = (uint32_t)carry;
            carry >>= 32;
        }
        product[8 + half] += (uint32_t)carry;
    }
    uint64_t turns = 0;
    for (int bit = 0; bit < 64; bit++) {
        int at = shift + bit;
        if (at < 320) turns |= (uint64_t)(product[at / 32] >> at % 32 & 1) << bit;
    }
    turns += product[(shift - 1) / 32] >> (shift - 1) % 32 & 1; /* to nearest; a tie cannot be seen at this precision */
    return x < 0 ? 0 - turns : turns;
}

void gen_problem_derive(gen_problem *p) {
    const nha_problem *n = &p->nha;
    p->nha.name = p->name;
    for (size_t i = 0; i < sizeof p->c_name; i++) {
        char c = p->name[i];
        p->c_name[i] = c == '.' || c == '-' ? '_' : c;
    }
    p->group = n->heads_kv > 0 ? n->heads_q / n->heads_kv : 0;
    p->ring = n->slots == 0 || n->window > n->slot_lag ? n->window : n->slot_lag;
    bool rotates = n->rope == NHA_ROPE_NEOX || n->rope == NHA_ROPE_GPTJ;
    for (int i = 0; i < GEN_HEAD_DIM_MAX / 2; i++) {
        if (!rotates || i >= n->head_dim_qk / 2) p->inv_freq[i] = 0;
        p->turns[i] = turns_of(p->inv_freq[i]);
    }
}

/* snprintf at the end of what is there; *length counts what would have been written. */
static void append(char *out, size_t size, int *length, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void append(char *out, size_t size, int *length, const char *format, ...) {
    size_t used = (size_t)*length < size ? (size_t)*length : size;
    va_list args;
    va_start(args, format);
    *length += vsnprintf(out ? out + used : NULL, size - used, format, args);
    va_end(args);
}

/* First 8 digits of the SHA-256 of the rotation table: stands for theta or the list of frequencies. */
static void rope_digest(const gen_problem *p, char out[9]) {
    char hex[BASE_SHA256_HEX];
    base_sha256 h;
    base_sha256_init(&h);
    for (int i = 0; i < p->nha.head_dim_qk / 2 && i < GEN_HEAD_DIM_MAX / 2; i++)
        for (int shift = 0; shift < 64; shift += 8)
            base_sha256_add(&h, (unsigned char[]){(unsigned char)(p->turns[i] >> shift)}, 1);
    base_sha256_end_hex(&h, hex);
    memcpy(out, hex, 8);
    out[8] = 0;
}

int gen_problem_string(const gen_problem *p, nha_op op, char *out, size_t size) {
    const nha_problem *n = &p->nha;
    int length = 0;
    append(out, size, &length, "%s.k%d.v%d.m%d.w%" PRId64, gen_op_name(op), n->head_dim_qk, n->head_dim_v, n->slots,
           n->window);
    if (n->slots) append(out, size, &length, ".l%" PRId64, n->slot_lag);
    append(out, size, &length, ".h%d.g%d.%s", n->heads_kv, p->group, gen_dtype_name(n->dtype));
    append(out, size, &length, ".%s", NAME_IN(rope_names, n->rope));
    if (n->rope == NHA_ROPE_NEOX || n->rope == NHA_ROPE_GPTJ) {
        char digest[9];
        rope_digest(p, digest);
        append(out, size, &length, "-%s", digest);
    }
    if (n->slots) {
        append(out, size, &length, ".%s", NAME_IN(gate_names, n->gate_input));
        if (n->gate_input == NHA_GATE_LOGIT) append(out, size, &length, "%.17g", n->gate_normalizer);
        if (n->gate_dtype != n->dtype) append(out, size, &length, ".gate-%s", gen_dtype_name(n->gate_dtype));
        if (n->gate_s_given) append(out, size, &length, ".s");
        if (n->state_dtype != NHA_F32) append(out, size, &length, ".state-%s", gen_dtype_name(n->state_dtype));
        if (n->slot_map) append(out, size, &length, ".slot-%s", NAME_IN(map_names, n->slot_map));
    }
    if (n->value_map) append(out, size, &length, ".value-%s", NAME_IN(map_names, n->value_map));
    if (n->scale != 1 / sqrt(n->head_dim_qk)) append(out, size, &length, ".scale%.17g", n->scale);
    return length;
}

void gen_problem_print(FILE *out, const gen_problem *p) {
    const nha_problem *n = &p->nha;
    fprintf(out, "name: %s\n", p->name);
    fprintf(out, "head dim of q and k: %d\n", n->head_dim_qk);
    fprintf(out, "head dim of v: %d\n", n->head_dim_v);
    fprintf(out, "query heads: %d\n", n->heads_q);
    fprintf(out, "kv heads: %d (%d query heads each)\n", n->heads_kv, p->group);
    fprintf(out, "slots: %d\n", n->slots);
    fprintf(out, "window: %" PRId64 " tokens\n", n->window);
    if (n->slots) fprintf(out, "slot lag: %" PRId64 " tokens\n", n->slot_lag);
    fprintf(out, "ring: %" PRId64 " tokens\n", p->ring);
    fprintf(out, "scale: %.17g\n", n->scale);
    fprintf(out, "dtype: %s\n", gen_dtype_name(n->dtype));
    if (n->slots) {
        fprintf(out, "state dtype: %s\n", gen_dtype_name(n->state_dtype));
        if (n->gate_input == NHA_GATE_LOGIT)
            fprintf(out, "gate: logsigmoid(f) / %.17g, f in %s\n", n->gate_normalizer, gen_dtype_name(n->gate_dtype));
        else
            fprintf(out, "gate: log gates g in %s\n", gen_dtype_name(n->gate_dtype));
        fprintf(out, "s: %s\n", n->gate_s_given ? "an input" : "-expm1(g)");
        fprintf(out, "slot map: %s\n", NAME_IN(map_names, n->slot_map));
    }
    fprintf(out, "value map: %s\n", NAME_IN(map_names, n->value_map));
    fprintf(out, "rope: %s\n", NAME_IN(rope_names, n->rope));
}
