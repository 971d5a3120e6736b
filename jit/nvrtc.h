/* nvrtc.h: CUDA source to PTX and cubin by NVRTC, which is found and loaded at run time; no GPU, driver or CUDA header
 * is needed. Each compile runs in a child process: a compiler that crashes or runs out of memory costs its candidate
 * alone. */
#ifndef JIT_NVRTC_H
#define JIT_NVRTC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { JIT_NVRTC_KERNELS_MAX = 16, JIT_NVRTC_NAME_MAX = 256, JIT_NVRTC_JOBS_MAX = 64, JIT_NVRTC_SECONDS = 120 };

typedef struct jit_nvrtc jit_nvrtc;

/* Finds and loads NVRTC: $NHAC_NVRTC (a file; nothing else is tried then), else the loader's path, else
 * the usual folders below /usr/local, /opt and /usr/lib, newest first. Errors: ERR_MISSING where there is none, or it
 * is older than 12.0 or lacks a function; the text says what was found and where. ERR_SYSTEM where no process can be
 * made. Call it before starting threads: it forks the helper that runs the compiles. */
bool jit_nvrtc_open(jit_nvrtc **nvrtc, err *e);
/* The same for one file. */
bool jit_nvrtc_open_file(const char *path, jit_nvrtc **nvrtc, err *e);
/* NULL is allowed. No compile may be running. */
void jit_nvrtc_close(jit_nvrtc *nvrtc);
/* "13.0"; the file it was loaded from. Borrowed from the handle. */
const char *jit_nvrtc_version(const jit_nvrtc *nvrtc);
const char *jit_nvrtc_path(const jit_nvrtc *nvrtc);
/* Whether this NVRTC can compile for "sm_90", "sm_90a", "sm_100f". */
bool jit_nvrtc_knows(const jit_nvrtc *nvrtc, const char *arch);

/* A header that the source may include by name. Rendered kernels need none; templates as they stand do. */
typedef struct jit_cuda_header {
    const char *name, *text;
} jit_cuda_header;

typedef struct jit_cuda_request {
    const char *source; /* NUL-terminated */
    const char *name;   /* for messages, and in line information: "prefill.sm_90.cu" */
    const char *arch;   /* "sm_90a" */
    const char *const *options; /* further options of NVRTC, or NULL: "-DCHUNK=64", "-lineinfo" */
    int option_count;
    const jit_cuda_header *headers;
    int header_count;
    int seconds; /* a compile that takes longer is ended, an ERR_COMPILE; 0: JIT_NVRTC_SECONDS */
} jit_cuda_request;

/* Of one entry function, as ptxas counted them. */
typedef struct jit_cuda_resources {
    char name[JIT_NVRTC_NAME_MAX];
    int32_t registers;                             /* a thread */
    int32_t stack_bytes, spill_stores, spill_loads; /* bytes a thread */
    int32_t shared_bytes;                          /* static, a block */
    int32_t barriers;
} jit_cuda_resources;

typedef struct jit_cuda_image {
    char *ptx; /* malloc'd, NUL-terminated */
    size_t ptx_size;
    void *cubin; /* malloc'd */
    size_t cubin_size;
    char *log; /* malloc'd, NUL-terminated: the compiler's whole log, warnings and ptxas -v included */
    jit_cuda_resources kernels[JIT_NVRTC_KERNELS_MAX]; /* by name */
    int kernel_count;
    bool cached;  /* came from the cache */
    char key[65]; /* hex SHA-256 of everything that decides the bytes */
} jit_cuda_image;

/* Compiles, or takes the image from the cache (jit_cache_dir). Thread-safe. Errors: ERR_COMPILE with NVRTC's log in the
 * error; ERR_MISSING if this NVRTC does not know the arch, or NHAC_NO_JIT=1 forbids compiling; ERR_MEMORY where the
 * compiler ran out of it; ERR_SYSTEM. On failure *image needs no destroy. */
bool jit_nvrtc_compile(const jit_nvrtc *nvrtc, const jit_cuda_request *request, jit_cuda_image *image, err *e);
void jit_cuda_image_destroy(jit_cuda_image *image);
/* NULL if there is no entry function of that name. */
const jit_cuda_resources *jit_cuda_image_find(const jit_cuda_image *image, const char *name);

/* Several at once, at most `jobs` (0: jit_nvrtc_jobs()). images[i] or errors[i] is filled for each request i; returns
 * how many succeeded. The caller destroys those images and clears the errors. */
int jit_nvrtc_compile_all(const jit_nvrtc *nvrtc, const jit_cuda_request *requests, int count, int jobs,
                          jit_cuda_image *images, err *errors);
/* As many as there are cores for this process, and a gigabyte of free memory for each; at least 1. */
int jit_nvrtc_jobs(void);

/* True if a kernel neither spills nor has a stack frame; else *reason gets one line that says which and how much. The
 * generic kernel is exempt: do not ask. */
bool jit_cuda_spill_free(const jit_cuda_image *image, char *reason, size_t size);
/* Reads `ptxas -v` out of a log: the number of kernels, at most `most`. Hostile text gives fewer. */
int jit_cuda_read_log(const char *log, jit_cuda_resources *kernels, int most);

#endif
