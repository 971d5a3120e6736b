/* variable.c: declarations: types and array sizes, registers, and variables of every state space with their initial
 * values. */
#include <stdlib.h>
#include <string.h>

#include "emu/parse.h"

enum { SIZE_MAX_VARIABLE_BITS = 44 };

static uint64_t round_up(uint64_t x, uint64_t to) {
    return (x + to - 1) / to * to;
}

/* [4], [2][3] or nothing after a name: the number of elements. */
bool emu_parse_dims(parser *p, uint64_t *count, bool *empty) {
    *count = 1;
    *empty = false;
    while (emu_token_is(&p->lex.now, "[")) {
        emu_lex_next(&p->lex);
        if (emu_token_is(&p->lex.now, "]")) {
            *empty = true;
        } else {
            token t = emu_lex_next(&p->lex);
            number n;
            if (!emu_token_number(&t, &n) || n.is_float ||
                (n.value && *count > (UINT64_C(1) << SIZE_MAX_VARIABLE_BITS) / n.value))
                return emu_fail(p, t.line, "expected the size of an array, at most 2^%d", SIZE_MAX_VARIABLE_BITS);
            *count *= n.value;
        }
        if (!emu_take(p, "]"))
            return false;
    }
    return true;
}

/* .align N, .ptr SPACE .align N, .v2/.v4, and the type, in any order; *vector is 1, 2 or 4. */
bool emu_parse_type(parser *p, ptx_type *type, uint32_t *align, uint32_t *vector) {
    bool pointer = false;
    *type = T_NONE;
    *align = 0;
    *vector = 1;
    while (p->lex.now.kind == TOKEN_DIRECTIVE) {
        token t = emu_lex_next(&p->lex);
        uint32_t a;
        if (emu_token_is(&t, ".align")) {
            if (!emu_parse_align(p, &a))
                return false;
            if (!pointer)
                *align = a; /* that of .ptr is the pointee's */
        } else if (emu_token_is(&t, ".ptr")) {
            pointer = true;
        } else if (emu_token_is(&t, ".v2") || emu_token_is(&t, ".v4")) {
            *vector = (uint32_t)(t.text[2] - '0');
        } else if (emu_token_is(&t, ".attribute")) {
            if (!emu_take(p, "("))
                return false;
            while (p->lex.now.kind != TOKEN_END && !emu_token_is(&p->lex.now, ")"))
                emu_lex_next(&p->lex);
            if (!emu_take(p, ")"))
                return false;
        } else if (pointer && (emu_token_is(&t, ".global") || emu_token_is(&t, ".shared") ||
                               emu_token_is(&t, ".local") || emu_token_is(&t, ".const"))) {
            continue;
        } else {
            *type = emu_type_find(t.text + 1, t.length - 1);
            if (*type == T_NONE)
                return emu_fail(p, t.line, "unknown type or attribute '%.*s'", (int)(t.length > 60 ? 60 : t.length),
                                t.text);
        }
    }
    if (*type == T_NONE)
        return emu_fail(p, p->lex.now.line, "a type is missing");
    if (*align == 0)
        *align = emu_type_bytes[*type] * *vector;
    return true;
}

bool emu_parse_register(parser *p) {
    ptx_type type;
    uint32_t align, vector;
    if (!emu_parse_type(p, &type, &align, &vector))
        return false;
    if (vector != 1)
        return emu_fail(p, p->lex.now.line, "vector registers are not supported");
    for (;;) {
        token name = emu_lex_next(&p->lex);
        if (name.kind != TOKEN_NAME)
            return emu_fail(p, name.line, "expected the name of a register");
        uint32_t count = 0;
        if (emu_token_is(&p->lex.now, "<")) {
            emu_lex_next(&p->lex);
            token t = emu_lex_next(&p->lex);
            number n;
            if (!emu_token_number(&t, &n) || n.is_float || n.value == 0 || n.value > SLOTS_MAX)
                return emu_fail(p, t.line, "expected a number of registers, at most %d", SLOTS_MAX);
            count = (uint32_t)n.value;
            if (!emu_take(p, ">"))
                return false;
        }
        int32_t slot;
        symbol *s;
        if (!emu_slots(p, emu_units(type) * (int32_t)(count ? count : 1), &slot) ||
            !(s = emu_symbol_add(p, &name, count ? SYMBOL_RANGE : SYMBOL_REG)))
            return false;
        s->type = type;
        s->slot = slot;
        s->count = count;
        if (!emu_token_is(&p->lex.now, ","))
            return emu_take(p, ";");
        emu_lex_next(&p->lex);
    }
}

static bool store_element(parser *p, variable *v, uint64_t *at, ptx_type type, uint64_t value, int line) {
    if (*at + emu_type_bytes[type] > v->memory.bytes)
        return emu_fail(p, line, "more initial values than %s holds", v->name);
    memcpy(v->memory.data + *at, &value, emu_type_bytes[type]);
    *at += emu_type_bytes[type];
    return true;
}

/* One initial value: a number, or the address of a variable, as sym, sym+n or generic(sym)+n. */
static bool parse_initial(parser *p, variable *v, uint64_t *at, ptx_type type) {
    bool negative = emu_token_is(&p->lex.now, "-");
    if (negative)
        emu_lex_next(&p->lex);
    token t = emu_lex_next(&p->lex);
    number n;
    if (emu_token_number(&t, &n)) {
        uint64_t value = n.value;
        if (n.is_float || type == T_F32 || type == T_F64) {
            float single;
            double d;
            if (n.single) {
                uint32_t bits = (uint32_t)n.value;
                memcpy(&single, &bits, 4);
                d = (double)single;
            } else if (n.is_float) {
                memcpy(&d, &n.value, 8);
            } else {
                d = (double)n.value;
            }
            d = negative ? -d : d;
            single = (float)d;
            uint32_t bits;
            memcpy(&bits, &single, 4);
            memcpy(&value, &d, 8);
            value = emu_type_bytes[type] == 4 ? bits : value;
        } else if (negative) {
            value = 0 - value;
        }
        return store_element(p, v, at, type, value, t.line);
    }
    bool generic = emu_token_is(&t, "generic");
    if (generic) {
        if (!emu_take(p, "("))
            return false;
        t = emu_lex_next(&p->lex);
        if (!emu_take(p, ")"))
            return false;
    }
    const symbol *s = t.kind == TOKEN_NAME ? emu_symbol_find(p, t.text, t.length) : NULL;
    if (!s || s->kind != SYMBOL_VARIABLE || (s->space != SPACE_GLOBAL && s->space != SPACE_CONST) ||
        emu_type_bytes[type] != 8)
        return emu_fail(p, t.line, "'%.*s' is no initial value that is supported", (int)(t.length > 60 ? 60 : t.length),
                        t.text);
    uint64_t value = s->address;
    if (emu_token_is(&p->lex.now, "+")) {
        emu_lex_next(&p->lex);
        token o = emu_lex_next(&p->lex);
        if (!emu_token_number(&o, &n) || n.is_float)
            return emu_fail(p, o.line, "expected an offset");
        value += n.value;
    }
    return store_element(p, v, at, type, value, t.line);
}

static bool parse_module_variable(parser *p, const token *name, ptx_type type, uint64_t bytes, bool constant,
                                  uint64_t *address) {
    emu_module *m = p->m;
    variable *grown = emu_grow(p, m->variables, m->variable_count, &m->variable_room, sizeof *grown);
    if (!grown)
        return false;
    m->variables = grown;
    variable *v = &grown[m->variable_count];
    *v = (variable){.name = strndup(name->text, name->length)};
    if (!v->name || bytes == 0 || !emu_allocation_make(&v->memory, bytes, EMU_ZERO)) {
        free(v->name);
        return bytes == 0 ? emu_fail(p, name->line, "a variable of no bytes") : emu_out_of_memory(p);
    }
    m->variable_count++;
    v->memory.read_only = constant;
    *address = (uint64_t)(uintptr_t)v->memory.data;
    if (!emu_token_is(&p->lex.now, "="))
        return true;
    emu_lex_next(&p->lex);
    int depth = 0;
    uint64_t at = 0;
    do {
        if (emu_token_is(&p->lex.now, "{"))
            depth++, emu_lex_next(&p->lex);
        else if (emu_token_is(&p->lex.now, "}"))
            depth--, emu_lex_next(&p->lex);
        else if (emu_token_is(&p->lex.now, ",") && depth > 0)
            emu_lex_next(&p->lex);
        else if (!parse_initial(p, v, &at, type))
            return false;
    } while (depth > 0 && p->lex.now.kind != TOKEN_END);
    return true;
}

bool emu_parse_variable(parser *p, ptx_space space, bool is_extern) {
    ptx_type type;
    uint32_t align, vector;
    uint64_t count;
    bool empty;
    if (!emu_parse_type(p, &type, &align, &vector))
        return false;
    do {
        if (emu_token_is(&p->lex.now, ","))
            emu_lex_next(&p->lex);
        token name = emu_lex_next(&p->lex);
        if (name.kind != TOKEN_NAME)
            return emu_fail(p, name.line, "expected the name of a variable");
        if (!emu_parse_dims(p, &count, &empty))
            return false;
        uint64_t bytes = empty ? 0 : count * vector * emu_type_bytes[type], address = 0;
        bool dynamic = space == SPACE_SHARED && is_extern;
        if (type == T_PRED || (empty && !dynamic) || (is_extern && !dynamic))
            return emu_fail(p, name.line, "the variable %.*s is of a kind that is not supported", (int)name.length,
                            name.text);
        function *f = p->inside ? emu_function(p) : NULL;
        if (dynamic) {
            p->m->dynamic_used = true;
            p->m->dynamic_align = align > p->m->dynamic_align ? align : p->m->dynamic_align;
        } else if (space == SPACE_SHARED) {
            if (f && !f->entry)
                return emu_fail(p, name.line, "shared variables inside functions are not supported");
            uint32_t *end = f ? &f->shared_bytes : &p->m->shared_start;
            address = round_up(*end, align);
            if (bytes > SHARED_MAX || address + bytes > SHARED_START + SHARED_MAX)
                return emu_fail(p, name.line, "more than %d bytes of shared memory", SHARED_MAX);
            *end = (uint32_t)(address + bytes);
        } else if (space == SPACE_LOCAL) { /* .local, and .param inside functions */
            uint64_t start = f->entry ? 0 : LOCAL_FUNCTIONS;
            uint32_t *used = f->entry ? &f->local_bytes : &p->m->function_local;
            address = round_up(start + *used, align);
            if (bytes > LOCAL_MAX || address - start + bytes > LOCAL_MAX)
                return emu_fail(p, name.line, "more than %d bytes of local memory", LOCAL_MAX);
            *used = (uint32_t)(address - start + bytes);
        } else if (!parse_module_variable(p, &name, type, bytes, space == SPACE_CONST, &address)) {
            return false;
        }
        symbol *s = emu_symbol_add(p, &name, SYMBOL_VARIABLE);
        if (!s)
            return false;
        s->space = space;
        s->dynamic = dynamic;
        s->address = address;
        s->bytes = bytes;
    } while (emu_token_is(&p->lex.now, ","));
    return emu_take(p, ";");
}
