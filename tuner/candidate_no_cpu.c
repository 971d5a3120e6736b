/* candidate_no_cpu.c: CPU candidates in a build without LLVM: there are none, and every call says so. */
#include "tuner/candidate_kinds.h"

static bool refuse(err *e) {
    return err_set(e, ERR_MISSING, "compile", "this nhac was built without LLVM and makes no CPU kernels");
}

bool candidate_load_cpu(tune_candidate *c, err *e) {
    (void)c;
    return refuse(e);
}

void candidate_unload_cpu(tune_candidate *c) {
    (void)c;
}

char *candidate_source_cpu(const tune_candidate *c, err *e) {
    (void)c;
    refuse(e);
    return NULL;
}
