/* global_race.c: races between blocks on global memory (EMU_CHECK_GLOBAL_RACES): each word of 4 bytes remembers who
 * wrote it and who read it last, as block + 1 in 24 bits each and the bytes written. No order between blocks is known,
 * so any overlap is reported. */
#include "emu/inner.h"

enum { OWNER_BITS = 24 };
#define OWNER_MASK ((UINT64_C(1) << OWNER_BITS) - 1)

/* word: writer | reader << 24 | bytes written << 48 | bytes read << 52 */
void emu_global_race(warp *w, const op *o, const allocation *a, uint64_t address, uint32_t bytes, uint32_t lane,
                     bool write, bool strong) {
    if (!a || !a->owner || strong)
        return;
    uint64_t at = address - (uint64_t)(uintptr_t)a->data, me = (w->block->linear + 1) & OWNER_MASK;
    for (uint64_t word = at / 4; word <= (at + bytes - 1) / 4; word++) {
        uint64_t touched = 0;
        for (uint64_t k = 0; k < 4; k++)
            touched |= word * 4 + k >= at && word * 4 + k < at + bytes ? UINT64_C(1) << k : 0;
        uint64_t old = atomic_load_explicit(&a->owner[word], memory_order_relaxed), new_;
        do {
            uint64_t writer = old & OWNER_MASK, reader = old >> OWNER_BITS & OWNER_MASK, wrote = old >> 48 & 15,
                     read = old >> 52 & 15;
            if (writer && writer != me && (wrote & touched)) {
                emu_report_add(w, o, lane, EMU_GLOBAL_RACE, address, "%s of bytes that block %llu wrote",
                               write ? "write" : "read", (unsigned long long)(writer - 1));
                return;
            }
            if (write && reader && reader != me && (read & touched)) {
                emu_report_add(w, o, lane, EMU_GLOBAL_RACE, address, "write of bytes that block %llu read",
                               (unsigned long long)(reader - 1));
                return;
            }
            if (write)
                writer = me, wrote |= touched;
            else
                reader = me, read |= touched;
            new_ = writer | reader << OWNER_BITS | wrote << 48 | read << 52;
        } while (!atomic_compare_exchange_weak_explicit(&a->owner[word], &old, new_, memory_order_relaxed,
                                                        memory_order_relaxed));
    }
}
