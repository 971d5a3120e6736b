/* build_mem.c: loads, stores, atomics, cp.async, matrix loads and mma. Layouts of op are in exec.h. */
#include <string.h>

#include "emu/exec.h"
#include "emu/parse.h"

static const char strong_words[] = "volatile relaxed acquire release acq_rel mmio";

static emu_class class_of(ptx_space s) {
    return s == SPACE_GLOBAL                      ? EMU_CLASS_GLOBAL
           : s == SPACE_SHARED                    ? EMU_CLASS_SHARED
           : s == SPACE_LOCAL                     ? EMU_CLASS_LOCAL
           : s == SPACE_CONST || s == SPACE_PARAM ? EMU_CLASS_PARAM
                                                  : EMU_CLASS_GENERIC;
}

/* The space that an instruction names; .param of a function is its local memory, and a named variable must be of that
 * space. */
static bool find_space(parser *p, const instruction *i, const operand *address, ptx_space *space) {
    ptx_space s = emu_has(i, "global")                                                             ? SPACE_GLOBAL
                  : emu_has(i, "shared") || emu_has(i, "shared::cta")                              ? SPACE_SHARED
                  : emu_has(i, "local")                                                            ? SPACE_LOCAL
                  : emu_has(i, "const")                                                            ? SPACE_CONST
                  : emu_has(i, "param") || emu_has(i, "param::entry") || emu_has(i, "param::func") ? SPACE_PARAM
                                                                                                   : SPACE_GENERIC;
    const symbol *named = address->kind == OPERAND_ADDRESS ? address->symbol : NULL;
    if (s == SPACE_PARAM && (named ? named->space == SPACE_LOCAL : !emu_function(p)->entry))
        s = SPACE_LOCAL;
    if (named && s == SPACE_GENERIC)
        s = named->space;
    if (named && named->space != s && !(named->space == SPACE_CONST && s == SPACE_GLOBAL))
        return emu_bad(p, i, "the variable is in another state space");
    if (named && !named->dynamic && (uint64_t)address->offset >= named->bytes && (s == SPACE_PARAM || s == SPACE_LOCAL))
        return emu_bad(p, i, "the offset is outside of the variable");
    *space = s;
    return true;
}

static int vector_of(const instruction *i) {
    return emu_has(i, "v8") ? 8 : emu_has(i, "v4") ? 4 : emu_has(i, "v2") ? 2 : 1;
}

/* Registers of a load or store: one operand, or a vector of `n`. b128 counts as two elements of 8 bytes. */
static bool registers(parser *p, const instruction *i, const operand *v, op *o, bool source) {
    int n = vector_of(i);
    ptx_type t = i->types[0];
    int bytes = emu_type_bytes[t];
    const operand *e = n > 1 ? &p->element[v->first] : v;
    char letter = bytes <= 2 ? 'H' : bytes == 4 ? 'W' : bytes == 8 ? 'Q' : 'x';
    if ((n > 1) != (v->kind == OPERAND_VECTOR) || (n > 1 && v->count != n))
        return emu_bad(p, i, "the vector does not have the size that the instruction names");
    if (bytes * n > 32)
        return emu_bad(p, i, "more than 32 bytes");
    for (int k = 0; k < n; k++) {
        int32_t slot;
        char own = e[k].kind == OPERAND_NUMBER ? emu_letter(t) : letter; /* immediates are read by their type */
        if (source ? !emu_source(p, &e[k], own, &slot) : !emu_dest(p, &e[k], letter, &slot))
            return false;
        if (bytes == 16) {
            o->r[2 * k] = slot, o->r[2 * k + 1] = slot + 2;
            o->wide |= (uint8_t)(3 << 2 * k);
        } else {
            o->r[k] = slot;
            if ((e[k].kind == OPERAND_REG && emu_type_bytes[e[k].type] == 8) || bytes == 8)
                o->wide |= (uint8_t)(1 << k);
        }
    }
    o->bytes = bytes == 16 ? 8 : (uint8_t)bytes;
    o->count = (uint8_t)(bytes == 16 ? 2 * n : n);
    return true;
}

static bool access_op(parser *p, const instruction *i, bool store) {
    const operand *address = &i->operands[store ? 0 : 1], *data = &i->operands[store ? 1 : 0];
    ptx_space space;
    if (i->type_count != 1 || i->operand_count < 2 || i->operand_count > 3 ||
        (i->operand_count == 3 && !emu_has(i, "L2::cache_hint")))
        return emu_bad(p, i, "wrong number of operands");
    if (!find_space(p, i, address, &space))
        return false;
    op made;
    memset(&made, 0, sizeof made);
    memset(made.r, 0xff, sizeof made.r);
    if (!registers(p, i, data, &made, store) || !emu_address(p, address, &made, 8, 0, &made.imm))
        return false;
    p->base.class_ = (uint8_t)class_of(space);
    op *o = emu_emit(p, store ? emu_exec_store : emu_exec_load);
    if (!o)
        return false;
    memcpy(o->r, made.r, sizeof o->r);
    o->imm = made.imm;
    o->space = (uint8_t)space;
    o->bytes = made.bytes, o->count = made.count, o->wide = made.wide, o->mode2 = made.mode2;
    ptx_type t = i->types[0];
    o->flags = (uint16_t)((emu_which(i, strong_words) >= 0 ? FLAG_STRONG : 0) |
                          (t >= T_S8 && t <= T_S64 ? FLAG_SIGNED : 0) | (emu_has(i, "nc") ? FLAG_NONCOHERENT : 0) |
                          (emu_which(i, "param param::func param::entry") >= 0 ? FLAG_PARAM : 0));
    if (o->flags & FLAG_PARAM)
        o->class_ = EMU_CLASS_PARAM;
    return true;
}

bool emu_build_load(parser *p, const instruction *i) {
    return access_op(p, i, false);
}
bool emu_build_store(parser *p, const instruction *i) {
    return access_op(p, i, true);
}

/* Prefetches read nothing; a wrong address in one is not an error of the program. */
bool emu_build_prefetch(parser *p, const instruction *i) {
    return i->operand_count >= 1 ? emu_build_nop(p, i) : emu_bad(p, i, "wrong number of operands");
}

static bool atomic(parser *p, const instruction *i, bool returns) {
    static const char names[] = "add min max inc dec and or xor exch cas";
    int mode = emu_which(i, names), n = vector_of(i);
    ptx_type t = i->types[0];
    const operand *v = &i->operands[returns];
    ptx_space space;
    if (i->type_count != 1 || mode < 0 || emu_has(i, "cta") + emu_has(i, "gpu") + emu_has(i, "sys") > 1)
        return emu_bad(p, i, "this form is not supported");
    int inputs = mode == ATOM_CAS ? 2 : 1;
    bool is_float = t == T_F32 || t == T_F64 || t == T_F16 || t == T_F16X2 || t == T_BF16 || t == T_BF16X2;
    bool integer = t == T_U32 || t == T_S32 || t == T_U64 || t == T_S64, bits = t == T_B32 || t == T_B64 || t == T_B16;
    bool ok = mode == ATOM_ADD                       ? integer || is_float
              : mode == ATOM_MIN || mode == ATOM_MAX ? integer || (is_float && t != T_F32 && t != T_F64)
              : mode == ATOM_INC || mode == ATOM_DEC ? t == T_U32
              : mode == ATOM_CAS                     ? bits
                                                     : bits && t != T_B16;
    if (!ok || (n > 1 && (returns || !is_float || t == T_F64 || emu_type_bytes[t] * n > 16)))
        return emu_bad(p, i, "this operation does not exist for its type");
    if (!emu_want(p, i, returns + 1 + inputs, returns + 1 + inputs + emu_has(i, "L2::cache_hint")) ||
        !find_space(p, i, v, &space))
        return false;
    op made;
    memset(&made, 0, sizeof made);
    memset(made.r, 0xff, sizeof made.r);
    char letter = emu_letter(t);
    if (returns && !emu_dest(p, &i->operands[0], letter, &made.r[0]))
        return false;
    if (!emu_address(p, v, &made, 1, 0, &made.imm))
        return false;
    if (n > 1) {
        if (v[1].kind != OPERAND_VECTOR || v[1].count != n)
            return emu_bad(p, i, "the vector does not have the size that the instruction names");
        for (int k = 0; k < n; k++)
            if (!emu_source(p, &p->element[v[1].first + k], letter, &made.r[2 + k]))
                return false;
    } else {
        for (int k = 0; k < inputs; k++)
            if (!emu_source(p, &v[1 + k], letter, &made.r[2 + k]))
                return false;
    }
    op *o = emu_emit(p, emu_exec_atom);
    if (!o)
        return false;
    memcpy(o->r, made.r, sizeof o->r);
    o->imm = made.imm, o->mode2 = made.mode2;
    o->space = (uint8_t)space, o->type = (uint8_t)t, o->mode = (uint8_t)mode;
    o->bytes = emu_type_bytes[t], o->count = (uint8_t)n;
    o->flags = (uint16_t)(FLAG_STRONG | (returns ? FLAG_RETURNS : 0));
    return true;
}

bool emu_build_atom(parser *p, const instruction *i) {
    return atomic(p, i, true);
}
bool emu_build_red(parser *p, const instruction *i) {
    return atomic(p, i, false);
}

static bool small_number(const operand *o, uint64_t most) {
    return o->kind == OPERAND_NUMBER && !o->number.is_float && o->number.value <= most;
}

bool emu_build_cp(parser *p, const instruction *i) {
    if (!emu_has(i, "async"))
        return emu_bad(p, i, "only cp.async is supported");
    if (emu_has(i, "commit_group"))
        return emu_want(p, i, 0, 0) && emu_emit(p, emu_exec_cp_commit);
    if (emu_has(i, "wait_group") || emu_has(i, "wait_all")) {
        bool all = emu_has(i, "wait_all");
        if (!emu_want(p, i, !all, !all) || (!all && !small_number(&i->operands[0], UINT32_MAX - 1)))
            return emu_bad(p, i, "the number of groups is an immediate");
        op *o = emu_emit(p, emu_exec_cp_wait);
        if (!o)
            return false;
        o->imm = all ? -1 : (int64_t)i->operands[0].number.value;
        return true;
    }
    if (!(emu_has(i, "shared") || emu_has(i, "shared::cta")) || !emu_has(i, "global") ||
        emu_has(i, "ca") + emu_has(i, "cg") != 1 || !emu_want(p, i, 3, 4 + emu_has(i, "L2::cache_hint")))
        return emu_bad(p, i, "this form is not supported");
    const operand *size = &i->operands[2];
    if (!small_number(size, 16) || (size->number.value != 4 && size->number.value != 8 && size->number.value != 16) ||
        (emu_has(i, "cg") && size->number.value != 16))
        return emu_bad(p, i, "the size is 4, 8 or 16 (with .cg: 16)");
    const operand *shared = &i->operands[0];
    if (shared->kind == OPERAND_ADDRESS && shared->symbol && shared->symbol->space != SPACE_SHARED)
        return emu_bad(p, i, "the variable is in another state space");
    op made;
    int64_t offset;
    memset(&made, 0, sizeof made);
    memset(made.r, 0xff, sizeof made.r);
    bool ignore = i->operand_count >= 4 && i->operands[3].kind == OPERAND_REG && i->operands[3].type == T_PRED;
    bool sized = i->operand_count >= 4 && !(i->operand_count == 4 && emu_has(i, "L2::cache_hint"));
    if (!emu_address(p, shared, &made, 0, 0, &made.imm) || !emu_address(p, &i->operands[1], &made, 1, 1, &offset) ||
        (sized && !ignore && !emu_source(p, &i->operands[3], 'w', &made.r[2])) ||
        (sized && ignore && !emu_source(p, &i->operands[3], 'p', &made.r[3])))
        return false;
    op *o = emu_emit(p, emu_exec_cp_async);
    if (!o)
        return false;
    memcpy(o->r, made.r, sizeof o->r);
    o->imm = made.imm, o->mode2 = made.mode2;
    if (offset < INT32_MIN || offset > INT32_MAX)
        return emu_bad(p, i, "the offset is too large");
    o->target = (uint32_t)(int32_t)offset;
    o->bytes = (uint8_t)size->number.value;
    return true;
}

/* ldmatrix {r}, [a] and stmatrix [a], {r}. */
static bool matrix(parser *p, const instruction *i, bool store) {
    int n = emu_has(i, "x4") ? 4 : emu_has(i, "x2") ? 2 : emu_has(i, "x1") ? 1 : 0;
    const operand *address = &i->operands[store ? 0 : 1], *v = &i->operands[store ? 1 : 0];
    if (i->type_count != 1 || !emu_has(i, "sync") || !emu_has(i, "aligned") || !emu_has(i, "m8n8") || n == 0 ||
        !emu_want(p, i, 2, 2))
        return emu_bad(p, i, "this form is not supported");
    if (address->kind == OPERAND_ADDRESS && address->symbol && address->symbol->space != SPACE_SHARED)
        return emu_bad(p, i, "the variable is in another state space");
    op made;
    memset(&made, 0, sizeof made);
    memset(made.r, 0xff, sizeof made.r);
    const operand *e = v->kind == OPERAND_VECTOR ? &p->element[v->first] : v;
    if ((v->kind == OPERAND_VECTOR ? v->count : 1) != n)
        return emu_bad(p, i, "the vector does not have the size that the instruction names");
    for (int k = 0; k < n; k++)
        if (store ? !emu_source(p, &e[k], 'w', &made.r[k]) : !emu_dest(p, &e[k], 'w', &made.r[k]))
            return false;
    if (!emu_address(p, address, &made, 8, 0, &made.imm))
        return false;
    op *o = emu_emit(p, store ? emu_exec_stmatrix : emu_exec_ldmatrix);
    if (!o)
        return false;
    memcpy(o->r, made.r, sizeof o->r);
    o->kind = OP_COLLECTIVE;
    o->imm = made.imm, o->mode2 = made.mode2;
    o->space = emu_has(i, "shared") || emu_has(i, "shared::cta") ? SPACE_SHARED : SPACE_GENERIC;
    o->bytes = 16, o->count = (uint8_t)n, o->aligned = 1;
    o->flags = emu_has(i, "trans") ? FLAG_TRANS : 0;
    return true;
}

bool emu_build_ldmatrix(parser *p, const instruction *i) {
    return matrix(p, i, false);
}
bool emu_build_stmatrix(parser *p, const instruction *i) {
    return matrix(p, i, true);
}

bool emu_build_movmatrix(parser *p, const instruction *i) {
    int32_t d, a;
    if (i->type_count != 1 || !emu_has(i, "trans") || !emu_want(p, i, 2, 2))
        return emu_bad(p, i, "this form is not supported");
    if (!emu_source(p, &i->operands[1], 'w', &a) || !emu_dest(p, &i->operands[0], 'w', &d))
        return false;
    op *o = emu_emit(p, emu_exec_movmatrix);
    if (!o)
        return false;
    o->kind = OP_COLLECTIVE, o->aligned = 1;
    o->r[0] = d, o->r[1] = a;
    return true;
}

/* shape, types of d, a, b, c, then the registers of each. */
static const struct {
    const char *shape;
    ptx_type d, a, b, c;
    uint8_t k, nd, na, nb;
    exec_fn *fn;
} mmas[] = {
    {"m16n8k16", T_F32, T_F16, T_F16, T_F32, 16, 4, 4, 2, emu_exec_mma_half},
    {"m16n8k16", T_F16, T_F16, T_F16, T_F16, 16, 2, 4, 2, emu_exec_mma_half},
    {"m16n8k16", T_F32, T_BF16, T_BF16, T_F32, 16, 4, 4, 2, emu_exec_mma_half},
    {"m16n8k8", T_F32, T_F16, T_F16, T_F32, 8, 4, 2, 1, emu_exec_mma_half},
    {"m16n8k8", T_F16, T_F16, T_F16, T_F16, 8, 2, 2, 1, emu_exec_mma_half},
    {"m16n8k8", T_F32, T_BF16, T_BF16, T_F32, 8, 4, 2, 1, emu_exec_mma_half},
    {"m16n8k8", T_F32, T_TF32, T_TF32, T_F32, 8, 4, 4, 2, emu_exec_mma_tf32},
    {"m16n8k4", T_F32, T_TF32, T_TF32, T_F32, 4, 4, 2, 1, emu_exec_mma_tf32},
    {"m16n8k32", T_S32, T_S8, T_S8, T_S32, 32, 4, 4, 2, emu_exec_mma_int},
    {"m16n8k32", T_S32, T_U8, T_U8, T_S32, 32, 4, 4, 2, emu_exec_mma_int},
    {"m16n8k32", T_S32, T_S8, T_U8, T_S32, 32, 4, 4, 2, emu_exec_mma_int},
    {"m16n8k32", T_S32, T_U8, T_S8, T_S32, 32, 4, 4, 2, emu_exec_mma_int},
    {"m16n8k16", T_S32, T_S8, T_S8, T_S32, 16, 4, 2, 1, emu_exec_mma_int},
    {"m16n8k16", T_S32, T_U8, T_U8, T_S32, 16, 4, 2, 1, emu_exec_mma_int},
    {"m8n8k4", T_F64, T_F64, T_F64, T_F64, 4, 2, 1, 1, emu_exec_mma_f64},
};

static bool fragment(parser *p, const operand *v, int n, char letter, bool dest, int32_t *r) {
    const operand *e = v->kind == OPERAND_VECTOR ? &p->element[v->first] : v;
    if ((v->kind == OPERAND_VECTOR ? v->count : 1) != n)
        return emu_fail(p, p->base.line, "a fragment of mma does not have the %d registers of its shape and type", n);
    for (int k = 0; k < n; k++)
        if (dest ? !emu_dest(p, &e[k], letter, &r[k]) : !emu_source(p, &e[k], letter, &r[k]))
            return false;
    return true;
}

bool emu_build_mma(parser *p, const instruction *i) {
    const char *const layout[2] = {"row", "col"};
    int order[2] = {0, 0}, layouts = 0;
    for (int k = 0; k < i->word_count; k++)
        for (int l = 0; l < 2; l++)
            if (i->words[k].length == 3 && memcmp(i->words[k].text, layout[l], 3) == 0 && layouts < 2)
                order[layouts++] = l;
    if (!emu_has(i, "sync") || !emu_has(i, "aligned") || i->type_count != 4 || layouts != 2 || order[0] != 0 ||
        order[1] != 1 || !emu_want(p, i, 4, 4))
        return emu_bad(p, i, "only .row.col with four types is supported");
    for (size_t k = 0; k < sizeof mmas / sizeof *mmas; k++) {
        if (!emu_has(i, mmas[k].shape) || mmas[k].d != i->types[0] || mmas[k].a != i->types[1] ||
            mmas[k].b != i->types[2] || mmas[k].c != i->types[3])
            continue;
        if (emu_has(i, "satfinite") && mmas[k].fn != emu_exec_mma_int)
            break;
        int32_t r[OPERANDS_MAX];
        memset(r, 0xff, sizeof r);
        char narrow = mmas[k].d == T_F64 ? 'd' : 'w'; /* f32 registers have 32 bits too */
        if (!fragment(p, &i->operands[0], mmas[k].nd, narrow, true, &r[0]) ||
            !fragment(p, &i->operands[1], mmas[k].na, narrow, false, &r[4]) ||
            !fragment(p, &i->operands[2], mmas[k].nb, narrow, false, &r[8]) ||
            !fragment(p, &i->operands[3], mmas[k].nd, mmas[k].c == T_F32 ? 'f' : narrow, false, &r[10]))
            return false;
        op *o = emu_emit(p, mmas[k].fn);
        if (!o)
            return false;
        memcpy(o->r, r, sizeof r);
        o->kind = OP_COLLECTIVE, o->aligned = 1;
        o->type = (uint8_t)mmas[k].d, o->type2 = (uint8_t)mmas[k].a, o->mode2 = (uint8_t)mmas[k].b;
        o->count = mmas[k].k;
        o->mode = emu_has(i, "satfinite");
        return true;
    }
    return emu_bad(p, i, "this shape and these types are not supported");
}
