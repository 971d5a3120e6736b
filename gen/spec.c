/* spec.c: the keys of a spec (docs/spec.md) as tables, their defaults, and what must hold between them. */
#include "gen/spec.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "gen/spec_keys.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))
#define PROBLEM(member) offsetof(gen_spec, problem.nha.member)

static bool parse_name(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_head_dim(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_heads(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_tokens(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_gate(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_rope(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_inv_freq(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_ops(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_targets(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_tune(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);
static bool parse_shapes(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object);

/* The order is the order of parsing: inv_freq needs head_dim, tune needs ops. */
static const gen_key spec_keys[] = {
    {.name = "name", .required = true, .parse = parse_name,
     .what = "letters, digits, '.', '_' and '-', a letter or digit first, at most 64"},
    {.name = "head_dim", .required = true, .parse = parse_head_dim, .min = 8, .max = GEN_HEAD_DIM_MAX, .multiple = 8,
     .what = "a multiple of 8 from 8 to 256, or {qk: K, v: V}"},
    {.name = "heads", .required = true, .parse = parse_heads, .what = "{query: HQ, kv: H}"},
    {.name = "slots", .required = true, .parse = gen_parse_int32, .offset = PROBLEM(slots), .max = GEN_SLOTS_MAX,
     .what = "a whole number from 0 to 256"},
    {.name = "window", .required = true, .parse = parse_tokens, .offset = PROBLEM(window),
     .what = "a whole number of tokens, 0 or more"},
    {.name = "slot_lag", .parse = parse_tokens, .offset = PROBLEM(slot_lag), .word = "window",
     .what = "window, or a whole number of tokens, 0 or more"},
    {.name = "scale", .parse = gen_parse_double, .offset = PROBLEM(scale), .min = 1e-9, .max = 1e9},
    {.name = "dtype", .required = true, .parse = gen_parse_choice, .offset = PROBLEM(dtype),
     .choices = gen_dtype_choices, .what = "f32, f16 or bf16"},
    {.name = "state_dtype", .parse = gen_parse_choice, .offset = PROBLEM(state_dtype),
     .choices = gen_state_dtype_choices},
    {.name = "gate", .parse = parse_gate, .what = "{input: logit, normalizer: 8, dtype: f32, s: derived}"},
    {.name = "rope", .parse = parse_rope, .what = "{style: neox, theta: 10000}"},
    {.name = "slot_map", .parse = gen_parse_choice, .offset = PROBLEM(slot_map), .choices = gen_slot_map_choices},
    {.name = "value_map", .parse = gen_parse_choice, .offset = PROBLEM(value_map), .choices = gen_value_map_choices},
    {.name = "ops", .parse = parse_ops, .choices = gen_op_choices, .what = "a list such as [prefill, decode]"},
    {.name = "targets", .parse = parse_targets, .choices = gen_target_choices, .what = "a list such as [cpu, sm_90]"},
    {.name = "tune", .parse = parse_tune, .what = "{shapes: [{batch: 1, tokens: 2048}], budget: 60}"},
};

static const gen_key head_dim_keys[] = {
    {.name = "qk", .required = true, .parse = gen_parse_int32, .offset = PROBLEM(head_dim_qk), .min = 8,
     .max = GEN_HEAD_DIM_MAX, .multiple = 8, .what = "a multiple of 8 from 8 to 256"},
    {.name = "v", .required = true, .parse = gen_parse_int32, .offset = PROBLEM(head_dim_v), .min = 8,
     .max = GEN_HEAD_DIM_MAX, .multiple = 8, .what = "a multiple of 8 from 8 to 256"},
};

static const gen_key heads_keys[] = {
    {.name = "query", .required = true, .parse = gen_parse_int32, .offset = PROBLEM(heads_q), .min = 1, .max = 4096,
     .what = "a whole number from 1 to 4096"},
    {.name = "kv", .required = true, .parse = gen_parse_int32, .offset = PROBLEM(heads_kv), .min = 1, .max = 4096,
     .what = "a whole number that divides heads.query"},
};

static const gen_key gate_keys[] = {
    {.name = "input", .parse = gen_parse_choice, .offset = PROBLEM(gate_input), .choices = gen_gate_input_choices},
    {.name = "normalizer", .parse = gen_parse_double, .offset = PROBLEM(gate_normalizer), .min = 1e-9, .max = 1e9},
    {.name = "dtype", .parse = gen_parse_choice, .offset = PROBLEM(gate_dtype), .choices = gen_dtype_choices},
    {.name = "s", .parse = gen_parse_choice, .offset = PROBLEM(gate_s_given), .choices = gen_gate_s_choices},
};

/* What a rope map says, before it becomes inv_freq. */
typedef struct rope_spec {
    int32_t style;
    double theta;
    const gen_yaml *inv_freq;
} rope_spec;

static const gen_key rope_keys[] = {
    {.name = "style", .parse = gen_parse_choice, .offset = offsetof(rope_spec, style), .choices = gen_rope_choices},
    {.name = "theta", .parse = gen_parse_double, .offset = offsetof(rope_spec, theta), .min = 1e-3, .max = 1e15},
    {.name = "inv_freq", .parse = parse_inv_freq, .offset = offsetof(rope_spec, inv_freq), .min = -1e4, .max = 1e4,
     .what = "a list of head_dim / 2 numbers"},
};

static const gen_key tune_keys[] = {
    {.name = "shapes", .parse = parse_shapes, .what = "a list such as [{batch: 1, tokens: 2048, op: prefill}]"},
    {.name = "budget", .parse = gen_parse_double, .offset = offsetof(gen_spec, budget), .min = 1e-3, .max = 604800},
};

static const gen_key shape_keys[] = {
    {.name = "batch", .parse = gen_parse_int64, .offset = offsetof(gen_shape, batch), .min = 1, .max = 1 << 20},
    {.name = "tokens", .parse = gen_parse_int64, .offset = offsetof(gen_shape, tokens), .min = 1, .max = INT32_MAX},
    {.name = "op", .parse = gen_parse_choice, .offset = offsetof(gen_shape, op), .choices = gen_op_choices},
};

/* ---- Keys with rules of their own ---- */

/* The nearest legal name: the part after the last slash, other bytes as '-', without what may not come first. */
static const char *nearest_name(const char *text, char out[GEN_NAME_MAX + 1]) {
    const char *slash = strrchr(text, '/');
    size_t n = 0;
    for (const char *c = slash && slash[1] ? slash + 1 : text; *c && n < GEN_NAME_MAX; c++) {
        bool word = isalnum((unsigned char)*c) && (unsigned char)*c < 0x80;
        if (n == 0 && !word) continue;
        out[n++] = word || strchr("._-", *c) ? *c : '-';
    }
    out[n] = 0;
    return n ? out : NULL;
}

static bool parse_name(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    char nearest[GEN_NAME_MAX + 1];
    gen_spec *spec = object;
    if (value->kind != GEN_YAML_SCALAR) return gen_wrong(r, key, value, key->what, NULL);
    const char *near = nearest_name(value->text, nearest);
    if (value->text[0] && strchr(value->text, '/'))
        return gen_wrong_text(r, key, value, "%.40s is a path: a name is %s%s%s", value->text, key->what,
                              near ? "; the nearest is " : "", near ? near : "");
    if (!near || strcmp(near, value->text) != 0) return gen_wrong(r, key, value, key->what, near);
    memcpy(spec->problem.name, near, strlen(near) + 1);
    return true;
}

static bool parse_head_dim(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_spec *spec = object;
    if (value->kind == GEN_YAML_MAP) {
        r->prefix = "head_dim.";
        bool ok = gen_read_map(r, value, key->what, head_dim_keys, COUNT(head_dim_keys), object);
        r->prefix = "";
        return ok;
    }
    double number;
    if (!gen_read_number(r, key, value, true, &number)) return false;
    spec->problem.nha.head_dim_qk = spec->problem.nha.head_dim_v = (int32_t)number;
    return true;
}

static bool parse_heads(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    nha_problem *p = &((gen_spec *)object)->problem.nha;
    if (value->kind != GEN_YAML_MAP) return gen_wrong(r, key, value, key->what, NULL);
    r->prefix = "heads.";
    bool ok = gen_read_map(r, value, key->what, heads_keys, COUNT(heads_keys), object);
    if (ok && p->heads_q % p->heads_kv != 0) {
        int nearest = 1;
        for (int h = 1; h <= p->heads_q; h++)
            if (p->heads_q % h == 0 && abs(h - p->heads_kv) < abs(nearest - p->heads_kv)) nearest = h;
        ok = gen_wrong_text(r, &heads_keys[1], gen_yaml_get(value, "kv"),
                            "%d does not divide heads.query, which is %d; the nearest that does is %d", p->heads_kv,
                            p->heads_q, nearest);
    }
    r->prefix = "";
    return ok;
}

/* window and slot_lag. W has no upper limit; what is longer than any sequence means the same. */
static bool parse_tokens(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    int64_t *tokens = (int64_t *)((char *)object + key->offset);
    bool word = key->word && value->kind == GEN_YAML_SCALAR && !value->quoted;
    if (word && strcmp(value->text, key->word) == 0) {
        *tokens = -1;
        return true;
    }
    bool number = gen_is_number(value);
    double x = number ? strtod(value->text, NULL) : NAN;
    if (!isfinite(x)) return gen_wrong(r, key, value, key->what, word && !number && value->text[0] ? key->word : NULL);
    double near = x > 0 ? round(x) : 0;
    if (near != x) {
        char nearest[40];
        snprintf(nearest, sizeof nearest, "%.17g", near);
        return gen_wrong(r, key, value, key->what, nearest);
    }
    *tokens = x > (double)GEN_TOKENS_FOREVER ? GEN_TOKENS_FOREVER : (int64_t)x;
    return true;
}

static bool parse_gate(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    if (value->kind != GEN_YAML_MAP) return gen_wrong(r, key, value, key->what, NULL);
    r->prefix = "gate.";
    bool ok = gen_read_map(r, value, key->what, gate_keys, COUNT(gate_keys), object);
    r->prefix = "";
    return ok;
}

static bool parse_inv_freq(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_problem *p = &r->spec->problem;
    int pairs = p->nha.head_dim_qk / 2, i = 0;
    if (value->kind != GEN_YAML_LIST) return gen_wrong(r, key, value, key->what, NULL);
    if (value->count != pairs)
        return gen_wrong_text(r, key, value, "the list has %d numbers; head_dim %d needs %d", value->count,
                              p->nha.head_dim_qk, pairs);
    for (const gen_yaml *item = value->first; item; item = item->next)
        if (!gen_read_number(r, key, item, false, &p->inv_freq[i++])) return false;
    *(const gen_yaml **)((char *)object + key->offset) = value;
    return true;
}

static bool parse_rope(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_problem *p = &((gen_spec *)object)->problem;
    rope_spec rope = {.style = NHA_ROPE_NONE, .theta = 10000};
    if (value->kind != GEN_YAML_MAP) return gen_wrong(r, key, value, key->what, NULL);
    r->prefix = "rope.";
    bool ok = gen_read_map(r, value, key->what, rope_keys, COUNT(rope_keys), &rope);
    bool rotates = rope.style == NHA_ROPE_NEOX || rope.style == NHA_ROPE_GPTJ;
    if (ok && rope.inv_freq && !rotates)
        ok = gen_wrong_text(r, &rope_keys[2], rope.inv_freq->key, "needs style neox or gptj; the style is %s",
                            gen_choice_name(gen_rope_choices, rope.style));
    r->prefix = "";
    if (!ok) return false;
    p->nha.rope = rope.style;
    if (rotates && !rope.inv_freq)
        for (int i = 0; i < p->nha.head_dim_qk / 2; i++)
            p->inv_freq[i] = pow(rope.theta, -2.0 * i / p->nha.head_dim_qk);
    return true;
}

static bool parse_ops(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_spec *spec = object;
    int op;
    if (value->kind != GEN_YAML_LIST || !value->count) return gen_wrong(r, key, value, key->what, NULL);
    memset(spec->ops, 0, sizeof spec->ops);
    for (const gen_yaml *item = value->first; item; item = item->next) {
        if (!gen_read_choice(r, key, item, &op)) return false;
        if (spec->ops[op]) return gen_wrong_text(r, key, item, "%s stands in the list twice", item->text);
        spec->ops[op] = true;
    }
    return true;
}

static bool parse_targets(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_spec *spec = object;
    bool seen[GEN_TARGETS_MAX] = {false};
    int target;
    if (value->kind != GEN_YAML_LIST || !value->count) return gen_wrong(r, key, value, key->what, NULL);
    spec->target_count = 0;
    for (const gen_yaml *item = value->first; item; item = item->next) {
        if (!gen_read_choice(r, key, item, &target)) return false;
        if (seen[target]) return gen_wrong_text(r, key, item, "%s stands in the list twice", item->text);
        seen[target] = true;
        snprintf(spec->targets[spec->target_count++], sizeof spec->targets[0], "%s", item->text);
    }
    return true;
}

static bool parse_shape(gen_reader *r, const gen_yaml *value, gen_shape *shape) {
    static const char what[] = "a map such as {batch: 1, tokens: 2048, op: prefill}";
    *shape = (gen_shape){.op = r->spec->ops[NHA_PREFILL] ? NHA_PREFILL : NHA_DECODE, .batch = 1};
    if (!gen_read_map(r, value, what, shape_keys, COUNT(shape_keys), shape)) return false;
    const gen_yaml *tokens = gen_yaml_get(value, "tokens"), *op = gen_yaml_get(value, "op");
    if (!r->spec->ops[shape->op])
        return gen_wrong_text(r, &shape_keys[2], op ? op : value, "%s is not among the spec's ops",
                              gen_op_name(shape->op));
    if (!tokens && shape->op == NHA_PREFILL)
        return err_at(r->e, ERR_INPUT, "spec", r->path, value->line, value->column,
                      "the key tokens is missing: it is a whole number from 1 to %d", INT32_MAX);
    if (!tokens) shape->tokens = 1;
    if (shape->op == NHA_DECODE && shape->tokens != 1)
        return gen_wrong_text(r, &shape_keys[1], tokens, "a decode step has one token; the nearest is 1");
    if (shape->tokens > INT32_MAX / shape->batch)
        return gen_wrong_text(r, &shape_keys[1], tokens, "batch * tokens is above %d; the nearest is %lld", INT32_MAX,
                              (long long)(INT32_MAX / shape->batch));
    return true;
}

static bool parse_shapes(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    gen_spec *spec = object;
    if (value->kind != GEN_YAML_LIST) return gen_wrong(r, key, value, key->what, NULL);
    if (value->count > GEN_SHAPES_MAX)
        return gen_wrong_text(r, key, value, "the list has %d shapes; the nearest is %d", value->count, GEN_SHAPES_MAX);
    r->prefix = "tune.shapes.";
    for (const gen_yaml *item = value->first; item; item = item->next)
        if (!parse_shape(r, item, &spec->shapes[spec->shape_count++])) return false;
    r->prefix = "tune.";
    return true;
}

static bool parse_tune(gen_reader *r, const gen_key *key, const gen_yaml *value, void *object) {
    if (value->kind != GEN_YAML_MAP) return gen_wrong(r, key, value, key->what, NULL);
    r->prefix = "tune.";
    bool ok = gen_read_map(r, value, key->what, tune_keys, COUNT(tune_keys), object);
    r->prefix = "";
    return ok;
}

/* ---- The whole ---- */

static void set_defaults(gen_spec *spec) {
    nha_problem *p = &spec->problem.nha;
    p->slot_lag = -1;   /* the window */
    p->gate_dtype = -1; /* the dtype */
    p->gate_normalizer = 8;
    spec->ops[NHA_PREFILL] = spec->ops[NHA_DECODE] = true;
    spec->target_count = 1;
    memcpy(spec->targets[0], "cpu", sizeof "cpu");
    spec->budget = 60;
}

static bool check_state(gen_reader *r, const gen_yaml *root) {
    static const gen_key state = {.name = "state_dtype"};
    const gen_spec *spec = r->spec;
    for (int i = 0; i < spec->target_count; i++)
        if (spec->problem.nha.state_dtype != NHA_F32 && strcmp(spec->targets[i], "cpu"))
            return gen_wrong_text(r, &state, gen_yaml_get(root, "state_dtype"),
                                  "bf16 is for the CPU alone in this version, and %s is among the targets; the nearest is f32",
                                  spec->targets[i]);
    return true;
}

/* Defaults that depend on other keys, and what must hold between keys. */
static bool finish(gen_reader *r, const gen_yaml *root) {
    gen_spec *spec = r->spec;
    nha_problem *p = &spec->problem.nha;
    if (p->slots == 0 && p->window == 0) {
        static const gen_key window = {.name = "window"};
        return gen_wrong_text(r, &window, gen_yaml_get(root, "window"),
                              "slots and window are both 0, so there is nothing to attend to; the nearest is 1");
    }
    if (!check_state(r, root)) return false;
    if (p->slot_lag < 0) p->slot_lag = p->window;
    if (p->gate_dtype < 0) p->gate_dtype = p->dtype;
    if (p->scale == 0) p->scale = 1 / sqrt(p->head_dim_qk);
    if (!spec->shape_count) {
        if (spec->ops[NHA_PREFILL]) spec->shapes[spec->shape_count++] = (gen_shape){NHA_PREFILL, 1, 2048};
        if (spec->ops[NHA_DECODE]) spec->shapes[spec->shape_count++] = (gen_shape){NHA_DECODE, 64, 1};
    }
    gen_problem_derive(&spec->problem);
    return true;
}

static bool too_large(const char *path, long long size, err *e) {
    return err_at(e, ERR_INPUT, "spec", path, 1, 1, "the file has %lld bytes; a spec has at most %d", size,
                  GEN_SPEC_BYTES_MAX);
}

bool gen_spec_parse(const char *path, const char *text, size_t size, gen_spec *spec, err *e) {
    static const char what[] = "a spec, a map with at least name, head_dim, heads, slots, window and dtype";
    base_arena arena = {0};
    const gen_yaml *root;
    memset(spec, 0, sizeof *spec);
    if (size > GEN_SPEC_BYTES_MAX) return too_large(path, (long long)size, e);
    gen_reader r = {.path = path, .spec = spec, .prefix = "", .e = e};
    set_defaults(spec);
    bool ok = gen_yaml_parse(path, text, size, what, &arena, &root, e) &&
              gen_read_map(&r, root, what, spec_keys, COUNT(spec_keys), spec) && finish(&r, root);
    if (ok && !(spec->text = malloc(size + 1))) ok = err_memory(e, "spec");
    if (ok) {
        memcpy(spec->text, text, size);
        spec->text[size] = 0;
        spec->text_size = size;
        snprintf(spec->path, sizeof spec->path, "%s", path);
    }
    base_arena_free(&arena);
    return ok;
}

bool gen_spec_read(const char *path, gen_spec *spec, err *e) {
    char *text;
    size_t size;
    int64_t file_size;
    if (base_file_size(path, &file_size) && file_size > GEN_SPEC_BYTES_MAX) return too_large(path, file_size, e);
    if (!base_file_read(path, GEN_SPEC_BYTES_MAX, &text, &size, "spec", e)) return false;
    bool ok = gen_spec_parse(path, text, size, spec, e);
    free(text);
    return ok;
}

void gen_spec_destroy(gen_spec *spec) {
    free(spec->text);
    spec->text = NULL;
    spec->text_size = 0;
}
