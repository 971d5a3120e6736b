/* inner.h: the types inside the emulator: decoded instructions, functions, modules, warps, blocks, launches.
 * A register is a row of 32 lanes (struct of arrays), so that an instruction is one loop over its lanes. */
#ifndef EMU_INNER_H
#define EMU_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "emu/emu.h"

enum {
    LANES = 32,
    WARPS_MAX = 32,   /* a block: 1024 threads */
    SLOT_BYTES = 128, /* one 32-bit register: 4 bytes x 32 lanes. 64-bit: two slots, 128-bit: four; predicate: one, its
                         first word is the mask */
    SLOTS_MAX = 1 << 16,
    OPERANDS_MAX = 20, /* of one decoded instruction: mma has 4 + 4 + 2 + 4 */
    BARRIERS = 16,
    ATOMIC_LOCKS = 64,
    SHARED_START = 1024, /* address of the first shared byte: a null pointer is out of bounds */
    SHARED_MAX = 228 * 1024,
    LOCAL_MAX = 512 * 1024 /* bytes a thread */
};

/* Generic addresses: global ones are host addresses (under 2^47), the other spaces have windows above them. */
#define WINDOW_SHARED (UINT64_C(1) << 60)
#define WINDOW_LOCAL  (UINT64_C(2) << 60)
#define WINDOW_PARAM  (UINT64_C(3) << 60)
/* Marks a slot of a .func in the code of another function until the module is linked. */
enum { FUNCTION_SLOT = 1 << 30 };
/* Local memory: what the kernel declares from 0; what functions declare (frames of their own: recursion is refused)
 * from here. */
#define LOCAL_FUNCTIONS (UINT32_C(1) << 24)

/* X(enumerator, PTX name, bytes in a register or in memory) */
#define TYPE_LIST(X) \
    X(T_NONE, "", 0) \
    X(T_U8, "u8", 1) \
    X(T_U16, "u16", 2) X(T_U32, "u32", 4) X(T_U64, "u64", 8) X(T_S8, "s8", 1) X(T_S16, "s16", 2) X(T_S32, "s32", 4) \
        X(T_S64, "s64", 8) X(T_B8, "b8", 1) X(T_B16, "b16", 2) X(T_B32, "b32", 4) X(T_B64, "b64", 8) \
            X(T_B128, "b128", 16) X(T_F16, "f16", 2) X(T_F16X2, "f16x2", 4) X(T_BF16, "bf16", 2) \
                X(T_BF16X2, "bf16x2", 4) X(T_F32, "f32", 4) X(T_F64, "f64", 8) X(T_F32X2, "f32x2", 8) \
                    X(T_TF32, "tf32", 4) X(T_E4M3X2, "e4m3x2", 2) X(T_E5M2X2, "e5m2x2", 2) X(T_PRED, "pred", 4)

typedef enum ptx_type {
#define TYPE_ENUM_(name, text, bytes) name,
    TYPE_LIST(TYPE_ENUM_)
#undef TYPE_ENUM_
        TYPES
} ptx_type;

extern const char *const emu_type_name[TYPES];
extern const uint8_t emu_type_bytes[TYPES];

typedef enum ptx_space { SPACE_GENERIC, SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL, SPACE_CONST, SPACE_PARAM } ptx_space;

/* How the run loop treats an instruction; all but OP_PLAIN may move lanes apart or stop them. */
typedef enum op_kind {
    OP_PLAIN,
    OP_BRANCH,
    OP_INDEXED, /* brx.idx */
    OP_CALL,
    OP_RETURN,
    OP_EXIT,
    OP_TRAP,
    OP_BARRIER,
    OP_WARP_SYNC,
    OP_COLLECTIVE /* waits for its members at this instruction, then runs as a plain one; r[members] is the mask */
} op_kind;

typedef struct warp warp;
typedef struct op op;
typedef void exec_fn(warp *w, const op *o, uint32_t mask);

struct op {
    exec_fn *fn;
    int32_t guard;       /* slot of the predicate, or -1 */
    uint8_t negate;      /* @!p */
    uint8_t kind;        /* op_kind */
    uint8_t class_;      /* emu_class */
    uint8_t last;        /* the last of the steps that make one PTX instruction: it is counted */
    uint8_t space;       /* ptx_space */
    uint8_t bytes;       /* of one element in memory, or of a cp.async */
    uint8_t count;       /* elements; matrices of ldmatrix */
    uint8_t type, type2; /* ptx_type */
    uint8_t mode, mode2; /* an enumeration of the executor's */
    uint8_t aligned;     /* the PTX says .aligned */
    int8_t members;      /* OP_COLLECTIVE: index in r of the member mask, or -1 for all lanes */
    uint8_t wide;        /* bit i: register of element i has 64 bits (loads, conversions) */
    uint16_t flags;
    uint32_t target; /* branches: an index of the module's code; brx: of its tables */
    int32_t line, source_line;
    int32_t source_file;
    int64_t imm;             /* offset of an address, table of lop3 */
    int32_t r[OPERANDS_MAX]; /* slots; -1: unused */
};

/* Flags of memory instructions. */
enum {
    FLAG_STRONG = 1, /* volatile, relaxed, acquire, release: races with its like are none */
    FLAG_SIGNED = 2,
    FLAG_TRANS = 4,
    FLAG_NONCOHERENT = 8,
    FLAG_RETURNS = 16, /* atom, not red */
    FLAG_COUNTED = 32, /* bar with an explicit count */
    FLAG_PARAM = 64    /* .param memory of a function: structures are passed with their padding */
};

typedef enum sreg {
    SREG_NONE,
    SREG_TID, /* + 0..2 */
    SREG_NTID = SREG_TID + 3,
    SREG_CTAID = SREG_NTID + 3,
    SREG_NCTAID = SREG_CTAID + 3,
    SREG_LANE = SREG_NCTAID + 3,
    SREG_WARP,
    SREG_NWARP,
    SREG_SM,
    SREG_NSM,
    SREG_GRID,
    SREG_EQ,
    SREG_LE,
    SREG_LT,
    SREG_GE,
    SREG_GT,
    SREG_DYNAMIC_SHARED,
    SREG_TOTAL_SHARED,
    SREG_ZERO,         /* cluster ranks of a launch without clusters */
    SREG_ONE,          /* cluster sizes of it */
    SREG_DYNAMIC_BASE, /* address of the dynamic shared memory, plus a value */
    SREG_CLOCK,        /* these change while a warp runs: read by an instruction */
    SREG_CLOCK_HI,
    SREG_CLOCK64,
    SREG_TIMER
} sreg;

/* A slot that is filled before a warp starts: an immediate, an address, or a special register. */
typedef struct fixed {
    int32_t slot;
    uint8_t what;  /* sreg; SREG_NONE: value */
    uint8_t bytes; /* 4 (predicates and narrower ones too) or 8 */
    uint64_t value;
} fixed;

typedef struct formal { /* a parameter of a function, or its result */
    char *name;
    uint32_t bytes, align;
    uint64_t address; /* param space of a kernel, local memory of a function */
    int32_t slot;     /* a .reg parameter; else -1 */
    ptx_type type;
} formal;

typedef struct function {
    char *name;
    bool entry, defined;
    int line;
    formal *params, *results;
    size_t param_count, result_count;
    uint32_t first, end; /* code */
    int32_t slots;       /* used */
    int32_t return_slot;
    fixed *fixeds;
    size_t fixed_count, fixed_room;
    uint32_t local_bytes;  /* kernels; functions share module->function_local */
    uint32_t shared_bytes; /* end of what this kernel declares, from SHARED_START */
    int max_threads;
    uint32_t *calls; /* functions called, by index */
    size_t call_count;
    emu_kernel kernel; /* the public view of an entry */
    emu_param *views;
} function;

typedef struct allocation {
    uint8_t *data;
    size_t bytes;
    uint8_t *defined;        /* one byte a byte: 1 written; NULL: all is */
    void *map, *defined_map; /* what to unmap; NULL: adopted */
    size_t map_bytes, defined_map_bytes;
    bool read_only;
    _Atomic uint64_t *owner; /* EMU_CHECK_GLOBAL_RACES: one a word of 4 bytes; see global_race.c */
    size_t owner_bytes;
} allocation;

typedef struct variable { /* of a module: .global or .const */
    char *name;
    allocation memory;
} variable;

struct emu_module {
    op *code;
    size_t op_count, op_room;
    function *functions;
    size_t function_count, function_room;
    variable *variables;
    size_t variable_count, variable_room;
    uint32_t **tables; /* brx.idx: length, then targets */
    size_t table_count, table_room;
    char **files;
    size_t file_count;
    int32_t function_slots;  /* slots of all .func together; those of a kernel follow */
    uint32_t function_local; /* local bytes of all .func together */
    uint32_t shared_start;   /* end of the module's own static shared variables */
    uint32_t dynamic_align;  /* of extern .shared */
    bool dynamic_used;
    uint32_t shared_granule; /* bytes: the narrowest access that may reach shared memory */
};

/* ---- memory ---- */

struct emu_machine {
    allocation **sorted; /* by address */
    size_t count, room;
};

/* A shared granule's history; stamps are warp << 27 | lane << 22 | several << 21 | clock, 0 for none. */
typedef struct cell {
    uint32_t write, read[2];
    uint32_t write_op; /* index of the code; bit 31: atomic or strong */
} cell;

enum { CLOCK_BITS = 21 };
enum { BYTE_UNDEFINED, BYTE_DEFINED, BYTE_PENDING }; /* of shared and local memory */

/* ---- execution ---- */

typedef struct copy { /* one cp.async of one lane */
    uint32_t group;   /* number of its commit group; UINT32_MAX: not committed */
    uint32_t target;
    const uint8_t *source;
    uint8_t lane, bytes, source_bytes;
    const op *o;
} copy;

typedef struct block block;

struct warp {
    uint8_t *regs; /* slots */
    block *block;
    uint32_t id;
    uint32_t alive;                 /* lanes not exited */
    uint32_t exist;                 /* lanes of the launch */
    uint32_t at_barrier, at_sync;   /* lanes that wait: for the block, for lanes of this warp */
    uint32_t pc[LANES];             /* of the lanes that are not in the running group */
    uint32_t carry;                 /* CC.CF, a bit a lane */
    uint32_t rotate;                /* groups to pass over at the next choice, for fairness */
    uint32_t forced;                /* lanes that no longer wait for members who cannot come */
    uint8_t *local, *local_defined; /* [lane][bytes] */
    uint32_t clock;
    uint32_t seen[WARPS_MAX]; /* clock of each warp up to which its accesses happened before ours */
    copy *copies;
    size_t copy_count, copy_room;
    uint32_t committed[LANES]; /* commit groups of a lane so far */
    const allocation *hit;     /* the last one looked up */
};

typedef struct barrier {
    uint32_t arrived;          /* threads */
    uint32_t expected;         /* 0: nobody has come */
    uint32_t lanes[WARPS_MAX]; /* that wait */
    uint32_t seen[WARPS_MAX];  /* join of the clocks of those that came */
    uint32_t pc;               /* of the first that came */
    bool mixed;                /* they came from different instructions */
    uint32_t count_true;       /* bar.red */
} barrier;

typedef struct launch launch;

struct block {
    launch *launch;
    uint32_t index[3];
    uint64_t linear;
    uint32_t warps;
    warp *warp;
    uint8_t *shared, *shared_state; /* from SHARED_START */
    uint32_t shared_bytes;
    cell *cells;
    uint32_t granule_shift;
    barrier barrier[BARRIERS];
    uint64_t steps, random;
    bool dead; /* stopped by a report */
    emu_counters counters;
    uint8_t *regs, *local;
    size_t local_stride;
};

struct launch {
    emu_machine *machine;
    const emu_module *module;
    const function *kernel;
    uint32_t grid[3], dim[3];
    uint32_t threads, warps, shared_bytes, dynamic_shared;
    uint32_t local_bytes;
    const uint8_t *params;
    uint8_t *param_copy;
    size_t param_bytes;
    emu_options options;
    uint8_t *template_; /* registers before a warp starts */
    size_t reg_bytes;
    uint64_t total;
    _Atomic uint64_t next;
    allocation *allocations; /* of machine and module, sorted */
    size_t allocation_count;
    pthread_mutex_t lock;                  /* reports, counters */
    pthread_mutex_t atomics[ATOMIC_LOCKS]; /* by address: atomics of several blocks on the same word */
    emu_result *result;
    size_t report_room;
    bool out_of_memory;
    _Atomic int failed;
};

#define REG(w, T, slot) ((T *)(void *)((w)->regs + (size_t)(slot)*SLOT_BYTES))
typedef uint32_t __attribute__((may_alias)) reg32;
typedef uint64_t __attribute__((may_alias)) reg64;
typedef float __attribute__((may_alias)) regf32;
typedef double __attribute__((may_alias)) regf64;

#define FOR_LANES(i, mask) \
    for (uint32_t lanes_ = (mask), i; lanes_ && (i = (uint32_t)__builtin_ctz(lanes_), 1); lanes_ &= lanes_ - 1)

static inline uint32_t pred_of(const warp *w, int32_t slot) {
    return *REG(w, const reg32, slot);
}
static inline void pred_set(warp *w, int32_t slot, uint32_t mask, uint32_t value) {
    reg32 *p = REG(w, reg32, slot);
    *p = (*p & ~mask) | (value & mask);
}
static inline uint32_t op_index(const warp *w, const op *o);

/* run.c */
bool emu_run_block(block *b);
/* barrier.c */
void emu_barrier_arrive(warp *w, const op *o, uint32_t mask, uint32_t pc);
/* Nobody can go on: reports why. true: somebody was let through, false: the block is dead. */
bool emu_barrier_stuck(block *b);
void emu_clock_advance(warp *w);
/* memory.c */
const allocation *emu_find_allocation(const allocation *list, size_t count, uint64_t address);
bool emu_allocation_make(allocation *a, size_t bytes, emu_init init);
void emu_allocation_free(allocation *a);
/* global_race.c */
bool emu_owner_make(allocation *a);
void emu_global_race(warp *w, const op *o, const allocation *a, uint64_t address, uint32_t bytes, uint32_t lane,
                     bool write, bool strong);
/* shadow.c: bookkeeping of shared memory; addresses are offsets from SHARED_START, in bounds */
void emu_shared_read(warp *w, const op *o, uint32_t lane, uint32_t at, uint32_t bytes, bool strong);
void emu_shared_write(warp *w, const op *o, uint32_t lane, uint32_t at, uint32_t bytes, bool strong,
                      const uint8_t *value);
/* access.c: the lanes of one memory instruction in one space: checks, and the host addresses of the lanes that may go
 * on. */
typedef struct lane_access {
    ptx_space space;
    uint32_t bytes;          /* a lane */
    bool strong;             /* atomic, volatile, ... */
    uint64_t address[LANES]; /* as the PTX has them, without windows */
    uint8_t *host[LANES];
    const allocation *hit; /* global: all lanes lie in it; NULL: in several */
} lane_access;
/* base register r[index] + offset; bit `bit` of mode2 tells the width of the base. */
void emu_addresses(const warp *w, const op *o, int index, int bit, int64_t offset, uint64_t address[LANES]);
/* Takes the lanes of *mask that point into one space; sets a->space, and a->address without its window. 0: none left.
 */
uint32_t emu_next_space(const op *o, uint32_t *mask, const uint64_t address[LANES], lane_access *a);
/* Bounds, alignment, read-only memory: the lanes that passed. */
uint32_t emu_access_check(warp *w, const op *o, uint32_t mask, bool write, lane_access *a);
void emu_access_read(warp *w, const op *o, uint32_t mask, const lane_access *a);
/* Before the bytes change: value[lane] is what will be written (NULL: not known, an atomic). */
void emu_access_write(warp *w, const op *o, uint32_t mask, const lane_access *a, const uint8_t (*value)[32]);
void emu_count_shared(warp *w, uint32_t mask, const lane_access *a);
/* async.c */
/* Copies of the lanes whose group number is below limit[lane] arrive; UINT32_MAX: uncommitted ones too. */
void emu_async_deliver(warp *w, uint32_t mask, const uint32_t limit[LANES]);
/* report.c */
void emu_report_add(warp *w, const op *o, uint32_t lane, emu_report_kind kind, uint64_t address, const char *format,
                    ...) __attribute__((format(printf, 6, 7)));
int emu_report_compare(const void *a, const void *b);

static inline uint32_t op_index(const warp *w, const op *o) {
    return (uint32_t)(o - w->block->launch->module->code);
}

#endif
