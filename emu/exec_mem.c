/* exec_mem.c: loads, stores, and address windows. Registers take part lane by lane; a bad access reads poison and
 * writes nothing. */
#include <string.h>
#include <time.h>

#include "emu/exec.h"

/* Element k of lane i, widened to its register by the sign or by zeros. */
static inline uint64_t extend(uint64_t raw, uint32_t bytes, bool is_signed) {
    int shift = 64 - 8 * (int)bytes;
    return is_signed ? (uint64_t)((int64_t)(raw << shift) >> shift) : raw << shift >> shift;
}

static void take(warp *w, const op *o, uint32_t mask, const lane_access *a) {
    for (uint32_t k = 0; k < o->count; k++) {
        uint32_t at = k * o->bytes;
        bool wide = o->wide >> k & 1;
        reg32 *narrow = REG(w, reg32, o->r[k]);
        reg64 *broad = REG(w, reg64, o->r[k]);
        if (o->bytes == 4 && !wide) {
            FOR_LANES(i, mask) memcpy(&narrow[i], a->host[i] + at, 4);
        } else if (o->bytes == 8) {
            FOR_LANES(i, mask) memcpy(&broad[i], a->host[i] + at, 8);
        } else {
            FOR_LANES(i, mask) {
                uint64_t raw = 0;
                memcpy(&raw, a->host[i] + at, o->bytes);
                raw = extend(raw, o->bytes, o->flags & FLAG_SIGNED);
                if (wide)
                    broad[i] = raw;
                else
                    narrow[i] = (uint32_t)raw;
            }
        }
    }
}

static void poison(warp *w, const op *o, uint32_t mask) {
    for (uint32_t k = 0; k < o->count; k++)
        FOR_LANES(i, mask) {
            if (o->wide >> k & 1)
                REG(w, reg64, o->r[k])[i] = UINT64_MAX;
            else
                REG(w, reg32, o->r[k])[i] = UINT32_MAX;
        }
}

void emu_exec_load(warp *w, const op *o, uint32_t mask) {
    uint64_t address[LANES];
    lane_access a = {.bytes = (uint32_t)o->bytes * o->count, .strong = o->flags & FLAG_STRONG};
    emu_addresses(w, o, 8, 0, o->imm, address);
    while (mask) {
        uint32_t lanes = emu_next_space(o, &mask, address, &a);
        uint32_t good = emu_access_check(w, o, lanes, false, &a);
        emu_access_read(w, o, good, &a);
        take(w, o, good, &a);
        if (lanes & ~good)
            poison(w, o, lanes & ~good);
    }
}

void emu_exec_store(warp *w, const op *o, uint32_t mask) {
    uint64_t address[LANES];
    uint8_t value[LANES][32];
    lane_access a = {.bytes = (uint32_t)o->bytes * o->count, .strong = o->flags & FLAG_STRONG};
    emu_addresses(w, o, 8, 0, o->imm, address);
    for (uint32_t k = 0; k < o->count; k++) {
        uint32_t at = k * o->bytes;
        if (o->bytes == 8) {
            FOR_LANES(i, mask) memcpy(&value[i][at], &REG(w, const reg64, o->r[k])[i], 8);
        } else if (o->wide >> k & 1) {
            FOR_LANES(i, mask) memcpy(&value[i][at], &REG(w, const reg64, o->r[k])[i], o->bytes);
        } else {
            FOR_LANES(i, mask) memcpy(&value[i][at], &REG(w, const reg32, o->r[k])[i], o->bytes);
        }
    }
    while (mask) {
        uint32_t lanes = emu_next_space(o, &mask, address, &a);
        uint32_t good = emu_access_check(w, o, lanes, true, &a);
        emu_access_write(w, o, good, &a, (const uint8_t(*)[32])value);
        switch (a.bytes) { /* whole words at once: other blocks may poll them */
        case 2:
            FOR_LANES(i, good) memcpy(a.host[i], value[i], 2);
            break;
        case 4:
            FOR_LANES(i, good) memcpy(a.host[i], value[i], 4);
            break;
        case 8:
            FOR_LANES(i, good) memcpy(a.host[i], value[i], 8);
            break;
        case 16:
            FOR_LANES(i, good) memcpy(a.host[i], value[i], 16);
            break;
        default:
            FOR_LANES(i, good) memcpy(a.host[i], value[i], a.bytes);
        }
    }
}

/* Parameters of functions: r[8] source, r[9] destination addresses in local memory, imm bytes; definedness goes along.
 */
void emu_exec_copy_local(warp *w, const op *o, uint32_t mask) {
    for (uint32_t done = 0, n; done < (uint32_t)o->imm; done += n) {
        uint64_t from[LANES], to[LANES];
        lane_access a = {.space = SPACE_LOCAL, .bytes = 1}, b = a;
        n = 1;
        emu_addresses(w, o, 8, 0, done, from);
        emu_addresses(w, o, 9, 1, done, to);
        memcpy(a.address, from, sizeof from);
        memcpy(b.address, to, sizeof to);
        uint32_t good = emu_access_check(w, o, mask, false, &a) & emu_access_check(w, o, mask, true, &b);
        FOR_LANES(i, good) {
            *b.host[i] = *a.host[i];
            w->local_defined[b.host[i] - w->local] = w->local_defined[a.host[i] - w->local];
        }
    }
}

static uint64_t window_of(uint32_t space) {
    return space == SPACE_SHARED  ? WINDOW_SHARED
           : space == SPACE_LOCAL ? WINDOW_LOCAL
           : space == SPACE_PARAM ? WINDOW_PARAM
                                  : 0;
}

void emu_exec_window(warp *w, const op *o, uint32_t mask) {
    const reg64 *a = REG(w, const reg64, o->r[1]);
    reg64 *d = REG(w, reg64, o->r[0]);
    uint64_t window = window_of(o->space);
    FOR_LANES(i, mask) d[i] = o->mode == WINDOW_ADD ? a[i] + window : a[i] - window;
}

void emu_exec_isspacep(warp *w, const op *o, uint32_t mask) {
    const reg64 *a = REG(w, const reg64, o->r[1]);
    uint32_t in = 0;
    FOR_LANES(i, mask) {
        uint64_t window = a[i] >> 60;
        in |= (window == window_of(o->space) >> 60 ? 1u : 0) << i;
    }
    pred_set(w, o->r[0], mask, in);
}

/* Clocks count the instructions of the block; the global timer is real. */
void emu_exec_clock(warp *w, const op *o, uint32_t mask) {
    uint64_t value = w->block->steps;
    if (o->mode == SREG_TIMER) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        value = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    } else if (o->mode == SREG_CLOCK_HI) {
        value >>= 32;
    }
    FOR_LANES(i, mask) {
        if (o->bytes == 8)
            REG(w, reg64, o->r[0])[i] = value;
        else
            REG(w, reg32, o->r[0])[i] = (uint32_t)value;
    }
}
