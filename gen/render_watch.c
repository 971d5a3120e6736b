/* render_watch.c: what the live text says of itself: constants that follow from knobs, assertions, and what the
 * template language refuses. */
#include <stdlib.h>
#include <string.h>

#include "gen/render_expr.h"
#include "gen/render_internal.h"

bool gen_tokens_add(gen_tokens *tokens, const gen_token *token) {
    if (tokens->count == tokens->capacity) {
        int capacity = tokens->capacity ? 2 * tokens->capacity : 64;
        if (capacity > GEN_RENDER_TOKENS_MAX)
            return false;
        gen_token *grown = realloc(tokens->item, (size_t)capacity * sizeof *grown);
        if (!grown)
            return false;
        tokens->item = grown;
        tokens->capacity = capacity;
    }
    tokens->item[tokens->count++] = *token;
    return true;
}

/* ---- Refusals ---- */

static const struct refused_name {
    const char *name;
    bool prefix;
    const char *why;
} refused_names[] = {
    {"__CUDA_ARCH", true, "the rendered file must be the same for every compiler: use a knob"},
    {"__has_", true, "only knobs decide what a rendered file holds"},
    {"std", false, "std names need headers; templates have none"},
    {"defined", false, "every knob is defined; compare its value"},
    {"_Pragma", false, "write #pragma"},
    {"__LINE__", false, "it differs between the template and the rendered file"},
    {"__FILE__", false, "it differs between the template and the rendered file"},
    {"__COUNTER__", false, "it differs between the template and the rendered file"},
    {"__DATE__", false, "the same inputs must give the same bytes"},
    {"__TIME__", false, "the same inputs must give the same bytes"},
};

static bool refuse(gen_renderer *r, const char *file, const gen_token *token, const char *why) {
    return err_at(r->e, ERR_INPUT, "render", file, token->line, token->column, "%.*s: %s",
                  (int)(token->size < 64 ? token->size : 64), token->text, why);
}

/* Comments and strings are copied as they are: nothing in them may look like a directive. */
static bool check_text(gen_renderer *r, const char *file, const gen_token *token) {
    static const char include[] = "#include";
    if (memmem(token->text, token->size, include, sizeof include - 1))
        return err_at(r->e, ERR_INPUT, "render", file, token->line, token->column,
                      "the text %s may stand nowhere in a rendered file, in comments and strings neither", include);
    const char *at = token->text, *end = at + token->size;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if (end - at >= 3 && memcmp(at, "#if", 3) == 0)
            return err_at(r->e, ERR_INPUT, "render", file, token->line, token->column,
                          "no line of a rendered file may begin with #if, in a comment neither");
    }
    return true;
}

bool gen_render_check_token(gen_renderer *r, const char *file, const gen_token *token) {
    if (token->kind == GEN_TOKEN_COMMENT || token->kind == GEN_TOKEN_STRING)
        return check_text(r, file, token);
    if (token->kind == GEN_TOKEN_MARK && token->text[0] == '#')
        return refuse(r, file, token, "# stands only at the beginning of a directive; ## not at all");
    if (token->kind != GEN_TOKEN_NAME)
        return true;
    for (size_t i = 0; i < sizeof refused_names / sizeof *refused_names; i++) {
        const struct refused_name *row = &refused_names[i];
        size_t size = strlen(row->name);
        if (token->size >= size && memcmp(token->text, row->name, size) == 0 && (row->prefix || token->size == size))
            return refuse(r, file, token, row->why);
    }
    return true;
}

/* ---- Definitions ---- */

static bool constant_value(const void *context, const gen_token *name, int64_t *value, const char **why) {
    const gen_constant *c = gen_render_find(context, name->text, name->size);
    *why = "not known";
    if (!c || !c->known)
        return false;
    *value = c->value;
    return true;
}

static const struct scalar_type {
    const char *name;
    int64_t least, most;
} scalar_types[] = {
    {"int", INT32_MIN, INT32_MAX},  {"unsigned", 0, UINT32_MAX},     {"unsigned int", 0, UINT32_MAX},
    {"i32", INT32_MIN, INT32_MAX},  {"u32", 0, UINT32_MAX},          {"long long", INT64_MIN, INT64_MAX},
    {"i64", INT64_MIN, INT64_MAX},  {"u64", 0, INT64_MAX},           {"unsigned long long", 0, INT64_MAX},
    {"bool", 0, 1},
};

static const struct scalar_type *find_type(const gen_token *tokens, int count) {
    char name[64] = "";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(name);
        if (tokens[i].kind != GEN_TOKEN_NAME || used + tokens[i].size + 2 > sizeof name)
            return NULL;
        if (gen_token_is(&tokens[i], "const") || gen_token_is(&tokens[i], "static") ||
            gen_token_is(&tokens[i], "inline"))
            continue;
        snprintf(name + used, sizeof name - used, "%s%.*s", used ? " " : "", (int)tokens[i].size, tokens[i].text);
    }
    for (size_t i = 0; i < sizeof scalar_types / sizeof *scalar_types; i++)
        if (strcmp(scalar_types[i].name, name) == 0)
            return &scalar_types[i];
    return NULL;
}

static bool any_constant(const gen_renderer *r, const gen_token *tokens, int count, const gen_token **which) {
    for (int i = 0; i < count; i++) {
        if (tokens[i].kind != GEN_TOKEN_NAME || !gen_render_find(r, tokens[i].text, tokens[i].size))
            continue;
        *which = &tokens[i];
        return true;
    }
    return false;
}

/* seen: TYPE NAME = EXPRESSION (without the closing mark); file scope if it began there. */
static bool define(gen_renderer *r) {
    const gen_watch *w = &r->watch;
    const gen_token *tokens = w->seen.item, *which;
    int assign = 0, count = w->seen.count;
    while (assign < count && !gen_token_is(&tokens[assign], "="))
        assign++;
    if (assign == count || assign < 2)
        return true;
    int name = assign - 1; /* an array's name stands before its brackets */
    while (name > 0 && tokens[name].kind != GEN_TOKEN_NAME)
        name--;
    bool from_knobs = any_constant(r, tokens + assign + 1, count - assign - 1, &which);
    const struct scalar_type *type = w->start == 0 && name == assign - 1 ? find_type(tokens, name) : NULL;
    gen_expr_failure failure;
    int64_t value = 0;
    bool known = type && gen_expr(tokens + assign + 1, count - assign - 1, constant_value, r, &value, &failure);
    if (known && (value < type->least || value > type->most))
        return err_at(r->e, ERR_INPUT, "render", w->file, tokens[name].line, tokens[name].column,
                      "%.*s = %lld does not fit its type", (int)tokens[name].size, tokens[name].text, (long long)value);
    if (!known && !from_knobs)
        return true;
    gen_constant *c = gen_render_find(r, tokens[name].text, tokens[name].size);
    if (!c)
        c = gen_render_add(r, w->file, &tokens[name]);
    else if (c->origin != GEN_ORIGIN_DERIVED || w->start > 0)
        return true; /* shadowed: the compiler's business; the name stays suspect */
    if (!c)
        return false;
    c->origin = GEN_ORIGIN_DERIVED;
    c->kind = known ? GEN_VALUE_INTEGER : GEN_VALUE_FLOAT;
    c->type = type ? type->name : "";
    c->known = known;
    c->value = value;
    return true;
}

/* seen: ( CONDITION , "reason" ) */
static bool assertion(gen_renderer *r) {
    const gen_watch *w = &r->watch;
    const gen_token *tokens = w->seen.item;
    int count = w->seen.count, text = 0;
    while (text < count && tokens[text].kind != GEN_TOKEN_STRING)
        text++;
    int end = text < count ? text - 1 : count - 1; /* at the comma, or at the closing bracket */
    gen_expr_failure failure;
    int64_t value;
    if (r->out->refusal || end < 1 || !gen_expr(tokens + 1, end - 1, constant_value, r, &value, &failure) || value)
        return true;
    base_buf b = {0};
    for (; text < count && tokens[text].kind == GEN_TOKEN_STRING; text++)
        base_buf_add(&b, tokens[text].text + 1, tokens[text].size - 2);
    if (!b.size)
        base_buf_printf(&b, "%s:%d: a static_assert fails", w->file, tokens[0].line);
    r->out->refusal =
        base_buf_ok(&b, "render", r->e) ? base_arena_copy(&r->out->arena, base_buf_string(&b), b.size) : NULL;
    base_buf_free(&b);
    return r->out->refusal || err_memory(r->e, "render");
}

static bool condition(gen_renderer *r) {
    const gen_token *which;
    if (!any_constant(r, r->watch.seen.item, r->watch.seen.count, &which))
        return true;
    return err_at(r->e, ERR_INPUT, "render", r->watch.file, which->line, which->column,
                  "%.*s: `if constexpr` on what a knob decides leaves a dead branch in the rendered file; use #if",
                  (int)which->size, which->text);
}

static void begin(gen_watch *w, const char *file, gen_watching what) {
    w->what = what;
    w->start = w->depth;
    w->assigned = false;
    w->file = file;
    w->seen.count = 0;
}

/* Adds a token to what is being watched, and looks at the whole once it is complete. */
static bool follow(gen_renderer *r, const gen_token *token, int before) {
    gen_watch *w = &r->watch;
    bool opens = w->depth > before, closes = w->depth < before;
    gen_watching what = w->what;
    w->assigned |= w->depth == w->start && gen_token_is(token, "=");
    if (what == GEN_WATCH_CONSTEXPR && !w->assigned && (gen_token_is(token, "(") || gen_token_is(token, "{"))) {
        w->what = GEN_WATCH_NONE; /* a function */
        return true;
    }
    bool end = what == GEN_WATCH_IF ? closes && w->depth == w->start
                                    : w->depth <= w->start && !opens && gen_token_is(token, ";");
    if (!end || what == GEN_WATCH_IF) {
        if (!gen_tokens_add(&w->seen, token))
            return refuse(r, w->file, token, "this definition is too long");
        if (!end)
            return true;
    }
    w->what = GEN_WATCH_NONE;
    return what == GEN_WATCH_CONSTEXPR ? define(r) : what == GEN_WATCH_ASSERT ? assertion(r) : condition(r);
}

bool gen_render_watch(gen_renderer *r, const char *file, const gen_token *token) {
    gen_watch *w = &r->watch;
    int before = w->depth;
    bool after_if = w->after_if;
    w->after_if = token->kind == GEN_TOKEN_NAME && gen_token_is(token, "if");
    if (token->kind == GEN_TOKEN_MARK && token->size == 1) {
        w->depth += strchr("([{", *token->text) != NULL;
        w->depth -= strchr(")]}", *token->text) != NULL;
    }
    if (w->what != GEN_WATCH_NONE)
        return follow(r, token, before);
    if (token->kind != GEN_TOKEN_NAME)
        return true;
    if (gen_token_is(token, "constexpr"))
        begin(w, file, after_if ? GEN_WATCH_IF : GEN_WATCH_CONSTEXPR);
    else if (gen_token_is(token, "static_assert") && w->depth == 0)
        begin(w, file, GEN_WATCH_ASSERT);
    return true;
}
