/* shadow.c: the history of shared memory. Each granule keeps its last write and two last reads as stamps of warp, lane
 * and the warp's clock; a warp's clock advances at barriers, and barriers pass on which clocks of other warps lie
 * before. Two accesses by different threads, one of them a write, must be ordered that way (or by bar.warp.sync inside
 * a warp); else it is a race. */
#include "emu/inner.h"

#include <string.h>

static inline uint32_t stamp_of(const warp *w, uint32_t lane) {
    return w->id << 27 | lane << 22 | w->clock;
}

/* Whether the access behind a stamp is by another thread, and not ordered before what this thread does now. */
static inline bool unordered(const warp *w, uint32_t lane, uint32_t stamp) {
    uint32_t from = stamp >> 27, clock = stamp & ((1u << CLOCK_BITS) - 1);
    if (stamp == 0)
        return false;
    if (from == w->id)
        return clock == w->clock && ((stamp >> 22 & 31) != lane || (stamp >> 21 & 1));
    return clock > w->seen[from];
}

static void thread_text(const warp *w, uint32_t stamp, char *text, size_t room) {
    const launch *l = w->block->launch;
    uint32_t t = (stamp >> 27) * LANES + (stamp >> 22 & 31);
    snprintf(text, room, "thread (%u,%u,%u)", t % l->dim[0], t / l->dim[0] % l->dim[1], t / l->dim[0] / l->dim[1]);
}

static void report_race(warp *w, const op *o, uint32_t lane, uint32_t at, const cell *c, uint32_t stamp,
                        const char *now, const char *before) {
    char who[64], where[48] = "";
    thread_text(w, stamp, who, sizeof who);
    if (stamp == c->write)
        snprintf(where, sizeof where, " at line %d", w->block->launch->module->code[c->write_op & 0x7fffffff].line);
    emu_report_add(w, o, lane, EMU_RACE, at + SHARED_START, "%s of shared 0x%x after a %s by %s%s, with no %s between",
                   now, at + SHARED_START, before, who, where, stamp >> 27 == w->id ? "warp sync" : "barrier");
}

/* State of the bytes: 1 if all are defined; else reports and returns false. */
static bool check_state(warp *w, const op *o, uint32_t lane, uint32_t at, uint32_t bytes, bool write) {
    const block *b = w->block;
    for (uint32_t k = 0; k < bytes; k++) {
        uint8_t s = b->shared_state[at + k];
        if (s == BYTE_PENDING) {
            emu_report_add(w, o, lane, EMU_ASYNC_READ, at + k + SHARED_START,
                           "%s of shared 0x%x, where a cp.async may still arrive", write ? "write" : "read",
                           at + k + SHARED_START);
            return false;
        }
        if (s == BYTE_UNDEFINED && !write && (b->launch->options.checks & EMU_CHECK_UNDEFINED)) {
            emu_report_add(w, o, lane, EMU_UNDEFINED_READ, at + k + SHARED_START,
                           "read of shared 0x%x, which nobody wrote", at + k + SHARED_START);
            return false;
        }
    }
    return true;
}

/* Remembers a read: in the slot of its warp, else in one that is ordered before us anyway, else in the second. */
static void record_read(const warp *w, uint32_t lane, cell *c) {
    uint32_t stamp = stamp_of(w, lane);
    for (int k = 0; k < 2; k++) {
        uint32_t old = c->read[k];
        if (old && old >> 27 == w->id) {
            bool same_time = (old & ((1u << CLOCK_BITS) - 1)) == w->clock;
            bool several = same_time && ((old >> 22 & 31) != lane || (old >> 21 & 1));
            c->read[k] = stamp | (several ? 1u << 21 : 0);
            return;
        }
    }
    int slot = !unordered(w, lane, c->read[0]) ? 0 : 1;
    c->read[slot] = stamp;
}

void emu_shared_read(warp *w, const op *o, uint32_t lane, uint32_t at, uint32_t bytes, bool strong) {
    block *b = w->block;
    static const uint8_t ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    if (memcmp(b->shared_state + at, ones, bytes) != 0)
        check_state(w, o, lane, at, bytes, false);
    if (!b->cells)
        return;
    uint32_t last = (at + bytes - 1) >> b->granule_shift;
    for (uint32_t g = at >> b->granule_shift; g <= last; g++) {
        cell *c = &b->cells[g];
        if (unordered(w, lane, c->write) && !(strong && c->write_op >> 31))
            report_race(w, o, lane, g << b->granule_shift, c, c->write, "read", "write");
        if (!strong)
            record_read(w, lane, c);
    }
}

void emu_shared_write(warp *w, const op *o, uint32_t lane, uint32_t at, uint32_t bytes, bool strong,
                      const uint8_t *value) {
    block *b = w->block;
    if (memchr(b->shared_state + at, BYTE_PENDING, bytes))
        check_state(w, o, lane, at, bytes, true);
    memset(b->shared_state + at, BYTE_DEFINED, bytes);
    if (!b->cells)
        return;
    uint32_t last = (at + bytes - 1) >> b->granule_shift, self = op_index(w, o), stamp = stamp_of(w, lane);
    for (uint32_t g = at >> b->granule_shift; g <= last; g++) {
        cell *c = &b->cells[g];
        if (unordered(w, lane, c->write) && !(strong && c->write_op >> 31)) {
            /* Lanes of one instruction that store the same value to the same place do no harm. */
            uint32_t start = g << b->granule_shift, from = start < at ? at : start,
                     to = start + (1u << b->granule_shift);
            to = to > at + bytes ? at + bytes : to;
            bool same = value && c->write >> 27 == w->id && c->write_op == self &&
                        memcmp(b->shared + from, value + (from - at), to - from) == 0;
            if (!same)
                report_race(w, o, lane, start, c, c->write, strong ? "atomic" : "write", "write");
        }
        for (int k = 0; k < 2; k++)
            if (unordered(w, lane, c->read[k]))
                report_race(w, o, lane, g << b->granule_shift, c, c->read[k], strong ? "atomic" : "write", "read");
        *c = (cell){.write = stamp, .write_op = self | (strong ? 1u << 31 : 0)};
    }
}

/* A new clock for the warp: what it did before is ordered before what it does now, for itself. At the end of the
 * clock's range the history of the block is forgotten: some races of that moment go unseen, none is invented. */
void emu_clock_advance(warp *w) {
    block *b = w->block;
    if (++w->clock < (1u << CLOCK_BITS) - 1)
        return;
    if (b->cells)
        memset(b->cells, 0, (((size_t)b->shared_bytes >> b->granule_shift) + 1) * sizeof *b->cells);
    for (uint32_t i = 0; i < b->warps; i++) {
        b->warp[i].clock = 1;
        memset(b->warp[i].seen, 0, sizeof b->warp[i].seen);
    }
    for (int i = 0; i < BARRIERS; i++)
        memset(b->barrier[i].seen, 0, sizeof b->barrier[i].seen);
}
