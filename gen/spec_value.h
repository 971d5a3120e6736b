/* spec_value.h: maps of a spec read by table: one row a key. All messages about keys and values are made here, so that
 * they read alike: KEY: VALUE is not WHAT IS RIGHT; the nearest is CHOICE. */
#ifndef GEN_SPEC_VALUE_H
#define GEN_SPEC_VALUE_H

#include "gen/spec.h"
#include "gen/spec_yaml.h"

typedef struct gen_reader {
    const char *path;
    gen_spec *spec;
    const char *prefix; /* of key names in messages: "gate." inside gate, "" at the top */
    err *e;
} gen_reader;

/* One word that a key may have. A table of them ends with name NULL. */
typedef struct gen_choice {
    const char *name;
    int value;
    bool later; /* a legal word that this version cannot do */
} gen_choice;

typedef struct gen_key gen_key;
struct gen_key {
    const char *name;
    bool required;
    bool (*parse)(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
    const char *what;    /* a right value, where min and max do not say it: "a list of targets" */
    size_t offset;       /* of the member in the object that the map describes */
    double min, max;     /* numbers: inclusive */
    int multiple;        /* whole numbers: 0 and 1 mean any */
    const gen_choice *choices;
    const char *word;    /* a word that stands for a number */
};

/* Reads a map: refuses what is no map, unknown, duplicate and missing keys, then parses the values that are there in
 * the table's order. Keys that are absent leave the object as it is. `what` names the map in messages. */
bool gen_read_map(gen_reader *r, const gen_yaml *map, const char *what, const gen_key *keys, int count, void *object);
/* The value of a key; NULL if it is absent. */
const gen_yaml *gen_yaml_get(const gen_yaml *map, const char *key);

/* Rows' parse functions: members of type int32_t, int64_t, double, int32_t. */
bool gen_parse_int32(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
bool gen_parse_int64(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
bool gen_parse_double(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
bool gen_parse_choice(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);

/* A number by the row's range; whole: no fraction, the row's multiple. Numbers are read as strtod reads them. */
bool gen_read_number(gen_reader *r, const gen_key *key, const gen_yaml *value, bool whole, double *number);
/* A word by the row's choices. */
bool gen_read_choice(gen_reader *r, const gen_key *key, const gen_yaml *value, int *choice);
/* Whether a scalar reads as a number at all; NaN and infinities count. */
bool gen_is_number(const gen_yaml *value);

/* "KEY: VALUE is not WHAT; the nearest is NEAREST" at the value; nearest may be NULL. Returns false. */
bool gen_wrong(gen_reader *r, const gen_key *key, const gen_yaml *value, const char *what, const char *nearest);
/* "KEY: TEXT" at the value. Returns false. */
bool gen_wrong_text(gen_reader *r, const gen_key *key, const gen_yaml *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
