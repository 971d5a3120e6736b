/* build_control.c: branches, calls, barriers and the collectives of a warp. */
#include <stdlib.h>
#include <string.h>

#include "emu/exec.h"
#include "emu/parse.h"

static bool add_fixup(parser *p, const token *name, uint32_t index) {
    fixup *f = emu_grow(p, p->fixups, p->fixup_count, &p->fixup_room, sizeof *f);
    if (!f)
        return false;
    p->fixups = f;
    p->fixups[p->fixup_count++] = (fixup){*name, index, -1};
    return true;
}

bool emu_build_branch(parser *p, const instruction *i) {
    if (!emu_want(p, i, 1, 1))
        return false;
    if (i->operands[0].kind != OPERAND_NAME)
        return emu_bad(p, i, "a branch goes to a label");
    op *o = emu_emit(p, NULL);
    if (!o)
        return false;
    o->kind = OP_BRANCH;
    return add_fixup(p, &i->operands[0].text, (uint32_t)p->m->op_count - 1);
}

bool emu_build_indexed(parser *p, const instruction *i) {
    int32_t index;
    if (!emu_want(p, i, 2, 2) || !emu_has(i, "idx"))
        return emu_bad(p, i, "this form is not supported");
    const token *t = &i->operands[1].text;
    const symbol *s = i->operands[1].kind == OPERAND_NAME ? emu_symbol_find(p, t->text, t->length) : NULL;
    if (!s || s->kind != SYMBOL_TABLE)
        return emu_bad(p, i, "the second operand is a list of .branchtargets that comes before");
    uint32_t table = s->index;
    if (!emu_source(p, &i->operands[0], 'w', &index))
        return false;
    op *o = emu_emit(p, NULL);
    if (!o)
        return false;
    o->kind = OP_INDEXED;
    o->target = table;
    o->r[0] = index;
    return true;
}

static bool simple(parser *p, const instruction *i, op_kind kind) {
    if (!emu_want(p, i, 0, 0))
        return false;
    op *o = emu_emit(p, NULL);
    if (o)
        o->kind = (uint8_t)kind;
    return o != NULL;
}

bool emu_build_return(parser *p, const instruction *i) {
    if (!simple(p, i, emu_function(p)->entry ? OP_EXIT : OP_RETURN))
        return false;
    p->m->code[p->m->op_count - 1].r[0] = emu_function(p)->entry ? -1 : emu_function(p)->return_slot;
    return true;
}
bool emu_build_exit(parser *p, const instruction *i) {
    return simple(p, i, OP_EXIT);
}
bool emu_build_trap(parser *p, const instruction *i) {
    return simple(p, i, OP_TRAP);
}

/* Slots of functions are kept apart from those of the kernel that calls them until the module is linked. */
static int32_t callee_slot(const parser *p, int32_t slot) {
    return p->m->functions[p->function].entry ? slot | FUNCTION_SLOT : slot;
}

/* One argument to its place in the callee, or one result from it. */
static bool pass(parser *p, const instruction *i, const operand *v, const formal *f, bool argument) {
    if (f->slot >= 0) {
        char letter = emu_letter(f->type);
        int32_t own;
        if (argument ? !emu_source(p, v, letter, &own) : !emu_dest(p, v, letter, &own))
            return false;
        const char *key = letter == 'p' ? "mov_pred" : letter == 'q' || letter == 'd' ? "mov_u64" : "mov_u32";
        int32_t other = callee_slot(p, f->slot);
        return argument ? emu_emit_alu(p, key, other, own, -1, -1) : emu_emit_alu(p, key, own, other, -1, -1);
    }
    if (v->kind != OPERAND_VARIABLE || v->symbol->space != SPACE_LOCAL || v->symbol->bytes < f->bytes)
        return emu_bad(p, i, "an argument is a .param variable of the size that the function declares");
    uint64_t here = v->symbol->address;
    int32_t from, to;
    if (!emu_fixed(p, SREG_NONE, 8, argument ? here : f->address, &from) ||
        !emu_fixed(p, SREG_NONE, 8, argument ? f->address : here, &to))
        return false;
    op *o = emu_emit(p, emu_exec_copy_local);
    if (!o)
        return false;
    o->r[8] = from, o->r[9] = to;
    o->imm = f->bytes;
    o->mode2 = 3;
    o->space = SPACE_LOCAL;
    return true;
}

bool emu_build_call(parser *p, const instruction *i) {
    const operand *v = i->operands;
    int n = i->operand_count, k = 0;
    const operand *results = n > 0 && v[0].kind == OPERAND_VECTOR ? &v[k++] : NULL;
    const operand *name = k < n ? &v[k++] : NULL;
    const operand *arguments = k < n && v[k].kind == OPERAND_VECTOR ? &v[k++] : NULL;
    const symbol *s =
        name && name->kind == OPERAND_NAME ? emu_symbol_find(p, name->text.text, name->text.length) : NULL;
    if (!name || k != n)
        return emu_bad(p, i, "this form is not supported");
    if (!s || s->kind != SYMBOL_FUNCTION)
        return emu_bad(p, i, "only calls of functions declared before, by name, are supported");
    uint32_t index = s->index;
    const function *f = &p->m->functions[index];
    if (f->entry || f->param_count != (size_t)(arguments ? arguments->count : 0) ||
        f->result_count != (size_t)(results ? results->count : 0))
        return emu_bad(p, i, "the call does not match the declaration");
    for (size_t a = 0; a < f->param_count; a++)
        if (!pass(p, i, &p->element[arguments->first + (int)a], &f->params[a], true))
            return false;
    op *o = emu_emit(p, NULL);
    if (!o)
        return false;
    o->kind = OP_CALL;
    o->target = index;
    o->r[0] = callee_slot(p, f->return_slot);
    for (size_t a = 0; a < f->result_count; a++)
        if (!pass(p, i, &p->element[results->first + (int)a], &f->results[a], false))
            return false;
    function *self = emu_function(p);
    uint32_t *grown = realloc(self->calls, (self->call_count + 1) * sizeof *grown);
    if (!grown)
        return emu_out_of_memory(p);
    self->calls = grown;
    self->calls[self->call_count++] = index;
    return true;
}

/* Members of a collective: r[index] gets the mask's slot. */
static bool collective(parser *p, const instruction *i, exec_fn *fn, const operand *members, int index,
                       const int32_t r[4], int mode) {
    int32_t slot = -1;
    if (!emu_has(i, "sync"))
        return emu_bad(p, i, "only the .sync form is supported");
    if (members && !emu_source(p, members, 'w', &slot))
        return false;
    op *o = emu_emit(p, fn);
    if (!o)
        return false;
    memcpy(o->r, r, 4 * sizeof *r);
    o->kind = OP_COLLECTIVE;
    o->r[index] = slot;
    o->members = (int8_t)index;
    o->mode = (uint8_t)mode;
    return true;
}

/* shfl.sync.mode.b32 d[|p], a, b, c, members: r = d, a, b, c; r[4] p, r[5] members. */
bool emu_build_shfl(parser *p, const instruction *i) {
    operand d = i->operands[0];
    int mode = emu_which(i, "up down bfly idx");
    int32_t r[4], valid = d.other;
    d.other = -1;
    if (i->type_count != 1 || mode < 0 || !emu_want(p, i, 5, 5))
        return emu_bad(p, i, "this form is not supported");
    if (!emu_dest(p, &d, 'w', &r[0]) || !emu_source(p, &i->operands[1], 'w', &r[1]) ||
        !emu_source(p, &i->operands[2], 'w', &r[2]) || !emu_source(p, &i->operands[3], 'w', &r[3]) ||
        !collective(p, i, emu_exec_shfl, &i->operands[4], 5, r, mode))
        return false;
    p->m->code[p->m->op_count - 1].r[4] = valid;
    return true;
}

bool emu_build_vote(parser *p, const instruction *i) {
    int mode = emu_which(i, "all any uni ballot");
    int32_t r[4] = {-1, -1, -1, -1};
    if (i->type_count != 1 || mode < 0 || (mode == VOTE_BALLOT) != (i->types[0] == T_B32) || !emu_want(p, i, 3, 3))
        return emu_bad(p, i, "this form is not supported");
    return emu_dest(p, &i->operands[0], mode == VOTE_BALLOT ? 'w' : 'p', &r[0]) &&
           emu_source(p, &i->operands[1], 'p', &r[1]) && collective(p, i, emu_exec_vote, &i->operands[2], 5, r, mode);
}

bool emu_build_match(parser *p, const instruction *i) {
    operand d = i->operands[0];
    int32_t r[4] = {-1, -1, -1, -1};
    int mode = emu_which(i, "any all");
    if (i->type_count != 1 || mode < 0 || !emu_want(p, i, 3, 3))
        return emu_bad(p, i, "this form is not supported");
    r[2] = d.other;
    d.other = -1;
    if (!emu_dest(p, &d, 'w', &r[0]) || !emu_source(p, &i->operands[1], emu_letter(i->types[0]), &r[1]) ||
        !collective(p, i, emu_exec_match, &i->operands[2], 5, r, mode))
        return false;
    p->m->code[p->m->op_count - 1].type = (uint8_t)i->types[0];
    return true;
}

bool emu_build_redux(parser *p, const instruction *i) {
    static const char names[] = "add min max and or xor";
    static const uint8_t modes[] = {ATOM_ADD, ATOM_MIN, ATOM_MAX, ATOM_AND, ATOM_OR, ATOM_XOR};
    int mode = emu_which(i, names);
    int32_t r[4] = {-1, -1, -1, -1};
    ptx_type t = i->types[0];
    if (i->type_count != 1 || mode < 0 || !emu_want(p, i, 3, 3) || (mode > 2) != (t == T_B32) ||
        (t == T_F32 && mode == 0))
        return emu_bad(p, i, "this form is not supported");
    char letter = emu_letter(t);
    if (!emu_dest(p, &i->operands[0], letter, &r[0]) || !emu_source(p, &i->operands[1], letter, &r[1]) ||
        !collective(p, i, emu_exec_redux, &i->operands[2], 5, r, modes[mode]))
        return false;
    op *o = &p->m->code[p->m->op_count - 1];
    o->type = (uint8_t)t;
    o->flags = (uint16_t)(emu_has(i, "abs") | emu_has(i, "NaN") << 1);
    return true;
}

bool emu_build_activemask(parser *p, const instruction *i) {
    int32_t d;
    if (!emu_want(p, i, 1, 1) || !emu_dest(p, &i->operands[0], 'w', &d))
        return false;
    op *o = emu_emit(p, emu_exec_activemask);
    if (o)
        o->r[0] = d;
    return o != NULL;
}

/* elect.sync d|p, members */
bool emu_build_elect(parser *p, const instruction *i) {
    operand d = i->operands[0];
    int32_t r[4] = {-1, -1, -1, -1};
    if (!emu_want(p, i, 2, 2) || d.other < 0)
        return emu_bad(p, i, "this form is not supported");
    r[1] = d.other;
    d.other = -1;
    return emu_dest(p, &d, 'w', &r[0]) && collective(p, i, emu_exec_elect, &i->operands[1], 5, r, 0);
}

bool emu_build_membar(parser *p, const instruction *i) {
    return emu_want(p, i, 0, 4) && emu_build_nop(p, i);
}

/* bar.sync a[, b]; bar.arrive a, b; bar.red.op d, a[, b], p; bar.warp.sync m. r: number, count, predicate, result;
 * mode: 0 sync, 1 arrive, 2 red.popc, 3 red.and, 4 red.or. */
bool emu_build_bar(parser *p, const instruction *i) {
    const operand *v = i->operands;
    int n = i->operand_count;
    int32_t r[4] = {-1, -1, -1, -1};
    if (emu_has(i, "warp")) {
        if (!emu_has(i, "sync") || !emu_want(p, i, 1, 1) || !emu_source(p, &v[0], 'w', &r[0]))
            return emu_bad(p, i, "this form is not supported");
        op *o = emu_emit(p, NULL);
        if (!o)
            return false;
        o->kind = OP_WARP_SYNC;
        o->r[0] = r[0];
        o->members = 0;
        return true;
    }
    int mode = 0, red = emu_which(i, "popc and or");
    if (emu_has(i, "red")) {
        mode = 2 + red;
        operand member = n > 0 ? v[n - 1] : (operand){0};
        if (red < 0 || i->type_count != 1 || (red == 0) != (i->types[0] == T_U32) || !emu_want(p, i, 3, 4))
            return emu_bad(p, i, "this form is not supported");
        if (!emu_dest(p, &v[0], red == 0 ? 'w' : 'p', &r[3]) || !emu_source(p, &member, 'p', &r[2]))
            return false;
        v++, n -= 2;
    } else {
        mode = emu_has(i, "arrive");
        if (emu_has(i, "arrive") + emu_has(i, "sync") != 1 || i->type_count || red >= 0 || n < 1 + mode || n > 2)
            return emu_bad(p, i, "this form is not supported");
    }
    if (!emu_source(p, &v[0], 'w', &r[0]) || (n > 1 && !emu_source(p, &v[1], 'w', &r[1])))
        return false;
    op *o = emu_emit(p, NULL);
    if (!o)
        return false;
    o->kind = OP_BARRIER;
    memcpy(o->r, r, sizeof r);
    o->mode = (uint8_t)mode;
    o->flags = n > 1 ? FLAG_COUNTED : 0;
    o->aligned = i->form->name[3] == 0 || emu_has(i, "aligned"); /* bar is barrier.aligned */
    return true;
}
