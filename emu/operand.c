/* operand.c: one instruction: guard, opcode and modifiers against the table, operands; and the slots that operands
 * become. */
#include "emu/parse.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "emu/half.h"

bool emu_in_list(const char *list, const char *text, size_t length) {
    for (const char *s = list; s && *s;) {
        size_t n = strcspn(s, " ");
        if (n == length && memcmp(s, text, n) == 0)
            return true;
        s += n + (s[n] == ' ');
    }
    return false;
}

bool emu_has(const instruction *i, const char *word_) {
    for (int k = 0; k < i->word_count; k++)
        if (strlen(word_) == i->words[k].length && memcmp(i->words[k].text, word_, i->words[k].length) == 0)
            return true;
    return false;
}

int emu_which(const instruction *i, const char *list) {
    int index = 0;
    for (const char *s = list; *s; index++) {
        char one[32];
        size_t n = strcspn(s, " ");
        snprintf(one, sizeof one, "%.*s", (int)n, s);
        if (emu_has(i, one))
            return index;
        s += n + (s[n] == ' ');
    }
    return -1;
}

bool emu_bad(parser *p, const instruction *i, const char *why) {
    return emu_fail(p, i->name.line, "%.*s: %s", (int)(i->name.length > 200 ? 200 : i->name.length), i->name.text, why);
}

bool emu_want(parser *p, const instruction *i, int least, int most) {
    if (i->operand_count >= least && i->operand_count <= most)
        return true;
    return emu_bad(p, i, "wrong number of operands");
}

char emu_letter(ptx_type t) {
    switch (t) {
    case T_F32:
        return 'f';
    case T_F64:
        return 'd';
    case T_PRED:
        return 'p';
    case T_B128:
        return 'x';
    default:
        return emu_type_bytes[t] == 8 ? 'q' : emu_type_bytes[t] == 4 ? 'w' : 'h';
    }
}

static int letter_bytes(char letter) {
    switch (letter) {
    case 'h':
    case 'H':
        return 2;
    case 'q':
    case 'Q':
    case 'd':
        return 8;
    case 'x':
        return 16;
    default:
        return 4;
    }
}

static bool wrong_size(parser *p, const operand *o) {
    return emu_fail(p, o->text.line, "the operand '%.*s' has the wrong type or size",
                    (int)(o->text.length > 60 ? 60 : o->text.length), o->text.text);
}

/* A register read as `letter`: the same number of bytes, and predicates are of their own kind. Capitals: at least as
 * many. */
static bool fits(ptx_type t, char letter) {
    int bytes = emu_type_bytes[t] == 1 ? 2 : emu_type_bytes[t];
    if ((t == T_PRED) != (letter == 'p'))
        return false;
    return letter == 'H' || letter == 'W' || letter == 'Q' ? bytes >= letter_bytes(letter) && bytes <= 8
                                                           : bytes == letter_bytes(letter);
}

static uint64_t number_bits(const number *n, char letter) {
    double d = 0;
    if (n->is_float) {
        d = n->single ? (double)f32_bits((uint32_t)n->value) : f64_bits(n->value);
        if (letter == 'd' || letter == 'q')
            return n->single && letter == 'q' ? n->value : bits_f64(d);
        return n->single ? n->value : bits_f32((float)d);
    }
    double value = n->negative ? -(double)(0 - n->value) : (double)n->value;
    return letter == 'f' ? bits_f32((float)value) : letter == 'd' ? bits_f64(value) : n->value;
}

bool emu_source(parser *p, const operand *o, char letter, int32_t *slot) {
    uint8_t bytes = letter_bytes(letter) == 8 ? 8 : 4;
    switch (o->kind) {
    case OPERAND_REG:
        if (!fits(o->type, letter) || o->other >= 0)
            return wrong_size(p, o);
        *slot = o->slot;
        if (o->negated) {
            *slot = p->temp + 22;
            return emu_emit_alu(p, "not_pred", *slot, o->slot, -1, -1);
        }
        return true;
    case OPERAND_NUMBER:
        if (letter == 'p')
            return emu_fixed(p, SREG_NONE, 4, o->number.value ? UINT32_MAX : 0, slot);
        if (letter == 'h' || letter == 'H')
            return emu_fixed(p, SREG_NONE, 4, number_bits(&o->number, 'h') & 0xffff, slot);
        return letter != 'x'
                   ? emu_fixed(p, SREG_NONE, bytes,
                               bytes == 4 ? (uint32_t)number_bits(&o->number, letter) : number_bits(&o->number, letter),
                               slot)
                   : wrong_size(p, o);
    case OPERAND_VARIABLE:
        if (letter == 'p' || letter == 'x' || letter == 'h' ||
            (bytes == 4 && (o->symbol->space == SPACE_GLOBAL || o->symbol->space == SPACE_CONST)))
            return wrong_size(p, o);
        return emu_fixed(p, o->symbol->dynamic ? SREG_DYNAMIC_BASE : SREG_NONE, bytes,
                         o->symbol->address + (uint64_t)o->offset, slot);
    case OPERAND_SREG:
        if (letter == 'p' || letter == 'x')
            return wrong_size(p, o);
        if (o->sreg < SREG_CLOCK)
            return emu_fixed(p, (uint8_t)o->sreg, bytes, 0, slot);
        return emu_fail(p, o->text.line, "%.*s is read by mov alone", (int)o->text.length, o->text.text);
    default:
        return wrong_size(p, o);
    }
}

bool emu_dest(parser *p, const operand *o, char letter, int32_t *slot) {
    if (o->kind == OPERAND_SINK) {
        *slot = p->sink;
        return true;
    }
    if (o->kind != OPERAND_REG || o->negated || o->other >= 0 || !fits(o->type, letter))
        return wrong_size(p, o);
    *slot = o->slot;
    return true;
}

bool emu_address(parser *p, const operand *o, op *to, int slot_index, int bit, int64_t *offset) {
    if (o->kind != OPERAND_ADDRESS)
        return wrong_size(p, o);
    *offset = o->offset;
    if (o->based) {
        to->r[slot_index] = o->slot;
        to->mode2 |= (uint8_t)((emu_type_bytes[o->type] == 8) << bit);
        return true;
    }
    to->mode2 |= (uint8_t)(1 << bit);
    return emu_fixed(p, o->symbol && o->symbol->dynamic ? SREG_DYNAMIC_BASE : SREG_NONE, 8,
                     o->symbol ? o->symbol->address : 0, &to->r[slot_index]);
}

op *emu_emit(parser *p, exec_fn *fn) {
    op *grown = p->m->op_count >= UINT32_MAX / 2
                    ? NULL
                    : emu_grow(p, p->m->code, p->m->op_count, &p->m->op_room, sizeof *grown);
    if (!grown)
        return NULL;
    p->m->code = grown;
    op *o = &grown[p->m->op_count++];
    *o = p->base;
    o->fn = fn;
    o->members = -1;
    memset(o->r, 0xff, sizeof o->r);
    return o;
}

bool emu_emit_alu(parser *p, const char *key, int32_t d, int32_t a, int32_t b, int32_t c) {
    const alu_row *row = emu_alu_find(key);
    op *o = row ? emu_emit(p, row->fn) : NULL;
    if (!o)
        return emu_fail(p, p->base.line, "internal: no row %s", key);
    o->r[0] = d, o->r[1] = a, o->r[2] = b, o->r[3] = c;
    return true;
}

/* ---- parsing ---- */

static const struct {
    const char *name;
    uint8_t what;
    bool vector;
} sregs[] = {
    {"%tid", SREG_TID, true},
    {"%ntid", SREG_NTID, true},
    {"%ctaid", SREG_CTAID, true},
    {"%nctaid", SREG_NCTAID, true},
    {"%laneid", SREG_LANE, false},
    {"%warpid", SREG_WARP, false},
    {"%nwarpid", SREG_NWARP, false},
    {"%smid", SREG_SM, false},
    {"%nsmid", SREG_NSM, false},
    {"%gridid", SREG_GRID, false},
    {"%lanemask_eq", SREG_EQ, false},
    {"%lanemask_le", SREG_LE, false},
    {"%lanemask_lt", SREG_LT, false},
    {"%lanemask_ge", SREG_GE, false},
    {"%lanemask_gt", SREG_GT, false},
    {"%dynamic_smem_size", SREG_DYNAMIC_SHARED, false},
    {"%total_smem_size", SREG_TOTAL_SHARED, false},
    {"%aggr_smem_size", SREG_TOTAL_SHARED, false},
    {"%clock", SREG_CLOCK, false},
    {"%clock_hi", SREG_CLOCK_HI, false},
    {"%clock64", SREG_CLOCK64, false},
    {"%globaltimer", SREG_TIMER, false},
    {"%globaltimer_lo", SREG_CLOCK, false},
    {"%cluster_ctarank", SREG_ZERO, false},
    {"%cluster_nctarank", SREG_ONE, false},
};

static sreg find_sreg(const token *t) {
    for (size_t i = 0; i < sizeof sregs / sizeof *sregs; i++) {
        size_t n = strlen(sregs[i].name);
        if (t->length == n && !sregs[i].vector && memcmp(t->text, sregs[i].name, n) == 0)
            return (sreg)sregs[i].what;
        if (sregs[i].vector && t->length == n + 2 && memcmp(t->text, sregs[i].name, n) == 0 && t->text[n] == '.' &&
            t->text[n + 1] >= 'x' && t->text[n + 1] <= 'z')
            return (sreg)(sregs[i].what + t->text[n + 1] - 'x');
    }
    return SREG_NONE;
}

/* %r12 of %r<148>, or a register or variable of that whole name; else special registers; else a name for later. */
static bool parse_name(parser *p, operand *o, token t) {
    const symbol *s = emu_symbol_find(p, t.text, t.length);
    o->text = t;
    if (!s && t.text[0] == '%') {
        size_t digits = t.length;
        uint64_t index = 0, scale = 1;
        while (digits > 1 && t.text[digits - 1] >= '0' && t.text[digits - 1] <= '9' && t.length - digits < 7) {
            index += scale * (uint64_t)(t.text[--digits] - '0');
            scale *= 10;
        }
        const symbol *range = emu_symbol_find(p, t.text, digits);
        if (digits < t.length && range && range->kind == SYMBOL_RANGE && index < range->count &&
            (t.text[digits] != '0' || t.length == digits + 1)) {
            o->kind = OPERAND_REG;
            o->type = range->type;
            o->slot = range->slot + (int32_t)index * emu_units(range->type);
            return true;
        }
        o->sreg = find_sreg(&t);
        if (o->sreg == SREG_NONE)
            return emu_fail(p, t.line, "unknown register '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
        o->kind = OPERAND_SREG;
        return true;
    }
    o->kind = OPERAND_NAME;
    if (s && s->kind == SYMBOL_REG) {
        o->kind = OPERAND_REG;
        o->type = s->type;
        o->slot = s->slot;
    } else if (s && s->kind == SYMBOL_VARIABLE) {
        o->kind = OPERAND_VARIABLE;
        o->symbol = s;
    } else if (t.length == 1 && t.text[0] == '_') {
        o->kind = OPERAND_SINK;
    } else if (t.length == 7 && memcmp(t.text, "WARP_SZ", 7) == 0) {
        o->kind = OPERAND_NUMBER;
        o->number.value = LANES;
    }
    return true;
}

static bool parse_offset(parser *p, int64_t *offset) {
    while (emu_token_is(&p->lex.now, "+") || emu_token_is(&p->lex.now, "-")) {
        bool minus = false;
        while (emu_token_is(&p->lex.now, "+") || emu_token_is(&p->lex.now, "-")) {
            token sign = emu_lex_next(&p->lex);
            minus ^= sign.text[0] == '-';
        }
        token t = emu_lex_next(&p->lex);
        number n;
        if (!emu_token_number(&t, &n) || n.is_float)
            return emu_fail(p, t.line, "expected an offset before '%.*s'", (int)(t.length > 60 ? 60 : t.length),
                            t.text);
        *offset = (int64_t)((uint64_t)*offset + (minus ? 0 - n.value : n.value));
    }
    return true;
}

static bool parse_address(parser *p, operand *o) {
    token t = emu_lex_next(&p->lex);
    operand base = {.slot = -1, .other = -1};
    number n;
    o->kind = OPERAND_ADDRESS;
    o->text = t;
    if (t.kind == TOKEN_NAME) {
        if (!parse_name(p, &base, t))
            return false;
        if (base.kind == OPERAND_REG && base.type != T_PRED &&
            (emu_type_bytes[base.type] == 8 || emu_type_bytes[base.type] == 4)) {
            o->based = true;
            o->type = base.type;
            o->slot = base.slot;
        } else if (base.kind == OPERAND_VARIABLE) {
            o->symbol = base.symbol;
        } else {
            return emu_fail(p, t.line, "'%.*s' cannot be an address", (int)(t.length > 60 ? 60 : t.length), t.text);
        }
    } else if (emu_token_number(&t, &n) && !n.is_float) {
        o->offset = (int64_t)n.value;
    } else {
        return emu_fail(p, t.line, "expected an address before '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
    }
    return parse_offset(p, &o->offset) && emu_take(p, "]");
}

static bool parse_operand(parser *p, operand *o, bool nested);

static bool parse_elements(parser *p, operand *o, const char *end) {
    operand list[ELEMENTS_PARSED];
    int count = 0;
    o->kind = OPERAND_VECTOR;
    while (!emu_token_is(&p->lex.now, end)) {
        if (count && !emu_take(p, ","))
            return false;
        if (count == ELEMENTS_PARSED)
            return emu_fail(p, p->lex.now.line, "too many elements");
        if (!parse_operand(p, &list[count++], true))
            return false;
    }
    if (p->element_count + count > ELEMENTS_PARSED)
        return emu_fail(p, p->lex.now.line, "too many elements");
    memcpy(&p->element[p->element_count], list, (size_t)count * sizeof *list);
    o->first = p->element_count;
    o->count = count;
    p->element_count += count;
    return emu_take(p, end);
}

static bool parse_operand(parser *p, operand *o, bool nested) {
    *o = (operand){.slot = -1, .other = -1, .text = p->lex.now};
    if (emu_token_is(&p->lex.now, "!")) {
        emu_lex_next(&p->lex);
        if (p->lex.now.kind != TOKEN_NAME || !parse_operand(p, o, true))
            return emu_fail(p, o->text.line, "'!' is for predicates");
        if (o->kind != OPERAND_REG || o->type != T_PRED || o->negated)
            return emu_fail(p, o->text.line, "'!' is for predicates");
        o->negated = true;
        return true;
    }
    token t = emu_lex_next(&p->lex);
    bool minus = emu_token_is(&t, "-");
    if (minus)
        t = emu_lex_next(&p->lex);
    if (t.kind == TOKEN_NUMBER) {
        if (!emu_token_number(&t, &o->number))
            return emu_fail(p, t.line, "'%.*s' is not a number, or too large", (int)(t.length > 60 ? 60 : t.length),
                            t.text);
        o->kind = OPERAND_NUMBER;
        if (minus) {
            uint64_t v = o->number.value;
            o->number.value = !o->number.is_float ? 0 - v : o->number.single ? v ^ 0x80000000u : v ^ UINT64_C(1) << 63;
            o->number.negative = !o->number.is_float;
        }
        return true;
    }
    if (minus)
        return emu_fail(p, t.line, "expected a number after '-'");
    if (t.kind == TOKEN_NAME) {
        if (!parse_name(p, o, t))
            return false;
        if (o->kind == OPERAND_VARIABLE)
            return parse_offset(p, &o->offset);
        if (emu_token_is(&p->lex.now, "|") && !nested) {
            emu_lex_next(&p->lex);
            operand q;
            if (!parse_operand(p, &q, true))
                return false;
            bool first = o->kind == OPERAND_SINK || (o->kind == OPERAND_REG),
                 second = q.kind == OPERAND_SINK || (q.kind == OPERAND_REG && q.type == T_PRED && !q.negated);
            if (!first || !second)
                return emu_fail(p, t.line, "expected registers around '|'");
            o->other = q.kind == OPERAND_SINK ? p->sink : q.slot;
        }
        return true;
    }
    if (emu_token_is(&t, "[") && !nested)
        return parse_address(p, o);
    if (emu_token_is(&t, "{") && !nested)
        return parse_elements(p, o, "}");
    if (emu_token_is(&t, "(") && !nested)
        return parse_elements(p, o, ")");
    return emu_fail(p, t.line, "unexpected '%.*s'", (int)(t.length > 60 ? 60 : t.length), t.text);
}

/* Splits the opcode at its dots, each part a type, a key word or a hint of the form; anything else is an error. */
static bool parse_opcode(parser *p, instruction *i, token t) {
    const char *s = t.text, *end = t.text + t.length;
    size_t n = 0;
    while (s + n < end && s[n] != '.')
        n++;
    i->name = t;
    i->form = emu_form_find(s, n);
    if (!i->form)
        return emu_fail(p, t.line, "unknown opcode '%.*s' in '%.*s'", (int)(n > 60 ? 60 : n), s,
                        (int)(t.length > 200 ? 200 : t.length), t.text);
    for (s += n; s < end; s += n) {
        s++;
        n = 0;
        while (s + n < end && s[n] != '.')
            n++;
        if (emu_in_list(i->form->types, s, n)) {
            if (i->type_count == 4)
                return emu_bad(p, i, "too many types");
            i->types[i->type_count++] = emu_type_find(s, n);
        } else if (i->word_count < WORDS_MAX &&
                   (emu_in_list(i->form->key, s, n) || emu_in_list(i->form->hints, s, n))) {
            i->words[i->word_count++] = (word){s, n};
        } else {
            return emu_fail(p, t.line, "unknown modifier '.%.*s' in '%.*s'", (int)(n > 60 ? 60 : n), s,
                            (int)(t.length > 200 ? 200 : t.length), t.text);
        }
    }
    return true;
}

bool emu_parse_instruction(parser *p) {
    instruction i = {0};
    op *base = &p->base;
    p->element_count = 0;
    base->guard = -1;
    base->negate = 0;
    if (emu_token_is(&p->lex.now, "@")) {
        emu_lex_next(&p->lex);
        if (emu_token_is(&p->lex.now, "!")) {
            emu_lex_next(&p->lex);
            base->negate = 1;
        }
        token t = emu_lex_next(&p->lex);
        operand g = {.slot = -1, .other = -1};
        if (t.kind != TOKEN_NAME || !parse_name(p, &g, t))
            return emu_fail(p, t.line, "expected a predicate after '@'");
        if (g.kind != OPERAND_REG || g.type != T_PRED)
            return emu_fail(p, t.line, "'%.*s' is not a predicate", (int)(t.length > 60 ? 60 : t.length), t.text);
        base->guard = g.slot;
    }
    token name = emu_lex_next(&p->lex);
    if (name.kind != TOKEN_NAME)
        return emu_fail(p, name.line, "expected an instruction");
    base->line = name.line;
    if (!parse_opcode(p, &i, name))
        return false;
    base->class_ = (uint8_t)i.form->class_;
    while (!emu_token_is(&p->lex.now, ";")) {
        if (i.operand_count && !emu_take(p, ","))
            return false;
        if (i.operand_count == OPERANDS_PARSED)
            return emu_bad(p, &i, "too many operands");
        if (!parse_operand(p, &i.operands[i.operand_count++], false))
            return false;
    }
    emu_lex_next(&p->lex);
    size_t first = p->m->op_count;
    if (!i.form->build(p, &i))
        return false;
    if (p->m->op_count > first)
        p->m->code[p->m->op_count - 1].last = 1;
    return true;
}
