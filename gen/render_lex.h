/* render_lex.h: template text to tokens with places. Knows comments, strings (asm text among them) and numbers, so that
 * nothing inside them is taken for a knob or a directive. Private to gen/render. */
#ifndef GEN_RENDER_LEX_H
#define GEN_RENDER_LEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef enum gen_token_kind {
    GEN_TOKEN_SPACE, /* blanks and tabs */
    GEN_TOKEN_NEWLINE,
    GEN_TOKEN_COMMENT, /* one `//` to the end of its line, or one block, which may hold newlines */
    GEN_TOKEN_NAME,
    GEN_TOKEN_NUMBER, /* a preprocessing number: 64, 0x1p-3f, 1ull */
    GEN_TOKEN_STRING, /* with its quotes */
    GEN_TOKEN_CHAR,
    GEN_TOKEN_MARK /* one operator or bracket, as long as C makes it */
} gen_token_kind;

typedef struct gen_token {
    gen_token_kind kind;
    const char *text; /* borrowed from the source; not terminated */
    size_t size;
    int line, column; /* from 1; columns in characters */
} gen_token;

typedef struct gen_lexer {
    const char *file; /* for messages */
    const char *at, *end;
    int line, column;
} gen_lexer;

void gen_lexer_init(gen_lexer *lexer, const char *file, const char *text, size_t size);
/* The next token; false at the end and on an error (an unclosed comment or string, a line continuation, a raw string, a
 * byte that is no part of the language): look at e->code. *e must be clear before. */
bool gen_lexer_next(gen_lexer *lexer, gen_token *token, err *e);

bool gen_token_is(const gen_token *token, const char *text);
/* Neither a blank nor a comment nor the end of a line. */
bool gen_token_significant(const gen_token *token);

#endif
