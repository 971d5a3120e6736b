/* manifest.h: manifest.yaml of a library folder: what is in it, made by what, and the size and checksum of every file.
 * A checksum shows that bytes are intact; it does not show who wrote them. */
#ifndef TUNER_MANIFEST_H
#define TUNER_MANIFEST_H

#include "base/buf.h"
#include "base/err.h"
#include "gen/problem.h"
#include "runtime/nha_library.h"

enum {
    TUNE_MANIFEST_FORMAT = 2, /* of the folder; another number is another version's */
    TUNE_MANIFEST_FILES_MAX = 4096,
    TUNE_MANIFEST_KERNELS_MAX = 1024,
    TUNE_MANIFEST_BYTES_MAX = 4 << 20,
};

typedef struct tune_manifest_file {
    char path[256]; /* within the folder; letters, digits and ._-/ only, no part begins with a dot */
    int64_t size;
    char sha256[65];
} tune_manifest_file;

/* What ptxas and the launch say of one entry function. */
typedef struct tune_manifest_launch {
    char entry[256]; /* "": no such launch */
    int64_t threads, shared_bytes, registers, stack_bytes, spill_bytes;
} tune_manifest_launch;

typedef struct tune_manifest_kernel {
    bool cuda; /* in the list cuda_kernels, not in kernels */
    char name[192];
    char op[16], isa[16];
    int64_t rank, min_tasks, max_tasks, min_length, max_length;
    char source[256]; /* path in the folder */
    char sha256[65];  /* of the object; of the cubin */
    /* CPU */
    char symbol_main[256], symbol_delta[256], symbol_scan[256]; /* "": none */
    char object[64];                                            /* member of the archive */
    int64_t spills, loop_spills;
    int64_t block_tokens, scratch_bytes, scratch_panel_bytes; /* as in nha_cpu_code */
    double delta_cost;
    /* CUDA */
    char ptx[256], cubin[256]; /* paths in the folder */
    tune_manifest_launch main, second;
    int64_t workspace_bytes, workspace_window_bytes; /* as in nha_cuda_code */
} tune_manifest_kernel;

typedef struct tune_manifest {
    int64_t format;
    char nhac[32], llvm[32], nvrtc[32], triple[64]; /* versions that made it; LLVM triple of the host code */
    int64_t abi;
    char name[GEN_NAME_MAX + 1], c_name[GEN_NAME_MAX + 1];
    tune_manifest_kernel *kernels; /* owned; the CPU's, then CUDA's, each sorted as in the library's table */
    size_t kernel_count;
    tune_manifest_file *files; /* owned; sorted by path */
    size_t file_count;
} tune_manifest;

/* Appends the YAML text. */
void tune_manifest_write(base_buf *out, const tune_manifest *manifest);
/* Reads it back; hostile input. Every error is ERR_INPUT with file, line and column: not YAML, an unknown or missing
 * key, a value out of range, another format version. On failure *manifest needs no destroy. */
bool tune_manifest_parse(const char *path, const char *text, size_t size, tune_manifest *manifest, err *e);
void tune_manifest_destroy(tune_manifest *manifest);
/* The entry of a file, or NULL. */
const tune_manifest_file *tune_manifest_find(const tune_manifest *manifest, const char *path);

#endif
