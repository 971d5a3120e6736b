/* render_knobs.c: knobs and constants: reading their defaults, fitting the values given, conditions over them. */
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "gen/render_expr.h"
#include "gen/render_internal.h"

enum { LIST_COLUMNS = 4, VALUE_TOKENS_MAX = 4096 };

static const struct integer_type {
    const char *suffix, *type;
    int64_t least, most;
} integer_types[] = {
    {"", "int", INT32_MIN, INT32_MAX},
    {"u", "unsigned", 0, UINT32_MAX},
    {"ll", "long long", INT64_MIN, INT64_MAX},
    {"ull", "unsigned long long", INT64_MIN, INT64_MAX}, /* any bits */
};

/* A value as it is read from a default or from what was given. */
typedef struct literal {
    gen_value_kind kind;
    const struct integer_type *type; /* integer */
    bool negative, single;           /* single precision */
    int64_t value;
} literal;

gen_constant *gen_render_find(const gen_renderer *r, const char *name, size_t size) {
    for (int i = 0; i < r->out->constant_count; i++) {
        gen_constant *c = &r->out->constants[i];
        if (strncmp(c->name, name, size) == 0 && !c->name[size])
            return c;
    }
    return NULL;
}

gen_constant *gen_render_add(gen_renderer *r, const char *file, const gen_token *name) {
    gen_rendered *out = r->out;
    if (out->constant_count == GEN_RENDER_NAMES_MAX) {
        err_at(r->e, ERR_INPUT, "render", file, name->line, name->column, "more than %d names", GEN_RENDER_NAMES_MAX);
        return NULL;
    }
    if (out->constant_count == r->constant_capacity) {
        int capacity = r->constant_capacity ? 2 * r->constant_capacity : 64;
        gen_constant *grown = base_arena_alloc(&out->arena, (size_t)capacity * sizeof *grown);
        if (!grown) {
            err_memory(r->e, "render");
            return NULL;
        }
        if (out->constant_count)
            memcpy(grown, out->constants, (size_t)out->constant_count * sizeof *grown);
        out->constants = grown;
        r->constant_capacity = capacity;
    }
    char *copy = base_arena_copy(&out->arena, name->text, name->size);
    if (!copy) {
        err_memory(r->e, "render");
        return NULL;
    }
    gen_constant *c = &out->constants[out->constant_count++];
    *c = (gen_constant){.name = copy, .text = "", .standard = "", .comment = "", .type = "", .file = file};
    return c;
}

/* ---- Literals ---- */

static bool read_float(const gen_token *token, bool *single) {
    char copy[64], *end;
    if (token->size >= sizeof copy)
        return false;
    memcpy(copy, token->text, token->size);
    copy[token->size] = 0;
    bool hex = (copy[1] | 32) == 'x';
    if (!strpbrk(copy, hex ? "pP" : ".eE"))
        return false;
    strtod(copy, &end); /* the program runs in the C locale */
    *single = strcmp(end, "f") == 0;
    return *single || !*end;
}

/* Significant tokens of a value to its kind; false: none. Whether an integer fits its type is not looked at. */
static bool read_literal(const gen_token *tokens, int count, literal *out) {
    *out = (literal){0};
    bool comma = false, plain = true;
    for (int i = 0; i < count; i++) {
        bool is_comma = gen_token_is(&tokens[i], ",");
        comma |= is_comma;
        plain &= is_comma || tokens[i].kind == GEN_TOKEN_NUMBER || gen_token_is(&tokens[i], "-");
    }
    if (comma) {
        out->kind = GEN_VALUE_LIST;
        return plain;
    }
    if (count == 1 && tokens[0].kind == GEN_TOKEN_NAME) {
        out->kind = GEN_VALUE_WORD;
        return true;
    }
    if (count == 2 && gen_token_is(&tokens[0], "-")) {
        out->negative = true;
        tokens++;
        count--;
    }
    if (count != 1 || tokens[0].kind != GEN_TOKEN_NUMBER)
        return false;
    const char *suffix;
    bool above;
    if (gen_integer_literal(tokens[0].text, tokens[0].size, &out->value, &suffix, &above)) {
        for (size_t i = 0; i < sizeof integer_types / sizeof *integer_types; i++)
            if (strcmp(integer_types[i].suffix, suffix) == 0)
                out->type = &integer_types[i];
        out->kind = GEN_VALUE_INTEGER;
        if (out->negative && (suffix[0] == 'u' || out->value == INT64_MIN))
            return false;
        out->value = out->negative ? -out->value : out->value;
        return true;
    }
    out->kind = GEN_VALUE_FLOAT;
    return read_float(&tokens[0], &out->single);
}

static bool lex_value(const char *text, gen_token *tokens, int *count) {
    gen_lexer lexer;
    gen_token token;
    err ignored = {0};
    *count = 0;
    gen_lexer_init(&lexer, "", text, strlen(text));
    while (gen_lexer_next(&lexer, &token, &ignored)) {
        if (token.kind == GEN_TOKEN_SPACE)
            continue;
        if (token.kind <= GEN_TOKEN_COMMENT || *count == VALUE_TOKENS_MAX)
            return false;
        tokens[(*count)++] = token;
    }
    bool ok = ignored.code == ERR_NONE && *count > 0;
    err_clear(&ignored);
    return ok;
}

/* ---- Values as text ---- */

static const char *join(gen_renderer *r, const gen_token *tokens, int count) {
    base_buf b = {0};
    for (int i = 0; i < count; i++) {
        base_buf_add(&b, tokens[i].text, tokens[i].size);
        if (gen_token_is(&tokens[i], ",") && i + 1 < count)
            base_buf_char(&b, ' ');
    }
    const char *copy =
        base_buf_ok(&b, "render", r->e) ? base_arena_copy(&r->out->arena, base_buf_string(&b), b.size) : NULL;
    base_buf_free(&b);
    if (!copy)
        err_memory(r->e, "render");
    return copy;
}

/* {1, 2, 3}: as it is up to LIST_COLUMNS entries, else in rows of so many. */
static const char *wrap_list(gen_renderer *r, const gen_token *tokens, int count) {
    int entries = 1;
    for (int i = 0; i < count - 1; i++)
        entries += gen_token_is(&tokens[i], ",");
    if (gen_token_is(&tokens[count - 1], ","))
        count--; /* a closing comma */
    if (entries <= LIST_COLUMNS)
        return join(r, tokens, count);
    base_buf b = {0};
    base_buf_text(&b, "\n    ");
    for (int i = 0, entry = 0; i < count; i++) {
        base_buf_add(&b, tokens[i].text, tokens[i].size);
        if (gen_token_is(&tokens[i], ","))
            base_buf_text(&b, ++entry % LIST_COLUMNS == 0 ? "\n    " : " ");
    }
    base_buf_text(&b, "\n");
    const char *copy =
        base_buf_ok(&b, "render", r->e) ? base_arena_copy(&r->out->arena, base_buf_string(&b), b.size) : NULL;
    base_buf_free(&b);
    if (!copy)
        err_memory(r->e, "render");
    return copy;
}

static const char *value_text(gen_renderer *r, const literal *standard, const literal *l, const gen_token *tokens,
                              int count) {
    char text[96];
    if (standard->kind == GEN_VALUE_LIST)
        return wrap_list(r, tokens, count);
    if (standard->kind == GEN_VALUE_INTEGER) {
        const char *suffix = standard->type->suffix;
        snprintf(text, sizeof text, suffix[0] == 'u' ? "%llu%s" : "%lld%s", (unsigned long long)l->value, suffix);
    } else {
        snprintf(text, sizeof text, "%s%.*s%s", l->negative ? "-" : "", (int)tokens[count - 1].size,
                 tokens[count - 1].text,
                 standard->kind == GEN_VALUE_FLOAT && standard->single && !l->single ? "f" : "");
        if (standard->kind == GEN_VALUE_WORD)
            return base_arena_copy(&r->out->arena, tokens[0].text, tokens[0].size);
    }
    return base_arena_copy(&r->out->arena, text, strlen(text));
}

/* ---- Knobs ---- */

static const gen_given *find_given(const gen_renderer *r, const char *name) {
    for (int i = 0; i < r->given_count; i++)
        if (strcmp(r->given[i].name, name) == 0)
            return &r->given[i];
    return NULL;
}

static bool in_range(const struct integer_type *type, int64_t value) {
    return value >= type->least && value <= type->most;
}

static bool fits(const literal *standard, const literal *given) {
    if (standard->kind == GEN_VALUE_LIST)
        return given->kind != GEN_VALUE_WORD;
    if (given->kind != standard->kind)
        return false;
    if (standard->kind == GEN_VALUE_INTEGER)
        return (given->type == standard->type ||
                (!given->type->suffix[0] && !(given->negative && standard->type->suffix[0] == 'u'))) &&
               in_range(standard->type, given->value);
    return standard->kind == GEN_VALUE_WORD || standard->single || !given->single;
}

static const char *kind_words(const literal *standard) {
    switch (standard->kind) {
    case GEN_VALUE_INTEGER: return standard->type->type;
    case GEN_VALUE_FLOAT: return standard->single ? "float literal such as 0.5f" : "double literal such as 0.5";
    case GEN_VALUE_WORD: return "identifier";
    default: return "list of literals";
    }
}

static void define(gen_renderer *r, gen_constant *c) {
    if (!c->type[0])
        return; /* words and lists stand where they are used */
    c->at = r->text.size;
    base_buf_printf(&r->text, "constexpr %s %s = %s;", c->type, c->name, c->text);
    if (c->comment[0])
        base_buf_printf(&r->text, " // %s", c->comment);
    base_buf_char(&r->text, '\n');
    c->bytes = r->text.size - c->at;
    r->blank = false;
}

static bool set_value(gen_renderer *r, gen_constant *c, const literal *standard, const gen_token *tokens, int count) {
    literal l = *standard;
    gen_token given_tokens[VALUE_TOKENS_MAX];
    const gen_given *given = c->origin == GEN_ORIGIN_KNOB ? find_given(r, c->name) : NULL;
    if (given) {
        if (!lex_value(given->text, given_tokens, &count) || !read_literal(given_tokens, count, &l) ||
            !fits(standard, &l))
            return err_at(r->e, ERR_INPUT, "render", c->file, 0, 0,
                          "%s = %.200s does not fit the knob, which is one %s", c->name, given->text,
                          kind_words(standard));
        tokens = given_tokens;
    }
    c->text = value_text(r, standard, &l, tokens, count);
    c->known = standard->kind == GEN_VALUE_INTEGER;
    c->value = l.value;
    return c->text || err_memory(r->e, "render");
}

bool gen_render_knob(gen_renderer *r, const char *file, const gen_token *name, const gen_token *value, int value_count,
                     const gen_token *comment, bool fixed) {
    literal standard;
    gen_constant *c = gen_render_find(r, name->text, name->size);
    if (value_count == 0 || !read_literal(value, value_count, &standard) ||
        (fixed && standard.kind != GEN_VALUE_INTEGER) ||
        (standard.kind == GEN_VALUE_INTEGER && !in_range(standard.type, standard.value)))
        return err_at(
            r->e, ERR_INPUT, "render", file, name->line, name->column,
            fixed
                ? "a #define outside an #ifndef block is one integer literal; write constexpr for all else"
                : "a knob's default is one literal, one identifier, or literals with commas; its type follows from it");
    const char *text = join(r, value, value_count);
    if (!text)
        return false;
    if (c) {
        if (!fixed && c->origin == GEN_ORIGIN_KNOB && strcmp(c->standard, text) == 0)
            return true; /* declared by another file too */
        return err_at(r->e, ERR_INPUT, "render", file, name->line, name->column, "%s is declared already, in %s, as %s",
                      c->name, c->file, c->standard[0] ? c->standard : "something else");
    }
    c = gen_render_add(r, file, name);
    if (!c)
        return false;
    c->origin = fixed ? GEN_ORIGIN_FIXED : GEN_ORIGIN_KNOB;
    c->kind = standard.kind;
    c->standard = text;
    c->type = standard.kind == GEN_VALUE_INTEGER ? standard.type->type
              : standard.kind == GEN_VALUE_FLOAT ? (standard.single ? "float" : "double")
                                                 : "";
    if (comment) {
        size_t skip = 2;
        while (skip < comment->size && comment->text[skip] == ' ')
            skip++;
        c->comment = base_arena_copy(&r->out->arena, comment->text + skip, comment->size - skip);
        if (!c->comment)
            return err_memory(r->e, "render");
    }
    if (!set_value(r, c, &standard, value, value_count))
        return false;
    define(r, c);
    return true;
}

bool gen_render_check_given(gen_renderer *r, const char *file) {
    for (int i = 0; i < r->given_count; i++) {
        const gen_given *given = &r->given[i];
        const gen_constant *c = gen_render_find(r, given->name, strlen(given->name));
        if (given->optional || (c && c->origin == GEN_ORIGIN_KNOB))
            continue;
        const char *names[GEN_RENDER_NAMES_MAX];
        size_t count = 0;
        for (int k = 0; k < r->out->constant_count; k++)
            if (r->out->constants[k].origin == GEN_ORIGIN_KNOB)
                names[count++] = r->out->constants[k].name;
        const char *nearest = base_nearest(given->name, names, count);
        return err_at(r->e, ERR_INPUT, "render", file, 0, 0, "no knob %.64s%s%s", given->name,
                      nearest ? "; nearest: " : "", nearest ? nearest : "");
    }
    return true;
}

/* ---- Conditions ---- */

static bool knob_value(const void *context, const gen_token *name, int64_t *value, const char **why) {
    const gen_constant *c = gen_render_find(context, name->text, name->size);
    *why = !c || (c->origin == GEN_ORIGIN_DERIVED && !c->known) ? "unknown knob; declare it before, in an #ifndef block"
           : c->origin == GEN_ORIGIN_DERIVED ? "a constexpr: #if sees knobs and fixed constants alone"
           : !c->known                       ? "not an integer knob"
                                             : NULL;
    if (*why)
        return false;
    *value = c->value;
    return true;
}

bool gen_render_condition(gen_renderer *r, const char *file, const gen_token *tokens, int count,
                          const gen_token *directive, bool *holds) {
    gen_expr_failure failure = {0};
    int64_t value = 0;
    if (!gen_expr(tokens, count, knob_value, r, &value, &failure)) {
        const gen_token *at = failure.token ? failure.token : directive;
        return err_at(r->e, ERR_INPUT, "render", file, at->line, at->column, "%s%.*s%s%s", failure.token ? "\"" : "",
                      failure.token ? (int)(at->size < 64 ? at->size : 64) : 0, at->text, failure.token ? "\": " : "",
                      failure.why);
    }
    *holds = value != 0;
    return true;
}
