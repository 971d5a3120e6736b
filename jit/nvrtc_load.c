/* nvrtc_load.c: finding NVRTC and looking at what was found. Loading runs its constructors, nothing else. */
#include "jit/nvrtc_child.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { OLDEST_MAJOR = 12 };

static const char *const loader_names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
static const char *const folders[] = {"/usr/local/cuda/lib64",          "/usr/local/cuda-*/lib64",
                                      "/usr/local/cuda*/targets/*/lib", "/opt/cuda/lib64",
                                      "/usr/lib/x86_64-linux-gnu",      "/usr/lib/aarch64-linux-gnu"};

static bool look(jit_nvrtc *n, err *e) {
    const char *absent = NULL;
#define LOAD_(result, parameters, name)                                                                                \
    {                                                                                                                  \
        void *symbol = dlsym(n->library, "nvrtc" #name);                                                               \
        if (!symbol)                                                                                                   \
            absent = "nvrtc" #name;                                                                                    \
        memcpy(&n->name, &symbol, sizeof symbol);                                                                      \
    }
    JIT_NVRTC_FUNCTIONS(LOAD_)
#undef LOAD_
    int major = 0, minor = 0, count = 0;
    if (n->Version && n->Version(&major, &minor) == 0 && major < OLDEST_MAJOR)
        return err_set(e, ERR_MISSING, "compile", "NVRTC %d.%d in %.400s is too old; nhac needs %d.0 or later", major,
                       minor, n->path, OLDEST_MAJOR);
    if (absent)
        return err_set(e, ERR_MISSING, "compile", "%.400s is not an NVRTC that nhac can use: it has no %s", n->path,
                       absent);
    if (major == 0 || n->GetNumSupportedArchs(&count) != 0 || count < 1 || count > JIT_NVRTC_ARCHS_MAX ||
        n->GetSupportedArchs(n->archs) != 0)
        return err_set(e, ERR_MISSING, "compile", "NVRTC in %.400s does not say its version or its targets", n->path);
    n->arch_count = count;
    snprintf(n->version, sizeof n->version, "%d.%d", major, minor);
    return true;
}

/* false without an error: there is no such library. */
static bool load(const char *name, jit_nvrtc **nvrtc, err *e) {
    struct link_map *map = NULL;
    jit_nvrtc *n = calloc(1, sizeof *n);
    if (!n)
        return err_memory(e, "compile");
    n->socket = -1;
    /* Stays when closed: it keeps memory that only itself knows, and loading it again would cost as much again. */
    n->library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!n->library) {
        free(n);
        return false;
    }
    bool linked = dlinfo(n->library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name[0];
    snprintf(n->path, sizeof n->path, "%s", linked ? map->l_name : name);
    if (!base_file_size(n->path, &n->bytes))
        n->bytes = 0;
    if (!look(n, e) || !jit_nvrtc_helper_start(n, e)) {
        jit_nvrtc_close(n);
        return false;
    }
    *nvrtc = n;
    return true;
}

bool jit_nvrtc_open_file(const char *path, jit_nvrtc **nvrtc, err *e) {
    *nvrtc = NULL;
    err own = {0};
    if (load(path, nvrtc, &own))
        return true;
    if (own.code == ERR_NONE) {
        const char *why = dlerror();
        err_set(&own, ERR_MISSING, "compile", "NVRTC cannot be loaded from %.200s: %.400s", path,
                why ? why : "no reason given");
    }
    if (e && e->code == ERR_NONE)
        *e = own;
    else
        err_clear(&own);
    return false;
}

/* The newest usable library of a folder; *found tells whether any was there. Later names of a sorted list are newer. */
static bool try_folder(const char *folder, jit_nvrtc **nvrtc, err *first) {
    char pattern[128];
    glob_t found;
    bool ok = false;
    snprintf(pattern, sizeof pattern, "%s/libnvrtc.so*", folder);
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    for (size_t i = found.gl_pathc; i > 0 && !ok; i--)
        ok = load(found.gl_pathv[i - 1], nvrtc, first);
    globfree(&found);
    return ok;
}

bool jit_nvrtc_open(jit_nvrtc **nvrtc, err *e) {
    *nvrtc = NULL;
    err first = {0}; /* the first library that was there but is of no use */
    bool ok = false;
    const char *own = getenv("NHAC_NVRTC");
    if (own && own[0])
        return jit_nvrtc_open_file(own, nvrtc, e);
    for (size_t i = 0; i < sizeof loader_names / sizeof *loader_names && !ok; i++)
        ok = load(loader_names[i], nvrtc, &first);
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !ok; i++)
        ok = try_folder(folders[i], nvrtc, &first);
    if (!ok)
        err_set(
            &first, ERR_MISSING, "compile",
            "NVRTC was not found: install the CUDA toolkit, or set NHAC_NVRTC to its libnvrtc.so.12 or libnvrtc.so.13");
    if (!ok && e && e->code == ERR_NONE)
        *e = first;
    else
        err_clear(&first);
    return ok;
}

void jit_nvrtc_close(jit_nvrtc *nvrtc) {
    if (!nvrtc)
        return;
    jit_nvrtc_helper_stop(nvrtc);
    dlclose(nvrtc->library);
    free(nvrtc);
}

const char *jit_nvrtc_version(const jit_nvrtc *nvrtc) {
    return nvrtc->version;
}

const char *jit_nvrtc_path(const jit_nvrtc *nvrtc) {
    return nvrtc->path;
}

bool jit_nvrtc_knows(const jit_nvrtc *nvrtc, const char *arch) {
    char *end;
    if (strncmp(arch, "sm_", 3) != 0 || arch[3] < '1' || arch[3] > '9')
        return false;
    long number = strtol(arch + 3, &end, 10);
    if (*end && ((*end != 'a' && *end != 'f') || end[1]))
        return false;
    int version[2] = {0, 0};
    sscanf(nvrtc->version, "%d.%d", &version[0], &version[1]);
    if (*end == 'f' && (number < 100 || version[0] * 100 + version[1] < 1209))
        return false; /* families came with CUDA 12.9 */
    if (*end == 'a' && number < 90)
        return false;
    for (int i = 0; i < nvrtc->arch_count; i++)
        if (nvrtc->archs[i] == number)
            return true;
    return false;
}
