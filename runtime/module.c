/* module.c: opening a library that lives in a shared object of its own.
 * Loading runs its code, so the file is checked first: who can write it, and that it is whole (a cut one would fault
 * later). */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/internal.h"

struct nha_module {
    void *handle;
    const nha_library *library;
};

enum { NAME_MAX_ = 128, PATH_MAX_ = 4096 };

/* libnha_NAME.so (or .so.VERSION), in any folder -> nha_library_NAME. false: the file is not named so. */
static bool symbol_of(const char *path, char symbol[NAME_MAX_ + 16]) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char prefix[] = "libnha_";
    if (strncmp(name, prefix, sizeof prefix - 1)) return false;
    name += sizeof prefix - 1;
    const char *end = strstr(name, ".so");
    if (!end || end == name || end - name > NAME_MAX_ || (end[3] && end[3] != '.')) return false;
    snprintf(symbol, NAME_MAX_ + 16, "nha_library_%.*s", (int)(end - name), name);
    return true;
}

/* NULL, or why the dynamic loader must not see this file. */
static const char *elf_fault(int fd, int64_t size) {
    Elf64_Ehdr header;
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_type != ET_DYN)
        return "is not a shared object";
    uint64_t end = (uint64_t)size, bytes = (uint64_t)header.e_shnum * header.e_shentsize;
    if (header.e_shoff > end || bytes > end - header.e_shoff) return "is cut short";
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (header.e_phentsize != sizeof segment || header.e_phoff > end) return "is not a shared object";
        off_t at = (off_t)(header.e_phoff + (uint64_t)i * sizeof segment);
        if (pread(fd, &segment, sizeof segment, at) != (ssize_t)sizeof segment || segment.p_offset > end ||
            segment.p_filesz > end - segment.p_offset)
            return "is cut short";
    }
    return NULL;
}

/* Others cannot write the file and it looks like a shared object. */
static nha_status check_file(const char *path, nha_error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return nhr_fail(error, NHA_BAD_LIBRARY, "cannot open %s: %s", path, strerror(errno));
    nha_status status = NHA_OK;
    struct stat st;
    const char *fault = NULL;
    if (fstat(fd, &st) != 0)
        status = nhr_fail(error, NHA_BAD_LIBRARY, "cannot look at %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = nhr_fail(error, NHA_BAD_LIBRARY, "%s is not a file", path);
    else if (st.st_mode & S_IWOTH)
        status = nhr_fail(error, NHA_UNTRUSTED, "anyone can write %s, so it is not loaded: chmod o-w it", path);
    else if (st.st_uid != 0 && st.st_uid != geteuid())
        status = nhr_fail(error, NHA_UNTRUSTED, "%s belongs to another user, so it is not loaded", path);
    else if ((fault = elf_fault(fd, st.st_size)))
        status = nhr_fail(error, NHA_BAD_LIBRARY, "%s %s", path, fault);
    close(fd);
    return status;
}

nha_status nha_module_open(const char *path, nha_module **module, nha_error *error) {
    if (!module) return nhr_fail(error, NHA_INVALID_ARGUMENT, "module is NULL");
    *module = NULL;
    if (!path) return nhr_fail(error, NHA_INVALID_ARGUMENT, "path is NULL");
    char symbol[NAME_MAX_ + 16], file[PATH_MAX_];
    if (!symbol_of(path, symbol)) return nhr_fail(error, NHA_BAD_LIBRARY, "%s is not named libnha_NAME.so", path);
    /* Without a slash the loader would search its own folders. */
    int length = snprintf(file, sizeof file, "%s%s", strchr(path, '/') ? "" : "./", path);
    if (length < 0 || (size_t)length >= sizeof file)
        return nhr_fail(error, NHA_BAD_LIBRARY, "the path of the library is too long");
    nha_status status = check_file(file, error);
    if (status) return status;

    nha_module *m = nhr_alloc(sizeof *m);
    if (!m) return nhr_fail(error, NHA_OUT_OF_MEMORY, "no memory to open %s", path);
    m->handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!m->handle) {
        const char *text = dlerror();
        status = nhr_fail(error, NHA_BAD_LIBRARY, "cannot load %s", text ? text : path);
        goto done;
    }
    m->library = dlsym(m->handle, symbol);
    if (!m->library) {
        status = nhr_fail(error, NHA_BAD_LIBRARY, "%s has no symbol %s", path, symbol);
        goto done;
    }
    status = nha_library_check(m->library, error);
    if (status) goto done;
    *module = m;
    m = NULL;
    status = nhr_ok(error);
done:
    nha_module_close(m);
    return status;
}

const nha_library *nha_module_library(const nha_module *module) {
    return module ? module->library : NULL;
}

void nha_module_close(nha_module *module) {
    if (!module) return;
    if (module->handle) dlclose(module->handle);
    nhr_free(module);
}
