/* lex.h: words of a PTX text. A token borrows from the text; numbers are read when asked for. */
#ifndef EMU_LEX_H
#define EMU_LEX_H

#include "emu/inner.h"

typedef enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_DIRECTIVE,
    TOKEN_NUMBER,
    TOKEN_STRING,
    TOKEN_MARK,
    TOKEN_BAD
} token_kind;

typedef struct token {
    token_kind kind;
    const char *text; /* a directive with its dot; an opcode with all its modifiers is one name */
    size_t length;
    int line;
} token;

typedef struct lexer {
    const char *at, *end;
    int line;
    token now; /* not yet taken */
} lexer;

void emu_lex_start(lexer *l, const char *text, size_t length);
/* Takes the current token and reads the next. */
token emu_lex_next(lexer *l);
bool emu_token_is(const token *t, const char *text);

typedef struct number {
    bool is_float; /* value: the bits of a double; of a float if single */
    bool single;   /* 0f........ */
    bool negative; /* an integer with a minus sign: value is its two's complement */
    uint64_t value;
} number;

/* Reads PTX's forms: decimal, 0x, 0b, octal, U suffix, 0f and 0d bit patterns, decimal floats. false: not a number, or
 * too large. */
bool emu_token_number(const token *t, number *n);

#endif
