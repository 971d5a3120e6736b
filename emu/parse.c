/* parse.c: the module level of PTX: directives, variables, and the bookkeeping of symbols, slots and errors.
 * One pass: each instruction is decoded as it is read; labels and calls are filled in at the end of their scope. */
#include "emu/parse.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const emu_type_name[TYPES] = {
#define TYPE_NAME_(name, text, bytes) text,
    TYPE_LIST(TYPE_NAME_)};
const uint8_t emu_type_bytes[TYPES] = {
#define TYPE_BYTES_(name, text, bytes) bytes,
    TYPE_LIST(TYPE_BYTES_)};

enum { SYMBOLS_MAX = 1 << 20, DEPTH_MAX = 64 };

bool emu_fail(parser *p, int line, const char *format, ...) {
    if (p->e->text[0])
        return false;
    va_list list;
    va_start(list, format);
    vsnprintf(p->e->text, sizeof p->e->text, format, list);
    va_end(list);
    for (char *c = p->e->text; *c; c++)
        if ((unsigned char)*c < 32)
            *c = '?';
    p->e->line = line;
    return false;
}

bool emu_out_of_memory(parser *p) {
    return emu_fail(p, 0, "out of memory");
}

void *emu_grow(parser *p, void *array, size_t count, size_t *room, size_t size) {
    if (count < *room)
        return array;
    size_t more = *room ? *room * 2 : 64;
    void *grown = more > SIZE_MAX / size ? NULL : realloc(array, more * size);
    if (!grown) {
        emu_out_of_memory(p);
        return NULL;
    }
    *room = more;
    return grown;
}

static uint32_t hash(const char *s, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h & 1023;
}

const symbol *emu_symbol_find(parser *p, const char *name, size_t length) {
    for (int32_t i = p->buckets[hash(name, length)]; i >= 0; i = p->symbols[i].next)
        if (p->symbols[i].length == length && memcmp(p->symbols[i].name, name, length) == 0)
            return &p->symbols[i];
    return NULL;
}

symbol *emu_symbol_add(parser *p, const token *name, symbol_kind kind) {
    const symbol *old = emu_symbol_find(p, name->text, name->length);
    if (old && old->depth == p->depth) {
        emu_fail(p, name->line, "%.*s is declared twice", (int)name->length, name->text);
        return NULL;
    }
    if (p->symbol_count >= SYMBOLS_MAX) {
        emu_fail(p, name->line, "too many names");
        return NULL;
    }
    symbol *grown = emu_grow(p, p->symbols, p->symbol_count, &p->symbol_room, sizeof *p->symbols);
    if (!grown)
        return NULL;
    p->symbols = grown;
    uint32_t h = hash(name->text, name->length);
    symbol *s = &p->symbols[p->symbol_count];
    *s = (symbol){
        .name = name->text, .length = name->length, .kind = kind, .slot = -1, .next = p->buckets[h], .depth = p->depth};
    p->buckets[h] = (int32_t)p->symbol_count++;
    return s;
}

/* Labels that belong to this scope are filled in, the scope's names forgotten. */
bool emu_scope_close(parser *p, size_t symbols, size_t fixups) {
    size_t kept = fixups;
    for (size_t i = fixups; i < p->fixup_count; i++) {
        fixup *f = &p->fixups[i];
        const symbol *s = emu_symbol_find(p, f->name.text, f->name.length);
        if (s && s->kind == SYMBOL_LABEL && s->depth == p->depth) {
            if (f->entry < 0)
                p->m->code[f->index].target = s->index;
            else
                p->m->tables[f->index][1 + f->entry] = s->index;
        } else {
            p->fixups[kept++] = *f;
        }
    }
    p->fixup_count = kept;
    while (p->symbol_count > symbols) {
        const symbol *s = &p->symbols[--p->symbol_count];
        p->buckets[hash(s->name, s->length)] = s->next;
    }
    return true;
}

function *emu_function(parser *p) {
    return &p->m->functions[p->function];
}

int32_t emu_units(ptx_type t) {
    return t == T_B128 ? 4 : emu_type_bytes[t] == 8 ? 2 : 1;
}

/* Kernels number their slots from 0; functions share one range, which is placed below each kernel's when all is parsed.
 */
bool emu_slots(parser *p, int32_t units, int32_t *slot) {
    int32_t *used = emu_function(p)->entry ? &emu_function(p)->slots : &p->m->function_slots;
    if (units > SLOTS_MAX - *used)
        return emu_fail(p, p->lex.now.line, "too many registers: at most %d of 32 bits", SLOTS_MAX);
    *slot = *used;
    *used += units;
    return true;
}

bool emu_fixed(parser *p, uint8_t what, uint8_t bytes, uint64_t value, int32_t *slot) {
    function *f = emu_function(p);
    for (size_t i = 0; i < f->fixed_count; i++)
        if (f->fixeds[i].what == what && f->fixeds[i].bytes == bytes && f->fixeds[i].value == value) {
            *slot = f->fixeds[i].slot;
            return true;
        }
    if (!emu_slots(p, bytes == 8 ? 2 : 1, slot))
        return false;
    fixed *grown = emu_grow(p, f->fixeds, f->fixed_count, &f->fixed_room, sizeof *f->fixeds);
    if (!grown)
        return false;
    f->fixeds = grown;
    f->fixeds[f->fixed_count++] = (fixed){*slot, what, bytes, value};
    return true;
}

bool emu_take(parser *p, const char *mark) {
    if (!emu_token_is(&p->lex.now, mark))
        return emu_fail(p, p->lex.now.line, "expected '%s' before '%.*s'", mark,
                        (int)(p->lex.now.length > 60 ? 60 : p->lex.now.length), p->lex.now.text);
    emu_lex_next(&p->lex);
    return true;
}

ptx_type emu_type_find(const char *text, size_t length) {
    for (int t = 1; t < TYPES; t++)
        if (strlen(emu_type_name[t]) == length && memcmp(emu_type_name[t], text, length) == 0)
            return (ptx_type)t;
    return T_NONE;
}

bool emu_parse_align(parser *p, uint32_t *align) {
    number n;
    token t = emu_lex_next(&p->lex);
    if (!emu_token_number(&t, &n) || n.is_float || n.value == 0 || n.value > 4096 || (n.value & (n.value - 1)))
        return emu_fail(p, t.line, ".align takes a power of two up to 4096");
    *align = (uint32_t)n.value;
    return true;
}

/* Skips to the ';' or over a whole brace block. */
static bool skip_statement(parser *p, bool braces) {
    int depth = 0;
    for (;;) {
        token t = emu_lex_next(&p->lex);
        if (t.kind == TOKEN_END)
            return emu_fail(p, t.line, "the text ends inside a directive");
        if (emu_token_is(&t, "{"))
            depth++;
        else if (emu_token_is(&t, "}") && --depth <= 0)
            return true;
        else if (!braces && depth == 0 && emu_token_is(&t, ";"))
            return true;
    }
}

static bool parse_file(parser *p) {
    token index = emu_lex_next(&p->lex), name = emu_lex_next(&p->lex);
    number n;
    if (!emu_token_number(&index, &n) || n.is_float || n.value > 4096 || name.kind != TOKEN_STRING)
        return emu_fail(p, index.line, ".file takes a number up to 4096 and a name");
    if (n.value >= p->m->file_count) {
        char **grown = realloc(p->m->files, (n.value + 1) * sizeof *grown);
        if (!grown)
            return emu_out_of_memory(p);
        p->m->files = grown;
        while (p->m->file_count <= n.value)
            p->m->files[p->m->file_count++] = NULL;
    }
    free(p->m->files[n.value]);
    p->m->files[n.value] = strndup(name.text + 1, name.length - 2);
    if (!p->m->files[n.value])
        return emu_out_of_memory(p);
    while (emu_token_is(&p->lex.now, ",")) { /* time stamp, size */
        emu_lex_next(&p->lex);
        emu_lex_next(&p->lex);
    }
    return true;
}

/* One directive outside of functions. */
static bool parse_directive(parser *p) {
    static const char *const ignored[] = {".visible", ".weak", ".common", ".extern"};
    bool is_extern = false;
    token t = emu_lex_next(&p->lex);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (emu_token_is(&t, ignored[i])) {
            is_extern |= emu_token_is(&t, ".extern");
            t = emu_lex_next(&p->lex);
            i = (size_t)-1;
        }
    if (emu_token_is(&t, ".entry"))
        return emu_parse_function(p, true);
    if (emu_token_is(&t, ".func"))
        return emu_parse_function(p, false);
    if (emu_token_is(&t, ".global"))
        return emu_parse_variable(p, SPACE_GLOBAL, is_extern);
    if (emu_token_is(&t, ".const"))
        return emu_parse_variable(p, SPACE_CONST, is_extern);
    if (emu_token_is(&t, ".shared"))
        return emu_parse_variable(p, SPACE_SHARED, is_extern);
    if (emu_token_is(&t, ".version") || emu_token_is(&t, ".address_size")) {
        token n = emu_lex_next(&p->lex);
        if (n.kind != TOKEN_NUMBER)
            return emu_fail(p, n.line, "%.*s takes a number", (int)t.length, t.text);
        if (t.text[1] == 'a' && !emu_token_is(&n, "64"))
            return emu_fail(p, n.line, "only .address_size 64 is supported");
        return true;
    }
    if (emu_token_is(&t, ".target")) {
        do {
            if (emu_token_is(&p->lex.now, ","))
                emu_lex_next(&p->lex);
            token n = emu_lex_next(&p->lex);
            if (n.kind != TOKEN_NAME)
                return emu_fail(p, n.line, ".target takes names");
        } while (emu_token_is(&p->lex.now, ","));
        return true;
    }
    if (emu_token_is(&t, ".file"))
        return parse_file(p);
    if (emu_token_is(&t, ".section"))
        return skip_statement(p, true);
    if (emu_token_is(&t, ".pragma") || emu_token_is(&t, ".alias"))
        return skip_statement(p, false);
    return emu_fail(p, t.line, "unknown directive '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
}

/* Places of functions, registers of kernels above those of functions, and the narrowest access to shared memory. */
static bool link_module(parser *p) {
    emu_module *m = p->m;
    for (size_t f = 0; f < m->function_count; f++) {
        function *k = &m->functions[f];
        for (size_t c = 0; c < k->call_count; c++) {
            const function *callee = &m->functions[k->calls[c]];
            if (!callee->defined)
                return emu_fail(p, k->line, "%s calls %s, which has no body", k->name, callee->name);
        }
        if (!k->entry || !k->defined)
            continue;
        for (uint32_t i = k->first; i < k->end; i++)
            for (int r = 0; r < OPERANDS_MAX; r++)
                if (m->code[i].r[r] >= 0 && !(m->code[i].r[r] & FUNCTION_SLOT))
                    m->code[i].r[r] += m->function_slots;
        for (uint32_t i = k->first; i < k->end; i++)
            if (m->code[i].guard >= 0)
                m->code[i].guard += m->function_slots;
        for (size_t i = 0; i < k->fixed_count; i++)
            k->fixeds[i].slot += m->function_slots;
        k->slots += m->function_slots;
    }
    m->shared_granule = 4;
    for (size_t i = 0; i < m->op_count; i++) {
        op *o = &m->code[i];
        for (int r = 0; r < OPERANDS_MAX; r++)
            if (o->r[r] >= 0)
                o->r[r] &= ~FUNCTION_SLOT;
        if (o->kind == OP_CALL)
            o->target = m->functions[o->target].first;
        if ((o->space == SPACE_SHARED || o->space == SPACE_GENERIC) && o->bytes && o->bytes < m->shared_granule &&
            (o->class_ == EMU_CLASS_SHARED || o->class_ == EMU_CLASS_GENERIC || o->class_ == EMU_CLASS_ATOMIC))
            m->shared_granule = o->bytes;
    }
    return true;
}

/* Functions keep registers in fixed places, so a cycle of calls cannot run. Depth first, with a bound on the path. */
static bool find_cycle(const emu_module *m, uint32_t f, uint8_t *state, int depth) {
    if (state[f] == 2)
        return false;
    if (state[f] == 1 || depth > DEPTH_MAX)
        return true;
    state[f] = 1;
    for (size_t c = 0; c < m->functions[f].call_count; c++)
        if (find_cycle(m, m->functions[f].calls[c], state, depth + 1))
            return true;
    state[f] = 2;
    return false;
}

static bool refuse_recursion(parser *p) {
    uint8_t *state = calloc(p->m->function_count + 1, 1);
    if (!state)
        return emu_out_of_memory(p);
    bool ok = true;
    for (uint32_t f = 0; ok && f < p->m->function_count; f++)
        if (find_cycle(p->m, f, state, 0))
            ok = emu_fail(p, p->m->functions[f].line, "recursive calls (or deeper than %d) are not supported",
                          DEPTH_MAX);
    free(state);
    return ok;
}

emu_module *emu_module_parse(const char *text, size_t length, emu_error *e) {
    emu_error unused;
    parser p = {.e = e ? e : &unused};
    *p.e = (emu_error){0};
    p.m = calloc(1, sizeof *p.m);
    if (!p.m) {
        emu_out_of_memory(&p);
        return NULL;
    }
    p.m->shared_start = SHARED_START;
    p.m->dynamic_align = 16;
    memset(p.buckets, 0xff, sizeof p.buckets);
    emu_lex_start(&p.lex, text, length);
    bool ok = true;
    while (ok && p.lex.now.kind != TOKEN_END) {
        if (emu_token_is(&p.lex.now, ";"))
            emu_lex_next(&p.lex);
        else
            ok = parse_directive(&p);
    }
    ok = ok && link_module(&p) && refuse_recursion(&p);
    free(p.symbols);
    free(p.fixups);
    if (!ok) {
        emu_module_destroy(p.m);
        return NULL;
    }
    return p.m;
}
