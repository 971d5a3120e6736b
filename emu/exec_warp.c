/* exec_warp.c: collectives of a warp. The run loop has seen to it that the lanes of `mask` are the members. */
#include <string.h>

#include "emu/exec.h"
#include "emu/half.h"

/* shfl: lane j is up (i - b), down (i + b), bfly (i ^ b) or idx (b); segments by the mask of c, bounds by its low bits.
 */
void emu_exec_shfl(warp *w, const op *o, uint32_t mask) {
    const reg32 *a = REG(w, const reg32, o->r[1]), *b = REG(w, const reg32, o->r[2]), *c = REG(w, const reg32, o->r[3]);
    uint32_t result[LANES], valid = 0;
    FOR_LANES(i, mask) {
        uint32_t by = b[i] & 31, clamp = c[i] & 31, segment = c[i] >> 8 & 31, least = i & segment;
        uint32_t most = least | (clamp & ~segment);
        int32_t j = o->mode == SHFL_UP     ? (int32_t)i - (int32_t)by
                    : o->mode == SHFL_DOWN ? (int32_t)(i + by)
                    : o->mode == SHFL_BFLY ? (int32_t)(i ^ by)
                                           : (int32_t)(least | (by & ~segment));
        bool in = o->mode == SHFL_UP ? j >= (int32_t)most : j <= (int32_t)most;
        uint32_t from = in ? (uint32_t)j & 31 : i;
        if (in)
            valid |= 1u << i;
        if (!(mask >> from & 1))
            emu_report_add(w, o, i, EMU_BAD_MEMBERS, 0, "it reads lane %u, which does not take part", from);
        result[i] = mask >> from & 1 ? a[from] : UINT32_MAX;
    }
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) d[i] = result[i];
    if (o->r[4] >= 0)
        pred_set(w, o->r[4], mask, valid);
}

void emu_exec_vote(warp *w, const op *o, uint32_t mask) {
    uint32_t yes = pred_of(w, o->r[1]) & mask;
    if (o->mode == VOTE_BALLOT) {
        reg32 *d = REG(w, reg32, o->r[0]);
        FOR_LANES(i, mask) d[i] = yes;
        return;
    }
    bool r = o->mode == VOTE_ALL ? yes == mask : o->mode == VOTE_ANY ? yes != 0 : yes == mask || yes == 0;
    pred_set(w, o->r[0], mask, r ? UINT32_MAX : 0);
}

/* any: the lanes with this lane's value; all: the mask if all agree, else 0. */
void emu_exec_match(warp *w, const op *o, uint32_t mask) {
    uint64_t value[LANES];
    uint32_t same[LANES];
    bool wide = o->type == T_B64;
    FOR_LANES(i, mask) value[i] = wide ? REG(w, const reg64, o->r[1])[i] : REG(w, const reg32, o->r[1])[i];
    FOR_LANES(i, mask) {
        same[i] = 0;
        for (uint32_t j = 0; j < LANES; j++)
            same[i] |= mask >> j & 1 && value[j] == value[i] ? 1u << j : 0;
        if (o->mode == 1 && same[i] != mask)
            same[i] = 0;
    }
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) {
        d[i] = same[i];
        if (o->r[2] >= 0)
            pred_set(w, o->r[2], 1u << i, same[i] ? UINT32_MAX : 0);
    }
}

void emu_exec_redux(warp *w, const op *o, uint32_t mask) {
    const reg32 *a = REG(w, const reg32, o->r[1]);
    uint32_t r = 0;
    bool first = true;
    FOR_LANES(i, mask) {
        uint32_t x = a[i];
        if (o->type == T_F32 && (o->flags & 1))
            x &= 0x7fffffff;
        if (first) {
            r = x;
            first = false;
            continue;
        }
        if (o->type == T_F32) {
            float p = f32_bits(r), q = f32_bits(x);
            bool nan = o->flags & 2;
            r = bits_f32(o->mode == ATOM_MIN ? (nan ? f32_min_nan(p, q) : f32_min(p, q))
                                             : (nan ? f32_max_nan(p, q) : f32_max(p, q)));
            continue;
        }
        bool less = o->type == T_S32 ? (int32_t)x < (int32_t)r : x < r;
        switch (o->mode) {
        case ATOM_ADD:
            r += x;
            break;
        case ATOM_MIN:
            r = less ? x : r;
            break;
        case ATOM_MAX:
            r = less ? r : x;
            break;
        case ATOM_AND:
            r &= x;
            break;
        case ATOM_OR:
            r |= x;
            break;
        default:
            r ^= x;
            break;
        }
    }
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) d[i] = r;
}

void emu_exec_activemask(warp *w, const op *o, uint32_t mask) {
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) d[i] = mask;
}

void emu_exec_elect(warp *w, const op *o, uint32_t mask) {
    uint32_t leader = (uint32_t)__builtin_ctz(mask);
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) d[i] = leader;
    pred_set(w, o->r[1], mask, 1u << leader);
}

/* An 8x8 matrix of 16-bit elements, two a lane: row lane / 4, columns 2 (lane % 4) and the next; transposed. */
void emu_exec_movmatrix(warp *w, const op *o, uint32_t mask) {
    const reg32 *a = REG(w, const reg32, o->r[1]);
    uint16_t m[8][8];
    for (uint32_t i = 0; i < LANES; i++)
        m[i / 4][i % 4 * 2] = (uint16_t)a[i], m[i / 4][i % 4 * 2 + 1] = (uint16_t)(a[i] >> 16);
    reg32 *d = REG(w, reg32, o->r[0]);
    FOR_LANES(i, mask) d[i] = m[i % 4 * 2][i / 4] | (uint32_t)m[i % 4 * 2 + 1][i / 4] << 16;
}
