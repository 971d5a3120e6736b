/* body.c: the statements of a function body: scopes, declarations, labels, tables of branches, source lines. */
#include <stdlib.h>
#include <string.h>

#include "emu/parse.h"

enum { SCOPES_MAX = 64, TABLE_MAX = 4096 };

/* label: .branchtargets a, b, c; */
static bool parse_table(parser *p, const token *name) {
    symbol *s = emu_symbol_add(p, name, SYMBOL_TABLE);
    if (!s)
        return false;
    s->index = (uint32_t)p->m->table_count;
    uint32_t **grown = emu_grow(p, p->m->tables, p->m->table_count, &p->m->table_room, sizeof *grown);
    if (!grown)
        return false;
    p->m->tables = grown;
    uint32_t *table = calloc(1 + TABLE_MAX, sizeof *table);
    if (!table)
        return emu_out_of_memory(p);
    grown[p->m->table_count++] = table;
    do {
        if (table[0] && !emu_take(p, ","))
            return false;
        token label = emu_lex_next(&p->lex);
        if (label.kind != TOKEN_NAME || table[0] == TABLE_MAX)
            return emu_fail(p, label.line, ".branchtargets takes labels, at most %d", TABLE_MAX);
        fixup *f = emu_grow(p, p->fixups, p->fixup_count, &p->fixup_room, sizeof *f);
        if (!f)
            return false;
        p->fixups = f;
        p->fixups[p->fixup_count++] = (fixup){label, (uint32_t)p->m->table_count - 1, (int32_t)table[0]};
        table[0]++;
    } while (emu_token_is(&p->lex.now, ","));
    uint32_t *cut = realloc(table, (1 + table[0]) * sizeof *table);
    if (cut)
        grown[p->m->table_count - 1] = cut;
    return emu_take(p, ";");
}

/* .loc file line column [, function_name label [+ n], inlined_at file line column] */
static bool parse_place(parser *p) {
    number n[3];
    for (int i = 0; i < 3; i++) {
        token t = emu_lex_next(&p->lex);
        if (!emu_token_number(&t, &n[i]) || n[i].is_float || n[i].value > INT32_MAX)
            return emu_fail(p, t.line, ".loc takes three numbers");
    }
    p->base.source_file = (int32_t)n[0].value;
    p->base.source_line = (int32_t)n[1].value;
    int line = p->lex.now.line;
    if (emu_token_is(&p->lex.now, ",")) /* the rest has no end mark of its own: it is what follows on lines of commas */
        while (p->lex.now.kind != TOKEN_END && (p->lex.now.line == line))
            emu_lex_next(&p->lex);
    return true;
}

static bool skip_to_semicolon(parser *p) {
    while (p->lex.now.kind != TOKEN_END && !emu_token_is(&p->lex.now, ";"))
        emu_lex_next(&p->lex);
    return emu_take(p, ";");
}

static bool parse_declaration(parser *p) {
    token t = emu_lex_next(&p->lex);
    if (emu_token_is(&t, ".reg"))
        return emu_parse_register(p);
    if (emu_token_is(&t, ".local") || emu_token_is(&t, ".param"))
        return emu_parse_variable(p, SPACE_LOCAL, false);
    if (emu_token_is(&t, ".shared"))
        return emu_parse_variable(p, SPACE_SHARED, false);
    if (emu_token_is(&t, ".extern"))
        return emu_take(p, ".shared") && emu_parse_variable(p, SPACE_SHARED, true);
    if (emu_token_is(&t, ".global"))
        return emu_parse_variable(p, SPACE_GLOBAL, false);
    if (emu_token_is(&t, ".const"))
        return emu_parse_variable(p, SPACE_CONST, false);
    if (emu_token_is(&t, ".loc"))
        return parse_place(p);
    if (emu_token_is(&t, ".pragma"))
        return skip_to_semicolon(p);
    return emu_fail(p, t.line, "unknown directive '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
}

/* Statements up to the brace that closes the body, which stays. */
bool emu_parse_body(parser *p) {
    struct {
        size_t symbols, fixups;
    } scope[SCOPES_MAX];
    int scopes = 0;
    memset(&p->base, 0, sizeof p->base);
    for (;;) {
        token t = p->lex.now;
        if (t.kind == TOKEN_END)
            return emu_fail(p, t.line, "the text ends inside a function");
        if (emu_token_is(&t, "{")) {
            emu_lex_next(&p->lex);
            if (scopes == SCOPES_MAX)
                return emu_fail(p, t.line, "more than %d scopes in each other", SCOPES_MAX);
            scope[scopes].symbols = p->symbol_count;
            scope[scopes++].fixups = p->fixup_count;
            p->depth++;
        } else if (emu_token_is(&t, "}")) {
            if (scopes == 0)
                return true;
            emu_lex_next(&p->lex);
            scopes--;
            emu_scope_close(p, scope[scopes].symbols, scope[scopes].fixups);
            p->depth--;
        } else if (emu_token_is(&t, ";")) {
            emu_lex_next(&p->lex);
        } else if (t.kind == TOKEN_DIRECTIVE) {
            if (!parse_declaration(p))
                return false;
        } else if (t.kind == TOKEN_NAME || emu_token_is(&t, "@")) {
            lexer ahead = p->lex;
            emu_lex_next(&ahead);
            if (t.kind != TOKEN_NAME || !emu_token_is(&ahead.now, ":")) {
                if (!emu_parse_instruction(p))
                    return false;
                continue;
            }
            emu_lex_next(&p->lex);
            emu_lex_next(&p->lex);
            if (emu_token_is(&p->lex.now, ".branchtargets")) {
                emu_lex_next(&p->lex);
                if (!parse_table(p, &t))
                    return false;
            } else if (emu_token_is(&p->lex.now, ".callprototype") || emu_token_is(&p->lex.now, ".calltargets")) {
                if (!skip_to_semicolon(p))
                    return false;
            } else {
                symbol *s = emu_symbol_add(p, &t, SYMBOL_LABEL);
                if (!s)
                    return false;
                s->index = (uint32_t)p->m->op_count;
            }
        } else {
            return emu_fail(p, t.line, "unexpected '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
        }
    }
}
