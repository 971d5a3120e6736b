/* library_open.c: reads a library folder that may be missing, half-written, damaged or foreign, and loads its code:
 * the .so through libnha as any program does, or, where there is none, the members of the .a in memory: by ORC, or
 * without LLVM where no member has CPU code. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "base/sha256.h"
#include "tuner/library.h"
#include "tuner/library_ar.h"
#include "tuner/library_data.h"

enum { FILE_BYTES_MAX = 1 << 30, MEMBERS_MAX = TUNE_MANIFEST_KERNELS_MAX + 1 };
#define AGAIN "build the library again"

static bool bad(const char *path, err *e, const char *text, const char *detail) {
    return err_at(e, ERR_INPUT, "library", path, 0, 0, "%s%s", text, detail);
}

/* Whether two versions share "MAJOR.MINOR.". */
static bool same_version(const char *a, const char *b) {
    const char *dot = strchr(a, '.');
    dot = dot ? strchr(dot + 1, '.') : NULL;
    return dot && strncmp(a, b, (size_t)(dot - a) + 1) == 0;
}

static bool read_manifest(const char *folder, tune_manifest *manifest, err *e) {
    char *path = base_path_join(folder, "manifest.yaml"), *text = NULL;
    size_t size;
    bool ok = false;
    if (!path) return err_memory(e, "library");
    if (!base_is_folder(folder)) {
        bad(folder, e, base_exists(folder) ? "not a library: it is no folder" : "there is no such library folder", "");
        goto done;
    }
    if (!base_exists(path)) {
        bad(folder, e, "not a library, or half-written: it has no manifest.yaml", "");
        goto done;
    }
    if (!base_file_read(path, TUNE_MANIFEST_BYTES_MAX, &text, &size, "library", e) ||
        !tune_manifest_parse(path, text, size, manifest, e))
        goto done;
    if (manifest->abi != NHA_ABI_VERSION || !same_version(NHA_VERSION, manifest->nhac)) {
        err_at(e, ERR_INPUT, "library", path, 0, 0,
               "a library of another version: nhac %s with ABI %lld; this is nhac " NHA_VERSION " with ABI %d: " AGAIN,
               manifest->nhac, (long long)manifest->abi, NHA_ABI_VERSION);
        tune_manifest_destroy(manifest);
        goto done;
    }
    ok = true;
done:
    free(path);
    free(text);
    return ok;
}

/* Every listed file is there with its size. */
static bool check_files(const tune_library *library, err *e) {
    const tune_manifest *manifest = &library->manifest;
    char archive[GEN_NAME_MAX + 32];
    snprintf(archive, sizeof archive, "libnha_%s.a", manifest->c_name);
    if (!tune_manifest_find(manifest, archive)) return bad(library->folder, e, "its manifest does not list ", archive);
    if (!tune_manifest_find(manifest, "spec.yaml"))
        return bad(library->folder, e, "its manifest does not list spec.yaml", "");
    for (size_t i = 0; i < manifest->file_count; i++) {
        const tune_manifest_file *file = &manifest->files[i];
        int64_t size = 0;
        char *path = base_path_join(library->folder, file->path);
        if (!path) return err_memory(e, "library");
        const bool there = base_file_size(path, &size);
        free(path);
        if (!there)
            return bad(library->folder, e, file->path, " is missing: the library is half-written or damaged; " AGAIN);
        if (size != file->size)
            return err_at(e, ERR_INPUT, "library", library->folder, 0, 0,
                          "%s has %lld bytes instead of %lld: the library is half-written or damaged; " AGAIN,
                          file->path, (long long)size, (long long)file->size);
    }
    return true;
}

bool tune_library_read(const tune_library *library, const char *name, char **data, size_t *size, err *e) {
    char sum[BASE_SHA256_HEX], *path = NULL;
    bool ok = false;
    const tune_manifest_file *file = tune_manifest_find(&library->manifest, name);
    *data = NULL;
    if (!file) return bad(library->folder, e, "the library has no file ", name);
    path = base_path_join(library->folder, name);
    if (!path) return err_memory(e, "library");
    if (!base_file_read(path, FILE_BYTES_MAX, data, size, "library", e)) goto done;
    base_sha256_hex(*data, *size, sum);
    ok = strcmp(sum, file->sha256) == 0;
    if (!ok) {
        bad(library->folder, e, name, " is damaged: its checksum is not that of the manifest; " AGAIN);
        free(*data);
        *data = NULL;
    }
done:
    free(path);
    return ok;
}

static bool read_spec(tune_library *library, err *e) {
    char *text, *path = base_path_join(library->folder, "spec.yaml");
    size_t size;
    if (!path) return err_memory(e, "library");
    bool ok = tune_library_read(library, "spec.yaml", &text, &size, e);
    if (ok) {
        ok = gen_spec_parse(path, text, size, &library->spec, e);
        free(text);
        if (ok && (strcmp(library->spec.problem.name, library->manifest.name) != 0 ||
                   strcmp(library->spec.problem.c_name, library->manifest.c_name) != 0)) {
            gen_spec_destroy(&library->spec);
            ok = bad(library->folder, e, "its manifest and its spec.yaml have different names", "");
        }
    }
    free(path);
    return ok;
}

/* Loading is running: nobody but us and root may be able to have written it. The same rule as nha_module_open. */
static bool check_owner(const char *path, err *e) {
    struct stat info;
    if (stat(path, &info) != 0) return bad(path, e, "cannot be read", "");
    if ((info.st_mode & S_IWOTH) || (info.st_uid != geteuid() && info.st_uid != 0))
        return bad(path, e, "others can write it, so it is not loaded (chmod o-w, or take a copy)", "");
    return true;
}

static bool load_shared(tune_library *library, const char *name, err *e) {
    nha_error error;
    char *bytes = NULL, *path = base_path_join(library->folder, name);
    size_t size;
    bool ok = false;
    if (!path) return err_memory(e, "library");
    if (!check_owner(path, e) || !tune_library_read(library, name, &bytes, &size, e)) goto done;
    if (nha_module_open(path, &library->module, &error) != NHA_OK) {
        err_at(e, error.status == NHA_OUT_OF_MEMORY ? ERR_MEMORY : ERR_INPUT, "library", path, 0, 0, "%s", error.text);
        goto done;
    }
    library->library = nha_module_library(library->module);
    ok = true;
done:
    free(bytes);
    free(path);
    return ok;
}

/* Links the members in memory and runs what is in them. */
static bool load_code(tune_library *library, const char *path, const tune_ar_member *members, size_t count, err *e) {
#ifdef NHAC_LLVM
    char symbol[GEN_NAME_MAX + 32];
    nha_error error;
    jit_bytes *objects = calloc(count + 1, sizeof *objects);
    if (!objects) return err_memory(e, "library");
    for (size_t i = 0; i < count; i++) objects[i] = (jit_bytes){members[i].bytes, members[i].size};
    const bool loaded = jit_load_objects(objects, (int)count, &library->code, e);
    free(objects);
    if (!loaded) return false;
    snprintf(symbol, sizeof symbol, "nha_library_%s", library->manifest.c_name);
    library->library = jit_symbol(library->code, symbol, e);
    if (!library->library) return false;
    return nha_library_check(library->library, &error) == NHA_OK || bad(path, e, error.text, "");
#else
    (void)members, (void)count;
    return err_at(e, ERR_MISSING, "library", path, 0, 0,
                  "it has CPU kernels, this nhac was built without LLVM and there is no libnha_%s.so: build the "
                  "library where there is a cc, or use an nhac with LLVM",
                  library->manifest.c_name);
#endif
}

/* A library for GPUs alone is one member, the table. */
static bool load_members(tune_library *library, const char *path, const tune_ar_member *members, size_t count, err *e) {
    bool code = true;
    if (count == 1 && !elf_object_has_code(members[0].bytes, members[0].size, &code, e)) return false;
    if (code) return load_code(library, path, members, count, e);
    library->library =
        tune_data_load(members[0].bytes, members[0].size, library->manifest.c_name, &library->data, e);
    return library->library != NULL;
}

static bool load_archive(tune_library *library, const char *name, err *e) {
    char *bytes = NULL, *path = base_path_join(library->folder, name);
    size_t size, count = 0;
    bool ok = false;
    tune_ar_member *members = calloc(MEMBERS_MAX, sizeof *members);
    if (!path || !members)
        err_memory(e, "library");
    else
        ok = check_owner(path, e) && tune_library_read(library, name, &bytes, &size, e) &&
             tune_ar_read(bytes, size, members, MEMBERS_MAX, &count, e) &&
             load_members(library, path, members, count, e);
    if (!ok && path && e && !e->file[0]) snprintf(e->file, sizeof e->file, "%s", path);
    free(bytes);
    free(path);
    free(members);
    return ok;
}

bool tune_library_open(const char *folder, unsigned flags, tune_library *library, err *e) {
    char name[GEN_NAME_MAX + 32];
    *library = (tune_library){0};
    if (!read_manifest(folder, &library->manifest, e)) return false;
    library->folder = strdup(folder);
    if (!library->folder) {
        tune_manifest_destroy(&library->manifest);
        return err_memory(e, "library");
    }
    bool ok = check_files(library, e) && read_spec(library, e);
    if (ok && !(flags & TUNE_OPEN_NO_CODE)) {
        snprintf(name, sizeof name, "libnha_%s.so", library->manifest.c_name);
        if (!(flags & TUNE_OPEN_ARCHIVE) && tune_manifest_find(&library->manifest, name)) {
            ok = load_shared(library, name, e);
        } else {
            snprintf(name, sizeof name, "libnha_%s.a", library->manifest.c_name);
            ok = load_archive(library, name, e);
        }
    }
    if (!ok) tune_library_close(library);
    return ok;
}

void tune_library_close(tune_library *library) {
    nha_module_close(library->module);
#ifdef NHAC_LLVM
    jit_unload(library->code);
#endif
    elf_unload(&library->data);
    gen_spec_destroy(&library->spec);
    tune_manifest_destroy(&library->manifest);
    free(library->folder);
    *library = (tune_library){0};
}
