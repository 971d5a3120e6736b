/* test_templates_prefill.c: the generic CUDA prefill kernel on random problems. See help_problems.h. */
#include "tests/templates/help_problems.h"

int main(void) {
    return help_problems_run(NHA_PREFILL, 0, 1);
}
