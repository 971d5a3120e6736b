/* access.c: what every memory instruction has in common: spaces, bounds, alignment, definedness, and the counting of
 * sectors and wavefronts. */
#include "emu/inner.h"

#include <string.h>

void emu_addresses(const warp *w, const op *o, int index, int bit, int64_t offset, uint64_t address[LANES]) {
    if (o->mode2 >> bit & 1) {
        const reg64 *base = REG(w, const reg64, o->r[index]);
        for (int i = 0; i < LANES; i++)
            address[i] = base[i] + (uint64_t)offset;
    } else {
        const reg32 *base = REG(w, const reg32, o->r[index]);
        for (int i = 0; i < LANES; i++)
            address[i] = (uint64_t)base[i] + (uint64_t)offset;
    }
}

static ptx_space space_of(uint64_t generic) {
    switch (generic >> 60) {
    case 1:
        return SPACE_SHARED;
    case 2:
        return SPACE_LOCAL;
    case 3:
        return SPACE_PARAM;
    default:
        return SPACE_GLOBAL;
    }
}

uint32_t emu_next_space(const op *o, uint32_t *mask, const uint64_t address[LANES], lane_access *a) {
    uint32_t taken = *mask;
    if (o->space != SPACE_GENERIC) {
        a->space = o->space == SPACE_CONST ? SPACE_GLOBAL : (ptx_space)o->space;
        memcpy(a->address, address, sizeof a->address);
        *mask = 0;
        return taken;
    }
    if (taken == 0)
        return 0;
    a->space = space_of(address[__builtin_ctz(taken)]);
    taken = 0;
    FOR_LANES(i, *mask) {
        if (space_of(address[i]) != a->space)
            continue;
        taken |= 1u << i;
        a->address[i] = a->space == SPACE_GLOBAL ? address[i] : address[i] & ((UINT64_C(1) << 60) - 1);
    }
    *mask &= ~taken;
    return taken;
}

/* Offset in a lane's local memory: the kernel's part, then that of all functions. UINT64_MAX: neither. */
static uint64_t local_offset(const launch *l, uint64_t address, uint32_t bytes) {
    uint64_t kernel = l->kernel->local_bytes, functions = l->module->function_local;
    if (address < LOCAL_FUNCTIONS)
        return address < kernel && bytes <= kernel - address ? address : UINT64_MAX;
    address -= LOCAL_FUNCTIONS;
    return address < functions && bytes <= functions - address ? kernel + address : UINT64_MAX;
}

static const char *space_name(ptx_space s) {
    static const char *const names[] = {"generic", "global", "shared", "local", "constant", "parameter"};
    return names[s];
}

static void out_of_bounds(warp *w, const op *o, uint32_t lane, const lane_access *a, bool write) {
    const launch *l = w->block->launch;
    char where[160] = "";
    uint64_t address = a->address[lane];
    if (a->space == SPACE_SHARED) {
        snprintf(where, sizeof where, "; the block has %u bytes from %d", w->block->shared_bytes, SHARED_START);
    } else if (a->space == SPACE_GLOBAL) { /* the nearest allocation on either side */
        const allocation *best = NULL;
        uint64_t distance = UINT64_MAX;
        for (size_t i = 0; i < l->allocation_count; i++) {
            const allocation *k = &l->allocations[i];
            uint64_t start = (uint64_t)(uintptr_t)k->data, end = start + k->bytes;
            uint64_t d = address < start ? start - address : address >= end ? address - end : 0;
            if (d < distance)
                distance = d, best = k;
        }
        if (best && distance < (UINT64_C(1) << 32))
            snprintf(where, sizeof where, "; byte %lld of an allocation of %zu bytes",
                     (long long)(address - (uint64_t)(uintptr_t)best->data), best->bytes);
    }
    emu_report_add(w, o, lane, EMU_OUT_OF_BOUNDS, address, "%s of %u bytes at 0x%llx of %s memory%s",
                   write ? "write" : "read", a->bytes, (unsigned long long)address, space_name(a->space), where);
}

/* Sets the host address of one lane; false: reported. */
static bool check_lane(warp *w, const op *o, uint32_t i, bool write, lane_access *a) {
    block *b = w->block;
    const launch *l = b->launch;
    uint64_t address = a->address[i], offset;
    bool inside = false;
    switch (a->space) {
    case SPACE_SHARED:
        offset = address - SHARED_START;
        inside = address >= SHARED_START && offset < b->shared_bytes && a->bytes <= b->shared_bytes - offset;
        a->host[i] = b->shared + offset;
        break;
    case SPACE_LOCAL:
        offset = local_offset(l, address, a->bytes);
        inside = offset != UINT64_MAX;
        a->host[i] = w->local + (size_t)i * b->local_stride + offset;
        break;
    case SPACE_PARAM:
        inside = address < l->param_bytes && a->bytes <= l->param_bytes - address;
        a->host[i] = l->param_copy + address;
        break;
    default: {
        const allocation *k = emu_find_allocation(l->allocations, l->allocation_count, address);
        inside = k && a->bytes <= k->bytes - (address - (uint64_t)(uintptr_t)k->data);
        a->host[i] = (uint8_t *)(uintptr_t)address;
        if (inside && write && k->read_only) {
            emu_report_add(w, o, i, EMU_READ_ONLY, address, "write to a constant variable");
            return false;
        }
    }
    }
    if (!inside) {
        out_of_bounds(w, o, i, a, write);
        return false;
    }
    if (write && a->space == SPACE_PARAM) {
        emu_report_add(w, o, i, EMU_READ_ONLY, address, "write to the parameters of the kernel");
        return false;
    }
    if (address & (a->bytes - 1)) {
        emu_report_add(w, o, i, EMU_MISALIGNED, address, "access of %u bytes at 0x%llx of %s memory", a->bytes,
                       (unsigned long long)address, space_name(a->space));
        return false;
    }
    return true;
}

/* The whole warp at once: lowest and highest address, and the bits that must be 0. */
static bool check_warp(warp *w, uint32_t mask, bool write, lane_access *a) {
    uint64_t low = UINT64_MAX, high = 0, bits = 0;
    const launch *l = w->block->launch;
    FOR_LANES(i, mask) {
        uint64_t x = a->address[i];
        low = x < low ? x : low;
        high = x > high ? x : high;
        bits |= x;
    }
    if (bits & (a->bytes - 1))
        return false;
    if (a->space == SPACE_GLOBAL) {
        const allocation *k = w->hit;
        if (!k || low - (uint64_t)(uintptr_t)k->data >= k->bytes)
            k = w->hit = emu_find_allocation(l->allocations, l->allocation_count, low);
        if (!k || high - (uint64_t)(uintptr_t)k->data >= k->bytes ||
            a->bytes > k->bytes - (high - (uint64_t)(uintptr_t)k->data) || (write && k->read_only))
            return false;
        a->hit = k;
        FOR_LANES(i, mask) a->host[i] = (uint8_t *)(uintptr_t)a->address[i];
        return true;
    }
    if (a->space == SPACE_SHARED) {
        const block *b = w->block;
        if (low < SHARED_START || high - SHARED_START >= b->shared_bytes ||
            a->bytes > b->shared_bytes - (high - SHARED_START))
            return false;
        FOR_LANES(i, mask) a->host[i] = b->shared + (a->address[i] - SHARED_START);
        return true;
    }
    return false;
}

static void count_sectors(warp *w, uint32_t mask, bool write, const lane_access *a) {
    uint64_t seen[4 * LANES];
    uint32_t n = 0;
    FOR_LANES(i, mask) {
        uint64_t first = a->address[i] >> 5, last = (a->address[i] + a->bytes - 1) >> 5;
        for (uint64_t s = first; s <= last && n < 4 * LANES; s++) {
            uint32_t k = n; /* neighbours share sectors with the lane before: look backwards */
            while (k > 0 && seen[k - 1] != s)
                k--;
            if (k == 0)
                seen[n++] = s;
        }
    }
    *(write ? &w->block->counters.global_sectors_written : &w->block->counters.global_sectors_read) += n;
}

/* Lanes go in groups of 128 bytes: all 32, halves for 8 bytes, quarters for 16. A bank gives one word of 4 bytes a
 * pass. */
void emu_count_shared(warp *w, uint32_t mask, const lane_access *a) {
    emu_counters *c = &w->block->counters;
    uint32_t group = a->bytes <= 4 ? 32 : a->bytes == 8 ? 16 : 8, words = a->bytes < 4 ? 1 : a->bytes / 4;
    for (uint32_t first = 0; first < LANES; first += group) {
        uint32_t lanes = group == 32 ? mask : mask & (((1u << group) - 1) << first);
        if (!lanes)
            continue;
        uint32_t word[32][LANES];
        uint8_t count[32] = {0}, most = 1;
        FOR_LANES(i, lanes) {
            for (uint32_t k = 0; k < words; k++) {
                uint32_t x = (uint32_t)(a->address[i] >> 2) + k, bank = x & 31, at = 0;
                while (at < count[bank] && word[bank][at] != x)
                    at++;
                if (at < count[bank])
                    continue;
                word[bank][count[bank]++] = x;
                most = count[bank] > most ? count[bank] : most;
            }
        }
        c->shared_wavefronts += most;
        c->shared_conflicts += most - 1u;
    }
}

uint32_t emu_access_check(warp *w, const op *o, uint32_t mask, bool write, lane_access *a) {
    const emu_options *options = &w->block->launch->options;
    a->hit = NULL;
    if (!check_warp(w, mask, write, a)) {
        uint32_t good = 0;
        FOR_LANES(i, mask) {
            if (check_lane(w, o, i, write, a))
                good |= 1u << i;
        }
        mask = good;
    }
    if (options->checks & EMU_CHECK_COUNT && mask) {
        if (a->space == SPACE_GLOBAL)
            count_sectors(w, mask, write, a);
        else if (a->space == SPACE_SHARED && o->class_ != EMU_CLASS_MATRIX)
            emu_count_shared(w, mask, a);
    }
    return mask;
}

/* Whether n bytes of a definedness map are all 1; n up to 32. */
static inline bool all_defined(const uint8_t *d, uint32_t n) {
    uint64_t x;
    switch (n) {
    case 1:
        return d[0] == 1;
    case 2:
        return d[0] == 1 && d[1] == 1;
    case 4:
        return memcmp(d, "\1\1\1\1", 4) == 0;
    default:
        for (uint32_t k = 0; k < n; k += 8) {
            memcpy(&x, d + k, 8);
            if (x != UINT64_C(0x0101010101010101))
                return false;
        }
        return true;
    }
}

static const allocation *allocation_of(const warp *w, const lane_access *a, uint32_t lane) {
    const launch *l = w->block->launch;
    return a->hit ? a->hit : emu_find_allocation(l->allocations, l->allocation_count, a->address[lane]);
}

void emu_access_read(warp *w, const op *o, uint32_t mask, const lane_access *a) {
    unsigned checks = w->block->launch->options.checks;
    if (a->space == SPACE_SHARED) {
        if (checks & (EMU_CHECK_UNDEFINED | EMU_CHECK_RACES)) {
            FOR_LANES(i, mask) emu_shared_read(w, o, i, (uint32_t)(a->address[i] - SHARED_START), a->bytes, a->strong);
        }
        return;
    }
    if (a->space == SPACE_GLOBAL && (checks & EMU_CHECK_GLOBAL_RACES)) {
        FOR_LANES(i, mask) emu_global_race(w, o, allocation_of(w, a, i), a->address[i], a->bytes, i, false, a->strong);
    }
    if (!(checks & EMU_CHECK_UNDEFINED) || a->space == SPACE_PARAM || (o->flags & FLAG_PARAM) ||
        (a->hit && !a->hit->defined))
        return;
    FOR_LANES(i, mask) {
        const uint8_t *d = NULL;
        if (a->space == SPACE_LOCAL) {
            d = w->local_defined + (a->host[i] - w->local);
        } else {
            const allocation *k = allocation_of(w, a, i);
            d = k && k->defined ? k->defined + (a->host[i] - k->data) : NULL;
        }
        if (d && !all_defined(d, a->bytes))
            emu_report_add(w, o, i, EMU_UNDEFINED_READ, a->address[i],
                           "read of %u bytes of %s memory that nobody wrote", a->bytes, space_name(a->space));
    }
}

void emu_access_write(warp *w, const op *o, uint32_t mask, const lane_access *a, const uint8_t (*value)[32]) {
    unsigned checks = w->block->launch->options.checks;
    if (a->space == SPACE_SHARED) {
        if (checks & (EMU_CHECK_UNDEFINED | EMU_CHECK_RACES)) {
            FOR_LANES(i, mask)
            emu_shared_write(w, o, i, (uint32_t)(a->address[i] - SHARED_START), a->bytes, a->strong,
                             value ? value[i] : NULL);
        }
        return;
    }
    if (a->space == SPACE_GLOBAL && (checks & EMU_CHECK_GLOBAL_RACES)) {
        FOR_LANES(i, mask) emu_global_race(w, o, allocation_of(w, a, i), a->address[i], a->bytes, i, true, a->strong);
    }
    FOR_LANES(i, mask) {
        if (a->space == SPACE_LOCAL) {
            memset(w->local_defined + (a->host[i] - w->local), 1, a->bytes);
        } else {
            const allocation *k = allocation_of(w, a, i); /* also with checks off: emu_unwritten tells of it */
            if (k && k->defined)
                memset(k->defined + (a->host[i] - k->data), 1, a->bytes);
        }
    }
}
