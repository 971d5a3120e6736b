/* lex.c: splits a PTX text into tokens. Names take the dots and colons of opcodes with them:
 * "ld.global.L1::no_allocate.v4.f32". */
#include "emu/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_start(char c) {
    return isalpha((unsigned char)c) || c == '_' || c == '$' || c == '%';
}
static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$';
}

/* Skips blanks and comments; counts lines. */
static void skip(lexer *l) {
    while (l->at < l->end) {
        if (*l->at == '\n') {
            l->line++, l->at++;
        } else if (isspace((unsigned char)*l->at)) {
            l->at++;
        } else if (l->end - l->at >= 2 && l->at[0] == '/' && l->at[1] == '/') {
            while (l->at < l->end && *l->at != '\n')
                l->at++;
        } else if (l->end - l->at >= 2 && l->at[0] == '/' && l->at[1] == '*') {
            l->at += 2;
            while (l->at < l->end && !(l->end - l->at >= 2 && l->at[0] == '*' && l->at[1] == '/'))
                l->line += *l->at++ == '\n';
            l->at = l->end - l->at >= 2 ? l->at + 2 : l->end;
        } else {
            return;
        }
    }
}

/* Letters, then .modifier and ::qualifier parts. A dot belongs to the name only where a name character follows. */
static void take_name(lexer *l) {
    while (l->at < l->end) {
        if (is_name(*l->at))
            l->at++;
        else if (*l->at == '.' && l->end - l->at >= 2 && is_name(l->at[1]))
            l->at++;
        else if (*l->at == ':' && l->end - l->at >= 3 && l->at[1] == ':' && is_name(l->at[2]))
            l->at += 2;
        else
            return;
    }
}

static void scan(lexer *l) {
    skip(l);
    token *t = &l->now;
    *t = (token){.kind = TOKEN_END, .text = l->at, .line = l->line};
    if (l->at >= l->end)
        return;
    char c = *l->at;
    if (is_start(c)) {
        t->kind = TOKEN_NAME;
        l->at++;
        take_name(l);
    } else if (c == '.' && l->end - l->at >= 2 && (is_name(l->at[1]))) {
        t->kind = TOKEN_DIRECTIVE;
        l->at++;
        while (l->at < l->end && is_name(*l->at))
            l->at++;
    } else if (isdigit((unsigned char)c)) {
        t->kind = TOKEN_NUMBER;
        while (l->at < l->end &&
               (is_name(*l->at) || *l->at == '.' ||
                ((*l->at == '+' || *l->at == '-') && (l->at[-1] == 'e' || l->at[-1] == 'E') &&
                 !(l->at - t->text >= 2 && (t->text[1] == 'x' || t->text[1] == 'X' || t->text[1] == 'f' ||
                                            t->text[1] == 'F' || t->text[1] == 'd' || t->text[1] == 'D')))))
            l->at++;
    } else if (c == '"') {
        t->kind = TOKEN_STRING;
        l->at++;
        while (l->at < l->end && *l->at != '"' && *l->at != '\n')
            l->at++;
        if (l->at >= l->end || *l->at != '"')
            t->kind = TOKEN_BAD;
        else
            l->at++;
    } else if (strchr("{}[]()<>,;:=+-*/&|!@~.", c) && c) {
        t->kind = TOKEN_MARK;
        l->at++;
    } else {
        t->kind = TOKEN_BAD;
        l->at++;
    }
    t->length = (size_t)(l->at - t->text);
}

void emu_lex_start(lexer *l, const char *text, size_t length) {
    *l = (lexer){.at = text, .end = text + length, .line = 1};
    scan(l);
}

token emu_lex_next(lexer *l) {
    token t = l->now;
    scan(l);
    return t;
}

bool emu_token_is(const token *t, const char *text) {
    return t->kind != TOKEN_STRING && t->length == strlen(text) && memcmp(t->text, text, t->length) == 0;
}

static bool read_integer(const char *s, size_t length, unsigned base, uint64_t *value) {
    uint64_t v = 0;
    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned digit = isdigit(c) ? c - (unsigned)'0' : isalpha(c) ? (unsigned)tolower(c) - 'a' + 10u : 99u;
        if (digit >= base || v > (UINT64_MAX - digit) / base)
            return false;
        v = v * base + digit;
    }
    *value = v;
    return true;
}

bool emu_token_number(const token *t, number *n) {
    const char *s = t->text;
    size_t length = t->length;
    *n = (number){0};
    if (t->kind != TOKEN_NUMBER || length == 0)
        return false;
    if (length > 1 && s[0] == '0' && (s[1] == 'f' || s[1] == 'F')) {
        n->is_float = n->single = true;
        return length == 10 && read_integer(s + 2, 8, 16, &n->value);
    }
    if (length > 1 && s[0] == '0' && (s[1] == 'd' || s[1] == 'D')) {
        n->is_float = true;
        return length == 18 && read_integer(s + 2, 16, 16, &n->value);
    }
    bool hex = length > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    if (!hex && (memchr(s, '.', length) || memchr(s, 'e', length) || memchr(s, 'E', length))) {
        char copy[64], *end;
        if (length >= sizeof copy)
            return false;
        memcpy(copy, s, length);
        copy[length] = 0;
        double d = strtod(copy, &end);
        n->is_float = true;
        memcpy(&n->value, &d, sizeof d);
        return *end == 0;
    }
    if (s[length - 1] == 'U' || s[length - 1] == 'u')
        length--;
    if (hex)
        return read_integer(s + 2, length - 2, 16, &n->value);
    if (length > 1 && s[0] == '0' && (s[1] == 'b' || s[1] == 'B'))
        return read_integer(s + 2, length - 2, 2, &n->value);
    return read_integer(s, length, length > 1 && s[0] == '0' ? 8 : 10, &n->value);
}
