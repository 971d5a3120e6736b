/* build_alu.c: instructions on registers. Most are found in the ALU table by their key; .ftz and .sat become steps of
 * their own before and after, so that the table needs no row for them. */
#include <stdlib.h>
#include <string.h>

#include "emu/parse.h"

/* The class of an arithmetic instruction follows its type. */
static void classify(parser *p, ptx_type t) {
    if (p->base.class_ != EMU_CLASS_INT && p->base.class_ != EMU_CLASS_F32)
        return;
    p->base.class_ = t == T_F64                                                   ? EMU_CLASS_F64
                     : t == T_F32 || t == T_F32X2                                 ? EMU_CLASS_F32
                     : t == T_F16 || t == T_F16X2 || t == T_BF16 || t == T_BF16X2 ? EMU_CLASS_HALF
                     : t == T_PRED                                                ? EMU_CLASS_MOVE
                                                                                  : EMU_CLASS_INT;
}

/* The row of "<stem>_<type>", or of the type that has the same bits: s to u, b to u, b from u. */
static const alu_row *find_row(const char *stem, const char *type, const char *tail) {
    static const char letters[] = "?ub";
    char key[128];
    for (int k = 0; k < 3; k++) {
        char t[16];
        snprintf(t, sizeof t, "%s", type);
        if (k > 0) {
            if (t[0] != 's' && t[0] != 'u' && t[0] != 'b')
                return NULL;
            if (t[0] == 'b' && t[1] == 'f')
                return NULL;
            t[0] = letters[k];
        }
        snprintf(key, sizeof key, "%s_%s%s", stem, t, tail);
        const alu_row *row = emu_alu_find(key);
        if (row)
            return row;
    }
    return NULL;
}

static void stem_of(const instruction *i, const char *name, const char *words, char *stem, size_t room) {
    size_t n = (size_t)snprintf(stem, room, "%s", name);
    for (const char *s = words; *s && n < room;) {
        size_t length = strcspn(s, " ");
        char one[32];
        snprintf(one, sizeof one, "%.*s", (int)length, s);
        if (emu_has(i, one))
            n += (size_t)snprintf(stem + n, room - n, "_%s", one);
        s += length + (s[length] == ' ');
    }
}

/* Emits a row for parsed operands, result first, with .ftz and .sat of floats around it. */
static bool emit_row(parser *p, const instruction *i, const alu_row *row, int operands, ptx_type type, bool ftz,
                     bool sat) {
    int32_t r[5] = {-1, -1, -1, -1, -1};
    if (!row)
        return emu_bad(p, i, "this form is not supported");
    if (operands != (int)strlen(row->signature) || !emu_want(p, i, operands, operands))
        return emu_bad(p, i, "wrong number of operands");
    for (int k = 1; k < operands; k++) {
        if (!emu_source(p, &i->operands[k], row->signature[k], &r[k]))
            return false;
        if (ftz && type == T_F32 && row->signature[k] == 'f') {
            if (!emu_emit_alu(p, "ftz_f32", p->temp + 2 * k, r[k], -1, -1))
                return false;
            r[k] = p->temp + 2 * k;
        }
    }
    if (!emu_dest(p, &i->operands[0], row->signature[0], &r[0]))
        return false;
    op *o = emu_emit(p, row->fn);
    if (!o)
        return false;
    memcpy(o->r, r, sizeof r);
    if (sat && !emu_emit_alu(p, type == T_F64 ? "sat_f64" : "sat_f32", r[0], r[0], -1, -1))
        return false;
    return !ftz || type != T_F32 || row->signature[0] != 'f' || emu_emit_alu(p, "ftz_f32", r[0], r[0], -1, -1);
}

bool emu_build_alu(parser *p, const instruction *i) {
    char stem[96], words[96], tail[32] = "", name[32];
    ptx_type t = i->types[0];
    if (i->type_count < 1 || (i->type_count > 1 && strncmp(i->form->name, "dp", 2) != 0))
        return emu_bad(p, i, "wrong number of types");
    if (emu_has(i, "cc"))
        return emu_build_carry(p, i);
    bool is_float = t == T_F32 || t == T_F64;
    bool sat = is_float && emu_has(i, "sat");
    classify(p, t);
    snprintf(name, sizeof name, "%s", i->form->name);
    snprintf(words, sizeof words, "%s", i->form->key);
    if (is_float && strcmp(name, "mad") == 0)
        snprintf(name, sizeof name, "fma");
    if (t == T_F64 && strcmp(name, "rcp") == 0 && emu_has(i, "approx"))
        snprintf(name, sizeof name, "rcp_approx");
    if (t == T_F64 && strcmp(name, "rsqrt") == 0 && emu_has(i, "ftz"))
        snprintf(name, sizeof name, "rsqrt_high"), words[0] = 0;
    char *cut = is_float ? strstr(words, "sat") : NULL; /* a step of its own */
    if (cut)
        memset(cut, '?', 3);
    if (i->type_count == 2)
        snprintf(tail, sizeof tail, "_%s", emu_type_name[i->types[1]]);
    stem_of(i, name, words, stem, sizeof stem);
    const alu_row *row = find_row(stem, emu_type_name[t], tail);
    return emit_row(p, i, row, i->operand_count, t, emu_has(i, "ftz"), sat);
}

/* Two or three operands; three are two steps. */
bool emu_build_minmax(parser *p, const instruction *i) {
    if (i->operand_count != 4)
        return emu_build_alu(p, i);
    if (i->types[0] != T_F32 || i->type_count != 1)
        return emu_bad(p, i, "three operands are for f32");
    instruction first = *i, second = *i;
    first.operand_count = second.operand_count = 3;
    first.operands[0] = (operand){.kind = OPERAND_REG, .type = T_F32, .slot = p->temp + 16, .other = -1};
    second.operands[1] = first.operands[0];
    second.operands[2] = i->operands[3];
    return emu_build_alu(p, &first) && emu_build_alu(p, &second);
}

/* add.cc, addc{.cc}, sub.cc, subc{.cc}, mad{c}.{lo,hi}{.cc}: mad is the product into a temporary, then an addition. */
bool emu_build_carry(parser *p, const instruction *i) {
    ptx_type t = i->types[0];
    const char *name = i->form->name;
    bool mad = strncmp(name, "mad", 3) == 0, in = name[strlen(name) - 1] == 'c',
         subtract = strncmp(name, "sub", 3) == 0;
    if (i->type_count != 1 || (t != T_U32 && t != T_S32 && t != T_U64 && t != T_S64) || emu_has(i, "sat") ||
        emu_has(i, "wide"))
        return emu_bad(p, i, "this form is not supported");
    if (!emu_want(p, i, mad ? 4 : 3, mad ? 4 : 3))
        return false;
    char letter = emu_letter(t);
    bool wide = letter == 'q';
    int32_t d, a, b;
    if (mad) {
        char key[32];
        const char *half = emu_has(i, "hi") ? "hi" : "lo";
        bool is_signed = (t == T_S32 || t == T_S64) && half[0] == 'h';
        snprintf(key, sizeof key, "mul_%s_%c%d", half, is_signed ? 's' : 'u', wide ? 64 : 32);
        int32_t x, y;
        if (!emu_source(p, &i->operands[1], letter, &x) || !emu_source(p, &i->operands[2], letter, &y) ||
            !emu_emit_alu(p, key, p->temp, x, y, -1))
            return false;
        a = p->temp;
    } else if (!emu_source(p, &i->operands[1], letter, &a)) {
        return false;
    }
    if (!emu_source(p, &i->operands[mad ? 3 : 2], letter, &b) || !emu_dest(p, &i->operands[0], letter, &d) ||
        !emu_emit_alu(
            p, subtract ? (wide ? "carry_sub_u64" : "carry_sub_u32") : (wide ? "carry_add_u64" : "carry_add_u32"), d, a,
            b, -1))
        return false;
    p->m->code[p->m->op_count - 1].mode2 = (uint8_t)((in ? 1 : 0) | (emu_has(i, "cc") ? 2 : 0));
    return true;
}

bool emu_build_mad24(parser *p, const instruction *i) {
    int32_t d, a, b, c;
    if (i->type_count != 1 || !emu_has(i, "lo"))
        return emu_bad(p, i, "this form is not supported");
    return emu_want(p, i, 4, 4) && emu_source(p, &i->operands[1], 'w', &a) && emu_source(p, &i->operands[2], 'w', &b) &&
           emu_source(p, &i->operands[3], 'w', &c) && emu_dest(p, &i->operands[0], 'w', &d) &&
           emu_emit_alu(p, i->types[0] == T_S32 ? "mul24_lo_s32" : "mul24_lo_u32", p->temp, a, b, -1) &&
           emu_emit_alu(p, "add_u32", d, p->temp, c, -1);
}

bool emu_build_bfi(parser *p, const instruction *i) {
    if (i->type_count != 1)
        return emu_bad(p, i, "wrong number of types");
    return emit_row(p, i, emu_alu_find(i->types[0] == T_B64 ? "bfi_b64" : "bfi_b32"), 5, T_B32, false, false);
}

bool emu_build_lop3(parser *p, const instruction *i) {
    const operand *table = &i->operands[4];
    if (i->type_count != 1 || !emu_want(p, i, 5, 5))
        return emu_bad(p, i, "this form is not supported");
    if (table->kind != OPERAND_NUMBER || table->number.is_float || table->number.value > 255)
        return emu_bad(p, i, "the table is a number up to 255");
    instruction three = *i;
    three.operand_count = 4;
    if (!emit_row(p, &three, emu_alu_find("lop3_b32"), 4, T_B32, false, false))
        return false;
    p->m->code[p->m->op_count - 1].imm = (int64_t)table->number.value;
    return true;
}

bool emu_build_testp(parser *p, const instruction *i) {
    char stem[64];
    int32_t d, a;
    stem_of(i, "testp", i->form->key, stem, sizeof stem);
    if (i->type_count != 1 || i->word_count != 1)
        return emu_bad(p, i, "this form is not supported");
    size_t n = strlen(stem);
    snprintf(stem + n, sizeof stem - n, "_%s", emu_type_name[i->types[0]]);
    return emu_want(p, i, 2, 2) && emu_source(p, &i->operands[1], emu_letter(i->types[0]), &a) &&
           emu_dest(p, &i->operands[0], 'p', &d) && emu_emit_alu(p, stem, d, a, a, -1);
}

static const char *by_size(char letter, const char *const names[3]) {
    return names[letter == 'h' ? 0 : letter == 'w' || letter == 'f' ? 1 : 2];
}

static char bits_letter(ptx_type t) {
    char letter = emu_letter(t);
    return letter == 'f' ? 'w' : letter == 'd' ? 'q' : letter;
}

bool emu_build_selp(parser *p, const instruction *i) {
    static const char *const names[3] = {"selp_u16", "selp_u32", "selp_u64"};
    int32_t d, a, b, c;
    if (i->type_count != 1 || !emu_want(p, i, 4, 4))
        return emu_bad(p, i, "this form is not supported");
    char letter = emu_letter(i->types[0]); /* of the type, for immediates: the registers are only moved */
    return emu_source(p, &i->operands[1], letter, &a) && emu_source(p, &i->operands[2], letter, &b) &&
           emu_source(p, &i->operands[3], 'p', &c) && emu_dest(p, &i->operands[0], letter, &d) &&
           emu_emit_alu(p, by_size(letter == 'd' ? 'q' : letter, names), d, a, b, c);
}

bool emu_build_slct(parser *p, const instruction *i) {
    static const char *const by_int[3] = {"slct_u16_s32", "slct_u32_s32", "slct_u64_s32"};
    static const char *const by_float[3] = {"slct_u16_f32", "slct_u32_f32", "slct_u64_f32"};
    int32_t d, a, b, c;
    if (i->type_count != 2 || (i->types[1] != T_S32 && i->types[1] != T_F32) || !emu_want(p, i, 4, 4))
        return emu_bad(p, i, "this form is not supported");
    char letter = bits_letter(i->types[0]);
    return emu_source(p, &i->operands[1], emu_letter(i->types[0]), &a) &&
           emu_source(p, &i->operands[2], emu_letter(i->types[0]), &b) &&
           emu_source(p, &i->operands[3], i->types[1] == T_F32 ? 'f' : 'w', &c) &&
           emu_dest(p, &i->operands[0], letter, &d) &&
           emu_emit_alu(p, by_size(letter, i->types[1] == T_F32 ? by_float : by_int), d, a, b, c);
}

/* Emits the comparison of operands 1 and 2 into `to`, then `and`s (`or`s, `xor`s) operand 3 to it; *inverse, if wanted,
 * gets the same with the comparison negated. */
static bool compare(parser *p, const instruction *i, ptx_type t, int32_t to, int32_t inverse, const operand *extra) {
    char stem[64], key[96];
    int32_t a, b, c;
    stem_of(i, "setp", i->form->key, stem, sizeof stem);
    static const char *const same[][2] = {
        {"setp_lo", "setp_lt"}, {"setp_ls", "setp_le"}, {"setp_hi", "setp_gt"}, {"setp_hs", "setp_ge"}};
    for (size_t k = 0; k < 4; k++)
        if (strcmp(stem, same[k][0]) == 0)
            snprintf(stem, sizeof stem, "%s", same[k][1]);
    bool half = t == T_F16 || t == T_BF16;
    char letter = emu_letter(t);
    if (!emu_source(p, &i->operands[1], letter, &a) || !emu_source(p, &i->operands[2], letter, &b))
        return false;
    if (half) {
        const char *widen = t == T_F16 ? "to_f32_f16" : "to_f32_bf16";
        if (!emu_emit_alu(p, widen, p->temp, a, -1, -1) || !emu_emit_alu(p, widen, p->temp + 2, b, -1, -1))
            return false;
        a = p->temp, b = p->temp + 2;
    } else if (emu_has(i, "ftz") && t == T_F32) {
        if (!emu_emit_alu(p, "ftz_f32", p->temp, a, -1, -1) || !emu_emit_alu(p, "ftz_f32", p->temp + 2, b, -1, -1))
            return false;
        a = p->temp, b = p->temp + 2;
    }
    const alu_row *row = find_row(stem, half ? "f32" : emu_type_name[t], "");
    if (!row)
        return emu_bad(p, i, "this comparison is not supported for its type");
    snprintf(key, sizeof key, "%s", row->key);
    bool plain = !extra && inverse < 0;
    int32_t first = plain ? to : p->temp + 20;
    if (extra && !emu_source(p, extra, 'p', &c)) /* before the result is written: it may be the same register */
        return false;
    if (!emu_emit_alu(p, key, first, a, b, -1) || plain)
        return plain && !p->e->text[0];
    const char *join = !extra ? NULL : emu_has(i, "and") ? "and" : emu_has(i, "or") ? "or" : "xor";
    if (!join) {
        return emu_emit_alu(p, "mov_pred", to, first, -1, -1) &&
               (inverse < 0 || emu_emit_alu(p, "not_pred", inverse, first, -1, -1));
    }
    char joined[32], negated[32];
    snprintf(joined, sizeof joined, "%s_pred", join);
    snprintf(negated, sizeof negated, "%sn_pred", join);
    /* the negated result first, through a temporary, because `to` may be the third operand */
    return (inverse < 0 || emu_emit_alu(p, negated, p->temp + 21, first, c, -1)) &&
           emu_emit_alu(p, joined, to, first, c, -1) &&
           (inverse < 0 || emu_emit_alu(p, "mov_pred", inverse, p->temp + 21, -1, -1));
}

bool emu_build_setp(parser *p, const instruction *i) {
    bool join = emu_has(i, "and") || emu_has(i, "or") || emu_has(i, "xor");
    if (i->type_count != 1 || !emu_want(p, i, join ? 4 : 3, join ? 4 : 3))
        return emu_bad(p, i, "this form is not supported");
    classify(p, i->types[0]);
    operand d = i->operands[0];
    int32_t to, inverse = d.other;
    d.other = -1;
    return emu_dest(p, &d, 'p', &to) && compare(p, i, i->types[0], to, inverse, join ? &i->operands[3] : NULL);
}

/* set: all ones or 1.0 where setp is true. */
bool emu_build_set(parser *p, const instruction *i) {
    bool join = emu_has(i, "and") || emu_has(i, "or") || emu_has(i, "xor");
    if (i->type_count != 2 || emu_type_bytes[i->types[0]] != 4 || !emu_want(p, i, join ? 4 : 3, join ? 4 : 3))
        return emu_bad(p, i, "this form is not supported");
    int32_t yes, no, d;
    return emu_fixed(p, SREG_NONE, 4, i->types[0] == T_F32 ? 0x3f800000 : 0xffffffff, &yes) &&
           emu_fixed(p, SREG_NONE, 4, 0, &no) && emu_dest(p, &i->operands[0], emu_letter(i->types[0]), &d) &&
           compare(p, i, i->types[1], p->temp + 19, -1, join ? &i->operands[3] : NULL) &&
           emu_emit_alu(p, "selp_u32", d, yes, no, p->temp + 19);
}
