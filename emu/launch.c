/* launch.c: checks a launch, lays out registers and memories, and runs the blocks on several host threads. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/inner.h"

emu_options emu_options_default(void) {
    return (emu_options){.checks = EMU_CHECK_ALL};
}

static bool refuse(emu_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(emu_error *e, const char *format, ...) {
    if (e) {
        va_list list;
        va_start(list, format);
        e->line = 0;
        vsnprintf(e->text, sizeof e->text, format, list);
        va_end(list);
    }
    return false;
}

static uint32_t round_up(uint32_t x, uint32_t to) {
    return (x + to - 1) / to * to;
}

static uint32_t dynamic_base(const launch *l) {
    return round_up(l->kernel->shared_bytes, l->module->dynamic_align);
}

static bool check_launch(launch *l, size_t dynamic, emu_error *e) {
    const function *k = l->kernel;
    const uint32_t *g = l->grid, *d = l->dim;
    if (!g[0] || !g[1] || !g[2] || g[0] > INT32_MAX || g[1] > 65535 || g[2] > 65535)
        return refuse(e, "a grid of %u x %u x %u is not possible", g[0], g[1], g[2]);
    if (!d[0] || !d[1] || !d[2] || d[0] > 1024 || d[1] > 1024 || d[2] > 64 || d[0] * d[1] * d[2] > 1024)
        return refuse(e, "a block of %u x %u x %u threads is not possible", d[0], d[1], d[2]);
    l->threads = d[0] * d[1] * d[2];
    l->warps = (l->threads + LANES - 1) / LANES;
    l->total = (uint64_t)g[0] * g[1] * g[2];
    if (k->max_threads && l->threads > (uint32_t)k->max_threads)
        return refuse(e, "%s is declared for at most %d threads a block, not %u", k->name, k->max_threads, l->threads);
    if (dynamic > SHARED_MAX || dynamic_base(l) + dynamic > SHARED_START + SHARED_MAX)
        return refuse(e, "more than %d bytes of shared memory: %u static and %zu dynamic", SHARED_MAX,
                      k->shared_bytes - SHARED_START, dynamic);
    l->dynamic_shared = (uint32_t)dynamic;
    l->shared_bytes = (dynamic ? dynamic_base(l) + (uint32_t)dynamic : k->shared_bytes) - SHARED_START;
    if (l->param_bytes != k->kernel.param_bytes)
        return refuse(e, "%s takes %zu bytes of parameters, not %zu", k->name, k->kernel.param_bytes, l->param_bytes);
    for (size_t i = 0; i < l->options.block_count; i++)
        if (l->options.blocks[i] >= l->total)
            return refuse(e, "there is no block %llu in a grid of %llu", (unsigned long long)l->options.blocks[i],
                          (unsigned long long)l->total);
    return true;
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t)((const allocation *)a)->data, y = (uintptr_t)((const allocation *)b)->data;
    return (x > y) - (x < y);
}

/* All memory that the kernel may touch, by address: the machine's and the module's. */
static bool gather(launch *l) {
    size_t n = l->module->variable_count + (l->machine ? l->machine->count : 0);
    l->allocations = calloc(n + 1, sizeof *l->allocations);
    if (!l->allocations)
        return false;
    for (size_t i = 0; l->machine && i < l->machine->count; i++) {
        allocation *a = l->machine->sorted[i];
        if (l->options.checks & EMU_CHECK_GLOBAL_RACES) {
            if (!emu_owner_make(a))
                return false;
            for (size_t k = 0; a->bytes <= (size_t)1 << 30 && k < a->bytes / 4 + 1;
                 k++) /* what an earlier launch left */
                if (a->owner[k])
                    a->owner[k] = 0;
        }
        l->allocations[l->allocation_count++] = *a;
        if (!(l->options.checks & EMU_CHECK_GLOBAL_RACES))
            l->allocations[l->allocation_count - 1].owner = NULL;
    }
    for (size_t i = 0; i < l->module->variable_count; i++)
        l->allocations[l->allocation_count++] = l->module->variables[i].memory;
    qsort(l->allocations, l->allocation_count, sizeof *l->allocations, by_address);
    return true;
}

/* What a special register holds in a lane. */
static uint64_t special(const block *b, const warp *w, sreg what, uint32_t lane) {
    const launch *l = b->launch;
    uint32_t t = w->id * LANES + lane, bit = 1u << lane;
    uint32_t tid[3] = {t % l->dim[0], t / l->dim[0] % l->dim[1], t / l->dim[0] / l->dim[1]};
    if (what >= SREG_TID && what < SREG_LANE) {
        uint32_t axis = (uint32_t)(what - SREG_TID) % 3;
        const uint32_t *const source[] = {tid, l->dim, b->index, l->grid};
        return source[(what - SREG_TID) / 3][axis];
    }
    switch (what) {
    case SREG_LANE:
        return lane;
    case SREG_WARP:
        return w->id;
    case SREG_NWARP:
        return l->warps;
    case SREG_SM:
        return b->linear % 132;
    case SREG_NSM:
        return 132;
    case SREG_EQ:
        return bit;
    case SREG_LE:
        return bit | (bit - 1);
    case SREG_LT:
        return bit - 1;
    case SREG_GE:
        return ~(bit - 1) & UINT32_MAX;
    case SREG_GT:
        return ~(bit | (bit - 1)) & UINT32_MAX;
    case SREG_DYNAMIC_SHARED:
        return l->dynamic_shared;
    case SREG_TOTAL_SHARED:
        return l->shared_bytes;
    case SREG_DYNAMIC_BASE:
        return dynamic_base(l);
    case SREG_ONE:
        return 1;
    default:
        return 0;
    }
}

static void fill(uint8_t *regs, const fixed *f, uint32_t lane, uint64_t value) {
    uint8_t *slot = regs + (size_t)f->slot * SLOT_BYTES;
    if (f->bytes == 8) {
        memcpy(slot + 8 * lane, &value, 8);
    } else {
        uint32_t low = (uint32_t)value;
        memcpy(slot + 4 * lane, &low, 4);
    }
}

/* Constants of the kernel and of all functions, in a register file that each warp starts as a copy of. */
static bool make_template(launch *l) {
    l->reg_bytes = ((size_t)l->kernel->slots + 4) * SLOT_BYTES;
    l->template_ = aligned_alloc(64, l->reg_bytes);
    if (!l->template_)
        return false;
    memset(l->template_, 0xff, l->reg_bytes);
    for (size_t i = 0; i < l->module->function_count; i++) {
        const function *f = &l->module->functions[i];
        if (f->entry && f != l->kernel)
            continue;
        for (size_t k = 0; k < f->fixed_count; k++)
            for (uint32_t lane = 0; lane < LANES; lane++)
                if (f->fixeds[k].what == SREG_NONE)
                    fill(l->template_, &f->fixeds[k], lane, f->fixeds[k].value);
    }
    return true;
}

static void start_warp(block *b, warp *w, uint32_t id) {
    const launch *l = b->launch;
    uint32_t left = l->threads - id * LANES;
    copy *copies = w->copies;
    size_t room = w->copy_room;
    *w = (warp){
        .regs = b->regs + id * l->reg_bytes, .block = b, .id = id, .clock = 1, .copies = copies, .copy_room = room};
    w->alive = w->exist = left >= LANES ? UINT32_MAX : (1u << left) - 1;
    w->local = b->local + (size_t)id * LANES * b->local_stride;
    w->local_defined = w->local + (size_t)b->warps * LANES * b->local_stride;
    memcpy(w->regs, l->template_, l->reg_bytes);
    for (uint32_t i = 0; i < LANES; i++)
        w->pc[i] = l->kernel->first;
    for (size_t i = 0; i < l->module->function_count; i++) {
        const function *f = &l->module->functions[i];
        if (f->entry && f != l->kernel)
            continue;
        for (size_t k = 0; k < f->fixed_count; k++)
            for (uint32_t lane = 0; f->fixeds[k].what != SREG_NONE && lane < LANES; lane++)
                fill(w->regs, &f->fixeds[k], lane, special(b, w, (sreg)f->fixeds[k].what, lane) + f->fixeds[k].value);
    }
}

static void start_block(block *b, uint64_t linear) {
    launch *l = b->launch;
    b->linear = linear;
    b->index[0] = (uint32_t)(linear % l->grid[0]);
    b->index[1] = (uint32_t)(linear / l->grid[0] % l->grid[1]);
    b->index[2] = (uint32_t)(linear / l->grid[0] / l->grid[1]);
    b->steps = 0;
    b->random = l->options.seed ^ linear * UINT64_C(0xd1342543de82ef95);
    b->dead = false;
    memset(b->barrier, 0, sizeof b->barrier);
    memset(b->shared, 0xff, b->shared_bytes);
    memset(b->shared_state, BYTE_UNDEFINED, b->shared_bytes);
    if (b->cells)
        memset(b->cells, 0, (((size_t)b->shared_bytes >> b->granule_shift) + 1) * sizeof *b->cells);
    size_t local = (size_t)b->warps * LANES * b->local_stride;
    memset(b->local, 0xff, local);
    memset(b->local + local, BYTE_UNDEFINED, local);
    for (uint32_t i = 0; i < b->warps; i++)
        start_warp(b, &b->warp[i], i);
}

static bool make_block(block *b, launch *l) {
    uint32_t granule = l->module->shared_granule;
    *b = (block){.launch = l, .warps = l->warps, .shared_bytes = l->shared_bytes};
    b->granule_shift = granule == 4 ? 2 : granule == 2 ? 1 : 0;
    b->local_stride = ((size_t)l->local_bytes + 15) / 16 * 16;
    b->regs = aligned_alloc(64, l->warps * l->reg_bytes);
    b->local = malloc(2 * l->warps * LANES * b->local_stride + 1);
    b->warp = calloc(l->warps, sizeof *b->warp);
    b->shared = malloc(l->shared_bytes + 32);
    b->shared_state = malloc(l->shared_bytes + 32);
    bool races = l->options.checks & EMU_CHECK_RACES && l->shared_bytes;
    b->cells = races ? malloc((((size_t)l->shared_bytes >> b->granule_shift) + 1) * sizeof *b->cells) : NULL;
    return b->regs && b->local && b->warp && b->shared && b->shared_state && (b->cells || !races);
}

static void free_block(block *b) {
    for (uint32_t i = 0; b->warp && i < b->warps; i++)
        free(b->warp[i].copies);
    free(b->regs);
    free(b->local);
    free(b->warp);
    free(b->shared);
    free(b->shared_state);
    free(b->cells);
}

static void add_counters(emu_counters *to, const emu_counters *from) {
    uint64_t *t = (uint64_t *)(void *)to;
    const uint64_t *f = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *t; i++)
        t[i] += f[i];
}

static void *work(void *argument) {
    launch *l = argument;
    block b;
    uint64_t count = l->options.blocks ? l->options.block_count : l->total;
    if (make_block(&b, l)) {
        for (uint64_t i; (i = atomic_fetch_add(&l->next, 1)) < count;) {
            start_block(&b, l->options.blocks ? l->options.blocks[i] : i);
            emu_run_block(&b);
        }
        pthread_mutex_lock(&l->lock);
        add_counters(&l->result->counters, &b.counters);
        pthread_mutex_unlock(&l->lock);
    } else {
        l->failed = 1;
    }
    free_block(&b);
    return NULL;
}

static void run_blocks(launch *l) {
    enum { HOST_THREADS_MAX = 256 };
    pthread_t thread[HOST_THREADS_MAX];
    uint64_t count = l->options.blocks ? l->options.block_count : l->total;
    long wanted = l->options.threads > 0 ? l->options.threads : sysconf(_SC_NPROCESSORS_ONLN);
    wanted = wanted < 1 ? 1 : wanted > HOST_THREADS_MAX ? HOST_THREADS_MAX : wanted;
    if ((uint64_t)wanted > count)
        wanted = (long)count;
    long started = 0;
    while (started + 1 < wanted && pthread_create(&thread[started], NULL, work, l) == 0)
        started++; /* fewer threads than wanted do as well */
    work(l);
    for (long i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
}

bool emu_launch(emu_machine *machine, const emu_module *module, const emu_kernel *kernel, const uint32_t grid[3],
                const uint32_t dim[3], size_t dynamic_shared, const void *params, size_t param_bytes,
                const emu_options *options, emu_result *r, emu_error *e) {
    launch l = {.machine = machine, .module = module, .param_bytes = param_bytes, .result = r};
    *r = (emu_result){0};
    for (size_t i = 0; i < module->function_count; i++)
        if (&module->functions[i].kernel == kernel)
            l.kernel = &module->functions[i];
    if (!l.kernel)
        return refuse(e, "the kernel is not of this module");
    l.options = options ? *options : emu_options_default();
    memcpy(l.grid, grid, sizeof l.grid);
    memcpy(l.dim, dim, sizeof l.dim);
    l.local_bytes = l.kernel->local_bytes + module->function_local;
    if (!check_launch(&l, dynamic_shared, e))
        return false;
    pthread_mutex_init(&l.lock, NULL);
    for (int i = 0; i < ATOMIC_LOCKS; i++)
        pthread_mutex_init(&l.atomics[i], NULL);
    l.param_copy = malloc(param_bytes + 32);
    bool ok = l.param_copy && gather(&l) && make_template(&l);
    if (ok) {
        if (param_bytes)
            memcpy(l.param_copy, params, param_bytes);
        run_blocks(&l);
        if (r->report_count)
            qsort(r->reports, r->report_count, sizeof *r->reports, emu_report_compare);
    }
    ok = ok && !l.failed && !l.out_of_memory;
    free(l.param_copy);
    free(l.allocations);
    free(l.template_);
    pthread_mutex_destroy(&l.lock);
    for (int i = 0; i < ATOMIC_LOCKS; i++)
        pthread_mutex_destroy(&l.atomics[i]);
    if (!ok) {
        emu_result_free(r);
        return refuse(e, "out of memory");
    }
    return true;
}

void emu_result_free(emu_result *r) {
    free(r->reports);
    *r = (emu_result){0};
}
