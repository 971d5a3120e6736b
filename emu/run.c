/* run.c: runs one block: chooses warps, and in each warp the lanes that stand at the lowest instruction; they run
 * together until they part, wait, or reach lanes that stand further on and join them. */
#include <string.h>

#include "emu/inner.h"

enum { FAIR_STEPS = 1 << 10, SLICE_MAX = 1 << 20 };

static uint64_t random_next(block *b) { /* splitmix64 */
    uint64_t z = (b->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t ready_lanes(const warp *w) {
    return w->alive & ~w->at_barrier & ~w->at_sync;
}

static void park(warp *w, uint32_t lanes, uint32_t pc) {
    FOR_LANES(i, lanes) w->pc[i] = pc;
}

/* The lowest instruction above `pc` where a lane outside of the group stands that may join it: the group stops there.
 */
static uint32_t join_point(const warp *w, uint32_t group, uint32_t pc) {
    uint32_t best = UINT32_MAX;
    FOR_LANES(i, w->alive & ~w->at_barrier & ~group) {
        if (w->pc[i] >= pc && w->pc[i] < best)
            best = w->pc[i];
    }
    return best;
}

static bool others_below(const warp *w, uint32_t group, uint32_t pc) {
    FOR_LANES(i, ready_lanes(w) & ~group) {
        if (w->pc[i] < pc)
            return true;
    }
    return false;
}

/* The group to run next: all lanes at the lowest instruction that a ready lane stands at; or, for fairness, at a later
 * one. */
static uint32_t choose(warp *w, uint32_t *pc) {
    uint32_t ready = ready_lanes(w), lowest = UINT32_MAX, floor = 0;
    uint32_t passes = w->rotate;
    do {
        uint32_t best = UINT32_MAX;
        FOR_LANES(i, ready) {
            if (w->pc[i] >= floor && w->pc[i] < best)
                best = w->pc[i];
        }
        if (best == UINT32_MAX)
            break;
        lowest = best;
        floor = best + 1;
    } while (passes--);
    uint32_t group = 0;
    FOR_LANES(i, w->alive & ~w->at_barrier) group |= w->pc[i] == lowest ? 1u << i : 0;
    w->at_sync &= ~group;
    *pc = lowest;
    return group;
}

static void collective_run(warp *w, const op *o, uint32_t lanes) {
    if (o->aligned && lanes != UINT32_MAX)
        emu_report_add(w, o, (uint32_t)__builtin_ctz(lanes), EMU_PARTIAL_WARP, 0, "executed by lanes 0x%08x alone",
                       lanes);
    o->fn(w, o, lanes);
}

/* Lanes that may pass a collective: those whose members have all come (or have exited). Others are left waiting. */
static uint32_t collective(warp *w, const op *o, uint32_t pc, uint32_t exec) {
    uint32_t left = exec, passed = 0;
    if (o->members < 0) {
        if ((exec & w->alive) != w->alive && !(w->forced & exec))
            return 0;
        collective_run(w, o, exec);
        w->forced &= ~exec;
        return exec;
    }
    const reg32 *masks = REG(w, const reg32, o->r[o->members]);
    while (left) {
        uint32_t first = (uint32_t)__builtin_ctz(left), members = masks[first], come = 0, present = 0;
        FOR_LANES(i, left) come |= masks[i] == members ? 1u << i : 0;
        left &= ~come;
        present = come;
        if (o->kind == OP_WARP_SYNC) { /* the same barrier from other instructions counts */
            FOR_LANES(i, w->at_sync) {
                const op *other = &w->block->launch->module->code[w->pc[i]];
                present |= other->kind == OP_WARP_SYNC && REG(w, const reg32, other->r[0])[i] == members ? 1u << i : 0;
            }
        }
        if (come & ~members) {
            emu_report_add(w, o, first, EMU_BAD_MEMBERS, 0, "lanes 0x%08x execute it but are not in the mask 0x%08x",
                           come & ~members, members);
        } else if (members & w->alive & ~present && !(w->forced & come)) {
            continue;
        }
        w->forced &= ~come;
        passed |= come;
        if (o->kind == OP_COLLECTIVE) {
            collective_run(w, o, come);
            continue;
        }
        FOR_LANES(i, present & ~come) w->pc[i]++;
        w->at_sync &= ~present;
        emu_clock_advance(w);
    }
    (void)pc;
    return passed;
}

/* Control instructions. Returns true if the group goes on, at *pc; else its lanes are parked. */
static bool control(warp *w, const op *o, uint32_t group, uint32_t exec, uint32_t *pc) {
    const emu_module *m = w->block->launch->module;
    uint32_t rest = group & ~exec;
    switch (o->kind) {
    case OP_BRANCH:
        if (exec == 0 || exec == group) {
            *pc = exec ? o->target : *pc + 1;
            return true;
        }
        park(w, exec, o->target);
        break;
    case OP_INDEXED: {
        const uint32_t *table = m->tables[o->target];
        const reg32 *index = REG(w, const reg32, o->r[0]);
        FOR_LANES(i, exec) {
            if (index[i] >= table[0]) {
                emu_report_add(w, o, i, EMU_BAD_BRANCH, 0, "index %u of %u targets", index[i], table[0]);
                w->block->dead = true;
                return false;
            }
            w->pc[i] = table[1 + index[i]];
        }
        break;
    }
    case OP_CALL: {
        reg32 *back = REG(w, reg32, o->r[0]);
        FOR_LANES(i, exec) back[i] = *pc + 1;
        park(w, exec, o->target);
        break;
    }
    case OP_RETURN: {
        const reg32 *back = REG(w, const reg32, o->r[0]);
        FOR_LANES(i, exec) w->pc[i] = back[i];
        break;
    }
    case OP_EXIT:
        w->alive &= ~exec;
        w->at_sync = 0; /* those who wait for these lanes look again */
        break;
    case OP_TRAP:
        if (exec) {
            emu_report_add(w, o, (uint32_t)__builtin_ctz(exec), EMU_TRAP, 0, "the program trapped");
            w->block->dead = true;
            return false;
        }
        break;
    case OP_BARRIER:
        if (exec)
            emu_barrier_arrive(w, o, exec, *pc);
        break;
    default: { /* OP_WARP_SYNC, OP_COLLECTIVE */
        uint32_t passed = exec ? collective(w, o, *pc, exec) : 0;
        if ((passed | rest) == group) {
            ++*pc;
            return true;
        }
        park(w, exec & ~passed, *pc);
        w->at_sync |= exec & ~passed;
        uint32_t here = 0; /* who waits at this instruction, also from groups that came before */
        FOR_LANES(i, w->at_sync) here |= w->pc[i] == *pc ? 1u << i : 0;
        if (here & ~exec)
            w->at_sync &= ~here; /* together they are a larger group: they look again as one */
        park(w, passed, *pc + 1);
    }
    }
    park(w, rest, *pc + 1);
    return false;
}

static void run_warp(warp *w, uint64_t slice) {
    block *b = w->block;
    const op *code = b->launch->module->code;
    emu_counters *c = &b->counters;
    uint64_t limit = b->launch->options.step_limit ? b->launch->options.step_limit : UINT64_C(1) << 32;
    while (!b->dead && ready_lanes(w) && slice) {
        uint32_t pc, group = choose(w, &pc);
        bool fair = w->rotate != 0; /* this group's turn: it need not be the lowest */
        w->rotate = 0;
        uint32_t join = join_point(w, group, pc + 1);
        uint64_t budget = slice;
        if ((ready_lanes(w) & ~group) && budget > FAIR_STEPS)
            budget = FAIR_STEPS; /* others wait in this warp: they get a turn even if this group spins */
        uint64_t left = budget;
        bool parked = false;
        while (left) {
            const op *o = &code[pc];
            uint32_t exec = group;
            if (o->guard >= 0)
                exec &= o->negate ? ~pred_of(w, o->guard) : pred_of(w, o->guard);
            left--;
            if (o->last) {
                c->warp_instructions[o->class_]++;
                c->thread_instructions[o->class_] += exec == UINT32_MAX ? LANES : (uint32_t)__builtin_popcount(exec);
            }
            if (o->kind == OP_PLAIN) {
                if (exec)
                    o->fn(w, o, exec);
                pc++;
            } else {
                uint32_t before = pc;
                if (!control(w, o, group, exec, &pc)) {
                    parked = true;
                    break;
                }
                if (pc != before + 1 && (w->alive & ~w->at_barrier & ~group)) { /* lanes that wait for this group may stand there */
                    if (!fair && others_below(w, group, pc))
                        break;
                    join = join_point(w, group, pc);
                }
            }
            if (pc >= join)
                break;
        }
        if (!parked)
            park(w, group, pc);
        if (left == 0 && (ready_lanes(w) & ~group))
            w->rotate = 1 + (uint32_t)(b->steps >> 10 & 3);
        slice -= budget - left;
        b->steps += budget - left;
        if (b->steps > limit) {
            emu_report_add(w, &code[pc], group ? (uint32_t)__builtin_ctz(group) : 0, EMU_STEP_LIMIT, 0,
                           "the block was stopped after %llu warp instructions", (unsigned long long)limit);
            b->dead = true;
        }
    }
}

bool emu_run_block(block *b) {
    uint32_t order[WARPS_MAX];
    bool shuffle = b->launch->options.seed != 0;
    for (uint32_t i = 0; i < b->warps; i++)
        order[i] = i;
    while (!b->dead) {
        bool alive = false, ran = false;
        if (shuffle)
            for (uint32_t i = b->warps; i > 1; i--) {
                uint32_t j = (uint32_t)(random_next(b) % i), t = order[i - 1];
                order[i - 1] = order[j], order[j] = t;
            }
        for (uint32_t i = 0; i < b->warps && !b->dead; i++) {
            warp *w = &b->warp[order[i]];
            alive |= w->alive != 0;
            if (!ready_lanes(w))
                continue;
            ran = true;
            run_warp(w, shuffle ? UINT64_C(1) << (random_next(b) % 14) : SLICE_MAX);
        }
        if (!alive)
            return true;
        if (!ran && !b->dead && !emu_barrier_stuck(b))
            break;
    }
    return !b->dead;
}
