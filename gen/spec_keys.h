/* spec_keys.h: limits and words of a spec that reading and writing share. */
#ifndef GEN_SPEC_KEYS_H
#define GEN_SPEC_KEYS_H

#include "gen/spec_value.h"

/* No sequence is longer: larger windows and lags mean the same, and are read as this. */
#define GEN_TOKENS_FOREVER ((int64_t)1 << 40)

/* The word of a value in a table of choices. */
const char *gen_choice_name(const gen_choice *choices, int value);

extern const gen_choice gen_dtype_choices[], gen_state_dtype_choices[], gen_gate_input_choices[], gen_gate_s_choices[],
    gen_rope_choices[], gen_slot_map_choices[], gen_value_map_choices[], gen_op_choices[], gen_target_choices[];

#endif
