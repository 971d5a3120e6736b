/* render_expr.h: integer expressions over knobs and constants, as #if and derived constants have them.
 * 64-bit signed arithmetic; whatever C leaves undefined is a failure with its place. Private to gen/render. */
#ifndef GEN_RENDER_EXPR_H
#define GEN_RENDER_EXPR_H

#include <stdint.h>

#include "gen/render_lex.h"

/* Value of a name; false: it has none, and *why (static) says so. */
typedef bool (*gen_expr_lookup)(const void *context, const gen_token *name, int64_t *value, const char **why);

typedef struct gen_expr_failure {
    const gen_token *token; /* where; NULL: at the end of the expression */
    const char *why;        /* static */
} gen_expr_failure;

/* Evaluates all of tokens[0..count), blanks and comments skipped. */
bool gen_expr(const gen_token *tokens, int count, gen_expr_lookup lookup, const void *context, int64_t *value,
              gen_expr_failure *failure);
/* 64, 0x40, 64u, 64ull ...; false if it is no integer or does not fit 64 bits (`ull`: unsigned, its bits). *suffix:
 * behind the digits, borrowed; *bits (may be NULL): whether the value is above INT64_MAX. */
bool gen_integer_literal(const char *text, size_t size, int64_t *value, const char **suffix, bool *above);

#endif
