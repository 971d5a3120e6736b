/* space_file.h: a search space as templates/ has it: a YAML map from a knob to the list of its values. */
#ifndef GEN_SPACE_FILE_H
#define GEN_SPACE_FILE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "gen/embedded.h"

enum { GEN_SPACE_VALUES_MAX = 16, GEN_SPACE_KNOBS_MAX = 16, GEN_SPACE_VALUE_MAX = 1 << 20 };

typedef struct gen_space_knob {
    const char *name; /* in the arena */
    int line, column; /* in the file, for messages */
    int count;
    int32_t value[GEN_SPACE_VALUES_MAX]; /* 0 to GEN_SPACE_VALUE_MAX, in the order of the file */
} gen_space_knob;

typedef struct gen_space_file {
    int count;
    gen_space_knob knob[GEN_SPACE_KNOBS_MAX]; /* in the order of the file */
} gen_space_file;

/* Reads the file `name` of a table that ends as gen_embedded_files does. Errors: ERR_INTERNAL if there is none, ERR_INPUT
 * with the place, ERR_MEMORY. The knobs' names are not looked at: the caller knows them. */
bool gen_space_read(const gen_embedded *files, const char *name, base_arena *arena, gen_space_file *space, err *e);

#endif
