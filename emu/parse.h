/* parse.h: what the parser and the instruction builders share: symbols, operands, the instruction at hand.
 * Every function that can fail returns false with the error set; the first error ends the parse. */
#ifndef EMU_PARSE_H
#define EMU_PARSE_H

#include "emu/alu.h"
#include "emu/lex.h"

typedef enum symbol_kind {
    SYMBOL_REG,
    SYMBOL_RANGE,
    SYMBOL_VARIABLE,
    SYMBOL_LABEL,
    SYMBOL_TABLE,
    SYMBOL_FUNCTION
} symbol_kind;

typedef struct symbol {
    const char *name; /* borrowed from the text */
    size_t length;
    symbol_kind kind;
    ptx_type type;   /* of a register */
    int32_t slot;    /* registers: of the first */
    uint32_t count;  /* SYMBOL_RANGE: %r<count> */
    ptx_space space; /* variables */
    bool dynamic;    /* extern .shared: the address is known at launch */
    uint64_t address;
    uint64_t bytes;
    uint32_t index; /* label: of the code; table, function: of the module's */
    int32_t next;   /* in the hash chain */
    int depth;
} symbol;

typedef enum operand_kind {
    OPERAND_NONE,
    OPERAND_REG,
    OPERAND_SREG,
    OPERAND_NUMBER,
    OPERAND_VARIABLE, /* its address */
    OPERAND_NAME,     /* a label, a table or a function */
    OPERAND_SINK,     /* _ */
    OPERAND_ADDRESS,  /* [base + offset] */
    OPERAND_VECTOR    /* {a, b, ...} or (a, b, ...): elements of parser.element */
} operand_kind;

typedef struct operand {
    operand_kind kind;
    token text;    /* where it begins, for messages */
    ptx_type type; /* of a register */
    int32_t slot;
    int32_t other; /* q of p|q, or -1 */
    bool negated;  /* !p */
    number number;
    sreg sreg;
    const symbol *symbol; /* valid until the next declaration */
    bool based;           /* address: on a register */
    int64_t offset;
    int first, count; /* vector */
} operand;

enum { OPERANDS_PARSED = 12, ELEMENTS_PARSED = 96, WORDS_MAX = 20 };

typedef struct word {
    const char *text;
    size_t length;
} word;

typedef struct form form;

typedef struct instruction {
    const form *form;
    token name;            /* the whole opcode */
    word words[WORDS_MAX]; /* modifiers that are not types */
    int word_count;
    ptx_type types[4];
    int type_count;
    operand operands[OPERANDS_PARSED];
    int operand_count;
} instruction;

typedef struct fixup { /* a branch or a table entry that waits for its label */
    token name;
    uint32_t index; /* of the code; or of the table */
    int32_t entry;  /* of the table; -1: the code */
} fixup;

typedef struct parser {
    lexer lex;
    emu_module *m;
    emu_error *e;
    uint32_t function; /* index of the one being parsed */
    bool inside;       /* a function body */
    int depth;
    symbol *symbols;
    size_t symbol_count, symbol_room;
    int32_t buckets[1024];
    fixup *fixups;
    size_t fixup_count, fixup_room;
    operand element[ELEMENTS_PARSED];
    int element_count;
    op base;             /* guard and place of the instruction at hand */
    int32_t sink, temp;  /* slots of this function */
    uint64_t data_bytes; /* of module variables so far */
} parser;

/* Builds the steps of one instruction. */
typedef bool build_fn(parser *p, const instruction *i);

struct form {
    const char *name;
    build_fn *build;
    emu_class class_;
    const char *types; /* allowed, by spaces */
    const char *key;   /* modifiers that choose the executor, in the order of its key */
    const char *hints; /* modifiers that are accepted: either without effect here, or read by the builder */
};

/* parse.c */
bool emu_fail(parser *p, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool emu_out_of_memory(parser *p);
/* Grows an array to hold one element more; returns the array, or NULL with the error set. */
void *emu_grow(parser *p, void *array, size_t count, size_t *room, size_t size);
const symbol *emu_symbol_find(parser *p, const char *name, size_t length);
symbol *emu_symbol_add(parser *p, const token *name, symbol_kind kind);
function *emu_function(parser *p);
bool emu_slots(parser *p, int32_t units, int32_t *slot);
int32_t emu_units(ptx_type t);
bool emu_fixed(parser *p, uint8_t what, uint8_t bytes, uint64_t value, int32_t *slot);
bool emu_take(parser *p, const char *mark); /* fails where something else comes */
bool emu_parse_function(parser *p, bool entry);
bool emu_parse_body(parser *p);
bool emu_scope_close(parser *p, size_t symbols, size_t fixups);
bool emu_parse_align(parser *p, uint32_t *align);
bool emu_parse_variable(parser *p, ptx_space space, bool is_extern);
bool emu_parse_register(parser *p);
/* .align, .ptr, .v2, .v4 and the type, in any order; and [4], [2][3], [] after a name. */
bool emu_parse_type(parser *p, ptx_type *type, uint32_t *align, uint32_t *vector);
bool emu_parse_dims(parser *p, uint64_t *count, bool *empty);
ptx_type emu_type_find(const char *text, size_t length);

/* operand.c */
bool emu_parse_instruction(parser *p);
/* Slot of a source operand read as `letter` (h, w, q, f, d, p: as in alu_body.h; a capital lets the register be wider).
 */
bool emu_source(parser *p, const operand *o, char letter, int32_t *slot);
bool emu_dest(parser *p, const operand *o, char letter, int32_t *slot);
char emu_letter(ptx_type t);
/* Appends a step with the guard and place of this instruction; NULL on error. */
op *emu_emit(parser *p, exec_fn *fn);
/* The same from the table; operands are slots, result first. */
bool emu_emit_alu(parser *p, const char *key, int32_t d, int32_t a, int32_t b, int32_t c);
bool emu_has(const instruction *i, const char *word_);
/* Index of the first of the words (by spaces) that the instruction has, or -1. */
int emu_which(const instruction *i, const char *list);
bool emu_want(parser *p, const instruction *i, int least, int most); /* number of operands */
bool emu_bad(parser *p, const instruction *i, const char *why);
/* Base slot of an address operand into to->r[slot_index]; bit `bit` of to->mode2: the base has 64 bits. *offset gets
 * the constant part. */
bool emu_address(parser *p, const operand *o, op *to, int slot_index, int bit, int64_t *offset);
bool emu_in_list(const char *list, const char *text, size_t length);

/* build_*.c */
build_fn emu_build_alu, emu_build_carry, emu_build_mov, emu_build_selp, emu_build_slct, emu_build_setp, emu_build_set,
    emu_build_lop3, emu_build_minmax, emu_build_mad24, emu_build_testp, emu_build_bfi, emu_build_cvt, emu_build_cvta,
    emu_build_isspacep, emu_build_nop, emu_build_zero;
build_fn emu_build_load, emu_build_store, emu_build_atom, emu_build_red, emu_build_cp, emu_build_ldmatrix,
    emu_build_stmatrix, emu_build_mma, emu_build_movmatrix, emu_build_prefetch;
build_fn emu_build_branch, emu_build_indexed, emu_build_call, emu_build_return, emu_build_exit, emu_build_trap,
    emu_build_bar, emu_build_shfl, emu_build_vote, emu_build_match, emu_build_redux, emu_build_activemask,
    emu_build_elect, emu_build_membar;

const form *emu_form_find(const char *name, size_t length);

#endif
