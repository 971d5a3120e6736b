/* barrier.c: the sixteen barriers of a block: arrival, release, reductions, and what to say when nobody can go on. */
#include <string.h>

#include "emu/inner.h"

static void kill(block *b) {
    b->dead = true;
}

/* All that arrived go on: their clocks join, and bar.red gives its result. */
static void release(block *b, barrier *r) {
    const op *code = b->launch->module->code;
    b->counters.barriers++;
    for (uint32_t k = 0; k < b->warps; k++) {
        warp *w = &b->warp[k];
        uint32_t lanes = r->lanes[k];
        if (!lanes)
            continue;
        FOR_LANES(i, lanes) {
            const op *o = &code[w->pc[i]];
            if (o->mode == 2)
                REG(w, reg32, o->r[3])[i] = r->count_true;
            else if (o->mode > 2)
                pred_set(w, o->r[3], 1u << i,
                         (o->mode == 3 ? r->count_true == r->arrived : r->count_true > 0) ? UINT32_MAX : 0);
            w->pc[i]++;
        }
        w->at_barrier &= ~lanes;
        for (uint32_t j = 0; j < b->warps; j++)
            if (r->seen[j] > w->seen[j])
                w->seen[j] = r->seen[j];
        emu_clock_advance(w);
    }
    memset(r, 0, sizeof *r);
}

/* Threads that count for an arrival: with an explicit count a warp counts whole, also where it has fewer lanes. */
static uint32_t weight(const warp *w, const barrier *r, const op *o, uint32_t mask) {
    uint32_t n = (uint32_t)__builtin_popcount(mask);
    if ((o->flags & FLAG_COUNTED) && ((r->lanes[w->id] | mask) & w->alive) == w->alive)
        n += LANES - (uint32_t)__builtin_popcount(w->alive);
    return n;
}

void emu_barrier_arrive(warp *w, const op *o, uint32_t mask, uint32_t pc) {
    block *b = w->block;
    uint32_t first = (uint32_t)__builtin_ctz(mask);
    uint32_t number = REG(w, const reg32, o->r[0])[first];
    FOR_LANES(i, mask) {
        w->pc[i] = pc;
        if (REG(w, const reg32, o->r[0])[i] != number || number >= BARRIERS ||
            (o->r[1] >= 0 && REG(w, const reg32, o->r[1])[i] != REG(w, const reg32, o->r[1])[first])) {
            emu_report_add(w, o, i, EMU_BAD_BARRIER, 0,
                           number >= BARRIERS ? "barrier %u of 16" : "lanes of a warp name different barriers (%u)",
                           number);
            kill(b);
            return;
        }
    }
    uint32_t expected = o->r[1] >= 0 ? REG(w, const reg32, o->r[1])[first] : b->launch->threads;
    barrier *r = &b->barrier[number];
    if (o->r[1] >= 0 &&
        (expected == 0 || expected % LANES || expected > (b->launch->threads + LANES - 1) / LANES * LANES)) {
        emu_report_add(w, o, first, EMU_BAD_BARRIER, 0,
                       "a count of %u, in a block of %u threads; it is a multiple of 32", expected, b->launch->threads);
        kill(b);
        return;
    }
    if (r->arrived && r->expected != expected) {
        emu_report_add(w, o, first, EMU_BAD_BARRIER, 0, "barrier %u is told to expect %u threads, and %u at line %d",
                       number, expected, r->expected, b->launch->module->code[r->pc].line);
        kill(b);
        return;
    }
    if (r->arrived == 0)
        r->pc = pc;
    else if (r->pc != pc && !(o->flags & FLAG_COUNTED))
        r->mixed = true;
    r->expected = expected;
    r->arrived += weight(w, r, o, mask);
    if (o->r[2] >= 0)
        r->count_true += (uint32_t)__builtin_popcount(pred_of(w, o->r[2]) & mask);
    for (uint32_t j = 0; j < b->warps; j++)
        if (w->seen[j] > r->seen[j])
            r->seen[j] = w->seen[j];
    if (w->clock > r->seen[w->id])
        r->seen[w->id] = w->clock;
    if (o->mode == 1) { /* arrive: it goes on; what it does from now on is not ordered by this barrier */
        FOR_LANES(i, mask) w->pc[i] = pc + 1;
        emu_clock_advance(w);
    } else {
        r->lanes[w->id] |= mask;
        w->at_barrier |= mask;
    }
    if (r->arrived > r->expected) {
        emu_report_add(w, o, first, EMU_BAD_BARRIER, 0, "%u threads came to barrier %u, which expects %u", r->arrived,
                       number, r->expected);
        kill(b);
    } else if (r->arrived == r->expected) {
        if (r->mixed)
            emu_report_add(w, o, first, EMU_DIVERGENT_BARRIER, 0,
                           "threads of the block meet at different instructions, the first at line %d",
                           b->launch->module->code[r->pc].line);
        release(b, r);
    }
}

/* A collective whose members cannot come: reports it and lets its lanes run without them. */
static bool stuck_collective(block *b) {
    const op *code = b->launch->module->code;
    for (uint32_t k = 0; k < b->warps; k++) {
        warp *w = &b->warp[k];
        if (!w->at_sync)
            continue;
        uint32_t lane = (uint32_t)__builtin_ctz(w->at_sync), pc = w->pc[lane], lanes = 0;
        const op *o = &code[pc];
        FOR_LANES(i, w->at_sync) lanes |= w->pc[i] == pc ? 1u << i : 0;
        uint32_t members = o->members >= 0 ? REG(w, const reg32, o->r[o->members])[lane] : UINT32_MAX;
        uint32_t missing = members & w->alive & ~lanes;
        uint32_t other = missing ? (uint32_t)__builtin_ctz(missing) : lane;
        emu_report_add(w, o, lane, o->aligned ? EMU_PARTIAL_WARP : EMU_DEADLOCK, 0,
                       "lanes 0x%08x wait for lanes 0x%08x, which are elsewhere: lane %u at line %d", lanes, missing,
                       other, code[w->pc[other]].line);
        w->forced |= lanes;
        w->at_sync &= ~lanes;
        return true;
    }
    return false;
}

bool emu_barrier_stuck(block *b) {
    const op *code = b->launch->module->code;
    if (stuck_collective(b))
        return true;
    uint32_t alive = 0, waiting = 0, open = 0;
    barrier *only = NULL;
    for (uint32_t k = 0; k < b->warps; k++)
        alive += (uint32_t)__builtin_popcount(b->warp[k].alive);
    for (int i = 0; i < BARRIERS; i++) {
        uint32_t here = 0;
        for (uint32_t k = 0; k < b->warps; k++)
            here += (uint32_t)__builtin_popcount(b->barrier[i].lanes[k]);
        waiting += here;
        if (here)
            open++, only = &b->barrier[i];
    }
    uint32_t k = 0;
    while (k < b->warps && !(only && only->lanes[k]))
        k++;
    if (!only || k == b->warps) {
        b->dead = true; /* cannot be: somebody waits for something */
        return false;
    }
    warp *w = &b->warp[k];
    uint32_t lane = (uint32_t)__builtin_ctz(only->lanes[k]);
    const op *o = &code[w->pc[lane]];
    if (open == 1 && !(o->flags & FLAG_COUNTED)) { /* all others have exited */
        emu_report_add(w, o, lane, EMU_DIVERGENT_BARRIER, 0, "%u threads wait, the other %u of the block have exited",
                       waiting, b->launch->threads - alive);
        release(b, only);
        return true;
    }
    if (open == 1) {
        emu_report_add(w, o, lane, EMU_DEADLOCK, 0,
                       "%u of %u threads came to the barrier, and nobody else can (%u have exited)", only->arrived,
                       only->expected, b->launch->threads - alive);
    } else {
        for (int i = 0; i < BARRIERS; i++)
            for (uint32_t v = 0; v < b->warps; v++) {
                const warp *x = &b->warp[v];
                uint32_t lanes = b->barrier[i].lanes[v];
                if (!lanes || &b->barrier[i] == only)
                    continue;
                emu_report_add(w, o, lane, EMU_DIVERGENT_BARRIER, 0,
                               "threads of the block wait at different barriers: this one, and %d at line %d", i,
                               code[x->pc[__builtin_ctz(lanes)]].line);
            }
    }
    kill(b);
    return false;
}
