/* help_rows.h: one PTX instruction against its meaning in C, on many operands: X(result, instruction, expression).
 * result: w 32 bits, h 16, q 64, f float, d double, p predicate. Operands a, b, c exist in each form: ra (u32), ha
 * (u16), qa (u64), fa (float), da (double), pa (predicate) in C; %ra, %ha, %qa, %fa, %da, %pa in PTX; results %rx, %hx,
 * %qx, %fx, %dx, %px. */
#ifndef TESTS_EMU_HELP_ROWS_H
#define TESTS_EMU_HELP_ROWS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct help_operands {
    uint64_t q[3];
} help_operands;

typedef struct help_row {
    char result;
    const char *ptx;
    double tolerance; /* relative; 0: the same bits, but any NaN equals any NaN */
} help_row;

/* Writes the meaning of every row, in their order. */
typedef void help_meanings(const help_operands *v, uint64_t *out);

/* Runs every row on random and special operands, also with some lanes off; fails the test with the first difference. */
void help_check_rows(const help_row *rows, int count, help_meanings *meanings);

/* For the X lists of the tests: a row of the table, and its line in the function of meanings. */
#define HELP_ROW(result, ptx, expression)                     {result, ptx, 0},
#define HELP_ROW_NEAR(result, ptx, expression, tolerance)     {result, ptx, tolerance},
#define HELP_MEANING(result, ptx, expression)                 *out++ = (uint64_t)(expression);
#define HELP_MEANING_NEAR(result, ptx, expression, tolerance) *out++ = (uint64_t)(expression);

uint64_t help_bits_f(float x);
uint64_t help_bits_d(double x);
float help_f(uint64_t bits);
double help_d(uint64_t bits);

#define HELP_OPERANDS \
    const uint64_t qa = v->q[0], qb = v->q[1], qc = v->q[2]; \
    const uint32_t ra = (uint32_t)qa, rb = (uint32_t)qb, rc = (uint32_t)qc; \
    const uint16_t ha = (uint16_t)qa, hb = (uint16_t)qb, hc = (uint16_t)qc; \
    const int64_t sqa = (int64_t)qa, sqb = (int64_t)qb, sqc = (int64_t)qc; \
    const int32_t sa = (int32_t)ra, sb = (int32_t)rb, sc = (int32_t)rc; \
    const int16_t za = (int16_t)ha, zb = (int16_t)hb; \
    const float fa = help_f(ra), fb = help_f(rb), fc = help_f(rc); \
    const double da = help_d(qa), db = help_d(qb), dc = help_d(qc); \
    const bool pa = qa & 1, pb = qb & 1, pc = qc & 1; \
    (void)qa, (void)qb, (void)qc, (void)ra, (void)rb, (void)rc, (void)ha, (void)hb, (void)hc, (void)sqa, (void)sqb, \
        (void)sqc; \
    (void)sa, (void)sb, (void)sc, (void)za, (void)zb, (void)fa, (void)fb, (void)fc, (void)da, (void)db, (void)dc, \
        (void)pa, (void)pb, (void)pc;

#endif
