/* build_move.c: mov with its packing forms, cvt, cvta, isspacep, and what has no effect here. */
#include <string.h>

#include "emu/exec.h"
#include "emu/parse.h"

/* mov.b64 d, {a, b} and {a, b}, d; four elements of 16 bits in two levels; b128 of two 64-bit ones; b32 of two of 16;
 * b16 of two of 8. */
static bool build_pack(parser *p, const instruction *i, bool unpack) {
    const operand *vector = &i->operands[unpack ? 0 : 1], *whole = &i->operands[unpack ? 1 : 0];
    const operand *e = &p->element[vector->first];
    int bytes = emu_type_bytes[i->types[0]], n = vector->count;
    int32_t w, s[4];
    bool ok =
        (n == 2 && (bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16)) || (n == 4 && (bytes == 8 || bytes == 4));
    if (!ok || (n == 4 && bytes == 4))
        return emu_bad(p, i, "this way of packing is not supported");
    char letter = bytes == 2 ? 'h' : bytes == 4 ? 'w' : bytes == 8 ? 'q' : 'x';
    char part = bytes / n == 8 ? 'q' : bytes / n == 4 ? 'w' : 'h';
    if (unpack ? !emu_source(p, whole, letter, &w) : !emu_dest(p, whole, letter, &w))
        return false;
    for (int k = 0; k < n; k++)
        if (unpack ? !emu_dest(p, &e[k], part, &s[k]) : !emu_source(p, &e[k], part, &s[k]))
            return false;
    if (bytes == 16) { /* a row of low halves, then one of high halves */
        if (unpack)
            return emu_emit_alu(p, "mov_u64", p->temp, w, -1, -1) && emu_emit_alu(p, "mov_u64", s[1], w + 2, -1, -1) &&
                   emu_emit_alu(p, "mov_u64", s[0], p->temp, -1, -1);
        return emu_emit_alu(p, "mov_u64", p->temp, s[0], -1, -1) && emu_emit_alu(p, "mov_u64", w + 2, s[1], -1, -1) &&
               emu_emit_alu(p, "mov_u64", w, p->temp, -1, -1);
    }
    const char *low = bytes == 8   ? "low_b64"
                      : bytes == 4 ? "low_b32"
                                   : "low_b16",
               *high = bytes == 8   ? "high_b64"
                       : bytes == 4 ? "high_b32"
                                    : "high_b16";
    const char *join = bytes == 8 ? "pack_b64" : bytes == 4 ? "pack_b32" : "pack_b16";
    int32_t t = p->temp;
    if (n == 2 && !unpack)
        return emu_emit_alu(p, join, w, s[0], s[1], -1);
    if (n == 2)
        return emu_emit_alu(p, low, s[0], w, -1, -1) && emu_emit_alu(p, high, s[1], w, -1, -1);
    if (!unpack)
        return emu_emit_alu(p, "pack_b32", t, s[0], s[1], -1) && emu_emit_alu(p, "pack_b32", t + 2, s[2], s[3], -1) &&
               emu_emit_alu(p, "pack_b64", w, t, t + 2, -1);
    return emu_emit_alu(p, "low_b64", t, w, -1, -1) && emu_emit_alu(p, "high_b64", t + 2, w, -1, -1) &&
           emu_emit_alu(p, "low_b32", s[0], t, -1, -1) && emu_emit_alu(p, "high_b32", s[1], t, -1, -1) &&
           emu_emit_alu(p, "low_b32", s[2], t + 2, -1, -1) && emu_emit_alu(p, "high_b32", s[3], t + 2, -1, -1);
}

bool emu_build_mov(parser *p, const instruction *i) {
    if (i->type_count != 1 || !emu_want(p, i, 2, 2))
        return emu_bad(p, i, "this form is not supported");
    const operand *d = &i->operands[0], *a = &i->operands[1];
    if (d->kind == OPERAND_VECTOR || a->kind == OPERAND_VECTOR)
        return d->kind == a->kind ? emu_bad(p, i, "only one side may be a vector")
                                  : build_pack(p, i, d->kind == OPERAND_VECTOR);
    ptx_type t = i->types[0];
    char letter = emu_letter(t);
    int32_t to, from;
    if (!emu_dest(p, d, letter, &to))
        return false;
    if (a->kind == OPERAND_SREG && a->sreg >= SREG_CLOCK) {
        op *o = letter == 'w' || letter == 'q' ? emu_emit(p, emu_exec_clock) : NULL;
        if (!o)
            return emu_bad(p, i, "this form is not supported");
        o->mode = (uint8_t)a->sreg;
        o->bytes = letter == 'q' ? 8 : 4;
        o->r[0] = to;
        return true;
    }
    if (!emu_source(p, a, letter, &from))
        return false;
    if (letter == 'x')
        return emu_emit_alu(p, "mov_u64", to, from, -1, -1) && emu_emit_alu(p, "mov_u64", to + 2, from + 2, -1, -1);
    return emu_emit_alu(p,
                        letter == 'p'                    ? "mov_pred"
                        : letter == 'h'                  ? "mov_u16"
                        : letter == 'w' || letter == 'f' ? "mov_u32"
                                                         : "mov_u64",
                        to, from, -1, -1);
}

static bool is_int(ptx_type t) {
    return t >= T_U8 && t <= T_S64;
}
static bool is_signed(ptx_type t) {
    return t >= T_S8 && t <= T_S64;
}

/* Key of the ALU table for conversions that have a row there. */
static void fast_key(const instruction *i, char *key, size_t room) {
    static const char *const rounding[] = {"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi"};
    ptx_type d = i->types[0], s = i->types[1];
    int db = emu_type_bytes[d], sb = emu_type_bytes[s];
    key[0] = 0;
    if (is_int(d) && is_int(s)) {
        if (db == sb)
            snprintf(key, room, "mov_u%d", 8 * db);
        else if (db < sb || !is_signed(s))
            snprintf(key, room, "cvt_u%d_u%d", 8 * db, 8 * sb);
        else
            snprintf(key, room, "cvt_s%d_s%d", 8 * db, 8 * sb);
        return;
    }
    size_t n = (size_t)snprintf(key, room, "cvt");
    for (size_t k = 0; k < 8; k++)
        if (emu_has(i, rounding[k]))
            n += (size_t)snprintf(key + n, room - n, "_%s", rounding[k]);
    snprintf(key + n, room - n, "%s_%s_%s", emu_has(i, "relu") ? "_relu" : "", emu_type_name[d], emu_type_name[s]);
}

bool emu_build_cvt(parser *p, const instruction *i) {
    static const char *const modes[] = {"rn rni", "rz rzi", "rm rmi", "rp rpi", "rna"};
    if (i->type_count != 2)
        return emu_bad(p, i, "wrong number of types");
    ptx_type d = i->types[0], s = i->types[1];
    bool packs = (d == T_F16X2 || d == T_BF16X2 || d == T_E4M3X2 || d == T_E5M2X2) && s == T_F32;
    bool unpacks = d == T_F16X2 && (s == T_E4M3X2 || s == T_E5M2X2);
    bool repacks = (d == T_E4M3X2 || d == T_E5M2X2) && s == T_F16X2;
    bool single = emu_type_bytes[d] <= 8 && !packs && !unpacks && !repacks;
    for (int k = 0; k < 2; k++)
        if (single &&
            (i->types[k] == T_F16X2 || i->types[k] == T_BF16X2 || i->types[k] == T_E4M3X2 || i->types[k] == T_E5M2X2))
            return emu_bad(p, i, "this conversion is not supported");
    if (s == T_TF32 || (d == T_TF32 && s != T_F32) || !emu_want(p, i, packs ? 3 : 2, packs ? 3 : 2))
        return emu_bad(p, i, "this conversion is not supported");
    const operand *to = &i->operands[0], *from = &i->operands[1];
    /* Integers may be in wider registers; a narrow result is extended to all of its register. */
    char from_letter = is_int(s) ? (emu_type_bytes[s] == 4 ? 'W' : emu_type_bytes[s] == 8 ? 'Q' : 'H') : emu_letter(s);
    char to_letter = is_int(d) ? (emu_type_bytes[d] == 4 ? 'W' : emu_type_bytes[d] == 8 ? 'Q' : 'H') : emu_letter(d);
    if (s == T_F32)
        from_letter = 'f';
    int32_t r[3] = {-1, -1, -1};
    if (!emu_source(p, from, from_letter, &r[1]) || (packs && !emu_source(p, &i->operands[2], 'f', &r[2])) ||
        !emu_dest(p, to, to_letter, &r[0]))
        return false;
    int to_bytes = to->kind == OPERAND_REG ? emu_type_bytes[to->type] : emu_type_bytes[d];
    int from_bytes = from->kind == OPERAND_REG ? emu_type_bytes[from->type] : emu_type_bytes[s];
    bool exact = (!is_int(d) || to_bytes == emu_type_bytes[d]) && (!is_int(s) || from_bytes == emu_type_bytes[s]) &&
                 emu_type_bytes[d] > 1 && emu_type_bytes[s] > 1;
    char key[64];
    fast_key(i, key, sizeof key);
    if (exact && !emu_has(i, "sat") && !emu_has(i, "ftz") && !emu_has(i, "satfinite") && emu_alu_find(key))
        return emu_emit_alu(p, key, r[0], r[1], r[2], -1);
    op *o = emu_emit(p, emu_exec_cvt);
    if (!o)
        return false;
    o->type = (uint8_t)d, o->type2 = (uint8_t)s;
    memcpy(o->r, r, sizeof r);
    o->wide = (uint8_t)((to_bytes == 8 ? 1 : 0) | (from_bytes == 8 ? 2 : 0));
    o->mode = is_int(d) && !is_int(s) ? ROUND_ZERO : ROUND_NEAREST;
    for (int k = 0; k < 5; k++)
        if (emu_which(i, modes[k]) >= 0)
            o->mode = (uint8_t)k;
    bool integral = emu_has(i, "rni") || emu_has(i, "rzi") || emu_has(i, "rmi") || emu_has(i, "rpi");
    o->flags = (uint16_t)((emu_has(i, "sat") ? CVT_SAT : 0) | (emu_has(i, "relu") ? CVT_RELU : 0) |
                          (emu_has(i, "satfinite") ? CVT_FINITE : 0) | (emu_has(i, "ftz") ? CVT_FTZ : 0) |
                          (integral ? CVT_INTEGRAL : 0));
    return true;
}

/* The named state space of an instruction; generic where it names none. */
static ptx_space space_named(const instruction *i) {
    return emu_has(i, "global")                                ? SPACE_GLOBAL
           : emu_has(i, "shared") || emu_has(i, "shared::cta") ? SPACE_SHARED
           : emu_has(i, "local")                               ? SPACE_LOCAL
           : emu_has(i, "const")                               ? SPACE_CONST
           : emu_has(i, "param") || emu_has(i, "param::entry") ? SPACE_PARAM
                                                               : SPACE_GENERIC;
}

/* cvta adds the window of a space to an address, cvta.to takes it away. Global and constant addresses are generic ones.
 */
bool emu_build_cvta(parser *p, const instruction *i) {
    int32_t d, a;
    ptx_space space = space_named(i);
    if (i->type_count != 1 || i->types[0] != T_U64 || space == SPACE_GENERIC || !emu_want(p, i, 2, 2))
        return emu_bad(p, i, "this form is not supported");
    if (space == SPACE_PARAM && !emu_function(p)->entry)
        return emu_bad(p, i, "addresses of a function's parameters are not supported");
    if (!emu_source(p, &i->operands[1], 'q', &a) || !emu_dest(p, &i->operands[0], 'q', &d))
        return false;
    op *o = emu_emit(p, emu_exec_window);
    if (!o)
        return false;
    o->space = (uint8_t)space;
    o->mode = emu_has(i, "to") ? WINDOW_REMOVE : WINDOW_ADD;
    o->r[0] = d, o->r[1] = a;
    return true;
}

bool emu_build_isspacep(parser *p, const instruction *i) {
    int32_t d, a;
    if (space_named(i) == SPACE_GENERIC || !emu_want(p, i, 2, 2))
        return emu_bad(p, i, "this form is not supported");
    if (!emu_source(p, &i->operands[1], 'q', &a) || !emu_dest(p, &i->operands[0], 'p', &d))
        return false;
    op *o = emu_emit(p, emu_exec_isspacep);
    if (!o)
        return false;
    o->space = (uint8_t)space_named(i);
    o->r[0] = d, o->r[1] = a;
    return true;
}

static void exec_nop(warp *w, const op *o, uint32_t mask) {
    (void)w, (void)o, (void)mask;
}

bool emu_build_nop(parser *p, const instruction *i) {
    (void)i;
    return emu_emit(p, exec_nop) != NULL;
}

/* createpolicy: a cache hint means nothing here; its register gets 0. */
bool emu_build_zero(parser *p, const instruction *i) {
    int32_t d, zero;
    if (i->operand_count < 1)
        return emu_bad(p, i, "wrong number of operands");
    return emu_dest(p, &i->operands[0], 'q', &d) && emu_fixed(p, SREG_NONE, 8, 0, &zero) &&
           emu_emit_alu(p, "mov_u64", d, zero, -1, -1);
}
