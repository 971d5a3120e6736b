/* status.c: status texts, versions, and the one way errors are made. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

const char *nha_status_text(nha_status status) {
    switch (status) {
#define CASE(name, value, text)                                                                                        \
    case name:                                                                                                         \
        return text;
        NHA_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}

const char *nha_version(void) {
    return NHA_VERSION;
}

uint32_t nha_abi_version(void) {
    return NHA_ABI_VERSION;
}

nha_status nhr_fail(nha_error *error, nha_status status, const char *format, ...) {
    if (error) {
        va_list list;
        va_start(list, format);
        error->status = status;
        vsnprintf(error->text, sizeof error->text, format, list);
        va_end(list);
    }
    return status;
}

nha_status nhr_ok(nha_error *error) {
    if (error) {
        error->status = NHA_OK;
        error->text[0] = 0;
    }
    return NHA_OK;
}

nha_status nhr_check_struct(const char *name, const void *object, size_t size, size_t known, nha_error *error) {
    if (size < known)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s.struct_size is %zu, expected %zu: initialise it with NHA_INIT",
                        name, size, known);
    if (size > known + 4096)
        return nhr_fail(error, NHA_INVALID_ARGUMENT, "%s.struct_size is %zu: initialise it with NHA_INIT", name, size);
    for (size_t i = known; i < size; i++)
        if (((const char *)object)[i])
            return nhr_fail(error, NHA_UNSUPPORTED, "%s sets members that libnha %s does not know", name, NHA_VERSION);
    return NHA_OK;
}
