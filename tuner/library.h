/* library.h: the folder of a generated library (docs/library.md): written whole or not at all, and opened again.
 *
 *     NAME/libnha_C.a, libnha_C.so, nha_C.h     C = NAME as a C name; the .so only where the system has a cc
 *     NAME/manifest.yaml                        kernels, versions, size and SHA-256 of every other file
 *     NAME/spec.yaml                            the problem, canonical
 *     NAME/ptx/KERNEL.ptx, cubin/KERNEL.cubin   of CUDA kernels
 *     NAME/src/KERNEL.ll, src/KERNEL.cu, tuning.jsonl, report.html, nha_CConfig.cmake, nha_C.pc
 */
#ifndef TUNER_LIBRARY_H
#define TUNER_LIBRARY_H

#include "base/elf_load.h"
#include "gen/cpu/isa.h"
#include "gen/spec.h"
#include "jit/jit.h"
#include "jit/nvrtc.h"
#include "runtime/nha_cuda.h"
#include "runtime/nha_library.h"
#include "tuner/manifest.h"

/* A kernel that was chosen. All pointers are borrowed during tune_library_write. */
typedef struct tune_library_kernel {
    const char *name; /* OP.ISA.KNOBS; two rows may share a name (one kernel, two ranges of validity) if they share the
                         object */
    nha_op op;
    nha_device_kind kind;
    const char *target; /* nha_kernel.isa: ISA name or "sm_90a" */
    int rank; /* as in nha_kernel, as are the ranges */
    int64_t min_tasks, max_tasks, min_length, max_length;
    /* CPU */
    uint64_t cpu_features;                                /* NHA_CPU_* bits */
    const char *symbol_main, *symbol_delta, *symbol_scan; /* functions of the object; NULL or "": none */
    nha_cpu_code code;                                    /* its numbers; its pointers are ignored */
    const void *object;
    size_t object_size;
    int spills, loop_spills; /* as in jit_object, for the manifest */
    /* CUDA */
    const nha_cuda_code *cuda; /* launches; their entries are borrowed too */
    const void *cubin;         /* machine code for `target` */
    size_t cubin_size;
    const char *ptx;
    size_t ptx_size;
    const jit_cuda_resources *resources; /* of each entry function, for the manifest */
    int resource_count;
    const char *source; /* readable source: the text of src/NAME.ll or src/NAME.cu */
} tune_library_kernel;

typedef struct tune_library_content {
    const gen_spec *spec;
    const tune_library_kernel *kernels; /* any order; those for CPUs all for one architecture */
    int kernel_count;
    const char *journal; /* JSON lines, one a measurement; NULL: none */
    size_t journal_size;
    const char *llvm, *nvrtc;   /* versions of the compilers; NULL: not used */
    int32_t min_driver_version; /* CUDA: as in nha_library; 0: none */
    const char *how; /* one line for the report: the command and the machine; NULL: none */
} tune_library_content;

/* Writes PARENT/NAME, making PARENT if need be; an existing library of that name is exchanged whole. The same content
 * gives the same bytes. Needs neither cc nor ar; without a cc the .so is left out and `note` (may be NULL) says so,
 * else *note is "". Thread-safe. Errors: ERR_SYSTEM (full disk, unwritable folder), ERR_COMPILE (cc failed; its text in
 * the log), ERR_INTERNAL (kernels that do not fit together), ERR_MEMORY; then nothing is left behind and an existing
 * library is as it was. */
bool tune_library_write(const char *parent, const tune_library_content *content, char note[256], err *e);

enum {
    TUNE_OPEN_ARCHIVE = 1 << 0, /* link the .a in memory even where there is a .so */
    TUNE_OPEN_NO_CODE = 1 << 1, /* read and check, load no code: library is NULL */
};

typedef struct tune_library {
    const nha_library *library; /* valid until tune_library_close */
    gen_spec spec;              /* of spec.yaml: the problem; targets and hints are those of the original */
    tune_manifest manifest;
    char *folder;
    nha_module *module; /* one of these three holds the code */
    jit_code *code;     /* never in a build without LLVM */
    elf_image data;     /* a library for GPUs alone */
} tune_library;

/* Opens a library folder: manifest and spec are read, every file is there with its size, the one that is loaded has its
 * checksum, and nobody else can write it. Errors: ERR_INPUT with a clear text for a folder that is missing,
 * half-written, damaged or of another version; ERR_COMPILE if ORC fails; ERR_MISSING for CPU kernels without a .so in a
 * build without LLVM. On failure *library needs no close. A .so that is open when its folder is exchanged must be closed
 * before the new one is opened: the loader knows it by its path. */
bool tune_library_open(const char *folder, unsigned flags, tune_library *library, err *e);
/* Every plan made from it must be destroyed first. */
void tune_library_close(tune_library *library);

/* Reads a file of the library ("tuning.jsonl", "src/KERNEL.ll") that its manifest lists, checksum checked; malloc'd,
 * NUL after it. */
bool tune_library_read(const tune_library *library, const char *file, char **data, size_t *size, err *e);

#endif
