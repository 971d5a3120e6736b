/* render_internal.h: what the pieces of the renderer share: the state of one rendering. Private to gen/render. */
#ifndef GEN_RENDER_INTERNAL_H
#define GEN_RENDER_INTERNAL_H

#include "base/buf.h"
#include "base/sha256.h"
#include "gen/render.h"
#include "gen/render_lex.h"

enum { GEN_RENDER_PARTS_MAX = 64, GEN_RENDER_TOKENS_MAX = 1 << 16 /* of one line or definition */ };

typedef struct gen_tokens {
    gen_token *item; /* malloc'd; their texts are borrowed from the sources */
    int count, capacity;
} gen_tokens;

/* Adds one; false: too many (GEN_RENDER_TOKENS_MAX), or no memory. */
bool gen_tokens_add(gen_tokens *tokens, const gen_token *token);

/* What the live text defines: constexpr names, assertions, conditions of `if constexpr`. */
typedef enum gen_watching { GEN_WATCH_NONE, GEN_WATCH_CONSTEXPR, GEN_WATCH_ASSERT, GEN_WATCH_IF } gen_watching;
typedef struct gen_watch {
    gen_watching what;
    int depth, start; /* open brackets: now, and where `what` began */
    bool after_if, assigned;
    const char *file; /* where `what` began */
    gen_tokens seen;  /* significant tokens since */
} gen_watch;

typedef struct gen_renderer {
    const gen_embedded *files;
    const gen_given *given;
    int given_count;
    gen_rendered *out;
    base_buf text;
    base_sha256 hash;
    const gen_embedded *parts[GEN_RENDER_PARTS_MAX]; /* inlined already, or being inlined */
    int part_count, depth, constant_capacity;
    bool blank; /* the last line of `text` is blank, or there is none */
    gen_watch watch;
    err *e;
} gen_renderer;

/* ---- render_knobs.c ---- */

/* Declares a knob (or, `fixed`, a fixed constant) by the significant tokens of its default, and appends its definition
 * to the text. `comment`: a `//` comment or NULL. */
bool gen_render_knob(gen_renderer *r, const char *file, const gen_token *name, const gen_token *value, int value_count,
                     const gen_token *comment, bool fixed);
/* An error if something given, and not optional, is no knob of what was rendered. `file`: the template. */
bool gen_render_check_given(gen_renderer *r, const char *file);
/* NULL if the name is none of ours. */
gen_constant *gen_render_find(const gen_renderer *r, const char *name, size_t size);
/* A new constant with its name copied; NULL with *r->e set. */
gen_constant *gen_render_add(gen_renderer *r, const char *file, const gen_token *name);
/* Value of a condition over knobs and fixed constants. */
bool gen_render_condition(gen_renderer *r, const char *file, const gen_token *tokens, int count,
                          const gen_token *directive, bool *holds);

/* ---- render_watch.c ---- */

/* Takes the next significant token of the live text. */
bool gen_render_watch(gen_renderer *r, const char *file, const gen_token *token);
/* Refuses what must not stand in a template, live or not. */
bool gen_render_check_token(gen_renderer *r, const char *file, const gen_token *token);

#endif
