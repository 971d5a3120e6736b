/* find.c: see find.h. Libraries that were opened stay mapped: some do not survive being unloaded. */
#include "tuner/find.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool tune_find_program(const char *name, char *out, size_t size) {
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        int n = snprintf(out, size, "%.*s/%s", (int)length, path, name);
        if (length > 0 && n > 0 && (size_t)n < size && access(out, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

bool tune_find_library(const char *name, const char *version_symbol, int *version) {
    *version = 0;
    void *library = dlopen(name, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return false;
    void *address = version_symbol ? dlsym(library, version_symbol) : NULL;
    if (address) {
        int (*get)(int *);
        memcpy(&get, &address, sizeof get);
        if (get(version) != 0)
            *version = 0;
    }
    dlclose(library);
    return true;
}

bool tune_find_writable(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s", folder);
    while (access(path, F_OK) != 0) {
        char *slash = strrchr(path, '/');
        if (!slash)
            return access(".", W_OK) == 0;
        if (slash == path)
            return access("/", W_OK) == 0;
        *slash = 0;
    }
    return access(path, W_OK) == 0;
}
