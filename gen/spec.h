/* spec.h: reads a YAML spec (docs/spec.md) into a problem, ops, targets and tuning hints. */
#ifndef GEN_SPEC_H
#define GEN_SPEC_H

#include "base/err.h"
#include "gen/problem.h"

enum { GEN_TARGETS_MAX = 16, GEN_SHAPES_MAX = 64, GEN_SPEC_BYTES_MAX = 1 << 20 };

typedef struct gen_shape {
    int op; /* nha_op */
    int64_t batch, tokens;
} gen_shape;

typedef struct gen_spec {
    gen_problem problem;
    bool ops[3];                     /* by nha_op */
    char targets[GEN_TARGETS_MAX][16];
    int target_count;
    gen_shape shapes[GEN_SHAPES_MAX]; /* tune.shapes; a default pair where the spec names none */
    int shape_count;
    double budget;                   /* seconds */
    char path[512];                  /* as given, for messages */
    char *text;                      /* the file's bytes, owned: hashed into keys, copied into the library */
    size_t text_size;
} gen_spec;

/* Reads and checks. Every error carries file, line, column and the nearest valid choice; code ERR_INPUT, or ERR_SYSTEM if the
 * file cannot be read. On failure *spec needs no destroy. */
bool gen_spec_read(const char *path, gen_spec *spec, err *e);
/* The same from memory; `path` is for messages only. */
bool gen_spec_parse(const char *path, const char *text, size_t size, gen_spec *spec, err *e);
void gen_spec_destroy(gen_spec *spec);
/* Writes a canonical spec of a problem (every key explicit), such that parsing it gives the same problem. Used by tests and by
 * libraries, which carry their problem this way. */
void gen_spec_write(FILE *out, const gen_spec *spec);

#endif
