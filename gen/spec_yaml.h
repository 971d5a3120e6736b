/* spec_yaml.h: YAML text to a small tree of nodes with places; bounded in size, depth and count, so that hostile text
 * costs nothing. Only what a spec needs: one document of maps, lists and scalars. Anchors, aliases, tags and merge keys
 * are refused. */
#ifndef GEN_SPEC_YAML_H
#define GEN_SPEC_YAML_H

#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

enum { GEN_YAML_DEPTH_MAX = 16, GEN_YAML_NODES_MAX = 20000 };

typedef enum gen_yaml_kind { GEN_YAML_SCALAR, GEN_YAML_LIST, GEN_YAML_MAP } gen_yaml_kind;

typedef struct gen_yaml {
    gen_yaml_kind kind;
    int line, column;            /* from 1, columns in characters; where the value begins */
    const char *text;            /* scalar: NUL-terminated, no NUL inside */
    bool quoted;                 /* scalar in quotes or a block: a text, never a number */
    int count;                   /* list and map: members */
    const struct gen_yaml *first, *next; /* first member; next member of the same parent */
    const struct gen_yaml *key;  /* member of a map: its key, a scalar */
} gen_yaml;

/* Parses a whole text. The tree lives in the arena, on failure too. Errors: ERR_INPUT with the place, ERR_MEMORY. An
 * empty text, or one with comments alone, is an error that says `expected` ("a spec with the keys ..."). */
bool gen_yaml_parse(const char *path, const char *text, size_t size, const char *expected, base_arena *arena,
                    const gen_yaml **root, err *e);

#endif
