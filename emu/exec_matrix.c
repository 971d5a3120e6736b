/* exec_matrix.c: ldmatrix and stmatrix: 8x8 matrices of 16-bit elements; lane 8 m + r gives the address of row r of
 * matrix m. Lane i holds row i / 4, elements 2 (i % 4) and the next; with .trans column and row change places. */
#include <string.h>

#include "emu/exec.h"

/* Addresses of the rows, checked; the lanes whose rows may be used. */
static uint32_t rows(warp *w, const op *o, bool write, lane_access *a) {
    uint64_t address[LANES];
    uint32_t mask = o->count == 4 ? UINT32_MAX : (1u << 8 * o->count) - 1;
    emu_addresses(w, o, 8, 0, o->imm, address);
    a->bytes = 16;
    a->space = SPACE_SHARED;
    for (int i = 0; i < LANES; i++)
        a->address[i] = address[i] >> 60 == 1 ? address[i] - WINDOW_SHARED : address[i];
    return emu_access_check(w, o, mask, write, a);
}

void emu_exec_ldmatrix(warp *w, const op *o, uint32_t mask) {
    lane_access a = {0};
    uint32_t good = rows(w, o, false, &a);
    uint16_t m[4][8][8];
    emu_access_read(w, o, good, &a);
    memset(m, 0xff, sizeof m);
    FOR_LANES(i, good) memcpy(m[i / 8][i % 8], a.host[i], 16);
    for (uint32_t k = 0; k < o->count; k++) {
        reg32 *d = REG(w, reg32, o->r[k]);
        FOR_LANES(i, mask) {
            uint32_t r = i / 4, c = i % 4 * 2;
            d[i] = o->flags & FLAG_TRANS ? m[k][c][r] | (uint32_t)m[k][c + 1][r] << 16
                                         : m[k][r][c] | (uint32_t)m[k][r][c + 1] << 16;
        }
    }
}

void emu_exec_stmatrix(warp *w, const op *o, uint32_t mask) {
    lane_access a = {0};
    uint16_t m[4][8][8];
    uint8_t value[LANES][32];
    memset(m, 0xff, sizeof m);
    for (uint32_t k = 0; k < o->count; k++) {
        const reg32 *s = REG(w, const reg32, o->r[k]);
        FOR_LANES(i, mask) {
            uint32_t r = i / 4, c = i % 4 * 2;
            if (o->flags & FLAG_TRANS)
                m[k][c][r] = (uint16_t)s[i], m[k][c + 1][r] = (uint16_t)(s[i] >> 16);
            else
                m[k][r][c] = (uint16_t)s[i], m[k][r][c + 1] = (uint16_t)(s[i] >> 16);
        }
    }
    uint32_t good = rows(w, o, true, &a);
    FOR_LANES(i, good) memcpy(value[i], m[i / 8][i % 8], 16);
    emu_access_write(w, o, good, &a, (const uint8_t(*)[32])value);
    FOR_LANES(i, good) memcpy(a.host[i], value[i], 16);
}
