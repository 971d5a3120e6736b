/* fake_cuda.c: a libcuda.so.1 for tests: exports the functions that nhac calls, forwards them to the emulated driver
 * (emu/driver.h), and takes its devices, its modules and its failures from the environment when cuInit is called:
 *   NHAC_FAKE_DEVICE=8.0,9.0          compute capability of each device; default: the six of emu/driver.h
 *   NHAC_FAKE_DRIVER=13000            driver version
 *   NHAC_FAKE_SEED=7                  of the order of warps
 *   NHAC_FAKE_LATE=1                  faults of kernels show at the next call that waits
 *   NHAC_FAKE_PTX=DIR[:DIR...]        library folders: DIR/cubin/NAME.cubin runs as DIR/ptx/NAME.ptx
 *   NHAC_FAKE_CACHE=DIR               nhac's cache: a cubin in none of those folders runs as the PTX that was cached with it
 *   NHAC_FAKE_FAIL=FUNCTION:N:RESULT[:sticky],...   the N-th call of FUNCTION after cuInit fails with RESULT
 * What is wrong there is said on stderr, and cuInit fails with INVALID_VALUE. Reports of kernels go to stderr too. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "emu/driver.h"

enum { INVALID_VALUE = 1, WORD = 64, FILE_MAX = 256 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool ready;        /* the environment was read */
static uint64_t reported; /* texts printed so far */

static bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool complain(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("fake libcuda: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return false;
}

/* The next field of a list, cut at `separator`; NULL: none left. false: it is too long for `word`. */
static bool next(const char **list, char separator, char word[WORD]) {
    size_t n = strcspn(*list, (char[]){separator, 0});
    if (n >= WORD)
        return false;
    memcpy(word, *list, n);
    word[n] = 0;
    *list += n + ((*list)[n] != 0);
    return true;
}

static bool number(const char *text, int low, int high, int *value) {
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    *value = (int)v;
    return end != text && !*end && !errno && v >= low && v <= high;
}

/* ---- what the variables say ---- */

static bool take_devices(const char *text, emu_driver_device *devices, size_t *count) {
    char word[WORD];
    for (const char *p = text; *p;) {
        int major, minor, used = 0;
        if (*count == EMU_DRIVER_DEVICES_MAX)
            return complain("NHAC_FAKE_DEVICE=%s: more than %d devices", text, EMU_DRIVER_DEVICES_MAX);
        if (!next(&p, ',', word) || sscanf(word, "%2d.%1d%n", &major, &minor, &used) != 2 || word[used] ||
            !emu_driver_device_of(major, minor, &devices[*count]))
            return complain("NHAC_FAKE_DEVICE=%s: a list of compute capabilities is wanted, such as 8.0,9.0", text);
        ++*count;
    }
    return *count ? true : complain("NHAC_FAKE_DEVICE is empty");
}

static bool take_failures(const char *text) {
    char item[WORD], function[WORD], after[WORD], result[WORD], flag[WORD];
    for (const char *p = text; *p;) {
        int n, value;
        const char *q = item;
        if (!next(&p, ',', item) || !next(&q, ':', function) || !next(&q, ':', after) || !next(&q, ':', result) ||
            !next(&q, ':', flag) || *q || !number(after, 1, INT_MAX, &n) || !number(result, 1, 999, &value) ||
            (flag[0] && strcmp(flag, "sticky") != 0) || !emu_driver_fail(function, n, value, flag[0]))
            return complain("NHAC_FAKE_FAIL=%s: FUNCTION:N:RESULT[:sticky],... is wanted", text);
    }
    return true;
}

static char *read_file(const char *path, size_t *bytes) {
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long size = -1;
    if (f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0 && size <= FILE_MAX && fseek(f, 0, SEEK_SET) == 0)
        data = malloc((size_t)size + 1);
    if (data && fread(data, 1, (size_t)size, f) != (size_t)size) {
        free(data);
        data = NULL;
    }
    if (f)
        fclose(f);
    *bytes = data ? (size_t)size : 0;
    return data;
}

/* One pair. A cubin without a PTX of its name is no error: it fails when it is loaded. */
static bool pair(const char *folder, const char *stem) {
    char cubin_path[PATH_MAX], ptx_path[PATH_MAX];
    if (snprintf(cubin_path, sizeof cubin_path, "%s/cubin/%s.cubin", folder, stem) >= PATH_MAX ||
        snprintf(ptx_path, sizeof ptx_path, "%s/ptx/%s.ptx", folder, stem) >= PATH_MAX)
        return complain("%s: path too long", folder);
    size_t cubin_bytes, ptx_bytes;
    char *cubin = read_file(cubin_path, &cubin_bytes), *ptx = read_file(ptx_path, &ptx_bytes);
    bool ok = cubin && (!ptx || emu_driver_register(cubin, cubin_bytes, ptx, ptx_bytes));
    free(cubin);
    free(ptx);
    return ok ? true : complain("%s: cannot be read, or is no cubin", cubin_path);
}

static bool take_folder(const char *folder) {
    char path[PATH_MAX], stem[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/cubin", folder) >= PATH_MAX)
        return complain("%s: path too long", folder);
    DIR *d = opendir(path);
    if (!d)
        return complain("NHAC_FAKE_PTX: %s: %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        size_t n = strlen(entry->d_name);
        if (n <= 6 || strcmp(entry->d_name + n - 6, ".cubin") != 0)
            continue;
        memcpy(stem, entry->d_name, n - 6);
        stem[n - 6] = 0;
        ok = pair(folder, stem);
    }
    closedir(d);
    return ok;
}

static bool take_folders(const char *text) {
    char folder[PATH_MAX];
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ":");
        if (n >= sizeof folder)
            return complain("NHAC_FAKE_PTX: path too long");
        memcpy(folder, p, n);
        folder[n] = 0;
        if (n && !take_folder(folder))
            return false;
        p += n + (p[n] != 0);
    }
    return true;
}

static bool read_environment(void) {
    emu_driver_device devices[EMU_DRIVER_DEVICES_MAX];
    emu_driver_options o = emu_driver_options_default();
    const char *device = getenv("NHAC_FAKE_DEVICE"), *version = getenv("NHAC_FAKE_DRIVER"),
               *seed = getenv("NHAC_FAKE_SEED");
    const char *late = getenv("NHAC_FAKE_LATE"), *folders = getenv("NHAC_FAKE_PTX"),
               *failures = getenv("NHAC_FAKE_FAIL");
    int value;
    if (device) {
        o.device_count = 0;
        o.devices = devices;
        if (!take_devices(device, devices, &o.device_count))
            return false;
    }
    if (version && !number(version, 1000, 999990, &o.driver_version))
        return complain("NHAC_FAKE_DRIVER=%s: 1000 * major + 10 * minor is wanted", version);
    if (seed && !number(seed, 0, INT_MAX, &value))
        return complain("NHAC_FAKE_SEED=%s: a number is wanted", seed);
    if (seed)
        o.launch.seed = (uint64_t)value;
    if (late && strcmp(late, "0") != 0 && strcmp(late, "1") != 0)
        return complain("NHAC_FAKE_LATE=%s: 0 or 1 is wanted", late);
    o.late_faults = late && late[0] == '1';
    if (!emu_driver_configure(&o))
        return complain("a device was in use before cuInit");
    return (!folders || take_folders(folders)) && (!failures || take_failures(failures));
}

/* ---- the exported functions ---- */

/* Before a call: the first cuInit reads the environment. */
static int before(const char *function) {
    if (strcmp(function, "cuInit") != 0)
        return 0;
    pthread_mutex_lock(&lock);
    ready = ready || read_environment();
    int result = ready ? 0 : INVALID_VALUE;
    pthread_mutex_unlock(&lock);
    return result;
}

/* After a call: prints what the emulated driver has to say about it. */
static int after(int result) {
    pthread_mutex_lock(&lock);
    uint64_t count = emu_driver_report_count();
    char text[8192];
    if (count != reported && emu_driver_report(text, sizeof text))
        fprintf(stderr, "%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
    reported = count;
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- the cache of nhac: jit/nvrtc.c writes an entry as header, log, PTX, cubin ---- */

typedef struct cached_header {
    char magic[8];
    uint64_t log, ptx, cubin; /* bytes */
} cached_header;

/* Registers the pair of a cache file if its cubin is `image`. */
static bool register_cached(const char *path, const char *image) {
    static const char magic[8] = "nhacuda";
    enum { ELF_HEADER = 64 };
    cached_header h;
    size_t bytes;
    bool found = false;
    char *file = read_file(path, &bytes), *at = file ? memmem(file, bytes, magic, sizeof magic) : NULL;
    if (at && (size_t)(file + bytes - at) > sizeof h) {
        size_t left = (size_t)(file + bytes - at) - sizeof h;
        memcpy(&h, at, sizeof h);
        at += sizeof h;
        if (h.log < left && h.ptx < left - h.log && h.cubin <= left - h.log - h.ptx && h.cubin > ELF_HEADER) {
            const char *ptx = at + h.log, *cubin = ptx + h.ptx;
            found = memcmp(cubin, image, ELF_HEADER) == 0 && memcmp(cubin, image, h.cubin) == 0 &&
                    emu_driver_register(cubin, h.cubin, ptx, h.ptx);
        }
    }
    free(file);
    return found;
}

/* Looks through a folder and those in it, `depth` levels deep. */
static bool find_cached(const char *folder, const char *image, int depth) {
    char path[PATH_MAX];
    bool found = false;
    DIR *d = opendir(folder);
    for (struct dirent *entry; !found && d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= PATH_MAX)
            continue;
        found = register_cached(path, image) || (depth > 0 && find_cached(path, image, depth - 1));
    }
    if (d)
        closedir(d);
    return found;
}

/* With NHAC_FAKE_CACHE, cubins of the cache are made known before they are loaded. */
static int load_module(void **module, const void *image, unsigned options, int *option, void **value) {
    enum { DEPTH = 3 };
    const char *cache = getenv("NHAC_FAKE_CACHE");
    if (cache && image && strncmp(image, "\177ELF", 4) == 0)
        find_cached(cache, image, DEPTH);
    return emu_cuModuleLoadDataEx(module, image, options, option, value);
}

/* What cuModuleLoadDataEx forwards to. */
#define emu_cuModuleLoadDataEx load_module

#define EXPORT __attribute__((visibility("default")))
#define FORWARD(name, parameters, arguments)                                                                           \
    EXPORT int name parameters;                                                                                        \
    int name parameters {                                                                                              \
        int failed = before(#name);                                                                                    \
        return failed ? failed : after(emu_##name arguments);                                                          \
    }
EMU_DRIVER_LIST(FORWARD)

/* NVRTC, once it has found a driver, asks it for tables that are documented nowhere. There are none. */
EXPORT int cuGetExportTable(const void **table, const void *id);
int cuGetExportTable(const void **table, const void *id) {
    enum { NOT_FOUND = 500 };
    (void)id;
    *table = NULL;
    return NOT_FOUND;
}
