/* function.c: .entry and .func: parameters and results, launch bounds, where their places are in slots and memory. */
#include <stdlib.h>
#include <string.h>

#include "emu/parse.h"

enum { FORMALS_MAX = 4096, TEMPS = 24 };

static uint64_t round_up(uint64_t x, uint64_t to) {
    return (x + to - 1) / to * to;
}

/* One parameter or result. Functions find theirs in local memory, at the same place for each declaration. */
static bool parse_formal(parser *p, formal *f, uint64_t *offset) {
    token t = emu_lex_next(&p->lex);
    bool in_register = emu_token_is(&t, ".reg");
    if (!in_register && !emu_token_is(&t, ".param"))
        return emu_fail(p, t.line, "expected .param");
    ptx_type type;
    uint32_t align, vector;
    uint64_t count;
    bool empty;
    if (!emu_parse_type(p, &type, &align, &vector))
        return false;
    token name = emu_lex_next(&p->lex);
    if (name.kind != TOKEN_NAME)
        return emu_fail(p, name.line, "expected the name of a parameter");
    if (!emu_parse_dims(p, &count, &empty))
        return false;
    uint64_t bytes = count * vector * emu_type_bytes[type];
    if (empty || bytes > 65536 || vector > 1)
        return emu_fail(p, name.line, "the parameter %.*s has a size that is not supported", (int)name.length,
                        name.text);
    *offset = round_up(*offset, align);
    *f = (formal){.name = strndup(name.text, name.length),
                  .bytes = (uint32_t)bytes,
                  .align = align,
                  .address = *offset,
                  .slot = -1,
                  .type = type};
    if (!f->name)
        return emu_out_of_memory(p);
    if (in_register) {
        if (emu_function(p)->entry)
            return emu_fail(p, name.line, "the parameters of a kernel are .param");
        return emu_slots(p, emu_units(type), &f->slot);
    }
    *offset += bytes;
    return true;
}

/* ( formal, formal ): also where there are none. */
static bool parse_formals(parser *p, formal **list, size_t *count, uint64_t *offset) {
    size_t room = 0;
    *list = NULL;
    *count = 0;
    if (!emu_take(p, "("))
        return false;
    while (!emu_token_is(&p->lex.now, ")")) {
        if (*count && !emu_take(p, ","))
            return false;
        formal *grown = emu_grow(p, *list, *count, &room, sizeof **list);
        if (!grown)
            return false;
        *list = grown;
        if (*count >= FORMALS_MAX)
            return emu_fail(p, p->lex.now.line, "too many parameters");
        grown[*count] = (formal){.slot = -1};
        ++*count;
        if (!parse_formal(p, &grown[*count - 1], offset))
            return false;
    }
    return emu_take(p, ")");
}

static void free_formals(formal *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(list[i].name);
    free(list);
}

/* Launch bounds and the like, up to the body. */
static bool parse_bounds(parser *p, function *f) {
    static const char *const numeric[] = {".maxntid", ".reqntid",           ".minnctapersm",  ".maxnctapersm",
                                          ".maxnreg", ".reqnctapercluster", ".maxclusterrank"};
    while (p->lex.now.kind == TOKEN_DIRECTIVE) {
        token t = emu_lex_next(&p->lex);
        size_t k = 0;
        while (k < sizeof numeric / sizeof *numeric && !emu_token_is(&t, numeric[k]))
            k++;
        if (k < sizeof numeric / sizeof *numeric) {
            uint64_t product = 1;
            for (int i = 0; i < 3; i++) {
                token v = emu_lex_next(&p->lex);
                number n;
                if (!emu_token_number(&v, &n) || n.is_float || n.value > 65536)
                    return emu_fail(p, v.line, "%.*s takes numbers up to 65536", (int)t.length, t.text);
                product *= n.value;
                if (!emu_token_is(&p->lex.now, ","))
                    break;
                emu_lex_next(&p->lex);
            }
            if (k < 2)
                f->max_threads = product > 1024 ? 1024 : (int)product;
            if (k == 5 && product > 1)
                return emu_fail(p, t.line, "clusters are not supported");
        } else if (emu_token_is(&t, ".pragma")) {
            while (p->lex.now.kind != TOKEN_END && !emu_token_is(&p->lex.now, ";"))
                emu_lex_next(&p->lex);
            if (!emu_take(p, ";"))
                return false;
        } else if (!emu_token_is(&t, ".noreturn")) {
            return emu_fail(p, t.line, "unknown attribute of a function '%.*s'", (int)(t.length > 60 ? 60 : t.length),
                            t.text);
        }
    }
    return true;
}

/* Makes the public view of a kernel. */
static bool finish_kernel(parser *p, function *f) {
    f->views = calloc(f->param_count + 1, sizeof *f->views);
    if (!f->views)
        return emu_out_of_memory(p);
    size_t end = 0;
    for (size_t i = 0; i < f->param_count; i++) {
        f->views[i] = (emu_param){f->params[i].name, f->params[i].address, f->params[i].bytes, f->params[i].align};
        end = f->params[i].address + f->params[i].bytes;
    }
    f->kernel = (emu_kernel){.name = f->name,
                             .params = f->views,
                             .param_count = f->param_count,
                             .param_bytes = end,
                             .shared_bytes = f->shared_bytes - SHARED_START,
                             .local_bytes = f->local_bytes,
                             .max_threads = f->max_threads,
                             .line = f->line};
    return true;
}

/* Names of the formals, then the code, then what the scope leaves open. */
static bool parse_definition(parser *p, function *f) {
    size_t symbols = p->symbol_count, fixups = p->fixup_count;
    uint32_t index = p->function;
    p->inside = true;
    p->depth = 1;
    f->defined = true;
    f->first = (uint32_t)p->m->op_count;
    f->shared_bytes = p->m->shared_start;
    if (!emu_slots(p, 4, &p->sink) || !emu_slots(p, TEMPS, &p->temp))
        return false;
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < (kind ? f->result_count : f->param_count); i++) {
            const formal *a = &(kind ? f->results : f->params)[i];
            token name = {TOKEN_NAME, a->name, strlen(a->name), f->line};
            symbol *s = emu_symbol_add(p, &name, a->slot >= 0 ? SYMBOL_REG : SYMBOL_VARIABLE);
            if (!s)
                return false;
            s->type = a->type;
            s->slot = a->slot;
            s->space = f->entry ? SPACE_PARAM : SPACE_LOCAL;
            s->address = a->address;
            s->bytes = a->bytes;
        }
    if (!emu_parse_body(p))
        return false;
    f = &p->m->functions[index];
    memset(&p->base, 0, sizeof p->base);
    p->base.guard = -1;
    op *last = emu_emit(p, NULL);
    if (!last)
        return false;
    last->kind = f->entry ? OP_EXIT : OP_RETURN;
    last->line = p->lex.now.line;
    if (!f->entry)
        last->r[0] = f->return_slot;
    f->end = (uint32_t)p->m->op_count;
    emu_scope_close(p, symbols, fixups);
    p->inside = false;
    p->depth = 0;
    if (p->fixup_count > fixups)
        return emu_fail(p, p->fixups[fixups].name.line, "there is no label %.*s in %s",
                        (int)p->fixups[fixups].name.length, p->fixups[fixups].name.text, f->name);
    return emu_take(p, "}") && (!f->entry || finish_kernel(p, f));
}

bool emu_parse_function(parser *p, bool entry) {
    emu_module *m = p->m;
    function *grown = emu_grow(p, m->functions, m->function_count, &m->function_room, sizeof *grown);
    if (!grown)
        return false;
    m->functions = grown;
    uint32_t index = (uint32_t)m->function_count++;
    function *f = &m->functions[index];
    *f = (function){.entry = entry, .line = p->lex.now.line, .return_slot = -1};
    p->function = index;
    uint64_t local = entry ? 0 : LOCAL_FUNCTIONS + m->function_local;
    if (!entry && emu_token_is(&p->lex.now, "(") && !parse_formals(p, &f->results, &f->result_count, &local))
        return false;
    token name = emu_lex_next(&p->lex);
    if (name.kind != TOKEN_NAME)
        return emu_fail(p, name.line, "expected the name of a function");
    f->name = strndup(name.text, name.length);
    if (!f->name)
        return emu_out_of_memory(p);
    if (emu_token_is(&p->lex.now, "(") && !parse_formals(p, &f->params, &f->param_count, &local))
        return false;
    if (entry && local > 32764)
        return emu_fail(p, name.line, "%s has more than 32764 bytes of parameters", f->name);
    if (!parse_bounds(p, f))
        return false;
    const symbol *known = emu_symbol_find(p, name.text, name.length);
    bool body = emu_token_is(&p->lex.now, "{");
    if (known) { /* declared before: that one's places are in use already */
        function *old = &m->functions[known->index];
        bool same = known->kind == SYMBOL_FUNCTION && !old->entry && !entry && old->param_count == f->param_count &&
                    old->result_count == f->result_count;
        for (size_t i = 0; same && i < f->param_count; i++)
            same = old->params[i].bytes == f->params[i].bytes && (old->params[i].slot < 0) == (f->params[i].slot < 0);
        for (size_t i = 0; same && i < f->result_count; i++)
            same =
                old->results[i].bytes == f->results[i].bytes && (old->results[i].slot < 0) == (f->results[i].slot < 0);
        if (!same || (old->defined && body))
            return emu_fail(p, name.line, "%s was declared before, in another way", f->name);
        for (size_t i = 0; i < f->param_count; i++) { /* the definition's names count */
            char *swap = old->params[i].name;
            old->params[i].name = f->params[i].name;
            f->params[i].name = swap;
        }
        for (size_t i = 0; i < f->result_count; i++) {
            char *swap = old->results[i].name;
            old->results[i].name = f->results[i].name;
            f->results[i].name = swap;
        }
        free(f->name);
        free_formals(f->params, f->param_count);
        free_formals(f->results, f->result_count);
        m->function_count--;
        p->function = known->index;
        f = old;
    } else {
        symbol *s = emu_symbol_add(p, &name, SYMBOL_FUNCTION);
        if (!s)
            return false;
        s->index = index;
        if (!entry) {
            if (local - LOCAL_FUNCTIONS > LOCAL_MAX)
                return emu_fail(p, name.line, "functions need more than %d bytes of local memory", LOCAL_MAX);
            m->function_local = (uint32_t)(local - LOCAL_FUNCTIONS);
            if (!emu_slots(p, 1, &f->return_slot))
                return false;
        }
    }
    if (!body)
        return emu_take(p, ";");
    return emu_take(p, "{") && parse_definition(p, f);
}
