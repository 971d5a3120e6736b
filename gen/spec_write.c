/* spec_write.c: the words of a spec as tables, and a spec written out with every key, such that it reads back the
 * same. */
#include <inttypes.h>

#include "gen/spec_keys.h"

#define END {NULL, 0, false}

const gen_choice gen_dtype_choices[] = {
    {"f32", NHA_F32, false}, {"f16", NHA_F16, false}, {"bf16", NHA_BF16, false}, END};
const gen_choice gen_state_dtype_choices[] = {
    {"f32", NHA_F32, false}, {"f16", NHA_F16, true}, {"bf16", NHA_BF16, false}, END};
const gen_choice gen_gate_input_choices[] = {{"logit", NHA_GATE_LOGIT, false}, {"log", NHA_GATE_LOG, false}, END};
const gen_choice gen_gate_s_choices[] = {{"derived", 0, false}, {"given", 1, false}, END};
const gen_choice gen_rope_choices[] = {{"none", NHA_ROPE_NONE, false}, {"given", NHA_ROPE_GIVEN, false},
                                       {"neox", NHA_ROPE_NEOX, false}, {"gptj", NHA_ROPE_GPTJ, false}, END};
const gen_choice gen_slot_map_choices[] = {
    {"identity", NHA_MAP_IDENTITY, false}, {"silu", NHA_MAP_SILU, false}, {"relu", NHA_MAP_RELU, false}, END};
const gen_choice gen_value_map_choices[] = {{"identity", NHA_MAP_IDENTITY, false}, {"silu", NHA_MAP_SILU, false}, END};
const gen_choice gen_op_choices[] = {
    {"prefill", NHA_PREFILL, false}, {"decode", NHA_DECODE, false}, {"backward", NHA_BACKWARD, true}, END};
/* Whether this build can make them is decided later. */
const gen_choice gen_target_choices[] = {
    {"cpu", 0, false},   {"sm_80", 1, false},  {"sm_86", 2, false},   {"sm_89", 3, false},
    {"sm_90", 4, false}, {"sm_90a", 5, false}, {"sm_100f", 6, false}, {"sm_120f", 7, false}, END};

const char *gen_choice_name(const gen_choice *choices, int value) {
    for (; choices->name; choices++)
        if (choices->value == value) return choices->name;
    return "?";
}

static void write_rope(FILE *out, const gen_problem *problem) {
    const nha_problem *p = &problem->nha;
    fprintf(out, "rope: {style: %s", gen_choice_name(gen_rope_choices, p->rope));
    if (p->rope == NHA_ROPE_NEOX || p->rope == NHA_ROPE_GPTJ) {
        fprintf(out, ", inv_freq: [");
        for (int i = 0; i < p->head_dim_qk / 2; i++) fprintf(out, "%s%.17g", i ? ", " : "", problem->inv_freq[i]);
        fprintf(out, "]");
    }
    fprintf(out, "}\n");
}

void gen_spec_write(FILE *out, const gen_spec *spec) {
    const nha_problem *p = &spec->problem.nha;
    const char *comma = "";
    fprintf(out, "name: %s\n", spec->problem.name);
    fprintf(out, "head_dim: {qk: %d, v: %d}\n", p->head_dim_qk, p->head_dim_v);
    fprintf(out, "heads: {query: %d, kv: %d}\n", p->heads_q, p->heads_kv);
    fprintf(out, "slots: %d\n", p->slots);
    fprintf(out, "window: %" PRId64 "\n", p->window);
    fprintf(out, "slot_lag: %" PRId64 "\n", p->slot_lag);
    fprintf(out, "scale: %.17g\n", p->scale);
    fprintf(out, "dtype: %s\n", gen_choice_name(gen_dtype_choices, p->dtype));
    fprintf(out, "state_dtype: %s\n", gen_choice_name(gen_state_dtype_choices, p->state_dtype));
    fprintf(out, "gate: {input: %s, normalizer: %.17g, dtype: %s, s: %s}\n",
            gen_choice_name(gen_gate_input_choices, p->gate_input), p->gate_normalizer,
            gen_choice_name(gen_dtype_choices, p->gate_dtype), gen_choice_name(gen_gate_s_choices, p->gate_s_given));
    write_rope(out, &spec->problem);
    fprintf(out, "slot_map: %s\n", gen_choice_name(gen_slot_map_choices, p->slot_map));
    fprintf(out, "value_map: %s\n", gen_choice_name(gen_value_map_choices, p->value_map));
    fprintf(out, "ops: [");
    for (const gen_choice *op = gen_op_choices; op->name; op++) {
        if (!spec->ops[op->value]) continue;
        fprintf(out, "%s%s", comma, op->name);
        comma = ", ";
    }
    fprintf(out, "]\ntargets: [");
    for (int i = 0; i < spec->target_count; i++) fprintf(out, "%s%s", i ? ", " : "", spec->targets[i]);
    fprintf(out, "]\ntune:\n  shapes:\n");
    for (int i = 0; i < spec->shape_count; i++)
        fprintf(out, "    - {batch: %" PRId64 ", tokens: %" PRId64 ", op: %s}\n", spec->shapes[i].batch,
                spec->shapes[i].tokens, gen_choice_name(gen_op_choices, spec->shapes[i].op));
    fprintf(out, "  budget: %.17g\n", spec->budget);
}
