/* exec_atom.c: atomics and reductions on global and shared memory, lane after lane. Blocks on other host threads are
 * kept out by locks. */
#include <string.h>

#include "emu/exec.h"
#include "emu/half.h"

static uint64_t halves(uint64_t old, uint64_t value, bool bf16, bool pair, int mode) {
    uint64_t r = 0;
    for (int k = 0; k <= pair; k++) {
        uint32_t x = (uint32_t)(old >> 16 * k) & 0xffff, y = (uint32_t)(value >> 16 * k) & 0xffff;
        float p = bf16 ? f32_of_bf16(x) : f32_of_f16(x), q = bf16 ? f32_of_bf16(y) : f32_of_f16(y);
        float s = mode == ATOM_ADD ? p + q : mode == ATOM_MIN ? f32_min(p, q) : f32_max(p, q);
        r |= (uint64_t)(bf16 ? bf16_of_f32(s) : f16_of_f32(s)) << 16 * k;
    }
    return r;
}

static uint64_t combine(const op *o, uint64_t old, uint64_t b, uint64_t c) {
    ptx_type t = (ptx_type)o->type;
    if (o->mode == ATOM_ADD || o->mode == ATOM_MIN || o->mode == ATOM_MAX) {
        if (t == T_F16 || t == T_F16X2 || t == T_BF16 || t == T_BF16X2)
            return halves(old, b, t == T_BF16 || t == T_BF16X2, t == T_F16X2 || t == T_BF16X2, o->mode);
        if (t == T_F32) { /* the memory system flushes subnormals in shared and global f32 additions alike */
            float s = f32_bits((uint32_t)old) + f32_bits((uint32_t)b);
            return bits_f32(s);
        }
        if (t == T_F64)
            return bits_f64(f64_bits(old) + f64_bits(b));
    }
    bool less = t == T_S32 ? (int32_t)b < (int32_t)old : t == T_S64 ? (int64_t)b < (int64_t)old : b < old;
    switch (o->mode) {
    case ATOM_ADD:
        return old + b;
    case ATOM_MIN:
        return less ? b : old;
    case ATOM_MAX:
        return less ? old : b;
    case ATOM_INC:
        return old >= b ? 0 : old + 1;
    case ATOM_DEC:
        return old == 0 || old > b ? b : old - 1;
    case ATOM_AND:
        return old & b;
    case ATOM_OR:
        return old | b;
    case ATOM_XOR:
        return old ^ b;
    case ATOM_CAS:
        return old == b ? c : old;
    default:
        return b;
    }
}

static uint64_t get(const warp *w, int32_t slot, uint32_t bytes, uint32_t lane) {
    if (slot < 0)
        return 0;
    return bytes == 8   ? REG(w, const reg64, slot)[lane]
           : bytes == 2 ? REG(w, const reg32, slot)[lane] & 0xffff
                        : REG(w, const reg32, slot)[lane];
}

void emu_exec_atom(warp *w, const op *o, uint32_t mask) {
    uint64_t address[LANES];
    launch *l = w->block->launch;
    lane_access a = {.bytes = (uint32_t)o->bytes * o->count, .strong = true};
    emu_addresses(w, o, 1, 0, o->imm, address);
    while (mask) {
        uint32_t lanes = emu_next_space(o, &mask, address, &a);
        uint32_t good = emu_access_check(w, o, lanes, true, &a);
        emu_access_read(w, o, good, &a);
        emu_access_write(w, o, good, &a, NULL);
        FOR_LANES(i, good) {
            uint64_t olds[8] = {0};
            pthread_mutex_t *lock = &l->atomics[(a.address[i] >> 4) % ATOMIC_LOCKS];
            if (a.space == SPACE_GLOBAL)
                pthread_mutex_lock(lock);
            for (uint32_t k = 0; k < o->count; k++) {
                memcpy(&olds[k], a.host[i] + k * o->bytes, o->bytes);
                uint64_t r = combine(o, olds[k], get(w, o->r[2 + k], o->bytes, i),
                                     o->count == 1 ? get(w, o->r[3], o->bytes, i) : 0);
                if (o->bytes == 4)
                    memcpy(a.host[i] + k * 4, &r, 4);
                else if (o->bytes == 8)
                    memcpy(a.host[i] + k * 8, &r, 8);
                else
                    memcpy(a.host[i] + k * 2, &r, 2);
            }
            if (a.space == SPACE_GLOBAL)
                pthread_mutex_unlock(lock);
            if (!(o->flags & FLAG_RETURNS))
                continue;
            if (o->bytes == 8)
                REG(w, reg64, o->r[0])[i] = olds[0];
            else
                REG(w, reg32, o->r[0])[i] = (uint32_t)olds[0];
        }
    }
}
