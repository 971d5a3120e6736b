/* cuda_target.c: names of GPU architectures, and which code runs where. Sources: CUDA C++ Programming Guide 13.0,
 * "Compute Capability", "Family-Specific Features"; PTX ISA 9.0, ".target". */
#include "runtime/cuda_internal.h"

bool nhr_target_parse(const char *text, nhr_target *target) {
    if (text[0] != 's' || text[1] != 'm' || text[2] != '_') return false;
    int number = 0, digits = 0;
    const char *at = text + 3;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (++digits > 3) return false;
        number = number * 10 + (*at - '0');
    }
    if (digits < 2 || text[3] == '0') return false;
    *target = (nhr_target){number / 10, number % 10, 0};
    if (*at == 'a' || *at == 'f') target->suffix = *at++;
    return !*at;
}

/* A family is the capabilities of one major number from that of the target on; 10.1 (11.0 since CUDA 13) is one of its
 * own. */
static bool in_family(const nhr_target *t, int major, int minor) {
    bool alone = t->major == 10 && (t->minor == 1) != (minor == 1);
    return t->major == major && t->minor <= minor && !alone;
}

nhr_fit nhr_target_fit(const nhr_target *t, int major, int minor) {
    if (t->major == major && t->minor == minor) return NHR_FIT_EXACT;
    if (t->suffix == 'a' || t->major != major || t->minor > minor) return NHR_FIT_NONE;
    return t->suffix != 'f' || in_family(t, major, minor) ? NHR_FIT_COMPATIBLE : NHR_FIT_NONE;
}

bool nhr_target_compiles(const nhr_target *t, int major, int minor) {
    if (t->suffix == 'a') return t->major == major && t->minor == minor;
    if (t->suffix == 'f') return in_family(t, major, minor);
    return t->major < major || (t->major == major && t->minor <= minor);
}
