/* nvrtc.c: see nvrtc.h. Compiling through the cache; the key covers everything that decides the bytes. */
#include "jit/nvrtc.h"

#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "jit/jit.h"
#include "jit/nvrtc_child.h"
#include "runtime/nha.h"

enum { OPTIONS_MAX = 512 };

/* What every compile asks for. Fused multiply-add and round-to-nearest are NVRTC's defaults; -v is for the resources.
 */
static const char *const standard_options[] = {"--std=c++17", "--ptxas-options=-v", "--dopt=on",
                                               "--diag-suppress=177" /* unused names: a knob may decide #if alone */};
enum { STANDARD_COUNT = sizeof standard_options / sizeof *standard_options };

/* What the cache keeps: this, then log, PTX and cubin. */
typedef struct cached_header {
    char magic[8];
    uint64_t log, ptx, cubin;
} cached_header;
static const char cached_magic[8] = "nhacuda";

static void make_key(const jit_nvrtc *n, const jit_cuda_request *request, char key[BASE_SHA256_HEX]) {
    base_sha256 hash;
    base_sha256_init(&hash);
    base_sha256_add_text(&hash, "nhac cuda");
    base_sha256_add_text(&hash, NHA_VERSION);
    base_sha256_add_text(&hash, n->version);
    base_sha256_add(&hash, &n->bytes, sizeof n->bytes);
    base_sha256_add_text(&hash, request->arch);
    base_sha256_add_text(&hash, request->name); /* stands in the messages, and in line information */
    base_sha256_add_text(&hash, request->source);
    for (int i = 0; i < STANDARD_COUNT; i++)
        base_sha256_add_text(&hash, standard_options[i]);
    for (int i = 0; i < request->option_count; i++)
        base_sha256_add_text(&hash, request->options[i]);
    for (int i = 0; i < request->header_count; i++) {
        base_sha256_add_text(&hash, request->headers[i].name);
        base_sha256_add_text(&hash, request->headers[i].text);
    }
    int32_t counts[2] = {request->option_count, request->header_count};
    base_sha256_add(&hash, counts, sizeof counts);
    base_sha256_end_hex(&hash, key);
}

/* ---- The image ---- */

static int by_name(const void *a, const void *b) {
    const jit_cuda_resources *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Fills what is read out of the log and checks that PTX and cubin are there. */
static bool finish(jit_cuda_image *image) {
    static const char elf[] = "\177ELF";
    image->kernel_count = jit_cuda_read_log(image->log, image->kernels, JIT_NVRTC_KERNELS_MAX);
    qsort(image->kernels, (size_t)image->kernel_count, sizeof *image->kernels, by_name);
    for (int i = 0; i < image->kernel_count; i++)
        if (image->kernels[i].registers < 0)
            return false;
    while (image->ptx_size && !image->ptx[image->ptx_size - 1])
        image->ptx_size--; /* NVRTC counts the NUL */
    return image->ptx_size && image->cubin_size > 4 && memcmp(image->cubin, elf, 4) == 0;
}

static char *copy(const char *bytes, size_t size) {
    char *to = malloc(size + 1);
    if (to) {
        memcpy(to, bytes, size);
        to[size] = 0;
    }
    return to;
}

static bool from_cache(jit_cuda_image *image) {
    cached_header h;
    void *entry;
    size_t size;
    bool ok = false;
    if (!jit_cache_get(image->key, &entry, &size))
        return false;
    if (size >= sizeof h) {
        memcpy(&h, entry, sizeof h);
        size -= sizeof h;
        ok = memcmp(h.magic, cached_magic, sizeof cached_magic) == 0 && h.log <= size && h.ptx <= size - h.log &&
             h.cubin == size - h.log - h.ptx;
    }
    if (ok) {
        const char *at = (const char *)entry + sizeof h;
        image->log = copy(at, h.log);
        image->ptx = copy(at + h.log, h.ptx);
        image->cubin = copy(at + h.log + h.ptx, h.cubin);
        image->ptx_size = h.ptx;
        image->cubin_size = h.cubin;
        image->cached = image->log && image->ptx && image->cubin && finish(image);
    }
    free(entry);
    return image->cached;
}

static void to_cache(const jit_cuda_image *image) {
    cached_header h = {.log = strlen(image->log), .ptx = image->ptx_size, .cubin = image->cubin_size};
    size_t size = sizeof h + h.log + h.ptx + h.cubin;
    char *entry = malloc(size), *at = entry;
    if (!entry)
        return; /* only costs time */
    memcpy(h.magic, cached_magic, sizeof cached_magic);
    memcpy(at, &h, sizeof h);
    memcpy(at += sizeof h, image->log, h.log);
    memcpy(at += h.log, image->ptx, h.ptx);
    memcpy(at += h.ptx, image->cubin, h.cubin);
    jit_cache_put(image->key, entry, size);
    free(entry);
}

void jit_cuda_image_destroy(jit_cuda_image *image) {
    free(image->ptx);
    free(image->cubin);
    free(image->log);
    *image = (jit_cuda_image){0};
}

/* ---- Compiling ---- */

/* The first line of the log that says "error", as the text of the error. */
static void first_error(const char *log, char *out, size_t size) {
    const char *at = strstr(log, "error");
    while (at && at > log && at[-1] != '\n')
        at--;
    size_t length = at ? strcspn(at, "\n") : 0;
    snprintf(out, size, "%s%.*s", length ? ": " : "", (int)(length < 400 ? length : 400), at ? at : "");
}

static bool compiler_failed(const jit_nvrtc *n, const jit_cuda_request *request, jit_nvrtc_answer *answer, err *e) {
    char line[512];
    first_error(answer->log, line, sizeof line);
    bool memory = answer->result == JIT_NVRTC_OUT_OF_MEMORY;
    bool first = e && e->code == ERR_NONE;
    if (answer->result == JIT_NVRTC_COMPILATION)
        err_set(e, ERR_COMPILE, "compile", "NVRTC refuses %.200s for %s%s", request->name, request->arch, line);
    else
        err_set(e, memory ? ERR_MEMORY : ERR_COMPILE, "compile", "NVRTC fails on %.200s for %s: %.200s%s",
                request->name, request->arch, n->GetErrorString(answer->result), line);
    if (first) {
        e->log = answer->log;
        answer->log = NULL;
    }
    return false;
}

static bool compile(const jit_nvrtc *n, const jit_cuda_request *request, jit_cuda_image *image, err *e) {
    const char *options[OPTIONS_MAX];
    char arch[48];
    jit_nvrtc_answer answer;
    int count = 0;
    if (request->option_count < 0 || request->option_count > OPTIONS_MAX - STANDARD_COUNT - 1)
        return err_set(e, ERR_INTERNAL, "compile", "too many options for NVRTC");
    snprintf(arch, sizeof arch, "--gpu-architecture=%.16s", request->arch);
    options[count++] = arch;
    for (int i = 0; i < STANDARD_COUNT; i++)
        options[count++] = standard_options[i];
    for (int i = 0; i < request->option_count; i++)
        options[count++] = request->options[i];
    if (!jit_nvrtc_child_run(n, request, options, count, &answer, e))
        return false;
    bool ok = answer.result == 0 || compiler_failed(n, request, &answer, e);
    if (ok) {
        image->log = answer.log;
        image->ptx = answer.ptx;
        image->cubin = answer.cubin;
        image->ptx_size = answer.ptx_size;
        image->cubin_size = answer.cubin_size;
        answer = (jit_nvrtc_answer){0};
        ok = finish(image) ||
             err_set(e, ERR_COMPILE, "compile", "NVRTC %s gave no PTX, cubin or resources for %.200s, %s", n->version,
                     request->name, request->arch);
    }
    jit_nvrtc_answer_free(&answer);
    return ok;
}

bool jit_nvrtc_compile(const jit_nvrtc *nvrtc, const jit_cuda_request *request, jit_cuda_image *image, err *e) {
    *image = (jit_cuda_image){0};
    if (!jit_nvrtc_knows(nvrtc, request->arch))
        return err_set(e, ERR_MISSING, "compile", "NVRTC %s in %.400s does not know %.16s", nvrtc->version, nvrtc->path,
                       request->arch);
    make_key(nvrtc, request, image->key);
    if (from_cache(image))
        return true;
    char key[65];
    memcpy(key, image->key, sizeof key);
    jit_cuda_image_destroy(image); /* what a bad entry left */
    memcpy(image->key, key, sizeof key);
    const char *no_jit = getenv("NHAC_NO_JIT");
    bool ok;
    if (no_jit && strcmp(no_jit, "1") == 0)
        ok = err_set(e, ERR_MISSING, "compile", "NHAC_NO_JIT=1 forbids compiling, and the cache has no image %s in %s",
                     key, jit_cache_dir());
    else
        ok = compile(nvrtc, request, image, e);
    if (ok)
        to_cache(image);
    else
        jit_cuda_image_destroy(image);
    return ok;
}
