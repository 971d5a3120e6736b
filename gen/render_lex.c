/* render_lex.c: see render_lex.h. One pass over the bytes; every token is a piece of the source, so that what is not
 * changed is copied byte for byte. */
#include "gen/render_lex.h"

#include <string.h>

void gen_lexer_init(gen_lexer *lexer, const char *file, const char *text, size_t size) {
    *lexer = (gen_lexer){.file = file, .at = text, .end = text + size, .line = 1, .column = 1};
}

bool gen_token_is(const gen_token *token, const char *text) {
    return token->size == strlen(text) && memcmp(token->text, text, token->size) == 0;
}

bool gen_token_significant(const gen_token *token) {
    return token->kind > GEN_TOKEN_COMMENT;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool starts_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char peek(const gen_lexer *lexer, size_t ahead) {
    return (size_t)(lexer->end - lexer->at) > ahead ? lexer->at[ahead] : 0;
}

static void advance(gen_lexer *lexer) {
    char c = *lexer->at++;
    if (c == '\n') {
        lexer->line++;
        lexer->column = 1;
    } else if (((unsigned char)c & 0xc0) != 0x80) { /* not inside a UTF-8 sequence */
        lexer->column++;
    }
}

static bool fail(const gen_lexer *lexer, err *e, const char *text) {
    return err_at(e, ERR_INPUT, "render", lexer->file, lexer->line, lexer->column, "%s", text);
}

/* A backslash that ends its line, blanks behind it included: it would join lines, in comments too. */
static bool continues(const gen_lexer *lexer) {
    const char *at = lexer->at + 1;
    while (at < lexer->end && is_blank(*at))
        at++;
    return *lexer->at == '\\' && (at == lexer->end || *at == '\n');
}

/* Moves over one character of a comment, string or blank; false for what may stand nowhere. */
static bool step(gen_lexer *lexer, err *e) {
    unsigned char c = (unsigned char)*lexer->at;
    if (c == '\\' && continues(lexer))
        return fail(lexer, e, "line continuations are not part of the template language");
    if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
        return fail(lexer, e, "control character; lines end with a newline alone");
    advance(lexer);
    return true;
}

static bool lex_comment(gen_lexer *lexer, err *e) {
    const gen_lexer start = *lexer;
    bool block = peek(lexer, 1) == '*';
    if (!step(lexer, e) || !step(lexer, e))
        return false;
    while (lexer->at < lexer->end) {
        if (!block && *lexer->at == '\n')
            return true;
        if (block && *lexer->at == '*' && peek(lexer, 1) == '/')
            return step(lexer, e) && step(lexer, e);
        if (!step(lexer, e))
            return false;
    }
    return !block || fail(&start, e, "this comment is not closed");
}

static bool lex_quoted(gen_lexer *lexer, err *e) {
    const gen_lexer start = *lexer;
    char quote = *lexer->at;
    if (!step(lexer, e))
        return false;
    while (lexer->at < lexer->end && *lexer->at != '\n') {
        char c = *lexer->at;
        if (!step(lexer, e))
            return false;
        if (c == quote)
            return true;
        if (c == '\\' && lexer->at < lexer->end && !step(lexer, e))
            return false;
    }
    return fail(&start, e,
                quote == '"' ? "this string is not closed on its line" : "this character is not closed on its line");
}

/* digit or .digit, then digits, letters, points, and signs behind an exponent's letter */
static void lex_number(gen_lexer *lexer) {
    bool hex = *lexer->at == '0' && (peek(lexer, 1) | 32) == 'x';
    for (;;) {
        char c = peek(lexer, 0);
        bool exponent = hex ? (c | 32) == 'p' : (c | 32) == 'e';
        if (!is_digit(c) && !starts_name(c) && c != '.')
            return;
        advance(lexer);
        c = peek(lexer, 0);
        if (exponent && (c == '+' || c == '-'))
            advance(lexer);
    }
}

static size_t mark_size(const gen_lexer *lexer) {
    static const char *const marks[] = {
        "<<=", ">>=", "...", "->*", "##", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=",
        "*=",  "/=",  "%=",  "&=",  "|=", "^=", "++", "--", "->", "::", "%:", "<:", ":>", "<%", "%>"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t size = strlen(marks[i]);
        if ((size_t)(lexer->end - lexer->at) >= size && memcmp(lexer->at, marks[i], size) == 0)
            return size;
    }
    return 1;
}

static bool lex_mark(gen_lexer *lexer, err *e) {
    unsigned char c = (unsigned char)*lexer->at;
    if (c == '\\')
        return fail(lexer, e,
                    continues(lexer) ? "line continuations are not part of the template language" : "stray \\");
    if (c >= 0x80)
        return fail(lexer, e, "letters beyond ASCII may stand in comments and strings alone");
    if (c < ' ' || c == 0x7f)
        return fail(lexer, e, "control character; lines end with a newline alone");
    size_t size = mark_size(lexer);
    const char *mark = lexer->at;
    if (size == 2 && (memcmp(mark, "%:", 2) == 0 || memcmp(mark, "<%", 2) == 0 || memcmp(mark, "%>", 2) == 0 ||
                      memcmp(mark, "<:", 2) == 0 || memcmp(mark, ":>", 2) == 0))
        return fail(lexer, e, "digraphs are not part of the template language");
    for (size_t i = 0; i < size; i++)
        advance(lexer);
    return true;
}

bool gen_lexer_next(gen_lexer *lexer, gen_token *token, err *e) {
    if (lexer->at == lexer->end)
        return false;
    bool ok = true;
    char c = *lexer->at, next = peek(lexer, 1);
    *token = (gen_token){.text = lexer->at, .line = lexer->line, .column = lexer->column};
    if (c == '\n') {
        token->kind = GEN_TOKEN_NEWLINE;
        advance(lexer);
    } else if (is_blank(c)) {
        token->kind = GEN_TOKEN_SPACE;
        while (is_blank(peek(lexer, 0)))
            advance(lexer);
    } else if (c == '/' && (next == '/' || next == '*')) {
        token->kind = GEN_TOKEN_COMMENT;
        ok = lex_comment(lexer, e);
    } else if (starts_name(c)) {
        token->kind = GEN_TOKEN_NAME;
        while (starts_name(peek(lexer, 0)) || is_digit(peek(lexer, 0)))
            advance(lexer);
        if (peek(lexer, 0) == '"' && lexer->at[-1] == 'R')
            ok = fail(lexer, e, "raw strings are not part of the template language");
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
        token->kind = GEN_TOKEN_NUMBER;
        lex_number(lexer);
    } else if (c == '"' || c == '\'') {
        token->kind = c == '"' ? GEN_TOKEN_STRING : GEN_TOKEN_CHAR;
        ok = lex_quoted(lexer, e);
    } else {
        token->kind = GEN_TOKEN_MARK;
        ok = lex_mark(lexer, e);
    }
    token->size = (size_t)(lexer->at - token->text);
    return ok;
}
