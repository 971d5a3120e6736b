/* async.c: cp.async: copies in flight, commit groups, waits. Late: the destination is poison until the wait of the
 * thread that issued the copy; eager: the data arrives at once. In both the bytes count as pending until then. */
#include <stdlib.h>
#include <string.h>

#include "emu/exec.h"

enum { COPIES_MAX = 1 << 20 };

static void arrive(warp *w, const copy *c) {
    block *b = w->block;
    uint8_t value[16] = {0};
    uint32_t at = c->target - SHARED_START;
    memcpy(value, c->source, c->source_bytes);
    memset(b->shared_state + at, BYTE_DEFINED, c->bytes); /* no longer pending, for the write that this is */
    emu_shared_write(w, c->o, c->lane, at, c->bytes, false, value);
    if (b->launch->options.async == EMU_ASYNC_LATE)
        memcpy(b->shared + at, value, c->bytes);
}

void emu_async_deliver(warp *w, uint32_t mask, const uint32_t limit[LANES]) {
    size_t kept = 0;
    for (size_t k = 0; k < w->copy_count; k++) {
        const copy *c = &w->copies[k];
        if ((mask >> c->lane & 1) && (c->group < limit[c->lane] || limit[c->lane] == UINT32_MAX))
            arrive(w, c);
        else
            w->copies[kept++] = *c;
    }
    w->copy_count = kept;
}

static bool remember(warp *w, const copy *c) {
    if (w->copy_count == w->copy_room) {
        size_t room = w->copy_room ? 2 * w->copy_room : 256;
        copy *grown = room > COPIES_MAX ? NULL : realloc(w->copies, room * sizeof *grown);
        if (!grown)
            return false;
        w->copies = grown;
        w->copy_room = room;
    }
    w->copies[w->copy_count++] = *c;
    return true;
}

/* The source of a copy that is shorter than its destination: n bytes, with the alignment of the whole. */
static bool check_part(warp *w, const op *o, uint32_t lane, uint64_t address, uint32_t n) {
    lane_access one = {.space = SPACE_GLOBAL, .bytes = 1};
    if (address & (o->bytes - 1u)) {
        emu_report_add(w, o, lane, EMU_MISALIGNED, address, "cp.async of %u bytes from 0x%llx of global memory",
                       o->bytes, (unsigned long long)address);
        return false;
    }
    for (uint32_t k = 0; k < n; k++) {
        one.address[lane] = address + k;
        if (!emu_access_check(w, o, 1u << lane, false, &one))
            return false;
        emu_access_read(w, o, 1u << lane, &one);
    }
    return true;
}

void emu_exec_cp_async(warp *w, const op *o, uint32_t mask) {
    block *b = w->block;
    lane_access to = {.space = SPACE_SHARED, .bytes = o->bytes}, from = {.space = SPACE_GLOBAL, .bytes = o->bytes};
    uint32_t whole = 0, taken[LANES];
    emu_addresses(w, o, 0, 0, o->imm, to.address);
    emu_addresses(w, o, 1, 1, (int32_t)o->target, from.address);
    FOR_LANES(i, mask) {
        if (to.address[i] >> 60 == 1)
            to.address[i] -= WINDOW_SHARED;
        taken[i] = o->r[2] >= 0 ? REG(w, const reg32, o->r[2])[i] : o->bytes;
        taken[i] = taken[i] > o->bytes ? o->bytes : taken[i];
        if (o->r[3] >= 0 && pred_of(w, o->r[3]) >> i & 1)
            taken[i] = 0;
        whole |= taken[i] == o->bytes ? 1u << i : 0;
    }
    uint32_t good = emu_access_check(w, o, mask, true, &to), sources = emu_access_check(w, o, whole, false, &from);
    emu_access_read(w, o, sources, &from);
    FOR_LANES(i, mask & ~whole) {
        from.host[i] = (uint8_t *)(uintptr_t)from.address[i];
        if (check_part(w, o, i, from.address[i], taken[i]))
            sources |= 1u << i;
    }
    emu_access_write(w, o, good, &to, NULL);
    FOR_LANES(i, good) {
        static const uint8_t none[16];
        copy c = {
            .group = UINT32_MAX, .target = (uint32_t)to.address[i], .lane = (uint8_t)i, .bytes = o->bytes, .o = o};
        bool readable = sources >> i & 1 && taken[i];
        c.source = readable ? from.host[i] : none;
        c.source_bytes = readable ? (uint8_t)taken[i] : 0;
        if (b->launch->options.async == EMU_ASYNC_EAGER) {
            memset(to.host[i], 0, c.bytes);
            memcpy(to.host[i], c.source, c.source_bytes);
        } else {
            memset(to.host[i], 0xff, c.bytes);
        }
        memset(b->shared_state + (c.target - SHARED_START), BYTE_PENDING, c.bytes);
        if (!remember(w, &c)) { /* too many in flight: this one arrives now */
            arrive(w, &c);
        }
    }
}

void emu_exec_cp_commit(warp *w, const op *o, uint32_t mask) {
    (void)o;
    for (size_t k = 0; k < w->copy_count; k++) {
        copy *c = &w->copies[k];
        if ((mask >> c->lane & 1) && c->group == UINT32_MAX)
            c->group = w->committed[c->lane];
    }
    FOR_LANES(i, mask) w->committed[i]++;
}

/* wait_group n: all but the n youngest groups of the thread; imm -1: everything, committed or not. */
void emu_exec_cp_wait(warp *w, const op *o, uint32_t mask) {
    uint32_t limit[LANES];
    FOR_LANES(i, mask)
    limit[i] = o->imm < 0                           ? UINT32_MAX
               : w->committed[i] > (uint32_t)o->imm ? w->committed[i] - (uint32_t)o->imm
                                                    : 0;
    emu_async_deliver(w, mask, limit);
}
