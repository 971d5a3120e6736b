/* render_expr.c: see render_expr.h. Recursive descent by precedence, bounded in depth. */
#include "gen/render_expr.h"

#include <stdlib.h>
#include <string.h>

#include "gen/render.h"

typedef struct reader {
    const gen_token *at, *end; /* `at` stands on a significant token or the end */
    gen_expr_lookup lookup;
    const void *context;
    gen_expr_failure *failure;
    int depth;
    bool dead; /* the value does not matter: right of a decided && or ||, the other branch of ?: */
} reader;

static bool ternary(reader *r, int64_t *value);

static bool fail(reader *r, const gen_token *token, const char *why) {
    *r->failure = (gen_expr_failure){token == r->end ? NULL : token, why};
    return false;
}

static void skip(reader *r) {
    while (r->at < r->end && !gen_token_significant(r->at))
        r->at++;
}

static bool accept(reader *r, const char *mark) {
    if (r->at == r->end || r->at->kind != GEN_TOKEN_MARK || !gen_token_is(r->at, mark))
        return false;
    r->at++;
    skip(r);
    return true;
}

bool gen_integer_literal(const char *text, size_t size, int64_t *value, const char **suffix, bool *above) {
    static const char *const suffixes[] = {"", "u", "ll", "ull"};
    char copy[32], *end;
    if (size == 0 || size >= sizeof copy || text[0] < '0' || text[0] > '9')
        return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    if (copy[0] == '0' && copy[1] >= '0' && copy[1] <= '9')
        return false; /* octal: nobody means it */
    unsigned long long bits = 0;
    int base = (copy[1] | 32) == 'x' ? 16 : 10;
    if (base == 16 && !copy[2])
        return false;
    char *digits = base == 16 ? copy + 2 : copy;
    for (end = digits; *end; end++) {
        int digit = *end >= '0' && *end <= '9'                 ? *end - '0'
                    : (*end | 32) >= 'a' && (*end | 32) <= 'f' ? (*end | 32) - 'a' + 10
                                                               : 99;
        if (digit >= base)
            break;
        if (bits > (UINT64_MAX - (unsigned)digit) / (unsigned)base)
            return false;
        bits = bits * (unsigned)base + (unsigned)digit;
    }
    if (end == digits)
        return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (strcmp(end, suffixes[i]) != 0)
            continue;
        *value = (int64_t)bits;
        *suffix = suffixes[i];
        if (above)
            *above = bits > INT64_MAX;
        return bits <= INT64_MAX || i == 3;
    }
    return false;
}

static bool primary(reader *r, int64_t *value) {
    const gen_token *token = r->at;
    if (token == r->end)
        return fail(r, token, "the expression ends too early");
    if (accept(r, "(")) {
        if (!ternary(r, value))
            return false;
        return accept(r, ")") || fail(r, r->at, "expected )");
    }
    r->at++;
    skip(r);
    if (token->kind == GEN_TOKEN_NUMBER) {
        const char *suffix;
        bool above;
        if (!gen_integer_literal(token->text, token->size, value, &suffix, &above) || above)
            return fail(r, token, "not an integer below 2^63");
        return true;
    }
    if (token->kind == GEN_TOKEN_NAME) {
        const char *why = "unknown name";
        if (gen_token_is(token, "true") || gen_token_is(token, "false")) {
            *value = token->size == 4;
            return true;
        }
        return r->lookup(r->context, token, value, &why) || fail(r, token, why);
    }
    return fail(r, token, "expected a number, a knob or (");
}

static bool unary(reader *r, int64_t *value) {
    const gen_token *token = r->at;
    static const char marks[] = "-+!~";
    if (token < r->end && token->kind == GEN_TOKEN_MARK && token->size == 1 && strchr(marks, *token->text)) {
        if (++r->depth > GEN_RENDER_DEPTH_MAX)
            return fail(r, token, "nested too deeply");
        r->at++;
        skip(r);
        if (!unary(r, value))
            return false;
        r->depth--;
        switch (*token->text) {
        case '-':
            return !__builtin_sub_overflow((int64_t)0, *value, value) ||
                   fail(r, token, "the value does not fit 64 bits");
        case '!':
            *value = !*value;
            return true;
        case '~':
            *value = ~*value;
            return true;
        default:
            return true;
        }
    }
    return primary(r, value);
}

/* X(mark, precedence): higher binds tighter; all are left-associative */
static const struct operation {
    const char *mark;
    int precedence;
} operations[] = {{"||", 1}, {"&&", 2}, {"|", 3},  {"^", 4},  {"&", 5},  {"==", 6}, {"!=", 6}, {"<=", 7}, {">=", 7},
                  {"<", 7},  {">", 7},  {"<<", 8}, {">>", 8}, {"+", 9},  {"-", 9},  {"*", 10}, {"/", 10}, {"%", 10}};

static bool apply(reader *r, const gen_token *mark, const char *op, int64_t a, int64_t b, int64_t *out) {
    bool overflow = false;
    switch (op[0]) {
    case '+': overflow = __builtin_add_overflow(a, b, out); break;
    case '-': overflow = __builtin_sub_overflow(a, b, out); break;
    case '*': overflow = __builtin_mul_overflow(a, b, out); break;
    case '/':
    case '%':
        if (b == 0 || (a == INT64_MIN && b == -1)) {
            *out = 0;
            return r->dead || fail(r, mark, "division by zero, or a quotient that does not fit");
        }
        *out = op[0] == '/' ? a / b : a % b;
        break;
    case '^': *out = a ^ b; break;
    case '=': *out = a == b; break;
    case '!': *out = a != b; break;
    case '&': *out = op[1] ? a && b : a & b; break;
    case '|': *out = op[1] ? a || b : a | b; break;
    default: /* < and > */
        if (op[1] == op[0]) {
            if (b < 0 || b > 62 || a < 0) {
                *out = 0;
                return r->dead || fail(r, mark, "a shift by less than 0 or more than 62 bits, or of a negative value");
            }
            *out = op[0] == '>' ? a >> b : (int64_t)((uint64_t)a << b);
            overflow = op[0] == '<' && (*out < 0 || *out >> b != a);
        } else if (op[1] == '=') {
            *out = op[0] == '<' ? a <= b : a >= b;
        } else {
            *out = op[0] == '<' ? a < b : a > b;
        }
    }
    if (overflow)
        *out = 0;
    return !overflow || r->dead || fail(r, mark, "the value does not fit 64 bits");
}

static const struct operation *find_operation(const reader *r, int least) {
    for (size_t i = 0; r->at < r->end && r->at->kind == GEN_TOKEN_MARK && i < sizeof operations / sizeof *operations;
         i++)
        if (operations[i].precedence >= least && gen_token_is(r->at, operations[i].mark))
            return &operations[i];
    return NULL;
}

static bool binary(reader *r, int least, int64_t *value) {
    if (!unary(r, value))
        return false;
    for (const struct operation *op; (op = find_operation(r, least));) {
        const gen_token *mark = r->at++;
        bool dead = r->dead;
        int64_t right;
        skip(r);
        r->dead = dead || (op->precedence == 1 && *value) || (op->precedence == 2 && !*value);
        if (!binary(r, op->precedence + 1, &right))
            return false;
        r->dead = dead;
        if (!apply(r, mark, op->mark, *value, right, value))
            return false;
    }
    return true;
}

static bool ternary(reader *r, int64_t *value) {
    int64_t yes, no;
    if (++r->depth > GEN_RENDER_DEPTH_MAX)
        return fail(r, r->at, "nested too deeply");
    if (!binary(r, 1, value))
        return false;
    if (accept(r, "?")) {
        bool dead = r->dead;
        r->dead = dead || !*value;
        if (!ternary(r, &yes))
            return false;
        if (!accept(r, ":"))
            return fail(r, r->at, "expected :");
        r->dead = dead || *value;
        if (!ternary(r, &no))
            return false;
        r->dead = dead;
        *value = *value ? yes : no;
    }
    r->depth--;
    return true;
}

bool gen_expr(const gen_token *tokens, int count, gen_expr_lookup lookup, const void *context, int64_t *value,
              gen_expr_failure *failure) {
    reader r = {.at = tokens, .end = tokens + count, .lookup = lookup, .context = context, .failure = failure};
    skip(&r);
    if (!ternary(&r, value))
        return false;
    return r.at == r.end || fail(&r, r.at, "expected an operator");
}
