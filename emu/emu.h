/* emu.h: a functional PTX emulator. It runs a kernel's PTX on the CPU, and reports every bad access, race and missed
 * wait it sees. Depends on libc, libm and POSIX threads alone; usable as a library of its own (see README.md). */
#ifndef EMU_EMU_H
#define EMU_EMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct emu_module emu_module;
typedef struct emu_machine emu_machine;

/* What is wrong with a PTX text, or with the use of this interface. */
typedef struct emu_error {
    int line;       /* of the PTX text, from 1; 0: not about a line */
    char text[512]; /* one sentence, no newline */
} emu_error;

/* ---- modules ---- */

typedef struct emu_param {
    const char *name; /* borrowed from the module */
    size_t offset;    /* bytes from the start of the parameter block */
    size_t size;      /* bytes */
    size_t align;
} emu_param;

typedef struct emu_kernel {
    const char *name;        /* borrowed from the module */
    const emu_param *params; /* in order of declaration */
    size_t param_count;
    size_t param_bytes;  /* size of the block that emu_launch takes */
    size_t shared_bytes; /* static shared memory; dynamic memory follows it, aligned as its declaration asks */
    size_t local_bytes;  /* a thread, with those of the functions it may call */
    int max_threads;     /* product of .maxntid or .reqntid; 0 where not given */
    int line;            /* of .entry */
} emu_kernel;

/* Parses and decodes a whole PTX module. `text` need not end with a zero, and is not kept. Everything is checked here:
 * an opcode, modifier or operand that the emulator does not know is an error that names its line and its text. NULL on
 * error, with *e filled (e may be NULL). The module owns its global and constant variables, so two machines see the
 * same ones. */
emu_module *emu_module_parse(const char *text, size_t length, emu_error *e);
void emu_module_destroy(emu_module *m);
size_t emu_module_kernel_count(const emu_module *m);
const emu_kernel *emu_module_kernel(const emu_module *m, size_t index);
/* NULL where there is none of that name. */
const emu_kernel *emu_module_find(const emu_module *m, const char *name);
/* Address and size of a .global or .const variable; false where there is none of that name. */
bool emu_module_symbol(const emu_module *m, const char *name, void **address, size_t *bytes);
/* Name of a source file of .file, as written; NULL if unknown. */
const char *emu_module_file(const emu_module *m, int file);

/* Every opcode form row that the decoder knows, for documentation and for tests of coverage: NULL past the end. */
const char *emu_opcode_name(size_t index);
const char *emu_opcode_modifiers(size_t index);

/* ---- memory ---- */

typedef enum emu_init {
    EMU_ZERO,     /* all bytes 0, and defined */
    EMU_UNDEFINED /* poisoned (NaN in every floating type); reading a byte that nobody wrote is reported */
} emu_init;

emu_machine *emu_machine_create(void);
void emu_machine_destroy(emu_machine *m);

/* Allocates global memory: aligned to 256 bytes, with inaccessible red zones of at least 64 MiB on both sides. The
 * address is one of the host too. Pages exist once touched: a tensor of many gigabytes costs what the kernel reaches.
 * NULL when the address space or memory is out. */
void *emu_alloc(emu_machine *m, size_t bytes, emu_init init);
/* Lets kernels access memory of the caller's, which must outlive it here. `defined`: counts as written. false: out of
 * memory or overlap. */
bool emu_adopt(emu_machine *m, void *address, size_t bytes, bool defined);
/* Ends an allocation or an adoption by its address. false: there is none. */
bool emu_free(emu_machine *m, void *address);
/* Marks bytes as written (after the host filled them) or as never written (and poisons them). */
void emu_mark(emu_machine *m, void *address, size_t bytes, bool defined);
/* Bytes of the range that were never written; *first (may be NULL) gets the offset of the first of them. Allocations
 * that started as defined have none. */
size_t emu_unwritten(const emu_machine *m, const void *address, size_t bytes, size_t *first);

/* ---- reports ---- */

/* X(enumerator, text) */
#define EMU_REPORT_LIST(X) \
    X(EMU_OUT_OF_BOUNDS, "out-of-bounds access") \
    X(EMU_MISALIGNED, "misaligned access") \
    X(EMU_READ_ONLY, "write to read-only memory") \
    X(EMU_UNDEFINED_READ, "read of memory never written") \
    X(EMU_ASYNC_READ, "access to the destination of cp.async before its wait") \
    X(EMU_RACE, "shared-memory race") \
    X(EMU_GLOBAL_RACE, "global-memory race between blocks") \
    X(EMU_DIVERGENT_BARRIER, "divergent barrier") \
    X(EMU_BAD_BARRIER, "wrong barrier number or count") \
    X(EMU_BAD_MEMBERS, "wrong member mask") \
    X(EMU_PARTIAL_WARP, "warp-wide instruction by a part of the warp") \
    X(EMU_DEADLOCK, "deadlock") \
    X(EMU_TRAP, "trap") \
    X(EMU_BAD_BRANCH, "branch index out of range") \
    X(EMU_STEP_LIMIT, "step limit reached")

typedef enum emu_report_kind {
#define EMU_ENUM_(name, text) name,
    EMU_REPORT_LIST(EMU_ENUM_)
#undef EMU_ENUM_
        EMU_REPORT_KINDS
} emu_report_kind;

typedef struct emu_report {
    emu_report_kind kind;
    int line;        /* of the PTX */
    int source_file; /* number of .file; 0: unknown */
    int source_line;
    uint32_t block[3], thread[3]; /* of the first occurrence */
    uint64_t count;               /* occurrences of this kind at this PTX line */
    uint64_t address;             /* 0 where there is none */
    char text[240];               /* what exactly, in one sentence */
} emu_report;

const char *emu_report_kind_name(emu_report_kind kind);

/* ---- launches ---- */

/* X(enumerator, name): what an instruction is counted as */
#define EMU_CLASS_LIST(X) \
    X(EMU_CLASS_INT, "integer") \
    X(EMU_CLASS_F32, "f32") \
    X(EMU_CLASS_HALF, "f16 and bf16") \
    X(EMU_CLASS_F64, "f64") \
    X(EMU_CLASS_SPECIAL, "special function") \
    X(EMU_CLASS_CONVERT, "conversion") \
    X(EMU_CLASS_MOVE, "move, select and predicate") \
    X(EMU_CLASS_CONTROL, "control") \
    X(EMU_CLASS_GLOBAL, "global memory") \
    X(EMU_CLASS_SHARED, "shared memory") \
    X(EMU_CLASS_LOCAL, "local memory") \
    X(EMU_CLASS_PARAM, "parameter and constant memory") \
    X(EMU_CLASS_GENERIC, "generic memory") \
    X(EMU_CLASS_ATOMIC, "atomic") \
    X(EMU_CLASS_ASYNC, "asynchronous copy") \
    X(EMU_CLASS_WARP, "warp collective") \
    X(EMU_CLASS_SYNC, "barrier and fence") \
    X(EMU_CLASS_MATRIX, "matrix")

typedef enum emu_class {
#define EMU_ENUM_(name, text) name,
    EMU_CLASS_LIST(EMU_ENUM_)
#undef EMU_ENUM_
        EMU_CLASSES
} emu_class;

const char *emu_class_name(emu_class c);

typedef struct emu_counters {
    uint64_t warp_instructions[EMU_CLASSES]; /* as a warp scheduler issues them; those with no active lane count too */
    uint64_t thread_instructions[EMU_CLASSES];            /* lanes that executed them */
    uint64_t global_sectors_read, global_sectors_written; /* of 32 bytes, distinct within an instruction */
    uint64_t shared_wavefronts;                           /* passes over the 32 banks of 4 bytes */
    uint64_t shared_conflicts;                            /* of them, those that only bank conflicts cost */
    uint64_t mma;                                         /* mma instructions, a warp each */
    uint64_t mma_flops;
    uint64_t barriers; /* completed */
} emu_counters;

/* What is looked for; all of it by default. */
enum {
    EMU_CHECK_UNDEFINED = 1, /* reads of memory never written: global, shared, local */
    EMU_CHECK_RACES = 2,     /* shared memory */
    EMU_CHECK_COUNT = 4,     /* sectors and wavefronts (a cost, no check) */
    EMU_CHECK_GLOBAL_RACES =
        8, /* two blocks touch the same bytes, one of them writes; atomics excepted. Not part of EMU_CHECK_ALL:
            * kernels that hand data over by flags are reported. Costs 8 bytes for each 4 touched. */
    EMU_CHECK_ALL = 7,
    EMU_CHECK_BOUNDS = 0 /* bounds and alignment are always checked */
};

typedef enum emu_async {
    EMU_ASYNC_LATE, /* cp.async delivers only at its wait, the destination is poisoned till then: finds missing waits */
    EMU_ASYNC_EAGER /* it delivers at once: finds live buffers that are overwritten */
} emu_async;

typedef struct emu_options {
    uint64_t seed;   /* of the order and the time slices of warps; 0: warps in order, each until it must wait */
    int threads;     /* of the host; 0: one a core */
    unsigned checks; /* EMU_CHECK_ bits */
    emu_async async;
    uint64_t step_limit;    /* warp instructions a block; 0: 2^32 */
    size_t report_limit;    /* distinct (kind, line); 0: 100 */
    const uint64_t *blocks; /* run these blocks alone (x + X * (y + Y * z)), in this order; NULL: all */
    size_t block_count;
} emu_options;

emu_options emu_options_default(void);

typedef struct emu_result {
    emu_report *reports; /* by PTX line, then kind */
    size_t report_count;
    emu_counters counters;
} emu_result;

/* Runs a kernel to its end. `params`: the parameter block, laid out as emu_kernel says. Blocks run on several host
 * threads; within a block warps take turns. Returns false where the launch itself is wrong (sizes, memory), with *e
 * filled and *r empty; faults of the kernel are reports in *r, and the return value is true. The caller frees *r.
 * Launches that share no machine and no module variables may run concurrently. */
bool emu_launch(emu_machine *machine, const emu_module *module, const emu_kernel *kernel, const uint32_t grid[3],
                const uint32_t block[3], size_t dynamic_shared, const void *params, size_t param_bytes,
                const emu_options *options, emu_result *r, emu_error *e);
void emu_result_free(emu_result *r);
/* One line a report: FILE:LINE: kind: text (block, thread, source line, count). `file` names the PTX. */
void emu_report_print(FILE *out, const emu_module *m, const emu_report *r, const char *file);
void emu_counters_print(FILE *out, const emu_counters *c);

#endif
