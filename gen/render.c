/* render.c: see render.h. One pass over the lines of the template and its parts: directives are obeyed, all other lines
 * are copied token by token. */
#include "gen/render.h"

#include <stdlib.h>
#include <string.h>

#include "gen/render_internal.h"

/* One conditional of a file. */
typedef struct branch {
    bool outer;  /* the text around it is live */
    bool live;   /* the branch at hand is */
    bool taken;  /* one of its branches was */
    bool closed; /* #else was seen */
    gen_token opening;
} branch;

/* A file on its way through. */
typedef struct source {
    const gen_embedded *file;
    gen_lexer lexer;
    gen_tokens line; /* one line without its end */
    branch branches[GEN_RENDER_DEPTH_MAX];
    int depth;
    bool part;
} source;

static bool render_file(gen_renderer *r, const gen_embedded *file, bool part);

static bool fail(gen_renderer *r, const source *s, const gen_token *at, const char *text) {
    return err_at(r->e, ERR_INPUT, "render", s->file->name, at->line, at->column, "%s", text);
}

static bool live(const source *s) {
    return s->depth == 0 || s->branches[s->depth - 1].live;
}

/* ---- Lines ---- */

/* Reads up to the next end of line outside a comment. false: the end of the file, or an error (in r->e). */
static bool next_line(gen_renderer *r, source *s, bool *more) {
    gen_token token;
    *more = false;
    s->line.count = 0;
    while (gen_lexer_next(&s->lexer, &token, r->e)) {
        *more = true;
        if (token.kind == GEN_TOKEN_NEWLINE)
            return true;
        if (!gen_tokens_add(&s->line, &token))
            return fail(r, s, &token, "this line is too long");
    }
    return !r->e->code;
}

/* The i-th significant token of the line from index `from` on; NULL if there is none. */
static const gen_token *significant(const source *s, int from) {
    for (int i = from; i < s->line.count; i++)
        if (gen_token_significant(&s->line.item[i]))
            return &s->line.item[i];
    return NULL;
}

/* One blank line, unless there is one or nothing is before it. */
static void separate(gen_renderer *r) {
    if (!r->blank)
        base_buf_char(&r->text, '\n');
    r->blank = true;
}

static bool emit_line(gen_renderer *r, source *s) {
    bool blank = true;
    for (int i = 0; i < s->line.count; i++)
        blank &= s->line.item[i].kind == GEN_TOKEN_SPACE;
    if (blank) {
        separate(r);
        return true;
    }
    for (int i = 0; i < s->line.count; i++) {
        const gen_token *token = &s->line.item[i];
        if (token->kind == GEN_TOKEN_SPACE && i == s->line.count - 1)
            break; /* blanks at the end of a line */
        gen_constant *c = token->kind == GEN_TOKEN_NAME ? gen_render_find(r, token->text, token->size) : NULL;
        if (c)
            c->used = true;
        if (c && (c->kind == GEN_VALUE_WORD || c->kind == GEN_VALUE_LIST))
            base_buf_text(&r->text, c->text);
        else
            base_buf_add(&r->text, token->text, token->size);
        if (gen_token_significant(token) && !gen_render_watch(r, s->file->name, token))
            return false;
    }
    base_buf_char(&r->text, '\n');
    r->blank = false;
    if (r->text.size > GEN_RENDER_BYTES_MAX)
        return fail(r, s, &s->line.item[0], "the rendered file becomes too large");
    return true;
}

static bool plain_line(gen_renderer *r, source *s) {
    for (int i = 0; i < s->line.count; i++)
        if (!gen_render_check_token(r, s->file->name, &s->line.item[i]))
            return false;
    return !live(s) || emit_line(r, s);
}

/* ---- Directives ---- */

/* A line `# word rest`: index of what follows the word. */
typedef struct directive {
    const gen_token *hash, *word; /* word NULL: a lone # */
    int rest;
} directive;

static bool read_directive(const source *s, directive *d) {
    d->hash = significant(s, 0);
    if (!d->hash || d->hash->kind != GEN_TOKEN_MARK || !gen_token_is(d->hash, "#"))
        return false;
    d->word = significant(s, (int)(d->hash - s->line.item) + 1);
    d->rest = d->word ? (int)(d->word - s->line.item) + 1 : s->line.count;
    return true;
}

static bool check_rest(gen_renderer *r, const source *s, const directive *d) {
    for (int i = d->rest; i < s->line.count; i++)
        if (!gen_render_check_token(r, s->file->name, &s->line.item[i]))
            return false;
    return true;
}

static bool nothing_left(gen_renderer *r, const source *s, int from) {
    const gen_token *token = significant(s, from);
    return !token || fail(r, s, token, "nothing but a comment may follow here");
}

/* #define NAME VALUE // comment */
static bool define(gen_renderer *r, source *s, const directive *d, const gen_token *expected) {
    gen_tokens value = {0};
    const gen_token *name = significant(s, d->rest), *comment = NULL;
    bool ok = false;
    if (!name || name->kind != GEN_TOKEN_NAME)
        return fail(r, s, d->word, "#define needs a name");
    if (expected && (name->size != expected->size || memcmp(name->text, expected->text, name->size) != 0))
        return fail(r, s, name, "an #ifndef block defines the name it asks for");
    const gen_token *next = name + 1;
    if (next < s->line.item + s->line.count && gen_token_is(next, "("))
        return fail(r, s, name, "function-like macros are not part of the template language; write a function");
    if (!check_rest(r, s, d))
        return false;
    for (; next < s->line.item + s->line.count; next++) {
        if (next->kind == GEN_TOKEN_COMMENT) {
            comment = next;
            if (next->text[1] == '*') {
                fail(r, s, next, "what a knob means stands behind //");
                goto done;
            }
        } else if (gen_token_significant(next) && !gen_tokens_add(&value, next)) {
            fail(r, s, next, "this value is too long");
            goto done;
        }
    }
    ok = gen_render_knob(r, s->file->name, name, value.item, value.count, comment, !expected);
done:
    free(value.item);
    return ok;
}

/* #ifndef NAME, #define NAME VALUE, #endif: three lines, at file scope. */
static bool knob_block(gen_renderer *r, source *s, const directive *opening) {
    const gen_token *found = significant(s, opening->rest);
    static const char form[] =
        "#ifndef begins a knob: #ifndef NAME, #define NAME DEFAULT // meaning, #endif on three lines";
    directive d;
    bool more;
    if (!found || found->kind != GEN_TOKEN_NAME)
        return fail(r, s, opening->word, form);
    const gen_token name = *found, word = *opening->word; /* the line they stand in goes */
    if (!nothing_left(r, s, (int)(found - s->line.item) + 1))
        return false;
    if (s->depth > 0 || r->watch.depth > 0)
        return fail(r, s, &word, "knobs are declared at file scope, outside of conditions");
    if (!next_line(r, s, &more))
        return false;
    if (!more || !read_directive(s, &d) || !d.word || !gen_token_is(d.word, "define"))
        return fail(r, s, &word, form);
    if (!define(r, s, &d, &name) || !next_line(r, s, &more))
        return false;
    if (!more || !read_directive(s, &d) || !d.word || !gen_token_is(d.word, "endif"))
        return fail(r, s, &word, form);
    return nothing_left(r, s, d.rest);
}

static bool open_branch(gen_renderer *r, source *s, const directive *d) {
    bool holds;
    if (s->depth == GEN_RENDER_DEPTH_MAX)
        return fail(r, s, d->word, "conditions are nested too deeply");
    if (!gen_render_condition(r, s->file->name, s->line.item + d->rest, s->line.count - d->rest, d->word, &holds))
        return false;
    bool outer = live(s);
    s->branches[s->depth++] = (branch){.outer = outer, .live = outer && holds, .taken = holds, .opening = *d->word};
    return true;
}

static bool next_branch(gen_renderer *r, source *s, const directive *d) {
    bool holds = true;
    if (s->depth == 0)
        return fail(r, s, d->word, "there is no #if before it");
    branch *b = &s->branches[s->depth - 1];
    if (gen_token_is(d->word, "endif")) {
        s->depth--;
        return nothing_left(r, s, d->rest);
    }
    if (b->closed)
        return fail(r, s, d->word, "#else was the last branch");
    if (gen_token_is(d->word, "else")) {
        b->closed = true;
        if (!nothing_left(r, s, d->rest))
            return false;
    } else if (!gen_render_condition(r, s->file->name, s->line.item + d->rest, s->line.count - d->rest, d->word,
                                     &holds)) {
        return false;
    }
    b->live = b->outer && holds && !b->taken;
    b->taken |= holds;
    return true;
}

static bool include(gen_renderer *r, source *s, const directive *d) {
    const gen_token *name = significant(s, d->rest);
    if (!name || name->kind != GEN_TOKEN_STRING)
        return fail(r, s, d->word, "only parts can be included, files of templates/: \"part.cuh\"");
    if (!nothing_left(r, s, (int)(name - s->line.item) + 1))
        return false;
    const gen_embedded *file = r->files;
    while (file->name &&
           (strlen(file->name) != name->size - 2 || memcmp(file->name, name->text + 1, name->size - 2) != 0))
        file++;
    if (!file->name)
        return fail(r, s, name, "there is no such part in templates/");
    if (r->watch.depth > 0)
        return fail(r, s, name, "parts are included at file scope");
    if (!live(s))
        return true;
    for (int i = 0; i < r->part_count; i++)
        if (r->parts[i] == file)
            return true;
    if (r->depth == GEN_RENDER_DEPTH_MAX || r->part_count == GEN_RENDER_PARTS_MAX)
        return fail(r, s, name, "too many parts");
    separate(r);
    bool ok = render_file(r, file, true);
    separate(r);
    return ok;
}

/* #pragma once goes; #pragma unroll stays, and counts as text. */
static bool pragma(gen_renderer *r, source *s, const directive *d) {
    const gen_token *what = significant(s, d->rest);
    if (what && gen_token_is(what, "once"))
        return s->part ? nothing_left(r, s, (int)(what - s->line.item) + 1)
                       : fail(r, s, what, "#pragma once belongs into parts");
    if (!what || (!gen_token_is(what, "unroll") && !gen_token_is(what, "nounroll")))
        return fail(r, s, d->word, "only #pragma once, unroll and nounroll are part of the template language");
    if (!check_rest(r, s, d))
        return false;
    return !live(s) || emit_line(r, s);
}

static bool live_error(gen_renderer *r, source *s, const directive *d) {
    const gen_token *text = significant(s, d->rest);
    if (!text || text->kind != GEN_TOKEN_STRING)
        return fail(r, s, d->word, "#error needs one string");
    if (!live(s) || r->out->refusal)
        return true;
    r->out->refusal = base_arena_copy(&r->out->arena, text->text + 1, text->size - 2);
    return r->out->refusal || err_memory(r->e, "render");
}

static bool fixed(gen_renderer *r, source *s, const directive *d) {
    if (r->watch.depth > 0 || s->depth > 0)
        return fail(r, s, d->word, "fixed constants are defined at file scope, outside of conditions");
    return define(r, s, d, NULL);
}

static const struct row {
    const char *word;
    bool (*obey)(gen_renderer *r, source *s, const directive *d);
} directives[] = {
    {"if", open_branch}, {"elif", next_branch}, {"else", next_branch}, {"endif", next_branch},  {"ifndef", knob_block},
    {"define", fixed},   {"include", include},  {"pragma", pragma},    {"error", live_error},
};

static bool obey(gen_renderer *r, source *s, const directive *d) {
    if (!d->word)
        return fail(r, s, d->hash, "a directive without a name");
    for (size_t i = 0; i < sizeof directives / sizeof *directives; i++)
        if (gen_token_is(d->word, directives[i].word))
            return directives[i].obey(r, s, d);
    return err_at(
        r->e, ERR_INPUT, "render", s->file->name, d->word->line, d->word->column,
        "#%.*s is not part of the template language: #if, #elif, #else, #endif, #ifndef (a knob), #define, #include, "
        "#pragma, #error",
        (int)(d->word->size < 32 ? d->word->size : 32), d->word->text);
}

/* ---- Files ---- */

static bool render_file(gen_renderer *r, const gen_embedded *file, bool part) {
    source s = {.file = file, .part = part};
    bool ok = false, more;
    if (file->size > GEN_RENDER_BYTES_MAX)
        return err_at(r->e, ERR_INPUT, "render", file->name, 0, 0, "the file is too large");
    r->parts[r->part_count++] = file;
    r->depth++;
    base_sha256_add_text(&r->hash, file->name);
    base_sha256_add(&r->hash, file->text, file->size);
    base_sha256_add_text(&r->hash, ""); /* closes the text, so that neighbours cannot be shifted */
    gen_lexer_init(&s.lexer, file->name, file->text, file->size);
    for (;;) {
        directive d;
        if (!next_line(r, &s, &more))
            goto done;
        if (!more)
            break;
        if (!(read_directive(&s, &d) ? obey(r, &s, &d) : plain_line(r, &s)))
            goto done;
    }
    if (s.depth > 0)
        fail(r, &s, &s.branches[s.depth - 1].opening, "this #if has no #endif");
    else
        ok = true;
done:
    free(s.line.item);
    r->depth--;
    return ok;
}

/* Takes out the definitions of fixed constants that nothing names, and a blank line where two are left. */
static void drop_unused(gen_renderer *r) {
    base_buf *text = &r->text;
    for (int i = r->out->constant_count - 1; i >= 0 && !text->failed; i--) { /* the last first: places before it stay */
        const gen_constant *c = &r->out->constants[i];
        if (c->origin != GEN_ORIGIN_FIXED || c->used)
            continue;
        char *from = text->data + c->at, *to = from + c->bytes, *end = text->data + text->size;
        bool hole = (c->at == 0 || (c->at > 1 && from[-1] == '\n' && from[-2] == '\n')) && to < end && *to == '\n';
        to += hole;
        memmove(from, to, (size_t)(end - to) + 1);
        text->size -= (size_t)(to - from);
    }
}

bool gen_render(const gen_embedded *files, const char *name, const gen_given *given, int given_count, gen_rendered *out,
                err *e) {
    err own = {0};
    gen_renderer r = {
        .files = files, .given = given, .given_count = given_count, .out = out, .blank = true, .e = e ? e : &own};
    const gen_embedded *file = files;
    *out = (gen_rendered){0};
    while (file->name && strcmp(file->name, name) != 0)
        file++;
    bool ok = file->name || err_set(r.e, ERR_INTERNAL, "render", "there is no template %s", name);
    base_sha256_init(&r.hash);
    ok = ok && render_file(&r, file, false) && gen_render_check_given(&r, name);
    base_sha256_end_hex(&r.hash, out->hash);
    if (ok) {
        drop_unused(&r);
        if (r.blank && r.text.size)
            r.text.data[--r.text.size] = 0; /* the last line is not blank */
        out->text = base_buf_take(&r.text, &out->size, "render", r.e);
        ok = out->text != NULL;
    }
    base_buf_free(&r.text);
    free(r.watch.seen.item);
    err_clear(&own);
    if (!ok)
        gen_rendered_destroy(out);
    return ok;
}

void gen_rendered_destroy(gen_rendered *r) {
    free(r->text);
    base_arena_free(&r->arena);
    *r = (gen_rendered){0};
}

const gen_constant *gen_rendered_find(const gen_rendered *r, const char *name) {
    for (int i = 0; i < r->constant_count; i++)
        if (strcmp(r->constants[i].name, name) == 0)
            return &r->constants[i];
    return NULL;
}

int64_t gen_rendered_integer(const gen_rendered *r, const char *name, int64_t absent) {
    const gen_constant *c = gen_rendered_find(r, name);
    return c && c->known ? c->value : absent;
}
