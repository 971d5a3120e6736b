/* knobs.c: see knobs.h. */
#include "gen/cuda/knobs.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"

static bool give(gen_cuda_given *g, const char *name, const char *text, bool optional, err *e) {
    char *copy = base_arena_copy(&g->arena, text, strlen(text)),
         *name_copy = base_arena_copy(&g->arena, name, strlen(name));
    if (!copy || !name_copy)
        return err_memory(e, "render");
    if (g->count == GEN_CUDA_GIVEN_MAX)
        return err_set(e, ERR_INTERNAL, "render", "more than %d knobs", GEN_CUDA_GIVEN_MAX);
    g->item[g->count++] = (gen_given){.name = name_copy, .text = copy, .optional = optional};
    return true;
}

/* Integers of the problem. X(knob, value, meaning) */
#define PROBLEM_KNOBS(X)                                                                                               \
    X(HEAD_DIM_QK, n->head_dim_qk)                                                                                     \
    X(HEAD_DIM_V, n->head_dim_v)                                                                                       \
    X(KV_HEADS, n->heads_kv)                                                                                           \
    X(GROUP, problem->group)     /* query heads a kv head */                                                           \
    X(SLOTS, n->slots)                                                                                                 \
    X(WINDOW, n->window)         /* up to 2^40: a long long knob */                                                    \
    X(SLOT_LAG, n->slot_lag)     /* the same */                                                                        \
    X(DTYPE, n->dtype)           /* nha_dtype: 0 f32, 1 f16, 2 bf16 */                                                 \
    X(GATE_DTYPE, n->gate_dtype)                                                                                       \
    X(GATE_INPUT, n->gate_input) /* nha_gate_input: 0 logit, 1 log */                                                  \
    X(GATE_S_GIVEN, n->gate_s_given)                                                                                   \
    X(ROPE, n->rope)             /* nha_rope: 0 none, 1 given, 2 neox, 3 gptj */                                       \
    X(SLOT_MAP, n->slot_map)     /* nha_map: 0 identity, 1 silu, 2 relu */                                             \
    X(VALUE_MAP, n->value_map)                                                                                         \
    X(ARCH, target->arch)                                                                                              \
    X(ARCH_SPECIFIC, target->specific)

static bool give_integers(const gen_problem *problem, const gen_cuda_target *target, gen_cuda_given *g, err *e) {
    const nha_problem *n = &problem->nha;
    char text[32];
    bool ok = true;
#define GIVE_(name, value)                                                                                             \
    snprintf(text, sizeof text, "%" PRId64, (int64_t)(value));                                                         \
    ok = ok && give(g, #name, text, true, e);
    PROBLEM_KNOBS(GIVE_)
#undef GIVE_
    return ok;
}

/* A float literal that reads back as the same float. */
static bool give_float(gen_cuda_given *g, const char *name, double value, err *e) {
    char text[64];
    snprintf(text, sizeof text, "%.9g", (double)(float)value);
    snprintf(text + strlen(text), sizeof text - strlen(text), "%sf", strpbrk(text, ".e") ? "" : ".0");
    return give(g, name, text, true, e);
}

/* Turns a token of each pair of the rotation, round(inv_freq / 2pi * 2^64); one 0 where the kernel rotates nothing. */
static bool give_turns(const gen_problem *problem, gen_cuda_given *g, err *e) {
    bool rotates = problem->nha.rope == NHA_ROPE_NEOX || problem->nha.rope == NHA_ROPE_GPTJ;
    base_buf b = {0};
    if (!rotates)
        base_buf_text(&b, "0ull");
    for (int i = 0; rotates && i < problem->nha.head_dim_qk / 2; i++)
        base_buf_printf(&b, "%s0x%016" PRIx64 "ull", i ? ", " : "", problem->turns[i]);
    bool ok = base_buf_ok(&b, "render", e) && give(g, "ROPE_TURNS", base_buf_string(&b), true, e);
    base_buf_free(&b);
    return ok;
}

bool gen_cuda_give(const gen_cuda_kernel *kernel, const gen_problem *problem, const gen_cuda_target *target,
                   const gen_cuda_tile *tile, char entry[][GEN_CUDA_ENTRY_MAX + 1], gen_cuda_given *given, err *e) {
    bool ok = give_integers(problem, target, given, e) && give_float(given, "SCALE", problem->nha.scale, e) &&
              give_float(given, "GATE_NORMALIZER", problem->nha.gate_normalizer, e) && give_turns(problem, given, e);
    for (int i = 0; ok && i < kernel->launch_count; i++)
        ok = give(given, kernel->launch[i].knob, entry[i], false, e);
    for (int i = 0; ok && i < tile->count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%" PRId32, tile->knob[i].value);
        ok = give(given, tile->knob[i].name, text, false, e);
    }
    return ok;
}
